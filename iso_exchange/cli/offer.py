"""``iso offer``: supply."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from iso_exchange.cli import values
from iso_exchange.cli.session import Json, Yes
from iso_exchange.cli.submission import Manner, auction_period, new_order, submit
from iso_exchange.commands import OfferTerms, TimedSegment

app: Final = typer.Typer(no_args_is_help=True, help="Offers of supply.")


@app.callback()
def offers() -> None:
    """Offers of supply."""


@app.command("step")
def step(
    context: typer.Context,
    pool: Annotated[str, typer.Option("--pool", help="Registered pool of this supplier.")],
    auction: Annotated[str, typer.Option("--auction", help="Open auction.")],
    steps: Annotated[
        list[str],
        typer.Option("--step", metavar="CHIPS@PRICE", help="At least this price; may be repeated."),
    ],
    start: Annotated[str, typer.Option("--from", help="Default: start of the auction.")] = "",
    end: Annotated[str, typer.Option("--to", help="Default: end of the auction.")] = "",
    order_id: Annotated[str, typer.Option("--id", help="Default: a fresh one.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Quote only.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Offer chips of a pool at a rising price curve, the same in each interval."""
    curve = values.parse_steps(steps, "--step", descending=False)
    first = values.parse_time(start, "--from") if start else None
    last = values.parse_time(end, "--to") if end else None
    if first is None or last is None:
        period = auction_period(context, auction, as_json=as_json)
        first, last = first or period[0], last or period[1]
    terms = OfferTerms(pool_id=pool, segments=(TimedSegment(start=first, end=last, steps=curve),))
    command = new_order(
        context,
        order_id=order_id or values.new_identifier("offer"),
        auction_id=auction,
        terms=terms,
    )
    submit(context, command, Manner(dry_run=dry_run, yes=yes, as_json=as_json))
