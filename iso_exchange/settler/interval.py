"""Settlement of one delivery interval, pure: the settler posts it, the audit recomputes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clearing.types import Interval
from clearing.units import ChipSeconds, Tflop, UnixSeconds
from settlement.assignment import Assignment
from settlement.metering.billable import (
    MeteredHour,
    PoolReadings,
    Rate,
    metered_hour,
    metering_intervals,
    read_pool,
)
from settlement.metering.chip_table import ChipTable, Precision
from settlement.metering.moved import metered_with_moves, moves_of
from settlement.metering.rated import rated_tflop
from settlement.postings.hour import contract_hours, hour_postings
from settlement.postings.spot_posting import spot_contracts_of
from settlement.spot.result import SpotResult, within
from settlement.types import Contract, DeliveredHour, DeliveredHours, MeterBatch, Postings


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledInterval:
    """What the meters say of an interval and what is posted for it."""

    delivered: DeliveredHours
    postings: Postings


def settle_interval(
    *,
    assignment: Assignment,
    interval: Interval,
    batches: Iterable[MeterBatch],
    table: ChipTable,
    pool_balance: int,
    earlier: Iterable[DeliveredHour],
    results: Sequence[SpotResult] = (),
    upheld: Mapping[tuple[str, UnixSeconds], ChipSeconds] | None = None,
    passed: Mapping[tuple[str, int], int] | None = None,
) -> SettledInterval:
    """Settle one delivery interval of an auction from its readings.

    Args:
        batches: Meter batches of the interval; a missing one is a gap.
        table: Chip table in force.
        pool_balance: Posted balance of the stop-loss pool, micro-USD.
        earlier: Delivered hours of the auction's earlier intervals; of its others for a correction.
        results: Spot results of the auction; those of the interval move its positions.
        upheld: Healthy chip-seconds that a decision put in the place of the meter's, by contract
            and metering interval.
        passed: What settled runs made of returned chips (``SpotMarket.passed``).
    """
    by_pool: dict[str, list[MeterBatch]] = defaultdict(list)
    for batch in batches:
        by_pool[batch.pool_id].append(batch)
    moved = within(results, interval)
    contracts = [contract for contract, _ in contract_hours(assignment, interval)]
    contracts.extend(spot_contracts_of(moved))
    pools = {contract.pool_id for contract in contracts}
    pools |= {move.pool_id for result in moved for move in result.replacements}
    readings = {pool_id: read_pool(pool_id, interval, by_pool[pool_id]) for pool_id in pools}
    _put_in(readings, contracts, interval, upheld or {})
    _pass_on(readings, {item.contract_id: item.pool_id for item in contracts}, moved, passed or {})

    def rate(contract: Contract, quantity: ChipSeconds) -> Tflop:
        chip = table.get(contract.chip_class)
        return rated_tflop(quantity, chip, Precision(contract.precision), contract.derate_ppm)

    metered = _metered(assignment, interval, contracts, moved, readings, rate)
    return SettledInterval(
        delivered=DeliveredHours(
            auction_id=assignment.auction_id,
            interval=interval,
            hours=tuple(item.delivered for item in metered),
        ),
        postings=hour_postings(
            assignment,
            interval,
            metered,
            pool_balance=pool_balance,
            earlier=earlier,
            results=results,
        ),
    )


def _metered(
    assignment: Assignment,
    interval: Interval,
    contracts: Iterable[Contract],
    moved: Sequence[SpotResult],
    readings: Mapping[str, PoolReadings],
    rate: Rate,
) -> list[MeteredHour]:
    """Quantities of every contract; the quick way of those that stand still, which are most.

    Runs lend the hours beside them their prices, and move few contracts.
    """
    moves = moves_of(moved)
    touched = {contract_id for contract_id, _ in moves}
    still = {
        contract.contract_id: hour
        for contract, hour in contract_hours(assignment, interval)
        if contract.contract_id not in touched
    }
    return [
        metered_with_moves(contract, interval, readings, rate, moves)
        if (hour := still.get(contract.contract_id)) is None
        else metered_hour(contract, hour, readings[contract.pool_id], rate)
        for contract in contracts
    ]


def _put_in(
    readings: Mapping[str, PoolReadings],
    contracts: Iterable[Contract],
    interval: Interval,
    upheld: Mapping[tuple[str, UnixSeconds], ChipSeconds],
) -> None:
    """Put what was decided in the place of what the meters said."""
    if not upheld:
        return
    for contract in contracts:
        for cell in metering_intervals(interval):
            healthy = upheld.get((contract.contract_id, cell.start))
            if healthy is not None:
                by_contract = readings[contract.pool_id].healthy.setdefault(cell.start, {})
                by_contract[contract.contract_id] = healthy


def _pass_on(
    readings: Mapping[str, PoolReadings],
    pools: Mapping[str, str],
    results: Iterable[SpotResult],
    passed: Mapping[tuple[str, int], int],
) -> None:
    """Of returned chips that a run sold, put in what the run was settled with."""
    for result in results:
        for item in result.returns:
            healthy = passed.get((item.sold_to, result.interval.start))
            if healthy is None:
                continue
            rows = readings[pools[item.contract_id]].healthy.setdefault(result.interval.start, {})
            if healthy < 0:
                rows.pop(item.sold_to, None)
            else:
                rows[item.sold_to] = ChipSeconds(healthy)


def readings_complete(
    assignment: Assignment,
    interval: Interval,
    batches: Mapping[tuple[str, UnixSeconds], MeterBatch],
    metering_seconds: int,
    results: Sequence[SpotResult] = (),
) -> bool:
    """Whether every pool with a contract has a batch for each metering interval."""
    pools = {contract.pool_id for contract, _ in contract_hours(assignment, interval)}
    for result in within(results, interval):
        pools |= {contract.pool_id for contract in result.contracts}
        pools |= {move.pool_id for move in result.replacements}
    return all(
        (pool_id, UnixSeconds(start)) in batches
        for pool_id in pools
        for start in range(interval.start, interval.end, metering_seconds)
    )
