"""Published prices: rounded parts, their all-in sums, and the range that awards allow."""

from __future__ import annotations

from clearing.model import Model
from clearing.nodes import Quantities
from clearing.outcome import PoolPrice
from clearing.pricing.rounding import Parts, adders
from clearing.program import Integers
from clearing.types import AuctionSpec
from clearing.units import MicroUsdPerChipHour


def publish(
    model: Model,
    parts: tuple[Parts, ...],
    spec: AuctionSpec,
    surcharges: tuple[int, ...],
    quantities: Quantities,
) -> tuple[PoolPrice, ...]:
    """One price per pool and interval, sorted.

    Args:
        model: Where each price belongs.
        parts: Rounded prices.
        spec: Floor, cap and fee.
        surcharges: Community surcharge per pool position.
        quantities: Awards; a pool and interval without any has an indicative price.
    """
    grid = model.market.grid
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


def _ranges(
    model: Model, parts: tuple[Parts, ...], spec: AuctionSpec, whole: Integers
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
        net = value - adders(market, parts[place], pool, demand.product)
        nodes = int(whole[layout.delivery + position])
        if nodes > 0:
            high[place] = min(high[place], net)
        if len(demand.pools) == 1 and nodes * grid.pools[pool].chips_per_node < demand.chips:
            low[place] = max(low[place], net)
    return [
        (min(first, part.energy), max(last, part.energy))
        for first, last, part in zip(low, high, parts, strict=True)
    ]
