"""Typed refusals of the exports, each with a stable code."""

from __future__ import annotations

from enum import Enum


class ExportErrorCode(Enum):
    """Why an export was refused; part of the public interface."""

    AMOUNT_TOO_LARGE = "AMOUNT_TOO_LARGE"
    """An amount does not fit the columns of a format."""
    BANK_DETAILS_INVALID = "BANK_DETAILS_INVALID"
    """A row of the bank table cannot be used in a payment file."""
    BANK_DETAILS_MISSING = "BANK_DETAILS_MISSING"
    """A payout goes to a party that the bank table does not list."""
    HISTORY_INCOMPLETE = "HISTORY_INCOMPLETE"
    """A transfer resolves a hold, or a line names a contract, that the extract does not hold."""
    NOTHING_TO_PAY = "NOTHING_TO_PAY"
    """There is no payout in the period; a payment file without payments is not valid."""
    PARTY_UNKNOWN = "PARTY_UNKNOWN"
    """No such participant, or an account that belongs to nobody."""
    PERIOD_OPEN = "PERIOD_OPEN"
    """The ledger goes on in the period: a payment file made later would repeat its payouts."""
    SITE_UNKNOWN = "SITE_UNKNOWN"
    """No such site."""


class ExportError(ValueError):
    """Something that an export refuses.

    Attributes:
        code: Stable reason.
        subject: Identifier concerned.
        detail: One sentence for a person. Not stable.
    """

    def __init__(self, code: ExportErrorCode, subject: str, detail: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{subject}: {detail}")
        self.code = code
        self.subject = subject
        self.detail = detail
