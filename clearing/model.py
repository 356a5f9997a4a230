"""Market to mathematics: the clearing problem of docs/reference/clearing-rules.md as plain arrays.

Rows, columns and their units: ``clearing.layout``. Quantities are nodes of the pool concerned and
values US dollars per hour of an interval, so that the coefficients stay between 1e-4 and 1e6. These
floats steer the search only: awards, money and the certificate are computed from integers again.

Spare capacity is one column per place and purpose, because any unsold chip is as good as another.
A cover shortage is only ever owed to base load (a bid is not sold without its cover), and its
column exists only where all ordinary supply held spare would not be enough.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from clearing import ties
from clearing.columns import Integers, expand
from clearing.commitment import add_units
from clearing.coverage import read_coverage
from clearing.draft import Draft, put_deliveries, put_power
from clearing.layout import POWER_UNIT, Choice, Layout, Model
from clearing.market import NONE, RECALLED, Market
from clearing.program import INFINITY, BlockBuilder, Flags, Floats, Program
from clearing.types import AuctionSpec, Book, PricingRule
from clearing.units import MICRO_USD_PER_USD, PPM


def build(market: Market, book: Book, seed: bytes) -> Model:
    """Write the program of a market.

    Args:
        market: The book as columns.
        book: Tie credit, penalties and order identifiers come from here.
        seed: Tie seed; it reaches the credits only.
    """
    draft = Draft(
        market=market,
        spec=book.spec,
        coverage=read_coverage(market),
        builder=BlockBuilder(reserved=_entries_expected(market)),
    )
    _add_place_rows(draft)
    _add_supply(draft)
    pool_credits = np.array(
        [ties.pool_credit(seed, pool.pool_id, book.spec.tie_credit) for pool in book.pools],
        dtype=np.int64,
    )
    arc = _add_arcs(draft, pool_credits)
    written = np.ones(market.blocks.order.size, dtype=np.bool_)
    written &= written.size <= _WRITTEN_MAX or book.spec.pricing_rule is PricingRule.STRICT_UNIFORM
    chosen = _add_alternatives(draft, _alternative_credits(market, book, seed), written)
    _add_reserves(draft)
    _add_flows(draft)
    _add_backing(draft)
    add_units(draft)
    program = draft.builder.freeze()
    short = np.concatenate((draft.at["short"], draft.at["backing_short"]))
    return Model(
        market=market,
        program=program,
        layout=_layout(draft, program, arc, chosen),
        credits=_spread(draft.credits, program.objective.size),
        penalties=short[short != NONE],
        kept=_spread(draft.kept, program.objective.size),
        written=written,
    )


def with_runs(model: Model, spec: AuctionSpec, wanted: Flags) -> Model:
    """The model with the runs of some alternatives written into its matrix.

    Args:
        model: Problem; one of few alternatives has them all.
        spec: Of its book.
        wanted: Per alternative.
    """
    more = np.flatnonzero(wanted & ~model.written)
    if more.size == 0:
        return model
    layout, program = model.layout, model.program
    draft = Draft(
        market=model.market,
        spec=spec,
        coverage=read_coverage(model.market),
        builder=BlockBuilder(),
        at={
            "balance": layout.balance,
            "power": layout.power,
            "cover": layout.cover,
            "recall": layout.recall,
            "reclaimable": layout.reclaimable,
            "slot": layout.slot_row,
            "fill": layout.fill,
        },
    )
    _put_runs(draft, more, layout.chosen)
    found = draft.builder.freeze()
    return replace(
        model,
        program=replace(
            program,
            rows=np.concatenate((program.rows, found.rows)),
            columns=np.concatenate((program.columns, found.columns)),
            values=np.concatenate((program.values, found.values)),
        ),
        written=model.written | wanted,
    )


def _layout(draft: Draft, program: Program, arc: int, chosen: int) -> Layout:
    market, coverage, at = draft.market, draft.coverage, draft.at
    return Layout(
        arc=arc,
        chosen=chosen,
        fill=at["fill"],
        spare=at["spare"],
        site_spare=at["site_spare"],
        reclaim=at["reclaim"],
        site_reclaim=at["site_reclaim"],
        short=at["short"],
        flow=at["flow"],
        backing=at["backing"],
        backing_short=at["backing_short"],
        unit_on=at["unit_on"],
        unit_start=at["unit_start"],
        slot_site=coverage.slot_site,
        slot_pool=coverage.slot_pool,
        slot_of_arc=coverage.slot_of_arc,
        slot_of_alternative=coverage.slot_of_alternative,
        slot_of_backing=coverage.slot_of_backing,
        balance=at["balance"],
        headroom=at["headroom"],
        cover=at["cover"],
        reclaimable=at["reclaimable"],
        recall=at["recall"],
        slot_row=at["slot"],
        backing_row=at["backing_row"],
        power=at["power"],
        cell=at["cell"],
        work=at["work"],
        pick=at["pick"],
        fill_row=at["fill_row"],
        unit_most=at["unit_most"],
        unit_least=at["unit_least"],
        decision=at["decision"],
        interval_of_column=_interval_of_columns(market, at, arc, program.objective.size),
        interval_of_row=_interval_of_rows(market, at, program.row_lower.size),
    )


def _entries_expected(market: Market) -> int:
    """Entries of the matrix, not fewer than there will be in most books."""
    blocks = market.blocks
    run = blocks.stop - blocks.first
    delivered = int(run.sum() + run[blocks.most > blocks.least].sum())
    if run.size > _WRITTEN_MAX:
        delivered = run.size
    arcs = market.demand.arc_cell.size
    return 3 * market.supply.place.size + 7 * arcs + 4 * delivered + 12 * market.grid.places


def _spread(parts: list[tuple[int, Floats]], size: int) -> Floats:
    found = np.zeros(size)
    for first, values in parts:
        found[first : first + values.size] = values
    return found


def _interval_of_columns(market: Market, at: dict[str, Integers], arc: int, count: int) -> Integers:
    """Interval of each column; decisions and fills have none."""
    grid, demand = market.grid, market.demand
    found = np.full(count, NONE, dtype=np.int64)
    found[: market.supply.place.size] = market.supply.place % grid.intervals
    found[arc : arc + demand.arc_cell.size] = demand.interval[demand.arc_cell]
    of_place = np.arange(grid.places) % grid.intervals
    of_backed = market.base.backed_place % grid.intervals
    named = (
        *((name, of_place) for name in ("spare", "site_spare", "reclaim", "site_reclaim", "short")),
        ("flow", np.arange(at["flow"].size) % grid.intervals),
        ("backing", of_backed.repeat(np.diff(market.base.backed_start))),
        ("backing_short", of_backed),
    )
    for name, interval in named:
        there = at[name] != NONE
        found[at[name][there]] = interval[there]
    return found


def _interval_of_rows(market: Market, at: dict[str, Integers], count: int) -> Integers:
    """Interval of each row; those of decisions, fills and work have none."""
    found = np.full(count, NONE, dtype=np.int64)
    for name in ("balance", "headroom", "cover", "reclaimable", "recall", "slot", "power"):
        there = at[name] != NONE
        found[at[name][there]] = np.flatnonzero(there) % market.grid.intervals
    of_unit = np.broadcast_to(np.arange(market.grid.intervals), at["unit_most"].shape)
    named = (
        ("backing_row", market.base.backed_place % market.grid.intervals),
        ("cell", market.demand.interval),
        ("unit_most", of_unit),
        ("unit_least", of_unit),
    )
    for name, interval in named:
        there = at[name] != NONE
        found[at[name][there]] = interval[there]
    return found


def _add_place_rows(draft: Draft) -> None:
    """Rows of places, slots and sites; a row exists only where somebody may need it."""
    market, coverage, grid = draft.market, draft.coverage, draft.market.grid
    everywhere = np.ones(grid.places, dtype=np.bool_)
    draft.rows("balance", everywhere, 0.0, 0.0 if market.equal_balance else INFINITY)
    ordinary = market.offered.astype(np.float64)
    units = market.units
    place = units.pool[:, None] * grid.intervals + np.arange(grid.intervals)
    np.subtract.at(ordinary, place, units.offered)
    draft.rows("headroom", coverage.covered | coverage.backed, -INFINITY, ordinary)
    draft.rows("cover", coverage.covered, _base_cover(market), INFINITY)
    draft.rows("reclaimable", coverage.counted, -INFINITY, 0.0)
    recalled = coverage.counted | coverage.site_counted | (market.released > 0)
    draft.rows("recall", recalled, -INFINITY, 0.0)
    draft.rows("slot", coverage.slot_used, 0.0, INFINITY)
    backed = market.base.backed_chips / grid.node[market.base.backed_place // grid.intervals]
    draft.rows("backing_row", np.ones(backed.size, dtype=np.bool_), backed, backed)
    drawn = np.zeros((len(grid.site_ids), grid.intervals))
    # Watts as floats: exact to 9e15, and good to nine digits wherever they are not.
    watts = grid.power[:, None] * market.base.chips.reshape(-1, grid.intervals).astype(np.float64)
    np.add.at(drawn, grid.site, watts)
    left = np.maximum(0.0, grid.power_limit[:, None] - drawn).reshape(-1) / POWER_UNIT
    limited = (grid.power_limit != NONE).repeat(grid.intervals)
    draft.rows("power", limited, -INFINITY, left)


def _base_cover(market: Market) -> Floats:
    """Nodes of cover that base load asks for, per place."""
    grid = market.grid
    chips = grid.theta.repeat(grid.intervals) * market.base.covered / PPM
    needed: Floats = chips / grid.node.repeat(grid.intervals)
    return needed


def _add_supply(draft: Draft) -> None:
    market, grid = draft.market, draft.market.grid
    supply, units = market.supply, market.units
    dollars = supply.price * grid.node[supply.place // grid.intervals] / MICRO_USD_PER_USD
    first = draft.builder.columns(supply.place.size, -dollars, 0.0, supply.nodes.astype(np.float64))
    column = first + np.arange(supply.place.size)
    draft.put("balance", supply.place, column, 1.0)
    released = supply.released
    draft.put("recall", supply.place[released], column[released], 1.0)
    in_block = np.zeros(column.size, dtype=np.bool_)
    committed = supply.unit != NONE
    in_block[committed] = units.whole[supply.unit[committed]]
    ordinary = ~released & ~in_block
    draft.put("headroom", supply.place[ordinary], column[ordinary], 1.0)


def _add_arcs(draft: Draft, pool_credits: Integers) -> int:
    """Columns and rows of divisible demand; returns the first column."""
    grid, demand = draft.market.grid, draft.market.demand
    node = grid.node[demand.arc_pool]
    dollars = node / MICRO_USD_PER_USD
    most = demand.chips[demand.arc_cell] // node
    # Balance with equality may want to give chips away, and no price below the floor can do that.
    discounted = np.isin(demand.product[demand.arc_cell], RECALLED)
    net = demand.arc_value - grid.charge[demand.arc_pool]
    most[(net < draft.spec.price_floor) & ~discounted] = 0
    first = draft.builder.columns(
        demand.arc_cell.size,
        net * dollars,
        0.0,
        most.astype(np.float64),
    )
    column = first + np.arange(demand.arc_cell.size)
    draft.credits.append((first, pool_credits[demand.arc_pool] * dollars))
    products = demand.product[demand.arc_cell]
    ones = np.ones(column.size)
    put_deliveries(draft, demand.arc_place, column, products, ones, node_wise=True)
    backed = np.flatnonzero(draft.coverage.slot_of_arc != NONE)
    slot = draft.coverage.slot_of_arc[backed] * grid.intervals
    draft.put("slot", slot + demand.arc_place[backed] % grid.intervals, column[backed], -1.0)
    arcs = np.bincount(demand.arc_cell, minlength=demand.chips.size)
    leader = arcs.cumsum() - arcs
    unit = node[leader] if column.size else np.ones(demand.chips.size, dtype=np.int64)
    several = (arcs > 1) | (demand.work != NONE)
    draft.rows("cell", several, -INFINITY, demand.chips / unit)
    draft.put("cell", demand.arc_cell, column, node / unit[demand.arc_cell])
    working = np.flatnonzero(demand.work != NONE)
    _, first_cell = np.unique(demand.work[working], return_index=True)
    group_unit = unit[working[first_cell]]
    there = np.ones(group_unit.size, dtype=np.bool_)
    draft.rows("work", there, -INFINITY, demand.work_chips / group_unit)
    group = demand.work[demand.arc_cell]
    at_work = np.flatnonzero(group != NONE)
    size = node[at_work] / group_unit[group[at_work]]
    draft.put("work", group[at_work], column[at_work], size)
    return first


def _alternative_credits(market: Market, book: Book, seed: bytes) -> Integers:
    """Tie credit of each alternative; those that differ in the backup alone have the same."""
    blocks = market.blocks
    orders = [block.order_id for block in book.block_bids]
    pools = [pool.pool_id for pool in book.pools]
    placements = zip(
        map(orders.__getitem__, blocks.order.tolist()),
        map(pools.__getitem__, blocks.pool.tolist()),
        blocks.first.tolist(),
        strict=True,
    )
    return ties.alternative_credits(seed, placements, book.spec.tie_credit)


_WRITTEN_MAX: Final = 100_000
"""With more alternatives only the runs of those that are chosen are written (``with_runs``).

