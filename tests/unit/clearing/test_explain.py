"""What orders are told: the reason, the number behind it and one sentence."""

from __future__ import annotations

from typing import Any

from clearing.auction import clear
from clearing.outcome import Fill, OrderOutcome, Reason
from clearing.types import Book, Cover
from clearing.units import SECONDS_PER_HOUR, Chips, MicroUsd, Ppm, Watts
from tests.golden.clearing.books import (
    SEED,
    bid,
    book,
    committed,
    gang,
    nomination,
    offer,
    pool,
    price,
    site,
    usd,
    work,
)


def told(given: Book) -> dict[str, OrderOutcome]:
    return {answer.order_id: answer for answer in clear(given, SEED).orders}


def test_bid_out_of_the_money_is_told_by_how_much_and_where() -> None:
    found = told(
        book(
            offer("S", (8, "4")),
            offer("T", (8, "3.42"), at="B"),
            bid("x", (4, "5")),
            bid("y", (4, "5"), at=("B",)),
            bid("b", (4, "3"), at=("A", "B")),
            pools=(pool("A"), pool("B")),
        )
    )["b"]
    assert (found.reason, found.shortfall) == (Reason.OUT_OF_THE_MONEY, price("0.42"))
    assert "0.42 USD per chip-hour below" in found.detail
    assert "B in interval 0" in found.detail


def test_offer_above_the_price_is_told_by_how_much() -> None:
    found = told(book(offer("S", (8, "2")), offer("T", (8, "5")), bid("b", (4, "4"))))["T"]
    assert (found.reason, found.fill) == (Reason.OUT_OF_THE_MONEY, Fill.NONE)
    assert found.shortfall == price("3")
    assert "3 USD per chip-hour above" in found.detail


def test_gang_that_fits_nowhere_is_told_the_largest_pool() -> None:
    given = book(
        offer("S", (8, "2")),
        offer("T", (12, "2"), at="B"),
        gang("g", 16, "9", at=("A", "B")),
        pools=(pool("A"), pool("B")),
    )
    found = told(given)["g"]
    assert (found.reason, found.foregone) == (Reason.LARGER_THAN_ANY_POOL, 0)
    assert "B, can deliver 12 of 16 chips in interval 0" in found.detail


def test_gang_without_room_is_told_how_many_chips_are_missing_and_when() -> None:
    # Alone it gains 8 x 3 = 24; the step gains 7 x 6 = 42, and one chip at 2 is left over.
    given = book(
        offer("S", (8, "2"), stop=3),
        bid("b", (7, "8"), first=1, stop=3),
        gang("g", 8, "5", duration=3),
        intervals=3,
    )
    found = told(given)["g"]
    assert found.reason is Reason.PARADOXICALLY_REJECTED
    assert found.foregone > 0
    assert "A, lacks 7 contiguous chips in intervals 1-2" in found.detail


def test_child_of_a_rejected_parent() -> None:
    terms: dict[str, Any] = {"participant_id": "lab"}
    found = told(
        book(
            offer("S", (20, "4")),
            bid("b", (4, "9")),
            gang("p", 8, "1", **terms),
            gang("c", 4, "5", parent_order_id="p", **terms),
        )
    )
    assert found["p"].reason is Reason.OUT_OF_THE_MONEY
    assert found["c"].reason is Reason.PARENT_NOT_ACCEPTED
    assert found["c"].detail.startswith("Parent p was not accepted")


def test_other_member_of_the_group() -> None:
    terms: dict[str, Any] = {"participant_id": "lab", "exclusive_group": "either"}
    given = book(offer("S", (20, "2")), gang("g", 8, "5", **terms), gang("h", 9, "5", **terms))
    found = told(given)
    assert found["h"].reason is Reason.IN_THE_MONEY
    assert (found["g"].reason, found["g"].foregone) == (Reason.OTHER_ACCEPTED, 0)
    assert found["g"].detail.startswith("h of its exclusive group was accepted")


def test_supply_that_would_not_earn_back_its_start() -> None:
    found = told(
        book(
            offer("S", (8, "3")),
            offer("U", (8, "2.5"), commitment=committed("40", "0.5")),
            bid("b", (8, "9")),
        )
    )["U"]
    assert (found.reason, found.fill, found.shortfall) == (Reason.NOT_STARTED, Fill.NONE, 0)
    assert "start-up of 40 USD and no-load of 0.5 USD" in found.detail


def test_loss_that_is_paid_back() -> None:
    # Example 2 of the design: the gang loses 12 at the price of 5.
    found = told(book(offer("S", (16, "2")), bid("b", (8, "5")), gang("g", 12, "4")))["g"]
    assert found.reason is Reason.MADE_WHOLE
    assert found.surplus == -usd("12") * SECONDS_PER_HOUR
    assert found.detail == "Accepted; it loses 12.00 USD at the prices, which is paid back."


def test_work_between_limits() -> None:
    given = book(
        offer("S", (4, "1"), stop=2),
        bid("b", (4, "9")),
        work("w", 4, "3", rate=4, first=0, stop=2),
        work("v", 4, "0.5", rate=4, first=0, stop=2),
        intervals=2,
    )
    found = told(given)
    assert (found["w"].reason, found["w"].fill) == (Reason.IN_THE_MONEY, Fill.FULL)
    assert (found["v"].reason, found["v"].fill) == (Reason.OUT_OF_THE_MONEY, Fill.NONE)
    assert found["v"].shortfall > 0


def test_orders_exactly_at_the_price() -> None:
    found = told(book(offer("S", (4, "2")), bid("b", (3, "5")), bid("c", (3, "5"))))
    assert {found[name].reason for name in ("b", "c")} == {Reason.AT_THE_PRICE}
    assert {found[name].fill for name in ("b", "c")} <= {Fill.PARTIAL, Fill.FULL}


def test_base_load_that_power_does_not_carry() -> None:
    given = book(
        nomination("n", 12),
        pools=(pool(chip_power=Watts(1_000)),),
        sites=(site(power_limit=10_000),),
    )
    found = told(given)["n"]
    assert (found.reason, found.fill) == (Reason.BASE_SHORTFALL, Fill.PARTIAL)


def test_base_load_that_lacks_cover() -> None:
    given = book(
        offer("S", (3, "2")),
        nomination("n", 10, cover=Cover.NODE),
        nomination("m", 10),
        pools=(pool(node_spare_ppm=Ppm(500_000), capacity=Chips(100)),),
    )
    found = told(given)
    assert found["n"].reason is Reason.COVER_SHORTAGE
    assert found["m"].reason is Reason.BASE_SERVED


def test_amounts_below_a_cent_are_exact_in_the_shortfall() -> None:
    given = book(offer("S", (4, "2")), bid("b", (4, "3")), bid("c", (4, "1.999")))
    found = told(given)["c"]
    assert found.shortfall >= MicroUsd(1_000)
    assert "0.001 USD" in found.detail or found.shortfall > MicroUsd(1_000)
