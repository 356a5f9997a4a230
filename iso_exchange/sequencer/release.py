"""Release of a book under pseudonyms, some time after its delivery."""

from __future__ import annotations

from typing import Final

from clearing import codec
from clearing.outcome import Outcome
from clearing.types import Book
from clearing.units import UnixSeconds
from iso_exchange.commands import ReleaseBook
from iso_exchange.pseudonyms import names_between, pseudonymised
from iso_exchange.sequencer.effects import Accepted, Meta, document
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import Auction, AuctionState, State

BOOK_LAG_SECONDS: Final = 60 * 86_400
"""From the end of an auction's last interval until its book is released."""

_MICROSECONDS: Final = 1_000_000


def release_time(auction: Auction) -> UnixSeconds:
    """When the book of an auction is due."""
    return UnixSeconds(auction.spec.intervals[-1].end + BOOK_LAG_SECONDS)


def release_book(state: State, command: ReleaseBook, meta: Meta) -> Accepted | Rejected:
    """Everybody may read the book from here on: it is the frozen one but for the names."""
    auction = state.auctions.get(command.auction_id)
    if (
        auction is None
        or auction.book is None
        or auction.outcome is None
        or auction.state not in (AuctionState.PUBLISHED, AuctionState.SETTLED)
        or auction.released
    ):
        return Rejected(
            code=Code.WRONG_STATE,
            field="auction_id",
            advice="a book is released once, after its prices",
            got=command.auction_id,
        )
    due = release_time(auction)
    if meta.time_us < due * _MICROSECONDS:
        return Rejected(
            code=Code.WRONG_STATE,
            field="auction_id",
            advice="the book is not due yet",
            got=str(meta.time_us // _MICROSECONDS),
            limit=str(due),
        )
    book = document(meta, command.book_sha256, Book)
    if isinstance(book, Rejected):
        return book
    outcome = document(meta, command.outcome_sha256, Outcome)
    if isinstance(outcome, Rejected):
        return outcome
    names = names_between(auction.book, book)
    if names is None or pseudonymised(auction.book, auction.outcome, names) != (book, outcome):
        return Rejected(
            code=Code.INVALID_VALUE,
            field="book_sha256",
            advice="the book and outcome must be the auction's own but for the names",
            got=command.book_sha256,
            limit=codec.digest(auction.book),
        )
    kept = {name for name in names if names[name] in names}
    if kept:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="book_sha256",
            advice="every participant and entitlement gets a name that says nothing",
            got=min(kept),
        )
    auction.released = True
    return Accepted()
