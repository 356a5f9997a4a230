"""What of a program hangs together, entry by entry."""

from __future__ import annotations

from clearing.program import Flags, Integers
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
