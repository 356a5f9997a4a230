"""Laws of the engine on small random books; every outcome has also passed the verifier."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clearing import codec
from clearing.auction import clear
from clearing.outcome import Outcome
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
from clearing.units import (
    SECONDS_PER_HOUR,
    Chips,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
    Watts,
)

SEED = b"laws"
INTERVALS = 2
NODE = 4
POOLS = ("A", "B")

prices = st.integers(0, 60).map(lambda n: MicroUsdPerChipHour(n * 100_000))
chips = st.integers(1, 6).map(lambda n: Chips(n * NODE))
where = st.sampled_from([("A",), ("B",), POOLS]).map(lambda names: Eligibility(pool_ids=names))
spans = st.sampled_from([(0, 1), (0, 2), (1, 2)])


@st.composite
def curves(draw: st.DrawFn, *, rising: bool) -> tuple[Segment, ...]:
    levels = sorted(draw(st.sets(prices, min_size=1, max_size=2)), reverse=not rising)
    first, stop = draw(spans)
    steps = tuple(Step(price=level, chips=draw(chips)) for level in levels)
    return (Segment(first=first, stop=stop, steps=steps),)


@st.composite
def terms(draw: st.DrawFn, *, cover: bool) -> dict[str, Any]:
    if draw(st.booleans()):
        chosen = draw(st.sampled_from([Cover.NONE, Cover.NODE])) if cover else Cover.NONE
        return {"service_class": ServiceClass.FIRM, "cover": chosen}
    notice = Seconds(draw(st.sampled_from([0, 900, 7_200])))
    return {
        "service_class": ServiceClass.INTERRUPTIBLE,
        "cover": Cover.NONE,
        "notice_s": notice,
    }


@st.composite
def grids(draw: st.DrawFn, *, cover: bool) -> tuple[tuple[Site, ...], tuple[Pool, ...]]:
    limit = None if cover else Watts(draw(st.integers(4, 20)) * NODE * 700)
    sites = (
        Site(site_id="s", surcharge=MicroUsdPerChipHour(500_000), power_limit=limit),
        Site(site_id="t", surcharge=MicroUsdPerChipHour(0)),
    )
    theta = Ppm(draw(st.sampled_from([0, 10_000, 200_000])) if cover else 0)
    pools = tuple(
        Pool(
            pool_id=name,
            site_id=site,
            chip_class="c",
            chips_per_node=Chips(NODE),
            capacity=Chips(100_000),
            chip_power=Watts(700),
            node_spare_ppm=theta,
        )
        for name, site in zip(POOLS, "st", strict=True)
    )
    return sites, pools


BASE = Nomination(
    order_id="n",
    entitlement_id="e",
    participant_id="h",
    pool_id="B",
    segments=(
        Segment(
            first=0,
            stop=INTERVALS,
            steps=(Step(price=MicroUsdPerChipHour(2_000_000), chips=Chips(5)),),
        ),
    ),
    cover=Cover.NONE,
)

SPEC = AuctionSpec(
    auction_id="laws",
    intervals=tuple(
        Interval(start=UnixSeconds(300 * t), end=UnixSeconds(300 * (t + 1)))
        for t in range(INTERVALS)
    ),
    operator_fee=MicroUsdPerChipHour(20_000),
    seed_commitment=hashlib.sha256(SEED).hexdigest(),
)


@st.composite
def books(draw: st.DrawFn) -> Book:
    """Either cover or scarce power: both at once in books of a few nodes is another matter."""
    cover = draw(st.booleans())
    sites, pools = draw(grids(cover=cover))
    offers = tuple(
        Offer(
            order_id=f"o{n}",
            participant_id=f"p{n}",
            pool_id=draw(st.sampled_from(POOLS)),
            segments=draw(curves(rising=True)),
            recallable=draw(st.integers(0, 4)) == 0,
        )
        for n in range(draw(st.integers(1, 5)))
    )
    steps = tuple(
        StepBid(
            order_id=f"b{n}",
            participant_id=f"q{n}",
            where=draw(where),
            segments=draw(curves(rising=False)),
            **draw(terms(cover=cover)),
        )
        for n in range(draw(st.integers(0, 6)))
    )
    blocks = tuple(draw(gangs(n, cover=cover)) for n in range(draw(st.integers(0, 4))))
    return Book(
        spec=SPEC,
        sites=sites,
        pools=pools,
        offers=offers,
        step_bids=steps,
        block_bids=blocks,
        nominations=(BASE,) if draw(st.booleans()) else (),
    )


@st.composite
def gangs(draw: st.DrawFn, number: int, *, cover: bool) -> BlockBid:
    first, stop = draw(spans)
    together = draw(st.integers(0, 2)) == 0
    return BlockBid(
        order_id=f"g{number}",
        participant_id="r" if together else f"r{number}",
        where=draw(where),
        earliest_start=first,
        latest_start=first,
        duration=stop - first,
        chips=Chips(2 * draw(chips)),
        limit_price=draw(prices),
        min_fill_ppm=Ppm(draw(st.sampled_from([1_000_000, 500_000]))),
        exclusive_group="either" if together else "",
        **draw(terms(cover=cover)),
    )


def shuffled(book: Book, seed: int) -> Book:
    order = random.Random(seed)
    lists = ("sites", "pools", "offers", "step_bids", "block_bids", "nominations")
    changes: dict[str, Any] = {}
    for name in lists:
        items = list(getattr(book, name))
        order.shuffle(items)
        changes[name] = tuple(items)
    return replace(book, **changes)


@given(books(), st.integers(0, 1_000))
def test_order_of_the_book_does_not_matter(book: Book, seed: int) -> None:
    assert codec.digest(clear(book, SEED)) == codec.digest(clear(shuffled(book, seed), SEED))


@given(books())
def test_cash_adds_up_and_the_operator_keeps_its_fee_only(book: Book) -> None:
    outcome = clear(book, SEED)
    cash = outcome.cash
    paid = cash.suppliers + cash.spare + cash.community + cash.operator_fee
    assert cash.buyers == paid + cash.link_rent + cash.power_rent + cash.residual
    delivered = sum(sum(a.chips) for a in outcome.awards if a.order_id[0] in "bgn")
    due = delivered * 300 * book.spec.operator_fee
    assert abs(cash.operator_fee * SECONDS_PER_HOUR - due) <= SECONDS_PER_HOUR


@given(books())
def test_nobody_ends_past_its_limit(book: Book) -> None:
    outcome = clear(book, SEED)
    net: dict[str, int] = {
        order.order_id: order.surplus for order in outcome.orders if order.order_id[0] != "n"
    }
    for payment in outcome.make_whole:
        for name in payment.order_ids:
            net[name] += payment.amount * SECONDS_PER_HOUR
        for share in payment.funding:
            if share.source in net:
                net[share.source] -= share.amount * SECONDS_PER_HOUR
    assert all(value >= 0 for value in net.values()), net


@given(books())
def test_welfare_stays_below_its_bound(book: Book) -> None:
    found = clear(book, SEED).certificate
    assert 0 <= found.welfare <= found.bound
    assert found.lost_opportunity >= 0


@settings(max_examples=20)
@given(books())
def test_outcome_survives_its_document(book: Book) -> None:
    outcome = clear(book, SEED)
    assert codec.decode(codec.encode(outcome), Outcome) == outcome


def test_hash_seed_of_the_process_does_not_matter() -> None:
    program = (
        "import random\n"
        "from clearing import codec\n"
        "from clearing.auction import clear\n"
        "from tests.golden.clearing.books import *\n"
        "r = random.Random(1)\n"
        "names = [f'x{n}' for n in range(12)]\n"
        "given = book(*[offer('o' + n, (r.randint(1, 9), '2')) for n in names],\n"
        "    *[bid('b' + n, (r.randint(1, 9), '5')) for n in names],\n"
        "    *[gang('g' + n, 4, '4') for n in names])\n"
        "print(codec.digest(clear(given, SEED)))\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("0", "1", "77")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64
