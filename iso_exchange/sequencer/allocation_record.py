"""Allocation in the log: what a run leaves behind for it, when an hour is due, what is stated.

The gate freezes what the state knew of every pool, the result names its documents, settlement
adds what the meters say. So a record follows from the log alone, after a restart too, and is
drawn up away from the clearing: by a service, and again by the auditor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from clearing.types import Interval
from clearing.units import ChipSeconds, UnixSeconds
from iso_exchange.commands import PublishResult, ReportOutage
from iso_exchange.sequencer.allocation import (
    Alarm,
    Level,
    MarketAllocation,
    PoolAllocation,
    PoolService,
    RunService,
    in_service,
    level_of,
    summed,
)
from iso_exchange.sequencer.effects import Accepted, Meta, document
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_book import chips_out
from iso_exchange.sequencer.spot_market import MarketState, SpotMarket
from iso_exchange.sequencer.state import Auction, AuctionState, State
from iso_exchange.sequencer.strips import delivery_intervals
from iso_exchange.spot_commands import IdleChips, ReportAllocation
from settlement.types import DeliveredHours

HOUR_SECONDS: Final = 3_600
NOT_METERED: Final = ChipSeconds(-1)

Rows = Mapping[int, tuple[PoolAllocation, ...]]
"""What interval 0 of each run made of every pool, by start of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAllocation:
    """One run of a record, over all pools.

    Attributes:
        level: Of this run alone.
        alarm: Level in force after it.
    """

    start: UnixSeconds
    in_service: ChipSeconds
    awarded: ChipSeconds
    level: Level
    alarm: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationDocument:
    """Public document of one record.

    Attributes:
        pools: Of the market, by pool, chip-seconds over the intervals that ``runs`` cleared.
        runs: Ascending.
        alarm: State of the alarm after the last of them.
    """

    market_id: str
    interval: Interval
    hourly: bool
    pools: tuple[PoolAllocation, ...]
    runs: tuple[RunAllocation, ...]
    alarm: Alarm


# What the state keeps ------------------------------------------------------------------


def note_gate(state: State, market: SpotMarket, start: int) -> None:
    """A run's gate closed: keep what is known of every pool in its interval 0."""
    kept = state.allocations.setdefault(market.opened.market_id, MarketAllocation(alarm=Alarm()))
    number = market.number(start)
    kept.runs[start] = RunService(
        interval=market.interval(number), service=_service(state, market, number)
    )


def note_result(state: State, run: Auction, command: PublishResult) -> None:
    """A run has its result: keep what its documents are called."""
    kept = state.allocations[run.market_id].runs[run.spec.intervals[0].start]
    kept.book_sha256 = command.book_sha256
    kept.outcome_sha256 = command.outcome_sha256
    kept.assignment_sha256 = command.assignment_sha256


def note_delivery(state: State, run: Auction, delivered: DeliveredHours) -> None:
    """An interval of a run is settled: add what the meters say of it."""
    assert run.assignment is not None  # settled
    kept = state.allocations[run.market_id].delivered
    pool_of = {item.contract_id: item.pool_id for item in run.assignment.contracts}
    for hour in delivered.hours:
        key = delivered.interval.start, pool_of[hour.contract_id]
        kept[key] = kept.get(key, 0) + hour.delivered


def due_hour(state: State, market_id: str, now: int) -> Interval | None:
    """The next hour of a market that can be put on record, None before all of it is settled."""
    market, kept = state.markets[market_id], state.allocations.get(market_id)
    if kept is None or not kept.runs:
        return None
    start = min(kept.runs) // HOUR_SECONDS * HOUR_SECONDS
    hour = Interval(start=UnixSeconds(start), end=UnixSeconds(start + HOUR_SECONDS))
    goes_on = market.state is not MarketState.CLOSED and market.next_start(now) < hour.end
    if goes_on:
        return None
    runs = (run for run in state.runs.values() if run.market_id == market_id)
    awaited = any(_is_awaited(auction, hour) for auction in (*runs, *state.auctions.values()))
    return None if awaited else hour


def starts_in(kept: MarketAllocation, interval: Interval) -> list[int]:
    """Starts of runs that are in no hourly record yet and clear an interval of this one."""
    return sorted(start for start in kept.runs if interval.start <= start < interval.end)


# A record --------------------------------------------------------------------------------


