"""The three stages of the price choice on a face of valid prices (ADR 0004).

Every stage minimises a sum over components of the face, so components are settled apart:

* where no family's lost opportunity depends on the open prices, stage (i) has nothing to say;
* where all scarcity prices can be at their least at the same time, that is stage (ii);
* where all prices can be at their least, and all at their most, at the same time, the mean of
  the lowest and the highest price sum is the middle of the bounds, whatever the weights.

The last two are tried in closed form: most conditions compare two prices, and the solutions of
such conditions have a least and a greatest one. What fails becomes a linear program, up to a
size that is a published count (ADR 0013).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from clearing.columns import starts
from clearing.errors import SolverError
from clearing.market import Flags, Integers
from clearing.pricing.narrowing import Face, components, merged, narrow, part_of
from clearing.program import Floats, Program
from clearing.solver import Solution, restrict_to_best, solve_linear

ENTRIES_MAX: Final = 1_000_000
"""Matrix entries up to which a component is a linear program of its own right (ADR 0013)."""

_HELD: Final = 1e-6
"""Ticks by which a point may miss a condition and still satisfy it."""

_RELAXED: Final = 1e-6
"""Ticks by which conditions give way where fixed prices leave a solver no room."""

_FAR: Final = 1e9
"""Ticks that stand for the end of a price without a bound: a thousand times any limit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Aims:
    """What the stages look at, per variable of the face.

    Attributes:
        lost: US dollars of lost opportunity, either sign.
        scarcity: Weight of a scarcity price, > 0; 0 for all other variables.
        published: Prices whose sum stage (iii) weighs.
        falling: Private prices that are at their most where the others are at their least.
        weights: Hash weights, > 0, of published prices by variable.
        reference: A point of the face, without the variables of families, which come last.
    """

    lost: Floats
    scarcity: Floats
    published: Flags
    falling: Flags
    weights: Callable[[Integers], Floats]
    reference: Floats


def choose_point(face: Face, aims: Aims) -> Floats:
    """The point of a face that the stages choose.

    Args:
        face: Narrowed, with at least one point.
        aims: Stages (i) to (iii).

    Raises:
        SolverError: the face has no point.
    """
    face, lost = _manageable(face, aims)
    face = _least(face, lost)
    label = components(face)
    trial, crossed = narrow(
        replace(face, upper=np.where(aims.scarcity > 0, face.lower, face.upper))
    )
    fits = ~_touching(label, crossed | _missed(trial, aims.falling))
    bounds = {
        "lower": np.where(fits, trial.lower, face.lower),
        "upper": np.where(fits, trial.upper, face.upper),
    }
    face = narrow(replace(face, **bounds))[0]
    face = _least(face, np.where(fits, 0.0, aims.scarcity))
    return _middle(face, aims)


def has_point(face: Face) -> bool:
    """Whether a face has a point at all."""
    try:
        _solved(face, np.zeros(face.lower.size))
    except SolverError:
        return False
    return True


def _manageable(face: Face, aims: Aims) -> tuple[Face, Floats]:
    """The face and the costs of stage (i), no component larger than ``ENTRIES_MAX``.

    Families are left out of a component that is larger, so that it falls into smaller ones; one
    that is larger even so takes the reference point, which is as valid as any other.
    """
    huge = _huge(face)
    if not huge.any():
        return face, aims.lost
    prices = aims.reference.size
    family = np.zeros(face.low.size, dtype=np.bool_)
    family[face.condition[huge[face.index] & (face.index >= prices)]] = True
    kept = ~family[face.condition]
    face = replace(
        face,
        start=starts(np.diff(face.start)[~family]),
        index=face.index[kept],
        value=face.value[kept],
        low=face.low[~family],
        high=face.high[~family],
    )
    lost = np.where(huge, 0.0, aims.lost)
    held = np.flatnonzero(_huge(face)[:prices])
    lower, upper = face.lower.copy(), face.upper.copy()
    point = np.clip(aims.reference[held], lower[held], upper[held])
    lower[held] = upper[held] = point
    face, crossed = narrow(replace(face, lower=lower, upper=upper))
    if crossed.any():
        raise SolverError("the reference point is not in the face")
    return face, lost


def _huge(face: Face) -> Flags:
    """Variables of components with too many entries."""
    label = components(face)
    entries = np.bincount(label[face.index] + 1, minlength=label.size + 1)
    flags: Flags = np.take(entries > ENTRIES_MAX, label + 1)
    return flags


def _middle(face: Face, aims: Aims) -> Floats:
    """Stage (iii): the mean of the lowest and the highest weighted sum of published prices."""
    stuck = _touching(components(face), _missed(face, aims.falling))
    point = (np.maximum(face.lower, -_FAR) + np.minimum(face.upper, _FAR)) / 2
    if not stuck.any():
        return point
    part, kept, _ = part_of(merged(face), stuck)
    part = replace(part, lower=np.maximum(part.lower, -_FAR), upper=np.minimum(part.upper, _FAR))
    published = np.flatnonzero(aims.published[kept])
    weights = np.zeros(kept.size)
    weights[published] = aims.weights(kept[published])
    lowest, highest = (_solved(part, sign * weights)[1].values for sign in (-1.0, 1.0))
    point[kept] = (lowest + highest) / 2
    return point


def _least(face: Face, cost: Floats) -> Face:
    """The part of the face on which a sum of costs per variable is least."""
    costly = _touching(components(face), face.is_open & (cost != 0))
    if not costly.any():
        return face
    face = merged(face)
    part, kept, rows = part_of(face, costly)
    best = restrict_to_best(*_solved(part, -cost[kept]))
    lower, upper, low, high = (a.copy() for a in (face.lower, face.upper, face.low, face.high))
    lower[kept], upper[kept] = best.lower, best.upper
    low[rows], high[rows] = best.row_lower, best.row_upper
    return narrow(replace(face, lower=lower, upper=upper, low=low, high=high))[0]


def _missed(face: Face, falling: Flags) -> Flags:
    """Variables of conditions that not all prices at their least, or most, satisfy."""
    least, most = np.maximum(face.lower, -_FAR), np.minimum(face.upper, _FAR)
    missed = np.zeros(face.low.size, dtype=np.bool_)
    for first, second in ((least, most), (most, least)):
        reached = face.at(np.where(falling, second, first))
        missed |= (reached < face.low - _HELD) | (reached > face.high + _HELD)
    flags = np.zeros(falling.size, dtype=np.bool_)
    flags[face.index[missed[face.condition]]] = True
    return flags


def _touching(label: Integers, variables: Flags) -> Flags:
    """All variables of the components that some variables are in."""
    touched = np.zeros(label.size + 1, dtype=np.bool_)
    touched[label[variables]] = True
    touched[-1] = False
    flags: Flags = np.take(touched, label)
    return flags


def _solved(part: Face, objective: Floats) -> tuple[Program, Solution]:
    """A linear program over part of a face, and its solution."""
    program = Program(
        objective=objective,
        lower=part.lower,
        upper=part.upper,
        whole=np.zeros(objective.size, dtype=np.bool_),
        row_lower=part.low,
        row_upper=part.high,
        rows=part.condition,
        columns=part.index,
        values=part.value,
    )
    try:
        return program, solve_linear(program)
    except SolverError:
        program = replace(program, row_lower=part.low - _RELAXED, row_upper=part.high + _RELAXED)
        return program, solve_linear(program)
