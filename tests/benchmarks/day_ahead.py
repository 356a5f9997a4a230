"""Generated day-ahead books: the same seed gives the same book, with a recorded digest.

Pools of unlike size at a few sites, two chip classes, supply curves by day and night, firm
demand with NODE cover, interruptibles that serve as reserve, gangs (some in exclusive
groups), about as much demand as supply. Only integer draws, so that hosts agree.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random
from typing import Final

from clearing import codec
from clearing.book import canonical
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
from clearing.units import Chips, MicroUsdPerChipHour, Ppm, Seconds, UnixSeconds, Watts

TIE_SEED: Final = b"benchmark of the clearing engine"
HOURS: Final = 24
NODE: Final = 8
CLASSES: Final = ("nvidia.h100-sxm5-80gb", "nvidia.b200-sxm6-180gb")
NODES_PER_POOL: Final = (24, 32, 48, 64, 96, 160)
GANG_NODES: Final = (1, 2, 2, 4, 4, 8, 12, 16)
HOUR_S: Final = 3_600
DAY_BEGINS: Final = 1_800_000_000
GROUP_PAIRS: Final = 5
"""One gang in this many is followed by an exclusive twin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookSize:
    """One generated book.

    Attributes:
        orders: Offers, step bids and gangs together.
        sha256: Digest of the canonical book, recorded when the size was frozen.
    """

    name: str
    orders: int
    pools: int
    sites: int
    seed: int
    sha256: str


