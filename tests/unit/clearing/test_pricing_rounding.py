from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest

from clearing.layout import Model, Settled
from clearing.prices import Prices
from clearing.pricing.price_choice import Duals
from clearing.pricing.rounding import nearest, round_prices
from clearing.program import Floats
from clearing.types import Cover, ServiceClass
from clearing.units import Chips, Ppm, Seconds, Watts, share_ppm
from tests.golden.clearing.books import bid, book, offer, pool, site
from tests.unit.clearing.plain_search import choose, settle
from tests.unit.clearing.small_models import model_of

HALF = 0.501
"""What is added before a fraction is cut off."""

PAID = ("plain", "covered", "recalled", "reclaimed")


@pytest.mark.parametrize(
    ("value", "whole"),
    [(2.4, 2), (2.5, 3), (2.4999999, 3), (3.5, 4), (-0.4, 0), (7.0, 7), (-0.5, 0), (-0.6, -1)],
)
def test_halves_round_up_whatever_the_noise(value: float, whole: int) -> None:
    assert nearest(np.array([value])).tolist() == [whole]


def priced_market() -> tuple[Model, Settled]:
    """Two pools with every kind of bid, one of them backed by the other."""
    either = ("A", "B")
    interruptible = ServiceClass.INTERRUPTIBLE
    given = book(
        offer("SA", (40, "2"), (10, "4")),
        offer("SB", (20, "3"), at="B"),
        bid("covered", (9, "8"), cover=Cover.NODE),
        bid("plain", (9, "7"), cover=Cover.NONE),
        bid("backed", (5, "9"), at=either, cover=Cover.SITE),
        bid("now", (9, "3"), service_class=interruptible),
        bid("soon", (9, "3.5"), service_class=interruptible, notice_s=Seconds(900)),
        sites=(site("sA"), site("sB")),
        pools=(
            pool("A", "sA", node_spare_ppm=Ppm(130_000), chip_power=Watts(700)),
            pool("B", "sB", node_spare_ppm=Ppm(10_000), chip_power=Watts(700)),
        ),
    )
    model = model_of(given)
    return model, settle(model, choose(model))


def duals_of(model: Model, draw: Random) -> Duals:
    """Any prices; some of them whole, some zero."""

    def series(most: float, count: int) -> Floats:
        draws = [
            draw.choice((0.0, draw.uniform(0, most), float(draw.randint(0, 9))))
            for _ in range(count)
        ]
        return np.array(draws)

    places = model.market.grid.places
    return Duals(
        energy=series(50, places),
        power=series(5, places),
        spare=series(90, places),
        availability=series(5, places),
        recall=series(5, places),
        backup=np.zeros(model.layout.slot_row.size),
        floor=0,
        cap=10**8,
    )


def sums_of(parts: tuple[float, ...], cover: float) -> dict[str, float]:
    energy, power, spare, off, recall = parts
    plain = energy + power
    return {
        "sold": energy - max(0, spare - power),
        "released": energy - recall,
        "plain": plain,
        "covered": plain + cover,
        "recalled": plain - recall,
        "reclaimed": plain - recall - off,
    }


def by_hand(exact: tuple[float, ...], theta: int, charge: int, tight: set[str]) -> tuple[int, ...]:
    """One place at a time: every combination of integers near the exact parts."""
    near = [int(np.floor(value + HALF)) for value in exact]
    if not any(near[1:]):
        return (near[0], 0, 0, 0, 0)
    wanted = {
        name: np.floor(value + (charge if name in PAID else 0) + HALF)
        for name, value in sums_of(exact, exact[2] * theta / 1e6).items()
    }
    tried = [
        range(max(0, n - reach), n + reach + 1) if n else range(1)
        for n, reach in zip(near, (1, 1, 3, 1, 1), strict=True)
    ]
    best: tuple[float, int, tuple[int, ...]] | None = None
    for parts in product(*tried):
        cover = share_ppm(parts[2], Ppm(theta))
        cost = 0.0
        for name, value in sums_of(parts, cover).items():
            off = abs(value + (charge if name in PAID else 0) - wanted[name])
            weight = 1
            if name in tight:
                weight = 1_000 if name in PAID else 100
            cost += off * weight
        far = abs(parts[2] - near[2]) + abs(parts[0] - near[0])
        if best is None or (cost, far) < best[:2]:
            best = (cost, far, parts)
    assert best is not None
    return best[2]


