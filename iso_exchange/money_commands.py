"""Commands about money after the auction: spot, corrections, rebates, disputes, grants.

Part of ``iso_exchange.commands``, which names them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from clearing.types import Interval
from clearing.units import Chips, ChipSeconds, UnixSeconds
from iso_exchange.header import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSpot:
    """Prices and moves of one metering interval, for one auction's contracts.

    Attributes:
        spot_sha256: Hex digest of the document (``settlement.spot.result.SpotResult``).
        postings_sha256: Hex digest of the postings document with its holds.
    """

    header: Header
    auction_id: str
    interval: Interval
    spot_sha256: str
    postings_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectHour:
    """A settled delivery interval worked out again from the latest readings (SETTLEMENT R9).

    Attributes:
        number: Of the correction, from 1 for each interval.
        postings_sha256: Hex digest of the postings document: new minus old.
        delivered_sha256: Hex digest of the delivered-hours document that holds from now on.
        batch_count: Meter batches that it was computed from.
    """

    header: Header
    auction_id: str
    interval: Interval
    number: int
    postings_sha256: str
    delivered_sha256: str
    batch_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RebateRents:
    """Power rent that an auction left, back to who was delivered at the site (SETTLEMENT R14).

    Attributes:
        postings_sha256: Hex digest of the postings document.
    """

    header: Header
    auction_id: str
    postings_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterReading:
    """What a party's own counters say of a node, against the meter."""

    node_id: str
    interval: Interval
    healthy: ChipSeconds
    observed_tflop: int = 0
    energy_joules: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeHour:
    """A party of a contract contests one delivery hour and freezes the amount in question.

    Attributes:
        hour_start: Start of the contested delivery interval.
        counter_readings: Of whole metering intervals; empty contests the whole hour.
        evidence_sha256: Hex digest of further evidence, empty for none.
    """

    header: Header
    dispute_id: str
    contract_id: str
    hour_start: UnixSeconds
    reason: str
    counter_readings: tuple[CounterReading, ...] = ()
    evidence_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideDispute:
    """The operator decides a dispute; what is frozen is given back.

    Attributes:
        upheld: The counter readings take the place of the meter's, and the hour is corrected.
    """

    header: Header
    dispute_id: str
    upheld: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterGrant:
    """Capacity set aside for a non-profit or university at zero price.

    The beneficiary nominates it like base load; the supplier that gives it pays surcharge,
    fee, power and cover.
    """

    header: Header
    grant_id: str
    beneficiary_id: str
    supplier_id: str
    pool_id: str
    period: Interval
    chips: Chips
    purpose: str
