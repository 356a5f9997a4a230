"""The spot auctioneer: closes the gate of every run on time, and publishes what the worker says.

It runs beside the day-ahead auctioneer, with a worker process of its own, so that a long
day-ahead clearing never makes a run late. One submission carries a run's result, prices and
notices: they are one group commit.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from clearing.units import UnixSeconds
from iso_exchange.auctioneer.auctioneer import Auctioneer
from iso_exchange.auctioneer.handover import Missed, Sender, work_on
from iso_exchange.auctioneer.work import Cleared, Failed, renew, warm
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.commands import (
    CloseRun,
    Command,
    GiveNotices,
    NotifyAward,
    PublishPrices,
    PublishResult,
)
from iso_exchange.observability import metrics
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.seed_chain import SeedChain
from iso_exchange.sequencer.late_outcome import LateOutcome
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.spot import notices_of, renewal_of
from iso_exchange.sequencer.spot_binding import Stops
from iso_exchange.sequencer.spot_market import MarketState, SpotMarket
from iso_exchange.sequencer.state import Auction
from iso_exchange.signer import IDLE_SECONDS, make_document, read_back, read_result, with_value
from settlement.storage.store import Document

SECONDS_LEAST: Final = 0.001
LOOK_SECONDS: Final = 0.05

log = structlog.get_logger("spot")


class SpotAuctioneer(Auctioneer):
    """Moves runs of spot markets along."""

    def __init__(
        self, *, sequencer: Sequencer, secrets: ExchangeSecrets, clock: Clock, origin: str
    ) -> None:
        """Wire the parts."""
        super().__init__(sequencer=sequencer, secrets=secrets, clock=clock, origin=origin)
        self._chains: dict[str, SeedChain] = {}
        self._renewed: set[str] = set()
        self._is_warm = False
        self._senders: dict[str, Sender] = {}

    async def step(self) -> bool:
        """Close the gates that are due, then do the next step of every run."""
        done = False
        state = self._sequencer.state
        if state.markets and not self._is_warm:
            await self._warm_up()
        for market in list(state.markets.values()):
            done = await self._close_gate(market) or done
        for run in list(state.runs.values()):
            done = await self._advance(run) or done
        return done

    def idle_seconds(self) -> float:
        """Up to the next gate, so that a gate is not closed late by an idle pause."""
        now_us = self._clock.now_us()
        gates = [
            market.gate(market.next_start(now_us // MICROSECONDS)) * MICROSECONDS - now_us
            for market in self._sequencer.state.markets.values()
            if market.state is MarketState.OPEN
        ]
        return min([IDLE_SECONDS, *(max(SECONDS_LEAST, gate / MICROSECONDS) for gate in gates)])

    async def _close_gate(self, market: SpotMarket) -> bool:
        """Freeze the next run's order set when its gate has come."""
        now = self._clock.now_us() // MICROSECONDS
        start = market.next_start(now)
        used_up = market.revealed_count >= market.opened.chain_length
        if market.state is not MarketState.OPEN or now < market.gate(start) or used_up:
            return False
        name = market.run_id(start)
        await self._signer.submit(
            self._sequencer,
            CloseRun(
                header=self._signer.header(f"gate/{name}"),
                market_id=market.opened.market_id,
                start=UnixSeconds(start),
            ),
        )
        return True

    async def _result(self, auction: Auction) -> Cleared | Failed:
        """The worker's result, or a renewal: when it failed, or would come too late."""
        name, begins = auction.spec.auction_id, auction.spec.intervals[0].start
        reason = "its interval had begun"
        if self._clock.now_us() < begins * MICROSECONDS:
            result = await self._in_time(auction, begins)
            if isinstance(result, Cleared):
                return result
            reason = result.reason
        log.error("run renewed", run=name, reason=reason)
        metrics.renewed_runs.inc()
        self._renewed.add(name)
        state = self._sequencer.state
        job = self._job(auction)
        return renew(job, renewal_of(state, auction, job.seed.hex()))

    async def _in_time(self, auction: Auction, begins: int) -> Cleared | Failed:
        """The worker's result, unless the run's interval begins before it is there."""
        task = asyncio.ensure_future(self._cleared(auction))
        while not task.done():
            if self._clock.now_us() >= begins * MICROSECONDS:
                task.cancel()
                return Failed(reason="the result was not there in time")
            await asyncio.wait({task}, timeout=LOOK_SECONDS)
        return task.result()

    async def _cleared(self, auction: Auction) -> Cleared | Failed:
        """The worker's result; it is sent what changed since the run before."""
        sender = self._senders.setdefault(auction.market_id, Sender(auction.market_id))
        job, loop = self._job(auction), asyncio.get_running_loop()
        result = await loop.run_in_executor(self._workers, work_on, sender.pack(job))
        if isinstance(result, Missed):
            sender.reset()
            result = await loop.run_in_executor(self._workers, work_on, sender.pack(job))
        assert not isinstance(result, Missed)  # it was sent everything
        return result

    async def _warm_up(self) -> None:
        """Start the worker before the first gate needs it: a process and its libraries."""
        self._is_warm = True
        await asyncio.get_running_loop().run_in_executor(self._workers, warm)

    def _seed(self, auction: Auction) -> bytes:
        market = self._sequencer.state.markets[auction.market_id]
        return self._chain(market).seed(market.revealed_count + 1)

    def _chain(self, market: SpotMarket) -> SeedChain:
        name = market.opened.market_id
        if name not in self._chains:
            self._chains[name] = self._secrets.seed_chain(name, market.opened.chain_length)
        return self._chains[name]

    async def _publish_result(self, auction: Auction, attempt: int, result: Cleared) -> None:
        """Result, prices and notices in one submission."""
        name = auction.spec.auction_id
        outcome = LateOutcome(book_sha256=result.book_sha256, seed=result.seed, body=result.outcome)
        named = [
            make_document("BOOK", auction.written_book()),
            with_value(make_document("OUTCOME", result.outcome), outcome),
            *read_result(result.assignment, result.postings),
            read_back("STOPS", result.stops, Stops),
        ]
        digests = [document.sha256.hex() for document in named]
        prices = make_document("PRICES", result.prices, public=True)
        steps: list[tuple[Command, tuple[Document, ...]]] = [
            (
                PublishResult(
                    header=self._signer.header(f"result/{name}/{attempt}"),
                    auction_id=name,
                    book_sha256=digests[0],
                    book_salt=self._secrets.book_salt(name).hex(),
                    outcome_sha256=digests[1],
                    assignment_sha256=digests[2],
                    postings_sha256=digests[3],
                    stops_sha256=digests[4],
                    renewed=name in self._renewed,
                ),
                tuple(named),
            ),
            (
                PublishPrices(
                    header=self._signer.header(f"prices/{name}"),
                    auction_id=name,
                    prices_sha256=prices.sha256.hex(),
                    certified_gap_ppb=result.gap_ppb,
                ),
                (prices,),
            ),
        ]
        for participant_id, body in result.notices.items():
            notice = make_document("AWARD", body, owners=(participant_id,))
            steps.append(
                (
                    NotifyAward(
                        header=self._signer.header(f"award/{name}/{participant_id}"),
                        auction_id=name,
                        participant_id=participant_id,
                        notice_sha256=notice.sha256.hex(),
                    ),
                    (notice,),
                )
            )
        await self._signer.submit_all(self._sequencer, steps)

    async def _notify(self, auction: Auction) -> bool:
        """Notices first; then awards that are missing after a restart."""
        name = auction.spec.auction_id
        warned = {notice.participant_id for notice in auction.notices} - auction.warned
        steps: list[tuple[Command, tuple[Document, ...]]] = [
            (
                GiveNotices(
                    header=self._signer.header(f"notice/{name}/{participant_id}"),
                    run_id=name,
                    participant_id=participant_id,
                    notices=notices_of(auction, participant_id),
                ),
                (),
            )
            for participant_id in sorted(warned)
        ]
        if steps:
            await self._signer.submit_all(self._sequencer, steps)
            return True
        return await super()._notify(auction)

    def _concerned(self, auction: Auction) -> set[str]:
        """Parties of what the run bound; a standing order that gets nothing stays as it is."""
        assert auction.assignment is not None  # published
        return {
            participant_id
            for contract in auction.assignment.contracts
            for participant_id in (contract.buyer_id, contract.supplier_id)
        }

    def _measure(self, started: float, name: str, result: Cleared) -> None:
        seconds = time.monotonic() - started
        metrics.run_seconds.observe(seconds)
        metrics.certified_gap_ppb.set(result.gap_ppb)
        log.info("cleared", run=name, gap_ppb=result.gap_ppb, seconds=round(seconds, 3))
