"""What an auction results in: awards, prices, reasons, cash and the certificate.

An ``Outcome`` is a value of integers that ``clearing.verify`` re-checks against its
book with no help from the engine. Quantities are whole chips in node multiples; prices
are micro-USD per chip-hour; sums of value are ``PriceSeconds`` (price x chip-seconds,
1/3,600 micro-USD), so that nothing is rounded before money is booked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from clearing.shapes import LATER
from clearing.types import Cover, ServiceClass
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, PriceSeconds

ROUNDING_MICRO_USD = 6
"""What rounding the lines of ``Cash`` may leave in ``Cash.residual``; nobody funds it."""


class RunStatus(Enum):
    """Whether the run may be published, and why it stopped."""

    OPTIMAL = "OPTIMAL"
    """The solver proved its own optimum; the certificate says how much of that can be checked."""
    LIMITED = "LIMITED"
    """A node or iteration count was reached; the certified gap says how good it is."""


class Side(Enum):
    """Which side of the market an award is on."""

    SUPPLY = "SUPPLY"
    DEMAND = "DEMAND"
    BASE = "BASE"


class Fill(Enum):
    """How much of an order was accepted."""

    FULL = "FULL"
    PARTIAL = "PARTIAL"
    NONE = "NONE"


class Reason(Enum):
    """Why an order ended as it did; stable, machine-readable."""

    IN_THE_MONEY = "IN_THE_MONEY"
    """Its limit was better than the price: filled as far as it asked."""
    AT_THE_PRICE = "AT_THE_PRICE"
    """Its limit equals the price: shared pro rata with its equals."""
    OUT_OF_THE_MONEY = "OUT_OF_THE_MONEY"
    """Its limit was worse than the price; ``shortfall`` says by how much."""
    MADE_WHOLE = "MADE_WHOLE"
    """Accepted although it loses at the price; the loss is paid back."""
    PARADOXICALLY_REJECTED = "PARADOXICALLY_REJECTED"
    """In the money at the price but indivisible: accepting it would lose welfare."""
    NO_ELIGIBLE_POOL = "NO_ELIGIBLE_POOL"
    """No pool meets its conditions."""
    LARGER_THAN_ANY_POOL = "LARGER_THAN_ANY_POOL"
    """Its least quantity fits in no eligible pool's supply."""
    WHOLE_NODE = "WHOLE_NODE"
    """Misses its best response by less than one node, or its next node would break a limit."""
    COVER_SHORTAGE = "COVER_SHORTAGE"
    """The pool could not hold the spare nodes it needs."""
    PARENT_NOT_ACCEPTED = "PARENT_NOT_ACCEPTED"
    """Linked to an order that was not accepted, and the two together lose at the prices."""
    OTHER_ACCEPTED = "OTHER_ACCEPTED"
    """Another member of its exclusive group was accepted, which gains at least as much."""
    NOT_STARTED = "NOT_STARTED"
    """Supply with a commitment that would not have earned back its fixed costs."""
    BASE_SERVED = "BASE_SERVED"
    """Nominated base load, served in full."""
    BASE_SHORTFALL = "BASE_SHORTFALL"
    """Nominated base load that could not be served in full (reported as a curtailment)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPrice:
    """Prices of one pool in one interval, micro-USD per chip-hour.

    A published all-in price is the exact sum of published parts:

    * ``firm`` = energy + power + surcharge + fee + node_cover,
    * ``firm_uncovered`` = ``interruptible_uncounted`` = energy + power + surcharge + fee,
    * ``interruptible`` = energy + power + surcharge + fee - availability - recall_discount.

    Which price a chip of an interruptible pays depends on the rows in which it counts:

    * notice above ``site_cover_notice_s``: ``interruptible_uncounted``;
    * notice above ``node_cover_notice_s`` up to ``site_cover_notice_s``, and the minimum
      fill of a block of any shorter notice (losing a node of it would kill the gang):
      ``interruptible_uncounted - recall_discount``;
    * otherwise (steps, and a block's chips above its minimum fill): ``interruptible``.

    Attributes:
        energy: pi, what supply earns; released base load earns ``energy - recall_discount``.
        power: kW nu, scarcity of site power.
        node_cover: theta mu^N, charged on NODE-covered load.
        spare: mu^N, earned by a spare chip before power: it receives ``spare - power``.
        availability: lambda of the NODE-reclaimable row: the discount of a chip that can be
            reclaimed node by node within the NODE cover time.
        recall_discount: lambda of the recall row: what released base load gives up and what
            every interruptible with notice within ``site_cover_notice_s`` earns.
        site_spare: Sum over lost sites of the backup price of this pool: what a chip held for
            SITE cover earns before power.
        surcharge: Community surcharge of the site.
        fee: Operator's fee.
        firm: All-in price of covered (NODE) firm load: the sum that buyers pay.
        firm_uncovered: All-in price of firm load with cover NONE.
        interruptible: All-in price of an interruptible that earns both discounts.
        interruptible_uncounted: All-in price of an interruptible whose notice is too long to count.
        indicative: True when nothing was awarded here; then low and high bound the price.
        low: Lowest energy price consistent with the step orders, other prices held.
        high: Highest energy price consistent with the step orders, other prices held.
    """

    pool_id: str
    interval: int
    energy: MicroUsdPerChipHour
    power: MicroUsdPerChipHour
    node_cover: MicroUsdPerChipHour
    spare: MicroUsdPerChipHour
    availability: MicroUsdPerChipHour
    recall_discount: MicroUsdPerChipHour
    surcharge: MicroUsdPerChipHour
    fee: MicroUsdPerChipHour
    firm: MicroUsdPerChipHour
    firm_uncovered: MicroUsdPerChipHour
    interruptible: MicroUsdPerChipHour
    interruptible_uncounted: MicroUsdPerChipHour
    indicative: bool
    low: MicroUsdPerChipHour
    high: MicroUsdPerChipHour
    site_spare: MicroUsdPerChipHour = field(default=MicroUsdPerChipHour(0), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPrice:
    """mu^S: what a SITE-covered chip at ``site_id`` pays for its backup in ``pool_id``.

    Attributes:
        price: Micro-USD per chip-hour, > 0; a price of zero is not listed.
    """

    site_id: str
    pool_id: str
    interval: int
    price: MicroUsdPerChipHour


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """Where the loss of a site would be made good for one award.

    Attributes:
        chips: Per interval of the award.
    """

    pool_id: str
    chips: tuple[Chips, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Award:
    """The accepted part of one order in one pool.

    Attributes:
        chips: Accepted chips per interval, starting at ``first``.
        reserve: Per interval: spare chips held for NODE cover (supply) or chips counted as
            node-wise reclaimable reserve (interruptibles); same length as ``chips``.
        site_reserve: The same for SITE cover; empty when all of it would be zero.
        backups: For a SITE-covered bid: pools whose chips add up to ``chips`` in every
            interval, by pool; for SITE-covered base load they add up to its covered part.
            Empty otherwise.
    """

    order_id: str
    participant_id: str
    side: Side
    pool_id: str
    service_class: ServiceClass
    cover: Cover
    first: int
    chips: tuple[Chips, ...]
    reserve: tuple[Chips, ...]
    site_reserve: tuple[Chips, ...] = field(default=(), metadata=LATER)
    backups: tuple[Backup, ...] = field(default=(), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyRun:
    """An offer with a commitment is on in ``[first, stop)``; a whole one in its segments there."""

    order_id: str
    first: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFlow:
    """Chips that a link carries per interval of the auction; negative against its direction."""

    link_id: str
    chips: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderOutcome:
    """What became of one order, and why.

    Attributes:
        fill: How much was accepted.
        reason: Why.
        surplus: Value minus payment (bids), receipts minus cost (offers), before make-whole.
        shortfall: For rejections on price: how far the limit missed the cheapest price of
            an eligible pool; 0 otherwise.
        foregone: Surplus at the prices that a paradoxically rejected order missed.
        detail: One sentence for people; says what would have changed the outcome.
    """

    order_id: str
    participant_id: str
    fill: Fill
    reason: Reason
    surplus: PriceSeconds
    shortfall: MicroUsdPerChipHour
    foregone: PriceSeconds
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingShare:
    """Who pays how much of one make-whole payment.

    Attributes:
        source: An order id, ``rent:<site>`` or, for the residual, a nomination's order id.
    """

    source: str
    amount: MicroUsd


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeWhole:
    """A payment to an accepted family that loses at the prices.

    Attributes:
        order_ids: The family, sorted: one order, an exclusive group's member or a linked tree.
            Empty for the one entry that funds a ``Cash.residual`` below the rounding of its lines.
        amount: Sum of the shares, rounded up to a micro-USD.
    """

    order_ids: tuple[str, ...]
    amount: MicroUsd
    funding: tuple[FundingShare, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDual:
    """Certificate dual of one row, micro-USD per chip-hour, >= 0.

    Attributes:
        row: ``BALANCE`` (pi; negative only where the price floor is), ``RECLAIMABLE`` or
            ``RECALLABLE`` (lambda), ``NODE_COVER`` (mu^N) or ``WHOLE_COVER`` per pool,
            ``SITE_COVER`` (mu^S) per lost site and backup pool, ``SITE_POWER`` (nu, micro-USD per
            kilowatt-hour) per site, ``PACKING`` (micro-USD per hour) per pool and block bid:
            what the bid is charged for the room that it takes there.
        subject: Pool or site identifier.
        lost_site: For ``SITE_COVER`` the site whose loss is covered; empty otherwise.
        order_id: For ``PACKING`` the block bid; empty otherwise.
    """

    row: str
    subject: str
    interval: int
    value: int
    lost_site: str = field(default="", metadata=LATER)
    order_id: str = field(default="", metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixing:
    """One decision of the branch certificate: a set of alternatives is in, or it is out.

    The set is every way to accept ``order_id`` that matches the other fields; an empty text
    and -1 match anything. For an offer with a commitment, ``interval`` names the interval in
    which it is on or off.

    Attributes:
        accepted: True: one alternative of the set is chosen. False: none is.
    """

    order_id: str
    accepted: bool
    pool_id: str = ""
    backup_pool_id: str = ""
    start: int = -1
    interval: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One leaf of the branch certificate: its fixings from the root, and duals that bound it."""

    fixings: tuple[Fixing, ...]
    duals: tuple[RowDual, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Bound on the welfare that any feasible outcome could reach, by weak duality.

    Any non-negative duals give a valid bound, so wrong duals can only loosen it.

    Attributes:
        duals: Non-zero duals, sorted by (row, subject, lost site, order, interval). They are not
            the prices.
        welfare: Of the published awards: values minus costs (start-up and no-load included),
            fees and surcharges, without tie credits, restart costs and penalties.
        restart_kept: Restart cost saved by running work that stays; counts beside welfare in
            the objective.
        bound: No feasible outcome has more welfare plus restart cost kept.
        gains: Gains from trade, the denominator of the gap: the welfare itself with base
            load and penalties left out, at least 1.
        lost_opportunity: Sum over orders of best response minus surplus at the *prices*;
            large in thin books and no optimality gap.
        leaves: The branch certificate, at most 1,024 leaves, or empty: a complete tree of
            fixings, each leaf with its own duals; ``bound`` is then the largest leaf bound.
    """

    duals: tuple[RowDual, ...]
    welfare: PriceSeconds
    bound: PriceSeconds
    gains: PriceSeconds
    lost_opportunity: PriceSeconds
    restart_kept: PriceSeconds = field(default=PriceSeconds(0), metadata=LATER)
    leaves: tuple[Leaf, ...] = field(default=(), metadata=LATER)

    @property
    def gap_ppb(self) -> int:
        """Certified gap (bound - objective) / gains, parts per billion, rounded up."""
        reached = self.welfare + self.restart_kept
        return -((reached - self.bound) * 1_000_000_000 // max(1, self.gains))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cash:
    """Cash identity of the auction at awarded quantities, micro-USD.

    buyers = suppliers + spare + community + operator_fee + link_rent + power_rent + residual.

    Every field but ``residual`` is a sum of price x chip-seconds over the whole auction,
    divided by 3,600 and rounded half-even once; ``residual`` closes the identity. Per pool
    and interval the cover money that came in is ``P`` = node_cover x covered chips
    - availability x (interruptible chips that earn it) - recall_discount x (interruptible
    chips that earn it - released base sold). Spare chips share ``M`` = min(max(0, P),
    spare x spare chips); of it min(M, power x spare chips) is power rent and the rest is
    theirs, split over the holders by largest remainder. ``residual`` is P - M. Where P is
    negative (whole-node rounding left more discounted chips than cover was paid for) spare
    chips receive nothing and ``residual`` falls.

    Attributes:
        buyers: All-in payments of bids and nominations. A nomination pays surcharge, fee and
            power on served chips and node_cover on the covered ones; with a cover shortage
            the covered base load of the pool is at most
            (spare + reclaimable chips) x 1,000,000 // node_spare_ppm - covered firm chips.
        suppliers: energy x sold (released base load: energy - recall_discount).
        spare: Cover money paid to spare nodes.
        community: Surcharge x awarded, base load included, summed over sites.
        operator_fee: Fee x awarded, base load included; the operator retains nothing else.
        link_rent: Price differences over links.
        power_rent: Scarcity of site power: power x (awarded and base chips), and what spare
            nodes paid for power.
        residual: Cover money of whole-node rounding that no row owns; goes to rebate. Down to
            ``-ROUNDING_MICRO_USD`` it is the rounding of the other lines; below that the missing
            money is a ``MakeWhole`` entry without orders.
        make_whole: Total moved between participants by make-whole; it nets to 0 in the identity.
    """

    buyers: MicroUsd
    suppliers: MicroUsd
    spare: MicroUsd
    community: MicroUsd
    operator_fee: MicroUsd
    link_rent: MicroUsd
    power_rent: MicroUsd
    residual: MicroUsd
    make_whole: MicroUsd


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The complete result of one auction.

    Attributes:
        book_sha256: Lower-case hex SHA-256 of the encoded book (``clearing.codec``).
        seed: Revealed tie seed, lower-case hex; its SHA-256 is the spec's commitment.
        engine: Name and version of the engine and solver.
        prices: One per pool and interval, sorted by (pool, interval).
        awards: Sorted by (order, pool).
        orders: One per order of the book, sorted by order id.
        make_whole: Sorted by first order id.
        backup_prices: Non-zero ones, sorted by (site, pool, interval).
        runs: Of offers with a commitment, sorted by (order, first).
        flows: One per link, sorted.
    """

    auction_id: str
    book_sha256: str
    seed: str
    engine: str
    status: RunStatus
    prices: tuple[PoolPrice, ...]
    awards: tuple[Award, ...]
    orders: tuple[OrderOutcome, ...]
    make_whole: tuple[MakeWhole, ...]
    certificate: Certificate
    cash: Cash
    backup_prices: tuple[BackupPrice, ...] = field(default=(), metadata=LATER)
    runs: tuple[SupplyRun, ...] = field(default=(), metadata=LATER)
    flows: tuple[LinkFlow, ...] = field(default=(), metadata=LATER)
