"""Guards on curves: offers, step bids and nominations, and what a pool can hold of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from clearing.errors import BookError
from clearing.types import MAX_CHIPS, MAX_PRICE_MICRO_USD_PER_CHIP_HOUR, Nomination, Offer, StepBid
from clearing.units import PPM
from clearing.validation.limits import MAX_FACTOR_PPM, MAX_WORTH
from clearing.validation.sheet import (
    Curves,
    Flags,
    Integers,
    Order,
    Sheet,
    column,
    integers,
    largest,
    refuse,
    sums,
)

Curved = Sequence[Offer | StepBid | Nomination]


def _curves(sheet: Sheet) -> Iterator[tuple[Curved, Curves]]:
    book = sheet.book
    yield book.offers, sheet.offers
    yield book.step_bids, sheet.step_bids
    yield book.nominations, sheet.nominations


def check_ranges(sheet: Sheet) -> None:
    """Refuse segments that are empty, leave the auction or overlap."""
    for orders, curves in _curves(sheet):
        first, stop = curves.first, curves.stop
        wrong = ~((first >= 0) & (first < stop) & (stop <= sheet.intervals))
        if not wrong.any():
            wrong = _overlaps(curves)
        advice = "Segments must lie inside the auction and not overlap."
        refuse(wrong, orders, "BAD_INTERVAL_RANGE", "segments", advice, owner=curves.order)


def _overlaps(curves: Curves) -> Flags:
    """Segments that begin before an earlier one of the same order ends."""
    order, first, stop = curves.order, curves.first, curves.stop
    wrong = np.zeros(order.size, dtype=np.bool_)
    beside = order[1:] == order[:-1]
    if not (beside & (first[1:] < stop[:-1])).any():
        return wrong
    # Not ascending as they were given; segments may come in any order.
    by_time = np.lexsort((first, order))
    beside = order[by_time][1:] == order[by_time][:-1]
    wrong[by_time[1:]] = beside & (first[by_time][1:] < stop[by_time][:-1])
    return wrong


def check_curves(sheet: Sheet) -> None:
    """Refuse orders without a curve, and prices that do not rise (offers) or fall (bids)."""
    book = sheet.book
    for orders, curves in _curves(sheet):
        refuse(curves.size == 0, orders, "BAD_CURVE", "segments", "Give at least one segment.")
        empty, advice = curves.steps == 0, "Give every segment a step."
        refuse(empty, orders, "BAD_CURVE", "segments", advice, owner=curves.order)
    for curved, flat, rising in (
        (book.offers, sheet.offers, True),
        (book.step_bids, sheet.step_bids, False),
    ):
        beside = flat.segment[1:] == flat.segment[:-1]
        rise = np.diff(flat.price)
        wrong = np.zeros(flat.price.size, dtype=np.bool_)
        wrong[1:] = beside & ((rise <= 0) if rising else (rise >= 0))
        direction = "ascend" if rising else "descend"
        advice = f"Prices must {direction} strictly."
        refuse(wrong, curved, "BAD_CURVE", "segments", advice, owner=flat.step_order)
    base, advice = sheet.nominations, "Give exactly one step."
    several = base.steps != 1
    refuse(several, book.nominations, "BAD_CURVE", "segments", advice, owner=base.order)


def check_step_quantities(sheet: Sheet) -> None:
    """Refuse quantities that are not whole nodes; a nomination's chips are its contract's."""
    book = sheet.book
    steps = slice(0, len(book.step_bids))
    nodes: tuple[Integers, ...] = (
        sheet.nodes_of(book.offers),
        sheet.bid_nodes[steps],
        np.ones(len(book.nominations), dtype=np.int64),
    )
    for (orders, curves), node in zip(_curves(sheet), nodes, strict=True):
        size = node[curves.step_order]
        wrong = (curves.chips <= 0) | (curves.chips > MAX_CHIPS) | (curves.chips % size != 0)
        if wrong.any():
            order = int(curves.step_order[int(wrong.argmax())])
            raise bad_quantity(orders[order].order_id, "segments", int(node[order]))


def bad_quantity(subject: str, field: str, node: int) -> BookError:
    """Refusal of a quantity that is not positive, too large or not whole nodes."""
    advice = f"Give a positive multiple of {node} chips, the node size of its pools."
    return BookError("BAD_QUANTITY", subject, field, advice)


def check_step_prices(sheet: Sheet) -> None:
    """Refuse limit prices off the tick or outside floor and cap.

    A nomination's price is its contract's: neither tick nor floor binds it.
    """
    book = sheet.book
    for orders, curves in ((book.offers, sheet.offers), (book.step_bids, sheet.step_bids)):
        wrong, advice = wrong_prices(sheet, curves.price), price_advice(sheet)
        refuse(wrong, orders, "BAD_PRICE", "segments", advice, owner=curves.step_order)
    base = sheet.nominations
    high = np.abs(base.price) > MAX_PRICE_MICRO_USD_PER_CHIP_HOUR
    advice = f"A contract price is at most {MAX_PRICE_MICRO_USD_PER_CHIP_HOUR} either way."
    refuse(high, book.nominations, "BAD_PRICE", "segments", advice, owner=base.step_order)


def check_values(sheet: Sheet) -> None:
    """Refuse own factors that lift a value out of the range of prices."""
    wrong = value_limits(sheet) > MAX_PRICE_MICRO_USD_PER_CHIP_HOUR * PPM
    refuse(wrong, sheet.bids, "BAD_PRICE", "conversions", "Lower the price or the factor.")


def value_limits(sheet: Sheet) -> Integers:
    """Largest price of each bid on either side of zero, times its largest factor in ppm.

    At most 10**9 x 10**9 once prices and factors are in range.
    """
    book, steps = sheet.book, sheet.step_bids
    stepped = largest(largest(np.abs(steps.price), steps.steps), steps.size)
    flat = [np.abs(column(bids, "limit_price")) for bids in (book.block_bids, book.work_bids)]
    factors = np.full(len(sheet.bids), PPM, dtype=np.int64)
    for number, bid in enumerate(sheet.bids):
        if bid.conversions:
            most = max(conversion.factor_ppm for conversion in bid.conversions)
            factors[number] = max(PPM, most)
    found: Integers = np.concatenate([stepped, *flat]) * factors
    return found


def wrong_prices(sheet: Sheet, prices: Integers) -> Flags:
    """Prices off the tick or outside floor and cap."""
    spec = sheet.spec
    wrong: Flags = (
        (prices < spec.price_floor) | (prices > spec.price_cap) | (prices % spec.tick != 0)
    )
    return wrong


def price_advice(sheet: Sheet) -> str:
    """What a limit price must be."""
    spec = sheet.spec
    return (
        f"Give a multiple of the tick {spec.tick} between the floor {spec.price_floor} "
        f"and the cap {spec.price_cap}."
    )


def check_conversions(sheet: Sheet) -> None:
    """Refuse own factors that are not positive, or given twice for a class."""
    for bid in sheet.bids:
        if not bid.conversions:
            continue
        classes = {conversion.chip_class for conversion in bid.conversions}
        ranged = all(1 <= item.factor_ppm <= MAX_FACTOR_PPM for item in bid.conversions)
        if len(classes) != len(bid.conversions) or not ranged:
            advice = f"Give each chip class one factor of 1 to {MAX_FACTOR_PPM} parts per million."
            raise BookError("BAD_PARAMETER", bid.order_id, "conversions", advice)


def check_capacity(sheet: Sheet) -> None:
    """Refuse pools whose offers and nominations name more chips than are installed."""
    book = sheet.book
    change = np.zeros((len(book.pools), sheet.intervals + 1), dtype=np.int64)
    for orders, curves in ((book.offers, sheet.offers), (book.nominations, sheet.nominations)):
        number = np.array([sheet.number[order.pool_id] for order in orders], dtype=np.int64)
        pool, chips = number[curves.order], curves.offered
        np.add.at(change, (pool, curves.first), chips)
        np.add.at(change, (pool, curves.stop), -chips)
    # At most 2 x 10**6 orders of 10**4 steps of 10**8 chips: below 2**62.
    named = np.cumsum(change, axis=1)
    capacity = integers([pool.capacity for pool in book.pools])
    over = named > capacity[:, None]
    if over.any():
        found = sorted((book.pools[int(pool)].pool_id, int(t)) for pool, t in np.argwhere(over))
        name, interval = found[0]
        chips_named = int(named[sheet.number[name], interval])
        advice = f"Offers and nominations name {chips_named} chips in interval {interval}."
        raise BookError("OVER_CAPACITY", name, "capacity", advice)


def check_worth(sheet: Sheet) -> None:
    """Refuse orders so large that chips times intervals times price leave 63 bits."""
    book, steps = sheet.book, len(sheet.book.step_bids)
    values = value_limits(sheet) // PPM
    base = sheet.nominations
    contracts = largest(largest(np.abs(base.price), base.steps), base.size)
    blocks, works = book.block_bids, book.work_bids
    # Within 10**12 chips a segment, 10**4 intervals and 2**60 chip-seconds each fits.
    _check_worth(sheet, book.offers, "segments", _chip_intervals(sheet.offers), values[:0])
    _check_worth(
        sheet, book.step_bids, "segments", _chip_intervals(sheet.step_bids), values[:steps]
    )
    _check_worth(
        sheet,
        blocks,
        "chips",
        column(blocks, "chips") * column(blocks, "duration"),
        values[sheet.block_slice],
    )
    rates = column(works, "work") // sheet.duration_s
    _check_worth(sheet, works, "work", rates, values[sheet.work_slice])
    _check_worth(sheet, book.nominations, "segments", _chip_intervals(base), contracts)


def _chip_intervals(curves: Curves) -> Integers:
    return sums(curves.offered * (curves.stop - curves.first), curves.size)


def _check_worth(
    sheet: Sheet, orders: Sequence[Order], field: str, size: Integers, value: Integers
) -> None:
    """Whatever an order's own price, it may meet any clearing price between floor and cap."""
    price = np.full(size.size, max(sheet.spec.price_cap, -sheet.spec.price_floor), dtype=np.int64)
    if value.size:
        price = np.maximum(price, value)
    advice = "Chips times intervals times price must stay below 2**62: split the order."
    refuse(size > MAX_WORTH // price, orders, "TOO_LARGE", field, advice)
