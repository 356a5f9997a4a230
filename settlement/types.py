"""Values that settlement works on: contracts, readings, transfers, statements.

Money is integer micro-USD, quantity integer chip-seconds, compute integer TFLOP of a
named precision. An *asset* is a parameter everywhere: ``USD``, ``CREDIT:<organisation>``
or ``TFLOP:<precision>``; every asset sums to zero over all accounts after every transfer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from clearing.shapes import LATER
from clearing.types import Cover, Interval, ServiceClass
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    Tflop,
    UnixSeconds,
)

USD = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Legs:
    """Auction prices of one contract in one delivery interval, micro-USD per chip-hour.

    The buyer's all-in price is ``energy + power + cover - discount + surcharge + fee``.

    Attributes:
        energy: pi_c, what the supplier earns (0 for a nomination: paid outside).
        power: kap = kW nu, to ``rent:<site>``.
        cover: m, charged for cover, to the cover account.
        discount: lam, what an interruptible is paid out of the cover account.
        surcharge: sigma of the contract's site, on delivered chip-seconds only.
        fee: Operator's fee, on delivered chip-seconds only.
        contract: g_c = energy + power + cover - discount + link; a nomination's registered
            price.
        link: Spread that a link earns between the supplier's pool and the buyer's.
    """

    energy: MicroUsdPerChipHour
    power: MicroUsdPerChipHour
    cover: MicroUsdPerChipHour
    discount: MicroUsdPerChipHour
    surcharge: MicroUsdPerChipHour
    fee: MicroUsdPerChipHour
    contract: MicroUsdPerChipHour
    link: MicroUsdPerChipHour = field(default=MicroUsdPerChipHour(0), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractHour:
    """Position of a contract in one delivery interval of its auction."""

    interval: Interval
    chips: Chips
    legs: Legs


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """An award and its terms: one buyer's order served by one supplier in one pool.

    Attributes:
        contract_id: ``<auction>/<order>/<pool>/<supplier order>``, with ``/<backup pool>`` for
            SITE cover: stable, derived, unique; a supplier may have two offers in one pool.
        supplier_order_id: Offer (or entitlement) that supplies it.
        hours: Ascending, without gaps in the index but possibly with zero-chip hours left out.
        precision: Precision in which delivered compute is accounted, such as ``BF16``.
        derate_ppm: Acceptance derate of the pool, parts per million of dense peak.
        stop_loss_ppm: k of the supplier's stop-loss (SETTLEMENT R5).
        backup_pool_id: Pool that makes good the loss of the site; empty without SITE cover.
        link_id: Link over which it is supplied; empty for supply in the pool itself.
        payer_id: Who pays the buyer's bills: of a grant, who gives it; empty for the buyer.
        supply_pool_id: Pool of the supplier's chips at the link's other end; empty without one.
    """

    contract_id: str
    auction_id: str
    order_id: str
    buyer_id: str
    supplier_id: str
    supplier_order_id: str
    pool_id: str
    site_id: str
    chip_class: str
    service_class: ServiceClass
    cover: Cover
    notice_s: Seconds
    hours: tuple[ContractHour, ...]
    precision: str
    derate_ppm: Ppm
    stop_loss_ppm: Ppm
    backup_pool_id: str = field(default="", metadata=LATER)
    link_id: str = field(default="", metadata=LATER)
    supply_pool_id: str = field(default="", metadata=LATER)
    payer_id: str = field(default="", metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpareHour:
    """Spare nodes held by a supplier in one interval and what each chip-hour of them earns.

    Attributes:
        site: Held for SITE cover, not for NODE cover.
    """

    auction_id: str
    supplier_id: str
    order_id: str
    pool_id: str
    site_id: str
    interval: Interval
    chips: Chips
    price: MicroUsdPerChipHour
    site: bool = field(default=False, metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One row of a meter batch: a contract on a node during the batch's interval.

    Attributes:
        healthy: Chip-seconds for which the chips were healthy and reachable.
        observed_tflop: Evidence from hardware counters; never the invoice.
        energy_joules: Evidence.
    """

    contract_id: str
    node_id: str
    healthy: ChipSeconds
    observed_tflop: Tflop = Tflop(0)
    energy_joules: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterBatch:
    """All readings of one pool in one metering interval, signed by its meter.

    Attributes:
        sequence: Ascending per meter without gaps; a repeat is a duplicate.
        readings: At most one per (contract, node).
        corrects: Sequence of the batch that this one takes the place of, 0 for none.
    """

    meter_id: str
    pool_id: str
    interval: Interval
    sequence: int
    readings: tuple[Reading, ...]
    corrects: int = field(default=0, metadata=LATER)


class Phase(Enum):
    """Two-phase transfers: a pending amount is posted (in whole or part) or voided, once."""

    POSTED = "POSTED"
    PENDING = "PENDING"
    POST_PENDING = "POST_PENDING"
    VOID_PENDING = "VOID_PENDING"


