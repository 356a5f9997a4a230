"""Multipliers and decisions in the terms of the program: row duals and column values."""

from __future__ import annotations

import numpy as np

from clearing.layout import POWER_UNIT, Model
from clearing.market import NONE, Flags, Integers
from clearing.program import Floats
from clearing.responses import arc_starts
from clearing.search.coordinate.dual import Answer
from clearing.search.coordinate.problem import RECLAIM, Problem
from clearing.search.coordinate.reading import TABLE, chips_per_node, dollars, slots_of
from clearing.search.coordinate.tables import fill_tables

_WATTS_PER_KILOWATT = 1_000
_SURE = 12.0
"""Temperatures from its price at which a column sits at its bound."""

_SLACK = 1e-9
_FAR = 1e6
"""Nodes; a column without an upper bound counts as having this one."""


def row_duals(
    model: Model, problem: Problem, x: Floats, answer: Answer, steep: Flags | None = None
) -> Floats:
    """Row duals of the program at multipliers, US dollars per unit of the row, solver's sign.

    Where a place is ``steep`` its multiplier of cover belongs to another row.
    """
    layout, market, places = model.layout, model.market, problem.places
    answer.soft[:] = 0.0
    fill_tables(places, x, answer.soft, answer.tables)
    tables = answer.tables
    node = chips_per_node(market).astype(np.float64)
    count = node.size
    mu, recall = x[count : 2 * count], tables.recall
    found = np.zeros(model.program.row_lower.size)
    for rows, values in (
        (layout.balance, -x[:count] * node),
        (layout.cover, -mu * node if steep is None else np.where(steep, 0.0, -mu * node)),
        (layout.reclaimable, np.maximum(0.0, mu - recall) * node),
        (layout.recall, recall * node),
        (layout.headroom, tables.spare * node),
    ):
        there = rows != NONE
        found[rows[there]] = values[there]
    intervals = places.intervals
    slot = np.searchsorted(
        slots_of(market), layout.slot_site * len(market.grid.pools) + layout.slot_pool
    )
    row = places.slot_row.reshape(-1, intervals)[slot].ravel()
    price = np.where(row == NONE, 0.0, x[np.maximum(row, 0)])
    price *= market.grid.node[layout.slot_pool].repeat(intervals)
    there = layout.slot_row != NONE
    found[layout.slot_row[there]] = -price[there]
    limit = np.full(len(market.grid.site_ids) * intervals, NONE, dtype=np.int64)
    at = market.grid.site[:, None] * intervals + np.arange(intervals)
    limit[at.ravel()] = places.limit_of
    there = (layout.power != NONE) & (limit != NONE)
    nu = x[places.at_power + limit[there]]
    found[layout.power[there]] = nu * (POWER_UNIT / _WATTS_PER_KILOWATT)
    _cell_duals(model, problem, x, answer, found)
    return found


def _cell_duals(model: Model, problem: Problem, x: Floats, answer: Answer, found: Floats) -> None:
    """Best net gain of each cell, and the price of work."""
    layout, demand = model.layout, model.market.demand
    if demand.interval.size == 0:
        return
    start = arc_starts(model.market)[:-1]
    gain = np.maximum.reduceat(_arc_gains(model, problem, x, answer), start)
    lead = demand.arc_pool[start]
    node = model.market.grid.node[lead].astype(np.float64)
    there = layout.cell != NONE
    found[layout.cell[there]] = (np.maximum(0.0, gain) * node)[there]
    there = layout.work != NONE
    unit = np.ones(layout.work.size)
    worked = demand.work != NONE
    unit[demand.work[worked]] = node[worked]
    found[layout.work[there]] = (x[problem.places.at_work :] * unit)[there]


def _arc_gains(model: Model, problem: Problem, x: Floats, answer: Answer) -> Floats:
    """Value less price per chip of every arc; work at its own price."""
    demand, grid = model.market.demand, model.market.grid
    places = problem.places
    count = places.pools * places.intervals
    table = TABLE[demand.product[demand.arc_cell]]
    price = answer.tables.price[table * count + demand.arc_place]
    named = model.layout.slot_of_arc != NONE
    if named.any():
        slots = slots_of(model.market)
        key = grid.site[demand.arc_pool] * len(grid.pools) + demand.arc_backup
        slot = np.searchsorted(slots, key[named])
        row = places.slot_row[slot * grid.intervals + demand.interval[demand.arc_cell[named]]]
        price[named] += x[row]
    work = demand.work[demand.arc_cell]
    price += np.where(
        work == NONE, 0.0, x[places.at_work :][work] if x.size > places.at_work else 0
    )
    net: Floats = dollars(demand.arc_value - grid.charge[demand.arc_pool]) - price
    return net


