"""JSON Lines: every book both ways, and every fault by its line."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from clearing.bookfile.errors import BookFileError
from clearing.bookfile.lines import HEADER, read_lines, write_lines
from clearing.errors import BookError
from clearing.types import Book
from clearing.units import MicroUsdPerChipHour
from clearing.validate import validate
from tests.unit.clearing import arbitrary
from tests.unit.clearing.full_book import BOOK, SPEC, with_item

LINES = [line.encode() for line in write_lines(BOOK)]
FILE = b"\n".join(LINES) + b"\n"


def refusal(lines: list[bytes]) -> tuple[str, str, str]:
    with pytest.raises(BookFileError) as refused:
        read_lines(lines)
    return refused.value.code, refused.value.place, refused.value.advice


def changed(number: int, **fields: Any) -> list[bytes]:
    """The lines of the sample with fields of one record changed; ... takes a field away."""
    raw = {**json.loads(LINES[number]), **fields}
    line = json.dumps({name: value for name, value in raw.items() if value is not ...})
    return [*LINES[:number], line.encode(), *LINES[number + 1 :]]


def number_of(record: str) -> int:
    """First line of a kind."""
    return next(n for n, line in enumerate(LINES) if json.loads(line)["record"] == record)


def test_a_book_of_every_kind_survives() -> None:
    assert read_lines(LINES) == BOOK
    assert read_lines(FILE.splitlines(keepends=True)) == BOOK


@settings(max_examples=60, deadline=None)
@given(arbitrary.values(Book))
def test_every_book_survives(book: Book) -> None:
    lines = [line.encode() for line in write_lines(book)]
    assert all(b"\n" not in line for line in lines)
    assert read_lines(lines) == book


def test_order_space_and_what_is_left_out_do_not_matter() -> None:
    body = [json.dumps(json.loads(line), indent=None, sort_keys=True).encode() for line in LINES]
    random.Random(1).shuffle(body)
    header = body.index(json.dumps({"record": "book", "version": 1}).encode())
    shuffled = [b"", body.pop(header), b"  \r\n", *(b" " + line + b"\r\n" for line in body)]
    found = read_lines(shuffled)
    for kind in Book.__dataclass_fields__:
        if kind != "spec":
            key = {"sites": "site_id", "pools": "pool_id", "links": "link_id"}.get(kind, "order_id")
            ordered = sorted(getattr(found, kind), key=lambda item: str(getattr(item, key)))
            assert tuple(ordered) == getattr(BOOK, kind)
    short = read_lines([HEADER.encode(), b'{"record":"auction","auction_id":"x","intervals":[]}'])
    assert short == Book(
        spec=replace(
            SPEC,
            auction_id="x",
            intervals=(),
            operator_fee=MicroUsdPerChipHour(0),
            seed_commitment="",
        ),
        sites=(),
        pools=(),
    )


def test_large_integers_are_text_or_numbers() -> None:
    exact = with_item("sites", power_limit=2**60)
    lines = [line.encode() for line in write_lines(exact)]
    assert any(b'"power_limit":"1152921504606846976"' in line for line in lines)
    assert read_lines(lines) == exact
    bare = [line.replace(b'"1152921504606846976"', b"%d" % 2**60) for line in lines]
    assert read_lines(bare) == exact


POOL = number_of("pool")
OFFER = number_of("offer")
CASES: tuple[tuple[list[bytes], str, str], ...] = (
    ([], "NOT_A_BOOK", ""),
    ([b"", b" \n"], "NOT_A_BOOK", ""),
    (LINES[1:], "NOT_A_BOOK", "line 1"),
    ([b"{", *LINES], "NOT_A_BOOK", "line 1"),
    ([b'{"record":"book"}', *LINES[1:]], "NOT_A_BOOK", "line 1"),
    ([b'{"record":"book","version":1,"x":1}', *LINES[1:]], "NOT_A_BOOK", "line 1"),
    ([b'{"record":"book","version":2}', *LINES[1:]], "BAD_VERSION", "line 1"),
    ([b'{"record":"book","version":true}', *LINES[1:]], "BAD_VERSION", "line 1"),
    ([LINES[0]], "MISSING_RECORD", ""),
    ([*LINES, LINES[0]], "REPEATED_RECORD", f"line {len(LINES) + 1}"),
    ([*LINES, LINES[1]], "REPEATED_RECORD", f"line {len(LINES) + 1}"),
    ([*LINES, b"{}"], "UNKNOWN_RECORD", f"line {len(LINES) + 1}"),
    ([*LINES, b'{"record":["offer"]}'], "UNKNOWN_RECORD", f"line {len(LINES) + 1}"),
    ([*LINES, b'{"record":"offers"}'], "UNKNOWN_RECORD", f"line {len(LINES) + 1}"),
    ([*LINES, b"[]"], "NOT_JSON", f"line {len(LINES) + 1}"),
    ([*LINES, b"null"], "NOT_JSON", f"line {len(LINES) + 1}"),
    ([*LINES, b"{} {}"], "NOT_JSON", f"line {len(LINES) + 1}"),
    ([*LINES, b"\xff"], "NOT_JSON", f"line {len(LINES) + 1}"),
    ([*LINES, b"\xef\xbb\xbf{}"], "NOT_JSON", f"line {len(LINES) + 1}"),
    ([*LINES, b"[" * 200_000], "NOT_JSON", f"line {len(LINES) + 1}"),
    ([*LINES, b'{"record":"site","site_id":"x","surcharge":1.0}'], "NOT_JSON",
     f"line {len(LINES) + 1}"),
    ([*LINES, b'{"record":"site","site_id":"x","surcharge":NaN}'], "NOT_JSON",
     f"line {len(LINES) + 1}"),
    ([*LINES, b'{"record":"site","site_id":"x","surcharge":1' + b"0" * 9_999 + b"}"], "NOT_JSON",
     f"line {len(LINES) + 1}"),
    ([*LINES, b'{"record":"site","site_id":"x","site_id":"y","surcharge":1}'], "NOT_JSON",
     f"line {len(LINES) + 1}"),
    (changed(POOL, capacity=...), "BAD_VALUE", f"line {POOL + 1}"),
    (changed(POOL, colour="red"), "BAD_VALUE", f"line {POOL + 1}"),
    (changed(POOL, capacity="ten"), "BAD_VALUE", f"line {POOL + 1}"),
    (changed(POOL, capacity=None), "BAD_VALUE", f"line {POOL + 1}"),
    (changed(POOL, capacity=True), "BAD_VALUE", f"line {POOL + 1}"),
    (changed(POOL, fabric="\ud800"), "BAD_VALUE", f"line {POOL + 1}"),
    (changed(OFFER, segments={}), "BAD_VALUE", f"line {OFFER + 1}"),
    (changed(OFFER, commitment=[]), "BAD_VALUE", f"line {OFFER + 1}"),
)  # fmt: skip


@pytest.mark.parametrize(("lines", "code", "place"), CASES, ids=lambda value: str(value)[:24])
def test_faults_are_named_by_their_line(lines: list[bytes], code: str, place: str) -> None:
    assert refusal(lines)[:2] == (code, place)


def test_the_place_inside_a_line_is_named() -> None:
    segments = json.loads(LINES[OFFER])["segments"]
    segments[1]["steps"][0]["chips"] = "8 chips"
    found = refusal(changed(OFFER, segments=segments))
    assert found[2] == "segments[1].steps[0].chips: expected an integer, got '8 chips'."
    message = str(BookFileError(*found))
    assert message == f"BAD_VALUE: line {OFFER + 1}: {found[2]}"


def test_values_without_a_form_are_refused() -> None:
    with pytest.raises(BookFileError, match="NOT_SAYABLE: pool: float has no canonical form"):
        list(write_lines(with_item("pools", capacity=1.5)))


def code_of(book: Book) -> str:
    """Code that a book is refused with, empty for none; the message can be printed."""
    try:
        validate(book)
    except BookError as error:
        return error.code if str(error).encode() else "NO_MESSAGE"
    return ""


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The file with a few bytes or lines changed, taken away, put in or repeated."""
    data = bytearray(FILE)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1)) if data else 0
        size = draw(st.sampled_from([1, 1, 1, 2, 8, 64]))
        part = bytes(data[at : at + size])
        data[at : at + size] = draw(
            st.one_of(
                st.binary(max_size=3),
                st.just(b""),
                st.just(part + part),
                st.sampled_from(
                    [b"0", b"-", b"1e9", b"null", b'"', b"{", b"]", b",", b"\n", b"9" * 30]
                ),
            )
        )
    return bytes(data)


