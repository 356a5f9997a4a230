"""``iso auction``: auctions, prices and curves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

import typer

from clearing.types import AuctionSpec, PricingRule, Tariff
from clearing.units import MicroUsdPerChipHour, Seconds, UnixSeconds
from iso_exchange.api.v1 import auction_pb2, price_pb2
from iso_exchange.cli import offline, output, released_book, sweep, values
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import (
    OPERATOR_ID,
    Json,
    accepted,
    call,
    identity_directory,
    receipt_document,
    send,
    settings_of,
)
from iso_exchange.client import BLANK_HEADER, Client, Receipt
from iso_exchange.commands import CreateAuction, HaltAuction, ResumeAuction

app: Final = typer.Typer(
    no_args_is_help=True, help="Auctions: create, show, prices, watch; clear and verify files."
)

Auction = Annotated[str, typer.Argument(metavar="AUCTION", help="Identifier.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; public and kept for ever.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Most rows.")]

HOURS_OF_A_DAY: Final = 24
SECONDS_PER_HOUR: Final = 3_600
GATE_BEFORE_DAY_S: Final = 12 * SECONDS_PER_HOUR
DEFAULTS: Final = AuctionSpec(auction_id="", intervals=())


class Product(StrEnum):
    """Calendars."""

    DAY_AHEAD = "day-ahead"
    SPOT = "spot"
    FORWARD = "forward"


class State(StrEnum):
    """States of an auction, for filters."""

    OPEN = "open"
    HALTED = "halted"
    CLOSED = "closed"
    CLEARED = "cleared"
    FAILED = "failed"
    PUBLISHED = "published"
    SETTLED = "settled"


@app.command("create")
def create(
    context: typer.Context,
    auction_id: Annotated[str, typer.Option("--id", help="Default: product and start.")] = "",
    day: Annotated[str, typer.Option("--day", help="24 hours from midnight UTC.")] = "",
    start: Annotated[str, typer.Option("--start", help="First interval, instead of --day.")] = "",
    intervals: Annotated[int, typer.Option("--intervals", min=1, max=10_000)] = HOURS_OF_A_DAY,
    interval_seconds: Annotated[int, typer.Option("--interval-seconds", min=1)] = SECONDS_PER_HOUR,
    close: Annotated[
        str,
        typer.Option("--close", help="Gate closure. Default with --day: 12:00Z the day before."),
    ] = "",
    product: Annotated[
        Product, typer.Option("--product", case_sensitive=False)
    ] = Product.DAY_AHEAD,
    fee: Annotated[str, typer.Option("--fee", help="Operator's fee, USD per chip-hour.")] = "0",
    floor: Annotated[str, typer.Option("--floor", help="Lowest price, USD per chip-hour.")] = "0",
    cap: Annotated[str, typer.Option("--cap", help="Highest price.")] = output.price_text(
        DEFAULTS.price_cap
    ),
    tick: Annotated[str, typer.Option("--tick", help="Prices are multiples of it.")] = "0.001",
    pricing_rule: Annotated[
        PricingRule, typer.Option("--pricing-rule", case_sensitive=False)
    ] = PricingRule.MAKE_WHOLE,
    as_json: Json = False,
) -> None:
    """Create an auction; it opens at once. Asks the exchange to commit to its tie seed."""
    first, gate = _calendar(day, start, close)
    identifier = auction_id or f"{product.value}-{day or output.time_text(first).lower()}"
    identifier = identifier.replace(":", "")
    prices = {
        name: values.parse_price(text, f"--{name}")
        for name, text in (("fee", fee), ("floor", floor), ("cap", cap), ("tick", tick))
    }

    async def work(client: Client) -> Receipt:
        return await client.send(
            CreateAuction(
                header=BLANK_HEADER,
                auction_id=identifier,
                product=product.name,
                close_time=gate,
                first_interval_start=first,
                interval_seconds=Seconds(interval_seconds),
                interval_count=intervals,
                price_floor=prices["floor"],
                price_cap=prices["cap"],
                tick=prices["tick"],
                operator_fee=prices["fee"],
                pricing_rule=pricing_rule,
                tie_credit=MicroUsdPerChipHour(min(DEFAULTS.tie_credit, prices["tick"] - 1)),
                seed_commitment=await client.seed_commitment(identifier),
                tariff=Tariff(),
            )
        )

    receipt = call(context, work, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, auction_id=identifier),
        accepted(f"Created auction {identifier}, open until {output.time_text(gate)}", receipt),
        as_json=as_json,
    )
    output.next_steps(
        f"iso offer step --auction {identifier} --pool POOL --step 256@1.90",
        f"iso auction watch {identifier}",
        as_json=as_json,
    )


@app.command("list")
def list_auctions(
    context: typer.Context,
    product: Annotated[
        Product | None, typer.Option("--product", case_sensitive=False, help="Only this calendar.")
    ] = None,
    state: Annotated[
        State | None, typer.Option("--state", case_sensitive=False, help="Only this state.")
    ] = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List auctions, latest gate closure first."""
    wanted_product = auction_pb2.AUCTION_PRODUCT_UNSPECIFIED
    if product is not None:
        wanted_product = auction_pb2.AuctionProduct.Value(f"AUCTION_PRODUCT_{product.name}")
    wanted_state = auction_pb2.AUCTION_STATE_UNSPECIFIED
    if state is not None:
        wanted_state = auction_pb2.AuctionState.Value(f"AUCTION_STATE_{state.name}")
    found = call(
        context,
        lambda client: client.auctions(product=wanted_product, state=wanted_state, limit=limit),
        as_json=as_json,
        default=OPERATOR_ID,
    )
    rows = [
        (
            auction.spec.auction_id,
            output.named(auction.spec, "product"),
            output.named(auction, "state"),
            output.stamp_text(auction.spec.close_time),
            output.stamp_text(auction.spec.first_interval_start_time),
            f"{auction.spec.interval_count} x {auction.spec.interval_seconds} s",
        )
        for auction in found
    ]
    headers = ("AUCTION", "PRODUCT", "STATE", "GATE CLOSES", "DELIVERY FROM", "INTERVALS")
    output.answer(
        {"auctions": [output.plain(auction) for auction in found]},
        output.table(headers, rows),
        as_json=as_json,
    )


