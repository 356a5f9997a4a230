"""What anybody can check of a released book: it gave the published prices, and it verifies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from clearing import codec
from clearing.outcome import Outcome
from clearing.types import Book
from clearing.verify import verify
from iso_exchange.audit.report import Record, Step
from iso_exchange.audit.results import EntryContext
from iso_exchange.commands import CloseAuction, Command, PublishPrices, ReleaseBook
from iso_exchange.publication import prices_document


@dataclass(slots=True, kw_only=True)
class ReleasedBooks:
    """Public statements about each auction, kept until its book is released.

    On a public bundle this is all there is of steps BOOKS, CERTIFICATES and RESULTS, whose
    counts then say how many auctions were looked at.
    """

    record: Record
    _counts: dict[str, int] = field(default_factory=dict)
    _prices: dict[str, str] = field(default_factory=dict)

    def take(self, command: Command, entry: EntryContext) -> None:
        """A public entry that the replay of public entries does not apply."""
        if isinstance(command, CloseAuction):
            self._counts[command.auction_id] = command.order_count
        elif isinstance(command, PublishPrices):
            self._prices[command.auction_id] = command.prices_sha256
        elif isinstance(command, ReleaseBook):
            with self.record.guard(Step.BOOKS, entry.place):
                self._release(command, entry)

    def _release(self, command: ReleaseBook, entry: EntryContext) -> None:
        name = command.auction_id
        bodies = [
            entry.documents.get(digest) for digest in (command.book_sha256, command.outcome_sha256)
        ]
        if bodies[0] is None or bodies[1] is None:
            return  # a finding of step DOCUMENTS
        book, outcome = codec.decode(bodies[0], Book), codec.decode(bodies[1], Outcome)
        orders = (book.offers, book.step_bids, book.block_bids, book.work_bids)
        least = sum(len(kind) for kind in orders)
        # An entitlement that nobody nominated counts in full and was no order at gate closure.
        if not least <= self._counts.get(name, -1) <= least + len(book.nominations):
            detail = f"{least} orders, at gate closure {self._counts.get(name)} were counted"
            self.record.fail(Step.BOOKS, entry.place, detail)
        self.record.count(Step.BOOKS, "released books")
        with self.record.guard(Step.CERTIFICATES, entry.place):
            for check in verify(book, outcome).failures:
                detail = f"{name}: {check.name}: {check.detail}"
                self.record.fail(Step.CERTIFICATES, entry.place, detail)
            self.record.count(Step.CERTIFICATES, "outcomes")
        prices = codec.encode(prices_document(book, outcome))
        if hashlib.sha256(prices).hexdigest() != self._prices.get(name):
            detail = f"the published prices of {name} do not follow from the released book"
            self.record.fail(Step.RESULTS, entry.place, detail)
