"""What a host community earned at one site: delivered, earned, paid, pending.

Earned is what the ledger posted to ``community:<site>`` for the delivery hours of the
period. Payouts settle the oldest earnings first, so paid and pending of a period add up to
what was earned in it, whenever the money left.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from clearing.types import Interval
from clearing.units import (
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    UnixSeconds,
    energy_charge,
)
from settlement.exports.extract import (
    CommunityTotal,
    Extract,
    IssuedStatement,
    Movement,
    name_of,
    site_of,
)
from settlement.exports.payouts import Payout, posted_payouts
from settlement.ledger import accounts
from settlement.metering.moved import delivered_at
from settlement.types import USD, Phase, TransferCode

SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class HourLine:
    """One delivery hour at the site, of one auction.

    Attributes:
        delivered: Chip-seconds that the meters read, from the delivered hours.
        rates: Surcharges of the contracts delivered, each once, ascending.
        earned: Posted to the community.
        recomputed: Surcharge times chip-seconds per contract, each rounded once; equal to
            ``earned`` where nothing was corrected later.
        entry_index: Entry that settled the hour.
    """

    start: UnixSeconds
    delivered: ChipSeconds
    rates: tuple[MicroUsdPerChipHour, ...]
    earned: MicroUsd
    recomputed: MicroUsd
    entry_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayLine:
    """All hours of one UTC day."""

    start: UnixSeconds
    hours: tuple[HourLine, ...]

    @property
    def delivered(self) -> ChipSeconds:
        """Chip-seconds."""
        return ChipSeconds(sum(hour.delivered for hour in self.hours))

    @property
    def earned(self) -> MicroUsd:
        """Micro-USD."""
        return MicroUsd(sum(hour.earned for hour in self.hours))


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityReport:
    """Report of one site and period; all amounts micro-USD.

    Attributes:
        community_name: Display name of the community.
        period: Of the delivery hours reported.
        as_of: Time of the last entry that was read.
        origin: Name of the log.
        size: Leaves of the log that were read.
        root: Hex root of the log.
        sealed_from: First entry not read because it is sealed, -1 for none.
        rate: Surcharge that the site asks for now, per chip-hour.
        days: Days with deliveries, ascending.
        other: Posted to the community for the period's hours beside the surcharge, such as a
            correction.
        paid: Part of ``earned`` that was paid out until ``as_of``.
        payouts: All payouts to the community until ``as_of``.
        totals: Published totals of auctions that deliver in the period, ascending by entry.
        statements: Statements of the community's account, of the same auctions.
        earned_ever: Since the log began, deliveries of every hour.
        paid_ever: The same.
        promised: Held by buyers for hours that are not settled yet, at most.
    """

    site_id: str
    community_id: str
    community_name: str
    period: Interval
    as_of: UnixSeconds
    origin: str
    size: int
    root: str
    sealed_from: int
    rate: MicroUsdPerChipHour
    days: tuple[DayLine, ...]
    other: MicroUsd
    paid: MicroUsd
    payouts: tuple[Payout, ...]
    totals: tuple[CommunityTotal, ...]
    statements: tuple[IssuedStatement, ...]
    earned_ever: MicroUsd
    paid_ever: MicroUsd
    promised: MicroUsd

    @property
    def delivered(self) -> ChipSeconds:
        """Chip-seconds in the period."""
        return ChipSeconds(sum(day.delivered for day in self.days))

    @property
    def earned(self) -> MicroUsd:
        """Earned by the period's deliveries."""
        return MicroUsd(sum(day.earned for day in self.days) + self.other)

    @property
    def pending(self) -> MicroUsd:
        """Earned in the period and not paid out yet."""
        return MicroUsd(self.earned - self.paid)

    @property
    def balance(self) -> MicroUsd:
        """Balance of the community's account at the end of the log."""
        return MicroUsd(self.earned_ever - self.paid_ever)

    @property
    def recomputes(self) -> bool:
        """Whether surcharge times chip-seconds gives what was posted, in every hour."""
        return all(hour.earned == hour.recomputed for day in self.days for hour in day.hours)


