from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from clearing.errors import SolverError
from clearing.layout import POWER_UNIT, Choice, Model, Settled
from clearing.pricing import stages
from clearing.pricing.face import Kind, open_face
from clearing.pricing.price_choice import Duals, choose_prices
from clearing.pricing.rounding import round_prices
from clearing.types import Book
from tests.golden.clearing import examples
from tests.golden.clearing.books import SEED
from tests.property import random_books
from tests.property.random_books import random_book
from tests.unit.clearing.plain_search import choose, settle
from tests.unit.clearing.price_twin import PriceTwin
from tests.unit.clearing.small_models import model_of


def settled_book(book: Book) -> tuple[Model, Choice, Settled]:
    model = model_of(book)
    choice = choose(model)
    return model, choice, settle(model, choice)


def dollars(book: Book, *, no_loss: bool = False) -> dict[str, list[float]] | None:
    """Rounded prices that are not zero somewhere, in dollars, by place."""
    model, choice, settled = settled_book(book)
    duals = choose_prices(model, choice, settled, book.spec, SEED, no_loss=no_loss)
    if duals is None:
        return None
    prices = round_prices(model, settled, duals)
    return {
        name: (series / 1e6).tolist()
        for name in prices.__dataclass_fields__
        if (series := getattr(prices, name)).any()
    }


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (examples.surcharge, {"energy": [4]}),
        (examples.losing_gang, {"energy": [5]}),
        (examples.two_winners, {"energy": [6]}),
        (examples.start_up, {"energy": [3]}),
        (
            examples.site_loss,
            {
                "energy": [3, 8],
                "recall": [0, 5],
                "site_spare": [0, 5],
                "backup": [5, 0],
            },
        ),
        (
            examples.cover_shortage,
            {"energy": [2, 8.5], "recall": [0, 6], "site_spare": [0, 6], "backup": [6, 0]},
        ),
        (examples.released_base, {"energy": [5], "recall": [4.5]}),
        (examples.fill_inside, {"energy": [4]}),
        (examples.fill_at_least, {"energy": [6]}),
        (examples.scarce_power, {"energy": [2], "power": [2]}),
        (examples.linked, {"energy": [3]}),
        (examples.one_of_two_pools, {"energy": [4, 2]}),
        (examples.congested_link, {"energy": [2, 5]}),
        (examples.running_gang, {"energy": [4, 2]}),
        (examples.negative_price, {"energy": [-0.1]}),
        (examples.spare_nodes, {"energy": [4.5], "spare": [2.5], "node_cover": [0.5]}),
        (
            examples.reclaimable,
            {"energy": [4.5], "spare": [2.5], "node_cover": [0.5], "availability": [2.5]},
        ),
    ],
)
def test_prices_of_worked_examples(
    example: Callable[[], Book], expected: dict[str, list[float]]
) -> None:
    assert dollars(example()) == expected


@pytest.mark.parametrize(
    "example",
    [
        examples.losing_gang,
        examples.two_winners,
        examples.fill_at_least,
        examples.one_of_two_pools,
    ],
)
def test_no_price_without_losses_supports_a_losing_gang(example: Callable[[], Book]) -> None:
    assert dollars(example(), no_loss=True) is None


def test_without_losses_a_gang_that_gains_has_the_same_prices() -> None:
    assert dollars(examples.fill_inside(), no_loss=True) == {"energy": [4]}
    assert dollars(examples.linked(), no_loss=True) == {"energy": [3]}


def by_name(model: Model, duals: Duals) -> dict[tuple[str, str, int], float]:
    """Published prices as the twin names them."""
    grid, layout = model.market.grid, model.layout
    found: dict[tuple[str, str, int], float] = {}
    for place in range(grid.places):
        pool, interval = divmod(place, grid.intervals)
        subject = grid.pools[pool].pool_id
        for name, series in (
            ("energy", duals.energy),
            ("cover", duals.spare),
            ("reclaimable", duals.availability),
            ("recall", duals.recall),
            ("power", duals.power),
        ):
            found[name, subject, interval] = float(series[place])
    for row, price in enumerate(duals.backup.tolist()):
        slot, interval = divmod(row, grid.intervals)
        site = grid.site_ids[layout.slot_site[slot]]
        pool_id = grid.pools[layout.slot_pool[slot]].pool_id
        found["backup", f"{site}\0{pool_id}", interval] = price
    return found


