"""The face of valid prices: every dual solution of the settled program, built by columns.

By complementary slackness a row with slack has no price, a column between its bounds pays
exactly what it gains, one at its least gains nothing more by coming in, one at its most loses
nothing by staying. Which prices those are does not depend on the solution that they are read
from. Who pays what is read off the columns of the program, so that there is no second place
where it could differ.

Besides the published prices there are private ones, which nobody is shown: the rent of an
offered chip (headroom), of a cell's or a work group's limit, of a unit's minimum, and what a
named backup of base load is worth. Rows of decisions have none, nor do the units' maxima: the
steps of a unit end there by themselves.

Prices are in ticks of 1,000 micro-USD per chip-hour, where a solver's tolerance is far below
one micro-USD.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from clearing.layout import Choice, Layout, Model, Settled
from clearing.market import NONE, Flags, Integers, Product
from clearing.pricing.narrowing import Face, bounded, with_conditions
from clearing.program import INFINITY, Floats, Program
from clearing.types import AuctionSpec
from clearing.units import MICRO_USD_PER_USD

TICK: Final = 1_000
"""Micro-USD per unit of the search."""

FILLED: Final = 1e-6
"""Nodes: a fill this near to an end is at it."""

LOOSELY_FILLED: Final = 1e-4
"""The same where a solver's noise leaves no valid price: it takes more fills to be at an end."""

_SHORT_MAX: Final = 2**15 - 1

TICK_DOLLARS: Final = TICK / MICRO_USD_PER_USD
"""US dollars per chip-hour of one tick."""


class Kind(IntEnum):
    """What a variable prices; the order in which variables are numbered."""

    ENERGY = 0
    COVER = 1
    RECLAIMABLE = 2
    RECALL = 3
    SLOT = 4
    POWER = 5
    HEADROOM = 6
    CELL = 7
    WORK = 8
    BACKING = 9
    LEAST = 10


SCARCITY: Final = (Kind.COVER, Kind.RECLAIMABLE, Kind.RECALL, Kind.SLOT, Kind.POWER)
"""Cover, interruptibility, backup and power: what stage (ii) keeps low."""

FALLING: Final = (Kind.CELL, Kind.WORK, Kind.LEAST)
"""Private prices that are low where the others are high: what a buyer keeps, a unit's loss."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Priced:
    """Which variable prices which row.

    Attributes:
        variable: Per row of the program, ``NONE`` where it has no price.
        factor: Per row: dual of the program in US dollars per tick of the variable; what an
            entry pays is its coefficient times this times the price.
        kind, place: Per variable: what it prices, and its position in that field of the layout.
    """

    variable: Integers
    factor: Floats
    kind: Integers
    place: Integers

    def entries(self, program: Program, columns: Flags) -> tuple[Integers, Integers, Floats]:
        """Column, variable and US dollars per tick of every priced entry of some columns."""
        charged = (self.variable[program.rows] != NONE) & (program.values != 0)
        found = np.flatnonzero(columns[program.columns] & charged)
        rows = program.rows[found]
        paid = program.values[found] * self.factor[rows]
        return program.columns[found].astype(np.int64), self.variable[rows], paid

    def of(self, *kinds: Kind) -> Flags:
        """Variables of some kinds."""
        return np.isin(self.kind, kinds)

    def reference(self, settled: Settled) -> Floats:
        """The point of the face that the settled program's own duals are."""
        rows = np.flatnonzero(self.variable != NONE)
        point = np.zeros(self.kind.size)
        point[self.variable[rows]] = settled.duals[rows] / self.factor[rows]
        return point


def open_face(
    model: Model,
    choice: Choice,
    settled: Settled,
    spec: AuctionSpec,
    *,
    capped: bool,
    filled: float = FILLED,
) -> tuple[Priced, Face]:
    """Bounds of every price, and the conditions of every divisible column.

    Args:
        model: Where everything is in the program.
        choice: Units that are off have no conditions: they cannot sell.
        settled: Which rows and columns have slack.
        spec: Floor and cap.
        capped: Hold energy prices to the cap. Without it a price is held to the cap or to the
            settled program's dual, whichever is higher: scarce spare nodes can push the energy
            price above the cap while every all-in price stays inside it.
        filled: Nodes from an end up to which a fill is at it.
    """
    program = settled.program
    at_least = np.isfinite(program.row_lower)
    tight = _tight(settled, at_least, filled)
    priced = _priced(model, program, tight, at_least)
    lower = np.zeros(priced.kind.size)
    upper = np.full(priced.kind.size, INFINITY)
    lower[priced.of(Kind.BACKING)] = -INFINITY
    energy = np.flatnonzero(priced.of(Kind.ENERGY))
    floor, cap = spec.price_floor / TICK, spec.price_cap / TICK
    lower[energy], upper[energy] = floor, cap
    if not capped:
        upper[energy] = np.maximum(cap, priced.reference(settled)[energy])
    slack = energy[~tight[model.layout.balance]]
    upper[slack] = floor
    face = bounded(lower, upper)
    divisible = _divisible(model, choice, program)
    at = settled.best
    low = np.where(at < program.upper - filled, program.objective, -INFINITY)
    high = np.where(at > program.lower + filled, program.objective, INFINITY)
    _leave_out_implied(model, priced, low, high, divisible)
    column, variable, paid = priced.entries(program, divisible)
    used = np.flatnonzero(np.bincount(column, minlength=low.size))
    position = np.full(low.size, NONE, dtype=np.int64)
    position[used] = np.arange(used.size)
    return priced, with_conditions(
        face, position[column], variable, paid, low[used], np.maximum(low, high)[used]
    )


