"""When runs of a spot market are settled: who gets a statement when, and what is forgotten.

A month of a market is 8,640 runs. What is settled leaves the state (its documents are in the
store); statements and community totals come once for each UTC day, with the last run of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsd, UnixSeconds
from iso_exchange.sequencer.spot_market import Earned, MarketState, SpotMarket
from iso_exchange.sequencer.state import Auction, AuctionState, State
from settlement.ledger import accounts
from settlement.postings.correction import CORRECTION_SECONDS_MAX
from settlement.types import DeliveredHours, Postings, TransferCode

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
    for contract in run.assignment.contracts:
        state.contracts.pop(contract.contract_id, None)
    for begin in run.settled:
        state.delivered.pop((name, begin), None)
        state.postings.pop(f"hour/{name}/{begin}", None)
    state.postings.pop(f"award/{name}", None)
    del market.run_ids[run.spec.intervals[0].start]
    del state.runs[name]
    _forget_readings(state)


def _forget_readings(state: State) -> None:
    """Drop readings that nothing which is still to be settled can ask for."""
    unsettled = [
        interval.start
        for auction in (*state.auctions.values(), *state.runs.values())
        if auction.state is not AuctionState.SETTLED
        for interval in auction.spec.intervals
        if interval.start not in auction.settled
    ]
    # What a late reading may correct is worked out again from all readings of its hour.
    unsettled.extend(_correctable(state))
    newest = max((start for _, start in state.batches), default=0)
    keep_from = min(unsettled, default=newest)
    if keep_from <= state.read_from:
        return
    state.read_from = keep_from
    for key in [key for key in state.batches if key[1] < keep_from]:
        del state.batches[key]


def _correctable(state: State) -> Iterator[UnixSeconds]:
    """Starts of settled hours of auctions that later readings may still correct."""
    newest = max((start for _, start in state.batches), default=0)
    for auction in state.auctions.values():
        if auction.assignment is not None and auction.assignment.contracts:
            for interval in auction.spec.intervals:
                if (
                    interval.start in auction.settled
                    and newest <= interval.end + CORRECTION_SECONDS_MAX
                ):
                    yield interval.start
