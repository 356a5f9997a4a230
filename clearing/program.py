"""A linear or mixed-integer program as plain arrays, with no solver behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

INFINITY: Final = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Maximise ``objective x`` over bounds, rows and whole-number columns.

    Attributes:
        objective: Per column.  # (columns,)
        lower: Column bounds.
        upper: The same.
        whole: Columns that take whole numbers only.
        row_lower: Row bounds, infinite where there is none.  # (rows,)
        row_upper: The same.
        rows: Row of each matrix entry.  # (entries,)
        columns: Column of each entry.
        values: Coefficient; entries of one place add up.
    """

    objective: Floats
    lower: Floats
    upper: Floats
    whole: Flags
    row_lower: Floats
    row_upper: Floats
    rows: Integers
    columns: Integers
    values: Floats


@dataclass(slots=True, kw_only=True)
class Builder:
    """Collects columns, rows and entries, then freezes them into a ``Program``."""

    objective: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    row_lower: list[float] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def column(self, objective: float, lower: float, upper: float, *, whole: bool = False) -> int:
        """Add a column and return its position."""
        self.objective.append(objective)
        self.lower.append(lower)
        self.upper.append(upper)
        self.whole.append(whole)
        return len(self.objective) - 1

    def row(self, lower: float, upper: float) -> int:
        """Add a row and return its position."""
        self.row_lower.append(lower)
        self.row_upper.append(upper)
        return len(self.row_lower) - 1

    def entry(self, row: int, column: int, value: float) -> None:
        """Add a coefficient; those of one place add up."""
        self.rows.append(row)
        self.columns.append(column)
        self.values.append(value)

    def freeze(self) -> Program:
        """The program collected so far."""
        return Program(
            objective=np.array(self.objective, dtype=np.float64),
            lower=np.array(self.lower, dtype=np.float64),
            upper=np.array(self.upper, dtype=np.float64),
            whole=np.array(self.whole, dtype=np.bool_),
            row_lower=np.array(self.row_lower, dtype=np.float64),
            row_upper=np.array(self.row_upper, dtype=np.float64),
            rows=np.array(self.rows, dtype=np.int64),
            columns=np.array(self.columns, dtype=np.int64),
            values=np.array(self.values, dtype=np.float64),
        )
