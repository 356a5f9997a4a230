"""Where bids may be served: eligible pools, backups, and the product that they buy there.

Orders that state the same conditions, buy the same product and have the same conversion
factors share one *menu*: a list of arcs. An arc is a pool, or with SITE cover a pool and
one of its backups. The arcs of a menu with the same factor form a *lane*; a bid looks for
the cheapest arc of each lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

import numpy as np

from clearing.checks.book_columns import BookColumns, Grid
from clearing.checks.exact import Bools, Ints, column, expand, offsets_of
from clearing.eligibility import first_mismatch
from clearing.types import Conversion, Eligibility
from clearing.units import PPM

NO_BACKUP: Final = -1


class Product(IntEnum):
    """What a bid buys: which parts of the price it pays."""

    COVERED = 0
    """Firm with NODE cover: pays the cover charge."""
    SITE = 1
    """Firm with SITE cover: pays the backup's price."""
    UNCOVERED = 2
    """Firm with cover NONE."""
    RECLAIMABLE = 3
    """Interruptible that counts in the reclaimable and the recall row: earns both discounts."""
    RECALLABLE = 4
    """Interruptible whose notice only fits the recall row."""
    UNCOUNTED = 5
    """Interruptible that counts nowhere."""


PRODUCTS: Final = len(Product)


@dataclass(frozen=True, slots=True, kw_only=True)
class Menus:
    """Menus, lanes and arcs, each a run of the next.

    Attributes:
        of_bid: Menu of each step, block and work bid, in that order.
        product: Per menu; ``product_of_bid`` per bid.
        eligible: Per menu: number of eligible pools, backups apart.
        lanes: Where the lanes of each menu begin.
        factor: Per lane, ppm.
        arcs: Where the arcs of each lane begin.
        pool: Per arc; ``backup`` its backup pool or ``NO_BACKUP``.
    """

    of_bid: Ints
    product_of_bid: Ints
    product: Ints
    eligible: Ints
    lanes: Ints
    factor: Ints
    arcs: Ints
    pool: Ints
    backup: Ints

    @property
    def menu_arcs(self) -> Ints:
        """Where the arcs of each menu begin."""
        found: Ints = self.arcs[self.lanes]
        return found


def read_menus(columns: BookColumns) -> Menus:
    """Resolve the conditions of every bid, once per distinct condition."""
    bids, grid = columns.bids, columns.grid
    product_of_bid = _products(columns)
    wheres, pools_of_where = _resolve(columns)
    codes = (bids.where * PRODUCTS + product_of_bid) * len(bids.conversions) + bids.conversion
    known, of_bid = np.unique(codes, return_inverse=True)
    conversion = known % len(bids.conversions)
    product = known // len(bids.conversions) % PRODUCTS
    where = known // len(bids.conversions) // PRODUCTS
    counts = np.diff(wheres)[where]
    owner, position = expand(counts)
    pool = pools_of_where[wheres[where][owner] + position]
    backup = np.full(len(pool), NO_BACKUP, dtype=np.int64)
    if (product == Product.SITE).any():
        owner, pool, backup = _with_backups(grid, product, owner, pool, counts)
    factor = factor_table(grid, bids.conversions)[conversion[owner], grid.class_of[pool]]
    if len(bids.conversions) > 1:
        order = np.lexsort((backup, pool, factor, owner))
        owner, pool, backup, factor = owner[order], pool[order], backup[order], factor[order]
    begins = np.ones(len(owner), dtype=np.bool_)
    begins[1:] = (owner[1:] != owner[:-1]) | (factor[1:] != factor[:-1])
    heads = np.flatnonzero(begins)
    return Menus(
        of_bid=of_bid.reshape(-1),
        product_of_bid=product_of_bid,
        product=product,
        eligible=counts,
        lanes=offsets_of(np.bincount(owner[heads], minlength=len(known))),
        factor=factor[heads],
        arcs=np.append(heads, len(owner)),
        pool=pool,
        backup=backup,
    )


