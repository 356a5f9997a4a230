"""What step bids would have paid at most for what they took.

A bid served in several classes is read in its own favour: its highest steps go to the pools
where its own factor is highest. Chips of a bid and interval are a line; its steps cut it at one
set of points, its pools at another, and each overlap of a step with a pool has one value.
"""

from __future__ import annotations

import numpy as np

from clearing import exact
from clearing.columns import Integers, expand, group, starts, take
from clearing.exact import Numbers
from clearing.market import Market
from clearing.quantities import Taken
from clearing.types import Book
from clearing.units import PPM


def value_of_steps(book: Book, market: Market, taken: Taken) -> Numbers:
    """Value per step bid, price x chips.

    Args:
        book: For the factors of bids that have any.
        market: Cells and what a chip is worth in each.
        taken: Step bids come first in it.
    """
    demand, intervals = market.demand, market.grid.intervals
    bids = len(book.step_bids)
    rows = np.flatnonzero(taken.bid < bids)
    spots = group(taken.bid[rows], taken.interval[rows], taken.pool[rows])
    chips = spots.sums(taken.chips[rows])
    first = rows[spots.first]
    bid, interval, pool = taken.bid[first], taken.interval[first], taken.pool[first]
    rank = np.lexsort((pool, -_factors(book, market, bid, pool), interval, bid))
    bid, interval, pool, chips = (column[rank] for column in (bid, interval, pool, chips))
    line = bid * intervals + interval
    begin = _before(chips, line)
    of_member, _ = expand(np.diff(demand.member_start))
    member_line = demand.member_bid * intervals + demand.interval[of_member]
    used = np.zeros(bids * intervals + 1, dtype=np.bool_)
    used[line] = True
    member = np.flatnonzero(used[member_line])
    cell = of_member[member]
    # Values rise with the price of a step in every pool, so their sum ranks a bid's steps.
    arc_start = starts(np.bincount(demand.arc_cell, minlength=demand.chips.size))
    worth = np.add.reduceat(np.append(demand.arc_value, 0), arc_start[:-1])
    member = member[np.lexsort((member, -worth[cell], member_line[member]))]
    cell, member_line = of_member[member], member_line[member]
    step_begin = _before(demand.member_chips[member], member_line)
    step_end = step_begin + demand.member_chips[member]
    lines, counts = np.unique(member_line, return_counts=True)
    at, step = take(starts(counts), np.searchsorted(lines, line))
    overlap = np.minimum(step_end[step], (begin + chips)[at]) - np.maximum(
        step_begin[step], begin[at]
    )
    both = np.flatnonzero(overlap > 0)
    at, step, overlap = at[both], step[both], overlap[both]
    pools = len(market.grid.pools)
    arc = np.searchsorted(demand.arc_cell * pools + demand.arc_pool, cell[step] * pools + pool[at])
    return exact.sums_at(bid[at], exact.times(demand.arc_value[arc], overlap), bids)


def _before(chips: Integers, line: Integers) -> Integers:
    """Chips of the rows before each one of its line; lines stand together."""
    before = starts(chips)[:-1]
    first = np.flatnonzero(np.diff(line, prepend=-1))
    return before - before[first].repeat(np.diff(np.append(first, line.size)))


def _factors(book: Book, market: Market, bid: Integers, pool: Integers) -> Integers:
    """Own factor of each bid in each pool, ppm; looked up for bids that name any."""
    found = np.full(bid.size, PPM, dtype=np.int64)
    named = np.array([bool(one.conversions) for one in book.step_bids], dtype=np.bool_)
    rows = np.flatnonzero(named[bid]) if bid.size else bid
    for row, at, where in zip(rows.tolist(), bid[rows].tolist(), pool[rows].tolist(), strict=True):
        chip_class = market.grid.pools[where].chip_class
        for conversion in book.step_bids[at].conversions:
            if conversion.chip_class == chip_class:
                found[row] = conversion.factor_ppm
    return found
