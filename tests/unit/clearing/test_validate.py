"""Every refusal of a book, by its code, subject and field."""

from __future__ import annotations

import ast
import inspect
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clearing import validate as module
from clearing.book import canonical
from clearing.errors import BookError
from clearing.types import (
    MAX_CHIPS,
    Book,
    Commitment,
    Conversion,
    Cover,
    Eligibility,
    Interval,
    PricingRule,
    ServiceClass,
    Site,
    Tariff,
)
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, Ppm, UnixSeconds
from clearing.validate import validate
from clearing.validation import limits
from tests.unit.clearing.full_book import (
    BLOCK_BIDS,
    BOOK,
    BOTH,
    NODE,
    OFFERS,
    POOLS,
    SPEC,
    price,
    segment,
    with_item,
    with_spec,
)

Refusal = tuple[str, str, str]


def refusal(book: object) -> Refusal:
    """Code, subject and field that a book is refused with."""
    with pytest.raises(BookError) as refused:
        validate(book)  # type: ignore[arg-type]
    error = refused.value
    assert error.advice.endswith("."), error.advice
    return error.code, error.subject, error.field


def offer(**changes: Any) -> Book:
    return with_item("offers", **changes)


def bid(**changes: Any) -> Book:
    return with_item("step_bids", **changes)


def gang(**changes: Any) -> Book:
    return with_item("block_bids", **changes)


def shaped(**changes: Any) -> Book:
    return with_item("block_bids", 1, **changes)


def work(**changes: Any) -> Book:
    return with_item("work_bids", **changes)


def nomination(**changes: Any) -> Book:
    return with_item("nominations", **changes)


def link(**changes: Any) -> Book:
    return with_item("links", **changes)


def committed(**terms: Any) -> Book:
    return offer(commitment=Commitment(**terms))


def tariff(**changes: Any) -> Book:
    return with_spec(tariff=Tariff(**changes))


def test_a_book_of_every_kind_passes() -> None:
    validate(BOOK)
    validate(canonical(BOOK))
    assert all(getattr(BOOK, kind) for kind in Book.__dataclass_fields__)


@pytest.mark.parametrize(
    "book",
    [
        Book(spec=SPEC, sites=(), pools=()),
        Book(spec=SPEC, sites=BOOK.sites, pools=BOOK.pools),
        Book(spec=SPEC, sites=BOOK.sites, pools=BOOK.pools, offers=OFFERS),
        replace(BOOK, offers=()),
        replace(BOOK, pools=(), offers=(), nominations=(), links=(), block_bids=(), work_bids=(),
                step_bids=(BOOK.step_bids[1],)),
        gang(chips=Chips(8_000)),
        bid(where=Eligibility(regions=("nowhere",))),
        with_spec(price_floor=MicroUsdPerChipHour(-100_000_000)),
        with_spec(tie_credit=MicroUsdPerChipHour(0)),
        with_item("offers", segments=(segment(2, 4, (8, 1)), segment(0, 2, (8, 1)))),
        replace(BOOK, spec=replace(SPEC, pricing_rule=PricingRule.STRICT_UNIFORM),
                offers=(OFFERS[0], OFFERS[2]), block_bids=()),
    ],
    ids=["empty", "no-orders", "supply-only", "demand-only", "no-pools", "larger-than-any-pool",
         "no-eligible-pool", "negative-floor", "no-tie-credit", "segments-in-any-order", "strict"],
)  # fmt: skip
def test_no_refusal(book: Book) -> None:
    validate(book)
    assert book.spec.auction_id == "full"


