"""Frozen benchmark books with the structure of a real grid: the same spec gives the same book.

Sites with unlike power and surcharge, four chip classes, pools of log-normal size, supply curves
and demand by the hour of the day, prices that follow class, site and hour, gangs of
8 to 16,384 chips with 2 to 10 eligible pools, a tenth of them in exclusive groups (some across
classes) and a tenth linked, firm and interruptible, NODE cover everywhere and SITE cover on a
tenth of firm gangs, base load in a fifth of the pools. Only integer draws of
``random.Random``, so that hosts agree.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from clearing import codec
from clearing.book import canonical
from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Commitment,
    Cover,
    Eligibility,
    Interval,
    Nomination,
    Offer,
    Pool,
    PricingRule,
    Segment,
    ServiceClass,
    Site,
    Step,
    StepBid,
)
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, Ppm, Seconds, UnixSeconds, Watts

TIE_SEED: Final = b"benchmark books of a compute grid"
NODE: Final = 8
DAY_BEGINS: Final = 1_800_000_000
PPM: Final = 1_000_000
CENT: Final = 10_000

CLASSES: Final = (
    ("nvidia.h100-sxm5-80gb", 220, 1_300),
    ("nvidia.h200-sxm5-141gb", 290, 1_350),
    ("nvidia.b200-sxm6-180gb", 430, 1_900),
    ("amd.mi300x-oam-192gb", 190, 1_400),
)
"""Class, cents per chip-hour around which its prices lie, and watts per chip with cooling."""

GANG_WEIGHTS: Final = (34, 22, 14, 10, 7, 5, 3, 2, 1, 1, 1, 1)
"""Weights of gangs of 8, 16, 32, ... 16,384 chips: most are small, most chips are in the large."""

SIZE_QUANTILES_PER_CENT: Final = (18, 30, 40, 50, 62, 74, 88, 104, 123, 146, 176, 218, 290, 480)
"""Sixteen quantiles of a log-normal distribution with median 1 and sigma 0.9, less the ends."""

DAY_SHAPE_PPM: Final = tuple(
    850_000 + 25_000 * min(abs(hour - 3), 24 - abs(hour - 3)) for hour in range(24)
)
"""Demand by hour of the day: least at three in the night, 35 % more twelve hours later."""


DIGESTS: Final = {
    "tiny": "07b86a6fc5d98016f0875f511749727d3b475ddcf51b8b3564d40fa10779c8a3",
    "small": "7541ff037e6fa693b82057775771a9b7b9ad7b08562c6c177ee92b792c45f270",
    "medium": "4cee48fcf2b260bbcc993a8956c9106069eab4ea0b54c0cf956b72a729bc580d",
    "large": "4092be0353bca9818fb44c19a957dd71d001ad1b845055b724b0401f891433d2",
    "spot": "e23990e4874618790ca2879eef554bec203ad08ee3407f6a92b4093245455111",
    "standing": "68ca26275a366f81849ccce58f4fcc4552a12cbe83d4fb72c9d6bda18bb64ca7",
    "thin 8": "6381a8ebb9a63d02ba110bc3d7f3d17c607f2c5b6cc2098ba248374561121b3e",
    "thin 20": "d70747273013facdf6f1758266ec44aa2a7806af8f037dd121d31e2a8d4569f4",
    "thin 60": "ffca7f244fcfcd29c6b62636fb9d9b06123104a41597b5ac8186be7376b24662",
    "thin 200": "7bb7e26e35b186f90a0024c1f7cfab0b54682dfe4fab3e219a785c08914548f9",
    "strict 8": "6a7ff84b7a2a925b5018a8989f5e8e0ea85603eea87e53bdceb07e4dec3eb46a",
    "strict 20": "643cdaa284fa6f6f887ae1d85728677fe559bfb6495095f88a8bb0de7ab0fe5d",
    "strict 60": "5b8517f9177b07e18dc03c0176ae288d1dad40aa0381fd5c8afc86350c66e2ef",
    "strict 200": "9e048e422a53a0b5583f6de830f43c4a5a5d109ca5bbd95767e62097c6693a22",
}
"""SHA-256 of each canonical book, recorded when its spec was frozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSpec:
    """One generated book.

    Attributes:
        gangs: Block bids.
        hourly: Bid steps x intervals they stand in, about.
        spread: Intervals of one step bid; 1 gives as many orders as ``hourly``.
        offers: Supply orders.
        supply_steps: Steps per offer and interval.
        pools: Pools over ``sites`` sites.
        pool_nodes: Median size of a pool, nodes.
        gang_least_power: The smallest gang has 8 << this chips.
        gang_share_ppm: A gang is named only where its chips are at most this share of the pool.
        duration_s: Length of an interval.
        committed_ppm: Share of offers with a commitment (start-up, no-load, least quantity).
        strict: STRICT_UNIFORM instead of MAKE_WHOLE; there are no commitments then.
        site_cover: A tenth of firm gangs take SITE cover.
        flat: A step bid says the same in all its intervals, in one segment.
    """

    name: str
    gangs: int
    hourly: int
    offers: int
    pools: int
    sites: int
    spread: int = 1
    supply_steps: int = 1
    pool_nodes: int = 1_100
    gang_share_ppm: int = 100_000
    gang_least_power: int = 0
    intervals: int = 24
    duration_s: int = 3_600
    committed_ppm: int = 0
    strict: bool = False
    site_cover: bool = True
    flat: bool = False
    seed: int = 0

    @property
    def sha256(self) -> str:
        """Digest recorded when the spec was frozen; empty for one that was not."""
        return DIGESTS.get(self.name, "")