@app.command("show")
def show(context: typer.Context, auction_id: Auction, as_json: Json = False) -> None:
    """Show an auction, its rules and its public result."""
    found = call(
        context, lambda client: client.auction(auction_id), as_json=as_json, default=OPERATOR_ID
    )
    output.answer(output.plain(found), output.pairs(_facts(found)), as_json=as_json)
    output.next_steps(f"iso auction prices {auction_id}", as_json=as_json)


@app.command("halt")
def halt(
    context: typer.Context, auction_id: Auction, reason: Reason, as_json: Json = False
) -> None:
    """Take no orders until it is resumed; the gate does not close meanwhile."""
    command = HaltAuction(header=BLANK_HEADER, auction_id=auction_id, reason=reason)
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, auction_id=auction_id),
        accepted(f"Halted {auction_id}", receipt),
        as_json=as_json,
    )
    output.next_steps(f"iso auction resume {auction_id} --reason ...", as_json=as_json)


@app.command("resume")
def resume(
    context: typer.Context, auction_id: Auction, reason: Reason, as_json: Json = False
) -> None:
    """Take orders again."""
    command = ResumeAuction(header=BLANK_HEADER, auction_id=auction_id, reason=reason)
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, auction_id=auction_id),
        accepted(f"Resumed {auction_id}", receipt),
        as_json=as_json,
    )


@app.command("prices")
def prices(
    context: typer.Context,
    auction_id: Auction,
    pool: Annotated[str, typer.Option("--pool", help="Only this pool.")] = "",
    limit: Limit = 1_000,
    as_json: Json = False,
) -> None:
    """Show clearing prices and volumes, US dollars per chip-hour."""
    found = call(
        context,
        lambda client: client.prices(auction_id, pool_id=pool, limit=limit),
        as_json=as_json,
        default=OPERATOR_ID,
    )
    headers = ("FROM", "POOL", "ENERGY", "FIRM", "INTERRUPTIBLE", "SURCHARGE", "CHIPS", "USED %")
    backups = [
        (
            output.stamp_text(price.start_time),
            price.pool_id,
            backup.site_id,
            output.price_text(backup.price_micro_usd_per_chip_hour),
            price.site_spare_chip_count,
        )
        for price in found
        for backup in price.backups
    ]
    blocks = [output.table(headers, [_price_row(price) for price in found])]
    if backups:
        covers = ("FROM", "BACKUP POOL", "LOST SITE", "BACKUP PRICE", "HELD")
        blocks.append(output.table(covers, backups))
    output.answer({"prices": [output.plain(price) for price in found]}, *blocks, as_json=as_json)


@app.command("curves")
def curves(context: typer.Context, auction_id: Auction, as_json: Json = False) -> None:
    """Show anonymised supply and demand of a published auction."""
    found = call(
        context, lambda client: client.curves(auction_id), as_json=as_json, default=OPERATOR_ID
    )
    rows = [
        (
            output.stamp_text(curve.start_time),
            side,
            step.chip_count,
            output.price_text(step.price_micro_usd_per_chip_hour),
        )
        for curve in found
        for side, steps in (("supply", curve.supply_steps), ("demand", curve.demand_steps))
        for step in steps
    ]
    output.answer(
        {"curves": [output.plain(curve) for curve in found]},
        output.table(("FROM", "SIDE", "CHIPS", "PRICE"), rows),
        as_json=as_json,
    )