Coordination does not read the matrix, and all but one of an order's alternatives are never chosen:
without this they are most of what a large book takes."""

_CHUNK: Final = 2**16
"""Alternatives written at a time, so that a large book needs no more memory than its matrix."""


def _add_alternatives(draft: Draft, credit: Integers, written: Flags) -> int:
    """Columns and rows of block bids, runs of some; returns the first of the binaries."""
    grid, blocks = draft.market.grid, draft.market.blocks
    duration = blocks.stop - blocks.first
    total = blocks.least * duration
    shaped = np.flatnonzero(blocks.shape != NONE)
    row, late = expand(duration[shaped])
    np.subtract.at(total, shaped, total[shaped])
    np.add.at(total, shaped[row], blocks.shape_nodes[blocks.shape[shaped[row]] + late])
    node = grid.node[blocks.pool]
    gain = (blocks.value - grid.charge[blocks.pool]) * (node / MICRO_USD_PER_USD)
    bonus = credit * (node / MICRO_USD_PER_USD)
    kept: Floats = blocks.kept * (node * draft.once_usd_per_hour)
    first = draft.builder.columns(
        duration.size, gain * total + kept * blocks.least, 0.0, 1.0, whole=True
    )
    draft.credits.append((first, bonus * total))
    draft.kept.append((first, kept * blocks.least))
    extra = (blocks.most - blocks.least).astype(np.float64)
    partial = extra > 0
    fill = draft.columns("fill", partial, gain * duration + kept, extra)
    open_ = np.flatnonzero(partial)
    if open_.size:
        draft.credits.append((int(fill[open_[0]]), (bonus * duration)[open_]))
        draft.kept.append((int(fill[open_[0]]), kept[open_]))
    draft.rows("fill_row", partial, -INFINITY, 0.0)
    draft.put("fill_row", open_, fill[open_], 1.0)
    draft.put("fill_row", open_, first + open_, -extra[open_])
    _put_runs(draft, np.flatnonzero(written), first)
    _add_picks(draft, first)
    return first


def _put_runs(draft: Draft, rows: Integers, first: int) -> None:
    """Entries of alternatives and of what they fill above the least.

    Args:
        draft: Program under construction.
        rows: Alternatives.
        first: Column of the first of all.
    """
    fill = draft.at["fill"]
    open_ = rows[fill[rows] != NONE]
    for at in range(0, rows.size, _CHUNK):
        some = rows[at : at + _CHUNK]
        _put_runs_of(draft, some, first + some, node_wise=False)
    for at in range(0, open_.size, _CHUNK):
        some = open_[at : at + _CHUNK]
        _put_runs_of(draft, some, fill[some], node_wise=True)


def _put_runs_of(draft: Draft, rows: Integers, columns: Integers, *, node_wise: bool) -> None:
    """Entries of alternatives in every interval of their run.

    Args:
        draft: Program under construction.
        rows: Alternatives.
        columns: Column of each.
        node_wise: The column counts the nodes above the least; else it chooses the least.
    """
    blocks, intervals = draft.market.blocks, draft.market.grid.intervals
    at, late = expand((blocks.stop - blocks.first)[rows])
    row, column = rows[at], columns[at]
    nodes = np.ones(row.size) if node_wise else blocks.least[row].astype(np.float64)
    shaped = np.flatnonzero(blocks.shape[row] != NONE)
    if shaped.size:
        nodes[shaped] = blocks.shape_nodes[blocks.shape[row[shaped]] + late[shaped]]
        running = nodes != 0
        row, column, late, nodes = (part[running] for part in (row, column, late, nodes))
    interval = blocks.first[row] + late
    places = blocks.pool[row] * intervals + interval
    put_deliveries(draft, places, column, blocks.product[row], nodes, node_wise=node_wise)
    slot = draft.coverage.slot_of_alternative[row]
    backed = np.flatnonzero(slot != NONE)
    at = slot[backed] * intervals + interval[backed]
    draft.put("slot", at, column[backed], -nodes[backed])


def _add_picks(draft: Draft, chosen: int) -> None:
    """At most one alternative of a pick, none unless the parent is accepted."""
    blocks = draft.market.blocks
    pick = blocks.pick_of_order[blocks.order]
    members = np.bincount(pick, minlength=blocks.pick_parent.size)
    child = blocks.pick_parent != NONE
    limit = np.where(child, 0.0, 1.0)
    draft.rows("pick", (members > 1) | (child & (members > 0)), -INFINITY, limit)
    column = chosen + np.arange(pick.size)
    draft.put("pick", pick, column, 1.0)
    children = np.flatnonzero(child & (members > 0))
    of_order = np.bincount(blocks.order, minlength=blocks.pick_of_order.size)
    first = of_order.cumsum() - of_order
    parent = blocks.pick_parent[children]
    at, offset = expand(of_order[parent])
    draft.put("pick", children[at], chosen + first[parent[at]] + offset, -1.0)


def _add_reserves(draft: Draft) -> None:
    """Spare nodes and counted interruptibles, for both kinds of cover, and shortfalls of NODE."""
    market, grid, coverage = draft.market, draft.market.grid, draft.coverage
    place = np.arange(grid.places)
    ready = coverage.ready.astype(np.float64)
    slot, interval = np.divmod(np.flatnonzero(coverage.slot_used), grid.intervals)
    slot_row = slot * grid.intervals + interval
    slot_place = coverage.slot_pool[slot] * grid.intervals + interval
    for name, wanted in (("spare", coverage.covered), ("site_spare", coverage.backed)):
        column = draft.columns(name, wanted, 0.0, ready)
        draft.put("headroom", place, column, 1.0)
        put_power(draft, place[wanted], column[wanted], 1.0)
    for name, wanted in (("reclaim", coverage.counted), ("site_reclaim", coverage.site_counted)):
        column = draft.columns(name, wanted, 0.0, INFINITY)
        draft.put("recall", place, column, 1.0)
    draft.put("reclaimable", place, draft.at["reclaim"], 1.0)
    for name in ("spare", "reclaim"):
        draft.put("cover", place, draft.at[name], 1.0)
    for name in ("site_spare", "site_reclaim"):
        draft.put("slot", slot_row, draft.at[name][slot_place], 1.0)
    penalty = draft.spec.tariff.cover_shortfall_penalty / MICRO_USD_PER_USD
    dollars = -penalty * grid.node.repeat(grid.intervals).astype(np.float64)
    short = draft.columns("short", coverage.short, dollars, _base_cover(market))
    draft.put("cover", place, short, 1.0)


def _add_flows(draft: Draft) -> None:
    links, intervals = draft.market.links, draft.market.grid.intervals
    least, most = (nodes.reshape(-1).astype(np.float64) for nodes in (links.least, links.most))
    first = draft.builder.columns(least.size, 0.0, least, most)
    column = draft.at["flow"] = first + np.arange(least.size)
    for pool, sign in ((links.source, -1.0), (links.target, 1.0)):
        place = (pool[:, None] * intervals + np.arange(intervals)).reshape(-1)
        draft.put("balance", place, column, sign)


def _add_backing(draft: Draft) -> None:
    """Backup pools that base load with SITE cover names, and its shortfalls."""
    base, grid = draft.market.base, draft.market.grid
    row, _ = expand(np.diff(base.backed_start))
    nodes = base.backed_chips / grid.node[base.backed_place // grid.intervals]
    column = draft.columns("backing", np.ones(row.size, dtype=np.bool_), 0.0, nodes[row])
    draft.put("backing_row", row, column, 1.0)
    slot = draft.coverage.slot_of_backing * grid.intervals
    draft.put("slot", slot + base.backed_place[row] % grid.intervals, column, -1.0)
    penalty = draft.spec.tariff.cover_shortfall_penalty / MICRO_USD_PER_USD
    dollars = -penalty * grid.node[base.backed_place // grid.intervals].astype(np.float64)
    short = draft.columns("backing_short", draft.coverage.backing_short, dollars, nodes)
    draft.put("backing_row", np.arange(nodes.size), short, 1.0)


def fix(model: Model, choice: Choice) -> Program:
    """The program with decisions at their chosen value and shortfalls shifted out of their rows.

    Rows of decisions alone bind nothing any more and are opened, so that no dual comes from them.
    """
    program, layout, market = model.program, model.layout, model.market
    lower, upper = program.lower.copy(), program.upper.copy()
    objective = program.objective.copy()
    row_lower, row_upper = program.row_lower.copy(), program.row_upper.copy()
    row_lower[layout.decision], row_upper[layout.decision] = -INFINITY, INFINITY
    chosen = slice(layout.chosen, layout.chosen + choice.chosen.size)
    lower[chosen] = upper[chosen] = choice.chosen
    upper[layout.fill[(layout.fill != NONE) & ~choice.chosen]] = 0.0
    starting = choice.on.copy()
    starting[:, 1:] &= ~choice.on[:, :-1]
    for columns, flags in ((layout.unit_on, choice.on), (layout.unit_start, starting)):
        there = columns != NONE
        lower[columns[there]] = upper[columns[there]] = flags[there]
    supply, units = market.supply, market.units
    committed = np.flatnonzero(supply.unit != NONE)
    unit = supply.unit[committed]
    running = choice.on[unit, supply.place[committed] % market.grid.intervals]
    upper[committed] *= running
    lower[committed] = np.where(units.whole[unit], upper[committed], 0.0)
    blocks = layout.unit_least[units.whole]
    row_lower[blocks[blocks != NONE]] = -INFINITY
    shift = np.zeros(objective.size)
    shift[model.penalties] = choice.short
    upper[model.penalties] = 0.0
    objective[model.penalties] = 0.0
    if choice.short.any():
        moved = program.activity(shift)
        row_lower -= moved
        row_upper -= moved
    return replace(
        program,
        objective=objective,
        lower=lower,
        upper=upper,
        row_lower=row_lower,
        row_upper=row_upper,
        whole=np.zeros(program.whole.size, dtype=np.bool_),
    )
