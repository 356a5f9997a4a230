"""One auction with every order kind at once, over gRPC and PostgreSQL, from bid to audit.

Two sites with a pool each. The buyer runs eight chips on the plains from an auction before; in
the four hours after it, everything that the schema can say is offered, wanted and nominated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from clearing.types import (
    Commitment,
    Conversion,
    Cover,
    Eligibility,
    Interval,
    PricingRule,
    ServiceClass,
    Step,
)
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
)
from iso_exchange.api.v1 import auction_pb2, order_pb2
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.database import open_for_reading
from iso_exchange.audit.export import export
from iso_exchange.audit.verify import verify
from iso_exchange.client import BLANK_HEADER, Client, Refused, load_identity
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    CancelOrder,
    CreateAuction,
    Nominate,
    OfferTerms,
    OrderTerms,
    RegisterEntitlement,
    RegisterMeter,
    StepBidTerms,
    SubmitOrder,
    SubmitReadings,
    TimedSegment,
    WorkBidTerms,
)
from settlement.ledger import accounts
from settlement.ledger.keys import parse_vkey
from settlement.types import MeterBatch, Reading, TransferCode
from tests.integration.market import (
    CHIP_CLASS,
    CLOSE,
    FIRST,
    Market,
    auction,
    bid,
    client_of,
    configuration,
    deposit,
    offer,
    open_market,
    pool,
    site,
)
from tests.torture.forgery import INDEPENDENT

HOUR = 3_600
CELL = 300
NODE = 8
GATE = FIRST + HOUR
BEGIN = FIRST + 2 * HOUR
HOURS = 4
END = BEGIN + HOURS * HOUR
POOLS = ("plains-h100", "north-h100")
BOTH = Eligibility(pool_ids=POOLS)
PLAINS, NORTH = (Eligibility(pool_ids=(name,)) for name in POOLS)


def hours(first: int = 0, stop: int = HOURS) -> tuple[UnixSeconds, UnixSeconds]:
    return UnixSeconds(BEGIN + first * HOUR), UnixSeconds(BEGIN + stop * HOUR)


def curve(chips: int, cents: int, first: int = 0, stop: int = HOURS) -> tuple[TimedSegment, ...]:
    start, end = hours(first, stop)
    step = Step(price=MicroUsdPerChipHour(cents * 10_000), chips=Chips(chips))
    return (TimedSegment(start=start, end=end, steps=(step,)),)


def conditions(
    where: Eligibility,
    cover: Cover = Cover.NONE,
    notice_s: int | None = None,
    factor_ppm: int = 0,
) -> BidConditions:
    firm = notice_s is None
    conversion = Conversion(chip_class=CHIP_CLASS, factor_ppm=Ppm(factor_ppm))
    return BidConditions(
        where=where,
        service_class=ServiceClass.FIRM if firm else ServiceClass.INTERRUPTIBLE,
        cover=cover,
        notice_s=Seconds(notice_s or 0),
        conversions=(conversion,) if factor_ppm else (),
    )


def gang(
    where: BidConditions,
    chips: int,
    cents: int,
    *,
    start: int = 0,
    duration: int = 1,
    last: int = 0,
) -> BlockBidTerms:
    return BlockBidTerms(
        conditions=where,
        earliest_start=hours(start)[0],
        latest_start=hours(max(start, last))[0],
        duration_s=Seconds(duration * HOUR),
        chips=Chips(chips),
        limit_price=MicroUsdPerChipHour(cents * 10_000),
        min_fill_ppm=Ppm(1_000_000),
    )


def order(owner: str, order_id: str, terms: OrderTerms, auction_id: str = "all") -> SubmitOrder:
    return SubmitOrder(
        header=BLANK_HEADER,
        order_id=order_id,
        auction_id=auction_id,
        participant_id=owner,
        revision=1,
        terms=terms,
    )


def offers() -> Iterator[SubmitOrder]:
    """Supply: a curve, released base load, a supply block, and one with costs of starting."""
    yield order("supplier", "sun", OfferTerms(pool_id="plains-h100", segments=curve(32, 100)))
    yield order(
        "supplier",
        "released",
        OfferTerms(pool_id="plains-h100", segments=curve(8, 10), recallable=True),
    )
    yield order(
        "supplier",
        "block",
        OfferTerms(
            pool_id="plains-h100",
            segments=curve(8, 80, stop=2),
            commitment=Commitment(start_up=MicroUsd(1_000_000), whole=True),
        ),
    )
    yield order("supplier", "wind", OfferTerms(pool_id="north-h100", segments=curve(40, 120)))
    yield order(
        "supplier",
        "turbine",
        OfferTerms(
            pool_id="north-h100",
            segments=curve(24, 60),
            commitment=Commitment(
                start_up=MicroUsd(10_000_000),
                no_load=MicroUsd(1_000_000),
                min_run_intervals=2,
                min_chips=Chips(8),
            ),
        ),
    )


def bids() -> Iterator[SubmitOrder]:
    """Demand of every kind; parents before their children."""
    node, secure = Cover.NODE, Cover.SITE
    yield order(
        "buyer",
        "step-node",
        StepBidTerms(
            conditions=conditions(BOTH, node, factor_ppm=1_100_000), segments=curve(8, 400)
        ),
    )
    yield order(
        "buyer",
        "step-site",
        StepBidTerms(conditions=conditions(BOTH, secure), segments=curve(8, 600)),
    )
    yield order(
        "other",
        "spare-time",
        StepBidTerms(conditions=conditions(NORTH, notice_s=900), segments=curve(16, 200)),
    )
    # Takes whatever is left, so that a chip that stands by has a price.
    yield order(
        "buyer",
        "hungry",
        StepBidTerms(conditions=conditions(BOTH), segments=curve(96, 190)),
    )
    # Worth less than ordinary supply on the plains: only released base load can serve it.
    yield order(
        "other",
        "leftover",
        StepBidTerms(conditions=conditions(PLAINS, notice_s=900), segments=curve(8, 90)),
    )
    yield order("buyer", "shift", gang(conditions(PLAINS, node), 8, 300, last=3))
    shaped = gang(conditions(NORTH), 16, 350, duration=3)
    yield order("buyer", "shape", replace(shaped, profile=(Chips(8), Chips(0), Chips(16))))
    yield order("buyer", "safe", gang(conditions(BOTH, secure), 8, 700, start=2, duration=2))
    for name, where in (("either-1", PLAINS), ("either-2", NORTH)):
        terms = gang(conditions(where), 8, 320, start=1, duration=2)
        yield order("other", name, replace(terms, exclusive_group="either"))
    yield order("other", "now", gang(conditions(BOTH), 8, 110, start=0, duration=2))
    later = gang(conditions(BOTH), 8, 500, start=2)
    yield order("other", "later", replace(later, parent_order_id="now"))
    half = gang(conditions(NORTH, notice_s=300), 16, 250, start=3)
    yield order("other", "half", replace(half, min_fill_ppm=Ppm(500_000)))
    stay = gang(conditions(BOTH), 8, 260, duration=2)
    stay = replace(stay, initial_pool_id="plains-h100", restart_cost=MicroUsd(2_000_000))
    yield order("buyer", "stays", stay)
    start, deadline = hours(0, 3)
    yield order(
        "other",
        "crunch",
        WorkBidTerms(
            conditions=conditions(BOTH, notice_s=7_200),
            start=start,
            deadline=deadline,
            work=ChipSeconds(16 * HOUR),
            max_chips=Chips(8),
            limit_price=MicroUsdPerChipHour(2_100_000),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The market of the gateway tests with a second site and a meter in each pool."""

    market: Market
    meters: dict[str, Client]

    @property
    def clients(self) -> dict[str, Client]:
        market = self.market
        return {"supplier": market.supplier, "buyer": market.buyer, "other": market.other}