@app.command("watch")
def watch(
    context: typer.Context,
    auction_id: Annotated[
        str, typer.Argument(metavar="[AUCTION]", help="Default: every auction.")
    ] = "",
    cursor: Annotated[int, typer.Option("--cursor", min=-1, help="-1: from now on.")] = 0,
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many.")] = 0,
    as_json: Json = False,
) -> None:
    """Follow state changes, one line each; with --json one JSON document a line."""
    directory = identity_directory(settings_of(context), default=OPERATOR_ID)

    async def follow() -> None:
        reported = 0
        async with Client.from_directory(directory) as client:
            async for update in client.watch_auctions(cursor, auction_id=auction_id):
                state = output.named(update.auction, "state")
                name = update.auction.spec.auction_id
                if as_json:
                    output.line(
                        {
                            "auction_id": name,
                            "state": state,
                            "state_time": output.stamp_text(update.auction.state_time),
                            "entry_index": update.entry_index,
                            "cursor": update.cursor,
                        }
                    )
                else:
                    print(f"{output.stamp_text(update.auction.state_time)} {name} {state}")
                reported += 1
                if reported == count:
                    return

    asyncio.run(follow())


app.command("clear")(offline.clear)
app.command("book")(released_book.book)
app.command("verify")(offline.verify)
app.command("sweep")(sweep.sweep)


def _calendar(day: str, start: str, close: str) -> tuple[UnixSeconds, UnixSeconds]:
    if bool(day) == bool(start):
        raise BadValue("--day", "say when delivery begins: either --day or --start")
    if start and not close:
        raise BadValue("--close", "say when the gate closes")
    first = values.parse_day(day, "--day") if day else values.parse_time(start, "--start")
    if close:
        return first, values.parse_time(close, "--close")
    return first, UnixSeconds(first - GATE_BEFORE_DAY_S)


def _facts(auction: auction_pb2.Auction) -> Sequence[tuple[str, object]]:
    spec = auction.spec
    facts: list[tuple[str, object]] = [
        ("Auction", spec.auction_id),
        ("State", output.named(auction, "state")),
        ("Reason", auction.reason),
        ("Product", output.named(spec, "product")),
        ("Gate closes", output.stamp_text(spec.close_time)),
        ("Delivery from", output.stamp_text(spec.first_interval_start_time)),
        ("Intervals", f"{spec.interval_count} x {spec.interval_seconds} s"),
        ("Floor", output.price_text(spec.price_floor_micro_usd_per_chip_hour)),
        ("Cap", output.price_text(spec.price_cap_micro_usd_per_chip_hour)),
        ("Tick", output.price_text(spec.tick_micro_usd_per_chip_hour)),
        ("Operator's fee", output.price_text(spec.operator_fee_micro_usd_per_chip_hour)),
        ("Pricing rule", output.named(spec, "pricing_rule")),
        ("Seed commitment", spec.seed_commitment.hex()),
    ]
    if auction.HasField("result"):
        result, totals = auction.result, auction.result.totals
        facts += [
            ("Orders", result.order_count),
            ("Certified gap", f"{result.certified_gap_ppb} ppb"),
            ("Buyers pay", output.money_text(totals.buyers_micro_usd)),
            ("Suppliers earn", output.money_text(totals.suppliers_micro_usd)),
            ("Communities earn", output.money_text(totals.community_micro_usd)),
            ("Operator's fee", output.money_text(totals.operator_fee_micro_usd)),
            ("Seed", result.seed.hex()),
            ("Engine", result.engine),
        ]
    return [(name, value) for name, value in facts if value != ""]


def _price_row(price: price_pb2.Price) -> tuple[object, ...]:
    chips = price.firm_chip_count + price.interruptible_chip_count + price.base_load_chip_count
    energy = output.price_text(price.energy_micro_usd_per_chip_hour)
    if price.indicative:
        low = output.price_text(price.low_micro_usd_per_chip_hour)
        high = output.price_text(price.high_micro_usd_per_chip_hour)
        energy = f"{low}..{high}"
    return (
        output.stamp_text(price.start_time),
        price.pool_id,
        energy,
        output.price_text(price.firm_micro_usd_per_chip_hour),
        output.price_text(price.interruptible_micro_usd_per_chip_hour),
        output.price_text(price.surcharge_micro_usd_per_chip_hour),
        chips,
        f"{price.utilization_ppm // 10_000}.{price.utilization_ppm % 10_000 // 1_000}",
    )
