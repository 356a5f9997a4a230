"""The worked examples against brute force: both were derived from the rules, apart from each
other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from clearing.types import Book, PricingRule
from clearing.units import SECONDS_PER_HOUR
from tests.golden.clearing.books import usd
from tests.golden.clearing.examples import OBJECTIVES, STRICT_WELFARE
from tests.property.twin import best, best_strict


@pytest.mark.parametrize("example", OBJECTIVES, ids=lambda e: e.__name__)
def test_brute_force_reaches_the_objective_of_the_example(example: Callable[[], Book]) -> None:
    found = best(example())
    assert found is not None
    assert found.objective == usd(OBJECTIVES[example]) * SECONDS_PER_HOUR


@pytest.mark.parametrize("example", STRICT_WELFARE, ids=lambda e: e.__name__)
def test_brute_force_reaches_the_welfare_without_losers(example: Callable[[], Book]) -> None:
    given = example()
    given = replace(given, spec=replace(given.spec, pricing_rule=PricingRule.STRICT_UNIFORM))
    assert best_strict(given) == usd(STRICT_WELFARE[example]) * SECONDS_PER_HOUR


def test_base_load_lacks_two_chips_of_cover() -> None:
    shortage = next(e for e in OBJECTIVES if e.__name__ == "cover_shortage")
    found = best(shortage())
    assert found is not None
    assert found.shortage == 2
