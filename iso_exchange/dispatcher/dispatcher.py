"""The dispatcher's loop: what is due first, then instructions that follow from the state.

Like the auctioneer it keeps nothing of its own: deadlines are in the state, so a restart finds
what fell due meanwhile and does it first. Runs never wait for it.
"""

from __future__ import annotations

import structlog

from clearing.units import UnixSeconds
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.commands import Command, DeclareTimeout, GiveNotices, InstructSuppliers
from iso_exchange.dispatch_commands import REQUEST_DIGITS, cover_request
from iso_exchange.observability import metrics
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.sequencer.dispatch import batches, is_dispatched, moment_of
from iso_exchange.sequencer.dispatch_reclaim import calls
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.signer import IDLE_SECONDS, ServiceSigner, written
from settlement.storage.store import Document

log = structlog.get_logger("dispatcher")

Seen = tuple[object, ...]
"""What instructions can follow from; while it stays the same there are no new ones."""


class Dispatcher:
    """Instructs the suppliers of spot markets."""

    def __init__(
        self, *, sequencer: Sequencer, secrets: ExchangeSecrets, clock: Clock, origin: str
    ) -> None:
        """Wire the parts."""
        self._sequencer = sequencer
        self._clock = clock
        self._signer = ServiceSigner(key=secrets.service_key, origin=origin, clock=clock)
        self._seen: dict[str, Seen] = {}

    async def run(self) -> None:
        """Step for ever."""
        while True:
            if not await self.step():
                await self._clock.wait(IDLE_SECONDS)

    async def step(self) -> bool:
        """Do everything that is due now; True when anything was."""
        done = await self._declare_timeouts()
        for market in list(self._sequencer.state.markets.values()):
            if is_dispatched(market):
                done = await self._instruct(market) or done
        return done

    async def _declare_timeouts(self) -> bool:
        """Starts whose receipts did not come in time."""
        now = self._now()
        steps: list[tuple[Command, tuple[Document, ...]]] = [
            (
                DeclareTimeout(
                    header=self._signer.header(
                        f"timeout/{pool_id}/{start.sequence}/{len(start.nodes)}"
                    ),
                    pool_id=pool_id,
                    sequence=start.sequence,
                    nodes=start.nodes,
                ),
                (),
            )
            for pool_id, row in self._sequencer.state.dispatch.rows.items()
            for start in list(row.starts.values())
            if start.due < now
        ]
        if steps:
            await self._signer.submit_all(self._sequencer, steps)
            metrics.provisioning_timeouts.inc(len(steps))
            log.warning("nodes were not handed over in time", starts=len(steps))
        return bool(steps)

    async def _instruct(self, market: SpotMarket) -> bool:
        """Instructions of a market, one entry for each set of suppliers."""
        state = self._sequencer.state
        moment = moment_of(state, market, self._now())
        if moment is None:
            return False
        start, at = moment
        name = market.opened.market_id
        seen = self._view(market, start, at)
        if self._seen.get(name) == seen:
            return False
        steps: list[tuple[Command, tuple[Document, ...]]] = []
        for due in batches(state, market, start, at):
            batch = due.batch
            document = written("INSTRUCTIONS", batch, owners=batch.supplier_ids)
            digest = document.sha256.hex()
            steps.append(
                (
                    InstructSuppliers(
                        header=self._signer.header(
                            f"instructions/{name}/{at}/{digest[:REQUEST_DIGITS]}"
                        ),
                        market_id=name,
                        supplier_ids=batch.supplier_ids,
                        start=start,
                        at=at,
                        batch_sha256=digest,
                    ),
                    (document,),
                )
            )
        if not steps:
            if await self._call_cover(market, start, at):
                return True
            self._seen[name] = seen
            return False
        await self._signer.submit_all(self._sequencer, steps)
        metrics.instruction_batches.inc(len(steps))
        return True

    async def _call_cover(self, market: SpotMarket, start: UnixSeconds, at: UnixSeconds) -> bool:
        """Notices that covered work needs, one participant at a time."""
        due = calls(self._sequencer.state, market, start, at)
        for (pool_id, participant_id), notices in due.items():
            run_id = market.run_id(start)
            await self._signer.submit(
                self._sequencer,
                GiveNotices(
                    header=self._signer.header(cover_request(run_id, pool_id, participant_id, at)),
                    run_id=run_id,
                    participant_id=participant_id,
                    notices=notices,
                    pool_id=pool_id,
                    at=at,
                ),
            )
            log.info("cover called", pool_id=pool_id, orders=len(notices))
            return True
        return False

    def _view(self, market: SpotMarket, start: UnixSeconds, at: UnixSeconds) -> Seen:
        """What would have to change for instructions to change."""
        state = self._sequencer.state
        rows = state.dispatch.rows.values()
        called = sum(item.deadline <= at for row in rows for item in row.called)
        other_runs = sum(len(other.run_ids) for other in state.markets.values())
        return start, start in market.run_ids, len(state.outages), called, other_runs

    def _now(self) -> int:
        return self._clock.now_us() // MICROSECONDS
