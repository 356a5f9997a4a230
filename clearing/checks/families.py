"""Blocks: their alternatives, what each gains, and what a family gains at best.

An *alternative* is (block, pool, backup, start). A *family* is what one participant's choice
ties together: a block on its own, an exclusive group, or a linked tree with the groups in
it. Its best response at some charges is

    best(o) = gain(o) + sum over the groups under o of max(0, best of their members),

at most one member of a group, nothing below an order that is left out. The gain of an
alternative is at its full quantity; where it loses there and is worth having for its
children (or because a leaf of the branch certificate demands it), at its least one.

Source: docs/reference/clearing-rules, "Families".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clearing.checks.charges import Charges, limit_in
from clearing.checks.exact import (
    LIMIT,
    Bools,
    Ints,
    divide_up,
    expand,
    fold,
    most,
    offsets_of,
    plus,
    running,
    sum_runs,
    times,
    whole_nodes,
    zeros,
)
from clearing.checks.facts import View, least_chips
from clearing.checks.menus import Product
from clearing.checks.whole_cover import carried_of
from clearing.units import PPM, SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Families:
    """How blocks hang together.

    Attributes:
        group: Code of each block's exclusive group; ``groups`` the number of codes.
        parent: Of each block, -1 for none; ``over`` the parent of each group, likewise.
        depth: Of each block, 0 without a parent.
        family: Of each block: the group of its root.
    """

    group: Ints
    groups: int
    parent: Ints
    over: Ints
    depth: Ints
    family: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """Every way to accept every block that some outcome could deliver, in whole nodes.

    Attributes:
        begins: Where the alternatives of each block begin.
        pair: Position of its lost site and backup, -1 without one; ``backup`` the pool, or -1.
        limit: All-in limit per chip of the pool's class.
        least: Smallest quantity; ``chips`` the full one, ``room`` what of it could be delivered.
        shaped: Whether the block has a profile.
    """

    begins: Ints
    block: Ints
    pool: Ints
    pair: Ints
    backup: Ints
    start: Ints
    limit: Ints
    least: Ints
    chips: Ints
    room: Ints
    shaped: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Units of value: ``unit`` price-seconds each.

    Attributes:
        per_chip: Units of price x chips in one interval.
        per_usd: Units of a micro-USD.
    """

    unit: int
    per_chip: int
    per_usd: int


