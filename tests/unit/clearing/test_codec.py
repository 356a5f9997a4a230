"""Canonical JSON: one value, one text, and nothing else decodes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearing import codec
from clearing.book import canonical
from clearing.codec import LATER, SAFE_INTEGER, DocumentError
from clearing.outcome import (
    Award,
    Cash,
    Certificate,
    Outcome,
    PoolPrice,
    RowDual,
    RunStatus,
    Side,
)
from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Commitment,
    Conversion,
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
    PriceSeconds,
    UnixSeconds,
    Watts,
)
from tests.unit.clearing import arbitrary
from tests.unit.clearing.full_book import BOOK, OUTCOME, with_item

INTERVAL = Interval(start=UnixSeconds(0), end=UnixSeconds(3_600))


def plain(value: object) -> Any:
    """The canonical form written down value by value: the twin of the codec's columns."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, int):
        return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    assert is_dataclass(value)
    found = {item.name: getattr(value, item.name) for item in fields(value)}
    for item in fields(value):
        if item.metadata.get("later") and found[item.name] == item.default:
            del found[item.name]
    if isinstance(value, StepBid):
        found["restart_cost"] = 0
    return {name: plain(item) for name, item in found.items()}


def twin(value: object) -> bytes:
    options: dict[str, Any] = {"ensure_ascii": False, "sort_keys": True, "separators": (",", ":")}
    return json.dumps(plain(value), **options).encode()


@settings(max_examples=150, deadline=None)
@given(st.one_of(*map(arbitrary.values, (Book, Outcome, Offer, BlockBid, Award, Certificate))))
def test_columns_write_what_single_values_would(value: Any) -> None:
    document = twin(value)
    assert codec.encode(value) == document
    assert codec.decode(document, type(value)) == value


def test_whole_documents_round_trip() -> None:
    for value in (BOOK, OUTCOME):
        document = codec.encode(value)
        assert document == twin(value)
        assert codec.decode(document, type(value)) == value


def test_long_tuples_are_written_in_parts() -> None:
    offers = tuple(replace(BOOK.offers[0], order_id=f"o{n}") for n in range(20_000))
    book = replace(BOOK, offers=offers)
    assert codec.encode(book) == twin(book)


def curve(*steps: tuple[int, int]) -> tuple[Segment, ...]:
    made = tuple(Step(price=MicroUsdPerChipHour(p), chips=Chips(c)) for c, p in steps)
    return (Segment(first=0, stop=2, steps=made),)


RECORDED_OFFERS = (
    Offer(
        order_id="o",
        participant_id="x",
        pool_id="p",
        segments=curve((8, 1_000), (16, 2_000)),
        recallable=True,
    ),
    Offer(
        order_id="u",
        participant_id="x",
        pool_id="p",
        segments=curve((8, 1_000)),
        commitment=Commitment(start_up=MicroUsd(1)),
    ),
)

WHERE = Eligibility(pool_ids=("p",), certifications=("SOC2_TYPE2",))


RECORDED_BLOCKS = (
    BlockBid(
        order_id="g",
        participant_id="“y”",
        where=WHERE,
        earliest_start=0,
        latest_start=0,
        duration=2,
        chips=Chips(8),
        limit_price=MicroUsdPerChipHour(1_000),
    ),
)


def recorded_book() -> Book:
    """A book as it could be said before there were profiles, whole commitments and backups."""
    return Book(
        spec=AuctionSpec(
            auction_id="recorded",
            intervals=(
                Interval(start=UnixSeconds(0), end=UnixSeconds(300)),
                Interval(start=UnixSeconds(300), end=UnixSeconds(600)),
            ),
            seed_commitment="0" * 64,
        ),
        sites=(
            Site(site_id="s", surcharge=MicroUsdPerChipHour(500_000), power_limit=Watts(2**60)),
        ),
        pools=(
            Pool(
                pool_id="p",
                site_id="s",
                chip_class="c",
                chips_per_node=Chips(8),
                capacity=Chips(800),
            ),
        ),
        offers=RECORDED_OFFERS,
        step_bids=(
            StepBid(
                order_id="b",
                participant_id="y",
                where=WHERE,
                segments=curve((8, 1_000)),
                conversions=(Conversion(chip_class="c", factor_ppm=Ppm(2)),),
            ),
        ),
        block_bids=RECORDED_BLOCKS,
        work_bids=(
            WorkBid(
                order_id="w",
                participant_id="y",
                where=WHERE,
                first=0,
                stop=2,
                work=ChipSeconds(2_400),
                max_chips=Chips(8),
                limit_price=MicroUsdPerChipHour(1_000),
            ),
        ),
        nominations=(
            Nomination(
                order_id="n",
                entitlement_id="e",
                participant_id="z",
                pool_id="p",
                segments=curve((8, 1_000)),
            ),
        ),
        links=(
            Link(
                link_id="l",
                from_pool_id="p",
                to_pool_id="p",
                capacities=((Chips(0), Chips(8)),) * 2,
            ),
        ),
    )


