"""Divisible demand: what a basket takes at the prices, smoothed or exactly."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from clearing.market import Integers
from clearing.program import Floats
from clearing.search.coordinate.compiled import allocating, inner
from clearing.search.coordinate.curves import TAIL, smooth_surplus, steps_below
from clearing.search.coordinate.problem import Baskets, Problem

UNMOVED: Final = 1e-6
"""A share nearer to none or all does not count in the second derivative."""


UNREAD: Final = -1.0
"""First share of a basket that takes nothing, whose shares are not computed."""


@inner
def arc_price(baskets: Baskets, arc: int, price: Floats, x: Floats, count: int) -> float:
    """Price of the basket if this arc alone serves it."""
    total = price[baskets.table[arc] * count + baskets.place[arc]] + baskets.offset[arc]
    if baskets.row[arc] >= 0:
        total += x[baskets.row[arc]]
    return total


@inner
def out_of_reach(
    baskets: Baskets, basket: int, price: Floats, x: Floats, count: int, soft: float
) -> bool:
    """Whether a basket takes nothing at all at the prices, as most do that take nothing."""
    curve = baskets.step_curve
    if baskets.work_start[basket] < baskets.work_start[basket + 1]:
        return False
    first = baskets.start[basket]
    stop = baskets.start[basket + 1]
    dearest = np.inf
    if curve.start[basket] < curve.start[basket + 1]:
        dearest = curve.price[curve.start[basket]]
    # The smoothed least price is below the least one, by the logarithm of their number at most.
    reach = soft * (TAIL + math.log(stop - first))
    for arc in range(first, stop):
        if arc_price(baskets, arc, price, x, count) - reach <= -dearest:
            return False
    return True


@inner
def soft_least(
    baskets: Baskets,
    basket: int,
    price: Floats,
    x: Floats,
    count: int,
    soft: float,
    share: Floats,
) -> float:
    """Smoothed least price over the arcs of a basket; fills their shares."""
    first = baskets.start[basket]
    stop = baskets.start[basket + 1]
    low = np.inf
    for arc in range(first, stop):
        share[arc] = arc_price(baskets, arc, price, x, count)
        low = min(low, share[arc])
    if stop - first == 1:
        share[first] = 1.0
        return low
    mass = 0.0
    for arc in range(first, stop):
        far = (share[arc] - low) / soft
        share[arc] = math.exp(-far) if far < 40.0 else 0.0
        mass += share[arc]
    for arc in range(first, stop):
        share[arc] /= mass
    return low - soft * math.log(mass)


@inner
def respond_baskets(
    problem: Problem,
    price: Floats,
    x: Floats,
    tau: float,
    used: Floats,
    bend: Floats,
    load: Floats,
    share: Floats,
    taken: Floats,
    slope: Floats,
    work_slope: Floats,
    moving: Integers,
) -> float:
    """Surplus of all baskets; loads are added to ``used``, ``bend`` and ``load``.

    Args:
        price: By table and place.
        tau: Temperature as a share of ``scale``.
        used: Chips by table and place.
        bend: Their fall per dollar of own price, other prices held.
        load: Chips per slot multiplier, and minus chip-intervals per work multiplier; sized
            like ``x``.
        share: Of each arc in its basket, filled, or ``UNREAD``.
        taken, slope: Chips of each basket, and their fall per dollar, filled.
        work_slope: The same of each work cell, filled.
        moving: Baskets whose loads move with prices, filled; the last entry is their number.
    """
    baskets = problem.baskets
    count = problem.places.pools * problem.places.intervals
    total = 0.0
    size = 0
    for basket in range(baskets.start.size - 1):
        first = baskets.start[basket]
        soft = tau * baskets.scale[basket]
        if out_of_reach(baskets, basket, price, x, count, soft):
            taken[basket] = 0.0
            slope[basket] = 0.0
            share[first] = UNREAD
            continue
        least = soft_least(baskets, basket, price, x, count, soft, share)
        value, chips, fall = smooth_surplus(baskets.step_curve, basket, -least, soft)
        for cell in range(baskets.work_start[basket], baskets.work_start[basket + 1]):
            group = problem.places.at_work + baskets.work_group[cell]
            gain = (baskets.work_value[cell] - least - x[group]) / soft
            rate = baskets.work_rate[cell]
            part = 1.0 / (1.0 + math.exp(-gain)) if gain > -40.0 else 0.0
            if gain > -40.0:
                value += rate * soft * (math.log1p(math.exp(-abs(gain))) + max(0.0, gain))
            chips += rate * part
            work_slope[cell] = rate * part * (1.0 - part) / soft
            fall += work_slope[cell]
            load[group] += rate * part
        total += value
        taken[basket] = chips
        slope[basket] = fall
        if chips == 0.0:
            continue
        moves = _add_loads(problem, basket, chips, fall, soft, used, bend, load, share)
        if moves:
            moving[size] = basket
            size += 1
    moving[-1] = size
    return total


@inner
def _add_loads(
    problem: Problem,
    basket: int,
    chips: float,
    fall: float,
    soft: float,
    used: Floats,
    bend: Floats,
    load: Floats,
    share: Floats,
) -> bool:
    """Add what a basket takes at its arcs; whether that moves with prices."""
    baskets = problem.baskets
    count = problem.places.pools * problem.places.intervals
    moves = fall * soft > UNMOVED * chips
    for arc in range(baskets.start[basket], baskets.start[basket + 1]):
        part = share[arc]
        if part == 0.0:
            continue
        moves = moves or UNMOVED < part < 1.0 - UNMOVED
        at = baskets.table[arc] * count + baskets.place[arc]
        used[at] += part * chips
        bend[at] += part * part * fall + part * (1.0 - part) * chips / soft
        if baskets.row[arc] >= 0:
            load[baskets.row[arc]] += part * chips
    return moves


@inner
def move_baskets(
    problem: Problem,
    moves: Floats,
    direction: Floats,
    tau: float,
    share: Floats,
    taken: Floats,
    slope: Floats,
    work_slope: Floats,
    moving: Integers,
    used: Floats,
    load: Floats,
) -> None:
    """How the loads of all baskets change along a direction (added to ``used`` and ``load``)."""
    baskets = problem.baskets
    count = problem.places.pools * problem.places.intervals
    for position in range(moving[-1]):
        basket = moving[position]
        first = baskets.start[basket]
        stop = baskets.start[basket + 1]
        soft = tau * baskets.scale[basket]
        mean = 0.0
        for arc in range(first, stop):
            if share[arc] > 0.0:
                mean += share[arc] * arc_move(baskets, arc, moves, direction, count)
        change = -slope[basket] * mean
        for cell in range(baskets.work_start[basket], baskets.work_start[basket + 1]):
            group = problem.places.at_work + baskets.work_group[cell]
            change -= work_slope[cell] * direction[group]
            load[group] -= work_slope[cell] * (mean + direction[group])
        for arc in range(first, stop):
            part = share[arc]
            if part == 0.0:
                continue
            own = arc_move(baskets, arc, moves, direction, count)
            shift = part * change - taken[basket] * part * (own - mean) / soft
            used[baskets.table[arc] * count + baskets.place[arc]] += shift
            if baskets.row[arc] >= 0:
                load[baskets.row[arc]] += shift


@inner
def arc_move(baskets: Baskets, arc: int, moves: Floats, direction: Floats, count: int) -> float:
    """How the price of an arc moves."""
    total = moves[baskets.table[arc] * count + baskets.place[arc]]
    if baskets.row[arc] >= 0:
        total += direction[baskets.row[arc]]
    return total


@allocating
def exact_baskets(problem: Problem, price: Floats, x: Floats) -> float:
    """Exact surplus of all divisible demand; work groups at their own best shadow price."""
    baskets = problem.baskets
    count = problem.places.pools * problem.places.intervals
    cells = baskets.work_value.size
    gain = np.zeros(cells)
    total = 0.0
    for basket in range(baskets.start.size - 1):
        least = np.inf
        for arc in range(baskets.start[basket], baskets.start[basket + 1]):
            least = min(least, arc_price(baskets, arc, price, x, count))
        at = steps_below(baskets.step_curve, basket, -least) + basket
        total += -least * baskets.step_curve.amount[at] - baskets.step_curve.money[at]
        for cell in range(baskets.work_start[basket], baskets.work_start[basket + 1]):
            gain[cell] = max(0.0, baskets.work_value[cell] - least)
    left = problem.work_chips.copy()
    for cell in np.argsort(-gain):
        group = baskets.work_group[cell]
        chips = min(left[group], baskets.work_rate[cell])
        left[group] -= chips
        total += chips * gain[cell]
    return total