def scale_of_time(view: View) -> Scale:
    """Largest unit in which both chip-intervals and dollars are whole."""
    duration = view.book.grid.duration_s
    unit = math.gcd(duration, SECONDS_PER_HOUR)
    return Scale(unit=unit, per_chip=duration // unit, per_usd=SECONDS_PER_HOUR // unit)


def families_of(view: View) -> Families:
    """How the blocks of the book hang together; made once per view."""
    known = view.memory.get("families")
    if isinstance(known, Families):
        return known
    blocks = view.book.blocks
    groups = int(blocks.group.max()) + 1 if len(blocks.group) else 0
    over = np.full(groups, -1, dtype=np.int64)
    over[blocks.group] = blocks.parent
    depth, root = zeros(len(blocks.parent)), np.arange(len(blocks.parent))
    above = blocks.parent
    while (above >= 0).any():
        depth[above >= 0] += 1
        root = np.where(above >= 0, above, root)
        above = np.where(above >= 0, blocks.parent[above], -1)
    found = Families(
        group=blocks.group,
        groups=groups,
        parent=blocks.parent,
        over=over,
        depth=depth,
        family=blocks.group[root],
    )
    view.memory["families"] = found
    return found


def alternatives_of(view: View) -> Alternatives:
    """Every alternative of every block that some outcome could deliver; made once per view."""
    known = view.memory.get("alternatives")
    if isinstance(known, Alternatives):
        return known
    book, menus, grid = view.book, view.menus, view.book.grid
    blocks = book.blocks
    menu = menus.of_bid[book.starts[2] - book.starts[1] :][: len(blocks.chips)]
    begin = menus.menu_arcs
    counts = np.diff(begin)[menu]
    block, position = expand(counts)
    arc = begin[menu[block]] + position
    starts = blocks.latest - blocks.earliest + 1
    of_arc, later = expand(starts[block])
    block, arc = block[of_arc], arc[of_arc]
    pool, backup = menus.pool[arc], menus.backup[arc]
    least = least_chips(book, block, grid.node[pool])
    shaped = np.diff(blocks.profile) > 0
    step = np.ones(len(blocks.chips), dtype=np.int64)
    step[shaped] = fold(np.gcd, blocks.profile, blocks.profile_chips, 0)[shaped]
    usable = np.where(
        shaped[block], step[block] % grid.node[pool] == 0, least <= blocks.chips[block]
    )
    block, arc, later = block[usable], arc[usable], later[usable]
    pool, backup = pool[usable], backup[usable]
    lane = np.searchsorted(menus.arcs, arc, side="right") - 1
    pair = np.full(len(arc), -1, dtype=np.int64)
    site = backup >= 0
    pair[site] = view.pair_of(grid.site_of[pool[site]], backup[site])
    found = Alternatives(
        begins=offsets_of(np.bincount(block, minlength=len(blocks.chips))),
        block=block,
        pool=pool,
        pair=pair,
        backup=backup,
        start=blocks.earliest[block] + later,
        limit=limit_in(blocks.limit[block], menus.factor[lane]),
        least=least[usable],
        chips=blocks.chips[block],
        room=blocks.chips[block],
        shaped=shaped[block],
    )
    found = _with_room(found, room(view, found))
    view.memory["alternatives"] = found
    return found


def _with_room(ways: Alternatives, chips: Ints) -> Alternatives:
    """The alternatives that fit somewhere: nobody misses what no outcome could deliver."""
    kept = chips >= ways.least
    counts = np.bincount(ways.block[kept], minlength=len(ways.begins) - 1)
    return Alternatives(
        begins=offsets_of(counts),
        block=ways.block[kept],
        pool=ways.pool[kept],
        pair=ways.pair[kept],
        backup=ways.backup[kept],
        start=ways.start[kept],
        limit=ways.limit[kept],
        least=ways.least[kept],
        chips=ways.chips[kept],
        room=chips[kept],
        shaped=ways.shaped[kept],
    )


def margins(view: View, charges: Charges, ways: Alternatives) -> tuple[Ints, Ints]:
    """Limit less charge of one chip over the run of each alternative, and the availability in it.

    Of a shaped one: of all its chips, and the availability of all of them.
    """
    book, intervals = view.book, view.intervals
    pools = len(book.grid.pool_ids)
    duration = book.blocks.duration[ways.block]
    product = view.menus.product_of_bid[book.starts[2] - book.starts[1] + ways.block]
    stop = ways.start + duration
    sums = running(charges.products.reshape(-1, pools, intervals))
    paid = sums[product, ways.pool, stop] - sums[product, ways.pool, ways.start]
    backup = running(charges.backup.reshape(-1, intervals))
    site = np.flatnonzero(ways.pair >= 0)
    if len(site):
        pair = ways.pair[site]
        extra = np.zeros(len(paid), dtype=backup.dtype)
        extra[site] = backup[pair, stop[site]] - backup[pair, ways.start[site]]
        paid = plus(paid, extra)
    worth = times(ways.limit * duration, charges.scale)
    back = running(charges.availability.reshape(pools, intervals))
    back = back[ways.pool, stop] - back[ways.pool, ways.start]
    margin = plus(worth, -paid)
    back = np.where(product == Product.RECLAIMABLE, back, 0)
    if ways.shaped.any():
        margin, back = _shaped_margins(view, charges, ways, margin, back)
    return margin, back


def _shaped_margins(
    view: View, charges: Charges, ways: Alternatives, margin: Ints, back: Ints
) -> tuple[Ints, Ints]:
    book, intervals = view.book, view.intervals
    shaped = np.flatnonzero(ways.shaped)
    block = ways.block[shaped]
    counts = book.blocks.duration[block]
    owner, later = expand(counts)
    chips = book.blocks.profile_chips[book.blocks.profile[block][owner] + later]
    way = shaped[owner]
    place = ways.pool[way] * intervals + ways.start[way] + later
    product = view.menus.product_of_bid[book.starts[2] - book.starts[1] + ways.block[way]]
    worth = times(ways.limit[way], charges.scale)
    offsets = offsets_of(counts)
    gain = times(plus(worth, -charges.products[product, place]), chips)
    again = np.where(product == Product.RECLAIMABLE, charges.availability[place], 0)
    margin, back = margin.astype(object), back.astype(object)
    margin[shaped] = sum_runs(offsets, gain)
    back[shaped] = sum_runs(offsets, times(again, chips))
    return margin, back


def gains(
    view: View,
    charges: Charges,
    ways: Alternatives,
    chips: Ints,
    besides: Ints | None = None,
    *,
    restarts: bool,
) -> tuple[Ints, Ints]:
    """Gain of each alternative at full and at least quantity, units of value times the scale.

    Args:
        view: Book and outcome.
        charges: What a chip pays.
        ways: Alternatives.
        chips: Full quantity of each; of a shaped one its largest entry.
        besides: What each pays besides, micro-USD per hour of an interval.
        restarts: Count restart costs kept (the objective), or not (surpluses).
    """
    scale = scale_of_time(view)
    margin, back = margins(view, charges, ways)
    if besides is not None:
        besides = times(times(besides, charges.scale), scale.per_chip)
    kept: Ints | int = 0
    if restarts:
        blocks = view.book.blocks
        stays = blocks.initial_pool[ways.block] == ways.pool
        stays &= ways.start == blocks.runs_until[ways.block]
        kept = np.where(stays, blocks.restart_cost[ways.block], 0)
        kept = times(times(kept, scale.per_usd), charges.scale)
    found = []
    one = np.ones(len(chips), dtype=np.int64)
    for quantity in (chips, ways.least):
        # A shaped margin is that of all its chips already.
        gain = times(margin, np.where(ways.shaped, one, quantity))
        gain = plus(gain, -times(back, np.where(ways.shaped, one, ways.least)))
        gain = times(gain, scale.per_chip)
        if besides is not None:
            gain = plus(gain, -besides)
        if isinstance(kept, np.ndarray) and kept.any():
            gain = plus(gain, times(kept, quantity))
        found.append(gain)
    return found[0], found[1]


def family_values(
    families: Families, gain: Ints, accepted: Bools, forced: Bools
) -> tuple[Ints, Ints, bool]:
    """Best response of every group, and of every block if it is accepted.

    Args:
        families: How the blocks hang together.
        gain: Of each block, at its best alternative.
        accepted: Whether a block has an alternative at all.
        forced: Whether a block must be accepted.

    Returns:
        Per group the best its members reach (with their children), per block its best, and
        whether everything forced can be had together.
    """
    linked = bool((families.parent >= 0).any())
    best = gain if not linked or most(gain) * len(gain) < LIMIT else gain.astype(object)
    best, forced = best.copy(), forced.copy()
    values = np.zeros(families.groups, dtype=best.dtype)
    possible = True
    for depth in range(int(families.depth.max()) if len(gain) else -1, -1, -1):
        here = families.depth == depth
        possible &= not (forced & here & ~accepted).any()
        open_ = here & accepted
        np.maximum.at(values, families.group[open_], best[open_])
        must = np.flatnonzero(here & forced)
        groups = families.group[must]
        possible &= len(np.unique(groups)) == len(groups)
        values[groups] = best[must]
        if depth:
            under = np.unique(families.group[here])
            np.add.at(best, families.over[under], values[under])
            forced[families.over[groups]] = True
    return values, best, possible


def family_total(families: Families, values: Ints) -> Ints:
    """Values of the groups at the roots: one per family."""
    found: Ints = values[families.over < 0]
    return found


def room(view: View, ways: Alternatives) -> Ints:
    """Chips that some outcome could deliver to each alternative; below its least where none.

    Supply of the pool and what its links can bring, within the power that base load leaves;
    released base load serves interruptibles only. Whatever covers a covered block, spare or
    reclaimable, is supply and draws power beside it, in whole nodes, together with the cover
    of base load. A backup must be able to hold what it is named for.
    """
    any_supply, firm_supply = carried_of(view)
    found = ways.chips.copy()
    tight = np.flatnonzero(_least_room(view, ways, any_supply, firm_supply) < ways.chips)
    if not len(tight):
        return found
    book, intervals = view.book, view.intervals
    blocks = book.blocks
    block_of, pool_of, shaped = ways.block[tight], ways.pool[tight], ways.shaped[tight]
    counts = blocks.duration[block_of]
    owner, later = expand(counts)
    block, pool, t = block_of[owner], pool_of[owner], ways.start[tight][owner] + later
    place = pool * intervals + t
    product = view.menus.product_of_bid[book.starts[2] - book.starts[1] + block]
    needed = ways.least[tight][owner]
    entry = shaped[owner]
    needed[entry] = blocks.profile_chips[blocks.profile[block[entry]] + later[entry]]
    here = np.where(_is_recallable(product), any_supply[place], firm_supply[place])
    standby = _standby(view, pool, view.totals.base_covered[place] + needed)
    here = np.where(product == Product.COVERED, here - standby, here)
    backup = ways.backup[tight][owner]
    if (backup >= 0).any():
        there = np.maximum(0, backup) * intervals + t
        here = np.where(backup >= 0, np.minimum(here, firm_supply[there]), here)
    offsets = offsets_of(counts)
    least = fold(np.minimum, offsets, here, 0)
    fits = fold(np.minimum, offsets, np.where(here >= needed, 1, 0), 1) == 1
    full = ways.chips[tight]
    found[tight] = np.where(shaped, np.where(fits, full, -1), np.minimum(full, least))
    return found


def _least_room(view: View, ways: Alternatives, any_supply: Ints, firm_supply: Ints) -> Ints:
    """Chips that each alternative finds in any interval whatever: most blocks fit everywhere."""
    pools = len(view.book.grid.pool_ids)
    shape = (pools, view.intervals)
    lowest = any_supply.reshape(shape).min(axis=1)
    lowest_firm = firm_supply.reshape(shape).min(axis=1)
    base = view.totals.base_covered.reshape(shape).max(axis=1)
    first = view.book.starts[2] - view.book.starts[1]
    product = view.menus.product_of_bid[first + ways.block]
    found = np.where(_is_recallable(product), lowest[ways.pool], lowest_firm[ways.pool])
    standby = _standby(view, ways.pool, base[ways.pool] + ways.chips)
    found = np.where(product == Product.COVERED, found - standby, found)
    there = lowest_firm[np.maximum(0, ways.backup)]
    least: Ints = np.where(ways.backup >= 0, np.minimum(found, there), found)
    return least


def _is_recallable(product: Ints) -> Bools:
    found: Bools = (product == Product.RECLAIMABLE) | (product == Product.RECALLABLE)
    return found


def _standby(view: View, pool: Ints, covered: Ints) -> Ints:
    """Chips that must stand by for so many covered ones, in whole nodes."""
    grid = view.book.grid
    # theta at most 10**6, covered chips below 10**8 x number of nominations.
    return whole_nodes(divide_up(times(covered, grid.theta[pool]), PPM), grid.node[pool])
