"""Runs of a spot market one after the other: each book follows from the one before and its awards.

The window moves on by one interval. Running gangs stay where they are, all or none, and begin at
once; those that ended are replaced by new ones, and so is one in a hundred of the others and of
the step bids. A gang that reaches the end of the window goes on beyond it, as most do. Everything
else stands, as the same objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Final, TypeVar

from clearing.outcome import Outcome, Side
from clearing.types import BlockBid, Book, Cover, Eligibility, Interval, StepBid
from clearing.units import Chips, MicroUsdPerChipHour, Ppm, UnixSeconds
from tests.benchmarks.grid_books import CENT, PPM, GridSpec, generate

B = TypeVar("B")

CHANGED_PER_CENT: Final = 1
"""Orders that leave in each run; as many new ones come."""

LONGER: Final = 12
"""Of so many gangs that reach the end of the look-ahead all but one go on."""


def first_book(spec: GridSpec) -> Book:
    """A book of what spot markets take: no exclusive groups, links and SITE cover."""
    book = generate(spec)
    return replace(
        book,
        block_bids=tuple(
            replace(
                bid,
                exclusive_group="",
                parent_order_id="",
                cover=Cover.NODE if bid.cover is Cover.SITE else bid.cover,
            )
            for bid in book.block_bids
        ),
    )


def next_book(book: Book, outcome: Outcome, number: int) -> Book:
    """The book of the next run.

    Args:
        book: The last one.
        outcome: What came of it.
        number: Of the run; it names new orders and draws what changes.
    """
    random = Random(number)
    spec, intervals = book.spec, book.spec.intervals
    length = intervals[0].duration_s
    end = intervals[-1].end
    moved = (*intervals[1:], Interval(start=end, end=UnixSeconds(end + length)))
    return replace(
        book,
        spec=replace(spec, auction_id=f"{spec.auction_id[:32]}-{number}", intervals=moved),
        step_bids=_renewed(book.step_bids, (), random, number, _another_step),
        block_bids=_gangs(book, outcome, random, number),
    )


def _gangs(book: Book, outcome: Outcome, random: Random, number: int) -> tuple[BlockBid, ...]:
    running = {
        award.order_id: award
        for award in outcome.awards
        if award.side is Side.DEMAND and award.first == 0
    }
    intervals = len(book.spec.intervals)
    ended, standing = [], []
    for bid in book.block_bids:
        award = running.get(bid.order_id)
        stop = bid.earliest_start + bid.duration
        # Seen through the look-ahead, what goes on beyond it ends with it again.
        beyond = stop == intervals and random.randrange(LONGER) > 0
        start = max(0, bid.earliest_start - 1)
        stop = intervals if beyond else stop - 1 if award or bid.earliest_start else stop
        if stop == start:
            ended.append(bid)
        elif award is not None:
            standing.append(
                replace(
                    bid,
                    where=Eligibility(pool_ids=(award.pool_id,)),
                    duration=stop,
                    chips=Chips(award.chips[0]),
                    min_fill_ppm=Ppm(PPM),
                )
            )
        elif (start, stop - start) == (bid.earliest_start, bid.duration):
            standing.append(bid)
        else:
            standing.append(
                replace(bid, earliest_start=start, latest_start=start, duration=stop - start)
            )
    # What ended comes back under another name, as a gang that could run anywhere in its class.
    like = [bid for bid in standing if len(bid.where.pool_ids) > 1]
    return _renewed(
        tuple(standing), tuple(random.choices(like, k=len(ended))), random, number, _another_gang
    )


def _renewed(
    bids: Sequence[B],
    more: Sequence[B],
    random: Random,
    number: int,
    another: Callable[[B, int, str], B],
) -> tuple[B, ...]:
    """Some bids leave, and as many new ones like some others come, and those like ``more``."""
    count = len(bids) * CHANGED_PER_CENT // 100
    leaving = set(random.sample(range(len(bids)), count))
    kept = [bid for at, bid in enumerate(bids) if at not in leaving]
    samples = [*random.choices(bids, k=count), *more]
    new = [
        another(bid, random.randrange(-10, 11) * CENT, f"{number:04d}-{at:06d}")
        for at, bid in enumerate(samples)
    ]
    return (*kept, *new)


def _another_gang(bid: BlockBid, dearer: int, name: str) -> BlockBid:
    """A gang like one that is there, up to ten cents dearer or cheaper."""
    price = MicroUsdPerChipHour(max(CENT, bid.limit_price + dearer))
    return replace(bid, order_id=f"gang-{name}", limit_price=price)


def _another_step(bid: StepBid, dearer: int, name: str) -> StepBid:
    """A step bid like one that is there, the same."""
    return replace(
        bid,
        order_id=f"step-{name}",
        segments=tuple(
            replace(
                segment,
                steps=tuple(
                    replace(step, price=MicroUsdPerChipHour(max(CENT, step.price + dearer)))
                    for step in segment.steps
                ),
            )
            for segment in bid.segments
        ),
    )
