"""Random tiny books without the rarer kinds: one chip per node, dimes as prices, much scarcity.

They shrink piece by piece, which ``random_books`` does not.
"""

from __future__ import annotations

import hashlib

from hypothesis import strategies as st

from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Cover,
    Eligibility,
    Interval,
    Nomination,
    Offer,
    Pool,
    Segment,
    ServiceClass,
    Site,
    Step,
    StepBid,
)
from clearing.units import Chips, MicroUsdPerChipHour, Ppm, Seconds, UnixSeconds, Watts
from tests.property.random_books import DIME, SEED

HOUR = 3_600


def _price(dimes: int) -> MicroUsdPerChipHour:
    return MicroUsdPerChipHour(dimes * DIME)


@st.composite
def _segments(
    draw: st.DrawFn, intervals: int, *, rising: bool, steps_max: int = 2
) -> tuple[Segment, ...]:
    first = draw(st.integers(0, intervals - 1))
    stop = draw(st.integers(first + 1, intervals))
    prices = draw(st.lists(st.integers(0, 80), min_size=1, max_size=steps_max, unique=True))
    steps = tuple(
        Step(price=_price(price), chips=Chips(draw(st.integers(1, 8))))
        for price in sorted(prices, reverse=not rising)
    )
    return (Segment(first=first, stop=stop, steps=steps),)


@st.composite
def books(draw: st.DrawFn, *, covered: bool) -> Book:
    """A book; with ``covered`` also spare shares, interruptibles, released and nominated base."""
    intervals = draw(st.integers(1, 3))
    sites = [
        Site(
            site_id=f"z{i}",
            surcharge=_price(draw(st.integers(0, 8))),
            power_limit=Watts(1_000 * draw(st.integers(4, 20)))
            if covered and draw(st.booleans())
            else None,
        )
        for i in range(draw(st.integers(1, 2)))
    ]
    pools = [
        Pool(
            pool_id=f"p{i}",
            site_id=draw(st.sampled_from(sites)).site_id,
            chip_class="c",
            chips_per_node=Chips(1),
            capacity=Chips(200),
            chip_power=Watts(1_000 if covered else 0),
            node_spare_ppm=Ppm(
                draw(st.sampled_from([0, 100_000, 250_000, 500_000])) if covered else 0
            ),
        )
        for i in range(draw(st.integers(1, 3)))
    ]
    names = [pool.pool_id for pool in pools]
    offers = tuple(
        Offer(
            order_id=f"o{i}",
            participant_id=f"seller{i}",
            pool_id=draw(st.sampled_from(names)),
            segments=draw(_segments(intervals, rising=True)),
            recallable=covered and draw(st.integers(0, 3)) == 0,
        )
        for i in range(draw(st.integers(1, 3)))
    )
    step_bids = tuple(
        _step_bid(draw, f"s{i}", names, intervals, covered=covered)
        for i in range(draw(st.integers(0, 3)))
    )
    blocks = tuple(
        _block(draw, f"b{i}", names, intervals, covered=covered)
        for i in range(draw(st.integers(0, 3)))
    )
    return Book(
        spec=AuctionSpec(
            auction_id="twin",
            intervals=tuple(
                Interval(start=UnixSeconds(t * HOUR), end=UnixSeconds((t + 1) * HOUR))
                for t in range(intervals)
            ),
            operator_fee=_price(draw(st.integers(0, 1))),
            tie_credit=MicroUsdPerChipHour(draw(st.sampled_from([0, 100]))),
            seed_commitment=hashlib.sha256(SEED).hexdigest(),
        ),
        sites=tuple(sites),
        pools=tuple(pools),
        offers=offers,
        step_bids=step_bids,
        block_bids=blocks,
        nominations=_nominations(draw, names, intervals) if covered else (),
    )


def _where(draw: st.DrawFn, names: list[str]) -> Eligibility:
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    return Eligibility(pool_ids=tuple(sorted(chosen)))


def _terms(draw: st.DrawFn, *, covered: bool) -> tuple[ServiceClass, Cover, Seconds]:
    if not covered:
        return ServiceClass.FIRM, Cover.NONE, Seconds(0)
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return ServiceClass.FIRM, Cover.NONE, Seconds(0)
    if kind == 1:
        return ServiceClass.FIRM, Cover.NODE, Seconds(0)
    notice = draw(st.sampled_from([60, 900, 7_200]))
    return ServiceClass.INTERRUPTIBLE, Cover.NONE, Seconds(notice)


def _step_bid(
    draw: st.DrawFn, name: str, names: list[str], intervals: int, *, covered: bool
) -> StepBid:
    service_class, cover, notice = _terms(draw, covered=covered)
    return StepBid(
        order_id=name,
        participant_id=f"buyer-{name}",
        where=_where(draw, names),
        segments=draw(_segments(intervals, rising=False)),
        service_class=service_class,
        cover=cover,
        notice_s=notice,
    )


def _block(
    draw: st.DrawFn, name: str, names: list[str], intervals: int, *, covered: bool
) -> BlockBid:
    service_class, cover, notice = _terms(draw, covered=covered)
    duration = draw(st.integers(1, intervals))
    earliest = draw(st.integers(0, intervals - duration))
    return BlockBid(
        order_id=name,
        participant_id="lab",
        where=_where(draw, names),
        earliest_start=earliest,
        latest_start=earliest,
        duration=duration,
        chips=Chips(draw(st.integers(1, 5)) * 2),
        limit_price=_price(draw(st.integers(1, 80))),
        min_fill_ppm=Ppm(draw(st.sampled_from([500_000, 1_000_000]))),
        service_class=service_class,
        cover=cover,
        notice_s=notice,
        exclusive_group=draw(st.sampled_from(["", "", "x"])),
    )


def _nominations(draw: st.DrawFn, names: list[str], intervals: int) -> tuple[Nomination, ...]:
    if draw(st.integers(0, 2)):
        return ()
    return (
        Nomination(
            order_id="n0",
            entitlement_id="e0",
            participant_id="holder",
            pool_id=draw(st.sampled_from(names)),
            segments=draw(_segments(intervals, rising=True, steps_max=1)),
            cover=draw(st.sampled_from([Cover.NONE, Cover.NODE])),
        ),
    )
