"""What a chip pays and earns at each place: at the published prices, or at certificate duals.

Rows of a pool n at site z in an interval, and their multipliers (chips; micro-USD per
chip-hour, nu per kilowatt-hour; sigma is surcharge plus fee, theta in ppm):

=============  ==================================================================  ========
row            meaning                                                             dual
=============  ==================================================================  ========
BALANCE        delivered + outflow <= sold + inflow                                pi
RECLAIMABLE    R_N <= node-wise interruptibles                                     lambda_a
RECALLABLE     R_N + R_S + released sold <= recallable interruptibles              lambda_b
NODE_COVER     theta (covered + base covered) <= node spare + R_N + short_N        mu_N
SITE_COVER     chips at c that name n <= site spare + R_S, per lost site c         mu_S(c,n)
SITE_POWER     chip power x (delivered + base + spare) <= limit, per site          nu
WHOLE_COVER    covered <= steep (node spare + R_N) - floor, of certificates only   omega
=============  ==================================================================  ========

With plain = sigma + pi + power, a chip pays: UNCOVERED and UNCOUNTED plain, COVERED plain +
theta mu_N, SITE plain + mu_S(z, backup), RECALLABLE plain - lambda_b, RECLAIMABLE plain -
lambda_a - lambda_b. Sold it earns pi, released pi - lambda_b, idle the better of mu_N - power
and sum over c of mu_S(c, n) - power, or nothing.

Source: docs/reference/clearing-rules, "Rows", "Prices" and "Certificate".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clearing.checks.exact import Ints, fold, half_even, plus, times
from clearing.checks.facts import View
from clearing.checks.menus import PRODUCTS, Product
from clearing.checks.outcome_columns import ROWS, DualColumns
from clearing.checks.whole_cover import whole_cover
from clearing.units import PPM

NO_POOL = -1
"""Net gain of a step that no pool may serve: a loss, so that it is never wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """Charges per place, times ``scale``.

    Attributes:
        products: Per product and place: all-in charge of a bid; SITE without its backup.
        availability: What a reclaimable block pays back on its minimum.
        supply, released: What a sold chip earns.
        idle: What an unsold chip of supply earns at best, at least 0.
        backup: Per pair x intervals + interval: charge of a chip that names a backup.
    """

    scale: int
    products: Ints
    availability: Ints
    supply: Ints
    released: Ints
    idle: Ints
    backup: Ints


def charges_at_prices(view: View) -> Charges:
    """The published prices as charges; made once per view."""
    known = view.memory.get("charges")
    if isinstance(known, Charges):
        return known
    prices = view.prices
    products = np.empty((PRODUCTS, view.book.grid.places), dtype=np.int64)
    products[Product.COVERED] = prices["firm"]
    products[Product.SITE] = prices["firm_uncovered"]
    products[Product.UNCOVERED] = prices["firm_uncovered"]
    products[Product.RECLAIMABLE] = prices["interruptible"]
    products[Product.RECALLABLE] = prices["firm_uncovered"] - prices["recall_discount"]
    products[Product.UNCOUNTED] = prices["interruptible_uncounted"]
    standby = np.maximum(prices["spare"], prices["site_spare"]) - prices["power"]
    charges = Charges(
        scale=1,
        products=products,
        availability=prices["availability"],
        supply=prices["energy"],
        released=prices["energy"] - prices["recall_discount"],
        idle=np.maximum(0, standby),
        backup=view.mu,
    )
    view.memory["charges"] = charges
    return charges


@dataclass(frozen=True, slots=True, kw_only=True)
class Duals:
    """Certificate duals as dense rows: per place, per pair and interval, per site and interval."""

    balance: Ints
    node_cover: Ints
    recallable: Ints
    reclaimable: Ints
    site_cover: Ints
    site_power: Ints
    whole_cover: Ints


