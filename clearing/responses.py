"""Best responses of the market at given charges: what every order could gain on its own.

At the certificate's multipliers their sum is the bound that weak duality proves; at the
published prices, less what orders did gain, it is the lost opportunity. Equal steps are
one cell, so the work does not grow with the number of equal orders. The published rule is
docs/reference/clearing-rules.md, and the verifier computes the same from the orders.

Charges are int64: duals are at most 1e12 micro-USD, times a scale of 1e6, and a charge has at most
five of them. What is multiplied with chips goes through ``clearing.exact``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing import exact
from clearing.columns import Flags, Integers, starts, take
from clearing.exact import Numbers
from clearing.layout import Model
from clearing.market import NONE, Market, Product
from clearing.options import Options
from clearing.prices import Prices
from clearing.support import best_of_cells, forced_nodes, idle_of
from clearing.units import PPM, SECONDS_PER_HOUR

_FLOAT_ERROR: Final = 1e-12
"""Relative error far above that of a few sums and products in floating point."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Multipliers:
    """Certificate duals as integers, micro-USD per chip-hour, per place.

    Attributes:
        whole: Of ``clearing.whole_cover``; a node that stands by carries ``steep`` of it.
        backup: Per slot and interval, flat.
        power: Micro-USD per kilowatt-hour, per site and interval, flat.
    """

    energy: Integers
    spare: Integers
    whole: Integers
    steep: Integers
    recall: Integers
    reclaim: Integers
    backup: Integers
    power: Integers

    @property
    def standby(self) -> Integers:
        """What a chip that stands by for NODE cover is worth."""
        worth: Integers = self.spare + self.steep * self.whole
        return worth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Charges:
    """What a chip pays or earns per place, times ``scale``.

    Attributes:
        bought: All-in charge per product; SITE pays ``backup`` on top.  # (products, places)
        backup: Per slot and interval, flat.
        unreclaimed: What a chip of a reclaimable block's least pays on top.
        sold: What supply earns; ``released`` what released base load does.
        idle: What a chip that stands by earns, in its better purpose; at least 0.
    """

    scale: int
    bought: Integers
    backup: Integers
    unreclaimed: Integers
    sold: Integers
    released: Integers
    idle: Integers


def charges_at_prices(market: Market, prices: Prices) -> Charges:
    """Published prices as charges."""
    return Charges(
        scale=1,
        bought=np.stack([prices.paid(market.grid, product) for product in Product]),
        backup=prices.backup,
        unreclaimed=prices.availability,
        sold=prices.energy,
        released=prices.energy - prices.recall,
        idle=idle_of(prices),
    )


def charges_at_multipliers(model: Model, duals: Multipliers) -> Charges:
    """Certificate duals as charges, times one million."""
    grid, layout = model.market.grid, model.layout
    of_place = np.arange(grid.places) // grid.intervals
    at_site = grid.site[of_place] * grid.intervals + np.arange(grid.places) % grid.intervals
    power = 1_000 * grid.power[of_place] * duals.power[at_site]
    plain = PPM * (duals.energy + grid.charge[of_place]) + power
    recalled = plain - PPM * duals.recall
    bought = np.empty((len(Product), grid.places), dtype=np.int64)
    bought[[Product.UNCOVERED, Product.UNCOUNTED, Product.SITE]] = plain
    bought[Product.COVERED] = plain + grid.theta[of_place] * duals.spare + PPM * duals.whole
    bought[Product.RECALLABLE] = recalled
    bought[Product.RECLAIMABLE] = recalled - PPM * duals.reclaim
    site_spare = np.zeros((len(grid.pools), grid.intervals), dtype=np.int64)
    np.add.at(site_spare, layout.slot_pool, duals.backup.reshape(-1, grid.intervals))
    held = np.maximum(duals.standby, site_spare.reshape(-1))
    return Charges(
        scale=PPM,
        bought=bought,
        backup=PPM * duals.backup,
        unreclaimed=PPM * duals.reclaim,
        sold=PPM * duals.energy,
        released=PPM * (duals.energy - duals.recall),
        idle=np.maximum(0, PPM * held - power),
    )


