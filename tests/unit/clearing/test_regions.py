"""Regions share nothing, lose nothing, and clear to the outcome of the whole."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from random import Random

from clearing import clear
from clearing.regions import regions
from clearing.types import (
    AuctionSpec,
    Book,
    Cover,
    Eligibility,
    Interval,
    Link,
    Offer,
    Pool,
    Segment,
    Site,
    Step,
    StepBid,
)
from clearing.units import Chips, MicroUsdPerChipHour, UnixSeconds, Watts

SEED = b"regions"
USD = 1_000_000


def _book(pools: int, power: bool = False) -> Book:
    def segment(price: int, chips: int) -> Segment:
        step = Step(price=MicroUsdPerChipHour(price * USD), chips=Chips(chips))
        return Segment(first=0, stop=1, steps=(step,))

    names = [f"pool-{i}" for i in range(pools)]
    return Book(
        spec=AuctionSpec(
            auction_id="a",
            intervals=(Interval(start=UnixSeconds(0), end=UnixSeconds(3_600)),),
            seed_commitment=hashlib.sha256(SEED).hexdigest(),
        ),
        sites=(
            Site(
                site_id="site",
                surcharge=MicroUsdPerChipHour(0),
                power_limit=Watts(1_000) if power else None,
            ),
        ),
        pools=tuple(
            Pool(
                pool_id=name,
                site_id="site",
                chip_class="c",
                chips_per_node=Chips(1),
                capacity=Chips(100),
            )
            for name in names
        ),
        offers=tuple(
            Offer(
                order_id=f"o-{name}",
                participant_id="s",
                pool_id=name,
                segments=(segment(2 + i, 10),),
            )
            for i, name in enumerate(names)
        ),
        step_bids=tuple(
            StepBid(
                order_id=f"b-{name}",
                participant_id="b",
                where=Eligibility(pool_ids=(name,)),
                segments=(segment(9, 4 + i),),
                cover=Cover.NONE,
            )
            for i, name in enumerate(names)
        ),
    )


def test_pools_without_a_common_order_are_regions_of_their_own() -> None:
    parts = regions(_book(3))
    assert [part.spec.auction_id for part in parts] == [f"a/region-{i:04d}" for i in range(3)]
    assert [[pool.pool_id for pool in part.pools] for part in parts] == [
        ["pool-0"],
        ["pool-1"],
        ["pool-2"],
    ]


def test_site_power_an_order_and_a_link_join_pools() -> None:
    assert len(regions(_book(3, power=True))) == 1
    book = _book(3)
    wide = replace(book.step_bids[0], where=Eligibility(pool_ids=("pool-0", "pool-2")))
    joined = regions(replace(book, step_bids=(wide, *book.step_bids[1:])))
    assert [[pool.pool_id for pool in part.pools] for part in joined] == [
        ["pool-0", "pool-2"],
        ["pool-1"],
    ]
    link = Link(
        link_id="l",
        from_pool_id="pool-1",
        to_pool_id="pool-2",
        capacities=((Chips(0), Chips(5)),),
    )
    assert [len(part.pools) for part in regions(replace(book, links=(link,)))] == [1, 2]


def test_nothing_is_lost_and_the_order_of_tuples_does_not_matter() -> None:
    book = _book(5)
    parts = regions(book)
    for field in ("pools", "offers", "step_bids"):
        found = sorted(item for part in parts for item in (repr(x) for x in getattr(part, field)))
        assert found == sorted(repr(item) for item in getattr(book, field))
    shuffled = list(book.pools)
    Random(1).shuffle(shuffled)
    assert regions(replace(book, pools=tuple(shuffled))) == parts


def test_the_regions_outcomes_are_the_outcome_of_the_whole() -> None:
    book = _book(4)
    whole = clear(book, SEED)
    parts = [clear(part, SEED) for part in regions(book)]
    assert sorted(repr(award) for part in parts for award in part.awards) == sorted(
        repr(award) for award in whole.awards
    )
    assert sum(part.certificate.welfare for part in parts) == whole.certificate.welfare
    assert sorted((p.pool_id, p.energy) for part in parts for p in part.prices) == sorted(
        (p.pool_id, p.energy) for p in whole.prices
    )
