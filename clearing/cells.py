"""Divisible demand as cells and arcs: bid steps and work, equal ones together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np

from clearing.columns import Flags, Groups, Integers, column, expand, group, integers, starts, take
from clearing.market import NONE, Demand, Grid
from clearing.types import Book, Offer, Segment, StepBid
from clearing.units import PPM
from clearing.venues import Venues


class Steps(NamedTuple):
    """Steps of curves, one row per step and interval, in the order of the book."""

    order: Integers
    interval: Integers
    price: Integers
    chips: Integers


_CHUNK: Final = 256
"""Orders whose objects stay in the processor's cache while their fields are read one by one: that
halves the time of a large book."""


def read_steps(orders: Sequence[Offer] | Sequence[StepBid]) -> Steps:
    """Flatten the curves of orders."""
    chunks = [_read_curves(orders[at : at + _CHUNK]) for at in range(0, len(orders), _CHUNK)]
    segment_count, first, stop, step_count, price, chips = (
        np.concatenate(parts) for parts in zip(*(chunks or [_read_curves(orders)]), strict=True)
    )
    order = np.arange(len(orders)).repeat(segment_count)
    segment = np.arange(first.size).repeat(step_count)
    step, late = expand((stop - first)[segment])
    at = segment[step]
    return Steps(order=order[at], interval=first[at] + late, price=price[step], chips=chips[step])


def _read_curves(orders: Sequence[Offer] | Sequence[StepBid]) -> tuple[Integers, ...]:
    """Segments per order; first, stop and steps per segment; price and chips per step."""
    segments_of = [order.segments for order in orders]
    segments: list[Segment] = list(chain.from_iterable(segments_of))
    curves = [segment.steps for segment in segments]
    steps = list(chain.from_iterable(curves))
    return (
        column(len, segments_of),
        column(attrgetter("first"), segments),
        column(attrgetter("stop"), segments),
        column(len, curves),
        column(attrgetter("price"), steps),
        column(attrgetter("chips"), steps),
    )


class _Cells(NamedTuple):
    """Cells of one sort with the bid, among all bids, and the price that speak for each."""

    interval: Integers
    chips: Integers
    bid: Integers
    price: Integers


def read_demand(book: Book, grid: Grid, venues: Venues) -> Demand:
    """Cells of step bids, by interval and venue, then those of work groups, group by group."""
    cells, member_start, member_bid, member_chips = _step_cells(book, venues)
    work_cells, work, work_chips, work_groups = _work_cells(book, grid, venues)
    bid = np.concatenate((cells.bid, work_cells.bid))
    price = np.concatenate((cells.price, work_cells.price))
    interval = np.concatenate((cells.interval, work_cells.interval))
    arc_cell, way = take(venues.way_start, venues.ways(bid))
    arc_pool = venues.way_pool[way]
    return Demand(
        interval=interval,
        chips=np.concatenate((cells.chips, work_cells.chips)),
        product=venues.product[bid],
        work=np.concatenate((np.full(cells.bid.size, NONE), work)),
        member_start=np.concatenate(
            (member_start, np.full(work.size, member_start[-1], dtype=np.int64))
        ),
        member_bid=member_bid,
        member_chips=member_chips,
        arc_cell=arc_cell,
        arc_pool=arc_pool,
        arc_place=arc_pool * grid.intervals + interval[arc_cell],
        arc_value=venues.values(bid[arc_cell], price[arc_cell], arc_pool),
        arc_backup=venues.way_backup[way],
        work_chips=work_chips,
        work_member_start=work_groups.start,
        work_member_bid=work_groups.order,
    )


def _step_cells(book: Book, venues: Venues) -> tuple[_Cells, Integers, Integers, Integers]:
    """Cells of step bids with their members."""
    steps = read_steps(book.step_bids)
    served = _served(venues)[steps.order]
    if not served.all():
        steps = Steps(*(field[served] for field in steps))
    bid = steps.order
    found = group(
        steps.interval,
        venues.of_bid[bid],
        venues.product[bid],
        _value_number(bid, steps.price, venues),
    )
    # Bids ascend within a cell; one whose factors make two of its steps equal is there twice.
    ranked = bid[found.order]
    begins = np.ones(ranked.size, dtype=np.bool_)
    begins[1:] = ranked[1:] != ranked[:-1]
    begins[found.start[:-1]] = True
    members = np.flatnonzero(begins)
    # Chips <= 1e8 and at most some millions of steps to a cell, so sums stay below 1e15.
    chips = np.add.reduceat(steps.chips[found.order], members) if members.size else members
    return (
        _Cells(
            interval=steps.interval[found.first],
            chips=found.sums(steps.chips),
            bid=bid[found.first],
            price=steps.price[found.first],
        ),
        np.searchsorted(members, found.start),
        ranked[members],
        chips,
    )


def _served(venues: Venues) -> Flags:
    """Bids that some pool can serve."""
    rows = venues.ways(np.arange(venues.of_bid.size))
    return venues.way_start[rows + 1] > venues.way_start[rows]


def _value_number(bids: Integers, prices: Integers, venues: Venues) -> Integers:
    """A number for the values in all pools of a venue: equal ones in it have the same.

    It is the price where no bid of the venue has factors of its own.
    """
    number = prices.copy()
    scaled = (venues.factor != PPM).any(axis=1)[venues.conversion]
    if not scaled.any():
        return number
    mixed = np.zeros(venues.start.size - 1, dtype=np.bool_)
    mixed[venues.of_bid[scaled]] = True
    rows = np.flatnonzero(mixed[venues.of_bid[bids]])
    if rows.size == 0:
        return number
    same = group(venues.of_bid[bids[rows]], venues.conversion[bids[rows]], prices[rows])
    sample = rows[same.first]
    position, at = take(venues.start, venues.of_bid[bids[sample]])
    values = venues.values(bids[sample][position], prices[sample][position], venues.pool[at])
    ends = starts(np.diff(venues.start)[venues.of_bid[bids[sample]]]).tolist()
    text = values.tobytes()
    known: dict[bytes, int] = {}
    numbers = integers(
        known.setdefault(text[8 * first : 8 * stop], len(known)) for first, stop in pairwise(ends)
    )
    number[rows] = numbers[same.of_row()]
    return number


def _work_cells(
    book: Book, grid: Grid, venues: Venues
) -> tuple[_Cells, Integers, Integers, Groups]:
    """One cell per work group and interval; work groups have positions in ``book.work_bids``."""
    offset = len(book.step_bids) + len(book.block_bids)
    bids = book.work_bids
    served = np.flatnonzero(_served(venues)[offset:])
    bid = offset + served
    first, stop, work, rate, price = (
        column(attrgetter(name), bids)[served]
        for name in ("first", "stop", "work", "max_chips", "limit_price")
    )
    terms = (venues.of_bid[bid], venues.product[bid], venues.conversion[bid])
    found = group(first, stop, *terms, price, rate, work)
    leader = found.first
    position, late = expand((stop - first)[leader])
    cells = _Cells(
        interval=first[leader][position] + late,
        chips=found.sums(rate)[position],
        bid=bid[leader][position],
        price=price[leader][position],
    )
    members = Groups(order=served[found.order], start=found.start, first=served[found.first])
    return cells, position, found.sums(work // grid.duration_s), members
