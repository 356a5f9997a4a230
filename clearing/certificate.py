"""The certificate: multipliers of the relaxed problem, and the bound that they prove.

They are not the prices. Any duals of the right sign bound what every feasible outcome could
reach, so rounding them can loosen the bound a little and never falsify it. The bound is computed
from the market here and from the orders by the verifier. Where one set of duals leaves a gap, a
tree of fixings splits the problem, and each leaf has duals of its own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from clearing import exact
from clearing.accounts import Accounts, restart_kept, welfare
from clearing.columns import Flags, Integers, starts, take
from clearing.exact import Numbers
from clearing.families import best_of_families, forced_orders
from clearing.layout import POWER_UNIT, Choice, Model
from clearing.market import NONE
from clearing.options import Options
from clearing.order_facts import AtPrices, lost_opportunity
from clearing.outcome import Certificate, Fixing, Leaf, RowDual
from clearing.packing import Packing, RoomCharges
from clearing.program import Floats
from clearing.responses import (
    Multipliers,
    best_of_demand,
    best_of_links,
    best_of_supply,
    best_of_units,
    charges_at_multipliers,
    gains_of,
)
from clearing.search.branching import BranchLeaf
from clearing.units import MICRO_USD_PER_USD, PPM, PriceSeconds, divide_up
from clearing.whole_cover import whole_cover

_DUAL_MAX: Final = 10**12
"""Micro-USD: larger duals are cut to it, so that every charge fits 63 bits."""

_ROOM_MAX: Final = 10**15
"""The same for charges of whole orders, micro-USD per hour."""


def certify(
    at_prices: AtPrices, choice: Choice, branches: tuple[BranchLeaf, ...] = ()
) -> Certificate:
    """Welfare of the awards, a bound on any, and the lost opportunity at the prices.

    Args:
        at_prices: Awards, and best responses at the prices.
        choice: Its duals, US dollars per unit of the row, in the solver's sign; where there are
            two sets of them, the one that bounds better is published.
        branches: Leaves of a tree of fixings, depth first, False before True; or none.
    """
    accounts, model = at_prices.accounts, at_prices.accounts.model
    multipliers = round_duals(model, choice.row_duals)
    bound = bound_of(at_prices, multipliers)
    if choice.bound_duals.size:
        others = round_duals(model, choice.bound_duals, _usable(accounts, choice.whole_duals))
        lower = bound_of(at_prices, others)
        if bound is None or lower is None or lower < bound:
            multipliers, bound = others, lower
    leaves: list[Leaf] = []
    if branches:
        found: list[int] = []
        for branch in branches:
            own = round_duals(model, branch.row_duals)
            room = _round_room(branch.room)
            duals = _row_duals(model, own) + _room_duals(at_prices, room)
            leaf = Leaf(fixings=branch.fixings, duals=tuple(sorted(duals, key=_row)))
            leaves.append(leaf)
            value = bound_of(at_prices, own, branch.fixings, room)
            if value is not None:
                found.append(value)
        if found and (bound is None or max(found) < bound):
            bound = max(found)
        else:
            leaves = []
    reached = welfare(accounts)
    charges = at_prices.charges
    divisible = best_of_supply(model.market, charges) + best_of_demand(model, charges)
    return Certificate(
        duals=_row_duals(model, multipliers),
        welfare=reached,
        bound=PriceSeconds(bound or 0),
        gains=PriceSeconds(max(1, reached)),
        lost_opportunity=lost_opportunity(at_prices, divisible),
        restart_kept=restart_kept(accounts),
        leaves=tuple(leaves),
    )


def _usable(accounts: Accounts, duals: Floats) -> Floats:
    """Duals of whole cover, none where base load lacks some of its own."""
    return np.where(_short(accounts) > 0, 0.0, duals) if duals.size else duals


def round_duals(model: Model, duals: Floats, whole_duals: Floats | None = None) -> Multipliers:
    """Row duals as whole micro-USD, raised where what stands by must not be worth more.

    Interruptibles that count as reserve have no limit of their own, so RECALLABLE must carry
    what SITE cover pays for them, and with RECLAIMABLE what NODE cover pays.
    """
    layout, grid = model.layout, model.market.grid
    node = grid.node.repeat(grid.intervals)

    def prices(rows: Integers, unit: Integers | float, *, signed: bool = False) -> Integers:
        dual = np.zeros(rows.size)
        dual[rows != NONE] = duals[rows[rows != NONE]]
        dual *= MICRO_USD_PER_USD / unit
        # A row that asks for at least its bound has a dual of the other sign.
        whole = np.rint(-dual if signed else np.abs(dual))
        return np.clip(whole, -_DUAL_MAX, _DUAL_MAX).astype(np.int64)

    energy = prices(layout.balance, node, signed=True)
    spare = prices(layout.cover, node)
    slot_node = grid.node[layout.slot_pool].repeat(grid.intervals)
    backup = prices(layout.slot_row, slot_node)
    site_spare = np.zeros((len(grid.pools), grid.intervals), dtype=np.int64)
    np.add.at(site_spare, layout.slot_pool, backup.reshape(-1, grid.intervals))
    recall = np.maximum(prices(layout.recall, node), site_spare.reshape(-1))
    whole = steep = np.zeros(grid.places, dtype=np.int64)
    if whole_duals is not None and whole_duals.size:
        steep = whole_cover(model.market).steep
        dollars = np.where(steep > 0, np.abs(whole_duals), 0.0)
        # What stands by is worth ``steep`` times as much, and that has to fit as well.
        most = _DUAL_MAX // np.maximum(1, steep)
        whole = np.minimum(np.rint(dollars * MICRO_USD_PER_USD / node), most).astype(np.int64)
    return Multipliers(
        energy=energy if model.market.equal_balance else np.maximum(0, energy),
        spare=spare,
        whole=whole,
        steep=steep,
        recall=recall,
        reclaim=np.maximum(prices(layout.reclaimable, node), spare + steep * whole - recall),
        backup=backup,
        power=prices(layout.power, POWER_UNIT / 1_000),
    )


class _Room(NamedTuple):
    """Charges for room, micro-USD per hour; items of ``packing``, ascending."""

    packing: Packing
    item: Integers
    value: Integers


def _round_room(room: RoomCharges | None) -> _Room | None:
    if room is None:
        return None
    value = np.rint(np.minimum(room.value * MICRO_USD_PER_USD, _ROOM_MAX)).astype(np.int64)
    kept = value > 0
    return _Room(room.packing, room.item[kept], value[kept]) if kept.any() else None


def _room_duals(at_prices: AtPrices, room: _Room | None) -> tuple[RowDual, ...]:
    """Charges for room as duals, sorted by pool, order and interval."""
    if room is None:
        return ()
    grid, blocks = at_prices.accounts.model.market.grid, at_prices.accounts.book.block_bids
    pool, interval = np.divmod(room.packing.place[room.item], grid.intervals)
    order = room.packing.order[room.item]
    ranked = np.lexsort((interval, order, pool))
    return tuple(
        RowDual(
            row="PACKING",
            subject=grid.pools[pool[at]].pool_id,
            interval=int(interval[at]),
            value=int(room.value[at]),
            order_id=blocks[order[at]].order_id,
        )
        for at in ranked.tolist()
    )


def _row(dual: RowDual) -> str:
    return dual.row


def _packed(room: _Room) -> int:
    """The most that orders which fit together are charged, micro-USD per hour."""
    place = room.packing.place[room.item]
    begin = np.flatnonzero(np.diff(place, prepend=-1))
    total = 0
    for own in np.split(np.arange(place.size), begin[1:]):
        most, _ = room.packing.best(room.item[own], room.value[own])
        total += int(most)
    return total


def _charged(at_prices: AtPrices, room: _Room) -> Numbers:
    """What each option is charged for room over its run, micro-USD per hour of an interval."""
    grid, options = at_prices.accounts.model.market.grid, at_prices.options
    pools, intervals = len(grid.pools), grid.intervals
    pool, interval = np.divmod(room.packing.place[room.item], intervals)
    keys, row = np.unique(room.packing.order[room.item] * pools + pool, return_inverse=True)
    series = np.zeros((keys.size + 1, intervals), dtype=np.int64)
    series[row, interval] = room.value
    sums = exact.running(series)
    key = options.order * pools + options.pool
    at = np.searchsorted(keys, key).clip(max=keys.size - 1)
    at = np.where(keys[at] == key, at, keys.size)
    stop = options.first + options.duration[options.order]
    charged: Numbers = sums[at, stop] - sums[at, options.first]
    return charged


def _row_duals(model: Model, duals: Multipliers) -> tuple[RowDual, ...]:
    """Non-zero certificate duals, sorted by row, subject, lost site and interval."""
    grid, layout = model.market.grid, model.layout
    pools = [pool.pool_id for pool in grid.pools]
    lost = [grid.site_ids[site] for site in layout.slot_site.tolist()]
    backups = [pools[pool] for pool in layout.slot_pool.tolist()]
    none = [""] * max(len(pools), len(grid.site_ids))
    rows = (
        ("BALANCE", pools, none, duals.energy),
        ("NODE_COVER", pools, none, duals.spare),
        ("RECALLABLE", pools, none, duals.recall),
        ("RECLAIMABLE", pools, none, duals.reclaim),
        ("SITE_COVER", backups, lost, duals.backup),
        ("SITE_POWER", list(grid.site_ids), none, duals.power),
        ("WHOLE_COVER", pools, none, duals.whole),
    )
    found: list[RowDual] = []
    for row, subjects, lost_sites, series in rows:
        own = [
            RowDual(
                row=row,
                subject=subjects[at],
                interval=interval,
                value=value,
                lost_site=lost_sites[at],
            )
            for at, interval, value in _entries(series, grid.intervals)
        ]
        own.sort(key=lambda dual: (dual.subject, dual.lost_site, dual.interval))
        found += own
    return tuple(found)


def _entries(series: Integers, intervals: int) -> list[tuple[int, int, int]]:
    """Position, interval and value of what is not zero."""
    there = np.flatnonzero(series)
    at, interval = np.divmod(there, intervals)
    return list(zip(at.tolist(), interval.tolist(), series[there].tolist(), strict=True))


def bound_of(
    at_prices: AtPrices,
    duals: Multipliers,
    fixings: tuple[Fixing, ...] = (),
    room: _Room | None = None,
) -> int | None:
    """What no feasible outcome exceeds, price-seconds; None where the fixings allow none.

    Best responses at the duals of whatever could be placed at all, the right-hand sides of the rows
    times the duals, and in each place the most that orders which fit there are charged for room.
    """
    model, options = at_prices.accounts.model, at_prices.options
    market = model.market
    charges = charges_at_multipliers(model, duals)
    fixed = _read_fixings(at_prices, fixings)
    if fixed is None:
        return None
    units = best_of_units(market, charges, fixed.units, fixed.must)
    gains = gains_of(
        market,
        charges,
        options,
        room=at_prices.room,
        allowed=fixed.allowed,
        kept=True,
        besides=None if room is None else _charged(at_prices, room),
    )
    families = best_of_families(at_prices.picks, gains.best, gains.there, fixed.forced)
    if not families.possible or any(best is None for best in units):
        return None
    total = best_of_supply(market, charges) + best_of_demand(model, charges)
    total += best_of_links(market, charges) + families.total(at_prices.picks)
    total += sum(best or 0 for best in units)
    total += _rents(at_prices.accounts, duals) * market.grid.duration_s
    if room is not None:
        total += PPM * _packed(room) * market.grid.duration_s
    return divide_up(total, PPM)


class _Fixed(NamedTuple):
    allowed: Flags | None
    forced: Flags | None
    units: Integers | None
    must: Flags | None


def _read_fixings(at_prices: AtPrices, fixings: tuple[Fixing, ...]) -> _Fixed | None:
    """Fixings as flags; None where they contradict each other or the rules."""
    if not fixings:
        return _Fixed(None, None, None, None)
    book, market, options = (
        at_prices.accounts.book,
        at_prices.accounts.model.market,
        at_prices.options,
    )
    position = {block.order_id: at for at, block in enumerate(book.block_bids)}
    unit_of = {
        book.offers[offer].order_id: unit for unit, offer in enumerate(market.units.offer.tolist())
    }
    allowed = np.ones(options.order.size, dtype=np.bool_)
    forced = np.zeros(options.chips.size, dtype=np.bool_)
    units = np.full(market.units.offered.shape, NONE, dtype=np.int64)
    must = np.zeros(market.units.offer.size, dtype=np.bool_)
    for fixing in fixings:
        if fixing.order_id in unit_of:
            unit = unit_of[fixing.order_id]
            if fixing.interval == NONE and fixing.accepted:
                must[unit] = True
                continue
            where = slice(None) if fixing.interval == NONE else fixing.interval
            if np.any(units[unit, where] == (not fixing.accepted)):
                return None
            units[unit, where] = fixing.accepted
            continue
        order = position[fixing.order_id]
        rows = np.arange(options.start[order], options.start[order + 1])
        match = _matches(market.grid.position, options, rows, fixing)
        allowed[rows] &= match if fixing.accepted else ~match
        forced[order] |= fixing.accepted
    together = forced_orders(at_prices.picks, forced)
    if np.bincount(at_prices.picks.of_order[together], minlength=1).max(initial=0) > 1:
        return None
    return _Fixed(allowed, forced, units, must)


def _matches(position: dict[str, int], options: Options, rows: Integers, fixing: Fixing) -> Flags:
    """Options of an order that are in the set of a fixing."""
    match = np.ones(rows.size, dtype=np.bool_)
    if fixing.pool_id:
        match &= options.pool[rows] == position[fixing.pool_id]
    if fixing.backup_pool_id:
        match &= options.backup[rows] == position[fixing.backup_pool_id]
    if fixing.start != NONE:
        match &= options.first[rows] == fixing.start
    return match


def _rents(accounts: Accounts, duals: Multipliers) -> int:
    """Right-hand sides times duals, per hour, times one million.

    Power that base load leaves; less base load's constants in the cover rows, without what it
    has to do without: shortages are shifted out of the rows (DESIGN 4.2).
    """
    model, tally = accounts.model, accounts.tally
    grid, base = model.market.grid, model.market.base
    drawn = np.zeros((len(grid.site_ids), grid.intervals), dtype=np.int64)
    np.add.at(drawn, grid.site, base.chips.reshape(-1, grid.intervals) * grid.power[:, None])
    limited = grid.power_limit != NONE
    left = np.where(limited[:, None], np.maximum(0, grid.power_limit[:, None] - drawn), 0)
    rents = 1_000 * exact.total(exact.times(duals.power, left.reshape(-1)))
    needed = grid.theta.repeat(grid.intervals) * base.covered - _short(accounts)
    rents -= exact.total(exact.times(duals.spare, needed))
    if duals.whole.any():
        floor = whole_cover(model.market).floor * grid.node.repeat(grid.intervals)
        rents -= PPM * exact.total(exact.times(duals.whole, floor))
    nomination, interval = np.nonzero(tally.base_named)
    row = base.backed_of[nomination, interval]
    at, entry = take(base.backed_start, row)
    backup = duals.backup[model.layout.slot_of_backing[entry] * grid.intervals + interval[at]]
    if row.size:
        begin = starts(np.bincount(at, minlength=row.size))[:-1]
        cheapest = np.minimum.reduceat(backup, begin)
        chips = tally.base_named[nomination, interval]
        rents -= PPM * exact.total(exact.times(cheapest, chips))
    return rents


def _short(accounts: Accounts) -> Integers:
    """NODE cover that base load alone lacks, chips times one million; zero beside covered bids."""
    tally, market = accounts.tally, accounts.model.market
    needed = market.grid.theta.repeat(market.grid.intervals) * market.base.covered
    short = np.maximum(0, needed - PPM * (tally.node_spare + tally.reserve))
    return np.where(tally.covered > 0, 0, short)
