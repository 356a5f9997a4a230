"""Whole nodes for open deliveries, place by place, without a solver.

A delivery that is no whole node is the last one of a place whose cover or power is scarce. It goes
down to the node, which frees what it used (a node more where the whole nodes that stand by draw
too much power), and up again where the next node fits: supply at the price, its cover, site power,
and what its order still wants. Deliveries of one place, order or limited site take turns: orders
in the money first, then those with the largest fraction. What this cannot decide (fills of
blocks, flows, backups, shortages) stays open for ``clearing.node_program``.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from clearing.columns import Flags, Integers, take
from clearing.loads import Draft, Loads, loads_of, merit_order
from clearing.market import NONE, Product
from clearing.node_program import Open, places_of
from clearing.program import Floats
from clearing.standby import Standby, standby_of
from clearing.support import sums_of
from clearing.units import PPM, divide_up

_OFFERINGS: Final = 64
"""Nodes that a place may have left to sell, at most; what is left then is for a program."""

_LOWERINGS: Final = 8
"""Nodes that a site may have to give back; it is one or two."""


def round_places(draft: Draft, open_: Open, values: Floats) -> None:
    """Decide the deliveries of places in which nothing else is open.

    Args:
        draft: Nearest whole nodes; changed.
        open_: What is open; closed where it is decided.
        values: Priced values per column.
    """
    market, layout = draft.model.market, draft.model.layout
    demand = market.demand
    first, count = layout.arc, demand.arc_cell.size
    open_arcs = np.flatnonzero(open_.column[first : first + count])
    wanted = values[first + open_arcs]
    simple = (demand.arc_backup[open_arcs] == NONE) & (
        np.floor(wanted) <= draft.support.arc_most[open_arcs]
    )
    others = open_.column.copy()
    others[first + open_arcs[simple]] = False
    hard = np.zeros(market.grid.places, dtype=np.bool_)
    hard[places_of(draft, np.flatnonzero(others))] = True
    hard |= draft.lacking(layout.short)
    simple &= ~hard[demand.arc_place[open_arcs]]
    arcs, wanted = open_arcs[simple], wanted[simple]
    if arcs.size == 0:
        return
    draft.arcs[arcs] = np.floor(wanted).astype(np.int64)
    open_.column[first + arcs] = False
    open_.place[demand.arc_place[arcs]] = hard[demand.arc_place[arcs]]
    fraction = wanted - np.floor(wanted)
    _lower(draft, arcs, fraction)
    upwards = draft.arcs[arcs] < draft.support.arc_most[arcs]
    _raise(draft, arcs[upwards], fraction[upwards])


def sell_more(draft: Draft, decided: Flags) -> Flags:
    """Offer what sellers in the money have left to everybody who is indifferent.

    Args:
        draft: Whole nodes; changed.
        decided: Places that no program will look at.

    Returns:
        Places where it stays unsold because nobody's next node fits, here or in a pool that
        buyers here find as good (``clearing.verify``: an offer may then sell less than it would).
    """
    demand = draft.model.market.demand
    refused = np.zeros(draft.model.market.grid.places, dtype=np.bool_)
    for _ in range(_OFFERINGS):
        arcs = _buyers(draft, (_unsold(draft, decided) > 0) & ~refused)
        if arcs.size == 0:
            break
        before = draft.arcs[arcs]
        _raise(draft, arcs, np.zeros(arcs.size))
        sold = np.zeros_like(refused)
        sold[demand.arc_place[arcs[draft.arcs[arcs] > before]]] = True
        refused[demand.arc_place[arcs]] |= ~sold[demand.arc_place[arcs]]
    _question(draft, decided, refused)
    return refused


def _unsold(draft: Draft, decided: Flags) -> Integers:
    """Nodes per decided place that sellers in the money do not sell."""
    market, support = draft.model.market, draft.support
    supply = merit_order(draft, loads_of(draft))
    due = np.flatnonzero(support.due_supply & decided[market.supply.place])
    left = market.supply.nodes[due] - supply[due]
    return sums_of(market.supply.place[due], left, market.grid.places)


def _buyers(draft: Draft, places: Flags) -> Integers:
    """An arc that could take a node more in each place for each product: who buys is equal."""
    demand = draft.model.market.demand
    arcs = np.flatnonzero(places[demand.arc_place] & (draft.arcs < draft.support.arc_most))
    arcs = arcs[(demand.arc_backup[arcs] == NONE) & ~_too_much(draft, arcs, more=1)]
    kind = demand.arc_place[arcs] * len(Product) + demand.product[demand.arc_cell[arcs]]
    found: Integers = arcs[_firsts(kind)]
    return found


def _question(draft: Draft, decided: Flags, refused: Flags) -> None:
    """Take back a refusal of more than the odd node where somebody's next node has room.

    Be it in another pool that a buyer here finds as good, even one that is sold out: the one could
    move and the other come in its place, and a program has to look at both.
    """
    unsold = _unsold(draft, decided)
    loads = loads_of(draft)
    standby = standby_of(draft, loads)
    for place in np.flatnonzero(refused & (unsold > 1)).tolist():
        joined = draft.support.joined(place)
        if unsold[place] > len(joined):
            near = (place, *joined)
            refused[place] = not any(_has_room(draft, loads, standby, at) for at in near)


def _has_room(draft: Draft, loads: Loads, standby: Standby, place: int) -> bool:
    """Whether cover and power let somebody who would like to have one more node here have it."""
    demand = draft.model.market.demand
    arcs = np.flatnonzero((demand.arc_place == place) & (draft.arcs < draft.support.arc_most))
    arcs = arcs[~_too_much(draft, arcs, more=1)]
    kinds = set(demand.product[demand.arc_cell[arcs]].tolist())
    here = draft.runs.place == place
    blocks = draft.model.market.blocks
    alternative = draft.runs.alternative[here]
    short = draft.extra()[here] < (blocks.most - blocks.least)[alternative]
    kinds |= set(blocks.product[alternative[short]].tolist())
    if int(Product.SITE) in kinds:
        # Who could stand in is for the program to see.
        return True
    # Only covered nodes ask for more than themselves.
    kinds = {kind if kind == Product.COVERED else int(Product.UNCOVERED) for kind in kinds}
    return any(
        _fits(draft, loads, standby, place, covered=kind == Product.COVERED) for kind in kinds
    )


def _fits(draft: Draft, loads: Loads, standby: Standby, place: int, *, covered: bool) -> bool:
    """Whether cover and power carry one more node, supply for the node itself aside."""
    market, grid = draft.model.market, draft.model.market.grid
    pool, interval = divmod(place, grid.intervals)
    node, theta = int(grid.node[pool]), int(grid.theta[pool])
    more = 0
    if covered:
        chips = (int(loads.covered[place]) + 1) * node + int(market.base.covered[place])
        needed = divide_up(divide_up(theta * chips, PPM), node)
        free = int(loads.recalled[place] - loads.released[place] - standby.site_reserve[place])
        counted = max(int(standby.node_reserve[place]), min(int(loads.countable[place]), free))
        more = max(0, needed - int(standby.node_spare[place]) - counted)
        held = int(standby.node_spare[place] + standby.site_spare[place])
        if more and more + 1 > int(draft.offered[place] - loads.sold(draft)[place]) - held:
            return False
    limit = int(grid.power_limit[grid.site[pool]])
    if limit == NONE:
        return True
    pools = np.flatnonzero(grid.site == grid.site[pool])
    at = pools * grid.intervals + interval
    nodes = (loads.delivered + standby.node_spare + standby.site_spare)[at]
    drawn = int((grid.power * grid.node)[pools] @ nodes)
    drawn += int(grid.power[pools] @ market.base.chips[at])
    return drawn + int(grid.power[pool]) * node * (1 + more) <= limit


def _lower(draft: Draft, arcs: Integers, fraction: Floats) -> None:
    """Take nodes from orders at the price where a site draws too much.

    A whole node that stands by draws more than its priced fraction did, and rounding deliveries
    down need not have made up for it. The next node comes from another place of the site: an odd
    node unsold in each of two places is what whole nodes explain, two in one are not.
    """
    demand, grid = draft.model.market.demand, draft.model.market.grid
    indifferent = ~draft.support.gains[demand.arc_cell[arcs]]
    order = np.flatnonzero(indifferent)[np.lexsort((arcs[indifferent], fraction[indifferent]))]
    place = demand.arc_place[arcs]
    spot = grid.site[demand.arc_pool[arcs]] * grid.intervals + place % grid.intervals
    lowered = np.zeros(grid.places, dtype=np.int64)
    for _ in range(_LOWERINGS):
        standby = standby_of(draft, loads_of(draft))
        taken = order[(standby.over[place] & (draft.arcs[arcs] > 0))[order]]
        if taken.size == 0:
            return
        taken = taken[np.argsort(lowered[place[taken]], kind="stable")]
        taken = taken[_firsts(spot[taken])]
        draft.arcs[arcs[taken]] -= 1
        lowered[place[taken]] += 1


def _raise(draft: Draft, arcs: Integers, fraction: Floats) -> None:
    """Give each of these arcs a node more where it fits, one turn after the other."""
    model, demand = draft.model, draft.model.market.demand
    grid = model.market.grid
    # Orders in the money come before those at the price.
    content = ~draft.support.gains[demand.arc_cell[arcs]]
    left = arcs[np.lexsort((arcs, -fraction, content))]
    supplied = _supported_supply(draft)
    while left.size:
        site = grid.site[demand.arc_pool[left]]
        spot = site * grid.intervals + demand.interval[demand.arc_cell[left]]
        limited = grid.power_limit[site] != NONE
        # Sites without a limit: every place has its own turn.
        turn = np.where(limited, grid.places + spot, demand.arc_place[left])
        group = demand.work[demand.arc_cell[left]]
        cell = np.where(group == NONE, demand.arc_cell[left], demand.chips.size + group)
        chosen = _firsts(turn) & _firsts(cell)
        tried, left = left[chosen], left[~chosen]
        _try(draft, tried, supplied)


def _firsts(keys: Integers) -> Flags:
    """First row of each key."""
    found = np.zeros(keys.size, dtype=np.bool_)
    found[np.unique(keys, return_index=True)[1]] = True
    return found


def _try(draft: Draft, arcs: Integers, supplied: Integers) -> None:
    """One node more for each of these arcs, back again where it does not fit."""
    demand = draft.model.market.demand
    draft.arcs[arcs] += 1
    loads = loads_of(draft)
    standby = standby_of(draft, loads)
    bad = standby.fails | standby.over | (loads.sold(draft) > supplied)
    refused = bad[demand.arc_place[arcs]] | _too_much(draft, arcs, more=0)
    draft.arcs[arcs[refused]] -= 1


def _supported_supply(draft: Draft) -> Integers:
    """Nodes per place that ordinary offers would sell at the price."""
    supply = draft.model.market.supply
    own = np.flatnonzero(~supply.released)
    return sums_of(supply.place[own], draft.support.most[own], draft.model.market.grid.places)


def _too_much(draft: Draft, arcs: Integers, *, more: int) -> Flags:
    """Arcs whose cell, or work group, would have more than it asked for with so many more nodes."""
    market = draft.model.market
    demand = market.demand
    size = market.grid.node[demand.arc_pool]
    cell = demand.arc_cell[arcs]
    position, own = take(draft.support.arc_start, cell)
    chips = np.bincount(position, weights=(draft.arcs * size)[own], minlength=arcs.size)
    chips += more * size[arcs]
    over: Flags = chips > demand.chips[cell]
    group = demand.work[cell]
    at_work = np.flatnonzero(group != NONE)
    if at_work.size:
        rows = np.flatnonzero(demand.work[demand.arc_cell] != NONE)
        used = sums_of(
            demand.work[demand.arc_cell[rows]],
            (draft.arcs * size)[rows],
            demand.work_chips.size,
        )
        wanted = used[group[at_work]] + more * size[arcs[at_work]]
        over[at_work] |= wanted > demand.work_chips[group[at_work]]
    return over
