"""Small exact programs that make whole nodes of what is open, place by place.

Open places that share a row are solved together, with the cover requirement rounded up to a
node. Each is tried with growing freedom, always in the same order: open quantities go to a
neighbouring whole one; then they may go anywhere; then full ones may lose one node and tied ones
may move; then every divisible quantity may; at last the fill of every block may fall too. What
the published prices do not support stays out, and what is in the money and short of more than the
odd node counts as unexplained (``clearing.support``): the first freedom without any is taken,
else the one with least. Where none fits, neighbouring places are opened as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from clearing.columns import Flags, Integers, expand, starts, take
from clearing.errors import SolverError
from clearing.layout import Model, Settled
from clearing.loads import Draft
from clearing.market import NONE
from clearing.program import INFINITY, Builder, Floats
from clearing.solver import FACE, solve_whole
from clearing.support import Due

_NODE_LIMIT: Final = 2_000
_HOLDING_COST: Final = 1e-6
"""US dollars per spare node-hour in this program alone: hold no more than is needed."""

_SHORT_COST: Final = 10_000.0
"""US dollars per node-hour that an order in the money is short: before any welfare."""

_BATCH: Final = 3_000
"""Columns of parts that are solved together."""

_WIDE: Final = 6_000
"""Columns up to which places are widened to explain what is short; to fit at all, any number."""


class Freedom(IntEnum):
    """How far divisible quantities may move, in the order in which it is tried."""

    NEAREST = 0
    OPEN = 1
    ONE_NODE = 2
    ALL = 3
    EVERY_FILL = 4


class Width(IntEnum):
    """Which places are looked at together, in the order in which it is tried."""

    PART = 0
    SITE = 1
    ROWS = 2
    TIME = 3


@dataclass(slots=True, kw_only=True, eq=False)
class Open:
    """What is still to be decided.

    Attributes:
        column: Movable columns that are no whole nodes, or more than the prices support.
        place: Places whose supply and reserve are to be decided with them.
    """

    column: Flags
    place: Flags


def round_open(draft: Draft, settled: Settled, open_: Open) -> None:
    """Decide everything open.

    Raises:
        SolverError: some part of it has no whole-node solution.
    """
    if not open_.place.any():
        return
    work = _start(draft, settled, open_)
    parts = _parts(work)
    for batch in _batches(work, parts):
        _round_batch(work, batch)
    for places in parts:
        left = places[open_.place[places]]
        if left.size:
            _round_part(work, left)


def _batches(work: _Work, parts: list[Integers]) -> list[list[Integers]]:
    """Parts, a few thousand columns together: a solver takes longer to start than to solve one."""
    batches: list[list[Integers]] = []
    columns = _BATCH
    for places in parts:
        if columns >= _BATCH:
            batches.append([])
            columns = 0
        batches[-1].append(places)
        columns += _columns(work, places, Freedom.NEAREST).size
    return [batch for batch in batches if len(batch) > 1]


def _round_batch(work: _Work, batch: list[Integers]) -> None:
    """Decide parts that share nothing in one program; those that come out well are closed."""
    places = np.sort(np.concatenate(batch))
    columns = _columns(work, places, Freedom.NEAREST)
    try:
        missing, values = _solve(work, places, columns, Freedom.NEAREST)
    except SolverError:
        # One of them has no neighbouring whole nodes: halves find it.
        half = len(batch) // 2
        for rest in (batch[:half], batch[half:]):
            if len(rest) > 1:
                _round_batch(work, rest)
        return
    short = {column for due, nodes in missing if nodes > FACE for column, _ in due.columns}
    short.update(columns[work.short[columns] & (values > 0)].tolist())
    for part in batch:
        own = _columns(work, part, Freedom.NEAREST)
        if short.isdisjoint(own.tolist()):
            _write(work, own, values[np.searchsorted(columns, own)], part)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ragged:
    """Members per row."""

    start: Integers
    member: Integers

    def of(self, rows: Integers) -> tuple[Integers, Integers]:
        """For each member of the rows its position in them, and the member."""
        position, at = take(self.start, rows)
        return position, self.member[at]


def _ragged(rows: Integers, members: Integers, size: int) -> _Ragged:
    order = rows.argsort(kind="stable")
    return _Ragged(start=starts(np.bincount(rows, minlength=size)), member=members[order])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Work:
    """Everything that a part is written from; arrays are per column unless said.

    Attributes:
        by_column, by_row: Entries of the program.
        places_of, columns_of: Movable columns and the places they touch, both ways.
        supply_start: Supply columns of each place, ragged.
        units: What one unit of a column stands for, per node: chips where base load is backed.
        gain, least, most: Objective and bounds per unit.
        wanted: Priced value in units; ``current`` the value in nodes as it stands.
        tied: It could as well be anywhere, at the prices.
        fill, flow, backing: Fills of blocks; links; named backups of base load.
        reserve: Chips that stand by, and shortfalls; ``short`` the shortfalls alone.
        cover: Rows of NODE cover.  # (rows,)
        row_upper: Of the program, and nothing left over where the price is above zero.  # (rows,)
        inside: Scratch flags per place, all false between uses.
    """

    draft: Draft
    open: Open
    by_column: _Ragged
    by_row: _Ragged
    places_of: _Ragged
    columns_of: _Ragged
    supply_start: Integers
    units: Floats
    gain: Floats
    least: Floats
    most: Floats
    wanted: Floats
    current: Floats
    tied: Flags
    fill: Flags
    flow: Flags
    backing: Flags
    reserve: Flags
    short: Flags
    cover: Flags
    row_upper: Floats
    inside: Flags

    def rows_of(self, columns: Integers) -> Integers:
        """Rows that the columns are in, once each."""
        _, entries = self.by_column.of(columns)
        return np.unique(self.draft.model.program.rows[entries])


def _start(draft: Draft, settled: Settled, open_: Open) -> _Work:
    model, program, market = draft.model, draft.model.program, draft.model.market
    layout, columns = model.layout, program.objective.size
    entries = np.arange(program.rows.size)
    column, place = touched_places(draft, _movable(draft))
    units = _units(draft)
    short = np.zeros(columns)
    short[model.penalties] = draft.choice.short
    node = market.grid.node[market.base.backed_pool]
    current = np.where(open_.column, settled.values, draft.nodes.astype(np.float64))
    closed = ~open_.column[layout.backing]
    current[layout.backing[closed]] = (draft.named / node)[closed]
    current[model.penalties] = draft.choice.short
    gain = program.objective + model.credits
    for kinds, cost in (
        ((layout.spare, layout.site_spare), _HOLDING_COST),
        ((layout.reclaim, layout.site_reclaim), 2 * _HOLDING_COST),
    ):
        gain[_marked(columns, *kinds)] -= cost
    fill = _marked(columns, layout.fill)
    least = np.ceil(program.lower * units - FACE)
    most = np.floor(program.upper * units + FACE)
    support, arcs = draft.support, slice(layout.arc, layout.arc + draft.arcs.size)
    most[: support.most.size] = np.minimum(most[: support.most.size], support.most)
    most[arcs] = np.minimum(most[arcs], support.arc_most)
    most[model.penalties] = np.where(
        draft.choice.short > FACE, np.ceil((short * units)[model.penalties] - FACE), 0.0
    )
    row_upper = program.row_upper.copy()
    row_upper[layout.balance[support.paid]] = 0.0
    return _Work(
        draft=draft,
        open=open_,
        by_column=_ragged(program.columns, entries, columns),
        by_row=_ragged(program.rows, entries, program.row_lower.size),
        places_of=_ragged(column, place, columns),
        columns_of=_ragged(place, column, market.grid.places),
        supply_start=starts(np.bincount(market.supply.place, minlength=market.grid.places)),
        units=units,
        gain=gain / units,
        least=least,
        most=most,
        wanted=settled.values * units,
        current=current,
        tied=np.abs(settled.reduced_costs) <= FACE,
        fill=fill,
        flow=_marked(columns, layout.flow),
        backing=_marked(columns, layout.backing),
        short=_marked(columns, model.penalties),
        reserve=_marked(columns, *_place_columns(model)),
        cover=_marked(program.row_lower.size, layout.cover),
        row_upper=row_upper,
        inside=np.zeros(market.grid.places, dtype=np.bool_),
    )


def _marked(size: int, *positions: Integers) -> Flags:
    """Flags of the positions that exist."""
    found = np.zeros(size, dtype=np.bool_)
    for kind in positions:
        found[kind[kind != NONE]] = True
    return found


def _parts(work: _Work) -> list[Integers]:
    """Open places that share a row, together; parts in order of their first place."""
    model = work.draft.model
    places = np.flatnonzero(work.open.place)
    at, supply = take(work.supply_start, places)
    columns, of_place = [supply], [places[at]]
    for kind in _place_columns(model):
        column = kind[places]
        columns.append(column[column != NONE])
        of_place.append(places[column != NONE])
    open_columns = np.flatnonzero(work.open.column)
    at, touched = work.places_of.of(open_columns)
    columns.append(open_columns[at])
    of_place.append(touched)
    at, entries = work.by_column.of(np.concatenate(columns))
    entry_row, entry_place = model.program.rows[entries], np.concatenate(of_place)[at]
    # A label travels from place to row to place until it has reached its whole part.
    label = np.arange(model.market.grid.places)
    while True:
        least = np.full(model.program.row_lower.size, label.size)
        np.minimum.at(least, entry_row, label[entry_place])
        further = label.copy()
        np.minimum.at(further, entry_place, least[entry_row])
        if (further == label).all():
            break
        label = further
    of_part = label[places]
    return [places[of_part == part] for part in np.unique(of_part).tolist()]


def _place_columns(model: Model) -> tuple[Integers, ...]:
    """Columns of reserves and shortfalls per place."""
    layout = model.layout
    return layout.spare, layout.site_spare, layout.reclaim, layout.site_reclaim, layout.short


def _round_part(work: _Work, places: Integers) -> None:
    """Decide one part, with neighbouring places where it does not fit alone."""
    best: tuple[float, Integers, Integers] | None = None
    decided = places
    # Not the error itself: it would keep everything here alive as long as nobody collects cycles.
    failure = "no freedom was tried"
    for width in Width:
        if width:
            wider = _widen(work, places, width)
            if wider.size == places.size:
                continue
            places = wider
        for freedom in Freedom:
            if best is not None and freedom is Freedom.EVERY_FILL:
                break
            columns = _columns(work, places, freedom)
            if best is not None and columns.size > _WIDE:
                break
            try:
                missing, values = _solve(work, places, columns, freedom)
            except SolverError as error:
                failure = error.status
                continue
            short = sum(nodes for _, nodes in missing)
            # Base load goes without as little as can be, whoever else is moved for it.
            short += float((values / work.units[columns])[work.short[columns]].sum())
            if best is None or short < best[0] - FACE:
                best = short, columns, values
                decided = places
            if best[0] <= FACE:
                break
        if best is not None and best[0] <= FACE:
            break
    if best is None:
        raise SolverError(failure)
    _write(work, best[1], best[2], decided)


def _widen(work: _Work, places: Integers, width: Width) -> Integers:
    """Also the places of these sites, or those that share a row; at last all at their time."""
    market, intervals = work.draft.model.market, work.draft.model.market.grid.intervals
    if width is Width.SITE:
        site = market.grid.site.repeat(intervals) * intervals
        spot = site + np.arange(site.size) % intervals
        limited = places[market.grid.power_limit[market.grid.site[places // intervals]] != NONE]
        return np.union1d(places, np.flatnonzero(np.isin(spot, spot[limited])))
    if width is Width.TIME:
        clock = np.unique(places % intervals)
        pools = np.arange(len(market.grid.pools)) * intervals
        return (pools[:, None] + clock).reshape(-1)
    rows = work.rows_of(_columns(work, places, Freedom.ALL))
    _, entries = work.by_row.of(rows)
    columns = np.unique(work.draft.model.program.columns[entries])
    _, touched = work.places_of.of(columns)
    return np.union1d(places, touched)


def _columns(work: _Work, places: Integers, freedom: Freedom) -> Integers:
    """Columns that a part decides: those of its places, and movable ones wholly among them."""
    model, layout = work.draft.model, work.draft.model.layout
    _, supply = take(work.supply_start, places)
    found = [supply, *(kind[places][kind[places] != NONE] for kind in _place_columns(model))]
    _, movable = work.columns_of.of(places)
    movable = np.unique(movable)
    if freedom < Freedom.ONE_NODE:
        movable = movable[work.open.column[movable]]
    elif freedom < Freedom.EVERY_FILL:
        movable = movable[work.open.column[movable] | ~work.fill[movable]]
    work.inside[places] = True
    position, touched = work.places_of.of(movable)
    wholly = np.bincount(position, weights=~work.inside[touched], minlength=movable.size) == 0
    work.inside[places] = False
    found.append(movable[wholly])
    named = np.isin(layout.backing, found[-1])
    if named.any():
        row, _ = expand(np.diff(model.market.base.backed_start))
        short = np.unique(layout.backing_short[row[named]])
        found.append(short[short != NONE])
    return np.sort(np.concatenate(found))


def _movable(draft: Draft) -> Integers:
    """Columns of arcs, fills of chosen blocks, flows and named backups."""
    layout = draft.model.layout
    arcs = layout.arc + np.arange(draft.model.market.demand.arc_cell.size)
    fills = layout.fill[(layout.fill != NONE) & draft.choice.chosen]
    return np.concatenate((arcs, fills, layout.flow, layout.backing))


def places_of(draft: Draft, columns: Integers) -> Integers:
    """Places whose supply or reserve a column touches, once each."""
    return np.unique(touched_places(draft, columns)[1])


def touched_places(draft: Draft, columns: Integers) -> tuple[Integers, Integers]:
    """Pairs of a column and a place whose supply or reserve it touches."""
    market, layout = draft.model.market, draft.model.layout
    intervals, demand, links = market.grid.intervals, market.demand, market.links
    inside = np.zeros(draft.nodes.size, dtype=np.bool_)
    inside[columns] = True
    supply = np.flatnonzero(inside[: market.supply.place.size])
    pairs = [(supply, market.supply.place[supply])]
    arcs = np.flatnonzero(inside[layout.arc : layout.arc + demand.arc_cell.size])
    pairs.append((layout.arc + arcs, demand.arc_place[arcs]))
    backed = arcs[demand.arc_backup[arcs] != NONE]
    at = demand.arc_backup[backed] * intervals + demand.arc_place[backed] % intervals
    pairs.append((layout.arc + backed, at))
    fill = layout.fill[draft.runs.alternative]
    rows = np.flatnonzero((fill != NONE) & inside[fill])
    pairs.append((fill[rows], draft.runs.place[rows]))
    backup = market.blocks.backup[draft.runs.alternative[rows]]
    gangs = rows[backup != NONE]
    at = backup[backup != NONE] * intervals + draft.runs.place[gangs] % intervals
    pairs.append((fill[gangs], at))
    flow = np.flatnonzero(inside[layout.flow])
    link, interval = np.divmod(flow, intervals)
    pairs += [
        (layout.flow[flow], pool[link] * intervals + interval)
        for pool in (links.source, links.target)
    ]
    row, _ = expand(np.diff(market.base.backed_start))
    named = np.flatnonzero(inside[layout.backing])
    at = market.base.backed_place[row[named]] % intervals
    pairs.append((layout.backing[named], market.base.backed_pool[named] * intervals + at))
    return np.concatenate([c for c, _ in pairs]), np.concatenate([p for _, p in pairs])


def _solve(
    work: _Work, places: Integers, columns: Integers, freedom: Freedom
) -> tuple[list[tuple[Due, float]], Integers]:
    """Whole values of the columns (chips where base load is backed), and nodes unexplained."""
    program = work.draft.model.program
    builder = Builder()
    low, high = _ranges(work, columns, freedom)
    for gain, least, most in zip(
        work.gain[columns].tolist(), low.tolist(), high.tolist(), strict=True
    ):
        builder.column(gain, least, most, whole=True)
    rows = work.rows_of(columns)
    position, entries = work.by_row.of(rows)
    column, value = program.columns[entries], program.values[entries]
    local = np.minimum(np.searchsorted(columns, column), columns.size - 1)
    here = columns[local] == column
    held = np.bincount(
        position[~here], weights=(value * work.current[column])[~here], minlength=rows.size
    )
    for least, most, moved in zip(
        program.row_lower[rows].tolist(),
        work.row_upper[rows].tolist(),
        held.tolist(),
        strict=True,
    ):
        builder.row(least - moved, most - moved)
    reserve_row = _add_cover_rows(work, builder, rows)[position]
    target = np.where(work.reserve[column] & (reserve_row != NONE), reserve_row, position)
    for row, at, entry_value in zip(
        target[here].tolist(),
        local[here].tolist(),
        (value / work.units[column])[here].tolist(),
        strict=True,
    ):
        builder.entry(row, at, entry_value)
    dues = _dues(work, places, columns)
    missing = _add_due(work, builder, dues, columns)
    solution = solve_whole(builder.freeze(), node_limit=_NODE_LIMIT)
    short = [(due, float(solution.values[at])) for due, at in zip(dues, missing, strict=True)]
    return short, np.rint(solution.values[: columns.size]).astype(np.int64)


def _units(draft: Draft) -> Floats:
    """What one unit of a column stands for, per node: chips where base load is backed."""
    market, layout = draft.model.market, draft.model.layout
    node = market.grid.node
    units = np.ones(draft.nodes.size)
    units[layout.backing] = node[market.base.backed_pool]
    short = layout.backing_short != NONE
    backed = market.base.backed_place[short] // market.grid.intervals
    units[layout.backing_short[short]] = node[backed]
    return units


def _ranges(work: _Work, columns: Integers, freedom: Freedom) -> tuple[Floats, Floats]:
    """Least and most of each column at one freedom."""
    least, most = work.least[columns], work.most[columns]
    low, high = least.copy(), most.copy()
    # A link is at the end that its prices ask for, whatever else moves.
    held = work.flow[columns] & ~work.tied[columns]
    near = (np.diff(work.places_of.start)[columns] > 0) & ~work.backing[columns]
    if freedom >= Freedom.ALL:
        near &= held
    elif freedom >= Freedom.OPEN:
        near &= ~work.open.column[columns] | work.fill[columns] | held
    wanted = work.wanted[columns]
    low[near], high[near] = np.floor(wanted[near] + FACE), np.ceil(wanted[near] - FACE)
    if freedom is Freedom.ONE_NODE:
        low[near & ~held] -= 1
        free = near & work.tied[columns] & ~work.fill[columns]
        low[free], high[free] = least[free], most[free]
    high = np.minimum(high, most)
    return np.minimum(np.maximum(low, least), high), high


def _add_cover_rows(work: _Work, builder: Builder, rows: Integers) -> Integers:
    """For rows of NODE cover the row that reserves are in, ``NONE`` for others.

    Required nodes K, whole: K >= theta x covered, and spare + R + short >= K.
    """
    found = np.full(rows.size, NONE, dtype=np.int64)
    for position in np.flatnonzero(work.cover[rows]).tolist():
        required = builder.column(0.0, 0.0, INFINITY, whole=True)
        builder.entry(position, required, 1.0)
        found[position] = builder.row(0.0, INFINITY)
        builder.entry(int(found[position]), required, -1.0)
    return found


def _dues(work: _Work, places: Integers, columns: Integers) -> list[Due]:
    """What the cells of these columns, and the offers of these places, should trade in full."""
    layout, demand = work.draft.model.layout, work.draft.model.market.demand
    arcs = columns[(columns >= layout.arc) & (columns < layout.arc + demand.arc_cell.size)]
    cells = np.unique(demand.arc_cell[arcs - layout.arc]).tolist()
    return work.draft.support.dues(set(cells), places.tolist())


def _add_due(work: _Work, builder: Builder, dues: list[Due], columns: Integers) -> list[int]:
    """Rows that ask for everything due; returns the columns of what is short unexplained."""
    local = {column: at for at, column in enumerate(columns.tolist())} if dues else {}
    missing = []
    for due in dues:
        unit = max(chips for _, chips in due.columns)
        held = sum(work.current[c] * chips for c, chips in due.columns if c not in local)
        row = builder.row((due.chips - held) / unit, INFINITY)
        for column, chips in due.columns:
            if column in local:
                builder.entry(row, local[column], chips / unit)
        if due.free:
            builder.entry(row, builder.column(0.0, 0.0, due.free / unit), 1.0)
        missing.append(builder.column(-_SHORT_COST, 0.0, INFINITY))
        builder.entry(row, missing[-1], 1.0)
    return missing


def _write(work: _Work, columns: Integers, values: Integers, places: Integers) -> None:
    """Take a solution over, and close what it decided."""
    draft, layout = work.draft, work.draft.model.layout
    draft.nodes[columns] = values
    work.current[columns] = values / work.units[columns]
    named = np.isin(layout.backing, columns)
    if named.any():
        draft.named[named] = draft.nodes[layout.backing[named]]
        draft.nodes[layout.backing[named]] = 0
    work.open.column[columns] = False
    work.open.place[places] = False
