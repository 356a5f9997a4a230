"""A market as the flat arrays of ``problem``: integers to floats, micro-USD to US dollars."""

from __future__ import annotations

from typing import Final

import numpy as np

from clearing.market import NONE, RECALLED, Blocks, Demand, Flags, Integers, Market, Product
from clearing.program import Floats
from clearing.search.coordinate.curves import Curves, sort_curves
from clearing.search.coordinate.problem import (
    COVERED,
    RECALL,
    RECLAIM,
    Baskets,
    Flows,
    Picks,
    Places,
    Problem,
    Units,
)
from clearing.units import MICRO_USD_PER_USD, PPM, SECONDS_PER_HOUR

TABLE: Final = np.zeros(len(Product), dtype=np.int64)
TABLE[Product.COVERED] = COVERED
TABLE[Product.RECALLABLE] = RECALL
TABLE[Product.RECLAIMABLE] = RECLAIM

_WATTS_PER_KILOWATT: Final = 1_000
_PRICE_SHARE_MIN: Final = 0.2
"""A place cheaper than this share of the median still moves at this scale."""


def read_problem(
    market: Market, short: Floats | None = None, backing_short: Floats | None = None
) -> Problem:
    """The arrays of a market.

    Args:
        market: What can be sold, bought and chosen.
        short: Shortage of NODE cover per place, chips: taken out of the row.  # (places,)
        backing_short: Shortage of named backups.  # (backed,)
    """
    slots = slots_of(market)
    slot_row = _used_slots(market, slots)
    supply, released = _supply(market)
    places = _places(market, slots, slot_row, supply, short)
    return Problem(
        places=places,
        supply=supply,
        released=released,
        baskets=_baskets(market, slots, places),
        picks=_picks(market, slots),
        units=_units(market),
        flows=_flows(market, slots, places, backing_short),
        work_chips=market.demand.work_chips.astype(np.float64),
    )


def dollars(price: Integers) -> Floats:
    """Micro-USD as US dollars."""
    return price / MICRO_USD_PER_USD


def chips_per_node(market: Market) -> Integers:
    """Chips of a node per place."""
    return market.grid.node.repeat(market.grid.intervals)


def slots_of(market: Market) -> Integers:
    """(lost site, backup pool) pairs in use, as ``site * pools + pool``, sorted."""
    grid, demand, blocks, base = market.grid, market.demand, market.blocks, market.base
    pools = len(grid.pools)
    arcs = demand.arc_backup != NONE
    runs = blocks.backup != NONE
    held = np.diff(base.backed_start)
    home = base.backed_place // grid.intervals
    keys = np.concatenate(
        (
            grid.site[demand.arc_pool[arcs]] * pools + demand.arc_backup[arcs],
            grid.site[blocks.pool[runs]] * pools + blocks.backup[runs],
            grid.site[home].repeat(held) * pools + base.backed_pool,
        )
    )
    return np.unique(keys)


def _slot_of(market: Market, slots: Integers, pool: Integers, backup: Integers) -> Integers:
    """Position of the slot of each (pool, backup), or ``NONE`` without a backup."""
    found = np.full(pool.size, NONE, dtype=np.int64)
    named = backup != NONE
    keys = market.grid.site[pool[named]] * len(market.grid.pools) + backup[named]
    found[named] = np.searchsorted(slots, keys)
    return found


