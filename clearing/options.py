"""Every way to accept a block bid, whether it has room or not: what best responses choose from.

The market keeps alternatives that could be chosen; lost opportunity at the prices and the bound
of the certificate are defined by the orders, and so is this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from clearing.columns import (
    Flags,
    Integers,
    column,
    divide_up_each,
    expand,
    group,
    integers,
    least_in_windows,
    starts,
    take,
)
from clearing.layout import Layout
from clearing.market import NONE, RECALLED, Market, Product
from clearing.types import Book
from clearing.units import PPM
from clearing.venues import read_venues


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Options:
    """Options of block bids, sorted by (order, pool, first, backup); quantities are chips.

    Attributes:
        order, pool, first, backup: What is chosen.
        slot: Slot of the layout that it would use, or ``NONE``.
        value: All-in limit per chip.
        least: Least fill, up to whole nodes of the pool.
        kept: Restart cost kept, micro-USD per chip.
        start: Options of each order, ragged.
        chips, duration, product: Per order.
        profile_start, profile: Chips per interval of the run, ragged; empty for a flat block.
    """

    order: Integers
    pool: Integers
    first: Integers
    backup: Integers
    slot: Integers
    value: Integers
    least: Integers
    kept: Integers
    start: Integers
    chips: Integers
    duration: Integers
    product: Integers
    profile_start: Integers
    profile: Integers

    @property
    def shaped(self) -> Flags:
        """Orders with a profile."""
        shaped: Flags = np.diff(self.profile_start) > 0
        return shaped


def read_options(book: Book, market: Market, layout: Layout) -> Options:
    """Options of the block bids of a canonical book."""
    grid, blocks = market.grid, book.block_bids
    venues = read_venues(replace(book, step_bids=(), work_bids=()), grid)
    earliest, latest, duration, chips, fill, price, cost = (
        column(attrgetter(name), blocks)
        for name in (
            "earliest_start",
            "latest_start",
            "duration",
            "chips",
            "min_fill_ppm",
            "limit_price",
            "restart_cost",
        )
    )
    bid = np.arange(len(blocks))
    at, way = take(venues.way_start, venues.ways(bid))
    row, late = expand((latest - earliest + 1)[at])
    order, way = at[row], way[row]
    pool, backup, first = venues.way_pool[way], venues.way_backup[way], earliest[order] + late
    if (backup != NONE).any():
        ranked = group(order, pool, first, backup).order
        order, pool, backup, first = (c[ranked] for c in (order, pool, backup, first))
    initial = integers(grid.position.get(block.initial_pool_id, NONE) for block in blocks)
    until = column(attrgetter("runs_until"), blocks)
    stays = (initial[order] == pool) & (first == until[order])
    profiles = [block.profile for block in blocks]
    slots = np.full((len(grid.site_ids), len(grid.pools) + 1), NONE, dtype=np.int64)
    slots[layout.slot_site, layout.slot_pool] = np.arange(layout.slot_site.size)
    node = grid.node[pool]
    return Options(
        order=order,
        pool=pool,
        first=first,
        backup=backup,
        slot=slots[grid.site[pool], backup],
        value=venues.values(order, price[order], pool),
        # Chips <= 1e8 and a share <= 1e6: below 1e14.
        least=divide_up_each(divide_up_each(chips * fill, PPM)[order], node) * node,
        kept=np.where(stays, cost[order], 0),
        start=starts(np.bincount(order, minlength=len(blocks))),
        chips=chips,
        duration=duration,
        product=venues.product,
        profile_start=starts(column(len, profiles)),
        profile=integers(entry for profile in profiles for entry in profile),
    )


def room_of(market: Market, options: Options) -> Integers:
    """Most chips that some outcome could deliver to each option; below its least, none can.

    The published rule: what offers and links bring into the pool (with released base load for
    whom that may serve), as far as the power that base load leaves carries it, less the whole
    nodes that cover a covered block's least and base load; for SITE cover the backup pool must
    carry as much. A block with a profile has room for all of it or for nothing.
    """
    grid = market.grid
    brought = market.offered + inflow_of(market)
    firm, recalled = carried(market, brought), carried(market, brought + market.released)
    product, duration = options.product[options.order], options.duration[options.order]
    place = options.pool * grid.intervals + options.first
    shaped: Flags = options.shaped[options.order]
    flat = ~shaped
    room = options.chips[options.order].copy()
    rows = np.flatnonzero(flat & np.isin(product, RECALLED))
    room[rows] = least_in_windows(recalled, place[rows], duration[rows])
    rows = np.flatnonzero(flat & ~np.isin(product, RECALLED))
    room[rows] = least_in_windows(firm, place[rows], duration[rows])
    based: Flags = np.any(market.base.covered.reshape(-1, grid.intervals) > 0, axis=1)
    covered = np.flatnonzero(flat & (product == Product.COVERED))
    on_base: Flags = based[options.pool[covered]]
    rows = covered[~on_base]
    room[rows] -= _standby(market, options.least[rows], place[rows], base=False)
    rows = covered[on_base]
    at, offset = expand(duration[rows])
    spot = place[rows][at] + offset
    left = firm[spot] - _standby(market, options.least[rows][at], spot, base=True)
    room[rows] = np.minimum.reduceat(left, starts(duration[rows])[:-1]) if rows.size else left
    rows = np.flatnonzero(flat & (options.backup != NONE))
    backup = options.backup[rows] * grid.intervals + options.first[rows]
    room[rows] = np.minimum(room[rows], least_in_windows(firm, backup, duration[rows]))
    room = np.minimum(room, options.chips[options.order])
    rows = np.flatnonzero(~flat)
    at, entry = take(options.profile_start, options.order[rows])
    spot = place[rows][at] + entry - options.profile_start[options.order[rows]][at]
    kind, wanted = product[rows][at], options.profile[entry]
    most = np.where(np.isin(kind, RECALLED), recalled[spot], firm[spot])
    standby = _standby(market, wanted, spot, base=True)
    over = wanted > most - np.where(kind == Product.COVERED, standby, 0)
    room[rows[np.bincount(at[over], minlength=rows.size) > 0]] = NONE
    return room


def chips_carried(market: Market) -> Integers:
    """Chips that could be delivered at most, released base load included, per place."""
    return carried(market, market.offered + inflow_of(market) + market.released)


def inflow_of(market: Market) -> Integers:
    """Nodes that links can bring into each place at most."""
    grid, links = market.grid, market.links
    into = np.zeros((len(grid.pools), grid.intervals), dtype=np.int64)
    np.add.at(into, links.target, np.maximum(0, links.most))
    np.add.at(into, links.source, np.maximum(0, -links.least))
    return into.reshape(-1)


def carried(market: Market, nodes: Integers) -> Integers:
    """Chips of these nodes that site power carries beside base load, per place."""
    grid, base = market.grid, market.base
    drawn = np.zeros((len(grid.site_ids), grid.intervals), dtype=np.int64)
    # Watts of a chip <= 1e9 and chips <= 1e8: below 2**63 for ninety orders at the limit.
    np.add.at(drawn, grid.site, base.chips.reshape(-1, grid.intervals) * grid.power[:, None])
    left = np.maximum(0, grid.power_limit[:, None] - drawn)[grid.site]
    bound = (grid.power_limit[grid.site] != NONE) & (grid.power > 0)
    most = left // np.maximum(1, grid.power)[:, None]
    chips = nodes.reshape(-1, grid.intervals) * grid.node[:, None]
    carried: Integers = np.where(bound[:, None], np.minimum(chips, most), chips)
    return carried.reshape(-1)


def _standby(market: Market, chips: Integers, places: Integers, *, base: bool) -> Integers:
    """Chips in whole nodes that cover so many covered chips, with base load's there."""
    grid = market.grid
    pool = places // grid.intervals
    covered = chips + market.base.covered[places] if base else chips
    node = grid.node[pool]
    needed = divide_up_each(covered * grid.theta[pool], PPM)
    return divide_up_each(needed, node) * node
