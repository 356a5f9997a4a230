"""A session saves reading and changes nothing: same digests, same outcomes, same refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clearing import codec, search
from clearing.auction import clear
from clearing.book import canonical
from clearing.errors import BookError
from clearing.memory import Memory
from clearing.outcome import Outcome
from clearing.reading import read_market
from clearing.session import Session
from clearing.types import Book, Interval
from clearing.units import UnixSeconds
from tests.benchmarks.grid_books import TIE_SEED, TINY, generate
from tests.benchmarks.spot_runs import first_book, next_book
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


def refused(book: Book, session: Session | None) -> tuple[str, ...]:
    with pytest.raises(BookError) as found:
        clear(book, TIE_SEED, session=session)
    return found.value.code, found.value.subject, found.value.field, found.value.advice


@pytest.mark.parametrize(
    "spoil",
    [
        lambda book: with_bid(book, order_id=book.step_bids[-1].order_id),
        lambda book: with_bid(book, order_id=book.offers[0].order_id),
        lambda book: with_bid(book, segments=()),
        lambda book: replace(book, spec=replace(book.spec, tick=77_777)),
        lambda book: replace(book, spec=replace(book.spec, price_cap=1)),
        lambda book: replace(book, spec=replace(book.spec, intervals=book.spec.intervals[:1])),
        lambda book: replace(book, spec=replace(book.spec, intervals=(1,))),
        lambda book: replace(book, pools=book.pools[:-1]),
    ],
)
def test_refusals_are_those_of_a_book_that_nobody_saw(spoil: Callable[[Book], Book]) -> None:
    session, book = Session(), canonical(generate(TINY))
    clear(book, TIE_SEED, session=session)
    assert session.stands(book)
    assert session.unseen(book).step_bids == ()
    spoiled = spoil(book)
    assert refused(spoiled, session) == refused(spoiled, None)


STANDING = replace(TINY, name="spot", gangs=40, hourly=360, spread=12, intervals=12, flat=True)


def runs(session: Session | None, count: int) -> list[Outcome]:
    """Runs of a small spot market, one after the other."""
    found: list[Outcome] = []
    book = first_book(STANDING)
    for number in range(1, count + 1):
        found.append(clear(book, TIE_SEED, session=session))
        book = next_book(book, found[-1], number)
    return found


def test_warm_session_gives_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_ENTRIES_MAX", 0)
    first, again = runs(Session(warm=True), 3), runs(Session(warm=True), 3)
    assert list(map(codec.digest, first)) == list(map(codec.digest, again))
    cold = runs(None, 1)
    assert cold == first[:1]


def test_memory_answers_by_pool_and_time() -> None:
    book = canonical(first_book(STANDING))
    grid, intervals = read_market(book).grid, book.spec.intervals
    pools, sites = len(grid.pools), int((grid.power_limit >= 0).sum())
    assert sites > 0
    memory = Memory()
    assert memory.recall(grid, intervals) is None
    place = np.arange(3.0 * pools * 12).reshape(3, pools, 12)
    power = -np.arange(1.0 * sites * 12).reshape(sites, 12)
    memory.keep(grid, intervals, place, power)
    by = 2 * intervals[0].duration_s
    later = tuple(
        Interval(start=UnixSeconds(one.start + by), end=UnixSeconds(one.end + by))
        for one in intervals
    )
    found = memory.recall(grid, later)
    assert found is not None
    moved = [*range(2, 12), 11, 11]
    assert (found[0] == place[:, :, moved]).all()
    assert (found[1] == power[:, moved]).all()
    other = replace(grid.pools[0], pool_id="another")
    assert memory.recall(replace(grid, pools=(other, *grid.pools[1:])), intervals) is None
