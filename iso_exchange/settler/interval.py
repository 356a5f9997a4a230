"""Settlement of one delivery interval, pure: the settler posts it, the audit recomputes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clearing.types import Interval
from clearing.units import ChipSeconds, Tflop, UnixSeconds
from settlement.assignment import Assignment
from settlement.metering.billable import metered_hour, read_pool
from settlement.metering.chip_table import ChipTable, Precision
from settlement.metering.rated import rated_tflop
from settlement.postings.hour import contract_hours, hour_postings
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
) -> SettledInterval:
    """Settle one delivery interval of an auction from its readings.

    Args:
        batches: Meter batches of the interval; a missing one is a gap.
        table: Chip table in force.
        pool_balance: Posted balance of the stop-loss pool, micro-USD.
        earlier: Delivered hours of the auction's earlier intervals.
    """
    by_pool: dict[str, list[MeterBatch]] = defaultdict(list)
    for batch in batches:
        by_pool[batch.pool_id].append(batch)
    readings = {
        pool_id: read_pool(pool_id, interval, by_pool[pool_id])
        for pool_id in {contract.pool_id for contract, _ in contract_hours(assignment, interval)}
    }

    def rate(contract: Contract, quantity: ChipSeconds) -> Tflop:
        chip = table.get(contract.chip_class)
        return rated_tflop(quantity, chip, Precision(contract.precision), contract.derate_ppm)

    metered = [
        metered_hour(contract, hour, readings[contract.pool_id], rate)
        for contract, hour in contract_hours(assignment, interval)
    ]
    return SettledInterval(
        delivered=DeliveredHours(
            auction_id=assignment.auction_id,
            interval=interval,
            hours=tuple(item.delivered for item in metered),
        ),
        postings=hour_postings(
            assignment, interval, metered, pool_balance=pool_balance, earlier=earlier
        ),
    )


def readings_complete(
    assignment: Assignment,
    interval: Interval,
    batches: Mapping[tuple[str, UnixSeconds], MeterBatch],
    metering_seconds: int,
) -> bool:
    """Whether every pool with a contract has a batch for each metering interval."""
    pools = {contract.pool_id for contract, _ in contract_hours(assignment, interval)}
    return all(
        (pool_id, UnixSeconds(start)) in batches
        for pool_id in pools
        for start in range(interval.start, interval.end, metering_seconds)
    )