def read_duals(view: View, columns: DualColumns) -> Duals:
    """Index duals whose shape was checked."""
    grid, intervals = view.book.grid, view.intervals

    def dense(row: str, size: int) -> Ints:
        found = np.zeros(size * intervals, dtype=np.int64)
        here = columns.row == ROWS.index(row)
        subject = columns.subject[here]
        if row == "SITE_COVER":
            subject = view.pair_of(columns.lost[here], subject)
        found[subject * intervals + columns.interval[here]] = columns.value[here]
        return found

    pools = len(grid.pool_ids)
    return Duals(
        balance=dense("BALANCE", pools),
        node_cover=dense("NODE_COVER", pools),
        recallable=dense("RECALLABLE", pools),
        reclaimable=dense("RECLAIMABLE", pools),
        site_cover=dense("SITE_COVER", len(view.pairs.code)),
        site_power=dense("SITE_POWER", len(grid.site_ids)),
        whole_cover=dense("WHOLE_COVER", pools),
    )


def scale_of(view: View) -> int:
    """Smallest factor that makes theta x mu and power x nu whole: at most one million.

    theta is in ppm, and watts x micro-USD per kilowatt-hour x 1,000 has the same scale.
    """
    grid = view.book.grid
    return PPM // math.gcd(PPM, *grid.theta.tolist(), *(1_000 * grid.chip_power).tolist())


