"""Which of the valid prices is published (DESIGN 4.2, "Which valid price").

With the alternatives fixed the auction is a linear problem, and its valid prices are the
dual solutions that support the awards: everybody in the money is full, everybody out of
it empty, partial fills are exactly at the price. Among them, in this order,

1. the least total lost opportunity over all blocks: best response at the prices (on the
   convex hull, so never the minimum fill) minus the surplus of what was accepted;
2. the least cover + power + interruptibility price;
3. the mean of the lowest and the highest hash-weighted price sum.

Who earns which dual: a chip earns the dual of a row exactly when it counts in it. A
reclaimable step, and a block's fill above its minimum, earn lambda_a + lambda_b; a block's
minimum and a bid with a notice between the two cover times earn lambda_b alone; released
base load pays lambda_b; a spare chip earns mu less power. All of this is read off the
columns of the program, so there is no second place where it could differ.

Prices are searched in ticks of 1,000 micro-USD per chip-hour, where a solver's tolerance
is far below one micro-USD.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from clearing import ties
from clearing.errors import SolverError
from clearing.model import NONE, Model
from clearing.program import INFINITY, Builder, Floats, Program
from clearing.search import Choice, Settled
from clearing.solver import restrict_to_best, solve_linear
from clearing.types import AuctionSpec

TICK: Final = 1_000
"""Micro-USD per unit of the search."""

_FILLED: Final = 1e-6
"""Nodes: a fill this near to an end is at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duals:
    """Chosen prices in micro-USD per chip-hour, not yet rounded, per (pool, interval), flat.

    Attributes:
        energy: pi.
        power: Chip power x nu.
        spare: mu.
        availability: lambda_a.
        recall: lambda_b.
    """

    energy: Floats
    power: Floats
    spare: Floats
    availability: Floats
    recall: Floats


@dataclass(slots=True, kw_only=True)
class _Face:
    """The dual problem under construction: one variable per row that may be priced."""

    builder: Builder
    variable: dict[int, int]
    scale: Floats
    sign: Floats
    by_column: list[list[tuple[int, float]]]


def choose_prices(
    model: Model, choice: Choice, settled: Settled, spec: AuctionSpec, seed: bytes
) -> Duals:
    """Choose the published prices.

    Raises:
        SolverError: no valid price exists, which contradicts linear programming duality.
    """
    try:
        return _choose(model, choice, settled, spec, seed, spec.price_cap / TICK)
    except SolverError:
        # Scarce spare nodes can push the energy price itself above the cap while every
        # all-in price stays inside it.
        return _choose(model, choice, settled, spec, seed, INFINITY)


def _choose(
    model: Model,
    choice: Choice,
    settled: Settled,
    spec: AuctionSpec,
    seed: bytes,
    cap: float,
) -> Duals:
    face = _open_face(model, settled, spec, cap)
    _add_step_conditions(face, settled)
    lost = _add_lost_opportunity(face, model, choice, settled)
    program = face.builder.freeze()
    for objective in (lost, _scarcity(face, model)):
        costs = np.zeros(program.objective.size)
        for variable, cost in objective.items():
            costs[variable] -= cost
        if costs.any():
            program = replace(program, objective=costs)
            program = restrict_to_best(program, solve_linear(program))
    weights = _hash_weights(face, model, seed)
    low = solve_linear(replace(program, objective=-weights))
    high_program = replace(program, objective=weights, upper=_bounded(program, cap))
    high = solve_linear(high_program)
    return _read(face, model, (low.values + high.values) / 2)


def _bounded(program: Program, cap: float) -> Floats:
    """Upper bounds for the highest price sum, which a pool without orders would leave open."""
    limit = cap if np.isfinite(cap) else 1_000_000.0
    return np.minimum(program.upper, np.maximum(program.lower, limit * 1_000))


