"""What the log says beyond the state: at which entry, when, in which signed bytes.

A read model of the gateway. It follows the committed log, skips the many kinds that the state
answers for (orders, readings), and can always be rebuilt. ``refresh`` before reading makes every
answer at least as new as the last receipt that the caller got.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from clearing.errors import InvariantError
from iso_exchange.authority import command_of
from iso_exchange.commands import (
    CloseAuction,
    CloseRun,
    Command,
    CreateAuction,
    FailAuction,
    HaltAuction,
    IssueStatement,
    PublishCommunityTotal,
    PublishPrices,
    PublishResult,
    RegisterMeter,
    RegisterParticipant,
    ResumeAuction,
    SettleHour,
)
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.state import AuctionState, find_auction
from iso_exchange.sequencer.strips import delivery_intervals
from iso_exchange.services.errors import refuse
from settlement.storage.store import Entry, LedgerStore

PAGE_COUNT: Final = 1_000
HEARTBEAT_SECONDS: Final = 15.0
RUNS_KEPT: Final = 64

_KEPT: Final = frozenset(
    ENTRY_KINDS[kind].name
    for kind in (
        RegisterParticipant,
        RegisterMeter,
        CreateAuction,
        HaltAuction,
        ResumeAuction,
        CloseAuction,
        CloseRun,
        PublishResult,
        PublishPrices,
        FailAuction,
        SettleHour,
        IssueStatement,
        PublishCommunityTotal,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where and when a thing entered the log."""

    entry_index: int
    time_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """An auction after one of its entries.

    Attributes:
        mark: Entry that changed it.
        reason: Why it is halted or failed, empty otherwise.
        closed: Gate closure, None before.
        published: Publication, None before.
        publish_time_us: When that was accepted, None before.
        result_entry_index: Entry of the result, None before.
        settled_count: Delivery intervals settled.
    """

    mark: Mark
    state: AuctionState
    reason: str = ""
    closed: CloseAuction | None = None
    published: PublishPrices | None = None
    publish_time_us: int | None = None
    result_entry_index: int | None = None
    settled_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A statement in the log."""

    mark: Mark
    command: IssueStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """A community total in the log."""

    mark: Mark
    command: PublishCommunityTotal


class Journal:
    """Follows the log for the services.

    Attributes:
        stages: Every stage of each auction, in order.
        result_documents: Auction by SHA-256 of each document of its result.
    """

    def __init__(self, *, sequencer: Sequencer, store: LedgerStore) -> None:
        """Start empty; ``refresh`` reads."""
        self._sequencer = sequencer
        self._store = store
        self._lock = asyncio.Lock()
        self._times = array("q")
        self._stopping = False
        self._runs: deque[str] = deque()
        self.participants: dict[str, Mark] = {}
        self.specs: dict[str, Mark] = {}
        self.stages: dict[str, list[Stage]] = {}
        self.statements: dict[str, Issued] = {}
        self.totals: list[Total] = []
        self.result_documents: dict[bytes, str] = {}
        sequencer.follow(self._committed)

    def time_us(self, entry_index: int) -> int:
        """When an entry was accepted, microseconds since the epoch."""
        return self._times[entry_index]

    def stage(self, auction_id: str) -> Stage:
        """An auction as it stands now."""
        return self.stages[auction_id][-1]

    async def refresh(self) -> int:
        """Read everything committed so far; returns the size of the log that was read."""
        if self._is_behind():
            async with self._lock:
                while self._is_behind():
                    for entry in await self._store.entries(len(self._times), PAGE_COUNT):
                        self._take(entry)
        return len(self._times)

    async def run(self) -> None:
        """Keep up with the log, so that ``refresh`` never has much to read."""
        while True:
            await self.refresh()
            async with self._sequencer.changed:
                await self._sequencer.changed.wait_for(self._is_behind)

    async def follow(self, start: int) -> AsyncIterator[Entry | None]:
        """Entries from ``start`` on, for ever; None as a heartbeat when nothing happens.

        Raises:
            Refused: UNAVAILABLE: the exchange is stopping.
        """
        index = start
        while True:
            while index < await self.refresh():
                for entry in await self._store.entries(index, PAGE_COUNT):
                    yield entry
                    index = entry.index + 1
            if not await self._wait(index, HEARTBEAT_SECONDS):
                yield None
            self.refuse_when_stopping()

    async def growth(self, start: int) -> AsyncIterator[int]:
        """Size of the log when it is beyond ``start``, then each time it grew or a while passed.

        Raises:
            Refused: UNAVAILABLE: the exchange is stopping.
        """
        size = start
        while True:
            reached = await self.refresh()
            if reached > size or not await self._wait(size, HEARTBEAT_SECONDS):
                size = max(size, reached)
                yield size
            self.refuse_when_stopping()

    async def stop(self) -> None:
        """Let every ``follow`` end, so that a drain does not wait for watchers."""
        self._stopping = True
        async with self._sequencer.changed:
            self._sequencer.changed.notify_all()

    def refuse_when_stopping(self) -> None:
        """End a stream in order.

        Raises:
            Refused: UNAVAILABLE: the exchange is stopping.
        """
        if self._stopping:
            raise refuse(
                Code.UNAVAILABLE, "", "the exchange is restarting: resume where the stream ended"
            )

    def _is_behind(self) -> bool:
        return len(self._times) < self._sequencer.size

    async def _wait(self, size: int, seconds: float) -> bool:
        """Whether the log grew beyond ``size`` (or the exchange is stopping) within a time."""
        try:
            async with asyncio.timeout(seconds), self._sequencer.changed:
                await self._sequencer.changed.wait_for(
                    lambda: self._stopping or self._sequencer.size > size
                )
        except TimeoutError:
            return False
        return True

    def _committed(self, entries: Sequence[Entry]) -> None:
        """Take new entries without reading them back; a journal that is behind reads instead."""
        if entries[0].index == len(self._times):
            for entry in entries:
                self._take(entry)

    def _take(self, entry: Entry) -> None:
        self._times.append(entry.time_us)
        if entry.kind not in _KEPT:
            return
        command = command_of(entry.envelope)
        if isinstance(command, Rejected):
            message = f"entry {entry.index} no longer decodes: {command}"
            raise InvariantError(message)
        mark = Mark(entry_index=entry.index, time_us=entry.time_us)
        self._keep(command, mark)
        self._advance(command, mark)

    def _keep(self, command: Command, mark: Mark) -> None:
        match command:
            case RegisterParticipant():
                self.participants[command.participant_id] = mark
            case RegisterMeter():
                self.participants[command.meter_id] = mark
            case CreateAuction():
                self.specs[command.auction_id] = mark
            case IssueStatement():
                self.statements[command.statement_id] = Issued(mark=mark, command=command)
            case PublishResult():
                for digest in (
                    command.book_sha256,
                    command.outcome_sha256,
                    command.assignment_sha256,
                    command.postings_sha256,
                ):
                    self.result_documents[bytes.fromhex(digest)] = command.auction_id
            case PublishCommunityTotal():
                self.totals.append(Total(mark=mark, command=command))
            case _:
                return

    def _advance(self, command: Command, mark: Mark) -> None:
        """Next stage of an auction, for entries that change one."""
        if isinstance(command, CreateAuction):
            self.stages[command.auction_id] = [Stage(mark=mark, state=AuctionState.OPEN)]
            return
        if isinstance(command, CloseRun):
            self._begin_run(command, mark)
            return
        if not isinstance(
            command,
            (
                HaltAuction,
                ResumeAuction,
                CloseAuction,
                PublishResult,
                PublishPrices,
                FailAuction,
                SettleHour,
            ),
        ):
            return
        stages = self.stages.get(command.auction_id)
        if stages is None:
            return  # a run of long ago
        last = replace(stages[-1], reason="", mark=mark)
        match command:
            case HaltAuction():
                new = replace(last, state=AuctionState.HALTED, reason=command.reason)
            case ResumeAuction():
                # Resuming a failed auction asks for another clearing, not for more orders.
                again = last.state is AuctionState.FAILED
                new = replace(last, state=AuctionState.CLOSED if again else AuctionState.OPEN)
            case CloseAuction():
                new = replace(last, state=AuctionState.CLOSED, closed=command)
            case PublishResult():
                new = replace(last, state=AuctionState.CLEARED, result_entry_index=mark.entry_index)
            case PublishPrices():
                new = replace(
                    last,
                    state=AuctionState.PUBLISHED,
                    published=command,
                    publish_time_us=mark.time_us,
                )
            case FailAuction():
                new = replace(last, state=AuctionState.FAILED, reason=command.reason)
            case SettleHour():
                settled = last.settled_count + 1
                whole = settled >= self._interval_count(command.auction_id)
                if not whole:
                    stages[-1] = replace(stages[-1], settled_count=settled)
                    return
                new = replace(last, state=AuctionState.SETTLED, settled_count=settled)
        stages.append(new)

    def _begin_run(self, command: CloseRun, mark: Mark) -> None:
        """The latest runs have stages like auctions; a month of them would be too many."""
        name = f"{command.market_id}/{command.start}"
        self.stages[name] = [Stage(mark=mark, state=AuctionState.OPEN)]
        self._runs.append(name)
        if len(self._runs) > RUNS_KEPT:
            del self.stages[self._runs.popleft()]

    def _interval_count(self, auction_id: str) -> int:
        """Intervals that must be settled; 0 for a run that is over and has left the state."""
        auction = find_auction(self._sequencer.state, auction_id)
        return len(delivery_intervals(auction)) if auction is not None else 0
