"""Who may say this: envelope, header, signer, key and role of a submission.

The same checks run in the gateway before a command enters the log and in the audit when
the log is replayed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from iso_exchange import convert
from iso_exchange.commands import (
    Command,
    ContinueLog,
    OfferTerms,
    RegisterEntitlement,
    RegisterParticipant,
    Role,
    SubmitOrder,
)
from iso_exchange.countersigning import NONE, countersigners
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import State
from iso_exchange.signature_checks import SignatureCheck, holds
from settlement.ledger import envelope
from settlement.ledger.envelope import Envelope
from settlement.ledger.errors import EnvelopeError, LedgerErrorCode
from settlement.ledger.keys import key_id

REQUEST_ID_LENGTH_MAX = 128

_known_id = functools.lru_cache(maxsize=4_096)(key_id)
"""Identifiers of the keys in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorised:
    """A command whose signer may sign it.

    Attributes:
        body_sha256: SHA-256 of the envelope's payload.
    """

    command: Command
    body_sha256: bytes


class Claim(NamedTuple):
    """A well-formed envelope by a registered signer, whose signatures are still to be checked.

    Attributes:
        payload: Of the envelope.
        checks: Every signature of the envelope.
        refused_role: What is wrong beside the signatures, which are judged first.
    """

    command: Command
    payload: bytes
    checks: tuple[SignatureCheck, ...]
    refused_role: Rejected | None


def command_of(envelope_bytes: bytes) -> Command | Rejected:
    """Decode an envelope to its command without checking who signed it."""
    try:
        parsed = envelope.decode(envelope_bytes)
    except EnvelopeError as error:
        return _malformed(error)
    return command_in(parsed)


def command_in(parsed: Envelope) -> Command | Rejected:
    """``command_of`` an envelope that was decoded."""
    return convert.command_from(parsed.payload_type, parsed.payload)


def authorise(state: State, envelope_bytes: bytes) -> Authorised | Rejected:
    """Check an envelope completely: form, header, signer, signatures, role.

    Args:
        state: Registry to check against; not changed.
        envelope_bytes: As received.

    Returns:
        The command, or the first refusal in the order of ``Code``.
    """
    claim = claim_of(state, envelope_bytes)
    if isinstance(claim, Rejected):
        return claim
    return judge(claim, [holds(check) for check in claim.checks])


def claim_of(state: State, envelope_bytes: bytes) -> Claim | Rejected:
    """Everything that ``authorise`` checks but the signatures themselves.

    They are the dearest part and need nothing but three byte strings each, so they can be
    checked in another process; ``judge`` then has the last word.
    """
    try:
        parsed = envelope.decode(envelope_bytes)
    except EnvelopeError as error:
        return _malformed(error)
    return claim_in(state, parsed)


def claim_in(state: State, parsed: Envelope) -> Claim | Rejected:
    """``claim_of`` an envelope that was decoded."""
    command = command_in(parsed)
    if isinstance(command, Rejected):
        return command
    refused = _refuse_header(state, command)
    if refused:
        return refused
    checks = _checks(state, command, parsed)
    if isinstance(checks, Rejected):
        return checks
    return Claim(
        command=command,
        payload=parsed.payload,
        checks=checks,
        refused_role=_refuse_role(state, command),
    )


def judge(claim: Claim, found: Sequence[bool]) -> Authorised | Rejected:
    """The verdict on a claim.

    Args:
        found: Whether each of ``claim.checks`` holds.
    """
    if len(found) != len(claim.checks) or not all(found):
        return _bad_signature("the signature does not hold")
    return claim.refused_role or Authorised(
        command=claim.command, body_sha256=hashlib.sha256(claim.payload).digest()
    )


def _malformed(error: EnvelopeError) -> Rejected:
    too_large = error.code is LedgerErrorCode.ENVELOPE_TOO_LARGE
    return Rejected(
        code=Code.MESSAGE_TOO_LARGE if too_large else Code.MALFORMED_ENVELOPE,
        field="envelope",
        advice="send one DSSE v1 envelope of at most 32 KiB",
        got=str(error),
    )


