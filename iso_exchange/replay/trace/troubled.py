"""The market of a replay with incidents: the exchange, and what goes wrong around it.

Stands between the clock of the replay and the exchange's market, so that labs, suppliers and
meters do what they always do, but for the incident.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from clearing.types import Cover, Eligibility, ServiceClass, Step
from clearing.units import Chips, MicroUsdPerChipHour, Seconds
from iso_exchange.api.v1 import auction_pb2
from iso_exchange.client import Client, Receipt, Refused
from iso_exchange.client.agents.lab import Wish
from iso_exchange.client.errors import ClientError
from iso_exchange.commands import (
    BidConditions,
    CancelOrder,
    Command,
    StepBidTerms,
    SubmitOrder,
    TimedSegment,
)
from iso_exchange.replay.stage import Stage, StageError
from iso_exchange.replay.trace.drive import INTERVAL_S, Cleared
from iso_exchange.replay.trace.exchange_market import ExchangeMarket
from iso_exchange.replay.trace.faults import Faults
from iso_exchange.replay.trace.incidents import (
    FLOOD_ORDERS,
    OPERATOR_ID,
    Incident,
    Kind,
    Log,
    reports,
)
from iso_exchange.replay.trace.layout import CHIPS_PER_NODE, Layout
from iso_exchange.replay.trace.setup import MARKET_ID, Calendar

BACK_SECONDS_MAX: Final = 120
LOOK_S: Final = 0.01
GATE_SECONDS_MAX: Final = 60
WORTHLESS: Final = MicroUsdPerChipHour(1_000)
"""What the orders of a flood bid: they never win, and are in every book."""

_OVER: Final = (auction_pb2.AUCTION_STATE_PUBLISHED, auction_pb2.AUCTION_STATE_SETTLED)


class TroubledMarket:
    """A market of ``drive`` in which incidents happen."""

    def __init__(
        self,
        *,
        market: ExchangeMarket,
        stage: Stage,
        clients: Mapping[str, Client],
        calendar: Calendar,
        layout: Layout,
        faults: Faults,
        incidents: Sequence[Incident],
        flood_orders: int = FLOOD_ORDERS,
    ) -> None:
        """Wire the parts.

        Args:
            market: The exchange's.
            stage: Keeps the exchange's process running.
            clients: By participant and meter; the operator's, too.
            faults: Nodes and sites that fail.
            incidents: Everything else.
            flood_orders: Orders that a flood sends for one gate.
        """
        self._market = market
        self._stage = stage
        self._clients = clients
        self._calendar = calendar
        self._layout = layout
        self._faults = faults
        self._incidents = incidents
        self._flood_orders = flood_orders
        self._flooded: list[str] = []
        self._reported: set[str] = set()
        self.log = Log()

    async def post(self, lab: str, wishes: Sequence[Wish]) -> None:
        """Standing bids of a lab."""
        await self._market.post(lab, wishes)

    async def supply(self, pool_id: str, nodes: int) -> None:
        """Nothing: what is out of service is reported as an outage, offers stand as they are."""

    async def clear(self, start_s: int) -> Cleared:
        """Report what failed, let incidents of this run happen, clear it."""
        await self._report(start_s)
        for incident in self._incidents:
            if incident.holds(start_s):
                if incident.kind is Kind.FLOOD:
                    await self._flood(incident, start_s)
                elif incident.kind is Kind.AUCTIONEER:
                    return await self._killed(start_s)
                elif incident.kind is Kind.DATABASE:
                    await self._restart_database()
            elif incident.kind is Kind.FLOOD and incident.end_s == start_s:
                await self._ebb(incident, start_s)
        return await self._market.clear(start_s)

    async def deliver(self, start_s: int, failed: Mapping[str, int]) -> int:
        """Meters read the interval, but for those that are silent."""
        silent = frozenset(
            incident.subject
            for incident in self._incidents
            if incident.kind is Kind.SILENT_METER and incident.holds(start_s)
        )
        self._market.silent = silent
        self.log.unread += len(silent)
        return await self._market.deliver(start_s, failed)

    async def sum_up(self) -> None:
        """What is on record of the incidents when all is settled.

        Raises:
            StageError: a receipt about them does not hold.
        """
        log, operator = self.log, self._clients[OPERATOR_ID]
        count = await check_receipts(log, self._clients)
        log.lines.append(
            f"{len(log.outages)} outages reported, {log.unread} pool-intervals not read, "
            f"{count} receipts about them stand in the log"
        )
        records = await operator.allocations(MARKET_ID)
        hours = [item for item in records if item.hourly]
        runs = await operator.runs(MARKET_ID)
        log.lines.append(
            f"allocation on record of {len(hours)} hours, {len(records) - len(hours)} changes of "
            f"its alarm; {len(runs)} runs, {sum(run.renewed for run in runs)} renewed"
        )
        shares = [
            (
                item.awarded_chip_seconds / item.in_service_chip_seconds,
                item.delivered_chip_seconds / item.in_service_chip_seconds,
            )
            for item in hours
            if item.in_service_chip_seconds
        ]
        if shares:
            awarded, metered = map(min, zip(*shares, strict=True))
            log.lines.append(f"worst hour on record: {awarded:.2%} awarded, {metered:.2%} metered")

    # Nodes, sites, suppliers --------------------------------------------------------------

    async def _report(self, start_s: int) -> None:
        """Outages that begin, and those that a supplier says after its silence."""
        begins = [start_s]
        for incident in self._incidents:
            if incident.kind is Kind.SILENT_SUPPLIER and incident.end_s == start_s:
                begins.extend(range(incident.start_s, incident.end_s, INTERVAL_S))
        for begin_s in sorted(begins):
            for signer_id, outage in reports(self._calendar, self._layout, self._faults, begin_s):
                over = outage.interval.end <= self._calendar.at(start_s)
                if over or outage.outage_id in self._reported:
                    continue
                if self._is_silent(signer_id, start_s):
                    continue
                self._reported.add(outage.outage_id)
                self._keep(signer_id, await self._clients[signer_id].send(outage))
                self.log.outages.append(outage.outage_id)

    def _is_silent(self, signer_id: str, start_s: int) -> bool:
        return any(
            incident.kind is Kind.SILENT_SUPPLIER
            and incident.subject == signer_id
            and incident.holds(start_s)
            for incident in self._incidents
        )

    # The exchange and its database --------------------------------------------------------

    async def _killed(self, start_s: int) -> Cleared:
        """The process is killed as soon as the gate has closed; the run is cleared all the same."""
        before = self._stage.exchange_pid
        clearing = asyncio.create_task(self._market.clear(start_s))
        state = await self._gate_closed(start_s, clearing)
        os.kill(before, signal.SIGKILL)
        self.log.kills.append(auction_pb2.AuctionState.Name(state))
        await self._back(before)
        cleared = await clearing
        (run,) = await self._clients[OPERATOR_ID].runs(
            MARKET_ID, start=self._calendar.at(start_s), limit=1
        )
        how = "renewed" if run.renewed else "cleared"
        self.log.lines.append(
            f"exchange killed in the run of {start_s} s, which was {self.log.kills[-1]}; "
            f"it answered after {self.log.back_s[-1]:.1f} s and the run was {how}"
        )
        return cleared

    async def _gate_closed(
        self, start_s: int, clearing: asyncio.Task[Cleared]
    ) -> auction_pb2.AuctionState.ValueType:
        """State of the run when its gate was first seen closed."""
        moment = self._calendar.at(start_s)
        deadline = time.monotonic() + GATE_SECONDS_MAX
        while time.monotonic() < deadline and not clearing.done():
            runs = await self._clients[OPERATOR_ID].runs(MARKET_ID, start=moment, limit=1)
            if runs and runs[0].start_time.seconds == moment:
                return runs[0].state
            await asyncio.sleep(LOOK_S)
        raise StageError(f"the gate of second {start_s} was not seen to close")

    async def _restart_database(self) -> None:
        """PostgreSQL's immediate shutdown; the exchange ends, and both are started again."""
        before = self._stage.exchange_pid
        os.kill(_postmaster(self._stage.data), signal.SIGQUIT)
        await self._back(before)
        self.log.lines.append(
            f"database shut down at once; the exchange answered after {self.log.back_s[-1]:.1f} s"
        )

    async def _back(self, before: int) -> None:
        """Wait for another process of the exchange that answers."""
        began = time.monotonic()
        while time.monotonic() < began + BACK_SECONDS_MAX:
            if self._stage.exchange_pid != before:
                with suppress(ClientError):
                    await self._clients[OPERATOR_ID].time()
                    self.log.back_s.append(time.monotonic() - began)
                    return
            await asyncio.sleep(LOOK_S)
        raise StageError(f"the exchange was not back in {BACK_SECONDS_MAX} s")

    # A flood --------------------------------------------------------------------------------

    async def _flood(self, incident: Incident, start_s: int) -> None:
        """Thousands of worthless orders before one gate."""
        begin = self._calendar.at(start_s)
        end = self._calendar.at(max(incident.end_s, start_s + INTERVAL_S))
        name = incident.subject
        orders = [f"flood.{start_s}.{number}" for number in range(self._flood_orders)]
        commands: list[Command] = [
            SubmitOrder(
                header=self._calendar.header(name, order_id, start_s),
                order_id=order_id,
                auction_id=MARKET_ID,
                participant_id=name,
                revision=1,
                terms=StepBidTerms(
                    conditions=BidConditions(
                        where=Eligibility(pool_ids=(self._layout.pools[0].pool_id,)),
                        service_class=ServiceClass.INTERRUPTIBLE,
                        cover=Cover.NONE,
                        notice_s=Seconds(0),
                    ),
                    segments=(
                        TimedSegment(
                            start=begin,
                            end=end,
                            steps=(Step(price=WORTHLESS, chips=Chips(CHIPS_PER_NODE)),),
                        ),
                    ),
                ),
            )
            for order_id in orders
        ]
        for order_id, answer in zip(
            orders, await self._clients[name].send_many(commands), strict=True
        ):
            if isinstance(answer, Refused):
                self.log.count(answer.code)
                continue
            self.log.count("accepted")
            self._flooded.append(order_id)
            self._keep(name, answer)

    async def _ebb(self, incident: Incident, start_s: int) -> None:
        """The flood withdraws what still stands; what expired meanwhile is refused."""
        name = incident.subject
        commands: list[Command] = [
            CancelOrder(
                header=self._calendar.header(name, f"ebb/{order_id}", start_s), order_id=order_id
            )
            for order_id in self._flooded
        ]
        answers = await self._clients[name].send_many(commands)
        gone = sum(isinstance(answer, Receipt) for answer in answers)
        self.log.lines.append(f"flood of {name}: {self.log.flood}; {gone} withdrawn after it")
        self._flooded.clear()

    def _keep(self, signer_id: str, receipt: Receipt) -> None:
        self.log.receipts.append((signer_id, receipt.entry_index, receipt.leaf_hash))


async def check_receipts(log: Log, clients: Mapping[str, Client]) -> int:
    """Every receipt that was handed out is where it said, in the log as it is now.

    Returns:
        How many there are.

    Raises:
        StageError: one is not.
    """
    limit = asyncio.Semaphore(16)

    async def check(signer_id: str, index: int, leaf_hash: bytes) -> None:
        async with limit:
            entry = await clients[signer_id].entry(index)
        if entry.leaf_hash != leaf_hash:
            raise StageError(f"the receipt of {signer_id} for entry {index} does not hold")

    await asyncio.gather(*(check(*receipt) for receipt in log.receipts))
    return len(log.receipts)


def _postmaster(data: Path) -> int:
    """Process id of the embedded PostgreSQL of an exchange."""
    lines = (data / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    return int(lines[0])
