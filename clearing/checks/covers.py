"""Checks of power, reserve and base load: what is promised can be kept when something fails."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clearing.checks.accounts import on_intervals
from clearing.checks.curves import find
from clearing.checks.exact import Bools, Index, Ints, divide_up, spread, times, whole_nodes, zeros
from clearing.checks.facts import View, cover_shortage
from clearing.checks.menus import Product
from clearing.units import PPM


def drawn(view: View) -> tuple[Ints, Ints]:
    """Watts of base load, and of everything else, per site x intervals + interval; made once."""
    known = view.memory.get("drawn")
    if isinstance(known, tuple):
        return known
    totals, watts = view.totals, view.per_place(view.book.grid.chip_power)
    traded = totals.delivered + totals.spare + totals.site_spare
    found = view.site_sum(times(totals.base, watts)), view.site_sum(times(traded, watts))
    view.memory["drawn"] = found
    return found


def check_power(view: View) -> Iterator[str]:
    """POWER: delivered, base and spare chips stay within their site's power.

    Base load is served first; where it alone exceeds the limit nothing else may run.
    Source: DESIGN 4.1 row 6.
    """
    grid = view.book.grid
    base, traded = drawn(view)
    limit = np.repeat(grid.power_limit, view.intervals)
    for at in np.flatnonzero((limit >= 0) & (traded > np.maximum(0, limit - base))):
        name = f"{grid.site_ids[at // view.intervals]}[{at % view.intervals}]"
        yield f"{name} draws {base[at] + traded[at]} W of {limit[at]}"


def check_reclaimable(view: View) -> Iterator[str]:
    """RECLAIMABLE: what counts as reserve is an interruptible award that can answer in time.

    For NODE cover steps and work count whole, blocks only above their minimum, nothing with a
    notice above the cover time; for SITE cover every chip within its notice. No chip counts
    twice. Source: DESIGN 4.1 rows 7 and 8.
    """
    taken = view.taken
    recallable = (taken.product == Product.RECLAIMABLE) | (taken.product == Product.RECALLABLE)
    problems = {
        "counts for more than can be reclaimed": taken.reserve > taken.countable,
        "counts for the loss of a site, which it cannot": (taken.site_reserve > 0) & ~recallable,
        "counts twice": taken.reserve + taken.site_reserve > taken.chips,
    }
    for problem, wrong in problems.items():
        for award in np.unique(taken.award[wrong & ~taken.supply]):
            yield f"{view.name(taken.order[award])} {problem}"


def check_recallable(view: View) -> Iterator[str]:
    """RECALLABLE: reserve and released base load stand on interruptibles, and none twice.

    Source: DESIGN 4.1 rows 7 and 8 ("released base load serves interruptibles only").
    """
    totals, grid = view.totals, view.book.grid
    claimed = totals.reserve + totals.site_reserve + totals.released
    for place in np.flatnonzero(claimed > totals.recallable):
        there = totals.recallable[place]
        yield f"{grid.name(place)} claims {claimed[place]} of {there} interruptible chips"


def check_node_cover(view: View) -> Iterator[str]:
    """NODE_COVER: spare and counted reserve are theta of the covered load, up to whole nodes.

    Not less, and not more: chips that stand by for nothing draw power and earn what others
    pay. A shortage is admitted only where base load alone lacks it, its nominations say
    ``COVER_SHORTAGE``, no supply is idle, and nothing that could stand by was sold instead.
    Source: DESIGN 4.1 row 8a; clearing-rules, "Rows".
    """
    totals, grid = view.totals, view.book.grid
    covered = totals.covered + totals.base_covered
    needed = divide_up(times(covered, view.per_place(grid.theta)), PPM)
    needed = whole_nodes(needed, view.per_place(grid.node))
    held = totals.spare + totals.reserve
    short = cover_shortage(view) > 0
    lacking = (held < needed) & ~short
    for place in np.flatnonzero(lacking):
        what = f"{covered[place]} chips with {held[place]} of {needed[place]}"
        yield f"{grid.name(place)} covers {what}"
    for place in np.flatnonzero(held > needed):
        yield f"{grid.name(place)} holds {held[place]}, more than the {needed[place]} it needs"
    reach = np.minimum(needed, _standing_supply(view)) if short.any() else held
    for place in np.flatnonzero(short):
        if held[place] < reach[place] or _can_hold_more(view, int(place)):
            yield f"{grid.name(place)} lacks cover of base load that it could have held"


def _standing_supply(view: View) -> Ints:
    """Chips per place that could have stood by for NODE cover before anything was traded.

    Whole nodes of offers without a commitment, less what base load's own backups need; zero
    where site power might not carry them.
    """
    book, curves, grid, totals = view.book, view.curves, view.book.grid, view.totals
    stop = curves.starts[1]
    owner = curves.order[:stop]
    firm = np.flatnonzero(~book.released[owner] & (book.unit_of[owner] < 0))
    pool = book.offer_pool[owner[firm]]
    chips = curves.chips[firm] // grid.node[pool] * grid.node[pool]
    supply = spread(pool * view.intervals + curves.interval[firm], chips, grid.places)
    backups = whole_nodes(_most_named(view, totals.base_named), view.per_place(grid.node))
    free = view.per_place(grid.power_limit[grid.site_of]) < 0
    return np.where(free, np.maximum(0, supply - backups), 0)


def _most_named(view: View, named: Ints) -> Ints:
    """Per place the largest sum over lost sites of the chips that name it."""
    place = np.repeat(view.pairs.pool, view.intervals) * view.intervals
    place += np.tile(np.arange(view.intervals), len(view.pairs.pool))
    found = zeros(view.book.grid.places)
    np.maximum.at(found, place, named)
    return found


def check_site_cover(view: View) -> Iterator[str]:
    """SITE_COVER: whichever site is lost, every chip that named a backup finds it there.

    Per backup pool, spare and counted reserve are the largest sum over lost sites of the
    chips that name it, in whole nodes; not less, and not more. A covered bid names a backup
    for every chip. Base load may lack some only where no bid of its site names one of its
    candidates, nothing that is held there is left for it, and no supply is idle there.
    Source: DESIGN 4.1 row 8b.
    """
    taken, totals, grid = view.taken, view.totals, view.book.grid
    named_of = spread(taken.backup_cell, taken.backup_chips, len(taken.chips))
    bids = taken.product == Product.SITE
    for cell in np.flatnonzero(bids & (named_of != taken.chips)):
        where = f"{view.name(taken.who[cell])}[{taken.at[cell]}]"
        yield f"{where} names backups for {named_of[cell]} of {taken.chips[cell]} chips"
    needed = _most_named(view, totals.bids_named + totals.base_named)
    needed = whole_nodes(needed, view.per_place(grid.node))
    held = totals.site_spare + totals.site_reserve
    for at in np.flatnonzero(held != needed):
        yield f"{grid.name(at)} holds {held[at]} for the loss of a site, {needed[at]} are named"
    yield from _base_backups(view, named_of, held)


def _base_backups(view: View, named_of: Ints, held: Ints) -> Iterator[str]:
    book, taken, totals, grid = view.book, view.taken, view.totals, view.book.grid
    cells = np.flatnonzero(taken.base)
    site_cover = book.base.site_cover[taken.who[cells] - book.starts[4]]
    cells = cells[site_cover]
    short = short_site(view, named_of)
    for cell in cells[short[cells] < 0]:
        yield f"{view.name(taken.who[cell])}[{taken.at[cell]}] names more backups than it has chips"
    for cell in cells[short[cells] > 0]:
        where = f"{view.name(taken.who[cell])}[{taken.at[cell]}]"
        base, site = taken.who[cell] - book.starts[4], grid.site_of[taken.pool[taken.award[cell]]]
        candidates = book.base.backup_pool[book.base.backups[base] : book.base.backups[base + 1]]
        pairs = view.pair_of(np.repeat(site, len(candidates)), candidates)
        for pool, pair in zip(candidates, pairs, strict=True):
            at, place = (
                pair * view.intervals + taken.at[cell],
                pool * view.intervals + taken.at[cell],
            )
            if totals.bids_named[at]:
                yield f"{where} lacks a backup that a bid of its site has in {grid.pool_ids[pool]}"
            elif held[place] - totals.base_named[at] >= grid.node[pool]:
                yield f"{where} lacks a backup that {grid.pool_ids[pool]} holds"
            elif _can_hold_more(view, int(place)):
                yield f"{where} lacks a backup although a node stands idle in {grid.pool_ids[pool]}"


def short_site(view: View, named_of: Ints | None = None) -> Ints:
    """Per cell: chips of SITE-covered base load without a backup; 0 for everybody else."""
    taken, book = view.taken, view.book
    if named_of is None:
        named_of = spread(taken.backup_cell, taken.backup_chips, len(taken.chips))
    covered = taken.base.copy()
    covered[covered] = book.base.site_cover[taken.who[covered] - book.starts[4]]
    return np.where(covered, taken.chips - named_of, 0)


def _can_hold_more(view: View, place: int) -> bool:
    """Whether one more node could stand by in a place: unsold, of an offer that is on, powered."""
    grid = view.book.grid
    pool, t = divmod(place, view.intervals)
    if not idle_nodes(view)[place]:
        return False
    site = int(grid.site_of[pool])
    if grid.power_limit[site] < 0:
        return True
    base, traded = drawn(view)
    at = site * view.intervals + t
    more = int(grid.chip_power[pool]) * int(grid.node[pool])
    return int(base[at]) + int(traded[at]) + more <= int(grid.power_limit[site])


def idle_nodes(view: View) -> Ints:
    """Whole nodes per place that offers which are on neither sold nor hold."""
    known = view.memory.get("idle nodes")
    if isinstance(known, np.ndarray):
        return known
    book, curves, taken = view.book, view.curves, view.taken
    stop = curves.starts[1]
    owner, t = curves.order[:stop], curves.interval[:stop]
    left = curves.chips[:stop].copy()
    cells = np.flatnonzero(taken.supply)
    at = find(curves.key[:stop], taken.key[cells])
    used = taken.chips[cells] + taken.reserve[cells] + taken.site_reserve[cells]
    np.subtract.at(left, at[at >= 0], used[at >= 0])
    unit = book.unit_of[owner]
    counts: Bools = ~book.released[owner]
    committed = np.flatnonzero(unit >= 0)
    counts[committed] &= on_intervals(view)[unit[committed], t[committed]]
    counts[committed] &= ~book.units.whole[unit[committed]]
    pool = book.offer_pool[owner]
    nodes = np.where(counts, np.maximum(0, left) // book.grid.node[pool], 0)
    found = spread(pool * view.intervals + t, nodes, book.grid.places)
    view.memory["idle nodes"] = found
    return found


def check_base(view: View) -> Iterator[str]:
    """BASE: a nomination is served as it stands; only missing site power may cut it.

    It needs no seller, so nothing but the power of its site can leave it short. What is
    missing must also be reported as a shortfall (REASONS). Source: DESIGN 3, "Base load".
    """
    book, curves, taken, grid = view.book, view.curves, view.taken, view.book.grid
    cells = slice(curves.starts[2], curves.starts[3])
    keys, wanted = curves.key[cells], curves.chips[cells]
    served = np.flatnonzero(taken.base & (taken.chips > 0))
    at = find(keys, taken.key[served])
    for cell in served[at < 0]:
        yield f"{view.name(taken.who[cell])}[{taken.at[cell]}] is served where it nominated nothing"
    given = spread(at[at >= 0], taken.chips[served[at >= 0]], len(keys))
    for row in np.flatnonzero(given > wanted):
        yield f"{_base_name(view, row)} is served more than it nominated"
    base, _ = drawn(view)
    pool = book.base.pool[curves.order[cells] - book.starts[4]]
    site = grid.site_of[pool]
    limit = grid.power_limit[site]
    # One more node of the pool would not fit beside base load alone.
    used = base[site * view.intervals + curves.interval[cells]]
    full = (limit >= 0) & (used + grid.chip_power[pool] * grid.node[pool] > limit)
    for row in np.flatnonzero((given < wanted) & ~full):
        missing = wanted[row] - given[row]
        yield f"{_base_name(view, row)} lacks {missing} chips although its site has power"


def _base_name(view: View, row: Index) -> str:
    cell = view.curves.starts[2] + int(row)
    return f"{view.name(view.curves.order[cell])}[{view.curves.interval[cell]}]"
