"""Exact products and sums of integer columns, whatever their size.

Prices are at most 1e9 micro-USD as limits, but duals and spare prices can be larger, and
certificates count in millionths: a product of price and chips may need more than 63 bits. Each
function estimates its largest result in floating point first (a relative error of 1e-9 is far
inside the margin) and works in int64 where that fits and in Python integers, held by columns of
objects, where it does not. Both kinds of column take the same operators.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from clearing.columns import Integers

Numbers: TypeAlias = npt.NDArray[Any]
"""int64, or Python integers as objects."""

_SAFE: Final = 2.0**61
"""Estimates below it leave a bit to spare in an int64, and the sum of two fits as well."""

_LOW_BITS: Final = 31


def times(left: Numbers, right: Numbers) -> Numbers:
    """Products of pairs."""
    if left.size == 0 or largest(left) * largest(right) < _SAFE:
        small: Numbers = left * right
        return small
    wide: Numbers = left.astype(object) * right.astype(object)
    return wide


def plus(left: Numbers, right: Numbers) -> Numbers:
    """Sums of pairs."""
    if left.size == 0 or largest(left) + largest(right) < _SAFE:
        small: Numbers = left + right
        return small
    wide: Numbers = left.astype(object) + right.astype(object)
    return wide


def largest(values: Numbers) -> float:
    """Largest absolute value, as a float; 0 for none."""
    if values.size == 0:
        return 0.0
    return max(abs(float(values.max())), abs(float(values.min())))


def total(values: Numbers) -> int:
    """Sum of a column as a Python integer.

    An int64 is split at bit 31, so that both halves of 2**31 values still fit.
    """
    if values.dtype == object:
        return int(sum(values.ravel().tolist()))
    low = (values & ((1 << _LOW_BITS) - 1)).sum()
    return (int((values >> _LOW_BITS).sum()) << _LOW_BITS) + int(low)


def sums_at(rows: Integers, values: Numbers, size: int) -> Numbers:
    """Sum of the values of each row.

    Args:
        rows: Row of each value.
        values: Summands.
        size: Number of rows.
    """
    if values.dtype != object:
        reach = np.bincount(rows, weights=np.abs(values.astype(np.float64)), minlength=size)
        if largest(reach) < _SAFE:
            found = np.zeros(size, dtype=np.int64)
            np.add.at(found, rows, values)
            return found
    wide = np.zeros(size, dtype=object)
    np.add.at(wide, rows, values.astype(object))
    return wide


def running(values: Numbers) -> Numbers:
    """Running sums along the last axis, with a leading zero."""
    if values.dtype != object and largest(values) * max(1, values.shape[-1]) >= _SAFE:
        values = values.astype(object)
    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    return sums


def most_at(rows: Integers, values: Numbers, size: int, floor: int = 0) -> Numbers:
    """Largest value of each row, and ``floor`` where none is larger."""
    found = np.full(size, floor, dtype=values.dtype)
    np.maximum.at(found, rows, values)
    return found


def total_product(values: Integers, weights: Integers) -> int:
    """Sum of products of int64 pairs as a Python integer.

    Args:
        values: Below 2**62 in size: split at bit 31, so that both halves times a weight fit.
        weights: 0 or more, below 2**31.
    """
    low = values & ((1 << _LOW_BITS) - 1)
    high = values >> _LOW_BITS
    return (total(high * weights) << _LOW_BITS) + total(low * weights)
