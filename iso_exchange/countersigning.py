"""Who must sign a key event besides its signer: old and new key, or the root key.

Whoever follows the log from a key it trusts finds each later key introduced by the one
before it (or by the root key, where that was lost), and accepted by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from iso_exchange.commands import (
    CloseLog,
    Command,
    ContinueLog,
    RegisterRootKey,
    RotateKey,
    RotateLogKey,
)
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.registry import refuse_key
from iso_exchange.sequencer.state import State
from settlement.ledger.keys import key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Countersigners:
    """Further keys of one envelope.

    Attributes:
        keys: Key id to raw key of everybody who may sign besides the registered signers.
        required: Who must have signed, and the key ids of which one is enough.
    """

    keys: Mapping[str, bytes] = field(default_factory=dict)
    required: tuple[tuple[str, frozenset[str]], ...] = ()


NONE = Countersigners()
_KEY_EVENTS = frozenset((CloseLog, ContinueLog, RegisterRootKey, RotateKey, RotateLogKey))


def countersigners(state: State, command: Command) -> Countersigners | Rejected:
    """Further keys that a command needs; none for everything but key events."""
    if type(command) not in _KEY_EVENTS:
        return NONE
    match command:
        case RotateKey():
            return _of_participant(state, command)
        case RotateLogKey():
            return _of_log(state, command)
        case CloseLog():
            return _both("log_key", command.log_key)
        case ContinueLog():
            return _both("old_log_key", command.old_log_key, command.new_log_key)
        case RegisterRootKey():
            return _of_root(state, command)
        case _:
            return NONE


def _of_participant(state: State, command: RotateKey) -> Countersigners | Rejected:
    refused = refuse_key(command.new_public_key, "new_public_key")
    if refused:
        return refused
    new = key_id(command.new_public_key)
    keys = {new: command.new_public_key}
    required = [("the new key", frozenset({new}))]
    if command.header.signer_id == command.participant_id:
        required.append(("the key it replaces", frozenset({command.old_key_id})))
    elif not state.root_key:
        return Rejected(
            code=Code.WRONG_STATE,
            field="participant_id",
            advice="only the owner replaces a key while no root key is registered",
            got=command.participant_id,
        )
    else:
        root = key_id(state.root_key)
        keys[root] = state.root_key
        required.append(("the root key", frozenset({root})))
    return Countersigners(keys=keys, required=tuple(required))


def _of_log(state: State, command: RotateLogKey) -> Countersigners | Rejected:
    keys: dict[str, bytes] = {}
    for name, public in (
        ("new_public_key", command.new_public_key),
        ("old_public_key", command.old_public_key),
    ):
        refused = refuse_key(public, name)
        if refused:
            return refused
        keys[key_id(public)] = public
    introducing = {key_id(command.old_public_key)}
    if state.root_key:
        keys[key_id(state.root_key)] = state.root_key
        introducing.add(key_id(state.root_key))
    return Countersigners(
        keys=keys,
        required=(
            ("the new log key", frozenset({key_id(command.new_public_key)})),
            ("the log key it replaces, or the root key", frozenset(introducing)),
        ),
    )


def _both(field_name: str, *publics: bytes) -> Countersigners | Rejected:
    keys: dict[str, bytes] = {}
    for public in publics:
        refused = refuse_key(public, field_name)
        if refused:
            return refused
        keys[key_id(public)] = public
    return Countersigners(
        keys=keys, required=tuple((f"the log key {name}", frozenset({name})) for name in keys)
    )


def _of_root(state: State, command: RegisterRootKey) -> Countersigners | Rejected:
    refused = refuse_key(command.public_key)
    if refused:
        return refused
    keys = {key_id(command.public_key): command.public_key}
    required = [("the root key itself", frozenset(keys))]
    if state.root_key:
        keys[key_id(state.root_key)] = state.root_key
        required.append(("the root key it replaces", frozenset({key_id(state.root_key)})))
    return Countersigners(keys=keys, required=tuple(required))
