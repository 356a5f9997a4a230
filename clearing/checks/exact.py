"""Exact integers in columns: int64 where magnitudes prove that nothing wraps, else Python's own.

A price below 10**14 times 10**8 chips does not fit 63 bits, and crafted numbers need not fit
anything. Every product and every sum that could leave int64 is therefore asked for here:
where the magnitudes at hand prove that it fits it is made in int64, else in an array of
Python integers (``dtype=object``), which is slow and right. Nothing ever wraps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[Any]
"""Integers: int64, or Python integers where those do not fit."""

Bools: TypeAlias = npt.NDArray[np.bool_]

Index: TypeAlias = int | np.integer[Any]
"""A position in a column."""

LIMIT: Final = 2**62
"""Magnitudes below it leave one bit for a sum of two."""


def column(values: Sequence[int]) -> Ints:
    """Integers as an array; as Python integers where one of them does not fit int64."""
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        return np.array(values, dtype=object)


def zeros(size: int) -> Ints:
    """So many zeros, int64."""
    return np.zeros(size, dtype=np.int64)


def most(values: Ints) -> int:
    """Largest magnitude; 0 of nothing."""
    if not values.size:
        return 0
    return max(int(values.max()), -int(values.min()))


def times(left: Ints, right: Ints | int) -> Ints:
    """Exact products."""
    other = most(right) if isinstance(right, np.ndarray) else abs(right)
    if most(left) * other < LIMIT and left.dtype != object:
        return left * right
    return left.astype(object) * right


def plus(*terms: Ints) -> Ints:
    """Exact sums, element by element."""
    if sum(most(term) for term in terms) < LIMIT:
        return sum(terms[1:], start=terms[0])
    return sum(terms[1:], start=terms[0].astype(object))


def fold(ufunc: np.ufunc, offsets: Ints, values: Ints, empty: int) -> Ints:
    """Reduce consecutive runs of values; ``offsets`` has one entry more than there are runs."""
    filled = offsets[1:] > offsets[:-1]
    found = np.full(len(offsets) - 1, empty, dtype=values.dtype)
    if filled.any():
        found[filled] = ufunc.reduceat(values, offsets[:-1][filled])
    return found


def sum_runs(offsets: Ints, values: Ints) -> Ints:
    """Exact sums of consecutive runs."""
    longest = int(np.diff(offsets).max()) if len(offsets) > 1 else 0
    if values.dtype != object and most(values) * longest >= LIMIT:
        values = values.astype(object)
    return fold(np.add, offsets, values, 0)


def spread(index: Ints, values: Ints, size: int) -> Ints:
    """Exact sums of the values that share an index, one per index below ``size``."""
    if values.dtype != object and most(values) * len(values) >= LIMIT:
        repeated = int(np.bincount(index, minlength=1).max()) if len(index) else 0
        if most(values) * repeated >= LIMIT:
            values = values.astype(object)
    found = np.zeros(size, dtype=values.dtype)
    np.add.at(found, index, values)
    return found


def running(values: Ints) -> Ints:
    """Exact running sums along the last axis, with a leading zero."""
    if values.dtype != object and most(values) * (values.shape[-1] + 1) >= LIMIT:
        values = values.astype(object)
    found = np.zeros((*values.shape[:-1], values.shape[-1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=-1, out=found[..., 1:])
    return found


def total(values: Ints) -> int:
    """Exact sum as a Python integer."""
    if values.dtype == object:
        return int(sum(values.tolist()))
    if most(values) * len(values) < LIMIT:
        return int(values.sum())
    # Halves of 31 bits: each sum fits as long as there are fewer than 2**31 values.
    return (int((values >> 31).sum()) << 31) + int((values & (2**31 - 1)).sum())


def dot(left: Ints, right: Ints) -> int:
    """Exact sum of products."""
    return total(times(left, right))


def half_even(numerator: Ints, denominator: int) -> Ints:
    """Quotients rounded half to even; ``denominator`` > 0 and below 2**61."""
    quotient = numerator // denominator
    twice = 2 * (numerator - quotient * denominator)
    up = (twice > denominator) | ((twice == denominator) & (quotient % 2 == 1))
    found: Ints = quotient + up
    return found


def divide_up(numerator: Ints, denominator: Ints | int) -> Ints:
    """Quotients rounded towards plus infinity; denominators > 0."""
    found: Ints = -(-numerator // denominator)
    return found


def whole_nodes(chips: Ints, nodes: Ints) -> Ints:
    """Chips rounded up to whole nodes."""
    return divide_up(chips, nodes) * nodes


def offsets_of(counts: Ints) -> Ints:
    """Where runs of these lengths begin, and where the last one ends."""
    found = zeros(len(counts) + 1)
    np.cumsum(counts, out=found[1:])
    return found


def expand(counts: Ints) -> tuple[Ints, Ints]:
    """For runs of these lengths: of each element its run, and its position in the run."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(offsets_of(counts)[:-1], counts)


def ranges(firsts: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """For runs ``firsts[i], firsts[i] + 1, ...``: of each element its run, and its value."""
    owner, position = expand(counts)
    return owner, firsts[owner] + position


def split_groups(amounts: Ints, group: Ints, weights: Ints, rank: Ints) -> Ints:
    """Largest-remainder split of each group's amount over its members.

    As ``clearing.units.split_largest_remainder``, for many groups at once.

    Args:
        amounts: Per group, >= 0.
        group: Of each member.
        weights: Of each member, > 0.
        rank: Order of equal remainders, all different within a group.
    """
    if not len(group):
        return zeros(0)
    weight_of = spread(group, weights, len(amounts))
    shares = times(amounts[group], weights)
    parts = shares // weight_of[group]
    remainders = shares - parts * weight_of[group]
    left = amounts - spread(group, parts, len(amounts))
    order = np.lexsort((rank, _descending(remainders), group))
    counts = np.bincount(group, minlength=len(amounts))
    position = zeros(len(group))
    position[order] = expand(counts)[1]
    found: Ints = parts + (position < left[group])
    return found


def _descending(values: Ints) -> Ints:
    """Ranks that sort values from large to small; lexsort takes no Python integers."""
    if values.dtype != object:
        return -values
    known = {value: place for place, value in enumerate(sorted(set(values.tolist()), reverse=True))}
    return column([known[value] for value in values.tolist()])
