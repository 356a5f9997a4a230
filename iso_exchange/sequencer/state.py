"""State of the exchange, as the log says it is: registry, auctions, orders, deliveries, books.

Only the handlers of ``iso_exchange.sequencer`` change it, and only while the machine
applies a command. Everything else reads.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from clearing import codec
from clearing.outcome import Outcome
from clearing.session import Session
from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Interval,
    Nomination,
    Offer,
    Pool,
    Segment,
    Site,
    StepBid,
    WorkBid,
)
from clearing.units import ChipSeconds, MicroUsd, Ppm, UnixSeconds
from clearing.validation.desk import Desk
from iso_exchange.commands import (
    CreateAuction,
    Notice,
    RegisterEntitlement,
    ReportOutage,
    Role,
    SubmitOrder,
)
from iso_exchange.money_commands import (
    DecideDispute,
    DisputeHour,
    RegisterGrant,
)
from iso_exchange.sequencer.allocation import MarketAllocation
from iso_exchange.sequencer.credit_state import CreditBook, TeamCredits
from iso_exchange.sequencer.dispatch_state import Dispatch
from iso_exchange.sequencer.late_outcome import LateOutcome
from iso_exchange.sequencer.spot_binding import Gate
from iso_exchange.sequencer.spot_market import SpotMarket
from settlement.assignment import Assignment
from settlement.ledger.books import Books
from settlement.metering.chip_table import ChipTable
from settlement.spot.result import SpotResult
from settlement.storage.store import AppliedTransfer
from settlement.types import Contract, DeliveredHour, MeterBatch, Postings, Statement, Transfer

BookOrder = Offer | StepBid | BlockBid | WorkBid

Members = dict[tuple[str, str], dict[str, None]]
"""Order identifiers, in order of arrival, by participant and what its orders name."""


@dataclass(slots=True, kw_only=True)
class Participant:
    """A registered party, meter or service.

    Attributes:
        keys: Key id (hex SHA-256 of the raw key) to raw key; revoked keys move to ``revoked``.
    """

    participant_id: str
    display_name: str
    roles: frozenset[Role]
    keys: dict[str, bytes]
    revoked: dict[str, bytes] = field(default_factory=dict)
    country: str = ""
    suspended: str = ""
    """Reason of the suspension, empty when not suspended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRecord:
    """A site as the market sees it, and its community."""

    site: Site
    community_id: str
    subdivision: str
    carbon_grams_per_kwh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecord:
    """A pool as the market sees it, and how its deliveries are accounted."""

    pool: Pool
    supplier_ids: frozenset[str]
    derate_ppm: Ppm
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """The meter of one pool."""

    meter_id: str
    pool_id: str


class AuctionState(Enum):
    """Life of an auction."""

    OPEN = "OPEN"
    HALTED = "HALTED"
    CLOSED = "CLOSED"
    FAILED = "FAILED"
    CLEARED = "CLEARED"
    PUBLISHED = "PUBLISHED"
    SETTLED = "SETTLED"


@dataclass(slots=True, kw_only=True)
class Ties:
    """Open block bids of one auction by what they name.

    Attributes:
        children: By parent.
        groups: By exclusive group.
        stays: By the pool in which they claim to run already.
    """

    children: Members = field(default_factory=dict)
    groups: Members = field(default_factory=dict)
    stays: Members = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledWith:
    """What an interval was settled with, so that a correction is worked out at original prices."""

    pool_balance: int
    table_version: str


@dataclass(slots=True, kw_only=True)
class Dispute:
    """A contested contract-hour.

    Attributes:
        payer_id: Whose money is frozen.
        frozen: Micro-USD in ``dispute:<contract>`` while it is open.
    """

    opened: DisputeHour
    auction_id: str
    payer_id: str
    frozen: MicroUsd
    decision: DecideDispute | None = None


