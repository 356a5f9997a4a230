"""``iso spot``: spot markets, their runs, prices, positions and notices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import typer

from clearing.types import AuctionSpec, PricingRule, Tariff
from clearing.units import MicroUsdPerChipHour, Seconds
from iso_exchange.api.v1 import allocation_pb2, auction_pb2, spot_pb2
from iso_exchange.cli import output, values
from iso_exchange.cli.session import (
    OPERATOR_ID,
    Json,
    accepted,
    call,
    receipt_document,
    send,
)
from iso_exchange.client import BLANK_HEADER, Client, Receipt
from iso_exchange.commands import (
    ChipSegment,
    CloseSpotMarket,
    HaltSpotMarket,
    OpenSpotMarket,
    ResumeSpotMarket,
    ReturnHours,
)
from iso_exchange.sequencer.allocation_demand import Idle

app: Final = typer.Typer(
    no_args_is_help=True, help="Spot markets: open, runs, prices, positions, notices."
)

Market = Annotated[str, typer.Argument(metavar="MARKET", help="Identifier.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; public and kept for ever.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Most rows.")]
Since = Annotated[str, typer.Option("--from", help="Not before this time.")]
Until = Annotated[str, typer.Option("--to", help="Before this time.")]

DEFAULTS: Final = AuctionSpec(auction_id="", intervals=())
TEN_YEARS_OF_RUNS: Final = 1_051_200


@app.command("open")
def open_market(
    context: typer.Context,
    market: Market,
    start: Annotated[str, typer.Option("--start", help="First interval of the first run.")],
    look_ahead: Annotated[int, typer.Option("--look-ahead", min=1, help="Intervals.")] = 12,
    interval_seconds: Annotated[int, typer.Option("--interval-seconds", min=300)] = 300,
    gate_lead: Annotated[
        int, typer.Option("--gate-lead", min=1, help="Seconds from the gate to the interval.")
    ] = 2,
    fee: Annotated[str, typer.Option("--fee", help="Operator's fee, USD per chip-hour.")] = "0",
    floor: Annotated[str, typer.Option("--floor", help="Lowest price, USD per chip-hour.")] = "0",
    cap: Annotated[str, typer.Option("--cap", help="Highest price.")] = output.price_text(
        DEFAULTS.price_cap
    ),
    tick: Annotated[str, typer.Option("--tick", help="Prices are multiples of it.")] = "0.001",
    ready_within: Annotated[
        int,
        typer.Option(
            "--ready-within",
            min=0,
            help="Seconds for suppliers to hand nodes over; 0: they are not instructed.",
        ),
    ] = 120,
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="Most runs: seeds in the chain.")
    ] = TEN_YEARS_OF_RUNS,
    as_json: Json = False,
) -> None:
    """Open a spot market; it takes orders at once. Asks the exchange for its seed anchor."""
    first = values.parse_time(start, "--start")
    prices = {
        name: values.parse_price(text, f"--{name}")
        for name, text in (("fee", fee), ("floor", floor), ("cap", cap), ("tick", tick))
    }

    async def work(client: Client) -> Receipt:
        return await client.send(
            OpenSpotMarket(
                header=BLANK_HEADER,
                market_id=market,
                first_start=first,
                interval_seconds=Seconds(interval_seconds),
                look_ahead=look_ahead,
                gate_lead_s=Seconds(gate_lead),
                price_floor=prices["floor"],
                price_cap=prices["cap"],
                tick=prices["tick"],
                operator_fee=prices["fee"],
                pricing_rule=PricingRule.MAKE_WHOLE,
                tie_credit=MicroUsdPerChipHour(0),
                seed_anchor=(await client.seed_anchor(market, runs)).hex(),
                chain_length=runs,
                tariff=Tariff(),
                ready_within_s=Seconds(ready_within),
            )
        )

    receipt = call(context, work, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, market_id=market),
        accepted(f"Opened spot market {market}", receipt),
        as_json=as_json,
    )
    output.next_steps(
        f"iso offer step --auction {market} --help",
        f"iso spot runs {market}",
        as_json=as_json,
    )


@app.command("halt")
def halt(context: typer.Context, market: Market, reason: Reason, as_json: Json = False) -> None:
    """Stop orders and runs; what is bound is delivered."""
    command = HaltSpotMarket(header=BLANK_HEADER, market_id=market, reason=reason)
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    _accepted(receipt, market, "Halted", as_json=as_json)


@app.command("resume")
def resume(context: typer.Context, market: Market, reason: Reason, as_json: Json = False) -> None:
    """Take up orders and runs again."""
    command = ResumeSpotMarket(header=BLANK_HEADER, market_id=market, reason=reason)
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    _accepted(receipt, market, "Resumed", as_json=as_json)


@app.command("close")
def close(context: typer.Context, market: Market, reason: Reason, as_json: Json = False) -> None:
    """End a market: open orders are released, what is bound is delivered."""
    command = CloseSpotMarket(header=BLANK_HEADER, market_id=market, reason=reason)
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    _accepted(receipt, market, "Closed", as_json=as_json)


@app.command("list")
def list_markets(context: typer.Context, as_json: Json = False) -> None:
    """List spot markets."""
    found = call(context, lambda client: client.spot_markets(), as_json=as_json)
    rows = [
        (
            item.spec.market_id,
            output.enum_text(spot_pb2.SpotMarketState.DESCRIPTOR, item.state),
            output.stamp_text(item.last_start_time) if item.HasField("last_start_time") else "",
            output.stamp_text(item.next_start_time) if item.HasField("next_start_time") else "",
            f"{item.published_run_count:,}",
        )
        for item in found
    ]
    output.answer(
        {"markets": [output.plain(item) for item in found]},
        output.table(("MARKET", "STATE", "LAST RUN", "NEXT RUN", "RUNS"), rows),
        as_json=as_json,
    )


@app.command("runs")
def list_runs(
    context: typer.Context,
    market: Market,
    start: Since = "",
    end: Until = "",
    limit: Limit = 24,
    as_json: Json = False,
) -> None:
    """List runs, latest first."""
    first = values.parse_time(start, "--from") if start else None
    last = values.parse_time(end, "--to") if end else None
    found = call(
        context,
        lambda client: client.runs(market, start=first, end=last, limit=limit),
        as_json=as_json,
    )
    rows = [
        (
            item.run_id,
            output.stamp_text(item.start_time),
            output.enum_text(auction_pb2.AuctionState.DESCRIPTOR, item.state),
            f"{item.order_count:,}",
            f"{item.certified_gap_ppb:,}",
            "renewed" if item.renewed else "",
        )
        for item in found
    ]
    output.answer(
        {"runs": [output.plain(item) for item in found]},
        output.table(("RUN", "START", "STATE", "ORDERS", "GAP PPB", ""), rows),
        as_json=as_json,
    )


@app.command("price")
def price(
    context: typer.Context,
    market: Market,
    pool: Annotated[str, typer.Option("--pool", help="Only this pool.")] = "",
    start: Since = "",
    end: Until = "",
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List what published runs bound the prices of: their first intervals."""
    first = values.parse_time(start, "--from") if start else None
    last = values.parse_time(end, "--to") if end else None
    found = call(
        context,
        lambda client: client.run_prices(market, pool_id=pool, start=first, end=last, limit=limit),
        as_json=as_json,
    )
    rows = [
        (
            output.interval_text(item.start_time, item.end_time),
            item.pool_id,
            output.price_text(item.firm_uncovered_micro_usd_per_chip_hour),
            output.price_text(item.interruptible_micro_usd_per_chip_hour),
            f"{item.firm_chip_count:,}",
            f"{item.interruptible_chip_count:,}",
        )
        for item in found
    ]
    output.answer(
        {"prices": [output.plain(item) for item in found]},
        output.table(
            ("INTERVAL", "POOL", "FIRM", "INTERRUPTIBLE", "FIRM CHIPS", "INTERRUPTIBLE CHIPS"),
            rows,
        ),
        as_json=as_json,
    )