AUCTION = (
    (with_spec(intervals=()), "BAD_INTERVALS", "intervals"),
    (with_spec(intervals=(SPEC.intervals[0], SPEC.intervals[2])), "BAD_INTERVALS", "intervals"),
    (
        with_spec(intervals=(Interval(start=UnixSeconds(5), end=UnixSeconds(5)),)),
        "BAD_INTERVALS",
        "intervals",
    ),
    (
        with_spec(intervals=(Interval(start=UnixSeconds(2**70), end=UnixSeconds(2**70 + 60)),)),
        "BAD_INTERVALS",
        "intervals",
    ),
    (
        with_spec(
            intervals=tuple(
                Interval(start=UnixSeconds(t), end=UnixSeconds(t + 1))
                for t in range(limits.MAX_INTERVALS + 1)
            )
        ),
        "TOO_MANY",
        "intervals",
    ),
    (with_spec(tick=MicroUsdPerChipHour(0)), "BAD_PARAMETER", "tick"),
    (with_spec(price_floor=MicroUsdPerChipHour(-(10**9) - 1)), "BAD_PARAMETER", "price_floor"),
    (with_spec(price_cap=MicroUsdPerChipHour(0)), "BAD_PARAMETER", "price_cap"),
    (with_spec(price_cap=MicroUsdPerChipHour(10**9 + 1)), "BAD_PARAMETER", "price_cap"),
    (with_spec(operator_fee=MicroUsdPerChipHour(-1)), "BAD_PARAMETER", "operator_fee"),
    (with_spec(tie_credit=MicroUsdPerChipHour(101)), "BAD_PARAMETER", "tie_credit"),
    (with_spec(node_limit=0), "BAD_PARAMETER", "node_limit"),
    (with_spec(seed_commitment=""), "BAD_PARAMETER", "seed_commitment"),
    (with_spec(seed_commitment="A" * 64), "BAD_PARAMETER", "seed_commitment"),
    (with_spec(seed_commitment="a" * 64 + "\n"), "BAD_PARAMETER", "seed_commitment"),
    (tariff(node_cover_notice_s=-1), "BAD_PARAMETER", "tariff.node_cover_notice_s"),
    (tariff(site_cover_notice_s=299), "BAD_PARAMETER", "tariff.site_cover_notice_s"),
    (tariff(base_shortfall_penalty=10**11), "BAD_PARAMETER", "tariff.base_shortfall_penalty"),
    (tariff(base_shortfall_penalty=2**63), "BAD_PARAMETER", "tariff.base_shortfall_penalty"),
    (tariff(cover_shortfall_penalty=10**10), "BAD_PARAMETER", "tariff.cover_shortfall_penalty"),
    (tariff(power_shortfall_penalty=10**8), "BAD_PARAMETER", "tariff.power_shortfall_penalty"),
    (tariff(stop_loss_ppm=-1), "BAD_PARAMETER", "tariff.stop_loss_ppm"),
    (tariff(withhold_gap_ppm=1_000_001), "BAD_PARAMETER", "tariff.withhold_gap_ppm"),
)


@pytest.mark.parametrize(("book", "code", "field"), AUCTION, ids=lambda value: str(value)[:30])
def test_auctions_are_refused(book: Book, code: str, field: str) -> None:
    assert refusal(book) == (code, "full", field)


GRID = (
    (with_item("sites", surcharge=-1), "BAD_PARAMETER", "s1", "surcharge"),
    (with_item("sites", power_limit=-1), "BAD_PARAMETER", "s1", "power_limit"),
    (with_item("sites", 1, site_id="s1"), "DUPLICATE_IDENTIFIER", "s1", "site_id"),
    (with_item("sites", site_id=""), "BAD_IDENTIFIER", "", "site_id"),
    (with_item("pools", site_id="x"), "UNKNOWN_SITE", "a", "site_id"),
    (with_item("pools", pool_id="b"), "DUPLICATE_IDENTIFIER", "b", "pool_id"),
    (with_item("pools", chips_per_node=0), "BAD_PARAMETER", "a", "chips_per_node"),
    (with_item("pools", capacity=MAX_CHIPS + 1), "BAD_PARAMETER", "a", "capacity"),
    (with_item("pools", chip_power=-1), "BAD_PARAMETER", "a", "chip_power"),
    (with_item("pools", node_spare_ppm=1_000_001), "BAD_PARAMETER", "a", "node_spare_ppm"),
    (with_item("pools", capacity=8), "OVER_CAPACITY", "a", "capacity"),
    (link(link_id="l\0"), "BAD_IDENTIFIER", "l\0", "link_id"),
    (link(from_pool_id="x"), "UNKNOWN_POOL", "l1", "from_pool_id"),
    (link(to_pool_id="x"), "UNKNOWN_POOL", "l1", "to_pool_id"),
    (link(to_pool_id="a"), "BAD_LINK", "l1", "to_pool_id"),
    (link(to_pool_id="c"), "BAD_LINK", "l1", "to_pool_id"),
    (link(to_pool_id="d"), "BAD_LINK", "l1", "to_pool_id"),
    (link(capacities=((0, 8),)), "BAD_LINK", "l1", "capacities"),
    (link(capacities=((8, 0),) * 4), "BAD_LINK", "l1", "capacities"),
    (link(capacities=((0, 4),) * 4), "BAD_LINK", "l1", "capacities"),
    (link(capacities=((-4, 0),) * 4), "BAD_LINK", "l1", "capacities"),
    (link(capacities=((0, 2**40),) * 4), "BAD_LINK", "l1", "capacities"),
)


