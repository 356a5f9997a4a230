"""Awards added up per place, in chips: what the accounts, the reasons and the bound count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing.columns import Integers, expand, group
from clearing.largest_remainder import share
from clearing.layout import Layout
from clearing.market import NONE, RECALLED, Market, Product
from clearing.quantities import Quantities
from clearing.support import sums_of
from clearing.types import Book, Cover
from clearing.units import PPM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """Chips per place unless said.

    Attributes:
        sold: By supply; ``released`` the released base load in it.
        taken: By bids; ``covered`` those with NODE cover.
        node_spare, site_spare: Held by supply.
        reserve, site_reserve: Interruptible chips counted as reserve.
        countable: Interruptible chips that could go node by node.
        recallable: Interruptible chips within the recall time.
        base_paying: NODE-covered base load that pays for cover: all of it but in a shortage.
        named: SITE bids and covered base load per slot and interval, flat.
        base_covered: Chips with NODE cover that pay, per nomination and interval.
        base_named: Chips with a backup, the same.
        slot_of_taken, slot_of_backed: Slot of each row, or ``NONE``.
    """

    sold: Integers
    released: Integers
    taken: Integers
    covered: Integers
    node_spare: Integers
    site_spare: Integers
    reserve: Integers
    site_reserve: Integers
    countable: Integers
    recallable: Integers
    base_paying: Integers
    named: Integers
    base_covered: Integers
    base_named: Integers
    slot_of_taken: Integers
    slot_of_backed: Integers


def products_of(market: Market) -> Integers:
    """Product of every bid: step bids, block bids, work bids."""
    return np.concatenate((market.step_product, market.block_product, market.work_product))


def slot_lookup(market: Market, layout: Layout) -> Integers:
    """Slot of a lost site and a backup pool; the last column is for no backup."""
    grid = market.grid
    slots = np.full((len(grid.site_ids), len(grid.pools) + 1), NONE, dtype=np.int64)
    slots[layout.slot_site, layout.slot_pool] = np.arange(layout.slot_site.size)
    return slots


def count(book: Book, market: Market, layout: Layout, quantities: Quantities) -> Tally:
    """Add up the awards of a canonical book."""
    grid, supply, taken = market.grid, market.supply, quantities.taken
    places, held = grid.places, quantities.held
    member, _ = expand(np.diff(supply.member_start))
    released = np.flatnonzero(supply.released[member])
    product = products_of(market)[taken.bid]
    covered = _chosen(taken.place, taken.chips, product == Product.COVERED, places)
    node_spare = sums_of(held.place, held.node, places)
    countable = sums_of(taken.place, taken.countable, places)
    base_covered, base_paying = _cover_base(book, market, node_spare + countable, covered)
    slots = slot_lookup(market, layout)
    slot_of_taken = slots[grid.site[taken.pool], taken.backup]
    backed = quantities.backed
    pool = np.array([grid.position[n.pool_id] for n in book.nominations], dtype=np.int64)
    slot_of_backed = slots[grid.site[pool[backed.nomination]], backed.pool]
    base_named = np.zeros(market.base.served.shape, dtype=np.int64)
    np.add.at(base_named, (backed.nomination, backed.interval), backed.chips)
    used = np.flatnonzero(slot_of_taken != NONE)
    named = sums_of(
        np.concatenate(
            (
                slot_of_taken[used] * grid.intervals + taken.interval[used],
                slot_of_backed * grid.intervals + backed.interval,
            )
        ),
        np.concatenate((taken.chips[used], backed.chips)),
        layout.slot_site.size * grid.intervals,
    )
    return Tally(
        sold=sums_of(supply.place[member], quantities.sold, places),
        released=sums_of(supply.place[member[released]], quantities.sold[released], places),
        taken=sums_of(taken.place, taken.chips, places),
        covered=covered,
        node_spare=node_spare,
        site_spare=sums_of(held.place, held.site, places),
        reserve=sums_of(taken.place, taken.reserve, places),
        site_reserve=sums_of(taken.place, taken.site_reserve, places),
        countable=countable,
        recallable=_chosen(taken.place, taken.chips, np.isin(product, RECALLED), places),
        base_paying=base_paying,
        named=named,
        base_covered=base_covered,
        base_named=base_named,
        slot_of_taken=slot_of_taken,
        slot_of_backed=slot_of_backed,
    )


def _chosen(
    place: Integers, chips: Integers, rows: np.ndarray[tuple[int], np.dtype[np.bool_]], size: int
) -> Integers:
    return sums_of(place[rows], chips[rows], size)


def _cover_base(
    book: Book, market: Market, held: Integers, covered: Integers
) -> tuple[Integers, Integers]:
    """What of each covered nomination pays: what stands by covers beyond bids, pro rata."""
    grid, base = market.grid, market.base
    paying = base.covered.copy()
    theta = grid.theta.repeat(grid.intervals)
    asked = np.flatnonzero((base.covered > 0) & (theta > 0))
    # Chips <= 1e8 times a million: below 1e14.
    reach = held[asked] * PPM // theta[asked]
    paying[asked] = np.clip(reach - covered[asked], 0, paying[asked])
    shares = np.zeros(base.served.shape, dtype=np.int64)
    node = np.array([n.cover is Cover.NODE for n in book.nominations], dtype=np.bool_)
    nomination, interval = np.nonzero((base.served > 0) & node[:, None])
    pool = np.array([grid.position[n.pool_id] for n in book.nominations], dtype=np.int64)
    place = pool[nomination] * grid.intervals + interval
    rows = group(place, nomination)
    nomination, interval, place = (column[rows.first] for column in (nomination, interval, place))
    at = group(place)
    names = [n.order_id.encode() for n in book.nominations]
    shares[nomination, interval] = share(
        paying[place[at.first]],
        at.start,
        base.served[nomination, interval],
        lambda found: [names[one] for one in nomination[found].tolist()],
    )
    return shares, paying
