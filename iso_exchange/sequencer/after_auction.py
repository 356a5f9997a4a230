"""Money after the auction: spot results, corrections of settled hours, rebates of power rent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from clearing.errors import InvariantError
from clearing.types import Interval
from clearing.units import UnixSeconds
from iso_exchange.money_commands import CorrectHour, PublishSpot, RebatePool, RebateRents
from iso_exchange.sequencer.effects import Accepted, Meta, document, post
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_moves import is_open, result_due
from iso_exchange.sequencer.state import Auction, AuctionState, State
from iso_exchange.sequencer.strips import delivery_intervals, delivery_seconds
from settlement.errors import SettlementError
from settlement.metering.billable import METERING_INTERVAL_S
from settlement.postings.correction import CORRECTION_SECONDS_MAX
from settlement.spot.result import SpotResult, check_result
from settlement.types import Contract, DeliveredHours, MeterBatch, Postings


def publish_spot(state: State, command: PublishSpot, meta: Meta) -> Accepted | Rejected:
    """Take the prices and moves of one metering interval, once, before its hour is settled."""
    auction = state.auctions.get(command.auction_id)
    if auction is None or auction.assignment is None or auction.state is not AuctionState.PUBLISHED:
        return Rejected(
            code=Code.WRONG_STATE,
            field="auction_id",
            advice="spot moves the contracts of a published auction",
            got=auction.state.value if auction else "",
        )
    held = delivery_interval(auction, command.interval)
    if held is None or command.interval.duration_s != METERING_INTERVAL_S:
        return _interval(command.interval, "name a metering interval inside a delivery interval")
    if held.start in auction.settled:
        return _interval(command.interval, "its hour is settled: positions no longer move")
    if any(item.interval == command.interval for item in auction.spot):
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="interval",
            advice="this interval has its spot result",
            got=str(command.interval.start),
        )
    result = document(meta, command.spot_sha256, SpotResult)
    if isinstance(result, Rejected):
        return result
    refused = _refuse_result(state, auction, command, result) or _refuse_moves(
        state, auction, result, meta
    )
    if refused:
        return refused
    postings = document(meta, command.postings_sha256, Postings)
    if isinstance(postings, Rejected):
        return postings
    applied = post(state, meta, postings)
    if isinstance(applied, Rejected):
        return applied
    auction.spot.append(result)
    for contract in result.contracts:
        known = state.contracts.get(contract.contract_id)
        hours = (*(known.hours if known else ()), *contract.hours)
        state.contracts[contract.contract_id] = replace(
            contract, hours=tuple(sorted(hours, key=lambda hour: hour.interval.start))
        )
    state.postings[postings.postings_id] = postings
    return Accepted(transfers=applied)


def correct_hour(state: State, command: CorrectHour, meta: Meta) -> Accepted | Rejected:
    """Post what the latest readings change of a settled interval (SETTLEMENT R9)."""
    auction = state.auctions.get(command.auction_id)
    if auction is None or command.interval.start not in auction.due:
        return _interval(command.interval, "nothing changed since this interval was settled")
    if meta.now > command.interval.end + CORRECTION_SECONDS_MAX:
        return _interval(command.interval, "corrections end 60 days after their hour")
    made = auction.corrections.get(command.interval.start, [])
    read = len(batches_of(state, auction, command.interval))
    if (command.number, command.batch_count) != (len(made) + 1, read):
        return Rejected(
            code=Code.WRONG_STATE,
            field="number",
            advice="readings came meanwhile: work the interval out again",
            got=f"{command.number} {command.batch_count}",
            limit=f"{len(made) + 1} {read}",
        )
    delivered = document(meta, command.delivered_sha256, DeliveredHours)
    if isinstance(delivered, Rejected):
        return delivered
    postings = document(meta, command.postings_sha256, Postings)
    if isinstance(postings, Rejected):
        return postings
    applied = post(state, meta, postings)
    if isinstance(applied, Rejected):
        return applied
    auction.corrections.setdefault(command.interval.start, []).append(postings)
    auction.due.discard(command.interval.start)
    state.delivered[command.auction_id, command.interval.start] = delivered.hours
    state.postings[postings.postings_id] = postings
    return Accepted(transfers=applied)


def rebate_rents(state: State, command: RebateRents, meta: Meta) -> Accepted | Rejected:
    """Give power rent back, once every interval is settled."""
    auction = state.auctions.get(command.auction_id)
    if auction is None or auction.state is not AuctionState.SETTLED or auction.rebated:
        return Rejected(
            code=Code.WRONG_STATE,
            field="auction_id",
            advice="rents are rebated once, when every interval is settled",
            got=auction.state.value if auction else "",
        )
    postings = document(meta, command.postings_sha256, Postings)
    if isinstance(postings, Rejected):
        return postings
    applied = post(state, meta, postings)
    if isinstance(applied, Rejected):
        return applied
    auction.rebated = True
    state.postings[postings.postings_id] = postings
    return Accepted(transfers=applied)


def rebate_pool(state: State, command: RebatePool, meta: Meta) -> Accepted | Rejected:
    """Give what the pool holds above its ceiling back, once a month, after it ended."""
    period = command.period
    if (
        period.start in state.pool_rebates
        or period.end > meta.now
        or period != month_of(period.start)
    ):
        return _interval(period, "the pool is rebated once for a calendar month that has ended")
    postings = document(meta, command.postings_sha256, Postings)
    if isinstance(postings, Rejected):
        return postings
    applied = post(state, meta, postings)
    if isinstance(applied, Rejected):
        return applied
    state.pool_rebates.add(period.start)
    state.postings[postings.postings_id] = postings
    return Accepted(transfers=applied)


def month_of(moment: UnixSeconds) -> Interval:
    """Calendar month, UTC, that a moment is in."""
    found = datetime.fromtimestamp(moment, tz=UTC)
    first = datetime(found.year, found.month, 1, tzinfo=UTC)
    after = datetime(found.year + found.month // 12, found.month % 12 + 1, 1, tzinfo=UTC)
    return Interval(
        start=UnixSeconds(int(first.timestamp())), end=UnixSeconds(int(after.timestamp()))
    )


def batches_of(state: State, auction: Auction, interval: Interval) -> tuple[MeterBatch, ...]:
    """Meter batches of the pools that serve an auction in one delivery interval."""
    return tuple(
        batch
        for pool_id in sorted(pools_of(auction, interval))
        for start in range(interval.start, interval.end, METERING_INTERVAL_S)
        if (batch := state.batches.get((pool_id, UnixSeconds(start)))) is not None
    )


def pools_of(auction: Auction, interval: Interval) -> set[str]:
    """Pools of its contracts, and those where spot had them served."""
    contracts = auction.assignment.contracts if auction.assignment else ()
    found = {contract.pool_id for contract in contracts}
    for result in auction.spot:
        if interval.start <= result.interval.start < interval.end:
            found |= {contract.pool_id for contract in result.contracts}
            found |= {move.pool_id for move in result.replacements}
    return found


def delivery_interval(auction: Auction, cell: Interval) -> Interval | None:
    """Delivery interval that a metering interval is inside of."""
    intervals = delivery_intervals(auction)
    if not intervals:
        return None
    first, length = intervals[0].start, delivery_seconds(auction)
    place = (cell.start - first) // length
    if 0 <= place < len(intervals) and cell.end <= intervals[place].end:
        return intervals[place]
    return None


def served_there(state: State, contract: Contract, pool_id: str, cell: Interval) -> bool:
    """Whether a contract is read by a pool's meter: its own, or where spot had it served."""
    if contract.pool_id == pool_id:
        return True
    auction = state.auctions.get(contract.auction_id)
    if auction is None:
        return False  # of a spot run, which nothing moves
    return any(
        move.contract_id == contract.contract_id and move.pool_id == pool_id
        for result in auction.spot
        if result.interval == cell
        for move in result.replacements
    )