@asynccontextmanager
async def open_grid(data: Path, database_url: str) -> AsyncIterator[Grid]:
    async with AsyncExitStack() as stack:
        market = await stack.enter_async_context(open_market(configuration(data, database_url)))
        north = replace(site("north", 300_000), region="eu-north", country="NO")
        await market.operator.send(north)
        await market.operator.send(replace(pool("north-h100"), site_id="north"))
        meters = {}
        for pool_id in POOLS:
            directory = market.exchange.issue_identity(f"meter-{pool_id}")
            await market.operator.send(
                RegisterMeter(
                    header=BLANK_HEADER,
                    meter_id=f"meter-{pool_id}",
                    pool_id=pool_id,
                    public_key=load_identity(directory).signing_key.public,
                )
            )
            meters[pool_id] = await stack.enter_async_context(client_of(directory))
        for name in ("supplier", "buyer", "other"):
            more = replace(deposit(name, f"more-{name}"), amount=MicroUsd(10_000_000_000))
            await market.operator.send(more)
        yield Grid(market=market, meters=meters)


async def create(market: Market, auction_id: str, **changes: object) -> None:
    command: CreateAuction = await auction(market.operator, auction_id)
    whole = {"first_interval_start": BEGIN, "interval_count": HOURS, "close_time": GATE, **changes}
    await market.operator.send(replace(command, **whole))  # type: ignore[arg-type]


