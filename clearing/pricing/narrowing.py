"""Polyhedra of prices, and what their conditions say about each price on its own.

A ``Face`` is a set of points: bounds per variable and two-sided linear conditions. ``narrow``
passes bounds from condition to condition until nothing moves. Most places of a book then have
one price left and drop out, and what stays open falls apart into small ``components``.

The loops are compiled: they follow a queue, which NumPy cannot express. They read and write
integers and floats only, in a fixed order, and stop after a count of steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from clearing.columns import starts
from clearing.market import NONE, Flags, Integers
from clearing.program import Floats
from clearing.search.coordinate.compiled import compiled, inner

FIXED: Final = 1e-7
"""Bounds this near to each other are one value: far below a micro-USD, far above noise."""

CROSSED: Final = 1e-6
"""A lower bound that is this far above the upper one is a contradiction, less is noise."""

_STEP: Final = 1e-9
"""Least move of a bound that is passed on, beside ``_RELATIVE_STEP`` of the bound."""

_RELATIVE_STEP: Final = 1e-13

_ENDLESS: Final = 1e13
"""No price is beyond it: a bound that gets there would go on for ever."""

_VISITS: Final = 60
"""Visits per condition after which narrowing stops with what it has, which is valid too."""

_MERGED_ENTRIES_MAX: Final = 8
"""Longer conditions are those of families, and no two of them are alike."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """Points with ``lower <= x <= upper`` and ``low <= conditions x <= high``.

    Attributes:
        lower, upper: Per variable.
        start: First entry of each condition, ragged, the end of the last one included.
        index, value: Variable and coefficient of each entry.
        low, high: Per condition.
    """

    lower: Floats
    upper: Floats
    start: Integers
    index: Integers
    value: Floats
    low: Floats
    high: Floats

    @property
    def is_open(self) -> Flags:
        """Variables with more than one value."""
        return self.upper > self.lower

    @property
    def condition(self) -> Integers:
        """Condition of each entry."""
        return np.arange(self.low.size).repeat(np.diff(self.start))

    def at(self, point: Floats) -> Floats:
        """Value of each condition at a point."""
        return totals(self.condition, self.value * point[self.index], self.low.size)


def totals(group: Integers, weights: Floats, count: int) -> Floats:
    """Sum of the weights of each group from 0 to ``count - 1``, in the order of the entries."""
    # Without entries the answer comes as integers.
    sums = np.bincount(group, weights=weights, minlength=count)
    return sums.astype(np.float64, copy=False)


def bounded(lower: Floats, upper: Floats) -> Face:
    """A face with bounds and no conditions."""
    none = np.zeros(0)
    return Face(
        lower=lower,
        upper=upper,
        start=np.zeros(1, dtype=np.int64),
        index=np.zeros(0, dtype=np.int64),
        value=none,
        low=none,
        high=none,
    )


def with_variables(face: Face, lower: Floats, upper: Floats) -> Face:
    """The face with more variables, behind those it has."""
    return replace(face, lower=np.append(face.lower, lower), upper=np.append(face.upper, upper))


def with_conditions(
    face: Face, row: Integers, index: Integers, value: Floats, low: Floats, high: Floats
) -> Face:
    """The face with more conditions, each divided by its largest coefficient.

    Args:
        face: What holds already.
        row: Which new condition, from 0, each entry belongs to.
        index: Its variable.
        value: Its coefficient.
        low: Per new condition.
        high: Per new condition.
    """
    begin, order = sorted_by(row, low.size)
    value = value[order]
    counts = np.diff(begin)
    largest = np.ones(low.size)
    used = counts > 0
    if used.any():
        largest[used] = np.maximum.reduceat(np.abs(value), begin[:-1][used])
    return replace(
        face,
        start=np.append(face.start, face.start[-1] + begin[1:]),
        index=np.append(face.index, index[order]),
        value=np.append(face.value, value / largest.repeat(counts)),
        low=np.append(face.low, low / largest),
        high=np.append(face.high, high / largest),
    )


def narrow(face: Face) -> tuple[Face, Flags]:
    """Tighter bounds, and only the conditions that still say something.

    Returns:
        The same set of points, and the variables whose bounds contradict each other.
    """
    lower, upper = face.lower.copy(), face.upper.copy()
    crossed = np.zeros(lower.size, dtype=np.bool_)
    begin, order = sorted_by(face.index, lower.size)
    members = face.condition[order]
    count = face.low.size
    _tighten(
        face.start,
        face.index,
        face.value,
        face.low,
        face.high,
        begin,
        members,
        lower,
        upper,
        crossed,
        np.arange(count),
        np.ones(count, dtype=np.bool_),
    )
    fixed = upper - lower <= FIXED
    lower[fixed] = upper[fixed] = (lower[fixed] + upper[fixed]) / 2
    return _simplified(replace(face, lower=lower, upper=upper)), crossed


def _simplified(face: Face) -> Face:
    """Conditions without fixed variables, and without those that the bounds imply."""
    condition, count = face.condition, face.low.size
    one, other = face.value * face.lower[face.index], face.value * face.upper[face.index]
    least, most = np.minimum(one, other), np.maximum(one, other)
    bottom, top = totals(condition, least, count), totals(condition, most, count)
    says = (bottom < face.low - _STEP) | (top > face.high + _STEP)
    still = face.is_open[face.index]
    shift = totals(condition, np.where(still, 0.0, least), count)
    entries = np.flatnonzero(still & says[condition])
    counts = np.bincount(condition[entries], minlength=count)
    kept = counts > 0
    return replace(
        face,
        start=starts(counts[kept]),
        index=face.index[entries],
        value=face.value[entries],
        low=(face.low - shift)[kept],
        high=(face.high - shift)[kept],
    )


def merged(face: Face) -> Face:
    """The face with conditions of equal entries made one."""
    lengths = np.diff(face.start)
    short = np.flatnonzero((lengths > 0) & (lengths <= _MERGED_ENTRIES_MAX))
    if short.size == 0:
        return face
    width = int(lengths[short].max())
    inside = np.arange(width) < lengths[short, np.newaxis]
    entry = np.where(inside, face.start[short, np.newaxis] + np.arange(width), 0)
    index = np.where(inside, face.index[entry], NONE)
    value = np.where(inside, face.value[entry], 0.0)
    by_variable = np.argsort(index, axis=1, kind="stable")
    index = np.take_along_axis(index, by_variable, axis=1)
    value = np.take_along_axis(value, by_variable, axis=1)
    keys = (*value.T, *index.T)
    order = np.lexsort(keys)
    changes = np.zeros(order.size, dtype=np.bool_)
    changes[0] = True
    for key in keys:
        changes[1:] |= key[order][1:] != key[order][:-1]
    first = np.flatnonzero(changes)
    leader = short[order][first]
    low, high = face.low.copy(), face.high.copy()
    low[leader] = np.maximum.reduceat(face.low[short[order]], first)
    high[leader] = np.minimum.reduceat(face.high[short[order]], first)
    kept = np.ones(face.low.size, dtype=np.bool_)
    kept[short] = False
    kept[leader] = True
    return replace(
        face,
        start=starts(lengths[kept]),
        index=face.index[kept[face.condition]],
        value=face.value[kept[face.condition]],
        low=low[kept],
        high=np.maximum(low, high)[kept],
    )


def components(face: Face) -> Integers:
    """Component of each open variable, ``NONE`` for fixed ones; numbered by first variable.

    Args:
        face: Simplified: fixed variables are in no condition.
    """
    leader = np.arange(face.lower.size)
    _join(face.start, face.index, leader)
    found = np.full(leader.size, NONE, dtype=np.int64)
    still = np.flatnonzero(face.is_open)
    found[still] = np.unique(leader[still], return_inverse=True)[1]
    return found


def part_of(face: Face, chosen: Flags) -> tuple[Face, Integers, Integers]:
    """The face of whole components on its own.

    Args:
        face: All of it, simplified.
        chosen: Variables; all open ones of a component, or none.

    Returns:
        The part, and the variables and conditions of the whole that it consists of.
    """
    kept = np.flatnonzero(chosen & face.is_open)
    position = np.full(face.lower.size, NONE, dtype=np.int64)
    position[kept] = np.arange(kept.size)
    inside = position[face.index] != NONE
    rows = np.flatnonzero(inside[face.start[:-1]])
    part = Face(
        lower=face.lower[kept],
        upper=face.upper[kept],
        start=starts(np.diff(face.start)[rows]),
        index=position[face.index[inside]],
        value=face.value[inside],
        low=face.low[rows],
        high=face.high[rows],
    )
    return part, kept, rows


def sorted_by(key: Integers, count: int) -> tuple[Integers, Integers]:
    """Ragged starts and the stable order of positions with keys ``0`` to ``count - 1``."""
    begin = starts(np.bincount(key, minlength=count))
    order = np.empty(key.size, dtype=np.int64)
    _deal(key, begin[:-1].copy(), order)
    return begin, order


@compiled
def _deal(key: Integers, next_free: Integers, order: Integers) -> None:
    """Counting sort: a comparison sort of millions of entries takes seconds."""
    for position in range(key.size):
        slot = next_free[key[position]]
        order[slot] = position
        next_free[key[position]] = slot + 1


@compiled
def _join(start: Integers, index: Integers, leader: Integers) -> None:
    """Union by smallest variable over all conditions, then every variable's leader."""
    for condition in range(start.size - 1):
        if start[condition + 1] == start[condition]:
            continue
        first = index[start[condition]]
        while leader[first] != first:
            leader[first] = leader[leader[first]]
            first = leader[first]
        for entry in range(start[condition] + 1, start[condition + 1]):
            other = index[entry]
            while leader[other] != other:
                leader[other] = leader[leader[other]]
                other = leader[other]
            if other < first:
                leader[first] = other
                first = other
            else:
                leader[other] = first
    for variable in range(leader.size):
        leader[variable] = leader[leader[variable]]


