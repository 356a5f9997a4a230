"""``iso offer``: supply."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.types import Commitment
from iso_exchange.cli import values
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import Json, Yes
from iso_exchange.cli.submission import Manner, auction_period, new_order, submit
from iso_exchange.commands import OfferTerms, TimedSegment

app: Final = typer.Typer(no_args_is_help=True, help="Offers of supply: step, block.")

INTERVAL_COUNT_MAX: Final = 10_000

Pool = Annotated[str, typer.Option("--pool", help="Registered pool of this supplier.")]
Auction = Annotated[str, typer.Option("--auction", help="Open auction.")]
Steps = Annotated[
    list[str],
    typer.Option("--step", metavar="CHIPS@PRICE", help="At least this price; may be repeated."),
]
StartUp = Annotated[str, typer.Option("--start-up", help="Cost of each start, USD.")]
NoLoad = Annotated[str, typer.Option("--no-load", help="Cost of each interval while on, USD.")]
OrderId = Annotated[str, typer.Option("--id", help="Default: a fresh one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Quote only.")]


@app.command("step")
def step(
    context: typer.Context,
    pool: Pool,
    auction: Auction,
    steps: Steps,
    start: Annotated[str, typer.Option("--from", help="Default: start of the auction.")] = "",
    end: Annotated[str, typer.Option("--to", help="Default: end of the auction.")] = "",
    start_up: StartUp = "0",
    no_load: NoLoad = "0",
    min_run: Annotated[
        str, typer.Option("--min-run", help="Shortest run once started, intervals.")
    ] = "1",
    min_chips: Annotated[
        str, typer.Option("--min-chips", help="Least chips sold in an interval while on.")
    ] = "0",
    recallable: Annotated[
        bool, typer.Option("--recallable", help="Released base load: for interruptibles only.")
    ] = False,
    order_id: OrderId = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Offer chips of a pool at a rising price curve, the same in each interval.

    With costs of starting or running, or with a shortest run or least quantity, it is on or
    off in each interval and sells nothing while it is off.
    """
    commitment = Commitment(
        start_up=values.parse_amount(start_up, "--start-up"),
        no_load=values.parse_amount(no_load, "--no-load"),
        min_run_intervals=values.parse_count(min_run, "--min-run", most=INTERVAL_COUNT_MAX),
        min_chips=values.parse_chips(min_chips, "--min-chips", least=0),
    )
    curve = values.parse_steps(steps, "--step", descending=False)
    first = values.parse_time(start, "--from") if start else None
    last = values.parse_time(end, "--to") if end else None
    if first is None or last is None:
        period = auction_period(context, auction, as_json=as_json)
        first, last = first or period[0], last or period[1]
    terms = OfferTerms(
        pool_id=pool,
        segments=(TimedSegment(start=first, end=last, steps=curve),),
        recallable=recallable,
        commitment=None if commitment == Commitment() else commitment,
    )
    _offer(context, auction, order_id, terms, Manner(dry_run=dry_run, yes=yes, as_json=as_json))


@app.command("block")
def block(
    context: typer.Context,
    pool: Pool,
    auction: Auction,
    steps: Steps,
    windows: Annotated[
        list[str] | None,
        typer.Option(
            "--window",
            metavar="A..B",
            help="From..to; may be repeated. Default: the whole auction.",
        ),
    ] = None,
    start_up: StartUp = "0",
    no_load: NoLoad = "0",
    order_id: OrderId = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Offer chips that are sold in full in every interval of the windows, or not at all."""
    curve = values.parse_steps(steps, "--step", descending=False)
    spans = [values.parse_window(text, "--window") for text in windows or ()]
    if not spans:
        spans = [auction_period(context, auction, as_json=as_json)]
    if len(set(spans)) != len(spans):
        raise BadValue("--window", "give each window once", got=" ".join(windows or ()))
    terms = OfferTerms(
        pool_id=pool,
        segments=tuple(
            TimedSegment(start=first, end=last, steps=curve) for first, last in sorted(spans)
        ),
        commitment=Commitment(
            start_up=values.parse_amount(start_up, "--start-up"),
            no_load=values.parse_amount(no_load, "--no-load"),
            whole=True,
        ),
    )
    _offer(context, auction, order_id, terms, Manner(dry_run=dry_run, yes=yes, as_json=as_json))


def _offer(
    context: typer.Context, auction: str, order_id: str, terms: OfferTerms, manner: Manner
) -> None:
    command = new_order(
        context,
        order_id=order_id or values.new_identifier("offer"),
        auction_id=auction,
        terms=terms,
    )
    submit(context, command, manner)
