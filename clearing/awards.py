"""Awarded columns as the published records: awards, runs of units and flows of links."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from clearing.accounts import Accounts
from clearing.columns import Integers, group, starts
from clearing.market import NONE
from clearing.outcome import Award, Backup, LinkFlow, Side, SupplyRun
from clearing.types import BlockBid, Cover, ServiceClass, StepBid, WorkBid
from clearing.units import Chips


def awards_of(accounts: Accounts) -> tuple[Award, ...]:
    """Awards of all orders, sorted by order and pool."""
    found = [*_of_offers(accounts), *_of_bids(accounts), *_of_base(accounts)]
    found.sort(key=attrgetter("order_id", "pool_id"))
    return tuple(found)


def _cut(series: list[int], first: int, stop: int) -> tuple[Chips, ...]:
    """Part of a series, as chips."""
    part: list[Any] = series[first:stop]
    return tuple(part)


def _spans(filled: Any) -> list[tuple[int, int, int]]:  # noqa: ANN401 - flags in two dimensions
    """Row, first and stop of what is not zero, for rows that have any."""
    rows = np.flatnonzero(filled.any(axis=1))
    first = filled[rows].argmax(axis=1)
    stop = filled.shape[1] - filled[rows, ::-1].argmax(axis=1)
    return list(zip(rows.tolist(), first.tolist(), stop.tolist(), strict=True))


def _of_offers(accounts: Accounts) -> list[Award]:
    market, book, quantities = accounts.model.market, accounts.book, accounts.quantities
    supply, held, intervals = market.supply, quantities.held, market.grid.intervals
    shape = (len(book.offers), intervals)
    sold, node, site = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    interval = (supply.place % intervals).repeat(np.diff(supply.member_start))
    used = np.flatnonzero(quantities.sold)
    np.add.at(sold, (supply.member_offer[used], interval[used]), quantities.sold[used])
    node[held.offer, held.place % intervals] = held.node
    site[held.offer, held.place % intervals] = held.site
    chips, reserve, site_reserve = sold.tolist(), node.tolist(), site.tolist()
    backed: list[bool] = np.any(site > 0, axis=1).tolist()
    found = []
    for row, first, stop in _spans((sold > 0) | (node > 0) | (site > 0)):
        offer = book.offers[row]
        found.append(
            Award(
                order_id=offer.order_id,
                participant_id=offer.participant_id,
                side=Side.SUPPLY,
                pool_id=offer.pool_id,
                service_class=(
                    ServiceClass.INTERRUPTIBLE if offer.recallable else ServiceClass.FIRM
                ),
                cover=Cover.NONE,
                first=first,
                chips=_cut(chips[row], first, stop),
                reserve=_cut(reserve[row], first, stop),
                site_reserve=_cut(site_reserve[row], first, stop) if backed[row] else (),
            )
        )
    return found


def _of_bids(accounts: Accounts) -> list[Award]:
    """One award per bid and pool, over the intervals from its first to its last chip."""
    book, taken = accounts.book, accounts.quantities.taken
    bids: Sequence[StepBid | BlockBid | WorkBid] = [
        *book.step_bids,
        *book.block_bids,
        *book.work_bids,
    ]
    pools = [pool.pool_id for pool in book.pools]
    spots = group(taken.bid, taken.pool)
    if spots.count == 0:
        return []
    interval = taken.interval[spots.order]
    first = np.minimum.reduceat(interval, spots.start[:-1])
    length = np.maximum.reduceat(interval, spots.start[:-1]) - first + 1
    begin = starts(length)
    of_row = spots.of_row()
    at = begin[of_row] + taken.interval - first[of_row]

    def series(values: Integers) -> list[int]:
        dense = np.zeros(int(begin[-1]), dtype=np.int64)
        np.add.at(dense, at, values)
        whole: list[int] = dense.tolist()
        return whole

    chips, reserve, site_reserve = map(series, (taken.chips, taken.reserve, taken.site_reserve))
    counted = np.zeros(spots.count, dtype=np.bool_)
    counted[of_row[taken.site_reserve > 0]] = True
    backups = _backups(taken.backup, taken.chips, of_row, at - begin[of_row], length, pools)
    found = []
    for row, (bid_at, pool_at, start, size, low, other) in enumerate(
        zip(
            taken.bid[spots.first].tolist(),
            taken.pool[spots.first].tolist(),
            first.tolist(),
            length.tolist(),
            begin[:-1].tolist(),
            counted.tolist(),
            strict=True,
        )
    ):
        bid = bids[bid_at]
        interruptible = bid.service_class is ServiceClass.INTERRUPTIBLE
        found.append(
            Award(
                order_id=bid.order_id,
                participant_id=bid.participant_id,
                side=Side.DEMAND,
                pool_id=pools[pool_at],
                service_class=bid.service_class,
                cover=Cover.NONE if interruptible else bid.cover,
                first=start,
                chips=_cut(chips, low, low + size),
                reserve=_cut(reserve, low, low + size),
                site_reserve=_cut(site_reserve, low, low + size) if other else (),
                backups=backups.get(row, ()),
            )
        )
    return found


def _backups(
    pool: Integers,
    chips: Integers,
    row: Integers,
    offset: Integers,
    length: Integers,
    names: list[str],
) -> dict[int, tuple[Backup, ...]]:
    """Backups per award row, by pool.

    Args:
        pool: Backup pool of each entry, or ``NONE``.
        chips: Chips of each entry.
        row: Award of each entry; ``offset`` its interval in it.
        offset: See ``row``.
        length: Intervals of each award.
        names: Identifiers of pools.
    """
    used = np.flatnonzero(pool != NONE)
    spots = group(row[used], pool[used])
    of_spot = spots.of_row()
    found: dict[int, tuple[Backup, ...]] = {}
    sample = used[spots.first]
    series = [[0] * int(length[at]) for at in row[sample].tolist()]
    for spot, at, amount in zip(
        of_spot.tolist(), offset[used].tolist(), chips[used].tolist(), strict=True
    ):
        series[spot][at] += amount
    for spot, (award, where) in enumerate(
        zip(row[sample].tolist(), pool[sample].tolist(), strict=True)
    ):
        backup = Backup(pool_id=names[where], chips=_cut(series[spot], 0, len(series[spot])))
        found[award] = (*found.get(award, ()), backup)
    return found


def _of_base(accounts: Accounts) -> list[Award]:
    book, backed = accounts.book, accounts.quantities.backed
    served = accounts.model.market.base.served
    spans = _spans(served > 0)
    first = np.zeros(len(book.nominations), dtype=np.int64)
    length = np.zeros(len(book.nominations), dtype=np.int64)
    for row, begin, stop in spans:
        first[row], length[row] = begin, stop - begin
    backups = _backups(
        backed.pool,
        backed.chips,
        backed.nomination,
        backed.interval - first[backed.nomination],
        length,
        [pool.pool_id for pool in book.pools],
    )
    return [
        Award(
            order_id=nomination.order_id,
            participant_id=nomination.participant_id,
            side=Side.BASE,
            pool_id=nomination.pool_id,
            service_class=ServiceClass.BASE_LOAD,
            cover=nomination.cover,
            first=begin,
            chips=_cut(served[row].tolist(), begin, stop),
            reserve=(Chips(0),) * (stop - begin),
            backups=backups.get(row, ()),
        )
        for row, begin, stop in spans
        for nomination in (book.nominations[row],)
    ]


def runs_of(accounts: Accounts) -> tuple[SupplyRun, ...]:
    """Runs of offers with a commitment, sorted by order and start; a whole one has one."""
    units, found = accounts.model.market.units, []
    on = accounts.runs()
    for unit, offer in enumerate(units.offer.tolist()):
        edges = np.flatnonzero(np.diff(on[unit], prepend=False, append=False)).tolist()
        if units.whole[unit] and edges:
            edges = [edges[0], edges[-1]]
        order_id = accounts.book.offers[offer].order_id
        found += [
            SupplyRun(order_id=order_id, first=first, stop=stop)
            for first, stop in zip(edges[::2], edges[1::2], strict=True)
        ]
    return tuple(found)


def flows_of(accounts: Accounts) -> tuple[LinkFlow, ...]:
    """Chips carried by every link, sorted."""
    flows = accounts.quantities.flows.tolist()
    return tuple(
        LinkFlow(link_id=link.link_id, chips=tuple(chips))
        for link, chips in zip(accounts.book.links, flows, strict=True)
    )
