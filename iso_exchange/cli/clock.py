"""``iso clock``: the exchange's time."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.units import UnixSeconds
from iso_exchange.cli import output, values
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import OPERATOR_ID, Json, call
from iso_exchange.client import Client

app: Final = typer.Typer(no_args_is_help=True, help="Clock of the exchange: show, advance.")

MICROSECONDS: Final = 1_000_000


@app.command("show")
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show what time it is at the exchange."""
    time = call(context, lambda client: client.time(), as_json=as_json, default=OPERATOR_ID)
    text = output.time_text(time.now_s)
    output.answer(
        {"time": text, "time_us": time.now_us, "simulated": time.simulated},
        f"{text} ({'simulated' if time.simulated else 'system'} clock)",
        as_json=as_json,
    )


@app.command("advance")
def advance(
    context: typer.Context,
    to: Annotated[str, typer.Option("--to", help="Move to this time.")] = "",
    by: Annotated[str, typer.Option("--by", help="Move by this long, such as 1h.")] = "",
    as_json: Json = False,
) -> None:
    """Move a simulated clock; everything that falls due happens first. Operator."""
    if bool(to) == bool(by):
        raise BadValue("--to", "say where to move the clock: either --to or --by")
    target = values.parse_time(to, "--to") if to else None
    step = values.parse_duration(by, "--by") if by else 0

    async def work(client: Client) -> int:
        goal = target
        if goal is None:
            goal = UnixSeconds((await client.time()).now_s + step)
        return await client.advance_time(goal)

    now_us = call(context, work, as_json=as_json, default=OPERATOR_ID)
    text = output.time_text(now_us // MICROSECONDS)
    output.answer({"time": text, "time_us": now_us}, text, as_json=as_json)
