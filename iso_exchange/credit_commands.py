"""Commands of credits: a market that a lab runs among its teams, over what it is entitled to.

Part of ``iso_exchange.commands``. Amounts are micro-credits, prices micro-credits per chip-hour.
"""

from __future__ import annotations

from dataclasses import dataclass

from clearing.units import Chips, MicroUsdPerChipHour, Seconds, UnixSeconds
from iso_exchange.header import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCredits:
    """A credits book: an entitlement's hours, given to teams in rounds, by bids in credits.

    Attributes:
        first_start: Start of the first round's first interval, on an interval boundary of UTC.
        interval_seconds: Length of an interval, a multiple of 300.
        interval_count: Intervals of a round; the next round begins where it ends.
        gate_lead_s: The gate of a round closes this long before it begins.
        reserve_price: Nothing is given for less.
    """

    header: Header
    book_id: str
    entitlement_id: str
    first_start: UnixSeconds
    interval_seconds: Seconds
    interval_count: int
    gate_lead_s: Seconds
    price_cap: MicroUsdPerChipHour
    tick: MicroUsdPerChipHour
    reserve_price: MicroUsdPerChipHour


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCredits:
    """No round after this; bids end."""

    header: Header
    book_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantCredits:
    """Credits of the signer's for one of its teams, good in all of its books.

    Attributes:
        expiry: What is left of them then goes back to the treasury.
    """

    header: Header
    grant_id: str
    team_id: str
    amount: int
    expiry: UnixSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class BidCredits:
    """A team's standing bid; the same identifier again takes its place.

    Attributes:
        limit_price: Most that a chip-hour may cost; who bids more comes first.
        whole: All chips over all of a round's part of ``[start, end)``, or none.
    """

    header: Header
    bid_id: str
    book_id: str
    start: UnixSeconds
    end: UnixSeconds
    chips: Chips
    limit_price: MicroUsdPerChipHour
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelCreditBid:
    """Withdraw a bid: the next round does not see it."""

    header: Header
    book_id: str
    bid_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCreditRound:
    """The gate of a round: every bid before this entry is in it, as far as its team can pay.

    Attributes:
        bid_count: Bids in its book.
        book_root: Hex RFC 6962 root over the leaf hashes of their entries, in order of log index.
    """

    header: Header
    book_id: str
    start: UnixSeconds
    bid_count: int
    book_root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishCreditRound:
    """Result of a round: who has which chips, paid for in credits.

    Attributes:
        book_sha256: Hex digest of the frozen book.
        outcome_sha256: Hex digest of its verified outcome.
        assignment_sha256: Hex digest of the contracts.
        postings_sha256: Hex digest of the postings in credits.
    """

    header: Header
    book_id: str
    start: UnixSeconds
    book_sha256: str
    outcome_sha256: str
    assignment_sha256: str
    postings_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscloseCreditRound:
    """A round is decided: the bids that its gate saw open to the lab and to auditors.

    Attributes:
        failed: Why there is no result, empty where there is one; nothing was given then.
    """

    header: Header
    book_id: str
    start: UnixSeconds
    failed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireCredits:
    """What was left of a team's expired grants goes back.

    Attributes:
        postings_sha256: Hex digest of the postings.
    """

    header: Header
    organisation: str
    team_id: str
    postings_sha256: str


CreditCommand = (
    OpenCredits
    | CloseCredits
    | GrantCredits
    | BidCredits
    | CancelCreditBid
    | CloseCreditRound
    | PublishCreditRound
    | DiscloseCreditRound
    | ExpireCredits
)
