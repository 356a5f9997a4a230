"""Laws that relate the outcomes of two books: what must not matter, and what must scale."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clearing import codec
from clearing.auction import clear
from clearing.outcome import Outcome
from clearing.types import (
    BlockBid,
    Book,
    Cover,
    Eligibility,
    Offer,
    PricingRule,
    Segment,
    Step,
    StepBid,
)
from clearing.units import Chips, ChipSeconds, MicroUsd, MicroUsdPerChipHour
from tests.property.books import ALL, SEED, mixed_books
from tests.property.random_books import DIME, NETWORK, STRICT_NETWORK, random_book
from tests.property.shrinking import LISTS
from tests.property.twin import best

NETWORK_SEEDS = [n for n in range(2_000, 2_033) if best(random_book(n, NETWORK)) is not None]
STRICT_SEEDS = [n for n in range(2_000, 2_033) if best(random_book(n, STRICT_NETWORK)) is not None]


def shuffled(book: Book, chance: random.Random) -> Book:
    changes: dict[str, Any] = {}
    for name in LISTS:
        items = getattr(book, name)
        changes[name] = tuple(chance.sample(items, len(items)))
    return replace(book, **changes)


def objective(book: Book) -> int:
    found = clear(book, SEED).certificate
    return found.welfare + found.restart_kept


@settings(max_examples=40)
@given(mixed_books(), st.randoms(use_true_random=False))
def test_the_order_of_the_book_decides_nothing(book: Book, chance: random.Random) -> None:
    assume(best(book) is not None)
    outcome = clear(book, SEED)
    assert codec.digest(clear(shuffled(book, chance), SEED)) == codec.digest(outcome)
    assert codec.decode(codec.encode(outcome), Outcome) == outcome


def test_hash_seed_of_the_process_decides_nothing() -> None:
    program = (
        "from clearing import codec\n"
        "from clearing.auction import clear\n"
        "from tests.property.random_books import SEED, random_book\n"
        "from tests.property.twin import best\n"
        "books = [random_book(seed) for seed in range(3_000, 3_015)]\n"
        "for book in [book for book in books if best(book)][:12]:\n"
        "    print(codec.digest(clear(book, SEED)))\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "77")
    }
    assert len(printed) == 1
    assert len(printed.pop().split()) == 12


@pytest.mark.parametrize("seed", NETWORK_SEEDS)
def test_names_decide_ties_and_no_welfare(seed: int) -> None:
    book = random_book(seed, NETWORK)
    assert objective(renamed(book)) == objective(book)


def renamed(book: Book) -> Book:
    """Other names in another order: what came first comes last."""

    def name(order_id: str) -> str:
        return f"{chr(ord('z') - int(order_id[1:]))}{order_id}" if order_id else ""

    def of(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(replace(item, order_id=name(item.order_id)) for item in items)

    blocks: tuple[BlockBid, ...] = of(book.block_bids)
    return replace(
        book,
        offers=of(book.offers),
        step_bids=of(book.step_bids),
        work_bids=of(book.work_bids),
        nominations=of(book.nominations),
        block_bids=tuple(replace(b, parent_order_id=name(b.parent_order_id)) for b in blocks),
    )


@pytest.mark.parametrize("seed", NETWORK_SEEDS)
def test_an_order_that_nobody_wants_changes_no_welfare(seed: int) -> None:
    book = random_book(seed, NETWORK)
    reached = objective(book)
    for useless in (with_dear_offer(book), with_low_bid(book)):
        assert objective(useless) == reached


def with_dear_offer(book: Book) -> Book:
    """Supply at the cap, above every limit."""
    pool = book.pools[0]
    step = Step(price=book.spec.price_cap, chips=pool.chips_per_node)
    offer = Offer(
        order_id="useless",
        participant_id="nobody",
        pool_id=pool.pool_id,
        segments=(Segment(first=0, stop=len(book.spec.intervals), steps=(step,)),),
    )
    more = replace(pool, capacity=Chips(pool.capacity + pool.chips_per_node))
    return replace(book, pools=(more, *book.pools[1:]), offers=(*book.offers, offer))


def with_low_bid(book: Book) -> Book:
    """Demand at the floor, under a surcharge: worth nothing wherever the floor is no relief."""
    if book.spec.price_floor < 0:
        return book
    pool = book.pools[0]
    step = Step(price=book.spec.price_floor, chips=pool.chips_per_node)
    bid = StepBid(
        order_id="useless",
        participant_id="nobody",
        where=Eligibility(pool_ids=(pool.pool_id,)),
        segments=(Segment(first=0, stop=len(book.spec.intervals), steps=(step,)),),
        cover=Cover.NONE,
    )
    return replace(book, step_bids=(*book.step_bids, bid))


@pytest.mark.parametrize("seed", NETWORK_SEEDS)
def test_welfare_scales_with_prices(seed: int) -> None:
    book = random_book(seed, NETWORK)
    assert objective(doubled_prices(book)) == 2 * objective(book)


@pytest.mark.parametrize("seed", NETWORK_SEEDS)
def test_welfare_scales_with_chips(seed: int) -> None:
    book = random_book(seed, NETWORK)
    assert objective(tripled_chips(book)) == 3 * objective(book)


def doubled_prices(book: Book) -> Book:
    def curve(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        return tuple(
            replace(
                s, steps=tuple(replace(x, price=MicroUsdPerChipHour(2 * x.price)) for x in s.steps)
            )
            for s in segments
        )

    def price(value: int) -> MicroUsdPerChipHour:
        return MicroUsdPerChipHour(2 * value)

    spec = replace(
        book.spec,
        price_floor=price(book.spec.price_floor),
        operator_fee=price(book.spec.operator_fee),
    )
    return replace(
        book,
        spec=spec,
        sites=tuple(replace(s, surcharge=price(s.surcharge)) for s in book.sites),
        offers=tuple(_times(replace(o, segments=curve(o.segments)), 2) for o in book.offers),
        step_bids=tuple(replace(b, segments=curve(b.segments)) for b in book.step_bids),
        work_bids=tuple(replace(b, limit_price=price(b.limit_price)) for b in book.work_bids),
        block_bids=tuple(
            replace(
                b,
                limit_price=price(b.limit_price),
                restart_cost=MicroUsd(2 * b.restart_cost),
            )
            for b in book.block_bids
        ),
    )


def _times(offer: Offer, times: int) -> Offer:
    if offer.commitment is None:
        return offer
    terms = replace(
        offer.commitment,
        start_up=MicroUsd(times * offer.commitment.start_up),
        no_load=MicroUsd(times * offer.commitment.no_load),
    )
    return replace(offer, commitment=terms)


def tripled_chips(book: Book) -> Book:
    """Three chips where there was one: nodes, quantities and what is paid for a start."""

    def chips(value: int) -> Chips:
        return Chips(3 * value)

    def curve(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        return tuple(
            replace(s, steps=tuple(replace(x, chips=chips(x.chips)) for x in s.steps))
            for s in segments
        )

    def supply(offer: Offer) -> Offer:
        larger = _times(replace(offer, segments=curve(offer.segments)), 3)
        if larger.commitment is None:
            return larger
        least = chips(larger.commitment.min_chips)
        return replace(larger, commitment=replace(larger.commitment, min_chips=least))

    return replace(
        book,
        pools=tuple(
            replace(p, chips_per_node=chips(p.chips_per_node), capacity=chips(p.capacity))
            for p in book.pools
        ),
        offers=tuple(supply(offer) for offer in book.offers),
        step_bids=tuple(replace(b, segments=curve(b.segments)) for b in book.step_bids),
        work_bids=tuple(
            replace(b, work=ChipSeconds(3 * b.work), max_chips=chips(b.max_chips))
            for b in book.work_bids
        ),
        block_bids=tuple(
            replace(b, chips=chips(b.chips), profile=tuple(chips(x) for x in b.profile))
            for b in book.block_bids
        ),
        nominations=tuple(replace(n, segments=curve(n.segments)) for n in book.nominations),
        links=tuple(
            replace(x, capacities=tuple((chips(a), chips(b)) for a, b in x.capacities))
            for x in book.links
        ),
    )


@pytest.mark.parametrize("seed", STRICT_SEEDS)
def test_payments_to_losers_never_cost_welfare(seed: int) -> None:
    strict = random_book(seed, STRICT_NETWORK)
    paying = replace(strict, spec=replace(strict.spec, pricing_rule=PricingRule.MAKE_WHOLE))
    assert clear(strict, SEED).certificate.welfare <= clear(paying, SEED).certificate.welfare


@pytest.mark.parametrize("seed", range(20))
def test_equal_steps_share_within_a_node_of_their_proportion(seed: int) -> None:
    chance = random.Random(seed)
    asked = [chance.randint(1, 9) for _ in range(chance.randint(2, 6))]
    supply = chance.randint(1, sum(asked))
    template = random_book(seed, frozenset())
    pool = replace(template.pools[0], pool_id="only", chips_per_node=Chips(4))
    curve = [
        (
            Segment(
                first=0,
                stop=1,
                steps=(Step(price=MicroUsdPerChipHour(50 * DIME), chips=Chips(4 * n)),),
            ),
        )
        for n in asked
    ]
    book = Book(
        spec=template.spec,
        sites=template.sites,
        pools=(replace(pool, capacity=Chips(4 * supply)),),
        offers=(
            Offer(
                order_id="supply",
                participant_id="seller",
                pool_id="only",
                segments=(
                    Segment(
                        first=0,
                        stop=1,
                        steps=(Step(price=MicroUsdPerChipHour(DIME), chips=Chips(4 * supply)),),
                    ),
                ),
            ),
        ),
        step_bids=tuple(
            StepBid(
                order_id=f"equal{n}",
                participant_id=f"buyer{n}",
                where=Eligibility(pool_ids=("only",)),
                segments=segments,
                cover=Cover.NONE,
            )
            for n, segments in enumerate(curve)
        ),
    )
    given_chips = {a.order_id: sum(a.chips) for a in clear(book, SEED).awards}
    assert given_chips["supply"] == 4 * supply
    for n, nodes in enumerate(asked):
        share = given_chips.get(f"equal{n}", 0)
        assert share % 4 == 0
        assert abs(share * sum(asked) - 4 * nodes * supply) < 4 * sum(asked)


def test_mixed_books_hold_every_kind() -> None:
    drawn = [random_book(seed, ALL) for seed in range(200)]
    blocks = [block for book in drawn for block in book.block_bids]
    offers = [offer for book in drawn for offer in book.offers]
    kept = [o.commitment for o in offers if o.commitment is not None]
    assert any(b.profile for b in blocks)
    assert any(b.exclusive_group for b in blocks)
    assert any(b.parent_order_id for b in blocks)
    assert any(b.restart_cost for b in blocks)
    assert any(b.latest_start > b.earliest_start for b in blocks)
    assert any(b.cover is Cover.SITE for b in blocks)
    assert {c.whole for c in kept} == {True, False}
    assert any(o.recallable for o in offers)
    assert all(any(getattr(book, name) for book in drawn) for name in LISTS)
    assert any(book.spec.price_floor < 0 for book in drawn)
