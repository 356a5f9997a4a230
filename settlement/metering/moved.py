"""Quantities of a contract-hour whose position moved at spot.

Without moves ``billable.metered_hour`` says the same, more quickly. With them a metering
interval has less to deliver (reclaimed, withdrawn), or is served by others: their meter
says so, in their pool where that is another one. What others serve counts first, up to
what they were called for; the supplier delivered the rest. Of what was returned to a spot market
and sold on, the row of the run's contract speaks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clearing.types import Interval
from clearing.units import ChipSeconds, Tflop, UnixSeconds, chip_seconds
from settlement.metering.billable import (
    FailedInterval,
    MeteredHour,
    MeterFinding,
    MeterFindingCode,
    PoolReadings,
    Rate,
    ServedInterval,
    metering_intervals,
)
from settlement.spot.result import Replacement, Return, SpotResult
from settlement.types import Contract, DeliveredHour, ServedPart


@dataclass(slots=True, kw_only=True)
class _Cell:
    reclaimed: int = 0
    withdrawn: int = 0
    returned: list[Return] = field(default_factory=list)
    replaced: list[Replacement] = field(default_factory=list)


Moves = Mapping[tuple[str, UnixSeconds], _Cell]
"""By contract and start of the metering interval."""


def moves_of(results: Sequence[SpotResult]) -> Moves:
    """What moved every contract, by metering interval."""
    found: dict[tuple[str, UnixSeconds], _Cell] = defaultdict(_Cell)
    for result in results:
        start = result.interval.start
        for reclaim in result.reclaims:
            found[reclaim.contract_id, start].reclaimed += reclaim.quantity
        for withdrawal in result.withdrawals:
            found[withdrawal.contract_id, start].withdrawn += withdrawal.quantity
        for given in result.returns:
            found[given.contract_id, start].returned.append(given)
        for item in result.replacements:
            found[item.contract_id, start].replaced.append(item)
    for cell in found.values():
        cell.replaced.sort(key=lambda item: (item.pool_id, item.supplier_id, item.order_id))
    return found


def metered_with_moves(
    contract: Contract,
    interval: Interval,
    readings: Mapping[str, PoolReadings],
    rate: Rate,
    moves: Moves,
) -> MeteredHour:
    """Quantities of one contract in one delivery interval.

    Args:
        contract: Of the auction, or of spot with an hour per metering interval.
        interval: The delivery interval.
        readings: By pool: its own, and those where others serve it. A pool left out has none.
        rate: Rated compute.
        moves: From ``moves_of``.
    """
    work = _Hour(contract=contract, readings=readings)
    for cell in metering_intervals(interval):
        held = _held(contract, cell)
        if held:
            work.take(cell, held, moves.get((contract.contract_id, cell.start), _Cell()))
    parts, compute = _rated(contract, work.delivered, work.served, rate)
    return MeteredHour(
        delivered=DeliveredHour(
            contract_id=contract.contract_id,
            interval=interval,
            position=ChipSeconds(work.position),
            delivered=ChipSeconds(work.delivered),
            failed=ChipSeconds(sum(item.failed for item in work.failures)),
            gap=ChipSeconds(sum(item.failed for item in work.gaps)),
            compute=compute,
            reclaimed=ChipSeconds(work.reclaimed),
            withdrawn=ChipSeconds(work.withdrawn),
            served=parts,
        ),
        failures=tuple(work.failures),
        findings=tuple(work.findings),
        served=tuple(work.served),
        gaps=tuple(work.gaps),
    )


@dataclass(slots=True, kw_only=True)
class _Hour:
    """Quantities of a contract while its metering intervals are added up."""

    contract: Contract
    readings: Mapping[str, PoolReadings]
    position: int = 0
    delivered: int = 0
    reclaimed: int = 0
    withdrawn: int = 0
    failures: list[FailedInterval] = field(default_factory=list)
    gaps: list[FailedInterval] = field(default_factory=list)
    served: list[ServedInterval] = field(default_factory=list)
    findings: list[MeterFinding] = field(default_factory=list)

    def take(self, cell: Interval, held: int, moved: _Cell) -> None:
        """One metering interval."""
        self.position += held
        self.reclaimed += moved.reclaimed
        self.withdrawn += moved.withdrawn
        lost, unread = self._returned(cell, moved.returned)
        returned = sum(item.quantity for item in moved.returned)
        left = held - moved.reclaimed - moved.withdrawn - returned
        if left:
            failed, gap = self._own(cell, left, moved)
            lost, unread = lost + failed, unread + gap
        if unread:
            self.gaps.append(FailedInterval(interval=cell, failed=ChipSeconds(unread)))
            self._find(MeterFindingCode.METER_GAP, cell)
        if lost:
            self.failures.append(FailedInterval(interval=cell, failed=ChipSeconds(lost)))

    def _returned(self, cell: Interval, returned: Sequence[Return]) -> tuple[int, int]:
        """What a market has: chip-seconds that it lost, and those that nobody read."""
        lost = unread = 0
        for item in returned:
            healthy: int | None = item.quantity
            if item.sold_to:
                healthy = self._read(self.contract.pool_id, cell, item.sold_to)
            if healthy is None:
                unread += item.quantity
                continue
            passed = min(item.quantity, healthy)
            self.withdrawn += passed
            lost += item.quantity - passed
        return lost, unread

    def _own(self, cell: Interval, left: int, moved: _Cell) -> tuple[int, int]:
        """What stayed with the contract: chip-seconds that failed, and those without a reading."""
        unread = 0
        pool_id = self.contract.pool_id
        healthy = {
            name: self._read(name, cell) for name in {pool_id, *(m.pool_id for m in moved.replaced)}
        }
        own = left - sum(item.quantity for item in moved.replaced if item.pool_id != pool_id)
        if own > 0 and healthy[pool_id] is None:
            unread = own
            left, own = left - own, 0
        known = {name: found or 0 for name, found in healthy.items()}
        done = 0
        for item in moved.replaced:
            if item.pool_id == pool_id and own == 0:
                continue
            part = min(item.quantity, known[item.pool_id], left - done)
            if part > 0:
                self.served.append(_served(cell, item, part))
                known[item.pool_id] -= part
                done += part
        replaced = sum(item.quantity for item in moved.replaced if item.pool_id == pool_id)
        most = max(0, own - replaced)
        if known[pool_id] > most:
            self._find(MeterFindingCode.ABOVE_POSITION, cell)
        done += min(most, known[pool_id])
        self.delivered += done
        return left - done, unread

    def _read(self, pool_id: str, cell: Interval, contract_id: str = "") -> int | None:
        if pool_id not in self.readings:
            return None
        rows = self.readings[pool_id].healthy.get(cell.start, {})
        return rows.get(contract_id or self.contract.contract_id)

    def _find(self, code: MeterFindingCode, cell: Interval) -> None:
        finding = MeterFinding(
            code=code, interval_start=cell.start, subject=self.contract.contract_id
        )
        self.findings.append(finding)


def _held(contract: Contract, cell: Interval) -> int:
    """Chip-seconds of a contract in a metering interval."""
    return sum(
        chip_seconds(hour.chips, cell.duration_s)
        for hour in contract.hours
        if hour.interval.start <= cell.start and cell.end <= hour.interval.end
    )


def _served(cell: Interval, item: Replacement, part: int) -> ServedInterval:
    return ServedInterval(
        interval=cell,
        pool_id=item.pool_id,
        site_id=item.site_id,
        supplier_id=item.supplier_id,
        order_id=item.order_id,
        served=ChipSeconds(part),
    )


def _rated(
    contract: Contract, delivered: int, served: Sequence[ServedInterval], rate: Rate
) -> tuple[tuple[ServedPart, ...], Tflop]:
    """Others' parts with their compute; the contract-hour's compute is rounded once."""
    total = rate(contract, ChipSeconds(delivered))
    by_other: dict[tuple[str, str], int] = defaultdict(int)
    for item in served:
        by_other[item.site_id, item.supplier_id] += item.served
    parts: list[ServedPart] = []
    left = int(total)
    for (site_id, supplier_id), quantity in sorted(by_other.items()):
        compute = Tflop(min(left, rate(contract, ChipSeconds(quantity))))
        left -= compute
        parts.append(
            ServedPart(
                site_id=site_id,
                supplier_id=supplier_id,
                quantity=ChipSeconds(quantity),
                compute=compute,
            )
        )
    return tuple(parts), total


def delivered_at(hour: DeliveredHour, contract: Contract, site_id: str) -> ChipSeconds:
    """Chip-seconds of a contract-hour that a site's meters say (R12)."""
    there = sum(part.quantity for part in hour.served if part.site_id == site_id)
    if contract.site_id != site_id:
        return ChipSeconds(there)
    away = sum(part.quantity for part in hour.served if part.site_id != site_id)
    return ChipSeconds(hour.delivered - away)