@dataclass(slots=True, kw_only=True)
class Auction:
    """One auction and everything that came of it.

    Attributes:
        pool_ids: Its grid, by order of registration: the pools that were registered when it
            was created, so that a later one cannot make an accepted order unclearable.
        offered: Chips per pool and interval of open offers; after the result, what was sold.
        bought: Chips that bids were awarded, per (buyer, pool) and interval.
        ties: What ties its open block bids together.
        book: Frozen at gate closure.
        settled: Starts of settled intervals.
        notified: Participants that got their award notice.
        statements: Statement ids issued.
        unstated: (account, asset) that had moved when its last interval was settled and whose
            statement is still to come.
        totals: Sites whose community total is published.
    """

    created: CreateAuction
    spec: AuctionSpec
    state: AuctionState
    pool_ids: tuple[str, ...] = ()
    order_ids: list[str] = field(default_factory=list)
    open_counts: Counter[str] = field(default_factory=Counter)
    """Open orders by participant, until gate closure."""
    nomination_ids: list[str] = field(default_factory=list)
    nominated: dict[str, str] = field(default_factory=dict)
    """Entitlement by nomination id, which shares the book's identifiers with the orders."""
    offered: dict[str, list[int]] = field(default_factory=dict)
    bought: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    ties: Ties = field(default_factory=Ties)
    book: Book | None = None
    result: LateOutcome | None = None
    """Its outcome, read when somebody asks for it."""
    assignment: Assignment | None = None
    failures: list[str] = field(default_factory=list)
    forgiven_failures: int = 0
    """Failures before the operator last asked for another try."""
    notified: set[str] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    statements: set[str] = field(default_factory=set)
    unstated: set[tuple[str, str]] = field(default_factory=set)
    totals: set[str] = field(default_factory=set)
    certified_gap_ppb: int = 0
    released: bool = False
    """Whether its book under pseudonyms is public."""
    desk: Desk | None = field(default=None, compare=False, repr=False)
    """Made of what is here and in the registry, and only to be quick: see ``desk_of``."""
    positions: dict[str, dict[int, int]] | None = field(default=None, compare=False, repr=False)
    """Chips of its contracts by pool and start of the interval; made when a spot run asks."""
    desk_sites: int = field(default=0, compare=False, repr=False)
    """Sites that were registered when the desk was made."""
    spot: list[SpotResult] = field(default_factory=list)
    """Spot results that move its contracts, in order of publication."""
    settled_with: dict[int, SettledWith] = field(default_factory=dict)
    """What each settled interval was worked out with besides readings, by start."""
    corrections: dict[int, list[Postings]] = field(default_factory=dict)
    """Corrections of settled intervals, by start."""
    due: set[int] = field(default_factory=set)
    """Starts of settled intervals whose readings changed and that are to be corrected."""
    rebated: bool = False
    market_id: str = ""
    """Spot market of which it is a run; empty for an auction of its own."""
    frozen: tuple[int, str] | None = None
    """Of a run: number of entries in its book, and the root over them."""
    gate: Gate | None = None
    """Of a run: what its gate froze besides the book."""
    renewed: bool = False
    """Of a run: it was not cleared in time and renews what the run before advised."""
    gate_index: int = 0
    """Of a run: log index of its gate."""
    notices: tuple[Notice, ...] = ()
    """Notices that a run gave or withdrew."""
    warned: set[str] = field(default_factory=set)
    """Participants who were told of theirs."""
    book_text: bytes = field(default=b"", compare=False, repr=False)
    """Canonical JSON of the book between its gate and its result; only to be quick."""
    texts: Session | None = field(default=None, compare=False, repr=False)
    """Of a run: knows the texts of orders that stood in the book before."""

    @property
    def outcome(self) -> Outcome | None:
        """Outcome of a cleared auction; None before."""
        return None if self.result is None else self.result.read()

    def written_book(self) -> bytes:
        """Canonical JSON of the frozen book, written once."""
        if not self.book_text:
            assert self.book is not None  # frozen at the gate
            encode = codec.encode if self.texts is None else self.texts.encode
            self.book_text = encode(self.book)
        return self.book_text


class OrderState(Enum):
    """Life of an order; what the auction made of it is in the outcome."""

    OPEN = "OPEN"
    CANCELLED = "CANCELLED"
    LOCKED = "LOCKED"
    """In the frozen book of a closed auction."""
    DECIDED = "DECIDED"


@dataclass(slots=True, kw_only=True)
class Order:
    """Latest revision of one order.

    Attributes:
        entry_index: Log index of the latest revision.
        leaf_hash: Leaf hash of that entry (a commitment leaf).
        hold: Pending transfer that holds its worst case, None when nothing is held.
    """

    submitted: SubmitOrder
    order: BookOrder
    state: OrderState
    entry_index: int
    leaf_hash: bytes
    hold: Transfer | None
    cancel_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NominationRecord:
    """A nomination in an auction's book, with its log entry.

    Attributes:
        released: In a spot market, where the holder released by curves instead: what it gives up
            by interval number; everything else is nominated.
    """

    nomination: Nomination
    auction_id: str
    entry_index: int
    leaf_hash: bytes
    released: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRecord:
    """Where a release belongs."""

    market_id: str
    entitlement_id: str