def best_of_supply(market: Market, charges: Charges) -> int:
    """What offers without a commitment could gain, price-seconds times the scale."""
    supply, grid = market.supply, market.grid
    own = np.flatnonzero(supply.unit == NONE)
    place = supply.place[own]
    released = supply.released[own]
    earned = np.where(released, charges.released[place], charges.sold[place])
    idle = np.where(released, 0, charges.idle[place])
    gain = np.maximum(earned - charges.scale * supply.price[own], idle)
    chips = supply.nodes[own] * grid.node[place // grid.intervals]
    return exact.total_product(gain, chips) * grid.duration_s


def best_of_demand(model: Model, charges: Charges) -> int:
    """What step bids and work bids could gain, price-seconds times the scale."""
    demand = model.market.demand
    best = np.maximum(0, best_of_cells(arc_nets(model, charges), arc_starts(model.market)))
    steps = np.flatnonzero(demand.work == NONE)
    total = exact.total_product(best[steps], demand.chips[steps])
    work = np.flatnonzero(demand.work != NONE)
    total += exact.total_product(best[work], filled(model.market, work, best[work]))
    return total * model.market.grid.duration_s


def arc_nets(model: Model, charges: Charges) -> Integers:
    """Gain per chip of each way to serve a cell, times the scale."""
    demand, intervals = model.market.demand, model.market.grid.intervals
    cell = demand.arc_cell
    net = charges.scale * demand.arc_value - charges.bought[demand.product[cell], demand.arc_place]
    backed = np.flatnonzero(model.layout.slot_of_arc != NONE)
    slot = model.layout.slot_of_arc[backed]
    net[backed] -= charges.backup[slot * intervals + demand.interval[cell[backed]]]
    return net


def arc_starts(market: Market) -> Integers:
    """Arcs of each cell, ragged."""
    return starts(np.bincount(market.demand.arc_cell, minlength=market.demand.chips.size))


def filled(market: Market, cells: Integers, gain: Integers) -> Integers:
    """Chips per work cell where each group takes its best intervals first.

    Args:
        market: Cells, and chips of work per group.
        cells: Work cells, all of them.
        gain: Gain per chip of each; what gains nothing may be taken, it counts for nothing.
    """
    demand = market.demand
    group = demand.work[cells]
    order = np.lexsort((cells, -gain, group))
    chips, group = demand.chips[cells][order], group[order]
    before = starts(chips)[:-1]
    before = before - before[np.searchsorted(group, group)]
    found = np.empty(cells.size, dtype=np.int64)
    found[order] = np.clip(demand.work_chips[group] - before, 0, chips)
    return found


def best_of_links(market: Market, charges: Charges) -> int:
    """What links could earn, price-seconds times the scale."""
    links, grid = market.links, market.grid
    energy = charges.sold.reshape(-1, grid.intervals)
    rise = energy[links.target] - energy[links.source]
    node = grid.node[links.source][:, None]
    best = 0
    for sign, most in ((1, links.most), (-1, -links.least)):
        # A range that lies on one side of zero may have to be paid for.
        part = np.where(sign * rise > 0, sign * rise, 0)
        best += exact.total(exact.times(part, most * node))
    return best * grid.duration_s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gains:
    """Gains of block bids, price-seconds times the scale.

    Attributes:
        full: Largest gain of each order at full fill.
        best: The larger of that and its largest gain at its least fill.
        there: Orders with an option at all.
        option: Option with the largest gain at full fill per order, or ``NONE``.
    """

    full: Numbers
    best: Numbers
    there: Flags
    option: Integers


def gains_of(
    market: Market,
    charges: Charges,
    options: Options,
    *,
    room: Integers | None = None,
    allowed: Flags | None = None,
    kept: bool = False,
    besides: Numbers | None = None,
) -> Gains:
    """Largest gain of every block bid over its options.

    Args:
        market: Grid.
        charges: What a chip pays.
        options: What a block chooses from.
        room: Where given, only what could be delivered counts (``clearing.options.room_of``).
        allowed: Options that may be chosen; all of them where not given.
        kept: Count restart costs kept.
        besides: What each option pays besides, micro-USD per hour of an interval.
    """
    orders = options.chips.size
    rows = np.arange(options.order.size) if allowed is None else np.flatnonzero(allowed)
    if room is not None:
        rows = rows[room[rows] >= options.least[rows]]
    order = options.order[rows]
    chips = options.chips[order] if room is None else room[rows]
    there = np.zeros(orders, dtype=np.bool_)
    there[order] = True
    ends: list[Numbers] = []
    best_option = np.full(orders, NONE, dtype=np.int64)
    for at_full in (True, False):
        fill = chips if at_full else options.least[rows]
        near = _near_best(market, charges, options, rows, fill, besides, kept=kept)
        found = _exact_gains(market, charges, options, rows[near], fill[near], besides, kept=kept)
        of_order = order[near]
        # Rows are sorted by order, so the candidates of one stand together.
        begin = np.flatnonzero(np.diff(of_order, prepend=-1))
        most = np.zeros(orders, dtype=found.dtype)
        if begin.size:
            most[of_order[begin]] = np.maximum.reduceat(found, begin)
        ends.append(most)
        if at_full and begin.size:
            first = np.flatnonzero(found == most[of_order])[::-1]
            best_option[of_order[first]] = rows[near][first]
    if any(end.dtype == object for end in ends):
        ends = [end.astype(object) for end in ends]
    return Gains(full=ends[0], best=np.maximum(ends[0], ends[1]), there=there, option=best_option)


def _near_best(
    market: Market,
    charges: Charges,
    options: Options,
    rows: Integers,
    fill: Integers,
    besides: Numbers | None,
    *,
    kept: bool,
) -> Integers:
    """Rows whose gain, in floating point, is not clearly below another one of the same order."""
    if not rows.size:
        return rows
    per_chip, lump = _terms(market, charges, options, rows, besides)
    gain = per_chip.astype(np.float64) * fill - lump.astype(np.float64)
    size = np.abs(per_chip.astype(np.float64)) * fill + np.abs(lump.astype(np.float64))
    # The charges themselves are sums over a run of terms as large as the value.
    size += (
        charges.scale * np.abs(options.value[rows]) * fill * options.duration[options.order[rows]]
    )
    if kept:
        bonus = (
            options.kept[rows] * fill * (charges.scale * SECONDS_PER_HOUR / market.grid.duration_s)
        )
        gain, size = gain + bonus, size + bonus
    order = options.order[rows]
    begin = np.flatnonzero(np.diff(order, prepend=-1))
    width = np.diff(np.append(begin, rows.size))
    margin = _FLOAT_ERROR * np.maximum.reduceat(size, begin)
    least = (np.maximum.reduceat(gain, begin) - margin).repeat(width)
    return np.flatnonzero(gain >= least)


def _terms(
    market: Market,
    charges: Charges,
    options: Options,
    rows: Integers,
    besides: Numbers | None,
) -> tuple[Numbers, Numbers]:
    """Gain per chip over the run, and what is paid besides, each per hour of an interval.

    A flat block gains the first on every chip and, when it is reclaimable, pays availability back
    on its least. What a profile pays is all in the second, for its full quantity.
    """
    intervals = market.grid.intervals
    order, pool, first = options.order[rows], options.pool[rows], options.first[rows]
    stop = first + options.duration[order]
    product = options.product[order]
    bought = exact.running(charges.bought.reshape(len(Product), -1, intervals))
    paid = bought[product, pool, stop] - bought[product, pool, first]
    backed = np.flatnonzero(options.slot[rows] != NONE)
    if backed.size:
        backup = exact.running(charges.backup.reshape(-1, intervals))
        slot = options.slot[rows[backed]]
        extra = backup[slot, stop[backed]] - backup[slot, first[backed]]
        if extra.dtype == object:
            paid = paid.astype(object)
        paid[backed] += extra
    duration = options.duration[order]
    per_chip = exact.plus(exact.times(charges.scale * options.value[rows], duration), -paid)
    reclaimed = product == Product.RECLAIMABLE
    lump: Numbers = np.zeros(rows.size, dtype=np.int64)
    if reclaimed.any():
        back = exact.running(charges.unreclaimed.reshape(-1, intervals))
        owed = np.where(reclaimed, back[pool, stop] - back[pool, first], 0)
        lump = exact.times(owed, options.least[rows])
    shaped = np.flatnonzero(options.shaped[order])
    if shaped.size:
        at, entry = take(options.profile_start, order[shaped])
        place = pool[shaped][at] * intervals + first[shaped][at]
        place += entry - options.profile_start[order[shaped]][at]
        worth = charges.scale * options.value[rows[shaped]][at]
        net = worth - charges.bought[product[shaped][at], place]
        net -= np.where(reclaimed[shaped][at], charges.unreclaimed[place], 0)
        gained = exact.sums_at(at, exact.times(net, options.profile[entry]), shaped.size)
        if object in (gained.dtype, lump.dtype, per_chip.dtype):
            gained, lump = gained.astype(object), lump.astype(object)
        lump[shaped] = -gained
        per_chip[shaped] = 0
    if besides is not None:
        scale = np.full(rows.size, charges.scale, dtype=np.int64)
        lump = exact.plus(lump, exact.times(besides[rows], scale))
    return per_chip, lump


def _exact_gains(
    market: Market,
    charges: Charges,
    options: Options,
    rows: Integers,
    fill: Integers,
    besides: Numbers | None,
    *,
    kept: bool,
) -> Numbers:
    """Gains of options at a fill, price-seconds times the scale."""
    per_chip, lump = _terms(market, charges, options, rows, besides)
    hourly = exact.plus(exact.times(per_chip, fill), -lump)
    gain = exact.times(hourly, np.full(rows.size, market.grid.duration_s))
    if not kept or not options.kept[rows].any():
        return gain
    saved = exact.times(options.kept[rows], fill)
    return exact.plus(
        gain, exact.times(saved, np.full(rows.size, charges.scale * SECONDS_PER_HOUR))
    )


def unit_gains(market: Market, charges: Charges) -> Numbers:
    """What each unit gains in an interval in which it is on, without its start.

    No-load is paid, the least quantity is sold at any price, and every further chip is sold,
    spare or idle, whatever is best. Price-seconds times the scale.  # (units, intervals)
    """
    supply, units, grid = market.supply, market.units, market.grid
    owned = np.flatnonzero(supply.unit != NONE)
    place = supply.place[owned]
    size = grid.node[place // grid.intervals]
    forced = forced_nodes(market, owned)
    sale = charges.sold[place] - charges.scale * supply.price[owned]
    free = np.maximum(sale, charges.idle[place])
    earned = exact.plus(
        exact.times(sale, forced * size), exact.times(free, (supply.nodes[owned] - forced) * size)
    )
    cell = supply.unit[owned] * grid.intervals + place % grid.intervals
    hourly = exact.sums_at(cell, earned, units.offer.size * grid.intervals)
    gain = exact.times(hourly, np.full(hourly.size, grid.duration_s))
    no_load = exact.times(
        units.no_load, np.full(units.offer.size, SECONDS_PER_HOUR * charges.scale)
    )
    return exact.plus(gain, -no_load.repeat(grid.intervals)).reshape(-1, grid.intervals)


def best_of_units(
    market: Market,
    charges: Charges,
    held: Integers | None = None,
    must: Flags | None = None,
) -> list[int | None]:
    """What each offer with a commitment could gain, price-seconds times the scale.

    Args:
        market: Units.
        charges: What they earn.
        held: 1 where it is held on, 0 where it is held off, ``NONE`` where it is free.
            # (units, intervals)
        must: Units that have to be on in some interval.

    Returns:
        Per unit; None where what is asked for cannot be.
    """
    units = market.units
    gains = unit_gains(market, charges)
    wish = np.full(units.offered.shape, NONE) if held is None else held
    asked = np.zeros(units.offer.size, dtype=np.bool_) if must is None else must
    return [
        (_best_whole if units.whole[unit] else _best_runs)(
            gains[unit].tolist(),
            (units.offered[unit] > 0).tolist(),
            wish[unit].tolist(),
            int(units.start_up[unit]) * SECONDS_PER_HOUR * charges.scale,
            int(units.min_run[unit]),
            must=bool(asked[unit]),
        )
        for unit in range(units.offer.size)
    ]


def _best_whole(
    gains: list[int], able: list[bool], held: list[int], start_up: int, _: int, *, must: bool
) -> int | None:
    pairs = list(zip(held, able, strict=True))
    if any(wish == 1 and not can for wish, can in pairs):
        return None
    on = must or any(wish == 1 for wish in held)
    off = not any(able) or any(wish == 0 and can for wish, can in pairs)
    if on:
        return None if off else _sum_of(gains, able) - start_up
    return 0 if off else max(0, _sum_of(gains, able) - start_up)


def _sum_of(gains: list[int], able: list[bool]) -> int:
    return sum(gain for gain, can in zip(gains, able, strict=True) if can)


def _best_runs(
    gains: list[int], able: list[bool], held: list[int], start_up: int, min_run: int, *, must: bool
) -> int | None:
    """Dynamic programming over the intervals: off now, or at the end of a run.

    ``ran[t]`` is the most that the intervals before t can gain with a run among them; without
    one they gain nothing, which is possible as long as none of them is held on.
    """
    ran: list[int | None] = [None]
    idle = [True]
    running = [0]
    for gain, wish in zip(gains, held, strict=True):
        running.append(running[-1] + gain)
        idle.append(idle[-1] and wish != 1)
    begin = 0
    ahead: int | None = None
    for stop in range(1, len(gains) + 1):
        interval = stop - 1
        if not able[interval] or held[interval] == 0:
            begin, ahead = stop, None
        first = stop - min_run
        if first >= begin:
            ahead = _larger(
                ahead, _less(_larger(ran[first], 0 if idle[first] else None), running[first])
            )
        off = ran[interval] if held[interval] != 1 else None
        on = _less(ahead, start_up - running[stop])
        ran.append(_larger(off, on))
    return _larger(ran[-1], None if must or not idle[-1] else 0)


def _larger(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def _less(value: int | None, amount: int) -> int | None:
    return None if value is None else value - amount
