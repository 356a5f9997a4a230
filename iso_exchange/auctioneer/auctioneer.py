"""The auctioneer's loop: look at the state, do the next step of every auction, submit it.

It keeps nothing of its own that matters: what is left to do follows from the state, and
every submission has a request id derived from what it does, so a restart at any point
continues where the log ends. Documents of a result that were computed but not yet
announced are computed again.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import structlog

from clearing import codec
from iso_exchange.auctioneer.work import Cleared, Failed, Job, work
from iso_exchange.auctioneer.worker import end_with_parent
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.commands import (
    CloseAuction,
    FailAuction,
    NotifyAward,
    PublishPrices,
    PublishResult,
    ReleaseBook,
)
from iso_exchange.observability import metrics
from iso_exchange.pseudonyms import names_of, pseudonymised
from iso_exchange.publication import award_notice, prices_document
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.sequencer.auctions import book_root, build_book
from iso_exchange.sequencer.grants import payers_of
from iso_exchange.sequencer.release import release_time
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.state import Auction, AuctionState
from iso_exchange.signer import IDLE_SECONDS, ServiceSigner, make_document
from settlement.ledger import proofs

FAILURE_COUNT_MAX: Final = 3
"""Clearings tried before the auction waits for the operator; never retried for ever."""

log = structlog.get_logger("auctioneer")


class Auctioneer:
    """Moves auctions along. One runs at a time, beside the sequencer."""

    def __init__(
        self, *, sequencer: Sequencer, secrets: ExchangeSecrets, clock: Clock, origin: str
    ) -> None:
        """Wire the parts; ``run`` starts the worker process with the first job."""
        self._sequencer = sequencer
        self._secrets = secrets
        self._clock = clock
        self._signer = ServiceSigner(key=secrets.service_key, origin=origin, clock=clock)
        self._workers: ProcessPoolExecutor | None = None
        # Auctions without a missing notice; only saves looking again.
        self._told: set[str] = set()

    async def run(self) -> None:
        """Step for ever."""
        context = multiprocessing.get_context("spawn")
        self._workers = ProcessPoolExecutor(
            max_workers=1, mp_context=context, initializer=end_with_parent, initargs=(os.getpid(),)
        )
        try:
            while True:
                if not await self.step():
                    await self._clock.wait(self.idle_seconds())
        finally:
            # A worker in the middle of a clearing would keep the whole process from ending.
            # Public from Python 3.14 on as ``terminate_workers``.
            for process in list((self._workers._processes or {}).values()):  # noqa: SLF001
                process.terminate()
            self._workers.shutdown(wait=False, cancel_futures=True)

    async def step(self) -> bool:
        """Do the next step of every auction; True when anything was done."""
        done = False
        for auction in list(self._sequencer.state.auctions.values()):
            done = await self._advance(auction) or done
        return done

    def idle_seconds(self) -> float:
        """How long to wait when there was nothing to do."""
        return IDLE_SECONDS

    async def _advance(self, auction: Auction) -> bool:
        now = self._clock.now_us() // MICROSECONDS
        if auction.state is AuctionState.OPEN and now >= auction.created.close_time:
            await self._close(auction)
            return True
        tries = len(auction.failures) - auction.forgiven_failures
        retry = auction.state is AuctionState.FAILED and tries < FAILURE_COUNT_MAX
        if auction.state is AuctionState.CLOSED or retry:
            await self._clear(auction)
            return True
        if auction.state is AuctionState.CLEARED:
            await self._publish_prices(auction)
            return True
        # A quick settler may be done before every notice is given.
        told = auction.spec.auction_id in self._told
        if auction.state in (AuctionState.PUBLISHED, AuctionState.SETTLED) and not told:
            return await self._notify(auction)
        if told and not auction.released and now >= release_time(auction):
            await self._release(auction)
            return True
        return False

    async def _close(self, auction: Auction) -> None:
        state = self._sequencer.state
        name = auction.spec.auction_id
        count, root = auction.frozen or book_root(state, auction)
        book = auction.written_book() if auction.book else codec.encode(build_book(state, auction))
        commitment = proofs.commit(self._secrets.book_salt(name), book)
        await self._signer.submit(
            self._sequencer,
            CloseAuction(
                header=self._signer.header(f"close/{name}/{count}/{root[:16]}"),
                auction_id=name,
                order_count=count,
                book_root=root,
                book_commitment=commitment.hex(),
            ),
        )

    async def _clear(self, auction: Auction) -> None:
        name, attempt = auction.spec.auction_id, len(auction.failures)
        started = time.monotonic()
        result = await self._result(auction)
        if isinstance(result, Failed):
            log.error("clearing failed", auction=name, reason=result.reason, attempt=attempt)
            await self._signer.submit(
                self._sequencer,
                FailAuction(
                    header=self._signer.header(f"fail/{name}/{attempt}"),
                    auction_id=name,
                    reason=result.reason,
                ),
            )
            return
        await self._publish_result(auction, attempt, result)
        self._measure(started, name, result)

    async def _result(self, auction: Auction) -> Cleared | Failed:
        return await asyncio.get_running_loop().run_in_executor(
            self._workers, work, self._job(auction)
        )

    def _measure(self, started: float, name: str, result: Cleared) -> None:
        metrics.clearing_seconds.observe(time.monotonic() - started)
        metrics.certified_gap_ppb.set(result.gap_ppb)
        log.info(
            "cleared", auction=name, gap_ppb=result.gap_ppb, seconds=time.monotonic() - started
        )

    async def _publish_result(self, auction: Auction, attempt: int, result: Cleared) -> None:
        name = auction.spec.auction_id
        book = make_document("BOOK", auction.written_book())
        outcome = make_document("OUTCOME", result.outcome)
        assignment = make_document("ASSIGNMENT", result.assignment)
        postings = make_document("POSTINGS", result.postings)
        await self._signer.submit(
            self._sequencer,
            PublishResult(
                header=self._signer.header(f"result/{name}/{attempt}"),
                auction_id=name,
                book_sha256=book.sha256.hex(),
                book_salt=self._secrets.book_salt(name).hex(),
                outcome_sha256=outcome.sha256.hex(),
                assignment_sha256=assignment.sha256.hex(),
                postings_sha256=postings.sha256.hex(),
            ),
            book,
            outcome,
            assignment,
            postings,
        )

    def _job(self, auction: Auction) -> Job:
        state = self._sequencer.state
        assert auction.book is not None  # a closed auction has its frozen book
        return Job(
            book=auction.book,
            seed=self._seed(auction),
            derates={pool_id: record.derate_ppm for pool_id, record in state.pools.items()},
            precisions={
                record.pool.chip_class: record.precision for record in state.pools.values()
            },
            nomination_suppliers={
                name: entitlement.supplier_id for name, entitlement in state.entitlements.items()
            },
            payers=payers_of(state),
            order_holds={
                order_id: hold
                for order_id in auction.order_ids
                if (hold := state.orders[order_id].hold) is not None
            },
            gate=auction.gate,
        )

    def _seed(self, auction: Auction) -> bytes:
        return self._secrets.tie_seed(auction.spec.auction_id)

    async def _publish_prices(self, auction: Auction) -> None:
        assert auction.book is not None
        assert auction.outcome is not None
        name = auction.spec.auction_id
        prices = make_document(
            "PRICES", codec.encode(prices_document(auction.book, auction.outcome)), public=True
        )
        await self._signer.submit(
            self._sequencer,
            PublishPrices(
                header=self._signer.header(f"prices/{name}"),
                auction_id=name,
                prices_sha256=prices.sha256.hex(),
                certified_gap_ppb=auction.outcome.certificate.gap_ppb,
            ),
            prices,
        )

    async def _release(self, auction: Auction) -> None:
        assert auction.book is not None
        assert auction.outcome is not None
        name = auction.spec.auction_id
        names = {who: self._secrets.pseudonym(name, who) for who in names_of(auction.book)}
        book, outcome = pseudonymised(auction.book, auction.outcome, names)
        documents = (
            make_document("RELEASED_BOOK", codec.encode(book), public=True),
            make_document("RELEASED_OUTCOME", codec.encode(outcome), public=True),
        )
        await self._signer.submit(
            self._sequencer,
            ReleaseBook(
                header=self._signer.header(f"release/{name}"),
                auction_id=name,
                book_sha256=documents[0].sha256.hex(),
                outcome_sha256=documents[1].sha256.hex(),
            ),
            *documents,
        )
        log.info("book released", auction=name)

    async def _notify(self, auction: Auction) -> bool:
        assert auction.assignment is not None
        name = auction.spec.auction_id
        missing = sorted(self._concerned(auction) - auction.notified)
        if not missing:
            self._told.add(name)
        for participant_id in missing:
            assert auction.outcome is not None  # published
            notice = make_document(
                "AWARD",
                codec.encode(award_notice(auction.outcome, auction.assignment, participant_id)),
                owners=(participant_id,),
            )
            await self._signer.submit(
                self._sequencer,
                NotifyAward(
                    header=self._signer.header(f"award/{name}/{participant_id}"),
                    auction_id=name,
                    participant_id=participant_id,
                    notice_sha256=notice.sha256.hex(),
                ),
                notice,
            )
        return bool(missing)

    def _concerned(self, auction: Auction) -> set[str]:
        """Participants who are told of a result: owners of orders, parties of contracts."""
        assert auction.outcome is not None
        assert auction.assignment is not None
        return {order.participant_id for order in auction.outcome.orders} | {
            participant_id
            for contract in auction.assignment.contracts
            for participant_id in (contract.buyer_id, contract.supplier_id)
        }
