"""Guards on what bids ask for: class and cover, windows, fills, profiles and work."""

from __future__ import annotations

from itertools import chain

import numpy as np

from clearing.errors import BookError
from clearing.types import (
    MAX_CHIPS,
    MAX_PRICE_MICRO_USD_PER_CHIP_HOUR,
    BlockBid,
    Cover,
    Eligibility,
    ServiceClass,
)
from clearing.units import PPM
from clearing.validation.curves import bad_quantity, price_advice, wrong_prices
from clearing.validation.limits import MAX_NOTICE_SECONDS
from clearing.validation.sheet import (
    CLIP,
    Bid,
    Flags,
    Sheet,
    column,
    counts,
    integers,
    largest,
    refuse,
)


def check_terms(sheet: Sheet) -> None:
    """Refuse service classes, cover and notice that do not go together."""
    firm, interruptible, none = ServiceClass.FIRM, ServiceClass.INTERRUPTIBLE, Cover.NONE
    for bid in sheet.bids:
        if bid.service_class is firm:
            sound = bid.notice_s == 0
        else:
            sound = bid.service_class is interruptible and bid.cover is none
            sound = sound and 0 <= bid.notice_s <= MAX_NOTICE_SECONDS
        if not sound:
            raise _bad_class(bid)


def _bad_class(bid: Bid) -> BookError:
    if bid.service_class is ServiceClass.BASE_LOAD:
        advice = "Base load is nominated, not bid for."
        return BookError("BAD_CLASS", bid.order_id, "service_class", advice)
    if bid.service_class is ServiceClass.INTERRUPTIBLE and bid.cover is not Cover.NONE:
        advice = "An interruptible bid has cover NONE."
        return BookError("BAD_CLASS", bid.order_id, "cover", advice)
    advice = f"Only an interruptible bid has a notice, 0 to {MAX_NOTICE_SECONDS} seconds."
    return BookError("BAD_CLASS", bid.order_id, "notice_s", advice)


def check_conditions(sheet: Sheet) -> None:
    """Refuse bids that could be served anywhere."""
    numbers, distinct = sheet.conditions
    anywhere = Eligibility()
    if anywhere not in distinct:
        return
    number = distinct.index(anywhere)
    bid = sheet.bids[numbers.index(number)]
    advice = "Name pools or at least one condition."
    raise BookError("NO_CONDITION", bid.order_id, "where", advice)


def check_windows(sheet: Sheet) -> None:
    """Refuse runs and deadlines that leave the auction."""
    blocks, works = sheet.book.block_bids, sheet.book.work_bids
    first, last = column(blocks, "earliest_start"), column(blocks, "latest_start")
    duration = column(blocks, "duration")
    final = sheet.intervals - duration
    code = "BAD_INTERVAL_RANGE"
    advice = "It must run at least one interval, inside the auction."
    refuse((duration <= 0) | (first < 0) | (first > final), blocks, code, "earliest_start", advice)
    advice = "It must not come before the earliest start, and the run must end in the auction."
    refuse((last < first) | (last > final), blocks, code, "latest_start", advice)
    begin, stop = column(works, "first"), column(works, "stop")
    wrong = ~((begin >= 0) & (begin < stop) & (stop <= sheet.intervals))
    advice = "Give at least one interval, inside the auction."
    refuse(wrong, works, code, "first", advice)


def check_fills(sheet: Sheet) -> None:
    """Refuse minimum fills outside 1 to 1,000,000 parts per million."""
    blocks = sheet.book.block_bids
    fill = column(blocks, "min_fill_ppm")
    advice = "Give 1 to 1,000,000 parts per million."
    refuse((fill < 1) | (fill > PPM), blocks, "BAD_FILL", "min_fill_ppm", advice)


