"""Published prices: rounded parts, their all-in sums, and the range that awards allow."""

from __future__ import annotations

import numpy as np

from clearing.layout import Model
from clearing.market import NONE, Flags, Integers, Product
from clearing.outcome import BackupPrice, PoolPrice
from clearing.prices import Prices
from clearing.quantities import Quantities
from clearing.types import AuctionSpec
from clearing.units import MicroUsdPerChipHour


def publish(
    model: Model,
    prices: Prices,
    spec: AuctionSpec,
    surcharge: Integers,
    quantities: Quantities,
) -> tuple[tuple[PoolPrice, ...], tuple[BackupPrice, ...]]:
    """One price per pool and interval, sorted, and the backup prices that are not zero.

    Args:
        model: Where each price belongs.
        prices: Rounded prices.
        spec: Floor, cap and fee.
        surcharge: Community surcharge per pool position, micro-USD per chip-hour.
        quantities: Awards; a place where nothing is sold or delivered has an indicative price.
    """
    grid = model.market.grid
    low, high = _ranges(model, prices, spec, quantities.nodes)
    plain = prices.paid(grid, Product.UNCOVERED)
    columns = {
        "energy": prices.energy,
        "power": prices.power,
        "node_cover": prices.node_cover,
        "spare": prices.spare,
        "availability": prices.availability,
        "recall_discount": prices.recall,
        "surcharge": surcharge.repeat(grid.intervals),
        "fee": np.full(grid.places, int(spec.operator_fee), dtype=np.int64),
        "firm": prices.paid(grid, Product.COVERED),
        "firm_uncovered": plain,
        "interruptible": prices.paid(grid, Product.RECLAIMABLE),
        "interruptible_uncounted": plain,
        "low": low,
        "high": high,
        "site_spare": prices.site_spare,
    }
    pool_ids = [pool.pool_id for pool in grid.pools for _ in range(grid.intervals)]
    interval = np.tile(np.arange(grid.intervals), len(grid.pools)).tolist()
    indicative = (~quantities.active).tolist()
    names = tuple(columns)
    rows = zip(*(columns[name].tolist() for name in names), strict=True)
    published = tuple(
        PoolPrice(
            pool_id=pool_id,
            interval=at,
            indicative=silent,
            **dict(zip(names, row, strict=True)),
        )
        for pool_id, at, silent, row in zip(pool_ids, interval, indicative, rows, strict=True)
    )
    return published, _backup_prices(model, prices)


def _backup_prices(model: Model, prices: Prices) -> tuple[BackupPrice, ...]:
    grid, layout = model.market.grid, model.layout
    found = []
    for row in np.flatnonzero(prices.backup).tolist():
        slot, interval = divmod(row, grid.intervals)
        found.append(
            BackupPrice(
                site_id=grid.site_ids[layout.slot_site[slot]],
                pool_id=grid.pools[layout.slot_pool[slot]].pool_id,
                interval=interval,
                price=MicroUsdPerChipHour(int(prices.backup[row])),
            )
        )
    return tuple(sorted(found, key=lambda price: (price.site_id, price.pool_id, price.interval)))


def _ranges(
    model: Model, prices: Prices, spec: AuctionSpec, nodes: Integers
) -> tuple[Integers, Integers]:
    """Lowest and highest energy price that the step orders allow, the other prices held.

    An offer's step with chips sold wants at least its price, one with chips left at most; a
    bid's step served wants at most its limit less the other parts of its price, and one left
    short in its only pool at least. Offers with commitments and work bids have no say: they
    sell below their price, or wait for a better one, for reasons of other intervals.
    """
    supply, demand, grid = model.market.supply, model.market.demand, model.market.grid
    low = np.full(grid.places, int(spec.price_floor), dtype=np.int64)
    high = np.full(grid.places, int(spec.price_cap), dtype=np.int64)
    asked = supply.price + np.where(supply.released, prices.recall[supply.place], 0)
    sold, free = nodes[: asked.size], supply.unit == NONE
    some, left = free & (sold > 0), free & (sold < supply.nodes)
    np.maximum.at(low, supply.place[some], asked[some])
    np.minimum.at(high, supply.place[left], asked[left])
    cell, place = demand.arc_cell, demand.arc_place
    step = demand.work[cell] == NONE
    net = demand.arc_value - _beside_energy(model, prices)
    taken = nodes[model.layout.arc : model.layout.arc + cell.size]
    chips = taken * grid.node[demand.arc_pool]
    served, short = step & (taken > 0), _in_only_pool(model) & (chips < demand.chips[cell])
    np.minimum.at(high, place[served], net[served])
    np.maximum.at(low, place[short], net[short])
    return np.minimum(low, prices.energy), np.maximum(high, prices.energy)


def _in_only_pool(model: Model) -> Flags:
    """Arcs of bid steps that have one eligible pool; a bid with SITE cover never has."""
    market = model.market
    demand = market.demand
    steps = np.flatnonzero(demand.work == NONE)
    bid = demand.member_bid[demand.member_start[steps]]
    alone = np.zeros(demand.chips.size, dtype=np.bool_)
    alone[steps] = np.diff(market.eligible_start)[bid] == 1
    flags: Flags = alone[demand.arc_cell]
    return flags


def _beside_energy(model: Model, prices: Prices) -> Integers:
    """What a chip of each arc pays beside the energy price."""
    demand, grid = model.market.demand, model.market.grid
    product = demand.product[demand.arc_cell]
    found = np.zeros(product.size, dtype=np.int64)
    for kind in Product:
        of_kind = product == kind
        beside = prices.paid(grid, kind) - prices.energy
        found[of_kind] = beside[demand.arc_place[of_kind]]
    slot = model.layout.slot_of_arc
    backed = np.flatnonzero((product == Product.SITE) & (slot != NONE))
    interval = demand.arc_place[backed] % grid.intervals
    found[backed] += prices.backup[slot[backed] * grid.intervals + interval]
    return found
