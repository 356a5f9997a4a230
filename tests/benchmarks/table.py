"""Rows as a table for people or as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tests.benchmarks.spec import Row

HEADINGS: Final = ("size", "phase", "value", "unit", "ratio", "against", "", "note")
_RIGHT: Final = (2, 4)


def as_text(title: str, rows: Iterable[Row]) -> str:
    """A table with aligned columns."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = [title]
    for line in lines:
        cells = (
            cell.rjust(width) if column in _RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def as_json(machine: Mapping[str, str], date: str, results: Mapping[str, Sequence[Row]]) -> str:
    """One document with everything."""
    return json.dumps(
        {
            "date": date,
            "machine": dict(machine),
            "benchmarks": {
                name: [{**dataclasses.asdict(row), "verdict": row.verdict.value} for row in rows]
                for name, rows in results.items()
            },
        },
        indent=2,
    )


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else _number(row.ratio)
    verdict = row.verdict.value
    return (
        row.size,
        row.phase,
        _number(row.value),
        row.unit,
        ratio,
        row.against,
        verdict,
        row.note,
    )


def _number(value: float) -> str:
    """Four digits, thousands separated, small values as powers of ten."""
    size = abs(value)
    if value == int(value) and size < 1e15:
        return f"{int(value):,}"
    if size >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
