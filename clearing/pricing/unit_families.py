"""Lost opportunity of supply with commitments over the face.

The response of an offer with a commitment is the longest path through its states: *off*, or *on
and free to stop*, before each interval. Staying off is worth nothing, staying on the profit of
the interval, a start the profits of its shortest run less the start-up; stopping is free. The
profit of an interval is a small linear problem (sell the minimum at least; what is not sold
stands by or idles). Paths and profits enter the price choice by their duals: potentials of the
states and, for each interval, the rent of a chip, the loss of the minimum and the gain of every
step. Longest paths are whole without being told so, so these duals are the dynamic program
itself and no relaxation of it.

A supply block is all or nothing: its response is its gain, or nothing.

As with blocks, an offer whose best path is the same at all open prices gets no variable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from clearing.layout import Choice, Model, Settled
from clearing.market import NONE, Flags, Integers
from clearing.pricing.face import TICK_DOLLARS, Kind, Priced
from clearing.pricing.families import Paid, paid
from clearing.pricing.narrowing import Face, totals, with_conditions, with_variables
from clearing.pricing.unit_paths import Arcs, Profits, differs, possible_arcs
from clearing.program import INFINITY, Floats

_INDIFFERENT: Final = 1e-6
"""Ticks per chip-hour by which a profit must be able to move to count as moving."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Steps:
    """Supply steps of units, by unit, place and price.

    Attributes:
        column: Supply column.
        unit, place: Whose it is and where.
        cell: ``unit * intervals + interval``.
        nodes: Nodes offered; ``forced`` those of them that are sold at the minimum.
    """

    column: Integers
    unit: Integers
    place: Integers
    cell: Integers
    nodes: Floats
    forced: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Standby:
    """What a spare node pays (its earnings negative) per place, for NODE and for SITE cover."""

    node: Paid
    site: Paid


@dataclass(slots=True, kw_only=True)
class _Draft:
    """Variables and conditions to be added to a face."""

    next_variable: int
    lower: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)

    def variable(self, lower: float, cost: float = 0.0) -> int:
        """Add a variable without an upper bound."""
        self.lower.append(lower)
        self.cost.append(cost)
        self.next_variable += 1
        return self.next_variable - 1

    def at_least(self, low: float, *entries: tuple[int, float]) -> None:
        """Add a condition ``sum of entries >= low``."""
        for index, value in entries:
            if value == 0:
                continue
            self.row.append(len(self.low))
            self.index.append(index)
            self.value.append(value)
        self.low.append(low)

    def onto(self, face: Face) -> Face:
        """The face with all of it."""
        lower = np.array(self.lower, dtype=np.float64)
        face = with_variables(face, lower, np.full(lower.size, INFINITY))
        return with_conditions(
            face,
            np.array(self.row, dtype=np.int64),
            np.array(self.index, dtype=np.int64),
            np.array(self.value, dtype=np.float64),
            np.array(self.low, dtype=np.float64),
            np.full(len(self.low), INFINITY),
        )


def with_units(
    model: Model, choice: Choice, settled: Settled, priced: Priced, face: Face
) -> tuple[Face, Floats]:
    """The face with responses of units, and what each of its variables costs in stage (i)."""
    units = model.market.units
    if units.offer.size == 0:
        return face, np.zeros(face.lower.size)
    draft = _Draft(next_variable=face.lower.size)
    cost = np.zeros(face.lower.size)
    _add_supply_blocks(draft, cost, model, choice, priced, face)
    steps = _steps(model)
    standby = _standby(model, priced, settled, face, steps)
    profits = _profits(model, steps, standby, priced, face)
    noise = _INDIFFERENT * _unit(model) * units.offered.shape[1]
    arcs = possible_arcs(profits, units.min_run, noise)
    moving = ~units.whole & differs(arcs, choice.on, units.min_run)
    for unit in np.flatnonzero(moving).tolist():
        _add_paths(draft, model, priced, face, unit, steps, standby, profits, arcs)
    surplus = _surplus(model, choice, settled, priced, face)
    _, prices, values = surplus.only(moving)
    np.add.at(cost, prices, values)
    return draft.onto(face), np.append(cost, draft.cost)


def supply_block_surpluses(
    model: Model, choice: Choice, priced: Priced, face: Face
) -> tuple[Floats, Paid]:
    """What accepted supply blocks gain before they receive (their costs), and what they pay.

    Both are zero for other units; what a seller receives is a negative payment.
    """
    gain, charge = _whole(model, priced, face)
    accepted = model.market.units.whole & (choice.on.sum(axis=1) > 0)
    group, variable, value = charge.only(accepted)
    constant = np.where(accepted, charge.constant, 0.0)
    return np.where(accepted, gain, 0.0), Paid(
        constant=constant, group=group, variable=variable, value=value
    )


