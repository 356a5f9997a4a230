"""Families of block bids: exclusive groups and linked trees, chosen for the largest sum.

A *pick* is an exclusive group or a single order. best(order) = its own gain + over the picks
under it the sum of max(0, best member); a pick at the root gives max(0, best member).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing import exact
from clearing.columns import Flags, Integers
from clearing.exact import Numbers
from clearing.market import NONE, Blocks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picks:
    """How block bids hang together.

    Attributes:
        of_order: Pick of each order.
        parent: Order whose acceptance a pick needs, or ``NONE``.
        level: Links between each pick and its root.
        family: Family of each pick.
        families: Number of families.
    """

    of_order: Integers
    parent: Integers
    level: Integers
    family: Integers
    families: int


def picks_of(blocks: Blocks) -> Picks:
    """Picks of a market, with their depth."""
    above = np.where(blocks.pick_parent == NONE, NONE, blocks.pick_of_order[blocks.pick_parent])
    level = np.zeros(above.size, dtype=np.int64)
    at = above
    while (at != NONE).any():
        level += at != NONE
        at = np.where(at == NONE, NONE, above[at])
    return Picks(
        of_order=blocks.pick_of_order,
        parent=blocks.pick_parent,
        level=level,
        family=blocks.family_of_pick,
        families=blocks.families,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Best:
    """Largest sums.

    Attributes:
        order: Gain of each order with the best choices of the picks under it.
        there: Orders that can be accepted at all.
        pick: What each pick adds.
        possible: No pick that must have a member lacks one.
    """

    order: Numbers
    there: Flags
    pick: Numbers
    possible: bool

    def total(self, picks: Picks) -> int:
        """Sum over the roots."""
        return exact.total(self.pick[picks.parent == NONE])


def best_of_families(
    picks: Picks, gain: Numbers, there: Flags, forced: Flags | None = None
) -> Best:
    """Choose every family at its best.

    Args:
        picks: How orders hang together.
        gain: Of each order, on its own.
        there: Orders that can be accepted.
        forced: Orders that must be accepted.
    """
    wide = exact.largest(gain) * max(1, gain.size) >= 2.0**61
    order = gain.astype(object) if wide else gain.copy()
    count = picks.parent.size
    value = np.zeros(count, dtype=order.dtype)
    there = there.copy()
    must = forced_picks(picks, forced) if forced is not None else np.zeros(count, dtype=np.bool_)
    possible = True
    for level in range(int(picks.level.max(initial=NONE)), -1, -1):
        here = np.flatnonzero(picks.level[picks.of_order] == level)
        if forced is not None:
            asked = must[picks.of_order[here]]
            here = here[~asked | forced_orders(picks, forced)[here]]
        here = here[there[here]]
        at = picks.of_order[here]
        most = np.zeros(count, dtype=order.dtype)
        found = np.zeros(count, dtype=np.bool_)
        # The first member of a must-pick starts it below zero; elsewhere nothing is an option.
        found[at] = True
        if must.any() and here.size:
            low = order[here].min()
            most[must] = min(0, low)
        np.maximum.at(most, at, order[here])
        level_picks = np.flatnonzero(picks.level == level)
        value[level_picks] = most[level_picks]
        missing = level_picks[must[level_picks] & ~found[level_picks]]
        value[missing] = 0
        owner = picks.parent[missing]
        possible &= not (owner == NONE).any()
        there[owner[owner != NONE]] = False
        child = level_picks[picks.parent[level_picks] != NONE]
        np.add.at(order, picks.parent[child], value[child])
    return Best(order=order, there=there, pick=value, possible=possible)


def forced_orders(picks: Picks, forced: Flags) -> Flags:
    """Forced orders, and the parents without which they cannot be."""
    found = forced.copy()
    for _ in range(int(picks.level.max(initial=0))):
        parents = picks.parent[picks.of_order[found]]
        found[parents[parents != NONE]] = True
    return found


def forced_picks(picks: Picks, forced: Flags) -> Flags:
    """Picks with a member that must be accepted."""
    found = np.zeros(picks.parent.size, dtype=np.bool_)
    found[picks.of_order[forced_orders(picks, forced)]] = True
    return found


def with_each(picks: Picks, best: Best) -> Numbers:
    """What each family could gain if it had to accept each of its orders."""
    up = np.zeros(picks.parent.size, dtype=best.order.dtype)
    for level in range(1, int(picks.level.max(initial=0)) + 1):
        at = np.flatnonzero(picks.level == level)
        parent = picks.parent[at]
        up[at] = best.order[parent] - best.pick[at] + up[picks.of_order[parent]]
    total: Numbers = best.order + up[picks.of_order]
    return total


def parents_there(picks: Picks, there: Flags) -> Flags:
    """Orders all of whose ancestors can be accepted."""
    found = np.ones(there.size, dtype=np.bool_)
    for level in range(1, int(picks.level.max(initial=0)) + 1):
        at = np.flatnonzero(picks.level[picks.of_order] == level)
        parent = picks.parent[picks.of_order[at]]
        found[at] = found[parent] & there[parent]
    return found
