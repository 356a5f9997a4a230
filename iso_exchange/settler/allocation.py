"""The allocation of spot markets on record: an alarm at once, an hour when it is metered.

Like the settler it keeps nothing that matters: what is to be stated follows from the state and
the documents of the runs. The partition of a run is worked out in a thread, away from gates.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import structlog

from clearing import codec
from clearing.outcome import Outcome
from clearing.types import Book, Interval
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.observability import metrics
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.sequencer.allocation import (
    LEVELS,
    Alarm,
    Level,
    MarketAllocation,
    PoolAllocation,
    RunService,
    allocations,
    in_service,
    level_of,
    summed,
)
from iso_exchange.sequencer.allocation_record import (
    AllocationDocument,
    draw_up,
    due_hour,
    starts_in,
    stated,
    totals,
)
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.signer import IDLE_SECONDS, ServiceSigner, make_document
from iso_exchange.spot_commands import ReportAllocation
from settlement.assignment import Assignment
from settlement.storage.store import LedgerStore

PPM: Final = 1_000_000

log = structlog.get_logger("allocation")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Documents:
    book: Book
    outcome: Outcome
    assignment: Assignment


class AllocationReporter:
    """Puts the allocation of every spot market on record."""

    def __init__(
        self,
        *,
        sequencer: Sequencer,
        store: LedgerStore,
        secrets: ExchangeSecrets,
        clock: Clock,
        origin: str,
    ) -> None:
        """Wire the parts."""
        self._sequencer = sequencer
        self._store = store
        self._clock = clock
        self._signer = ServiceSigner(key=secrets.service_key, origin=origin, clock=clock)
        self._rows: dict[tuple[str, int], tuple[PoolAllocation, ...]] = {}

    async def run(self) -> None:
        """Step for ever."""
        while True:
            if not await self.step():
                await self._clock.wait(IDLE_SECONDS)

    async def step(self) -> bool:
        """Put the next thing on record of every market; True when anything was done."""
        done = False
        if self._sequencer.state.closed:
            return False
        for market_id, kept in list(self._sequencer.state.allocations.items()):
            done = await self._look(market_id, kept) or done
        return done

    async def _look(self, market_id: str, kept: MarketAllocation) -> bool:
        """Work out runs that have their result, in order; then alarms, then the hour."""
        state = self._sequencer.state
        alarm = kept.alarm
        for start in sorted(kept.runs):
            run = kept.runs[start]
            if not run.book_sha256:
                break
            key = market_id, start
            is_new = key not in self._rows
            if is_new:
                rows = await self._work_out(market_id, start, run)
                if rows is None:
                    break
                self._rows[key] = rows
            service, awarded = totals(self._rows[key])
            after = alarm.after(level_of(awarded, service))
            if is_new:
                _measure(market_id, self._rows[key], after)
            if after.level is not alarm.level and start > max(kept.alarmed, default=0):
                await self._report(market_id, run.interval, alarm, hourly=False)
                return True
            alarm = after
        hour = due_hour(state, market_id, self._clock.now_us() // MICROSECONDS)
        if hour is None or any(
            (market_id, start) not in self._rows for start in starts_in(kept, hour)
        ):
            return False
        await self._report(market_id, hour, kept.alarm, hourly=True)
        return True

    async def _report(
        self, market_id: str, interval: Interval, before: Alarm, *, hourly: bool
    ) -> None:
        state = self._sequencer.state
        rows = {start: own for (name, start), own in self._rows.items() if name == market_id}
        starts = starts_in(state.allocations[market_id], interval)
        made = draw_up(state, market_id, interval, rows, before, hourly=hourly)
        document = make_document("ALLOCATION", codec.encode(made), public=True)
        fields: dict[str, Any] = stated(made, document.sha256.hex())
        kind = "hour" if hourly else "alarm"
        command = ReportAllocation(
            header=self._signer.header(
                f"allocation/{market_id}/{kind}/{interval.start}/{document.sha256.hex()[:16]}"
            ),
            **fields,
        )
        _tell(made, command)
        await self._signer.submit(self._sequencer, command, document)
        if hourly:
            for start in starts:
                self._rows.pop((market_id, start), None)

    async def _work_out(
        self, market_id: str, start: int, run: RunService
    ) -> tuple[PoolAllocation, ...] | None:
        """The partition of one run; None while its documents are not stored yet."""
        found = self._sequencer.state.runs.get(f"{market_id}/{start}")
        if found is not None and found.book and found.outcome and found.assignment:
            documents = _Documents(
                book=found.book, outcome=found.outcome, assignment=found.assignment
            )
            return await asyncio.to_thread(_allocations, documents, run)
        bodies = []
        for digest in (run.book_sha256, run.outcome_sha256, run.assignment_sha256):
            stored = await self._store.document(bytes.fromhex(digest))
            if stored is None:
                return None
            bodies.append(stored.body)
        return await asyncio.to_thread(_decoded, bodies, run)


def _decoded(bodies: list[bytes], run: RunService) -> tuple[PoolAllocation, ...]:
    book, outcome, assignment = bodies
    documents = _Documents(
        book=codec.decode(book, Book),
        outcome=codec.decode(outcome, Outcome),
        assignment=codec.decode(assignment, Assignment),
    )
    return _allocations(documents, run)


def _allocations(documents: _Documents, run: RunService) -> tuple[PoolAllocation, ...]:
    return allocations(documents.book, documents.outcome, documents.assignment, run.service)


def _measure(market_id: str, rows: tuple[PoolAllocation, ...], alarm: Alarm) -> None:
    """Metrics of a run that was just worked out."""
    total = summed("", rows, -1)
    service = in_service(total)
    if service:
        metrics.allocation.labels(market_id, "awarded").set(total.awarded / service)
    metrics.allocation_level.labels(market_id).set(LEVELS.index(alarm.level))
    for share in total.idle:
        metrics.idle_share.labels(market_id, share.reason.value).set(
            share.quantity / total.capacity
        )
    named = {share.reason for share in total.idle}
    for reason in type(total.idle[0].reason) if total.idle else ():
        if reason not in named:
            metrics.idle_share.labels(market_id, reason.value).set(0)


def _tell(made: AllocationDocument, command: ReportAllocation) -> None:
    """The log event of a record, and what is counted with it."""
    level = made.alarm.level
    fields = {
        "market": made.market_id,
        "start": made.interval.start,
        "runs": command.run_count,
        "in_service_chip_seconds": command.in_service,
        "awarded_ppm": command.awarded * PPM // max(1, command.in_service),
        "idle": {item.reason: item.quantity for item in command.idle},
    }
    if made.hourly:
        if command.in_service:
            metrics.allocation.labels(made.market_id, "metered").set(
                command.delivered / command.in_service
            )
        metered = command.delivered * PPM // max(1, command.in_service)
        log.info("allocation of an hour", level=level.value, metered_ppm=metered, **fields)
        return
    metrics.allocation_alarms.labels(made.market_id, level.value).inc()
    if level is Level.MAJOR_OUTAGE:
        log.error("allocation: major outage", level=level.value, **fields)
    elif level is Level.WARNING:
        log.warning("allocation: below target", level=level.value, **fields)
    else:
        log.info("allocation: back to normal", level=level.value, **fields)
