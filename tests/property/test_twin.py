"""The twin against itself: shortcuts it takes, and the other way to write each question."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest

from clearing.types import Book
from tests.property.random_books import ALL, NETWORK, STRICT_NETWORK, random_book
from tests.property.simplex import Infeasible, Program, Tableau
from tests.property.twin import best, best_strict, count_choices, hold_shortage, is_reached
from tests.property.twin_program import TwinProgram

SEEDS = range(40)


def all_choices(twin: TwinProgram) -> list[tuple[int, ...]]:
    combinations = product(*(family.options for family in twin.families))
    return [tuple(k for option in picked for k in option) for picked in combinations]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_choice_is_skipped_that_would_have_been_better(seed: int) -> None:
    book = random_book(seed, ALL)
    if count_choices(book) > 300:
        book = random_book(seed + 10_000, NETWORK)
    twin = TwinProgram(book)
    hold_shortage(twin)
    values = []
    for chosen in all_choices(twin):
        try:
            values.append(Tableau(twin.program).solve(chosen)[0])
        except Infeasible:
            continue
    found = best(book)
    if found is None:
        assert not values
    else:
        assert max(values) == found.objective


@pytest.mark.parametrize("seed", SEEDS)
def test_strict_optimum_has_prices_at_which_nobody_loses(seed: int) -> None:
    """The same question asked of the prices: is there a dual solution without a losing family?"""
    book = random_book(seed, STRICT_NETWORK)
    if count_choices(book) > 100:
        book = random_book(seed + 10_000, STRICT_NETWORK)
    twin = TwinProgram(book)
    supported = [
        value
        for chosen in all_choices(twin)
        for value in [_value(twin, chosen)]
        if value is not None and _has_prices(twin, chosen, value)
    ]
    assert best_strict(book) == max(supported, default=None)


def _value(twin: TwinProgram, chosen: Sequence[int]) -> int | None:
    try:
        value = Tableau(twin.program).solve(chosen)[0]
    except Infeasible:
        return None
    assert value.denominator == 1
    return value.numerator


def _has_prices(twin: TwinProgram, chosen: Sequence[int], value: int) -> bool:
    given = twin.program
    duals = Program()
    names = list(given.limits)
    column = {name: duals.column(0) for name in names}
    fixed = {given.decisions[k] for k in chosen}
    for quantity in set(range(len(given.gain))) - set(given.decisions):
        duals.limit(("worth its price", quantity), -given.gain[quantity])
        for name in names:
            weight = given.rows.get(name, {}).get(quantity, 0)
            if weight:
                duals.put(("worth its price", quantity), column[name], -weight)
    duals.limit(("optimal",), value - sum(given.gain[c] for c in fixed))
    for name in names:
        left = given.limits[name] - sum(given.rows.get(name, {}).get(c, 0) for c in fixed)
        duals.put(("optimal",), column[name], left)
    for number, family in enumerate(twin.families):
        members = {given.decisions[k] for option in family.options for k in option} & fixed
        if members:
            duals.limit(("gains", number), sum(given.gain[c] for c in members))
            for name in names:
                weight = sum(given.rows.get(name, {}).get(c, 0) for c in members)
                duals.put(("gains", number), column[name], weight)
    try:
        Tableau(duals).solve(())
    except Infeasible:
        return False
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_nodes_reach_the_objective_of_a_network(seed: int) -> None:
    book: Book = random_book(seed, NETWORK)
    found = best(book)
    if found is None:
        assert not is_reached(book, -(10**18))
        return
    assert found.is_whole
    assert is_reached(book, int(found.objective) - 1)
    assert not is_reached(book, int(found.objective))
