"""Audit of allocation: every run's idle chips and levels are worked out again from its book."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from clearing import codec
from iso_exchange.audit.report import Record, Step
from iso_exchange.audit.results import EntryContext
from iso_exchange.commands import Command, PublishPrices
from iso_exchange.sequencer.allocation import (
    Alarm,
    PoolAllocation,
    allocations,
    level_of,
    summed,
)
from iso_exchange.sequencer.allocation_record import (
    AllocationDocument,
    differs,
    draw_up,
    due_hour,
    starts_in,
    totals,
)
from iso_exchange.sequencer.state import State
from iso_exchange.spot_commands import ReportAllocation

LATE_SECONDS: Final = 2 * 3_600
"""An exchange that states its allocation is this late with an hour only when it stopped."""

END_OF_LOG: Final = "end of the log"

STATED = frozenset((PublishPrices, ReportAllocation))
"""Commands that ``before`` looks at."""


@dataclass(slots=True, kw_only=True)
class AllocationAudit:
    """What the audit keeps of allocation besides the replayed state."""

    record: Record
    _rows: dict[tuple[str, int], tuple[PoolAllocation, ...]] = field(default_factory=dict)
    _alarms: dict[str, Alarm] = field(default_factory=dict)
    _due: dict[str, dict[int, Alarm]] = field(default_factory=dict)
    """Changes of the alarm that are still to be put on record: the run, and the alarm before."""
    _hours: dict[str, Alarm] = field(default_factory=dict)
    """The alarm after the last hour on record."""

    def before(self, state: State, command: Command, entry: EntryContext) -> None:
        """Check what an entry says against the state that it is about to change."""
        if isinstance(command, PublishPrices):
            with self.record.guard(Step.RESULTS, entry.place):
                self._run(state, command)
        elif isinstance(command, ReportAllocation):
            with self.record.guard(Step.RESULTS, entry.place):
                self._check(state, command, entry)

    def finish(self, state: State, now: int) -> None:
        """An exchange that puts hours on record leaves none out.

        Args:
            state: At the end of the log.
            now: Time of its last entry, seconds since the epoch.
        """
        for market_id, kept in state.allocations.items():
            hour = due_hour(state, market_id, now) if kept.records else None
            if hour is not None and hour.end + LATE_SECONDS < now:
                detail = f"the allocation of {market_id} from {hour.start} on is not on record"
                self.record.fail(Step.RESULTS, END_OF_LOG, detail)

    def _run(self, state: State, command: PublishPrices) -> None:
        run = state.runs.get(command.auction_id)
        if run is None or not (run.book and run.outcome and run.assignment):
            return  # no run, or refused on replay
        market_id, start = run.market_id, run.spec.intervals[0].start
        service = state.allocations[market_id].runs[start].service
        rows = allocations(run.book, run.outcome, run.assignment, service)
        self._rows[market_id, start] = rows
        in_service, awarded = totals(rows)
        before = self._alarms.get(market_id, Alarm())
        after = before.after(level_of(awarded, in_service))
        self._alarms[market_id] = after
        if after.level is not before.level:
            self._due.setdefault(market_id, {})[start] = before

    def _check(self, state: State, command: ReportAllocation, entry: EntryContext) -> None:
        kept = state.allocations.get(command.market_id)
        if kept is None:
            return  # refused on replay
        market_id, start = command.market_id, command.interval.start
        due = self._due.setdefault(market_id, {})
        if command.hourly:
            before = self._hours.get(market_id, Alarm())
            missing = [begin for begin in due if begin < command.interval.end]
            if missing:
                detail = f"the change of the alarm by {market_id}/{missing[0]} is not on record"
                self.record.fail(Step.RESULTS, entry.place, detail)
        elif start not in due:
            detail = f"{market_id}/{start} did not change the level of the alarm"
            self.record.fail(Step.RESULTS, entry.place, detail)
            return
        else:
            before = due.pop(start)
        rows = {begin: own for (name, begin), own in self._rows.items() if name == market_id}
        made = draw_up(state, market_id, command.interval, rows, before, hourly=command.hourly)
        if codec.digest(made) != command.allocation_sha256:
            detail = f"the allocation of {market_id} at {start} does not follow from its runs"
            self.record.fail(Step.RESULTS, entry.place, detail)
        field_name = differs(command, made)
        if field_name not in {"", "allocation_sha256"}:
            detail = f"{field_name} of {market_id} at {start} is not what its runs give"
            self.record.fail(Step.RESULTS, entry.place, detail)
        if command.hourly:
            self._hours[market_id] = made.alarm
            for begin in starts_in(kept, command.interval):
                self._rows.pop((market_id, begin), None)
        self.record.count(Step.RESULTS, "documents")


def check_public_allocation(record: Record, command: ReportAllocation, entry: EntryContext) -> None:
    """What anybody can check of a record: it says what its public document says, and adds up."""
    body = entry.documents.get(command.allocation_sha256)
    if body is None:
        return  # a finding of step DOCUMENTS
    with record.guard(Step.RESULTS, entry.place):
        made = codec.decode(body, AllocationDocument)
        field_name = differs(command, made)
        if field_name:
            detail = f"{field_name} is not what the document of the allocation says"
            record.fail(Step.RESULTS, entry.place, detail)
        for row in (*made.pools, summed("", made.pools, -1)):
            if row.awarded + sum(share.quantity for share in row.idle) != row.capacity:
                detail = f"awarded and idle chips of {row.pool_id or 'all pools'} are not all chips"
                record.fail(Step.RESULTS, entry.place, detail)
        record.count(Step.RESULTS, "documents")
