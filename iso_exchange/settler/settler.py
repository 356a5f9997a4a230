"""The settler's loop: settle what has been delivered, then state it.

Like the auctioneer it keeps nothing of its own: intervals without postings, accounts
without a statement and sites without a published total follow from the state.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import structlog

from clearing import codec
from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsd, UnixSeconds
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.commands import (
    Command,
    IssueStatement,
    PublishCommunityTotal,
    SettleHour,
)
from iso_exchange.money_commands import (
    CorrectHour,
    RebatePool,
    RebateRents,
)
from iso_exchange.observability import metrics
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.sequencer.after_auction import batches_of, month_of
from iso_exchange.sequencer.deliveries import due_statement
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.spot_market import Earned
from iso_exchange.sequencer.spot_moves import cells_due, unposted
from iso_exchange.sequencer.spot_returns import passed_of
from iso_exchange.sequencer.state import Auction, AuctionState, State
from iso_exchange.sequencer.strips import delivery_intervals
from iso_exchange.settler.interval import readings_complete, settle_interval
from iso_exchange.settler.recomputation import corrected, hours_of, pool_surplus, rebates
from iso_exchange.settler.spot import SpotFiles, publish_spot, spot_step
from iso_exchange.signer import IDLE_SECONDS, ServiceSigner, make_document, written
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind
from settlement.metering.billable import METERING_INTERVAL_S
from settlement.metering.moved import delivered_at
from settlement.postings.correction import CORRECTION_SECONDS_MAX
from settlement.postings.rebates import POOL_CEILING_MICRO_USD
from settlement.spot.result import SpotResult
from settlement.storage.store import Document
from settlement.types import Phase, Postings, TransferCode

READINGS_CLOSE_SECONDS: Final = 900
"""Readings of an interval are awaited this long after its end; then a missing one is a gap."""

SETTLE_COUNT_MAX: Final = 100
"""Intervals settled in one submission."""

SURCHARGE_CODES: Final = frozenset({TransferCode.SURCHARGE, TransferCode.SURCHARGE_DIFFERENCE})

log = structlog.get_logger("settler")


class Settler:
    """Settles auctions whose prices are published."""

    def __init__(
        self,
        *,
        sequencer: Sequencer,
        secrets: ExchangeSecrets,
        clock: Clock,
        origin: str,
        spot_directory: Path | None = None,
    ) -> None:
        """Wire the parts.

        Args:
            spot_directory: Where spot results are handed in as files, None for nowhere.
        """
        self._spot = None if spot_directory is None else SpotFiles(spot_directory)
        self._sequencer = sequencer
        self._clock = clock
        self._signer = ServiceSigner(key=secrets.service_key, origin=origin, clock=clock)
        self._waiting: set[tuple[str, int]] = set()
        self._without_rent: set[str] = set()

    async def run(self) -> None:
        """Step for ever."""
        while True:
            if not await self.step():
                await self._clock.wait(IDLE_SECONDS)

    async def step(self) -> bool:
        """Do the next step of every auction; True when anything was done."""
        done = False
        state = self._sequencer.state
        if self._spot is not None:
            done = await self._spot.step(self._sequencer, self._signer)
        done = await self._rebate_pool() or done
        for auction in list(state.auctions.values()):
            done = await self._post_moves(auction) or done
        done = await self._settle_due() or done
        for auction in (*state.auctions.values(), *state.runs.values()):
            for start in sorted(auction.due):
                done = await self._correct(auction, start) or done
            if auction.state is AuctionState.SETTLED:
                # What a run's rents leave goes back with its day-ahead auction's, if any.
                done = (not auction.market_id and await self._rebate(auction)) or done
                stated = await self._state_accounts(auction)
                # The last total of a day ends its last run: statements come first.
                total = not (stated and auction.market_id) and await self._publish_totals(auction)
                done = stated or total or done
        return done

    async def publish_spot(self, result: SpotResult) -> Rejected | None:
        """Put one spot result into the log; see ``iso_exchange.settler.spot``."""
        return await publish_spot(self._sequencer, self._signer, result)

    async def _post_moves(self, auction: Auction) -> bool:
        """Post what published runs say of an auction's contracts, all that is due in one go."""
        now = self._clock.now_us() // MICROSECONDS
        due = list(cells_due(self._sequencer.state, auction, now))
        if not due:
            return False
        await self._signer.submit_all(
            self._sequencer,
            [spot_step(self._sequencer.state, self._signer, result) for result in due],
        )
        return True

    async def _settle_due(self) -> bool:
        """Settle the next interval of every auction that is due, in one submission.

        An interval of a market is delivered by as many runs as look ahead to it; each would wait
        for a commit of its own. What one of them moves in the pool the next one counts with.
        """
        state = self._sequencer.state
        pool_balance = state.books.balance(accounts.POOL).posted
        steps: list[tuple[Command, tuple[Document, ...]]] = []
        for auction in (*state.auctions.values(), *state.runs.values()):
            if auction.state is not AuctionState.PUBLISHED:
                continue
            interval = next(
                (item for item in delivery_intervals(auction) if item.start not in auction.settled),
                None,
            )
            if interval is None or not self._due(auction, interval):
                continue
            if unposted(state, auction, interval, self._clock.now_us() // MICROSECONDS):
                continue  # a run of it is not published yet
            command, documents, moved = self._settlement(auction, interval, pool_balance)
            steps.append((command, documents))
            pool_balance += moved
            if len(steps) == SETTLE_COUNT_MAX:
                break
            await asyncio.sleep(0)  # others wait for the event loop
        if steps:
            await self._signer.submit_all(self._sequencer, steps)
            metrics.settled_hours.inc(len(steps))
        return bool(steps)

    def _settlement(
        self, auction: Auction, interval: Interval, pool_balance: int
    ) -> tuple[SettleHour, tuple[Document, ...], int]:
        """What settles an interval: the command, its documents, and what it adds to the pool."""
        state = self._sequencer.state
        assert auction.assignment is not None  # a published auction has its contracts
        table = state.chip_table()
        assert table is not None  # pools exist only after a chip table
        batches = batches_of(state, auction, interval)
        settled = settle_interval(
            assignment=auction.assignment,
            interval=interval,
            batches=batches,
            table=table,
            pool_balance=pool_balance,
            earlier=hours_of(state, auction),
            results=auction.spot,
            upheld=state.upheld,
            passed=passed_of(state),
        )
        delivered = written("DELIVERED", settled.delivered)
        postings = written("POSTINGS", settled.postings)
        name = auction.spec.auction_id
        command = SettleHour(
            header=self._signer.header(f"settle/{name}/{interval.start}"),
            auction_id=name,
            interval=interval,
            postings_sha256=postings.sha256.hex(),
            delivered_sha256=delivered.sha256.hex(),
            batch_count=len(batches),
            pool_balance=pool_balance,
        )
        return command, (delivered, postings), posted_to(accounts.POOL, settled.postings)

    def _due(self, auction: Auction, interval: Interval) -> bool:
        now = self._clock.now_us() // MICROSECONDS
        if now < interval.end:
            return False
        if now >= interval.end + READINGS_CLOSE_SECONDS:
            return True
        assert auction.assignment is not None
        return readings_complete(
            auction.assignment,
            interval,
            self._sequencer.state.batches,
            METERING_INTERVAL_S,
            auction.spot,
        )

    async def _correct(self, auction: Auction, start: int) -> bool:
        """Post what the latest readings change of a settled interval."""
        state = self._sequencer.state
        try:
            delivered, postings = corrected(state, auction, start)
        except SettlementError as error:
            if error.code is not SettlementErrorCode.POOL_TOO_SMALL:
                raise
            if (auction.spec.auction_id, start) not in self._waiting:
                self._waiting.add((auction.spec.auction_id, start))
                log.warning("correction waits", hour=error.subject, detail=error.detail)
            return False
        interval = next(item for item in delivery_intervals(auction) if item.start == start)
        if self._clock.now_us() // MICROSECONDS > interval.end + CORRECTION_SECONDS_MAX:
            return False
        name = auction.spec.auction_id
        number = len(auction.corrections.get(start, ())) + 1
        documents = (
            make_document("DELIVERED", codec.encode(delivered)),
            make_document("POSTINGS", codec.encode(postings)),
        )
        batch_count = len(batches_of(state, auction, interval))
        digests = [document.sha256.hex() for document in documents]
        await self._signer.submit(
            self._sequencer,
            CorrectHour(
                header=self._signer.header(f"correct/{name}/{start}/{number}/{digests[0]}"),
                auction_id=name,
                interval=interval,
                number=number,
                delivered_sha256=digests[0],
                postings_sha256=digests[1],
                batch_count=batch_count,
            ),
            *documents,
        )
        return True

    async def _rebate_pool(self) -> bool:
        """Give last month's surplus of the pool back."""
        state = self._sequencer.state
        if state.books.balance(accounts.POOL).posted <= POOL_CEILING_MICRO_USD:
            return False
        this = month_of(UnixSeconds(self._clock.now_us() // MICROSECONDS))
        last = month_of(UnixSeconds(this.start - 1))
        if last.start in state.pool_rebates:
            return False
        postings = pool_surplus(state, last)
        if not postings.transfers:
            return False
        document = make_document("POSTINGS", codec.encode(postings))
        digest = document.sha256.hex()
        await self._signer.submit(
            self._sequencer,
            RebatePool(
                header=self._signer.header(f"pool-rebate/{last.start}/{digest}"),
                period=last,
                postings_sha256=digest,
            ),
            document,
        )
        return True

    async def _rebate(self, auction: Auction) -> bool:
        """Give an auction's power rent back before its accounts are stated."""
        name = auction.spec.auction_id
        if auction.rebated or name in self._without_rent:
            return False
        postings = rebates(self._sequencer.state, auction)
        if not postings.transfers:
            self._without_rent.add(name)
            return False
        document = make_document("POSTINGS", codec.encode(postings))
        await self._signer.submit(
            self._sequencer,
            RebateRents(
                header=self._signer.header(f"rebate/{name}"),
                auction_id=name,
                postings_sha256=document.sha256.hex(),
            ),
            document,
        )
        return True

    async def _state_accounts(self, auction: Auction) -> bool:
        """Draw up every statement that is due, and wait for them together.

        Each would wait for a commit of its own; together they share a few. A statement moves
        its own account only, so none of them is another's reason to change.
        """
        state = self._sequencer.state
        drawn = []
        for account, asset in sorted(auction.unstated & state.activity.keys()):
            party_id = party_of(state, account)
            due = due_statement(state, auction, account, asset, party_id)
            if due.statement_id in state.statements:
                continue  # of another auction of the same period: goes into the next one
            document = written("STATEMENT", due, owners=(party_id,))
            digest = document.sha256.hex()
            drawn.append(
                self._signer.submit(
                    self._sequencer,
                    IssueStatement(
                        header=self._signer.header(f"statement/{digest}"),
                        statement_id=due.statement_id,
                        auction_id=auction.spec.auction_id,
                        party_id=party_id,
                        statement_sha256=digest,
                    ),
                    document,
                )
            )
        await asyncio.gather(*drawn)
        return bool(drawn)

    async def _publish_totals(self, auction: Auction) -> bool:
        state = self._sequencer.state
        assert auction.book is not None  # frozen at gate closure; later sites had no part in it
        named = {site.site_id for site in auction.book.sites}
        missing = sorted(named - auction.totals)
        for site_id in missing:
            delivered, surcharge = community_total(state, auction, site_id)
            await self._signer.submit(
                self._sequencer,
                PublishCommunityTotal(
                    header=self._signer.header(f"total/{auction.spec.auction_id}/{site_id}"),
                    auction_id=auction.spec.auction_id,
                    site_id=site_id,
                    community_id=state.sites[site_id].community_id,
                    delivered=delivered,
                    surcharge=surcharge,
                ),
            )
        return bool(missing)


def posted_to(account: str, postings: Postings) -> int:
    """What postings add to the posted balance of an account, micro-USD."""
    return sum(
        transfer.amount * ((transfer.credit == account) - (transfer.debit == account))
        for transfer in postings.transfers
        if transfer.phase in (Phase.POSTED, Phase.POST_PENDING)
    )


def party_of(state: State, account: str) -> str:
    """Participant who owns a stated account."""
    parsed = accounts.parse(account)
    if parsed.kind is AccountKind.COMMUNITY:
        return state.sites[parsed.parts[0]].community_id
    if parsed.kind is AccountKind.OPERATOR_FEE:
        return "operator"
    return parsed.parts[0]


def community_total(state: State, auction: Auction, site_id: str) -> tuple[ChipSeconds, MicroUsd]:
    """Delivered chip-seconds and surcharge earned at a site over an auction's delivery.

    Quantities are those delivered, also where a community asks for no surcharge and nothing
    is posted to it.
    """
    name = auction.spec.auction_id
    account = accounts.community(site_id)
    quantity, amount = 0, 0
    if auction.market_id:
        earned = state.markets[auction.market_id].earned.get(site_id, Earned())
        return earned.delivered, earned.surcharge
    for hour in hours_of(state, auction):
        quantity += delivered_at(hour, state.contracts[hour.contract_id], site_id)
    for start in sorted(auction.settled):
        first = state.postings[f"hour/{name}/{start}"]
        for document in (first, *auction.corrections.get(start, ())):
            for transfer in document.transfers:
                if transfer.code in SURCHARGE_CODES and transfer.phase is not Phase.VOID_PENDING:
                    amount += transfer.amount * (
                        (transfer.credit == account) - (transfer.debit == account)
                    )
    return ChipSeconds(quantity), MicroUsd(amount)
