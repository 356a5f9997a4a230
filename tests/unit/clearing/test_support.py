from __future__ import annotations

from dataclasses import replace

from clearing.book import canonical
from clearing.market import read_market
from clearing.model import Model, build
from clearing.pricing.rounding import Parts
from clearing.support import Support, supported
from clearing.types import Book
from tests.golden.clearing.books import SEED, bid, book, offer, pool, price

FREE = Parts(energy=0, power=0, spare=0, cover=0, availability=0, recall=0)


def support_at(given: Book, *energy: str) -> tuple[Model, Support]:
    """Support at energy prices in dollars, one per pool."""
    given = canonical(given)
    model = build(read_market(given, SEED), given.spec, SEED)
    return model, supported(model, tuple(replace(FREE, energy=price(e)) for e in energy))


def two_pools() -> Book:
    return book(
        offer("S", (8, "2")),
        offer("T", (8, "3"), at="B"),
        bid("b", (4, "5"), at=("A", "B")),
        pools=(pool("A"), pool("B")),
    )


def test_dearer_pool_is_closed_to_a_bid_and_to_its_offer() -> None:
    model, found = support_at(two_pools(), "2", "2.5")
    delivery = model.layout.delivery
    assert found.closed == {1, delivery + 1}
    (due,) = found.due
    assert (due.columns, due.nodes, due.free) == (((delivery, 1.0),), 4.0, 0)


def test_equal_pools_may_leave_the_odd_node() -> None:
    model, found = support_at(two_pools(), "3.5", "3.5")
    delivery = model.layout.delivery
    assert found.closed == frozenset()
    assert [(due.nodes, due.free) for due in found.due] == [(4.0, 1), (8.0, 1), (8.0, 1)]
    assert [column for column, _ in found.due[0].columns] == [delivery, delivery + 1]


def test_steps_of_an_order_are_short_together() -> None:
    given = book(offer("S", (9, "2")), bid("b", (2, "5"), (3, "4"), (1, "2")), bid("c", (2, "4")))
    _, found = support_at(given, "2")
    assert found.closed == frozenset()
    assert [(due.nodes, due.free) for due in found.due] == [(7.0, 0)]


def test_bid_below_the_price_and_offer_above_it_are_closed() -> None:
    given = book(offer("S", (4, "2"), (4, "6")), bid("b", (4, "5"), (4, "2")))
    model, found = support_at(given, "3")
    prices = {model.market.supply[c].price for c in found.closed if c < model.layout.delivery}
    assert prices == {price("6")}
    assert len(found.closed) == 2
    assert [due.nodes for due in found.due] == [4.0, 4.0]
