"""Offers with a commitment: what an interval on is worth, and the best runs at some charges.

The best response is a dynamic program over on, off and run length. An interval on gives the
best sale of at least ``min_chips`` (cheapest steps first), the rest sold, standing by or idle,
less ``no_load``; each run costs ``start_up``, lasts ``min_run`` intervals at least and lies
inside the auction and the offer's segments. A whole one is a single decision.

Source: docs/reference/clearing-rules, "What each order can do" and "Families".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing.checks.charges import Charges
from clearing.checks.exact import LIMIT, Bools, Ints, most, plus, sum_runs, times
from clearing.checks.facts import View
from clearing.checks.families import scale_of_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """What the branch certificate has decided of each unit.

    Attributes:
        on, off: Per unit and interval: must be on, must not be on.
        some: Per unit: must be on somewhere.
    """

    on: Bools
    off: Bools
    some: Bools


def free(view: View) -> Holds:
    """Nothing decided."""
    units = len(view.book.units.order)
    return Holds(
        on=np.zeros((units, view.intervals), dtype=np.bool_),
        off=np.zeros((units, view.intervals), dtype=np.bool_),
        some=np.zeros(units, dtype=np.bool_),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OnValues:
    """Value of each interval on, units of value times the scale; ``able`` where it can be on."""

    value: Ints
    able: Bools


def on_values(view: View, charges: Charges) -> OnValues:
    """What each unit gains by being on in each interval, start-up apart."""
    book, curves, units = view.book, view.curves, view.book.units
    scale = scale_of_time(view)
    stop = curves.starts[1]
    cells = np.flatnonzero(book.unit_of[curves.order[:stop]] >= 0)
    unit = book.unit_of[curves.order[cells]]
    picked = np.zeros(stop, dtype=np.bool_)
    picked[cells] = True
    entries = np.flatnonzero(picked[curves.cell[: curves.entries[stop]]])
    cell = curves.cell[entries]
    own = book.unit_of[curves.order[cell]]
    place = book.offer_pool[curves.order[cell]] * view.intervals + curves.interval[cell]
    whole = units.whole[own]
    margin = plus(charges.supply[place], -times(curves.price[entries], charges.scale))
    sold = np.clip(units.min_chips[own] - curves.before[entries], 0, curves.size[entries])
    sold = np.where(whole, curves.size[entries], sold)
    best = np.maximum(margin, charges.idle[place])
    gain = plus(times(margin, sold), times(best, curves.size[entries] - sold))
    offsets = np.append(np.searchsorted(cell, cells), len(cell))
    gain = times(sum_runs(offsets, gain), scale.per_chip)
    cost = times(times(units.no_load, scale.per_usd), charges.scale)
    gain = plus(gain, -cost[unit])
    value = np.zeros((len(units.order), view.intervals), dtype=gain.dtype)
    able = np.zeros(value.shape, dtype=np.bool_)
    value[unit, curves.interval[cells]] = gain
    able[unit, curves.interval[cells]] = curves.chips[cells] >= units.min_chips[unit]
    return OnValues(value=value, able=able)


def best_runs(view: View, charges: Charges, holds: Holds) -> tuple[Ints, bool]:
    """Best response of each unit, units of value times the scale.

    Returns:
        Per unit its best value, and whether everything that is held can be had.
    """
    units = view.book.units
    if not len(units.order):
        return np.zeros(0, dtype=np.int64), True
    scale = scale_of_time(view)
    values = on_values(view, charges)
    start = times(times(units.start_up, scale.per_usd), charges.scale)
    value = values.value
    if (most(value) + most(start)) * (view.intervals + 1) * 2 >= LIMIT:
        value, start = value.astype(object), start.astype(object)
    best, possible = _program(view, value, values.able & ~holds.off, start, holds)
    whole, decided = _wholes(view, value, start, holds)
    best = np.where(units.whole, whole, best)
    return best, bool(np.where(units.whole, decided, possible).all())


def _wholes(view: View, value: Ints, start: Ints, holds: Holds) -> tuple[Ints, Bools]:
    """One decision: every interval of the segments, or none."""
    curves, stop = view.curves, view.curves.starts[1]
    unit = view.book.unit_of[curves.order[:stop]]
    inside = np.zeros(holds.on.shape, dtype=np.bool_)
    inside[unit[unit >= 0], curves.interval[:stop][unit >= 0]] = True
    worth = value.sum(axis=1) - start
    must = holds.some | holds.on.any(axis=1)
    never = (holds.off & inside).any(axis=1)
    possible = ~(must & never) & ~(holds.on & ~inside).any(axis=1)
    best = np.where(must, worth, np.where(never, 0, np.maximum(0, worth)))
    return best, possible


def _program(view: View, value: Ints, able: Bools, start: Ints, holds: Holds) -> tuple[Ints, Bools]:
    """Dynamic program over intervals, for all units at once.

    ``rest[t]`` is the best with the unit off in the interval before t, ``run[t]`` with it on
    and its run long enough to stop; the second index tells whether it has been on before.
    """
    intervals, count = view.intervals, len(start)
    length = np.minimum(view.book.units.min_run, intervals + 1)
    sums = np.zeros((count, intervals + 1), dtype=value.dtype)
    np.cumsum(np.where(able, value, 0), axis=1, out=sums[:, 1:])
    blocked = np.zeros((count, intervals + 1), dtype=np.int64)
    np.cumsum(~able, axis=1, out=blocked[:, 1:])
    rest = np.zeros((2, count, intervals + 1), dtype=value.dtype)
    run = np.zeros((count, intervals + 1), dtype=value.dtype)
    rested = np.zeros((2, count, intervals + 1), dtype=np.bool_)
    ran = np.zeros((count, intervals + 1), dtype=np.bool_)
    rested[0, :, 0] = True
    rows = np.arange(count)
    for t in range(intervals):
        # Start here, from whichever past is better: a run of the shortest length.
        known, past = _better(rest[0, :, t], rested[0, :, t], rest[1, :, t], rested[1, :, t])
        end = np.minimum(t + length, intervals)
        fits = past & (t + length <= intervals) & (blocked[rows, end] == blocked[:, t])
        begun = known + sums[rows, end] - sums[:, t] - start
        value_at, there = _better(run[rows, end], ran[rows, end], begun, fits)
        run[rows, end], ran[rows, end] = value_at, there
        # Stay on for one more interval.
        on = ran[:, t] & able[:, t]
        longer = run[:, t] + value[:, t]
        run[:, t + 1], ran[:, t + 1] = _better(run[:, t + 1], ran[:, t + 1], longer, on)
        # Be off in this interval.
        off = ~holds.on[:, t]
        rest[0, :, t + 1], rested[0, :, t + 1] = rest[0, :, t], rested[0, :, t] & off
        stopped, been = _better(rest[1, :, t], rested[1, :, t], run[:, t], ran[:, t])
        rest[1, :, t + 1], rested[1, :, t + 1] = stopped, been & off
    been, could = _better(
        rest[1, :, intervals], rested[1, :, intervals], run[:, intervals], ran[:, intervals]
    )
    never = rested[0, :, intervals] & ~holds.some
    return _better(been, could, rest[0, :, intervals], never)


def _better(left: Ints, has_left: Bools, right: Ints, has_right: Bools) -> tuple[Ints, Bools]:
    """The larger of two values that may be missing."""
    use = has_right & (~has_left | (right > left))
    return np.where(use, right, left), has_left | has_right