@pytest.mark.parametrize(
    ("book", "code", "subject", "field"), GRID, ids=lambda value: str(value)[:30]
)
def test_grids_are_refused(book: Book, code: str, subject: str, field: str) -> None:
    assert refusal(book) == (code, subject, field)


STEP = segment(0, 1, (8, 1))
ORDERS = (
    (offer(order_id=""), "BAD_IDENTIFIER", "", "order_id"),
    (offer(order_id="rent:s1"), "BAD_IDENTIFIER", "rent:s1", "order_id"),
    (offer(participant_id=""), "BAD_IDENTIFIER", "o1", "participant_id"),
    (nomination(entitlement_id="e\0"), "BAD_IDENTIFIER", "n1", "entitlement_id"),
    (bid(order_id="o1"), "DUPLICATE_IDENTIFIER", "o1", "order_id"),
    (work(order_id="g1"), "DUPLICATE_IDENTIFIER", "g1", "order_id"),
    (offer(pool_id="x"), "UNKNOWN_POOL", "o1", "pool_id"),
    (nomination(pool_id="x"), "UNKNOWN_POOL", "n1", "pool_id"),
    (nomination(backup_pool_ids=("x",)), "UNKNOWN_POOL", "n1", "backup_pool_ids"),
    (bid(where=Eligibility(pool_ids=("a", "x"))), "UNKNOWN_POOL", "b1", "pool_id"),
    (work(where=Eligibility(pool_ids=("x",))), "UNKNOWN_POOL", "w1", "pool_id"),
    (gang(initial_pool_id="x"), "UNKNOWN_POOL", "g1", "initial_pool_id"),
    (bid(conversions=(Conversion(chip_class="h", factor_ppm=Ppm(0)),)), "BAD_PARAMETER", "b1",
     "conversions"),
    (work(conversions=(Conversion(chip_class="h", factor_ppm=Ppm(1)),) * 2), "BAD_PARAMETER",
     "w1", "conversions"),
    (gang(conversions=(Conversion(chip_class="h", factor_ppm=Ppm(10**9)),)), "BAD_PRICE", "g1",
     "conversions"),
    (bid(service_class=ServiceClass.BASE_LOAD), "BAD_CLASS", "b1", "service_class"),
    (bid(notice_s=1), "BAD_CLASS", "b1", "notice_s"),
    (gang(service_class=ServiceClass.INTERRUPTIBLE), "BAD_CLASS", "g1", "cover"),
    (work(cover=Cover.SITE), "BAD_CLASS", "w1", "cover"),
    (work(notice_s=-1), "BAD_CLASS", "w1", "notice_s"),
    (gang(where=Eligibility()), "NO_CONDITION", "g1", "where"),
    (offer(segments=(segment(0, 0, (8, 1)),)), "BAD_INTERVAL_RANGE", "o1", "segments"),
    (offer(segments=(segment(3, 5, (8, 1)),)), "BAD_INTERVAL_RANGE", "o1", "segments"),
    (bid(segments=(segment(2, 4, (8, 1)), segment(0, 3, (8, 1)))), "BAD_INTERVAL_RANGE", "b1",
     "segments"),
    (nomination(segments=(segment(-1, 1, (8, 1)),)), "BAD_INTERVAL_RANGE", "n1", "segments"),
    (gang(duration=0), "BAD_INTERVAL_RANGE", "g1", "earliest_start"),
    (gang(earliest_start=3, latest_start=3), "BAD_INTERVAL_RANGE", "g1", "earliest_start"),
    (gang(earliest_start=2**80), "BAD_INTERVAL_RANGE", "g1", "earliest_start"),
    (gang(latest_start=-1), "BAD_INTERVAL_RANGE", "g1", "latest_start"),
    (gang(latest_start=3), "BAD_INTERVAL_RANGE", "g1", "latest_start"),
    (work(first=4), "BAD_INTERVAL_RANGE", "w1", "first"),
    (work(stop=5), "BAD_INTERVAL_RANGE", "w1", "first"),
    (offer(segments=()), "BAD_CURVE", "o1", "segments"),
    (bid(segments=(segment(0, 1),)), "BAD_CURVE", "b1", "segments"),
    (offer(segments=(segment(0, 1, (8, 2), (8, 1)),)), "BAD_CURVE", "o1", "segments"),
    (offer(segments=(segment(0, 1, (8, 2), (8, 2)),)), "BAD_CURVE", "o1", "segments"),
    (bid(segments=(segment(0, 1, (8, 1), (8, 2)),)), "BAD_CURVE", "b1", "segments"),
    (nomination(segments=(segment(0, 1, (8, 1), (8, 2)),)), "BAD_CURVE", "n1", "segments"),
    (gang(min_fill_ppm=0), "BAD_FILL", "g1", "min_fill_ppm"),
    (gang(min_fill_ppm=1_000_001), "BAD_FILL", "g1", "min_fill_ppm"),
    (offer(segments=(segment(0, 1, (0, 1)),)), "BAD_QUANTITY", "o1", "segments"),
    (offer(segments=(segment(0, 1, (12, 1)),)), "BAD_QUANTITY", "o1", "segments"),
    (bid(segments=(segment(0, 1, (-8, 1)),)), "BAD_QUANTITY", "b1", "segments"),
    (bid(segments=(segment(0, 1, (2**70, 1)),)), "BAD_QUANTITY", "b1", "segments"),
    (bid(cover=Cover.NONE, where=Eligibility(pool_ids=("a", "d")), segments=(STEP,)),
     "BAD_QUANTITY", "b1", "segments"),
    (nomination(segments=(segment(0, 1, (0, 1)),)), "BAD_QUANTITY", "n1", "segments"),
    (gang(chips=4), "BAD_QUANTITY", "g1", "chips"),
    (gang(chips=MAX_CHIPS + NODE), "BAD_QUANTITY", "g1", "chips"),
    (work(max_chips=0), "BAD_QUANTITY", "w1", "max_chips"),
    (work(max_chips=12), "BAD_QUANTITY", "w1", "max_chips"),
    (work(work=0), "BAD_QUANTITY", "w1", "work"),
    (work(work=3_600), "BAD_QUANTITY", "w1", "work"),
    (work(work=3_600 * 2**80), "BAD_QUANTITY", "w1", "work"),
    (work(work=3_600 * 2**47), "TOO_LARGE", "w1", "work"),
    (offer(segments=(segment(0, 1, (8, 101)),)), "BAD_PRICE", "o1", "segments"),
    (nomination(segments=(segment(0, 1, (8, 1_001)),)), "BAD_PRICE", "n1", "segments"),
    (gang(limit_price=1_500), "BAD_PRICE", "g1", "limit_price"),
    (work(limit_price=-1_000), "BAD_PRICE", "w1", "limit_price"),
    (shaped(profile=(48,)), "BAD_PROFILE", "g2", "profile"),
    (shaped(profile=(16, -8, 48)), "BAD_PROFILE", "g2", "profile"),
    (shaped(profile=(16, 4, 48)), "BAD_PROFILE", "g2", "profile"),
    (shaped(profile=(0, 16, 48)), "BAD_PROFILE", "g2", "profile"),
    (shaped(profile=(48, 16, 0)), "BAD_PROFILE", "g2", "profile"),
    (shaped(profile=(16, 16, 40)), "BAD_PROFILE", "g2", "profile"),
    (shaped(min_fill_ppm=999_999), "BAD_PROFILE", "g2", "profile"),
    (shaped(cover=Cover.SITE), "BAD_PROFILE", "g2", "profile"),
    (gang(restart_cost=-1), "BAD_RESTART", "g1", "restart_cost"),
    (gang(restart_cost=10**9 + 1), "BAD_RESTART", "g1", "restart_cost"),
    (committed(start_up=MicroUsd(-1)), "BAD_COMMITMENT", "o1", "commitment"),
    (committed(no_load=MicroUsd(10**12 + 1)), "BAD_COMMITMENT", "o1", "commitment"),
    (committed(min_run_intervals=0), "BAD_COMMITMENT", "o1", "commitment"),
    (committed(min_run_intervals=5), "BAD_COMMITMENT", "o1", "commitment"),
    (committed(min_chips=Chips(4)), "BAD_COMMITMENT", "o1", "commitment"),
    (committed(min_chips=Chips(136)), "BAD_COMMITMENT", "o1", "commitment"),
    (committed(whole=True, min_run_intervals=2), "BAD_COMMITMENT", "o1", "commitment"),
    (committed(whole=True, min_chips=Chips(8)), "BAD_COMMITMENT", "o1", "commitment"),
    (offer(recallable=True, commitment=Commitment()), "BAD_COMMITMENT", "o1", "commitment"),
    (shaped(parent_order_id=""), "BAD_GROUP", "g3", "parent_order_id"),
    (gang(parent_order_id="x"), "UNKNOWN_PARENT", "g1", "parent_order_id"),
    (gang(parent_order_id="w1"), "BAD_PARENT", "g1", "parent_order_id"),
    (gang(parent_order_id="g1"), "BAD_PARENT", "g1", "parent_order_id"),
    (gang(parent_order_id="g3"), "BAD_PARENT", "g1", "parent_order_id"),
    (gang(participant_id="other"), "BAD_PARENT", "g2", "parent_order_id"),
    (nomination(cover=Cover.NODE), "BAD_BACKUP", "n1", "backup_pool_ids"),
    (nomination(backup_pool_ids=("b", "b")), "BAD_BACKUP", "n1", "backup_pool_ids"),
    (nomination(backup_pool_ids=("a",)), "BAD_BACKUP", "n1", "backup_pool_ids"),
    (nomination(backup_pool_ids=("c",)), "BAD_BACKUP", "n1", "backup_pool_ids"),
    (nomination(backup_pool_ids=("d",)), "BAD_BACKUP", "n1", "backup_pool_ids"),
    (nomination(backup_pool_ids=()), "NO_COVER_POSSIBLE", "n1", "backup_pool_ids"),
    (bid(where=Eligibility(pool_ids=("a",))), "NO_COVER_POSSIBLE", "b1", "cover"),
    (bid(where=Eligibility(pool_ids=("a", "c"))), "NO_COVER_POSSIBLE", "b1", "cover"),
    (bid(segments=(segment(0, 1, (32, 5)),), where=Eligibility(pool_ids=("a", "d"))),
     "NO_COVER_POSSIBLE", "b1", "cover"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("book", "code", "subject", "field"), ORDERS, ids=lambda value: str(value)[:30]
)
def test_orders_are_refused(book: Book, code: str, subject: str, field: str) -> None:
    assert refusal(book) == (code, subject, field)


@pytest.mark.parametrize(
    ("kind", "field"), [("block_bids", "restart_cost"), ("offers", "commitment")]
)
def test_what_strict_prices_cannot_pay_is_refused(kind: str, field: str) -> None:
    strict = replace(SPEC, pricing_rule=PricingRule.STRICT_UNIFORM)
    book = Book(spec=strict, sites=BOOK.sites, pools=BOOK.pools, **{kind: getattr(BOOK, kind)})
    subject = {"offers": "o2", "block_bids": "g1"}[kind]
    assert refusal(book) == ("BAD_PRICING_RULE", subject, field)


def test_an_order_that_leaves_63_bits_is_refused() -> None:
    long = with_spec(
        intervals=tuple(
            Interval(start=UnixSeconds(t), end=UnixSeconds(t + 1)) for t in range(1_000)
        ),
        price_cap=MicroUsdPerChipHour(10**9),
    )
    book = replace(
        long,
        links=(),
        block_bids=(replace(BLOCK_BIDS[0], duration=1_000, latest_start=0, chips=Chips(10**8)),),
    )
    assert refusal(book) == ("TOO_LARGE", "g1", "chips")
    smaller = replace(book.block_bids[0], chips=Chips(10**6))
    validate(replace(book, block_bids=(smaller,)))


JUNK: tuple[Any, ...] = (
    None,
    True,
    1.5,
    float("nan"),
    float("inf"),
    "x",
    b"x",
    [],
    {},
    np.int64(1),
    Cover.NODE,
)


def fields_of(book: Book) -> list[tuple[str, str]]:
    return [
        (kind, name)
        for kind in ("sites", "pools", "offers", "block_bids", "work_bids", "links")
        for name in getattr(book, kind)[0].__dataclass_fields__
    ]


@pytest.mark.parametrize(("kind", "name"), fields_of(BOOK))
def test_values_of_another_type_are_refused(kind: str, name: str) -> None:
    item = getattr(BOOK, kind)[0]
    for junk in JUNK:
        book = with_item(kind, **{name: junk})
        optional = junk is None and (kind, name) in {
            ("sites", "power_limit"),
            ("offers", "commitment"),
        }
        same_type = type(junk) is type(getattr(item, name))
        if optional or same_type:
            continue
        code, subject, field = refusal(book)
        assert (code, field) == ("BAD_TYPE", name)
        assert subject


def test_wrong_types_deep_inside_are_named() -> None:
    book = offer(segments=(segment(0, 1, (8, 1)), segment(1, 2, (8, 1.5), (8, 2))))  # type: ignore[arg-type]
    with pytest.raises(BookError) as refused:
        validate(book)
    error = refused.value
    assert (error.code, error.subject, error.field) == ("BAD_TYPE", "o1", "segments")
    assert error.advice == "segments[1].steps[0].price: expected an integer, got 1500000.0."


@pytest.mark.parametrize(
    ("book", "subject"),
    [
        (None, "book"),
        (replace(BOOK, offers=list(BOOK.offers)), "offers"),  # type: ignore[arg-type]
        (replace(BOOK, offers=BOOK.step_bids), "b1"),  # type: ignore[arg-type]
        (replace(BOOK, spec=None), "spec"),  # type: ignore[arg-type]
        (with_item("sites", site_id=7), "sites[0]"),
        (with_item("sites", region="\ud800"), "s1"),
    ],
    ids=["none", "list", "other-kind", "no-spec", "number-for-name", "lone-surrogate"],
)
def test_what_is_no_book_is_refused(book: object, subject: str) -> None:
    assert refusal(book)[:2] == ("BAD_TYPE", subject)


def test_what_cannot_be_sorted_is_refused() -> None:
    with pytest.raises(BookError, match=r"BAD_TYPE: sites\[0\].site_id: site_id: expected text"):
        canonical(with_item("sites", site_id=7))
    with pytest.raises(BookError, match="BAD_TYPE"):
        canonical(replace(BOOK, offers=(None,)))  # type: ignore[arg-type]


def test_codes_are_documented_in_the_order_of_the_guards() -> None:
    """The table of the module against the codes that the guards raise, in their order."""
    assert module.__doc__
    rows = [line.split()[0] for line in module.__doc__.splitlines() if line[:1].isupper()]
    documented = [code for code in rows if code == code.upper() and "_" in code]
    raised: list[str] = ["BAD_TYPE"]
    for guard in module._GUARDS:
        source = inspect.getsource(inspect.getmodule(guard))  # type: ignore[arg-type]
        raised.extend(codes(source, guard.__name__))
    assert list(dict.fromkeys(raised)) == documented


def codes(source: str, function: str) -> list[str]:
    """Codes that a function may raise, those of the private functions it calls included."""
    bodies = {
        node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)
    }
    bodies.setdefault("bad_quantity", ast.parse("def f():\n    'BAD_QUANTITY'").body[0])  # type: ignore[arg-type]
    found: list[str] = []
    located = [node for node in ast.walk(bodies[function]) if isinstance(node, ast.expr)]
    for node in sorted(located, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node, ast.Constant) and str(node.value).isupper() and "_" in str(node.value):
            found.append(str(node.value))
        called = (
            node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        )
        if called in bodies and called != function:
            found.extend(codes(source, called))
    return found


