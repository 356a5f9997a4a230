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
    Commitment,
    Cover,
    Eligibility,
    Interval,
    Link,
    Nomination,
    Offer,
    Pool,
    Segment,
    Site,
    Step,
    StepBid,
    WorkBid,
)
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
    Watts,
)

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


def hourly(*steps: tuple[int, str] | None) -> tuple[Segment, ...]:
    """One step in each interval in turn; None leaves an interval out."""
    return tuple(
        Segment(first=t, stop=t + 1, steps=(Step(price=price(step[1]), chips=Chips(step[0])),))
        for t, step in enumerate(steps)
        if step is not None
    )


def offer(order_id: str, *steps: tuple[int, str], at: str = "A", **terms: Any) -> Offer:
    span = {key: terms.pop(key) for key in ("first", "stop") if key in terms}
    return Offer(
        order_id=order_id,
        participant_id=terms.pop("participant_id", f"of {order_id}"),
        pool_id=at,
        segments=terms.pop("segments", None) or curve(*steps, **span),
        **terms,
    )


def committed(start_up: str = "0", no_load: str = "0", **terms: Any) -> Commitment:
    return Commitment(start_up=usd(start_up), no_load=usd(no_load), **terms)


def bid(
    order_id: str, *steps: tuple[int, str], at: tuple[str, ...] = ("A",), **terms: Any
) -> StepBid:
    span = {key: terms.pop(key) for key in ("first", "stop") if key in terms}
    terms.setdefault("cover", Cover.NONE)
    return StepBid(
        order_id=order_id,
        participant_id=f"of {order_id}",
        where=Eligibility(pool_ids=at),
        segments=terms.pop("segments", None) or curve(*steps, **span),
        **terms,
    )


def work(
    order_id: str,
    chip_hours: int,
    limit: str,
    *,
    first: int,
    stop: int,
    rate: int,
    at: tuple[str, ...] = ("A",),
    **terms: Any,
) -> WorkBid:
    return WorkBid(
        order_id=order_id,
        participant_id=f"of {order_id}",
        where=Eligibility(pool_ids=at),
        first=first,
        stop=stop,
        work=ChipSeconds(chip_hours * 3_600),
        max_chips=Chips(rate),
        limit_price=price(limit),
        **terms,
    )


def link(link_id: str, start: str, end: str, *capacities: tuple[int, int]) -> Link:
    return Link(
        link_id=link_id,
        from_pool_id=start,
        to_pool_id=end,
        capacities=tuple((Chips(least), Chips(most)) for least, most in capacities),
        owner_id=f"owner of {link_id}",
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
    order_id: str,
    chips: int,
    *,
    at: str = "A",
    cover: Cover = Cover.NONE,
    backups: tuple[str, ...] = (),
) -> Nomination:
    return Nomination(
        order_id=order_id,
        entitlement_id=f"right {order_id}",
        participant_id=f"of {order_id}",
        pool_id=at,
        segments=curve((chips, "2")),
        cover=cover,
        backup_pool_ids=backups,
    )


def book(
    *orders: Offer | StepBid | BlockBid | WorkBid | Nomination | Link,
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
        work_bids=tuple(order for order in orders if isinstance(order, WorkBid)),
        nominations=tuple(order for order in orders if isinstance(order, Nomination)),
        links=tuple(order for order in orders if isinstance(order, Link)),
    )


def with_spec(given: Book, **changes: Any) -> Book:
    return replace(given, spec=replace(given.spec, **changes))