def column_values(
    model: Model, problem: Problem, x: Floats, tau: float, answer: Answer, taken: Integers
) -> Floats:
    """Column values near which the linear problem with these decisions has its solution.

    ``answer`` is that of the smoothed dual at ``x`` and ``tau``.
    """
    layout, market, places = model.layout, model.market, problem.places
    program, tables = model.program, answer.tables
    found = np.zeros(program.objective.size)
    node = chips_per_node(market).astype(np.float64)
    count = node.size
    supply = market.supply
    price = x[:count] - tables.spare
    at = np.where(
        supply.released, x[supply.place] - tables.recall[supply.place], price[supply.place]
    )
    over = (at - dollars(supply.price)) / (tau * places.ref[supply.place])
    running = np.ones(supply.place.size)
    own = supply.unit != NONE
    running[own] = answer.runs.on[
        supply.unit[own] * places.intervals + supply.place[own] % places.intervals
    ]
    found[: supply.place.size] = supply.nodes * _part(over) * running
    _arc_values(model, problem, x, tau, answer, found)
    picks, odds = problem.picks, answer.odds
    there = taken >= 0
    chosen = picks.source[taken[there]]
    found[layout.chosen + chosen] = 1.0
    fill = layout.fill[chosen]
    part = odds.part[taken[there]] * picks.extra[taken[there]]
    open_ = fill != NONE
    found[fill[open_]] = part[open_] / market.grid.node[market.blocks.pool[chosen[open_]]]
    _place_values(model, problem, answer, node, found)
    there = layout.flow != NONE
    if there.any():
        found[layout.flow[there]] = (answer.flow / node[problem.flows.source])[there]
    on = layout.unit_on
    there = on != NONE
    found[on[there]] = (answer.runs.on.reshape(on.shape) > 0.0)[there]
    return _loosen(model, np.clip(found, program.lower, program.upper))


def _loosen(model: Model, values: Floats) -> Floats:
    """Values with the columns of every row that does not hold moved off their bounds.

    A column at a bound says that it belongs there; in a row that does not hold somebody has
    to move.
    """
    program = model.program
    activity = program.activity(values)
    broken = (activity < program.row_lower - _SLACK) | (activity > program.row_upper + _SLACK)
    broken[model.layout.decision] = False
    inside = np.zeros(values.size, dtype=np.bool_)
    inside[program.columns[broken[program.rows]]] = True
    columns = np.flatnonzero(inside & ~program.whole)
    low, high = program.lower[columns], np.minimum(program.upper[columns], _FAR)
    found = values.copy()
    found[columns] = low + np.clip(values[columns] - low, 0.01 * (high - low), 0.99 * (high - low))
    return found


def _part(over: Floats) -> Floats:
    """Logistic share, exact at the bounds."""
    part: Floats = 1.0 / (1.0 + np.exp(-np.clip(over, -_SURE, _SURE)))
    part[over >= _SURE] = 1.0
    part[over <= -_SURE] = 0.0
    return part


def _arc_values(
    model: Model, problem: Problem, x: Floats, tau: float, answer: Answer, found: Floats
) -> None:
    """Nodes of every arc: the cell's share at its price, split over near-equal arcs."""
    layout, demand, grid = model.layout, model.market.demand, model.market.grid
    if demand.interval.size == 0:
        return
    gain = _arc_gains(model, problem, x, answer)
    start = arc_starts(model.market)[:-1]
    best = np.maximum.reduceat(gain, start)
    soft = tau * np.maximum(dollars(demand.arc_value[start]), 1e-3)
    far = (gain - best[demand.arc_cell]) / soft[demand.arc_cell]
    share = np.where(far < -_SURE, 0.0, np.exp(np.maximum(far, -_SURE)))
    share /= np.add.reduceat(share, start)[demand.arc_cell]
    chips = demand.chips * _part(best / soft)
    nodes = share * chips[demand.arc_cell] / grid.node[demand.arc_pool]
    found[layout.arc : layout.arc + nodes.size] = nodes


def _place_values(
    model: Model, problem: Problem, answer: Answer, node: Floats, found: Floats
) -> None:
    """Spare and counted interruptibles per place."""
    layout, places, tables = model.layout, problem.places, answer.tables
    count = node.size
    spare = np.maximum(0.0, places.offered - answer.sold + answer.unit_held)
    for columns, chips in (
        (layout.spare, tables.node_share * spare),
        (layout.site_spare, tables.site_share * spare),
        (layout.reclaim, tables.owed * answer.used[RECLAIM * count :]),
    ):
        there = columns != NONE
        found[columns[there]] = (chips / node)[there]
