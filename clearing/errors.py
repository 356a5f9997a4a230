"""Typed errors of the clearing core.

``BookError`` is the caller's: the book or the auction is not something the engine
clears, and the code says why. ``RefusedResultError`` is ours, and expected of us: the
verifier refused a result, so the auction fails and nothing of it is published.
``InvariantError`` is ours too: a bug, never caught, always logged. Nothing is ever
cleared around an error. ``GapError`` withholds a sound result that is not known to be good enough.
"""

from __future__ import annotations


class InvariantError(AssertionError):
    """A bug: something that cannot happen did. Never caught by product code."""


class BookError(ValueError):
    """A book or auction specification that the engine refuses.

    Attributes:
        code: Stable reason code, ``SCREAMING_SNAKE_CASE``; part of the public interface.
        subject: Identifier of the order, pool, site or auction concerned.
        field: Name of the field concerned, empty when the whole subject is.
        advice: What the caller can do about it, one sentence.
    """

    def __init__(self, code: str, subject: str, field: str, advice: str) -> None:
        """Keep the parts; all of them are ``args``, so that the error survives pickling."""
        super().__init__(code, subject, field, advice)
        self.code = code
        self.subject = subject
        self.field = field
        self.advice = advice

    def __str__(self) -> str:
        """Code, place and advice in one line."""
        place = f"{self.subject}.{self.field}" if self.field else self.subject
        return f"{self.code}: {place}: {self.advice}"


class SolverError(RuntimeError):
    """The solver stopped without a usable answer; the auction ends in FAILED, never half done.

    Attributes:
        status: Why it stopped, as the solver says.
    """

    def __init__(self, status: str) -> None:
        """Keep the status; the message names it."""
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        """One line for the log."""
        return f"solver stopped: {self.status}"


class RefusedResultError(RuntimeError):
    """The verifier refused a result: the auction ends in FAILED and the book can be cleared again.

    Attributes:
        auction_id: Auction of the result.
        checks: (name, detail) of each check that found something, in the verifier's order.
    """

    def __init__(self, auction_id: str, checks: tuple[tuple[str, str], ...]) -> None:
        """Keep the parts; both are ``args``, so that the error survives pickling."""
        super().__init__(auction_id, checks)
        self.auction_id = auction_id
        self.checks = checks

    def __str__(self) -> str:
        """The auction and every finding in one line for the log."""
        findings = "; ".join(f"{name}: {detail}" for name, detail in self.checks)
        return f"the verifier refuses the result of {self.auction_id}: {findings}"


class GapError(RuntimeError):
    """A result was verified, but its certified gap is above the tariff's limit: it is withheld.

    Attributes:
        auction_id: Auction of the result.
        gap_ppb: Certified gap, parts per billion.
        limit_ppm: ``Tariff.withhold_gap_ppm``.
    """

    def __init__(self, auction_id: str, gap_ppb: int, limit_ppm: int) -> None:
        """Keep the parts; all of them are ``args``, so that the error survives pickling."""
        super().__init__(auction_id, gap_ppb, limit_ppm)
        self.auction_id = auction_id
        self.gap_ppb = gap_ppb
        self.limit_ppm = limit_ppm

    def __str__(self) -> str:
        """Both numbers in one line for the log."""
        return (
            f"the result of {self.auction_id} has a certified gap of {self.gap_ppb} parts per "
            f"billion, above {self.limit_ppm} parts per million"
        )


class UnfundedError(RuntimeError):
    """Losses of accepted orders exceed everything that could pay them back.

    It never leaves the engine: the choice that needs them is cut off and made again.

    Attributes:
        missing: Micro-USD that nobody can fund.
    """

    def __init__(self, missing: int) -> None:
        """Keep the amount."""
        super().__init__(missing)
        self.missing = missing

    def __str__(self) -> str:
        """One line for the log."""
        return f"nobody can fund {self.missing} micro-USD of make-whole"
