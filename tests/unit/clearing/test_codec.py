"""Canonical JSON: one value, one text, and nothing else decodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearing import codec
from clearing.book import canonical
from clearing.codec import SAFE_INTEGER, DocumentError
from clearing.outcome import Outcome
from clearing.types import Book, Interval, Step
from clearing.units import Chips, MicroUsdPerChipHour, UnixSeconds
from tests.unit.clearing import hand

INTERVAL = Interval(start=UnixSeconds(0), end=UnixSeconds(3_600))


def test_keys_are_sorted_without_white_space() -> None:
    assert codec.encode(INTERVAL) == b'{"end":3600,"start":0}'


@pytest.mark.parametrize("case", hand.CASES, ids=lambda case: case.__name__)
def test_documents_round_trip(case: object) -> None:
    assert callable(case)
    book, outcome = case()
    assert codec.decode(codec.encode(book), Book) == book
    assert codec.decode(codec.encode(outcome), Outcome) == outcome


def test_integers_that_readers_would_round_are_text() -> None:
    """RFC 7493 section 2.2: integers beyond 2**53 - 1 do not survive common readers."""
    exact = Interval(start=UnixSeconds(SAFE_INTEGER), end=UnixSeconds(SAFE_INTEGER + 1))
    assert codec.encode(exact) == b'{"end":"9007199254740992","start":9007199254740991}'
    assert codec.decode(codec.encode(exact), Interval) == exact


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"{", "not a JSON document"),
        (b'{"end":3600.0,"start":0}', "no floats"),
        (b'{"end":NaN,"start":0}', "no floats"),
        (b'{"end":3600}', "start"),
        (b'{"end":3600,"extra":1,"start":0}', "extra"),
        (b'{"end":true,"start":0}', "expected an integer"),
        (b'{"end":null,"start":0}', "expected an integer"),
        (b'{"end":"3600","start":0}', "canonical form"),
        (b'{"start":0,"end":3600}', "canonical form"),
        (b'{"end":3600, "start":0}', "canonical form"),
        (b'{"end":1,"end":3600,"start":0}', "canonical form"),
    ],
)
def test_other_documents_are_refused(document: bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        codec.decode(document, Interval)


def test_floats_have_no_canonical_form() -> None:
    with pytest.raises(DocumentError, match="float has no canonical form"):
        codec.encode(replace(INTERVAL, start=0.5))  # type: ignore[arg-type]


def test_the_digest_is_of_the_canonical_book() -> None:
    book, _ = hand.released_base()
    shuffled = replace(book, offers=book.offers[::-1])
    assert codec.digest(shuffled) != codec.digest(book)
    assert codec.digest(canonical(shuffled)) == codec.digest(canonical(book))
    assert canonical(canonical(shuffled)) == canonical(shuffled)


def test_a_digest_names_every_field() -> None:
    step = Step(price=MicroUsdPerChipHour(1_000), chips=Chips(8))
    assert codec.digest(step) != codec.digest(replace(step, chips=Chips(9)))
    assert len(codec.digest(step)) == 64