def charges_at_duals(view: View, duals: Duals) -> Charges:
    """Certificate duals as charges, times ``scale_of``.

    Reserve has no limit of its own, so what it is charged must not be below what it is worth:
    RECALLABLE is raised to the sum of SITE_COVER, RECLAIMABLE to NODE_COVER - RECALLABLE.
    Raised multipliers are multipliers like any other. What stands by is worth ``steep`` times
    WHOLE_COVER beside NODE_COVER, and a covered chip pays WHOLE_COVER once.
    """
    grid, scale = view.book.grid, scale_of(view)
    step = PPM // scale
    site_spare = view.pair_sum(duals.site_cover)
    recall = times(np.maximum(duals.recallable, site_spare), scale)
    worth = plus(duals.node_cover, times(duals.whole_cover, whole_cover(view).steep))
    node_spare = times(worth, scale)
    reclaim = np.maximum(times(duals.reclaimable, scale), node_spare - recall)
    site_at = view.per_place(grid.site_of) * view.intervals
    site_at += np.tile(np.arange(view.intervals), len(grid.pool_ids))
    watts = view.per_place(1_000 * grid.chip_power // step)
    power = times(duals.site_power[site_at], watts)
    energy = times(duals.balance, scale)
    charge = times(view.per_place(grid.charge), scale)
    plain = plus(charge, energy, power)
    cover = times(duals.node_cover, view.per_place(grid.theta // step))
    cover = plus(cover, times(duals.whole_cover, scale))
    standby = plus(np.maximum(node_spare, times(site_spare, scale)), -power)
    recalled = plus(plain, -recall)
    rows = (
        plus(plain, cover),
        plain,
        plain,
        plus(recalled, -reclaim),
        recalled,
        plain,
    )
    return Charges(
        scale=scale,
        products=np.stack(rows),
        availability=reclaim,
        supply=energy,
        released=plus(energy, -recall),
        idle=np.maximum(0, standby),
        backup=times(duals.site_cover, scale),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Menus in the intervals in which somebody may use them: rows, their lanes, their arcs.

    Attributes:
        of_cell: Row of each cell of step bids, in the order of ``Curves``.
        of_work: Row of each work cell.
        menu, interval: Per row.
        lanes: Where the lanes of each row begin; ``factor`` per lane, ppm.
        arcs: Where the arcs of each lane begin; ``row_arcs`` those of each row.
        row: Per arc; ``place`` pool x intervals + interval, ``flat`` place in ``products``.
        named: Per arc: pair x intervals + interval of its backup, -1 without one.
    """

    of_cell: Ints
    of_work: Ints
    menu: Ints
    interval: Ints
    lanes: Ints
    factor: Ints
    arcs: Ints
    row_arcs: Ints
    row: Ints
    place: Ints
    flat: Ints
    named: Ints


def demand_of(view: View) -> Demand:
    """Rows of step and work bids; made once per view."""
    known = view.memory.get("demand")
    if isinstance(known, Demand):
        return known
    found = _demand(view)
    view.memory["demand"] = found
    return found


def _demand(view: View) -> Demand:
    book, menus, curves, intervals = view.book, view.menus, view.curves, view.intervals
    bids = slice(curves.starts[1], curves.starts[2])
    first = book.starts[1]
    cell_code = menus.of_bid[curves.order[bids] - first] * intervals + curves.interval[bids]
    works = view.work_cells
    work_code = menus.of_bid[works.work + book.starts[3] - first] * intervals + works.interval
    used = np.zeros(len(menus.product) * intervals, dtype=np.bool_)
    used[cell_code] = True
    used[work_code] = True
    codes = np.flatnonzero(used)
    row_of = np.cumsum(used) - 1
    menu, interval = codes // intervals, codes % intervals
    lane_count = np.diff(menus.lanes)[menu]
    lanes = np.concatenate(([0], np.cumsum(lane_count)))
    lane_row = np.repeat(np.arange(len(menu)), lane_count)
    lane = np.arange(len(lane_row)) - lanes[lane_row] + menus.lanes[menu[lane_row]]
    arc_count = np.diff(menus.arcs)[lane]
    arcs = np.concatenate(([0], np.cumsum(arc_count)))
    arc_lane = np.repeat(np.arange(len(lane)), arc_count)
    arc = np.arange(len(arc_lane)) - arcs[arc_lane] + menus.arcs[lane[arc_lane]]
    row = lane_row[arc_lane]
    pool, backup = menus.pool[arc], menus.backup[arc]
    place = pool * intervals + interval[row]
    named = np.full(len(arc), -1, dtype=np.int64)
    site = np.flatnonzero(backup >= 0)
    pair = view.pair_of(book.grid.site_of[pool[site]], backup[site])
    named[site] = pair * intervals + interval[row[site]]
    return Demand(
        of_cell=row_of[cell_code],
        of_work=row_of[work_code],
        menu=menu,
        interval=interval,
        lanes=lanes,
        factor=menus.factor[lane],
        arcs=arcs,
        row_arcs=arcs[lanes],
        row=row,
        place=place,
        flat=menus.product[menu[row]] * book.grid.places + place,
        named=named,
    )


def arc_charges(charges: Charges, demand: Demand) -> Ints:
    """Charge of each arc."""
    found: Ints = charges.products.reshape(-1)[demand.flat]
    site = demand.named >= 0
    if site.any():
        backup = np.where(site, charges.backup[np.maximum(0, demand.named)], 0)
        found = plus(found, backup)
    return found


def lane_charges(charges: Charges, demand: Demand) -> Ints:
    """Least charge of each lane."""
    return fold(np.minimum, demand.arcs, arc_charges(charges, demand), 0)


def limit_in(price: Ints, factor: Ints) -> Ints:
    """All-in limit per chip of a class, rounded half-even once; prices at most 10**9."""
    return price if (factor == PPM).all() else half_even(price * factor, PPM)


def nets(charges: Charges, demand: Demand, least: Ints, row: Ints, price: Ints) -> Ints:
    """Largest limit minus charge over the lanes of a row; ``NO_POOL`` where it has none.

    Args:
        charges: What a chip pays.
        demand: Rows and lanes.
        least: Least charge per lane.
        row: Of each step.
        price: Limit of each step.
    """
    count = np.diff(demand.lanes)[row]
    if (count <= 1).all() and (demand.factor == PPM).all():
        has = count == 1
        lane = np.where(has, demand.lanes[row], 0)
        paid = least[lane] if len(least) else np.zeros(len(row), dtype=np.int64)
        return np.where(has, plus(times(price, charges.scale), -paid), NO_POOL)
    owner = np.repeat(np.arange(len(row)), count)
    offsets = np.concatenate(([0], np.cumsum(count)))
    lane = demand.lanes[row][owner] + np.arange(len(owner)) - offsets[owner]
    limits = times(limit_in(price[owner], demand.factor[lane]), charges.scale)
    return fold(np.maximum, offsets, plus(limits, -least[lane]), NO_POOL)
