"""Spot markets, runs, positions and notices as the API shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from iso_exchange.api.v1 import allocation_pb2, entitlement_pb2, spot_pb2
from iso_exchange.commands import Notice
from iso_exchange.convert.fields import timestamp
from iso_exchange.convert.spot import write_spot_market
from iso_exchange.convert.views.auctions import AUCTION_STATES
from iso_exchange.sequencer.allocation import Level, PoolAllocation
from iso_exchange.sequencer.spot_market import MarketState, Returned, RunRecord, SpotMarket
from iso_exchange.sequencer.state import AuctionState
from iso_exchange.spot_commands import ReportAllocation

MARKET_STATES: Final[dict[MarketState, spot_pb2.SpotMarketState.ValueType]] = {
    MarketState.OPEN: spot_pb2.SPOT_MARKET_STATE_OPEN,
    MarketState.HALTED: spot_pb2.SPOT_MARKET_STATE_HALTED,
    MarketState.CLOSED: spot_pb2.SPOT_MARKET_STATE_CLOSED,
}

ALLOCATION_LEVELS: Final[dict[Level, allocation_pb2.AllocationLevel.ValueType]] = {
    Level.NORMAL: allocation_pb2.ALLOCATION_LEVEL_NORMAL,
    Level.WARNING: allocation_pb2.ALLOCATION_LEVEL_WARNING,
    Level.MAJOR_OUTAGE: allocation_pb2.ALLOCATION_LEVEL_MAJOR_OUTAGE,
}


def market_view(market: SpotMarket, now: int) -> spot_pb2.SpotMarket:
    """A market as it stands now.

    Args:
        market: The market.
        now: Time of the exchange, seconds since the epoch.
    """
    is_open = market.state is MarketState.OPEN
    return spot_pb2.SpotMarket(
        spec=write_spot_market(market.opened),
        state=MARKET_STATES[market.state],
        reason=market.reason,
        last_start_time=timestamp(market.last_start) if market.last_start else None,
        next_start_time=timestamp(market.next_start(now)) if is_open else None,
        revealed_seed=bytes.fromhex(market.revealed),
        published_run_count=market.revealed_count,
    )


def run_view(market: SpotMarket, start: int, record: RunRecord) -> spot_pb2.SpotRun:
    """A run as it stands now, or as it ended."""
    return spot_pb2.SpotRun(
        run_id=market.run_id(start),
        start_time=timestamp(start),
        state=AUCTION_STATES[AuctionState(record.state)],
        order_count=record.order_count,
        book_root=bytes.fromhex(record.book_root),
        prices_sha256=bytes.fromhex(record.prices_sha256),
        certified_gap_ppb=record.certified_gap_ppb,
        renewed=record.renewed,
    )


def position_views(market: SpotMarket, order_id: str) -> Iterator[spot_pb2.SpotPosition]:
    """What runs bound of an order: one item for each stretch of equal intervals in a pool."""
    for pool_id, places in sorted(market.bound.get(order_id, {}).items()):
        begin = before = None
        for number in (*sorted(places), None):
            goes_on = (
                number is not None
                and before is not None
                and number == before + 1
                and places[number] == places[before]
            )
            if begin is not None and before is not None and not goes_on:
                yield spot_pb2.SpotPosition(
                    order_id=order_id,
                    pool_id=pool_id,
                    start_time=timestamp(begin * market.seconds),
                    end_time=timestamp((before + 1) * market.seconds),
                    chip_count=places[before],
                )
            if not goes_on:
                begin = number
            before = number


def returned_view(market: SpotMarket, record: Returned) -> spot_pb2.ReturnedHours:
    """What is given back of a contract, and what of it runs sold that is not over."""
    sold = market.supplied.get(record.pool_id, {}).get(record.offer_id, {})
    return spot_pb2.ReturnedHours(
        return_id=record.return_id,
        contract_id=record.contract_id,
        pool_id=record.pool_id,
        segments=[
            _chip_segment(market, part.first, part.stop, part.steps[0].chips)
            for part in record.segments
        ],
        sold_segments=[
            _chip_segment(market, number, number + 1, chips)
            for number, chips in sorted(sold.items())
        ],
    )


def _chip_segment(
    market: SpotMarket, first: int, stop: int, chips: int
) -> entitlement_pb2.ChipSegment:
    return entitlement_pb2.ChipSegment(
        start_time=timestamp(first * market.seconds),
        end_time=timestamp(stop * market.seconds),
        chip_count=chips,
    )


def notice_view(notice: Notice) -> spot_pb2.SpotNotice:
    """A notice."""
    return spot_pb2.SpotNotice(
        order_id=notice.order_id,
        pool_id=notice.pool_id,
        chip_count=notice.chips,
        deadline_time=timestamp(notice.deadline),
        run_start_time=timestamp(notice.run_start),
        reason=notice.reason,
        responsible=notice.responsible,
    )


def allocation_view(
    record: ReportAllocation, pools: tuple[PoolAllocation, ...]
) -> allocation_pb2.Allocation:
    """A record of a market's allocation.

    Args:
        record: The log's.
        pools: To list with it; empty for none.
    """
    return allocation_pb2.Allocation(
        start_time=timestamp(record.interval.start),
        end_time=timestamp(record.interval.end),
        hourly=record.hourly,
        run_count=record.run_count,
        level=ALLOCATION_LEVELS[Level(record.level)],
        capacity_chip_seconds=record.capacity,
        in_service_chip_seconds=record.in_service,
        awarded_chip_seconds=record.awarded,
        delivered_chip_seconds=max(0, record.delivered),
        idle=[
            allocation_pb2.IdleShare(reason=item.reason, idle_chip_seconds=item.quantity)
            for item in record.idle
        ],
        allocation_sha256=bytes.fromhex(record.allocation_sha256),
        pools=[
            allocation_pb2.PoolAllocation(
                pool_id=row.pool_id,
                capacity_chip_seconds=row.capacity,
                awarded_chip_seconds=row.awarded,
                delivered_chip_seconds=max(0, row.delivered),
                idle=[
                    allocation_pb2.IdleShare(
                        reason=share.reason.value, idle_chip_seconds=share.quantity
                    )
                    for share in row.idle
                ],
            )
            for row in pools
        ],
    )
