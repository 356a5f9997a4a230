"""``iso grant``: capacity for non-profits and universities at zero price."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.types import Interval
from clearing.units import Chips
from iso_exchange.cli import output, values
from iso_exchange.cli.session import Json, accepted, call, receipt_document, send
from iso_exchange.client import BLANK_HEADER
from iso_exchange.money_commands import RegisterGrant

app: Final = typer.Typer(no_args_is_help=True, help="Granted capacity: give, list.")


@app.command("give")
def give(
    context: typer.Context,
    beneficiary: Annotated[str, typer.Option("--to", help="Who may use it.")],
    supplier: Annotated[
        str, typer.Option("--supplier", help="Who gives it, and pays surcharge and fee.")
    ],
    pool: Annotated[str, typer.Option("--pool", help="Pool.")],
    chips: Annotated[int, typer.Option("--chips", help="Chips, whole nodes.")],
    start: Annotated[str, typer.Option("--from", help="First moment, on a full hour.")],
    end: Annotated[str, typer.Option("--until", help="First moment no longer covered.")],
    purpose: Annotated[str, typer.Option("--purpose", help="What it is for; public.")],
    grant_id: Annotated[str, typer.Option("--id", help="Default: a fresh one.")] = "",
    as_json: Json = False,
) -> None:
    """Set capacity aside at zero price. The supplier of the pool, or the operator."""
    identifier = grant_id or values.new_identifier("grant")
    command = RegisterGrant(
        header=BLANK_HEADER,
        grant_id=identifier,
        beneficiary_id=beneficiary,
        supplier_id=supplier,
        pool_id=pool,
        period=Interval(
            start=values.parse_time(start, "--from"), end=values.parse_time(end, "--until")
        ),
        chips=Chips(chips),
        purpose=purpose,
    )
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, grant_id=identifier),
        accepted(f"Granted {identifier}", receipt),
        as_json=as_json,
    )


@app.command("list")
def list_grants(context: typer.Context, as_json: Json = False) -> None:
    """List granted capacity; public."""
    found = call(context, lambda client: client.grants(), as_json=as_json)
    rows = [
        (
            item.grant_id,
            item.beneficiary_id,
            item.supplier_id,
            item.pool_id,
            item.chip_count,
            output.interval_text(item.start_time, item.end_time),
            item.purpose,
        )
        for item in found
    ]
    headers = ("GRANT", "TO", "FROM", "POOL", "CHIPS", "PERIOD", "PURPOSE")
    output.answer(
        {"grants": [output.plain(item) for item in found]},
        output.table(headers, rows),
        as_json=as_json,
    )
