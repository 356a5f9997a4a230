"""Block bids as alternatives: every pool, start and backup in which one could run."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from clearing.columns import (
    Flags,
    Integers,
    column,
    divide_up_each,
    expand,
    group,
    integers,
    least_in_windows,
    starts,
    take,
)
from clearing.errors import InvariantError
from clearing.market import NONE, RECALLED, Base, Blocks, Grid, Product
from clearing.types import BlockBid, Book
from clearing.units import PPM
from clearing.venues import Venues


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Room:
    """Nodes that could be delivered at most, per place.

    Attributes:
        offered: Of offers, commitments included, without released base load.
        released: Of released base load.
        inflow: What links can bring in at most.
        powered: What site power leaves beside base load.
    """

    grid: Grid
    offered: Integers
    released: Integers
    inflow: Integers
    powered: Integers

    def least(self, product: int, covered: Integers) -> Integers:
        """Largest least quantity of a product that could run in each place, nodes.

        ``COVERED`` needs its cover beside it, up to whole nodes and together with base load's:
        spare, or sold to an interruptible that is not on released base load; both draw power.
        Interruptibles may run on released base load.

        Args:
            product: ``Product`` value.
            covered: Base load with NODE cover, chips.  # (places,)
        """
        supply = self.offered + self.inflow
        if product in RECALLED:
            supply = supply + self.released
        supply = np.where(supply < self.powered, supply, self.powered)
        if product != Product.COVERED:
            return supply
        node, theta = (
            of_pool.repeat(self.grid.intervals) for of_pool in (self.grid.node, self.grid.theta)
        )
        # Bisection: what fits falls as the quantity rises. Chips <= 1e8 and theta <= 1e6.
        low, high = np.full(supply.size, NONE, dtype=np.int64), supply.copy()
        while True:
            open_ = low < high
            if not open_.any():
                return low
            middle = divide_up_each(low + high, 2)
            held = divide_up_each(divide_up_each((middle * node + covered) * theta, PPM), node)
            fits = middle + held <= supply
            low = np.where(open_ & fits, middle, low)
            high = np.where(open_ & ~fits, middle - 1, high)


class _Orders(NamedTuple):
    """Block bids, one row each; ``profile`` has entries only where chips differ in a run."""

    bid: Integers
    earliest: Integers
    window: Integers
    duration: Integers
    chips: Integers
    least_chips: Integers
    price: Integers
    product: Integers
    profile_start: Integers
    profile: Integers
    initial: Integers
    restart_cost: Integers
    runs_until: Integers


class _Alternatives(NamedTuple):
    order: Integers
    pool: Integers
    first: Integers
    backup: Integers
    least: Integers
    most: Integers

    def only(self, rows: Flags | Integers) -> _Alternatives:
        return _Alternatives(*(field[rows] for field in self))


def read_blocks(book: Book, venues: Venues, room: Room, base: Base) -> Blocks:
    """Alternatives of block bids, and the picks and families that tie them together."""
    orders = _orders(book, venues, room.grid)
    found = _expand(orders, venues, room.grid)
    found = found.only(_fits(found, orders, room, base.covered))
    shape, shape_nodes = _shapes(found, orders, room.grid)
    bid = orders.bid[found.order]
    here = (found.pool == orders.initial[found.order]) & (
        found.first == orders.runs_until[found.order]
    )
    pick_of_order, pick_parent, family_of_pick, families = _picks(book.block_bids)
    return Blocks(
        order=found.order,
        pool=found.pool,
        first=found.first,
        stop=found.first + orders.duration[found.order],
        backup=found.backup,
        value=venues.values(bid, orders.price[found.order], found.pool),
        product=orders.product[found.order],
        least=found.least,
        most=found.most,
        shape=shape,
        shape_nodes=shape_nodes,
        kept=np.where(here, orders.restart_cost[found.order], 0),
        pick_of_order=pick_of_order,
        pick_parent=pick_parent,
        family_of_pick=family_of_pick,
        families=families,
    )


def _orders(book: Book, venues: Venues, grid: Grid) -> _Orders:
    blocks = book.block_bids
    bid = len(book.step_bids) + np.arange(len(blocks))
    earliest, latest, duration, chips, fill, price, restart_cost = (
        column(attrgetter(name), blocks)
        for name in (
            "earliest_start",
            "latest_start",
            "duration",
            "chips",
            "min_fill_ppm",
            "limit_price",
            "restart_cost",
        )
    )
    profiles = [block.profile for block in blocks]
    return _Orders(
        bid=bid,
        earliest=earliest,
        window=latest - earliest + 1,
        duration=duration,
        chips=chips,
        # Chips <= 1e8, so the product stays below 1e14.
        least_chips=divide_up_each(chips * fill, PPM),
        price=price,
        product=venues.product[bid],
        profile_start=starts(column(len, profiles)),
        profile=integers(chips for profile in profiles for chips in profile),
        initial=integers(grid.position.get(block.initial_pool_id, NONE) for block in blocks),
        restart_cost=restart_cost,
        runs_until=column(attrgetter("runs_until"), blocks),
    )


def _expand(orders: _Orders, venues: Venues, grid: Grid) -> _Alternatives:
    """Every pool, start and backup, by (order, pool, first, backup)."""
    order, way = take(venues.way_start, venues.ways(orders.bid))
    row, late = expand(orders.window[order])
    order, way = order[row], way[row]
    pool, backup = venues.way_pool[way], venues.way_backup[way]
    first = orders.earliest[order] + late
    node = grid.node[pool]
    found = _Alternatives(
        order=order,
        pool=pool,
        first=first,
        backup=backup,
        least=divide_up_each(orders.least_chips[order], node),
        most=orders.chips[order] // node,
    )
    if (backup != NONE).any():
        found = found.only(group(order, pool, first, backup).order)
    return found


def _fits(found: _Alternatives, orders: _Orders, room: Room, covered: Integers) -> Flags:
    """Alternatives that have room, cover and backup included, in every interval of the run."""
    grid = room.grid
    product, duration = orders.product[found.order], orders.duration[found.order]
    place = found.pool * grid.intervals + found.first
    flat = np.diff(orders.profile_start)[found.order] == 0
    fits = np.zeros(found.order.size, dtype=np.bool_)
    for kind in np.unique(product).tolist():
        most = room.least(kind, covered)
        rows = np.flatnonzero((product == kind) & flat)
        fits[rows] = found.least[rows] <= least_in_windows(most, place[rows], duration[rows])
        if kind == Product.SITE:
            other = found.backup[rows] * grid.intervals + found.first[rows]
            fits[rows] &= found.least[rows] <= least_in_windows(most, other, duration[rows])
        shaped = np.flatnonzero((product == kind) & ~flat)
        at, entry = take(orders.profile_start, found.order[shaped])
        rows = shaped[at]
        late = entry - orders.profile_start[found.order[rows]]
        nodes = orders.profile[entry] // grid.node[found.pool[rows]]
        over = nodes > np.maximum(0, most[place[rows] + late])
        fits[shaped] = np.bincount(at[over], minlength=shaped.size) == 0
    return fits


def _shapes(found: _Alternatives, orders: _Orders, grid: Grid) -> tuple[Integers, Integers]:
    """First entry of each alternative's profile in nodes; one per order and pool."""
    shape = np.full(found.order.size, NONE, dtype=np.int64)
    shaped = np.flatnonzero(np.diff(orders.profile_start)[found.order])
    if shaped.size == 0:
        return shape, np.zeros(0, dtype=np.int64)
    alike = group(found.order[shaped], found.pool[shaped])
    sample = shaped[alike.first]
    at, entry = take(orders.profile_start, found.order[sample])
    counts = orders.duration[found.order[sample]]
    shape[shaped] = starts(counts)[:-1][alike.of_row()]
    return shape, orders.profile[entry] // grid.node[found.pool[sample][at]]


def _picks(blocks: tuple[BlockBid, ...]) -> tuple[Integers, Integers, Integers, int]:
    """Pick of each order, parent of each pick, family of each pick, and number of families.

    Raises:
        InvariantError: parents form a cycle, which validation refuses.
    """
    position = {block.order_id: at for at, block in enumerate(blocks)}
    known: dict[tuple[str, str] | str, int] = {}
    pick_of_order = integers(
        known.setdefault(
            (block.participant_id, block.exclusive_group)
            if block.exclusive_group
            else block.order_id,
            len(known),
        )
        for block in blocks
    )
    parent = np.full(len(known), NONE, dtype=np.int64)
    root = np.arange(len(known))
    for at, block in enumerate(blocks):
        if block.parent_order_id:
            pick = pick_of_order[at]
            parent[pick] = position[block.parent_order_id]
            root[pick] = pick_of_order[parent[pick]]
    for _ in range(len(known).bit_length() + 1):
        above = root[root]
        if (above == root).all():
            families, family = np.unique(root, return_inverse=True)
            return pick_of_order, parent, family, families.size
        root = above
    raise InvariantError("parent orders form a cycle")