def _used_slots(market: Market, slots: Integers) -> Integers:
    """Number of each slot and interval that an order or nomination may use, or ``NONE``.

    Those with the same backup pool and interval follow one another.
    """
    grid, demand, blocks, base = market.grid, market.demand, market.blocks, market.base
    width = grid.intervals + 1
    edges = np.zeros(slots.size * width, dtype=np.int64)
    arc = _slot_of(market, slots, demand.arc_pool, demand.arc_backup)
    used = arc != NONE
    at = arc[used] * width + demand.interval[demand.arc_cell[used]]
    run = _slot_of(market, slots, blocks.pool, blocks.backup)
    named = run != NONE
    held = np.diff(base.backed_start)
    home = base.backed_place.repeat(held)
    backing = _slot_of(market, slots, home // grid.intervals, base.backed_pool)
    named_at = backing * width + home % grid.intervals
    for first, stop in (
        (at, at + 1),
        (run[named] * width + blocks.first[named], run[named] * width + blocks.stop[named]),
        (named_at, named_at + 1),
    ):
        np.add.at(edges, first, 1)
        np.add.at(edges, stop, -1)
    inside = edges.reshape(slots.size, width).cumsum(axis=1)[:, :-1].ravel() > 0
    there = np.flatnonzero(inside)
    backup = slots[there // grid.intervals] % len(grid.pools)
    order = np.argsort(backup * grid.intervals + there % grid.intervals, kind="stable")
    found = np.full(inside.size, NONE, dtype=np.int64)
    found[there[order]] = np.arange(there.size)
    return found


def _supply(market: Market) -> tuple[Curves, Curves]:
    """Divisible supply and released base load by place."""
    supply, places = market.supply, market.grid.places
    chips = (supply.nodes * chips_per_node(market)[supply.place]).astype(np.float64)
    price = dollars(supply.price)
    plain = (supply.unit == NONE) & ~supply.released
    back = supply.released
    return (
        sort_curves(places, supply.place[plain], price[plain], chips[plain]),
        sort_curves(places, supply.place[back], price[back], chips[back]),
    )


def _places(
    market: Market, slots: Integers, slot_row: Integers, supply: Curves, short: Floats | None
) -> Places:
    grid, base = market.grid, market.base
    pools, intervals, places = len(grid.pools), grid.intervals, grid.places
    theta = (grid.theta / PPM).repeat(intervals)
    offered = supply.amount[supply.start[1:] + np.arange(places)]
    limited = grid.power_limit != NONE
    row_of_site = np.where(limited, limited.cumsum() - 1, NONE)
    site_row = row_of_site[grid.site][:, None] * intervals + np.arange(intervals)
    limit_of = np.where(limited[grid.site][:, None], site_row, NONE).ravel()
    kilowatts = (grid.power / _WATTS_PER_KILOWATT).repeat(intervals)
    rows = int(limited.sum()) * intervals
    room = (grid.power_limit[limited] / _WATTS_PER_KILOWATT).repeat(intervals)
    bound = limit_of != NONE
    room = room - np.bincount(
        limit_of[bound], weights=(kilowatts * base.chips)[bound], minlength=rows
    )
    covered = _covered(market) & (theta > 0)
    recalled = np.isin(np.arange(pools), slots % pools).repeat(intervals) | (market.released > 0)
    used = int((slot_row != NONE).sum())
    at_slot = 3 * places
    at_power = at_slot + used
    at_work = at_power + rows
    size = at_work + market.demand.work_chips.size
    floor = np.zeros(size)
    if market.equal_balance:
        floor[:places] = -np.inf
    opened = np.ones(size, dtype=np.bool_)
    opened[places : 2 * places] = covered
    opened[2 * places : at_slot] = market.released > 0
    opened[at_power:at_work] = (
        np.bincount(limit_of[bound], weights=kilowatts[bound], minlength=rows)[:rows] > 0
    )
    slot_pool = slots % pools
    total = (market.offered + market.released) * chips_per_node(market) + 1.0
    depth = np.ones(size)
    depth[:places] = total
    depth[places : 2 * places] = total
    depth[2 * places : at_slot] = total
    backup_place = (slot_pool[:, None] * intervals + np.arange(intervals)).ravel()
    there = slot_row != NONE
    depth[at_slot + slot_row[there]] = total[backup_place[there]]
    row_start = np.full(places + 1, at_slot, dtype=np.int64)
    row_start[1:] += np.cumsum(np.bincount(backup_place[there], minlength=places))
    depth[at_power:at_work] = np.maximum(1.0, room)
    depth[at_work:] = np.maximum(1.0, market.demand.work_chips)
    return Places(
        pools=pools,
        intervals=intervals,
        at_slot=at_slot,
        at_power=at_power,
        at_work=at_work,
        size=size,
        theta=theta,
        kilowatts=kilowatts,
        limit_of=limit_of,
        offered=offered,
        recalled=recalled,
        row_start=row_start,
        slot_pool=slot_pool,
        slot_row=np.where(slot_row != NONE, slot_row + at_slot, NONE),
        base_cover=theta * base.covered - (0.0 if short is None else short),
        room=np.maximum(0.0, room),
        open=opened,
        floor=floor,
        ref=np.ones(size),
        depth=depth,
    )


def _covered(market: Market) -> Flags:
    """Places where somebody may want NODE cover."""
    grid, demand, blocks = market.grid, market.demand, market.blocks
    found = market.base.covered > 0
    arcs = demand.product[demand.arc_cell] == Product.COVERED
    found[demand.arc_place[arcs]] = True
    runs = blocks.product == Product.COVERED
    width = grid.intervals + 1
    edges = np.zeros(len(grid.pools) * width, dtype=np.int64)
    np.add.at(edges, blocks.pool[runs] * width + blocks.first[runs], 1)
    np.add.at(edges, blocks.pool[runs] * width + blocks.stop[runs], -1)
    inside = edges.reshape(len(grid.pools), width).cumsum(axis=1)[:, :-1].ravel() > 0
    found |= inside
    return found


def _baskets(market: Market, slots: Integers, places: Places) -> Baskets:
    demand = market.demand
    net = dollars(demand.arc_value - market.grid.charge[demand.arc_pool])
    cells = demand.interval.size
    count = np.bincount(demand.arc_cell, minlength=cells)
    start = np.zeros(cells + 1, dtype=np.int64)
    np.cumsum(count, out=start[1:])
    basket = _same_ways(demand, market.grid.charge, start)
    first = np.full(int(basket.max(initial=-1)) + 1, cells, dtype=np.int64)
    np.minimum.at(first, basket, np.arange(cells))
    arcs_start = np.zeros(first.size + 1, dtype=np.int64)
    np.cumsum(count[first], out=arcs_start[1:])
    arc = (start[first] - arcs_start[:-1]).repeat(count[first]) + np.arange(arcs_start[-1])
    lead = start[first].repeat(count[first])
    slot = _slot_of(market, slots, demand.arc_pool[arc], demand.arc_backup[arc])
    slot_at = slot * market.grid.intervals + demand.interval[demand.arc_cell[arc]]
    row = (
        np.where(slot == NONE, NONE, places.slot_row[np.where(slot == NONE, 0, slot_at)])
        if (places.slot_row.size)
        else np.full(arc.size, NONE, dtype=np.int64)
    )
    limit = net[start[:-1]] if cells else np.zeros(0)
    steps = demand.work == NONE
    chips = demand.chips.astype(np.float64)
    weight = np.bincount(basket, weights=chips, minlength=first.size)
    worth = np.bincount(basket, weights=chips * np.abs(limit), minlength=first.size)
    scale = np.maximum(worth / np.maximum(weight, 1e-9), 1e-3)
    work = np.flatnonzero(~steps)
    work = work[np.argsort(basket[work], kind="stable")]
    work_start = np.zeros(first.size + 1, dtype=np.int64)
    np.cumsum(np.bincount(basket[work], minlength=first.size), out=work_start[1:])
    return Baskets(
        start=arcs_start,
        table=TABLE[demand.product[demand.arc_cell[arc]]],
        place=demand.arc_place[arc],
        row=row,
        offset=net[lead] - net[arc],
        scale=scale,
        step_curve=sort_curves(first.size, basket[steps], -limit[steps], chips[steps]),
        work_start=work_start,
        work_value=limit[work],
        work_rate=chips[work],
        work_group=demand.work[work],
    )


def _same_ways(demand: Demand, charge: Integers, start: Integers) -> Integers:
    """Basket of each cell: equal product, arcs and differences of value, by first appearance.

    Cells are told apart by a 64-bit sum over their arcs; that equal sums mean equal arcs is
    checked, and a cell that differs from the first of its sum gets a basket of its own.
    """
    cells = demand.interval.size
    if cells == 0:
        return np.zeros(0, dtype=np.int64)
    cell = demand.arc_cell
    net = demand.arc_value - charge[demand.arc_pool]
    offset = net - net[start[:-1]][cell]
    position = np.arange(cell.size) - start[:-1][cell]
    ways = np.stack((position, demand.arc_place, demand.arc_backup, offset, demand.product[cell]))
    mixed = np.zeros(cell.size, dtype=np.uint64)
    for part in ways:
        mixed = (mixed ^ part.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    sums = np.add.reduceat(mixed, start[:-1])
    _, first, basket = np.unique(sums, return_index=True, return_inverse=True)
    lead = first[basket]
    same = np.diff(start)[lead] == np.diff(start)
    like = np.minimum(start[lead][cell] + position, cell.size - 1)
    equal = (ways == ways[:, like]).all(axis=0)
    same &= np.logical_and.reduceat(equal, start[:-1])
    lead = np.where(same, lead, np.arange(cells))
    leads = np.zeros(cells, dtype=np.int64)
    leads[lead] = 1
    numbered: Integers = leads.cumsum()[lead] - 1
    return numbered


def _picks(market: Market, slots: Integers) -> Picks:
    blocks, grid = market.blocks, market.grid
    picks = blocks.pick_parent.size
    pick = blocks.pick_of_order[blocks.order]
    source = np.argsort(pick, kind="stable")
    start = np.zeros(picks + 1, dtype=np.int64)
    np.cumsum(np.bincount(pick, minlength=picks), out=start[1:])
    node = grid.node[blocks.pool]
    least = blocks.least * node
    most = blocks.most * node
    length = blocks.stop - blocks.first
    hours = grid.duration_s / SECONDS_PER_HOUR
    volume = (most * length).astype(np.float64)
    shape_chips, volume, shape = _shapes(blocks, node, volume)
    net = dollars(blocks.value - grid.charge[blocks.pool])
    kept = dollars(blocks.kept) * most / hours
    worth = net * volume + kept
    scale = np.zeros(picks)
    np.maximum.at(scale, pick, dollars(blocks.value) * volume + kept)
    product = blocks.product[source]
    extra_table = TABLE[product]
    least_table = np.where(np.isin(product, RECALLED), RECALL, extra_table)
    pool, first = blocks.pool[source], blocks.first[source]
    slot = _slot_of(market, slots, blocks.pool, blocks.backup)[source]
    width = grid.intervals + 1
    low = (least_table * len(grid.pools) + pool) * width + first
    rest = (extra_table - least_table) * len(grid.pools) * width
    extra = (most - least)[source].astype(np.float64)
    parented = blocks.pick_parent != NONE
    linked = parented.copy()
    linked[blocks.pick_of_order[blocks.pick_parent[parented]]] = True
    plain = (shape == NONE)[source] & (slot == NONE) & ((rest == 0) | (extra == 0))
    simple = ~linked
    simple[pick[source][~plain]] = False
    return Picks(
        start=start,
        down=_parents_first(blocks, linked),
        parent=blocks.pick_parent,
        linked=linked,
        simple=simple,
        scale=np.maximum(scale, 1e-6),
        low=low.astype(np.int32),
        high=(low + length[source]).astype(np.int32),
        rest=rest.astype(np.int32),
        chips=most[source].astype(np.float64),
        worth=worth[source],
        plain=plain,
        order=blocks.order[source],
        pool=pool,
        first=first,
        stop=blocks.stop[source],
        slot=slot,
        least=least[source].astype(np.float64),
        extra=extra,
        table=least_table,
        shape=shape[source],
        shape_chips=shape_chips,
        source=source,
        orders=blocks.pick_of_order.size,
    )


def _shapes(blocks: Blocks, node: Integers, volume: Floats) -> tuple[Floats, Floats, Integers]:
    """Chips of every profile, chip-intervals of every alternative, and where a profile starts.

    Alternatives may share a profile in nodes and differ in chips of a node: each gets its own.
    """
    shaped = np.flatnonzero(blocks.shape != NONE)
    start = np.full(blocks.shape.size, NONE, dtype=np.int64)
    parts: list[Floats] = []
    volume = volume.copy()
    at = 0
    for alternative in shaped.tolist():
        length = int(blocks.stop[alternative] - blocks.first[alternative])
        first = int(blocks.shape[alternative])
        nodes: Integers = blocks.shape_nodes[first : first + length]
        chips: Floats = (nodes * node[alternative]).astype(np.float64)
        start[alternative] = at
        volume[alternative] = chips.sum()
        parts.append(chips)
        at += length
    return (np.concatenate(parts) if parts else np.zeros(0)), volume, start


def _parents_first(blocks: Blocks, linked: Flags) -> Integers:
    """Linked picks by their distance from the root of their tree, then by position."""
    depth = np.zeros(blocks.pick_parent.size, dtype=np.int64)
    child = np.flatnonzero(blocks.pick_parent != NONE)
    above = blocks.pick_of_order[blocks.pick_parent[child]]
    for _ in range(child.size):
        deeper = depth[above] + 1
        if (depth[child] == deeper).all():
            break
        depth[child] = deeper
    order = np.argsort(depth, kind="stable")
    return order[linked[order]]


def _units(market: Market) -> Units:
    grid, units, supply = market.grid, market.units, market.supply
    hours = grid.duration_s / SECONDS_PER_HOUR
    node = grid.node[units.pool]
    held = np.flatnonzero(supply.unit != NONE)
    interval = supply.place[held] % grid.intervals
    row = supply.unit[held] * grid.intervals + interval
    chips = (supply.nodes * chips_per_node(market)[supply.place])[held].astype(np.float64)
    curves = sort_curves(units.offer.size * grid.intervals, row, dollars(supply.price[held]), chips)
    offered = units.offered * node[:, None]
    scale = np.bincount(supply.unit[held], weights=curves_money(curves), minlength=units.offer.size)
    return Units(
        pool=units.pool,
        whole=units.whole,
        min_run=units.min_run,
        start_up=dollars(units.start_up) / hours,
        no_load=dollars(units.no_load) / hours,
        start=curves.start,
        price=curves.price,
        chips=curves.chips,
        least=(units.least * node[:, None]).ravel().astype(np.float64),
        offered=offered.ravel().astype(np.float64),
        scale=np.maximum(1e-3, scale / grid.intervals),
    )


def curves_money(curves: Curves) -> Floats:
    """Chips times price of every step."""
    return curves.price * curves.chips


def _flows(market: Market, slots: Integers, places: Places, backing_short: Floats | None) -> Flows:
    grid, links, base = market.grid, market.links, market.base
    at = np.arange(grid.intervals)
    node = grid.node[links.source][:, None]
    held = np.diff(base.backed_start)
    home = base.backed_place.repeat(held)
    slot = _slot_of(market, slots, home // grid.intervals, base.backed_pool)
    chips = base.backed_chips.astype(np.float64)
    if backing_short is not None:
        chips = chips - backing_short
    return Flows(
        source=(links.source[:, None] * grid.intervals + at).ravel(),
        target=(links.target[:, None] * grid.intervals + at).ravel(),
        least=(links.least * node).ravel().astype(np.float64),
        most=(links.most * node).ravel().astype(np.float64),
        backed_chips=chips,
        backed_start=base.backed_start,
        backed_row=places.slot_row[slot * grid.intervals + home % grid.intervals],
    )
