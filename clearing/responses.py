"""Best responses of the market at given charges: what every order could gain on its own.

At the certificate's multipliers their sum is the bound that weak duality proves; at the
published prices, less what orders did gain, it is the lost opportunity. Equal steps are
one group, so the work does not grow with the number of equal orders. The published rule is
written down in ``clearing.verify_bound``, which computes the same from the orders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from clearing.accounts import least_of, price_for
from clearing.market import RECALLED, Market, Product, cover_chips, value_in
from clearing.outcome import PoolPrice
from clearing.types import BlockBid
from clearing.units import PPM

Series = list[int]
"""One entry per (pool, interval), flat."""


Room = dict[bool, Series]
"""Most chips that a pool could deliver, to those that can be recalled (True) and to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipliers:
    """Certificate duals as integers: micro-USD per chip-hour, flat per (pool, interval).

    Attributes:
        power: Micro-USD per kilowatt-hour, flat per (site, interval).
    """

    energy: Series
    spare: Series
    recall: Series
    reclaim: Series
    power: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """What a chip pays or earns per (pool, interval), times ``scale``.

    Attributes:
        bought: All-in charge per product, with running sums per pool in ``runs``.
        unreclaimed: What a chip of a reclaimable block's minimum pays on top.
        sold: What supply earns; ``released`` what released base load does.
        idle: What a chip held in reserve earns; may be negative.
    """

    scale: int
    bought: dict[Product, Series]
    runs: dict[Product, Series]
    unreclaimed: Series
    sold: Series
    released: Series
    idle: Series


def charges_at_prices(prices: tuple[PoolPrice, ...], intervals: int) -> Charges:
    """Published prices as charges."""
    bought = {product: [price_for(product, price) for price in prices] for product in Product}
    return Charges(
        scale=1,
        bought=bought,
        runs={product: _runs(series, intervals) for product, series in bought.items()},
        unreclaimed=[price.availability for price in prices],
        sold=[price.energy for price in prices],
        released=[price.energy - price.recall_discount for price in prices],
        idle=[price.spare - price.power for price in prices],
    )


def charges_at_multipliers(market: Market, duals: Multipliers) -> Charges:
    """Certificate duals as charges, times one million."""
    grid = market.grid
    bought: dict[Product, Series] = {product: [] for product in Product}
    idle: Series = []
    for place, energy in enumerate(duals.energy):
        at, interval = divmod(place, grid.intervals)
        pool = grid.pools[at]
        power = 1_000 * pool.chip_power * duals.power[grid.site_of[at] * grid.intervals + interval]
        plain = PPM * (energy + grid.charge[at]) + power
        recalled = plain - PPM * duals.recall[place]
        bought[Product.UNCOVERED].append(plain)
        bought[Product.UNCOUNTED].append(plain)
        bought[Product.COVERED].append(plain + pool.node_spare_ppm * duals.spare[place])
        bought[Product.RECALLABLE].append(recalled)
        bought[Product.RECLAIMABLE].append(recalled - PPM * duals.reclaim[place])
        idle.append(PPM * duals.spare[place] - power)
    return Charges(
        scale=PPM,
        bought=bought,
        runs={product: _runs(series, grid.intervals) for product, series in bought.items()},
        unreclaimed=[PPM * value for value in duals.reclaim],
        sold=[PPM * value for value in duals.energy],
        released=[
            PPM * (energy - recall)
            for energy, recall in zip(duals.energy, duals.recall, strict=True)
        ],
        idle=idle,
    )


def _runs(series: Series, intervals: int) -> Series:
    """Running sums within each pool, each with a leading zero."""
    sums: Series = []
    for first in range(0, len(series), intervals):
        sums += accumulate(series[first : first + intervals], initial=0)
    return sums


def best_total(
    market: Market, charges: Charges, blocks: Iterable[BlockBid], room: Room | None = None
) -> int:
    """Sum of the largest surpluses of all families, price-seconds times the scale."""
    total = 0
    for group in market.supply:
        place = market.grid.at(group.pool, group.interval)
        chips = group.nodes * market.grid.pools[group.pool].chips_per_node
        earned = charges.released[place] if group.recallable else charges.sold[place]
        idle = 0 if group.recallable else max(0, charges.idle[place])
        total += chips * max(earned - charges.scale * group.price, idle)
    for demand in market.demand:
        net = max(
            charges.scale * value
            - charges.bought[demand.product][market.grid.at(pool, demand.interval)]
            for pool, value in zip(demand.pools, demand.values, strict=True)
        )
        total += demand.chips * max(0, net)
    position = {name: at for at, names in enumerate(market.families) for name in names}
    best = [0] * len(market.families)
    for block in blocks:
        gain = best_of_block(market, charges, block, market.product[block.order_id], room)
        family = position[block.order_id]
        best[family] = max(best[family], gain or 0)
    return (total + sum(best)) * market.grid.duration_s


def best_of_block(
    market: Market,
    charges: Charges,
    block: BlockBid,
    product: Product,
    room: Room | None = None,
) -> int | None:
    """Largest gain of a block at full fill over its pools, per hour; None without a pool.

    May be negative. Multiply by the length of an interval for price-seconds.

    Args:
        market: Where it could run.
        charges: What a chip pays.
        block: The block; ``product`` is what it buys.
        product: See ``block``.
        room: Where given, only what a pool could deliver counts: it bounds feasible outcomes.
    """
    grid, best = market.grid, None
    for name in market.eligible[block.order_id]:
        pool = grid.position[name]
        first = pool * (grid.intervals + 1) + block.earliest_start
        charge = charges.runs[product][first + block.duration] - charges.runs[product][first]
        value = charges.scale * value_in(block, block.limit_price, grid.pools[pool])
        least, chips = least_of(block, grid.pools[pool]), int(block.chips)
        start = grid.at(pool, block.earliest_start)
        if room is not None:
            free = room[product in RECALLED][start : start + block.duration]
            if product is Product.COVERED:
                covered = market.base_covered[start : start + block.duration]
                held = [cover_chips(grid.pools[pool], least + base) for base in covered]
                free = [most - standby for most, standby in zip(free, held, strict=True)]
            chips = min(chips, *free)
            if chips < least:
                continue
        gain = chips * (value * block.duration - charge)
        if product is Product.RECLAIMABLE:
            unreclaimed = sum(charges.unreclaimed[start : start + block.duration])
            gain -= least * unreclaimed
        best = gain if best is None else max(best, gain)
    return best


def room_of(market: Market) -> Room:
    """Offered chips that site power carries beside base load; released ones if recallable."""
    grid = market.grid
    room: Room = {False: [], True: []}
    for place, nodes in enumerate(market.offered):
        at, interval = divmod(place, grid.intervals)
        pool, site = grid.pools[at], grid.site_of[at]
        limit, most = grid.power_limits[site], None
        if limit is not None and pool.chip_power:
            drawn = sum(
                market.base[grid.at(other, interval)] * grid.pools[other].chip_power
                for other in range(len(grid.pools))
                if grid.site_of[other] == site
            )
            most = max(0, limit - drawn) // pool.chip_power
        for recallable in (False, True):
            chips = (nodes + (market.released[place] if recallable else 0)) * pool.chips_per_node
            room[recallable].append(chips if most is None else min(chips, most))
    return room
