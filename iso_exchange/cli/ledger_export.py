"""``iso ledger export``: the ledger as billing rows, journals, payment files and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from clearing.types import Interval
from iso_exchange.cli import output
from iso_exchange.cli.bundles import (
    BundleDirectory,
    From,
    Key,
    To,
    log_document,
    number,
    open_bundle,
    parse_moment,
    parse_period,
    refusals,
    remarks,
    written,
)
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import Json

if TYPE_CHECKING:
    from settlement.exports.extract import Extract
    from settlement.exports.journal import Journal
    from settlement.exports.tables import Table

EXCHANGE_ID: Final = "exchange"


class Format(StrEnum):
    """What the ledger is written as."""

    FOCUS = "focus"
    HLEDGER = "hledger"
    BEANCOUNT = "beancount"
    PAIN001 = "pain001"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """Options of one invocation."""

    format: Format
    out: Path
    period: Interval | None
    participant: str
    bank: Path | None
    debtor: str
    created: str
    execution: str
    allow_open: bool


def export(
    kind: Annotated[Format, typer.Option("--format", help="What to write.")],
    bundle: BundleDirectory,
    out: Annotated[Path, typer.Option("--out", help="File; for csv and parquet a directory.")],
    start: From = "",
    end: To = "",
    participant: Annotated[
        str, typer.Option("--participant", help="Buyer whose bill it is (focus).")
    ] = "",
    bank: Annotated[
        Path | None,
        typer.Option("--bank", metavar="FILE", help="Bank table, CSV or JSON (pain001)."),
    ] = None,
    debtor: Annotated[
        str, typer.Option("--debtor", help="Row of the bank table that pays (pain001).")
    ] = EXCHANGE_ID,
    created: Annotated[
        str,
        typer.Option("--created", metavar="TIME", help="Default: end of the log (pain001)."),
    ] = "",
    execution: Annotated[
        str,
        typer.Option("--execution", metavar="DAY", help="Default: day of --created (pain001)."),
    ] = "",
    allow_open: Annotated[
        bool,
        typer.Option("--allow-open", help="Pay a period that the log does not cover (pain001)."),
    ] = False,
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Write the ledger in a format of other programs, from an auditor bundle alone.

    Works offline. The log is checked and replayed first; `iso audit verify` checks more.
    focus needs --participant, pain001 needs --from, --to and --bank.

    A payment file of a period that the log does not cover yet is refused: made again later,
    it would pay the same payouts twice.
    """
    request = _Request(
        format=kind,
        out=out,
        period=parse_period(start, end),
        participant=participant,
        bank=bank,
        debtor=debtor,
        created=created,
        execution=execution,
        allow_open=allow_open,
    )
    _check(request)
    with refusals(as_json=as_json):
        read = open_bundle(bundle, key)
        files, facts = _WRITERS[kind](request, read.extract)
    document = {"format": kind.value, "files": files, **facts, "log": log_document(read)}
    rows = [(file["path"], f"{file['rows']:,}", f"{file['bytes']:,}") for file in files]
    lines = [f"{name}: {value}" for name, value in facts.items() if value]
    output.answer(
        document,
        output.table(("FILE", "ROWS", "BYTES"), rows),
        *lines,
        *remarks(read),
        as_json=as_json,
    )


_Files = tuple[list[dict[str, object]], dict[str, object]]


def _check(request: _Request) -> None:
    """Options that belong to another format are refused, those that are needed asked for."""
    pays = request.format is Format.PAIN001
    bills = request.format is Format.FOCUS
    for given, allowed, field in (
        (request.participant, bills, "--participant"),
        (request.bank, pays, "--bank"),
        (request.created, pays, "--created"),
        (request.execution, pays, "--execution"),
        (request.allow_open, pays, "--allow-open"),
        (request.period, pays or bills, "--from"),
    ):
        if given and not allowed:
            raise BadValue(field, f"does not go with --format {request.format.value}")
    if bills and not request.participant:
        raise BadValue("--participant", "say whose bill it is")
    if pays and request.period is None:
        raise BadValue("--from", "say which payouts: give --from and --to")
    if pays and request.bank is None:
        raise BadValue("--bank", "name the table with the bank details")
    if request.bank is not None and not request.bank.is_file():
        raise BadValue("--bank", "expected a CSV or JSON file", got=str(request.bank))


