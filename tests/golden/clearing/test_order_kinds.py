"""One worked example per order kind (label "own"), derived by hand from the clearing rules."""

from __future__ import annotations

from clearing.outcome import Reason
from clearing.units import SECONDS_PER_HOUR
from tests.golden.clearing import examples
from tests.golden.clearing.books import price, usd
from tests.golden.clearing.results import cleared, strict


def test_shiftable_gang_starts_where_two_hours_are_cheapest() -> None:
    # Hours cost 4, 2 and 3: hours 1 and 2 leave 4 x (7 - 5) = 8, hours 0 and 1 only 4. The step
    # bid takes 2 of hour 0, whose price is therefore 4.
    found = cleared(examples.shiftable())
    assert found.taken("g") == {("A", 1): 4, ("A", 2): 4}
    energy = [found.price(interval=t).energy for t in range(3)]
    assert energy == [price("4"), price("2"), price("3")]
    assert found.surplus("g") == usd("8")
    assert (found.amounts(), found.gap()) == ((usd("10"), 0), 0)


def test_work_takes_the_cheapest_hours_before_its_deadline() -> None:
    # 6 chip-hours at a rate of 4: hour 1 at 1 to the rate, the rest in hour 2 at 2; hour 3 is as
    # cheap as hour 1 but past the deadline. 4 x 3 + 2 x 2 = 16.
    found = cleared(examples.work_by_deadline())
    assert found.taken("w") == {("A", 1): 4, ("A", 2): 2}
    assert (found.price(interval=1).energy, found.price(interval=2).energy) == (
        price("1"),
        price("2"),
    )
    assert found.surplus("w") == usd("16")
    assert (found.amounts(), found.gap()) == ((usd("16"), 0), 0)


def test_a_congested_link_earns_the_difference_of_prices() -> None:
    # 3 chips flow from 2 to 5: rent 9. Buyers 2 x 2 + 8 x 5 = suppliers 5 x 2 + 5 x 5 + 9.
    found = cleared(examples.congested_link())
    assert [(f.link_id, f.chips) for f in found.outcome.flows] == [("l", (3,))]
    assert (found.chips("SA"), found.chips("SB")) == (5, 5)
    assert (found.price("A").energy, found.price("B").energy) == (price("2"), price("5"))
    assert found.cash() == {"buyers": usd("44"), "suppliers": usd("35"), "link_rent": usd("9")}
    assert (found.amounts(), found.gap()) == ((usd("45"), 0), 0)


def test_a_growing_lab_pays_for_today_with_tomorrow() -> None:
    # 4,000 chips lose 0.20 for two hours (1,600), 16,000 gain 0.20 for one (3,200).
    for found in (cleared(examples.growing_lab()), strict(examples.growing_lab())):
        assert found.taken("now") == {("A", 0): 4_000, ("A", 1): 4_000}
        assert found.taken("later") == {("A", 1): 16_000}
        assert (found.surplus("now"), found.surplus("later")) == (-usd("1600"), usd("3200"))
        assert found.outcome.make_whole == ()
        assert (found.amounts(), found.gap()) == ((usd("1600"), 0), 0)


def test_a_growth_option_that_does_not_pay_is_not_taken() -> None:
    # 16,000 x 0.05 = 800 does not pay for 1,600.
    found = cleared(examples.growing_lab("2.05"))
    assert (found.chips("now"), found.chips("later")) == (0, 0)
    assert (found.amounts(), found.gap()) == ((0, 0), 0)
    assert found.reason("later") is Reason.PARENT_NOT_ACCEPTED


def test_a_lab_takes_one_chip_class_or_the_other() -> None:
    # 8 chips of A gain 8 and leave 2 for the step bid (1.80); 4 of B at 2.2 x 3 gain 6.40 and leave
    # it all 6 (5.40). At the prices 2 and 5 the lab would rather have A: 1.60 are lost.
    for found in (
        cleared(examples.one_class_or_the_other()),
        strict(examples.one_class_or_the_other()),
    ):
        assert (found.chips("a"), found.chips("b"), found.chips("c")) == (0, 4, 6)
        assert (found.price("A").energy, found.price("B").energy) == (price("2"), price("5"))
        assert found.surplus("b") == usd("6.4")
        assert found.amounts() == (usd("11.8"), usd("1.6"))
        # Half of either in the linear relaxation: 4 + 3.20 + 5.40.
        assert 0 <= found.gap() <= usd("0.8")


