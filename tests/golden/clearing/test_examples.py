"""Worked examples (label "own"): numbers derived by hand, compared as exact integers.

Numbers in the names are those of the design's worked examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from clearing.auction import clear
from clearing.outcome import Outcome, PoolPrice, Reason
from clearing.types import Book, Cover, ServiceClass
from clearing.units import SECONDS_PER_HOUR, Chips, Ppm, Seconds, Watts
from tests.golden.clearing.books import SEED, bid, book, gang, offer, pool, price, site, usd


@dataclass(frozen=True, kw_only=True)
class Result:
    outcome: Outcome

    def chips(self, order_id: str) -> int:
        return sum(sum(a.chips) for a in self.outcome.awards if a.order_id == order_id)

    def held(self, order_id: str) -> int:
        return sum(sum(a.reserve) for a in self.outcome.awards if a.order_id == order_id)

    def pools(self, order_id: str) -> list[str]:
        return [a.pool_id for a in self.outcome.awards if a.order_id == order_id]

    def price(self, pool_id: str = "A") -> PoolPrice:
        return next(p for p in self.outcome.prices if p.pool_id == pool_id)

    def reason(self, order_id: str) -> Reason:
        return next(o.reason for o in self.outcome.orders if o.order_id == order_id)

    def funding(self, order_id: str) -> dict[str, int]:
        payment = next(m for m in self.outcome.make_whole if m.order_ids == (order_id,))
        assert payment.amount == sum(share.amount for share in payment.funding)
        return {share.source: share.amount for share in payment.funding}

    def gaps(self) -> tuple[int, int, int]:
        """Welfare, gap at the prices, gap of the certificate, micro-USD."""
        found = self.outcome.certificate
        values = (found.welfare, found.lost_opportunity, found.bound - found.welfare)
        assert all(value % SECONDS_PER_HOUR == 0 for value in values)
        return tuple(value // SECONDS_PER_HOUR for value in values)  # type: ignore[return-value]

    def cash(self) -> dict[str, int]:
        lines = self.outcome.cash
        named = {name: getattr(lines, name) for name in type(lines).__dataclass_fields__}
        assert named["buyers"] == sum(named[n] for n in named if n not in {"buyers", "make_whole"})
        return {name: amount for name, amount in named.items() if amount}


def cleared(given: Book) -> Result:
    return Result(outcome=clear(given, SEED))


def test_1_surcharge_moves_which_trades_happen() -> None:
    found = cleared(
        book(
            offer("S", (8, "4")),
            bid("b1", (4, "4.75")),
            bid("b2", (4, "4.30")),
            sites=(site(surcharge="0.5"),),
        )
    )
    assert (found.chips("b1"), found.chips("b2")) == (4, 0)
    assert found.price().energy == price("4")
    assert found.cash() == {"buyers": usd("18"), "suppliers": usd("16"), "community": usd("2")}
    assert found.gaps() == (usd("1"), 0, 0)
    missed = next(o for o in found.outcome.orders if o.order_id == "b2")
    assert (missed.reason, missed.shortfall) == (Reason.OUT_OF_THE_MONEY, price("0.20"))


def test_2_losing_gang_is_made_whole_by_the_offer() -> None:
    found = cleared(book(offer("S", (16, "2")), bid("b", (8, "5")), gang("g", 12, "4")))
    assert (found.chips("b"), found.chips("g")) == (4, 12)
    assert found.price().energy == price("5")
    assert found.funding("g") == {"S": usd("12")}
    assert found.cash()["suppliers"] - usd("12") == usd("68")
    assert found.gaps() == (usd("36"), usd("12"), usd("4"))
    assert found.reason("g") is Reason.MADE_WHOLE


def test_3_two_winners_fund_a_losing_gang() -> None:
    found = cleared(
        book(offer("S1", (10, "2")), offer("S2", (10, "6")), gang("g", 12, "5"), bid("b", (2, "7")))
    )
    assert (found.chips("g"), found.chips("b")) == (12, 2)
    assert found.price().energy == price("6")
    assert found.funding("g") == {"S1": usd("11.428571"), "b": usd("0.571429")}
    assert found.gaps() == (usd("30"), usd("12"), usd("4"))


def test_7_released_base_load_serves_interruptibles_only() -> None:
    interruptible = ServiceClass.INTERRUPTIBLE
    found = cleared(
        book(
            offer("S", (4, "3")),
            offer("R", (6, "0.5"), recallable=True),
            bid("F", (6, "5")),
            bid("I", (4, "2"), service_class=interruptible),
        )
    )
    assert [found.chips(n) for n in ("F", "I", "S", "R")] == [4, 4, 4, 4]
    assert (found.price().energy, found.price().recall_discount) == (price("5"), price("4.5"))
    assert found.price().interruptible == price("0.5")
    assert found.cash() == {"buyers": usd("22"), "suppliers": usd("22")}


def test_8_minimum_fill_inside_its_range_loses_nothing() -> None:
    found = cleared(book(offer("S", (6, "2")), gang("g", 8, "4", least=500_000)))
    assert found.chips("g") == 6
    assert found.price().energy == price("4")
    assert found.outcome.make_whole == ()
    assert found.gaps() == (usd("12"), 0, 0)


def test_9_minimum_fill_at_its_minimum_is_made_whole() -> None:
    found = cleared(
        book(
            offer("S1", (4, "2")),
            offer("S2", (10, "6")),
            gang("g", 8, "5", least=500_000),
            bid("b", (2, "7")),
        )
    )
    assert (found.chips("g"), found.chips("b")) == (4, 2)
    assert found.price().energy == price("6")
    assert found.funding("g") == {"S1": usd("3.555556"), "b": usd("0.444444")}
    assert found.gaps() == (usd("14"), usd("4"), usd("2"))


def test_10_scarce_power_has_a_rent() -> None:
    found = cleared(
        book(
            offer("S", (16, "2")),
            bid("b1", (8, "5")),
            bid("b2", (8, "4")),
            pools=(pool(chip_power=Watts(1_000)),),
            sites=(site(power_limit=10_000),),
        )
    )
    assert (found.chips("b1"), found.chips("b2")) == (8, 2)
    assert (found.price().energy, found.price().power) == (price("2"), price("2"))
    assert found.cash() == {"buyers": usd("40"), "suppliers": usd("20"), "power_rent": usd("20")}
    assert found.gaps() == (usd("28"), 0, 0)


def test_13_gang_chooses_one_of_two_pools() -> None:
    found = cleared(
        book(
            offer("A1", (7, "1"), (7, "4")),
            offer("B1", (7, "2"), (5, "5"), at="B"),
            gang("g", 5, "3", at=("A", "B")),
            bid("b", (3, "5")),
            pools=(pool("A"), pool("B")),
        )
    )
    assert found.pools("g") == ["A"]
    assert found.price("A").energy == price("4")
    assert found.funding("g") == {"A1": usd("4.375"), "b": usd("0.625")}
    assert found.gaps() == (usd("19"), usd("10"), usd("2"))


def test_14_equal_steps_share_pro_rata() -> None:
    found = cleared(
        book(offer("S", (5, "2")), bid("a", (3, "5")), bid("b", (3, "5")), bid("c", (1, "5")))
    )
    assert [found.chips(name) for name in "abc"] == [2, 2, 1]
    assert found.reason("a") is Reason.AT_THE_PRICE


def test_scarce_spare_nodes_have_a_price() -> None:
    # theta 20 %, 12 chips at 2, firm load worth 5: x + 0.2 x = 12, so 10 are sold and 2 held.
    # The marginal chip is worth the same sold or held: pi - 2 = mu; the marginal bid pays its
    # limit: pi + 0.2 mu = 5. So mu 2.5, pi 4.5. Buyers 50 = suppliers 45 + spare 2 x 2.5.
    found = cleared(
        book(
            offer("S", (12, "2")),
            bid("F", (20, "5"), cover=Cover.NODE),
            pools=(pool(node_spare_ppm=Ppm(200_000)),),
        )
    )
    assert (found.chips("F"), found.chips("S"), found.held("S")) == (10, 10, 2)
    here = found.price()
    assert (here.energy, here.spare, here.node_cover) == (price("4.5"), price("2.5"), price("0.5"))
    assert (here.firm, here.firm_uncovered) == (price("5"), price("4.5"))
    assert found.cash() == {"buyers": usd("50"), "suppliers": usd("45"), "spare": usd("5")}
    assert found.gaps() == (usd("30"), 0, 0)


def test_interruptibles_that_serve_as_reserve_pay_less() -> None:
    # As above with 13 chips, an interruptible within the cover time (I, worth 3) and one that
    # only fits the recall time (J, worth 5). F 10 needs 2: I is one, one chip is spare. I is
    # counted to the last chip, so lambda_a = mu = 2.5 and it pays 2; R + 0 < I + J, so
    # lambda_b = 0 and J pays pi. Buyers 50 + 2 + 4.5 = suppliers 12 x 4.5 + spare 2.5.
    interruptible = ServiceClass.INTERRUPTIBLE
    found = cleared(
        book(
            offer("S", (13, "2")),
            bid("F", (20, "5"), cover=Cover.NODE),
            bid("I", (1, "3"), service_class=interruptible, notice_s=Seconds(300)),
            bid("J", (1, "5"), service_class=interruptible, notice_s=Seconds(1_800)),
            pools=(pool(node_spare_ppm=Ppm(200_000)),),
        )
    )
    assert [found.chips(n) for n in ("F", "I", "J", "S")] == [10, 1, 1, 12]
    assert (found.held("S"), found.held("I"), found.held("J")) == (1, 1, 0)
    here = found.price()
    assert (here.energy, here.spare) == (price("4.5"), price("2.5"))
    assert (here.availability, here.recall_discount) == (price("2.5"), 0)
    assert here.interruptible == price("2")
    assert found.cash() == {"buyers": usd("56.5"), "suppliers": usd("54"), "spare": usd("2.5")}
    assert found.gaps() == (usd("34"), 0, 0)


@pytest.mark.parametrize("duration_s", [300, 3_600, 7_200])
def test_value_scales_with_the_interval(duration_s: int) -> None:
    found = cleared(
        book(offer("S", (16, "2")), bid("b", (8, "5")), gang("g", 12, "4"), duration_s=duration_s)
    )
    assert found.outcome.certificate.welfare == usd("36") * duration_s
    assert sum(m.amount for m in found.outcome.make_whole) == usd("12") * duration_s // 3_600
    assert found.price().energy == price("5")


def test_awards_are_whole_nodes() -> None:
    nodes = pool(chips_per_node=Chips(8), node_spare_ppm=Ppm(10_000))
    found = cleared(
        book(offer("S", (800, "2")), bid("F", (1_600, "5"), cover=Cover.NODE), pools=(nodes,))
    )
    # 800 chips at 1 %: 792.08 sold and 7.92 held are priced; whole nodes make it 792 and 8.
    assert (found.chips("F"), found.held("S")) == (792, 8)
    assert found.outcome.cash.residual == 0
