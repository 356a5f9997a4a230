"""Readings turned into billable quantities: delivered, failed and gap per contract-hour.

A contract-hour is read on the grid of metering intervals. In each of them the contract
was delivered as far as its chips were healthy (never above its position), failed for
the rest, or nobody can say: then it is a gap, never zero and never full (SETTLEMENT R8).
What is odd about the readings is a finding, a value beside the quantities; it never
stops the settlement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from clearing.types import Interval
from clearing.units import ChipSeconds, Seconds, Tflop, UnixSeconds, chip_seconds
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.types import Contract, ContractHour, DeliveredHour, MeterBatch, Reading

METERING_INTERVAL_S: Final = Seconds(300)

Rate = Callable[[Contract, ChipSeconds], Tflop]
"""Rated compute of a contract's delivered chip-seconds, derate included."""


class MeterFindingCode(Enum):
    """What is odd about readings, and what was done about it."""

    METER_GAP = "METER_GAP"
    """No usable reading of the contract in a metering interval: a gap."""
    DUPLICATE_BATCH = "DUPLICATE_BATCH"
    """The same batch twice: counted once."""
    CONFLICTING_BATCH = "CONFLICTING_BATCH"
    """Different batches for one metering interval: nobody can say which is right, a gap."""
    DUPLICATE_READING = "DUPLICATE_READING"
    """A contract and node twice in one batch: the first counts."""
    NEGATIVE_READING = "NEGATIVE_READING"
    """Ignored, so that the contract has a gap unless other nodes were read."""
    ABOVE_POSITION = "ABOVE_POSITION"
    """More healthy chip-seconds than sold: clipped."""
    OUTSIDE_GRID = "OUTSIDE_GRID"
    """A batch of another pool, or whose interval is no metering interval of the hour: ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFinding:
    """One oddity.

    Attributes:
        interval_start: Start of the metering interval concerned.
        subject: ``<meter>/<sequence>`` or ``<contract>/<node>``.
    """

    code: MeterFindingCode
    interval_start: UnixSeconds
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedInterval:
    """Chip-seconds sold and not healthy in one metering interval.

    Kept apart from the hour's sum, because spot prices change within the hour.
    """

    interval: Interval
    failed: ChipSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedInterval:
    """Chip-seconds of a contract that its supplier failed and that others served.

    Attributes:
        order_id: Spare order that was called; empty where none was.
    """

    interval: Interval
    pool_id: str
    site_id: str
    supplier_id: str
    order_id: str
    served: ChipSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredHour:
    """A contract-hour as metered.

    Attributes:
        failures: Ascending by interval; they sum to ``delivered.failed``.
        findings: Of this contract, ascending.
        served: What others served of it after a spot call, ascending by interval.
        gaps: Unread chip-seconds by interval, for contracts whose price changes with it (those
            of spot); empty elsewhere.
    """

    delivered: DeliveredHour
    failures: tuple[FailedInterval, ...]
    findings: tuple[MeterFinding, ...]
    served: tuple[ServedInterval, ...] = ()
    gaps: tuple[FailedInterval, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReadings:
    """Usable readings of one pool and delivery interval.

    Attributes:
        healthy: By metering interval start, then contract; no entry is a gap.
        findings: Of batches and readings, sorted.
    """

    pool_id: str
    interval: Interval
    healthy: dict[UnixSeconds, dict[str, ChipSeconds]]
    findings: tuple[MeterFinding, ...]


def metering_intervals(interval: Interval) -> tuple[Interval, ...]:
    """Grid of a delivery interval; the last one is shorter when it does not divide."""
    return tuple(
        Interval(
            start=UnixSeconds(start),
            end=UnixSeconds(min(start + METERING_INTERVAL_S, interval.end)),
        )
        for start in range(interval.start, interval.end, METERING_INTERVAL_S)
    )


def read_pool(pool_id: str, interval: Interval, batches: Iterable[MeterBatch]) -> PoolReadings:
    """Sort out the batches of one pool and delivery interval.

    The result does not depend on the order of the batches.
    """
    findings: list[MeterFinding] = []
    grid = {cell.start: cell for cell in metering_intervals(interval)}
    by_cell: dict[UnixSeconds, list[MeterBatch]] = defaultdict(list)
    for batch in sorted(batches, key=_batch_key):
        if batch.pool_id == pool_id and grid.get(batch.interval.start) == batch.interval:
            by_cell[batch.interval.start].append(batch)
        else:
            findings.append(_about_batch(MeterFindingCode.OUTSIDE_GRID, batch))
    healthy: dict[UnixSeconds, dict[str, ChipSeconds]] = {}
    for start, held in by_cell.items():
        first, *others = held
        findings.extend(
            _about_batch(MeterFindingCode.DUPLICATE_BATCH, other)
            for other in others
            if other == first
        )
        conflicts = [other for other in others if other != first]
        if conflicts:
            code = MeterFindingCode.CONFLICTING_BATCH
            findings.extend(_about_batch(code, batch) for batch in (first, *conflicts))
            continue
        healthy[start] = _read_batch(first, findings)
    return PoolReadings(
        pool_id=pool_id,
        interval=interval,
        healthy=healthy,
        findings=tuple(sorted(findings, key=_finding_key)),
    )


def metered_hour(
    contract: Contract, hour: ContractHour, readings: PoolReadings, rate: Rate
) -> MeteredHour:
    """Quantities of one contract-hour from its pool's readings.

    Args:
        contract: Its pool must be the readings' pool.
        hour: One of its hours; its interval must be the readings' interval.
        readings: From ``read_pool``.
        rate: Rated compute, applied once to the hour's delivered chip-seconds.

    Raises:
        SettlementError: ``READING_MISMATCH``, the readings are of another pool or interval.
    """
    if readings.pool_id != contract.pool_id or readings.interval != hour.interval:
        raise SettlementError(
            SettlementErrorCode.READING_MISMATCH,
            contract.contract_id,
            f"readings of {readings.pool_id} from {readings.interval.start}",
        )
    delivered = failed = gap = 0
    failures: list[FailedInterval] = []
    findings: list[MeterFinding] = []
    for cell in metering_intervals(hour.interval):
        position = chip_seconds(hour.chips, cell.duration_s)
        healthy = readings.healthy.get(cell.start, {}).get(contract.contract_id)
        if healthy is None:
            gap += position
            findings.append(_about(MeterFindingCode.METER_GAP, cell.start, contract.contract_id))
            continue
        if healthy > position:
            findings.append(
                _about(MeterFindingCode.ABOVE_POSITION, cell.start, contract.contract_id)
            )
        missing = ChipSeconds(max(0, position - healthy))
        delivered += position - missing
        failed += missing
        if missing:
            failures.append(FailedInterval(interval=cell, failed=missing))
    return MeteredHour(
        delivered=DeliveredHour(
            contract_id=contract.contract_id,
            interval=hour.interval,
            position=chip_seconds(hour.chips, hour.interval.duration_s),
            delivered=ChipSeconds(delivered),
            failed=ChipSeconds(failed),
            gap=ChipSeconds(gap),
            compute=rate(contract, ChipSeconds(delivered)),
        ),
        failures=tuple(failures),
        findings=tuple(findings),
    )


def delivered_hour(
    contract: Contract, hour: ContractHour, batches: Iterable[MeterBatch], rate: Rate
) -> DeliveredHour:
    """Quantities of one contract-hour straight from batches.

    For many contracts of a pool, ``read_pool`` once and ``metered_hour`` for each is quicker.
    """
    readings = read_pool(contract.pool_id, hour.interval, batches)
    return metered_hour(contract, hour, readings, rate).delivered


def _read_batch(batch: MeterBatch, findings: list[MeterFinding]) -> dict[str, ChipSeconds]:
    start = batch.interval.start
    seen: set[tuple[str, str]] = set()
    healthy: dict[str, ChipSeconds] = {}
    for reading in batch.readings:
        key = (reading.contract_id, reading.node_id)
        if key in seen:
            findings.append(_about_reading(MeterFindingCode.DUPLICATE_READING, start, reading))
            continue
        seen.add(key)
        if reading.healthy < 0:
            findings.append(_about_reading(MeterFindingCode.NEGATIVE_READING, start, reading))
            continue
        before = healthy.get(reading.contract_id, 0)
        healthy[reading.contract_id] = ChipSeconds(before + reading.healthy)
    return healthy


def _about(code: MeterFindingCode, start: UnixSeconds, subject: str) -> MeterFinding:
    return MeterFinding(code=code, interval_start=start, subject=subject)


def _about_batch(code: MeterFindingCode, batch: MeterBatch) -> MeterFinding:
    return _about(code, batch.interval.start, f"{batch.meter_id}/{batch.sequence}")


def _about_reading(code: MeterFindingCode, start: UnixSeconds, reading: Reading) -> MeterFinding:
    return _about(code, start, f"{reading.contract_id}/{reading.node_id}")


def _batch_key(batch: MeterBatch) -> tuple[int, str, int]:
    return (batch.interval.start, batch.meter_id, batch.sequence)


def _finding_key(finding: MeterFinding) -> tuple[int, str, str]:
    return (finding.interval_start, finding.code.value, finding.subject)
