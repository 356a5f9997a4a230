from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clearing.errors import SolverError
from clearing.layout import Choice, Model
from clearing.market import Flags
from clearing.pricing import strict_rounding, strict_uniform
from clearing.pricing.price_choice import Duals, choose_prices
from clearing.pricing.rounding import round_prices
from clearing.pricing.strict_rounding import in_whole
from clearing.pricing.strict_uniform import Strict, strict
from clearing.search import Approach
from clearing.types import AuctionSpec, Book
from tests.golden.clearing import examples
from tests.golden.clearing.books import SEED, bid, book, gang, offer, pool
from tests.property import random_books
from tests.property.random_books import Kind, random_book
from tests.unit.clearing import plain_search
from tests.unit.clearing.small_models import model_of
from tests.unit.clearing.strict_twin import StrictTwin


def master(
    model: Model,
    _spec: AuctionSpec,
    approach: Approach,
    cuts: tuple[Choice, ...],
    _before: Choice | None = None,
) -> Choice:
    """Masters solved by one solver call, so that nothing but the rule is tested."""
    choice = plain_search.choose(model, cuts)
    if approach is Approach.NO_BLOCKS:
        return replace(choice, chosen=choice.chosen & False, on=choice.on & False)
    return choice


@pytest.fixture(autouse=True)
def plain_masters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_uniform, "choose", master)
    monkeypatch.setattr(strict_uniform, "settle", plain_search.settle)


def solved(given: Book) -> tuple[Model, Strict]:
    model = model_of(given)
    return model, strict(model, given.spec, Approach.USUAL, SEED)


def welfare(model: Model, found: Strict) -> float:
    return float(model.program.objective @ found.settled.best)


def test_a_losing_gang_is_left_out_after_one_cut() -> None:
    model, found = solved(examples.losing_gang())
    assert not found.choice.chosen.any()
    assert welfare(model, found) == pytest.approx(24)
    assert (found.masters, found.proven) == (2, True)
    assert found.duals.energy.tolist() == pytest.approx([2_000_000])


def test_a_gang_moves_to_the_pool_where_it_does_not_lose() -> None:
    # Cutting the order instead of the alternative would leave 12.
    model, found = solved(examples.one_of_two_pools())
    assert model.market.blocks.pool[found.choice.chosen].tolist() == [1]
    assert welfare(model, found) == pytest.approx(17)


def test_a_choice_that_prices_support_needs_one_master() -> None:
    _, found = solved(examples.fill_inside())
    assert (found.masters, found.choice.chosen.sum()) == (1, 1)


def test_parts_of_the_book_that_share_nothing_are_cut_at_once() -> None:
    pools = tuple(pool(name) for name in "ABC")
    orders = [
        order
        for name in "ABC"
        for order in (
            offer(f"S{name}", (16, "2"), at=name),
            bid(f"b{name}", (8, "5"), at=(name,)),
            gang(f"g{name}", 12, "4", at=(name,)),
        )
    ]
    model, found = solved(book(*orders, pools=pools))
    assert found.masters == 2
    assert welfare(model, found) == pytest.approx(3 * 24)


def test_the_last_master_serves_divisible_orders_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_uniform, "MASTERS_MAX", 1)
    model, found = solved(examples.one_of_two_pools())
    assert not found.choice.chosen.any()
    assert not found.proven
    assert welfare(model, found) == pytest.approx(12)


def test_masters_without_proof_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def unproven(
        model: Model,
        spec: AuctionSpec,
        approach: Approach,
        cuts: tuple[Choice, ...],
        _before: Choice | None = None,
    ) -> Choice:
        return replace(master(model, spec, approach, cuts), proven=bool(cuts))

    monkeypatch.setattr(strict_uniform, "choose", unproven)
    _, found = solved(examples.losing_gang())
    assert (found.masters, found.proven) == (2, False)


def test_strict_welfare_is_that_of_one_program_with_prices() -> None:
    several = compared = 0
    for seed in range(150):
        given = random_book(seed, random_books.STRICT | {Kind.STRICT})
        model = model_of(given)
        try:
            expected = StrictTwin(model, given.spec).welfare()
        except SolverError:
            with pytest.raises(SolverError):
                strict(model, given.spec, Approach.USUAL, SEED)
            continue
        found = strict(model, given.spec, Approach.USUAL, SEED)
        assert welfare(model, found) == pytest.approx(expected, abs=1e-3, rel=1e-6), seed
        assert not losing(model, found).any()
        several += found.masters > 1
        compared += 1
    assert compared > 140
    assert several > 5


def losing(model: Model, found: Strict) -> Flags:
    prices = round_prices(model, found.settled, found.duals)
    return strict_rounding._losing(model, found.choice, found.settled, prices)


def break_even(first: float, second: float) -> Duals | None:
    """A gang over two hours whose limit is 3 dollars, at given prices."""
    given = book(
        offer("S", (8, "2"), first=0, stop=2),
        gang("g", 4, "3", duration=2),
        intervals=2,
    )
    model = model_of(given)
    choice = plain_search.choose(model)
    settled = plain_search.settle(model, choice)
    duals = choose_prices(model, choice, settled, given.spec, SEED)
    assert duals is not None
    assert choice.chosen.any()
    priced = replace(duals, energy=np.array([first, second]))
    return in_whole(model, choice, settled, priced)


def test_a_block_that_breaks_even_does_not_lose_by_rounding() -> None:
    # Each half would go up, and the gang would pay a micro-USD per chip more than its limit.
    found = break_even(3_000_000.5, 2_999_999.5)
    assert found is not None
    assert found.energy.sum() == 6_000_000
    assert np.abs(found.energy - [3_000_000.5, 2_999_999.5]).tolist() == [0.5, 0.5]


def test_prices_that_round_without_losses_stay_as_they_are() -> None:
    found = break_even(2_999_999.5, 2_999_999.5)
    assert found is not None
    assert found.energy.tolist() == [2_999_999.5, 2_999_999.5]


def test_losses_that_no_rounding_avoids_are_named() -> None:
    found = break_even(3_000_001.0, 3_000_000.0)
    assert found is None
