"""Participants: admission, keys, suspension, cancelling everything."""

from __future__ import annotations

import re
from typing import Final

from iso_exchange.api.v1 import participant_pb2
from iso_exchange.commands import (
    CancelAllOrders,
    RegisterParticipant,
    RegisterRootKey,
    ReinstateParticipant,
    RevokeKey,
    RotateKey,
    SuspendParticipant,
)
from iso_exchange.convert import enums
from iso_exchange.convert.fields import Reader
from iso_exchange.convert.headers import read_header, write_header

DISPLAY_NAME_LENGTH_MAX: Final = 200
PUBLIC_KEY_BYTES: Final = 32

COUNTRY: Final = re.compile(r"[A-Z]{2}")
COUNTRY_ADVICE: Final = "use the two-letter code of ISO 3166-1, such as NO"

_OPTIONAL_COUNTRY: Final = re.compile(r"(?:[A-Z]{2})?")
_KEY_ID: Final = re.compile(r"[0-9a-f]{64}")


def read_participant(body: Reader) -> RegisterParticipant:
    """Admission of a participant."""
    return RegisterParticipant(
        header=read_header(body),
        participant_id=body.identifier("participant_id"),
        display_name=body.text("display_name", longest=DISPLAY_NAME_LENGTH_MAX),
        roles=body.choices("roles", enums.ROLE, least=1),
        public_key=body.octets("public_key", length=PUBLIC_KEY_BYTES),
        country=body.matching("country_code", _OPTIONAL_COUNTRY, COUNTRY_ADVICE),
    )


def write_participant(command: RegisterParticipant) -> participant_pb2.Participant:
    """Body of an admission."""
    return participant_pb2.Participant(
        header=write_header(command.header),
        participant_id=command.participant_id,
        display_name=command.display_name,
        roles=[enums.ROLE.number(role) for role in command.roles],
        public_key=command.public_key,
        country_code=command.country,
    )


def read_key_revocation(body: Reader) -> RevokeKey:
    """Revocation of a key."""
    return RevokeKey(
        header=read_header(body),
        participant_id=body.reference("participant_id"),
        key_id=body.matching("key_id", _KEY_ID, "give the 64 hex digits of the key's SHA-256"),
        reason=body.reason(),
    )


def write_key_revocation(command: RevokeKey) -> participant_pb2.KeyRevocation:
    """Body of a key's revocation."""
    return participant_pb2.KeyRevocation(
        header=write_header(command.header),
        participant_id=command.participant_id,
        key_id=command.key_id,
        reason=command.reason,
    )


def read_key_rotation(body: Reader) -> RotateKey:
    """Rotation of a key."""
    return RotateKey(
        header=read_header(body),
        participant_id=body.reference("participant_id"),
        old_key_id=body.matching(
            "old_key_id", _KEY_ID, "give the 64 hex digits of the key's SHA-256"
        ),
        new_public_key=body.octets("new_public_key", length=PUBLIC_KEY_BYTES),
        reason=body.reason(),
    )


def write_key_rotation(command: RotateKey) -> participant_pb2.KeyRotation:
    """Body of a key's rotation."""
    return participant_pb2.KeyRotation(
        header=write_header(command.header),
        participant_id=command.participant_id,
        old_key_id=command.old_key_id,
        new_public_key=command.new_public_key,
        reason=command.reason,
    )


def read_root_key(body: Reader) -> RegisterRootKey:
    """Statement of the root key."""
    return RegisterRootKey(
        header=read_header(body), public_key=body.octets("public_key", length=PUBLIC_KEY_BYTES)
    )


def write_root_key(command: RegisterRootKey) -> participant_pb2.RootKey:
    """Body that states the root key."""
    return participant_pb2.RootKey(
        header=write_header(command.header), public_key=command.public_key
    )


def read_suspension(body: Reader) -> SuspendParticipant:
    """Suspension of a participant."""
    return SuspendParticipant(
        header=read_header(body),
        participant_id=body.reference("participant_id"),
        reason=body.reason(),
    )


def write_suspension(command: SuspendParticipant) -> participant_pb2.Suspension:
    """Body of a suspension."""
    return participant_pb2.Suspension(
        header=write_header(command.header),
        participant_id=command.participant_id,
        reason=command.reason,
    )


def read_reinstatement(body: Reader) -> ReinstateParticipant:
    """Reinstatement of a participant."""
    return ReinstateParticipant(
        header=read_header(body),
        participant_id=body.reference("participant_id"),
        reason=body.reason(),
    )


def write_reinstatement(command: ReinstateParticipant) -> participant_pb2.Reinstatement:
    """Body of a reinstatement."""
    return participant_pb2.Reinstatement(
        header=write_header(command.header),
        participant_id=command.participant_id,
        reason=command.reason,
    )


def read_cancel_all(body: Reader) -> CancelAllOrders:
    """Cancellation of everything a participant has open."""
    return CancelAllOrders(
        header=read_header(body),
        participant_id=body.reference("participant_id"),
        reason=body.reason(),
    )


def write_cancel_all(command: CancelAllOrders) -> participant_pb2.CancelAll:
    """Body that cancels everything a participant has open."""
    return participant_pb2.CancelAll(
        header=write_header(command.header),
        participant_id=command.participant_id,
        reason=command.reason,
    )
