"""The design's worked examples (label "own"): numbers derived by hand, compared as exact integers.

Numbers in the names are those of the design's examples. A certified gap is at most what the
duals of the linear relaxation leave; a branch certificate may close it.
"""

from __future__ import annotations

import pytest

from clearing.errors import BookError
from clearing.outcome import Reason
from clearing.types import Cover
from clearing.units import Chips, Ppm
from tests.golden.clearing import examples
from tests.golden.clearing.books import bid, book, offer, pool, price, usd
from tests.golden.clearing.results import cleared, strict


def test_1_surcharge_moves_which_trades_happen() -> None:
    found = cleared(examples.surcharge())
    assert (found.chips("b1"), found.chips("b2")) == (4, 0)
    assert found.price().energy == price("4")
    assert found.cash() == {"buyers": usd("18"), "suppliers": usd("16"), "community": usd("2")}
    assert (found.amounts(), found.gap()) == ((usd("1"), 0), 0)
    missed = next(o for o in found.outcome.orders if o.order_id == "b2")
    assert (missed.reason, missed.shortfall) == (Reason.OUT_OF_THE_MONEY, price("0.20"))


def test_2_losing_gang_is_made_whole_by_the_offer() -> None:
    found = cleared(examples.losing_gang())
    assert (found.chips("b"), found.chips("g")) == (4, 12)
    assert found.price().energy == price("5")
    assert found.funding("g") == {"S": usd("12")}
    assert found.cash()["suppliers"] - usd("12") == usd("68")
    assert found.amounts() == (usd("36"), usd("12"))
    assert 0 <= found.gap() <= usd("4")
    assert found.reason("g") is Reason.MADE_WHOLE


def test_2_strict_leaves_the_gang_out() -> None:
    found = strict(examples.losing_gang())
    assert (found.chips("b"), found.chips("g")) == (8, 0)
    # The gang would gain 12 x 2 at the price of the half-sold offer.
    assert found.price().energy == price("2")
    assert found.amounts() == (usd("24"), usd("24"))
    assert found.reason("g") is Reason.PARADOXICALLY_REJECTED


def test_3_two_winners_fund_a_losing_gang() -> None:
    found = cleared(examples.two_winners())
    assert (found.chips("g"), found.chips("b")) == (12, 2)
    assert found.price().energy == price("6")
    assert found.funding("g") == {"S1": usd("11.428571"), "b": usd("0.571429")}
    assert found.amounts() == (usd("30"), usd("12"))
    assert 0 <= found.gap() <= usd("4")


def test_3_strict_serves_the_step_alone() -> None:
    found = strict(examples.two_winners())
    assert (found.chips("g"), found.chips("b")) == (0, 2)
    assert found.amounts()[0] == usd("10")


def test_4_start_up_is_made_whole_by_those_who_gain() -> None:
    found = cleared(examples.start_up())
    assert [found.chips(name) for name in ("S1", "S2", "b1", "b2")] == [8, 3, 8, 3]
    assert found.price().energy == price("3")
    assert found.funding("S2") == {
        "S1": usd("0.842105"),
        "b1": usd("2.526316"),
        "b2": usd("0.631579"),
    }
    assert found.amounts() == (usd("34"), usd("4"))
    assert 0 <= found.gap() <= usd("2.5")
    assert [(r.order_id, r.first, r.stop) for r in found.outcome.runs] == [("S2", 0, 1)]


def test_4_strict_refuses_a_start_up() -> None:
    with pytest.raises(BookError):
        strict(examples.start_up())


