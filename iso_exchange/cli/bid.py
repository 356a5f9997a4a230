"""``iso bid``: demand of every kind."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.types import Cover, Eligibility, ServiceClass
from clearing.units import PPM, ChipSeconds, Ppm, Seconds, UnixSeconds
from iso_exchange.cli import values
from iso_exchange.cli.chips import installed_chip_table
from iso_exchange.cli.pool import FABRICS
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import Json, Yes
from iso_exchange.cli.site import CERTIFICATIONS, LEGAL_REGIMES
from iso_exchange.cli.submission import Manner, auction_period, new_order, submit
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    StepBidTerms,
    TimedSegment,
    WorkBidTerms,
)

app: Final = typer.Typer(no_args_is_help=True, help="Bids: step, gang, work.")

CLOUD_ACT: Final = "US_CLOUD_ACT"
WORK_CHIP_HOURS_MAX: Final = 10**9
SECONDS_PER_HOUR: Final = 3_600

AuctionOption = Annotated[str, typer.Option("--auction", help="Open auction.")]
Class = Annotated[
    list[str] | None,
    typer.Option("--class", help="Chip classes, or parts of them: h100-sxm|h200-sxm."),
]
Pool = Annotated[list[str] | None, typer.Option("--pool", help="Only these pools.")]
Region = Annotated[list[str] | None, typer.Option("--region", help="Only these regions.")]
Country = Annotated[list[str] | None, typer.Option("--country", help="Only these countries.")]
Residency = Annotated[
    list[str] | None, typer.Option("--residency", help="Data must stay in each of these.")
]
NoCloudAct = Annotated[
    bool, typer.Option("--no-cloud-act", help="Not where the US CLOUD Act reaches.")
]
WithoutLaw = Annotated[
    list[str] | None,
    typer.Option("--without-law", help=f"Not where these reach: {', '.join(LEGAL_REGIMES)}."),
]
Certification = Annotated[
    list[str] | None,
    typer.Option("--certification", help=f"Each of: {', '.join(CERTIFICATIONS)}."),
]
Fabric = Annotated[
    list[str] | None, typer.Option("--fabric", help=f"One of: {', '.join(FABRICS)}.")
]
Firm = Annotated[
    bool | None,
    typer.Option("--firm/--interruptible", help="Not reclaimable, or reclaimable after notice."),
]
Notice = Annotated[
    str, typer.Option("--notice", help="Notice an interruptible needs, such as 5m.")
]
CoverOption = Annotated[
    Cover | None,
    typer.Option("--cover", case_sensitive=False, help="Of firm bids. Default: NODE."),
]
Limit = Annotated[
    str, typer.Option("--limit", help="All-in limit, USD per chip-hour, surcharge included.")
]
Window = Annotated[
    str, typer.Option("--window", metavar="A..B", help="From..to, RFC 3339 with zone.")
]
OrderId = Annotated[str, typer.Option("--id", help="Default: a fresh one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Quote only.")]


@app.command("step")
def step(
    context: typer.Context,
    auction: AuctionOption,
    steps: Annotated[
        list[str],
        typer.Option(
            "--step", metavar="CHIPS@PRICE", help="At most this all-in price; may be repeated."
        ),
    ],
    start: Annotated[str, typer.Option("--from", help="Default: start of the auction.")] = "",
    end: Annotated[str, typer.Option("--to", help="Default: end of the auction.")] = "",
    chip_class: Class = None,
    pool: Pool = None,
    region: Region = None,
    country: Country = None,
    residency: Residency = None,
    no_cloud_act: NoCloudAct = False,
    without_law: WithoutLaw = None,
    certification: Certification = None,
    fabric: Fabric = None,
    firm: Firm = None,
    notice: Notice = "",
    cover: CoverOption = None,
    order_id: OrderId = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Bid for divisible chips per interval, from any mix of eligible pools."""
    curve = values.parse_steps(steps, "--step", descending=True)
    conditions = _conditions(
        _eligibility(
            chip_class, pool, region, country, residency, no_cloud_act, without_law,
            certification, fabric,
        ),
        firm is not False,
        notice,
        cover,
    )
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
def gang(
    context: typer.Context,
    auction: AuctionOption,
    chips: Annotated[str, typer.Option("--chips", help="All in one pool, whole nodes.")],
    limit: Limit,
    window: Window,
    duration: Annotated[
        str, typer.Option("--for", help="Length, such as 8h. Default: the whole window.")
    ] = "",
    min_fill: Annotated[
        str, typer.Option("--min-fill", help="Least share, such as 0.5 or 50%.")
    ] = "1",
    group: Annotated[
        str, typer.Option("--group", help="At most one of your bids with this name is accepted.")
    ] = "",
    parent: Annotated[
        str, typer.Option("--parent", help="Accepted only if this order is.")
    ] = "",
    chip_class: Class = None,
    pool: Pool = None,
    region: Region = None,
    country: Country = None,
    residency: Residency = None,
    no_cloud_act: NoCloudAct = False,
    without_law: WithoutLaw = None,
    certification: Certification = None,
    fabric: Fabric = None,
    firm: Firm = None,
    notice: Notice = "",
    cover: CoverOption = None,
    order_id: OrderId = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Bid for one uninterrupted block of chips in one pool, anywhere inside a window."""
    earliest, latest, length = _block(window, duration)
    conditions = _conditions(
        _eligibility(
            chip_class, pool, region, country, residency, no_cloud_act, without_law,
            certification, fabric,
        ),
        firm is not False,
        notice,
        cover,
    )
    terms = BlockBidTerms(
        conditions=conditions,
        earliest_start=earliest,
        latest_start=latest,
        duration_s=length,
        chips=values.parse_chips(chips, "--chips"),
        limit_price=values.parse_price(limit, "--limit"),
        min_fill_ppm=Ppm(PPM) if min_fill == "1" else values.parse_share(min_fill, "--min-fill"),
        exclusive_group=group,
        parent_order_id=parent,
    )
    command = new_order(
        context,
        order_id=order_id or values.new_identifier("bid"),
        auction_id=auction,
        terms=terms,
    )
    submit(context, command, Manner(dry_run=dry_run, yes=yes, as_json=as_json))
