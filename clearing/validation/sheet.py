"""A book as the columns that guards read, and how a guard refuses.

Types are checked before anything here runs, so integers are integers; they may still be of
any size and are cut to +-2**60, far outside every range that a guard allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clearing.eligibility import PoolIndex
from clearing.errors import BookError
from clearing.types import (
    MAX_CHIPS,
    BlockBid,
    Book,
    Eligibility,
    Nomination,
    Offer,
    Pool,
    StepBid,
    WorkBid,
)

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Bid = StepBid | BlockBid | WorkBid
Supplied = Offer | Nomination
Order = Bid | Supplied

CLIP: Final = 2**60
UNKNOWN: Final = -1

_CONDITIONS: Final = attrgetter(
    "pool_ids",
    "chip_classes",
    "regions",
    "countries",
    "data_residency",
    "excluded_legal_controls",
    "certifications",
    "fabrics",
)


def integers(values: Sequence[int]) -> Integers:
    """Integers of any size as a column, cut to +-2**60."""
    try:
        found: Integers = np.array(values, dtype=np.int64)
    except OverflowError:
        found = np.array([max(-CLIP, min(CLIP, value)) for value in values], dtype=np.int64)
    return np.clip(found, -CLIP, CLIP)


def column(rows: Sequence[Any], name: str) -> Integers:
    """An integer field of every row."""
    return integers(list(map(attrgetter(name), rows)))


def counts(rows: Iterable[Sequence[Any]]) -> Integers:
    """Number of members of every row."""
    return np.array(list(map(len, rows)), dtype=np.int64)


def sums(values: Integers, size: Integers) -> Integers:
    """Sum over the members of every row; rows may be empty.

    The running total may wrap around: what is between two of its entries is still the sum of
    the row, as long as that fits.
    """
    total = np.zeros(values.size + 1, dtype=np.int64)
    np.cumsum(values, out=total[1:])
    ends = np.cumsum(size)
    found: Integers = total[ends] - total[ends - size]
    return found


def largest(values: Integers, size: Integers, least: int = 0) -> Integers:
    """Largest member of every row, ``least`` where there is none."""
    found = np.full(size.size, least, dtype=np.int64)
    there = np.flatnonzero(size)
    if there.size:
        begins = (np.cumsum(size) - size)[there]
        found[there] = np.maximum.reduceat(values, begins)
    return found


def refuse(
    wrong: Flags,
    orders: Sequence[Order],
    code: str,
    field: str,
    advice: str,
    *,
    owner: Integers | None = None,
) -> None:
    """Raise a refusal that names the order of the first flag that is set.

    Args:
        wrong: One flag per order, or per segment or step.
        orders: The orders.
        code, field, advice: As in ``BookError``.
        owner: Order of each flag, where a flag is not an order's.
    """
    if not wrong.any():
        return
    first = int(wrong.argmax())
    number = first if owner is None else int(owner[first])
    raise BookError(code, orders[number].order_id, field, advice)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """Segments and steps of all orders of one kind.

    Attributes:
        size: Segments of each order.  # (orders,)
        order: Order of each segment.  # (segments,)
        first, stop: Intervals of each segment.
        steps: Steps of each segment.
        segment: Segment of each step.  # (steps,)
        price, chips: Of each step.
    """

    size: Integers
    order: Integers
    first: Integers
    stop: Integers
    steps: Integers
    segment: Integers
    price: Integers
    chips: Integers

    @property
    def step_order(self) -> Integers:
        """Order of each step."""
        return self.order[self.segment]

    @property
    def offered(self) -> Integers:
        """Chips of all steps of each segment."""
        return sums(self.chips, self.steps)


def read_curves(orders: Sequence[Offer | StepBid | Nomination]) -> Curves:
    """Flatten the curves of orders."""
    rows = [order.segments for order in orders]
    size = counts(rows)
    segments = list(chain.from_iterable(rows))
    curves = [segment.steps for segment in segments]
    length = counts(curves)
    steps = list(chain.from_iterable(curves))
    return Curves(
        size=size,
        order=np.arange(size.size).repeat(size),
        first=column(segments, "first"),
        stop=column(segments, "stop"),
        steps=length,
        segment=np.arange(length.size).repeat(length),
        price=column(steps, "price"),
        chips=column(steps, "chips"),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Venue:
    """What guards need to know of one set of conditions.

    Attributes:
        node: Least common multiple of the node sizes of its pools, at most one above
            ``MAX_CHIPS``; 1 without pools.
        pools: Number of eligible pools.
        covered: Some eligible pool has a backup in another.
    """

    node: int
    pools: int
    covered: bool


class Sheet:
    """A book whose types are sound, read once for all guards."""

    def __init__(self, book: Book) -> None:
        """Nothing is read before a guard asks for it."""
        self.book = book
        self.spec = book.spec
        self.intervals = len(book.spec.intervals)
        self.pools: dict[str, Pool] = {pool.pool_id: pool for pool in book.pools}
        self.number = {pool.pool_id: number for number, pool in enumerate(book.pools)}

    @property
    def duration_s(self) -> int:
        """Length of every interval."""
        return self.spec.intervals[0].duration_s

    @cached_property
    def bids(self) -> tuple[Bid, ...]:
        """Step, block and work bids."""
        return (*self.book.step_bids, *self.book.block_bids, *self.book.work_bids)

    @cached_property
    def orders(self) -> tuple[Order, ...]:
        """Every order, in the order of the book's fields."""
        return (
            *self.book.offers,
            *self.bids,
            *self.book.nominations,
        )

    @cached_property
    def offers(self) -> Curves:
        """Curves of offers."""
        return read_curves(self.book.offers)

    @cached_property
    def step_bids(self) -> Curves:
        """Curves of step bids."""
        return read_curves(self.book.step_bids)

    @cached_property
    def nominations(self) -> Curves:
        """Curves of nominations."""
        return read_curves(self.book.nominations)

    @cached_property
    def conditions(self) -> tuple[list[int], list[Eligibility]]:
        """Number of each bid's conditions, and every distinct set of them."""
        known: dict[tuple[tuple[str, ...], ...], int] = {}
        wheres = list(map(attrgetter("where"), self.bids))
        numbers = [known.setdefault(key, len(known)) for key in map(_CONDITIONS, wheres)]
        distinct: list[Eligibility] = [Eligibility()] * len(known)
        for number, where in zip(reversed(numbers), reversed(wheres), strict=True):
            distinct[number] = where
        return numbers, distinct

    @cached_property
    def venues(self) -> list[Venue]:
        """What each distinct set of conditions resolves to; every pool named is known."""
        sites = {site.site_id: site for site in self.book.sites}
        index = PoolIndex(sites, self.book.pools)
        found = []
        for where in self.conditions[1]:
            names = where.pool_ids
            if any(_CONDITIONS(where)[1:]) or not names:
                names = index.eligible(where)
            found.append(venue_of([self.pools[name] for name in names]))
        return found

    @cached_property
    def bid_nodes(self) -> Integers:
        """Node size that the chips of each bid must be a multiple of."""
        nodes = np.array([venue.node for venue in self.venues], dtype=np.int64)
        numbers = np.array(self.conditions[0], dtype=np.int64)
        return nodes[numbers] if numbers.size else numbers

    @cached_property
    def block_slice(self) -> slice:
        """Where block bids are among the bids."""
        begin = len(self.book.step_bids)
        return slice(begin, begin + len(self.book.block_bids))

    @cached_property
    def work_slice(self) -> slice:
        """Where work bids are among the bids."""
        return slice(self.block_slice.stop, None)

    def nodes_of(self, orders: Sequence[Supplied]) -> Integers:
        """Node size of the pool of each order; every pool is known."""
        nodes = [self.pools[order.pool_id].chips_per_node for order in orders]
        return np.array(nodes, dtype=np.int64)


def venue_of(pools: Sequence[Pool]) -> Venue:
    """What guards need to know of the pools that conditions admit."""
    nodes = {pool.chips_per_node for pool in pools}
    node = nodes.pop() if len(nodes) == 1 else math.lcm(*nodes)
    sites: dict[tuple[str, int], str] = {}
    covered = any(
        sites.setdefault((pool.chip_class, pool.chips_per_node), pool.site_id) != pool.site_id
        for pool in pools
    )
    return Venue(node=min(node, MAX_CHIPS + 1), pools=len(pools), covered=covered)
