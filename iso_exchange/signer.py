"""How the exchange's own services sign what they submit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from clearing import codec
from clearing.units import UnixSeconds
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.commands import Command, Header
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.sequencer import Sequencer, Submission
from settlement.assignment import Assignment
from settlement.ledger import envelope
from settlement.ledger.keys import SigningKey
from settlement.postings.award import award_postings
from settlement.storage.store import Document

EXCHANGE_ID = "exchange"
IDLE_SECONDS = 0.2
"""How long a service with nothing to do waits before it looks again."""

log = structlog.get_logger("services")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Document):
    """A document with what it says, so that the state machine need not read it again."""

    value: object = field(compare=False, repr=False)


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
            values={
                document.sha256: document.value
                for document in documents
                if isinstance(document, Written)
            },
        )

    async def submit(self, sequencer: Sequencer, command: Command, *documents: Document) -> None:
        """Submit one step of a service that acts by itself.

        A step that the state refuses (somebody was faster, an account moved) is no error: the
        service looks at the state again after a pause.

        Raises:
            RuntimeError: a refusal for any other reason, which is a defect of the service.
        """
        answer = await sequencer.submit(self.submission(command, *documents))
        if isinstance(answer, Rejected):
            await self._refused(command, answer)

    async def submit_all(
        self, sequencer: Sequencer, steps: Sequence[tuple[Command, tuple[Document, ...]]]
    ) -> None:
        """Submit steps that follow each other, in one go; see ``submit``.

        Raises:
            RuntimeError: as for ``submit``, of the first that is refused.
        """
        answers = await sequencer.submit_all(
            [self.submission(command, *documents) for command, documents in steps]
        )
        for (command, _), answer in zip(steps, answers, strict=True):
            if isinstance(answer, Rejected):
                await self._refused(command, answer)
                return

    async def _refused(self, command: Command, answer: Rejected) -> None:
        if answer.code in (Code.WRONG_STATE, Code.ALREADY_EXISTS, Code.UNAVAILABLE):
            log.info("step refused, looking again", code=answer.code.value, advice=answer.advice)
            await self._clock.wait(IDLE_SECONDS)
            return
        message = f"the exchange's own {type(command).__name__} was refused: {answer}"
        raise RuntimeError(message)


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


def with_value(document: Document, value: object) -> Written:
    """A document with what it says, which has to be what reading its body gives."""
    return Written(
        sha256=document.sha256,
        kind=document.kind,
        public=document.public,
        owners=document.owners,
        body=document.body,
        value=value,
    )


def read_back(kind: str, body: bytes, type_: type[codec.T]) -> Written:
    """A document that ``codec.encode`` wrote in another process of this exchange, with its value.

    It is canonical, having been written here: ``codec.decode`` would write it once more to see.
    """
    with codec.collector_paused():
        (value,) = codec.read([codec.parse(body)], type_)
    return with_value(make_document(kind, body), value)


def read_result(assignment: bytes, postings: bytes) -> tuple[Written, Written]:
    """Contracts and award postings of a run that another process of this exchange wrote.

    Postings follow from contracts, and making them again takes less than half of reading them.
    """
    made = read_back("ASSIGNMENT", assignment, Assignment)
    assert isinstance(made.value, Assignment)  # read as one
    holds = award_postings(made.value, {})  # orders of a market keep theirs while they stand
    return made, with_value(make_document("POSTINGS", postings), holds)


def written(kind: str, value: object, *, owners: tuple[str, ...] = ()) -> Written:
    """Content-addressed document of a value: its canonical JSON."""
    return with_value(make_document(kind, codec.encode(value), owners=owners), value)