@app.command("allocation")
def allocation(
    context: typer.Context,
    market: Market,
    start: Since = "",
    end: Until = "",
    pools: Annotated[bool, typer.Option("--pools", help="Also by pool.")] = False,
    limit: Limit = 24,
    as_json: Json = False,
) -> None:
    """Show how much of the capacity in service carried work, and what held the rest idle."""
    first = values.parse_time(start, "--from") if start else None
    last = values.parse_time(end, "--to") if end else None
    found = call(
        context,
        lambda client: client.allocations(
            market, start=first, end=last, with_pools=pools, limit=limit
        ),
        as_json=as_json,
    )
    rows = []
    for item in found:
        level = output.enum_text(allocation_pb2.AllocationLevel.DESCRIPTOR, item.level)
        metered = _percent(item.delivered_chip_seconds, item.in_service_chip_seconds)
        rows.append(
            (
                output.interval_text(item.start_time, item.end_time),
                level if item.hourly else f"{level} (alarm)",
                _percent(item.awarded_chip_seconds, item.in_service_chip_seconds),
                metered if item.hourly else "",
                _held(item.idle, item.capacity_chip_seconds),
            )
        )
        rows.extend(
            ("", pool.pool_id, *_pool_shares(pool), _held(pool.idle, pool.capacity_chip_seconds))
            for pool in item.pools
        )
    output.answer(
        {"allocations": [output.plain(item) for item in found]},
        output.table(("INTERVAL", "LEVEL", "AWARDED", "METERED", "IDLE, OF CAPACITY"), rows),
        as_json=as_json,
    )