def _focus(request: _Request, extract: Extract) -> _Files:
    from settlement.exports.focus import focus_table
    from settlement.exports.tables import csv_text

    table = focus_table(extract, request.participant, request.period)
    content = csv_text(table).encode()
    cost = sum(row[0] for row in table.rows if isinstance(row[0], int))
    return (
        [written(request.out, content, rows=len(table.rows))],
        {"participant_id": request.participant, "billed_micro_usd": number(cost)},
    )


def _hledger(request: _Request, extract: Extract) -> _Files:
    from settlement.exports.hledger import hledger_text

    return _journal(request, extract, hledger_text)


def _beancount(request: _Request, extract: Extract) -> _Files:
    from settlement.exports.beancount import beancount_text

    return _journal(request, extract, beancount_text)


def _journal(request: _Request, extract: Extract, render: Callable[[Journal], str]) -> _Files:
    from settlement.exports.journal import journal

    made = journal(
        origin=extract.origin,
        size=extract.size,
        root=extract.root,
        movements=extract.movements,
    )
    content = render(made).encode()
    return [written(request.out, content, rows=len(made.entries))], {}


def _pain001(request: _Request, extract: Extract) -> _Files:
    from iso_exchange.exports.bank_file import read_bank_table
    from settlement.exports.errors import ExportError, ExportErrorCode
    from settlement.exports.pain001 import payment_file
    from settlement.exports.payouts import posted_payouts

    assert request.bank is not None  # asked for by _check
    assert request.period is not None
    try:
        text = request.bank.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadValue("--bank", "expected UTF-8 text", got=str(request.bank)) from error
    banks = read_bank_table(text, request.bank.name)
    debtor = banks.get(request.debtor)
    if debtor is None:
        raise ExportError(
            ExportErrorCode.BANK_DETAILS_MISSING,
            request.debtor,
            "the bank table has no row of the party that pays",
        )
    created = parse_moment(request.created, "--created") if request.created else extract.end
    execution = parse_moment(request.execution, "--execution") if request.execution else created
    made = payment_file(
        origin=extract.origin,
        period=request.period,
        payouts=posted_payouts(extract.movements, extract.sites, request.period),
        debtor=debtor,
        banks=banks,
        created=created,
        execution=execution,
        complete_until=request.period.end if request.allow_open else extract.end,
    )
    return (
        [written(request.out, made.content, rows=len(made.payments))],
        {
            "message_id": made.message_id,
            "paid_micro_usd": number(sum(item.amount for item in made.payments)),
            "kept_micro_usd": number(sum(item.amount for item in made.kept)),
        },
    )


def _csv(request: _Request, extract: Extract) -> _Files:
    from settlement.exports.tables import csv_text

    return _tables(request, extract, lambda table: csv_text(table).encode())


def _parquet(request: _Request, extract: Extract) -> _Files:
    from iso_exchange.exports.parquet import parquet_bytes

    return _tables(request, extract, parquet_bytes)


def _tables(request: _Request, extract: Extract, render: Callable[[Table], bytes]) -> _Files:
    from settlement.exports.tables import tables

    made = [(table, render(table)) for table in tables(extract)]
    request.out.mkdir(parents=True, exist_ok=True)
    suffix = request.format.value
    return (
        [
            written(request.out / f"{table.name}.{suffix}", content, rows=len(table.rows))
            for table, content in made
        ],
        {},
    )


_WRITERS: Final[dict[Format, Callable[[_Request, Extract], _Files]]] = {
    Format.FOCUS: _focus,
    Format.HLEDGER: _hledger,
    Format.BEANCOUNT: _beancount,
    Format.PAIN001: _pain001,
    Format.CSV: _csv,
    Format.PARQUET: _parquet,
}