def _open_face(model: Model, settled: Settled, spec: AuctionSpec, cap: float) -> _Face:
    """One variable per row without slack; a row with slack has no price."""
    program, layout, grid = settled.program, model.layout, model.market.grid
    activity = np.bincount(
        program.rows,
        weights=program.values * settled.best.values[program.columns],
        minlength=program.row_lower.size,
    )
    at_least = np.isfinite(program.row_lower)
    bound = np.where(at_least, program.row_lower, program.row_upper)
    tight = np.abs(activity - bound) <= _FILLED * np.maximum(1.0, np.abs(bound))
    scale = np.full(program.row_lower.size, TICK / 1_000_000)
    for place, row in enumerate(layout.balance):
        size = grid.pools[place // grid.intervals].chips_per_node
        for rows in (layout.headroom, layout.cover, layout.reclaimable, layout.recall):
            if rows[place] != NONE:
                scale[rows[place]] *= size
        scale[row] *= size
    for position, row in enumerate(layout.quantity):
        if row != NONE:
            scale[row] *= grid.pools[model.market.demand[position].pools[0]].chips_per_node
    builder = Builder()
    variable: dict[int, int] = {}
    energy = set(layout.balance)
    floor = spec.price_floor / TICK
    structural = {*energy, *layout.headroom, *layout.cover, *layout.reclaimable}
    structural |= {*layout.recall, *layout.quantity, *layout.power}
    for row in sorted(structural - {NONE}):
        if row in energy:
            upper = cap if tight[row] else floor
            variable[row] = builder.column(0.0, floor, max(floor, upper))
        elif tight[row]:
            variable[row] = builder.column(0.0, 0.0, INFINITY)
    by_column: list[list[tuple[int, float]]] = [[] for _ in range(program.objective.size)]
    sign = np.where(at_least, -1.0, 1.0)
    for row, column, value in zip(
        program.rows.tolist(), program.columns.tolist(), program.values.tolist(), strict=True
    ):
        if row in variable:
            by_column[column].append((variable[row], value * sign[row] * scale[row]))
    return _Face(builder=builder, variable=variable, scale=scale, sign=sign, by_column=by_column)


def _add_step_conditions(face: _Face, settled: Settled) -> None:
    """Complementary slackness of every divisible column; equal conditions are one row."""
    program = settled.program
    merged: dict[tuple[tuple[int, float], ...], list[float]] = {}
    divisible = np.flatnonzero((program.upper > 0) & (program.lower < program.upper))
    for column in divisible.tolist():
        gain = program.objective[column]
        entries = tuple(face.by_column[column])
        at = settled.best.values[column]
        bounds = merged.setdefault(entries, [-INFINITY, INFINITY])
        if at < program.upper[column] - _FILLED:
            bounds[0] = max(bounds[0], gain)
        if at > _FILLED:
            bounds[1] = min(bounds[1], gain)
    for entries, (low, high) in merged.items():
        if not entries:
            continue
        unit = max(abs(value) for _, value in entries)
        row = face.builder.row(low / unit, max(low, high) / unit)
        for variable, value in entries:
            face.builder.entry(row, variable, value / unit)


def _add_lost_opportunity(
    face: _Face, model: Model, choice: Choice, settled: Settled
) -> dict[int, float]:
    """One best-response variable per family; returns the cost of each variable, US dollars."""
    market, layout, program = model.market, model.layout, model.program
    best: dict[int, tuple[int, float]] = {}
    cost: dict[int, float] = {}
    for position, alternative in enumerate(market.alternatives):
        chosen, fill = layout.chosen + position, layout.fill[position]
        extra = alternative.most_nodes - alternative.least_nodes
        gain = program.objective[chosen]
        charge: dict[int, float] = dict.fromkeys((v for v, _ in face.by_column[chosen]), 0.0)
        for variable, value in face.by_column[chosen]:
            charge[variable] += value
        if fill != NONE:
            gain += extra * program.objective[fill]
            for variable, value in face.by_column[fill]:
                charge[variable] = charge.get(variable, 0.0) + extra * value
        size = market.grid.pools[alternative.pool].chips_per_node
        if alternative.family not in best:
            hours = alternative.stop - alternative.first
            unit = alternative.most_nodes * size * hours * TICK / 1_000_000
            variable = face.builder.column(0.0, 0.0, INFINITY)
            best[alternative.family] = (variable, unit)
            cost[variable] = unit
        response, unit = best[alternative.family]
        row = face.builder.row(gain / unit, INFINITY)
        face.builder.entry(row, response, 1.0)
        for variable, value in charge.items():
            face.builder.entry(row, variable, value / unit)
        if choice.chosen[position]:
            for column in (chosen, fill):
                if column != NONE:
                    at = settled.best.values[column]
                    for variable, value in face.by_column[column]:
                        cost[variable] = cost.get(variable, 0.0) + at * value
    return cost


def _scarcity(face: _Face, model: Model) -> dict[int, float]:
    """Weight of cover, power and interruptibility prices: what they add to a chip-hour."""
    layout, grid = model.layout, model.market.grid
    cost: dict[int, float] = {}
    for rows in (layout.cover, layout.reclaimable, layout.recall):
        for row in rows:
            if row in face.variable:
                cost[face.variable[row]] = 1.0
    for place in range(len(layout.balance)):
        pool = place // grid.intervals
        row = layout.power[grid.site_of[pool] * grid.intervals + place % grid.intervals]
        if row in face.variable:
            weight = grid.pools[pool].chip_power / layout.power_unit
            cost[face.variable[row]] = cost.get(face.variable[row], 0.0) + weight
    return cost


def _hash_weights(face: _Face, model: Model, seed: bytes) -> Floats:
    layout, grid = model.layout, model.market.grid
    weights = np.zeros(len(face.builder.objective))
    named = (
        ("energy", layout.balance),
        ("cover", layout.cover),
        ("reclaimable", layout.reclaimable),
        ("recall", layout.recall),
    )
    for name, rows in named:
        for place, row in enumerate(rows):
            if row in face.variable:
                pool_id = grid.pools[place // grid.intervals].pool_id
                weight = ties.price_weight(seed, name, pool_id, place % grid.intervals)
                weights[face.variable[row]] = weight / 1_000
    for place, row in enumerate(layout.power):
        if row in face.variable:
            site_id = grid.site_ids[place // grid.intervals]
            weight = ties.price_weight(seed, "power", site_id, place % grid.intervals)
            weights[face.variable[row]] = weight / 1_000
    return weights


def _read(face: _Face, model: Model, values: Floats) -> Duals:
    layout, grid = model.layout, model.market.grid

    def series(rows: tuple[int, ...]) -> Floats:
        return np.array(
            [values[face.variable[row]] * TICK if row in face.variable else 0.0 for row in rows]
        )

    power = np.zeros(len(layout.balance))
    for place in range(power.size):
        pool = place // grid.intervals
        row = layout.power[grid.site_of[pool] * grid.intervals + place % grid.intervals]
        if row in face.variable:
            per_unit = values[face.variable[row]] * TICK
            power[place] = per_unit * grid.pools[pool].chip_power / layout.power_unit
    return Duals(
        energy=series(layout.balance),
        power=power,
        spare=series(layout.cover),
        availability=series(layout.reclaimable),
        recall=series(layout.recall),
    )
