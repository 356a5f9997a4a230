"""Random spot markets, run after run: nothing is sold twice, notices hold, books end at zero."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random

import pytest

from clearing import codec
from clearing.outcome import Outcome
from clearing.types import Cover, Eligibility, Interval, ServiceClass, Step
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
)
from iso_exchange import commands as c
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.spot_market import RELEASE_PREFIX
from iso_exchange.sequencer.state import Auction, AuctionState
from iso_exchange.settler.interval import SettledInterval, settle_interval
from settlement.invariants import Settled, check_all
from settlement.ledger import accounts
from settlement.limits import highest_limits, linked_families
from settlement.metering.billable import MeteredHour
from tests.unit.sequencer.spot_world import (
    SPOT,
    STEP,
    USD,
    close,
    market_of,
    market_terms,
    offer,
    opened,
    publish,
)
from tests.unit.sequencer.world import FIRST, World

POOLS = ("tx-1-h100", "tx-1-b")
CAPACITY = 64
NODE = 8
RUNS = 9
SEEDS = 24
HOURS = 4


@dataclass
class Market:
    """A random market and its settled runs."""

    world: World
    random: Random
    settled: list[Settled]
    number: int = 0

    def name(self, kind: str) -> str:
        self.number += 1
        return f"{kind}-{self.number}"

    def must(self, command: c.Command) -> None:
        self.world.must(command)


def made(seed: int) -> Market:
    world = opened(look_ahead=5)
    world.must(world.pool(pool_id="tx-1-b"))
    # The grid is that of the opening: open another market that knows both pools.
    world.state.markets.clear()
    random = Random(seed)
    world.must(market_terms(world, look_ahead=5))
    for pool_id in POOLS:
        half = random.choice((16, 32))
        offer(world, order_id=f"cheap-{pool_id}", pool_id=pool_id, chips=half, price=USD)
        offer(world, order_id=f"dear-{pool_id}", pool_id=pool_id, chips=64 - half, price=2 * USD)
    market = Market(world=world, random=random, settled=[])
    if random.random() < 0.5:
        period = Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + HOURS * 3_600))
        market.must(world.entitlement(period=period, chips=16))
    return market


def trade(market: Market, place: int) -> None:
    random, world = market.random, market.world
    for _ in range(random.randint(0, 3)):
        market.must(bid(market, place))
    if random.random() < 0.2:
        own = [name for name in market_of(world).order_ids if name.startswith(("s-", "g-"))]
        if own:
            market.must(world.cancel(random.choice(own)))
    if random.random() < 0.15:
        start = FIRST + (place + random.randint(0, 2)) * STEP
        market.must(
            c.ReportOutage(
                header=world.header("operator"),
                outage_id=market.name("out"),
                pool_id=random.choice(POOLS),
                interval=Interval(start=UnixSeconds(start), end=UnixSeconds(start + 2 * STEP)),
                nodes=(f"n{random.randint(1, 3)}",),
                reason="it is down",
            )
        )
    if "ent-1" in world.state.entitlements and random.random() < 0.4:
        start = FIRST + place * STEP
        give_and_take(market, start)


def give_and_take(market: Market, start: int) -> None:
    """The holder nominates less, or releases by a curve, or takes some of that back."""
    random, world = market.random, market.world
    chosen = random.random()
    record = world.state.nominations.get(f"{SPOT}/ent-1")
    end = UnixSeconds(start + 10 * STEP)
    if chosen < 0.3 and record is not None and record.released:
        back = 6 * STEP  # the recall time of the tariff
        world.apply(  # refused where nothing is released by then
            c.Recall(
                header=world.header("lab"),
                recall_id=market.name("back"),
                release_id=record.nomination.order_id,
                segments=(segment(world.now - world.now % STEP + STEP + back, end, (0, 8)),),
            )
        )
    elif chosen < 0.65:
        steps = ((random.choice((0, 500_000)), 8), (random.choice((1_000_000, 1_500_000)), 8))
        market.must(
            c.Release(
                header=world.header("lab"),
                release_id=market.name("rel"),
                entitlement_id="ent-1",
                auction_id=SPOT,
                segments=(segment(start, end, *steps[: random.randint(1, 2)]),),
            )
        )
    else:
        market.must(
            c.Nominate(
                header=world.header("lab"),
                nomination_id=market.name("nom"),
                entitlement_id="ent-1",
                auction_id=SPOT,
                segments=(segment(start, end, (0, random.choice((8, 16)))),),
            )
        )


def segment(start: int, end: int, *steps: tuple[int, int]) -> c.TimedSegment:
    return c.TimedSegment(
        start=UnixSeconds(start),
        end=UnixSeconds(max(end, start + STEP)),
        steps=tuple(Step(price=MicroUsdPerChipHour(p), chips=Chips(n)) for p, n in steps),
    )


def bid(market: Market, place: int) -> c.SubmitOrder:
    random, world = market.random, market.world
    firm = random.random() < 0.4
    conditions = c.BidConditions(
        where=Eligibility(pool_ids=tuple(random.sample(POOLS, random.randint(1, 2)))),
        service_class=ServiceClass.FIRM if firm else ServiceClass.INTERRUPTIBLE,
        cover=random.choice((Cover.NONE, Cover.NODE)) if firm else Cover.NONE,
        notice_s=Seconds(0 if firm else random.choice((0, 300, 450, 900))),
    )
    limit = MicroUsdPerChipHour(random.randrange(1_000, 9_000) * 1_000)
    chips = Chips(NODE * random.randint(1, 5))
    start = UnixSeconds(FIRST + place * STEP)
    terms: c.OrderTerms
    if random.random() < 0.5:
        terms = c.StepBidTerms(
            conditions=conditions,
            segments=(
                c.TimedSegment(
                    start=start,
                    end=UnixSeconds(start + STEP * random.randint(1, 8)),
                    steps=(Step(price=limit, chips=chips),),
                ),
            ),
        )
        kind = "s"
    else:
        terms = c.BlockBidTerms(
            conditions=conditions,
            earliest_start=start,
            latest_start=UnixSeconds(start + 3 * STEP),
            duration_s=Seconds(STEP * random.randint(1, 8)),
            chips=chips,
            limit_price=limit,
            min_fill_ppm=Ppm(random.choice((1_000_000, 500_000))),
            restart_cost=MicroUsd(random.choice((0, 50_000))),
        )
        kind = "g"
    return c.SubmitOrder(
        header=world.header("lab"),
        order_id=market.name(kind),
        auction_id=SPOT,
        participant_id="lab",
        revision=1,
        terms=terms,
    )


def check_positions(world: World, run: Auction) -> None:
    """Chips that are owed fit the pools, and every bound chip has its supply."""
    market = market_of(world)
    bound: dict[tuple[str, int], int] = defaultdict(int)
    for pools in market.bound.values():
        for pool_id, places in pools.items():
            for number, chips in places.items():
                assert chips > 0
                bound[pool_id, number] += chips
    owed: dict[tuple[str, int], int] = defaultdict(int)
    aside: dict[tuple[str, int], int] = defaultdict(int)
    for pool_id, supplies in market.supplied.items():
        for supply_id, places in supplies.items():
            for number, chips in places.items():
                owed[pool_id, number] += chips
                if supply_id.startswith(RELEASE_PREFIX):
                    aside[pool_id, number] += chips
    base = {item.pool_id: item.chips for item in world.state.entitlements.values()}
    first = market.number(run.spec.intervals[0].start)
    for key, chips in bound.items():
        assert owed[key] >= chips, "bound without supply"
    for (pool_id, number), chips in owed.items():
        if number >= first:
            room = CAPACITY - base.get(pool_id, 0) + aside[pool_id, number]
            assert chips <= room, "sold twice"


def check_notices(world: World, run: Auction, before: dict[str, dict[int, int]]) -> None:
    """What was bound stays bound, and nothing stops earlier than its notice says."""
    market = market_of(world)
    first = market.number(run.spec.intervals[0].start)
    for order_id, places in before.items():
        for number, chips in places.items():
            if number >= first:
                assert market.held(order_id, number) >= chips, "bound chips were taken back"
    for notice in run.notices:
        assert notice.deadline >= run.spec.intervals[0].start


def settle(market: Market, run: Auction) -> None:
    """Every interval of a run, with some chips not delivered; the money laws hold."""
    world, assignment = market.world, run.assignment
    assert assignment is not None
    assert run.book is not None
    table = world.state.chip_table()
    assert table is not None
    hours: list[MeteredHour] = []
    for interval in assignment.intervals:
        world.now = max(world.now, interval.end)
        done: SettledInterval = settle_interval(
            assignment=assignment,
            interval=interval,
            batches=(),
            table=table,
            pool_balance=world.state.books.balance(accounts.POOL).posted,
            earlier=tuple(item.delivered for item in hours),
        )
        bodies = [codec.encode(done.delivered), codec.encode(done.postings)]
        digests = [codec.digest(done.delivered), codec.digest(done.postings)]
        answer = world.apply(
            c.SettleHour(
                header=world.header("exchange"),
                auction_id=run.spec.auction_id,
                interval=interval,
                postings_sha256=digests[1],
                delivered_sha256=digests[0],
                batch_count=0,
            ),
            {bytes.fromhex(digest): body for digest, body in zip(digests, bodies, strict=True)},
        )
        assert isinstance(answer, Accepted), answer
        hours.extend(
            MeteredHour(delivered=item, failures=(), findings=()) for item in done.delivered.hours
        )
    assert run.state is AuctionState.SETTLED
    market.settled.append(
        Settled(
            assignment=assignment,
            closed=assignment.intervals,
            metered=tuple(hours),
            limits=highest_limits(run.book),
            families=linked_families(run.book),
        )
    )
    for plan in assignment.make_whole:
        assert plan.awarded > ChipSeconds(0)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_markets(seed: int) -> None:
    market = made(seed)
    world = market.world
    runs: list[Auction] = []
    for place in range(RUNS):
        start = FIRST + place * STEP
        world.now = start - 100
        trade(market, place)
        own = market_of(world)
        before = {
            name: {number: own.held(name, number) for pools in held.values() for number in pools}
            for name, held in own.bound.items()
        }
        run = close(world, start)
        publish(world, run)
        assert isinstance(run.outcome, Outcome)
        runs.append(run)
        check_positions(world, run)
        check_notices(world, run, before)
    for run in runs:
        if run.state is AuctionState.PUBLISHED:
            settle(market, run)
    assert not [hold for hold in world.state.books.open_holds() if hold.contract_id]
    if seed % 4 == 0:
        laws(market)


def laws(market: Market) -> None:
    """The laws of settlement, over what the runs moved."""
    for finding in check_all(market.settled, market.world.moved):
        assert finding.ok, finding
