"""Allocation of a spot run: chips that carry a position, and what held each of the others idle.

Pure. ``PoolService`` is what the gate froze of each pool; with the run's book, outcome and
assignment it partitions the capacity of interval 0 exactly (spot-rules, rule 19). The exchange
and the auditor call it with the same arguments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from clearing.outcome import Outcome
from clearing.types import Book, Interval
from clearing.units import ChipSeconds
from iso_exchange.sequencer.allocation_demand import Idle, Supply, held_by
from iso_exchange.sequencer.spot_market import BOUND_PREFIX
from iso_exchange.spot_commands import ReportAllocation
from settlement.assignment import Assignment

WARNING_PERCENT: Final = 95
MAJOR_OUTAGE_PERCENT: Final = 94
CALM_RUNS: Final = 3
"""Runs in a row with a better level before the alarm's level falls: a quarter of an hour."""


class Level(Enum):
    """What the allocation of an interval amounts to, from best to worst."""

    NORMAL = "NORMAL"
    WARNING = "WARNING"
    MAJOR_OUTAGE = "MAJOR_OUTAGE"


LEVELS: Final = tuple(Level)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolService:
    """What the gate of a run froze of one pool, chips in the run's interval 0.

    Attributes:
        out: Taken by outages that were reported by then.
        elsewhere: Positions of other auctions, base load included.
        elsewhere_held: Sold by other auctions as spare, or to nobody.
        before: Positions that earlier runs bound.
        before_held: Spare that earlier runs hold for them.
        noticed: Of ``before``, chips that run out a notice.
    """

    pool_id: str
    capacity: int
    out: int
    elsewhere: int
    elsewhere_held: int
    before: int
    before_held: int
    noticed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleShare:
    """Idle chip-seconds that one reason held, > 0."""

    reason: Idle
    quantity: ChipSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAllocation:
    """Capacity of a pool over some intervals, chip-seconds: ``awarded`` plus all of ``idle``.

    Attributes:
        awarded: Of positions, as far as chips in service carry them.
        delivered: Metered of the same positions; -1 where it is not metered yet.
        idle: In the order of ``Idle``.
    """

    pool_id: str
    capacity: ChipSeconds
    awarded: ChipSeconds
    delivered: ChipSeconds
    idle: tuple[IdleShare, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Level of a market from run to run: it rises at once, and falls after ``CALM_RUNS`` runs.

    Attributes:
        level: In force.
        calm: Runs in a row, up to the last, that were better than ``level``.
        worst: Worst level of those, to which it falls.
    """

    level: Level = Level.NORMAL
    calm: int = 0
    worst: Level = Level.NORMAL

    def after(self, found: Level) -> Alarm:
        """The alarm after one more run.

        Example:
            >>> Alarm().after(Level.WARNING).after(Level.NORMAL).level
            <Level.WARNING: 'WARNING'>
        """
        if LEVELS.index(found) >= LEVELS.index(self.level):
            return Alarm(level=found)
        worst = max(found, self.worst, key=LEVELS.index) if self.calm else found
        if self.calm + 1 < CALM_RUNS:
            return Alarm(level=self.level, calm=self.calm + 1, worst=worst)
        return Alarm(level=worst)


@dataclass(slots=True, kw_only=True)
class RunService:
    """A run that is in no hourly record yet.

    Attributes:
        service: As its gate froze it, by pool.
        book_sha256: Hex digest of its book, as those of its outcome and assignment; empty before
            it has a result.
    """

    interval: Interval
    service: tuple[PoolService, ...]
    book_sha256: str = ""
    outcome_sha256: str = ""
    assignment_sha256: str = ""


@dataclass(slots=True, kw_only=True)
class MarketAllocation:
    """What the state keeps of a market's allocation.

    Attributes:
        alarm: After the last run of the last hourly record.
        runs: Those since, by start.
        alarmed: Starts of runs since whose change of level is on record.
        delivered: Metered chip-seconds since, by start of the interval and pool.
        records: Everything on record, in order of the log.
    """

    alarm: Alarm
    runs: dict[int, RunService] = field(default_factory=dict)
    alarmed: set[int] = field(default_factory=set)
    delivered: dict[tuple[int, str], int] = field(default_factory=dict)
    records: list[ReportAllocation] = field(default_factory=list)


def allocations(
    book: Book, outcome: Outcome, assignment: Assignment, service: Iterable[PoolService]
) -> tuple[PoolAllocation, ...]:
    """What interval 0 of a published run makes of every pool, by pool.

    Args:
        book: Of the run.
        outcome: Its outcome.
        assignment: What of it binds.
        service: As its gate froze it.
    """
    start, seconds = book.spec.intervals[0].start, book.spec.intervals[0].duration_s
    supply = _unsold(book, assignment)
    bound: dict[str, int] = defaultdict(int)
    spare: dict[str, int] = defaultdict(int)
    for contract in assignment.contracts:
        for hour in contract.hours:
            if hour.interval.start == start:
                bound[contract.pool_id] += hour.chips
    for item in assignment.spare_hours:
        if item.interval.start == start:
            spare[item.pool_id] += item.chips
    rows = sorted(service, key=lambda row: row.pool_id)
    found: dict[str, dict[Idle, int]] = {}
    awarded: dict[str, int] = {}
    left: dict[str, Supply] = {}
    for row in rows:
        pool_id = row.pool_id
        out = min(row.out, row.capacity)
        awarded[pool_id] = min(
            row.capacity - out, row.elsewhere + row.before + bound.get(pool_id, 0)
        )
        idle = row.capacity - out - awarded[pool_id]
        held = min(idle, row.elsewhere_held + row.before_held + spare.get(pool_id, 0))
        own = supply.get(pool_id, Supply())
        offered = min(idle - held, own.chips)
        found[pool_id] = {
            Idle.OUTAGE: out,
            Idle.NOT_OFFERED: idle - held - offered,
            Idle.COVER: held,
        }
        if offered:
            left[pool_id] = own.cut(offered)
    noticed = {row.pool_id: row.noticed for row in rows}
    for pool_id, reasons in held_by(book, outcome, assignment, left, noticed).items():
        for reason, chips in reasons.items():
            found[pool_id][reason] = found[pool_id].get(reason, 0) + chips
    return tuple(
        PoolAllocation(
            pool_id=row.pool_id,
            capacity=ChipSeconds(row.capacity * seconds),
            awarded=ChipSeconds(awarded[row.pool_id] * seconds),
            delivered=ChipSeconds(-1),
            idle=_shares({reason: chips * seconds for reason, chips in found[row.pool_id].items()}),
        )
        for row in rows
    )


def summed(pool_id: str, rows: Iterable[PoolAllocation], delivered: int) -> PoolAllocation:
    """Several intervals, or several pools, in one.

    Args:
        pool_id: Of the sum.
        rows: Their ``delivered`` is not looked at.
        delivered: Metered chip-seconds, -1 for not metered.
    """
    capacity = awarded = 0
    idle: dict[Idle, int] = defaultdict(int)
    for row in rows:
        capacity += row.capacity
        awarded += row.awarded
        for share in row.idle:
            idle[share.reason] += share.quantity
    return PoolAllocation(
        pool_id=pool_id,
        capacity=ChipSeconds(capacity),
        awarded=ChipSeconds(awarded),
        delivered=ChipSeconds(delivered),
        idle=_shares(idle),
    )


def in_service(row: PoolAllocation) -> ChipSeconds:
    """Chip-seconds that somebody could have bought: neither down nor kept by the supplier."""
    kept = {Idle.OUTAGE, Idle.NOT_OFFERED}
    missing = sum(share.quantity for share in row.idle if share.reason in kept)
    return ChipSeconds(row.capacity - missing)


def level_of(awarded: int, service: int) -> Level:
    """Level of one interval; nothing in service is no evidence of idle chips."""
    if awarded * 100 < MAJOR_OUTAGE_PERCENT * service:
        return Level.MAJOR_OUTAGE
    if awarded * 100 < WARNING_PERCENT * service:
        return Level.WARNING
    return Level.NORMAL


def _unsold(book: Book, assignment: Assignment) -> dict[str, Supply]:
    """What of each pool's offers the run binds nothing of in interval 0."""
    start = book.spec.intervals[0].start
    sold: dict[str, int] = defaultdict(int)
    for contract in assignment.contracts:
        for hour in contract.hours:
            if hour.interval.start == start:
                sold[contract.supplier_order_id] += hour.chips
    for item in assignment.spare_hours:
        if item.interval.start == start:
            sold[item.order_id] += item.chips
    found: dict[str, Supply] = {}
    for offer in book.offers:
        if offer.order_id.startswith(BOUND_PREFIX):
            continue
        taken = sold.get(offer.order_id, 0)
        steps = next((part.steps for part in offer.segments if part.first == 0), ())
        for step in steps:  # ascending: the cheapest are sold first
            chips = max(0, step.chips - taken)
            taken = max(0, taken - step.chips)
            if chips:
                pool = found.setdefault(offer.pool_id, Supply())
                found[offer.pool_id] = pool.plus(chips, step.price, recallable=offer.recallable)
    return found


def _shares(idle: dict[Idle, int]) -> tuple[IdleShare, ...]:
    return tuple(
        IdleShare(reason=reason, quantity=ChipSeconds(idle[reason]))
        for reason in Idle
        if idle.get(reason)
    )