def recorded_outcome() -> Outcome:
    parts: dict[str, Any] = dict.fromkeys(PoolPrice.__dataclass_fields__, 1)
    del parts["site_spare"]
    return Outcome(
        auction_id="recorded",
        book_sha256="ab",
        seed="cd",
        engine="e",
        status=RunStatus.OPTIMAL,
        prices=(PoolPrice(**{**parts, "pool_id": "p", "indicative": False}),),
        awards=(
            Award(
                order_id="b",
                participant_id="y",
                side=Side.DEMAND,
                pool_id="p",
                service_class=ServiceClass.FIRM,
                cover=Cover.NODE,
                first=0,
                chips=(Chips(8),),
                reserve=(Chips(0),),
            ),
        ),
        orders=(),
        make_whole=(),
        certificate=Certificate(
            duals=(RowDual(row="BALANCE", subject="p", interval=0, value=1),),
            welfare=PriceSeconds(2**60),
            bound=PriceSeconds(2**61),
            gains=PriceSeconds(1),
            lost_opportunity=PriceSeconds(0),
        ),
        cash=Cash(**dict.fromkeys(Cash.__dataclass_fields__, MicroUsd(1))),
    )


def test_digests_of_recorded_documents_stay() -> None:
    """Digests as version 0.1.0 wrote them, before any field was added or taken away."""
    assert codec.digest(recorded_book()) == (
        "2c0215590962c29020e32aa1b8270329505577212cbea9bea9d6a2508020dd52"
    )
    assert codec.digest(recorded_outcome()) == (
        "5389b21ddf2fa4977c9781f9e6f0633a1a8eb3185cb8933f8bdc0bc7e2cf6dc3"
    )
    for value in (recorded_book(), recorded_outcome()):
        assert codec.decode(codec.encode(value), type(value)) == value


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """A kind that gained fields on both sides of the old one and lost another."""

    b: int
    a: int = field(default=0, metadata=LATER)
    c: tuple[int, ...] = field(default=(), metadata=LATER)

    RETIRED_KEYS = MappingProxyType({"bb": 7})


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (Grown(b=1), b'{"b":1,"bb":7}'),
        (Grown(b=1, a=2), b'{"a":2,"b":1,"bb":7}'),
        (Grown(b=1, c=(3,)), b'{"b":1,"bb":7,"c":[3]}'),
        (Grown(b=1, a=2, c=(3,)), b'{"a":2,"b":1,"bb":7,"c":[3]}'),
        (
            (Grown(b=1), Grown(b=1, a=2), Grown(b=1, c=(3,))),
            b'[{"b":1,"bb":7},{"a":2,"b":1,"bb":7},{"b":1,"bb":7,"c":[3]}]',
        ),
    ],
)
def test_later_fields_are_left_out_at_their_default(value: object, document: bytes) -> None:
    assert codec.encode(value) == document
    if isinstance(value, Grown):
        assert codec.decode(document, Grown) == value


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b'{"a":0,"b":1,"bb":7}', "canonical form"),
        (b'{"b":1}', "canonical form"),
        (b'{"b":1,"bb":8}', "bb: expected 7"),
        (b'{"b":1,"bb":true}', "bb: expected 7"),
        (b'{"b":1,"bb":7,"c":null}', "c: expected an array"),
    ],
)
def test_grown_documents_have_one_form(document: bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        codec.decode(document, Grown)


def test_keys_are_sorted_without_white_space() -> None:
    assert codec.encode(INTERVAL) == b'{"end":3600,"start":0}'


def test_integers_that_readers_would_round_are_text() -> None:
    """RFC 7493 section 2.2: integers beyond 2**53 - 1 do not survive common readers."""
    exact = Interval(start=UnixSeconds(SAFE_INTEGER), end=UnixSeconds(SAFE_INTEGER + 1))
    assert codec.encode(exact) == b'{"end":"9007199254740992","start":9007199254740991}'
    assert codec.decode(codec.encode(exact), Interval) == exact


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"{", "not a JSON document"),
        (b'{"end":"\xff"}', "not a JSON document"),
        (b'{"end":3600.0,"start":0}', "no floats"),
        (b'{"end":1e3,"start":0}', "no floats"),
        (b'{"end":NaN,"start":0}', "no floats"),
        (b'{"end":-Infinity,"start":0}', "no floats"),
        (b'{"end":1' + b"0" * 5_000 + b',"start":0}', "not a JSON document"),
        (b'{"end":"1' + b"0" * 5_000 + b'","start":0}', "end: expected an integer"),
        (b"[" * 100_000, "not a JSON document"),
        (b'{"end":3600}', "start: missing"),
        (b'{"end":3600,"extra":1,"start":0}', "extra: unknown"),
        (b'{"end":true,"start":0}', "end: expected an integer, got True"),
        (b'{"end":null,"start":0}', "end: expected an integer"),
        (b'{"end":"3600","start":0}', "canonical form"),
        (b'{"end":"--1","start":0}', "end: expected an integer"),
        (b'{"end":"\xc2\xb2","start":0}', "end: expected an integer"),
        (b'{"start":0,"end":3600}', "canonical form"),
        (b'{"end":3600, "start":0}', "canonical form"),
        (b'{"end":1,"end":3600,"start":0}', "canonical form"),
        (b"[]", "document: expected an object, got a list"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_other_documents_are_refused(document: bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        codec.decode(document, Interval)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('"chips":8,"price":5000000', '"chips":8.5,"price":5000000', "no floats"),
        (
            '"chips":8,"price":5000000',
            '"chips":"x","price":5000000',
            r"step_bids\[1\].segments\[0\].steps\[0\].chips: expected an integer, got 'x'",
        ),
        ('"cover":"SITE"', '"cover":"NODES"', "cover: expected one of NONE, NODE, SITE, got"),
        ("[-8,16]", "[-8,16,0]", r"links\[0\].capacities\[0\]: expected 2 items, got 3"),
        ("[-8,16]", "[-8,true]", r"links\[0\].capacities\[0\]\[1\]: expected an integer, got True"),
        ('"whole":true', '"whole":1', r"offers\[2\].commitment.whole: expected true or false"),
        ('"pool_ids":["a","b"]', '"pool_ids":"ab"', "where.pool_ids: expected an array, got 'ab'"),
        ('"country":"US"', r'"country":"\ud800"', r"sites\[0\].country: expected text"),
    ],
)  # fmt: skip
def test_places_are_named(old: str, new: str, place: str) -> None:
    document = codec.encode(BOOK).decode().replace(old, new, 1).encode()
    with pytest.raises(DocumentError, match=place):
        codec.decode(document, Book)