def check_backups(columns: BookColumns, menus: Menus) -> Iterator[str]:
    """SCOPE: a bid for SITE cover has a pool with a backup, or no eligible pool at all.

    Why: it is refused (NO_COVER_POSSIBLE) before an auction. Source: clearing-rules.
    """
    empty = (menus.lanes[1:] == menus.lanes[:-1]) & (menus.eligible > 0)
    for at in np.flatnonzero(empty[menus.of_bid]):
        yield f"{columns.ids[columns.starts[1] + at]} has no pool with a backup for SITE cover"


def _products(columns: BookColumns) -> Ints:
    """Product that each bid buys (clearing-rules: notice within the cover times)."""
    bids, tariff = columns.bids, columns.book.spec.tariff
    firm = np.where(
        bids.node_cover, Product.COVERED, np.where(bids.site_cover, Product.SITE, Product.UNCOVERED)
    )
    interruptible = np.where(
        bids.notice_s <= tariff.node_cover_notice_s,
        Product.RECLAIMABLE,
        np.where(
            bids.notice_s <= tariff.site_cover_notice_s, Product.RECALLABLE, Product.UNCOUNTED
        ),
    )
    return np.where(bids.interruptible, interruptible, firm).astype(np.int64)


def _resolve(columns: BookColumns) -> tuple[Ints, Ints]:
    """Eligible pools of each distinct condition, ascending: where each begins, and the pools."""
    grid, wheres = columns.grid, columns.bids.wheres
    known = grid.pools
    named: list[tuple[str, ...]] = []
    masks: dict[Eligibility, Bools] = {}
    narrowed: list[tuple[int, Bools]] = []
    everywhere = tuple(grid.pool_ids)
    for at, where in enumerate(wheres):
        if isinstance(where, tuple):
            named.append(where or everywhere)
            continue
        rest = replace(where, pool_ids=())
        if rest not in masks:
            masks[rest] = _mask(columns, rest)
        named.append(where.pool_ids or everywhere)
        narrowed.append((at, masks[rest]))
    counts = np.fromiter(map(len, named), dtype=np.int64, count=len(named))
    pool = column([known.get(name, -1) for names in named for name in names])
    owner = np.repeat(np.arange(len(named)), counts)
    keep = pool >= 0
    begin = offsets_of(counts)
    for at, mask in narrowed:
        here = slice(begin[at], begin[at + 1])
        keep[here] &= mask[pool[here]]
    owner, pool = owner[keep], pool[keep]
    codes = owner * len(grid.pool_ids) + pool
    if (np.diff(codes) <= 0).any():
        codes = np.unique(codes)
        owner, pool = codes // len(grid.pool_ids), codes % len(grid.pool_ids)
    return offsets_of(np.bincount(owner, minlength=len(named))), pool


def _mask(columns: BookColumns, rest: Eligibility) -> Bools:
    """Which pools meet conditions that name none."""
    sites = columns.book.sites
    site_of = columns.grid.site_of
    return np.array(
        [
            first_mismatch(rest, sites[site_of[at]], pool) is None
            for at, pool in enumerate(columns.book.pools)
        ],
        dtype=np.bool_,
    )


def _with_backups(
    grid: Grid, product: Ints, owner: Ints, pool: Ints, counts: Ints
) -> tuple[Ints, Ints, Ints]:
    """Arcs with their backups: a pool of the same menu, class and node size at another site."""
    site = product[owner] == Product.SITE
    begin = offsets_of(counts)
    # Each arc of a SITE menu beside every arc of that menu.
    arc, position = expand(np.where(site, counts[owner], 1))
    other = np.where(site[arc], begin[owner[arc]] + position, arc)
    here, there = pool[arc], pool[other]
    fits = (
        (grid.site_of[here] != grid.site_of[there])
        & (grid.class_of[here] == grid.class_of[there])
        & (grid.node[here] == grid.node[there])
    )
    keep = fits | ~site[arc]
    backup = np.where(site[arc], there, NO_BACKUP)
    return owner[arc][keep], here[keep], backup[keep]


def factor_table(grid: Grid, conversions: list[tuple[Conversion, ...]]) -> Ints:
    """Factor per conversions and chip class, ppm: one million for a class that is not named."""
    found = np.full((len(conversions), len(grid.classes)), PPM, dtype=np.int64)
    for at, factors in enumerate(conversions):
        for one in factors:
            if one.chip_class in grid.classes:
                found[at, grid.classes[one.chip_class]] = one.factor_ppm
    return found
