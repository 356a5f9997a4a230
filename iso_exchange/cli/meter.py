"""``iso meter``: the meters of pools."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from iso_exchange.cli import output
from iso_exchange.cli.participant import make_identity
from iso_exchange.cli.session import OPERATOR_ID, Json, accepted, receipt_document, send
from iso_exchange.client import BLANK_HEADER
from iso_exchange.commands import RegisterMeter

app: Final = typer.Typer(no_args_is_help=True, help="Meters: register.")


@app.callback()
def meters() -> None:
    """Meters: register."""


@app.command("register")
def register(
    context: typer.Context,
    meter_id: Annotated[str, typer.Argument(metavar="METER", help="Identifier.")],
    pool: Annotated[str, typer.Option("--pool", help="Pool that it reads; one meter a pool.")],
    as_json: Json = False,
) -> None:
    """Register the meter of a pool, with its own certificate and key.

    Needs the data directory of the exchange. The operator signs; run again after a failure.
    """
    directory, public_key = make_identity(context, meter_id)
    command = RegisterMeter(
        header=BLANK_HEADER, meter_id=meter_id, pool_id=pool, public_key=public_key
    )
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, meter_id=meter_id, pool_id=pool, identity=str(directory)),
        accepted(f"Registered meter {meter_id} of {pool}", receipt),
        f"Identity: {directory}",
        as_json=as_json,
    )
    output.next_steps(f"iso --as {meter_id} readings submit FILE", as_json=as_json)
