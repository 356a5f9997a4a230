"""What an order would pay or earn in a pool, at published prices.

Used to preview an order at the last prices and to explain one that was decided; the facts of
a decided order are the outcome's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clearing.outcome import Outcome, PoolPrice
from clearing.types import BlockBid, Cover, Interval, Offer, ServiceClass, StepBid, Tariff, WorkBid
from clearing.units import divide_half_even
from iso_exchange.sequencer.state import Auction, AuctionState, BookOrder, State

Prices = Mapping[tuple[str, int], PoolPrice]


def prices_of(outcome: Outcome) -> Prices:
    """Prices by pool and interval."""
    return {(price.pool_id, price.interval): price for price in outcome.prices}


def unit_price(price: PoolPrice, order: BookOrder, tariff: Tariff) -> int:
    """Micro-USD per chip-hour: what a bid pays all-in, what an offer earns.

    For a block that is the price of its minimum fill, the part that decides whether it fits.
    """
    if isinstance(order, Offer):
        return price.energy - (price.recall_discount if order.recallable else 0)
    if order.service_class is ServiceClass.FIRM:
        return price.firm if order.cover is Cover.NODE else price.firm_uncovered
    if order.notice_s > tariff.site_cover_notice_s:
        return price.interruptible_uncounted
    if order.notice_s > tariff.node_cover_notice_s or isinstance(order, BlockBid):
        return price.interruptible_uncounted - price.recall_discount
    return price.interruptible


def mean_price(
    prices: Prices, tariff: Tariff, pool_id: str, order: BookOrder, *, every: bool = False
) -> int | None:
    """Mean price over an order's intervals in one pool, None without prices there.

    Of a shiftable block the cheapest start counts.

    Args:
        every: Over all intervals that have a price, for prices of another auction.
    """
    spans = (
        [sorted(interval for pool, interval in prices if pool == pool_id)]
        if every
        else intervals_of(order)
    )
    means = []
    for span in spans:
        found = [prices[pool_id, interval] for interval in span if (pool_id, interval) in prices]
        if found and len(found) == len(span):
            total = sum(unit_price(price, order, tariff) for price in found)
            means.append(divide_half_even(total, len(found)))
    return min(means, default=None)


def intervals_of(order: BookOrder) -> list[list[int]]:
    """Positions of the intervals that an order uses; one list per possible start of a block."""
    match order:
        case Offer() | StepBid():
            covered = {
                interval
                for segment in order.segments
                for interval in range(segment.first, segment.stop)
            }
            return [sorted(covered)]
        case BlockBid():
            return [
                list(range(start, start + order.duration))
                for start in range(order.earliest_start, order.latest_start + 1)
            ]
        case WorkBid():
            return [list(range(order.first, order.stop))]


def best_limit(order: BookOrder) -> int:
    """Limit that decides, micro-USD per chip-hour: a bid's highest, an offer's lowest."""
    match order:
        case Offer():
            return min(step.price for segment in order.segments for step in segment.steps)
        case StepBid():
            return max(step.price for segment in order.segments for step in segment.steps)
        case BlockBid() | WorkBid():
            return order.limit_price


def quantity(order: BookOrder, intervals: tuple[Interval, ...]) -> int:
    """Chip-seconds that an order wants or offers at most."""
    match order:
        case Offer() | StepBid():
            return sum(
                step.chips * _seconds(intervals[segment.first : segment.stop])
                for segment in order.segments
                for step in segment.steps
            )
        case BlockBid():
            return order.chips * max(
                _seconds(intervals[start : start + order.duration])
                for start in range(order.earliest_start, order.latest_start + 1)
            )
        case WorkBid():
            return order.work


def latest_published(state: State, product: str) -> Auction | None:
    """Auction of a product with published prices and the latest gate closure."""
    published = [
        auction
        for auction in state.auctions.values()
        if auction.state in (AuctionState.PUBLISHED, AuctionState.SETTLED)
        and auction.created.product == product
        and auction.outcome is not None
    ]
    return max(published, key=lambda auction: auction.created.close_time, default=None)


def _seconds(intervals: Iterable[Interval]) -> int:
    return sum(interval.duration_s for interval in intervals)
