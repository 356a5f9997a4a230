"""Ragged columns and grouping: what NumPy leaves to be written by hand.

Members of row ``i`` of a ragged column are ``[start[i] : start[i + 1]]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clearing.units import PPM, Ppm, share_ppm

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_KEY_MAX: Final = 2**62
"""Packed sort keys stay below it, so that one int64 holds several of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Groups:
    """Rows with equal keys.

    Attributes:
        order: Rows sorted by key, equal ones in their own order.
        start: Groups as ranges of ``order``, ragged.
        first: Lowest row of each group.
    """

    order: Integers
    start: Integers
    first: Integers

    @property
    def count(self) -> int:
        """Number of groups."""
        return self.first.size

    def of_row(self) -> Integers:
        """Group of each row."""
        found = np.empty(self.order.size, dtype=np.int64)
        found[self.order] = np.arange(self.count).repeat(np.diff(self.start))
        return found

    def sums(self, values: Integers) -> Integers:
        """Sum of ``values`` per group; int64, so the caller knows that it fits."""
        if self.count == 0:
            return np.zeros(0, dtype=np.int64)
        total: Integers = np.add.reduceat(values[self.order], self.start[:-1])
        return total


def column(read: Callable[[Any], Any], rows: Sequence[Any]) -> Integers:
    """One integer field of every row."""
    return np.fromiter(map(read, rows), dtype=np.int64, count=len(rows))


def integers(values: Iterable[int]) -> Integers:
    """Integers as a column."""
    return np.array(list(values), dtype=np.int64)


def starts(counts: Integers) -> Integers:
    """Ragged starts of rows with so many members, the end of the last one included."""
    found = np.zeros(counts.size + 1, dtype=np.int64)
    np.cumsum(counts, out=found[1:])
    return found


def expand(counts: Integers) -> tuple[Integers, Integers]:
    """Row and position inside its row of every member."""
    row = np.arange(counts.size).repeat(counts)
    return row, np.arange(row.size) - starts(counts)[row]


def take(start: Integers, rows: Integers) -> tuple[Integers, Integers]:
    """Members of the named rows of a ragged column.

    Returns:
        For each member its position in ``rows`` and its position in the column.
    """
    position, offset = expand(start[rows + 1] - start[rows])
    return position, start[rows][position] + offset


def group(*keys: Integers) -> Groups:
    """Group rows by keys, the first one the most significant."""
    packed = _pack(keys)
    order = np.lexsort(packed[::-1]) if len(packed) > 1 else packed[0].argsort(kind="stable")
    changes = np.zeros(order.size, dtype=np.bool_)
    changes[:1] = True
    for key in packed:
        ranked = key[order]
        changes[1:] |= ranked[1:] != ranked[:-1]
    start = np.append(np.flatnonzero(changes), order.size)
    return Groups(order=order, start=start, first=order[start[:-1]])


def _pack(keys: tuple[Integers, ...]) -> list[Integers]:
    """The same order in fewer keys."""
    packed = [np.zeros(keys[0].size, dtype=np.int64)]
    if keys[0].size == 0:
        return packed
    span = 1
    for key in keys:
        low, high = int(key.min()), int(key.max())
        if high == low:
            continue
        width = high - low + 1
        if span * width >= _KEY_MAX:
            packed.append(key)
            span = _KEY_MAX
            continue
        packed[-1] = packed[-1] * width + (key - low)
        span *= width
    return packed


def share_ppm_each(amounts: Integers, shares: Integers) -> Integers:
    """``clearing.units.share_ppm`` of every pair: half-even, once."""
    if amounts.size == 0:
        return amounts.copy()
    if int(np.abs(amounts).max()) * int(shares.max()) >= _KEY_MAX:
        pairs = zip(amounts.tolist(), shares.tolist(), strict=True)
        return integers(share_ppm(amount, Ppm(share)) for amount, share in pairs)
    quotient, remainder = np.divmod(amounts * shares, PPM)
    twice = 2 * remainder
    rounded: Integers = quotient + ((twice > PPM) | ((twice == PPM) & (quotient % 2 == 1)))
    return rounded


def divide_up_each(numerator: Integers, denominator: Integers | int) -> Integers:
    """``clearing.units.divide_up`` of every pair."""
    return -(-numerator // denominator)


def least_in_windows(values: Integers, first: Integers, length: Integers) -> Integers:
    """Least of ``values[first : first + length]`` for every window (``length`` >= 1).

    Windows of powers of two are prepared (a sparse table), and each answer is the lesser of
    the two that cover its window.
    """
    if first.size == 0:
        return np.zeros(0, dtype=np.int64)
    found = np.empty(first.size, dtype=np.int64)
    table, width = values, 1
    level = np.floor(np.log2(length)).astype(np.int64)
    for power in range(int(level.max()) + 1):
        rows = np.flatnonzero(level == power)
        late = first[rows] + length[rows] - width
        found[rows] = np.minimum(table[first[rows]], table[late])
        table = np.minimum(table[:-width], table[width:])
        width *= 2
    return found
