"""Day-ahead books of every sort: the benchmark's generator, varied by a seed.

What the benchmark keeps fixed varies here: the share held in reserve, power limits, notice
classes, nominated base load with and without cover, released base load, and how much is wanted.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from clearing.types import Book, Cover, Nomination, Offer, Segment, Step, StepBid
from clearing.units import Chips, MicroUsdPerChipHour, Ppm, Seconds, Watts
from tests.benchmarks.day_ahead import HOURS, NODE, BookSize, generate

NOTICES_S = (60, 300, 900, 1_800, 7_200)
BASE_NODES_MAX = 40
RELEASED_NODES_MAX = 20
CONTRACT_PRICE = MicroUsdPerChipHour(1_500_000)


def varied(seed: int, *, orders: tuple[int, int] = (50, 300)) -> Book:
    """The book of a seed: ``orders`` at least and at most, 6 to 12 pools at 2 to 4 sites, 24 h."""
    draw = Random(seed)
    size = BookSize(
        name=f"varied {seed}",
        orders=draw.randint(*orders),
        pools=draw.randint(6, 12),
        sites=draw.randint(2, 4),
        seed=seed,
        sha256="",
    )
    book = generate(size)
    theta = Ppm(draw.randint(10, 50) * 1_000)
    book = replace(book, pools=tuple(replace(p, node_spare_ppm=theta) for p in book.pools))
    book = replace(
        book,
        step_bids=tuple(_with_notice(draw, bid) for bid in book.step_bids),
        nominations=_nominations(draw, book),
    )
    book = replace(book, offers=(*book.offers, *_released(draw, book)))
    return _with_power(draw, _with_room(book))


def _with_notice(draw: Random, bid: StepBid) -> StepBid:
    if bid.cover is Cover.NODE:
        return replace(bid, cover=Cover.NONE) if draw.randrange(4) == 0 else bid
    return replace(bid, notice_s=Seconds(draw.choice(NOTICES_S)))


def _nominations(draw: Random, book: Book) -> tuple[Nomination, ...]:
    """Base load beside what is offered, with daily swing, mostly covered."""
    return tuple(
        Nomination(
            order_id=f"nomination-{pool.pool_id}",
            entitlement_id=f"entitlement-{pool.pool_id}",
            participant_id="holder",
            pool_id=pool.pool_id,
            segments=(_flat(0, 8, CONTRACT_PRICE, low), _flat(8, HOURS, CONTRACT_PRICE, high)),
            cover=draw.choice((Cover.NODE, Cover.NODE, Cover.NONE)),
        )
        for pool in book.pools
        if draw.randrange(3) == 0
        for low, high in [(draw.randint(1, 12), draw.randint(4, BASE_NODES_MAX))]
    )


def _released(draw: Random, book: Book) -> tuple[Offer, ...]:
    """What the holders of base load leave to interruptibles at night."""
    return tuple(
        Offer(
            order_id=f"released-{nomination.pool_id}",
            participant_id="holder",
            pool_id=nomination.pool_id,
            segments=(
                _flat(0, 8, MicroUsdPerChipHour(500_000), draw.randint(1, RELEASED_NODES_MAX)),
            ),
            recallable=True,
        )
        for nomination in book.nominations
        if draw.randrange(2) == 0
    )


def _flat(first: int, stop: int, price: MicroUsdPerChipHour, nodes: int) -> Segment:
    return Segment(first=first, stop=stop, steps=(Step(price=price, chips=Chips(NODE * nodes)),))


def _with_room(book: Book) -> Book:
    """Pools as large as what is offered and what was set aside for base load together."""
    base = {nomination.pool_id for nomination in book.nominations}
    room = Chips(NODE * (BASE_NODES_MAX + RELEASED_NODES_MAX))
    return replace(
        book,
        pools=tuple(
            replace(pool, capacity=Chips(pool.capacity + room)) if pool.pool_id in base else pool
            for pool in book.pools
        ),
    )


def _with_power(draw: Random, book: Book) -> Book:
    """A limit at some sites, of half to all of what their pools and base load could draw."""
    sites = []
    for site in book.sites:
        local = [pool for pool in book.pools if pool.site_id == site.site_id]
        most = sum(pool.capacity * pool.chip_power for pool in local)
        share = draw.randint(50, 100)
        limited = draw.randrange(3) == 0
        sites.append(replace(site, power_limit=Watts(most * share // 100) if limited else None))
    return replace(book, sites=tuple(sites))
