"""Audit of auctions: book, certificate, contracts, prices and notices are recomputed.

Every check looks at the state before the entry is applied to it, as the exchange's
services did when they drew the entry up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from clearing import codec
from clearing.outcome import Outcome
from clearing.verify import verify
from iso_exchange.audit.report import Record, Step
from iso_exchange.commands import (
    CancelAllOrders,
    CancelOrder,
    CloseAuction,
    CloseRun,
    Command,
    CreateAuction,
    Nominate,
    NotifyAward,
    PublishPrices,
    PublishResult,
    Recall,
    Release,
    ReturnHours,
    SubmitOrder,
)
from iso_exchange.publication import PricesDocument, award_notice, prices_document
from iso_exchange.sequencer.grants import payers_of
from iso_exchange.sequencer.spot import renewal_of
from iso_exchange.sequencer.spot_assignment import Terms, assigned, assigned_in_run
from iso_exchange.sequencer.spot_binding import Stops
from iso_exchange.sequencer.spot_market import (
    BOUND_PREFIX,
    RELEASE_PREFIX,
    RETURN_PREFIX,
    is_later,
)
from iso_exchange.sequencer.state import Auction, BookOrder, State, find_auction, intervals_of
from settlement.ledger import proofs
from settlement.ledger.merkle import Frontier
from settlement.postings.award import award_postings

PPB_PER_PPM = 1_000


@dataclass(slots=True)
class EntryContext:
    """The entry that is being looked at; nobody changes it.

    Attributes:
        documents: Bodies of the documents it names that are in the bundle, by hex digest.
    """

    index: int
    leaf_hash: bytes
    documents: Mapping[str, bytes]

    @property
    def place(self) -> str:
        """How a finding names it."""
        return f"entry {self.index}"


@dataclass(slots=True, kw_only=True)
class ResultAudit:
    """What the audit keeps of auctions besides the replayed state.

    Attributes:
        auctions: Outcomes checked.
        largest_gap_ppb: Largest certified gap of them.
    """

    record: Record
    auctions: int = 0
    largest_gap_ppb: int = 0
    # Leaves of the orders that stand, kept from the commands alone.
    _orders: dict[str, tuple[str, str, int, bytes]] = field(default_factory=dict)
    _nominations: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)
    _releases: dict[str, tuple[str, str]] = field(default_factory=dict)
    _returns: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)
    _commitments: dict[str, str] = field(default_factory=dict)
    _frozen: dict[str, tuple[int, str]] = field(default_factory=dict)

    def before(self, state: State, command: Command, entry: EntryContext) -> None:
        """Check what an entry says against the state that it is about to change."""
        if isinstance(command, CloseAuction):
            with self.record.guard(Step.BOOKS, entry.place):
                self._close(command, entry)
        elif isinstance(command, PublishResult):
            auction = find_auction(state, command.auction_id)
            if auction is not None and auction.book is not None:
                self._result(state, auction, command, entry)
        elif isinstance(command, PublishPrices):
            auction = find_auction(state, command.auction_id)
            with self.record.guard(Step.RESULTS, entry.place):
                self._prices(auction, command, entry)
        elif isinstance(command, NotifyAward):
            auction = find_auction(state, command.auction_id)
            with self.record.guard(Step.RESULTS, entry.place):
                self._notice(auction, command, entry)

    def after(self, state: State, command: Command, entry: EntryContext) -> None:
        """Remember an accepted order command, and what the gate of a run froze."""
        if isinstance(command, CloseRun):
            self._freeze(state, command, entry)
        elif isinstance(command, SubmitOrder):
            self._orders[command.order_id] = (
                command.auction_id,
                command.participant_id,
                entry.index,
                entry.leaf_hash,
            )
        elif isinstance(command, CancelOrder):
            self._orders.pop(command.order_id, None)
        elif isinstance(command, CancelAllOrders):
            gone = [
                order_id
                for order_id, (_, participant_id, _, _) in self._orders.items()
                if participant_id == command.participant_id
            ]
            for order_id in gone:
                del self._orders[order_id]
        elif isinstance(command, Nominate):
            key = (command.auction_id, command.entitlement_id)
            self._nominations[key] = (entry.index, entry.leaf_hash)
        elif isinstance(command, Release):
            key = (command.auction_id, command.entitlement_id)
            self._releases[command.release_id] = key
            self._nominations[key] = (entry.index, entry.leaf_hash)
        elif isinstance(command, Recall):
            self._nominations[self._releases[command.release_id]] = (entry.index, entry.leaf_hash)
        elif isinstance(command, ReturnHours):
            self._returns[command.market_id, command.return_id] = (entry.index, entry.leaf_hash)

    def _freeze(self, state: State, command: CloseRun, entry: EntryContext) -> None:
        """Root over the leaves, as the log has them, of what is in a run's book."""
        name = f"{command.market_id}/{command.start}"
        book = state.runs[name].book
        assert book is not None  # frozen by the entry
        leaves: list[tuple[int, bytes]] = []
        with self.record.guard(Step.BOOKS, entry.place):
            orders: tuple[BookOrder, ...] = (*book.offers, *book.step_bids, *book.block_bids)
            leaves.extend(
                self._orders[order.order_id][2:]
                for order in orders
                if not order.order_id.startswith((RELEASE_PREFIX, RETURN_PREFIX, BOUND_PREFIX))
                and not is_later(order.order_id)
            )
            leaves.extend(
                self._returns[command.market_id, offer.order_id.removeprefix(RETURN_PREFIX)]
                for offer in book.offers
                if offer.order_id.startswith(RETURN_PREFIX)
            )
            for nomination in book.nominations:
                key = (command.market_id, nomination.entitlement_id)
                if key in self._nominations:
                    leaves.append(self._nominations[key])
        leaves.sort()
        root = Frontier().extend(leaf for _, leaf in leaves).root().hex()
        self._frozen[name] = len(leaves), root

    def _close(self, command: CloseAuction, entry: EntryContext) -> None:
        name = command.auction_id
        frozen = self._frozen.pop(name, None)
        if frozen is not None:
            if (command.order_count, command.book_root) != frozen:
                detail = f"the run froze {frozen[0]} orders with root {frozen[1]}"
                self.record.fail(Step.BOOKS, entry.place, detail)
            self._commitments[name] = command.book_commitment
            self.record.count(Step.BOOKS, "book roots")
            return
        leaves = [
            (index, leaf) for auction, _, index, leaf in self._orders.values() if auction == name
        ]
        leaves.extend(leaf for (auction, _), leaf in self._nominations.items() if auction == name)
        leaves.sort()
        root = Frontier().extend(leaf for _, leaf in leaves).root().hex()
        if (command.order_count, command.book_root) != (len(leaves), root):
            detail = f"the log has {len(leaves)} orders with root {root}"
            self.record.fail(Step.BOOKS, entry.place, detail)
        # None of them can change any more: keep those of open auctions only.
        self._orders = {key: order for key, order in self._orders.items() if order[0] != name}
        self._commitments[name] = command.book_commitment
        self.record.count(Step.BOOKS, "book roots")

    def _result(
        self, state: State, auction: Auction, command: PublishResult, entry: EntryContext
    ) -> None:
        book = entry.documents.get(command.book_sha256, b"")
        with self.record.guard(Step.BOOKS, entry.place):
            if book != codec.encode(auction.book):
                self.record.fail(Step.BOOKS, entry.place, "the book is not that of the log")
            salt = bytes.fromhex(command.book_salt)
            if proofs.commit(salt, book).hex() != self._commitments.pop(command.auction_id, ""):
                detail = "the book is not the one committed to at gate closure"
                self.record.fail(Step.BOOKS, entry.place, detail)
        with self.record.guard(Step.CERTIFICATES, entry.place):
            body = entry.documents.get(command.outcome_sha256, b"")
            outcome = codec.decode(body, Outcome)
            if command.renewed:
                self._renewal(state, auction, outcome, entry)
            else:
                self._certificate(auction, outcome, entry)
            with self.record.guard(Step.CONTRACTS, entry.place):
                self._contracts(state, auction, outcome, command, entry)

    def _certificate(self, auction: Auction, outcome: Outcome, entry: EntryContext) -> None:
        assert auction.book is not None  # looked at by the caller
        report = verify(auction.book, outcome)
        for check in report.failures:
            detail = f"{outcome.auction_id}: {check.name}: {check.detail}"
            self.record.fail(Step.CERTIFICATES, entry.place, detail)
        gap = outcome.certificate.gap_ppb
        limit = auction.spec.tariff.withhold_gap_ppm * PPB_PER_PPM
        if gap > limit:
            detail = f"{outcome.auction_id}: gap {gap} ppb is above the tariff's {limit} ppb"
            self.record.fail(Step.CERTIFICATES, entry.place, detail)
        self.auctions += 1
        self.largest_gap_ppb = max(self.largest_gap_ppb, gap)
        self.record.count(Step.CERTIFICATES, "outcomes")

    def _renewal(self, state: State, run: Auction, outcome: Outcome, entry: EntryContext) -> None:
        """A run that was not cleared has no certificate: what it renews is recomputed."""
        if not run.market_id or renewal_of(state, run, outcome.seed) != outcome:
            detail = f"{outcome.auction_id} does not renew what the run before advised"
            self.record.fail(Step.CERTIFICATES, entry.place, detail)
        seed = hashlib.sha256(bytes.fromhex(outcome.seed)).hexdigest()
        if seed != run.spec.seed_commitment:
            detail = f"the tie seed of {outcome.auction_id} is not the one committed to"
            self.record.fail(Step.CERTIFICATES, entry.place, detail)
        self.record.count(Step.CERTIFICATES, "outcomes")

    def _contracts(
        self,
        state: State,
        auction: Auction,
        outcome: Outcome,
        command: PublishResult,
        entry: EntryContext,
    ) -> None:
        assert auction.book is not None
        terms = Terms(
            derates={name: record.derate_ppm for name, record in state.pools.items()},
            precisions={
                record.pool.chip_class: record.precision for record in state.pools.values()
            },
            nomination_suppliers={
                name: entitlement.supplier_id for name, entitlement in state.entitlements.items()
            },
            payers=payers_of(state),
        )
        stops: Stops | None = None
        if auction.gate is None:
            assignment = assigned(auction.book, outcome, terms)
        else:
            assignment, stops = assigned_in_run(auction.book, outcome, auction.gate, terms)
        holds = {
            order_id: hold
            for order_id in auction.order_ids
            if (hold := state.orders[order_id].hold) is not None
        }
        expected: list[tuple[object, str, str]] = [
            (assignment, command.assignment_sha256, "contracts"),
            (award_postings(assignment, holds), command.postings_sha256, "award postings"),
        ]
        if stops is not None:
            expected.append((stops, command.stops_sha256, "stops"))
        for value, digest, what in expected:
            if hashlib.sha256(codec.encode(value)).hexdigest() != digest:
                detail = f"{what} of {command.auction_id} do not follow from the outcome"
                self.record.fail(Step.CONTRACTS, entry.place, detail)
        self.record.count(Step.CONTRACTS, "contracts", len(assignment.contracts))

    def _prices(self, auction: Auction | None, command: PublishPrices, entry: EntryContext) -> None:
        if auction is None or auction.book is None or auction.outcome is None:
            return  # refused on replay
        document = prices_document(auction.book, auction.outcome, provisional=auction.renewed)
        if hashlib.sha256(codec.encode(document)).hexdigest() != command.prices_sha256:
            detail = f"the prices of {command.auction_id} do not follow from book and outcome"
            self.record.fail(Step.RESULTS, entry.place, detail)
        if command.certified_gap_ppb != auction.outcome.certificate.gap_ppb:
            detail = f"the gap of {command.auction_id} is not that of its certificate"
            self.record.fail(Step.RESULTS, entry.place, detail)
        self.record.count(Step.RESULTS, "documents")

    def _notice(self, auction: Auction | None, command: NotifyAward, entry: EntryContext) -> None:
        if auction is None or auction.outcome is None or auction.assignment is None:
            return  # refused on replay
        notice = award_notice(auction.outcome, auction.assignment, command.participant_id)
        if hashlib.sha256(codec.encode(notice)).hexdigest() != command.notice_sha256:
            detail = f"the notice to {command.participant_id} is not its result"
            self.record.fail(Step.RESULTS, entry.place, detail)
        self.record.count(Step.RESULTS, "documents")