def correctable_pools(state: State, cell: Interval, now: UnixSeconds) -> set[str]:
    """Pools whose readings of a metering interval can change what an auction of its own settled.

    Runs of spot markets are settled once; what is said of them later changes nothing.
    """
    found: set[str] = set()
    for auction in state.auctions.values():
        interval = delivery_interval(auction, cell) if auction.assignment else None
        if interval is not None and now <= interval.end + CORRECTION_SECONDS_MAX:
            found |= pools_of(auction, interval)
    return found


def mark_due(state: State, pool_id: str, cell: Interval, now: UnixSeconds) -> None:
    """Note that what a pool's meter says of settled intervals changed, while that counts."""
    for auction in state.auctions.values():
        if not auction.settled or auction.assignment is None:
            continue
        interval = delivery_interval(auction, cell)
        if (
            interval is not None
            and interval.start in auction.settled
            and now <= interval.end + CORRECTION_SECONDS_MAX
            and pool_id in pools_of(auction, interval)
        ):
            auction.due.update(_affected(auction, interval))


def _affected(auction: Auction, interval: Interval) -> Iterator[int]:
    """The interval, and those in which make-whole payments that it earns were posted."""
    yield interval.start
    if auction.assignment is None:
        raise InvariantError(f"{auction.spec.auction_id} is settled without contracts")
    here = {
        contract.contract_id
        for contract in auction.assignment.contracts
        if any(hour.interval == interval for hour in contract.hours)
    }
    for plan in auction.assignment.make_whole:
        if plan.last.start in auction.settled and here & set(plan.contract_ids):
            yield plan.last.start


