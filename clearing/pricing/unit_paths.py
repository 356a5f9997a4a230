"""Which runs of a unit could be its best ones while some prices are still open.

A unit is *off* or *on and free to stop* before each interval. Arcs: stay off, stay on for an
interval, start (and run for the shortest time), stop. An arc is possible where the best path
over it at the prices most favourable to it reaches what the unit can be sure of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.market import Flags, Integers
from clearing.program import Floats

_NEVER: Final = -1e30
"""Value of a path that does not exist: below any other, and still finite when added."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profits:
    """Profit of being on, US dollars per hour, per unit and interval.

    Attributes:
        low, high: At the least and at the most open prices, no-load included.
        open: Intervals in which the unit can be on.
        start_up: Cost of starting there, <= 0.
    """

    low: Floats
    high: Floats
    open: Flags
    start_up: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arcs:
    """Arcs that could be on a best path.

    Attributes:
        off, stay, start: Before each interval.  # (units, intervals)
        off_low, on_low: What is sure from each state on.  # (units, intervals + 1)
    """

    off: Flags
    stay: Flags
    start: Flags
    off_low: Floats
    on_low: Floats

    def used(self, unit: int, length: int) -> Flags:
        """Intervals in which the unit could be on."""
        found: Flags = self.stay[unit].copy()
        for first in np.flatnonzero(self.start[unit]).tolist():
            found[first : first + length] = True
        return found


def possible_arcs(profits: Profits, min_run: Integers, noise: Floats) -> Arcs:
    """Arcs that could be on a best path, for all units at once.

    Args:
        profits: Per unit and interval.
        min_run: Shortest run of each unit, intervals.
        noise: US dollars per hour by which a path may seem to miss the best one.
    """
    run_low, run_high = _runs(profits, profits.low, min_run), _runs(profits, profits.high, min_run)
    off_low, on_low = _onward(profits, profits.low, run_low, min_run)
    off_high, on_high = _onward(profits, profits.high, run_high, min_run)
    off_before, on_before = _so_far(profits, run_high, min_run)
    stay = np.where(profits.open, profits.high, _NEVER)
    sure = (off_low[:, 0] - noise)[:, np.newaxis]
    end = _end(run_high.shape, min_run)
    return Arcs(
        off=off_before[:, :-1] + off_high[:, 1:] >= sure,
        stay=on_before[:, :-1] + stay + on_high[:, 1:] >= sure,
        start=off_before[:, :-1] + run_high + np.take_along_axis(on_high, end, axis=1) >= sure,
        off_low=off_low,
        on_low=on_low,
    )


def differs(arcs: Arcs, on: Flags, min_run: Integers) -> Flags:
    """Units for which the runs of a choice are not the only possible best path."""
    before = np.zeros_like(on)
    before[:, 1:] = on[:, :-1]
    start = on & ~before
    stay = on.copy()
    for unit, first in np.argwhere(start).tolist():
        stay[unit, first : first + int(min_run[unit])] = False
    same = (arcs.off == ~on) & (arcs.stay == stay) & (arcs.start == start)
    different: Flags = ~same.all(axis=1)
    return different


def _end(shape: tuple[int, ...], min_run: Integers) -> Integers:
    """Interval after the shortest run from each interval, at most the last."""
    end: Integers = np.minimum(np.arange(shape[1]) + min_run[:, np.newaxis], shape[1])
    return end


def _runs(profits: Profits, profit: Floats, min_run: Integers) -> Floats:
    """Worth of starting and running for the shortest time, ``_NEVER`` where that cannot be."""
    zero = np.zeros((profit.shape[0], 1))
    sums = np.hstack([zero, np.cumsum(np.where(profits.open, profit, 0.0), axis=1)])
    closed = np.hstack([zero, np.cumsum(~profits.open, axis=1)])
    end = _end(profit.shape, min_run)
    fits = np.arange(profit.shape[1]) + min_run[:, np.newaxis] <= profit.shape[1]
    fits &= np.take_along_axis(closed, end, axis=1) == closed[:, :-1]
    worth = np.take_along_axis(sums, end, axis=1) - sums[:, :-1] + profits.start_up
    return np.where(fits, worth, _NEVER)


def _onward(
    profits: Profits, profit: Floats, run: Floats, min_run: Integers
) -> tuple[Floats, Floats]:
    """Best from each state to the end: off, and on and free to stop."""
    units, intervals = profit.shape
    off, on = np.zeros((units, intervals + 1)), np.zeros((units, intervals + 1))
    stay = np.where(profits.open, profit, _NEVER)
    every, end = np.arange(units), _end(profit.shape, min_run)
    for t in range(intervals - 1, -1, -1):
        off[:, t] = np.maximum(off[:, t + 1], run[:, t] + on[every, end[:, t]])
        on[:, t] = np.maximum(off[:, t], stay[:, t] + on[:, t + 1])
    return off, on


def _so_far(profits: Profits, run: Floats, min_run: Integers) -> tuple[Floats, Floats]:
    """Best from the beginning to each state, at the most open prices."""
    units, intervals = run.shape
    off, on = np.full((units, intervals + 1), _NEVER), np.full((units, intervals + 1), _NEVER)
    off[:, 0] = 0.0
    stay = np.where(profits.open, profits.high, _NEVER)
    every, end = np.arange(units), _end(run.shape, min_run)
    for t in range(intervals):
        off[:, t] = np.maximum(off[:, t], on[:, t])
        off[:, t + 1] = off[:, t]
        on[:, t + 1] = np.maximum(on[:, t + 1], on[:, t] + stay[:, t])
        on[every, end[:, t]] = np.maximum(on[every, end[:, t]], off[:, t] + run[:, t])
    return off, on