@settings(max_examples=400, deadline=None)
@example(FILE)
@given(damaged())
def test_any_damage_reads_to_a_book_or_is_named(data: bytes) -> None:
    try:
        book = read_lines(data.splitlines(keepends=True))
    except BookFileError as error:
        note(str(error))
        return
    code = code_of(book)
    assert code != "BAD_TYPE"
    assert read_lines([line.encode() for line in write_lines(book)]) == book


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    arbitrary.integers,
    st.floats(),
    arbitrary.texts,
    st.just([]),
    st.just({}),
)


@st.composite
def junk_books(draw: st.DrawFn) -> Book:
    """The sample with one field of one item replaced by anything."""
    kind = draw(st.sampled_from([name for name in Book.__dataclass_fields__ if name != "spec"]))
    items = getattr(BOOK, kind)
    number = draw(st.integers(0, len(items) - 1))
    name = draw(st.sampled_from(sorted(items[0].__dataclass_fields__)))
    return with_item(kind, number, **{name: draw(SCALARS)})


@settings(max_examples=400, deadline=None)
@given(junk_books())
def test_any_field_replaced_is_sound_or_refused(book: Book) -> None:
    if not code_of(book):
        assert read_lines([line.encode() for line in write_lines(book)]) == book


@settings(max_examples=100, deadline=None)
@given(arbitrary.values(Book))
def test_any_typed_book_is_sound_or_refused(book: Book) -> None:
    assert code_of(replace(book, spec=SPEC)) != "BAD_TYPE"