def _pool_shares(pool: allocation_pb2.PoolAllocation) -> tuple[str, str]:
    missing = sum(
        share.idle_chip_seconds
        for share in pool.idle
        if share.reason in {Idle.OUTAGE.value, Idle.NOT_OFFERED.value}
    )
    service = pool.capacity_chip_seconds - missing
    metered = pool.delivered_chip_seconds
    return _percent(pool.awarded_chip_seconds, service), _percent(metered, service)


def _percent(part: int, whole: int) -> str:
    """Two digits, rounded down; nothing where there is nothing in service."""
    if not whole:
        return ""
    share = part * 10_000 // whole
    return f"{share // 100}.{share % 100:02} %"


def _held(idle: Iterable[allocation_pb2.IdleShare], capacity: int) -> str:
    shares = sorted(idle, key=lambda share: -share.idle_chip_seconds)
    return ", ".join(
        f"{share.reason} {_percent(share.idle_chip_seconds, capacity)}" for share in shares
    )


@app.command("orders")
def orders(context: typer.Context, market: Market, as_json: Json = False) -> None:
    """Show own standing work: what is bound, and what has a notice."""

    async def work(
        client: Client,
    ) -> tuple[tuple[spot_pb2.SpotPosition, ...], tuple[spot_pb2.SpotNotice, ...]]:
        return await client.positions(market), await client.notices(market)

    positions, notices = call(context, work, as_json=as_json)
    stops = {(item.order_id, item.pool_id): item for item in notices}
    rows = []
    for item in positions:
        stop = stops.get((item.order_id, item.pool_id))
        at = "" if stop is None else output.stamp_text(stop.deadline_time)
        rows.append(
            (
                item.order_id,
                item.pool_id,
                output.interval_text(item.start_time, item.end_time),
                f"{item.chip_count:,}",
                at,
                "" if stop is None else stop.reason,
            )
        )
    output.answer(
        {
            "positions": [output.plain(item) for item in positions],
            "notices": [output.plain(item) for item in notices],
        },
        output.table(("ORDER", "POOL", "BOUND", "CHIPS", "STOPS", "REASON"), rows),
        as_json=as_json,
    )


@app.command("return")
def return_hours(
    context: typer.Context,
    market: Market,
    contract: Annotated[str, typer.Option("--contract", help="Own contract; see iso contract.")],
    chips: Annotated[str, typer.Option("--chips", help="Whole nodes; 0 takes all back.")],
    start: Annotated[str, typer.Option("--from", help="First interval.")] = "",
    end: Annotated[str, typer.Option("--to", help="End, not included.")] = "",
    return_id: Annotated[str, typer.Option("--id", help="Default: a fresh one.")] = "",
    as_json: Json = False,
) -> None:
    """Give hours of a contract back: runs sell them at their price, which is yours."""
    quantity = values.parse_chips(chips, "--chips") if chips != "0" else None
    identifier = return_id or values.new_identifier("ret")
    segments: tuple[ChipSegment, ...] = ()
    if quantity is not None:
        first, last = values.parse_time(start, "--from"), values.parse_time(end, "--to")
        segments = (ChipSegment(start=first, end=last, chips=quantity),)
    command = ReturnHours(
        header=BLANK_HEADER,
        return_id=identifier,
        contract_id=contract,
        market_id=market,
        segments=segments,
    )
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, return_id=identifier),
        accepted(f"Returned {quantity or 0} chips of {contract}", receipt),
        as_json=as_json,
    )
    output.next_steps(f"iso spot returns {market}", as_json=as_json)


@app.command("returns")
def returns(context: typer.Context, market: Market, as_json: Json = False) -> None:
    """List what is given back of own contracts, and what runs sold of it."""
    found = call(context, lambda client: client.returns(market), as_json=as_json)
    rows = [
        (
            item.return_id,
            item.contract_id,
            output.interval_text(part.start_time, part.end_time),
            f"{part.chip_count:,}",
            kind,
        )
        for item in found
        for kind, parts in (("returned", item.segments), ("sold", item.sold_segments))
        for part in parts
    ]
    output.answer(
        {"returns": [output.plain(item) for item in found]},
        output.table(("RETURN", "CONTRACT", "TIME", "CHIPS", ""), rows),
        as_json=as_json,
    )


def _accepted(receipt: Receipt, market: str, verb: str, *, as_json: bool) -> None:
    output.answer(
        receipt_document(receipt, market_id=market),
        accepted(f"{verb} spot market {market}", receipt),
        as_json=as_json,
    )
