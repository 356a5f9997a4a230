"""Check that divisible orders, and the divisible part of blocks, have what they want."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clearing.checks.accounts import factor_of
from clearing.checks.charges import (
    Charges,
    arc_charges,
    charges_at_prices,
    demand_of,
    lane_charges,
    limit_in,
)
from clearing.checks.curves import find
from clearing.checks.exact import Ints, expand, plus, spread, sum_runs, times, zeros
from clearing.checks.facts import View
from clearing.checks.menus import Product
from clearing.checks.prices import ROUNDING
from clearing.checks.responses import (
    Response,
    bids_at_prices,
    offers_at_prices,
    works_at_prices,
)
from clearing.checks.room import has_room, has_supply
from clearing.units import SECONDS_PER_HOUR

Buyer = tuple[int, tuple[int, ...], tuple[int, ...]]
"""What is bought (product), the backups that could stand in, and in which places at once."""


def check_step_rule(view: View) -> Iterator[str]:
    """STEP_RULE: in the money full, out of the money nothing, partial only at the price.

    Per order, interval and pool, with the one-node rule: whole nodes may leave an order
    less than one node per pool it could use at best, or does use, off its best response; an
    offer also per pool to which its buyers could as well have gone, or to which links lead.
    Below its best response it may stay by more only where the next node does not fit: where
    in each of those pools, other than sold out ones, one more node would break POWER,
    NODE_COVER or SITE_COVER (``clearing.checks.room``); for an offer, whoever would buy it.
    Work is held to it by interval, its best intervals first. A block is held to it for its
    fill above the minimum; an offer with a commitment where it is on, above ``min_chips``.
    Source: DESIGN 4.2 "Whole nodes", 4.3; clearing-rules, last section.
    """
    charges = charges_at_prices(view)
    yield from _offers(view)
    bids, _ = bids_at_prices(view)
    works = works_at_prices(view)
    begin = view.curves.starts[1]
    rule = _BidRule(view=view)
    yield from rule.cells(bids, view.curves.order[begin : view.curves.starts[2]], works=False)
    yield from rule.cells(works.cells, view.work_cells.work + view.book.starts[3], works=True)
    yield from _work_totals(view, rule)
    yield from _in_each_pool(view, charges)
    yield from _blocks(view)


def _offers(view: View) -> Iterator[str]:
    """Sold chips against the steps that sell better than they would stand by."""
    book, curves = view.book, view.curves
    response = offers_at_prices(view)
    owner = curves.order[: curves.starts[1]]
    pool = book.offer_pool[owner]
    node = book.grid.node[pool]
    low, high = response.least - node < response.taken, response.taken < response.most + node
    missed = np.flatnonzero(response.bound & ~(low & high))
    if not len(missed):
        return
    places = pool * view.intervals + curves.interval[: curves.starts[1]]
    market = _demand(view, set(places[missed].tolist()))
    for cell in missed:
        place, sold = int(places[cell]), int(response.taken[cell])
        least, most = int(response.least[cell]), int(response.most[cell])
        if sold >= least or not _explained(view, market, place, least - sold):
            where = f"{view.name(owner[cell])}[{curves.interval[cell]}]"
            yield f"{where} sells {sold}, best is {least} to {most}"


@dataclass(slots=True, kw_only=True)
class _Market:
    """What buyers would still do, per place.

    Attributes:
        wanting: Who would buy more here.
        joined: Other pools that a bid here would use as well, or to which links lead.
    """

    wanting: dict[int, set[Buyer]]
    joined: dict[int, set[int]]


def _explained(view: View, market: _Market, place: int, missing: int) -> bool:
    """Whether whole nodes explain that an offer sells so much too little."""
    pools = {place // view.intervals, *market.joined[place]}
    if missing < sum(int(view.book.grid.node[pool]) for pool in pools):
        return True
    t = place % view.intervals
    buyers = set().union(*(market.wanting[pool * view.intervals + t] for pool in pools))
    buyers = buyers or {(int(Product.UNCOVERED), (), (place,))}
    return not any(
        all(has_room(view, at, product, backups) for at in run) for product, backups, run in buyers
    )


def _demand(view: View, places: set[int]) -> _Market:
    linked = _linked(view)
    t_of = {place: place % view.intervals for place in places}
    market = _Market(wanting=defaultdict(set), joined=defaultdict(set))
    for place, t in t_of.items():
        market.joined[place] = set(linked[place // view.intervals])
        places = places | {pool * view.intervals + t for pool in market.joined[place]}
    demand = demand_of(view)
    usable = usable_arcs(view)
    wanted = np.array(sorted(places), dtype=np.int64)
    here = np.unique(demand.row[usable & (find(wanted, demand.place) >= 0)])
    responses = (
        (bids_at_prices(view)[0], demand.of_cell),
        (works_at_prices(view).cells, demand.of_work),
    )
    for response, rows in responses:
        for cell in np.flatnonzero((find(here, rows) >= 0) & (response.most > 0)):
            _join(view, market, usable, int(rows[cell]), response.taken[cell] < response.most[cell])
    for block in _short_blocks(view):
        for at in block[2]:
            market.wanting[at].add(block)
    return market


def _join(view: View, market: _Market, usable: Ints, row: int, more: bool) -> None:  # noqa: FBT001
    """Note which pools a bid could use alike, and that it would buy more in them."""
    demand = demand_of(view)
    arcs = np.arange(demand.row_arcs[row], demand.row_arcs[row + 1])
    arcs = arcs[usable[arcs]]
    places = demand.place[arcs]
    backups = demand.named[arcs]
    product = int(view.menus.product[demand.menu[row]])
    for place in set(places.tolist()):
        market.joined[place].update(int(other) // view.intervals for other in set(places.tolist()))
        if more:
            named = backups[places == place]
            pools = view.pairs.pool[named[named >= 0] // view.intervals]
            market.wanting[place].add((product, tuple(sorted(pools.tolist())), (place,)))


def _linked(view: View) -> list[set[int]]:
    """Pools that links join, directly or by way of others; each with itself."""
    links = view.book.links
    found = [{pool} for pool in range(len(view.book.grid.pool_ids))]
    for here, there in zip(links.from_pool.tolist(), links.to_pool.tolist(), strict=True):
        both = found[here] | found[there]
        for pool in both:
            found[pool] = both
    return found


def usable_arcs(view: View) -> Ints:
    """Which arcs are as good as the best of their lane, up to rounding; made once per view."""
    known = view.memory.get("usable")
    if isinstance(known, np.ndarray):
        return known
    charges, demand = charges_at_prices(view), demand_of(view)
    best = np.repeat(lane_charges(charges, demand), np.diff(demand.arcs))
    found: Ints = arc_charges(charges, demand) <= best + ROUNDING
    view.memory["usable"] = found
    return found


@dataclass(slots=True, kw_only=True)
class _BidRule:
    """Chips that step and work bids take in each interval, over all their pools."""

    view: View

    def cells(self, response: Response, owner: Ints, *, works: bool) -> Iterator[str]:
        view = self.view
        demand = demand_of(view)
        rows = demand.of_work if works else demand.of_cell
        interval = demand.interval[rows]
        off = (response.taken < response.least) | (response.taken > response.most)
        for cell in np.flatnonzero(off):
            taken, least, most = (
                int(values[cell]) for values in (response.taken, response.least, response.most)
            )
            if not self.near(int(rows[cell]), int(owner[cell]), taken, least, most):
                where = f"{view.name(owner[cell])}[{interval[cell]}]"
                yield f"{where} takes {taken}, best is {least} to {most}"

    def near(self, row: int, order: int, taken: int, least: int, most: int) -> bool:
        """Whether whole nodes explain that a bid misses its best response."""
        view = self.view
        demand, node = demand_of(view), view.book.grid.node
        t = int(demand.interval[row])
        pools = self.pools(row, order)
        slack = sum(int(node[pool]) for pool in pools)
        if least - slack < taken < most + slack:
            return True
        if taken >= least:
            return False
        product = int(view.menus.product[demand.menu[row]])
        full = [
            pool
            for pool in pools
            if not has_room(view, pool * view.intervals + t, product, self.backups(row, pool))
        ]
        others = [pool for pool in pools if pool not in full]
        # Where another pool has room, it must have nothing left to sell.
        return bool(full) and not any(
            has_supply(view, pool * view.intervals + t, product) for pool in others
        )

    def pools(self, row: int, order: int) -> list[int]:
        """Pools that a bid uses, or could use as well as its best."""
        view = self.view
        demand = demand_of(view)
        arcs = np.arange(demand.row_arcs[row], demand.row_arcs[row + 1])
        best = demand.place[arcs[usable_arcs(view)[arcs]]] // view.intervals
        key = order * view.intervals + int(demand.interval[row])
        cells = _cells_of(view, key)
        used = view.taken.pool[view.taken.award[cells]]
        return sorted({*best.tolist(), *used.tolist()})

    def backups(self, row: int, pool: int) -> list[int]:
        """Backups that a bid may name in a pool."""
        view = self.view
        demand = demand_of(view)
        arcs = slice(demand.row_arcs[row], demand.row_arcs[row + 1])
        named = demand.named[arcs][demand.place[arcs] // view.intervals == pool]
        found: list[int] = view.pairs.pool[named[named >= 0] // view.intervals].tolist()
        return found


def _cells_of(view: View, key: int) -> Ints:
    """Award cells of one order in one interval that take something."""
    known = view.memory.get("by key")
    if not isinstance(known, tuple):
        order = np.argsort(view.taken.key, kind="stable")
        known = (order, view.taken.key[order])
        view.memory["by key"] = known
    order, keys = known
    cells = order[np.searchsorted(keys, key) : np.searchsorted(keys, key, side="right")]
    found: Ints = cells[view.taken.chips[cells] > 0]
    return found


def _work_totals(view: View, rule: _BidRule) -> Iterator[str]:
    """Work is short by less than a node per interval, or the next node does not fit."""
    works = works_at_prices(view)
    cells, grid = view.work_cells, view.book.grid
    demand = demand_of(view)
    for bid in np.flatnonzero(works.done < works.least):
        order = view.book.starts[3] + int(bid)
        here = np.arange(cells.cells[bid], cells.cells[bid + 1])
        here = here[works.net[here] > ROUNDING]
        slack = sum(
            int(grid.node[pool])
            for cell in here
            for pool in rule.pools(int(demand.of_work[cell]), order)
        )
        missing = int(works.least[bid] - works.done[bid])
        rate = int(view.book.works.max_chips[bid])
        closed = all(
            rule.near(int(demand.of_work[cell]), order, int(works.cells.taken[cell]), rate, rate)
            for cell in here
        )
        if missing >= slack and not closed:
            yield f"{view.name(order)} takes {works.done[bid]} chip-intervals of {works.least[bid]}"


def _in_each_pool(view: View, charges: Charges) -> Iterator[str]:
    """No bid takes a node or more in a pool (with a backup) that is not among its best."""
    book, taken = view.book, view.taken
    divisible = ~taken.supply & ~taken.base & (taken.chips > 0)
    divisible &= (taken.who < book.starts[2]) | (taken.who >= book.starts[3])
    site = taken.product == Product.SITE
    cells = np.flatnonzero(divisible & ~site)
    paid = charges.products[taken.product[cells], taken.place[cells]]
    chips = taken.chips[cells]
    named = np.flatnonzero(divisible[taken.backup_cell] & (taken.backup_chips > 0))
    owner = taken.backup_cell[named]
    extra = charges.products[Product.SITE, taken.place[owner]]
    extra = extra + charges.backup[taken.backup_named[named]]
    cells = np.concatenate((cells, owner))
    paid = np.concatenate((paid, extra))
    chips = np.concatenate((chips, taken.backup_chips[named]))
    best = _most_in(view, cells, paid)
    node = taken.node[taken.award[cells]]
    for at in np.flatnonzero(chips >= best + node):
        cell = cells[at]
        where = f"{view.name(taken.who[cell])}[{taken.at[cell]}]"
        pool = book.grid.pool_ids[taken.pool[taken.award[cell]]]
        yield f"{where} takes {chips[at]} in {pool}, at best {best[at]} there"


def _most_in(view: View, cells: Ints, paid: Ints) -> Ints:
    """Chips of the steps for which a pool at this charge is among the best and not a loss."""
    book, curves, taken = view.book, view.curves, view.taken
    factor = factor_of(view, cells)
    found = zeros(len(cells))
    begin, stop = curves.starts[1], curves.starts[2]
    at = find(curves.key[begin:stop], taken.key[cells])
    steps = np.flatnonzero(at >= 0)
    curve = at[steps] + begin
    counts = np.diff(curves.entries)[curve]
    owner, position = expand(counts)
    entry = curves.entries[curve][owner] + position
    _, net = bids_at_prices(view)
    gain = limit_in(curves.price[entry], factor[steps][owner]) - paid[steps][owner]
    good = gain >= np.maximum(0, net[entry - curves.entries[begin]] - ROUNDING)
    offsets = np.concatenate((zeros(1), np.cumsum(counts)))
    found[steps] = sum_runs(offsets, np.where(good, curves.size[entry], 0))
    work = find(view.work_cells.key, taken.key[cells])
    rows = np.flatnonzero(work >= 0)
    works = works_at_prices(view)
    price = book.works.limit[view.work_cells.work[work[rows]]]
    gain = limit_in(price, factor[rows]) - paid[rows]
    good = gain >= np.maximum(0, works.net[work[rows]] - ROUNDING)
    found[rows] = np.where(good, works.cells.most[work[rows]], 0)
    return found


def _block_margins(view: View) -> tuple[Ints, Ints, Ints]:
    """Awards of divisible blocks; what each gains per chip, price-seconds, and its rounding.

    A restart cost that a chip saves is part of that: it is why the chip is there. Over several
    intervals the prices that should add up to its limit were rounded apart.
    """
    book, taken, charges = view.book, view.taken, charges_at_prices(view)
    shaped = np.diff(book.blocks.profile) > 0
    block = taken.order - book.starts[2]
    awards = np.flatnonzero((block >= 0) & (taken.order < book.starts[3]))
    awards = awards[~shaped[block[awards]]]
    cells = np.flatnonzero((taken.who >= book.starts[2]) & (taken.who < book.starts[3]))
    limit = limit_in(book.blocks.limit[taken.who[cells] - book.starts[2]], factor_of(view, cells))
    net = limit - charges.products[taken.product[cells], taken.place[cells]]
    margin = spread(taken.award[cells], net, len(taken.order))
    # A block names one backup, for all its chips.
    of_block = (taken.who >= book.starts[2]) & (taken.who < book.starts[3])
    named = of_block[taken.backup_cell]
    extra = spread(
        taken.award[taken.backup_cell[named]],
        charges.backup[taken.backup_named[named]],
        len(taken.order),
    )
    lengths = view.published.awards.lengths[awards]
    duration, own = book.grid.duration_s, block[awards]
    stays = book.blocks.initial_pool[own] == taken.pool[awards]
    stays &= view.published.awards.first[awards] == book.blocks.runs_until[own]
    kept = np.where(stays, book.blocks.restart_cost[own], 0)
    gain = plus(times((margin - extra)[awards], duration), times(kept, SECONDS_PER_HOUR))
    return awards, gain, np.where(lengths > 1, ROUNDING * lengths * duration, 0)


def _blocks(view: View) -> Iterator[str]:
    """A block's fill above its minimum: full when it gains, at the minimum when it loses.

    What it saves by staying where it runs counts as a gain: the objective wants it full then.
    """
    book, taken = view.book, view.taken
    awards, margin, rounding = _block_margins(view)
    chips = _largest(view)[awards]
    full = book.blocks.chips[taken.order[awards] - book.starts[2]]
    node, least = taken.node[awards], taken.least[awards]
    for at in np.flatnonzero((margin > rounding) & (chips <= full - node)):
        product, backups, run = _buyer(view, int(awards[at]))
        if all(has_room(view, place, product, backups) for place in run):
            what = f"runs only {chips[at]} of {full[at]} chips"
            yield f"{view.name(taken.order[awards[at]])} gains at the price and {what}"
    for at in np.flatnonzero((margin < -rounding) & (chips >= least + node)):
        what = f"runs {chips[at]} chips, above its minimum"
        yield f"{view.name(taken.order[awards[at]])} loses at the price and {what}"


def _largest(view: View) -> Ints:
    found = zeros(len(view.taken.order))
    np.maximum.at(found, view.taken.award, view.taken.chips)
    return found


def _buyer(view: View, award: int) -> Buyer:
    taken, awards = view.taken, view.published.awards
    first = int(awards.first[award])
    begin = int(taken.pool[award]) * view.intervals + first
    backups = awards.backup_pool[awards.backup_award == award]
    product = int(view.menus.product_of_bid[taken.order[award] - view.book.starts[1]])
    run = tuple(range(begin, begin + int(awards.lengths[award])))
    return product, tuple(backups.tolist()), run


def _short_blocks(view: View) -> Iterator[Buyer]:
    """Blocks that run below their full quantity and would not lose by more."""
    awards, margin, rounding = _block_margins(view)
    chips = _largest(view)[awards]
    full = view.book.blocks.chips[view.taken.order[awards] - view.book.starts[2]]
    for at in np.flatnonzero((chips < full) & (margin >= -rounding)):
        yield _buyer(view, int(awards[at]))
