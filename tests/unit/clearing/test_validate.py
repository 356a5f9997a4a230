"""Every refusal of a book, by its code, subject and field."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.errors import BookError
from clearing.types import (
    Book,
    Commitment,
    Cover,
    Eligibility,
    Link,
    PricingRule,
    ServiceClass,
    WorkBid,
)
from clearing.units import Chips, ChipSeconds, MicroUsdPerChipHour, Ppm, Seconds
from clearing.validate import validate
from tests.golden.clearing.books import bid, book, gang, nomination, offer, pool, price, with_spec

GOOD = book(offer("S", (8, "2")), bid("b", (4, "5")), gang("g", 4, "4"), nomination("n", 3))
LINK = Link(link_id="l", from_pool_id="A", to_pool_id="A", capacities=((Chips(0), Chips(1)),))
WORK = WorkBid(
    order_id="w",
    participant_id="p",
    where=Eligibility(pool_ids=("A",)),
    first=0,
    stop=1,
    work=ChipSeconds(3_600),
    max_chips=Chips(1),
    limit_price=price("1"),
)


def with_offer(**changes: object) -> Book:
    return replace(GOOD, offers=(replace(GOOD.offers[0], **changes),))  # type: ignore[arg-type]


def with_bid(**changes: object) -> Book:
    return replace(GOOD, step_bids=(replace(GOOD.step_bids[0], **changes),))  # type: ignore[arg-type]


def with_gang(**changes: object) -> Book:
    return replace(GOOD, block_bids=(replace(GOOD.block_bids[0], **changes),))  # type: ignore[arg-type]


def with_pool(**changes: object) -> Book:
    return replace(GOOD, pools=(replace(GOOD.pools[0], **changes),))  # type: ignore[arg-type]


CASES = (
    (
        with_spec(GOOD, pricing_rule=PricingRule.STRICT_UNIFORM),
        "NOT_CLEARED_YET",
        "own",
        "pricing_rule",
    ),
    (with_spec(GOOD, price_floor=MicroUsdPerChipHour(-1)), "NOT_CLEARED_YET", "own", "price_floor"),
    (replace(GOOD, links=(LINK,)), "NOT_CLEARED_YET", "l", "link_id"),
    (replace(GOOD, work_bids=(WORK,)), "NOT_CLEARED_YET", "w", "work"),
    (with_offer(commitment=Commitment()), "NOT_CLEARED_YET", "S", "commitment"),
    (with_bid(cover=Cover.SITE), "NOT_CLEARED_YET", "b", "cover"),
    (with_gang(latest_start=1), "NOT_CLEARED_YET", "g", "latest_start"),
    (with_gang(parent_order_id="b"), "NOT_CLEARED_YET", "g", "parent_order_id"),
    (with_spec(GOOD, intervals=()), "BAD_INTERVALS", "own", "intervals"),
    (with_spec(GOOD, tie_credit=MicroUsdPerChipHour(101)), "BAD_PARAMETER", "own", "tie_credit"),
    (with_spec(GOOD, node_limit=0), "BAD_PARAMETER", "own", "node_limit"),
    (with_pool(site_id="x"), "UNKNOWN_SITE", "A", "site_id"),
    (with_pool(node_spare_ppm=Ppm(1_000_001)), "BAD_PARAMETER", "A", "node_spare_ppm"),
    (replace(GOOD, pools=(pool(), pool())), "DUPLICATE_IDENTIFIER", "A", "pool_id"),
    (with_bid(order_id="S"), "DUPLICATE_IDENTIFIER", "S", "order_id"),
    (with_bid(order_id="b\0"), "BAD_IDENTIFIER", "b\0", "order_id"),
    (with_offer(pool_id="X"), "UNKNOWN_POOL", "S", "pool_id"),
    (with_bid(where=Eligibility(pool_ids=("X",))), "UNKNOWN_POOL", "b", "pool_id"),
    (with_bid(where=Eligibility()), "NO_CONDITION", "b", "where"),
    (with_bid(notice_s=Seconds(1)), "BAD_CLASS", "b", "notice_s"),
    (with_bid(service_class=ServiceClass.BASE_LOAD), "BAD_CLASS", "b", "service_class"),
    (
        with_bid(service_class=ServiceClass.INTERRUPTIBLE, cover=Cover.NODE),
        "BAD_CLASS",
        "b",
        "cover",
    ),
    (with_gang(min_fill_ppm=Ppm(0)), "BAD_FILL", "g", "min_fill_ppm"),
    (with_gang(duration=2), "BAD_INTERVAL_RANGE", "g", "earliest_start"),
    (with_gang(chips=Chips(0)), "BAD_QUANTITY", "g", "chips"),
    (with_gang(limit_price=MicroUsdPerChipHour(1_500)), "BAD_PRICE", "g", "limit_price"),
    (with_pool(chips_per_node=Chips(8)), "BAD_QUANTITY", "b", "segments"),
    (with_pool(capacity=Chips(10)), "OVER_CAPACITY", "A", "capacity"),
    (
        replace(GOOD, offers=(offer("S", (4, "3"), (4, "2")),)),
        "BAD_CURVE",
        "S",
        "segments",
    ),
)


@pytest.mark.parametrize(
    ("given", "code", "subject", "field"), CASES, ids=[f"{c[1]}-{c[2]!r}-{c[3]}" for c in CASES]
)
def test_refusal_names_its_cause(given: Book, code: str, subject: str, field: str) -> None:
    with pytest.raises(BookError) as refused:
        validate(given)
    error = refused.value
    assert (error.code, error.subject, error.field) == (code, subject, field)
    assert error.advice


def test_sound_book_passes() -> None:
    validate(GOOD)
    assert GOOD.offers
