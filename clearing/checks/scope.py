"""Check that a book is one that the rules speak of; what follows may index without a guard."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from clearing.checks.book_columns import BookColumns, Segments
from clearing.checks.exact import Bools, Ints, offsets_of
from clearing.types import (
    MAX_CHIPS,
    MAX_PRICE_MICRO_USD_PER_CHIP_HOUR,
    AuctionSpec,
    PricingRule,
)
from clearing.units import PPM

WATTS_MOST: Final = 10**9
"""Largest power of one chip: with MAX_CHIPS chips its product fits 63 bits."""

SITE_WATTS_MOST: Final = 10**18
WORK_MOST: Final = 2**62
"""Largest work, chip-seconds."""

MONEY_MOST: Final = 10**15
"""Largest cost or contract price, micro-USD."""

FACTOR_MOST: Final = 10**9
"""Largest conversion factor, ppm: with a price its product fits 63 bits."""

INTERVALS_MOST: Final = 10_000


def check_scope(columns: BookColumns) -> Iterator[str]:
    """SCOPE: the book is sound, and every number in it is one that the rules admit.

    What: identifiers are unique and resolve; intervals lie inside the auction; quantities are
    positive and curves monotone; terms go together; groups share their parent and parents form
    no cycle. Why: a report about a book that the rules do not cover would read as a proof.
    Source: docs/reference/clearing-rules, "What each order can do".
    """
    findings = list(_spec(columns.book.spec))
    if findings:
        yield from findings
        return
    yield from _identifiers(columns)
    yield from _grid(columns)
    yield from _curves(columns)
    yield from _units(columns)
    yield from _terms(columns)
    yield from _blocks(columns)
    yield from _families(columns)
    yield from _works(columns)
    yield from _base(columns)
    yield from _links(columns)


def outside(values: Ints, least: int, most: int) -> Bools:
    """Which values are outside a range."""
    found: Bools = (values < least) | (values > most)
    return found.astype(np.bool_)


def _spec(spec: AuctionSpec) -> Iterator[str]:
    if not spec.intervals:
        yield "the auction has no interval"
        return
    if len(spec.intervals) > INTERVALS_MOST:
        yield f"the auction has more than {INTERVALS_MOST} intervals"
    durations = {interval.duration_s for interval in spec.intervals}
    if len(durations) != 1 or not 0 < min(durations) <= MAX_CHIPS:
        yield "intervals differ in length"
    if any(left.end != right.start for left, right in pairwise(spec.intervals)):
        yield "intervals are not contiguous"
    most = MAX_PRICE_MICRO_USD_PER_CHIP_HOUR
    if not -most <= spec.price_floor < spec.price_cap <= most:
        yield "price floor and cap are out of range"
    if not 0 <= spec.operator_fee <= most:
        yield "the operator's fee is out of range"


def _identifiers(columns: BookColumns) -> Iterator[str]:
    grid = columns.grid
    kinds = (grid.site_ids, grid.pool_ids, columns.ids, columns.links.link_ids)
    for what, names in zip(("a site", "a pool", "an order", "a link"), kinds, strict=True):
        if len(set(names)) != len(names):
            yield f"{what} identifier is repeated"
        if "" in names or "\0" in "".join(names):
            yield f"{what} identifier is empty or holds a zero byte"


def _grid(columns: BookColumns) -> Iterator[str]:
    grid = columns.grid
    wrong = (
        (grid.site_of < 0)
        | outside(grid.node, 1, MAX_CHIPS)
        | outside(grid.capacity, 0, MAX_CHIPS)
        | outside(grid.chip_power, 0, WATTS_MOST)
        | outside(grid.theta, 0, PPM)
    )
    yield from (f"pool {grid.pool_ids[at]} is not sound" for at in np.flatnonzero(wrong))
    for site in columns.book.sites:
        limit = site.power_limit
        if limit is not None and not 0 <= limit <= SITE_WATTS_MOST:
            yield f"site {site.site_id} has a power limit out of range"
        if not 0 <= site.surcharge <= MAX_PRICE_MICRO_USD_PER_CHIP_HOUR:
            yield f"site {site.site_id} has a surcharge out of range"


def _curves(columns: BookColumns) -> Iterator[str]:
    segments, ids = columns.segments, columns.ids
    for at in np.flatnonzero(columns.offer_pool < 0):
        yield f"{ids[at]} names an unknown pool"
    inside = (segments.first >= 0) & (segments.first < segments.stop)
    inside &= segments.stop <= columns.grid.intervals
    for at in np.flatnonzero(~inside | _overlapping(segments)):
        yield f"{ids[segments.owner[at]]} has a segment outside the auction or over another"
    counts = np.diff(segments.steps)
    for at in np.flatnonzero(counts == 0):
        yield f"{ids[segments.owner[at]]} has a segment without a step"
    owner = np.repeat(segments.owner, counts)
    base = owner >= columns.starts[4]
    most = np.where(base, MONEY_MOST, MAX_PRICE_MICRO_USD_PER_CHIP_HOUR)
    wrong = outside(segments.chips, 1, MAX_CHIPS)
    wrong |= (segments.price < -most) | (segments.price > most)
    for at in np.flatnonzero(wrong):
        yield f"{ids[owner[at]]} has a step out of range"
    if segments.price.dtype == object:
        return
    rise = np.diff(segments.price)
    same = np.repeat(np.arange(len(counts)), counts)
    same_curve = same[1:] == same[:-1]
    right_way = np.where(owner[1:] < columns.offers, rise > 0, rise < 0)
    for at in np.flatnonzero(same_curve & ~right_way):
        yield f"{ids[owner[at]]} has a curve that is not monotone"
    for at in np.flatnonzero((counts > 1) & (segments.owner >= columns.starts[4])):
        yield f"{ids[segments.owner[at]]} is a nomination with more than one step"


def _overlapping(segments: Segments) -> Bools:
    """Segments that begin before another one of the same order has ended."""
    found = np.zeros(len(segments.owner), dtype=np.bool_)
    order = np.lexsort((segments.first, segments.owner)) if segments.first.dtype != object else None
    if order is None or len(order) < 2:  # noqa: PLR2004 - one segment overlaps nothing
        return found
    owner, first, stop = segments.owner[order], segments.first[order], segments.stop[order]
    found[order[1:]] = (owner[1:] == owner[:-1]) & (first[1:] < stop[:-1])
    return found


def _units(columns: BookColumns) -> Iterator[str]:
    units, ids = columns.units, columns.ids
    wrong = (
        outside(units.start_up, 0, MONEY_MOST)
        | outside(units.no_load, 0, MONEY_MOST)
        | outside(units.min_run, 1, INTERVALS_MOST)
        | outside(units.min_chips, 0, MAX_CHIPS)
        | (units.whole & ((units.min_run != 1) | (units.min_chips != 0)))
        | columns.released[units.order]
    )
    if columns.book.spec.pricing_rule is PricingRule.STRICT_UNIFORM:
        wrong |= ~units.whole
    for at in np.flatnonzero(wrong):
        yield f"{ids[units.order[at]]} has a commitment that the rules do not admit"
    empty = np.ones(columns.offers, dtype=np.bool_)
    empty[columns.segments.owner[columns.segments.owner < columns.offers]] = False
    for at in np.flatnonzero(units.whole & empty[units.order]):
        yield f"{ids[units.order[at]]} is a supply block without a segment"


def _terms(columns: BookColumns) -> Iterator[str]:
    bids, ids, first = columns.bids, columns.ids, columns.starts[1]
    wrong = (
        bids.base | (bids.interruptible & bids.site_cover) | outside(bids.notice_s, 0, MONEY_MOST)
    )
    for at in np.flatnonzero(wrong):
        yield f"{ids[first + at]} has terms that do not go together"
    for code, conversions in enumerate(bids.conversions):
        classes = {conversion.chip_class for conversion in conversions}
        sound = all(1 <= conversion.factor_ppm <= FACTOR_MOST for conversion in conversions)
        if len(classes) != len(conversions) or not sound:
            name = ids[first + int(np.flatnonzero(bids.conversion == code)[0])]
            yield f"{name} has conversions that are repeated or out of range"


def _blocks(columns: BookColumns) -> Iterator[str]:
    blocks, first = columns.blocks, columns.starts[2]
    names = columns.ids[first : columns.starts[3]]
    room = (blocks.duration >= 1) & (blocks.earliest >= 0) & (blocks.earliest <= blocks.latest)
    room &= (blocks.duration <= columns.grid.intervals) & (blocks.latest <= columns.grid.intervals)
    wrong = outside(blocks.chips, 1, MAX_CHIPS) | outside(blocks.restart_cost, 0, MONEY_MOST)
    wrong |= outside(blocks.runs_until, 0, columns.grid.intervals - 1)
    wrong |= outside(blocks.limit, *_prices()) | outside(blocks.min_fill, 1, PPM)
    if columns.book.spec.pricing_rule is PricingRule.STRICT_UNIFORM:
        wrong |= blocks.restart_cost != 0
    for at in np.flatnonzero(~room | wrong):
        yield f"{names[at]} has a number out of range"
    for at in np.flatnonzero(room & (blocks.latest + blocks.duration > columns.grid.intervals)):
        yield f"{names[at]} has no room in the auction"
    counts = np.diff(blocks.profile)
    site = columns.bids.site_cover[first - columns.starts[1] :][: len(names)]
    for at in np.flatnonzero(counts):
        chips = blocks.profile_chips[blocks.profile[at] : blocks.profile[at + 1]]
        if (
            counts[at] != blocks.duration[at]
            or int(chips.min()) < 0
            or chips.max() != blocks.chips[at]
            or not chips[0]
            or not chips[-1]
            or blocks.min_fill[at] != PPM
            or site[at]
        ):
            yield f"{names[at]} has a profile that does not fit its other terms"


def _prices() -> tuple[int, int]:
    return -MAX_PRICE_MICRO_USD_PER_CHIP_HOUR, MAX_PRICE_MICRO_USD_PER_CHIP_HOUR


def _families(columns: BookColumns) -> Iterator[str]:
    blocks, first = columns.blocks, columns.starts[2]
    names = columns.ids[first : columns.starts[3]]
    for at in np.flatnonzero(blocks.parent == -2):  # noqa: PLR2004 - unknown, see Blocks.parent
        yield f"{names[at]} is linked to no block of the book"
    who = columns.participants[first : columns.starts[3]]
    linked = np.flatnonzero(blocks.parent >= 0)
    for at in linked:
        if who[at] != who[blocks.parent[at]]:
            yield f"{names[at]} is linked to another participant's order"
    parents: dict[int, int] = {}
    for at in np.flatnonzero(blocks.grouped):
        if parents.setdefault(int(blocks.group[at]), int(blocks.parent[at])) != blocks.parent[at]:
            yield f"{names[at]} has another parent than its exclusive group"
    above = blocks.parent.copy()
    for _ in range(len(linked) + 1):
        if not (above >= 0).any():
            return
        above = np.where(above >= 0, blocks.parent[above], -1)
    yield "linked orders form a cycle"


def _works(columns: BookColumns) -> Iterator[str]:
    works = columns.works
    wrong = (works.first < 0) | (works.first >= works.stop) | (works.stop > columns.grid.intervals)
    wrong |= outside(works.max_chips, 1, MAX_CHIPS) | outside(works.limit, *_prices())
    wrong |= outside(works.work, 1, WORK_MOST)
    wrong |= works.work % columns.grid.duration_s != 0
    for at in np.flatnonzero(wrong):
        yield f"{columns.ids[columns.starts[3] + at]} has a number out of range"


def _base(columns: BookColumns) -> Iterator[str]:
    base, grid = columns.base, columns.grid
    names = columns.ids[columns.starts[4] :]
    for at in np.flatnonzero(base.pool < 0):
        yield f"{names[at]} names an unknown pool"
    counts = np.diff(base.backups)
    for at in np.flatnonzero((counts > 0) != base.site_cover):
        yield f"{names[at]} has backup pools without SITE cover, or SITE cover without them"
    owner, pool = np.repeat(np.arange(len(counts)), counts), base.backup_pool
    own = base.pool[owner]
    fits = (pool >= 0) & (own >= 0)
    fits[fits] = (
        (grid.site_of[pool[fits]] != grid.site_of[own[fits]])
        & (grid.class_of[pool[fits]] == grid.class_of[own[fits]])
        & (grid.node[pool[fits]] == grid.node[own[fits]])
    )
    for at in np.flatnonzero(~fits):
        yield f"{names[owner[at]]} names a backup pool that cannot stand in"


def _links(columns: BookColumns) -> Iterator[str]:
    links, grid = columns.links, columns.grid
    offsets = offsets_of(links.capacities)
    for at, name in enumerate(links.link_ids):
        here, there = int(links.from_pool[at]), int(links.to_pool[at])
        least = links.least[offsets[at] : offsets[at + 1]]
        most = links.most[offsets[at] : offsets[at + 1]]
        if (
            min(here, there) < 0
            or here == there
            or grid.class_of[here] != grid.class_of[there]
            or grid.node[here] != grid.node[there]
        ):
            yield f"link {name} joins no two pools of one class and node size"
        if len(least) != grid.intervals or (least > most).any():
            yield f"link {name} has no range for every interval"
        elif (
            outside(least, -MAX_CHIPS, MAX_CHIPS).any()
            or outside(most, -MAX_CHIPS, MAX_CHIPS).any()
        ):
            yield f"link {name} has a capacity out of range"
