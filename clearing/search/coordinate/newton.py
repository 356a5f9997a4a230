"""Minimising the smoothed dual: projected Newton steps by conjugate gradients, damped.

Multipliers have a floor. Those that sit on it and would go below are held there; the others take a
damped Newton step, clipped to a few temperatures and projected onto the floor. The damping is not
optional: without it the conjugate gradients hit their cap in flat directions and the steps shrink.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from clearing.market import Flags
from clearing.program import Floats
from clearing.search.coordinate.compiled import compiled, copy_into, inner
from clearing.search.coordinate.dual import Answer, curve_along, evaluate
from clearing.search.coordinate.problem import COVERED, RECALL, RECLAIM, TABLES, Problem

_GRADIENT_STEPS: Final = 12
_GRADIENT_SHARE: Final = 0.4
_HALVINGS: Final = 5
_REACH: Final = 8.0
"""Longest step, in temperatures."""

_DAMPING_MIN: Final = 1e-4
_DAMPING_MAX: Final = 1e3
_LOCAL: Final = 4.0
"""Where the dual is flat, a multiplier alone may go this far, in temperatures."""


class Vectors(NamedTuple):
    """Room for vectors as long as ``x``."""

    slope: Floats
    trial: Floats
    trial_slope: Floats
    step: Floats
    residual: Floats
    search: Floats
    curved: Floats
    scaled: Floats
    diagonal: Floats
    extra: Floats
    cross: Floats
    free: Flags


def new_vectors(size: int) -> Vectors:
    """Room for one minimisation."""
    floats = {name: np.zeros(size) for name in Vectors._fields if name != "free"}
    return Vectors(free=np.zeros(size, dtype=np.bool_), **floats)


@compiled
def minimise(
    problem: Problem,
    x: Floats,
    tau: float,
    answer: Answer,
    vectors: Vectors,
    steps: int,
    tolerance: float,
    damping: float,
) -> tuple[float, float, float, int, int]:
    """Improve ``x`` in place until loads balance.

    Args:
        tau: Temperature as a share of limits.
        steps: Newton steps at most.
        tolerance: Stop when imbalance, in money, is below this share of the value.
        damping: Where it left off last time.

    Returns:
        Value, damping, imbalance reached, Newton steps and gradient steps taken.
    """
    places = problem.places
    count = places.pools * places.intervals
    for place in range(count):
        answer.soft[place] = tau * places.ref[place]
    value = evaluate(problem, x, tau, answer, vectors.slope)
    imbalance = 0.0
    taken = 0
    gradients = 0
    for step in range(steps + 1):
        imbalance = _mark_free(problem, x, vectors) / max(1.0, abs(value))
        if imbalance < tolerance or step == steps:
            break
        _fill_diagonal(problem, tau, answer, damping, vectors)
        gradients += _solve(problem, tau, answer, vectors)
        taken += 1
        foreseen = 0.0
        for at in range(places.size):
            if vectors.free[at]:
                foreseen -= 0.5 * vectors.slope[at] * vectors.step[at]
        share = 1.0
        other = value
        for _ in range(_HALVINGS):
            for at in range(places.size):
                vectors.trial[at] = x[at]
                if vectors.free[at]:
                    reach = _REACH * tau * places.ref[at]
                    move = min(reach, max(-reach, share * vectors.step[at]))
                    vectors.trial[at] = max(places.floor[at], x[at] + move)
            other = evaluate(problem, vectors.trial, tau, answer, vectors.trial_slope)
            if other < value:
                break
            share *= 0.5
        if other >= value:
            damping *= 16.0
            value = evaluate(problem, x, tau, answer, vectors.slope)
            if damping > _DAMPING_MAX:
                break
            continue
        kept = (value - other) / foreseen
        value = other
        copy_into(x, vectors.trial)
        copy_into(vectors.slope, vectors.trial_slope)
        if kept > 0.6:
            damping = max(_DAMPING_MIN, damping * 0.3)
        elif kept < 0.25:
            damping *= 4.0
    return value, damping, imbalance, taken, gradients


@inner
def _mark_free(problem: Problem, x: Floats, vectors: Vectors) -> float:
    """Which multipliers may move; returns the imbalance in money."""
    places = problem.places
    count = places.pools * places.intervals
    total = 0.0
    for at in range(places.size):
        slope = vectors.slope[at]
        vectors.free[at] = places.open[at] and (x[at] > places.floor[at] or slope < 0.0)
        if vectors.free[at]:
            worth = max(abs(x[at]), 0.05 * places.ref[at])
            total += abs(slope) * (places.ref[at] if at < count else worth)
    return total


@inner
def _fill_diagonal(
    problem: Problem, tau: float, answer: Answer, damping: float, vectors: Vectors
) -> None:
    """Diagonal of the damped second derivative, and the pair (pi, mu) of each place."""
    places = problem.places
    tables = answer.tables
    count = places.pools * places.intervals
    diagonal = vectors.diagonal
    for at in range(places.size):
        diagonal[at] = 1e-12
        vectors.cross[at] = 0.0
    for place in range(count):
        rise = answer.rise[place] + answer.unit_rise[place]
        bend = 0.0
        for table in range(TABLES):
            bend += answer.bend[table * count + place]
        own = rise + answer.back_rise[place] + bend
        diagonal[place] += own
        covered = answer.bend[COVERED * count + place]
        reclaimable = answer.bend[RECLAIM * count + place]
        owed = tables.owed[place]
        node_share = tables.node_share[place]
        theta = places.theta[place]
        spare = places.offered[place] - answer.sold[place] + answer.unit_held[place]
        soft = answer.soft[place]
        diagonal[count + place] += (
            node_share * node_share * rise
            + node_share * (1.0 - node_share) * spare / soft
            + theta * theta * covered
            + owed * owed * reclaimable
        )
        vectors.cross[place] = theta * covered - node_share * rise - owed * reclaimable
        recalled = answer.bend[RECALL * count + place] + reclaimable + answer.back_rise[place]
        diagonal[2 * count + place] += recalled
        site_share = tables.site_share[place]
        for row in range(places.row_start[place], places.row_start[place + 1]):
            diagonal[row] += (
                recalled
                + site_share * site_share * rise
                + site_share * (1.0 - site_share) * spare / soft
                + answer.load[row] / (4.0 * tau * places.ref[row])
            )
        limit = places.limit_of[place]
        if limit >= 0:
            kilowatts = places.kilowatts[place]
            diagonal[places.at_power + limit] += kilowatts * kilowatts * own
    for cell in range(answer.work_slope.size):
        group = places.at_work + problem.baskets.work_group[cell]
        diagonal[group] += answer.work_slope[cell]
    for at in range(places.size):
        reach = _LOCAL * tau * places.ref[at]
        extra = damping * places.depth[at] / (tau * places.ref[at])
        extra = max(extra, abs(vectors.slope[at]) / reach - diagonal[at])
        vectors.extra[at] = extra
        diagonal[at] += extra
    for place in range(count):
        if vectors.free[place] and vectors.free[count + place]:
            _hold_pair(place, count + place, _LOCAL * tau * places.ref[place], vectors)


@inner
def _hold_pair(first: int, second: int, reach: float, vectors: Vectors) -> None:
    """Damp a pair of multipliers until its own step stays within ``reach``."""
    diagonal = vectors.diagonal
    cross = vectors.cross[first]
    more = 1e-3 * (diagonal[first] + diagonal[second])
    for _ in range(12):
        within = diagonal[first] * diagonal[second] - cross * cross
        one = diagonal[second] * vectors.slope[first] - cross * vectors.slope[second]
        other = diagonal[first] * vectors.slope[second] - cross * vectors.slope[first]
        if within > 0.0 and max(abs(one), abs(other)) <= reach * within:
            break
        diagonal[first] += more
        diagonal[second] += more
        vectors.extra[first] += more
        vectors.extra[second] += more
        more *= 3.0


@inner
def _scale(problem: Problem, vectors: Vectors, residual: Floats, scaled: Floats) -> None:
    """Preconditioner: pairs (pi, mu) together, the rest by the diagonal."""
    places = problem.places
    count = places.pools * places.intervals
    for at in range(places.size):
        scaled[at] = residual[at] / vectors.diagonal[at] if vectors.free[at] else 0.0
    for place in range(count):
        other = count + place
        if vectors.free[place] and vectors.free[other]:
            first = vectors.diagonal[place]
            second = vectors.diagonal[other]
            cross = vectors.cross[place]
            within = first * second - cross * cross
            if within > 1e-6 * first * second:
                scaled[place] = (second * residual[place] - cross * residual[other]) / within
                scaled[other] = (first * residual[other] - cross * residual[place]) / within


@inner
def _solve(problem: Problem, tau: float, answer: Answer, vectors: Vectors) -> int:
    """Newton step by preconditioned conjugate gradients; returns how many were taken."""
    places = problem.places
    size = places.size
    step, residual, search = vectors.step, vectors.residual, vectors.search
    curved, scaled = vectors.curved, vectors.scaled
    for at in range(size):
        step[at] = 0.0
        residual[at] = -vectors.slope[at] if vectors.free[at] else 0.0
    _scale(problem, vectors, residual, scaled)
    reduced = 0.0
    for at in range(size):
        search[at] = scaled[at]
        reduced += scaled[at] * residual[at]
    goal = reduced * _GRADIENT_SHARE * _GRADIENT_SHARE
    taken = 0
    while taken < _GRADIENT_STEPS and reduced > goal and reduced > 0.0:
        curve_along(problem, tau, answer, search, curved)
        bent = 0.0
        for at in range(size):
            if vectors.free[at]:
                curved[at] += vectors.extra[at] * search[at]
                bent += curved[at] * search[at]
        if bent <= 0.0:
            break
        length = reduced / bent
        for at in range(size):
            if vectors.free[at]:
                step[at] += length * search[at]
                residual[at] -= length * curved[at]
        _scale(problem, vectors, residual, scaled)
        before = reduced
        reduced = 0.0
        for at in range(size):
            reduced += scaled[at] * residual[at]
        for at in range(size):
            search[at] = scaled[at] + reduced / before * search[at]
        taken += 1
    return taken
