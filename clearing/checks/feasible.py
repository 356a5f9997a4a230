"""Checks that awards are what the orders allow: where, when, how much, with what else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clearing.checks.accounts import on_intervals, taken_in
from clearing.checks.curves import find
from clearing.checks.exact import Ints, expand, fold, offsets_of, spread, zeros
from clearing.checks.facts import View
from clearing.checks.families import families_of
from clearing.checks.menus import NO_BACKUP


def check_eligible(view: View) -> Iterator[str]:
    """ELIGIBLE: every award is in a pool that its order allows, with backups that it allows.

    Why: residency, legal control and certification are conditions, not preferences; so is the
    site of a backup. Source: DESIGN 3, clearing-rules.
    """
    book, taken, menus = view.book, view.taken, view.menus
    pools = len(book.grid.pool_ids)
    own = np.full(book.orders, -1, dtype=np.int64)
    own[: book.offers] = book.offer_pool
    own[book.starts[4] :] = book.base.pool
    bid = own[taken.order] < 0
    arc_menu = np.repeat(np.arange(len(menus.product)), np.diff(menus.menu_arcs))
    known = _ascending(arc_menu * pools + menus.pool)
    menu = menus.of_bid[np.where(bid, taken.order - book.starts[1], 0)] if bid.any() else None
    wrong = ~bid & (own[taken.order] != taken.pool)
    if menu is not None:
        wrong |= bid & (find(known, menu * pools + taken.pool) < 0)
    for at in np.flatnonzero(wrong):
        yield f"{view.name(taken.order[at])} is served in {book.grid.pool_ids[taken.pool[at]]}"
    yield from _eligible_backups(view, arc_menu)


def _ascending(codes: Ints) -> Ints:
    """Distinct codes in ascending order; most are that already."""
    return codes if (np.diff(codes) > 0).all() else np.unique(codes)


def _eligible_backups(view: View, arc_menu: Ints) -> Iterator[str]:
    book, taken, menus = view.book, view.taken, view.menus
    awards = view.published.awards
    pools = len(book.grid.pool_ids)
    order = taken.order[awards.backup_award]
    pool, backup = taken.pool[awards.backup_award], awards.backup_pool
    base = order >= book.starts[4]
    arcs = menus.backup != NO_BACKUP
    bid_known = np.unique((arc_menu[arcs] * pools + menus.pool[arcs]) * pools + menus.backup[arcs])
    owner, _ = expand(np.diff(book.base.backups))
    base_known = np.unique(owner * pools + book.base.backup_pool)
    wrong = np.zeros(len(order), dtype=np.bool_)
    menu = menus.of_bid[order[~base] - book.starts[1]]
    wrong[~base] = find(bid_known, (menu * pools + pool[~base]) * pools + backup[~base]) < 0
    wrong[base] = find(base_known, (order[base] - book.starts[4]) * pools + backup[base]) < 0
    for at in np.flatnonzero(wrong):
        yield f"{view.name(order[at])} is backed by {book.grid.pool_ids[backup[at]]}"


def check_node_multiples(view: View) -> Iterator[str]:
    """NODE_MULTIPLES: supply, demand, backups and flows are whole nodes; base load is as it stands.

    Source: DESIGN 4.1 row 3.
    """
    taken, grid = view.taken, view.book.grid
    node = taken.node[taken.award]
    parts = (taken.chips % node != 0) | (taken.reserve % node != 0)
    parts |= taken.site_reserve % node != 0
    backed = taken.backup_cell[taken.backup_chips % node[taken.backup_cell] != 0]
    parts[backed] = True
    for award in np.unique(taken.award[parts & ~taken.base]):
        yield f"{view.name(taken.order[award])} is not in nodes of {taken.node[award]}"
    links, flows = view.book.links, view.published.flow_chips
    sizes = np.repeat(grid.node[links.from_pool], view.intervals)
    for at in np.unique(np.flatnonzero(flows % sizes != 0) // view.intervals):
        yield f"link {links.link_ids[at]} does not carry whole nodes"


def check_window(view: View) -> Iterator[str]:
    """WINDOW: a step order takes at most its curve, a block runs once inside its window.

    A work bid takes at most its rate in each interval of its window, and its work in all.
    """
    book, taken, curves = view.book, view.taken, view.curves
    stop = curves.starts[2]
    divisible = ~taken.base & ((taken.who < book.starts[2]) | (taken.who >= book.starts[3]))
    work = taken.who >= book.starts[3]
    outside = divisible & (taken.chips > 0)
    outside[outside] = (
        np.where(
            work[outside],
            find(view.work_cells.key, taken.key[outside]),
            find(curves.key[:stop], taken.key[outside]),
        )
        < 0
    )
    for at in np.flatnonzero(outside):
        yield f"{view.name(taken.who[at])}[{taken.at[at]}] is outside its intervals"
    bids = slice(curves.starts[1], stop)
    chips = taken_in(view, curves.key[bids])
    for at in np.flatnonzero(chips > curves.chips[bids]):
        cell = at + curves.starts[1]
        where = f"{view.name(curves.order[cell])}[{curves.interval[cell]}]"
        yield f"{where} takes {chips[at]} chips, more than it bid for"
    yield from _work_window(view)
    blocks = book.blocks
    block = taken.order - book.starts[2]
    of_block = (block >= 0) & (taken.order < book.starts[3])
    first, lengths = view.published.awards.first, view.published.awards.lengths
    for at in np.flatnonzero(of_block):
        name, own = view.name(taken.order[at]), block[at]
        if not blocks.earliest[own] <= first[at] <= blocks.latest[own]:
            yield f"{name} starts at {first[at]}, outside its window"
        if lengths[at] != blocks.duration[own]:
            yield f"{name} runs {lengths[at]} intervals, not {blocks.duration[own]}"


def _work_window(view: View) -> Iterator[str]:
    works, cells = view.book.works, view.work_cells
    chips = taken_in(view, cells.key)
    first = view.book.starts[3]
    for at in np.flatnonzero(chips > works.max_chips[cells.work]):
        name = view.name(first + cells.work[at])
        yield f"{name}[{cells.interval[at]}] takes {chips[at]} chips, more than its rate"
    done = spread(cells.work, chips, len(works.work))
    for at in np.flatnonzero(done > works.work // view.book.grid.duration_s):
        yield f"{view.name(first + at)} takes {done[at]} chip-intervals, more than its work"


def check_block_fill(view: View) -> Iterator[str]:
    """BLOCK_FILL: one pool and one backup, the same chips throughout, between least and full.

    One with a profile takes exactly its profile. Why: a gang that is split or starved does
    not run. Source: DESIGN 4.1 rows 3 and 4.
    """
    book, taken, awards = view.book, view.taken, view.published.awards
    blocks = book.blocks
    of_block = np.flatnonzero((taken.order >= book.starts[2]) & (taken.order < book.starts[3]))
    block = taken.order[of_block] - book.starts[2]
    counts = np.bincount(block, minlength=len(blocks.chips))
    for at in np.flatnonzero(counts > 1):
        yield f"{view.name(book.starts[2] + at)} is split over {counts[at]} pools"
    backups = np.bincount(awards.backup_award, minlength=len(taken.order))
    for at in of_block[backups[of_block] > 1]:
        yield f"{view.name(taken.order[at])} has {backups[at]} backups, not one"
    offsets = offsets_of(awards.lengths)
    lowest = fold(np.minimum, offsets, awards.chips, 0)[of_block]
    highest = fold(np.maximum, offsets, awards.chips, 0)[of_block]
    shaped = np.diff(blocks.profile)[block] > 0
    least, full = taken.least[of_block], blocks.chips[block]
    for at in np.flatnonzero(~shaped & (lowest != highest)):
        yield f"{view.name(taken.order[of_block[at]])} changes its size"
    for at in np.flatnonzero(~shaped & ((lowest < least) | (highest > full))):
        yield f"{view.name(taken.order[of_block[at]])} runs outside {least[at]} to {full[at]} chips"
    for at in np.flatnonzero(shaped):
        own, award = block[at], of_block[at]
        wanted = blocks.profile_chips[blocks.profile[own] : blocks.profile[own + 1]]
        if awards.chips[offsets[award] : offsets[award + 1]].tolist() != wanted.tolist():
            yield f"{view.name(taken.order[award])} departs from its profile"


def check_exclusive(view: View) -> Iterator[str]:
    """EXCLUSIVE: at most one order of an exclusive group is accepted (DESIGN 4.1 row 5)."""
    book = view.book
    families = families_of(view)
    accepted = np.flatnonzero(view.accepted[book.starts[2] : book.starts[3]])
    counts = np.bincount(families.group[accepted], minlength=families.groups)
    for group in np.flatnonzero(counts > 1):
        names = accepted[families.group[accepted] == group] + book.starts[2]
        yield f"{', '.join(view.name(at) for at in names)} exclude each other"


def check_linked(view: View) -> Iterator[str]:
    """LINKED: a linked order is accepted only if its parent is (DESIGN 4.1 row 5)."""
    first = view.book.starts[2]
    blocks = view.book.blocks
    child = np.flatnonzero(view.accepted[first : view.book.starts[3]] & (blocks.parent >= 0))
    for at in child[~view.accepted[first + blocks.parent[child]]]:
        parent = view.name(first + blocks.parent[at])
        yield f"{view.name(first + at)} is accepted without its parent {parent}"


def net_inflow(view: View) -> Ints:
    """Chips that links bring to each place, less those that they take away."""
    links, flows = view.book.links, view.published.flow_chips
    found = zeros(view.book.grid.places)
    if len(links.link_ids):
        at = np.tile(np.arange(view.intervals), len(links.link_ids))
        into = np.repeat(links.to_pool, view.intervals) * view.intervals + at
        out = np.repeat(links.from_pool, view.intervals) * view.intervals + at
        found = spread(into, flows, len(found)) - spread(out, flows, len(found))
    return found


def check_balance(view: View) -> Iterator[str]:
    """BALANCE: no pool delivers more than was sold there or carried to it.

    Supply left over has sold at zero; where prices may be negative nothing is left over. Base
    load is self-supplied and on neither side. Source: DESIGN 4.1 row 1, clearing-rules "Rows".
    """
    totals, grid = view.totals, view.book.grid
    over = totals.sold + net_inflow(view) - totals.delivered
    equal = view.book.book.spec.price_floor < 0
    for place in np.flatnonzero(over < 0):
        yield f"{grid.name(place)} delivers {-over[place]} chips more than it has"
    left = (over > 0) & (np.bool_(equal) | (view.prices["energy"] > 0))
    for place in np.flatnonzero(left):
        yield f"{grid.name(place)} pays for {over[place]} chips that nobody takes"


def check_headroom(view: View) -> Iterator[str]:
    """HEADROOM: sold plus spare is within each offer, and the pool within its capacity.

    One purpose per chip. Released base load holds no spare: it serves interruptibles only.
    Source: DESIGN 4.1 row 7.
    """
    book, taken, curves, totals = view.book, view.taken, view.curves, view.totals
    cells = np.flatnonzero(taken.supply)
    stop = curves.starts[1]
    at = find(curves.key[:stop], taken.key[cells])
    offered = np.where(at >= 0, curves.chips[:stop][at], 0) if stop else zeros(len(cells))
    held = taken.reserve[cells] + taken.site_reserve[cells]
    for cell in cells[taken.chips[cells] + held > offered]:
        where = f"{view.name(taken.who[cell])}[{taken.at[cell]}]"
        yield f"{where} sells {taken.chips[cell]} and holds spare, together more than it offered"
    for cell in cells[book.released[taken.who[cells]] & (held > 0)]:
        where = f"{view.name(taken.who[cell])}[{taken.at[cell]}]"
        yield f"{where} holds released base load as spare"
    used = totals.sold + totals.spare + totals.site_spare + totals.base
    for place in np.flatnonzero(used > view.per_place(book.grid.capacity)):
        yield f"{book.grid.name(place)} uses more than its capacity"


def check_commitment(view: View) -> Iterator[str]:
    """COMMITMENT: an offer with a commitment runs as it said, and sells and holds nothing else.

    On only where it has a segment, each run at least ``min_run_intervals`` long and apart from
    the next, at least ``min_chips`` sold while on. A whole one sells everything or nothing,
    in one run over all its segments, and never stands by. Source: clearing-rules.
    """
    book, curves, taken = view.book, view.curves, view.taken
    units = book.units
    on = on_intervals(view)
    stop = curves.starts[1]
    unit = book.unit_of[curves.order[:stop]]
    offered = np.full(on.shape, -1, dtype=np.int64)
    offered[unit[unit >= 0], curves.interval[:stop][unit >= 0]] = curves.chips[:stop][unit >= 0]
    yield from _runs(view, offered)
    sold, held = zeros(on.size), zeros(on.size)
    cells = np.flatnonzero(taken.supply)
    cells = cells[book.unit_of[taken.who[cells]] >= 0]
    at = book.unit_of[taken.who[cells]] * view.intervals + taken.at[cells]
    np.add.at(sold, at, taken.chips[cells])
    np.add.at(held, at, taken.reserve[cells] + taken.site_reserve[cells])
    sold, held = sold.reshape(on.shape), held.reshape(on.shape)
    least = np.where(units.whole[:, None], np.maximum(0, offered), units.min_chips[:, None])
    problems = {
        "is on where it offers nothing": on & (offered < 0),
        "sells or holds while it is off": ~on & ((sold > 0) | (held > 0)),
        "sells less than its least quantity": on & (sold < least),
        "stands by although it is a supply block": on & units.whole[:, None] & (held > 0),
    }
    for problem, wrong in problems.items():
        for row, t in np.argwhere(wrong):
            yield f"{view.name(units.order[row])}[{t}] {problem}"


def _runs(view: View, offered: Ints) -> Iterator[str]:
    book, published = view.book, view.published
    units = book.units
    unit = book.unit_of[published.run_order]
    first, stop = published.run_first, published.run_stop
    short = ~units.whole[unit] & (stop - first < units.min_run[unit])
    for at in np.flatnonzero(short):
        yield f"{view.name(published.run_order[at])} runs {stop[at] - first[at]} intervals"
    again = unit[1:] == unit[:-1]
    for at in np.flatnonzero(again & ((first[1:] <= stop[:-1]) | units.whole[unit[1:]])):
        yield f"{view.name(published.run_order[at + 1])} has runs that touch, or two of one block"
    inside = offered >= 0
    for at in np.flatnonzero(units.whole[unit]):
        here = np.flatnonzero(inside[unit[at]])
        if (first[at], stop[at]) != (here[0], here[-1] + 1):
            yield f"{view.name(published.run_order[at])} is a supply block on in part"


def check_links(view: View) -> Iterator[str]:
    """LINKS: every flow is within the range of its link (DESIGN 4.1 row 1)."""
    links, flows = view.book.links, view.published.flow_chips
    for at in np.flatnonzero((flows < links.least) | (flows > links.most)):
        name = links.link_ids[at // view.intervals]
        yield f"{name}[{at % view.intervals}] carries {flows[at]}, outside its range"
