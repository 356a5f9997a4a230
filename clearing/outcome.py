"""What an auction results in: awards, prices, reasons, cash and the certificate.

An ``Outcome`` is a value of integers that ``clearing.verify`` re-checks against its
book with no help from the engine. Quantities are whole chips in node multiples; prices
are micro-USD per chip-hour; sums of value are ``PriceSeconds`` (price x chip-seconds,
1/3,600 micro-USD), so that nothing is rounded before money is booked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from clearing.types import Cover, ServiceClass
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, PriceSeconds


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Award:
    """The accepted part of one order in one pool.

    Attributes:
        chips: Accepted chips per interval, starting at ``first``.
        reserve: Per interval: spare chips held (supply) or chips counted as reclaimable
            reserve (interruptibles); same length as ``chips``.
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
            Empty for the one entry that funds a negative ``Cash.residual``.
        amount: Sum of the shares, rounded up to a micro-USD.
    """

    order_ids: tuple[str, ...]
    amount: MicroUsd
    funding: tuple[FundingShare, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDual:
    """Certificate dual of one row, micro-USD per chip-hour, >= 0.

    Attributes:
        row: ``BALANCE`` (pi), ``RECLAIMABLE`` or ``RECALLABLE`` (lambda), ``NODE_COVER`` (mu^N)
            per pool, ``SITE_POWER`` (nu, micro-USD per kilowatt-hour) per site.
        subject: Pool or site identifier.
    """

    row: str
    subject: str
    interval: int
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Bound on the welfare that any feasible outcome could reach, by weak duality.

    Any non-negative duals give a valid bound, so wrong duals can only loosen it.

    Attributes:
        duals: Non-zero duals, sorted by (row, subject, interval). They are not the prices.
        welfare: Of the published awards: values minus costs, fees and surcharges, without
            tie credits, restart costs and penalties.
        bound: No feasible outcome has more welfare (same terms).
        gains: Gains from trade, the denominator of the gap: the welfare itself with base
            load and penalties left out, at least 1.
        lost_opportunity: Sum over orders of best response minus surplus at the *prices*;
            large in thin books and no optimality gap.
    """

    duals: tuple[RowDual, ...]
    welfare: PriceSeconds
    bound: PriceSeconds
    gains: PriceSeconds
    lost_opportunity: PriceSeconds

    @property
    def gap_ppb(self) -> int:
        """Certified gap (bound - welfare) / gains, parts per billion, rounded up."""
        return -((self.welfare - self.bound) * 1_000_000_000 // max(1, self.gains))


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
        residual: Cover money of whole-node rounding that no row owns; goes to rebate. When it
            is negative the missing money is a ``MakeWhole`` entry without orders.
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
