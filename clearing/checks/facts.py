"""The facts that every check reads: a book and an outcome side by side, added up once.

Built only after the shape of both was checked, so every identifier resolves and every
number is in range. Nothing here judges; it adds up and looks up. Written from the rules and
not from the engine, which it never imports.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clearing.checks.book_columns import BookColumns
from clearing.checks.curves import Curves, WorkCells, find, read_curves, read_work_cells
from clearing.checks.exact import (
    Bools,
    Index,
    Ints,
    divide_up,
    expand,
    spread,
    times,
    whole_nodes,
    zeros,
)
from clearing.checks.menus import NO_BACKUP, Menus, Product
from clearing.checks.outcome_columns import ROWS, OutcomeColumns
from clearing.checks.shape import award_cells, site_reserve_of
from clearing.units import PPM, split_largest_remainder


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Lost site and backup pool: every pair that anything names, sorted by their code."""

    code: Ints
    site: Ints
    pool: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Awards by interval. A cell is one award in one interval.

    Attributes:
        order, pool: Per award; ``node`` the chips of a node of its pool.
        least: Per award: chips that cannot go one by one (a block's minimum, all of a profile).
        award: Per cell; ``at`` its interval, ``place`` pool x intervals + interval.
        who: Per cell: its order; ``key`` order x intervals + interval.
        product: Per cell, -1 for supply and base load.
        countable: Per cell: chips that may count as node-wise reserve.
        backup_cell: Per chip count of a backup: its cell; ``backup_pool`` and ``backup_named``,
            pair x intervals + interval.
    """

    order: Ints
    pool: Ints
    node: Ints
    least: Ints
    award: Ints
    at: Ints
    place: Ints
    who: Ints
    key: Ints
    chips: Ints
    reserve: Ints
    site_reserve: Ints
    supply: Bools
    base: Bools
    product: Ints
    countable: Ints
    backup_cell: Ints
    backup_pool: Ints
    backup_named: Ints
    backup_chips: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over the awards, chips per place; at most MAX_CHIPS times the number of awards.

    Attributes:
        sold: Supply awards, released base load included; ``released`` that alone.
        delivered: Demand awards; ``covered`` those with NODE cover.
        base: Nominations served; ``base_covered`` those with NODE cover.
        base_paying: The covered part of those: less than all of it in a cover shortage.
        spare, site_spare: Held by supply.
        reserve, site_reserve: Interruptible chips counted as reserve.
        reclaimable: Interruptible chips that may be counted node by node.
        recallable: Interruptible chips that may be recalled within the SITE cover time.
        offered: Chips of all offers; ``offered_firm`` without released base load.
        bids_named, base_named: SITE-covered chips, per pair x intervals + interval.
    """

    sold: Ints
    released: Ints
    delivered: Ints
    covered: Ints
    base: Ints
    base_covered: Ints
    base_paying: Ints
    spare: Ints
    site_spare: Ints
    reserve: Ints
    site_reserve: Ints
    reclaimable: Ints
    recallable: Ints
    offered: Ints
    offered_firm: Ints
    bids_named: Ints
    base_named: Ints


@dataclass(slots=True, kw_only=True)
class View:
    """A book, its outcome and what they add up to.

    Attributes:
        prices: Parts of the published prices, per place; ``mu`` those of backups, per pair x
            intervals + interval.
        base_paying: Per cell: chips of covered base load that pay for NODE cover.
        accepted: Per order: whether it has an award.
        memory: What a check works out and a later one needs again.
    """

    book: BookColumns
    menus: Menus
    curves: Curves
    work_cells: WorkCells
    published: OutcomeColumns
    pairs: Pairs
    taken: Taken
    totals: Totals
    prices: dict[str, Ints]
    mu: Ints
    base_paying: Ints
    accepted: Bools
    memory: dict[str, object] = field(default_factory=dict)

    @property
    def intervals(self) -> int:
        """Number of intervals."""
        return self.book.grid.intervals

    def name(self, order: Index) -> str:
        """Identifier of an order."""
        return self.book.ids[order]

    def pair_of(self, site: Ints, pool: Ints) -> Ints:
        """Position of pairs of a lost site and a backup pool."""
        return find(self.pairs.code, site * len(self.book.grid.pool_ids) + pool)

    def per_place(self, per_pool: Ints) -> Ints:
        """One value per pool, repeated for its intervals."""
        return np.repeat(per_pool, self.intervals)

    def site_sum(self, per_place: Ints) -> Ints:
        """Sums over the pools of each site, per site x intervals + interval."""
        grid = self.book.grid
        sites = np.repeat(grid.site_of, self.intervals) * self.intervals
        at = np.tile(np.arange(self.intervals), len(grid.pool_ids))
        return spread(sites + at, per_place, len(grid.site_ids) * self.intervals)

    def pair_sum(self, per_named: Ints) -> Ints:
        """Sums over the lost sites of each backup pool, per place."""
        places = np.repeat(self.pairs.pool, self.intervals) * self.intervals
        at = np.tile(np.arange(self.intervals), len(self.pairs.pool))
        return spread(places + at, per_named, self.book.grid.places)


def build(book: BookColumns, menus: Menus, published: OutcomeColumns) -> View:
    """Add up a book and an outcome whose shapes were checked."""
    grid = book.grid
    curves = read_curves(book)
    pairs = _pairs(book, menus, published)
    taken = _taken(book, menus, published, pairs)
    totals = _totals(book, curves, taken, len(pairs.code))
    base_paying = _cover_base(book, taken, totals)
    mu = zeros(len(pairs.code) * grid.intervals)
    backup = published.backup_prices
    code = backup.site * len(grid.pool_ids) + backup.pool
    mu[find(pairs.code, code) * grid.intervals + backup.interval] = backup.price
    accepted = np.zeros(book.orders, dtype=np.bool_)
    accepted[taken.order] = True
    return View(
        book=book,
        menus=menus,
        curves=curves,
        work_cells=read_work_cells(book),
        published=published,
        pairs=pairs,
        taken=taken,
        totals=totals,
        prices=published.prices.parts,
        mu=mu,
        base_paying=base_paying,
        accepted=accepted,
    )


def _pairs(book: BookColumns, menus: Menus, published: OutcomeColumns) -> Pairs:
    grid, awards = book.grid, published.awards
    pools = len(grid.pool_ids)
    arcs = menus.backup != NO_BACKUP
    base_owner, _ = expand(np.diff(book.base.backups))
    codes = [
        grid.site_of[menus.pool[arcs]] * pools + menus.backup[arcs],
        grid.site_of[book.base.pool[base_owner]] * pools + book.base.backup_pool,
        grid.site_of[awards.pool[awards.backup_award]] * pools + awards.backup_pool,
        published.backup_prices.site * pools + published.backup_prices.pool,
    ]
    for duals in published.duals:
        lost = (duals.row == ROWS.index("SITE_COVER")) & (duals.subject >= 0) & (duals.lost >= 0)
        codes.append(duals.lost[lost] * pools + duals.subject[lost])
    code = np.unique(np.concatenate(codes))
    return Pairs(code=code, site=code // max(1, pools), pool=code % max(1, pools))


def least_chips(book: BookColumns, block: Ints, node: Ints) -> Ints:
    """Smallest accepted quantity of blocks: the minimum fill, up to whole nodes."""
    # At most 10**8 chips times 10**6 ppm.
    filled = divide_up(book.blocks.chips[block] * book.blocks.min_fill[block], PPM)
    return whole_nodes(filled, node)


def _taken(book: BookColumns, menus: Menus, published: OutcomeColumns, pairs: Pairs) -> Taken:
    grid, awards = book.grid, published.awards
    cell_award, at = award_cells(awards)
    node = grid.node[awards.pool]
    least = zeros(len(awards.order))
    of_block = (awards.order >= book.starts[2]) & (awards.order < book.starts[3])
    least[of_block] = least_chips(book, awards.order[of_block] - book.starts[2], node[of_block])
    product = np.full(book.orders, -1, dtype=np.int64)
    product[book.starts[1] : book.starts[4]] = menus.product_of_bid
    order, pool = awards.order[cell_award], awards.pool[cell_award]
    cell_product = product[order]
    countable = np.where(
        cell_product == Product.RECLAIMABLE, np.maximum(0, awards.chips - least[cell_award]), 0
    )
    begin = np.cumsum(awards.lengths) - awards.lengths
    backup_of, position = expand(awards.backup_lengths)
    backup_cell = begin[awards.backup_award][backup_of] + position
    backup_pool = awards.backup_pool[backup_of]
    code = grid.site_of[pool[backup_cell]] * len(grid.pool_ids) + backup_pool
    return Taken(
        order=awards.order,
        pool=awards.pool,
        node=node,
        least=least,
        award=cell_award,
        at=at,
        place=pool * grid.intervals + at,
        who=order,
        key=order * grid.intervals + at,
        chips=awards.chips,
        reserve=awards.reserve,
        site_reserve=site_reserve_of(awards),
        supply=order < book.offers,
        base=order >= book.starts[4],
        product=cell_product,
        countable=countable,
        backup_cell=backup_cell,
        backup_pool=backup_pool,
        backup_named=find(pairs.code, code) * grid.intervals + at[backup_cell],
        backup_chips=awards.backup_chips,
    )


def _totals(book: BookColumns, curves: Curves, taken: Taken, pairs: int) -> Totals:
    grid = book.grid
    places = grid.places

    def add(which: Bools, values: Ints) -> Ints:
        return spread(taken.place[which], values[which], places)

    supply, base = taken.supply, taken.base
    demand = ~supply & ~base
    released = supply.copy()
    released[supply] = book.released[taken.who[supply]]
    base_covered = base.copy()
    base_covered[base] = book.base.node_cover[taken.who[base] - book.starts[4]]
    reclaimable = taken.product == Product.RECLAIMABLE
    recallable = reclaimable | (taken.product == Product.RECALLABLE)
    stop = curves.starts[1]
    owner = curves.order[:stop]
    offered_at = book.offer_pool[owner] * grid.intervals + curves.interval[:stop]
    chips = curves.chips[:stop]
    firm = ~book.released[owner]
    of_base = base[taken.backup_cell]
    size = pairs * grid.intervals
    return Totals(
        sold=add(supply, taken.chips),
        released=add(released, taken.chips),
        delivered=add(demand, taken.chips),
        covered=add(taken.product == Product.COVERED, taken.chips),
        base=add(base, taken.chips),
        base_covered=add(base_covered, taken.chips),
        base_paying=zeros(places),
        spare=add(supply, taken.reserve),
        site_spare=add(supply, taken.site_reserve),
        reserve=add(demand, taken.reserve),
        site_reserve=add(demand, taken.site_reserve),
        reclaimable=add(demand, taken.countable),
        recallable=add(recallable, taken.chips),
        offered=spread(offered_at, chips, places),
        offered_firm=spread(offered_at[firm], chips[firm], places),
        bids_named=spread(taken.backup_named[~of_base], taken.backup_chips[~of_base], size),
        base_named=spread(taken.backup_named[of_base], taken.backup_chips[of_base], size),
    )


def _cover_base(book: BookColumns, taken: Taken, totals: Totals) -> Ints:
    """What of each covered nomination pays for NODE cover; per cell, and added to the totals.

    All of it, unless the pool holds too little: then what spare and reclaimable chips cover
    beyond the firm awards, split over its nominations by largest remainder (clearing.outcome,
    ``Cash.buyers``).
    """
    theta = np.repeat(book.grid.theta, book.grid.intervals)
    # Totals are below 10**8 x 2**31 chips; their product with 10**6 is asked for as such.
    covers = times(totals.spare + totals.reclaimable, PPM) // np.maximum(1, theta)
    most = np.where(theta > 0, np.maximum(0, covers - totals.covered), totals.base_covered)
    totals.base_paying[:] = np.minimum(totals.base_covered, most)
    covered = taken.base.copy()
    covered[covered] = book.base.node_cover[taken.who[covered] - book.starts[4]]
    paying = np.where(covered, taken.chips, 0)
    for place in np.flatnonzero(totals.base_paying < totals.base_covered):
        cells = np.flatnonzero(covered & (taken.place == place))
        names = [book.ids[at] for at in taken.who[cells]]
        paying[cells] = split_largest_remainder(
            int(totals.base_paying[place]), taken.chips[cells].tolist(), names
        )
    return paying


def cover_shortage(view: View) -> Ints:
    """NODE cover that base load alone lacks, chips times one million; zero beside covered bids."""
    totals = view.totals
    theta = view.per_place(view.book.grid.theta)
    needed = times(totals.base_covered, theta)
    lacking = np.maximum(0, needed - times(totals.spare + totals.reserve, PPM))
    return np.where(totals.covered > 0, 0, lacking)
