"""What follows from settled hours, pure: corrections and rebates, for the settler and the audit."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from clearing.types import Interval
from iso_exchange.sequencer.after_auction import batches_of
from iso_exchange.sequencer.spot_returns import passed_of
from iso_exchange.sequencer.state import Auction, State
from iso_exchange.sequencer.strips import delivery_intervals
from iso_exchange.settler.interval import SettledInterval, settle_interval
from settlement.ledger import accounts
from settlement.postings.correction import correction_postings
from settlement.postings.rebates import (
    POOL_CEILING_MICRO_USD,
    pool_rebate,
    rent_rebates,
    rents_of,
    repaid_shortfalls,
)
from settlement.types import DeliveredHour, DeliveredHours, Postings


def hours_of(
    state: State, auction: Auction, *, but: int | None = None
) -> tuple[DeliveredHour, ...]:
    """Delivered hours of an auction's settled intervals, as they are known now."""
    return tuple(
        item
        for start in sorted(auction.settled)
        if start != but
        for item in state.delivered[(auction.spec.auction_id, start)]
    )


def recomputed(state: State, auction: Auction, start: int) -> SettledInterval:
    """A settled interval worked out again from all that is known now, at original prices."""
    assert auction.assignment is not None  # a settled auction has its contracts
    interval = next(item for item in delivery_intervals(auction) if item.start == start)
    first = auction.settled_with[start]
    return settle_interval(
        assignment=auction.assignment,
        interval=interval,
        batches=batches_of(state, auction, interval),
        table=state.chip_tables[first.table_version],
        pool_balance=first.pool_balance,
        earlier=hours_of(state, auction, but=start),
        results=auction.spot,
        upheld=state.upheld,
        passed=passed_of(state),
    )


def corrected(state: State, auction: Auction, start: int) -> tuple[DeliveredHours, Postings]:
    """What was delivered in a settled interval as it is known now, and new money minus old.

    Raises:
        SettlementError: ``POOL_TOO_SMALL``.
    """
    again = recomputed(state, auction, start)
    old = state.postings[again.postings.postings_id]
    postings = correction_postings(
        (old, *auction.corrections.get(start, ())),
        again.postings,
        pool_balance=state.books.balance(accounts.POOL).posted,
    )
    return again.delivered, postings


def rebates(state: State, auction: Auction) -> Postings:
    """What a settled auction gives back: earlier hours' shortfalls, then its power rent."""
    assert auction.assignment is not None  # a settled auction has its contracts
    name = auction.spec.auction_id
    transfers = [
        transfer
        for start in sorted(auction.settled)
        for document in (
            state.postings[f"hour/{name}/{start}"],
            *auction.corrections.get(start, ()),
        )
        for transfer in document.transfers
    ]
    hours = hours_of(state, auction)
    names = {hour.contract_id for hour in hours}
    rents = rent_rebates(
        auction.assignment,
        [state.contracts[item] for item in sorted(names)],
        hours,
        rents_of(transfers),
    )
    repaid = repaid_shortfalls(
        auction.assignment,
        transfers,
        pool_balance=state.books.balance(accounts.POOL).posted,
    )
    return replace(rents, transfers=(*repaid, *rents.transfers))


def pool_surplus(state: State, period: Interval) -> Postings:
    """What ``pool`` holds above its ceiling, per chip-second delivered in a month.

    Runs that left the state count with what was kept of them.
    """
    delivered: dict[str, int] = defaultdict(int, state.forgotten.get(period.start, {}))
    for (_, start), hours in state.delivered.items():
        if period.start <= start < period.end:
            for hour in hours:
                delivered[state.contracts[hour.contract_id].buyer_id] += hour.delivered
    return pool_rebate(
        str(period.start),
        pool_balance=state.books.balance(accounts.POOL).posted,
        ceiling=POOL_CEILING_MICRO_USD,
        delivered=delivered,
    )