def generate(size: BookSize) -> Book:
    """The book of a size."""
    draw = Random(size.seed)
    sites = tuple(
        Site(
            site_id=f"site-{i:02d}",
            surcharge=_price(draw.randrange(0, 6)),
            power_limit=Watts(400_000) if i == 0 else None,
            region=("us-south", "us-west", "eu-north")[i % 3],
        )
        for i in range(size.sites)
    )
    pools = tuple(
        Pool(
            pool_id=f"pool-{i:02d}",
            site_id=sites[i % size.sites].site_id,
            chip_class=CLASSES[i // size.sites % len(CLASSES)],
            chips_per_node=Chips(NODE),
            capacity=Chips(NODE * draw.choice(NODES_PER_POOL)),
            chip_power=Watts(1_300),
            node_spare_ppm=Ppm(20_000),
        )
        for i in range(size.pools)
    )
    offer_count = max(size.pools, size.orders // 5)
    gang_count = size.orders * 2 // 5
    bid_count = size.orders - offer_count - gang_count
    offers = _offers(draw, pools, offer_count)
    supply = sum(pool.capacity for pool in pools) // NODE
    return Book(
        spec=AuctionSpec(
            auction_id=f"bench-{size.name}",
            intervals=tuple(
                Interval(
                    start=UnixSeconds(DAY_BEGINS + t * HOUR_S),
                    end=UnixSeconds(DAY_BEGINS + (t + 1) * HOUR_S),
                )
                for t in range(HOURS)
            ),
            operator_fee=MicroUsdPerChipHour(10_000),
            seed_commitment=hashlib.sha256(TIE_SEED).hexdigest(),
        ),
        sites=sites,
        pools=pools,
        offers=offers,
        step_bids=tuple(_step_bid(draw, i, pools, supply, bid_count) for i in range(bid_count)),
        block_bids=_gangs(draw, pools, gang_count),
    )


def digest(book: Book) -> str:
    """SHA-256 of the canonical book, lower-case hex."""
    return codec.digest(canonical(book))


def _price(dimes: int) -> MicroUsdPerChipHour:
    return MicroUsdPerChipHour(dimes * 100_000)


def _cents(draw: Random, low: int, high: int) -> MicroUsdPerChipHour:
    return MicroUsdPerChipHour(draw.randrange(low, high) * 10_000)


def _curve(draw: Random, low: int, high: int, nodes: int, *, rising: bool) -> tuple[Step, ...]:
    """Two or three steps that share out some nodes."""
    count = min(nodes, draw.choice((2, 3)))
    prices = sorted(draw.sample(range(low, high), count), reverse=not rising)
    share = nodes // count
    parts = [share] * (count - 1) + [nodes - share * (count - 1)]
    return tuple(
        Step(price=MicroUsdPerChipHour(cents * 10_000), chips=Chips(NODE * part))
        for cents, part in zip(prices, parts, strict=True)
    )


def _offers(draw: Random, pools: tuple[Pool, ...], count: int) -> tuple[Offer, ...]:
    """Offers that share out the capacity of their pools."""
    per_pool = [count // len(pools) + (i < count % len(pools)) for i in range(len(pools))]
    offers = []
    for pool, sellers in zip(pools, per_pool, strict=True):
        nodes = pool.capacity // NODE // sellers
        for i in range(sellers):
            cut = draw.randrange(6, 12)
            offers.append(
                Offer(
                    order_id=f"offer-{pool.pool_id}-{i:02d}",
                    participant_id=f"seller-{pool.pool_id}-{i % 3}",
                    pool_id=pool.pool_id,
                    segments=(
                        Segment(first=0, stop=cut, steps=_curve(draw, 80, 180, nodes, rising=True)),
                        Segment(
                            first=cut, stop=HOURS, steps=_curve(draw, 120, 260, nodes, rising=True)
                        ),
                    ),
                )
            )
    return tuple(offers)


def _where(draw: Random, pools: tuple[Pool, ...]) -> Eligibility:
    if draw.randrange(3) == 0:
        return Eligibility(chip_classes=(draw.choice(CLASSES),))
    names = [pool.pool_id for pool in pools]
    return Eligibility(pool_ids=tuple(sorted(draw.sample(names, draw.randrange(2, 5)))))


def _step_bid(
    draw: Random, number: int, pools: tuple[Pool, ...], supply: int, count: int
) -> StepBid:
    """Three in four hours of the day on average; all bids together want most of the supply."""
    interruptible = draw.randrange(2) == 0
    first = draw.randrange(0, 12)
    stop = draw.randrange(first + 6, HOURS + 1)
    most = max(3, supply * 2 // count)
    prices = (100, 260) if interruptible else (180, 500)
    return StepBid(
        order_id=f"step-{number:04d}",
        participant_id=f"lab-{number % 40:02d}",
        where=_where(draw, pools),
        segments=(
            Segment(
                first=first,
                stop=stop,
                steps=_curve(draw, *prices, draw.randrange(2, most + 2), rising=False),
            ),
        ),
        service_class=ServiceClass.INTERRUPTIBLE if interruptible else ServiceClass.FIRM,
        cover=Cover.NONE if interruptible else Cover.NODE,
        notice_s=Seconds(draw.choice((60, 300, 900)) if interruptible else 0),
    )


def _gangs(draw: Random, pools: tuple[Pool, ...], count: int) -> tuple[BlockBid, ...]:
    """All-or-none and partly fillable gangs, firm; an exclusive twin asks for half as much."""
    gangs: list[BlockBid] = []
    while len(gangs) < count:
        number = len(gangs)
        duration = draw.choice((2, 4, 6, 8, 12, 24))
        start = draw.randrange(0, HOURS - duration + 1)
        nodes = draw.choice(GANG_NODES)
        paired = number % GROUP_PAIRS == 0 and number + 1 < count and nodes > 1
        where, price = _where(draw, pools), _cents(draw, 180, 420)
        fill = draw.choice((500_000, 1_000_000, 1_000_000))
        for twin in range(2 if paired else 1):
            gangs.append(
                BlockBid(
                    order_id=f"gang-{len(gangs):04d}",
                    participant_id=f"lab-{number % 40:02d}",
                    where=where,
                    earliest_start=start,
                    latest_start=start,
                    duration=duration,
                    chips=Chips(NODE * (nodes >> twin)),
                    limit_price=MicroUsdPerChipHour(price + twin * 200_000),
                    min_fill_ppm=Ppm(1_000_000 if twin else fill),
                    exclusive_group=f"group-{number:04d}" if paired else "",
                )
            )
    return tuple(gangs)
