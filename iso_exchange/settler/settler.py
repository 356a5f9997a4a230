"""The settler's loop: settle what has been delivered, then state it.

Like the auctioneer it keeps nothing of its own: intervals without postings, accounts
without a statement and sites without a published total follow from the state.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from clearing import codec
from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsd
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.commands import IssueStatement, PublishCommunityTotal, SettleHour
from iso_exchange.observability import metrics
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.sequencer.deliveries import batches_of, due_statement
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.state import Auction, AuctionState, State
from iso_exchange.settler.interval import readings_complete, settle_interval
from iso_exchange.signer import IDLE_SECONDS, ServiceSigner, make_document
from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind
from settlement.metering.billable import METERING_INTERVAL_S
from settlement.types import TransferCode

READINGS_CLOSE_SECONDS: Final = 900
"""Readings of an interval are awaited this long after its end; then a missing one is a gap."""

log = structlog.get_logger("settler")


class Settler:
    """Settles auctions whose prices are published."""

    def __init__(
        self, *, sequencer: Sequencer, secrets: ExchangeSecrets, clock: Clock, origin: str
    ) -> None:
        """Wire the parts."""
        self._sequencer = sequencer
        self._clock = clock
        self._signer = ServiceSigner(key=secrets.service_key, origin=origin, clock=clock)

    async def run(self) -> None:
        """Step for ever."""
        while True:
            if not await self.step():
                await self._clock.wait(IDLE_SECONDS)

    async def step(self) -> bool:
        """Do the next step of every auction; True when anything was done."""
        done = False
        for auction in list(self._sequencer.state.auctions.values()):
            if auction.state is AuctionState.PUBLISHED:
                done = await self._settle_next(auction) or done
            elif auction.state is AuctionState.SETTLED:
                done = await self._state_accounts(auction) or done
                done = await self._publish_totals(auction) or done
        return done

    async def _settle_next(self, auction: Auction) -> bool:
        interval = next(
            (item for item in auction.spec.intervals if item.start not in auction.settled), None
        )
        if interval is None or not self._due(auction, interval):
            return False
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
            pool_balance=state.books.balance(accounts.POOL).posted,
            earlier=tuple(
                item
                for start in auction.settled
                for item in state.delivered[(auction.spec.auction_id, start)]
            ),
        )
        delivered = make_document("DELIVERED", codec.encode(settled.delivered))
        postings = make_document("POSTINGS", codec.encode(settled.postings))
        name = auction.spec.auction_id
        await self._signer.submit(
            self._sequencer,
            SettleHour(
                header=self._signer.header(f"settle/{name}/{interval.start}"),
                auction_id=name,
                interval=interval,
                postings_sha256=postings.sha256.hex(),
                delivered_sha256=delivered.sha256.hex(),
                batch_count=len(batches),
            ),
            delivered,
            postings,
        )
        metrics.settled_hours.inc()
        return True

    def _due(self, auction: Auction, interval: Interval) -> bool:
        now = self._clock.now_us() // MICROSECONDS
        if now < interval.end:
            return False
        if now >= interval.end + READINGS_CLOSE_SECONDS:
            return True
        assert auction.assignment is not None
        return readings_complete(
            auction.assignment, interval, self._sequencer.state.batches, METERING_INTERVAL_S
        )

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
            document = make_document("STATEMENT", codec.encode(due), owners=(party_id,))
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
    assert auction.assignment is not None  # a settled auction has its contracts
    name = auction.spec.auction_id
    account = accounts.community(site_id)
    here = {item.contract_id for item in auction.assignment.contracts if item.site_id == site_id}
    quantity, amount = 0, 0
    for start in sorted(auction.settled):
        quantity += sum(
            item.delivered for item in state.delivered[(name, start)] if item.contract_id in here
        )
        for transfer in state.postings[f"hour/{name}/{start}"].transfers:
            if transfer.code is TransferCode.SURCHARGE and transfer.credit == account:
                amount += transfer.amount
    return ChipSeconds(quantity), MicroUsd(amount)