def community_report(extract: Extract, site_id: str, period: Interval) -> CommunityReport:
    """Report of a site's community.

    Args:
        extract: The ledger.
        site_id: Site.
        period: Delivery hours that start in it are reported.

    Raises:
        ExportError: ``SITE_UNKNOWN``, ``HISTORY_INCOMPLETE``.
    """
    site = site_of(site_id, extract.sites)
    account = accounts.community(site_id)
    movements = tuple(
        item
        for item in extract.movements
        if item.transfer.asset == USD and account in {item.transfer.debit, item.transfer.credit}
    )
    posted = [item for item in movements if item.transfer.phase is not Phase.PENDING]
    earnings = [item for item in posted if item.transfer.code is not TransferCode.PAYOUT]
    payouts = posted_payouts(posted, extract.sites)
    before = sum(_signed(item, account) for item in earnings if _hour(item) < period.start)
    within = [item for item in earnings if period.start <= _hour(item) < period.end]
    earned = sum(_signed(item, account) for item in within)
    paid_ever = sum(item.amount for item in payouts)
    hours = _hours(extract, site_id, period, within)
    auctions = {
        name
        for name, held in extract.periods.items()
        if held.start < period.end and period.start < held.end
    }
    return CommunityReport(
        site_id=site_id,
        community_id=site.community_id,
        community_name=name_of(site.community_id, extract.parties),
        period=period,
        as_of=extract.end,
        origin=extract.origin,
        size=extract.size,
        root=extract.root,
        sealed_from=extract.sealed_from,
        rate=site.surcharge,
        days=tuple(
            DayLine(start=UnixSeconds(day * SECONDS_PER_DAY), hours=tuple(group))
            for day, group in groupby(hours, key=lambda hour: hour.start // SECONDS_PER_DAY)
        ),
        other=MicroUsd(earned - sum(hour.earned for hour in hours)),
        # Oldest first; a negative period has nothing to be paid.
        paid=MicroUsd(max(0, min(paid_ever - before, earned))),
        payouts=payouts,
        totals=tuple(
            item for item in extract.totals
            if item.site_id == site_id and item.auction_id in auctions
        ),
        statements=tuple(
            item for item in extract.statements
            if item.statement.account == account and item.auction_id in auctions
        ),
        earned_ever=MicroUsd(sum(_signed(item, account) for item in earnings)),
        paid_ever=MicroUsd(paid_ever),
        promised=_promised(movements, account),
    )  # fmt: skip


def _hours(
    extract: Extract, site_id: str, period: Interval, within: list[Movement]
) -> list[HourLine]:
    """One line per settled hour and entry, ascending."""
    account = accounts.community(site_id)
    # A correction counts where the hour is stated as it is known now.
    stated = {
        (int(item.delivered.interval.start), item.delivered.contract_id): item.entry_index
        for item in extract.hours
    }
    earned: dict[tuple[int, int], int] = defaultdict(int)
    for item in within:
        start = _hour(item)
        entry_index = stated.get((start, item.transfer.contract_id), item.entry_index)
        earned[start, entry_index] += _signed(item, account)
    found: dict[tuple[int, int], list[tuple[ChipSeconds, MicroUsdPerChipHour]]] = defaultdict(list)
    for settled in extract.hours:
        delivered = settled.delivered
        start = delivered.interval.start
        if not period.start <= start < period.end:
            continue
        contract = extract.contracts[delivered.contract_id]
        quantity = delivered_at(delivered, contract, site_id)
        if contract.site_id != site_id and not quantity:
            continue
        rate = site_of(site_id, extract.sites).surcharge
        if contract.site_id == site_id:
            # A contract of spot has an hour per metering interval, all at one surcharge.
            rate = next(
                (hour.legs.surcharge for hour in contract.hours if hour.interval.start == start),
                contract.hours[0].legs.surcharge,
            )
        found[start, settled.entry_index].append((quantity, rate))
    return [
        HourLine(
            start=UnixSeconds(start),
            delivered=ChipSeconds(sum(quantity for quantity, _ in parts)),
            rates=tuple(sorted({rate for quantity, rate in parts if quantity})),
            earned=MicroUsd(earned[start, entry_index]),
            recomputed=MicroUsd(sum(energy_charge(rate, quantity) for quantity, rate in parts)),
            entry_index=entry_index,
        )
        for (start, entry_index), parts in sorted(found.items())
    ]


def _promised(movements: tuple[Movement, ...], account: str) -> MicroUsd:
    holds: dict[str, int] = {}
    for item in movements:
        transfer = item.transfer
        if transfer.phase is Phase.PENDING:
            holds[transfer.transfer_id] = transfer.amount if transfer.credit == account else 0
        elif transfer.pending_id:
            holds.pop(transfer.pending_id, None)
    return MicroUsd(sum(holds.values()))


def _signed(item: Movement, account: str) -> int:
    return item.applied if item.transfer.credit == account else -item.applied


def _hour(item: Movement) -> int:
    """Delivery hour that a transfer is for; its own time where it is for none."""
    return item.transfer.interval_start or item.time
