"""A linear or mixed-integer program as plain arrays, with no solver behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from clearing.columns import starts

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

INFINITY: Final = float("inf")

_SHORT_MAX: Final = 2**15 - 1


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

    def activity(self, values: Floats) -> Floats:
        """Value of every row at the column values."""
        weights = self.values * values[self.columns]
        found: Floats = np.bincount(
            self.rows, weights=weights, minlength=self.row_lower.size
        ).astype(np.float64, copy=False)
        return found


@dataclass(slots=True, kw_only=True)
class Builder:
    """Collects columns, rows and entries one by one, for programs of a few hundred."""

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


@dataclass(slots=True, kw_only=True)
class BlockBuilder:
    """Collects whole arrays of columns, rows and entries.

    Numbers stand for arrays of that number wherever a length is known from another argument.
    Entries go straight into their final place: a matrix of hundreds of megabytes is never there
    twice, and what is reserved beyond its end is never touched.

    Attributes:
        reserved: Entries expected, at most; more are taken with a copy.
    """

    reserved: int = 1_024
    column_count: int = 0
    row_count: int = 0
    entry_count: int = 0
    _columns: list[tuple[Floats, Floats, Floats, Flags]] = field(default_factory=list)
    _rows: list[tuple[Floats, Floats]] = field(default_factory=list)
    _entry_rows: Integers = field(init=False)
    _entry_columns: Integers = field(init=False)
    _entry_values: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Reserve room for the entries."""
        self._entry_rows = np.empty(self.reserved, dtype=np.int64)
        self._entry_columns = np.empty(self.reserved, dtype=np.int64)
        self._entry_values = np.empty(self.reserved)

    def columns(
        self,
        count: int,
        objective: Floats | float,
        lower: Floats | float,
        upper: Floats | float,
        *,
        whole: bool = False,
    ) -> int:
        """Add ``count`` columns and return the position of the first."""
        block = [
            np.broadcast_to(np.asarray(part, dtype=np.float64), count)
            for part in (objective, lower, upper)
        ]
        flags = np.broadcast_to(np.asarray(whole, dtype=np.bool_), count)
        self._columns.append((block[0], block[1], block[2], flags))
        self.column_count += count
        return self.column_count - count

    def rows(self, count: int, lower: Floats | float, upper: Floats | float) -> int:
        """Add ``count`` rows and return the position of the first."""
        block = [
            np.broadcast_to(np.asarray(part, dtype=np.float64), count) for part in (lower, upper)
        ]
        self._rows.append((block[0], block[1]))
        self.row_count += count
        return self.row_count - count

    def entries(self, rows: Integers, columns: Integers, values: Floats | float) -> None:
        """Add coefficients; those whose row or column is negative do not exist."""
        there = (rows >= 0) & (columns >= 0)
        if not there.all():
            rows, columns = rows[there], columns[there]
            values = values if isinstance(values, float) else values[there]
        first, stop = self.entry_count, self.entry_count + rows.size
        if stop > self.reserved:
            self.reserved = 2 * stop
            more = self.reserved - first
            self._entry_rows = np.append(self._entry_rows[:first], np.empty(more, np.int64))
            self._entry_columns = np.append(self._entry_columns[:first], np.empty(more, np.int64))
            self._entry_values = np.append(self._entry_values[:first], np.empty(more))
        self._entry_rows[first:stop] = rows
        self._entry_columns[first:stop] = columns
        self._entry_values[first:stop] = values
        self.entry_count = stop

    def freeze(self) -> Program:
        """The program collected so far."""
        columns, rows = self._columns, self._rows
        floats = np.zeros(0)
        return Program(
            objective=np.concatenate([floats, *(block[0] for block in columns)]),
            lower=np.concatenate([floats, *(block[1] for block in columns)]),
            upper=np.concatenate([floats, *(block[2] for block in columns)]),
            whole=np.concatenate([np.zeros(0, dtype=np.bool_), *(block[3] for block in columns)]),
            row_lower=np.concatenate([floats, *(block[0] for block in rows)]),
            row_upper=np.concatenate([floats, *(block[1] for block in rows)]),
            rows=self._entry_rows[: self.entry_count],
            columns=self._entry_columns[: self.entry_count],
            values=self._entry_values[: self.entry_count],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some rows and columns of a program as a program of its own.

    Attributes:
        rows: Their positions in the whole, ascending.
        columns: The same.
    """

    program: Program
    rows: Integers
    columns: Integers


def split_program(
    program: Program, of_row: Integers, of_column: Integers, count: int, held: Floats
) -> Iterator[Part]:
    """Cut a program into parts that share no column, with the columns of no part held.

    Rows of no part are left out, and so is what a column has in the rows of another part: cut
    where that does not matter. One pass over the matrix serves all parts.

    Args:
        program: The whole.
        of_row: Part of each row, -1 for none.
        of_column: Part of each column, -1 for those that are held.
        count: Number of parts.
        held: Column values; those of held columns move into the bounds of the rows.
    """
    inside, moved = _sift(program, of_row, of_column, held)
    part_of_entry = of_row[program.rows[inside]]
    rows, row_start = _by_part(of_row, count)
    columns, column_start = _by_part(of_column, count)
    entries, entry_start = _by_part(part_of_entry, count)
    local_row, local_column = np.empty_like(of_row), np.empty_like(of_column)
    local_row[rows] = np.arange(rows.size) - row_start[of_row[rows]]
    local_column[columns] = np.arange(columns.size) - column_start[of_column[columns]]
    for part in range(count):
        mine = rows[row_start[part] : row_start[part + 1]]
        own = columns[column_start[part] : column_start[part + 1]]
        at = inside[entries[entry_start[part] : entry_start[part + 1]]]
        yield Part(
            program=Program(
                objective=program.objective[own],
                lower=program.lower[own],
                upper=program.upper[own],
                whole=program.whole[own],
                row_lower=program.row_lower[mine] - moved[mine],
                row_upper=program.row_upper[mine] - moved[mine],
                rows=local_row[program.rows[at]],
                columns=local_column[program.columns[at]],
                values=program.values[at],
            ),
            rows=mine,
            columns=own,
        )


_CHUNK: Final = 2**20
"""Entries looked at together: most of a large matrix belongs to columns held at zero."""


def _sift(
    program: Program, of_row: Integers, of_column: Integers, held: Floats
) -> tuple[Integers, Floats]:
    """Entries that stay in a part, and what the held columns add up to in each row."""
    stays = of_column >= 0
    counts = stays | (held != 0)
    moved = np.zeros(of_row.size)
    inside = [np.zeros(0, dtype=np.int64)]
    for first in range(0, program.values.size, _CHUNK):
        at = first + np.flatnonzero(counts[program.columns[first : first + _CHUNK]])
        own = stays[program.columns[at]]
        out, at = at[~own], at[own]
        weights = program.values[out] * held[program.columns[out]]
        moved += np.bincount(program.rows[out], weights=weights, minlength=moved.size)
        inside.append(at[of_row[program.rows[at]] == of_column[program.columns[at]]])
    return np.concatenate(inside), moved


def slice_program(program: Program, rows: Integers, columns: Integers, held: Floats) -> Part:
    """One part: the named rows and columns, with every other column held at its value."""
    of_row = np.full(program.row_lower.size, -1, dtype=np.int64)
    of_column = np.full(program.objective.size, -1, dtype=np.int64)
    of_row[rows] = 0
    of_column[columns] = 0
    return next(split_program(program, of_row, of_column, 1, held))


def _by_part(of: Integers, count: int) -> tuple[Integers, Integers]:
    """Positions by part, those of none left out, and where each part starts."""
    # A stable sort of 16 bits is a radix sort: the matrix of a large book has millions of entries.
    narrow = of.astype(np.int16) if count <= _SHORT_MAX else of
    order = narrow.argsort(kind="stable")
    none = int((of < 0).sum())
    return order[none:], starts(np.bincount(of[of >= 0], minlength=count))
