"""What stays sealed until an auction is published: the rule that API and audit bundles share.

Nobody but its owner reads an order before the prices of its auction are public: no role, the
operator's and the auditors' included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from iso_exchange.commands import (
    CancelOrder,
    Command,
    Nominate,
    PublishResult,
    Recall,
    Release,
    ReturnHours,
    SubmitOrder,
)
from iso_exchange.credit_commands import BidCredits, CancelCreditBid, PublishCreditRound
from iso_exchange.kinds import ENTRY_KINDS

SEALED_KINDS: Final = frozenset(
    ENTRY_KINDS[kind].name
    for kind in (
        SubmitOrder,
        CancelOrder,
        Nominate,
        Release,
        Recall,
        ReturnHours,
        PublishResult,
        BidCredits,
        CancelCreditBid,
        PublishCreditRound,
    )
)
"""Entry kinds that open to others only once the prices of their auction are published."""


def credits_name(book_id: str) -> str:
    """Name of a credits book among auctions; none of them has a slash after its first part."""
    return f"credits/{book_id}"


def sealing_auction(command: Command, auction_of_order: Callable[[str], str]) -> str | None:
    """Auction whose publication opens an entry; None for an entry that is not sealed.

    Args:
        auction_of_order: Auction of an accepted order or release, by its identifier.
    """
    match command:
        case CancelOrder():
            return auction_of_order(command.order_id)
        case Recall():
            return auction_of_order(command.release_id)
        case SubmitOrder() | Nominate() | Release() | PublishResult():
            return command.auction_id
        case ReturnHours():
            return command.market_id
        case BidCredits() | CancelCreditBid() | PublishCreditRound():
            return credits_name(command.book_id)
        case _:
            return None