@pytest.mark.parametrize(
    "junk",
    [0.5, float("nan"), {"a": 1}, {1}, object()],
    ids=["half", "nan", "mapping", "set", "object"],
)
def test_other_values_have_no_canonical_form(junk: object) -> None:
    with pytest.raises(DocumentError, match="has no canonical form"):
        codec.encode(replace(INTERVAL, start=junk))  # type: ignore[arg-type]
    changed: Any = with_item("offers", order_id=junk)
    with pytest.raises(DocumentError, match="has no canonical form"):
        codec.digest(changed)


def test_a_wrong_value_is_never_taken_for_a_default() -> None:
    dual = OUTCOME.certificate.duals[0]
    with pytest.raises(DocumentError, match="float has no canonical form"):
        codec.encode(replace(OUTCOME.certificate, restart_kept=0.0))  # type: ignore[arg-type]
    assert b'"lost_site":0' in codec.encode(replace(dual, lost_site=0))  # type: ignore[arg-type]


def test_text_that_has_no_utf8_form_is_refused() -> None:
    with pytest.raises(DocumentError, match="UTF-8"):
        codec.encode(replace(BOOK.sites[0], country="\udc00"))


def test_the_digest_is_of_the_canonical_book() -> None:
    shuffled = replace(BOOK, offers=BOOK.offers[::-1])
    assert codec.digest(shuffled) != codec.digest(BOOK)
    assert codec.digest(canonical(shuffled)) == codec.digest(canonical(BOOK))
    assert canonical(canonical(shuffled)) == canonical(shuffled)


def test_a_digest_names_every_field() -> None:
    step = Step(price=MicroUsdPerChipHour(1_000), chips=Chips(8))
    assert codec.digest(step) != codec.digest(replace(step, chips=Chips(9)))
    assert len(codec.digest(step)) == 64
