"""What settlement takes from one auction: contracts, spare hours, prices, make-whole plans.

``settlement.contracts.assign`` makes an ``Assignment`` once per published auction. It is
a frozen document: the hourly postings and the auditor's recomputation need it, and
nothing else of the auction.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clearing.shapes import LATER
from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsd, MicroUsdPerChipHour, Seconds
from settlement.types import Contract, SpareHour


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupCharge:
    """What a SITE-covered chip of one pool pays for its backup in another, per chip-hour."""

    pool_id: str
    price: MicroUsdPerChipHour


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalPrice:
    """Prices of one pool in one interval without surcharge and fee, micro-USD per chip-hour.

    Used for the auction's own hours and, with shorter intervals, for spot.

    Attributes:
        energy: pi.
        power: kap.
        cover: m of NODE cover.
        availability: lam of an interruptible within the NODE cover time.
        recall_discount: lam of every interruptible within the recall time; what released
            base load gives up.
        backups: m of SITE cover by backup pool, non-zero ones, sorted.
        provisional: Stands in for a spot price that does not exist.
    """

    pool_id: str
    interval: Interval
    energy: MicroUsdPerChipHour
    power: MicroUsdPerChipHour
    cover: MicroUsdPerChipHour
    availability: MicroUsdPerChipHour
    recall_discount: MicroUsdPerChipHour
    provisional: bool = False
    backups: tuple[BackupCharge, ...] = field(default=(), metadata=LATER)

    def backup(self, pool_id: str) -> MicroUsdPerChipHour:
        """Charge for a backup in a pool; 0 where none is listed."""
        return next(
            (item.price for item in self.backups if item.pool_id == pool_id), MicroUsdPerChipHour(0)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPlan:
    """One funder of a make-whole payment.

    Attributes:
        source: Order or ``rent:<site>``, as in the outcome.
        account: Account debited.
        amount: Share of the full payment, > 0.
    """

    source: str
    account: str
    amount: MicroUsd


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeWholePlan:
    """A make-whole payment, earned per delivered chip-second (SETTLEMENT R10).

    Attributes:
        family_id: First accepted order of the family; unique in the auction. Empty for the
            entry that funds a negative residual of the auction's cash (discounts beyond
            cover money).
        payee: Account that is made whole: a participant's cash, or ``pool`` for that entry.
        amount: Full payment; the shares' sum.
        contract_ids: Contracts bought or supplied by the family, sorted.
        awarded: Their chip-seconds.
        last: Delivery interval at whose end the payment is earned: the last with chips; for
            the residual the auction's first, so that its pots find the money in ``pool``.
    """

    family_id: str
    payee: str
    amount: MicroUsd
    shares: tuple[FundingPlan, ...]
    contract_ids: tuple[str, ...]
    awarded: ChipSeconds
    last: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Everything that settlement takes from one auction.

    Attributes:
        intervals: Delivery intervals, ascending.
        node_cover_notice_s: Longest notice of an interruptible that earns ``availability``.
        site_cover_notice_s: Longest notice of one that earns ``recall_discount``.
        contracts: Sorted by contract_id.
        spare_hours: Spare nodes held for cover. ``price`` is what a chip-hour earns after
            site power; ``price + power`` comes out of the cover account.
        reserve_hours: What cover money pays to buyers beside their contract price;
            ``supplier_id`` is the buyer. Chips of an interruptible block above its minimum
            fill count as reserve and earn availability, the minimum does not. Nominated
            chips that a cover shortage leaves uncovered get their cover charge back.
        idle_hours: Awarded supply that no bid takes (free disposal). It earns ``price``
            like all awarded supply.
        prices: Of the pools and intervals with chips, sorted by (pool, interval).
        released_order_ids: Offers of released base load, sorted.
        make_whole: Sorted by family.
    """

    auction_id: str
    intervals: tuple[Interval, ...]
    node_cover_notice_s: Seconds
    site_cover_notice_s: Seconds
    contracts: tuple[Contract, ...]
    spare_hours: tuple[SpareHour, ...]
    reserve_hours: tuple[SpareHour, ...]
    idle_hours: tuple[SpareHour, ...]
    prices: tuple[IntervalPrice, ...]
    released_order_ids: tuple[str, ...]
    make_whole: tuple[MakeWholePlan, ...]
