"""When an auditor may see what a participant sealed.

Orders, cancellations and nominations of an auction open to auditors once its prices are
published (or it is settled); everything else that is confidential is a fact of the past from
the moment it is logged. An order of a participant's own stays its own until then: no role,
the operator's included, sees it.
"""

from __future__ import annotations

from typing import Final

from clearing.errors import InvariantError
from iso_exchange.authority import command_of
from iso_exchange.credit_commands import PublishCreditRound
from iso_exchange.disclosure import SEALED_KINDS, credits_name, sealing_auction
from iso_exchange.sequencer.credit_state import RoundState
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.spot_market import MarketState
from iso_exchange.sequencer.state import AuctionState, State, find_auction
from settlement.storage.store import Entry

_PUBLISHED: Final = (AuctionState.PUBLISHED, AuctionState.SETTLED)


def is_published(state: State, auction_id: str) -> bool:
    """Whether the prices of an auction, or of a run of a spot market, are public."""
    auction = find_auction(state, auction_id)
    if auction is not None:
        return auction.state in _PUBLISHED
    market_id, _, start = auction_id.rpartition("/")
    market = state.markets.get(market_id)
    if market is None or not start.isdecimal():
        return False
    record = market.runs.get(int(start))
    return record is not None and AuctionState(record.state) in _PUBLISHED


def _auction_of(state: State, name: str) -> str:
    """Auction or market of an order or a release."""
    order = state.orders.get(name)
    return state.releases[name].market_id if order is None else order.submitted.auction_id


def is_disclosed(state: State, entry: Entry) -> bool:
    """Whether auditors may see the opening of a confidential entry."""
    if entry.kind not in SEALED_KINDS:
        return True
    command = command_of(entry.envelope)
    if isinstance(command, Rejected):
        message = f"entry {entry.index} no longer decodes: {command}"
        raise InvariantError(message)
    auction_id = sealing_auction(command, lambda name: _auction_of(state, name))
    market = state.markets.get(auction_id) if auction_id else None
    if market is not None:
        return entry.index < market.disclosed or market.state is MarketState.CLOSED
    if auction_id is not None and auction_id.startswith(credits_name("")):
        book = state.credit_books[auction_id.removeprefix(credits_name(""))]
        if isinstance(command, PublishCreditRound):
            decided = book.rounds.get(command.start)
            return decided is None or decided.state is RoundState.PUBLISHED
        return entry.index < book.disclosed or bool(book.closed)
    return auction_id is None or is_published(state, auction_id)
