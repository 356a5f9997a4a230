"""The money of an outcome, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.accounts import cash, family_surpluses, power_rents, restart_kept, welfare
from clearing.auction import clear
from clearing.outcome import Cash
from clearing.types import Book, Conversion, Cover
from clearing.units import SECONDS_PER_HOUR, Chips, MicroUsd, Ppm, Watts
from tests.golden.clearing.books import (
    bid,
    book,
    committed,
    gang,
    link,
    nomination,
    offer,
    pool,
    site,
    usd,
    work,
)
from tests.property.random_books import SEED as RANDOM_SEED
from tests.property.random_books import random_book
from tests.unit.clearing.pipeline import cleared_by_steps

DOLLAR = usd("1") * SECONDS_PER_HOUR


def surpluses(given: Book) -> dict[tuple[str, ...], float]:
    """Surplus of every family that has one, dollars."""
    found, _ = cleared_by_steps(given)
    return {names: part / DOLLAR for names, part in family_surpluses(found.accounts).items()}


def lines(given: Book) -> dict[str, float]:
    found, _ = cleared_by_steps(given)
    whole = cash(found.accounts, ())
    values = {name: getattr(whole, name) / usd("1") for name in Cash.__dataclass_fields__}
    return {name: value for name, value in values.items() if value}


def test_surcharge_and_fee_are_inside_the_price() -> None:
    given = book(
        offer("S", (8, "4")),
        bid("b", (4, "4.75"), (4, "4.30")),
        sites=(site(surcharge="0.4"),),
        operator_fee=usd("0.1"),
    )
    assert surpluses(given) == {("b",): 1.0}
    assert lines(given) == {
        "buyers": 18.0,
        "suppliers": 16.0,
        "community": 1.6,
        "operator_fee": 0.4,
    }


def test_start_up_and_no_load_are_costs_of_the_unit() -> None:
    given = book(
        offer("U", (8, "2"), stop=3, commitment=committed("4", "0.5")),
        bid("b", (8, "5"), stop=3),
        intervals=3,
    )
    found, _ = cleared_by_steps(given)
    assert found.accounts.costs == [round((8 * 2 * 3 + 4 + 1.5) * DOLLAR)]
    assert welfare(found.accounts) == round((8 * 3 * 3 - 5.5) * DOLLAR)


def test_highest_steps_are_read_where_the_factor_is_highest() -> None:
    # Three chips at 4 and three at 3. Class d counts half more: 6 and 4.50 there.
    worth = (Conversion(chip_class="d", factor_ppm=Ppm(1_500_000)),)
    given = book(
        offer("C", (4, "1")),
        offer("D", (2, "2"), at="B"),
        bid("b", (3, "4"), (3, "3"), at=("A", "B"), conversions=worth),
        pools=(pool("A"), pool("B", chip_class="d")),
    )
    found, _ = cleared_by_steps(given)
    # Two chips of d at 6, then one of c at 4 and three at 3.
    assert found.accounts.values == [(2 * 6 + 4 + 3 * 3) * DOLLAR]


def test_work_is_worth_its_limit_in_each_hour() -> None:
    given = book(
        offer("S", (4, "1"), stop=3), work("w", 9, "3", rate=4, first=0, stop=3), intervals=3
    )
    found, _ = cleared_by_steps(given)
    assert found.accounts.values == [9 * 3 * DOLLAR]


def test_spare_chips_earn_the_cover_charge_and_pay_for_their_power() -> None:
    # 12 kW carry 8 covered chips and 4 spare ones; a covered chip is worth 8 - 2 = 6 net.
    given = book(
        offer("S", (20, "2")),
        bid("b", (20, "8"), cover=Cover.NODE),
        pools=(pool(chip_power=Watts(1_000), node_spare_ppm=Ppm(500_000)),),
        sites=(site(power_limit=12_000),),
    )
    found, _ = cleared_by_steps(given)
    parts = lines(given)
    assert found.accounts.tally.node_spare.tolist() == [4]
    assert parts["buyers"] == 8 * 8
    assert parts["buyers"] == sum(value for name, value in parts.items() if name != "buyers")
    rents = power_rents(found.accounts)
    assert rents == {"s": round(parts["power_rent"] * DOLLAR)}


def test_link_earns_the_difference_of_prices() -> None:
    given = book(
        offer("S", (8, "1")),
        offer("T", (8, "4"), at="B"),
        bid("b", (8, "9"), at=("B",)),
        link("l", "A", "B", (0, 3)),
        pools=(pool("A"), pool("B")),
    )
    assert lines(given) == {"buyers": 32.0, "suppliers": 3.0 + 20.0, "link_rent": 9.0}


def test_site_cover_pays_the_backup() -> None:
    # B has 4 chips: two for its own bid at 6, two stand by for A; the backup is worth 6 - 3.
    given = book(
        offer("S", (8, "1")),
        offer("T", (4, "3"), at="B"),
        bid("b", (8, "9"), at=("A", "B"), cover=Cover.SITE),
        bid("c", (2, "12"), at=("B",)),
        pools=(pool("A"), pool("B", "z")),
        sites=(site(), site("z")),
    )
    found, _ = cleared_by_steps(given)
    tally = found.accounts.tally
    assert tally.site_spare.sum() == tally.named.max()
    parts = lines(given)
    assert parts["spare"] > 0
    assert parts["buyers"] == pytest.approx(
        sum(value for name, value in parts.items() if name != "buyers")
    )


def test_base_load_pays_for_what_is_covered() -> None:
    given = book(
        offer("S", (12, "2")),
        bid("b", (12, "5")),
        nomination("n", 8, cover=Cover.NODE),
        pools=(pool(node_spare_ppm=Ppm(250_000)),),
    )
    found, _ = cleared_by_steps(given)
    assert found.accounts.tally.base_paying.tolist() == [8]
    spare = found.accounts.prices.spare[0]
    assert found.accounts.base_payments == [round(8 * spare * 0.25) * SECONDS_PER_HOUR]


def test_family_has_one_surplus() -> None:
    given = book(
        offer("S", (20, "3")),
        gang("p", 4, "2.5", participant_id="lab"),
        gang("c", 12, "4", participant_id="lab", parent_order_id="p"),
    )
    assert surpluses(given) == {("c", "p"): 10.0}


def test_restart_cost_kept_is_no_part_of_a_surplus() -> None:
    given = book(
        offer("S", (4, "2")),
        gang("g", 4, "5", initial_pool_id="A", restart_cost=MicroUsd(1_000_000)),
    )
    found, _ = cleared_by_steps(given)
    assert restart_kept(found.accounts) == 4 * DOLLAR
    assert sum(family_surpluses(found.accounts).values()) == 4 * 3 * DOLLAR


@pytest.mark.parametrize("seed", [10, 11, 12, 13])
def test_identity_holds_to_the_micro_dollar(seed: int) -> None:
    found = clear(random_book(seed), RANDOM_SEED).cash
    paid = replace(found, buyers=MicroUsd(0), make_whole=MicroUsd(0))
    assert found.buyers == sum(getattr(paid, name) for name in Cash.__dataclass_fields__)


def test_quantities_of_millions_of_chips_stay_exact() -> None:
    chips = Chips(90_000_000)
    big = pool(capacity=chips, chips_per_node=1)
    given = book(
        offer("S", (chips, "999"), stop=3),
        bid("b", (chips, "1000"), stop=3),
        pools=(big,),
        intervals=3,
        price_cap=usd("1000"),
    )
    found, _ = cleared_by_steps(given)
    assert welfare(found.accounts) == 90_000_000 * 3 * DOLLAR
    assert sum(found.accounts.values) == 90_000_000 * 3 * 1_000 * DOLLAR
