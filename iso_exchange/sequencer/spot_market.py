"""What the state keeps of a spot market: standing orders, positions, gangs that run, notices.

Times inside a market are *interval numbers*: seconds since the epoch over the length of an
interval. A standing order is kept as an order of ``clearing.types`` whose positions are
interval numbers; each run sees the part of it inside its look-ahead.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from clearing.types import AuctionSpec, Interval, Segment
from clearing.units import ChipSeconds, MicroUsd, UnixSeconds
from iso_exchange.commands import Notice, OpenSpotMarket
from iso_exchange.sequencer.spot_parts import Parts

RELEASE_PREFIX = "release:"
"""Offer of what a holder released of an entitlement; no order of a participant has a colon."""

RETURN_PREFIX = "return:"
"""Offer of hours that a buyer returned of a contract."""

UNREAD = -1
"""In ``SpotMarket.passed``: nobody read it."""

COUNTED_PREFIXES = (RELEASE_PREFIX, RETURN_PREFIX)
"""Offers of chips that count against their pool already: as entitlement, or as sold elsewhere."""

BOUND_PREFIX = "bound:"
"""Order that only stands for what earlier runs bound (``spot_cover``)."""
COVER_CALLED = "COVER_CALLED"
"""Reason of a notice that the dispatcher gave between runs: covered work needs the nodes."""
LATER_MARK = "@"
"""Between an order and the later start at which a run also looks at it."""

Chips = dict[int, int]
"""Chips by interval number; zeros are left out."""


class MarketState(Enum):
    """Life of a spot market."""

    OPEN = "OPEN"
    HALTED = "HALTED"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """A block bid that began: where it runs, and the interval number of its first interval."""

    pool_id: str
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """Hours of a contract that its buyer gave back.

    Attributes:
        owner_id: Who earns on them.
        recallable: They serve interruptible work only.
        segments: By interval number, of one step each.
        entry_index: Log index of the return; ``leaf_hash`` is that entry's.
    """

    return_id: str
    contract_id: str
    auction_id: str
    owner_id: str
    pool_id: str
    recallable: bool
    segments: tuple[Segment, ...]
    entry_index: int
    leaf_hash: bytes

    @property
    def offer_id(self) -> str:
        """Order of a run's book that offers them."""
        return f"{RETURN_PREFIX}{self.return_id}"

    def chips_at(self, number: int) -> int:
        """Chips given back in an interval."""
        for part in self.segments:
            if part.first <= number < part.stop:
                return part.steps[0].chips
        return 0


@dataclass(slots=True, kw_only=True)
class Earned:
    """What a site's community earned since its last published total."""

    delivered: ChipSeconds = ChipSeconds(0)
    surcharge: MicroUsd = MicroUsd(0)


