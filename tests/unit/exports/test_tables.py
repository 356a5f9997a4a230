from __future__ import annotations

import csv
import io
from dataclasses import replace
from decimal import Decimal

import pytest

from clearing.units import Chips, MicroUsdPerChipHour
from settlement.exports.errors import ExportError, ExportErrorCode
from settlement.exports.extract import Extract, PublishedPrice
from settlement.exports.tables import (
    Kind,
    Table,
    balances_table,
    csv_text,
    prices_table,
    statements_table,
    tables,
    transfers_table,
)
from settlement.exports.texts import decimal_text
from settlement.ledger.books import Applied
from settlement.types import Phase
from tests.unit.exports.hand import (
    extract_of,
    movements,
    settled_extract,
    settled_world,
    transfer,
)
from tests.unit.settlement.builders import HOUR


def read(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_text(table), newline="")))


def with_price(extract: Extract) -> Extract:
    price = MicroUsdPerChipHour
    return replace(
        extract,
        prices=(
            PublishedPrice(
                entry_index=9,
                auction_id="da-1",
                pool_id="pool-a",
                interval=HOUR,
                firm=price(3_920_000),
                firm_uncovered=price(3_920_000),
                interruptible=price(3_920_000),
                energy=price(3_000_000),
                power=price(400_000),
                surcharge=price(500_000),
                fee=price(20_000),
                indicative=False,
                capacity=Chips(64),
                supplied=Chips(8),
            ),
        ),
    )


def test_there_are_four_tables_and_every_row_fits() -> None:
    made = tables(with_price(settled_extract()))
    assert [table.name for table in made] == ["transfers", "balances", "statements", "prices"]
    for table in made:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        assert all(column.meaning.endswith(".") for column in table.columns)


def test_balances_are_those_of_the_books() -> None:
    world, _ = settled_world()
    found = {
        (row["account"], row["asset"]): (
            int(row["posted"]),
            int(row["pending_debit"]),
            int(row["pending_credit"]),
        )
        for row in read(balances_table(extract_of(movements(world.applied))))
    }
    assert found == {
        (item.account, item.asset): (item.posted, item.pending_debit, item.pending_credit)
        for item in world.books.balances()
    }


def test_transfers_by_hand() -> None:
    hold = transfer("h", "p:a:cash", "pot:x:0", 500, phase=Phase.PENDING)
    (row,) = read(transfers_table(extract_of(movements([Applied(hold, 500)]))))
    assert row["entry_index"] == "10"
    assert row["accepted"] == "2023-11-14T23:10:00Z"
    assert (row["phase"], row["debit"], row["credit"]) == ("PENDING", "p:a:cash", "pot:x:0")
    assert (row["amount"], row["amount_decimal"]) == ("500", "0.000500")
    assert row["hour"] == ""


def test_statement_lines_add_up() -> None:
    extract = settled_extract()
    rows = read(statements_table(extract))
    made = extract.statements[0].statement
    assert len(rows) == len(made.lines)
    assert sum(int(row["amount"]) for row in rows) == made.closing - made.opening == -26_786_667
    assert sum(Decimal(row["amount_decimal"]) for row in rows) == Decimal("-26.786667")
    assert {row["closing"] for row in rows} == {str(made.closing)}


def test_a_statement_without_lines_has_one_row() -> None:
    extract = settled_extract()
    issued = extract.statements[0]
    bare = replace(issued, statement=replace(issued.statement, lines=()))
    (row,) = read(statements_table(replace(extract, statements=(bare,))))
    assert (row["line"], row["amount"], row["code"]) == ("0", "0", "")


def test_prices_by_hand() -> None:
    (row,) = read(prices_table(with_price(settled_extract())))
    assert (row["firm"], row["indicative"], row["supplied_chips"]) == ("3.920000", "false", "8")
    assert row["interval_start"] == "2023-11-14T22:00:00Z"


def test_csv_quotes_what_it_must() -> None:
    odd = transfer('a,"b"\nc', "p:a:cash", "pot:x:0", 1)
    table = transfers_table(extract_of(movements([Applied(odd, 1)])))
    assert '"a,""b""\nc"' in csv_text(table)
    assert read(table)[0]["transfer_id"] == 'a,"b"\nc'


def test_parquet_reads_back() -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    from iso_exchange.exports.parquet import parquet_bytes

    for table in tables(with_price(settled_extract())):
        found = pq.read_table(io.BytesIO(parquet_bytes(table)))
        assert found.column_names == [column.name for column in table.columns]
        assert found.num_rows == len(table.rows)
        for column, kind in enumerate(item.kind for item in table.columns):
            values = found.column(column).to_pylist()
            mine = [row[column] for row in table.rows]
            if kind is Kind.MICRO:
                assert values == [Decimal(decimal_text(int(value or 0))) for value in mine]
            elif kind is Kind.TIME:
                times = [None if value is None else int(value.timestamp()) for value in values]
                assert times == mine
            else:
                assert values == mine


def test_parquet_refuses_what_64_bits_cannot_hold() -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from iso_exchange.exports.parquet import parquet_bytes

    for amount, fits in ((2**63 - 1, True), (2**63, False)):
        big = transfer("big", "bank", "p:a:cash", amount)
        table = transfers_table(extract_of(movements([Applied(big, amount)])))
        assert str(amount) in csv_text(table)
        if fits:
            assert parquet_bytes(table)
            continue
        with pytest.raises(ExportError) as caught:
            parquet_bytes(table)
        assert caught.value.code is ExportErrorCode.AMOUNT_TOO_LARGE
