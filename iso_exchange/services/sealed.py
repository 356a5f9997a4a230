"""What the books say of orders that are still sealed, and must not say to anybody else.

A hold is an order's worst case: who sees it before publication reads the order. Its owner sees
its own accounts whole; an auditor sees the rest only once the auction is published, as it does
with the openings (``iso_exchange.services.disclosure``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from iso_exchange.sequencer.state import State
from iso_exchange.services.disclosure import is_published
from settlement.errors import SettlementError
from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind
from settlement.storage.store import Balance
from settlement.types import Transfer


def is_sealed(state: State, transfer: Transfer) -> bool:
    """Whether a transfer is of an auction whose result is not public yet."""
    return any(not is_published(state, auction_id) for auction_id in _auctions_of(state, transfer))


def sealed_holds(state: State) -> tuple[Transfer, ...]:
    """Open holds of auctions whose result is not public yet."""
    return tuple(hold for hold in state.books.open_holds() if is_sealed(state, hold))


def without_holds(balance: Balance, holds: Iterable[Transfer]) -> Balance:
    """A balance as if some of its open holds had not been taken."""
    mine = [hold for hold in holds if hold.asset == balance.asset]
    return replace(
        balance,
        pending_debit=balance.pending_debit
        - sum(hold.amount for hold in mine if hold.debit == balance.account),
        pending_credit=balance.pending_credit
        - sum(hold.amount for hold in mine if hold.credit == balance.account),
    )


def _auctions_of(state: State, transfer: Transfer) -> set[str]:
    """Auctions that a transfer belongs to, by its clearing accounts and its contract."""
    found = set()
    if transfer.contract_id:
        name, _, rest = transfer.contract_id.partition("/")
        run = f"{name}/{rest.partition('/')[0]}"
        found.add(run if name in state.markets else name)
    for name in (transfer.debit, transfer.credit):
        try:
            account = accounts.parse(name)
        except SettlementError:
            continue
        if account.kind in (AccountKind.POT, AccountKind.COVER):
            found.add(account.parts[0])
    return found
