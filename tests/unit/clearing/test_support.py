"""What orders would trade at given prices."""

from __future__ import annotations

from typing import Any

import numpy as np

from clearing.layout import Choice
from clearing.prices import Prices
from clearing.support import Support, forced_nodes, supported
from clearing.types import Book
from clearing.units import Chips, Ppm
from tests.golden.clearing.books import bid, book, committed, gang, offer, pool, price
from tests.unit.clearing.small_models import model_of


def support_at(given: Book, *energy: str, on: bool = True, **parts: list[str]) -> Support:
    """Support at prices in dollars, one per place."""
    model = model_of(given)
    zero = ["0"] * len(energy)
    names = ("power", "spare", "node_cover", "availability", "recall", "site_spare")
    columns: dict[str, Any] = {
        name: np.array([price(text) for text in parts.get(name, zero)], dtype=np.int64)
        for name in names
    }
    prices = Prices(
        energy=np.array([price(text) for text in energy], dtype=np.int64),
        backup=np.zeros(0, dtype=np.int64),
        **columns,
    )
    choice = Choice(
        proven=True,
        chosen=np.zeros(model.market.blocks.order.size, dtype=np.bool_),
        on=np.full(model.market.units.offered.shape, on),
        short=np.zeros(0),
        row_duals=np.zeros(0),
        hint=np.zeros(0),
    )
    return supported(model, choice, prices)


def two_pools() -> Book:
    return book(
        offer("S", (8, "2")),
        offer("T", (8, "3"), at="B"),
        bid("b", (4, "5"), at=("A", "B")),
        pools=(pool("A"), pool("B")),
    )


def test_dearer_pool_is_closed_to_a_bid_and_to_its_offer() -> None:
    found = support_at(two_pools(), "2", "2.5")
    assert found.most.tolist() == [8, 0]
    assert found.arc_most.tolist() == [4, 0]
    (due,) = found.dues({0}, [0, 1])
    assert (due.columns, due.chips, due.free) == (((2, 1),), 4, 0)


def test_equal_pools_may_leave_the_odd_node() -> None:
    found = support_at(two_pools(), "3.5", "3.5")
    assert found.most.tolist() == [8, 8]
    dues = found.dues({0}, [0, 1])
    assert [(due.chips, due.free) for due in dues] == [(4, 1), (8, 1), (8, 1)]
    assert [column for column, _ in dues[0].columns] == [2, 3]


def test_prices_rounded_apart_count_as_equal() -> None:
    found = support_at(two_pools(), "3.5", "3.500002")
    assert found.arc_most.tolist() == [4, 4]
    assert support_at(two_pools(), "3.5", "3.500003").arc_most.tolist() == [4, 0]


def test_steps_of_an_order_are_short_together() -> None:
    given = book(offer("S", (9, "2")), bid("b", (2, "5"), (3, "4"), (1, "2")), bid("c", (2, "4")))
    found = support_at(given, "2")
    assert (found.arc_most > 0).all()
    cells = set(np.flatnonzero(found.gains).tolist())
    assert [(due.chips, due.free) for due in found.dues(cells, [0])] == [(7, 0)]


def test_bid_below_the_price_and_offer_above_it_are_closed() -> None:
    given = book(offer("S", (4, "2"), (4, "6")), bid("b", (4, "5"), (4, "2")))
    found = support_at(given, "3")
    assert found.most.tolist() == [4, 0]
    assert sorted(found.arc_most.tolist()) == [0, 4]
    cells = set(np.flatnonzero(found.gains).tolist())
    assert [due.chips for due in found.dues(cells, [0])] == [4, 4]


def test_chip_that_earns_more_by_standing_by_need_not_sell() -> None:
    given = book(offer("S", (8, "2")), pools=(pool(node_spare_ppm=Ppm(500_000)),))
    assert support_at(given, "5", spare=["4"]).most.tolist() == [0]
    assert not support_at(given, "5", spare=["3"]).due_supply.any()
    assert support_at(given, "5", spare=["2"]).due_supply.all()


def test_unit_sells_its_least_at_any_price_and_nothing_while_it_is_off() -> None:
    given = book(offer("U", (4, "2"), (4, "3"), (4, "9"), commitment=committed(min_chips=Chips(6))))
    assert support_at(given, "1").most.tolist() == [4, 2, 0]
    assert support_at(given, "4").most.tolist() == [4, 4, 0]
    assert support_at(given, "4", on=False).most.tolist() == [0, 0, 0]


def test_supply_block_sells_everything_while_it_is_on() -> None:
    given = book(offer("V", (4, "2"), (4, "9"), commitment=committed(whole=True)))
    found = support_at(given, "1")
    assert found.most.tolist() == [4, 4]
    assert not found.due_supply.any()


def test_least_quantity_takes_the_cheapest_steps_of_each_unit() -> None:
    terms: dict[str, Any] = {"stop": 2, "commitment": committed(min_chips=Chips(5))}
    given = book(
        offer("U", (4, "2"), (4, "3"), **terms),
        offer("V", (9, "2"), **terms),
        offer("S", (9, "2"), stop=2),
        intervals=2,
    )
    market = model_of(given).market
    owned = np.flatnonzero(market.supply.unit >= 0)
    forced = forced_nodes(market, owned)
    of_unit = [forced[market.supply.unit[owned] == unit].tolist() for unit in (0, 1)]
    assert of_unit == [[4, 1, 4, 1], [5, 5]]


def test_what_is_missing_beyond_odd_nodes_is_unmet() -> None:
    found = support_at(two_pools(), "3.5", "3.5")
    settled = np.ones(2, dtype=np.bool_)
    enough = found.unmet(np.array([7, 8]), np.array([2, 1]), settled)
    assert enough == []
    far = found.unmet(np.array([6, 8]), np.array([1, 1]), settled)
    assert [due.chips for due in far] == [4, 8]


def test_gangs_are_no_part_of_it() -> None:
    found = support_at(book(offer("S", (8, "2")), gang("g", 4, "9")), "5")
    assert found.arc_most.size == 0
    assert found.most.tolist() == [8]
