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
from clearing.loads import Draft, loads_of, merit_order
from clearing.market import NONE, Product
from clearing.node_program import Open, places_of
from clearing.program import Floats
from clearing.standby import standby_of
from clearing.support import sums_of

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
        Places where it stays unsold because nobody's next node fits (``clearing.verify``: an
        offer may then sell less than it would).
    """
    market, demand = draft.model.market, draft.model.market.demand
    support, places = draft.support, market.grid.places
    for last in (False, True):
        supply = merit_order(draft, loads_of(draft))
        due = np.flatnonzero(support.due_supply & decided[market.supply.place])
        left = np.zeros(places, dtype=np.bool_)
        left[market.supply.place[due[supply[due] < market.supply.nodes[due]]]] = True
        arcs = np.flatnonzero(left[demand.arc_place] & (draft.arcs < support.arc_most))
        arcs = arcs[(demand.arc_backup[arcs] == NONE) & ~_too_much(draft, arcs, more=1)]
        if last or arcs.size == 0:
            break
        kind = demand.arc_place[arcs] * len(Product) + demand.product[demand.arc_cell[arcs]]
        some = arcs[_firsts(kind)]
        _raise(draft, some, np.zeros(some.size))
    refused = np.zeros(places, dtype=np.bool_)
    refused[demand.arc_place[arcs]] = True
    return refused


def _lower(draft: Draft, arcs: Integers, fraction: Floats) -> None:
    """Take nodes from orders at the price where a site draws too much.

    A whole node that stands by draws more than its priced fraction did, and rounding deliveries
    down need not have made up for it.
    """
    demand, grid = draft.model.market.demand, draft.model.market.grid
    indifferent = ~draft.support.gains[demand.arc_cell[arcs]]
    order = np.flatnonzero(indifferent)[np.lexsort((arcs[indifferent], fraction[indifferent]))]
    place = demand.arc_place[arcs]
    spot = grid.site[demand.arc_pool[arcs]] * grid.intervals + place % grid.intervals
    for _ in range(_LOWERINGS):
        standby = standby_of(draft, loads_of(draft))
        taken = order[(standby.over[place] & (draft.arcs[arcs] > 0))[order]]
        if taken.size == 0:
            return
        draft.arcs[arcs[taken[_firsts(spot[taken])]]] -= 1


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
