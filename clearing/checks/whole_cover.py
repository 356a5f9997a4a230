"""What a place could deliver at most, and the whole-node row of NODE cover that follows from it.

Written from docs/reference/clearing-rules ("Certificate"); the engine has its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing.checks.exact import Ints, plus, spread, times, zeros
from clearing.checks.facts import View, cover_shortage
from clearing.units import PPM


def carried_of(view: View) -> tuple[Ints, Ints]:
    """Chips that each place could deliver, with and without released base load; made once."""
    known = view.memory.get("carried")
    if isinstance(known, tuple):
        return known
    grid, totals, links = view.book.grid, view.totals, view.book.links
    inflow = zeros(grid.places)
    if len(links.link_ids):
        at = np.tile(np.arange(view.intervals), len(links.link_ids))
        into = np.repeat(links.to_pool, view.intervals) * view.intervals + at
        out = np.repeat(links.from_pool, view.intervals) * view.intervals + at
        inflow = spread(into, np.maximum(0, links.most), grid.places)
        inflow += spread(out, np.maximum(0, -links.least), grid.places)
    watts, limit = view.per_place(grid.chip_power), view.per_place(grid.power_limit[grid.site_of])
    used = view.site_sum(times(totals.base, watts))
    site_at = view.per_place(grid.site_of) * view.intervals
    site_at += np.tile(np.arange(view.intervals), len(grid.pool_ids))
    carries = np.maximum(0, limit - used[site_at]) // np.maximum(1, watts)
    bound = (limit >= 0) & (watts > 0)
    found = []
    for supply in (totals.offered, totals.offered_firm):
        here = supply + inflow
        found.append(np.where(bound, np.minimum(here, carries), here))
    view.memory["carried"] = found[0], found[1]
    return found[0], found[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeCover:
    """Row WHOLE_COVER: covered chips <= steep x (chips that stand by) - floor, per place.

    Attributes:
        steep: Whole; 0 where there is no row.
        floor: Chips.
    """

    steep: Ints
    floor: Ints


def whole_cover(view: View) -> WholeCover:
    """The row of every place; made once per view.

    What stands by for F covered nodes is a staircase: ``need(F)``, theta of the covered load in
    whole nodes. F + need(F) is at most the nodes that the place could deliver, so at the last step
    only ``top - low`` nodes are covered, ``top`` the most that fit and ``low`` the most that
    need one node less. The line through both ends of that step lies below the staircase where its
    run is not longer than the nodes that one node covers.
    """
    known = view.memory.get("whole cover")
    if isinstance(known, WholeCover):
        return known
    grid, base = view.book.grid, view.totals.base_covered
    node, theta = view.per_place(grid.node), view.per_place(grid.theta)
    steep, floor = line_of(node, theta, carried_of(view)[1] // node, base)
    there = (steep > 0) & (cover_shortage(view) == 0)
    found = WholeCover(steep=np.where(there, steep, 0), floor=np.where(there, floor, 0))
    view.memory["whole cover"] = found
    return found


def line_of(node: Ints, theta: Ints, supply: Ints, base: Ints) -> tuple[Ints, Ints]:
    """Slope (0 for no row) and constant in chips of the row, per place; ``supply`` in nodes."""
    # The least need at which the staircase has run past what is left of supply: above it,
    # need x node x 10**6 >= theta x ((supply - need) x node + base).
    load = times(plus(times(supply, node), base), theta)
    run = times(node, PPM) + times(theta, node)
    steps = (load + run - 1) // run
    top = supply - steps
    slope = np.maximum(1, theta)
    low = plus(times(steps - 1, node * PPM), -times(base, theta)) // times(node, slope)
    steep = np.maximum(1, top - low)
    there = (theta > 0) & (steps > 0) & (top >= 0) & (steep <= PPM // slope)
    floor = times(plus(times(steep, steps - 1), -low), node)
    return np.where(there, steep, 0), np.where(there, floor, 0)
