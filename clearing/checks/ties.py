"""Check of ties: steps at one price share pro rata, and the seed decides the odd node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clearing.checks.charges import charges_at_prices, demand_of
from clearing.checks.exact import Ints, spread
from clearing.checks.facts import View
from clearing.checks.menus import Product
from clearing.checks.responses import bids_at_prices, offers_at_prices
from clearing.ties import sharing_key
from clearing.units import split_largest_remainder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shares:
    """Steps exactly at the price, with the code of the group in which each shares.

    Attributes:
        order: Of each step; ``wanted`` its chips and ``taken`` those it has.
    """

    group: Ints
    order: Ints
    wanted: Ints
    taken: Ints


def check_ties(view: View) -> Iterator[str]:
    """TIES: equal steps at the price share what they get in proportion to their size.

    What: steps of one side with the same price, product, interval and eligible pools, whose
    limit equals the price. In one pool and with steps of whole nodes the shares are exactly
    those of largest remainder in nodes, equal remainders in order of SHA-256(seed || order ||
    0 || pool || 0 || interval). Elsewhere (several pools, steps that end inside a node) each
    share is within one node per pool of its part. Steps that bind nothing else are compared:
    supply of a place where chips stand by is left out, because spare and sale compete, and so
    are offers with a commitment, bids with conversions, blocks and work.
    Why: two orders that say the same must be treated the same. Source: DESIGN 4.2 "Ties",
    GOLDEN 14.
    """
    seed = bytes.fromhex(view.published.outcome.seed)
    intervals = view.intervals
    shares = _of_bids(view)
    for group, members in _partial(shares):
        menu, t = divmod(group, intervals)
        begin, end = view.menus.menu_arcs[menu], view.menus.menu_arcs[menu + 1]
        pools = sorted(set(view.menus.pool[begin:end].tolist()))
        product = Product(int(view.menus.product[menu])).name
        yield from _compare(view, seed, (pools, t, product), shares, members)
    shares = _of_offers(view)
    for group, members in _partial(shares):
        pool, t = divmod(group // 2, intervals)
        side = "released" if group % 2 else "supply"
        yield from _compare(view, seed, ([pool], t, side), shares, members)


def _partial(shares: _Shares) -> Iterator[tuple[int, Ints]]:
    """Groups of several steps that have some, but not all, of what they want."""
    codes, group = np.unique(shares.group, return_inverse=True)
    wanted = spread(group, shares.wanted, len(codes))
    taken = spread(group, shares.taken, len(codes))
    counts = np.bincount(group, minlength=len(codes))
    for at in np.flatnonzero((counts > 1) & (taken > 0) & (taken < wanted)):
        yield int(codes[at]), np.flatnonzero(group == at)


def _of_bids(view: View) -> _Shares:
    book, curves, demand = view.book, view.curves, demand_of(view)
    begin, stop = curves.starts[1], curves.starts[2]
    response, net = bids_at_prices(view)
    cell = curves.cell[curves.entries[begin] : curves.entries[stop]] - begin
    row = demand.of_cell[cell]
    plain = book.bids.conversion[curves.order[cell + begin] - book.starts[1]] == 0
    served = np.diff(demand.row_arcs)[row] > 0
    at = np.flatnonzero((net == 0) & plain & served)
    cell, row, entry = cell[at], row[at], at + curves.entries[begin]
    menu = _alike(view, demand.menu[row])
    left = np.maximum(0, response.taken[cell] - curves.before[entry])
    return _Shares(
        group=menu * view.intervals + demand.interval[row],
        order=curves.order[cell + begin],
        wanted=curves.size[entry],
        taken=np.minimum(left, curves.size[entry]),
    )


def _alike(view: View, menu: Ints) -> Ints:
    """For each menu the first one with the same product and the same arcs."""
    menus = view.menus
    begin = menus.menu_arcs
    pools = menus.pool.tobytes(), menus.backup.tobytes()
    width = menus.pool.itemsize
    first: dict[tuple[int, bytes, bytes], int] = {}
    known = np.unique(menu)
    found = np.zeros(len(known), dtype=np.int64)
    for at, own in enumerate(known.tolist()):
        here = slice(int(begin[own]) * width, int(begin[own + 1]) * width)
        key = (int(menus.product[own]), pools[0][here], pools[1][here])
        found[at] = first.setdefault(key, own)
    return found[np.searchsorted(known, menu)]


def _of_offers(view: View) -> _Shares:
    book, curves, charges = view.book, view.curves, charges_at_prices(view)
    stop = curves.starts[1]
    response = offers_at_prices(view)
    cell = curves.cell[: curves.entries[stop]]
    owner = curves.order[cell]
    pool = book.offer_pool[owner]
    place = pool * view.intervals + curves.interval[cell]
    released = book.released[owner]
    earns = np.where(released, charges.released[place], charges.supply[place])
    held = view.totals.spare + view.totals.site_spare
    tied = (curves.price[: len(cell)] == earns) & (held[place] == 0) & (book.unit_of[owner] < 0)
    entry = np.flatnonzero(tied)
    cell = cell[entry]
    left = np.maximum(0, response.taken[cell] - curves.before[entry])
    return _Shares(
        group=place[entry] * 2 + released[entry],
        order=owner[entry],
        wanted=curves.size[entry],
        taken=np.minimum(left, curves.size[entry]),
    )


def _compare(
    view: View, seed: bytes, key: tuple[list[int], int, str], shares: _Shares, members: Ints
) -> Iterator[str]:
    pools, interval, product = key
    grid = view.book.grid
    name = f"{'|'.join(grid.pool_ids[pool] for pool in pools[:3])}[{interval}] {product}"
    names = [view.name(at) for at in shares.order[members]]
    wanted, taken = shares.wanted[members].tolist(), shares.taken[members].tolist()
    node = int(grid.node[pools[0]])
    if len(pools) == 1 and not any(chips % node for chips in (*wanted, *taken)):
        pool_id = grid.pool_ids[pools[0]]
        parts = split_largest_remainder(
            sum(taken) // node,
            wanted,
            [sharing_key(seed, order_id, pool_id, interval) for order_id in names],
        )
        for order_id, has, part in zip(names, taken, parts, strict=True):
            if has != part * node:
                yield f"{name}: {order_id} has {has}, its part is {part * node}"
        return
    slack = sum(int(grid.node[pool]) for pool in pools)
    for order_id, has, wants in zip(names, taken, wanted, strict=True):
        if abs(has * sum(wanted) - sum(taken) * wants) >= 2 * slack * sum(wanted):
            whole = f"all of them {sum(taken)} of {sum(wanted)}"
            yield f"{name}: {order_id} has {has} of {wants}, {whole}"
