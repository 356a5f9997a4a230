"""Typed refusals of the settlement core, each with a stable code.

``SettlementError`` is the caller's: something is missing, contradicts the rules, or is
of a kind that is not settled yet and therefore refused by name. A contradiction inside
the core is a bug and raises ``clearing.errors.InvariantError``.
"""

from __future__ import annotations

from enum import Enum


class SettlementErrorCode(Enum):
    """Why settlement refused; part of the public interface."""

    IDENTIFIER_INVALID = "IDENTIFIER_INVALID"
    """Empty, or holds a colon, which separates the parts of account names."""
    ACCOUNT_UNKNOWN = "ACCOUNT_UNKNOWN"
    """The name is not in the chart of accounts."""
    AUCTION_MISMATCH = "AUCTION_MISMATCH"
    """Book and outcome are of different auctions."""
    LINKS_NOT_SETTLED = "LINKS_NOT_SETTLED"
    """The book has links between pools; link flows and rents are not settled yet."""
    NEGATIVE_ENERGY_PRICE_NOT_SETTLED = "NEGATIVE_ENERGY_PRICE_NOT_SETTLED"
    """A supplier would earn a negative price."""
    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    """An award, hold or funding share names an order that is not in the book."""
    PRICE_MISSING = "PRICE_MISSING"
    """No price for a pool and interval that has awards."""
    SPOT_PRICE_MISSING = "SPOT_PRICE_MISSING"
    """No spot price, provisional or not, for a pool and metering interval with a failure."""
    DERATE_UNKNOWN = "DERATE_UNKNOWN"
    """No acceptance derate for a pool."""
    PRECISION_UNKNOWN = "PRECISION_UNKNOWN"
    """No accounting precision for a chip class."""
    SUPPLIER_UNKNOWN = "SUPPLIER_UNKNOWN"
    """No registered supplier for a nominated entitlement."""
    INTERVAL_UNKNOWN = "INTERVAL_UNKNOWN"
    """The interval is not a delivery interval of the auction."""
    READING_MISSING = "READING_MISSING"
    """A contract-hour that must be settled has no delivered hour."""
    READING_MISMATCH = "READING_MISMATCH"
    """A delivered hour is not of this contract-hour, or its parts do not add up."""
    AMOUNT_NOT_POSITIVE = "AMOUNT_NOT_POSITIVE"
    """A deposit or payout of nothing, or of less."""
    PAYOUT_NOT_WHOLE_CENTS = "PAYOUT_NOT_WHOLE_CENTS"
    """Payouts are whole cents (SETTLEMENT R12)."""
    SPOT_MOVE_INVALID = "SPOT_MOVE_INVALID"
    """A move of a spot result contradicts the position that it moves."""
    CORRECTION_TOO_LATE = "CORRECTION_TOO_LATE"
    """Corrections are posted up to 60 days after the hour (SETTLEMENT R9)."""
    POOL_TOO_SMALL = "POOL_TOO_SMALL"
    """A correction takes back what ``pool`` has paid out meanwhile: try again later."""
    STATEMENT_MISMATCH = "STATEMENT_MISMATCH"
    """A transfer given to a statement does not touch its account or asset."""


class SettlementError(ValueError):
    """Something that settlement refuses.

    Attributes:
        code: Stable reason.
        subject: Identifier concerned.
        detail: One sentence for a person. Not stable.
    """

    def __init__(self, code: SettlementErrorCode, subject: str, detail: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code.value}: {subject}: {detail}")
        self.code = code
        self.subject = subject
        self.detail = detail