def test_the_first_guard_answers() -> None:
    """Two faults: the code further up in the table, whichever order comes first."""
    book = replace(
        BOOK,
        offers=(replace(OFFERS[0], segments=(segment(0, 1, (12, 1)),)), *BOOK.offers[1:]),
        step_bids=(replace(BOOK.step_bids[0], segments=()), *BOOK.step_bids[1:]),
    )
    assert refusal(book) == ("BAD_CURVE", "b1", "segments")
    assert refusal(canonical(book)) == ("BAD_CURVE", "b1", "segments")


def test_large_books_are_read_in_columns() -> None:
    """Fifty thousand bids in well under the ten seconds that a loop over guards would take."""
    bids = tuple(
        replace(BOOK.step_bids[0], order_id=f"b{number}", where=BOTH) for number in range(50_000)
    )
    begun = time.perf_counter()
    validate(replace(BOOK, step_bids=bids))
    assert time.perf_counter() - begun < 5


def test_pools_and_sites_without_orders_are_checked_too() -> None:
    empty = Book(spec=SPEC, sites=(Site(site_id="s", surcharge=price(-1)),), pools=())
    assert refusal(empty) == ("BAD_PARAMETER", "s", "surcharge")
    lonely = Book(spec=SPEC, sites=(), pools=POOLS[:1])
    assert refusal(lonely) == ("UNKNOWN_SITE", "a", "site_id")