@dataclass(slots=True, kw_only=True)
class State:
    """The whole state; rebuilt by replaying the log.

    Attributes:
        read_from: Metering intervals that end before this are settled, seconds since the epoch;
            what can still be corrected or disputed of them stays in ``batches``.
        forgotten: Chip-seconds delivered to each buyer by runs that left the state, by the start
            of the month: what the pool is rebated by.
        activity: Transfers that moved an (account, asset) since its last statement.
        openings: Closing balance of the last statement per (account, asset).
        root_key: Raw public key, empty before one is registered.
        log_keys: Raw public log keys in the order of their use; empty before the first rotation.
        closed: Log that continues this one, empty while it is open.
        predecessor: Log that this one continues, empty for the first.
    """

    origin: str
    books: Books = field(default_factory=Books)
    participants: dict[str, Participant] = field(default_factory=dict)
    sites: dict[str, SiteRecord] = field(default_factory=dict)
    pools: dict[str, PoolRecord] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    meter_of_pool: dict[str, str] = field(default_factory=dict)
    chip_tables: dict[str, ChipTable] = field(default_factory=dict)
    chip_table_version: str = ""
    auctions: dict[str, Auction] = field(default_factory=dict)
    markets: dict[str, SpotMarket] = field(default_factory=dict)
    runs: dict[str, Auction] = field(default_factory=dict)
    """Runs of spot markets that are not settled yet; afterwards documents speak for them."""
    allocations: dict[str, MarketAllocation] = field(default_factory=dict)
    """What is known of each spot market's allocation, by market."""
    webhooks: dict[str, str] = field(default_factory=dict)
    """Address for notices by participant."""
    orders: dict[str, Order] = field(default_factory=dict)
    entitlements: dict[str, RegisterEntitlement] = field(default_factory=dict)
    nominations: dict[str, NominationRecord] = field(default_factory=dict)
    releases: dict[str, ReleaseRecord] = field(default_factory=dict)
    contracts: dict[str, Contract] = field(default_factory=dict)
    batches: dict[tuple[str, UnixSeconds], MeterBatch] = field(default_factory=dict)
    read_from: int = 0
    forgotten: dict[UnixSeconds, dict[str, ChipSeconds]] = field(default_factory=dict)
    meter_sequence: dict[str, int] = field(default_factory=dict)
    outages: dict[str, ReportOutage] = field(default_factory=dict)
    dispatch: Dispatch = field(default_factory=Dispatch)
    delivered: dict[tuple[str, int], tuple[DeliveredHour, ...]] = field(default_factory=dict)
    postings: dict[str, Postings] = field(default_factory=dict)
    statements: dict[str, Statement] = field(default_factory=dict)
    activity: dict[tuple[str, str], list[AppliedTransfer]] = field(default_factory=dict)
    openings: dict[tuple[str, str], MicroUsd] = field(default_factory=dict)
    bank_references: set[str] = field(default_factory=set)
    root_key: bytes = b""
    log_keys: list[bytes] = field(default_factory=list)
    closed: str = ""
    predecessor: str = ""
    disputes: dict[str, Dispute] = field(default_factory=dict)
    upheld: dict[tuple[str, UnixSeconds], ChipSeconds] = field(default_factory=dict)
    """Healthy chip-seconds of (contract, metering interval) that a decision put in the place of
    the meter's."""
    grants: dict[str, RegisterGrant] = field(default_factory=dict)
    pool_rebates: set[UnixSeconds] = field(default_factory=set)
    """Starts of months whose surplus of ``pool`` was given back."""

    credit_books: dict[str, CreditBook] = field(default_factory=dict)
    credit_teams: dict[tuple[str, str], TeamCredits] = field(default_factory=dict)
    """By lab and team."""
    credit_grants: set[tuple[str, str]] = field(default_factory=set)
    """Identifiers in use, by lab."""

    def chip_table(self) -> ChipTable | None:
        """Table in force, or None before the first is published."""
        return self.chip_tables.get(self.chip_table_version)


def find_auction(state: State, auction_id: str) -> Auction | None:
    """An auction of its own, or a run of a spot market that is not settled yet."""
    return state.auctions.get(auction_id) or state.runs.get(auction_id)


def grid_of(state: State, auction: Auction) -> tuple[Pool, ...]:
    """Pools that take part in an auction."""
    return tuple(state.pools[pool_id].pool for pool_id in auction.pool_ids)


def desk_of(state: State, auction: Auction) -> Desk:
    """What judges single orders of an auction; sites and pools are never changed or removed."""
    if auction.desk is None or auction.desk_sites != len(state.sites):
        sites = tuple(record.site for record in state.sites.values())
        auction.desk = Desk(auction.spec, sites, grid_of(state, auction))
        auction.desk_sites = len(sites)
    return auction.desk


def intervals_of(auction: CreateAuction) -> tuple[Interval, ...]:
    """Delivery intervals of an auction."""
    length = auction.interval_seconds
    return tuple(
        Interval(
            start=UnixSeconds(auction.first_interval_start + index * length),
            end=UnixSeconds(auction.first_interval_start + (index + 1) * length),
        )
        for index in range(auction.interval_count)
    )
