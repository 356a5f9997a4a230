"""What held idle chips: an exact partition, and every reason shown by a book without its cause.

The twin is the clearing itself: a chip is held by a constraint where the same book without it
would sell more of that pool. Small books, so that a clearing takes milliseconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from clearing.auction import clear
from clearing.book import canonical
from clearing.outcome import Outcome, Side
from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Cover,
    Eligibility,
    Interval,
    Offer,
    Pool,
    Segment,
    ServiceClass,
    Site,
    Step,
    StepBid,
)
from clearing.units import Chips, MicroUsdPerChipHour, Ppm, UnixSeconds, Watts
from iso_exchange.sequencer.allocation import PoolAllocation, PoolService, allocations, in_service
from iso_exchange.sequencer.allocation_demand import Idle
from iso_exchange.sequencer.allocation_record import totals
from iso_exchange.sequencer.spot_assignment import Terms, assigned
from iso_exchange.sequencer.state import Auction
from tests.property.test_spot_runs import RUNS, made, trade
from tests.unit.sequencer.spot_world import STEP, USD, close, market_of, publish
from tests.unit.sequencer.world import FIRST, World

SEEDS = 6


def runs_of(seed: int) -> Iterator[tuple[World, Auction, tuple[PoolService, ...]]]:
    """Runs of a random market as they are published, each with what its gate froze."""
    market = made(seed)
    for place in range(RUNS):
        start = FIRST + place * STEP
        market.world.now = start - 100
        trade(market, place)
        run = close(market.world, start)
        publish(market.world, run)
        yield market.world, run, market.world.state.allocations["spot"].runs[start].service


def rows_of(run: Auction, service: tuple[PoolService, ...]) -> tuple[PoolAllocation, ...]:
    assert run.book is not None
    assert run.outcome is not None
    assert run.assignment is not None
    return allocations(run.book, run.outcome, run.assignment, service)


def chips(row: PoolAllocation, reason: Idle) -> int:
    return sum(share.quantity for share in row.idle if share.reason is reason) // STEP


@pytest.mark.parametrize("seed", range(SEEDS))
def test_awarded_and_idle_chips_are_the_whole_pool(seed: int) -> None:
    for world, run, service in runs_of(seed):
        rows = rows_of(run, service)
        assert rows == rows_of(run, tuple(reversed(service))), "order does not matter"
        assert [row.pool_id for row in rows] == sorted(market_of(world).pool_ids)
        for row, froze in zip(rows, sorted(service, key=lambda row: row.pool_id), strict=True):
            assert row.capacity == froze.capacity * STEP
            assert row.awarded + sum(share.quantity for share in row.idle) == row.capacity
            assert all(share.quantity > 0 for share in row.idle)
            assert chips(row, Idle.OUTAGE) == froze.out
            assert 0 <= row.awarded <= in_service(row)
            room = froze.capacity - froze.out
            assert row.awarded == STEP * min(room, positions(world, run, row.pool_id))
        assert totals(rows) == (
            sum(in_service(row) for row in rows),
            sum(row.awarded for row in rows),
        )


def positions(world: World, run: Auction, pool_id: str) -> int:
    """Chips of a pool that the state binds in the run's interval 0, and base load."""
    assert run.outcome is not None
    market = market_of(world)
    number = market.number(run.spec.intervals[0].start)
    base = sum(
        award.chips[0]
        for award in run.outcome.awards
        if award.side is Side.BASE and award.pool_id == pool_id and award.first == 0
    )
    return base + sum(pools.get(pool_id, {}).get(number, 0) for pools in market.bound.values())


# Twin: the same book without the constraint ---------------------------------------------

POOLS = ("a", "b")
NODE = 8
BOOKS = 160
DERATES = dict.fromkeys(POOLS, Ppm(1_000_000))
TERMS = Terms(derates=DERATES, precisions={"h": "BF16"}, nomination_suppliers={})


