"""What published prices support: the quantities that every divisible order would choose.

Whole-node awards are a second solve, and left to welfare alone it moves a node to a pool
that costs more at the prices, or leaves a bid in the money several nodes short. Prices are
published before awards are made, so awards are held to them: nothing where the price is
not worth it, and in full, but for the odd node, where it is. The published rule is
written down in ``clearing.verify``, which computes the same from the orders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from clearing.columns import Flags, Integers, expand, starts, take
from clearing.layout import Choice, Model
from clearing.market import NONE, Market, Product
from clearing.prices import Prices
from clearing.units import PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Columns that together should be at their most.

    Attributes:
        interval: When.
        columns: Program column and chips that one of its nodes stands for.
        chips: What they hold at most.
        free: Chips that they may be short without an explanation: one node for each further
            pool among which somebody is indifferent.
    """

    interval: int
    columns: tuple[tuple[int, int], ...]
    chips: int
    free: int


ROUNDING: Final = 2
"""Micro-USD by which two prices that were rounded apart may differ where they are equal."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Support:
    """Best responses at the published prices.

    Attributes:
        most: Most nodes per supply column that its owner would sell: none where that loses,
            for a unit what its least quantity forces.
        arc_most: Most nodes per arc: none where it loses or another arc of its cell is better.
        due_supply: Supply steps that gain more by sale than by standing by.
        equal: Arcs among the best of a cell that does not lose.
        gains: Step cells in the money: their best arcs should be full.
        paid: Places with a price above zero: what is sold there is delivered.
        arc_start: Arcs of each cell, ragged.
        index: Look-up tables, made when first asked for.
    """

    model: Model
    most: Integers
    arc_most: Integers
    due_supply: Flags
    equal: Flags
    gains: Flags
    paid: Flags
    arc_start: Integers
    index: dict[str, Any] = field(default_factory=dict)

    def unmet(self, supply: Integers, arcs: Integers, settled: Flags) -> list[Due]:
        """Dues that are missed by more than odd nodes explain.

        Args:
            supply: Nodes per supply column.
            arcs: Nodes per arc.
            settled: Arcs whose nodes are final; cells with others are left out.
        """
        market, layout = self.model.market, self.model.layout
        demand, grid = market.demand, market.grid
        cells = demand.chips.size
        size = grid.node[demand.arc_pool]
        held = sums_of(demand.arc_cell[self.equal], (arcs * size)[self.equal], cells)
        short = self.gains & (held < demand.chips)
        short[demand.arc_cell[~settled]] = False
        due = np.flatnonzero(self.due_supply)
        missed = due[supply[due] < market.supply.nodes[due]]
        places = np.unique(market.supply.place[missed]).tolist()
        nodes = np.concatenate((supply, arcs)).tolist()
        offset = layout.arc - supply.size
        return [
            found
            for found in self.dues(set(np.flatnonzero(short).tolist()), places)
            if found.free
            + sum(
                nodes[column if column < supply.size else column - offset] * chips
                for column, chips in found.columns
            )
            < found.chips
        ]

    def joined(self, place: int) -> list[int]:
        """Other places that some cell finds as good as this one."""
        demand = self.model.market.demand
        if "arcs" not in self.index:
            equal = np.flatnonzero(self.equal)
            order = equal[demand.arc_place[equal].argsort(kind="stable")]
            self.index["arcs"] = order
            self.index["places"] = demand.arc_place[order]
        begin, end = np.searchsorted(self.index["places"], (place, place + 1)).tolist()
        cells = np.unique(demand.arc_cell[self.index["arcs"][begin:end]])
        _, arcs = take(self.arc_start, cells)
        places = np.unique(demand.arc_place[arcs[self.equal[arcs]]])
        return [other for other in places.tolist() if other != place]

    def dues(self, cells: set[int], places: list[int]) -> list[Due]:
        """What the named cells, with the other steps of their orders, and places should hold."""
        return [*self._of_bids(cells), *self._of_offers(places)]

    def _of_bids(self, cells: set[int]) -> list[Due]:
        """The steps of an order in an interval are short together, not step by step."""
        market = self.model.market
        demand, grid = market.demand, market.grid
        found: list[Due] = []
        seen: set[int] = set()
        for first in sorted(cells):
            if first in seen or not self.gains[first]:
                continue
            together = sorted(self._together(first))
            seen.update(together)
            columns: list[tuple[int, int]] = []
            free: list[int] = []
            for cell in together:
                arcs = np.arange(self.arc_start[cell], self.arc_start[cell + 1])
                arcs = arcs[self.equal[arcs]]
                sizes = grid.node[demand.arc_pool[arcs]]
                columns += zip((self.model.layout.arc + arcs).tolist(), sizes.tolist(), strict=True)
                free.append(int(sizes.sum() - sizes.max()))
            found.append(
                Due(
                    interval=int(demand.interval[first]),
                    columns=tuple(columns),
                    chips=int(demand.chips[together].sum()),
                    free=min(free),
                )
            )
        return found

    def _together(self, cell: int) -> set[int]:
        """Cells in the money that the same orders, and the orders in those, have at once."""
        demand = self.model.market.demand
        intervals = self.model.market.grid.intervals
        if "keys" not in self.index:
            of_member, _ = expand(np.diff(demand.member_start))
            keys = demand.member_bid * intervals + demand.interval[of_member]
            order = keys.argsort(kind="stable")
            self.index["keys"], self.index["cells"] = keys[order], of_member[order]
        keys, cells = self.index["keys"], self.index["cells"]
        interval = int(demand.interval[cell])
        found, open_cells = {cell}, [cell]
        while open_cells:
            at = open_cells.pop()
            bids = demand.member_bid[demand.member_start[at] : demand.member_start[at + 1]]
            begin, end = (
                np.searchsorted(keys, bids * intervals + interval + late) for late in (0, 1)
            )
            same = np.concatenate([cells[one:two] for one, two in zip(begin, end, strict=True)])
            fresh = set(same[self.gains[same]].tolist()) - found
            found |= fresh
            open_cells += fresh
        return found

    def _of_offers(self, places: list[int]) -> list[Due]:
        market = self.model.market
        supply, grid = market.supply, market.grid
        found: list[Due] = []
        for place in places:
            begin, end = np.searchsorted(supply.place, (place, place + 1)).tolist()
            size = int(grid.node[place // grid.intervals])
            free = sum(int(grid.node[at // grid.intervals]) for at in self.joined(place))
            for released in (False, True):
                due = self.due_supply[begin:end] & (supply.released[begin:end] == released)
                columns = (begin + np.flatnonzero(due)).tolist()
                if columns:
                    chips = int(supply.nodes[columns].sum()) * size
                    entries = tuple((column, size) for column in columns)
                    interval = place % grid.intervals
                    found.append(Due(interval=interval, columns=entries, chips=chips, free=free))
        return found


def supported(model: Model, choice: Choice, prices: Prices) -> Support:
    """Best responses of steps at rounded prices.

    Args:
        model: Orders and columns.
        choice: Which units are on.
        prices: Published ones.
    """
    market = model.market
    most, due_supply = _supply(market, choice, prices)
    demand = market.demand
    cells = demand.chips.size
    arc_start = starts(np.bincount(demand.arc_cell, minlength=cells))
    net = arc_gains(model, prices)
    best = best_of_cells(net, arc_start)
    equal = net >= np.maximum(0, best[demand.arc_cell] - ROUNDING)
    chips = demand.chips[demand.arc_cell]
    return Support(
        model=model,
        most=most,
        arc_most=np.where(equal, chips // market.grid.node[demand.arc_pool], 0),
        due_supply=due_supply,
        equal=equal,
        gains=(best > 0) & (demand.work == NONE),
        paid=prices.energy > 0,
        arc_start=arc_start,
    )


def arc_gains(model: Model, prices: Prices) -> Integers:
    """What a chip gains at the prices in each way to serve it."""
    market, layout = model.market, model.layout
    demand, grid = market.demand, market.grid
    paid = np.empty(demand.arc_cell.size, dtype=np.int64)
    product = demand.product[demand.arc_cell]
    for kind in Product:
        rows = np.flatnonzero(product == kind)
        paid[rows] = prices.paid(grid, kind)[demand.arc_place[rows]]
    backed = np.flatnonzero(layout.slot_of_arc != NONE)
    interval = demand.interval[demand.arc_cell[backed]]
    paid[backed] += prices.backup[layout.slot_of_arc[backed] * grid.intervals + interval]
    return demand.arc_value - paid


def best_of_cells(net: Integers, arc_start: Integers) -> Integers:
    """Best gain of each cell over its arcs; every cell has one."""
    if arc_start.size == 1:
        return np.zeros(0, dtype=np.int64)
    best: Integers = np.maximum.reduceat(net, arc_start[:-1])
    return best


def blur_of(market: Market, prices: Prices) -> Integers:
    """How far sale and stand-by may seem apart by rounding alone, per place.

    The price of stand-by is only as exact as the cover charge, its rounded share.
    """
    theta = market.grid.theta.repeat(market.grid.intervals)
    node = np.where((theta > 0) & (prices.spare > 0), 2 + PPM // np.maximum(1, theta), 0)
    return np.maximum(node, np.where(prices.site_spare > 0, 2, 0))


def idle_of(prices: Prices) -> Integers:
    """What a chip that is not sold earns by standing by, per place; 0 where that is nothing."""
    held = np.maximum(prices.spare, prices.site_spare) - prices.power
    return np.maximum(held, 0)


def _supply(market: Market, choice: Choice, prices: Prices) -> tuple[Integers, Flags]:
    """Most nodes per supply column at the prices, and columns that gain most by sale."""
    supply, units, grid = market.supply, market.units, market.grid
    place = supply.place
    earned = prices.energy[place] - np.where(supply.released, prices.recall[place], 0)
    gain = earned - supply.price
    idle = np.where(supply.released, 0, idle_of(prices)[place])
    blur = np.where(supply.released, 0, blur_of(market, prices)[place])
    open_ = gain >= np.maximum(0, idle - blur)
    due = gain > idle + blur
    most = np.where(open_, supply.nodes, 0)
    owned = np.flatnonzero(supply.unit != NONE)
    if owned.size:
        on = choice.on[supply.unit[owned], place[owned] % grid.intervals]
        forced = forced_nodes(market, owned)
        held = np.maximum(most[owned], forced)
        most[owned] = np.where(on, held, 0)
        due[owned] &= on & ~units.whole[supply.unit[owned]]
    return most, due


def forced_nodes(market: Market, owned: Integers) -> Integers:
    """Nodes of units' steps that their least quantity takes while they are on, cheapest first.

    Args:
        market: Supply steps are sorted by place and price, so a unit's by price in a place.
        owned: Supply columns of units, ascending.
    """
    supply, units, grid = market.supply, market.units, market.grid
    unit, interval = supply.unit[owned], supply.place[owned] % grid.intervals
    order = np.lexsort((owned, interval, unit))
    nodes = supply.nodes[owned][order]
    key = (unit * grid.intervals + interval)[order]
    before = starts(nodes)[:-1]
    first = np.searchsorted(key, key)
    before = before - before[first]
    least = units.least[unit, interval][order]
    forced = np.empty(owned.size, dtype=np.int64)
    forced[order] = np.clip(least - before, 0, nodes)
    return forced


def sums_of(rows: Integers, values: Integers, size: int) -> Integers:
    """Sums of quantities per row: exact in floating point, because they stay below 2**53."""
    return np.bincount(rows, weights=values, minlength=size).astype(np.int64)