def _refuse_result(
    state: State, auction: Auction, command: PublishSpot, result: SpotResult
) -> Rejected | None:
    assert auction.assignment is not None  # checked by the caller
    if (result.auction_id, result.interval) != (command.auction_id, command.interval):
        return _invalid("the document is of another auction or interval", result.auction_id)
    try:
        check_result(result, auction.assignment.contracts)
    except SettlementError as error:
        return _invalid(error.detail, error.subject)
    parties = {move.participant_id for move in result.supply}
    parties |= {move.supplier_id for move in result.replacements}
    pools = {price.pool_id for price in result.prices} | {move.pool_id for move in result.supply}
    pools |= {move.pool_id for move in result.replacements}
    for contract in result.contracts:
        parties |= {contract.buyer_id, contract.supplier_id}
        pools.add(contract.pool_id)
        known = state.contracts.get(contract.contract_id)
        if contract.auction_id != auction.spec.auction_id or (
            known is not None and replace(contract, hours=known.hours) != known
        ):
            return _invalid("another contract has this identifier", contract.contract_id)
    for name in sorted(parties - state.participants.keys()):
        return _invalid("no such participant", name)
    for name in sorted(pools - state.pools.keys()):
        return _invalid("no such pool", name)
    return None


def _refuse_moves(
    state: State, auction: Auction, result: SpotResult, meta: Meta
) -> Rejected | None:
    """Prices and returns are those of the runs, where spot markets have any."""
    if not state.markets:
        due = None
    elif is_open(state, result.interval, meta.now):
        return _interval(result.interval, "a run is still to decide it: wait until it is published")
    else:
        due = result_due(state, auction, result.interval)
    if due is None:
        if not result.returns:
            return None
        return _invalid("nothing was returned to a spot market", result.returns[0].contract_id)
    if (result.prices, result.returns) != (due.prices, due.returns):
        return _invalid("the runs of the spot markets say otherwise", result.auction_id)
    return None


def _invalid(detail: str, got: str) -> Rejected:
    return Rejected(code=Code.INVALID_VALUE, field="spot_sha256", advice=detail, got=got)


def _interval(interval: Interval, advice: str) -> Rejected:
    return Rejected(
        code=Code.WRONG_STATE,
        field="interval",
        advice=advice,
        got=f"[{interval.start}, {interval.end})",
    )
