"""Chosen prices as published integers, each all-in price the exact sum of its parts.

What is rounded is the sums that orders are compared with (energy alone, with power, with
each discount, with cover), and the parts are their differences. Rounding keeps order, and
limits are whole micro-USD, so a limit that was not passed by the exact price is not passed
by the published one. Halves round up, from slightly below a half, so that the noise of a
solver cannot send two equal prices to different sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeVar

import numpy as np

from clearing.market import RECALLED, Market, Product
from clearing.model import NONE, Model
from clearing.pricing.price_choice import Duals
from clearing.search import Settled
from clearing.solver import FACE
from clearing.units import PPM, Ppm, share_ppm

_NOISE: Final = 1e-3
"""Micro-USD: far above solver noise, far below anything that money sees."""

_HARD: Final = 1_000
_FIRM: Final = 100
_FAR: Final = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Rounded prices of one pool and interval, micro-USD per chip-hour."""

    energy: int
    power: int
    spare: int
    cover: int
    availability: int
    recall: int


def round_prices(model: Model, settled: Settled, duals: Duals) -> tuple[Parts, ...]:
    """Rounded prices per (pool, interval), flat; awards are held to them.

    Args:
        model: Where each price belongs.
        settled: Which orders are exactly at the price.
        duals: Chosen prices, exact.
    """
    grid = model.market.grid
    tight = _tight(model, settled)
    return tuple(
        _round(
            duals,
            place,
            grid.pools[place // grid.intervals].node_spare_ppm,
            grid.charge[place // grid.intervals],
            tight[place],
        )
        for place in range(len(model.layout.balance))
    )


def nearest(value: float) -> int:
    """Nearest whole micro-USD; halves, and what noise leaves just below one, round up."""
    return math.floor(value + 0.5 + _NOISE)


@dataclass(slots=True, kw_only=True)
class _Tight:
    """Sums of a pool and interval that some order finds exactly equal to its limit."""

    names: set[str]


_SUM_OF_PRODUCT: Final = {
    Product.COVERED: "covered",
    Product.UNCOVERED: "plain",
    Product.UNCOUNTED: "plain",
    Product.RECALLABLE: "recalled",
    Product.RECLAIMABLE: "reclaimed",
}


def _tight(model: Model, settled: Settled) -> list[_Tight]:
    market, layout, grid = model.market, model.layout, model.market.grid
    found = [_Tight(names=set()) for _ in layout.balance]
    equal = np.abs(settled.best.reduced_costs) <= FACE
    for column, group in enumerate(market.supply):
        if equal[column]:
            name = "released" if group.recallable else "sold"
            found[grid.at(group.pool, group.interval)].names.add(name)
    for position, group_at in enumerate(layout.delivery_group):
        if equal[layout.delivery + position]:
            demand = market.demand[group_at]
            place = grid.at(layout.delivery_pool[position], demand.interval)
            found[place].names.add(_SUM_OF_PRODUCT[demand.product])
    for position, alternative in enumerate(market.alternatives):
        column = layout.fill[position]
        if column != NONE and settled.program.upper[column] > 0 and equal[column]:
            start = grid.at(alternative.pool, alternative.first)
            for place in range(start, start + alternative.stop - alternative.first):
                found[place].names.add(_SUM_OF_PRODUCT[alternative.product])
    return found


def _round(duals: Duals, place: int, theta: int, adders: int, tight: _Tight) -> Parts:
    """Integer parts of one pool and interval that keep every comparison with a limit.

    Several sums hang on a few integers (and the cover charge is a rounded share of the
    spare price), so the integers around the exact values are tried: a sum that somebody
    finds equal to its limit is met first, those of buyers before those of suppliers. Where
    not all can be met, an offer that is indifferent between sale and stand-by is one
    micro-USD off.

    Args:
        duals: Exact prices.
        place: Flat position.
        theta: Spare share, ppm.
        adders: Surcharge plus fee.
        tight: Sums to meet exactly where they can be.
    """
    exact = tuple(
        float(series[place])
        for series in (duals.energy, duals.power, duals.spare, duals.availability, duals.recall)
    )
    energy_exact, power_exact, spare_exact, availability_exact, recall_exact = exact
    sums_exact = _sums(
        energy_exact,
        power_exact,
        spare_exact,
        availability_exact,
        recall_exact,
        spare_exact * theta / PPM,
    )
    wanted = {
        name: nearest(value + (adders if name in _PAID else 0))
        for name, value in sums_exact.items()
    }
    reach = (1, 1, 3, 1, 1)
    around = [
        range(max(0, nearest(value) - width), nearest(value) + width + 1)
        if nearest(value) > 0
        else range(1)
        for value, width in zip(exact, reach, strict=True)
    ]
    if not any(nearest(value) for value in exact[1:]):
        return Parts(energy=nearest(exact[0]), power=0, spare=0, cover=0, availability=0, recall=0)
    tried = [
        Parts(
            energy=energy,
            power=power,
            spare=spare if theta else 0,
            cover=share_ppm(spare, Ppm(theta)),
            availability=availability,
            recall=recall,
        )
        for energy, power, spare, availability, recall in product(*around)
    ]

    def miss(part: Parts) -> tuple[int, int]:
        sums = _sums(
            part.energy, part.power, part.spare, part.availability, part.recall, part.cover
        )
        cost = sum(
            abs(value + (adders if name in _PAID else 0) - wanted[name])
            * ((_HARD if name in _PAID else _FIRM) if name in tight.names else 1)
            for name, value in sums.items()
        )
        return cost, abs(part.spare - nearest(spare_exact)) + abs(part.energy - around[0][-1] + 1)

    return min(tried, key=miss)


_Number = TypeVar("_Number", int, float)


def _sums(
    energy: _Number,
    power: _Number,
    spare: _Number,
    availability: _Number,
    recall: _Number,
    cover: _Number,
) -> dict[str, _Number]:
    """Sums that orders compare with their limits; surcharge and fee come on top of ``_PAID``."""
    plain = energy + power
    idle = spare - power
    return {
        "sold": energy - idle if idle > 0 else energy,
        "released": energy - recall,
        "plain": plain,
        "covered": plain + cover,
        "recalled": plain - recall,
        "reclaimed": plain - recall - availability,
    }


_PAID: Final = frozenset({"plain", "covered", "recalled", "reclaimed"})


def adders(market: Market, part: Parts, pool: int, bought: Product) -> int:
    """What a product pays beside the energy price, micro-USD per chip-hour."""
    total = market.grid.charge[pool] + part.power
    if bought is Product.COVERED:
        total += part.cover
    if bought in RECALLED:
        total -= part.recall
    if bought is Product.RECLAIMABLE:
        total -= part.availability
    return total