def _leave_out_implied(
    model: Model, priced: Priced, low: Floats, high: Floats, columns: Flags
) -> None:
    """Drop arcs whose condition another one makes: that of the highest or lowest value alike.

    Arcs of one place, product and backup pay the same, but for what their cell's limit is worth.

    Args:
        model: Where everything is in the program.
        priced: Which cells' limits have a price.
        low, high: Between what a column's payment must be.
        columns: Columns with a condition; changed.
    """
    layout, demand = model.layout, model.market.demand
    if demand.arc_cell.size == 0:
        return
    free = (layout.cell == NONE) | (priced.variable[layout.cell] == NONE)
    free &= demand.work == NONE
    arcs = np.flatnonzero(free[demand.arc_cell] & columns[layout.arc :][: demand.arc_cell.size])
    product = demand.product[demand.arc_cell[arcs]]
    backup = layout.slot_of_arc[arcs] + 1
    slots = layout.slot_pool.size + 1
    key = (demand.arc_place[arcs] * len(Product) + product) * slots + backup
    if model.market.grid.places * len(Product) * slots < _SHORT_MAX:
        # A stable sort of 16 bits is a radix sort.
        key = key.astype(np.int16)
    order = key.argsort(kind="stable")
    ranked = layout.arc + arcs[order]
    changes = np.concatenate(([True], key[order][1:] != key[order][:-1]))[: order.size]
    begin = np.flatnonzero(changes)
    columns[ranked] = False
    if begin.size == 0:
        return
    of = changes.cumsum() - 1
    for values, best in ((low, np.maximum), (high, np.minimum)):
        reached = np.flatnonzero(values[ranked] == best.reduceat(values[ranked], begin)[of])
        first = np.concatenate(([True], of[reached][1:] != of[reached][:-1]))
        columns[ranked[reached[first]]] = True


def _tight(settled: Settled, at_least: Flags, filled: float) -> Flags:
    """Rows without slack."""
    program = settled.program
    activity = program.activity(settled.best)
    bound = np.where(at_least, program.row_lower, program.row_upper)
    ended = np.isfinite(bound)
    bound = np.where(ended, bound, 0.0)
    tight: Flags = ended & (np.abs(activity - bound) <= filled * np.maximum(1.0, np.abs(bound)))
    return tight


def _priced(model: Model, program: Program, tight: Flags, at_least: Flags) -> Priced:
    """Number the rows that may have a price, kind by kind."""
    layout = model.layout
    variable = np.full(program.row_lower.size, NONE, dtype=np.int64)
    factor = np.zeros(program.row_lower.size)
    kinds: list[Integers] = []
    places: list[Integers] = []
    count = 0
    for kind, (rows, node) in _rows(model, layout).items():
        flat, size = rows.ravel(), np.broadcast_to(node, rows.shape).ravel()
        kept = np.flatnonzero(flat != NONE)
        if kind is not Kind.ENERGY:
            kept = kept[tight[flat[kept]]]
        found = flat[kept]
        variable[found] = count + np.arange(found.size)
        sign = np.where(at_least[found], -1.0, 1.0)
        factor[found] = sign * size[kept] * TICK_DOLLARS
        count += found.size
        kinds.append(np.full(found.size, kind, dtype=np.int64))
        places.append(kept)
    return Priced(
        variable=variable,
        factor=factor,
        kind=np.concatenate(kinds),
        place=np.concatenate(places),
    )


def _rows(model: Model, layout: Layout) -> dict[Kind, tuple[Integers, Integers]]:
    """Rows of every kind, and the chips that one unit of the row stands for."""
    grid, market = model.market.grid, model.market
    here = grid.node.repeat(grid.intervals)
    there = grid.node[layout.slot_pool].repeat(grid.intervals)
    one = np.ones(1, dtype=np.int64)
    return {
        Kind.ENERGY: (layout.balance, here),
        Kind.COVER: (layout.cover, here),
        Kind.RECLAIMABLE: (layout.reclaimable, here),
        Kind.RECALL: (layout.recall, here),
        Kind.SLOT: (layout.slot_row, there),
        Kind.POWER: (layout.power, one),
        Kind.HEADROOM: (layout.headroom, here),
        Kind.CELL: (layout.cell, one),
        Kind.WORK: (layout.work, one),
        Kind.BACKING: (layout.backing_row, here[market.base.backed_place]),
        Kind.LEAST: (layout.unit_least, grid.node[market.units.pool][:, np.newaxis]),
    }


def _divisible(model: Model, choice: Choice, program: Program) -> Flags:
    """Columns that could be anything between two bounds."""
    supply, intervals = model.market.supply, model.market.grid.intervals
    divisible = (program.upper > program.lower) & ~model.program.whole
    owned = np.flatnonzero(supply.unit != NONE)
    divisible[owned] &= choice.on[supply.unit[owned], supply.place[owned] % intervals]
    return divisible