@inner
def _ends(factor: float, lower: float, upper: float) -> tuple[float, float]:
    """Least and most of ``factor`` times something between two bounds."""
    one, other = factor * lower, factor * upper
    return (one, other) if one <= other else (other, one)


@inner
def _without(total: float, infinite: int, own: float, bound: float) -> float:
    """What a bound on a sum leaves for one entry, the others at their ends.

    Args:
        total: Sum of the finite ends.
        infinite: How many ends are infinite and not in the sum.
        own: End of this entry.
        bound: Of the whole sum; infinite where nothing can be said.
    """
    if infinite == 0:
        return bound - (total - own)
    if infinite == 1 and np.isinf(own):
        return bound - total
    return np.nan


@inner
def _moved(
    variable: int, low: float, high: float, lower: Floats, upper: Floats, crossed: Flags
) -> bool:
    """Take over the bounds ``low`` and ``high`` where they are tighter; NaN says nothing.

    What a contradiction would do to other variables is not of interest, nor are bounds that
    chase each other without end.
    """
    moved = False
    if low > lower[variable] + _STEP + _RELATIVE_STEP * abs(low):
        if low > min(upper[variable] + CROSSED, _ENDLESS):
            crossed[variable] = True
            return False
        lower[variable] = min(low, upper[variable])
        moved = True
    if high < upper[variable] - _STEP - _RELATIVE_STEP * abs(high):
        if high < max(lower[variable] - CROSSED, -_ENDLESS):
            crossed[variable] = True
            return False
        upper[variable] = max(high, lower[variable])
        moved = True
    return moved


