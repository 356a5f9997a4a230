"""The desk, which judges orders one at a time, is never more lenient than ``validate``."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import pytest

from clearing.errors import BookError
from clearing.types import BlockBid, Book, Eligibility, Offer, StepBid, WorkBid
from clearing.units import Chips
from clearing.validate import validate
from clearing.validation.desk import Desk
from tests.property.random_books import ALL, random_book

BOOKS = 150
ODD: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 3, 7, 10, 24, 25, 999, 1_000, 1_000_000, 1_000_001, 10**9, 10**9 + 1, 10**8),
    *(10**8 + 1, 2**40, 2**60, 2**62, 2**63, 2**80, -(10**9), True, False, None, 1.0),
    *(
        "",
        "x",
        "rent:x",
        "a\0b",
        "\ud800",
        "é",
        b"x",
        (),
        [],
        ("x",),
        ("pool-0", "pool-0"),
        object(),
    ),
)


def _orders(book: Book) -> Iterator[Offer | StepBid | BlockBid | WorkBid]:
    yield from book.offers
    yield from book.step_bids
    yield from book.block_bids
    yield from book.work_bids


def _alone(book: Book, order: Any) -> Book:
    empty: dict[str, Any] = dict.fromkeys(
        ("offers", "step_bids", "block_bids", "work_bids", "nominations", "links"), ()
    )
    kinds = {Offer: "offers", StepBid: "step_bids", BlockBid: "block_bids", WorkBid: "work_bids"}
    return dataclasses.replace(book, **(empty | {kinds[type(order)]: (order,)}))


def _untied(order: Any) -> Any:
    if isinstance(order, BlockBid):
        return dataclasses.replace(order, exclusive_group="", parent_order_id="")
    return order


def _is_valid(book: Book) -> bool:
    try:
        validate(book)
    except BookError:
        return False
    return True


def _changed(draw: random.Random, value: Any) -> Any:
    """A value with one thing inside it replaced by something odd, at a random depth."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and draw.random() < 0.85:
        name = draw.choice([field.name for field in dataclasses.fields(value)])
        changed = _changed(draw, getattr(value, name))
        return dataclasses.replace(value, **{name: changed})
    if isinstance(value, tuple) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        kept = (*value[:place], _changed(draw, value[place]), *value[place + 1 :])
        return draw.choice((kept, kept, value + value[:1], value[:-1], value[::-1]))
    if type(value) is int and draw.random() < 0.5:
        return value + draw.choice((-1, 1, value, -value, 1_000, 2**61))
    return draw.choice(ODD)


def test_what_the_desk_calls_sound_alone_is_accepted_alone() -> None:
    called, sound = 0, 0
    for seed in range(BOOKS):
        book = random_book(seed, ALL)
        desk = Desk(book.spec, book.sites, book.pools)
        for order in map(_untied, _orders(book)):
            found = desk.is_sound(order)
            if found:
                assert _is_valid(_alone(book, order)), (seed, order)
            if _is_valid(_alone(book, order)):
                called += 1
                sound += found
    # Commitments, profiles and bids without any eligible pool go the long way.
    assert sound > 0.75 * called > 0, (sound, called)


def test_no_change_makes_an_order_sound_for_the_desk_alone() -> None:
    sound, refused = 0, 0
    for seed in range(BOOKS):
        draw = random.Random(seed)
        book = random_book(seed, ALL)
        desk = Desk(book.spec, book.sites, book.pools)
        for order in map(_untied, _orders(book)):
            for _ in range(6):
                changed = _changed(draw, order)
                if type(changed) is not type(order) or changed == order:
                    continue
                changed = _untied(changed)
                if desk.is_sound(changed):
                    sound += 1
                    assert _is_valid(_alone(book, changed)), (seed, changed)
                else:
                    refused += 1
    assert sound > 100, "the changes leave nothing sound: they test nothing"
    assert refused > 100


def test_families_that_the_desk_calls_sound_are_accepted_together() -> None:
    sound = 0
    for seed in range(3 * BOOKS):
        draw = random.Random(seed)
        book = random_book(seed, ALL)
        desk = Desk(book.spec, book.sites, book.pools)
        blocks = list(book.block_bids)
        draw.shuffle(blocks)
        for count in range(1, len(blocks) + 1):
            family = tuple(blocks[:count])
            if desk.is_sound_family(family):
                together = dataclasses.replace(_alone(book, family[0]), block_bids=family)
                assert _is_valid(together), (seed, family)
                sound += any(block.parent_order_id or block.exclusive_group for block in family)
    assert sound > 10


def test_a_desk_over_a_grid_that_is_refused_calls_nothing_sound() -> None:
    book = next(book for book in map(random_book, range(99), [ALL] * 99) if book.step_bids)
    pools = tuple(dataclasses.replace(pool, capacity=Chips(-1)) for pool in book.pools)
    desk = Desk(book.spec, book.sites, pools)
    assert not any(map(desk.is_sound, _orders(book)))


@pytest.mark.parametrize("where", [Eligibility(), Eligibility(pool_ids=["pool"])])  # type: ignore[arg-type]
def test_conditions_that_name_nothing_or_are_no_tuples_are_not_sound(where: Eligibility) -> None:
    book = next(book for book in map(random_book, range(99), [ALL] * 99) if book.step_bids)
    desk = Desk(book.spec, book.sites, book.pools)
    assert not desk.is_sound(dataclasses.replace(book.step_bids[0], where=where))
