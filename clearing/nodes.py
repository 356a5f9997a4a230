"""Whole-node awards: a second solve with the same alternatives (DESIGN 4.2, "Whole nodes").

Nodes are sold whole, while cover shares and power limits make the priced quantities
fractional. Interval by interval (together where a block has a fractional fill) a small
exact program keeps what is whole and decides what is not, with the cover requirement
rounded up to a node. It is tried with growing freedom, always in the same order:
fractional quantities go to a neighbouring whole one; then they may go anywhere; then full
ones may lose one node and tied ones may move; then every divisible quantity may; at last
the fill of every block may fall too. Supply follows demand throughout. What the published
prices do not support stays out, and what is in the money and short of more than the odd
node counts as unexplained (``clearing.support``): the first freedom without any is taken,
else the one with least. Prices are never computed from it. Quantities of a group are
shared over its members pro rata.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing import ties
from clearing.errors import SolverError
from clearing.market import Product
from clearing.model import NONE, Model
from clearing.program import INFINITY, Builder, Floats, Integers
from clearing.search import Choice, Settled
from clearing.solver import FACE, solve_whole
from clearing.support import Support
from clearing.units import divide_up, share_ppm_up, split_largest_remainder

_FREEDOMS: Final = ("NEAREST", "FRACTIONAL", "ONE_NODE", "ALL")
_NODE_LIMIT: Final = 2_000
_HOLDING_COST: Final = 1e-6
"""US dollars per spare node-hour in this program alone: hold no more than is needed."""

_SHORT_COST: Final = 10_000.0
"""US dollars per node-hour that an order in the money is short: before any welfare."""


Chips = dict[tuple[str, int], dict[int, int]]
"""(order, pool) to interval to chips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantities:
    """Awarded chips.

    Attributes:
        sold: By offer.
        spare: Spare chips held, by offer.
        taken: By bid.
        reserve: Chips that count as reserve, by bid.
        nodes: Whole nodes per column of the program; supply left over is not sold.
    """

    sold: Chips
    spare: Chips
    taken: Chips
    reserve: Chips
    nodes: Integers

    def active(self) -> set[tuple[int, int]]:
        """(pool, interval) pairs in which something is delivered."""
        return {
            (pool, interval)
            for (_, pool), series in self.taken.items()
            for interval, chips in series.items()
            if chips
        }


