"""``iso bid``: demand of every kind."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.units import Chips, ChipSeconds, Seconds, UnixSeconds
from iso_exchange.cli import values
from iso_exchange.cli.conditions import with_conditions
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import Json, Yes
from iso_exchange.cli.submission import Manner, auction_period, new_order, submit
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    StepBidTerms,
    TimedSegment,
    WorkBidTerms,
)

app: Final = typer.Typer(no_args_is_help=True, help="Bids: step, gang, work.")

WORK_CHIP_HOURS_MAX: Final = 10**9
SECONDS_PER_HOUR: Final = 3_600

Auction = Annotated[str, typer.Option("--auction", help="Open auction.")]
Limit = Annotated[
    str, typer.Option("--limit", help="All-in limit, USD per chip-hour, surcharge included.")
]
Window = Annotated[
    str, typer.Option("--window", metavar="A..B", help="From..to, RFC 3339 with zone.")
]
OrderId = Annotated[str, typer.Option("--id", help="Default: a fresh one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Quote only.")]


@app.command("step")
@with_conditions
def step(
    *,
    context: typer.Context,
    auction: Auction,
    steps: Annotated[
        list[str],
        typer.Option(
            "--step", metavar="CHIPS@PRICE", help="At most this all-in price; may be repeated."
        ),
    ],
    conditions: BidConditions,
    start: Annotated[str, typer.Option("--from", help="Default: start of the auction.")] = "",
    end: Annotated[str, typer.Option("--to", help="Default: end of the auction.")] = "",
    order_id: OrderId = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Bid for divisible chips per interval, from any mix of eligible pools."""
    curve = values.parse_steps(steps, "--step", descending=True)
    first = values.parse_time(start, "--from") if start else None
    last = values.parse_time(end, "--to") if end else None
    if first is None or last is None:
        period = auction_period(context, auction, as_json=as_json)
        first, last = first or period[0], last or period[1]
    segment = TimedSegment(start=first, end=last, steps=curve)
    command = new_order(
        context,
        order_id=order_id or values.new_identifier("bid"),
        auction_id=auction,
        terms=StepBidTerms(conditions=conditions, segments=(segment,)),
    )
    submit(context, command, Manner(dry_run=dry_run, yes=yes, as_json=as_json))


@app.command("gang")
@with_conditions
def gang(
    *,
    context: typer.Context,
    auction: Auction,
    limit: Limit,
    window: Window,
    conditions: BidConditions,
    chips: Annotated[
        str, typer.Option("--chips", help="All in one pool, whole nodes; or give a profile.")
    ] = "",
    profile: Annotated[
        str,
        typer.Option(
            "--profile", metavar="CHIPS,CHIPS,...", help="Chips of each interval of the run."
        ),
    ] = "",
    duration: Annotated[
        str, typer.Option("--for", help="Length, such as 8h. Default: the whole window.")
    ] = "",
    min_fill: Annotated[
        str, typer.Option("--min-fill", help="Least share, such as 0.5 or 50%. Default: all.")
    ] = "100%",
    group: Annotated[
        str, typer.Option("--group", help="At most one of your bids with this name is accepted.")
    ] = "",
    parent: Annotated[
        str, typer.Option("--parent", help="Accepted only if this order of yours is.")
    ] = "",
    initial_pool: Annotated[
        str, typer.Option("--initial-pool", help="Where it runs now under contracts of yours.")
    ] = "",
    restart_cost: Annotated[
        str, typer.Option("--restart-cost", help="Cost of moving it, USD per chip.")
    ] = "0",
    order_id: OrderId = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Bid for one uninterrupted block of chips in one pool, anywhere inside a window."""
    earliest, latest, length = _block(window, duration)
    quantity, shape = _quantity(chips, profile)
    moving = values.parse_amount(restart_cost, "--restart-cost")
    if moving and not initial_pool:
        raise BadValue("--initial-pool", "say where it runs now, or leave the restart cost out")
    terms = BlockBidTerms(
        conditions=conditions,
        earliest_start=earliest,
        latest_start=latest,
        duration_s=length,
        chips=quantity,
        profile=shape,
        limit_price=values.parse_price(limit, "--limit"),
        min_fill_ppm=values.parse_share(min_fill, "--min-fill"),
        exclusive_group=group,
        parent_order_id=parent,
        initial_pool_id=initial_pool,
        restart_cost=moving,
    )
    command = new_order(
        context,
        order_id=order_id or values.new_identifier("bid"),
        auction_id=auction,
        terms=terms,
    )
    submit(context, command, Manner(dry_run=dry_run, yes=yes, as_json=as_json))


@app.command("work")
@with_conditions
def work(
    *,
    context: typer.Context,
    auction: Auction,
    chip_hours: Annotated[str, typer.Option("--chip-hours", help="Work wanted in all.")],
    max_chips: Annotated[str, typer.Option("--max-chips", help="Most at a time.")],
    limit: Limit,
    window: Window,
    conditions: BidConditions,
    order_id: OrderId = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Bid for an amount of work by a deadline, in any intervals and eligible pools."""
    start, deadline = values.parse_window(window, "--window")
    hours = values.parse_count(chip_hours, "--chip-hours", most=WORK_CHIP_HOURS_MAX)
    terms = WorkBidTerms(
        conditions=conditions,
        start=start,
        deadline=deadline,
        work=ChipSeconds(hours * SECONDS_PER_HOUR),
        max_chips=values.parse_chips(max_chips, "--max-chips"),
        limit_price=values.parse_price(limit, "--limit"),
    )
    command = new_order(
        context,
        order_id=order_id or values.new_identifier("bid"),
        auction_id=auction,
        terms=terms,
    )
    submit(context, command, Manner(dry_run=dry_run, yes=yes, as_json=as_json))


def _quantity(chips: str, profile: str) -> tuple[Chips, tuple[Chips, ...]]:
    """Largest quantity of a block and its profile; empty where it is the same throughout."""
    if bool(chips) == bool(profile):
        raise BadValue("--chips", "say how many chips: either --chips or --profile")
    if chips:
        return values.parse_chips(chips, "--chips"), ()
    shape = values.parse_profile(profile, "--profile")
    if not max(shape):
        raise BadValue("--profile", "some interval needs a chip", got=profile)
    return max(shape), shape


def _block(window: str, duration: str) -> tuple[UnixSeconds, UnixSeconds, Seconds]:
    """Earliest start, latest start and length of a block inside a window."""
    start, end = values.parse_window(window, "--window")
    length = values.parse_duration(duration, "--for") if duration else Seconds(end - start)
    if length > end - start:
        raise BadValue("--for", "the block must fit into its window", got=duration)
    return start, UnixSeconds(end - length), length
