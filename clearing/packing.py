"""Which blocks fit into a pool together: the knapsack of every place.

The relaxation runs 0.994 of a second gang of 2,048 nodes where only one finds room with its cover.
At most what supply, links and site power bring into a pool runs there in an interval, the whole
nodes included that stand by for COVERED blocks. Charges for running somewhere are multipliers of
that rule: whatever they are, no outcome takes more of them than the best set that fits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.columns import Flags, Integers, divide_up_each, expand, group, starts, take
from clearing.exact import Numbers
from clearing.market import NONE, Market, Product
from clearing.options import chips_carried
from clearing.program import Floats
from clearing.units import PPM

WIDTH_MOST: Final = 2**16
"""Quantities that are told apart in a place: beyond, chips are counted in coarser steps."""

_SAFE: Final = 2**62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packing:
    """Orders that could run in each place, and what runs there at most.

    Attributes:
        room: Chips that could be delivered at most.  # (places,)
        node, theta: Chips per node, and NODE spare share in ppm.  # (places,)
        base: Covered chips of base load.  # (places,)
        place, order: Of each item, sorted by both; ``order`` is a position in ``book.block_bids``.
        chips: Least chips that the order takes where it runs in the place.
        covered: Items with NODE cover.
        start: Items of each place, ragged.
        way_start, way: Alternatives (``Blocks``) that make an item run, ragged.
    """

    room: Integers
    node: Integers
    theta: Integers
    base: Integers
    place: Integers
    order: Integers
    chips: Integers
    covered: Flags
    start: Integers
    way_start: Integers
    way: Integers

    def best(
        self, items: Integers, values: Numbers | list[float], *, members: bool = False
    ) -> tuple[int | float, Integers]:
        """Largest value of items of one place that fit together.

        Args:
            items: Of one place.
            values: One each, >= 0; integers are added exactly.
            members: Also say which.

        Returns:
            The value, and, if asked for, the positions in ``items`` of a best set.
        """
        place = int(self.place[items[0]])
        room, worth = int(self.room[place]), np.asarray(values)
        chips = self.chips[items]
        step = max(math.gcd(*chips.tolist()), -(-room // WIDTH_MOST))
        sizes, width = chips // step, min(room, int(chips.sum())) // step
        if worth.dtype != np.float64 and sum(int(value) for value in worth) >= _SAFE:
            worth = worth.astype(object)
        firm = np.flatnonzero(self.covered[items] & (sizes <= width))
        loose = np.flatnonzero(~self.covered[items] & (sizes <= width))
        tables = [_table(sizes[part], worth[part], width) for part in (firm, loose)]
        used = np.arange(width + 1)
        left = room - step * used - self._standby(place, step * used)
        used = used[left >= 0]
        beside = np.minimum(width, left[left >= 0] // step)
        sums = tables[0][0][used] + tables[1][0][beside]
        top = int(sums.argmax())
        found = np.zeros(0, dtype=np.int64)
        if members:
            ends = int(used[top]), int(beside[top])
            parts = [
                part[_members(sizes[part], taken, end)]
                for part, (_, taken), end in zip((firm, loose), tables, ends, strict=True)
            ]
            found = np.concatenate(parts)
        return sums[top].item() if worth.dtype != object else int(sums[top]), found

    def _standby(self, place: int, covered: Integers) -> Integers:
        """Chips in whole nodes that stand by for covered ones and base load; none for none."""
        node, theta = int(self.node[place]), int(self.theta[place])
        needed = divide_up_each((covered + int(self.base[place])) * theta, PPM)
        return np.where(covered > 0, divide_up_each(needed, node) * node, 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoomCharges:
    """Charges for the room that orders take in a place, on top of its prices.

    Attributes:
        item: Of ``packing``, ascending.
        value: US dollars per hour, > 0.
    """

    packing: Packing
    item: Integers
    value: Floats


def _table(sizes: Integers, worth: Numbers, width: int) -> tuple[Numbers, list[Flags]]:
    """Largest worth within each size, and for each item where it is taken."""
    best = np.zeros(width + 1, dtype=worth.dtype)
    taken = []
    for size, value in zip(sizes.tolist(), worth.tolist(), strict=True):
        tried = best[: width + 1 - size] + value
        better = np.zeros(width + 1, dtype=np.bool_)
        better[size:] = tried > best[size:]
        best[size:] = np.where(better[size:], tried, best[size:])
        taken.append(better)
    return best, taken


def _members(sizes: Integers, taken: list[Flags], end: int) -> Integers:
    found = []
    for item in range(len(taken) - 1, -1, -1):
        if taken[item][end]:
            found.append(item)
            end -= int(sizes[item])
    return np.array(found[::-1], dtype=np.int64)


def read_packing(market: Market) -> Packing:
    """Items of every place of a market."""
    grid, blocks = market.grid, market.blocks
    alternative, late = expand(blocks.stop - blocks.first)
    place = blocks.pool[alternative] * grid.intervals + blocks.first[alternative] + late
    shape = blocks.shape[alternative]
    nodes = blocks.least[alternative]
    shaped = np.flatnonzero(shape != NONE)
    nodes[shaped] = blocks.shape_nodes[shape[shaped] + late[shaped]]
    items = group(place, blocks.order[alternative])
    at = items.first
    least = np.minimum.reduceat(nodes[items.order], items.start[:-1]) if at.size else nodes
    node = grid.node.repeat(grid.intervals)
    return Packing(
        room=chips_carried(market),
        node=node,
        theta=grid.theta.repeat(grid.intervals),
        base=market.base.covered,
        place=place[at],
        order=blocks.order[alternative[at]],
        chips=least * node[place[at]],
        covered=blocks.product[alternative[at]] == Product.COVERED,
        start=starts(np.bincount(place[at], minlength=grid.places)),
        way_start=items.start,
        way=alternative[items.order],
    )


def tight_places(packing: Packing) -> Integers:
    """Places in which not all that could run there fits."""
    asked = np.zeros(packing.room.size, dtype=np.int64)
    np.add.at(asked, packing.place, packing.chips)
    several = np.diff(packing.start) > 1
    covered = np.zeros(packing.room.size, dtype=np.int64)
    np.add.at(covered, packing.place[packing.covered], packing.chips[packing.covered])
    standby = divide_up_each((covered + packing.base) * packing.theta, PPM)
    return np.flatnonzero(several & (asked + np.where(covered > 0, standby, 0) > packing.room))


def items_of(packing: Packing, places: Integers) -> Integers:
    """Items of some places, in their order."""
    return take(packing.start, places)[1]
