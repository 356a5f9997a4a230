"""What the worker process does for one auction: clear, verify, assign, draw up documents.

A pure function of its job, in a process of its own so that the event loop never waits
for a solver.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from clearing import codec
from clearing.auction import clear
from clearing.errors import BookError, GapError, RefusedResultError, SolverError
from clearing.outcome import Outcome
from clearing.types import Book
from clearing.units import Ppm
from iso_exchange.publication import award_notice, prices_document
from iso_exchange.sequencer.spot_assignment import Terms, assigned, assigned_in_run, concerned
from iso_exchange.sequencer.spot_binding import Gate, Stops
from settlement.errors import SettlementError
from settlement.postings.award import award_postings
from settlement.types import Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything a result is computed from.

    Attributes:
        seed: Tie seed, 32 bytes.
        order_holds: Open acceptance holds by order id.
        gate: Of a spot run: what its gate froze besides the book.
    """

    book: Book
    seed: bytes
    derates: dict[str, Ppm]
    precisions: dict[str, str]
    nomination_suppliers: dict[str, str]
    order_holds: dict[str, Transfer]
    gate: Gate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """Encoded documents of a result that the verifier accepted.

    Attributes:
        gap_ppb: Certified gap.
        prices: What everybody may see.
        notices: What each participant concerned is told, by participant.
        stops: Of a spot run: what it does not renew; empty otherwise.
    """

    book: bytes
    outcome: bytes
    assignment: bytes
    postings: bytes
    gap_ppb: int
    prices: bytes = b""
    notices: dict[str, bytes] = field(default_factory=dict)
    stops: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Why there is no result; nothing of it is published but this."""

    reason: str


def work(job: Job) -> Cleared | Failed:
    """Clear one auction. A bug (``InvariantError``) is raised, not returned."""
    try:
        outcome = clear(job.book, job.seed)
    except (BookError, SolverError, RefusedResultError, GapError) as error:
        return Failed(reason=str(error))
    return _assigned(job, outcome)


def _assigned(job: Job, outcome: Outcome) -> Cleared | Failed:
    terms = Terms(
        derates=job.derates,
        precisions=job.precisions,
        nomination_suppliers=job.nomination_suppliers,
    )
    stops: Stops | None = None
    try:
        if job.gate is None:
            assignment = assigned(job.book, outcome, terms)
        else:
            assignment, stops = assigned_in_run(job.book, outcome, job.gate, terms)
    except SettlementError as error:
        return Failed(reason=f"the result cannot be settled: {error}")
    cleared = Cleared(
        book=codec.encode(job.book),
        outcome=codec.encode(outcome),
        assignment=codec.encode(assignment),
        postings=codec.encode(award_postings(assignment, job.order_holds)),
        gap_ppb=outcome.certificate.gap_ppb,
    )
    if stops is None:
        return cleared
    return replace(
        cleared,
        stops=codec.encode(stops),
        prices=codec.encode(prices_document(job.book, outcome)),
        notices={
            name: codec.encode(award_notice(outcome, assignment, name))
            for name in concerned(assignment, stops)
        },
    )
