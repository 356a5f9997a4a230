"""The bound with NODE cover in whole nodes, where a place delivers nearly all it has.

There the steeper row of ``clearing.whole_cover`` takes the place of the ordinary one: the same
problem with another share and another constant, minimised again from a warm temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.market import Flags, Market
from clearing.program import Floats
from clearing.search.coordinate.dual import Answer, evaluate
from clearing.search.coordinate.newton import Vectors
from clearing.search.coordinate.path import Descent, descend
from clearing.search.coordinate.problem import COVERED, Problem
from clearing.search.coordinate.reading import chips_per_node
from clearing.whole_cover import WholeCover, whole_cover

_TOLERANCE: Final = 2e-3
_PRICED: Final = 1e-4
"""Share of its scale above which cover has a price."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proof:
    """The best bound.

    Attributes:
        problem: With the steeper rows.
        multipliers: Where its dual was least.
        steep: Places with such a row.
        whole_duals: Their duals, US dollars per node of the right-hand side, else 0.
    """

    problem: Problem
    multipliers: Floats
    steep: Flags
    whole_duals: Floats


def prove(
    market: Market,
    problem: Problem,
    descent: Descent,
    answer: Answer,
    vectors: Vectors,
    waived: Floats,
    ladder: tuple[float, ...],
    below: tuple[float, ...],
) -> Proof:
    """Lower the bound as far as temperatures go, with whole nodes of cover where that is tighter.

    Args:
        descent: Down ``ladder``, of the problem as it is.
        waived: NODE cover that base load goes without, per place.
        below: Temperatures of the bound, the first one of ``ladder``; none to leave it as it is.
    """
    count = waived.size
    nowhere = np.zeros(count, dtype=np.bool_)
    bound, at, tight = descent.bound, descent.multipliers, problem
    steep, share = nowhere, np.ones(count)
    if below:
        rows, places = whole_cover(market), problem.places
        steep = _tighter(rows, problem, descent.minimisers[-1], answer, vectors, waived, ladder[-1])
        share = np.maximum(1, rows.steep).astype(np.float64)
        if steep.any():
            asked = rows.floor / share * chips_per_node(market)
            tight = problem._replace(
                places=places._replace(
                    theta=np.where(steep, 1.0 / share, places.theta),
                    base_cover=np.where(steep, asked, places.base_cover),
                )
            )
            start = descent.minimisers[ladder.index(below[0])]
        else:
            start = descent.minimisers[-1]
            below = tuple(tau for tau in below if tau < ladder[-1])
        lower = descend(tight, start, answer, vectors, below, tolerance=_TOLERANCE)
        if lower.bound < bound:
            at = lower.multipliers
        else:
            tight, steep = problem, nowhere
    mu = at[count : 2 * count]
    return Proof(
        problem=tight,
        multipliers=at,
        steep=steep,
        whole_duals=np.where(steep, mu / share * chips_per_node(market), 0.0),
    )


def _tighter(
    rows: WholeCover,
    problem: Problem,
    x: Floats,
    answer: Answer,
    vectors: Vectors,
    waived: Floats,
    tau: float,
) -> Flags:
    """Places where the steeper row is the tighter one: at the corner the two rows meet."""
    places, count = problem.places, waived.size
    answer.soft[:] = tau * places.ref[: answer.soft.size]
    evaluate(problem, x, tau, answer, vectors.slope)
    covered = answer.used[COVERED * count : (COVERED + 1) * count]
    priced = x[count : 2 * count] > _PRICED * places.ref[count : 2 * count]
    beyond = covered > rows.corner
    found: Flags = (rows.steep > 0) & priced & beyond & (waived == 0.0)
    return found