def _whole(model: Model, priced: Priced, face: Face) -> tuple[Floats, Paid]:
    """Costs (negative) and payments of every supply block when it is on."""
    units, supply, objective = model.market.units, model.market.supply, model.program.objective
    group = np.full(objective.size, NONE, dtype=np.int64)
    weight = np.zeros(objective.size)
    owned = np.flatnonzero(supply.unit != NONE)
    owned = owned[units.whole[supply.unit[owned]]]
    group[owned] = supply.unit[owned]
    weight[owned] = supply.nodes[owned]
    gain = totals(supply.unit[owned], objective[owned] * weight[owned], units.offer.size)
    column = model.layout.unit_on.max(axis=1, initial=NONE)
    gain += np.where(units.whole & (column != NONE), objective[column], 0.0)
    rows = _rows(priced, Kind.ENERGY)
    return gain, paid(priced, face, model.program, group, weight, units.offer.size, rows)


def _add_supply_blocks(
    draft: _Draft, cost: Floats, model: Model, choice: Choice, priced: Priced, face: Face
) -> None:
    """A response to each supply block that could be worth it as well as not."""
    units = model.market.units
    gain, charge = _whole(model, priced, face)
    least, most = charge.between(face)
    noise = _INDIFFERENT * _unit(model) * units.offered.shape[1]
    accepted = choice.on.sum(axis=1) > 0
    sure = np.where(accepted, gain - most >= -noise, gain - least <= noise)
    scale = _unit(model)
    for unit in np.flatnonzero(units.whole & ~sure).tolist():
        size = float(scale[unit])
        response = draft.variable(0.0, size)
        mine = np.flatnonzero(charge.group == unit)
        prices, values = charge.variable[mine].tolist(), charge.value[mine].tolist()
        worth = float(gain[unit] - charge.constant[unit])
        draft.at_least(worth, (response, size), *zip(prices, values, strict=True))
        if accepted[unit]:
            np.add.at(cost, charge.variable[mine], charge.value[mine])


def _rows(priced: Priced, *kinds: Kind) -> Flags:
    """Rows of the program that have a price of some kinds."""
    wanted = np.append(priced.of(*kinds), [False])
    flags: Flags = np.take(wanted, priced.variable)
    return flags


def _unit(model: Model) -> Floats:
    """US dollars of a tick on the most chips of each unit: scale of its profits."""
    units, grid = model.market.units, model.market.grid
    most = np.maximum(1, units.offered.max(axis=1, initial=1))
    scale: Floats = most * grid.node[units.pool] * TICK_DOLLARS
    return scale


def _steps(model: Model) -> _Steps:
    """Steps of units, cheapest first in every unit and place."""
    supply, units, grid = model.market.supply, model.market.units, model.market.grid
    owned = np.flatnonzero(supply.unit != NONE)
    order = np.lexsort((supply.price[owned], supply.place[owned], supply.unit[owned]))
    column = owned[order]
    unit, place = supply.unit[column], supply.place[column]
    cell = unit * grid.intervals + place % grid.intervals
    nodes = supply.nodes[column].astype(np.float64)
    before = np.cumsum(nodes) - nodes
    first = np.ones(cell.size, dtype=np.bool_)
    first[1:] = cell[1:] != cell[:-1]
    before -= np.maximum.accumulate(np.where(first, before, 0.0))
    least = units.least.ravel()[cell]
    return _Steps(
        column=column,
        unit=unit,
        place=place,
        cell=cell,
        nodes=nodes,
        forced=np.clip(least - before, 0.0, nodes),
    )


def _standby(model: Model, priced: Priced, settled: Settled, face: Face, steps: _Steps) -> _Standby:
    """What spare nodes pay at the places of units, the rent of the chip itself left out."""
    layout, places = model.layout, model.market.grid.places
    rows = ~_rows(priced, Kind.HEADROOM)
    used = np.unique(steps.place)
    found = []
    for column in (layout.spare, layout.site_spare):
        group = np.full(model.program.objective.size, NONE, dtype=np.int64)
        here = used[column[used] != NONE]
        group[column[here]] = here
        weight = np.ones(group.size)
        found.append(paid(priced, face, settled.program, group, weight, places, rows))
    return _Standby(node=found[0], site=found[1])


def _profits(model: Model, steps: _Steps, standby: _Standby, priced: Priced, face: Face) -> Profits:
    """Profit of each unit and interval at the least and at the most open prices."""
    units, layout, objective = model.market.units, model.layout, model.program.objective
    row = layout.balance[steps.place]
    variable, factor = priced.variable[row], -priced.factor[row]
    node_least, node_most = standby.node.between(face)
    site_least, site_most = standby.site.between(face)
    series = []
    for price, node, site in (
        (face.lower, node_most, site_most),
        (face.upper, node_least, site_least),
    ):
        margin = factor * price[variable] + objective[steps.column]
        idle = np.maximum(0.0, np.maximum(-node, -site))[steps.place]
        gain = steps.forced * margin
        gain += (steps.nodes - steps.forced) * np.maximum(margin, idle)
        found = totals(steps.cell, gain, units.offered.size).reshape(units.offered.shape)
        series.append(found + np.where(layout.unit_on != NONE, objective[layout.unit_on], 0.0))
    return Profits(
        low=series[0],
        high=series[1],
        open=(units.offered > 0) & (layout.unit_on != NONE),
        start_up=np.where(layout.unit_start != NONE, objective[layout.unit_start], 0.0),
    )


