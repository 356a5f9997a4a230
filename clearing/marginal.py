"""Who sets the price: the orders to which, or from which, one more chip would go.

A step is marginal in a pool and interval when its limit equals what it would pay or earn there; a
block when it runs between its least and its full quantity, so that its fill holds the price over
its whole run. Where nobody is, the price follows from other rows (power, cover, another pool over
a bid that could go to either) or lies inside a range that every order accepts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from clearing.book import canonical
from clearing.columns import Integers, expand
from clearing.market import NONE, Market, Product
from clearing.outcome import Outcome, Side
from clearing.reading import read_market
from clearing.types import Book
from clearing.units import PPM, MicroUsdPerChipHour, divide_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Marginal:
    """Marginal orders of one pool and interval.

    Attributes:
        energy: Published energy price, micro-USD per chip-hour.
        sellers, buyers: Orders, sorted; both may be empty.
    """

    pool_id: str
    interval: int
    energy: MicroUsdPerChipHour
    sellers: tuple[str, ...]
    buyers: tuple[str, ...]


def marginal(outcome: Outcome, book: Book) -> tuple[Marginal, ...]:
    """Marginal orders per pool and interval, sorted.

    Args:
        outcome: Verified.
        book: Its book, in any order.

    Example:
        >>> [found.sellers for found in marginal(outcome, book)]  # doctest: +SKIP
        [('offer-7',)]
    """
    book = canonical(book)
    market = read_market(book)
    sellers = _sellers(book, market, outcome)
    buyers = _buyers(book, market, outcome)
    _add_blocks(book, market, outcome, buyers)
    intervals = market.grid.intervals
    return tuple(
        Marginal(
            pool_id=price.pool_id,
            interval=price.interval,
            energy=price.energy,
            sellers=tuple(sorted(sellers.get(place, ()))),
            buyers=tuple(sorted(buyers.get(place, ()))),
        )
        for price in outcome.prices
        for place in (market.grid.position[price.pool_id] * intervals + price.interval,)
    )


def _by_place(places: Integers, names: Iterable[str]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for place, name in zip(places.tolist(), names, strict=True):
        found.setdefault(place, set()).add(name)
    return found


def _sellers(book: Book, market: Market, outcome: Outcome) -> dict[int, set[str]]:
    supply = market.supply
    energy, recall = (
        np.array([getattr(price, name) for price in outcome.prices], dtype=np.int64)
        for name in ("energy", "recall_discount")
    )
    earned = energy[supply.place] - np.where(supply.released, recall[supply.place], 0)
    step, _ = expand(np.diff(supply.member_start))
    member = np.flatnonzero((earned == supply.price)[step])
    names = (book.offers[offer].order_id for offer in supply.member_offer[member].tolist())
    return _by_place(supply.place[step[member]], names)


_PRICE_OF: dict[Product, str] = {
    Product.COVERED: "firm",
    Product.SITE: "firm_uncovered",
    Product.UNCOVERED: "firm_uncovered",
    Product.RECLAIMABLE: "interruptible",
    Product.UNCOUNTED: "interruptible_uncounted",
}


def _buyers(book: Book, market: Market, outcome: Outcome) -> dict[int, set[str]]:
    demand, grid = market.demand, market.grid
    paid = np.zeros((len(Product), grid.places), dtype=np.int64)
    for product, name in _PRICE_OF.items():
        paid[product] = [getattr(price, name) for price in outcome.prices]
    paid[Product.RECALLABLE] = [
        price.firm_uncovered - price.recall_discount for price in outcome.prices
    ]
    cell = demand.arc_cell
    net = demand.arc_value - paid[demand.product[cell], demand.arc_place]
    backed = np.flatnonzero(demand.arc_backup != NONE)
    backup = {
        (price.site_id, price.pool_id, price.interval): int(price.price)
        for price in outcome.backup_prices
    }
    net[backed] -= np.array(
        [
            backup.get((grid.site_ids[site], grid.pools[pool].pool_id, interval), 0)
            for site, pool, interval in zip(
                grid.site[demand.arc_pool[backed]].tolist(),
                demand.arc_backup[backed].tolist(),
                demand.interval[cell[backed]].tolist(),
                strict=True,
            )
        ],
        dtype=np.int64,
    )
    arc = np.flatnonzero(net == 0)
    first = np.where(demand.work == NONE, demand.member_start[:-1], 0)
    count = np.where(demand.work == NONE, np.diff(demand.member_start), 0)
    at, offset = expand(count[cell[arc]])
    bid = demand.member_bid[first[cell[arc]][at] + offset]
    found = _by_place(
        demand.arc_place[arc[at]], (book.step_bids[one].order_id for one in bid.tolist())
    )
    for one in arc[demand.work[cell[arc]] != NONE].tolist():
        group = int(demand.work[cell[one]])
        begin, end = demand.work_member_start[group : group + 2].tolist()
        names = {book.work_bids[bid].order_id for bid in demand.work_member_bid[begin:end].tolist()}
        found.setdefault(int(demand.arc_place[one]), set()).update(names)
    return found


def _add_blocks(book: Book, market: Market, outcome: Outcome, buyers: dict[int, set[str]]) -> None:
    """Blocks that run between their least and their full quantity."""
    grid = market.grid
    blocks = {block.order_id: block for block in book.block_bids}
    for award in outcome.awards:
        block = blocks.get(award.order_id)
        if award.side is not Side.DEMAND or block is None or block.profile:
            continue
        pool = grid.position[award.pool_id]
        node, chips = int(grid.node[pool]), max(award.chips)
        least = divide_up(divide_up(block.chips * block.min_fill_ppm, PPM), node) * node
        if least < chips < block.chips:
            for interval in range(award.first, award.first + len(award.chips)):
                place = pool * grid.intervals + interval
                buyers.setdefault(place, set()).add(block.order_id)
