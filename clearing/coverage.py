"""Who may ask for cover where, who may hold it, and where base load may fall short of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing.columns import Flags, Integers, divide_up_each, expand
from clearing.market import NONE, RECALLED, Market, Product
from clearing.units import PPM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coverage:
    """Places and slots that need rows; a slot is a lost site and a backup pool.

    Attributes:
        covered: Somebody may want NODE cover.  # (places,)
        counted: Covered, and interruptibles may be counted for it.
        backed: Somebody may want backup here for the loss of some site.
        site_counted: Backed, and interruptibles may be counted for it.
        ready: Nodes that offers could hold: offered, but not by supply blocks.
        short: NODE cover of base load may fall short.
        backing_short: The same for SITE cover, per row of ``base.backed_place``.
        slot_site, slot_pool: Slots, sorted.
        slot_used: Flags per slot and interval, flat.
        slot_of_arc, slot_of_alternative, slot_of_backing: Slot of each, or ``NONE``.
    """

    covered: Flags
    counted: Flags
    backed: Flags
    site_counted: Flags
    ready: Integers
    short: Flags
    backing_short: Flags
    slot_site: Integers
    slot_pool: Integers
    slot_used: Flags
    slot_of_arc: Integers
    slot_of_alternative: Integers
    slot_of_backing: Integers


def read_coverage(market: Market) -> Coverage:
    """Find the places and slots of a market where cover matters."""
    grid, demand, blocks, base = market.grid, market.demand, market.blocks, market.base
    theta = grid.theta.repeat(grid.intervals)
    covered = ((base.covered > 0) | _wanted(market, (Product.COVERED,))) & (theta > 0)
    pools = len(grid.pools)
    backed_row, _ = expand(np.diff(base.backed_start))
    backed_site = grid.site[base.backed_place[backed_row] // grid.intervals]
    codes = (
        _codes(grid.site[demand.arc_pool], demand.arc_backup, pools),
        _codes(grid.site[blocks.pool], blocks.backup, pools),
        _codes(backed_site, base.backed_pool, pools),
    )
    slots = np.unique(np.concatenate(codes))
    slots = slots[slots != NONE]
    arc, alternative, backing = (
        np.where(code == NONE, NONE, np.searchsorted(slots, code)) for code in codes
    )
    backing_time = base.backed_place[backed_row] % grid.intervals
    used = np.zeros(slots.size * grid.intervals, dtype=np.bool_)
    with_arc, with_alternative = arc != NONE, alternative != NONE
    used[(arc * grid.intervals + demand.interval[demand.arc_cell])[with_arc]] = True
    first = (alternative * grid.intervals + blocks.first)[with_alternative]
    used |= _runs(used.size, first, (blocks.stop - blocks.first)[with_alternative])
    used[backing * grid.intervals + backing_time] = True
    place_of_slot = (slots % pools)[:, None] * grid.intervals + np.arange(grid.intervals)
    backed = np.zeros(grid.places, dtype=np.bool_)
    backed[place_of_slot.reshape(-1)[used]] = True
    ready = market.offered.copy()
    unit_place = market.units.pool[:, None] * grid.intervals + np.arange(grid.intervals)
    supply_block = market.units.whole
    np.subtract.at(ready, unit_place[supply_block], market.units.offered[supply_block])
    short, backing_short = _shortages(market, backed_row, backing)
    return Coverage(
        covered=covered,
        counted=covered & _node_wise(market),
        backed=backed,
        site_counted=backed & _wanted(market, RECALLED),
        ready=ready,
        short=short & covered,
        backing_short=backing_short,
        slot_site=slots // pools,
        slot_pool=slots % pools,
        slot_used=used,
        slot_of_arc=arc,
        slot_of_alternative=alternative,
        slot_of_backing=backing,
    )


def _codes(site: Integers, backup: Integers, pools: int) -> Integers:
    return np.where(backup == NONE, NONE, site * pools + backup)


def _runs(size: int, first: Integers, length: Integers) -> Flags:
    """Flags of ``[first, first + length)`` of every run."""
    begun, ended = (np.bincount(at, minlength=size + 1) for at in (first, first + length))
    marked: Flags = (begun - ended).cumsum()[:size] > 0
    return marked


def _wanted(market: Market, products: tuple[Product, ...]) -> Flags:
    """Places where a bid may buy one of the products."""
    demand, blocks, grid = market.demand, market.blocks, market.grid
    arcs = np.isin(demand.product[demand.arc_cell], products)
    rows = np.isin(blocks.product, products)
    first = (blocks.pool * grid.intervals + blocks.first)[rows]
    found = _runs(grid.places, first, (blocks.stop - blocks.first)[rows])
    found[demand.arc_place[arcs]] = True
    return found


def _node_wise(market: Market) -> Flags:
    """Places with interruptibles that can go node by node: steps, work, fill above the least."""
    demand, blocks, grid = market.demand, market.blocks, market.grid
    rows = (blocks.product == Product.RECLAIMABLE) & (blocks.most > blocks.least)
    first = (blocks.pool * grid.intervals + blocks.first)[rows]
    found = _runs(grid.places, first, (blocks.stop - blocks.first)[rows])
    found[demand.arc_place[demand.product[demand.arc_cell] == Product.RECLAIMABLE]] = True
    return found


def _shortages(market: Market, backed_row: Integers, slot: Integers) -> tuple[Flags, Flags]:
    """Where ordinary offers held spare would not be enough for base load, whatever is traded.

    Site power may forbid to hold them, committed offers may be off, and links may have to carry
    them away: none of those is counted on.
    """
    grid, base, units, links = market.grid, market.base, market.units, market.links
    clock = np.arange(grid.intervals)
    sure = market.offered.copy()
    np.subtract.at(sure, units.pool[:, None] * grid.intervals + clock, units.offered)
    for pool, nodes in ((links.source, links.least), (links.target, -links.most)):
        np.subtract.at(sure, pool[:, None] * grid.intervals + clock, np.maximum(0, nodes))
    node = grid.node.repeat(grid.intervals)
    # Base load <= 1e8 chips and theta <= 1e6: products stay below 1e14.
    share = divide_up_each(grid.theta.repeat(grid.intervals) * base.covered, PPM)
    # The same spare serves the loss of any one site: the largest need of a pool counts.
    named = np.zeros((int(slot.max(initial=NONE)) + 1) * grid.intervals, dtype=np.int64)
    interval = base.backed_place[backed_row] % grid.intervals
    np.add.at(named, slot * grid.intervals + interval, base.backed_chips[backed_row])
    backup = base.backed_pool * grid.intervals + interval
    standing_by = np.zeros(grid.places, dtype=np.int64)
    np.maximum.at(standing_by, backup, named[slot * grid.intervals + interval])
    needed = divide_up_each(share, node) + divide_up_each(standing_by, node)
    enough = (needed <= sure) & (grid.power_limit[grid.site] == NONE).repeat(grid.intervals)
    helped = np.bincount(backed_row[enough[backup]], minlength=base.backed_place.size)
    return (share > 0) & ~enough, helped == 0