def random_book(random: Random) -> Book:
    """Two pools at two sites, one interval; few orders, so that chips are left idle."""
    intervals = (Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + STEP)),)
    sites = tuple(
        Site(
            site_id=f"site-{name}",
            surcharge=MicroUsdPerChipHour(random.choice((0, USD // 2))),
            power_limit=Watts(random.choice((2, 4)) * NODE * 1_000)
            if random.random() < 0.3
            else None,
        )
        for name in POOLS
    )
    pools = tuple(
        Pool(
            pool_id=name,
            site_id=f"site-{name}",
            chip_class="h",
            chips_per_node=Chips(NODE),
            capacity=Chips(64),
            chip_power=Watts(1_000),
            node_spare_ppm=Ppm(100_000),
        )
        for name in POOLS
    )
    return canonical(
        Book(
            spec=AuctionSpec(
                auction_id="one",
                intervals=intervals,
                tie_credit=MicroUsdPerChipHour(0),
                operator_fee=MicroUsdPerChipHour(20_000),
                seed_commitment=hashlib.sha256(bytes(32)).hexdigest(),
            ),
            sites=sites,
            pools=pools,
            offers=tuple(offer(random, name) for name in POOLS),
            step_bids=tuple(step_bid(random, f"s{n}") for n in range(random.randint(0, 3))),
            block_bids=tuple(gang(random, f"g{n}") for n in range(random.randint(0, 3))),
        )
    )


def offer(random: Random, name: str) -> Offer:
    recallable = random.random() < 0.15
    step = Step(
        price=MicroUsdPerChipHour(0 if recallable else random.randint(0, 4) * USD),
        chips=Chips(NODE * random.randint(1, 6)),
    )
    return Offer(
        order_id=f"o-{name}",
        participant_id="s",
        pool_id=name,
        segments=(Segment(first=0, stop=1, steps=(step,)),),
        recallable=recallable,
    )


def terms(random: Random) -> dict[str, Any]:
    firm = random.random() < 0.5
    return {
        "participant_id": "b",
        "where": Eligibility(pool_ids=random.choice((("a",), ("b",), POOLS))),
        "service_class": ServiceClass.FIRM if firm else ServiceClass.INTERRUPTIBLE,
        "cover": random.choice((Cover.NONE, Cover.NODE)) if firm else Cover.NONE,
    }


def step_bid(random: Random, name: str) -> StepBid:
    step = Step(
        price=MicroUsdPerChipHour(random.randint(1, 6) * USD),
        chips=Chips(NODE * random.randint(1, 3)),
    )
    return StepBid(
        order_id=name, segments=(Segment(first=0, stop=1, steps=(step,)),), **terms(random)
    )


def gang(random: Random, name: str) -> BlockBid:
    return BlockBid(
        order_id=name,
        earliest_start=0,
        latest_start=0,
        duration=1,
        chips=Chips(NODE * random.randint(1, 8)),
        limit_price=MicroUsdPerChipHour(random.randint(1, 6) * USD),
        **terms(random),
    )


def idle_of(book: Book) -> tuple[Outcome, dict[str, dict[Idle, int]]]:
    outcome = clear(book, bytes(32))
    service = tuple(
        PoolService(
            pool_id=pool.pool_id,
            capacity=pool.capacity,
            out=0,
            elsewhere=0,
            elsewhere_held=0,
            before=0,
            before_held=0,
            noticed=0,
        )
        for pool in book.pools
    )
    rows = allocations(book, outcome, assigned(book, outcome, TERMS), service)
    return outcome, {
        row.pool_id: {share.reason: share.quantity // STEP for share in row.idle} for row in rows
    }


def spare(outcome: Outcome, pool_id: str) -> int:
    return sum(
        award.reserve[0]
        for award in outcome.awards
        if award.side is Side.SUPPLY and award.pool_id == pool_id
    )


def without_power(book: Book) -> Book:
    sites = tuple(dataclasses.replace(site, power_limit=None) for site in book.sites)
    return dataclasses.replace(book, sites=sites)


def without_contiguity(book: Book) -> Book:
    """Every gang in whole nodes, one by one."""
    gangs = tuple(dataclasses.replace(block, min_fill_ppm=Ppm(1)) for block in book.block_bids)
    return dataclasses.replace(book, block_bids=gangs)


def without_cover(book: Book) -> Book:
    return dataclasses.replace(
        book,
        step_bids=tuple(dataclasses.replace(bid, cover=Cover.NONE) for bid in book.step_bids),
        block_bids=tuple(dataclasses.replace(bid, cover=Cover.NONE) for bid in book.block_bids),
    )


def without_eligibility(book: Book) -> Book:
    anywhere = Eligibility(pool_ids=POOLS)
    return dataclasses.replace(
        book,
        offers=tuple(dataclasses.replace(item, recallable=False) for item in book.offers),
        step_bids=tuple(dataclasses.replace(bid, where=anywhere) for bid in book.step_bids),
        block_bids=tuple(dataclasses.replace(bid, where=anywhere) for bid in book.block_bids),
    )


def without_prices(book: Book) -> Book:
    """Every ask and charge is nothing."""
    nothing = MicroUsdPerChipHour(0)
    free = Step(price=nothing, chips=Chips(0))
    return dataclasses.replace(
        book,
        spec=dataclasses.replace(book.spec, operator_fee=nothing),
        sites=tuple(dataclasses.replace(site, surcharge=nothing) for site in book.sites),
        offers=tuple(
            dataclasses.replace(
                item,
                segments=tuple(
                    dataclasses.replace(
                        part,
                        steps=tuple(dataclasses.replace(free, chips=s.chips) for s in part.steps),
                    )
                    for part in item.segments
                ),
            )
            for item in book.offers
        ),
    )


WITHOUT: dict[Idle, Callable[[Book], Book]] = {
    Idle.POWER: without_power,
    Idle.CONTIGUITY: without_contiguity,
    Idle.COVER: without_cover,
    Idle.PRICE: without_prices,
    Idle.ELIGIBILITY: without_eligibility,
}

Running = dict[tuple[str, str], int]
"""Chips by bid and pool."""


def running(outcome: Outcome) -> Running:
    return {
        (award.order_id, award.pool_id): award.chips[0]
        for award in outcome.awards
        if award.side is Side.DEMAND
    }


def bids_of(book: Book) -> Iterator[tuple[StepBid | BlockBid, int, int, int]]:
    """Each bid with its limit, its fewest and its most chips."""
    for bid in book.step_bids:
        step = bid.segments[0].steps[0]
        yield bid, step.price, NODE, step.chips
    for block in book.block_bids:
        least = -(-block.chips * block.min_fill_ppm // 1_000_000)
        yield block, block.limit_price, -(-least // NODE) * NODE, block.chips


def is_feasible(book: Book, runs: Running) -> bool:
    """The rules of one interval with one offer for each pool, straight from their text."""
    watts: Counter[str] = Counter()
    for pool, own in zip(book.pools, book.offers, strict=True):
        firm = interruptible = covered = reserve = 0
        for bid, _, _, _ in bids_of(book):
            chips = runs.get((bid.order_id, pool.pool_id), 0)
            if chips and pool.pool_id not in bid.where.pool_ids:
                return False
            if bid.service_class is ServiceClass.FIRM:
                firm += chips
                covered += chips if bid.cover is Cover.NODE else 0
            else:
                interruptible += chips
                reserve += chips if isinstance(bid, StepBid) else 0
        spare_chips = max(0, -(-covered * pool.node_spare_ppm // 1_000_000) - reserve)
        spare_nodes = -(-spare_chips // NODE)
        offered = own.segments[0].steps[0].chips
        if own.recallable and firm:
            return False
        if firm + interruptible + (0 if own.recallable else NODE * spare_nodes) > offered:
            return False
        watts[pool.site_id] += 1_000 * (firm + interruptible + NODE * spare_nodes)
    return all(
        site.power_limit is None or watts[site.site_id] <= site.power_limit for site in book.sites
    )


def gain(book: Book, limit: int, pool_id: str) -> int:
    """Of one chip of a bid in a pool: its limit without surcharge, fee and the supplier's ask."""
    site = next(site for site in book.sites if site.site_id == f"site-{pool_id}")
    own = next(item for item in book.offers if item.pool_id == pool_id)
    ask = 0 if own.recallable else own.segments[0].steps[0].price
    return limit - site.surcharge - book.spec.operator_fee - ask


def one_more(book: Book, runs: Running, pool_id: str) -> bool:
    """Whether one bid that is not served in full could run its least, or a node, more there."""
    for bid, limit, least, most in bids_of(book):
        has = sum(runs.get((bid.order_id, name), 0) for name in POOLS)
        chips = NODE if has else least
        if has + chips > most or gain(book, limit, pool_id) <= 0:
            continue
        if has and isinstance(bid, BlockBid) and not runs.get((bid.order_id, pool_id)):
            continue  # a gang is in one pool
        more = dict(runs)
        more[bid.order_id, pool_id] = more.get((bid.order_id, pool_id), 0) + chips
        if is_feasible(book, more):
            return True
    return False


def test_the_constraint_named_is_the_one_without_which_one_more_bid_would_run() -> None:
    seen: Counter[Idle] = Counter()
    for seed in range(BOOKS):
        book = random_book(Random(seed))
        outcome, idle = idle_of(book)
        runs = running(outcome)
        assert is_feasible(book, runs), seed
        for pool_id, found in idle.items():
            for reason in found.keys() & WITHOUT.keys():
                if reason is Idle.COVER and found[reason] == spare(outcome, pool_id):
                    continue  # spare nodes are a fact of the outcome
                seen[reason] += 1
                assert one_more(WITHOUT[reason](book), runs, pool_id), (seed, pool_id, reason)
                assert not one_more(book, runs, pool_id) or Idle.NOT_CLEARED in found
            if Idle.NOT_CLEARED in found:
                assert one_more(book, runs, pool_id), (seed, pool_id)
                assert outcome.certificate.gap_ppb > 0, "an optimal outcome leaves nothing"
            if not found.keys() - {Idle.NO_DEMAND, Idle.NOT_OFFERED} and alone(idle, pool_id):
                seen[Idle.NO_DEMAND] += Idle.NO_DEMAND in found
                for reason, relax in WITHOUT.items():
                    assert not one_more(relax(book), runs, pool_id), (seed, pool_id, reason)
    assert all(seen[reason] >= 2 for reason in (*WITHOUT, Idle.NO_DEMAND)), seen


def alone(idle: dict[str, dict[Idle, int]], pool_id: str) -> bool:
    """Whether no other pool has idle chips: a bid that explains some is held against no others."""
    others = (found.keys() for name, found in idle.items() if name != pool_id)
    return all(keys <= {Idle.NOT_OFFERED} for keys in others)
