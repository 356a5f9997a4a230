"""Curves by interval: what every divisible order asked for in each interval it stands in.

A *cell* is an order in one interval; an *entry* is one step of a cell's curve. Cells are
sorted by order and interval, so those of offers, of step bids and of nominations follow
each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing.checks.book_columns import BookColumns
from clearing.checks.exact import Ints, expand, offsets_of, ranges, running, sum_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Cells and entries.

    Attributes:
        order: Per cell; ``interval`` and ``key`` = order x intervals + interval.
        chips: Per cell, in all.
        entries: Where the entries of each cell begin.
        cell: Per entry; ``price``, ``size`` its chips, ``before`` those of the steps before it.
        starts: Cells at which offers, step bids and nominations begin, and their number.
    """

    order: Ints
    interval: Ints
    key: Ints
    chips: Ints
    entries: Ints
    cell: Ints
    price: Ints
    size: Ints
    before: Ints
    starts: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkCells:
    """Intervals in which each work bid may be served.

    Attributes:
        work: Position among work bids; ``interval`` and ``key`` as those of curves.
        cells: Where the cells of each work bid begin.
    """

    work: Ints
    interval: Ints
    key: Ints
    cells: Ints


def read_curves(columns: BookColumns) -> Curves:
    """Expand the segments of a sound book over their intervals."""
    segments, intervals = columns.segments, columns.grid.intervals
    segment, interval = ranges(segments.first, segments.stop - segments.first)
    key = segments.owner[segment] * intervals + interval
    if (np.diff(key) <= 0).any():
        order = np.argsort(key, kind="stable")
        segment, interval, key = segment[order], interval[order], key[order]
    steps = np.diff(segments.steps)
    # At most 10**8 chips a step and fewer than 2**31 steps: running sums fit int64.
    before = running(segments.chips)[:-1]
    before -= np.repeat(before[segments.steps[:-1]], steps) if len(before) else 0
    cell, position = expand(steps[segment])
    step = segments.steps[segment][cell] + position
    entries = offsets_of(steps[segment])
    owner = segments.owner[segment]
    bounds = np.searchsorted(owner, (columns.starts[1], columns.starts[4])).tolist()
    return Curves(
        order=owner,
        interval=interval,
        key=key,
        chips=sum_runs(entries, segments.chips[step]),
        entries=entries,
        cell=cell,
        price=segments.price[step],
        size=segments.chips[step],
        before=before[step],
        starts=(0, bounds[0], bounds[1], len(owner)),
    )


def read_work_cells(columns: BookColumns) -> WorkCells:
    """Expand the windows of work bids."""
    works = columns.works
    counts = works.stop - works.first
    work, interval = ranges(works.first, counts)
    return WorkCells(
        work=work,
        interval=interval,
        key=(columns.starts[3] + work) * columns.grid.intervals + interval,
        cells=offsets_of(counts),
    )


def find(keys: Ints, wanted: Ints) -> Ints:
    """Positions of keys in a sorted column; -1 for those that are not there."""
    if not len(keys):
        return np.full(len(wanted), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)