def test_supply_runs_on_at_a_loss_until_it_may_stop() -> None:
    # Hour 1 alone pays: 4 x 8. It must run two hours and sell 3 chips in each: hour 2 has a bid of
    # 1 for them, hour 0 none. 32 - 3 - 5 - 2 = 22. Any price of hour 2 up to 1 is valid; 1 loses
    # least: the offer loses 3 + 7 = 10, and the one order that gains pays it.
    found = cleared(examples.shortest_run())
    assert [(r.order_id, r.first, r.stop) for r in found.outcome.runs] == [("G", 1, 3)]
    assert found.taken("G") == {("A", 1): 4, ("A", 2): 3}
    assert (found.chips("b"), found.chips("c")) == (4, 3)
    assert (found.price(interval=1).energy, found.price(interval=2).energy) == (
        price("2"),
        price("1"),
    )
    assert found.surplus("G") == -usd("10")
    assert found.funding("G") == {"b": usd("10")}
    assert found.amounts() == (usd("22"), usd("10"))


def test_a_running_gang_stays_where_moving_costs_more() -> None:
    # B is 2 cheaper per chip, moving costs 3: welfare 4 instead of 12, and 12 of restart cost kept.
    found = cleared(examples.running_gang())
    assert found.pools("g") == ["A"]
    assert (found.price("A").energy, found.price("B").energy) == (price("4"), price("2"))
    assert found.surplus("g") == usd("4")
    assert found.outcome.make_whole == ()
    # At the prices the gang would gain 12 at B: restart cost is no part of a surplus.
    assert found.amounts() == (usd("4"), usd("8"))
    assert found.outcome.certificate.restart_kept == usd("12") * SECONDS_PER_HOUR
    assert found.gap() == 0


def test_the_balance_may_force_a_negative_price() -> None:
    # 8 chips must be sold, the gang takes 6, and 2 go to a bid of 0.40 under a surcharge of 0.50:
    # its price -0.10. The offer loses 8 x 1.10, the gang gains 6 x 4.60 and pays for it.
    found = cleared(examples.negative_price())
    assert (found.chips("S"), found.chips("g"), found.chips("b")) == (8, 6, 2)
    assert found.price().energy == -price("0.1")
    assert (found.surplus("g"), found.surplus("b")) == (usd("27.6"), 0)
    assert found.funding("S") == {"g": usd("8.8")}
    assert found.amounts() == (usd("18.8"), usd("8.8"))
    assert found.cash() == {
        "buyers": usd("3.2"),
        "suppliers": -usd("0.8"),
        "community": usd("4"),
        "make_whole": usd("8.8"),
    }


def test_a_supply_block_sells_all_or_nothing() -> None:
    # 5 chips in both hours cost 14. Hour 0 is worth 15, hour 1 takes only 3, worth 9; two are left
    # over, so its price is 0. The first hour's bid is filled in part: 3. Surplus 15 - 14.
    for found in (cleared(examples.supply_block()), strict(examples.supply_block())):
        assert found.taken("S") == {("A", 0): 5, ("A", 1): 5}
        assert (found.chips("b"), found.chips("c")) == (5, 3)
        assert (found.price(interval=0).energy, found.price(interval=1).energy) == (price("3"), 0)
        assert found.surplus("S") == usd("1")
        assert found.outcome.make_whole == ()
        assert (found.amounts(), found.gap()) == ((usd("10"), 0), 0)


def test_a_gang_with_a_backup_pays_for_the_chips_held_for_it() -> None:
    # At C (cost 1) with 6 chips held at A; 2 are left there for the bid at 4, the price: 48 + 4.
    # At A with the backup at C: 42 + 4. mu = 4 - 2; buyers 6 x (1 + 2) + 2 x 4 = 26.
    for found in (cleared(examples.gang_with_backup()), strict(examples.gang_with_backup())):
        assert found.backups("g") == {("C", "A"): 6}
        assert (found.chips("SA"), found.held_for_site("SA"), found.chips("b")) == (2, 6, 2)
        assert (found.price("A").energy, found.price("C").energy) == (price("4"), price("1"))
        assert found.backup_price("sC", "A") == price("2")
        assert found.cash() == {"buyers": usd("26"), "suppliers": usd("14"), "spare": usd("12")}
        assert found.surplus("g") == usd("36")
        assert (found.amounts(), found.gap()) == ((usd("52"), 0), 0)


def test_a_profile_leaves_the_hour_between_to_others() -> None:
    # 2 and 4 chips at 4 - 2, and the bid takes what is left: 2 and 4 at 3 - 2. Its limit is the
    # price of hours 0 and 1; hour 2 is full with the profile, which has 2 + 4 x (4 - price) to
    # lose.
    for found in (cleared(examples.profile()), strict(examples.profile())):
        assert found.taken("g") == {("A", 0): 2, ("A", 2): 4}
        assert found.taken("b") == {("A", 0): 2, ("A", 1): 4}
        energy = [found.price(interval=t).energy for t in range(3)]
        assert energy[:2] == [price("3"), price("3")]
        assert price("3") <= energy[2] <= price("4.5")
        assert found.outcome.make_whole == ()
        assert found.amounts() == (usd("18"), 0)
