"""What the exports work on: the part of a ledger that is about money and deliveries.

An extract is a replay of a log up to one checkpoint (``iso_exchange.exports.reading``). It
holds every transfer with the entry that carried it and the time at which that entry was
accepted, and the names that make the transfers readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clearing.types import Interval
from clearing.units import Chips, ChipSeconds, MicroUsd, MicroUsdPerChipHour, UnixSeconds
from settlement.exports.errors import ExportError, ExportErrorCode
from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind
from settlement.types import Contract, DeliveredHour, Statement, Transfer

OPERATOR_ID = "operator"
"""Party that owns ``operator:fee``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """A transfer as it was applied (``settlement.statements.Moved``), with its entry.

    Attributes:
        entry_index: Log entry that carried it.
        position: Within the entry.
        time: When the entry was accepted, rounded down to seconds.
        applied: Amount held (PENDING) or moved; 0 for VOID_PENDING.
    """

    entry_index: int
    position: int
    time: UnixSeconds
    transfer: Transfer
    applied: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedStatement:
    """A statement with its entry."""

    entry_index: int
    time: UnixSeconds
    auction_id: str
    statement: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledHour:
    """What the meters said of one contract-hour, with the entry that settled it."""

    entry_index: int
    delivered: DeliveredHour


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityTotal:
    """A published community total: a public entry.

    Attributes:
        period: Delivery period of the auction.
        delivered: Chip-seconds at the site.
    """

    entry_index: int
    time: UnixSeconds
    auction_id: str
    site_id: str
    community_id: str
    period: Interval
    delivered: ChipSeconds
    surcharge: MicroUsd


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPrice:
    """Clearing prices of one pool and interval, all-in, micro-USD per chip-hour.

    Attributes:
        entry_index: Entry that published them.
        firm: With NODE cover.
        interruptible: Step bids within the NODE cover notice.
        energy: What supply earns.
        indicative: Nothing was sold at it.
        capacity: Chips in the grid.
        supplied: Chips sold.
    """

    entry_index: int
    auction_id: str
    pool_id: str
    interval: Interval
    firm: MicroUsdPerChipHour
    firm_uncovered: MicroUsdPerChipHour
    interruptible: MicroUsdPerChipHour
    energy: MicroUsdPerChipHour
    power: MicroUsdPerChipHour
    surcharge: MicroUsdPerChipHour
    fee: MicroUsdPerChipHour
    indicative: bool
    capacity: Chips
    supplied: Chips


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A registered participant."""

    participant_id: str
    display_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFacts:
    """A site as far as bills and reports name it."""

    site_id: str
    community_id: str
    region: str
    country: str
    surcharge: MicroUsdPerChipHour


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """Everything that the exports read, up to one checkpoint.

    Attributes:
        origin: Name of the log.
        size: Leaves under the checkpoint.
        root: Hex root of the checkpoint.
        end: Time of the last batch that was read whole, 0 for none: every transfer of an
            entry accepted before it is here.
        sealed_from: First entry that is sealed until its auction is published and left out
            with everything after it; -1 where the extract is complete.
        movements: In order of application.
        contracts: By contract id.
        periods: Delivery period by auction id.
        parties: By participant id.
        sites: By site id.
    """

    origin: str
    size: int
    root: str
    end: UnixSeconds
    sealed_from: int
    movements: tuple[Movement, ...]
    statements: tuple[IssuedStatement, ...]
    hours: tuple[SettledHour, ...]
    totals: tuple[CommunityTotal, ...]
    prices: tuple[PublishedPrice, ...]
    contracts: Mapping[str, Contract]
    periods: Mapping[str, Interval]
    parties: Mapping[str, Party]
    sites: Mapping[str, SiteFacts]


def owner_of(account: str, sites: Mapping[str, SiteFacts]) -> str:
    """Participant that an account's money belongs to.

    Raises:
        ExportError: ``PARTY_UNKNOWN`` for a shared account, ``SITE_UNKNOWN``.
    """
    parsed = accounts.parse(account)
    if parsed.kind in {AccountKind.CASH, AccountKind.COLLATERAL, AccountKind.COMPUTE}:
        return parsed.parts[0]
    if parsed.kind is AccountKind.OPERATOR_FEE:
        return OPERATOR_ID
    if parsed.kind is AccountKind.COMMUNITY:
        return site_of(parsed.parts[0], sites).community_id
    raise ExportError(ExportErrorCode.PARTY_UNKNOWN, account, "belongs to no participant")


def site_of(site_id: str, sites: Mapping[str, SiteFacts]) -> SiteFacts:
    """A site by its identifier.

    Raises:
        ExportError: ``SITE_UNKNOWN``.
    """
    site = sites.get(site_id)
    if site is None:
        raise ExportError(ExportErrorCode.SITE_UNKNOWN, site_id, "is not registered")
    return site


def name_of(participant_id: str, parties: Mapping[str, Party]) -> str:
    """Display name of a participant, its identifier where it has none."""
    party = parties.get(participant_id)
    return (party.display_name if party else "") or participant_id
