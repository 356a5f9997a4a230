"""``iso statement``: what a party earned and owes, line by line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from clearing.units import chip_hours_text
from iso_exchange.cli import output
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import Json, call

app: Final = typer.Typer(no_args_is_help=True, help="Own statements: list, show, bundle.")


@app.command("list")
def list_statements(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 100,
    as_json: Json = False,
) -> None:
    """List own statements, newest first."""
    found = call(context, lambda client: client.statements(limit=limit), as_json=as_json)
    rows = [
        (
            item.statement_id,
            output.interval_text(item.start_time, item.end_time),
            _amount(item.opening_amount, item.asset),
            _amount(item.closing_amount, item.asset),
            _amount(item.payout_amount, item.asset),
            item.line_count,
        )
        for item in found
    ]
    headers = ("STATEMENT", "PERIOD", "OPENING", "CLOSING", "PAID OUT", "LINES")
    output.answer(
        {"statements": [output.plain(item) for item in found]},
        output.table(headers, rows),
        as_json=as_json,
    )


@app.command("show")
def show(
    context: typer.Context,
    statement_id: Annotated[str, typer.Argument(metavar="STATEMENT", help="Own statement.")],
    as_json: Json = False,
) -> None:
    """Show a statement with all of its lines."""
    found = call(context, lambda client: client.statement(statement_id), as_json=as_json)
    statement = found.statement
    facts = (
        ("Statement", statement.statement_id),
        ("Account", statement.account),
        ("Period", output.interval_text(statement.start_time, statement.end_time)),
        ("Opening", _amount(statement.opening_amount, statement.asset)),
        ("Closing", _amount(statement.closing_amount, statement.asset)),
        ("Paid out", _amount(statement.payout_amount, statement.asset)),
        ("Document", statement.document_sha256.hex()),
        *(
            (("Collateral called", _amount(statement.collateral_call_amount, statement.asset)),)
            if statement.collateral_call_amount not in ("", "0")
            else ()
        ),
    )
    rows = [
        (
            output.named(line, "code"),
            output.stamp_text(line.hour_start_time) if line.HasField("hour_start_time") else "",
            line.contract_id,
            chip_hours_text(line.quantity_chip_seconds) if line.quantity_chip_seconds else "",
            output.price_text(line.price_micro_usd_per_chip_hour)
            if line.price_micro_usd_per_chip_hour
            else "",
            _amount(line.amount, statement.asset),
        )
        for line in found.lines
    ]
    headers = ("FOR", "HOUR", "CONTRACT", "CHIP-HOURS", "PRICE", "AMOUNT")
    output.answer(
        {
            "statement": output.plain(statement),
            "lines": [output.plain(line) for line in found.lines],
        },
        output.pairs(facts),
        output.table(headers, rows),
        as_json=as_json,
    )


@app.command("bundle")
def bundle(
    context: typer.Context,
    statement_id: Annotated[str, typer.Argument(metavar="STATEMENT", help="Own statement.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file.")],
    as_json: Json = False,
) -> None:
    """Keep what a statement rests on, with proofs, for `iso explain --own` offline."""
    from clearing import codec
    from iso_exchange.client.own import own_bundle

    if out.exists():
        raise BadValue("--out", "expected a file that does not exist yet", got=str(out))
    found = call(context, lambda client: own_bundle(client, statement_id), as_json=as_json)
    out.write_bytes(codec.encode(found))
    output.answer(
        {
            "path": str(out),
            "statement_id": statement_id,
            "entry_count": len(found.entries),
            "document_count": len(found.documents),
        },
        f"{out}: {len(found.entries)} entries and {len(found.documents)} documents",
        as_json=as_json,
    )


def _amount(text: str, asset: str) -> str:
    return output.money_text(int(text or 0)) if asset == "USD" else text