def test_5_loss_of_a_site_is_covered_by_a_named_pool() -> None:
    # Prices at A between 2 and 3, and mu = 8 - pi_A: the least cover price decides.
    found = cleared(examples.site_loss())
    assert found.taken("F") == {("A", 0): 6}
    assert found.backups("F") == {("A", "B"): 6}
    assert (found.taken("I"), found.taken("J")) == ({("B", 0): 3}, {("A", 0): 4})
    assert (found.chips("SA"), found.chips("SB")) == (10, 3)
    assert (found.held_for_site("SB"), found.held_for_site("I")) == (3, 3)
    at_a, at_b = found.price("A"), found.price("B")
    assert (at_a.energy, at_b.energy) == (price("3"), price("8"))
    assert (found.backup_price("sA", "B"), at_b.site_spare) == (price("5"), price("5"))
    assert at_b.recall_discount == price("5")
    assert found.cash() == {"buyers": usd("69"), "suppliers": usd("54"), "spare": usd("15")}
    assert (found.surplus("F"), found.surplus("I"), found.surplus("J")) == (0, usd("3"), usd(".8"))
    assert (found.amounts(), found.gap()) == ((usd("43.8"), 0), 0)


def test_6_a_shortage_of_cover_does_not_enter_the_price() -> None:
    found = cleared(examples.cover_shortage())
    assert (found.chips("F"), found.chips("I"), found.chips("SA")) == (0, 2, 0)
    assert (found.chips("SB"), found.held_for_site("SB"), found.held_for_site("I")) == (2, 2, 2)
    assert found.chips("n") == 6
    assert found.backups("n") == {("A", "B"): 4}
    assert found.backup_price("sA", "B") == price("6")
    assert (found.price("A").energy, found.price("B").energy) == (price("2"), price("8.5"))
    assert found.cash() == {"buyers": usd("29"), "suppliers": usd("17"), "spare": usd("12")}
    assert found.surplus("n") == -usd("24")
    assert (found.amounts(), found.gap()) == ((usd("3"), 0), 0)


def test_7_released_base_load_serves_interruptibles_only() -> None:
    found = cleared(examples.released_base())
    assert [found.chips(n) for n in ("F", "I", "S", "R")] == [4, 4, 4, 4]
    assert (found.price().energy, found.price().recall_discount) == (price("5"), price("4.5"))
    assert found.price().interruptible == price("0.5")
    assert found.cash() == {"buyers": usd("22"), "suppliers": usd("22")}


def test_8_minimum_fill_inside_its_range_loses_nothing() -> None:
    for found in (cleared(examples.fill_inside()), strict(examples.fill_inside())):
        assert found.chips("g") == 6
        assert found.price().energy == price("4")
        assert found.outcome.make_whole == ()
        assert (found.amounts(), found.gap()) == ((usd("12"), 0), 0)


def test_9_minimum_fill_at_its_minimum_is_made_whole() -> None:
    found = cleared(examples.fill_at_least())
    assert (found.chips("g"), found.chips("b")) == (4, 2)
    assert found.price().energy == price("6")
    assert found.funding("g") == {"S1": usd("3.555556"), "b": usd("0.444444")}
    assert found.amounts() == (usd("14"), usd("4"))
    assert 0 <= found.gap() <= usd("2")


def test_9_strict_leaves_the_gang_out() -> None:
    found = strict(examples.fill_at_least())
    assert (found.chips("g"), found.chips("b")) == (0, 2)
    assert found.amounts()[0] == usd("10")


def test_10_scarce_power_has_a_rent() -> None:
    found = cleared(examples.scarce_power())
    assert (found.chips("b1"), found.chips("b2")) == (8, 2)
    assert (found.price().energy, found.price().power) == (price("2"), price("2"))
    assert found.cash() == {"buyers": usd("40"), "suppliers": usd("20"), "power_rent": usd("20")}
    assert (found.amounts(), found.gap()) == ((usd("28"), 0), 0)


def test_11_parent_and_child_are_one_family() -> None:
    # At pi 3 the parent alone loses 2 and the child gains 12: nothing is made whole.
    for found in (cleared(examples.linked()), strict(examples.linked())):
        assert (found.chips("p"), found.chips("c")) == (4, 12)
        assert found.price().energy == price("3")
        assert (found.surplus("p"), found.surplus("c")) == (-usd("2"), usd("12"))
        assert found.outcome.make_whole == ()
        assert (found.amounts(), found.gap()) == ((usd("10"), 0), 0)