@compiled
def _tighten(
    start: Integers,
    index: Integers,
    value: Floats,
    low: Floats,
    high: Floats,
    begin: Integers,
    member: Integers,
    lower: Floats,
    upper: Floats,
    crossed: Flags,
    queue: Integers,
    waiting: Flags,
) -> None:
    """Pass bounds from condition to condition, first in first out, until nothing moves.

    ``queue`` is a ring of conditions, full at first, and ``waiting`` says which ones are in it.
    """
    count = low.size
    head, length, visited = 0, count, 0
    while length > 0 and visited < _VISITS * count:
        condition = queue[head]
        head = head + 1 if head + 1 < count else 0
        length -= 1
        visited += 1
        waiting[condition] = False
        least, most, least_infinite, most_infinite = 0.0, 0.0, 0, 0
        for entry in range(start[condition], start[condition + 1]):
            one, other = _ends(value[entry], lower[index[entry]], upper[index[entry]])
            least += 0.0 if np.isinf(one) else one
            most += 0.0 if np.isinf(other) else other
            least_infinite += np.isinf(one)
            most_infinite += np.isinf(other)
        for entry in range(start[condition], start[condition + 1]):
            variable, factor = index[entry], value[entry]
            one, other = _ends(factor, lower[variable], upper[variable])
            new_low = _without(most, most_infinite, other, low[condition]) / factor
            new_high = _without(least, least_infinite, one, high[condition]) / factor
            if factor < 0:
                new_low, new_high = new_high, new_low
            if not _moved(variable, new_low, new_high, lower, upper, crossed):
                continue
            for place in range(begin[variable], begin[variable + 1]):
                touched = member[place]
                if not waiting[touched]:
                    waiting[touched] = True
                    tail = head + length
                    queue[tail - count if tail >= count else tail] = touched
                    length += 1
