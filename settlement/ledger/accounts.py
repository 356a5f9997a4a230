"""Names of the chart of accounts (SETTLEMENT A), both ways.

An account is a name; it exists once something was transferred to or from it. Money and
compute never share a balance, because balances are kept per asset.

The chart's ``p:<id>:held`` is no account of its own: a hold is a pending transfer out
of ``p:<id>:cash``, so what is held is that balance's ``pending_debit``. Collateral is
deposited money; bills and receipts move ``cash``, which may become negative as far as
the collateral carries it (``settlement.ledger.books.available``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from clearing.units import UnixSeconds
from settlement.errors import SettlementError, SettlementErrorCode

POOL: Final = "pool"
"""Stop-loss pool; credited with residuals, never negative."""

OPERATOR_FEE: Final = "operator:fee"
"""What the operator earns, and all of it."""

BANK: Final = "bank"
"""Contra of deposits and payouts."""

TREASURY: Final = "treasury"
"""Of a ``CREDIT:<organisation>`` asset."""


class AccountKind(Enum):
    """Kind of account; the number of its identifiers is fixed."""

    CASH = "CASH"
    COLLATERAL = "COLLATERAL"
    COMPUTE = "COMPUTE"
    POT = "POT"
    COVER = "COVER"
    RENT = "RENT"
    LINK = "LINK"
    POOL = "POOL"
    COMMUNITY = "COMMUNITY"
    OPERATOR_FEE = "OPERATOR_FEE"
    DISPUTE = "DISPUTE"
    BANK = "BANK"
    TREASURY = "TREASURY"
    TEAM = "TEAM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A parsed account name.

    Attributes:
        parts: Identifiers in the order of the naming function's arguments; interval starts
            as decimal text.
    """

    kind: AccountKind
    parts: tuple[str, ...]


def cash(participant_id: str) -> str:
    """Bills and receipts of a participant; may be negative within its collateral.

    Example:
        >>> cash("lab-1")
        'p:lab-1:cash'
    """
    return f"p:{_identifier(participant_id)}:cash"


def collateral(participant_id: str) -> str:
    """Deposits of a participant."""
    return f"p:{_identifier(participant_id)}:collateral"


def compute(participant_id: str) -> str:
    """Compute delivered by (negative) or to (positive) a participant, in TFLOP assets."""
    return f"p:{_identifier(participant_id)}:compute"


def pot(auction_id: str, interval_start: UnixSeconds) -> str:
    """Clearing account of one auction and delivery interval; zero once settled."""
    return f"pot:{_identifier(auction_id)}:{interval_start}"


def order_pot(auction_id: str) -> str:
    """Credit side of acceptance holds, which are never posted: the pot of no interval."""
    return pot(auction_id, UnixSeconds(0))


def cover(auction_id: str, pool_id: str, interval_start: UnixSeconds) -> str:
    """Cover money of one pool and delivery interval; zero once settled."""
    return f"cover:{_identifier(auction_id)}:{_identifier(pool_id)}:{interval_start}"


def rent(site_id: str) -> str:
    """Scarcity rent of a site's power."""
    return f"rent:{_identifier(site_id)}"


def link(link_id: str) -> str:
    """Price spread earned by a link."""
    return f"link:{_identifier(link_id)}"


def community(site_id: str) -> str:
    """Surcharge of a site on delivered chip-seconds."""
    return f"community:{_identifier(site_id)}"


def dispute(contract_id: str) -> str:
    """Amount frozen while a contract is disputed."""
    return f"dispute:{_identifier(contract_id)}"


def team(team_id: str) -> str:
    """A team's balance in a ``CREDIT:<organisation>`` asset."""
    return f"team:{_identifier(team_id)}"


def is_pot(account: str) -> bool:
    """Whether the account must be empty once its interval is settled (pots and covers)."""
    return account.startswith(("pot:", "cover:"))


def parse(account: str) -> Account:
    """Read an account name back.

    Raises:
        SettlementError: ``ACCOUNT_UNKNOWN``.

    Example:
        >>> parse("pot:da-1:3600").parts
        ('da-1', '3600')
    """
    head, *rest = account.split(":")
    parts: tuple[str, ...]
    fixed = _FIXED.get(account)
    if fixed is not None:
        return Account(kind=fixed, parts=())
    if head == "p" and len(rest) == _OF_PARTICIPANT and rest[1] in _PARTICIPANT:
        kind, parts = _PARTICIPANT[rest[1]], (rest[0],)
    elif head in _NAMED and len(rest) == _NAMED[head][1]:
        kind, parts = _NAMED[head][0], tuple(rest)
    else:
        raise SettlementError(SettlementErrorCode.ACCOUNT_UNKNOWN, account, "no such account")
    starts = parts[-1:] if kind in {AccountKind.POT, AccountKind.COVER} else ()
    if not all(parts) or not all(_is_start(start) for start in starts):
        raise SettlementError(SettlementErrorCode.ACCOUNT_UNKNOWN, account, "malformed name")
    return Account(kind=kind, parts=parts)


_OF_PARTICIPANT: Final = 2

_FIXED: Final = {
    POOL: AccountKind.POOL,
    OPERATOR_FEE: AccountKind.OPERATOR_FEE,
    BANK: AccountKind.BANK,
    TREASURY: AccountKind.TREASURY,
}

_PARTICIPANT: Final = {
    "cash": AccountKind.CASH,
    "collateral": AccountKind.COLLATERAL,
    "compute": AccountKind.COMPUTE,
}

_NAMED: Final = {
    "pot": (AccountKind.POT, 2),
    "cover": (AccountKind.COVER, 3),
    "rent": (AccountKind.RENT, 1),
    "link": (AccountKind.LINK, 1),
    "community": (AccountKind.COMMUNITY, 1),
    "dispute": (AccountKind.DISPUTE, 1),
    "team": (AccountKind.TEAM, 1),
}


def _identifier(value: str) -> str:
    if not value or ":" in value:
        raise SettlementError(
            SettlementErrorCode.IDENTIFIER_INVALID,
            value,
            "an identifier in an account name must not be empty or hold a colon",
        )
    return value


def _is_start(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text