def _surplus(model: Model, choice: Choice, settled: Settled, priced: Priced, face: Face) -> Paid:
    """What units pay for what they sell and hold: energy, and the rent of every chip."""
    supply, units, layout = model.market.supply, model.market.units, model.layout
    group = np.full(model.program.objective.size, NONE, dtype=np.int64)
    owned = np.flatnonzero(supply.unit != NONE)
    group[owned] = supply.unit[owned]
    for unit in range(units.offer.size):
        columns = layout.unit_on[unit]
        group[columns[choice.on[unit] & (columns != NONE)]] = unit
    rows = _rows(priced, Kind.ENERGY, Kind.HEADROOM)
    return paid(priced, face, settled.program, group, settled.best, units.offer.size, rows)


def _add_paths(
    draft: _Draft,
    model: Model,
    priced: Priced,
    face: Face,
    unit: int,
    steps: _Steps,
    standby: _Standby,
    profits: Profits,
    arcs: Arcs,
) -> None:
    """Potentials and profits of one unit; its response is the potential off at the start."""
    intervals = profits.low.shape[1]
    length = int(model.market.units.min_run[unit])
    scale = float(_unit(model)[unit])
    off = [draft.variable(arcs.off_low[unit, t] / scale) for t in range(intervals + 1)]
    on = [draft.variable(arcs.on_low[unit, t] / scale) for t in range(intervals + 1)]
    draft.cost[off[0] - draft.next_variable + len(draft.cost)] = scale
    used = arcs.used(unit, length)
    profit: dict[int, tuple[float, int]] = {}
    for t in np.flatnonzero(used).tolist():
        low, high = float(profits.low[unit, t]), float(profits.high[unit, t])
        if high - low <= _INDIFFERENT * scale:
            profit[t] = (low, NONE)
        else:
            variable = draft.variable(low / scale)
            profit[t] = (0.0, variable)
            _add_profit(draft, model, priced, face, (unit, t), variable, scale, steps, standby)

    def earned(first: int, stop: int) -> tuple[float, list[tuple[int, float]]]:
        known = sum(profit[t][0] for t in range(first, stop))
        return known, [(profit[t][1], -scale) for t in range(first, stop) if profit[t][1] != NONE]

    for t in range(intervals):
        draft.at_least(0.0, (off[t], scale), (off[t + 1], -scale))
        draft.at_least(0.0, (on[t], scale), (off[t], -scale))
        if arcs.stay[unit, t]:
            known, entries = earned(t, t + 1)
            draft.at_least(known, (on[t], scale), (on[t + 1], -scale), *entries)
        if arcs.start[unit, t]:
            known, entries = earned(t, t + length)
            known += float(profits.start_up[unit, t])
            draft.at_least(known, (off[t], scale), (on[t + length], -scale), *entries)


def _add_profit(
    draft: _Draft,
    model: Model,
    priced: Priced,
    face: Face,
    at: tuple[int, int],
    profit: int,
    scale: float,
    steps: _Steps,
    standby: _Standby,
) -> None:
    """The profit of one interval: rent of a chip, loss of the minimum, gain of every step."""
    unit, t = at
    market, layout, objective = model.market, model.layout, model.program.objective
    place = market.grid.at(int(market.units.pool[unit]), t)
    dollars = float(market.grid.node[market.units.pool[unit]]) * TICK_DOLLARS
    rent, loss = draft.variable(0.0), draft.variable(0.0)
    for held in (standby.node, standby.site):
        mine = held.group == place
        entries = zip(held.variable[mine].tolist(), held.value[mine].tolist(), strict=True)
        draft.at_least(-held.constant[place], (rent, dollars), *entries)
    row = int(layout.balance[place])
    price, factor = int(priced.variable[row]), float(priced.factor[row])
    known = 0.0 if face.is_open[price] else -factor * float(face.lower[price])
    sold = [] if known or not face.is_open[price] else [(price, factor)]
    rows = np.flatnonzero(steps.cell == unit * market.grid.intervals + t)
    total = [
        (profit, scale),
        (rent, -dollars * float(market.units.offered[unit, t])),
        (loss, dollars * float(market.units.least[unit, t])),
    ]
    for step in rows.tolist():
        gain = draft.variable(0.0)
        margin = float(objective[steps.column[step]]) + known
        draft.at_least(margin, (gain, dollars), (rent, dollars), (loss, -dollars), *sold)
        total.append((gain, -dollars * float(steps.nodes[step])))
    draft.at_least(float(objective[layout.unit_on[unit, t]]), *total)
