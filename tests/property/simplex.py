"""Linear programs with yes-or-no columns, tiny and exact: integers only, no tolerance anywhere.

``maximise gain . x`` subject to ``rows . x <= limits`` and ``x >= 0``, where some columns are
decisions, 0 or 1, that a caller fixes. The tableau is integral with one common denominator
(Edmonds' pivoting), is kept dual feasible and is carried from one set of decisions to the next, so
that the second solve costs a few pivots. Its objective row bounds every other set of decisions by
weak duality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd
from typing import Any

import numpy as np

BOX = 10**12
"""Larger than any sum of quantities in a book that is small enough to be enumerated."""

Row = dict[int, int]


@dataclass(slots=True)
class Program:
    """Rows by name; a column is a number. Everything is an integer."""

    gain: list[int] = field(default_factory=list)
    decisions: list[int] = field(default_factory=list)
    rows: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    limits: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def column(self, gain: int) -> int:
        """A new quantity, zero or more."""
        self.gain.append(gain)
        return len(self.gain) - 1

    def decision(self, gain: int) -> int:
        """A new yes-or-no column."""
        self.decisions.append(self.column(gain))
        return self.decisions[-1]

    def limit(self, row: tuple[Any, ...], amount: int) -> None:
        """Add to the right-hand side of a row, which is ``<=``."""
        self.limits[row] = self.limits.get(row, 0) + amount

    def put(self, row: tuple[Any, ...], column: int, weight: int) -> None:
        """Add to one coefficient; the row's limit is zero until it is given one."""
        into = self.rows.setdefault(row, {})
        into[column] = into.get(column, 0) + weight
        self.limits.setdefault(row, 0)


class Infeasible(Exception):  # noqa: N818 - a state of the program, not a fault
    """No quantities satisfy the rows with these decisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """``(constant - weights . decisions) / scale`` bounds the objective, or must not be
    negative."""

    constant: int
    weights: tuple[int, ...]
    scale: int
    feasibility: bool

    def at(self, chosen: Sequence[int]) -> Fraction:
        return Fraction(self.constant - sum(self.weights[k] for k in chosen), self.scale)


class Tableau:
    """Dual simplex over the quantities of a program, its decisions held where the caller puts
    them."""

    def __init__(self, program: Program) -> None:
        self.quantities = [c for c in range(len(program.gain)) if c not in set(program.decisions)]
        self.decisions = list(program.decisions)
        order = {c: k for k, c in enumerate([*self.quantities, *self.decisions])}
        self.free = len(self.quantities)
        width = len(order) + 1
        names = list(program.limits)
        # The last row but one is the box that makes the start dual feasible, the last one the
        # objective.
        self.table = np.zeros((len(names) + 2, width), dtype=object)
        for i, name in enumerate(names):
            for column, weight in program.rows.get(name, {}).items():
                self.table[i, order[column]] = weight
            self.table[i, -1] = program.limits[name]
            divisor = gcd(*(int(x) for x in self.table[i])) or 1
            self.table[i] //= divisor
        self.table[-2, : self.free] = 1
        self.table[-2, -1] = BOX
        for column, k in order.items():
            self.table[-1, k] = -program.gain[column]
        self.scale = 1
        # Labels: quantities 0..free-1, slacks free.. in row order.
        self.columns = list(range(self.free))
        self.basis = [self.free + i for i in range(len(names) + 1)]
        if self.free:
            steepest = min(range(self.free), key=lambda k: (self.table[-1, k], k))
            if self.table[-1, steepest] < 0:
                self._pivot(len(names), steepest)

    def solve(self, chosen: Sequence[int]) -> tuple[Fraction, Cut]:
        """Best objective with these decisions (positions among the decisions) at 1.

        Raises:
            Infeasible: with a cut that proves it as its argument.
        """
        picked = [self.free + k for k in chosen]
        pivots = 0
        while True:
            values = self.table[:-1, -1] - self.table[:-1, picked].sum(axis=1)
            low = [i for i, value in enumerate(values) if value < 0]
            if not low:
                cut = self._cut(-1, feasibility=False)
                return cut.at(chosen), cut
            # Largest infeasibility first; Bland's rule once that has gone on for long.
            if pivots < 4 * len(self.basis):
                row = min(low, key=lambda i: (values[i], self.basis[i]))
            else:
                row = min(low, key=lambda i: self.basis[i])
            line: list[int] = self.table[row, : self.free].tolist()
            enter = [k for k in range(self.free) if line[k] < 0]
            if not enter:
                raise Infeasible(self._cut(row, feasibility=True))
            goal: list[int] = self.table[-1].tolist()
            best = min(enter, key=lambda k: (Fraction(goal[k], -line[k]), self.columns[k]))
            self._pivot(row, best)
            pivots += 1

    def values(self, chosen: Sequence[int]) -> dict[int, Fraction]:
        """Quantities of the last solution, by column of the program."""
        picked = [self.free + k for k in chosen]
        found = dict.fromkeys(self.quantities, Fraction(0))
        for i, label in enumerate(self.basis):
            if label < self.free:
                value = self.table[i, -1] - sum(self.table[i, p] for p in picked)
                found[self.quantities[label]] = Fraction(value, self.scale)
        return found

    def _cut(self, row: int, *, feasibility: bool) -> Cut:
        line = self.table[row]
        return Cut(
            constant=line[-1],
            weights=tuple(line[self.free : -1]),
            scale=self.scale,
            feasibility=feasibility,
        )

    def _pivot(self, row: int, column: int) -> None:
        """Exchange a basic and a free column; every division is exact (entries are minors)."""
        table, scale = self.table, self.scale
        sign = 1 if table[row, column] > 0 else -1
        pivot = sign * table[row, column]
        line = sign * table[row]
        factors = table[:, column].copy()
        factors[row] = 0
        touched = np.nonzero(factors)[0]
        if pivot == scale:
            table[touched] -= np.outer(factors[touched], line) // scale
        else:
            table *= pivot
            table[touched] -= np.outer(factors[touched], line)
            table //= scale
        table[:, column] = -sign * factors
        table[row] = line
        table[row, column] = sign * scale
        self.scale = pivot
        self.basis[row], self.columns[column] = self.columns[column], self.basis[row]
