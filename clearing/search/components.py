"""What of a program hangs together, entry by entry."""

from __future__ import annotations

from clearing.program import Flags, Floats, Integers
from clearing.search.coordinate.compiled import compiled


@compiled
def unite(rows: Integers, columns: Integers, free: Flags, live: Flags, label: Integers) -> None:
    """Label rows and columns that entries of free columns in live rows connect.

    Args:
        rows: Row of each entry.
        columns: Column of each entry.
        free: Per column.
        live: Per row.
        label: Rows, then columns; each its own position before, the least of its part after.
    """
    offset = live.size
    for entry in range(rows.size):
        if not (free[columns[entry]] and live[rows[entry]]):
            continue
        one, other = rows[entry], columns[entry] + offset
        while label[one] != one:
            label[one] = label[label[one]]
            one = label[one]
        while label[other] != other:
            label[other] = label[label[other]]
            other = label[other]
        if one < other:
            label[other] = one
        else:
            label[one] = other
    for at in range(label.size):
        label[at] = label[label[at]]


@compiled
def hold(
    rows: Integers,
    columns: Integers,
    values: Floats,
    fixed: Flags,
    at_values: Floats,
    moved: Floats,
    kept: Integers,
) -> int:
    """Add what fixed columns make of each row to ``moved``; counts entries of the others.

    Args:
        rows, columns, values: Of each entry.
        fixed: Per column.
        at_values: Where fixed columns are.
        moved: Per row.
        kept: Filled with the positions of entries of columns that are not fixed.
    """
    count = 0
    for at in range(rows.size):
        column = columns[at]
        if not fixed[column]:
            kept[count] = at
            count += 1
        elif at_values[column] != 0.0:
            moved[rows[at]] += values[at] * at_values[column]
    return count
