"""Charges for room: what blocks pay for running in a place, and the most that all of them can pay.

In a pool and an interval no outcome delivers more than supply, links and site power bring
(``whole_cover.carried_of``), with the whole nodes beside it that stand by for COVERED blocks. So of
any charges for running there, at most the dearest set of blocks whose least chips fit is paid:

    sum over accepted blocks that run in the place of charge(block)
        <= max over sets of blocks that fit of the sum of their charges =: K(place),

and a bound in which every block pays its charges, K is added in every place, holds like the one
without. K is a knapsack over chips: f(v), the most that COVERED blocks of at most v chips pay, and
g(w) of the others; K = max over v of f(v) + g(room - v - standby(v)), standby(v) = 0 for v = 0.
Chips are counted in steps of the greatest common divisor of the least chips, or, if that is more,
of room / 65,536 rounded up; a block then counts its whole steps, which can only admit more sets.
Source: docs/reference/clearing-rules, "Certificate".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.checks.exact import LIMIT, Bools, Ints, divide_up, running, whole_nodes
from clearing.checks.facts import View
from clearing.checks.families import alternatives_of
from clearing.checks.menus import Product
from clearing.checks.outcome_columns import ROWS, DualColumns
from clearing.checks.whole_cover import carried_of
from clearing.units import PPM

WIDTH_MOST: Final = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomCharges:
    """Charges per block and place, sorted by place and block; micro-USD per hour, > 0."""

    block: Ints
    place: Ints
    value: Ints


def read_charges(view: View, columns: DualColumns) -> RoomCharges | None:
    """Charges among duals whose shape was checked; None where there are none."""
    here = np.flatnonzero(columns.row == ROWS.index("PACKING"))
    if not len(here):
        return None
    block = columns.order[here] - view.book.starts[2]
    place = columns.subject[here] * view.intervals + columns.interval[here]
    order = np.lexsort((block, place))
    return RoomCharges(block=block[order], place=place[order], value=columns.value[here][order])


def charged(view: View, charges: RoomCharges) -> Ints:
    """What each alternative pays over its run, micro-USD per hour of an interval."""
    ways, intervals = alternatives_of(view), view.intervals
    pools = len(view.book.grid.pool_ids)
    key = charges.block * pools + charges.place // intervals
    known, row = np.unique(key, return_inverse=True)
    series = np.zeros((len(known) + 1, intervals), dtype=charges.value.dtype)
    series[row, charges.place % intervals] = charges.value
    sums = running(series)
    wanted = ways.block * pools + ways.pool
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    at = np.where(known[at] == wanted, at, len(known))
    stop = ways.start + view.book.blocks.duration[ways.block]
    paid: Ints = sums[at, stop] - sums[at, ways.start]
    return paid


def most_charged(view: View, charges: RoomCharges) -> int:
    """Sum of K over all places, micro-USD per hour."""
    least = _least(view, charges)
    product = view.menus.product_of_bid[view.book.starts[2] - view.book.starts[1] + charges.block]
    begins = np.flatnonzero(np.diff(charges.place, prepend=-1))
    ends = np.append(begins[1:], len(charges.place))
    found = 0
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        here = slice(begin, end)
        covered = product[here] == Product.COVERED
        found += _knapsack(
            view, int(charges.place[begin]), least[here], covered, charges.value[here]
        )
    return found


def _least(view: View, charges: RoomCharges) -> Ints:
    """Fewest chips that each block takes when it runs in the place, -1 where it never does.

    The leaves of a tree charge much the same blocks, so what was found is kept.
    """
    known = view.memory.setdefault("fewest chips", {})
    assert isinstance(known, dict)
    found = []
    for key in zip(charges.block.tolist(), charges.place.tolist(), strict=True):
        if key not in known:
            known[key] = _fewest(view, *key)
        found.append(known[key])
    return np.array(found, dtype=np.int64)


def _fewest(view: View, block: int, place: int) -> int:
    ways, blocks = alternatives_of(view), view.book.blocks
    pool, t = divmod(place, view.intervals)
    own = np.arange(ways.begins[block], ways.begins[block + 1])
    late = t - ways.start[own]
    own = own[(ways.pool[own] == pool) & (late >= 0) & (late < blocks.duration[block])]
    if not len(own):
        return -1
    if not ways.shaped[own[0]]:
        return int(ways.least[own].min())
    return int(blocks.profile_chips[blocks.profile[block] + t - ways.start[own]].min())


def _knapsack(view: View, place: int, least: Ints, covered: Bools, values: Ints) -> int:
    """K of one place."""
    grid, room = view.book.grid, int(carried_of(view)[0][place])
    there = least >= 0
    if not there.any():
        return 0
    step = max(math.gcd(*least[there].tolist()), -(-room // WIDTH_MOST))
    fits = there & (least <= room)
    if sum(values[fits].tolist()) >= LIMIT:
        values = values.astype(object)
    sizes = np.where(fits, least, 0) // step
    width = min(room, int(least[fits].sum())) // step
    firm = _dearest(sizes[fits & covered], values[fits & covered], width)
    others = _dearest(sizes[fits & ~covered], values[fits & ~covered], width)
    pool = place // view.intervals
    chips = step * np.arange(width + 1)
    needed = divide_up((chips + view.totals.base_covered[place]) * int(grid.theta[pool]), PPM)
    standby = np.where(chips > 0, whole_nodes(needed, grid.node[pool]), 0)
    left = room - chips - standby
    kept = np.flatnonzero(left >= 0)
    beside = np.minimum(width, left[kept] // step)
    return int((firm[kept] + others[beside]).max())


def _dearest(sizes: Ints, values: Ints, width: int) -> Ints:
    """For each width up to the given one, the most that blocks within it pay."""
    found = np.zeros(width + 1, dtype=values.dtype)
    for size, value in zip(sizes.tolist(), values.tolist(), strict=True):
        found[size:] = np.maximum(found[size:], found[: width + 1 - size] + value)
    return found
