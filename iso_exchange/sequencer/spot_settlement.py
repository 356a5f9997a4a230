"""When runs of a spot market are settled: who gets a statement when, and what is forgotten.

A month of a market is 8,640 runs. What is settled leaves the state (its documents are in the
store); statements and community totals come once for each UTC day, with the last run of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsd, UnixSeconds
from iso_exchange.sequencer.after_auction import correctable_pools, month_of
from iso_exchange.sequencer.spot_market import Earned, MarketState, SpotMarket
from iso_exchange.sequencer.state import Auction, AuctionState, State
from iso_exchange.sequencer.strips import delivery_intervals
from settlement.ledger import accounts
from settlement.metering.billable import METERING_INTERVAL_S
from settlement.postings.correction import CORRECTION_SECONDS_MAX
from settlement.types import DeliveredHour, DeliveredHours, Postings, TransferCode

DAY_SECONDS: Final = 86_400


def day_of(moment: int) -> Interval:
    """UTC day that holds a moment."""
    start = moment // DAY_SECONDS * DAY_SECONDS
    return Interval(start=UnixSeconds(start), end=UnixSeconds(start + DAY_SECONDS))


def earn(state: State, run: Auction, delivered: DeliveredHours, postings: Postings) -> None:
    """Add what an interval of a run brought to the communities."""
    assert run.assignment is not None  # a run that is settled has its contracts
    market = state.markets[run.market_id]
    site_of = {item.contract_id: item.site_id for item in run.assignment.contracts}
    for hour in delivered.hours:
        own = market.earned.setdefault(site_of[hour.contract_id], Earned())
        own.delivered = ChipSeconds(own.delivered + hour.delivered)
    for transfer in postings.transfers:
        if transfer.code is TransferCode.SURCHARGE:
            site_id = accounts.parse(transfer.credit).parts[0]
            own = market.earned.setdefault(site_id, Earned())
            own.surcharge = MicroUsd(own.surcharge + transfer.amount)


def settle_run(state: State, run: Auction) -> None:
    """A run is settled: statements are due with the last one of its day; else it is over."""
    market = state.markets[run.market_id]
    start = run.spec.intervals[0].start
    market.runs[start] = replace(market.runs[start], state=AuctionState.SETTLED.value)
    if _is_last_of_day(market, start):
        run.unstated = set(state.activity)
    else:
        _forget(state, run)


def pay_total(state: State, run: Auction, site_id: str) -> None:
    """A site's total is published; the last one of a day ends its last run."""
    market = state.markets[run.market_id]
    market.earned.pop(site_id, None)
    if run.totals >= sites_of(run):
        _forget(state, run)


def sites_of(run: Auction) -> set[str]:
    """Sites that get a total with the last run of a day."""
    assert run.book is not None  # frozen at the gate
    return {site.site_id for site in run.book.sites}


def _is_last_of_day(market: SpotMarket, start: int) -> bool:
    """Whether every run of the day is settled now, and no other can come."""
    end = day_of(start).end
    if any(other < end for other in market.run_ids if other != start):
        return False
    return market.last_start + market.seconds >= end or market.state is MarketState.CLOSED


def _forget(state: State, run: Auction) -> None:
    """Drop a settled run: its documents are in the store."""
    name = run.spec.auction_id
    market = state.markets[run.market_id]
    assert run.assignment is not None  # settled
    buyers = {item.contract_id: item.buyer_id for item in run.assignment.contracts}
    for begin in sorted(run.settled):
        hours = state.delivered.pop((name, begin), ())
        _count_for_rebate(state, UnixSeconds(begin), hours, buyers)
        state.postings.pop(f"hour/{name}/{begin}", None)
    for contract_id in buyers:
        state.contracts.pop(contract_id, None)
    state.postings.pop(f"award/{name}", None)
    del market.run_ids[run.spec.intervals[0].start]
    del state.runs[name]
    _forget_readings(state)


def _count_for_rebate(
    state: State,
    begin: UnixSeconds,
    hours: tuple[DeliveredHour, ...],
    buyers: Mapping[str, str],
) -> None:
    """Keep what the month's pool rebate is shared by; months before the last are rebated."""
    month = month_of(begin).start
    if month not in state.forgotten:
        last = month_of(UnixSeconds(month - 1)).start
        for old in [start for start in state.forgotten if start < last]:
            del state.forgotten[old]
    kept = state.forgotten.setdefault(month, {})
    for hour in hours:
        buyer_id = buyers[hour.contract_id]
        kept[buyer_id] = ChipSeconds(kept.get(buyer_id, 0) + hour.delivered)


def _forget_readings(state: State) -> None:
    """Drop readings that nothing can ask for: to settle, to correct or to decide a dispute.

    Corrections and disputes of an auction of its own reach back 60 days (SETTLEMENT R8, R9);
    a run is settled once.
    """
    unsettled = [
        interval.start
        for auction in (*state.auctions.values(), *state.runs.values())
        if auction.state is not AuctionState.SETTLED
        for interval in delivery_intervals(auction)
        if interval.start not in auction.settled
    ]
    newest = max((start for _, start in state.batches), default=UnixSeconds(0))
    # Not beyond the newest: runs that are still to come are in no list yet.
    keep_from = min([*unsettled, newest])
    if keep_from <= state.read_from:
        return
    begun = max(0, state.read_from - METERING_INTERVAL_S)
    expired = 0
    if day_of(keep_from) != day_of(state.read_from):
        expired = newest - CORRECTION_SECONDS_MAX - DAY_SECONDS
    state.read_from = keep_from
    asked: dict[UnixSeconds, set[str]] = {}
    for pool_id, start in list(state.batches):
        if begun <= start < keep_from:
            if start not in asked:
                cell = Interval(start=start, end=UnixSeconds(start + METERING_INTERVAL_S))
                asked[start] = correctable_pools(state, cell, newest)
            if pool_id not in asked[start]:
                del state.batches[pool_id, start]
        elif start < expired:
            del state.batches[pool_id, start]
