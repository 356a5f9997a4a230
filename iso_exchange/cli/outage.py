"""``iso outage``: capacity that is down."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.types import Interval
from iso_exchange.cli import output, values
from iso_exchange.cli.session import Json, accepted, receipt_document, send
from iso_exchange.client import BLANK_HEADER
from iso_exchange.commands import ReportOutage

app: Final = typer.Typer(no_args_is_help=True, help="Outages: report.")


@app.callback()
def outages() -> None:
    """Outages: report."""


@app.command("report")
def report(
    context: typer.Context,
    pool: Annotated[str, typer.Option("--pool", help="Pool concerned.")],
    start: Annotated[str, typer.Option("--from", help="First moment.")],
    end: Annotated[str, typer.Option("--to", help="Expected end.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Only these nodes; may be repeated.")
    ] = None,
    outage_id: Annotated[str, typer.Option("--id", help="Default: a fresh one.")] = "",
    as_json: Json = False,
) -> None:
    """Report that a pool, or nodes of it, are down. A supplier there, or the operator."""
    identifier = outage_id or values.new_identifier("outage")
    command = ReportOutage(
        header=BLANK_HEADER,
        outage_id=identifier,
        pool_id=pool,
        interval=Interval(
            start=values.parse_time(start, "--from"), end=values.parse_time(end, "--to")
        ),
        nodes=values.split_names(node or ()),
        reason=reason,
    )
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, outage_id=identifier),
        accepted(f"Reported {identifier}", receipt),
        as_json=as_json,
    )
