"""``python -m clearing.search.coordinate.warming``: compile every loop ahead of the first auction.

What is compiled is cached on disk (beside the modules, or in ``NUMBA_CACHE_DIR``), so that this
takes a minute or two once after an installation and about a second from then on.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Final

from clearing.auction import clear
from clearing.book import canonical
from clearing.model import build
from clearing.reading import read_market
from clearing.search.coordinate import choose
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
    ServiceClass,
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

_SEED: Final = b"warm"
_HOUR_S: Final = 3_600
_NAMES: Final = ("a", "b")


def warm() -> None:
    """Coordinate a tiny book that has something of every kind, then clear it: that prices it.

    Where prices may be negative nothing is left over, which has a loop of its own.
    """
    book = canonical(_book())
    for floor in (book.spec.price_floor, MicroUsdPerChipHour(-1)):
        floored = replace(book, spec=replace(book.spec, price_floor=floor))
        choose(build(read_market(floored), floored, _SEED), floored.spec)
    clear(book, _SEED)


def _curve(price: int, chips: int) -> tuple[Segment, ...]:
    step = Step(price=MicroUsdPerChipHour(price * 1_000_000), chips=Chips(chips))
    return (Segment(first=0, stop=2, steps=(step,)),)


def _gang(name: str, chips: int, **fields: object) -> BlockBid:
    settings: dict[str, object] = {
        "order_id": name,
        "participant_id": "lab",
        "where": Eligibility(chip_classes=("c",)),
        "earliest_start": 0,
        "latest_start": 0,
        "duration": 2,
        "chips": Chips(chips),
        "limit_price": MicroUsdPerChipHour(5_000_000),
    }
    return BlockBid(**{**settings, **fields})  # type: ignore[arg-type]


def _offers() -> tuple[Offer, ...]:
    return (
        *(
            Offer(order_id=f"o{n}", participant_id="s", pool_id=n, segments=_curve(2, 30))
            for n in _NAMES
        ),
        Offer(
            order_id="unit",
            participant_id="s",
            pool_id="a",
            segments=_curve(1, 10),
            commitment=Commitment(start_up=MicroUsd(1_000_000), min_chips=Chips(2)),
        ),
        Offer(
            order_id="released",
            participant_id="s",
            pool_id="b",
            segments=_curve(1, 5),
            recallable=True,
        ),
    )


def _step_bids() -> tuple[StepBid, ...]:
    anywhere = Eligibility(chip_classes=("c",))
    return (
        StepBid(order_id="firm", participant_id="l", where=anywhere, segments=_curve(4, 9)),
        StepBid(
            order_id="site",
            participant_id="l",
            where=anywhere,
            segments=_curve(6, 3),
            cover=Cover.SITE,
        ),
        StepBid(
            order_id="loose",
            participant_id="l",
            where=anywhere,
            segments=_curve(3, 8),
            service_class=ServiceClass.INTERRUPTIBLE,
            cover=Cover.NONE,
        ),
    )


def _book() -> Book:
    anywhere = Eligibility(chip_classes=("c",))
    short = {"service_class": ServiceClass.INTERRUPTIBLE, "cover": Cover.NONE}
    return Book(
        spec=AuctionSpec(
            auction_id="warm",
            intervals=tuple(
                Interval(start=UnixSeconds(t * _HOUR_S), end=UnixSeconds((t + 1) * _HOUR_S))
                for t in range(2)
            ),
            seed_commitment=sha256(_SEED).hexdigest(),
        ),
        sites=tuple(
            Site(site_id=n, surcharge=MicroUsdPerChipHour(0), power_limit=Watts(60)) for n in _NAMES
        ),
        pools=tuple(
            Pool(
                pool_id=n,
                site_id=n,
                chip_class="c",
                chips_per_node=Chips(1),
                capacity=Chips(100),
                chip_power=Watts(1),
            )
            for n in _NAMES
        ),
        offers=_offers(),
        step_bids=_step_bids(),
        block_bids=(
            _gang("g1", 8, min_fill_ppm=Ppm(500_000)),
            _gang("g2", 4, exclusive_group="g"),
            _gang("g3", 5, exclusive_group="g", latest_start=1, duration=1),
            _gang("g4", 3, parent_order_id="g1", **short),
            _gang("g5", 2, cover=Cover.SITE),
            _gang("g6", 4, profile=(Chips(2), Chips(4))),
        ),
        work_bids=(
            WorkBid(
                order_id="work",
                participant_id="l",
                where=anywhere,
                first=0,
                stop=2,
                work=ChipSeconds(6 * _HOUR_S),
                max_chips=Chips(5),
                limit_price=MicroUsdPerChipHour(3_000_000),
                notice_s=Seconds(600),
            ),
        ),
        nominations=(
            Nomination(
                order_id="base",
                entitlement_id="e",
                participant_id="l",
                pool_id="a",
                segments=_curve(1, 2),
                cover=Cover.SITE,
                backup_pool_ids=("b",),
            ),
        ),
        links=(
            Link(
                link_id="link",
                from_pool_id="a",
                to_pool_id="b",
                capacities=((Chips(0), Chips(3)),) * 2,
            ),
        ),
    )


if __name__ == "__main__":
    warm()
