"""Chips that stand by: whole nodes that cover asks for, as spare or as interruptibles counted.

Spare chips come first, and only then interruptibles, whose reclaim would hurt; where the power of a
site does not carry the spare chips, it is the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing.columns import Flags, Integers
from clearing.loads import Draft, Loads
from clearing.market import NONE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standby:
    """Nodes that stand by per place, and whether they fit.

    Attributes:
        node_spare, site_spare: Held by supply.
        node_reserve, site_reserve: Interruptibles counted.
        fails: Supply, interruptibles or site power do not allow it, or something is sold at a
            price that nobody takes.
        over: The site draws more than it has.
    """

    node_spare: Integers
    site_spare: Integers
    node_reserve: Integers
    site_reserve: Integers
    fails: Flags
    over: Flags


def standby_of(draft: Draft, loads: Loads) -> Standby:
    """What should stand by for the loads of a draft."""
    spare = _spare_first(draft, loads)
    over = over_power(draft, loads.delivered + spare[0] + spare[1])
    if over.any():
        other = _reserve_first(loads)
        spare = tuple(np.where(over, late, early) for late, early in zip(other, spare, strict=True))
        over = over_power(draft, loads.delivered + spare[0] + spare[1])
    node_spare, site_spare, node_reserve, site_reserve = spare
    fails = draft.offered - loads.sold(draft) < node_spare + site_spare
    fails |= node_reserve > loads.countable
    fails |= node_reserve + site_reserve > np.maximum(0, loads.recalled - loads.released)
    fails |= over & (node_spare + site_spare > 0)
    fails |= draft.support.paid & (loads.sold(draft) + loads.released > loads.needed)
    layout = draft.model.layout
    for columns, nodes in (
        (layout.spare, node_spare),
        (layout.site_spare, site_spare),
        (layout.reclaim, node_reserve),
        (layout.site_reclaim, site_reserve),
    ):
        fails |= (columns == NONE) & (nodes > 0)
    return Standby(
        node_spare=node_spare,
        site_spare=site_spare,
        node_reserve=node_reserve,
        site_reserve=site_reserve,
        fails=fails,
        over=over,
    )


def hold(draft: Draft, loads: Loads) -> Flags:
    """Let nodes stand by where that fits; returns the places where it does not."""
    layout = draft.model.layout
    found = standby_of(draft, loads)
    for columns, nodes in (
        (layout.spare, found.node_spare),
        (layout.site_spare, found.site_spare),
        (layout.reclaim, found.node_reserve),
        (layout.site_reclaim, found.site_reserve),
    ):
        draft.put(columns, np.where(found.fails, 0, nodes))
    return found.fails


def _spare_first(draft: Draft, loads: Loads) -> tuple[Integers, ...]:
    free = np.maximum(0, draft.offered - loads.sold(draft))
    node_spare = np.minimum(loads.cover, free)
    site_spare = np.minimum(loads.site_cover, free - node_spare)
    return node_spare, site_spare, loads.cover - node_spare, loads.site_cover - site_spare


def _reserve_first(loads: Loads) -> tuple[Integers, ...]:
    there = np.maximum(0, loads.recalled - loads.released)
    node_reserve = np.minimum(np.minimum(loads.cover, loads.countable), there)
    site_reserve = np.minimum(loads.site_cover, there - node_reserve)
    return (
        loads.cover - node_reserve,
        loads.site_cover - site_reserve,
        node_reserve,
        site_reserve,
    )


def over_power(draft: Draft, nodes: Integers) -> Flags:
    """Places of sites that draw more than base load leaves them.

    Args:
        draft: Market.
        nodes: Delivered and spare, per place.
    """
    market, grid = draft.model.market, draft.model.market.grid
    shape = (len(grid.site_ids), grid.intervals)
    watts = (grid.power * grid.node)[:, None] * nodes.reshape(-1, grid.intervals)
    drawn, base = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    np.add.at(drawn, grid.site, watts)
    chips = market.base.chips.reshape(-1, grid.intervals)
    np.add.at(base, grid.site, chips * grid.power[:, None])
    left = np.maximum(0, grid.power_limit[:, None] - base)
    over = (grid.power_limit[:, None] != NONE) & (drawn > left)
    places: Flags = over[grid.site].reshape(-1)
    return places


def trim(draft: Draft, loads: Loads) -> None:
    """Hold exactly the whole nodes that cover asks for: first fewer reclaimables, then spare."""
    layout = draft.model.layout
    for wanted, spare, reserve in (
        (loads.cover, layout.spare, layout.reclaim),
        (loads.site_cover, layout.site_spare, layout.site_reclaim),
    ):
        counted, kept = draft.held(reserve), draft.held(spare)
        over = np.maximum(0, counted + kept - wanted)
        cut = np.minimum(over, counted)
        draft.put(reserve, counted - cut)
        draft.put(spare, kept - (over - cut))
