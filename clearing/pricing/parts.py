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
from typing import Final

import numpy as np

from clearing.errors import InvariantError
from clearing.market import RECALLED, Market, Product
from clearing.model import Model
from clearing.nodes import Quantities
from clearing.outcome import PoolPrice
from clearing.pricing.price_choice import Duals
from clearing.program import Integers
from clearing.search import Settled
from clearing.solver import FACE
from clearing.types import AuctionSpec
from clearing.units import PPM, MicroUsdPerChipHour, share_ppm

_NOISE: Final = 1e-3
"""Micro-USD: far above solver noise, far below anything that money sees."""

_HARD: Final = 1_000
_FIRM: Final = 100
_FAR: Final = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    energy: int
    power: int
    spare: int
    cover: int
    availability: int
    recall: int


def publish(
    model: Model,
    settled: Settled,
    duals: Duals,
    spec: AuctionSpec,
    surcharges: tuple[int, ...],
    quantities: Quantities,
) -> tuple[PoolPrice, ...]:
    """One price per pool and interval, sorted.

    Args:
        model: Where each price belongs.
        settled: Which orders are exactly at the price.
        duals: Chosen prices, exact.
        spec: Floor, cap and fee.
        surcharges: Community surcharge per pool position.
        quantities: Awards; a pool and interval without any has an indicative price.
    """
    grid = model.market.grid
    tight = _tight(model, settled)
    parts = [
        _round(
            duals,
            place,
            grid.pools[place // grid.intervals].node_spare_ppm,
            grid.charge[place // grid.intervals],
            tight[place],
        )
        for place in range(len(model.layout.balance))
    ]
    ranges = _ranges(model, parts, spec, quantities.nodes)
    active = quantities.active()
    prices = []
    for place, part in enumerate(parts):
        pool, interval = divmod(place, grid.intervals)
        low, high = ranges[place]
        plain = part.energy + part.power + surcharges[pool] + spec.operator_fee
        prices.append(
            PoolPrice(
                pool_id=grid.pools[pool].pool_id,
                interval=interval,
                energy=MicroUsdPerChipHour(part.energy),
                power=MicroUsdPerChipHour(part.power),
                node_cover=MicroUsdPerChipHour(part.cover),
                spare=MicroUsdPerChipHour(part.spare),
                availability=MicroUsdPerChipHour(part.availability),
                recall_discount=MicroUsdPerChipHour(part.recall),
                surcharge=MicroUsdPerChipHour(surcharges[pool]),
                fee=spec.operator_fee,
                firm=MicroUsdPerChipHour(plain + part.cover),
                firm_uncovered=MicroUsdPerChipHour(plain),
                interruptible=MicroUsdPerChipHour(plain - part.availability - part.recall),
                interruptible_uncounted=MicroUsdPerChipHour(plain),
                indicative=(pool, interval) not in active,
                low=MicroUsdPerChipHour(low),
                high=MicroUsdPerChipHour(high),
            )
        )
    return tuple(prices)


def nearest(value: float) -> int:
    """Nearest whole micro-USD; halves, and what noise leaves just below one, round up."""
    return math.floor(value + 0.5 + _NOISE)


@dataclass(slots=True, kw_only=True)
class _Tight:
    """Which sums of a pool and interval some order compares with and finds equal."""

    covered: bool = False
    plain: bool = False
    idle: bool = False


def _tight(model: Model, settled: Settled) -> list[_Tight]:
    market, layout, grid = model.market, model.layout, model.market.grid
    found = [_Tight() for _ in layout.balance]
    equal = np.abs(settled.best.reduced_costs) <= FACE
    for column, group in enumerate(market.supply):
        if equal[column] and not group.recallable:
            found[grid.at(group.pool, group.interval)].idle = True
    for position, group_at in enumerate(layout.delivery_group):
        if equal[layout.delivery + position]:
            demand = market.demand[group_at]
            at = found[grid.at(layout.delivery_pool[position], demand.interval)]
            if demand.product is Product.COVERED:
                at.covered = True
            else:
                at.plain = True
    return found


def _round(duals: Duals, place: int, theta: int, adders: int, tight: _Tight) -> _Parts:
    """Integer parts of one pool and interval.

    Args:
        duals: Exact prices.
        place: Flat position.
        theta: Spare share, ppm.
        adders: Surcharge plus fee.
        tight: Sums that must come out exactly where they can.
    """
    energy, power = float(duals.energy[place]), float(duals.power[place])
    spare = float(duals.spare[place])
    recall, availability = float(duals.recall[place]), float(duals.availability[place])
    sold, plain = nearest(energy), nearest(energy + power)
    held = nearest(spare)
    if held > 0 and theta > 0:
        sold, held = _fit_spare(energy, power, spare, theta, adders, tight)
        plain = sold if power == 0 else plain
    recalled = nearest(plain - recall)
    reclaimed = nearest(plain - recall - availability)
    return _Parts(
        energy=sold,
        power=max(0, plain - sold),
        spare=held if theta else 0,
        cover=share_ppm(held, theta),
        availability=max(0, recalled - reclaimed),
        recall=max(0, plain - recalled),
    )


def _fit_spare(
    energy: float, power: float, spare: float, theta: int, adders: int, tight: _Tight
) -> tuple[int, int]:
    """Energy and spare price near the exact ones that keep comparisons with limits.

    The cover charge is a rounded share of the spare price, so three sums hang on two
    integers: what an offer compares (energy less what standing by earns) and the prices of
    firm load with and without cover. A sum that somebody finds equal to its limit is met
    first, those of buyers before those of suppliers. Where not all of them can be met, an
    offer that is indifferent between sale and stand-by is one micro-USD off.
    """
    covered = nearest(energy + power + spare * theta / PPM + adders)
    plain = nearest(energy + power + adders)
    idle = nearest(energy - spare + power)
    scarce = nearest(power)
    best: tuple[int, int, int] | None = None
    for sold in range(nearest(energy) - 1, nearest(energy) + 2):
        for held in range(max(0, nearest(spare) - 3), nearest(spare) + 4):
            price = sold + scarce + adders
            cost = (
                abs(price + share_ppm(held, theta) - covered) * (_HARD if tight.covered else 1)
                + abs(price - plain) * (_HARD if tight.plain else 1)
                + abs(sold - held + scarce - idle) * (_FIRM if tight.idle else 1)
            )
            key = (cost, abs(held - nearest(spare)), sold * _FAR + held)
            if best is None or key < best:
                best = key
    if best is None:
        message = "no candidate prices"
        raise InvariantError(message)
    return divmod(best[2], _FAR)


def _ranges(
    model: Model, parts: list[_Parts], spec: AuctionSpec, whole: Integers
) -> list[tuple[int, int]]:
    """Lowest and highest energy price that the step orders allow, the other prices held."""
    market, layout, grid = model.market, model.layout, model.market.grid
    low = [int(spec.price_floor)] * len(parts)
    high = [int(spec.price_cap)] * len(parts)
    for column, group in enumerate(market.supply):
        place = grid.at(group.pool, group.interval)
        asked = group.price + (parts[place].recall if group.recallable else 0)
        if whole[column] > 0:
            low[place] = max(low[place], asked)
        if whole[column] < group.nodes:
            high[place] = min(high[place], asked)
    for position, group_at in enumerate(layout.delivery_group):
        demand = market.demand[group_at]
        pool = layout.delivery_pool[position]
        place = grid.at(pool, demand.interval)
        value = demand.values[demand.pools.index(pool)]
        net = value - _adders(market, parts[place], pool, demand.product)
        nodes = int(whole[layout.delivery + position])
        if nodes > 0:
            high[place] = min(high[place], net)
        if len(demand.pools) == 1 and nodes * grid.pools[pool].chips_per_node < demand.chips:
            low[place] = max(low[place], net)
    return [
        (min(first, part.energy), max(last, part.energy))
        for first, last, part in zip(low, high, parts, strict=True)
    ]


def _adders(market: Market, part: _Parts, pool: int, product: Product) -> int:
    """What a product pays beside the energy price."""
    total = market.grid.charge[pool] + part.power
    if product is Product.COVERED:
        total += part.cover
    if product in RECALLED:
        total -= part.recall
    if product is Product.RECLAIMABLE:
        total -= part.availability
    return total
