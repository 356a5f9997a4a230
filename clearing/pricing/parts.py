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

from clearing.market import RECALLED, Market, Product
from clearing.model import Model
from clearing.nodes import Quantities
from clearing.outcome import PoolPrice
from clearing.pricing.price_choice import Duals
from clearing.program import Integers
from clearing.types import AuctionSpec
from clearing.units import PPM, MicroUsdPerChipHour, divide_half_even, share_ppm

_NOISE: Final = 1e-3
"""Micro-USD: far above solver noise, far below anything that money sees."""


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
    duals: Duals,
    spec: AuctionSpec,
    surcharges: tuple[int, ...],
    quantities: Quantities,
) -> tuple[PoolPrice, ...]:
    """One price per pool and interval, sorted.

    Args:
        model: Where each price belongs.
        duals: Chosen prices, exact.
        spec: Floor, cap and fee.
        surcharges: Community surcharge per pool position.
        quantities: Awards; a pool and interval without any has an indicative price.
    """
    grid = model.market.grid
    parts = [
        _round(duals, place, grid.pools[place // grid.intervals].node_spare_ppm)
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


def _round(duals: Duals, place: int, theta: int) -> _Parts:
    energy, power = float(duals.energy[place]), float(duals.power[place])
    spare = float(duals.spare[place])
    recall, availability = float(duals.recall[place]), float(duals.availability[place])
    sold = nearest(energy)
    plain = nearest(energy + power)
    recalled = nearest(energy + power - recall)
    reclaimed = nearest(energy + power - recall - availability)
    covered = nearest(energy + power + spare * theta / PPM)
    held = _spare_for(nearest(spare), covered - plain, theta)
    return _Parts(
        energy=sold,
        power=max(0, plain - sold),
        spare=held,
        cover=share_ppm(held, theta),
        availability=max(0, recalled - reclaimed),
        recall=max(0, plain - recalled),
    )


def _spare_for(spare: int, cover: int, theta: int) -> int:
    """Spare price nearest to ``spare`` whose share theta is ``cover``, where there is one."""
    if theta == 0 or spare <= 0:
        return 0
    if share_ppm(spare, theta) == cover:
        return spare
    wanted = max(0, divide_half_even(cover * PPM, theta))
    return wanted if share_ppm(wanted, theta) == cover else spare


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