def check_quantities(sheet: Sheet) -> None:
    """Refuse chips of blocks and rates of work that are not whole nodes, and work likewise."""
    blocks, works = sheet.book.block_bids, sheet.book.work_bids
    for bids, where, field in (
        (blocks, sheet.block_slice, "chips"),
        (works, sheet.work_slice, "max_chips"),
    ):
        node = sheet.bid_nodes[where]
        chips = column(bids, field)
        wrong = (chips <= 0) | (chips > MAX_CHIPS) | (chips % node != 0)
        if wrong.any():
            number = int(wrong.argmax())
            raise bad_quantity(bids[number].order_id, field, int(node[number]))
    # At most a year of seconds times 10**8 chips: below 2**52.
    unit = sheet.bid_nodes[sheet.work_slice] * sheet.duration_s
    work = column(works, "work")
    wrong = (work <= 0) | (work >= CLIP) | (work % unit != 0)
    if wrong.any():
        number = int(wrong.argmax())
        multiple = f"multiple of {int(unit[number])}, interval times node size"
        advice = f"Give a positive {multiple}, below 2**60."
        raise BookError("BAD_QUANTITY", works[number].order_id, "work", advice)


def check_prices(sheet: Sheet) -> None:
    """Refuse limit prices off the tick or outside floor and cap."""
    advice = price_advice(sheet)
    for bids in (sheet.book.block_bids, sheet.book.work_bids):
        wrong = wrong_prices(sheet, column(bids, "limit_price"))
        refuse(wrong, bids, "BAD_PRICE", "limit_price", advice)


def check_profiles(sheet: Sheet) -> None:
    """Refuse profiles that contradict the rest of their block."""
    blocks = sheet.book.block_bids
    rows = [number for number, block in enumerate(blocks) if block.profile]
    if not rows:
        return
    shaped = [blocks[number] for number in rows]
    profiles = [block.profile for block in shaped]
    size = counts(profiles)
    _refuse_profile(size != column(shaped, "duration"), shaped, "Give one entry per interval.")
    chips = integers(list(chain.from_iterable(profiles)))
    node = sheet.bid_nodes[sheet.block_slice][rows].repeat(size)
    wrong = (chips < 0) | (chips % node != 0)
    owner = np.arange(size.size).repeat(size)
    advice = "Entries must be whole nodes and not negative."
    refuse(wrong, shaped, "BAD_PROFILE", "profile", advice, owner=owner)
    ends = np.cumsum(size)
    idle = (chips[ends - 1] == 0) | (chips[ends - size] == 0)
    _refuse_profile(idle, shaped, "The first and the last entry must be above zero.")
    most = largest(chips, size)
    _refuse_profile(most != column(shaped, "chips"), shaped, "The largest entry is chips.")
    partial = column(shaped, "min_fill_ppm") != PPM
    _refuse_profile(partial, shaped, "A bid with a profile is all or none.")
    backed = np.array([block.cover is Cover.SITE for block in shaped], dtype=np.bool_)
    _refuse_profile(backed, shaped, "A bid with a profile has no SITE cover.")


def _refuse_profile(wrong: Flags, shaped: list[BlockBid], advice: str) -> None:
    refuse(wrong, shaped, "BAD_PROFILE", "profile", advice)


def check_restarts(sheet: Sheet) -> None:
    """Refuse restart costs, and ends of what runs, that are out of range."""
    blocks = sheet.book.block_bids
    cost = column(blocks, "restart_cost")
    most = MAX_PRICE_MICRO_USD_PER_CHIP_HOUR
    wrong = (cost < 0) | (cost > most)
    refuse(wrong, blocks, "BAD_RESTART", "restart_cost", f"Give 0 to {most} micro-USD per chip.")
    until, last = column(blocks, "runs_until"), len(sheet.book.spec.intervals) - 1
    wrong = (until < 0) | (until > last)
    refuse(wrong, blocks, "BAD_RESTART", "runs_until", f"Name an interval from 0 to {last}.")


def check_cover(sheet: Sheet) -> None:
    """Refuse SITE cover where no eligible pool has a backup at another site.

    A bid without any eligible pool is no refusal: it ends as NO_ELIGIBLE_POOL.
    """
    site = Cover.SITE
    for bid, number in zip(sheet.bids, sheet.conditions[0], strict=True):
        if bid.cover is site:
            venue = sheet.venues[number]
            if venue.pools and not venue.covered:
                advice = "Name pools of one chip class and node size at two sites or more."
                raise BookError("NO_COVER_POSSIBLE", bid.order_id, "cover", advice)
