"""How the exchange's own services sign what they submit."""

from __future__ import annotations

import hashlib

from clearing import codec
from clearing.units import UnixSeconds
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.commands import Command, Header
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.sequencer import Submission
from settlement.ledger import envelope
from settlement.ledger.keys import SigningKey
from settlement.storage.store import Document

EXCHANGE_ID = "exchange"


class ServiceSigner:
    """Signs commands as the participant ``exchange``."""

    def __init__(self, *, key: SigningKey, origin: str, clock: Clock) -> None:
        """Keep the key, the log origin and the clock."""
        self._key = key
        self._origin = origin
        self._clock = clock

    def header(self, request_id: str) -> Header:
        """Header of a body; the same work has the same request id, so repeating it is harmless."""
        return Header(
            origin=self._origin,
            signer_id=EXCHANGE_ID,
            request_id=request_id,
            create_time=UnixSeconds(self._clock.now_us() // MICROSECONDS),
        )

    def submission(self, command: Command, *documents: Document) -> Submission:
        """Signed submission of a command with a canonical JSON body."""
        payload = codec.encode(command)
        return Submission(
            command=command,
            envelope=envelope.sign(ENTRY_KINDS[type(command)].payload_type, payload, [self._key]),
            body_sha256=hashlib.sha256(payload).digest(),
            documents=documents,
        )


def make_document(
    kind: str, body: bytes, *, public: bool = False, owners: tuple[str, ...] = ()
) -> Document:
    """Content-addressed document.

    Args:
        owners: Participants who may read it, besides auditors.
    """
    return Document(
        sha256=hashlib.sha256(body).digest(),
        kind=kind,
        public=public,
        owners=tuple(sorted(owners)),
        body=body,
    )