def _refuse_header(state: State, command: Command) -> Rejected | None:
    header = command.header
    if not 0 < len(header.request_id) <= REQUEST_ID_LENGTH_MAX:
        return Rejected(
            code=Code.REQUEST_ID_REQUIRED,
            field="header.request_id",
            advice="choose an identifier of 1 to 128 characters, new for each request",
            got=str(len(header.request_id)),
        )
    if header.origin != state.origin:
        return Rejected(
            code=Code.WRONG_ORIGIN,
            field="header.origin",
            advice="sign for this exchange",
            got=header.origin,
            limit=state.origin,
        )
    named = header.signer_id
    if isinstance(command, SubmitOrder):
        named = command.participant_id
    elif isinstance(command, RegisterEntitlement):
        named = command.holder_id
    if named != header.signer_id:
        return Rejected(
            code=Code.HEADER_MISMATCH,
            field="header.signer_id",
            advice="sign as the participant the body names",
            got=header.signer_id,
            limit=", ".join(sorted((named, header.signer_id))),
        )
    return None


def _checks(
    state: State, command: Command, parsed: Envelope
) -> tuple[SignatureCheck, ...] | Rejected:
    """What must hold: each signer signed, and nobody else did."""
    message = envelope.pae(parsed.payload_type, parsed.payload)
    further = countersigners(state, command)
    if isinstance(further, Rejected):
        return further
    signers = [command.header.signer_id]
    if isinstance(command, RegisterEntitlement):
        signers.append(command.supplier_id)
    elif len(parsed.signatures) == 1 and further is NONE:
        # Nearly every envelope: one signer, one signature. All else goes the general way.
        (only,) = parsed.signatures
        participant = state.participants.get(signers[0])
        public = None if participant is None else participant.keys.get(only.keyid)
        if public is not None and _known_id(public) == only.keyid:
            return (SignatureCheck(public, only.sig, message),)
    used = {signature.keyid for signature in parsed.signatures}
    for who, key_ids in further.required:
        if not used & key_ids:
            return _bad_signature(f"no signature by {who}")
    known = dict(further.keys)
    for signer_id in signers:
        keys = _keys_of(state, command, signer_id)
        if isinstance(keys, Rejected):
            return keys
        if not used & keys.keys():
            revoked = state.participants.get(signer_id)
            if revoked is not None and used & revoked.revoked.keys():
                return Rejected(
                    code=Code.KEY_REVOKED,
                    field="envelope.signatures",
                    advice="sign with a key that is in force",
                    got=signer_id,
                )
            return _bad_signature(f"no signature by a registered key of {signer_id}")
        known.update(keys)
    checks = []
    for signature in parsed.signatures:
        public = known.get(signature.keyid)
        if public is None or _known_id(public) != signature.keyid:
            return _bad_signature(f"no key {signature.keyid} of a signer")
        checks.append(SignatureCheck(public, signature.sig, message))
    return tuple(checks)


def _keys_of(state: State, command: Command, signer_id: str) -> Mapping[str, bytes] | Rejected:
    participant = state.participants.get(signer_id)
    if participant is not None:
        return participant.keys
    if (
        not state.participants
        and isinstance(command, RegisterParticipant)
        and command.participant_id == signer_id
    ):
        return {key_id(command.public_key): command.public_key}
    if not state.participants and isinstance(command, ContinueLog):
        return {key_id(command.new_log_key): command.new_log_key}
    return Rejected(
        code=Code.UNKNOWN_PARTICIPANT,
        field="header.signer_id",
        advice="register first, or check the spelling",
        got=signer_id,
    )


def _bad_signature(detail: str) -> Rejected:
    return Rejected(
        code=Code.BAD_SIGNATURE,
        field="envelope.signatures",
        advice="sign the exact payload (DSSE v1 PAE) with the registered Ed25519 key",
        got=detail,
    )


def _refuse_role(state: State, command: Command) -> Rejected | None:
    participant = state.participants.get(command.header.signer_id)
    if participant is None:
        return None  # the first entry, checked by the state machine
    allowed = ENTRY_KINDS[type(command)].roles
    if isinstance(command, SubmitOrder):
        offers = isinstance(command.terms, OfferTerms)
        allowed = (Role.SUPPLIER,) if offers else (Role.BUYER,)
    if not participant.roles.isdisjoint(allowed):
        return None
    return Rejected(
        code=Code.WRONG_ROLE,
        field="header.signer_id",
        advice=f"this needs the role {' or '.join(role.value for role in allowed)}",
        got=",".join(sorted(role.value for role in participant.roles)),
        limit=",".join(role.value for role in allowed),
    )
