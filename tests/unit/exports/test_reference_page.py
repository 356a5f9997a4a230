"""docs/reference/exports.md says what the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from iso_exchange.cli.ledger_export import Format
from settlement.exports import focus, tables
from settlement.exports.bank import COLUMNS
from settlement.exports.errors import ExportErrorCode
from settlement.exports.tables import Column

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "exports.md").read_text()


def table_text(columns: tuple[Column, ...]) -> str:
    rows = "\n".join(f"| `{item.name}` | {item.kind.value} | {item.meaning} |" for item in columns)
    return f"| column | kind | meaning |\n|---|---|---|\n{rows}\n"


@pytest.mark.parametrize(
    "columns",
    [
        focus.COLUMNS,
        tables.TRANSFER_COLUMNS,
        tables.BALANCE_COLUMNS,
        tables.STATEMENT_COLUMNS,
        tables.PRICE_COLUMNS,
    ],
)
def test_every_column_is_described(columns: tuple[Column, ...]) -> None:
    assert table_text(columns) in PAGE


def test_every_format_code_and_bank_column_is_named() -> None:
    names = [item.value for item in Format] + [code.value for code in ExportErrorCode]
    names += list(COLUMNS)
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_every_charge_is_explained() -> None:
    for code, (category, _, _) in focus.CATEGORIES.items():
        line = next(line for line in PAGE.splitlines() if f"`{code.value}`" in line)
        assert f"`{category}`" in line
