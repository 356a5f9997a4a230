"""Small books in dollars: one hour unless said, one chip per node, cover NONE."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from decimal import Decimal
from typing import Any

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
    Site,
    Step,
    StepBid,
)
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, Ppm, Seconds, UnixSeconds, Watts

SEED = b"own examples"


def usd(text: str) -> MicroUsd:
    """Dollars as exact micro-USD."""
    amount = Decimal(text) * 1_000_000
    if amount != int(amount):
        message = f"{text} is not a whole number of micro-USD"
        raise ValueError(message)
    return MicroUsd(int(amount))


def price(text: str) -> MicroUsdPerChipHour:
    return MicroUsdPerChipHour(usd(text))


def pool(pool_id: str = "A", site_id: str = "s", **terms: Any) -> Pool:
    fields: dict[str, Any] = {
        "chip_class": "c",
        "chips_per_node": Chips(1),
        "capacity": Chips(1_000),
        **terms,
    }
    return Pool(pool_id=pool_id, site_id=site_id, **fields)


def site(site_id: str = "s", surcharge: str = "0", power_limit: int | None = None) -> Site:
    limit = None if power_limit is None else Watts(power_limit)
    return Site(site_id=site_id, surcharge=price(surcharge), power_limit=limit)


def curve(*steps: tuple[int, str], first: int = 0, stop: int = 1) -> tuple[Segment, ...]:
    return (
        Segment(
            first=first,
            stop=stop,
            steps=tuple(Step(price=price(p), chips=Chips(q)) for q, p in steps),
        ),
    )


def offer(order_id: str, *steps: tuple[int, str], at: str = "A", **terms: Any) -> Offer:
    span = {key: terms.pop(key) for key in ("first", "stop") if key in terms}
    return Offer(
        order_id=order_id,
        participant_id=f"of {order_id}",
        pool_id=at,
        segments=curve(*steps, **span),
        **terms,
    )


def bid(
    order_id: str, *steps: tuple[int, str], at: tuple[str, ...] = ("A",), **terms: Any
) -> StepBid:
    span = {key: terms.pop(key) for key in ("first", "stop") if key in terms}
    terms.setdefault("cover", Cover.NONE)
    return StepBid(
        order_id=order_id,
        participant_id=f"of {order_id}",
        where=Eligibility(pool_ids=at),
        segments=curve(*steps, **span),
        **terms,
    )


def gang(
    order_id: str,
    chips: int,
    limit: str,
    *,
    at: tuple[str, ...] = ("A",),
    least: int = 1_000_000,
    **terms: Any,
) -> BlockBid:
    terms.setdefault("cover", Cover.NONE)
    start = terms.pop("start", 0)
    return BlockBid(
        order_id=order_id,
        participant_id=terms.pop("participant_id", f"of {order_id}"),
        where=Eligibility(pool_ids=at),
        earliest_start=start,
        latest_start=terms.pop("latest_start", start),
        duration=terms.pop("duration", 1),
        chips=Chips(chips),
        limit_price=price(limit),
        min_fill_ppm=Ppm(least),
        **terms,
    )


def nomination(
    order_id: str, chips: int, *, at: str = "A", cover: Cover = Cover.NONE
) -> Nomination:
    return Nomination(
        order_id=order_id,
        entitlement_id=f"right {order_id}",
        participant_id=f"of {order_id}",
        pool_id=at,
        segments=curve((chips, "2")),
        cover=cover,
    )


def book(
    *orders: Offer | StepBid | BlockBid | Nomination,
    pools: tuple[Pool, ...] | None = None,
    sites: tuple[Site, ...] | None = None,
    intervals: int = 1,
    duration_s: int = 3_600,
    **spec: Any,
) -> Book:
    fields: dict[str, Any] = {"seed_commitment": hashlib.sha256(SEED).hexdigest(), **spec}
    return Book(
        spec=AuctionSpec(
            auction_id="own",
            intervals=tuple(
                Interval(
                    start=UnixSeconds(Seconds(duration_s) * t),
                    end=UnixSeconds(Seconds(duration_s) * (t + 1)),
                )
                for t in range(intervals)
            ),
            **fields,
        ),
        sites=sites or (site(),),
        pools=pools or (pool(),),
        offers=tuple(order for order in orders if isinstance(order, Offer)),
        step_bids=tuple(order for order in orders if isinstance(order, StepBid)),
        block_bids=tuple(order for order in orders if isinstance(order, BlockBid)),
        nominations=tuple(order for order in orders if isinstance(order, Nomination)),
    )


def with_spec(given: Book, **changes: Any) -> Book:
    return replace(given, spec=replace(given.spec, **changes))
