"""What the worker process does for one auction: clear, verify, assign, draw up documents.

A pure function of its job, in a process of its own so that the event loop never waits
for a solver.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clearing import codec
from clearing.auction import clear
from clearing.errors import BookError, GapError, RefusedResultError, SolverError
from clearing.outcome import Outcome
from clearing.types import Book
from clearing.units import Ppm
from settlement.contracts import assign
from settlement.errors import SettlementError
from settlement.postings.award import award_postings
from settlement.types import Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything a result is computed from.

    Attributes:
        seed: Tie seed, 32 bytes.
        order_holds: Open acceptance holds by order id.
    """

    book: Book
    seed: bytes
    derates: dict[str, Ppm]
    precisions: dict[str, str]
    nomination_suppliers: dict[str, str]
    payers: dict[str, str] = field(default_factory=dict)
    order_holds: dict[str, Transfer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """Encoded documents of a result that the verifier accepted.

    Attributes:
        gap_ppb: Certified gap.
    """

    book: bytes
    outcome: bytes
    assignment: bytes
    postings: bytes
    gap_ppb: int


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
    try:
        assignment = assign(
            job.book,
            outcome,
            derates=job.derates,
            precisions=job.precisions,
            nomination_suppliers=job.nomination_suppliers,
            payers=job.payers,
        )
    except SettlementError as error:
        return Failed(reason=f"the result cannot be settled: {error}")
    return Cleared(
        book=codec.encode(job.book),
        outcome=codec.encode(outcome),
        assignment=codec.encode(assignment),
        postings=codec.encode(award_postings(assignment, job.order_holds)),
        gap_ppb=outcome.certificate.gap_ppb,
    )
