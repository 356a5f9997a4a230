"""Commands of spot markets; part of ``iso_exchange.commands``."""

from __future__ import annotations

from dataclasses import dataclass, field

from clearing.shapes import LATER
from clearing.types import PricingRule, Tariff
from clearing.units import MicroUsdPerChipHour, Seconds, UnixSeconds
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
    """

    header: Header
    run_id: str
    participant_id: str
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWebhook:
    """Where the signer's notices are posted to; an empty ``url`` ends that."""

    header: Header
    url: str
