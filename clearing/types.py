"""What an auction is given: its specification, the grid, and the book of orders.

Everything is a frozen value of integers, strings, enums and tuples, so that a book can
be hashed, signed, stored and cleared again with the same result. Prices are micro-USD
per chip-hour, capacity whole chips, intervals positions in ``AuctionSpec.intervals``
(``first`` included, ``stop`` excluded). Vocabulary: docs/reference/vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from clearing.shapes import LATER
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
    Watts,
)

MAX_PRICE_MICRO_USD_PER_CHIP_HOUR = 1_000_000_000
"""Largest price the engine accepts: 1,000 US dollars per chip-hour."""

MAX_CHIPS = 100_000_000
"""Largest quantity of one order or pool: keeps every product inside 63 bits."""

NO_PARENT = ""
NO_GROUP = ""


class ServiceClass(Enum):
    """What the buyer is promised."""

    FIRM = "FIRM"
    """Not reclaimable."""
    INTERRUPTIBLE = "INTERRUPTIBLE"
    """Reclaimable after ``notice_s``; serves as the reserve that covers firm load."""
    BASE_LOAD = "BASE_LOAD"
    """A standing firm entitlement, registered outside the auction."""


class Cover(Enum):
    """Against which failure a firm or base load is covered."""

    NONE = "NONE"
    """Nothing stands by; a failure is only credited."""
    NODE = "NODE"
    """The pool holds spare or reclaimable nodes for failed ones."""
    SITE = "SITE"
    """A named backup pool at another site, for the loss of the whole site."""


class PricingRule(Enum):
    """How accepted orders that lose at uniform prices are treated."""

    MAKE_WHOLE = "MAKE_WHOLE"
    STRICT_UNIFORM = "STRICT_UNIFORM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Half-open UTC interval ``[start, end)``, in seconds since the epoch."""

    start: UnixSeconds
    end: UnixSeconds

    @property
    def duration_s(self) -> Seconds:
        """Length in seconds."""
        return Seconds(self.end - self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """Published parameters of the rules. Every default is an assumption unless a source is named.

    Attributes:
        node_cover_notice_s: An interruptible counts for NODE cover when its notice is at
            most this long. Assumption: 300 s, one metering interval.
        site_cover_notice_s: The same for SITE cover and for recallable base load.
            Assumption: 1,800 s.
        shortfall_penalties_micro_usd_per_chip_hour: Penalty ladder for base load, cover
            and power shortfalls, in that order: strictly falling and above the cap.
            Assumption; shape after the Australian NEM's constraint violation penalties.
        stop_loss_ppm: k of the supplier stop-loss D = max(pi_c, g_c) + k pi_c (R5).
            Assumption: 100 %.
        withhold_gap_ppm: A result whose certified gap is above this is not published.
            1,000,000 publishes always.
    """

    node_cover_notice_s: Seconds = Seconds(300)
    site_cover_notice_s: Seconds = Seconds(1_800)
    base_shortfall_penalty: MicroUsdPerChipHour = MicroUsdPerChipHour(1_000_000_000_000)
    cover_shortfall_penalty: MicroUsdPerChipHour = MicroUsdPerChipHour(100_000_000_000)
    power_shortfall_penalty: MicroUsdPerChipHour = MicroUsdPerChipHour(10_000_000_000)
    stop_loss_ppm: Ppm = Ppm(1_000_000)
    withhold_gap_ppm: Ppm = Ppm(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionSpec:
    """One auction as data.

    Attributes:
        auction_id: Unique in the exchange.
        intervals: Delivery intervals, contiguous, ascending, equal length.
        price_floor: Lowest limit price and clearing price. 0: supply may be left over.
        price_cap: Highest limit price.
        tick: Limit prices are multiples of it (default 1,000 micro-USD).
        operator_fee: Operator's fee, inside a buyer's price, on delivered chip-hours.
        pricing_rule: Which rule file under ``clearing/pricing`` prices it.
        tie_credit: Largest tie credit in the objective, 0 to 100 micro-USD per chip-hour.
        seed_commitment: Lower-case hex SHA-256 of the tie seed, published before gate closure.
        node_limit: Branch-and-bound nodes after which the solve stops (a count, never a clock).
        tariff: Parameters published with every result that used them.
    """

    auction_id: str
    intervals: tuple[Interval, ...]
    price_floor: MicroUsdPerChipHour = MicroUsdPerChipHour(0)
    price_cap: MicroUsdPerChipHour = MicroUsdPerChipHour(100_000_000)
    tick: MicroUsdPerChipHour = MicroUsdPerChipHour(1_000)
    operator_fee: MicroUsdPerChipHour = MicroUsdPerChipHour(0)
    pricing_rule: PricingRule = PricingRule.MAKE_WHOLE
    tie_credit: MicroUsdPerChipHour = MicroUsdPerChipHour(100)
    seed_commitment: str = ""
    node_limit: int = 100_000
    tariff: Tariff = Tariff()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place with a host community.

    Attributes:
        site_id: Unique.
        surcharge: Community surcharge per delivered chip-hour, >= 0.
        power_limit: Power available to exchange load, or None when it never binds.
        region: Exchange region, such as ``us-south``.
        country: ISO 3166-1 alpha-2 code of the place.
        data_residency: Country codes in which data stays, sorted.
        legal_controls: Legal regimes that can compel the operator of the site, such as
            ``US_CLOUD_ACT``, sorted.
        certifications: Such as ``SOC2_TYPE2``, sorted.
    """

    site_id: str
    surcharge: MicroUsdPerChipHour
    power_limit: Watts | None = None
    region: str = ""
    country: str = ""
    data_residency: tuple[str, ...] = ()
    legal_controls: tuple[str, ...] = ()
    certifications: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Site x chip class x fabric domain: the chips that one contiguous gang can use.

    Attributes:
        pool_id: Unique.
        site_id: A site of the book.
        chip_class: Key into the chip table.
        chips_per_node: Quantities in this pool are multiples of it.
        capacity: Installed chips, a multiple of ``chips_per_node``.
        chip_power: Power of one busy or reserved chip, cooling included.
        node_spare_ppm: theta: share of covered firm chips held spare (NODE cover).
        fabric: Scale-out fabric, such as ``INFINIBAND_NDR``.
    """

    pool_id: str
    site_id: str
    chip_class: str
    chips_per_node: Chips
    capacity: Chips
    chip_power: Watts = Watts(0)
    node_spare_ppm: Ppm = Ppm(10_000)
    fabric: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A bidder's own factor: value of one chip-hour of a class, parts per million of the bid's."""

    chip_class: str
    factor_ppm: Ppm


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """Where an order may be served: named pools, or a requirement that resolves to pools.

    An empty tuple means "no condition" for every field except that a bid with no
    condition at all is refused. All conditions must hold together.

    Attributes:
        pool_ids: If not empty, only these pools.
        chip_classes: If not empty, only these classes.
        regions: If not empty, only sites in these regions.
        countries: If not empty, only sites in these countries.
        data_residency: Every one of these must be among the site's.
        excluded_legal_controls: None of these may be among the site's.
        certifications: Every one of these must be among the site's.
        fabrics: If not empty, only pools with one of these fabrics.
    """

    pool_ids: tuple[str, ...] = ()
    chip_classes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    data_residency: tuple[str, ...] = ()
    excluded_legal_controls: tuple[str, ...] = ()
    certifications: tuple[str, ...] = ()
    fabrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a curve: up to ``chips`` at ``price`` (offers: at least; bids: at most)."""

    price: MicroUsdPerChipHour
    chips: Chips


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The curve of an order in each interval of ``[first, stop)``.

    Steps ascend in price for offers and descend for bids; no two share a price.
    """

    first: int
    stop: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """Supplier's non-convex costs and limits.

    The offer is off before the auction and can be on only in intervals that its segments
    cover. A run of consecutive intervals lies wholly inside the auction: what is promised
    here is kept here.

    Attributes:
        start_up: Micro-USD for each start, >= 0.
        no_load: Micro-USD per interval while on, >= 0.
        min_run_intervals: Shortest run once started, >= 1.
        min_chips: Least quantity sold in an interval while on, a node multiple.
        whole: A supply block: on in every interval of its segments or in none, with one
            start; all chips of all steps are sold while it is on. ``min_run_intervals`` is 1
            and ``min_chips`` 0 then. Segments need not be contiguous.
    """

    start_up: MicroUsd = MicroUsd(0)
    no_load: MicroUsd = MicroUsd(0)
    min_run_intervals: int = 1
    min_chips: Chips = Chips(0)
    whole: bool = field(default=False, metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Supply: a divisible price-quantity curve in one pool.

    What is not sold may be held as spare for NODE or SITE cover and then earns the
    cover price; it never costs the supplier a sale.

    Attributes:
        order_id: Unique in the book, over all order kinds.
        participant_id: Supplier, or holder of released base load.
        pool_id: Pool of the book.
        segments: Curves; their intervals do not overlap.
        recallable: Released base load: sold only to interruptibles, earns pi - lambda.
        commitment: Non-convex costs, or None.
    """

    order_id: str
    participant_id: str
    pool_id: str
    segments: tuple[Segment, ...]
    recallable: bool = False
    commitment: Commitment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBid:
    """Divisible demand per interval, served from any mix of eligible pools.

    Attributes:
        order_id: Unique in the book.
        participant_id: Buyer.
        where: Eligible pools.
        segments: Curves of all-in limit prices; intervals do not overlap.
        service_class: FIRM or INTERRUPTIBLE.
        cover: For FIRM; an interruptible has NONE.
        notice_s: For INTERRUPTIBLE: notice the buyer needs before a reclaim.
        conversions: Own factors per chip class; one million where a class is not named.
    """

    order_id: str
    participant_id: str
    where: Eligibility
    segments: tuple[Segment, ...]
    service_class: ServiceClass = ServiceClass.FIRM
    cover: Cover = Cover.NODE
    notice_s: Seconds = Seconds(0)
    conversions: tuple[Conversion, ...] = ()

    RETIRED_KEYS = MappingProxyType({"restart_cost": 0})
    """Recorded step bids have this key; a step bid has no restart cost (``clearing.codec``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockBid:
    """A gang: the same chips in one pool for ``duration`` consecutive intervals.

    A fixed block has ``latest_start == earliest_start``; a later ``latest_start`` makes
    it shiftable.

    Attributes:
        order_id: Unique in the book.
        participant_id: Buyer.
        where: Eligible pools; one of them is chosen.
        earliest_start: First interval in which it may start.
        latest_start: Last interval in which it may start.
        duration: Number of intervals.
        chips: Full quantity.
        min_fill_ppm: Least accepted share, 1 to 1,000,000; 1,000,000 is all or none.
        limit_price: All-in limit, micro-USD per chip-hour.
        profile: Chips per interval of the run where they differ, else empty. Zeros are allowed
            between the first and the last; the largest entry equals ``chips``, and the bid is
            all or none and not covered by SITE.
        exclusive_group: Orders of one participant that share a non-empty name: at most one.
            Its members have the same parent, or none.
        parent_order_id: A block of the same participant: accepted only if that one is. Empty
            for none.
        initial_pool_id: Pool in which it is already running, empty for none.
        restart_cost: Micro-USD per chip saved by staying there from interval ``runs_until`` on:
            it counts in the objective only.
        runs_until: Interval up to which it runs there whatever this auction decides: to stay is
            to start then.
    """

    order_id: str
    participant_id: str
    where: Eligibility
    earliest_start: int
    latest_start: int
    duration: int
    chips: Chips
    limit_price: MicroUsdPerChipHour
    min_fill_ppm: Ppm = Ppm(1_000_000)
    service_class: ServiceClass = ServiceClass.FIRM
    cover: Cover = Cover.NODE
    notice_s: Seconds = Seconds(0)
    conversions: tuple[Conversion, ...] = ()
    profile: tuple[Chips, ...] = field(default=(), metadata=LATER)
    exclusive_group: str = NO_GROUP
    parent_order_id: str = NO_PARENT
    initial_pool_id: str = ""
    restart_cost: MicroUsd = MicroUsd(0)
    runs_until: int = field(default=0, metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkBid:
    """Total chip-seconds by a deadline, in any intervals and pools, at a bounded rate.

    Attributes:
        work: Chip-seconds wanted at most: a multiple of the interval's length times the node
            size of its pools.
        max_chips: Largest rate over all its pools.
        first: First usable interval.
        stop: Deadline: first interval no longer usable.
    """

    order_id: str
    participant_id: str
    where: Eligibility
    first: int
    stop: int
    work: ChipSeconds
    max_chips: Chips
    limit_price: MicroUsdPerChipHour
    service_class: ServiceClass = ServiceClass.INTERRUPTIBLE
    cover: Cover = Cover.NONE
    notice_s: Seconds = Seconds(0)
    conversions: tuple[Conversion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Nomination:
    """Base load that its holder will use: a requirement, self-supplied at its contract price.

    It takes capacity out of no offer (its supplier set the chips aside when the
    entitlement was registered), but it draws site power and, when covered, spare nodes.

    Attributes:
        order_id: Unique in the book.
        entitlement_id: Registered entitlement.
        participant_id: Holder.
        pool_id: Pool that serves it.
        segments: One step per segment; the step's price is the registered contract price.
        cover: NONE, NODE or SITE.
        backup_pool_ids: For SITE: pools at other sites, of the same class and node size, that
            may hold its backup; empty otherwise.
    """

    order_id: str
    entitlement_id: str
    participant_id: str
    pool_id: str
    segments: tuple[Segment, ...]
    cover: Cover = Cover.NODE
    backup_pool_ids: tuple[str, ...] = field(default=(), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Directed capacity between two pools of one chip class and node size (an intertie).

    A flow moves supply of ``from_pool_id`` into the balance of ``to_pool_id``. Power, cover and
    surcharge follow the pool of the bid; released base load is not carried.

    Attributes:
        capacities: Per interval: (least flow, most flow), chips; either may be negative.
        owner_id: Registered owner of its rent; may be empty where nothing is settled.
    """

    link_id: str
    from_pool_id: str
    to_pool_id: str
    capacities: tuple[tuple[Chips, Chips], ...]
    owner_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The frozen order set of one auction, with the grid it is cleared on."""

    spec: AuctionSpec
    sites: tuple[Site, ...]
    pools: tuple[Pool, ...]
    offers: tuple[Offer, ...] = ()
    step_bids: tuple[StepBid, ...] = ()
    block_bids: tuple[BlockBid, ...] = ()
    work_bids: tuple[WorkBid, ...] = ()
    nominations: tuple[Nomination, ...] = ()
    links: tuple[Link, ...] = ()
