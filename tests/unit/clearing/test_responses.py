"""Best responses of single orders, worked out by hand or by trying everything."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from clearing.market import NONE
from clearing.options import read_options, room_of
from clearing.prices import Prices
from clearing.responses import (
    best_of_demand,
    best_of_links,
    best_of_supply,
    best_of_units,
    charges_at_prices,
    gains_of,
)
from clearing.types import Book, Cover
from clearing.units import SECONDS_PER_HOUR, Chips, Ppm, Watts
from tests.golden.clearing.books import (
    bid,
    book,
    committed,
    gang,
    link,
    offer,
    pool,
    price,
    site,
    usd,
    work,
)
from tests.unit.clearing.small_models import TWO_SITES, model_of

DOLLAR_HOUR = usd("1") * SECONDS_PER_HOUR


def at(energy: list[str], **parts: list[str]) -> Prices:
    """Prices in dollars per place; parts that are not named are zero."""

    def column(texts: list[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([price(text) for text in texts], dtype=np.int64)

    zero = ["0"] * len(energy)
    names = ("power", "spare", "node_cover", "availability", "recall", "site_spare")
    columns = {name: column(parts.get(name, zero)) for name in names}
    return Prices(energy=column(energy), backup=column(parts.get("backup", [])), **columns)


def dollars(amount: int) -> float:
    return amount / DOLLAR_HOUR


def test_supply_sells_stands_by_or_rests() -> None:
    given = book(offer("S", (4, "2"), (4, "3"), (4, "9")), pools=(pool(node_spare_ppm=Ppm(1)),))
    model = model_of(given)
    found = charges_at_prices(model.market, at(["5"], spare=["2.5"]))
    assert dollars(best_of_supply(model.market, found)) == 4 * 3 + 4 * 2.5 + 4 * 2.5


def test_released_base_load_cannot_stand_by() -> None:
    given = book(offer("R", (4, "2"), recallable=True))
    model = model_of(given)
    found = charges_at_prices(model.market, at(["5"], spare=["9"], recall=["2"]))
    assert dollars(best_of_supply(model.market, found)) == 4 * 1


def test_bid_goes_to_its_best_pool() -> None:
    given = book(bid("b", (4, "5"), (4, "3"), at=("A", "B")), pools=(pool("A"), pool("B")))
    model = model_of(given)
    found = charges_at_prices(model.market, at(["4", "2.5"]))
    assert dollars(best_of_demand(model, found)) == 4 * 2.5 + 4 * 0.5


def test_work_fills_its_best_hours_first() -> None:
    given = book(
        work("w", 12, "6", rate=8, first=0, stop=3), offer("S", (1, "1"), stop=3), intervals=3
    )
    model = model_of(given)
    found = charges_at_prices(model.market, at(["5", "2", "4"]))
    assert dollars(best_of_demand(model, found)) == 8 * 4 + 4 * 2


def test_link_earns_the_difference_over_its_range() -> None:
    given = book(
        offer("S", (9, "1")),
        link("l", "A", "B", (-2, 5)),
        pools=(pool("A"), pool("B")),
    )
    model = model_of(given)
    rising = charges_at_prices(model.market, at(["1", "3"]))
    falling = charges_at_prices(model.market, at(["3", "1"]))
    assert dollars(best_of_links(model.market, rising)) == 5 * 2
    assert dollars(best_of_links(model.market, falling)) == 2 * 2


def gain(given: Book, prices: Prices, *, restricted: bool = False) -> tuple[float, float]:
    model = model_of(given)
    options = read_options(given, model.market, model.layout)
    charges = charges_at_prices(model.market, prices)
    room = room_of(model.market, options) if restricted else None
    found = gains_of(model.market, charges, options, room=room)
    assert found.there.all()
    return dollars(int(found.full[0])), dollars(int(found.best[0]))


def test_block_picks_pool_and_start() -> None:
    given = book(
        offer("S", (9, "1"), stop=3),
        gang("g", 4, "5", at=("A", "B"), duration=2, latest_start=1),
        pools=(pool("A"), pool("B")),
        intervals=3,
    )
    assert gain(given, at(["9", "4", "4", "1", "2", "9"]))[0] == 4 * (4 + 3)


def test_profile_pays_each_hour_its_own() -> None:
    profile = (Chips(2), Chips(0), Chips(4))
    given = book(
        offer("S", (9, "1"), stop=3), gang("g", 4, "5", duration=3, profile=profile), intervals=3
    )
    assert gain(given, at(["1", "99", "3"])) == (2 * 4 + 4 * 2, 2 * 4 + 4 * 2)


def test_losing_block_loses_least_at_its_least_fill() -> None:
    given = book(offer("S", (9, "1")), gang("g", 8, "3", least=250_000))
    assert gain(given, at(["4"])) == (-8, -2)


def test_backup_is_paid_on_top() -> None:
    given = book(
        offer("S", (9, "1")),
        offer("T", (9, "1"), at="B"),
        gang("g", 4, "5", at=("A", "B"), cover=Cover.SITE),
        **TWO_SITES,
    )
    # Slots: loss of s with backup B, loss of z with backup A.
    assert gain(given, at(["3", "2"], backup=["0.5", "2.5"]))[0] == 4 * (5 - 3 - 0.5)


@pytest.mark.parametrize(
    ("cover", "limit", "expected"),
    [(Cover.NONE, None, 6), (Cover.NONE, 4_000, 4), (Cover.NODE, None, 4)],
)
def test_room_is_what_could_be_delivered(cover: Cover, limit: int | None, expected: int) -> None:
    given = book(
        offer("S", (6, "1")),
        gang("g", 40, "2", least=75_000, cover=cover),
        pools=(pool(chip_power=Watts(1_000), node_spare_ppm=Ppm(500_000)),),
        sites=(site(power_limit=limit),),
    )
    assert gain(given, at(["1"]), restricted=True)[0] == expected


def brute(gains: list[int], able: list[bool], start_up: int, min_run: int) -> dict[int, int]:
    """Best sum by whether anything ran: every pattern of on and off."""
    best: dict[int, int] = {}
    for pattern in itertools.product((0, 1), repeat=len(gains)):
        if any(on and not can for on, can in zip(pattern, able, strict=True)):
            continue
        runs = [len(run) for run in "".join(map(str, pattern)).split("0") if run]
        if any(run < min_run for run in runs):
            continue
        value = sum(g for g, on in zip(gains, pattern, strict=True) if on) - start_up * len(runs)
        key = int(bool(runs))
        best[key] = max(best.get(key, value), value)
    return best


def test_runs_agree_with_every_pattern() -> None:
    rng = random.Random(11)
    for _ in range(60):
        hours = rng.randint(1, 5)
        terms = committed(
            str(rng.randint(0, 3)),
            str(rng.randint(0, 2)),
            min_run_intervals=rng.randint(1, min(3, hours)),
        )
        given = book(offer("U", (4, "2"), stop=hours, commitment=terms), intervals=hours)
        model = model_of(given)
        energy = [rng.randint(0, 5) for _ in range(hours)]
        charges = charges_at_prices(model.market, at([str(e) for e in energy]))
        gains = [
            max(0, 4 * (e - 2)) * DOLLAR_HOUR - terms.no_load * SECONDS_PER_HOUR for e in energy
        ]
        expected = brute(
            gains, [True] * hours, terms.start_up * SECONDS_PER_HOUR, terms.min_run_intervals
        )
        assert best_of_units(model.market, charges) == [max(0, expected.get(1, 0))]
        must = best_of_units(model.market, charges, None, np.array([True]))
        assert must == [expected.get(1)]


def test_unit_held_on_and_off() -> None:
    given = book(
        offer("U", (4, "2"), stop=3, commitment=committed("1", min_run_intervals=2)), intervals=3
    )
    model = model_of(given)
    charges = charges_at_prices(model.market, at(["5", "1", "5"]))
    free = best_of_units(model.market, charges)
    assert [dollars(best or 0) for best in free] == [23]
    held = np.full((1, 3), NONE)
    held[0, 1] = 0
    assert best_of_units(model.market, charges, held) == [0]
    held[0, 0] = 1
    assert best_of_units(model.market, charges, held) == [None]


def test_supply_block_runs_as_a_whole_or_not_at_all() -> None:
    given = book(offer("V", (4, "2"), stop=2, commitment=committed("3", whole=True)), intervals=2)
    model = model_of(given)
    charges = charges_at_prices(model.market, at(["5", "1"]))
    assert [dollars(best or 0) for best in best_of_units(model.market, charges)] == [4 * 3 - 4 - 3]
    held = np.array([[NONE, 0]])
    assert best_of_units(model.market, charges, held) == [0]
    held = np.array([[1, 0]])
    assert best_of_units(model.market, charges, held) == [None]