def twin_prices(
    model: Model, prices: dict[tuple[str, str, int], float]
) -> dict[tuple[str, str, int], float]:
    """The twin's prices per pool: power is priced by site."""
    grid = model.market.grid
    found = {}
    for (name, subject, interval), price in prices.items():
        if name != "power":
            found[name, subject, interval] = price * 1_000
            continue
        for pool in np.flatnonzero(grid.site == grid.site_ids.index(subject)).tolist():
            share = float(grid.power[pool]) / POWER_UNIT
            found[name, grid.pools[pool].pool_id, interval] = price * 1_000 * share
    return found


def compare(seed: int, kinds: frozenset[random_books.Kind], *, no_loss: bool) -> str:
    """What is wrong with the prices of one random book."""
    book = random_book(seed, kinds)
    try:
        model, choice, settled = settled_book(book)
    except SolverError:
        return ""  # nothing feasible: a link's least flow
    duals = choose_prices(model, choice, settled, book.spec, SEED, no_loss=no_loss)
    try:
        expected = PriceTwin(model, choice, settled, book.spec, no_loss=no_loss).choose(SEED)
    except SolverError:
        return "" if duals is None else f"{seed}: prices where the twin has none"
    if duals is None:
        return f"{seed}: no prices where the twin has some"
    found, wanted = by_name(model, duals), twin_prices(model, expected)
    for key, price in found.items():
        if abs(price - wanted.get(key, 0.0)) > 0.01 + 1e-8 * abs(price):
            return f"{seed}: {key} is {price}, the twin says {wanted.get(key, 0.0)}"
    return ""


def test_prices_of_random_books_are_those_of_one_large_program() -> None:
    problems = [compare(seed, random_books.ALL, no_loss=False) for seed in range(150)]
    assert [problem for problem in problems if problem] == []


def test_prices_without_losses_are_those_of_one_large_program() -> None:
    problems = [compare(seed, random_books.STRICT, no_loss=True) for seed in range(150)]
    assert [problem for problem in problems if problem] == []


@pytest.mark.parametrize("entries_max", [0, 12])
def test_components_above_the_limit_still_have_valid_prices(
    monkeypatch: pytest.MonkeyPatch, entries_max: int
) -> None:
    monkeypatch.setattr(stages, "ENTRIES_MAX", entries_max)
    priced_books = 0
    for seed in range(60):
        book = random_book(seed, random_books.ALL)
        try:
            model, choice, settled = settled_book(book)
        except SolverError:
            continue
        duals = choose_prices(model, choice, settled, book.spec, SEED)
        assert duals is not None
        assert supports(model, choice, settled, book, duals), seed
        priced_books += 1
    assert priced_books > 50


def supports(model: Model, choice: Choice, settled: Settled, book: Book, duals: Duals) -> bool:
    """Prices are valid where the face with them held still has a point."""
    series = {
        Kind.ENERGY: duals.energy,
        Kind.COVER: duals.spare,
        Kind.RECLAIMABLE: duals.availability,
        Kind.RECALL: duals.recall,
        Kind.SLOT: duals.backup,
    }
    priced, face = open_face(model, choice, settled, book.spec, capped=False)
    lower, upper = face.lower.copy(), face.upper.copy()
    for variable in np.flatnonzero(priced.of(*series)).tolist():
        kind, place = Kind(int(priced.kind[variable])), int(priced.place[variable])
        price = float(series[kind][place]) / 1_000
        lower[variable], upper[variable] = price - 1e-5, price + 1e-5
    return stages.has_point(replace(face, lower=lower, upper=upper))


def test_unknown_prices_of_an_idle_pool_are_the_middle_of_floor_and_cap() -> None:
    found = dollars(examples.base_starts_supply())
    assert found is not None
    assert found["energy"][0] == 50
