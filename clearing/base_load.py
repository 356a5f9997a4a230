"""Base load that site power can carry: all of it, or pro rata whole nodes where it cannot.

Nothing else may take power before base load (penalty ladder: base first), so its
shortfall is known before the market is solved and never enters it.
"""

from __future__ import annotations

import numpy as np

from clearing.columns import Integers, column, integers, starts
from clearing.market import NONE, Base, Grid
from clearing.types import Book, Cover, Nomination


def read_base(book: Book, grid: Grid) -> Base:
    """Serve the nominations of a validated canonical book and sum them up."""
    nominations = book.nominations
    pool = column(lambda nomination: grid.position[nomination.pool_id], nominations)
    nominated = _nominated(nominations, grid.intervals)
    served = _serve(nominated, pool, grid)
    place = pool[:, None] * grid.intervals + np.arange(grid.intervals)
    chips = np.zeros(grid.places, dtype=np.int64)
    covered = np.zeros(grid.places, dtype=np.int64)
    np.add.at(chips, place, served)
    node = np.array([n.cover is Cover.NODE for n in nominations], dtype=np.bool_)
    np.add.at(covered, place[node], served[node])
    backed_of = np.full(served.shape, NONE, dtype=np.int64)
    rows: dict[tuple[int, tuple[int, ...]], list[tuple[int, int]]] = {}
    for position, nomination in enumerate(nominations):
        if nomination.cover is Cover.SITE:
            candidates = tuple(sorted({grid.position[name] for name in nomination.backup_pool_ids}))
            for interval in np.flatnonzero(served[position]).tolist():
                key = (int(place[position, interval]), candidates)
                rows.setdefault(key, []).append((position, interval))
    keys = sorted(rows)
    backed_chips = np.zeros(len(keys), dtype=np.int64)
    for row, key in enumerate(keys):
        for position, interval in rows[key]:
            backed_of[position, interval] = row
            backed_chips[row] += served[position, interval]
    return Base(
        served=served,
        chips=chips,
        covered=covered,
        backed_place=integers(at for at, _ in keys),
        backed_chips=backed_chips,
        backed_start=starts(integers(len(candidates) for _, candidates in keys)),
        backed_pool=integers(backup for _, candidates in keys for backup in candidates),
        backed_of=backed_of,
    )


def _nominated(nominations: tuple[Nomination, ...], intervals: int) -> Integers:
    chips = np.zeros((len(nominations), intervals), dtype=np.int64)
    for position, nomination in enumerate(nominations):
        for segment in nomination.segments:
            chips[position, segment.first : segment.stop] = sum(s.chips for s in segment.steps)
    return chips


def _serve(nominated: Integers, pool: Integers, grid: Grid) -> Integers:
    """Chips served per nomination and interval."""
    served = nominated.copy()
    for site, limit in enumerate(grid.power_limit.tolist()):
        local = np.flatnonzero(grid.site[pool] == site)
        if limit == NONE or local.size == 0:
            continue
        drawn = grid.power[pool[local]] @ nominated[local]
        for interval in np.flatnonzero(drawn > limit).tolist():
            wanted = nominated[local, interval].tolist()
            served[local, interval] = _carry(wanted, pool[local], grid, limit)
    return served


def _carry(wanted: list[int], pools: Integers, grid: Grid, limit: int) -> list[int]:
    """Chips in whole nodes that one site carries of what it is asked for in one interval.

    Each gets its share of the power, down to a node, and what rounding left goes back one node
    each in order of identifier. Python integers: chips x watts x watts needs more than 63 bits.
    """
    power, node = grid.power[pools].tolist(), grid.node[pools].tolist()
    drawn = sum(chips * watts for chips, watts in zip(wanted, power, strict=True))
    served = [
        chips if watts == 0 else chips * limit // drawn // size * size
        for chips, watts, size in zip(wanted, power, node, strict=True)
    ]
    left = limit - sum(chips * watts for chips, watts in zip(served, power, strict=True))
    for position, size in enumerate(node):
        back = min(size, wanted[position] - served[position])
        if back * power[position] <= left:
            served[position] += back
            left -= back * power[position]
    return served
