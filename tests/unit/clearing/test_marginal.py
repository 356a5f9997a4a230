"""Who sets the price where."""

from __future__ import annotations

from clearing.auction import clear
from clearing.marginal import Marginal, marginal
from clearing.types import Book, Cover
from tests.golden.clearing.books import SEED, bid, book, gang, offer, pool, price, site, work


def found(given: Book) -> tuple[Marginal, ...]:
    return marginal(clear(given, SEED), given)


def test_offer_that_is_partly_sold() -> None:
    (only,) = found(book(offer("S", (8, "4")), offer("T", (8, "6")), bid("b", (4, "5"))))
    assert (only.sellers, only.buyers, only.energy) == (("S",), (), price("4"))


def test_bids_that_are_partly_filled() -> None:
    (only,) = found(book(offer("S", (4, "2")), bid("b", (3, "5")), bid("c", (3, "5"))))
    assert (only.sellers, only.buyers) == ((), ("b", "c"))


def test_gang_inside_its_range_holds_the_price() -> None:
    (only,) = found(book(offer("S", (6, "2")), gang("g", 8, "4", least=500_000)))
    assert only.buyers == ("g",)


def test_work_and_backups_count_at_what_they_pay() -> None:
    given = book(
        offer("S", (8, "1")),
        offer("T", (4, "3"), at="B"),
        bid("b", (8, "9"), at=("A", "B"), cover=Cover.SITE),
        work("w", 8, "0.5", rate=8, first=0, stop=1),
        pools=(pool("A"), pool("B", "z")),
        sites=(site(), site("z")),
    )
    places = {item.pool_id: item for item in found(given)}
    assert "b" in places["A"].buyers + places["B"].buyers
    assert "w" not in places["A"].buyers


def test_nobody_where_the_price_lies_inside_a_range() -> None:
    (only,) = found(book(offer("S", (4, "2")), bid("b", (4, "5"))))
    assert price("2") <= only.energy <= price("5")
    assert only.sellers == (("S",) if only.energy == price("2") else ())