def award_nodes(
    model: Model, choice: Choice, settled: Settled, support: Support, seed: bytes
) -> Quantities:
    """Round the priced solution to whole nodes and share it over orders.

    Raises:
        SolverError: no whole-node award exists for the chosen alternatives.
    """
    whole = _whole_values(model, choice, settled, support)
    market, layout = model.market, model.layout
    steps = _share_demand(model, whole, seed)
    taken: Chips = {key: dict(series) for key, series in steps.items()}
    countable: dict[tuple[int, int], dict[str, int]] = defaultdict(dict)
    product = {name: group.product for group in market.demand for name, _ in group.members}
    for (name, pool), series in steps.items():
        if product[name] is Product.RECLAIMABLE:
            for interval, chips in series.items():
                countable[pool, interval][name] = chips
    for position, alternative in enumerate(market.alternatives):
        if not choice.chosen[position]:
            continue
        fill = layout.fill[position]
        extra = 0 if fill == NONE else int(whole[fill])
        size = market.grid.pools[alternative.pool].chips_per_node
        run = range(alternative.first, alternative.stop)
        chips = (alternative.least_nodes + extra) * size
        taken[alternative.order_id, alternative.pool] = dict.fromkeys(run, chips)
        if extra and alternative.product is Product.RECLAIMABLE:
            for interval in run:
                countable[alternative.pool, interval][alternative.order_id] = extra * size
    _trim_reserves(model, choice, whole)
    sold = _share_supply(model, whole, taken, seed)
    return Quantities(
        sold=sold,
        spare=_share_spare(model, whole, sold, seed),
        taken=taken,
        reserve=_share_reserve(model, whole, countable, seed),
        nodes=whole,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slices:
    """Columns and rows of the program by interval; ``NONE`` for those of no interval."""

    column: Integers
    row: Integers


def _whole_values(model: Model, choice: Choice, settled: Settled, support: Support) -> Integers:
    """Whole nodes per column of the program."""
    try:
        parts = _parts(model, settled.values, every_fill=False)
        return _round_parts(model, choice, settled, support, parts, _FREEDOMS)
    except SolverError:
        # Power that a whole node in reserve takes can only come out of a block's full fill.
        parts = _parts(model, settled.values, every_fill=True)
        return _round_parts(model, choice, settled, support, parts, _FREEDOMS[-1:])


def _round_parts(
    model: Model,
    choice: Choice,
    settled: Settled,
    support: Support,
    parts: list[_Part],
    freedoms: tuple[str, ...],
) -> Integers:
    """Each part with the freedom that leaves least unexplained; the first of equal ones."""
    slices = _slices(model)
    result = np.round(settled.values).astype(np.int64)
    for part in parts:
        inside = np.isin(slices.column, list(part.intervals))
        columns = [*np.flatnonzero(inside).tolist(), *part.fills]
        if not columns:
            continue
        failure: SolverError | None = None
        best: tuple[float, Integers] | None = None
        for freedom in freedoms:
            try:
                found = _solve_part(model, choice, settled, support, columns, slices, part, freedom)
            except SolverError as error:
                failure = error
                continue
            if best is None or found[0] < best[0] - FACE:
                best = found
            if best[0] <= FACE:
                break
        if best is None:
            raise failure if failure is not None else SolverError("no freedom was tried")
        result[columns] = best[1]
    return result


@dataclass(slots=True, kw_only=True)
class _Part:
    """Intervals that blocks with a fractional fill tie together, and those fills' columns."""

    intervals: set[int]
    fills: list[int]


def _parts(model: Model, values: Floats, *, every_fill: bool) -> list[_Part]:
    """Intervals joined where the fill of a block is open: a fractional one, or ``every`` one."""
    parts = [_Part(intervals={t}, fills=[]) for t in range(model.market.grid.intervals)]
    for position, column in enumerate(model.layout.fill):
        whole = column == NONE or values[column] == np.round(values[column])
        if whole and not (every_fill and column != NONE and values[column] > 0):
            continue
        alternative = model.market.alternatives[position]
        run = set(range(alternative.first, alternative.stop))
        joined = _Part(intervals=run, fills=[column])
        apart = []
        for part in parts:
            if part.intervals & run:
                joined.intervals |= part.intervals
                joined.fills += part.fills
            else:
                apart.append(part)
        parts = [*apart, joined]
    return parts


def _slices(model: Model) -> _Slices:
    layout, market, program = model.layout, model.market, model.program
    grid = market.grid
    column = np.full(program.objective.size, NONE, dtype=np.int64)
    column[: layout.delivery] = [group.interval for group in market.supply]
    for position, group in enumerate(layout.delivery_group):
        column[layout.delivery + position] = market.demand[group].interval
    row = np.full(program.row_lower.size, NONE, dtype=np.int64)
    for place in range(len(layout.balance)):
        interval = place % grid.intervals
        for columns in (layout.spare, layout.reclaim, layout.short):
            if columns[place] != NONE:
                column[columns[place]] = interval
        for rows in (
            layout.balance,
            layout.headroom,
            layout.cover,
            layout.reclaimable,
            layout.recall,
        ):
            if rows[place] != NONE:
                row[rows[place]] = interval
    for place, at in enumerate(layout.power):
        if at != NONE:
            row[at] = place % grid.intervals
    for position, at in enumerate(layout.quantity):
        if at != NONE:
            row[at] = market.demand[position].interval
    return _Slices(column=column, row=row)


def _solve_part(
    model: Model,
    choice: Choice,
    settled: Settled,
    support: Support,
    columns: list[int],
    slices: _Slices,
    part: _Part,
    freedom: str,
) -> tuple[float, Integers]:
    """A few intervals as an exact program: nodes unexplained, and whole values."""
    program, layout, values = model.program, model.layout, settled.values
    builder = Builder()
    local: dict[int, int] = {}
    reserves = {*layout.spare, *layout.reclaim, *layout.short} - {NONE}
    shortage = dict(zip(model.penalties, choice.short.tolist(), strict=True))
    for column in columns:
        lower, upper = 0.0, float(np.floor(program.upper[column]))
        gain = float(program.objective[column] + model.credits[column])
        if column in shortage:
            upper = float(np.ceil(program.upper[column])) if shortage[column] > FACE else 0.0
        elif column in reserves:
            gain -= _HOLDING_COST * (1 if np.isfinite(upper) else 2)
        elif column in part.fills:
            near = (float(np.floor(values[column])), float(np.ceil(values[column])))
            lower, upper = (0.0, upper) if freedom == "ALL" else near
        else:
            lower, upper = _range(settled, float(values[column]), column, upper, freedom)
            if column < layout.delivery:
                # Supply follows demand: what is not sold may be held in reserve.
                lower = 0.0
            if column in support.closed:
                lower = upper = 0.0
        local[column] = builder.column(gain, lower, upper, whole=True)
    rows = np.flatnonzero(np.isin(slices.row, list(part.intervals)))
    new_row: dict[int, int] = {}
    cover = set(layout.cover)
    for row in rows.tolist():
        new_row[row] = builder.row(program.row_lower[row], program.row_upper[row])
        if row in cover:
            # Required nodes K, whole: K >= theta x covered, and spare + R + short >= K.
            required = builder.column(0.0, 0.0, INFINITY, whole=True)
            builder.entry(new_row[row], required, 1.0)
            holding = builder.row(0.0, INFINITY)
            builder.entry(holding, required, -1.0)
            new_row[-row - 1] = holding
    moved = np.zeros(program.row_lower.size)
    inside = np.isin(program.rows, rows)
    for row, column, value in zip(
        program.rows[inside].tolist(),
        program.columns[inside].tolist(),
        program.values[inside].tolist(),
        strict=True,
    ):
        if column not in local:
            moved[row] += value * values[column]
        elif row in cover and column in reserves:
            builder.entry(new_row[-row - 1], local[column], value)
        else:
            builder.entry(new_row[row], local[column], value)
    for row in rows.tolist():
        builder.row_lower[new_row[row]] -= moved[row]
        builder.row_upper[new_row[row]] -= moved[row]
    missing = _add_due(builder, support, part, local)
    solution = solve_whole(builder.freeze(), node_limit=_NODE_LIMIT)
    short = float(sum(solution.values[column] for column in missing))
    return short, np.round(solution.values[: len(columns)]).astype(np.int64)


def _add_due(builder: Builder, support: Support, part: _Part, local: dict[int, int]) -> list[int]:
    """Rows that ask for everything due; returns the columns of what is short unexplained."""
    missing = []
    for due in support.due:
        if due.interval not in part.intervals:
            continue
        row = builder.row(due.nodes, INFINITY)
        for column, nodes in due.columns:
            builder.entry(row, local[column], nodes)
        if due.free:
            builder.entry(row, builder.column(0.0, 0.0, float(due.free)), 1.0)
        missing.append(builder.column(-_SHORT_COST, 0.0, INFINITY))
        builder.entry(row, missing[-1], 1.0)
    return missing


def _range(
    settled: Settled, value: float, column: int, upper: float, freedom: str
) -> tuple[float, float]:
    """Bounds of a divisible column at one level of freedom."""
    fractional = value != np.round(value)
    if freedom == "NEAREST":
        return float(np.floor(value)), float(np.ceil(value))
    tied = abs(float(settled.best.reduced_costs[column])) <= FACE
    if freedom == "ALL" or fractional or (freedom == "ONE_NODE" and tied):
        return 0.0, upper
    if freedom == "ONE_NODE" and value > 0:
        return max(0.0, value - 1), value
    return value, value


def _trim_reserves(model: Model, choice: Choice, whole: Integers) -> None:
    """Hold exactly the whole nodes that cover asks for: first fewer reclaimables, then spare."""
    market, layout, grid = model.market, model.layout, model.market.grid
    covered = list(market.base_covered)
    for position, group_at in enumerate(layout.delivery_group):
        group = market.demand[group_at]
        if group.product is Product.COVERED:
            pool = layout.delivery_pool[position]
            chips = int(whole[layout.delivery + position]) * grid.pools[pool].chips_per_node
            covered[grid.at(pool, group.interval)] += chips
    for position, alternative in enumerate(market.alternatives):
        if choice.chosen[position] and alternative.product is Product.COVERED:
            fill = layout.fill[position]
            nodes = alternative.least_nodes + (0 if fill == NONE else int(whole[fill]))
            size = grid.pools[alternative.pool].chips_per_node
            for interval in range(alternative.first, alternative.stop):
                covered[grid.at(alternative.pool, interval)] += nodes * size
    for place, column in enumerate(layout.spare):
        if column == NONE:
            continue
        pool_at = grid.pools[place // grid.intervals]
        chips = share_ppm_up(covered[place], pool_at.node_spare_ppm)
        over = int(whole[column]) - divide_up(chips, pool_at.chips_per_node)
        reclaim = layout.reclaim[place]
        if reclaim != NONE:
            over += int(whole[reclaim])
            cut = max(0, min(over, int(whole[reclaim])))
            whole[reclaim] -= cut
            over -= cut
        whole[column] -= max(0, over)


def _share_demand(model: Model, whole: Integers, seed: bytes) -> Chips:
    """Chips per step bid and pool: pro rata within a group, largest remainder."""
    market, layout, grid = model.market, model.layout, model.market.grid
    taken: Chips = defaultdict(lambda: defaultdict(int))
    left: dict[int, dict[str, int]] = {}
    for position, group_at in enumerate(layout.delivery_group):
        nodes = int(whole[layout.delivery + position])
        if nodes == 0:
            continue
        group = market.demand[group_at]
        pool = layout.delivery_pool[position]
        size, pool_id = grid.pools[pool].chips_per_node, grid.pools[pool].pool_id
        open_chips = left.setdefault(group_at, dict(group.members))
        parts = _share(nodes, open_chips, size, seed, pool_id, group.interval)
        for name, chips in parts.items():
            open_chips[name] -= chips
            taken[name, pool][group.interval] += chips
    return taken


def _share(
    nodes: int, wanted: dict[str, int], size: int, seed: bytes, pool_id: str, interval: int
) -> dict[str, int]:
    """Chips per order: whole nodes pro rata to what is wanted, equal remainders by hash."""
    names = sorted(wanted)
    parts = split_largest_remainder(
        nodes,
        [wanted[name] // size for name in names],
        [ties.sharing_key(seed, name, pool_id, interval) for name in names],
    )
    return {name: part * size for name, part in zip(names, parts, strict=True) if part}


def _share_supply(model: Model, whole: Integers, taken: Chips, seed: bytes) -> Chips:
    """Chips sold per offer: exactly what is delivered, cheapest steps first, equals pro rata.

    Supply columns of ``whole`` are set to it, so that nothing left over at price 0 stays.
    """
    market, grid = model.market, model.market.grid
    left: dict[tuple[int, int, bool], int] = defaultdict(int)
    for (_, pool), series in taken.items():
        for interval, chips in series.items():
            left[pool, interval, False] += chips
    for column, group in enumerate(market.supply):
        key = (group.pool, group.interval)
        if group.recallable and whole[column]:
            size = grid.pools[group.pool].chips_per_node
            recalled = min(int(whole[column]) * size, left[*key, False])
            left[*key, True] += recalled
            left[*key, False] -= recalled
    sold: Chips = defaultdict(lambda: defaultdict(int))
    for column, group in sorted(enumerate(market.supply), key=lambda item: item[1].price):
        key3 = (group.pool, group.interval, group.recallable)
        size = grid.pools[group.pool].chips_per_node
        nodes = whole[column] = min(group.nodes, left.get(key3, 0) // size)
        if nodes:
            left[key3] -= nodes * size
            pool_id = grid.pools[group.pool].pool_id
            wanted: dict[str, int] = dict(group.members)
            parts = _share(nodes, wanted, size, seed, pool_id, group.interval)
            for name, chips in parts.items():
                sold[name, group.pool][group.interval] += chips
    if any(left.values()):
        message = "whole-node awards deliver more than supply can sell"
        raise SolverError(message)
    return sold


def _share_spare(model: Model, whole: Integers, sold: Chips, seed: bytes) -> Chips:
    """Spare chips per offer, pro rata to what it offered and did not sell."""
    market, layout, grid = model.market, model.layout, model.market.grid
    unsold: dict[tuple[int, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for group in market.supply:
        column = layout.spare[grid.at(group.pool, group.interval)]
        if not group.recallable and column != NONE and whole[column]:
            for name, chips in group.members:
                unsold[group.pool, group.interval][name] += chips
    spare: Chips = defaultdict(dict)
    for (pool, interval), offered in sorted(unsold.items()):
        nodes = int(whole[layout.spare[grid.at(pool, interval)]])
        size, pool_id = grid.pools[pool].chips_per_node, grid.pools[pool].pool_id
        room = {
            name: chips - sold.get((name, pool), {}).get(interval, 0)
            for name, chips in offered.items()
        }
        for name, chips in _share(nodes, room, size, seed, pool_id, interval).items():
            spare[name, pool][interval] = chips
    return spare


def _share_reserve(
    model: Model,
    whole: Integers,
    countable: dict[tuple[int, int], dict[str, int]],
    seed: bytes,
) -> Chips:
    """Chips that count as reserve per interruptible, pro rata to what may be reclaimed."""
    layout, grid = model.layout, model.market.grid
    reserve: Chips = defaultdict(dict)
    for (pool, interval), held in sorted(countable.items()):
        column = layout.reclaim[grid.at(pool, interval)]
        nodes = 0 if column == NONE else int(whole[column])
        if nodes:
            size, pool_id = grid.pools[pool].chips_per_node, grid.pools[pool].pool_id
            for name, chips in _share(nodes, held, size, seed, pool_id, interval).items():
                reserve[name, pool][interval] = chips
    return reserve
