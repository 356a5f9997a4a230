"""Key events: rotation of participants', meters', services' and log keys, and the root key.

Who must have signed is checked before (``iso_exchange.countersigning``), here whether the
keys are those in force.
"""

from __future__ import annotations

from iso_exchange.commands import RegisterRootKey, Role, RotateKey, RotateLogKey
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.registry import is_key_known, refuse_key
from iso_exchange.sequencer.state import State
from settlement.ledger.keys import key_id


def rotate_key(state: State, command: RotateKey, _: Meta) -> Accepted | Rejected:
    """Put another key in force; the old one counts as revoked from here on."""
    refused = refuse_key(command.new_public_key, "new_public_key")
    if refused:
        return refused
    participant = state.participants.get(command.participant_id)
    if participant is None:
        return Rejected(
            code=Code.UNKNOWN_PARTICIPANT,
            field="participant_id",
            advice="register it first, or check the spelling",
            got=command.participant_id,
        )
    is_own = command.header.signer_id == command.participant_id
    signer = state.participants.get(command.header.signer_id)
    if not is_own and (signer is None or Role.OPERATOR not in signer.roles):
        return Rejected(
            code=Code.WRONG_ROLE,
            field="header.signer_id",
            advice="a key is replaced by its owner, or by operator and root key",
            got=command.header.signer_id,
            limit=command.participant_id,
        )
    # The root key also gives a new key to somebody whose last one was revoked.
    known = participant.keys if is_own else {**participant.keys, **participant.revoked}
    if command.old_key_id not in known:
        return Rejected(
            code=Code.NOT_FOUND,
            field="old_key_id",
            advice="name a key of the participant that is in force",
            got=command.old_key_id,
        )
    if is_key_known(state, command.new_public_key):
        return _taken("new_public_key", command.new_public_key)
    old = participant.keys.pop(command.old_key_id, None)
    if old is not None:
        participant.revoked[command.old_key_id] = old
    participant.keys[key_id(command.new_public_key)] = command.new_public_key
    return Accepted()


def register_root_key(state: State, command: RegisterRootKey, _: Meta) -> Accepted | Rejected:
    """State the root key."""
    refused = refuse_key(command.public_key)
    if refused:
        return refused
    if is_key_known(state, command.public_key):
        return _taken("public_key", command.public_key)
    state.root_key = command.public_key
    return Accepted()


def rotate_log_key(state: State, command: RotateLogKey, _: Meta) -> Accepted | Rejected:
    """Name the key of the batches that follow."""
    refused = refuse_key(command.new_public_key, "new_public_key")
    if refused:
        return refused
    if state.log_keys and state.log_keys[-1] != command.old_public_key:
        return Rejected(
            code=Code.WRONG_STATE,
            field="old_public_key",
            advice="name the log key in force",
            got=command.old_public_key.hex(),
            limit=state.log_keys[-1].hex(),
        )
    if command.new_public_key == command.old_public_key or is_key_known(
        state, command.new_public_key
    ):
        return _taken("new_public_key", command.new_public_key)
    if not state.log_keys:
        state.log_keys.append(command.old_public_key)
    state.log_keys.append(command.new_public_key)
    return Accepted()


def _taken(field: str, public_key: bytes) -> Rejected:
    return Rejected(
        code=Code.ALREADY_EXISTS,
        field=field,
        advice="a key is used once: make a new one",
        got=public_key.hex(),
    )
