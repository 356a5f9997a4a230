"""What the state keeps of credits: books of labs, their rounds, and what teams were given."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from clearing.types import Book, Interval
from clearing.units import UnixSeconds
from iso_exchange.credit_commands import BidCredits, OpenCredits
from settlement.assignment import Assignment
from settlement.credits import CreditGrant


class RoundState(Enum):
    """Life of a round."""

    CLOSED = "CLOSED"
    CLEARED = "CLEARED"
    PUBLISHED = "PUBLISHED"
    FAILED = "FAILED"


@dataclass(slots=True, kw_only=True)
class TeamCredits:
    """What a team was given and has not lost yet.

    Attributes:
        grants: Not expired, in order of acceptance.
        spent: Micro-credits of them that are spent, >= 0; the earliest expiry goes first.
    """

    grants: list[CreditGrant] = field(default_factory=list)
    spent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditBid:
    """A standing bid, with its log entry."""

    submitted: BidCredits
    entry_index: int
    leaf_hash: bytes

    @property
    def team_id(self) -> str:
        """Who bids."""
        return self.submitted.header.signer_id


@dataclass(slots=True, kw_only=True)
class CreditRound:
    """One round of a book.

    Attributes:
        reserved: Micro-credits that a team's bids may cost, until the result.
        short: Chips that a bid asks for and its team cannot pay, by bid; they are not in it.
        gate_index: Log index of its gate.
    """

    start: int
    state: RoundState
    book: Book
    bid_count: int
    book_root: str
    reserved: dict[str, int]
    short: dict[str, int]
    gate_index: int
    assignment: Assignment | None = None
    failed: str = ""

    @property
    def is_decided(self) -> bool:
        """Whether everything about it is in the log."""
        return self.state in (RoundState.PUBLISHED, RoundState.FAILED)


@dataclass(slots=True, kw_only=True)
class CreditBook:
    """A lab's market among its teams.

    Attributes:
        bids: Standing bids by identifier, in order of first acceptance.
        rounds: By start; only those with bids have one.
        last_start: Of the last closed round, 0 before the first.
        disclosed: Log index of the gate of the last decided round: bids before it are open.
        closed: Why there is no round any more; empty while there may be one.
    """

    opened: OpenCredits
    organisation: str
    pool_id: str
    period: Interval
    bids: dict[str, CreditBid] = field(default_factory=dict)
    rounds: dict[int, CreditRound] = field(default_factory=dict)
    last_start: int = 0
    disclosed: int = 0
    closed: str = ""

    @property
    def length(self) -> int:
        """Seconds of a round."""
        return self.opened.interval_seconds * self.opened.interval_count

    def round_id(self, start: int) -> str:
        """Identifier of a round, as an auction's."""
        return f"credits/{self.opened.book_id}/{start}"

    def gate(self, start: int) -> int:
        """First moment at which no bid enters the round that begins at ``start``."""
        return start - self.opened.gate_lead_s

    def next_start(self, now: int) -> int | None:
        """Start of the next round that has not begun and that somebody bids in, None for none."""
        if self.closed or not self.bids:
            return None
        first, length = self.opened.first_start, self.length
        soonest = max(first, self.last_start + length if self.last_start else first)
        if soonest <= now:
            soonest = first + ((now - first) // length + 1) * length
        wanted = [
            max(soonest, first + (bid.submitted.start - first) // length * length)
            for bid in self.bids.values()
            if bid.submitted.end > soonest
        ]
        start = min(wanted, default=None)
        return start if start is not None and start < self.period.end else None

    def intervals(self, start: int) -> tuple[Interval, ...]:
        """Intervals of the round that begins at ``start``: inside the entitlement."""
        seconds = self.opened.interval_seconds
        return tuple(
            Interval(start=UnixSeconds(begin), end=UnixSeconds(begin + seconds))
            for begin in range(start, start + self.length, seconds)
            if begin + seconds <= self.period.end
        )