@dataclass(slots=True, kw_only=True)
class _Draws:
    spec: GridSpec
    random: Random
    sites: tuple[Site, ...] = ()
    pools: tuple[Pool, ...] = ()
    factor: dict[str, int] | None = None

    def price(self, chip_class: str, low: int, high: int, site_id: str = "", hour: int = 12) -> int:
        """A price near that of its class, site and hour, whole cents; low and high in per cent."""
        cents = next(base for name, base, _ in CLASSES if name == chip_class)
        share = self.random.randrange(low, high)
        local = (self.factor or {}).get(site_id, 100)
        shape = DAY_SHAPE_PPM[hour % 24]
        return max(1, cents * share * local * shape // (10_000 * PPM)) * CENT


def generate(spec: GridSpec) -> Book:
    """The book of a spec."""
    draws = _Draws(spec=spec, random=Random(spec.seed))
    draws.pools = _pools(draws)
    draws.sites = _sites(draws)
    nominations = _nominations(draws)
    offers = _offers(draws, nominations)
    gangs = _gangs(draws)
    return Book(
        spec=AuctionSpec(
            auction_id=f"grid-{spec.name.replace(' ', '-')}",
            intervals=tuple(
                Interval(
                    start=UnixSeconds(DAY_BEGINS + t * spec.duration_s),
                    end=UnixSeconds(DAY_BEGINS + (t + 1) * spec.duration_s),
                )
                for t in range(spec.intervals)
            ),
            operator_fee=MicroUsdPerChipHour(CENT),
            pricing_rule=PricingRule.STRICT_UNIFORM if spec.strict else PricingRule.MAKE_WHOLE,
            seed_commitment=hashlib.sha256(TIE_SEED).hexdigest(),
        ),
        sites=draws.sites,
        pools=draws.pools,
        offers=offers,
        step_bids=_step_bids(draws, gangs),
        block_bids=gangs,
        nominations=nominations,
    )


def digest(book: Book) -> str:
    """SHA-256 of the canonical book, lower-case hex."""
    return codec.digest(canonical(book))


def _pools(draws: _Draws) -> tuple[Pool, ...]:
    """Pools by size: a quantile of a log-normal distribution, a little moved."""
    spec, random = draws.spec, draws.random
    draws.factor = {f"site-{i:04d}": random.randrange(88, 113) for i in range(spec.sites)}
    pools = []
    for number in range(spec.pools):
        per_cent = random.choice(SIZE_QUANTILES_PER_CENT) * random.randrange(85, 116) // 100
        nodes = max(4, spec.pool_nodes * per_cent // 100)
        chip_class, _, watts = CLASSES[random.choice((0, 0, 0, 1, 1, 2, 2, 3))]
        pools.append(
            Pool(
                pool_id=f"pool-{number:04d}",
                site_id=f"site-{number % spec.sites:04d}",
                chip_class=chip_class,
                chips_per_node=Chips(NODE),
                capacity=Chips(NODE * min(nodes, 40_000)),
                chip_power=Watts(watts),
                node_spare_ppm=Ppm(10_000),
            )
        )
    return tuple(pools)


def _sites(draws: _Draws) -> tuple[Site, ...]:
    """Every third site has less power than its pools could draw."""
    full: dict[str, int] = {}
    for pool in draws.pools:
        full[pool.site_id] = full.get(pool.site_id, 0) + pool.capacity * pool.chip_power
    return tuple(
        Site(
            site_id=f"site-{i:04d}",
            surcharge=MicroUsdPerChipHour(draws.random.randrange(0, 6) * 10 * CENT),
            power_limit=Watts(full.get(f"site-{i:04d}", 0) * 93 // 100) if i % 3 == 0 else None,
            region=("us-south", "us-west", "eu-north", "ap-east")[i % 4],
        )
        for i in range(draws.spec.sites)
    )


def _nominations(draws: _Draws) -> tuple[Nomination, ...]:
    """Base load of a tenth of the pool in every fifth pool."""
    found = []
    for number, pool in enumerate(draws.pools):
        nodes = pool.capacity // NODE // 10
        if number % 5 or not nodes:
            continue
        found.append(
            Nomination(
                order_id=f"base-{number:04d}",
                entitlement_id=f"entitlement-{number:04d}",
                participant_id=f"lab-{number % 97:02d}",
                pool_id=pool.pool_id,
                segments=(
                    Segment(
                        first=0,
                        stop=draws.spec.intervals,
                        steps=(
                            Step(
                                price=MicroUsdPerChipHour(200 * CENT),
                                chips=Chips(NODE * nodes),
                            ),
                        ),
                    ),
                ),
            )
        )
    return tuple(found)


def _offers(draws: _Draws, nominations: tuple[Nomination, ...]) -> tuple[Offer, ...]:
    """Offers that share out what base load leaves of each pool, cheaper by night."""
    spec, random = draws.spec, draws.random
    based = {n.pool_id: n.segments[0].steps[0].chips for n in nominations}
    offers: list[Offer] = []
    for number, pool in enumerate(draws.pools):
        sellers = spec.offers // spec.pools + (number < spec.offers % spec.pools)
        nodes = (pool.capacity - based.get(pool.pool_id, 0)) // NODE
        sellers = max(1, min(sellers, nodes))
        for seller in range(sellers):
            share = nodes // sellers + (seller < nodes % sellers)
            base = draws.price(pool.chip_class, 55, 125, pool.site_id)
            committed = random.randrange(PPM) < spec.committed_ppm and share >= 2
            offers.append(
                Offer(
                    order_id=f"offer-{pool.pool_id}-{seller:02d}",
                    participant_id=f"cloud-{(number * 7 + seller) % 60:02d}",
                    pool_id=pool.pool_id,
                    segments=tuple(
                        Segment(first=t, stop=t + 1, steps=_curve(draws, base, share, t))
                        for t in range(spec.intervals)
                    ),
                    commitment=_commitment(random, share, base) if committed else None,
                )
            )
    return tuple(offers)


def _curve(draws: _Draws, base: int, nodes: int, interval: int) -> tuple[Step, ...]:
    """Steps from a base price upwards, a few cents apart, by the shape of the day."""
    count = min(draws.spec.supply_steps, nodes)
    hour = interval * draws.spec.duration_s // 3_600
    cents = base // CENT * DAY_SHAPE_PPM[hour % 24] // PPM
    steps = []
    for position in range(count):
        cents += draws.random.randrange(1, 12)
        part = nodes // count + (position < nodes % count)
        steps.append(Step(price=MicroUsdPerChipHour(cents * CENT), chips=Chips(NODE * part)))
    return tuple(steps)


def _commitment(random: Random, nodes: int, base: int) -> Commitment:
    """Start-up of about two hours of a tenth of its chips, least quantity 30 to 70 %."""
    chips = nodes * NODE
    return Commitment(
        start_up=MicroUsd(base * chips // 10 * random.randrange(1, 4)),
        no_load=MicroUsd(base * chips // 100),
        min_run_intervals=random.choice((1, 2, 4)),
        min_chips=Chips(NODE * max(1, nodes * random.randrange(30, 71) // 100)),
    )


def _gangs(draws: _Draws) -> tuple[BlockBid, ...]:
    spec = draws.spec
    known: dict[tuple[str, int], list[str]] = {}
    for name, _, _ in CLASSES:
        local = [pool for pool in draws.pools if pool.chip_class == name]
        for power in range(len(GANG_WEIGHTS)):
            chips = NODE << power
            known[name, chips] = [
                pool.pool_id for pool in local if chips * PPM <= pool.capacity * spec.gang_share_ppm
            ]
    gangs: list[BlockBid] = []
    while len(gangs) < spec.gangs:
        number = len(gangs)
        bid = _gang(draws, known, number)
        kind = number % 20
        gangs.append(bid)
        if len(gangs) == spec.gangs:
            break
        if kind == 0:
            gangs[-1] = _changed(bid, exclusive_group=f"group-{number:06d}")
            twin = _gang(draws, known, number + 1)
            gangs.append(
                _changed(
                    twin,
                    participant_id=bid.participant_id,
                    exclusive_group=f"group-{number:06d}",
                )
            )
        elif kind == 10:
            child = _gang(draws, known, number + 1)
            gangs.append(
                _changed(
                    child, participant_id=bid.participant_id, parent_order_id=gangs[-1].order_id
                )
            )
    return tuple(gangs)


def _changed(bid: BlockBid, **changes: str) -> BlockBid:
    fields = {name: getattr(bid, name) for name in BlockBid.__dataclass_fields__}
    return BlockBid(**{**fields, **changes})


def _gang(draws: _Draws, known: dict[tuple[str, int], list[str]], number: int) -> BlockBid:
    spec, random = draws.spec, draws.random
    chip_class = CLASSES[random.choice((0, 0, 0, 1, 1, 2, 2, 3))][0]
    powers = range(spec.gang_least_power, len(GANG_WEIGHTS))
    power = random.choices(powers, weights=GANG_WEIGHTS[spec.gang_least_power :])[0]
    fewest = 1 if spec.gang_least_power else 2
    while power and len(known[chip_class, NODE << power]) < fewest:
        power -= 1
    fits = known[chip_class, NODE << power] or [p.pool_id for p in draws.pools]
    interruptible = random.randrange(10) < 4
    site_cover = spec.site_cover and not interruptible and random.randrange(10) == 0
    count = min(len(fits), random.randrange(2, 5 if site_cover else 11))
    pools = tuple(sorted(random.sample(fits, count)))
    if site_cover:
        sites = {pool.site_id for pool in draws.pools if pool.pool_id in pools}
        classes = {pool.chip_class for pool in draws.pools if pool.pool_id in pools}
        site_cover = len(sites) > 1 and len(classes) == 1
    duration = min(spec.intervals, random.choice((2, 3, 4, 6, 8, 12, 24)))
    start = random.randrange(0, spec.intervals - duration + 1)
    low, high = (70, 190) if interruptible else (95, 260)
    cover = Cover.SITE if site_cover else Cover.NODE
    return BlockBid(
        order_id=f"gang-{number:06d}",
        participant_id=f"lab-{random.randrange(97):02d}",
        where=Eligibility(pool_ids=pools),
        earliest_start=start,
        latest_start=start,
        duration=duration,
        chips=Chips(NODE << power),
        limit_price=MicroUsdPerChipHour(draws.price(chip_class, low, high)),
        min_fill_ppm=Ppm(random.choice((PPM, PPM, PPM, PPM // 2)) if power else PPM),
        service_class=ServiceClass.INTERRUPTIBLE if interruptible else ServiceClass.FIRM,
        cover=Cover.NONE if interruptible else cover,
        notice_s=Seconds(random.choice((60, 300, 900, 1_800, 3_600)) if interruptible else 0),
    )


def _step_bids(draws: _Draws, gangs: tuple[BlockBid, ...]) -> tuple[StepBid, ...]:
    """Divisible demand that brings the book to about 125 % of its capacity."""
    spec, random = draws.spec, draws.random
    capacity = sum(pool.capacity for pool in draws.pools) // NODE * spec.intervals
    asked = sum(gang.chips * gang.duration for gang in gangs) // NODE
    wanted = max(capacity * 125 // 100 - asked, capacity * 40 // 100)
    nodes = max(1, 2 * wanted // spec.hourly)
    by_class: dict[str, list[Pool]] = {}
    for pool in draws.pools:
        by_class.setdefault(pool.chip_class, []).append(pool)
    classes = sorted(by_class)
    bids = []
    spread = min(spec.spread, spec.intervals)
    for number in range(max(1, spec.hourly // spread)):
        chip_class = random.choice(classes)
        local = by_class[chip_class]
        several = random.randrange(4) == 0
        count = min(len(local), random.randrange(2, 5)) if several else 1
        pools = random.sample(local, count)
        interruptible = random.randrange(2) == 0
        first = random.randrange(0, spec.intervals - spread + 1)
        low, high = (60, 170) if interruptible else (85, 260)
        bids.append(
            StepBid(
                order_id=f"step-{number:06d}",
                participant_id=f"lab-{random.randrange(97):02d}",
                where=Eligibility(pool_ids=tuple(sorted(pool.pool_id for pool in pools))),
                segments=tuple(
                    Segment(
                        first=t,
                        stop=t + (spread if spec.flat else 1),
                        steps=(
                            Step(
                                price=MicroUsdPerChipHour(
                                    draws.price(
                                        chip_class,
                                        low,
                                        high,
                                        pools[0].site_id,
                                        t * spec.duration_s // 3_600,
                                    )
                                ),
                                chips=Chips(NODE * random.randrange(1, nodes + 1)),
                            ),
                        ),
                    )
                    for t in range(first, first + (1 if spec.flat else spread))
                ),
                service_class=ServiceClass.INTERRUPTIBLE if interruptible else ServiceClass.FIRM,
                cover=Cover.NONE if interruptible else Cover.NODE,
                notice_s=Seconds(
                    random.choice((60, 300, 900, 1_800, 3_600)) if interruptible else 0
                ),
            )
        )
    return tuple(bids)


SMALL: Final = GridSpec(name="small", gangs=500, hourly=5_000, offers=500, pools=120, sites=24)
MEDIUM: Final = GridSpec(
    name="medium", gangs=5_000, hourly=50_000, offers=2_000, pools=120, sites=24, seed=1
)
LARGE: Final = GridSpec(
    name="large",
    gangs=100_000,
    hourly=520_000,
    spread=20,
    offers=20_000,
    pools=2_000,
    sites=200,
    pool_nodes=320,
    gang_share_ppm=300_000,
    seed=2,
)
SPOT: Final = GridSpec(
    name="spot",
    gangs=5_000,
    hourly=540_000,
    spread=12,
    offers=500,
    pools=120,
    sites=24,
    intervals=12,
    duration_s=300,
    seed=3,
)
STANDING: Final = replace(SPOT, name="standing", flat=True, site_cover=False)
"""Standing orders of a spot market, each with one price; see ``tests.benchmarks.spot_runs``."""

THIN: Final = tuple(
    GridSpec(
        name=f"thin {gangs}",
        gangs=gangs,
        hourly=6 * gangs,
        spread=3,
        offers=max(6, gangs // 4),
        pools=6 if gangs < 100 else 12,
        sites=3,
        pool_nodes=2_500,
        gang_least_power=6,
        gang_share_ppm=1_000_000,
        committed_ppm=500_000,
        seed=10 + gangs,
    )
    for gangs in (8, 20, 60, 200)
)
"""Thin and blocky: gangs up to the size of a pool, half the supply with least quantities."""

STRICT: Final = tuple(
    GridSpec(
        name=f"strict {spec.gangs}",
        gangs=spec.gangs,
        hourly=spec.hourly,
        spread=spec.spread,
        offers=spec.offers,
        pools=spec.pools,
        sites=spec.sites,
        pool_nodes=spec.pool_nodes,
        gang_least_power=spec.gang_least_power,
        gang_share_ppm=spec.gang_share_ppm,
        strict=True,
        seed=spec.seed,
    )
    for spec in THIN
)
"""The thin books without commitments, under STRICT_UNIFORM."""

TINY: Final = GridSpec(
    name="tiny", gangs=6, hourly=30, spread=3, offers=8, pools=4, sites=2, pool_nodes=16, seed=7
)

GROWTH_BASE: Final = GridSpec(
    name="growth", gangs=1_000, hourly=10_000, offers=500, pools=60, sites=12, seed=20
)
"""The book whose orders, pools and intervals are multiplied to see how the engine grows."""

FACTORS: Final = (1, 2, 4, 8)
"""By how much each axis grows."""


def _growth() -> dict[str, tuple[GridSpec, ...]]:
    """Specs by axis; orders grow with pools of a fixed total, intervals with the orders' spread."""
    base = GROWTH_BASE
    return {
        "orders": tuple(
            replace(
                base,
                name=f"growth orders x{k}",
                gangs=base.gangs * k,
                hourly=base.hourly * k,
                offers=base.offers * k,
            )
            for k in FACTORS
        ),
        "pools": tuple(
            replace(
                base,
                name=f"growth pools x{k}",
                pools=base.pools * k,
                sites=base.sites * k,
                pool_nodes=max(1, base.pool_nodes // k),
            )
            for k in FACTORS
        ),
        "intervals": tuple(
            replace(base, name=f"growth intervals x{k}", intervals=base.intervals * k)
            for k in FACTORS
        ),
    }


GROWTH: Final = _growth()

SPECS: Final = {
    spec.name: spec
    for spec in (
        *(TINY, SMALL, MEDIUM, LARGE, SPOT, STANDING),
        *THIN,
        *STRICT,
        *(spec for specs in GROWTH.values() for spec in specs),
    )
}
