"""What runs of spot markets do to the contracts of other auctions: their spot results (rule 24).

For every metering interval that an auction delivers in, the prices of the run that cleared it,
and what its buyers returned. A function of the state: the settler posts what it says, the
state machine takes nothing else, and so the replay of a log finds a result that is not it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clearing.types import Interval
from clearing.units import ChipSeconds, UnixSeconds, chip_seconds
from iso_exchange.sequencer.spot_market import Returned, SpotMarket
from iso_exchange.sequencer.spot_returns import passed_of
from iso_exchange.sequencer.state import Auction, AuctionState, State
from iso_exchange.sequencer.strips import delivery_intervals
from settlement.assignment import IntervalPrice
from settlement.metering.billable import METERING_INTERVAL_S, metering_intervals
from settlement.spot.positions import prices_of
from settlement.spot.result import Return, SpotResult, within
from settlement.types import Contract

_DONE = (AuctionState.PUBLISHED, AuctionState.SETTLED)


def result_due(state: State, auction: Auction, cell: Interval) -> SpotResult | None:
    """What runs say of an auction's contracts in a metering interval.

    Args:
        auction: Published, not a run.
        cell: Metering interval inside one of its delivery intervals, which no run is still to
            decide (``is_open``).

    Returns:
        Prices of the auction's pools and what was returned; None when there is neither.
    """
    pools = _pools(auction, cell)
    if not pools:
        return None
    prices: dict[str, IntervalPrice] = {}
    returns: list[Return] = []
    for market in state.markets.values():
        run = _run(state, market, cell)
        if run is not None and run.book is not None and run.outcome is not None:
            for price in prices_of(run.book, run.outcome, 0, cell, provisional=run.renewed):
                if price.pool_id in pools:
                    prices.setdefault(price.pool_id, price)
        for record in market.returns.values():
            if record.auction_id == auction.spec.auction_id:
                returns.extend(_returned(state, market, record, cell))
    if not prices and not returns:
        return None
    return SpotResult(
        auction_id=auction.spec.auction_id,
        interval=cell,
        prices=tuple(prices[pool_id] for pool_id in sorted(prices)),
        returns=tuple(sorted(returns, key=lambda item: (item.contract_id, item.sold_to))),
    )


def is_open(state: State, cell: Interval, now: int) -> bool:
    """Whether a run may still decide what happens in a metering interval."""
    for market in state.markets.values():
        name = market.run_ids.get(market.number(cell.start) * market.seconds)
        if name is None:
            if now < cell.start and not market.is_closed:
                return True
        elif state.runs[name].state not in _DONE:
            return True
    return False


def cells_due(state: State, auction: Auction, now: int) -> Iterator[SpotResult]:
    """Results of an auction that can be posted now and are not, by time.

    Args:
        now: Seconds since the epoch.
    """
    if not state.markets or auction.state is not AuctionState.PUBLISHED:
        return
    posted = {item.interval.start for item in auction.spot}
    horizon = now + max(market.seconds for market in state.markets.values())
    for interval in delivery_intervals(auction):
        if interval.start >= horizon:
            return
        if interval.start in auction.settled:
            continue
        for cell in metering_intervals(interval):
            if cell.start >= horizon:
                return
            if cell.start in posted or is_open(state, cell, now):
                continue
            result = result_due(state, auction, cell)
            if result is not None:
                yield result


@dataclass(frozen=True, slots=True, kw_only=True)
class Unposted:
    """What must be in the log first: a result of an auction, or the settlement of a run's cell."""

    auction_id: str
    cell: Interval


def unposted(state: State, auction: Auction, interval: Interval, now: int) -> Unposted | None:
    """What keeps a delivery interval from being settled: the first result that is not posted.

    An interval of a run waits for the results of every auction that delivers in it, because
    the run leaves the state when it is settled. An hour of an auction waits for the runs that
    sold returned chips in it.
    """
    if not state.markets:
        return None
    concerned: tuple[Auction, ...] = (auction,)
    if auction.market_id:
        concerned = tuple(
            other
            for other in state.auctions.values()
            if other.state is AuctionState.PUBLISHED
            and other.spec.intervals[0].start < interval.end
            and interval.start < other.spec.intervals[-1].end
        )
    if not auction.market_id:
        passed = passed_of(state)
        for result in within(auction.spot, interval):
            for item in result.returns:
                if item.sold_to and (item.sold_to, result.interval.start) not in passed:
                    return Unposted(auction_id=item.sold_to.partition("/")[0], cell=result.interval)
    for other in concerned:
        for start in range(interval.start, interval.end, METERING_INTERVAL_S):
            cell = Interval(start=UnixSeconds(start), end=UnixSeconds(start + METERING_INTERVAL_S))
            if any(item.interval == cell for item in other.spot):
                continue
            if is_open(state, cell, now) or result_due(state, other, cell) is not None:
                return Unposted(auction_id=other.spec.auction_id, cell=cell)
    return None


def _run(state: State, market: SpotMarket, cell: Interval) -> Auction | None:
    """Published run whose first interval holds a metering interval."""
    name = market.run_ids.get(market.number(cell.start) * market.seconds)
    run = state.runs.get(name) if name else None
    return run if run is not None and run.state in _DONE else None


def _returned(
    state: State, market: SpotMarket, record: Returned, cell: Interval
) -> Iterator[Return]:
    """What was returned of one contract in a metering interval, and who has it."""
    number, sold = market.number(cell.start), 0
    for contract in _sold(state, market, record, number):
        chips = next(
            hour.chips for hour in contract.hours if market.number(hour.interval.start) == number
        )
        sold += chips
        yield Return(
            contract_id=record.contract_id,
            quantity=chip_seconds(chips, cell.duration_s),
            sold_to=contract.contract_id,
        )
    unsold = market.given.get(number, {}).get(record.contract_id, 0) - sold
    if unsold > 0:
        quantity = ChipSeconds(unsold * cell.duration_s)
        yield Return(contract_id=record.contract_id, quantity=quantity)


def _sold(state: State, market: SpotMarket, record: Returned, number: int) -> Iterator[Contract]:
    """Contracts of runs that have returned chips in an interval."""
    for back in range(market.opened.look_ahead):
        name = market.run_ids.get((number - back) * market.seconds)
        run = state.runs.get(name) if name else None
        if run is None or run.assignment is None or run.state not in _DONE:
            continue
        for contract in run.assignment.contracts:
            if contract.supplier_order_id == record.offer_id and any(
                market.number(hour.interval.start) == number and hour.chips
                for hour in contract.hours
            ):
                yield contract


def _pools(auction: Auction, cell: Interval) -> set[str]:
    """Pools in which an auction delivers, or holds chips, at a time."""
    length = auction.spec.intervals[0].duration_s
    place = (cell.start - auction.spec.intervals[0].start) // length
    if not 0 <= place < len(auction.spec.intervals):
        return set()
    found = {pool_id for pool_id, chips in auction.offered.items() if chips[place]}
    if auction.book is not None:
        found.update(
            nomination.pool_id
            for nomination in auction.book.nominations
            if any(part.first <= place < part.stop for part in nomination.segments)
        )
    return found