async def nominate(grid: Grid) -> None:
    """Base load on the plains with its backup in the north, part of it used."""
    market = grid.market
    supplier = load_identity(market.exchange.identity_directory("supplier"))
    start, end = hours()
    entitlement = RegisterEntitlement(
        header=BLANK_HEADER,
        entitlement_id="base",
        holder_id="buyer",
        supplier_id="supplier",
        pool_id="plains-h100",
        period=Interval(start=start, end=end),
        chips=Chips(16),
        contract_price=MicroUsdPerChipHour(1_500_000),
        cover=Cover.SITE,
        backup_pool_ids=("north-h100",),
    )
    await market.buyer.send(entitlement, cosigners=(supplier.signing_key,))
    await market.buyer.send(
        Nominate(
            header=BLANK_HEADER,
            nomination_id="used",
            entitlement_id="base",
            auction_id="all",
            segments=curve(8, 0),
            backup_pool_ids=("north-h100",),
        )
    )


async def deliver(grid: Grid, first: int, stop: int) -> None:
    """Every chip is healthy in every metering interval of ``[first, stop)``."""
    contracts = grid.market.exchange.sequencer.state.contracts.values()
    for pool_id, meter in grid.meters.items():
        batches = []
        for number, start in enumerate(range(first, stop, CELL)):
            rows = [
                Reading(
                    contract_id=item.contract_id,
                    node_id=f"node-{node}",
                    healthy=ChipSeconds(NODE * CELL),
                )
                for item in contracts
                if item.pool_id == pool_id
                for hour in item.hours
                if hour.interval.start <= start < hour.interval.end
                for node in range(hour.chips // NODE)
            ]
            batches.append(
                SubmitReadings(
                    header=BLANK_HEADER,
                    batch=MeterBatch(
                        meter_id=f"meter-{pool_id}",
                        pool_id=pool_id,
                        interval=Interval(start=UnixSeconds(start), end=UnixSeconds(start + CELL)),
                        sequence=(first - FIRST) // CELL + number + 1,
                        readings=tuple(rows),
                    ),
                )
            )
        answers = await meter.send_many(batches)
        assert not [answer for answer in answers if isinstance(answer, Refused)]


async def trade(grid: Grid) -> None:
    """Eight chips on the plains until the hours of interest, then everything for those."""
    market = grid.market
    await market.supplier.send(offer(chips=64))
    await market.buyer.send(bid(chips=8))
    await market.operator.advance_time(UnixSeconds(CLOSE))
    await reached(market, "da-1", auction_pb2.AUCTION_STATE_PUBLISHED)
    await create(market, "all")
    await nominate(grid)
    for command in (*offers(), *bids()):
        client = grid.clients[command.participant_id]
        quote = await client.preview(command)
        assert not quote.refusals, (command.order_id, quote.refusals)
        assert quote.eligible_pools
        await client.send(command)


async def reached(
    market: Market, auction_id: str, state: auction_pb2.AuctionState.ValueType
) -> auction_pb2.Auction:
    """The auction in a state, which the exchange's services bring it to by themselves."""
    async with asyncio.timeout(60):
        while (shown := await market.other.auction(auction_id)).state != state:
            assert shown.state != auction_pb2.AUCTION_STATE_FAILED, shown.reason
            await asyncio.sleep(0.05)
    return shown


async def awards_of(grid: Grid) -> dict[str, order_pb2.OrderOutcome]:
    found = {}
    for client in grid.clients.values():
        for view in await client.orders("all"):
            assert view.HasField("outcome"), view.order.order_id
            found[view.order.order_id] = view.outcome
    return found


def chips_of(outcome: order_pb2.OrderOutcome) -> list[tuple[str, int, int]]:
    """(pool, hour, chips) of an outcome's awards."""
    return sorted(
        (award.pool_id, hour, part.chip_count)
        for award in outcome.awards
        for part in award.segments
        for hour in range(
            (part.start_time.seconds - BEGIN) // HOUR, (part.end_time.seconds - BEGIN) // HOUR
        )
        if part.chip_count
    )


async def test_every_kind_is_submitted_cleared_delivered_settled_and_audited(
    tmp_path: Path, database_url: str
) -> None:
    async with open_grid(tmp_path, database_url) as grid:
        market = grid.market
        await trade(grid)
        await market.operator.advance_time(UnixSeconds(GATE))
        shown = await reached(market, "all", auction_pb2.AUCTION_STATE_PUBLISHED)
        assert shown.result.order_count == len([*offers(), *bids()]) + 1
        found = await awards_of(grid)
        check_awards(found)
        await check_prices(grid)
        await check_contracts(grid, found)
        for hour in range(FIRST, END, HOUR):
            await market.operator.advance_time(UnixSeconds(hour + HOUR))
            await deliver(grid, hour, hour + HOUR)
        await market.operator.advance_time(UnixSeconds(END + 86_400))
        await reached(market, "all", auction_pb2.AUCTION_STATE_SETTLED)
        check_books(grid)
        vkey = market.exchange.log_vkey
    async with open_for_reading(tmp_path, database_url) as store:
        await export(
            store=store,
            log_directory=tmp_path / "log",
            directory=tmp_path / "bundle",
            kind=BundleKind.AUDITOR,
            origin=parse_vkey(vkey).name,
            vkey=vkey,
        )
    report = verify(tmp_path / "bundle", vkey)
    assert report.ok, [(step.name, step.place, step.detail) for step in report.failed]
    assert report.meter_gaps == 0
    assert INDEPENDENT.verify(tmp_path / "bundle", vkey)[0] == 0


def check_awards(found: dict[str, order_pb2.OrderOutcome]) -> None:
    """Each kind did what only it can do."""
    gone = [name for name, outcome in found.items() if outcome.fill == order_pb2.FILL_NONE]
    assert sorted(gone) in (["either-1"], ["either-2"]), gone
    assert found[gone[0]].reason in (
        order_pb2.REASON_CODE_OTHER_ACCEPTED,
        order_pb2.REASON_CODE_PARADOXICALLY_REJECTED,
    )
    assert [chips for _, _, chips in chips_of(found["shape"])] == [8, 16]
    assert [hour for _, hour, _ in chips_of(found["shape"])] == [0, 2]
    assert len(chips_of(found["shift"])) == 1
    assert [place for place, _, _ in chips_of(found["stays"])] == ["plains-h100"] * 2
    # Its limit is near the price: ties of others, drawn anew each time, decide about the rest.
    assert sum(chips for _, _, chips in chips_of(found["crunch"])) in (8, 16)
    assert found["turbine"].runs
    assert chips_of(found["released"]) == chips_of(found["leftover"])
    block = [chips for _, _, chips in chips_of(found["block"])]
    assert block == [8, 8]
    for name in ("step-site", "safe"):
        for award in found[name].awards:
            for part in award.segments:
                assert sum(item.chip_count for item in part.backups) == part.chip_count
                assert award.pool_id not in {item.pool_id for item in part.backups}
    standing = [
        part.site_reserve_chip_count
        for outcome in found.values()
        for award in outcome.awards
        for part in award.segments
    ]
    assert any(standing)


async def check_prices(grid: Grid) -> None:
    """A chip that stands by for a site earns what the backups in its pool cost together."""
    prices = await grid.market.auditor.prices("all")
    assert len(prices) == len(POOLS) * HOURS
    for price in prices:
        charged = sum(item.price_micro_usd_per_chip_hour for item in price.backups)
        assert charged == price.site_spare_micro_usd_per_chip_hour
    assert sum(price.site_spare_chip_count for price in prices) >= 8
    assert any(price.backups for price in prices)


async def check_contracts(grid: Grid, found: dict[str, order_pb2.OrderOutcome]) -> None:
    """Both sides see the backup, and base load has its own."""
    contracts = {item.contract_id: item for item in await grid.market.buyer.contracts("all")}
    for name in ("step-site", "safe"):
        for contract_id in found[name].contract_ids:
            backup = contracts[contract_id].backup_pool_id
            assert backup in POOLS
            assert backup != contracts[contract_id].pool_id
            assert contract_id.endswith(f"/{backup}")
    base = [item for item in contracts.values() if item.order_id == "used"]
    assert {item.backup_pool_id for item in base} <= {"north-h100", ""}
    assert "north-h100" in {item.backup_pool_id for item in base}
    sold = {item.contract_id for item in await grid.market.supplier.contracts("all")}
    assert {item.contract_id for item in base} <= sold


def check_books(grid: Grid) -> None:
    """Nothing is left in pots and covers, nothing is held, everything sums to zero."""
    books = grid.market.exchange.sequencer.state.books
    assert books.open_holds() == ()
    balances = [item for item in books.balances() if item.asset == "USD"]
    assert sum(item.posted for item in balances) == 0
    assert not [item for item in balances if accounts.is_pot(item.account) and item.posted]
    covers = [
        item
        for postings in grid.market.exchange.sequencer.state.postings.values()
        for item in postings.transfers
        if item.code is TransferCode.COVER and item.credit.startswith("cover:all:")
    ]
    assert sum(item.amount for item in covers) > 0


async def test_what_the_gate_still_refuses_has_a_name(tmp_path: Path, database_url: str) -> None:
    async with open_grid(tmp_path, database_url) as grid:
        buyer, operator = grid.market.buyer, grid.market.operator
        with pytest.raises(Refused) as floor:
            await create(grid.market, "below", price_floor=MicroUsdPerChipHour(-1_000))
        assert floor.value.code == "NEGATIVE_ENERGY_PRICE_NOT_SETTLED"
        assert floor.value.status == "UNIMPLEMENTED"
        await create(grid.market, "all")
        await create(grid.market, "strict", pricing_rule=PricingRule.STRICT_UNIFORM)
        parent = order("buyer", "parent", gang(conditions(BOTH), 8, 300))
        child_terms = replace(gang(conditions(BOTH), 8, 300), parent_order_id="parent")
        child = order("buyer", "child", child_terms)
        quote = await buyer.preview(child)
        assert [item.reason for item in quote.refusals] == ["UNKNOWN_PARENT"]
        await buyer.send(parent)
        assert not (await buyer.preview(child)).refusals
        await buyer.send(child)
        cancel = CancelOrder(header=BLANK_HEADER, order_id="parent")
        with pytest.raises(Refused) as held:
            await buyer.send(cancel)
        assert (held.value.code, held.value.got) == ("HAS_OPEN_CHILDREN", "child")
        await buyer.send(replace(cancel, order_id="child"))
        await buyer.send(cancel)
        stays = replace(
            gang(conditions(BOTH), 8, 300),
            initial_pool_id="plains-h100",
            restart_cost=MicroUsd(5),
        )
        with pytest.raises(Refused) as idle:
            await buyer.send(order("buyer", "stays", stays))
        assert idle.value.code == "NO_RUNNING_CONTRACT"
        alone = order("buyer", "alone", gang(conditions(PLAINS, Cover.SITE), 8, 300))
        with pytest.raises(Refused) as uncovered:
            await buyer.send(alone)
        assert uncovered.value.code == "NO_COVER_POSSIBLE"
        started = OfferTerms(
            pool_id="north-h100",
            segments=curve(8, 100),
            commitment=Commitment(start_up=MicroUsd(1)),
        )
        with pytest.raises(Refused) as strict:
            await grid.market.supplier.send(order("supplier", "started", started, "strict"))
        assert strict.value.advice.startswith("BAD_PRICING_RULE")
        assert (await operator.auction("strict")).state == auction_pb2.AUCTION_STATE_OPEN
