"""Where bids may be served and what a chip is worth to them there.

Thousands of bids share a few conditions, so each distinct one is resolved once. A *venue* is a
set of eligible pools; a *way* to be served in it is a pool or, for SITE cover, a pool and a
backup pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import numpy as np

from clearing.columns import Integers, column, integers, share_ppm_each, starts, take
from clearing.eligibility import resolve
from clearing.market import NONE, Grid, Product
from clearing.types import (
    BlockBid,
    Book,
    Conversion,
    Cover,
    Eligibility,
    ServiceClass,
    StepBid,
    Tariff,
    WorkBid,
)
from clearing.units import PPM

Bid = StepBid | BlockBid | WorkBid

_CONDITIONS: Final = attrgetter(
    "pool_ids",
    "chip_classes",
    "regions",
    "countries",
    "data_residency",
    "excluded_legal_controls",
    "certifications",
    "fabrics",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Venues:
    """Pools of bids, values and ways.

    Attributes:
        start, pool: Eligible pools of each venue, ragged, ascending.
        of_bid: Venue of each bid: step bids, block bids, work bids.
        product: ``Product`` value of each bid.
        conversion: Row of ``factor`` of each bid; row 0 names no class.
        factor: Value of a chip of a class, ppm of the bid's price.  # (conversions, classes)
        chip_class: Class of each pool.  # (pools,)
        way_start, way_pool, way_backup: Ways, ragged, by (pool, backup); row
            ``2 * venue`` holds those of the venue, the row after it those with SITE cover.
    """

    start: Integers
    pool: Integers
    of_bid: Integers
    product: Integers
    conversion: Integers
    factor: Integers
    chip_class: Integers
    way_start: Integers
    way_pool: Integers
    way_backup: Integers

    def ways(self, bids: Integers) -> Integers:
        """Row of ``way_start`` of bids."""
        rows: Integers = 2 * self.of_bid[bids] + (self.product[bids] == Product.SITE)
        return rows

    def values(self, bids: Integers, prices: Integers, pools: Integers) -> Integers:
        """A bid's price per chip of a pool: its own factor scales it, rounded half-even once."""
        values = prices.copy()
        if self.factor.shape[0] == 1:
            return values
        factors = self.factor[self.conversion[bids], self.chip_class[pools]]
        scaled = np.flatnonzero(factors != PPM)
        values[scaled] = share_ppm_each(prices[scaled], factors[scaled])
        return values


def read_venues(book: Book, grid: Grid) -> Venues:
    """Resolve the conditions and terms of every bid of a validated canonical book."""
    bids: list[Bid] = [*book.step_bids, *book.block_bids, *book.work_bids]
    of_bid, pools_of = _resolved(bids, book, grid)
    start = starts(integers(map(len, pools_of)))
    pool = integers(position for pools in pools_of for position in pools)
    classes = sorted({pool.chip_class for pool in book.pools})
    number = {name: position for position, name in enumerate(classes)}
    chip_class = column(lambda pool: number[pool.chip_class], book.pools)
    conversion, factor = _conversions(bids, number)
    product = _products(bids, book.spec.tariff)
    covered = np.unique(of_bid[product == Product.SITE])
    way_start, way_pool, way_backup = _ways(start, pool, covered, chip_class, grid)
    return Venues(
        start=start,
        pool=pool,
        of_bid=of_bid,
        product=product,
        conversion=conversion,
        factor=factor,
        chip_class=chip_class,
        way_start=way_start,
        way_pool=way_pool,
        way_backup=way_backup,
    )


def _resolved(bids: list[Bid], book: Book, grid: Grid) -> tuple[Integers, list[list[int]]]:
    """Venue of each bid, and the pools of each venue."""
    known: dict[tuple[tuple[str, ...], ...], int] = {}
    venue_of: dict[tuple[int, ...], int] = {}
    found = []
    sites = {site.site_id: site for site in book.sites}
    for key, bid in zip(map(_CONDITIONS, map(attrgetter("where"), bids)), bids, strict=True):
        venue = known.get(key)
        if venue is None:
            where: Eligibility = bid.where
            if any(key[1:]):
                named = [book.pools[grid.position[name]] for name in where.pool_ids] or book.pools
                names = resolve(where, sites, named).eligible
            else:
                names = where.pool_ids
            pools = tuple(sorted({grid.position[name] for name in names}))
            venue = known[key] = venue_of.setdefault(pools, len(venue_of))
        found.append(venue)
    return integers(found), [list(pools) for pools in venue_of]


def _conversions(bids: list[Bid], number: dict[str, int]) -> tuple[Integers, Integers]:
    known: dict[tuple[Conversion, ...], int] = {(): 0}
    of_bid = integers(
        known.setdefault(bid.conversions, len(known)) if bid.conversions else 0 for bid in bids
    )
    factor = np.full((len(known), max(1, len(number))), PPM, dtype=np.int64)
    for conversions, row in known.items():
        for conversion in conversions:
            if conversion.chip_class in number:
                factor[row, number[conversion.chip_class]] = conversion.factor_ppm
    return of_bid, factor


_FIRM: Final = {
    Cover.NODE: Product.COVERED,
    Cover.SITE: Product.SITE,
    Cover.NONE: Product.UNCOVERED,
}


def _products(bids: list[Bid], tariff: Tariff) -> Integers:
    """Product that each bid buys: an interruptible counts where its notice is short enough."""
    firm = {cover: int(product) for cover, product in _FIRM.items()}
    interruptible = ServiceClass.INTERRUPTIBLE
    product = integers(
        NONE if bid.service_class is interruptible else firm[bid.cover] for bid in bids
    )
    notice = column(attrgetter("notice_s"), bids)
    reclaimed = np.where(
        notice <= tariff.node_cover_notice_s,
        Product.RECLAIMABLE,
        np.where(
            notice <= tariff.site_cover_notice_s,
            Product.RECALLABLE,
            Product.UNCOUNTED,
        ),
    )
    return np.where(product == NONE, reclaimed, product)


def _ways(
    start: Integers, pool: Integers, covered: Integers, chip_class: Integers, grid: Grid
) -> tuple[Integers, Integers, Integers]:
    """Ways of every venue, and (pool, backup) pairs of those that somebody wants SITE cover in."""
    counts = np.zeros(2 * (start.size - 1), dtype=np.int64)
    counts[::2] = np.diff(start)
    pairs: list[tuple[Integers, Integers]] = []
    for venue in covered.tolist():
        here = pool[start[venue] : start[venue + 1]]
        alike = (
            (grid.site[here][:, None] != grid.site[here])
            & (chip_class[here][:, None] == chip_class[here])
            & (grid.node[here][:, None] == grid.node[here])
        )
        at, backup = np.nonzero(alike)
        pairs.append((here[at], here[backup]))
        counts[2 * venue + 1] = at.size
    way_start = starts(counts)
    way_pool = np.empty(int(way_start[-1]), dtype=np.int64)
    way_backup = np.full(way_pool.size, NONE, dtype=np.int64)
    _, plain = take(way_start, 2 * np.arange(start.size - 1))
    way_pool[plain] = pool
    _, backed = take(way_start, 2 * covered + 1)
    if pairs:
        way_pool[backed] = np.concatenate([at for at, _ in pairs])
        way_backup[backed] = np.concatenate([backup for _, backup in pairs])
    return way_start, way_pool, way_backup
