"""Commands of spot markets; part of ``iso_exchange.commands``."""

from __future__ import annotations

from dataclasses import dataclass, field

from clearing.shapes import LATER
from clearing.types import Interval, PricingRule, Tariff
from clearing.units import ChipSeconds, MicroUsdPerChipHour, Seconds, UnixSeconds
from iso_exchange.header import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSpotMarket:
    """A standing market, cleared every interval with a look-ahead; takes orders at once.

    Attributes:
        first_start: Start of the first run's first interval, on an interval boundary.
        interval_seconds: Length of an interval and distance of the runs, a multiple of 300.
        look_ahead: Intervals of a run.
        gate_lead_s: The gate of a run closes this long before its first interval.
        seed_anchor: Lower-case hex end of the chain of tie seeds: the SHA-256 of the first
            run's seed.
        chain_length: Seeds that the chain holds: the most runs that can be published.
        ready_within_s: Suppliers are instructed, and hand nodes over at most this long after a
            start; 0 where they are not instructed.
    """

    header: Header
    market_id: str
    first_start: UnixSeconds
    interval_seconds: Seconds
    look_ahead: int
    gate_lead_s: Seconds
    price_floor: MicroUsdPerChipHour
    price_cap: MicroUsdPerChipHour
    tick: MicroUsdPerChipHour
    operator_fee: MicroUsdPerChipHour
    pricing_rule: PricingRule
    tie_credit: MicroUsdPerChipHour
    seed_anchor: str
    chain_length: int
    tariff: Tariff
    ready_within_s: Seconds = field(default=Seconds(0), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltSpotMarket:
    """No orders and no runs until resumed; what is bound is delivered."""

    header: Header
    market_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeSpotMarket:
    """Take orders and clear again."""

    header: Header
    market_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSpotMarket:
    """No run after this; open orders end, what is bound is delivered."""

    header: Header
    market_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRun:
    """The gate of one run of a spot market: every order before this entry is in it.

    Its book is frozen here; ``CloseAuction`` then says what is in it.

    Attributes:
        start: Start of its first interval.
    """

    header: Header
    market_id: str
    start: UnixSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Interruptible work that stops, as its owner is told.

    Attributes:
        chips: That stop at the deadline; whole gangs.
        deadline: Start of the first interval without them.
        run_start: Start of the run that decided it.
        reason: Reason code of docs/reference/spot-rules.md, rule 10.
        responsible: Party whose doing it is.
        withdrawn: A later run awards them after all (rule 11).
    """

    order_id: str
    participant_id: str
    pool_id: str
    chips: int
    deadline: UnixSeconds
    run_start: UnixSeconds
    reason: str
    responsible: str
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveNotices:
    """What of a participant's interruptible work a run stops, or lets go on after all.

    Attributes:
        run_id: Published run that decided it.
        notices: All that it changed for the participant.
        pool_id: Pool in which the dispatcher reclaims between runs; empty for a run's notices.
            ``run_id`` then names the interval that is dispatched.
        at: Moment of such a message; 0 for a run's.
    """

    header: Header
    run_id: str
    participant_id: str
    notices: tuple[Notice, ...]
    pool_id: str = field(default="", metadata=LATER)
    at: UnixSeconds = field(default=UnixSeconds(0), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleChips:
    """Idle chip-seconds that one reason held.

    Attributes:
        reason: Name of ``iso_exchange.sequencer.allocation_demand.Idle``.
    """

    reason: str
    quantity: ChipSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportAllocation:
    """How much of a market's capacity carried work, and what held the rest idle.

    One for each hour that runs delivered in, when it is metered; and one at once for a run that
    changes the level of the alarm. Quantities are chip-seconds over all pools of the market:
    ``capacity`` = ``awarded`` + all of ``idle``.

    Attributes:
        interval: The hour, or interval 0 of the run.
        hourly: Which of the two it is.
        run_count: Runs that cleared an interval of it; the quantities are of these intervals.
        level: Of the alarm after them: ``NORMAL``, ``WARNING`` or ``MAJOR_OUTAGE``.
        in_service: Capacity without what is down or offered by nobody.
        awarded: Of positions, as far as chips in service carry them.
        delivered: Metered of the same positions; -1 where it is not metered yet.
        idle: By reason, what is zero is left out.
        allocation_sha256: Hex digest of the public document with pools and runs
            (``iso_exchange.sequencer.allocation_record.AllocationDocument``).
    """

    header: Header
    market_id: str
    interval: Interval
    hourly: bool
    run_count: int
    level: str
    capacity: ChipSeconds
    in_service: ChipSeconds
    awarded: ChipSeconds
    delivered: ChipSeconds
    idle: tuple[IdleChips, ...]
    allocation_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWebhook:
    """Where the signer's notices are posted to; an empty ``url`` ends that."""

    header: Header
    url: str


SpotCommand = (
    OpenSpotMarket
    | HaltSpotMarket
    | ResumeSpotMarket
    | CloseSpotMarket
    | SetWebhook
    | CloseRun
    | GiveNotices
    | ReportAllocation
)
"""Any of these."""