def draw_up(
    state: State, market_id: str, interval: Interval, rows: Rows, before: Alarm, *, hourly: bool
) -> AllocationDocument:
    """The record of an hour, or of one run.

    Args:
        state: Read only.
        market_id: Of the market.
        interval: The hour, or the run's interval 0.
        rows: Of every run of it.
        before: The alarm before the first of them.
        hourly: Which of the two; an hour is metered.
    """
    kept = state.allocations[market_id]
    starts = starts_in(kept, interval)
    runs: list[RunAllocation] = []
    alarm = before
    for start in starts:
        service, awarded = totals(rows[start])
        alarm = alarm.after(level_of(awarded, service))
        runs.append(
            RunAllocation(
                start=UnixSeconds(start),
                in_service=service,
                awarded=awarded,
                level=level_of(awarded, service),
                alarm=alarm.level,
            )
        )
    metered = _metered(state, kept, interval, starts) if hourly else {}
    pools = tuple(
        summed(
            pool_id,
            (row for start in starts for row in rows[start] if row.pool_id == pool_id),
            metered.get(pool_id, 0) if hourly else NOT_METERED,
        )
        for pool_id in sorted(state.markets[market_id].pool_ids)
    )
    return AllocationDocument(
        market_id=market_id,
        interval=interval,
        hourly=hourly,
        pools=pools,
        runs=tuple(runs),
        alarm=alarm,
    )


def totals(rows: Iterable[PoolAllocation]) -> tuple[ChipSeconds, ChipSeconds]:
    """Chip-seconds in service and awarded over some pools."""
    total = summed("", rows, NOT_METERED)
    return in_service(total), total.awarded


def stated(made: AllocationDocument, digest: str) -> dict[str, object]:
    """Fields of the entry that follow from its document, which has this digest."""
    delivered = sum(row.delivered for row in made.pools) if made.hourly else NOT_METERED
    total = summed("", made.pools, delivered)
    return {
        "market_id": made.market_id,
        "interval": made.interval,
        "hourly": made.hourly,
        "run_count": len(made.runs),
        "level": made.alarm.level.value,
        "capacity": total.capacity,
        "in_service": in_service(total),
        "awarded": total.awarded,
        "delivered": total.delivered,
        "idle": tuple(
            IdleChips(reason=share.reason.value, quantity=share.quantity) for share in total.idle
        ),
        "allocation_sha256": digest,
    }


def differs(command: ReportAllocation, made: AllocationDocument) -> str:
    """First field in which an entry is not what its document says; empty when it is."""
    due = stated(made, command.allocation_sha256)
    return next((name for name, value in due.items() if getattr(command, name) != value), "")


def report_allocation(state: State, command: ReportAllocation, meta: Meta) -> Accepted | Rejected:
    """Take the record of an hour, or of a run that changed the level of the alarm."""
    if command.market_id not in state.markets:
        return _refused(Code.UNKNOWN_AUCTION, "market_id", "list the spot markets", "")
    kept = state.allocations.get(command.market_id)
    if command.hourly:
        due = due_hour(state, command.market_id, meta.now)
        if kept is None or due != command.interval:
            advice = "an hour is put on record in its turn, when all of it is settled"
            return _refused(Code.WRONG_STATE, "interval", advice, str(due.start if due else ""))
    else:
        start = command.interval.start
        run = kept.runs.get(start) if kept else None
        if kept is None or run is None or run.interval != command.interval or not run.book_sha256:
            advice = "an alarm is of a run with a result, before its hour is on record"
            return _refused(Code.WRONG_STATE, "interval", advice, "")
        if start <= max(kept.alarmed, default=0):
            advice = "this change of the alarm is on record"
            return _refused(Code.ALREADY_EXISTS, "interval", advice, "")
    made = document(meta, command.allocation_sha256, AllocationDocument)
    if isinstance(made, Rejected):
        return made
    field = differs(command, made)
    if field:
        return _refused(Code.INVALID_VALUE, field, "state what the document says", "")
    kept.records.append(command)
    if command.hourly:
        kept.alarm = made.alarm
        _forget(kept, command.interval)
    else:
        kept.alarmed.add(command.interval.start)
    return Accepted()


def _forget(kept: MarketAllocation, hour: Interval) -> None:
    for start in starts_in(kept, hour):
        del kept.runs[start]
    for key in [key for key in kept.delivered if key[0] < hour.end]:
        del kept.delivered[key]
    kept.alarmed = {start for start in kept.alarmed if start >= hour.end}


# What a gate freezes -------------------------------------------------------------------


