"""Supply with commitments: on or off by interval at the prices, smoothed or exactly.

The smoothed response is a soft dynamic program over off and the age of a run, with the same
transitions as the exact one: a run starts at a cost, lasts at least its least length and ends
inside
the auction. At the prices of an interval a unit that is on sells its least chips, cheapest first,
and
every further chip is sold, held spare or idle.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clearing.market import Integers
from clearing.program import Floats
from clearing.search.coordinate.compiled import inner
from clearing.search.coordinate.problem import Problem, Units

Matrix = npt.NDArray[np.float64]
_NEVER = -1e300


class Runs(NamedTuple):
    """What units do, per unit and interval.

    Attributes:
        fixed: 1 where the decisions of a unit are taken.  # (units,)
        on: Share in which it is on; the decision where it is fixed.
        gain: Of being on.
        sold, spare: Chips while on.
        slope: Rise of ``sold`` per dollar.
        ahead, mass: Room for the dynamic program.
    """

    fixed: Integers
    on: Floats
    gain: Floats
    sold: Floats
    spare: Floats
    slope: Floats
    ahead: Matrix
    mass: Matrix


def new_runs(units: Units, intervals: int) -> Runs:
    """Nothing decided, everything off."""
    size = units.offered.size
    age = int(units.min_run.max(initial=1))
    return Runs(
        fixed=np.zeros(units.pool.size, dtype=np.int64),
        on=np.zeros(size),
        gain=np.zeros(size),
        sold=np.zeros(size),
        spare=np.zeros(size),
        slope=np.zeros(size),
        ahead=np.zeros((intervals + 1, age + 1)),
        mass=np.zeros((2, age + 1)),
    )


@inner
def respond_units(
    problem: Problem,
    x: Floats,
    spare: Floats,
    tau: float,
    runs: Runs,
    sold: Floats,
    held: Floats,
    slope: Floats,
) -> float:
    """Surplus of all units.

    Args:
        spare: What a spare chip earns, per place.
        tau: Temperature; zero gives exact best responses.
        sold, held, slope: Chips sold and to spare, and the rise of sales per dollar, per
            place: added to.
    """
    units = problem.units
    intervals = problem.places.intervals
    total = 0.0
    for unit in range(units.pool.size):
        for interval in range(intervals):
            place = units.pool[unit] * intervals + interval
            _respond_interval(units, unit, interval, intervals, x[place], spare[place], tau, runs)
        if runs.fixed[unit] == 1:
            for interval in range(intervals):
                at = unit * intervals + interval
                if runs.on[at] > 0.0:
                    total += runs.gain[at]
        elif units.whole[unit]:
            total += _choose_whole(units, unit, intervals, tau, runs)
        else:
            total += choose_runs(units, unit, intervals, tau, runs)
        for interval in range(intervals):
            at = unit * intervals + interval
            place = units.pool[unit] * intervals + interval
            sold[place] += runs.on[at] * runs.sold[at]
            held[place] += runs.on[at] * runs.spare[at]
            slope[place] += runs.on[at] * runs.slope[at]
    return total


@inner
def _respond_interval(
    units: Units,
    unit: int,
    interval: int,
    intervals: int,
    price: float,
    spare: float,
    tau: float,
    runs: Runs,
) -> None:
    at = unit * intervals + interval
    gain = -units.no_load[unit]
    left = units.least[at]
    sold = 0.0
    held = 0.0
    slope = 0.0
    for step in range(units.start[at], units.start[at + 1]):
        chips = units.chips[step]
        cost = units.price[step]
        must = chips if units.whole[unit] else min(left, chips)
        left -= must
        sold += must
        gain += must * (price - cost)
        free = chips - must
        if free <= 0.0:
            continue
        over = price - cost - spare
        soft = tau * max(cost, 1e-3)
        gain += free * spare
        if soft > 0.0:
            part = 1.0 / (1.0 + math.exp(-over / soft)) if over > -40.0 * soft else 0.0
            if over > -40.0 * soft:
                gain += free * (soft * math.log1p(math.exp(-abs(over) / soft)) + max(0.0, over))
            slope += free * part * (1.0 - part) / soft
        else:
            part = 1.0 if over > 0.0 else 0.0
            gain += free * max(0.0, over)
        sold += free * part
        held += free * (1.0 - part)
    runs.gain[at] = gain
    runs.sold[at] = sold
    runs.spare[at] = held
    runs.slope[at] = slope


@inner
def _choose_whole(units: Units, unit: int, intervals: int, tau: float, runs: Runs) -> float:
    gain = -units.start_up[unit]
    first = unit * intervals
    for at in range(first, first + intervals):
        if units.offered[at] > 0.0:
            gain += runs.gain[at]
    soft = tau * units.scale[unit] * intervals
    if soft > 0.0:
        part = 1.0 / (1.0 + math.exp(-gain / soft)) if gain > -40.0 * soft else 0.0
        value = soft * math.log1p(math.exp(-abs(gain) / soft)) + max(0.0, gain)
    else:
        part = 1.0 if gain > 0.0 else 0.0
        value = max(0.0, gain)
    for at in range(first, first + intervals):
        runs.on[at] = part if units.offered[at] > 0.0 else 0.0
    return value


@inner
def _merge(one: float, other: float, soft: float) -> float:
    """The larger of two values, smoothed."""
    top = max(one, other)
    low = min(one, other)
    if soft <= 0.0 or low < top - 40.0 * soft:
        return top
    return top + soft * math.log1p(math.exp((low - top) / soft))


@inner
def choose_runs(units: Units, unit: int, intervals: int, tau: float, runs: Runs) -> float:
    """Value of the best plan of a unit; fills ``on`` with its share (or 0 and 1) by interval.

    ``ahead[t, s]`` is the best value from interval ``t`` on when ``s`` intervals of a run lie
    behind (capped at the least run), 0 for off.
    """
    age = units.min_run[unit]
    soft = tau * units.scale[unit]
    ahead = runs.ahead
    ahead[:] = _NEVER
    ahead[intervals, 0] = 0.0
    ahead[intervals, age] = 0.0
    first = unit * intervals
    for interval in range(intervals - 1, -1, -1):
        may = units.offered[first + interval] > 0.0
        gain = runs.gain[first + interval]
        off = ahead[interval + 1, 0]
        for state in range(age + 1):
            stop = off if state in (0, age) else _NEVER
            run = _NEVER
            if may:
                after = ahead[interval + 1, min(age, state + 1)]
                run = gain + after - (units.start_up[unit] if state == 0 else 0.0)
            ahead[interval, state] = _merge(stop, run, soft)
    mass = runs.mass
    mass[:] = 0.0
    mass[0, 0] = 1.0
    for interval in range(intervals):
        now = interval % 2
        then = 1 - now
        mass[then, :] = 0.0
        may = units.offered[first + interval] > 0.0
        gain = runs.gain[first + interval]
        share = 0.0
        for state in range(age + 1):
            if mass[now, state] == 0.0:
                continue
            stop = ahead[interval + 1, 0] if state in (0, age) else _NEVER
            run = _NEVER
            if may:
                after = ahead[interval + 1, min(age, state + 1)]
                run = gain + after - (units.start_up[unit] if state == 0 else 0.0)
            if soft > 0.0:
                far = (run - stop) / soft
                part = 0.0 if far < -40.0 else 1.0 / (1.0 + math.exp(-min(far, 700.0)))
            else:
                part = 1.0 if run > stop else 0.0
            mass[then, 0] += mass[now, state] * (1.0 - part)
            mass[then, min(age, state + 1)] += mass[now, state] * part
            share += mass[now, state] * part
        runs.on[first + interval] = share
    return ahead[0, 0]


@inner
def move_units(
    problem: Problem,
    direction: Floats,
    move_spare: Floats,
    tau: float,
    runs: Runs,
    sold: Floats,
    held: Floats,
) -> None:
    """How sales and spare chips change along a direction, each interval for itself."""
    units = problem.units
    intervals = problem.places.intervals
    for unit in range(units.pool.size):
        soft = tau * units.scale[unit]
        for interval in range(intervals):
            at = unit * intervals + interval
            part = runs.on[at]
            if part <= 0.0:
                continue
            place = units.pool[unit] * intervals + interval
            move = direction[place]
            shift = part * runs.slope[at] * (move - move_spare[place])
            sold[place] += shift
            held[place] -= shift
            if runs.fixed[unit] == 0:
                gain = runs.sold[at] * move + runs.spare[at] * move_spare[place]
                change = part * (1.0 - part) * gain / soft
                sold[place] += change * runs.sold[at]
                held[place] += change * runs.spare[at]
