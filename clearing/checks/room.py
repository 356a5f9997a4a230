"""Whether one more node would fit: when nodes are sold whole, the next one may not.

Cover and power limits make the priced quantities fractional; awards are whole nodes, with
whole nodes in reserve. A step order may then be left short of its best response, and the
test of that is exact: give it one more node, and a row that the awards may not break breaks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clearing.checks.accounts import on_intervals
from clearing.checks.covers import drawn
from clearing.checks.curves import find
from clearing.checks.exact import Ints, spread
from clearing.checks.facts import View
from clearing.checks.menus import Product
from clearing.checks.responses import offers_at_prices
from clearing.units import PPM, divide_up


def has_room(view: View, place: int, product: int, backups: Sequence[int] = ()) -> bool:
    """Whether power and cover would still hold with one more node delivered in a place.

    A covered node may need one more node in reserve: reclaimables that are not counted yet,
    else an unsold chip beside the node itself. What is held may not fall, so that nobody
    else's cover pays for it. A node with SITE cover needs one of its backups to hold one more
    chip for the loss of this site. Source: DESIGN 4.2 "Whole nodes", 4.1 rows 6 and 8.

    Args:
        view: Book and outcome.
        place: Pool x intervals + interval of the node.
        product: What the node would be bought as.
        backups: With SITE cover: pools that could stand in.
    """
    grid, totals = view.book.grid, view.totals
    pool = place // view.intervals
    node = int(grid.node[pool])
    standby = 0
    if product == Product.COVERED:
        covered = int(totals.covered[place] + totals.base_covered[place]) + node
        needed = divide_up(divide_up(int(grid.theta[pool]) * covered, PPM), node) * node
        counted = int(
            totals.recallable[place] - totals.released[place] - totals.site_reserve[place]
        )
        uncounted = min(int(totals.reclaimable[place]), counted)
        held = int(totals.spare[place]) + max(int(totals.reserve[place]), uncounted)
        standby = max(0, needed - held)
        if standby and standby + node > int(unsold(view)[place]):
            return False
    if product == Product.SITE and not any(_stands_in(view, place, pool_) for pool_ in backups):
        return False
    return _powered(view, place, node + standby)


def _powered(view: View, place: int, chips: int) -> bool:
    """Whether the power of a site carries so many more chips."""
    grid = view.book.grid
    pool, t = divmod(place, view.intervals)
    site = int(grid.site_of[pool])
    if grid.power_limit[site] < 0:
        return True
    base, traded = drawn(view)
    used = int(base[site * view.intervals + t]) + int(traded[site * view.intervals + t])
    return used + int(grid.chip_power[pool]) * chips <= int(grid.power_limit[site])


def _stands_in(view: View, place: int, backup: int) -> bool:
    """Whether a backup could stand in for one more node at the site of a place."""
    grid, totals = view.book.grid, view.totals
    pool, t = divmod(place, view.intervals)
    node, there = int(grid.node[pool]), backup * view.intervals + t
    pair = int(view.pair_of(grid.site_of[[pool]], np.array([backup]))[0])
    named = 0
    if pair >= 0:
        at = pair * view.intervals + t
        named = int(totals.bids_named[at] + totals.base_named[at])
    held = int(totals.site_spare[there] + totals.site_reserve[there])
    if named + node <= held:
        return True
    claimed = totals.reserve[there] + totals.site_reserve[there] + totals.released[there]
    if int(totals.recallable[there] - claimed) >= node:
        return True
    return int(unsold(view)[there]) >= node and _powered(view, there, node)


def unsold(view: View) -> Ints:
    """Chips per place that offers which are on neither sell nor hold; made once per view."""
    known = view.memory.get("unsold")
    if isinstance(known, np.ndarray):
        return known
    book, curves = view.book, view.curves
    stop = curves.starts[1]
    owner, t = curves.order[:stop], curves.interval[:stop]
    unit = book.unit_of[owner]
    counts = ~book.released[owner]
    committed = np.flatnonzero(unit >= 0)
    counts[committed] &= on_intervals(view)[unit[committed], t[committed]]
    left = np.where(counts, np.maximum(0, curves.chips[:stop] - _used(view)), 0)
    place = book.offer_pool[owner] * view.intervals + t
    found = spread(place, left, book.grid.places)
    view.memory["unsold"] = found
    return found


def _used(view: View) -> Ints:
    """Chips sold and held per cell of an offer."""
    curves, taken = view.curves, view.taken
    stop = curves.starts[1]
    cells = np.flatnonzero(taken.supply)
    at = find(curves.key[:stop], taken.key[cells])
    used = taken.chips[cells] + taken.reserve[cells] + taken.site_reserve[cells]
    return spread(at[at >= 0], used[at >= 0], stop)


def has_supply(view: View, place: int, product: int) -> bool:
    """Whether offers of a place would sell one more node at its price.

    Released base load is supply for interruptibles only.
    """
    known = view.memory.get("on offer")
    if not isinstance(known, tuple):
        book, curves = view.book, view.curves
        stop = curves.starts[1]
        response = offers_at_prices(view)
        more = np.where(response.bound, np.maximum(0, response.most - _used(view)), 0)
        owner = curves.order[:stop]
        at = book.offer_pool[owner] * view.intervals + curves.interval[:stop]
        firm = np.where(book.released[owner], 0, more)
        places = book.grid.places
        known = (spread(at, more, places), spread(at, firm, places))
        view.memory["on offer"] = known
    recalled = product in (Product.RECLAIMABLE, Product.RECALLABLE)
    left = int(known[0 if recalled else 1][place])
    return left >= int(view.book.grid.node[place // view.intervals])
