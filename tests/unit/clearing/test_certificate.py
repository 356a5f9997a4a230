"""The bound counts only what some outcome could deliver, and any duals bound every outcome."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from clearing.auction import clear
from clearing.certificate import bound_of, certify, round_duals
from clearing.order_facts import AtPrices
from clearing.outcome import Fill, Fixing
from clearing.program import Floats
from clearing.search import BranchLeaf
from clearing.types import Book, Cover
from clearing.units import MicroUsd, PriceSeconds, Watts
from clearing.verify import verify
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
)
from tests.property.random_books import SEED as RANDOM_SEED
from tests.property.random_books import random_book
from tests.unit.clearing.pipeline import cleared_by_steps
from tests.unit.clearing.small_models import best, everything

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


def test_gang_whose_backup_is_too_small_loosens_no_bound() -> None:
    given = book(
        offer("S", (8, "2")),
        offer("T", (4, "2"), at="B"),
        bid("b", (8, "5")),
        gang("g", 8, "50", at=("A", "B"), cover=Cover.SITE),
        pools=(pool(), pool("B", "z")),
        sites=(site(), site("z")),
    )
    assert certified(given) == (0, WELFARE)


def test_restart_cost_kept_counts_beside_the_welfare() -> None:
    given = book(
        offer("S", (4, "4")),
        offer("T", (4, "2"), at="B"),
        gang("g", 4, "5", at=("A", "B"), initial_pool_id="A", restart_cost=MicroUsd(3_000_000)),
        pools=(pool("A"), pool("B")),
    )
    found = clear(given, SEED).certificate
    assert (found.welfare, found.restart_kept) == (4_000_000 * 3_600, 12_000_000 * 3_600)
    assert found.bound == found.welfare + found.restart_kept


def noisy(at_prices: AtPrices, duals: Floats, rng: random.Random) -> int:
    """Bound at duals that were shaken and partly dropped."""
    factor = np.array([rng.choice([0.0, 0.5, 1.0, 1.5]) for _ in range(duals.size)])
    found = bound_of(at_prices, round_duals(at_prices.accounts.model, duals * factor))
    assert found is not None
    return found


def test_any_duals_bound_the_best_outcome() -> None:
    at_prices, choice = cleared_by_steps(everything())
    objective, _ = best(at_prices.accounts.model)
    reached = objective * 1_000_000 * at_prices.accounts.model.market.grid.duration_s
    rng = random.Random(3)
    bounds = [noisy(at_prices, choice.row_duals, rng) for _ in range(40)]
    exact = bound_of(at_prices, round_duals(at_prices.accounts.model, choice.row_duals))
    assert exact is not None
    assert min(bounds) >= exact > reached * (1 - 1e-9)


def two_gangs() -> Book:
    """Seven chips, two gangs of five at 5 and 4: half of the second is in the relaxation."""
    return book(offer("S", (7, "1")), gang("g", 5, "5"), gang("h", 5, "4"))


def leaf(duals: Floats, *fixings: Fixing) -> BranchLeaf:
    return BranchLeaf(fixings=fixings, row_duals=duals)


def test_leaves_close_the_gap_that_one_set_of_duals_leaves() -> None:
    at_prices, choice = cleared_by_steps(two_gangs())
    root = certify(at_prices, choice)
    assert root.bound > root.welfare
    row = at_prices.accounts.model.layout.balance[0]
    at_one, at_twenty = np.zeros_like(choice.row_duals), np.zeros_like(choice.row_duals)
    at_one[row], at_twenty[row] = -1.0, -20.0
    out, taken = (Fixing(order_id="h", accepted=flag) for flag in (False, True))
    both = Fixing(order_id="g", accepted=True)
    branches = (
        leaf(at_one, out),
        leaf(at_one, taken, Fixing(order_id="g", accepted=False)),
        leaf(at_twenty, taken, both),
    )
    found = certify(at_prices, choice, branches)
    # Without h: 5 x 4 at dual 1. With both: 7 x 19 - 5 x 15 - 5 x 16, which is less than nothing.
    assert found.bound == found.welfare == 20 * 1_000_000 * 3_600
    assert len(found.leaves) == 3


def read(at_prices: AtPrices, duals: Floats, *fixings: Fixing) -> int | None:
    return bound_of(at_prices, round_duals(at_prices.accounts.model, duals), fixings)


def test_contradictions_are_empty_leaves() -> None:
    terms: dict[str, Any] = {"participant_id": "p", "exclusive_group": "either"}
    given = book(
        offer("S", (20, "1")),
        offer("U", (4, "9"), commitment=committed()),
        gang("g", 5, "5", **terms),
        gang("h", 5, "4", **terms),
        gang("c", 5, "4", participant_id="p", parent_order_id="g"),
    )
    at_prices, choice = cleared_by_steps(given)
    yes = {name: Fixing(order_id=name, accepted=True) for name in "ghc"}
    no = {name: Fixing(order_id=name, accepted=False) for name in "ghc"}
    unit_on = Fixing(order_id="U", accepted=True, interval=0)
    unit_off = Fixing(order_id="U", accepted=False)
    duals = choice.row_duals
    assert read(at_prices, duals, yes["g"], yes["h"]) is None
    assert read(at_prices, duals, yes["c"], no["g"]) is None
    assert read(at_prices, duals, yes["h"], yes["c"]) is None
    assert read(at_prices, duals, unit_on, unit_off) is None
    assert read(at_prices, duals, yes["g"], yes["c"], unit_on) is not None


def test_fixing_of_a_pool_or_a_start_narrows_the_choice() -> None:
    given = book(
        offer("S", (4, "1"), stop=2),
        offer("T", (4, "2"), at="B", stop=2),
        gang("g", 4, "5", at=("A", "B"), latest_start=1),
        pools=(pool("A"), pool("B")),
        intervals=2,
    )
    at_prices, choice = cleared_by_steps(given)
    duals = np.zeros_like(choice.row_duals)
    layout = at_prices.accounts.model.layout
    duals[layout.balance] = [-1.0, -1.5, -2.0, -2.5]

    def gain(*fixings: Fixing) -> float:
        return (read(at_prices, duals, *fixings) or 0) / 3_600 / 1_000_000

    nothing = gain(Fixing(order_id="g", accepted=False))
    assert gain() == nothing + 4 * 4
    assert gain(Fixing(order_id="g", accepted=True, pool_id="B")) == nothing + 4 * 3
    assert gain(Fixing(order_id="g", accepted=True, start=1)) == nothing + 4 * 3.5
    assert gain(Fixing(order_id="g", accepted=False, pool_id="A")) == nothing + 4 * 3


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6])
def test_published_certificate_is_what_the_verifier_computes(seed: int) -> None:
    given = random_book(seed)
    outcome = clear(given, RANDOM_SEED)
    checks = {check.name: check.ok for check in verify(given, outcome).checks}
    assert checks["BOUND"]
    assert checks["WELFARE"]