def _service(state: State, market: SpotMarket, number: int) -> tuple[PoolService, ...]:
    interval = market.interval(number)
    before: dict[str, int] = defaultdict(int)
    for pools in market.bound.values():
        for pool_id, places in pools.items():
            before[pool_id] += places.get(number, 0)
    noticed: dict[str, int] = defaultdict(int)
    for notice in market.notices.values():
        if notice.deadline > interval.start and not notice.withdrawn:
            noticed[notice.pool_id] += notice.chips
    returned: dict[str, int] = defaultdict(int)
    for record in market.returns.values():
        returned[record.pool_id] += market.given_up(record, number)
    down: dict[str, list[ReportOutage]] = defaultdict(list)
    for outage in state.outages.values():
        if outage.interval.start < interval.end and interval.start < outage.interval.end:
            down[outage.pool_id].append(outage)
    elsewhere, held = _elsewhere(state, market, interval)
    found = []
    for pool_id in market.pool_ids:
        pool = state.pools[pool_id].pool
        owed = sum(places.get(number, 0) for places in market.supplied.get(pool_id, {}).values())
        found.append(
            PoolService(
                pool_id=pool_id,
                capacity=pool.capacity,
                out=chips_out(down[pool_id], interval, pool.capacity, pool.chips_per_node),
                # What was returned is supply of the run; who buys it has the position.
                elsewhere=max(0, elsewhere[pool_id] - returned[pool_id]),
                elsewhere_held=max(0, held[pool_id]),
                before=before[pool_id],
                before_held=max(0, owed - before[pool_id]),
                noticed=noticed[pool_id],
            )
        )
    return tuple(found)


def _elsewhere(
    state: State, market: SpotMarket, interval: Interval
) -> tuple[dict[str, int], dict[str, int]]:
    """Positions of other auctions and markets by pool, and what they hold beside them."""
    positions: dict[str, int] = defaultdict(int)
    held: dict[str, int] = defaultdict(int)
    for auction in state.auctions.values():
        if auction.state not in (AuctionState.PUBLISHED, AuctionState.SETTLED):
            continue
        first = auction.spec.intervals[0]
        place = (interval.start - first.start) // first.duration_s
        if not 0 <= place < len(auction.spec.intervals):
            continue
        if auction.positions is None:
            auction.positions = _positions(auction)
        seconds = delivery_intervals(auction)[0].duration_s
        hour = first.start + (interval.start - first.start) // seconds * seconds
        for pool_id, hours in auction.positions.items():
            positions[pool_id] += hours.get(hour, 0)
        for pool_id, chips in auction.offered.items():
            held[pool_id] += chips[place]
        for (_, pool_id), chips in auction.bought.items():
            held[pool_id] -= chips[place]
    for other in state.markets.values():
        if other is not market:
            number = other.number(interval.start)
            for pools in other.bound.values():
                for pool_id, places in pools.items():
                    positions[pool_id] += places.get(number, 0)
    return positions, held


def _positions(auction: Auction) -> dict[str, dict[int, int]]:
    """Chips of an auction's contracts, base load included, by pool and start of the interval."""
    assert auction.assignment is not None  # published
    found: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for contract in auction.assignment.contracts:
        row = found[contract.pool_id]
        for hour in contract.hours:
            row[hour.interval.start] += hour.chips
    return found


def _is_awaited(auction: Auction, hour: Interval) -> bool:
    """Whether an auction or run is still to deliver, or to settle, something in the hour."""
    if auction.market_id and auction.assignment is None:
        return auction.spec.intervals[0].start < hour.end
    if auction.assignment is None or auction.state is AuctionState.SETTLED:
        return False
    return any(
        item.start < hour.end and hour.start < item.end and item.start not in auction.settled
        for item in delivery_intervals(auction)
    )


def _metered(
    state: State, kept: MarketAllocation, hour: Interval, starts: list[int]
) -> dict[str, int]:
    """Delivered chip-seconds by pool in the intervals of the hour that had a run.

    What other auctions delivered is known by the hour: it counts in the proportion of those
    intervals to the hour.
    """
    found: dict[str, int] = defaultdict(int)
    for (start, pool_id), chips in kept.delivered.items():
        if start in starts:
            found[pool_id] += chips
    seconds = sum(kept.runs[start].interval.duration_s for start in starts)
    for auction in state.auctions.values():
        if auction.assignment is None:
            continue
        for interval in delivery_intervals(auction):
            common = min(interval.end, hour.end) - max(interval.start, hour.start)
            if common <= 0:
                continue
            share = seconds * common, HOUR_SECONDS * interval.duration_s
            for item in state.delivered.get((auction.spec.auction_id, interval.start), ()):
                pool_id = state.contracts[item.contract_id].pool_id
                found[pool_id] += item.delivered * share[0] // share[1]
    return found


def _refused(code: Code, field: str, advice: str, limit: str) -> Rejected:
    return Rejected(code=code, field=field, advice=advice, limit=limit)
