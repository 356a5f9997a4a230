"""Rows of the ledger for spreadsheets and databases: transfers, balances, statements, prices.

A table is columns with a kind and rows of integers and texts; ``csv_text`` writes it, and
``iso_exchange.exports.parquet`` does with the same columns. Amounts stand there twice: as the
ledger has them, integers of the asset's smallest unit, and as decimals.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from typing import Final

from clearing.units import UnixSeconds
from settlement.exports.extract import Extract
from settlement.exports.texts import decimal_text, micro_of, time_text
from settlement.types import Phase

Value = int | str | bool | None


class Kind(Enum):
    """What a column holds."""

    TEXT = "TEXT"
    INTEGER = "INTEGER"
    """64 bits."""
    MICRO = "MICRO"
    """Integer of millionths, shown as a decimal with six digits after the point."""
    TIME = "TIME"
    """Seconds since the epoch, shown in RFC 3339, UTC."""
    TRUTH = "TRUTH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        meaning: One sentence, as in docs/reference/exports.md.
    """

    name: str
    kind: Kind
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns; None stands for no value."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]


def _column(name: str, kind: Kind, meaning: str) -> Column:
    return Column(name=name, kind=kind, meaning=meaning)


_AMOUNT: Final = (
    _column("amount", Kind.INTEGER, "Smallest unit of the asset: micro-USD, micro-credits, TFLOP."),
    _column("amount_decimal", Kind.MICRO, "The same in US dollars, credits or TFLOP."),
)

TRANSFER_COLUMNS: Final = (
    _column("entry_index", Kind.INTEGER, "Log entry that carried the transfer."),
    _column("position", Kind.INTEGER, "Within the entry, from 0."),
    _column("accepted", Kind.TIME, "When the entry was accepted."),
    _column("transfer_id", Kind.TEXT, "Unique in the ledger."),
    _column("phase", Kind.TEXT, "`POSTED`, `PENDING`, `POST_PENDING`, `VOID_PENDING`."),
    _column("code", Kind.TEXT, "What it is for."),
    _column("asset", Kind.TEXT, "`USD`, `CREDIT:<organisation>` or `TFLOP:<precision>`."),
    _column("debit", Kind.TEXT, "Account that gives."),
    _column("credit", Kind.TEXT, "Account that receives."),
    *_AMOUNT,
    _column("pending_id", Kind.TEXT, "Hold that it resolves."),
    _column("reason", Kind.TEXT, "Reason of a failure, gap or correction."),
    _column("contract_id", Kind.TEXT, "Contract concerned."),
    _column("hour", Kind.TIME, "Start of the delivery hour concerned."),
    _column("quantity_chip_seconds", Kind.INTEGER, "What the amount is for."),
    _column("price_micro_usd_per_chip_hour", Kind.INTEGER, "What it was computed at."),
    _column("corrects", Kind.TEXT, "Transfer that it corrects."),
)

BALANCE_COLUMNS: Final = (
    _column("account", Kind.TEXT, "Name in the chart of accounts."),
    _column("asset", Kind.TEXT, "`USD`, `CREDIT:<organisation>` or `TFLOP:<precision>`."),
    _column("posted", Kind.INTEGER, "Credits less debits."),
    _column("posted_decimal", Kind.MICRO, "The same in US dollars, credits or TFLOP."),
    _column("pending_debit", Kind.INTEGER, "Held out of it by open holds."),
    _column("pending_credit", Kind.INTEGER, "Promised to it by open holds."),
)

STATEMENT_COLUMNS: Final = (
    _column("statement_id", Kind.TEXT, "Statement that the line stands on."),
    _column("entry_index", Kind.INTEGER, "Log entry that issued it."),
    _column("issued", Kind.TIME, "When it was issued."),
    _column("auction_id", Kind.TEXT, "Auction that it closes."),
    _column("party_id", Kind.TEXT, "Owner of the account."),
    _column("account", Kind.TEXT, "Account stated."),
    _column("asset", Kind.TEXT, "`USD`, `CREDIT:<organisation>` or `TFLOP:<precision>`."),
    _column("period_start", Kind.TIME, "Delivery period, from."),
    _column("period_end", Kind.TIME, "Delivery period, to (exclusive)."),
    _column("opening", Kind.INTEGER, "Balance before the statement."),
    _column("closing", Kind.INTEGER, "Opening and all lines."),
    _column("payout", Kind.INTEGER, "Part of the closing balance paid out with it."),
    _column("line", Kind.INTEGER, "Number of the line, from 1; 0 where there are no lines."),
    _column("code", Kind.TEXT, "What the line is for."),
    _column("contract_id", Kind.TEXT, "Contract concerned."),
    _column("hour", Kind.TIME, "Start of the delivery hour concerned."),
    _column("quantity_chip_seconds", Kind.INTEGER, "What the amount is for."),
    _column("price_micro_usd_per_chip_hour", Kind.INTEGER, "0 where several prices applied."),
    *_AMOUNT,
    _column("counterparty", Kind.TEXT, "Accounts on the other side."),
    _column("transfer_ids", Kind.TEXT, "Transfers that the line sums, with spaces between."),
)

