"""A day of the Italian market as a book: zones are pools, capacities links, borders given.

A border zone trades any quantity at its published price, in both directions. Supply blocks
are offers with a ``whole`` commitment, demand blocks all-or-none profiles. One kWh in an hour
is one chip, and the balance is an equality, because prices may be negative.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Commitment,
    Cover,
    Eligibility,
    Interval,
    Link,
    Offer,
    Pool,
    PricingRule,
    Segment,
    Site,
    Step,
    StepBid,
)
from clearing.units import Chips, MicroUsdPerChipHour, Ppm, UnixSeconds
from iso_exchange.replay.italy.data import PRICE_UNITS_PER_EUR, BlockOrder, Curve, Day

TIE_SEED: Final = b"italian day-ahead market"
ZONE: Final = "zone"
"""Site and chip class of every zone: what is traded is one good, power."""

FLOOR_EUR: Final = -500
CAP_EUR: Final = 4_000
TICK: Final = 1
"""Published prices of borders have up to five decimals."""
HOUR_S: Final = 3_600
BORDER_MOST: Final = Chips(50_000_000)
"""Quantity at which a border buys and sells: more than its links carry."""


def book_of(day: Day, *, blind: bool) -> Book:
    """The book of a day.

    Args:
        day: As read.
        blind: Decide blocks here; otherwise the accepted ones are in the curves.
    """
    hours = day.hours
    curves = day.simple if blind else day.curves
    names = sorted({*day.zones, *(zone for pair in day.capacities for zone in pair)})
    offers = [_offer(zone, curves, hours) for zone in day.zones]
    bids = [_bid(zone, curves, hours) for zone in day.zones]
    borders = [zone for zone in names if zone not in day.zones and _linked(day, zone)]
    for zone in borders:
        at = {hour: {day.prices[zone, hour]: int(BORDER_MOST)} for hour in range(hours)}
        offers.append(_offer(zone, {(zone, True, h): c for h, c in at.items()}, hours))
        bids.append(_bid(zone, {(zone, False, h): c for h, c in at.items()}, hours))
    blocks = day.blocks if blind else []
    return Book(
        spec=_spec(day, blind=blind),
        sites=(Site(site_id=ZONE, surcharge=MicroUsdPerChipHour(0)),),
        pools=tuple(_pool(zone) for zone in (*day.zones, *borders)),
        offers=(*(o for o in offers if o.segments), *(_sold(b) for b in blocks if b.supply)),
        step_bids=tuple(bid for bid in bids if bid.segments),
        block_bids=tuple(_bought(block) for block in blocks if not block.supply),
        links=_links(day),
    )


def _linked(day: Day, zone: str) -> bool:
    """Whether a border touches a zone with orders; flows between borders decide nothing."""
    return any(zone in pair and set(pair) & set(day.zones) for pair in day.capacities)


def _spec(day: Day, *, blind: bool) -> AuctionSpec:
    begins = int(datetime.fromisoformat(f"{day.day}T00:00:00+00:00").timestamp())
    return AuctionSpec(
        auction_id=f"italy-{day.day}{'-blind' if blind else ''}",
        intervals=tuple(
            Interval(
                start=UnixSeconds(begins + hour * HOUR_S),
                end=UnixSeconds(begins + (hour + 1) * HOUR_S),
            )
            for hour in range(day.hours)
        ),
        price_floor=MicroUsdPerChipHour(FLOOR_EUR * PRICE_UNITS_PER_EUR),
        price_cap=MicroUsdPerChipHour(CAP_EUR * PRICE_UNITS_PER_EUR),
        tick=MicroUsdPerChipHour(TICK),
        pricing_rule=PricingRule.STRICT_UNIFORM if blind else PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(0),
        seed_commitment=hashlib.sha256(TIE_SEED).hexdigest(),
    )


def _pool(zone: str) -> Pool:
    return Pool(
        pool_id=zone,
        site_id=ZONE,
        chip_class="power",
        chips_per_node=Chips(1),
        capacity=Chips(100_000_000),
        node_spare_ppm=Ppm(0),
    )


def _segments(
    zone: str, curves: dict[tuple[str, bool, int], Curve], hours: int, *, supply: bool
) -> tuple[Segment, ...]:
    found = []
    for hour in range(hours):
        curve = curves.get((zone, supply, hour), {})
        steps = tuple(
            Step(price=MicroUsdPerChipHour(price), chips=Chips(curve[price]))
            for price in sorted(curve, reverse=not supply)
            if curve[price] > 0
        )
        if steps:
            found.append(Segment(first=hour, stop=hour + 1, steps=steps))
    return tuple(found)


def _offer(zone: str, curves: dict[tuple[str, bool, int], Curve], hours: int) -> Offer:
    return Offer(
        order_id=f"supply-{zone}",
        participant_id=zone,
        pool_id=zone,
        segments=_segments(zone, curves, hours, supply=True),
    )


def _bid(zone: str, curves: dict[tuple[str, bool, int], Curve], hours: int) -> StepBid:
    return StepBid(
        order_id=f"demand-{zone}",
        participant_id=zone,
        where=Eligibility(pool_ids=(zone,)),
        segments=_segments(zone, curves, hours, supply=False),
        cover=Cover.NONE,
    )


def _sold(block: BlockOrder) -> Offer:
    return Offer(
        order_id=block.block_id,
        participant_id=block.block_id,
        pool_id=block.zone,
        segments=tuple(
            Segment(
                first=hour,
                stop=hour + 1,
                steps=(Step(price=MicroUsdPerChipHour(block.price), chips=Chips(block.kwh[hour])),),
            )
            for hour in sorted(block.kwh)
            if block.kwh[hour]
        ),
        commitment=Commitment(whole=True),
    )


def _bought(block: BlockOrder) -> BlockBid:
    hours = [hour for hour in sorted(block.kwh) if block.kwh[hour]]
    profile = tuple(Chips(block.kwh.get(hour, 0)) for hour in range(hours[0], hours[-1] + 1))
    return BlockBid(
        order_id=block.block_id,
        participant_id=block.block_id,
        where=Eligibility(pool_ids=(block.zone,)),
        earliest_start=hours[0],
        latest_start=hours[0],
        duration=len(profile),
        chips=max(profile),
        profile=profile if min(profile) != max(profile) else (),
        limit_price=MicroUsdPerChipHour(block.price),
        cover=Cover.NONE,
    )


def _links(day: Day) -> tuple[Link, ...]:
    return tuple(
        Link(
            link_id=f"{source}>{target}",
            from_pool_id=source,
            to_pool_id=target,
            capacities=tuple(
                (Chips(by_hour.get(hour, (0, 0))[0]), Chips(by_hour.get(hour, (0, 0))[1]))
                for hour in range(day.hours)
            ),
        )
        for (source, target), by_hour in sorted(day.capacities.items())
        if {source, target} & set(day.zones)
    )