@dataclass(slots=True, kw_only=True)
class SpotMarket:
    """One spot market.

    Attributes:
        pool_ids: Its grid: pools registered when it was opened.
        order_ids: Open standing orders, in order of first acceptance.
        open_counts: Open orders by participant.
        offered: Most chips that open offers state at any one time, by pool and offer.
        bound: Chips that runs bound, by order, pool and interval number.
        supplied: Chips that supply orders owe to bound bids, or hold as spare for them, by pool,
            supply order and interval number.
        gangs: Block bids that began and are not over.
        last_start: Start of the last closed run, 0 before the first.
        disclosed: Log index of the gate of the last published run: orders before it are open to
            auditors.
        revealed: Hex tie seed that the last published run revealed; the anchor before the first.
        revealed_count: Seeds revealed.
        run_ids: Runs that are not settled, by start; their records are in ``State.runs``.
        runs: Every run by start: its stage and the digest of its public prices.
        notices: Notices in force, by (order, pool, deadline).
        earned: What communities earned since their last totals, by site.
        returns: Hours that buyers gave back, by contract.
        given: Chips of them that the gate of a run found given back for its first interval,
            sold or not, by interval number and contract.
        passed: What settled runs made of returned chips that they sold: healthy chip-seconds by
            the run's contract and start of the interval; ``UNREAD`` for a gap.
    """

    opened: OpenSpotMarket
    state: MarketState = MarketState.OPEN
    reason: str = ""
    pool_ids: tuple[str, ...] = ()
    order_ids: dict[str, None] = field(default_factory=dict)
    open_counts: Counter[str] = field(default_factory=Counter)
    offered: dict[str, dict[str, int]] = field(default_factory=dict)
    bound: dict[str, dict[str, Chips]] = field(default_factory=dict)
    supplied: dict[str, dict[str, Chips]] = field(default_factory=dict)
    gangs: dict[str, Gang] = field(default_factory=dict)
    nominated: dict[str, str] = field(default_factory=dict)
    """Entitlement by nomination id."""
    last_start: int = 0
    disclosed: int = 0
    revealed: str = ""
    revealed_count: int = 0
    run_ids: dict[int, str] = field(default_factory=dict)
    runs: dict[int, RunRecord] = field(default_factory=dict)
    notices: dict[tuple[str, str, int], Notice] = field(default_factory=dict)
    earned: dict[str, Earned] = field(default_factory=dict)
    returns: dict[str, Returned] = field(default_factory=dict)
    given: dict[int, dict[str, int]] = field(default_factory=dict)
    passed: dict[tuple[str, int], int] = field(default_factory=dict)
    parts: Parts = field(default_factory=Parts, compare=False, repr=False)
    """What its orders asked of the last run, only to be quick."""

    @property
    def is_closed(self) -> bool:
        """Whether there is no run any more."""
        return self.state is MarketState.CLOSED

    @property
    def seconds(self) -> int:
        """Length of an interval."""
        return self.opened.interval_seconds

    def number(self, moment: int) -> int:
        """Interval number of a moment."""
        return moment // self.seconds

    def interval(self, number: int) -> Interval:
        """Interval of a number."""
        start = number * self.seconds
        return Interval(start=UnixSeconds(start), end=UnixSeconds(start + self.seconds))

    def gate(self, start: int) -> int:
        """First moment at which no order enters the run that begins at ``start``."""
        return start - self.opened.gate_lead_s

    def next_start(self, now: int) -> int:
        """Start of the next run whose first interval has not begun."""
        soonest = (now // self.seconds + 1) * self.seconds
        return max(self.opened.first_start, self.last_start + self.seconds, soonest)

    def run_id(self, start: int) -> str:
        """Identifier of a run."""
        return f"{self.opened.market_id}/{start}"

    def spec(self, start: int) -> AuctionSpec:
        """The auction that a run is."""
        opened, first = self.opened, self.number(start)
        return AuctionSpec(
            auction_id=self.run_id(start),
            intervals=tuple(self.interval(first + place) for place in range(opened.look_ahead)),
            price_floor=opened.price_floor,
            price_cap=opened.price_cap,
            tick=opened.tick,
            operator_fee=opened.operator_fee,
            pricing_rule=opened.pricing_rule,
            tie_credit=opened.tie_credit,
            seed_commitment=self.revealed,
            tariff=opened.tariff,
        )

    def sold_of(self, record: Returned, number: int) -> int:
        """Chips of a return that runs sold in an interval."""
        return self.supplied.get(record.pool_id, {}).get(record.offer_id, {}).get(number, 0)

    def given_up(self, record: Returned, number: int) -> int:
        """Chips of a contract that its buyer does not have in an interval that is decided.

        What the gate of its run found; without a run what earlier runs sold of it.
        """
        found = self.given.get(number, {}).get(record.contract_id)
        return self.sold_of(record, number) if found is None else found

    def held(self, order_id: str, number: int) -> int:
        """Chips of an order in an interval, over all pools."""
        return sum(chips.get(number, 0) for chips in self.bound.get(order_id, {}).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What stays of a run when it is settled.

    Attributes:
        state: Name of its ``AuctionState``.
        prices_sha256: Hex digest of its public prices, empty before publication.
        renewed: It was not cleared in time: it renews what the run before advised.
    """

    state: str
    order_count: int
    book_root: str
    prices_sha256: str = ""
    renewed: bool = False
    certified_gap_ppb: int = 0


def is_later(order_id: str) -> bool:
    """Whether an order of a run's book is a standing gang at a later start than its first.

    It is there so that a gang can take the place of work that runs, from the end of its notice
    on; it never binds, because only interval 0 does, and the next run looks at it again.
    """
    return LATER_MARK in order_id


def standing_id(order_id: str) -> str:
    """Standing order of an order of a run's book."""
    return order_id.partition(LATER_MARK)[0]
