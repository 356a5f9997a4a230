"""What the worker process does for one auction: clear, verify, assign, draw up documents.

A pure function of its job, in a process of its own so that the event loop never waits
for a solver.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from clearing import codec
from clearing.auction import clear
from clearing.errors import BookError, GapError, RefusedResultError, SolverError
from clearing.outcome import Outcome
from clearing.session import Session
from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Eligibility,
    Interval,
    Offer,
    Pool,
    Segment,
    Site,
    Step,
    StepBid,
)
from clearing.units import Chips, MicroUsdPerChipHour, Ppm, UnixSeconds
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
    payers: dict[str, str] = field(default_factory=dict)
    order_holds: dict[str, Transfer]
    gate: Gate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """Encoded documents of a result that the verifier accepted.

    Attributes:
        book_sha256: Hex digest of the book that was cleared.
        seed: Hex tie seed.
        gap_ppb: Certified gap.
        prices: What everybody may see.
        notices: What each participant concerned is told, by participant.
        stops: Of a spot run: what it does not renew; empty otherwise.
    """

    book_sha256: str
    seed: str
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


def work(job: Job, session: Session | None = None) -> Cleared | Failed:
    """Clear one auction. A bug (``InvariantError``) is raised, not returned.

    Args:
        job: What to clear.
        session: Of the runs of a market before this one.
    """
    try:
        outcome = clear(job.book, job.seed, session=session)
    except (BookError, SolverError, RefusedResultError, GapError) as error:
        return Failed(reason=str(error))
    return _assigned(job, outcome)


def warm() -> None:
    """Clear a book of nothing much, so that the first real one finds everything loaded."""
    site = Site(site_id="s", surcharge=MicroUsdPerChipHour(0))
    pool = Pool(
        pool_id="p", site_id="s", chip_class="c", chips_per_node=Chips(1), capacity=Chips(4)
    )
    hours = tuple(
        Interval(start=UnixSeconds(place * 3_600), end=UnixSeconds((place + 1) * 3_600))
        for place in range(2)
    )
    price = MicroUsdPerChipHour(1_000)
    steps = (Segment(first=0, stop=2, steps=(Step(price=price, chips=Chips(2)),)),)
    where = Eligibility(pool_ids=("p",))
    clear(
        Book(
            spec=AuctionSpec(
                auction_id="warm",
                intervals=hours,
                seed_commitment=hashlib.sha256(bytes(32)).hexdigest(),
            ),
            sites=(site,),
            pools=(pool,),
            offers=(Offer(order_id="o", participant_id="o", pool_id="p", segments=steps),),
            step_bids=(StepBid(order_id="b", participant_id="b", where=where, segments=steps),),
            block_bids=(
                BlockBid(
                    order_id="g",
                    participant_id="b",
                    where=where,
                    earliest_start=0,
                    latest_start=0,
                    duration=2,
                    chips=Chips(1),
                    limit_price=price,
                ),
            ),
        ),
        bytes(32),
    )


def renew(job: Job, outcome: Outcome) -> Cleared | Failed:
    """Documents of a run that was not cleared in time.

    Args:
        job: Of a run.
        outcome: ``iso_exchange.sequencer.spot.renewal_of``.
    """
    return _assigned(job, outcome, provisional=True)


def _assigned(job: Job, outcome: Outcome, *, provisional: bool = False) -> Cleared | Failed:
    terms = Terms(
        derates=job.derates,
        precisions=job.precisions,
        nomination_suppliers=job.nomination_suppliers,
        payers=job.payers,
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
        book_sha256=outcome.book_sha256,
        seed=outcome.seed,
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
        prices=codec.encode(prices_document(job.book, outcome, provisional=provisional)),
        notices={
            name: codec.encode(award_notice(outcome, assignment, name))
            for name in concerned(assignment)
        },
    )
