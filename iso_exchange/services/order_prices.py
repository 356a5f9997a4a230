"""What an order would pay or earn in a pool, at published prices.

Used to preview an order at the last prices and to explain one that was decided; the facts of
a decided order are the outcome's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clearing.outcome import Outcome, PoolPrice
from clearing.types import (
    BlockBid,
    Cover,
    Interval,
    Offer,
    Pool,
    ServiceClass,
    StepBid,
    Tariff,
    WorkBid,
)
from clearing.units import MicroUsdPerChipHour, divide_half_even
from iso_exchange.sequencer.state import Auction, AuctionState, BookOrder, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of one auction.

    Attributes:
        pools: By pool and interval.
        backups: Of a backup, by lost site, backup pool and interval; 0 where none is listed.
    """

    pools: Mapping[tuple[str, int], PoolPrice]
    backups: Mapping[tuple[str, str, int], MicroUsdPerChipHour]


def prices_of(outcome: Outcome) -> Prices:
    """Prices of a published result."""
    return Prices(
        pools={(price.pool_id, price.interval): price for price in outcome.prices},
        backups={
            (price.site_id, price.pool_id, price.interval): price.price
            for price in outcome.backup_prices
        },
    )


def unit_price(price: PoolPrice, order: BookOrder, tariff: Tariff) -> int:
    """Micro-USD per chip-hour: what a bid pays all-in without a backup, what an offer earns.

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
    prices: Prices,
    tariff: Tariff,
    pool: Pool,
    order: BookOrder,
    *,
    eligible: Sequence[Pool] = (),
    every: bool = False,
) -> int | None:
    """Mean price over an order's intervals in one pool, None without prices there.

    Of a shiftable block the cheapest start counts, of a profile each hour with its chips, and
    of SITE cover the cheapest backup: one over the whole run of a block.

    Args:
        prices: Of one auction.
        tariff: Of that auction.
        pool: Where the order would be served.
        order: The order.
        eligible: All its eligible pools: where the backup of a SITE-covered bid may be.
        every: Over all intervals that have a price, for prices of another auction.
    """
    spans = intervals_of(order)
    if every:
        spans = [sorted(interval for name, interval in prices.pools if name == pool.pool_id)]
    backups = _backups(order, pool, eligible)
    means = []
    for span in spans:
        found = [prices.pools.get((pool.pool_id, interval)) for interval in span]
        if not found or not backups or None in found:
            continue
        weights = [1] * len(span)
        if isinstance(order, BlockBid) and order.profile and not every:
            weights = list(order.profile)
        charged = [
            [
                prices.backups.get((pool.site_id, name, interval), 0) * weight
                for interval, weight in zip(span, weights, strict=True)
            ]
            for name in backups
        ]
        if isinstance(order, BlockBid):
            cover = min(sum(row) for row in charged)
        else:
            cover = sum(min(cell) for cell in zip(*charged, strict=True))
        plain = sum(
            unit_price(price, order, tariff) * weight
            for price, weight in zip(found, weights, strict=True)
            if price is not None
        )
        means.append(divide_half_even(plain + cover, sum(weights)))
    return min(means, default=None)


def _backups(order: BookOrder, pool: Pool, eligible: Iterable[Pool]) -> tuple[str, ...]:
    """Pools that may hold the backup; without SITE cover one without a name, which is free."""
    if isinstance(order, Offer) or order.cover is not Cover.SITE:
        return ("",)
    return tuple(
        other.pool_id
        for other in eligible
        if other.site_id != pool.site_id
        and (other.chip_class, other.chips_per_node) == (pool.chip_class, pool.chips_per_node)
    )


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
        case BlockBid() if order.profile:
            return sum(order.profile) * intervals[0].duration_s
        case BlockBid():
            return order.chips * order.duration * intervals[0].duration_s
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
