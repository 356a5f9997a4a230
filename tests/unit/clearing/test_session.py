"""A session saves reading and changes nothing: same digests, same outcomes, same refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clearing import codec
from clearing.auction import clear
from clearing.book import canonical
from clearing.errors import BookError
from clearing.session import Session
from clearing.types import Book
from tests.property.random_books import SEED, random_book


def with_bid(book: Book, **changes: Any) -> Book:
    """The book with its first step bid changed; the others are the same objects."""
    first, *others = book.step_bids
    return replace(book, step_bids=(replace(first, **changes), *others))


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_outcomes_are_those_of_the_book_and_the_seed(seed: int) -> None:
    session, book = Session(), random_book(seed)
    for given in (book, with_bid(book, participant_id="other"), book):
        assert clear(given, SEED, session=session) == clear(given, SEED)


def test_only_orders_that_changed_are_read() -> None:
    session, book = Session(), canonical(random_book(3))
    assert session.unseen(book) == book
    assert session.digest(book) == codec.digest(book)
    assert session.unseen(book).step_bids == ()
    changed = canonical(with_bid(book, participant_id="other"))
    assert [bid.participant_id for bid in session.unseen(changed).step_bids] == ["other"]
    assert session.digest(changed) == codec.digest(changed)
    # What left the book is forgotten.
    assert len(session.unseen(canonical(book)).step_bids) == 1


def test_documents_are_those_of_the_codec_and_check_nothing() -> None:
    session, book = Session(), canonical(random_book(3))
    for given in (book, canonical(with_bid(book, participant_id="other"))):
        assert session.encode(given) == codec.encode(given)
        assert session.encode(given) == codec.encode(given)
        assert session.unseen(given) == given
    wrong = with_bid(book, notice_s=True)
    session.encode(wrong)
    with pytest.raises(BookError, match="BAD_TYPE"):
        clear(wrong, SEED, session=session)


def test_changed_order_is_checked_like_any_other() -> None:
    session, book = Session(), random_book(3)
    clear(book, SEED, session=session)
    with pytest.raises(BookError) as refused:
        clear(with_bid(book, notice_s=1.5), SEED, session=session)
    assert refused.value.code == "BAD_TYPE"
