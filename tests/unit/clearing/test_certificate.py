"""The bound counts only placements of a block that some outcome could deliver."""

from __future__ import annotations

from clearing.auction import clear
from clearing.outcome import Fill
from clearing.types import Book, Cover
from clearing.units import PriceSeconds, Watts
from tests.golden.clearing.books import SEED, bid, book, gang, nomination, offer, pool, price, site

WELFARE = 8 * (price("5") - price("2")) * 3_600
"""Eight chips at 2 for a bid at 5."""


def certified(given: Book) -> tuple[int, PriceSeconds]:
    outcome = clear(given, SEED)
    told = {order.order_id: order.fill for order in outcome.orders}
    assert told.get("g", Fill.NONE) is Fill.NONE
    return outcome.certificate.gap_ppb, outcome.certificate.bound


def test_gang_larger_than_its_pool_loosens_no_bound() -> None:
    given = book(offer("S", (8, "2")), bid("b", (8, "5")), gang("g", 100, "50"))
    assert certified(given) == (0, WELFARE)


def test_gang_beyond_the_power_that_base_load_leaves_loosens_no_bound() -> None:
    given = book(
        offer("S", (16, "2")),
        bid("b", (8, "5")),
        gang("g", 9, "4"),
        nomination("n", 2),
        pools=(pool(chip_power=Watts(1_000)),),
        sites=(site(power_limit=10_000),),
    )
    assert certified(given) == (0, WELFARE)


def test_released_base_load_is_no_room_for_a_firm_gang() -> None:
    given = book(
        offer("S", (8, "2")),
        offer("R", (8, "0"), recallable=True),
        bid("b", (8, "5")),
        gang("g", 12, "5", cover=Cover.NONE),
    )
    assert certified(given) == (0, WELFARE)


def test_fill_of_a_gang_is_bounded_by_what_its_pool_offers() -> None:
    outcome = clear(book(offer("S", (8, "2")), gang("h", 100, "5", least=10_000)), SEED)
    assert outcome.certificate.gap_ppb == 0
    assert outcome.certificate.bound == WELFARE


def test_covered_gang_as_large_as_its_pool_leaves_no_room_for_its_cover() -> None:
    given = book(
        offer("S", (8, "2")),
        bid("b", (8, "5")),
        gang("g", 8, "50", cover=Cover.NODE),
        pools=(pool(node_spare_ppm=10_000),),
    )
    assert certified(given) == (0, WELFARE)
