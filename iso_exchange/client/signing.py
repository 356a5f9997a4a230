"""From a command to the signed bytes that are sent, and back to the receipt."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message

from clearing.units import UnixSeconds
from iso_exchange import convert
from iso_exchange.api.v1 import receipt_pb2
from iso_exchange.commands import Command, Header
from iso_exchange.kinds import ENTRY_KINDS
from settlement.ledger import envelope
from settlement.ledger.keys import SigningKey

BLANK_HEADER: Final = Header(origin="", signer_id="", request_id="", create_time=UnixSeconds(0))
"""Header of a command whose origin, signer, request id and time the client fills in."""

MICROSECONDS: Final = 1_000_000
NANOSECONDS_PER_MICROSECOND: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A signed request. Sending it twice does it once.

    Attributes:
        command: With its complete header.
        envelope: Exact DSSE bytes; keep them to prove later what was submitted.
    """

    command: Command
    envelope: bytes = field(repr=False)

    @property
    def request_id(self) -> str:
        """Idempotency key."""
        return self.command.header.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Where an accepted envelope stands in the log.

    Attributes:
        request_id: Of the request.
        entry_index: Position in the log, from 0.
        leaf_hash: RFC 6962 leaf hash, 32 bytes.
        accept_time_us: When the sequencer took it, microseconds since the epoch.
        ledger_size: Entries that the answer reflects.
        salt: Opens the commitment of a confidential entry, empty for a public one. Keep it.
        envelope: What was sent.
        response: Whole answer of a single call (such as ``SubmitOrderResponse`` with the
            order as accepted); None for an item of a batch.
    """

    request_id: str
    entry_index: int
    leaf_hash: bytes
    accept_time_us: int
    ledger_size: int
    salt: bytes
    envelope: bytes = field(repr=False)
    response: Message | None = field(default=None, repr=False)


def complete(command: Command, *, origin: str, signer_id: str, now: UnixSeconds) -> Command:
    """The command with every empty part of its header filled in."""
    given = command.header
    header = Header(
        origin=given.origin or origin,
        signer_id=given.signer_id or signer_id,
        request_id=given.request_id or uuid.uuid4().hex,
        create_time=given.create_time or now,
    )
    return dataclasses.replace(command, header=header)


def seal(command: Command, keys: Sequence[SigningKey]) -> Sealed:
    """Sign a command with a complete header.

    Raises:
        EnvelopeError: ``ENVELOPE_TOO_LARGE`` above 32 KiB.
    """
    body = convert.body_of(command)
    payload_type = ENTRY_KINDS[type(command)].payload_type
    return Sealed(command=command, envelope=envelope.sign(payload_type, body, keys))


def receipt_of(
    sealed: Sealed, message: receipt_pb2.Receipt, response: Message | None = None
) -> Receipt:
    """Receipt as the exchange states it; check it with an inclusion proof."""
    time = message.accept_time
    return Receipt(
        request_id=sealed.request_id,
        entry_index=message.entry_index,
        leaf_hash=message.leaf_hash,
        accept_time_us=time.seconds * MICROSECONDS + time.nanos // NANOSECONDS_PER_MICROSECOND,
        ledger_size=message.ledger_size,
        salt=message.salt,
        envelope=sealed.envelope,
        response=response,
    )