TIGHT_BY_COLUMN = {
    "SA": "sold",
    "covered": "covered",
    "plain": "plain",
    "now": "reclaimed",
    "soon": "recalled",
}


def test_all_places_at_once_are_rounded_as_each_on_its_own() -> None:
    model, settled = priced_market()
    draw = Random(7)
    grid = model.market.grid
    for _ in range(60):
        duals = duals_of(model, draw)
        at_limit = np.array([draw.random() < 0.3 for _ in range(settled.best.size)])
        chosen = replace(settled, reduced_costs=np.where(at_limit, 0.0, 1.0))
        found = round_prices(model, chosen, duals)
        for place in range(grid.places):
            expected = by_hand(
                tuple(float(s[place]) for s in series_of(duals)),
                int(grid.theta[place]),
                int(grid.charge[place]),
                tight_at(model, chosen, place),
            )
            assert parts_at(found, place) == expected


def series_of(duals: Duals) -> tuple[Floats, ...]:
    return (duals.energy, duals.power, duals.spare, duals.availability, duals.recall)


def parts_at(prices: Prices, place: int) -> tuple[int, ...]:
    series = (prices.energy, prices.power, prices.spare, prices.availability, prices.recall)
    return tuple(int(part[place]) for part in series)


def tight_at(model: Model, settled: Settled, place: int) -> set[str]:
    """Sums of a place that a supply step or a bid finds equal to its limit."""
    market, layout = model.market, model.layout
    names = ("covered", "site", "plain", "reclaimed", "recalled", "plain")
    found = set()
    for step in np.flatnonzero(market.supply.place == place).tolist():
        if settled.reduced_costs[step] == 0:
            found.add("sold")
    for arc in np.flatnonzero(market.demand.arc_place == place).tolist():
        if settled.reduced_costs[layout.arc + arc] == 0:
            found.add(names[int(market.demand.product[market.demand.arc_cell[arc]])])
    return found


def test_sum_of_a_backed_bid_at_its_limit_is_met_by_its_backup_price() -> None:
    model, settled = priced_market()
    layout, places = model.layout, model.market.grid.places
    arcs = np.flatnonzero(layout.slot_of_arc >= 0)
    arc = int(arcs[model.market.demand.arc_pool[arcs] == 0][0])
    costs = np.ones(settled.best.size)
    costs[layout.arc + arc] = 0.0
    backup = np.zeros(layout.slot_row.size)
    backup[layout.slot_of_arc[arc]] = 2.5
    duals = Duals(
        energy=np.full(places, 4.5),
        power=np.zeros(places),
        spare=np.zeros(places),
        availability=np.zeros(places),
        recall=np.zeros(places),
        backup=backup,
        floor=0,
        cap=100,
    )
    found = round_prices(model, replace(settled, reduced_costs=costs), duals)
    # 4.5 and 2.5 alone round to 5 and 3; together they are 7.
    assert found.energy.tolist() == [5, 5]
    assert int(found.backup[layout.slot_of_arc[arc]]) == 2
    assert int(found.site_spare[1]) == int(found.backup.sum()) == 2


def test_energy_stays_between_floor_and_cap() -> None:
    model, settled = priced_market()
    places = model.market.grid.places
    duals = Duals(
        energy=np.full(places, 10.0),
        power=np.full(places, 0.5),
        spare=np.zeros(places),
        availability=np.zeros(places),
        recall=np.zeros(places),
        backup=np.zeros(model.layout.slot_row.size),
        floor=10,
        cap=10,
    )
    assert round_prices(model, settled, duals).energy.tolist() == [10] * places


def test_cover_charge_is_the_rounded_share_of_the_spare_price() -> None:
    model, settled = priced_market()
    duals = duals_of(model, Random(1))
    found = round_prices(model, settled, duals)
    shares = zip(found.spare.tolist(), (130_000, 10_000), strict=True)
    assert found.node_cover.tolist() == [share_ppm(s, Ppm(theta)) for s, theta in shares]
    assert Chips(found.energy.size) == 2