def check_public_prices(
    record: Record, created: CreateAuction, command: PublishPrices, entry: EntryContext
) -> None:
    """What anybody can check of published prices: intervals, and the tie seed's commitment."""
    body = entry.documents.get(command.prices_sha256)
    if body is None:
        return  # a finding of step DOCUMENTS
    with record.guard(Step.RESULTS, entry.place):
        prices = codec.decode(body, PricesDocument)
        if (prices.auction_id, prices.intervals) != (created.auction_id, intervals_of(created)):
            detail = f"the prices are not of the intervals of {created.auction_id}"
            record.fail(Step.RESULTS, entry.place, detail)
        seed = hashlib.sha256(bytes.fromhex(prices.tie_seed)).hexdigest()
        if seed != created.seed_commitment:
            detail = f"the tie seed of {created.auction_id} is not the one committed to"
            record.fail(Step.RESULTS, entry.place, detail)
        record.count(Step.RESULTS, "documents")


def reveal(state: State, run: Auction, command: PublishPrices, entry: EntryContext) -> None:
    """Where only public entries are read: the next run of the market commits to this seed."""
    market = state.markets.get(run.market_id)
    body = entry.documents.get(command.prices_sha256)
    if market is None or body is None:
        return
    market.revealed = codec.decode(body, PricesDocument).tie_seed
    market.revealed_count += 1
    start = run.spec.intervals[0].start
    market.run_ids.pop(start, None)
    state.runs.pop(command.auction_id, None)
