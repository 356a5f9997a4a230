"""Every command of the exchange as a frozen value: what a signed body says, without protobuf.

A command is what the state machine understands. Bodies signed by participants, meters
and the operator arrive as protobuf and are converted in ``iso_exchange.convert``; bodies
signed by the exchange's own services are the canonical JSON of these very values
(``clearing.codec``). Times are seconds since the epoch, money micro-USD.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clearing.shapes import LATER
from clearing.types import (
    Commitment,
    Conversion,
    Cover,
    Eligibility,
    Interval,
    PricingRule,
    ServiceClass,
    Tariff,
)
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
from iso_exchange import money_commands
from iso_exchange.base_load_commands import Recall as Recall  # noqa: PLC0414
from iso_exchange.base_load_commands import Release as Release  # noqa: PLC0414
from iso_exchange.base_load_commands import TimedSegment as TimedSegment  # noqa: PLC0414
from iso_exchange.dispatch_commands import AcknowledgeBatch as AcknowledgeBatch  # noqa: PLC0414
from iso_exchange.dispatch_commands import DeclareTimeout as DeclareTimeout  # noqa: PLC0414
from iso_exchange.dispatch_commands import DispatchCommand as DispatchCommand  # noqa: PLC0414
from iso_exchange.dispatch_commands import InstructSuppliers as InstructSuppliers  # noqa: PLC0414
from iso_exchange.dispatch_commands import SetAccessKey as SetAccessKey  # noqa: PLC0414
from iso_exchange.dispatch_commands import SignReceipt as SignReceipt  # noqa: PLC0414
from iso_exchange.header import Header as Header  # noqa: PLC0414 - commands are found here
from iso_exchange.header import Role as Role  # noqa: PLC0414 - the same
from iso_exchange.key_commands import CloseLog as CloseLog  # noqa: PLC0414
from iso_exchange.key_commands import ContinueLog as ContinueLog  # noqa: PLC0414
from iso_exchange.key_commands import RegisterRootKey as RegisterRootKey  # noqa: PLC0414
from iso_exchange.key_commands import RotateKey as RotateKey  # noqa: PLC0414
from iso_exchange.key_commands import RotateLogKey as RotateLogKey  # noqa: PLC0414
from iso_exchange.product_commands import ChipSegment as ChipSegment  # noqa: PLC0414
from iso_exchange.product_commands import ProductCommand as ProductCommand  # noqa: PLC0414
from iso_exchange.product_commands import ReturnHours as ReturnHours  # noqa: PLC0414
from iso_exchange.spot_commands import CloseRun as CloseRun  # noqa: PLC0414
from iso_exchange.spot_commands import CloseSpotMarket as CloseSpotMarket  # noqa: PLC0414
from iso_exchange.spot_commands import GiveNotices as GiveNotices  # noqa: PLC0414
from iso_exchange.spot_commands import HaltSpotMarket as HaltSpotMarket  # noqa: PLC0414
from iso_exchange.spot_commands import Notice as Notice  # noqa: PLC0414
from iso_exchange.spot_commands import OpenSpotMarket as OpenSpotMarket  # noqa: PLC0414
from iso_exchange.spot_commands import ResumeSpotMarket as ResumeSpotMarket  # noqa: PLC0414
from iso_exchange.spot_commands import SetWebhook as SetWebhook  # noqa: PLC0414
from iso_exchange.spot_commands import SpotCommand as SpotCommand  # noqa: PLC0414
from settlement.types import MeterBatch

# Registry ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterParticipant:
    """Admit a participant with its first key.

    Attributes:
        public_key: Raw Ed25519 key, 32 bytes.
        country: ISO 3166-1 alpha-2 of the legal entity.
    """

    header: Header
    participant_id: str
    display_name: str
    roles: tuple[Role, ...]
    public_key: bytes
    country: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeKey:
    """From now on nothing signed with this key is accepted."""

    header: Header
    participant_id: str
    key_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendParticipant:
    """Refuse new orders of a participant until it is reinstated."""

    header: Header
    participant_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinstateParticipant:
    """Lift a suspension."""

    header: Header
    participant_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAllOrders:
    """Cancel every open order of a participant in auctions whose gate is still open."""

    header: Header
    participant_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterSite:
    """A place with a host community; attributes as in ``clearing.types.Site``.

    Attributes:
        community_id: Who receives the surcharge.
        surcharge: Micro-USD per delivered chip-hour; None is refused: every site states one.
        power_limit: Watts for exchange load, None when it never binds.
    """

    header: Header
    site_id: str
    community_id: str
    surcharge: MicroUsdPerChipHour | None
    power_limit: Watts | None
    region: str
    country: str
    subdivision: str = ""
    data_residency: tuple[str, ...] = ()
    legal_controls: tuple[str, ...] = ()
    certifications: tuple[str, ...] = ()
    carbon_grams_per_kwh: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterPool:
    """Site x chip class x fabric domain.

    Attributes:
        supplier_ids: Who may offer capacity there.
        derate_ppm: Acceptance derate: measured GEMM rate over the chip table's reference.
        precision: Precision in which its delivered compute is accounted.
    """

    header: Header
    pool_id: str
    site_id: str
    supplier_ids: tuple[str, ...]
    chip_class: str
    chips_per_node: Chips
    capacity: Chips
    chip_power: Watts
    node_spare_ppm: Ppm
    fabric: str
    derate_ppm: Ppm = Ppm(1_000_000)
    precision: str = "BF16"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterMeter:
    """The meter of a pool: one key, one pool."""

    header: Header
    meter_id: str
    pool_id: str
    public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishChipTable:
    """Version of the chip table from now on; the document is the exact file."""

    header: Header
    version: str
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDeposit:
    """Collateral received at the exchange's bank, booked by the operator.

    Attributes:
        bank_reference: Unique; the same transfer is never booked twice.
    """

    header: Header
    participant_id: str
    amount: MicroUsd
    bank_reference: str


# Auctions ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAuction:
    """An auction as data; opens at once, closes at ``close_time``."""

    header: Header
    auction_id: str
    product: str
    close_time: UnixSeconds
    first_interval_start: UnixSeconds
    interval_seconds: Seconds
    interval_count: int
    price_floor: MicroUsdPerChipHour
    price_cap: MicroUsdPerChipHour
    tick: MicroUsdPerChipHour
    operator_fee: MicroUsdPerChipHour
    pricing_rule: PricingRule
    tie_credit: MicroUsdPerChipHour
    seed_commitment: str
    tariff: Tariff


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltAuction:
    """Stop accepting orders until resumed; the gate does not close while halted."""

    header: Header
    auction_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeAuction:
    """Accept orders again."""

    header: Header
    auction_id: str
    reason: str


# Orders -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferTerms:
    """Supply in one pool; see ``clearing.types.Offer``."""

    pool_id: str
    segments: tuple[TimedSegment, ...]
    recallable: bool = False
    commitment: Commitment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BidConditions:
    """What all bids share: where, which class of service, with which cover and notice."""

    where: Eligibility
    service_class: ServiceClass
    cover: Cover
    notice_s: Seconds = Seconds(0)
    conversions: tuple[Conversion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBidTerms:
    """Divisible demand; see ``clearing.types.StepBid``."""

    conditions: BidConditions
    segments: tuple[TimedSegment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockBidTerms:
    """A gang; see ``clearing.types.BlockBid``."""

    conditions: BidConditions
    earliest_start: UnixSeconds
    latest_start: UnixSeconds
    duration_s: Seconds
    chips: Chips
    limit_price: MicroUsdPerChipHour
    min_fill_ppm: Ppm
    profile: tuple[Chips, ...] = ()
    exclusive_group: str = ""
    parent_order_id: str = ""
    initial_pool_id: str = ""
    restart_cost: MicroUsd = MicroUsd(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkBidTerms:
    """Total work by a deadline; see ``clearing.types.WorkBid``."""

    conditions: BidConditions
    start: UnixSeconds
    deadline: UnixSeconds
    work: ChipSeconds
    max_chips: Chips
    limit_price: MicroUsdPerChipHour


OrderTerms = OfferTerms | StepBidTerms | BlockBidTerms | WorkBidTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOrder:
    """A new order (revision 1), or an amendment (the next revision) until gate closure."""

    header: Header
    order_id: str
    auction_id: str
    participant_id: str
    revision: int
    terms: OrderTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """Withdraw an order before gate closure."""

    header: Header
    order_id: str


# Base load --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterEntitlement:
    """Bilateral base-load contract, signed by holder and supplier in one envelope.

    Attributes:
        contract_price: Micro-USD per chip-hour, paid outside the exchange.
        period: Whole intervals in which the chips are set aside.
        backup_pool_ids: For SITE cover: pools that may hold the backup; empty otherwise.
    """

    header: Header
    entitlement_id: str
    holder_id: str
    supplier_id: str
    pool_id: str
    period: Interval
    chips: Chips
    contract_price: MicroUsdPerChipHour
    cover: Cover
    backup_pool_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Nominate:
    """What the holder will use of an entitlement in one auction's intervals.

    Attributes:
        backup_pool_ids: Those of the entitlement's that may be used; empty for all of them.
    """

    header: Header
    nomination_id: str
    entitlement_id: str
    auction_id: str
    segments: tuple[TimedSegment, ...]
    backup_pool_ids: tuple[str, ...] = ()


# Delivery and metering --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitReadings:
    """One signed meter batch."""

    header: Header
    batch: MeterBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOutage:
    """A supplier (or the operator) says that nodes of a pool are down.

    Attributes:
        nodes: Nodes concerned; empty for the whole pool.
    """

    header: Header
    outage_id: str
    pool_id: str
    interval: Interval
    nodes: tuple[str, ...]
    reason: str


# The exchange's own services --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAuction:
    """Gate closure: the order set is frozen.

    Attributes:
        order_count: Orders in the book.
        book_root: Hex RFC 6962 root over the leaf hashes of the orders' last entries, in
            order of log index.
        book_commitment: Hex commitment (salted) to the book document.
    """

    header: Header
    auction_id: str
    order_count: int
    book_root: str
    book_commitment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishResult:
    """Result of an auction, for auditors; awards and prices follow from the documents.

    Attributes:
        book_sha256: Hex digest of the book document (``clearing.types.Book``).
        book_salt: Hex salt that opens ``CloseAuction.book_commitment``.
        outcome_sha256: Hex digest of the outcome document (``clearing.outcome.Outcome``).
        assignment_sha256: Hex digest of the contracts document.
        postings_sha256: Hex digest of the award postings document.
        stops_sha256: Of a spot run: hex digest of what it does not renew
            (``iso_exchange.sequencer.spot_binding.Stops``); empty otherwise.
        renewed: A spot run that was not cleared in time and renews what the run before advised.
    """

    header: Header
    auction_id: str
    book_sha256: str
    book_salt: str
    outcome_sha256: str
    assignment_sha256: str
    postings_sha256: str
    stops_sha256: str = field(default="", metadata=LATER)
    renewed: bool = field(default=False, metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishPrices:
    """What everybody may see of a result.

    Attributes:
        prices_sha256: Hex digest of the public prices document (``iso_exchange.publication``).
        certified_gap_ppb: Parts per billion of the gains from trade.
    """

    header: Header
    auction_id: str
    prices_sha256: str
    certified_gap_ppb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyAward:
    """One participant's own awards, contracts and payments; digest of its document."""

    header: Header
    auction_id: str
    participant_id: str
    notice_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailAuction:
    """Clearing did not produce a result that may be published; it will be tried again."""

    header: Header
    auction_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleHour:
    """Postings of one delivery interval of an auction.

    Attributes:
        postings_sha256: Hex digest of the postings document.
        delivered_sha256: Hex digest of the delivered-hours document it was computed from.
        batch_count: Meter batches of the interval that it was computed from; -1: not stated.
        pool_balance: Posted stop-loss pool that it was computed with, micro-USD; -1: not stated.
    """

    header: Header
    auction_id: str
    interval: Interval
    postings_sha256: str
    delivered_sha256: str
    batch_count: int = field(default=-1, metadata=LATER)
    pool_balance: int = field(default=-1, metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueStatement:
    """Statement of one account since its last one; its payout is posted with it.

    Attributes:
        statement_sha256: Hex digest of the statement document.
    """

    header: Header
    statement_id: str
    auction_id: str
    party_id: str
    statement_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishCommunityTotal:
    """Surcharge earned for one site over an auction's delivery period."""

    header: Header
    auction_id: str
    site_id: str
    community_id: str
    delivered: ChipSeconds
    surcharge: MicroUsd


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseBook:
    """Everybody may read, and verify, the book under pseudonyms.

    Attributes:
        book_sha256: Hex digest of the canonical book under pseudonyms, a public document.
        outcome_sha256: Hex digest of the outcome under the same pseudonyms, a public document.
    """

    header: Header
    auction_id: str
    book_sha256: str
    outcome_sha256: str


Command = (
    RegisterParticipant
    | RevokeKey
    | RotateKey
    | RegisterRootKey
    | RotateLogKey
    | CloseLog
    | ContinueLog
    | SuspendParticipant
    | ReinstateParticipant
    | CancelAllOrders
    | RegisterSite
    | RegisterPool
    | RegisterMeter
    | PublishChipTable
    | RecordDeposit
    | CreateAuction
    | HaltAuction
    | ResumeAuction
    | SubmitOrder
    | CancelOrder
    | RegisterEntitlement
    | Nominate
    | Release
    | Recall
    | SubmitReadings
    | ReportOutage
    | CloseAuction
    | PublishResult
    | PublishPrices
    | NotifyAward
    | FailAuction
    | SettleHour
    | IssueStatement
    | PublishCommunityTotal
    | ReleaseBook
    | money_commands.PublishSpot
    | money_commands.CorrectHour
    | money_commands.RebateRents
    | money_commands.RebatePool
    | money_commands.DisputeHour
    | money_commands.DecideDispute
    | money_commands.RegisterGrant
    | DispatchCommand
    | ProductCommand
    | SpotCommand
)
