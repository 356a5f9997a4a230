"""Offers with a commitment as columns and rows: on, start, least quantity and shortest run."""

from __future__ import annotations

import numpy as np

from clearing.columns import Flags, Integers
from clearing.draft import Draft, placed
from clearing.market import NONE
from clearing.program import INFINITY


def add_units(draft: Draft) -> None:
    """Offers with a commitment: on and start columns, and what they tie together."""
    market, units, builder = draft.market, draft.market.units, draft.builder
    intervals, hourly = market.grid.intervals, draft.once_usd_per_hour
    can = units.offered > 0
    block = units.whole[:, None] & can
    free = ~units.whole[:, None] & can
    running = units.whole & can.any(axis=1)
    cost = (units.no_load * can.sum(axis=1) + units.start_up) * hourly
    first = builder.columns(int(running.sum()), -cost[running], 0.0, 1.0, whole=True)
    on = np.full(can.shape, NONE, dtype=np.int64)
    on[block] = np.broadcast_to(placed(running, first)[:, None], can.shape)[block]
    no_load = np.broadcast_to(units.no_load[:, None] * hourly, can.shape)[free]
    first = builder.columns(no_load.size, -no_load, 0.0, 1.0, whole=True)
    on[free] = first + np.arange(no_load.size)
    fits = _fitting_starts(free, units.min_run)
    start_up = np.broadcast_to(units.start_up[:, None] * hourly, can.shape)[free]
    first = builder.columns(no_load.size, -start_up, 0.0, fits[free].astype(np.float64))
    start = np.full(can.shape, NONE, dtype=np.int64)
    start[free] = first + np.arange(no_load.size)
    draft.at["unit_on"], draft.at["unit_start"] = on, start
    _add_unit_sales(draft, on, can)
    first = builder.row_count
    _add_runs(draft, on, start)
    picked = [draft.at[name][draft.at[name] != NONE] for name in ("pick", "fill_row", "unit_most")]
    draft.at["decision"] = np.concatenate((*picked, np.arange(first, builder.row_count)))
    place = units.pool[:, None] * intervals + np.arange(intervals)
    draft.put("headroom", place[free], on[free], -units.offered[free].astype(np.float64))


def _fitting_starts(free: Flags, min_run: Integers) -> Flags:
    """Intervals from which a run of the least length lies where the unit may be on."""
    intervals = free.shape[1]
    ahead = np.zeros((free.shape[0], intervals + 1), dtype=np.int64)
    for interval in reversed(range(intervals)):
        ahead[:, interval] = np.where(free[:, interval], ahead[:, interval + 1] + 1, 0)
    fits: Flags = free & (ahead[:, :-1] >= min_run[:, None])
    return fits


def _add_unit_sales(draft: Draft, on: Integers, can: Flags) -> None:
    """Sold by a unit: at most what it offers where it is on, at least what it must."""
    market, units = draft.market, draft.market.units
    supply, intervals = market.supply, market.grid.intervals
    column = np.flatnonzero(supply.unit != NONE)
    cell = supply.unit[column] * intervals + supply.place[column] % intervals
    for name, wanted, nodes, lower, upper in (
        ("unit_most", can, units.offered, -INFINITY, 0.0),
        ("unit_least", can & (units.least > 0), units.least, 0.0, INFINITY),
    ):
        draft.rows(name, wanted.reshape(-1), lower, upper)
        draft.put(name, cell, column, 1.0)
        flat = np.arange(on.size)
        draft.put(name, flat, on.reshape(-1), -nodes.reshape(-1).astype(np.float64))
        draft.at[name] = draft.at[name].reshape(on.shape)


def _add_runs(draft: Draft, on: Integers, start: Integers) -> None:
    """A start where a unit goes on; on for as long as its run must last.

    Tight in the sense that without other rows the extreme points are whole (Rajan and Takriti,
    "Minimum up/down polytopes of the unit commitment problem with start-up costs", 2005).
    """
    builder, units = draft.builder, draft.market.units
    there = start != NONE
    row = np.full(on.shape, NONE, dtype=np.int64)
    row[there] = builder.rows(int(there.sum()), 0.0, INFINITY) + np.arange(int(there.sum()))
    builder.entries(row[there], start[there], 1.0)
    builder.entries(row[there], on[there], -1.0)
    builder.entries(row[:, 1:].reshape(-1), np.where(there, on, NONE)[:, :-1].reshape(-1), 1.0)
    long = there & (units.min_run > 1)[:, None]
    row = np.full(on.shape, NONE, dtype=np.int64)
    row[long] = builder.rows(int(long.sum()), -INFINITY, 0.0) + np.arange(int(long.sum()))
    builder.entries(row[long], on[long], -1.0)
    for before in range(min(int(units.min_run.max(initial=0)), on.shape[1])):
        still = (units.min_run > before)[:, None] & (row != NONE)
        rows = np.where(still, row, NONE)[:, before:]
        builder.entries(rows.reshape(-1), start[:, : on.shape[1] - before].reshape(-1), 1.0)