PRICE_COLUMNS: Final = (
    _column("auction_id", Kind.TEXT, "Auction."),
    _column("entry_index", Kind.INTEGER, "Log entry that published the prices."),
    _column("pool_id", Kind.TEXT, "Pool."),
    _column("interval_start", Kind.TIME, "Delivery interval, from."),
    _column("interval_end", Kind.TIME, "Delivery interval, to (exclusive)."),
    _column("firm", Kind.MICRO, "All-in price of covered firm load, USD per chip-hour."),
    _column("firm_uncovered", Kind.MICRO, "All-in price of firm load without cover."),
    _column("interruptible", Kind.MICRO, "All-in price of an interruptible with both discounts."),
    _column("energy", Kind.MICRO, "What supply earns."),
    _column("power", Kind.MICRO, "Scarcity of site power."),
    _column("surcharge", Kind.MICRO, "Community surcharge of the site."),
    _column("fee", Kind.MICRO, "Operator's fee."),
    _column("indicative", Kind.TRUTH, "Nothing was sold at it."),
    _column("capacity_chips", Kind.INTEGER, "Chips in the pool."),
    _column("supplied_chips", Kind.INTEGER, "Chips sold."),
)


def tables(extract: Extract) -> tuple[Table, ...]:
    """All tables of a ledger: transfers, balances, statements, prices."""
    return (
        transfers_table(extract),
        balances_table(extract),
        statements_table(extract),
        prices_table(extract),
    )


def transfers_table(extract: Extract) -> Table:
    """One row per transfer, in order of application."""
    rows = tuple(
        (
            item.entry_index,
            item.position,
            item.time,
            item.transfer.transfer_id,
            item.transfer.phase.value,
            item.transfer.code.value,
            item.transfer.asset,
            item.transfer.debit,
            item.transfer.credit,
            item.applied,
            micro_of(item.transfer.asset, item.applied),
            item.transfer.pending_id,
            item.transfer.reason,
            item.transfer.contract_id,
            item.transfer.interval_start or None,
            item.transfer.quantity,
            item.transfer.price,
            item.transfer.corrects,
        )
        for item in extract.movements
    )
    return Table(name="transfers", columns=TRANSFER_COLUMNS, rows=rows)


def balances_table(extract: Extract) -> Table:
    """One row per account and asset, added up from the transfers, sorted."""
    cells: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    holds: dict[str, int] = {}
    for item in extract.movements:
        transfer = item.transfer
        debit = cells[transfer.debit, transfer.asset]
        credit = cells[transfer.credit, transfer.asset]
        if transfer.phase is Phase.PENDING:
            holds[transfer.transfer_id] = transfer.amount
            debit[1] += transfer.amount
            credit[2] += transfer.amount
            continue
        debit[0] -= item.applied
        credit[0] += item.applied
        held = holds.pop(transfer.pending_id, 0)
        debit[1] -= held
        credit[2] -= held
    rows = tuple(
        (account, asset, posted, micro_of(asset, posted), pending_debit, pending_credit)
        for (account, asset), (posted, pending_debit, pending_credit) in sorted(cells.items())
    )
    return Table(name="balances", columns=BALANCE_COLUMNS, rows=rows)


def statements_table(extract: Extract) -> Table:
    """One row per line of a statement; a statement without lines has one row."""
    rows: list[tuple[Value, ...]] = []
    for issued in extract.statements:
        made = issued.statement
        head: tuple[Value, ...] = (
            made.statement_id,
            issued.entry_index,
            issued.time,
            issued.auction_id,
            made.party_id,
            made.account,
            made.asset,
            made.period.start,
            made.period.end,
            made.opening,
            made.closing,
            made.payout,
        )
        if not made.lines:
            rows.append((*head, 0, "", "", None, 0, 0, 0, 0, "", ""))
        rows.extend(
            (
                *head,
                number,
                line.code.value,
                line.contract_id,
                line.interval_start or None,
                line.quantity,
                line.price,
                line.amount,
                micro_of(made.asset, line.amount),
                line.counterparty,
                " ".join(line.transfer_ids),
            )
            for number, line in enumerate(made.lines, start=1)
        )
    return Table(name="statements", columns=STATEMENT_COLUMNS, rows=tuple(rows))


def prices_table(extract: Extract) -> Table:
    """One row per auction, pool and interval."""
    rows = tuple(
        (
            item.auction_id,
            item.entry_index,
            item.pool_id,
            item.interval.start,
            item.interval.end,
            item.firm,
            item.firm_uncovered,
            item.interruptible,
            item.energy,
            item.power,
            item.surcharge,
            item.fee,
            item.indicative,
            item.capacity,
            item.supplied,
        )
        for item in extract.prices
    )
    return Table(name="prices", columns=PRICE_COLUMNS, rows=rows)


def csv_text(table: Table) -> str:
    """CSV with a header, lines ended by CR LF (RFC 4180)."""
    page = io.StringIO(newline="")
    writer = csv.writer(page, lineterminator="\r\n")
    writer.writerow(column.name for column in table.columns)
    kinds = [column.kind for column in table.columns]
    for row in table.rows:
        writer.writerow(map(_cell, kinds, row))
    return page.getvalue()


def _cell(kind: Kind, value: Value) -> str:
    if value is None:
        return ""
    if kind is Kind.TRUTH:
        return "true" if value else "false"
    if isinstance(value, int) and kind is Kind.MICRO:
        return decimal_text(value)
    if isinstance(value, int) and kind is Kind.TIME:
        return time_text(UnixSeconds(value))
    return str(value)
