"""A spot market over real gRPC and PostgreSQL: runs, notices, a restart, settlement, the audit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from clearing import codec
from clearing.types import Cover, Eligibility, Interval, PricingRule, ServiceClass, Step, Tariff
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
)
from iso_exchange.api.v1 import allocation_pb2, auction_pb2, event_pb2, order_pb2, spot_pb2
from iso_exchange.auctioneer.spot import SpotAuctioneer
from iso_exchange.auctioneer.work import Failed
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.export import export
from iso_exchange.audit.report import Report, Result
from iso_exchange.audit.verify import verify
from iso_exchange.client import BLANK_HEADER, Client, Refused, load_identity
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    CloseSpotMarket,
    GiveNotices,
    OfferTerms,
    OpenSpotMarket,
    OrderTerms,
    RegisterMeter,
    SetWebhook,
    StepBidTerms,
    SubmitOrder,
    SubmitReadings,
    TimedSegment,
    WorkBidTerms,
)
from iso_exchange.secrets_file import load_or_create
from iso_exchange.sequencer.state import Auction
from iso_exchange.server import Exchange
from settlement.ledger import envelope
from settlement.ledger.keys import key_id
from settlement.types import MeterBatch, Reading
from tests.integration.market import START, Market, client_of, configuration, open_market
from tests.torture.forgery import INDEPENDENT

POOL = "plains-h100"
STEP = 300
BEGIN = START + 600
CHAIN = 100
USD = 1_000_000
WAIT_SECONDS = 30.0


def at(place: int) -> UnixSeconds:
    return UnixSeconds(BEGIN + place * STEP)


async def spot_market(operator: Client) -> OpenSpotMarket:
    return OpenSpotMarket(
        header=BLANK_HEADER,
        market_id="spot",
        first_start=at(0),
        interval_seconds=Seconds(STEP),
        look_ahead=6,
        gate_lead_s=Seconds(2),
        price_floor=MicroUsdPerChipHour(0),
        price_cap=MicroUsdPerChipHour(100 * USD),
        tick=MicroUsdPerChipHour(1_000),
        operator_fee=MicroUsdPerChipHour(10_000),
        pricing_rule=PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(0),
        seed_anchor=(await operator.seed_anchor("spot", CHAIN)).hex(),
        chain_length=CHAIN,
        tariff=Tariff(),
    )


def order(owner: str, order_id: str, terms: OrderTerms) -> SubmitOrder:
    return SubmitOrder(
        header=BLANK_HEADER,
        order_id=order_id,
        auction_id="spot",
        participant_id=owner,
        revision=1,
        terms=terms,
    )


def segments(price: int, chips: int, first: int = 0, stop: int = 40) -> tuple[TimedSegment, ...]:
    step = Step(price=MicroUsdPerChipHour(price), chips=Chips(chips))
    return (TimedSegment(start=at(first), end=at(stop), steps=(step,)),)


def conditions(notice_s: int | None) -> BidConditions:
    return BidConditions(
        where=Eligibility(pool_ids=(POOL,)),
        service_class=ServiceClass.FIRM if notice_s is None else ServiceClass.INTERRUPTIBLE,
        cover=Cover.NONE,
        notice_s=Seconds(notice_s or 0),
    )


GANG = BlockBidTerms(
    conditions=conditions(300),
    earliest_start=at(0),
    latest_start=at(10),
    duration_s=Seconds(3_600),
    chips=Chips(48),
    limit_price=MicroUsdPerChipHour(4 * USD),
    min_fill_ppm=Ppm(1_000_000),
    restart_cost=MicroUsd(0),
)

GANG_LATER = replace(GANG, earliest_start=at(9), latest_start=at(9), duration_s=Seconds(STEP))
"""Never begins: it is cancelled with the market."""


def readings(exchange: Exchange, sent: set[int]) -> Iterator[SubmitReadings]:
    """Everything healthy in each interval that has ended and was not read yet."""
    state = exchange.sequencer.state
    for start in sorted(start for start in sent if start > 0):
        rows = tuple(
            Reading(
                contract_id=contract.contract_id,
                node_id=f"{contract.contract_id}-{node}",
                healthy=ChipSeconds(8 * STEP),
            )
            for contract in state.contracts.values()
            for hour in contract.hours
            if hour.interval.start == start
            for node in range(hour.chips // 8)
        )
        sent.discard(start)
        yield SubmitReadings(
            header=BLANK_HEADER,
            batch=MeterBatch(
                meter_id="meter",
                pool_id=POOL,
                interval=Interval(start=UnixSeconds(start), end=UnixSeconds(start + STEP)),
                sequence=start // STEP,
                readings=rows,
            ),
        )


async def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_a_spot_market_from_its_opening_to_the_audit(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(configuration(tmp_path / "data", database_url), webhook_loopback=True)
    receiver = Receiver()
    async with open_market(config) as market:
        await begin(market)
        url = f"http://127.0.0.1:{receiver.port}/notices"
        await market.buyer.send(SetWebhook(header=BLANK_HEADER, url=url))
        await first_runs(market)
        await until(lambda: len(receiver.posts) == 1)
    key = config_key(tmp_path)
    index, body = receiver.posts[0]
    payload = envelope.verify(body, {key_id(key): key}).payload
    (posted,) = codec.decode(payload, GiveNotices).notices
    assert (posted.order_id, posted.chips, posted.deadline) == ("gang", 48, at(2))
    async with AsyncExitStack() as stack:
        exchange = await stack.enter_async_context(Exchange(config))
        clients = [
            await stack.enter_async_context(client_of(exchange.identity_directory(name)))
            for name in ("operator", "buyer", "meter")
        ]
        # What is in force is posted again after a restart: the same entry.
        await until(lambda: len(receiver.posts) == 2)
        assert receiver.posts[1] == (index, body)
        receiver.stop()
        # Orders behind the gate of the last published run are sealed.
        await clients[1].send(order("buyer", "later", GANG_LATER))
        report = await checked(exchange, tmp_path, BundleKind.AUDITOR, "sealed")
        assert Result.NOT_CHECKABLE in {step.result for step in report.steps}
        await last_runs(clients[0], clients[1], monkeypatch)
        await settle(exchange, *clients)
        await check_allocation(exchange, clients[0])
        await check_bundles(exchange, tmp_path)


class Receiver:
    """A participant's web server: refuses the first post and keeps the others."""

    def __init__(self) -> None:
        posts: list[tuple[str, bytes]] = []
        refused: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not refused:
                    refused.append("once")
                    self.send_error(503)
                    return
                posts.append((self.headers["Iso-Entry-Index"], body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing on the standard error of a test."""

        self.posts = posts
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def config_key(directory: Path) -> bytes:
    """Public key of the exchange's services."""
    return load_or_create(directory / "data" / "secrets").service_key.public


async def no_result(_: SpotAuctioneer, auction: Auction) -> Failed:
    """A worker that finds nothing."""
    return Failed(reason=f"no solution of {auction.spec.auction_id}")


async def begin(market: Market) -> None:
    directory = market.exchange.issue_identity("meter")
    await market.operator.send(
        RegisterMeter(
            header=BLANK_HEADER,
            meter_id="meter",
            pool_id=POOL,
            public_key=load_identity(directory).signing_key.public,
        )
    )
    opening = await spot_market(market.operator)
    await market.operator.send(opening)
    with pytest.raises(Refused) as refused:
        await market.buyer.send(order("buyer", "work-1", work()))
    assert refused.value.code == "KIND_NOT_IN_SPOT"
    await market.supplier.send(
        order("supplier", "supply", OfferTerms(pool_id=POOL, segments=segments(2 * USD, 64)))
    )
    await market.buyer.send(order("buyer", "gang", GANG))


def work() -> WorkBidTerms:
    return WorkBidTerms(
        conditions=conditions(300),
        start=at(0),
        deadline=at(12),
        work=ChipSeconds(8 * 3_600),
        max_chips=Chips(8),
        limit_price=MicroUsdPerChipHour(USD),
    )


async def first_runs(market: Market) -> None:
    """The gang begins; a firm spike of the same lab makes it stop, after its notice."""
    await market.operator.advance_time(at(0))
    (run,) = await market.buyer.runs("spot")
    assert (run.run_id, run.state) == (f"spot/{at(0)}", auction_pb2.AUCTION_STATE_PUBLISHED)
    assert (run.order_count, run.certified_gap_ppb) == (2, 0)
    (position,) = await market.buyer.positions("spot")
    assert (position.order_id, position.chip_count) == ("gang", 48)
    assert (position.start_time.seconds, position.end_time.seconds) == (at(0), at(2))
    assert await market.other.positions("spot") == ()
    # 48 of 64 chips: an alarm at once, for everybody to read, and for the operator's stream.
    state = market.exchange.sequencer.state
    await until(lambda: bool(state.allocations["spot"].records))
    (alarm,) = await market.other.allocations("spot", with_pools=True)
    assert not alarm.hourly
    assert alarm.level == allocation_pb2.ALLOCATION_LEVEL_MAJOR_OUTAGE
    assert (alarm.awarded_chip_seconds, alarm.in_service_chip_seconds) == (48 * STEP, 64 * STEP)
    assert [(item.reason, item.idle_chip_seconds) for item in alarm.pools[0].idle] == [
        ("NO_DEMAND", 16 * STEP)
    ]
    async for update in market.operator.watch(kinds=(event_pb2.EVENT_KIND_ALLOCATION,)):
        (event,) = update.events
        assert (event.auction_id, event.chip_count) == (f"spot/{at(0)}", 16)
        assert event.description.startswith("MAJOR_OUTAGE: 75.00 % of the chips in service")
        break
    (price,) = await market.other.run_prices("spot")
    # Two dollars to the supplier, fifty cents to the town, a cent to the operator.
    assert price.interruptible_uncounted_micro_usd_per_chip_hour == 2_510_000
    view = await market.buyer.order("gang")
    assert view.state == order_pb2.ORDER_STATE_OPEN
    assert view.outcome.fill == order_pb2.FILL_FULL
    spike = StepBidTerms(conditions=conditions(None), segments=segments(9 * USD, 40, 0, 12))
    await market.buyer.send(order("buyer", "spike", spike))
    await market.operator.advance_time(at(1))
    (notice,) = await market.buyer.notices("spot")
    assert (notice.order_id, notice.chip_count) == ("gang", 48)
    assert notice.deadline_time.seconds == at(2)
    assert (notice.reason, notice.responsible) == ("HIGHER_VALUE_FIRM", "MARKET")
    async for update in market.buyer.watch(kinds=(event_pb2.EVENT_KIND_RECLAIM_NOTICE,)):
        (event,) = update.events
        assert (event.order_id, event.chip_count, event.notice_seconds) == ("gang", 48, STEP)
        assert event.deadline_time.seconds == at(2)
        break


async def last_runs(operator: Client, buyer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart the notice stands and the market goes on where it was."""
    (notice,) = await buyer.notices("spot")
    assert notice.deadline_time.seconds == at(2)
    await operator.advance_time(at(2))
    assert {item.order_id: item.chip_count for item in await buyer.positions("spot")} == {
        "spike": 40
    }
    runs = await buyer.runs("spot")
    assert [run.start_time.seconds for run in runs] == [at(2), at(1), at(0)]
    (opened,) = await buyer.spot_markets()
    assert opened.state == spot_pb2.SPOT_MARKET_STATE_OPEN
    assert opened.published_run_count == 3
    with monkeypatch.context() as patched:
        patched.setattr(SpotAuctioneer, "_cleared", no_result)
        await operator.advance_time(at(3))
    renewed = (await buyer.runs("spot", limit=1))[0]
    assert (renewed.start_time.seconds, renewed.renewed) == (at(3), True)
    assert [item.end_time.seconds for item in await buyer.positions("spot")] == [at(4)]
    assert (await buyer.order("gang")).state == order_pb2.ORDER_STATE_PARTIALLY_FILLED
    await operator.send(CloseSpotMarket(header=BLANK_HEADER, market_id="spot", reason="the test"))


async def settle(exchange: Exchange, operator: Client, buyer: Client, meter: Client) -> None:
    await operator.advance_time(at(4))
    sent = {int(at(place)) for place in range(4)}
    for command in readings(exchange, sent):
        await meter.send(command)
    await operator.advance_time(at(8))
    state = exchange.sequencer.state
    await until(lambda: not state.runs)
    assert not state.markets["spot"].bound.get("gang")
    day = BEGIN - BEGIN % 86_400
    periods = {
        (item.start_time.seconds, item.end_time.seconds) for item in await buyer.statements()
    }
    assert periods == {(day, day + 86_400)}
    for item in await buyer.statements():
        whole = await buyer.statement(item.statement_id)
        assert sum(int(line.amount) for line in whole.lines) == (
            int(item.closing_amount) - int(item.opening_amount)
        )
        # The state keeps no lines of a market's; its document has them.
        assert len(whole.lines) == item.line_count > 0
    totals = await operator.community_totals()
    # The first interval is read too late and is a gap; then 48 chips of the gang, and of the
    # spike 16 for one interval and 40 for two.
    delivered = (48 + 16 + 40 * 2) * STEP
    surcharge = sum(item.surcharge_micro_usd for item in totals)
    assert 0 <= surcharge - delivered * 500_000 // 3_600 <= 3, "rounded once per interval"


async def check_allocation(exchange: Exchange, operator: Client) -> None:
    """The hour is on record when it is settled: awarded and metered beside each other."""
    kept = exchange.sequencer.state.allocations["spot"]
    await until(lambda: any(record.hourly for record in kept.records))
    hour, alarm = await operator.allocations("spot")
    assert (hour.hourly, alarm.hourly) == (True, False)
    assert hour.run_count == 4
    # A gang of 48, then with 16 of the spike, then 40 of it twice.
    awarded = (48 + 64 + 40 + 40) * STEP
    assert (hour.awarded_chip_seconds, hour.in_service_chip_seconds) == (awarded, 4 * 64 * STEP)
    # The first interval was read too late.
    assert hour.delivered_chip_seconds == awarded - 48 * STEP
    assert hour.level == allocation_pb2.ALLOCATION_LEVEL_MAJOR_OUTAGE
    assert sum(item.idle_chip_seconds for item in hour.idle) == 4 * 64 * STEP - awarded
    assert not kept.runs
    metered = REGISTRY.get_sample_value(
        "iso_allocation_ratio", {"market": "spot", "measure": "metered"}
    )
    assert metered == (awarded - 48 * STEP) / (4 * 64 * STEP)


async def check_bundles(exchange: Exchange, directory: Path) -> None:
    """Auditors and the public find nothing wrong."""
    for kind in BundleKind:
        report = await checked(exchange, directory, kind, kind.value)
        if kind is BundleKind.AUDITOR:
            # Three runs, and the day-ahead auction beside them, which had no orders.
            assert report.auctions == 4
            assert report.hours == 5
            assert all(step.result is Result.OK for step in report.steps), report.steps


async def checked(exchange: Exchange, directory: Path, kind: BundleKind, name: str) -> Report:
    """A bundle of now, with which both verifiers are content."""
    data, bundle = directory / "data", directory / name
    publisher_caught_up = exchange.sequencer.size
    await until(lambda: published(data) >= publisher_caught_up)
    await export(
        store=exchange.sequencer._store,
        log_directory=data / "log",
        directory=bundle,
        kind=kind,
        origin=exchange.sequencer.state.origin,
        vkey=exchange.log_vkey,
    )
    report = await asyncio.to_thread(verify, bundle, exchange.log_vkey)
    assert report.ok, [step for step in report.steps if step.result is Result.FAILED]
    code, line = INDEPENDENT.verify(bundle, exchange.log_vkey)
    assert code == 0, line
    return report


def published(data: Path) -> int:
    return int((data / "log" / "checkpoint").read_text().splitlines()[1])