def test_12_base_load_pays_for_the_start_that_it_forces() -> None:
    found = cleared(examples.base_starts_supply())
    assert (found.chips("S"), found.held_for_site("S")) == (0, 4)
    assert found.backups("n") == {("A", "B"): 4}
    assert found.price("B").site_spare == 0
    assert found.funding("S") == {"n": usd("10")}
    assert found.amounts() == (-usd("10"), usd("10"))
    assert 0 <= found.gap() <= usd("5")


def test_13_gang_chooses_one_of_two_pools() -> None:
    found = cleared(examples.one_of_two_pools())
    assert found.pools("g") == ["A"]
    assert found.price("A").energy == price("4")
    assert found.funding("g") == {"A1": usd("4.375"), "b": usd("0.625")}
    assert found.amounts() == (usd("19"), usd("10"))
    assert 0 <= found.gap() <= usd("2")


def test_13_strict_moves_the_gang_instead_of_dropping_it() -> None:
    found = strict(examples.one_of_two_pools())
    assert found.pools("g") == ["B"]
    assert (found.price("A").energy, found.price("B").energy) == (price("1"), price("2"))
    # At A the gang would gain 10, at B it gains 5.
    assert found.amounts() == (usd("17"), usd("5"))


def test_14_equal_steps_share_pro_rata() -> None:
    found = cleared(examples.pro_rata())
    assert [found.chips(name) for name in "abc"] == [2, 2, 1]
    assert found.reason("a") is Reason.AT_THE_PRICE


def test_scarce_spare_nodes_have_a_price() -> None:
    # theta 20 %, 12 chips at 2, firm load worth 5: x + 0.2 x = 12, so 10 are sold and 2 held.
    # The marginal chip is worth the same sold or held: pi - 2 = mu; the marginal bid pays its
    # limit: pi + 0.2 mu = 5. So mu 2.5, pi 4.5. Buyers 50 = suppliers 45 + spare 2 x 2.5.
    found = cleared(examples.spare_nodes())
    assert (found.chips("F"), found.chips("S"), found.held("S")) == (10, 10, 2)
    here = found.price()
    assert (here.energy, here.spare, here.node_cover) == (price("4.5"), price("2.5"), price("0.5"))
    assert (here.firm, here.firm_uncovered) == (price("5"), price("4.5"))
    assert found.cash() == {"buyers": usd("50"), "suppliers": usd("45"), "spare": usd("5")}
    assert (found.amounts(), found.gap()) == ((usd("30"), 0), 0)


def test_interruptibles_that_serve_as_reserve_pay_less() -> None:
    # As above with 13 chips, an interruptible within the cover time (I, worth 3) and one that
    # only fits the recall time (J, worth 5). F 10 needs 2: I is one, one chip is spare. I is
    # counted to the last chip, so lambda_a = mu = 2.5 and it pays 2; R + 0 < I + J, so
    # lambda_b = 0 and J pays pi. Buyers 50 + 2 + 4.5 = suppliers 12 x 4.5 + spare 2.5.
    found = cleared(examples.reclaimable())
    assert [found.chips(n) for n in ("F", "I", "J", "S")] == [10, 1, 1, 12]
    assert (found.held("S"), found.held("I"), found.held("J")) == (1, 1, 0)
    here = found.price()
    assert (here.energy, here.spare) == (price("4.5"), price("2.5"))
    assert (here.availability, here.recall_discount) == (price("2.5"), 0)
    assert here.interruptible == price("2")
    assert found.cash() == {"buyers": usd("56.5"), "suppliers": usd("54"), "spare": usd("2.5")}
    assert (found.amounts(), found.gap()) == ((usd("34"), 0), 0)


@pytest.mark.parametrize("duration_s", [300, 3_600, 7_200])
def test_value_scales_with_the_interval(duration_s: int) -> None:
    orders = examples.losing_gang()
    given = book(*orders.offers, *orders.step_bids, *orders.block_bids, duration_s=duration_s)
    found = cleared(given)
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
