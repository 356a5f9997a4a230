"""From warm to cold: minimisers of the smoothed dual as the temperature falls.

The smoothed dual is easy to minimise while everything is soft; its minimisers move nearly in a
straight line as the temperature falls, so each is a good start for the next. The exact dual is
evaluated on the way, and its least value kept: any multipliers of the right sign bound the problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.program import Floats
from clearing.search.coordinate.dual import Answer, evaluate, exact_value
from clearing.search.coordinate.newton import Vectors, minimise
from clearing.search.coordinate.problem import Problem

DAMPING: Final = 1e-4
"""Where damping starts, in units of the curvature of a full row at the temperature."""

_WARM: Final = 0.01
_WARM_TOLERANCE: Final = 2e-2
_TOLERANCE: Final = 2e-3
"""Imbalance in money at which a minimiser is good enough, above and below ``_WARM``."""

_STEPS: Final = 25
_COOLED: Final = (0.5, 0.75, 1.0)
"""Points of the way from the last minimiser to temperature zero at which the dual is evaluated."""

_CHEAP: Final = 0.2
"""A price below this share of the median moves at this scale all the same."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Descent:
    """What came of it.

    Attributes:
        bound: Least exact value of the dual, US dollars per hour, and its multipliers.
        minimisers: Multipliers at each temperature.
        steps, gradients: Newton and gradient steps, all temperatures together.
    """

    bound: float
    multipliers: Floats
    minimisers: tuple[Floats, ...]
    steps: int
    gradients: int


def first_guess(problem: Problem) -> Floats:
    """Multipliers to start from: the price of the middle step of each place, nothing scarce."""
    places, supply = problem.places, problem.supply
    count = places.pools * places.intervals
    x = np.zeros(places.size)
    x[:count] = typical_price(problem)
    first, stop = supply.start[:-1], supply.start[1:]
    there = stop > first
    x[:count][there] = supply.price[((first + stop) // 2)[there]]
    x[:count] = np.maximum(places.floor[:count], x[:count])
    return x


def typical_price(problem: Problem) -> float:
    """Median of the positive prices of supply steps; of demand where nobody offers at one."""
    picks = problem.picks
    blocks = picks.worth / np.maximum(1e-9, picks.chips * (picks.stop - picks.first))
    for prices in (
        np.concatenate((problem.supply.price, problem.units.price, problem.released.price)),
        np.concatenate((problem.baskets.scale, blocks)),
    ):
        positive = prices[prices > 0.0]
        if positive.size:
            return max(1e-6, float(np.median(positive)))
    return 1.0


def set_scales(problem: Problem, x: Floats) -> None:
    """Scales of the multipliers: the price of the place, never far below the typical one."""
    places = problem.places
    count = places.pools * places.intervals
    typical = typical_price(problem)
    local = np.maximum(np.abs(x[:count]), _CHEAP * typical)
    for first in (0, count, 2 * count):
        places.ref[first : first + count] = local
    places.ref[places.at_slot : places.at_power] = typical
    power = float(np.median(places.kilowatts)) if places.kilowatts.size else 0.0
    places.ref[places.at_power : places.at_work] = typical / max(power, 0.1)
    places.ref[places.at_work :] = typical


def descend(
    problem: Problem,
    x: Floats,
    answer: Answer,
    vectors: Vectors,
    temperatures: Sequence[float],
    *,
    tolerance: float = _TOLERANCE,
) -> Descent:
    """Follow the minimisers down a ladder of temperatures.

    Args:
        problem: ``places.ref`` is set on the way.
        x: Start.
        temperatures: As shares of limits, falling.
        tolerance: Imbalance at the lower ones.
    """
    damping = DAMPING
    bound, best = np.inf, x
    minimisers: list[Floats] = []
    steps = gradients = 0
    for rung, tau in enumerate(temperatures):
        set_scales(problem, x)
        if len(minimisers) > 1:
            x = _look_ahead(problem, minimisers, temperatures[rung - 2 : rung + 1], answer, vectors)
        x = x.copy()
        goal = max(tolerance, _WARM_TOLERANCE) if tau > _WARM else tolerance
        _, damping, _, taken, more = minimise(
            problem, x, tau, answer, vectors, _STEPS, goal, damping
        )
        steps += taken
        gradients += more
        value = exact_value(problem, x, answer)
        if value < bound:
            bound, best = value, x
        minimisers.append(x)
    if len(minimisers) > 1:
        bound, best = _cool(problem, minimisers[-2:], temperatures[-2:], answer, bound, best)
    return Descent(
        bound=bound,
        multipliers=best,
        minimisers=tuple(minimisers),
        steps=steps,
        gradients=gradients,
    )


def _cool(
    problem: Problem,
    minimisers: Sequence[Floats],
    temperatures: Sequence[float],
    answer: Answer,
    bound: float,
    best: Floats,
) -> tuple[float, Floats]:
    """The best exact value on the straight line through the last two minimisers, down to zero.

    The exact dual at a minimiser is off by an amount that falls with the temperature, and so do the
    minimisers move: the line meets temperature zero near the exact minimum.
    """
    places = problem.places
    before, last = minimisers
    warm, now = temperatures
    for share in _COOLED:
        x = np.maximum(places.floor, last + (last - before) * (share * now / (warm - now)))
        x[~places.open] = 0.0
        value = exact_value(problem, x, answer)
        if value < bound:
            bound, best = value, x
    return bound, best


def _look_ahead(
    problem: Problem,
    minimisers: list[Floats],
    temperatures: Sequence[float],
    answer: Answer,
    vectors: Vectors,
) -> Floats:
    """The last minimiser, moved on in a straight line where that lowers the smoothed dual."""
    places = problem.places
    before, last = minimisers[-2:]
    warm, now, tau = temperatures
    ahead = np.maximum(places.floor, last + (last - before) * (tau - now) / (now - warm))
    ahead[~places.open] = 0.0
    answer.soft[:] = tau * places.ref[: answer.soft.size]
    stay = evaluate(problem, last, tau, answer, vectors.slope)
    move = evaluate(problem, ahead, tau, answer, vectors.slope)
    return ahead if move < stay else last
