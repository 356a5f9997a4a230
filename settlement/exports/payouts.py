"""Payouts: what leaves the exchange for the bank, once.

The ledger posts a payout with the statement that states it. ``posted_payouts`` reads these;
``payouts`` works out what is payable now, for accounts that moved after their statement.
Both name a payout by account and period, so the books refuse the second of two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clearing.types import Interval
from clearing.units import MicroUsd, UnixSeconds
from settlement.exports.extract import Movement, SiteFacts, owner_of
from settlement.exports.texts import short_id
from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind
from settlement.ledger.books import Books
from settlement.postings.deposits import payable, payout
from settlement.types import USD, Transfer, TransferCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """A payout that the ledger posted.

    Attributes:
        payment_id: At most 35 characters, the same in every export (``end_to_end_id``).
        party_id: Owner of the account.
        amount: Whole cents, > 0.
        time: When the entry that posted it was accepted.
    """

    payment_id: str
    transfer_id: str
    account: str
    party_id: str
    amount: MicroUsd
    entry_index: int
    time: UnixSeconds


def payouts(books: Books, period: Interval) -> tuple[Transfer, ...]:
    """Transfers that pay out what participants and communities have available.

    Whole cents; the remainder stays in the balance (SETTLEMENT R12). Collateral is never
    paid out, and a participant's cash only as far as its holds allow
    (``settlement.postings.payable``). What the operator earned is paid with its statement.

    Args:
        books: Not changed.
        period: Names the payouts: an account is paid once per period. The identifier is the
            one that the payout of the account's statement of this period has.

    Returns:
        Sorted by account; nothing for an account that was paid for this period already.
    """
    found = []
    for balance in books.balances():
        if balance.asset != USD:
            continue
        parsed = accounts.parse(balance.account)
        guarantee = None
        if parsed.kind is AccountKind.CASH:
            guarantee = books.balance(accounts.collateral(parsed.parts[0]))
        elif parsed.kind is not AccountKind.COMMUNITY:
            continue
        amount = payable(balance, guarantee)
        if not amount:
            continue
        transfer = payout(balance.account, amount, payout_id(balance.account, period))
        if not books.has_seen(transfer.transfer_id):
            found.append(transfer)
    return tuple(found)


def payout_id(account: str, period: Interval) -> str:
    """What identifies a payout: its account and period, as a statement's identifier does."""
    return f"statement/{account}/{USD}/{period.start}-{period.end}"


def posted_payouts(
    movements: Iterable[Movement],
    sites: Mapping[str, SiteFacts],
    period: Interval | None = None,
) -> tuple[Payout, ...]:
    """Payouts that the ledger posted, in its order.

    Args:
        movements: Transfers as applied.
        sites: To name the communities.
        period: Of the entries that posted them; None for all.
    """
    return tuple(
        Payout(
            payment_id=end_to_end_id(item.transfer.transfer_id),
            transfer_id=item.transfer.transfer_id,
            account=item.transfer.debit,
            party_id=owner_of(item.transfer.debit, sites),
            amount=MicroUsd(item.applied),
            entry_index=item.entry_index,
            time=item.time,
        )
        for item in movements
        if item.transfer.code is TransferCode.PAYOUT
        and item.applied
        and (period is None or period.start <= item.time < period.end)
    )


def end_to_end_id(transfer_id: str) -> str:
    """Reference of a payout on bank statements: 34 characters made from its transfer."""
    return short_id("P-", transfer_id)