class TransferCode(Enum):
    """What a transfer is for; the first word of a statement line."""

    DEPOSIT = "DEPOSIT"
    PAYOUT = "PAYOUT"
    ORDER_HOLD = "ORDER_HOLD"
    AUCTION_LEG = "AUCTION_LEG"
    SUPPLY = "SUPPLY"
    SPARE = "SPARE"
    POWER_RENT = "POWER_RENT"
    COVER = "COVER"
    AVAILABILITY = "AVAILABILITY"
    SURCHARGE = "SURCHARGE"
    FEE = "FEE"
    DELIVERY_HOLD = "DELIVERY_HOLD"
    STOP_LOSS_HOLD = "STOP_LOSS_HOLD"
    FAILURE = "FAILURE"
    FAILURE_CREDIT = "FAILURE_CREDIT"
    GAP = "GAP"
    GAP_REFUND = "GAP_REFUND"
    MAKE_WHOLE = "MAKE_WHOLE"
    MAKE_WHOLE_HOLD = "MAKE_WHOLE_HOLD"
    RESIDUAL = "RESIDUAL"
    COMPUTE = "COMPUTE"
    RECLAIM = "RECLAIM"
    WITHDRAWAL = "WITHDRAWAL"
    SPOT_PURCHASE = "SPOT_PURCHASE"
    SPOT_SALE = "SPOT_SALE"
    BUY_BACK = "BUY_BACK"
    RECALL = "RECALL"
    CALL = "CALL"
    CALL_FAILURE = "CALL_FAILURE"
    SURCHARGE_DIFFERENCE = "SURCHARGE_DIFFERENCE"
    DERATE = "DERATE"
    LINK_RENT = "LINK_RENT"
    SPOT_HOLD = "SPOT_HOLD"
    REBATE = "REBATE"
    DISPUTE = "DISPUTE"
    CREDIT_GRANT = "CREDIT_GRANT"
    CREDIT_EXPIRY = "CREDIT_EXPIRY"

    # Members are one object each. Enum's own hash is a call of Python, made for every transfer.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One double-entry movement: ``amount`` of ``asset`` from ``debit`` to ``credit``.

    Attributes:
        transfer_id: Unique in the ledger and derived from what it settles, so that doing the
            same thing twice is found out.
        amount: >= 0. For POST_PENDING at most the pending amount; the rest is voided.
            For VOID_PENDING zero.
        pending_id: For POST_PENDING and VOID_PENDING: the pending transfer.
        reason: Reason code of a failure, gap or correction, empty otherwise.
        contract_id: Contract concerned, empty for none.
        interval_start: Start of the delivery hour concerned, 0 for none.
        quantity: Chip-seconds that the amount is for, 0 where there are none.
        price: Micro-USD per chip-hour that the amount was computed at, 0 where there is none.
        corrects: Transfer that this one corrects, empty for none.
    """

    transfer_id: str
    asset: str
    debit: str
    credit: str
    amount: int
    phase: Phase
    code: TransferCode
    pending_id: str = ""
    reason: str = ""
    contract_id: str = ""
    interval_start: UnixSeconds = UnixSeconds(0)
    quantity: ChipSeconds = ChipSeconds(0)
    price: MicroUsdPerChipHour = MicroUsdPerChipHour(0)
    corrects: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postings:
    """One document of transfers, applied all together or not at all.

    Attributes:
        postings_id: Such as ``hour/<auction>/<start>`` or ``award/<auction>``; once per ledger.
        transfers: In order of application.
    """

    postings_id: str
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPart:
    """Part of a contract-hour's delivery that others than its supplier served (R5, R12).

    Attributes:
        site_id: Where the meter is.
        supplier_id: Who served.
        compute: Its rated compute, part of the contract-hour's.
    """

    site_id: str
    supplier_id: str
    quantity: ChipSeconds
    compute: Tflop


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredHour:
    """What the meter says of one contract-hour; the parts add up to the position.

    delivered + reclaimed + withdrawn + failed + gap = chips x duration (clipped at the
    position).

    Attributes:
        reclaimed: Taken from an interruptible buyer at spot.
        withdrawn: Given back by the buyer at spot.
        served: Parts of ``delivered`` that others served, by site and supplier.
    """

    contract_id: str
    interval: Interval
    position: ChipSeconds
    delivered: ChipSeconds
    failed: ChipSeconds
    gap: ChipSeconds
    compute: Tflop
    reclaimed: ChipSeconds = field(default=ChipSeconds(0), metadata=LATER)
    withdrawn: ChipSeconds = field(default=ChipSeconds(0), metadata=LATER)
    served: tuple[ServedPart, ...] = field(default=(), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredHours:
    """Document: what the meters say of one delivery interval of an auction, by contract id."""

    auction_id: str
    interval: Interval
    hours: tuple[DeliveredHour, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One line of a statement: all posted transfers of one code, contract and hour.

    Attributes:
        amount: Positive when the account received.
        transfer_ids: The transfers it sums, sorted.
    """

    code: TransferCode
    contract_id: str
    interval_start: UnixSeconds
    quantity: ChipSeconds
    price: MicroUsdPerChipHour
    amount: int
    counterparty: str
    transfer_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Account statement of one party, asset and period.

    opening + sum(lines) = closing; ``payout`` is the part of closing paid out, whole cents.

    Attributes:
        collateral_call: What a participant owes beyond its deposits, holds included; 0 for none.
    """

    statement_id: str
    party_id: str
    account: str
    asset: str
    period: Interval
    opening: MicroUsd
    lines: tuple[StatementLine, ...]
    closing: MicroUsd
    payout: MicroUsd
    collateral_call: MicroUsd = field(default=MicroUsd(0), metadata=LATER)
