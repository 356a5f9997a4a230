"""Spot result from a cleared spot auction: positions after it, less those of the day ahead.

The spot auction clears standing positions anew together with new orders (SETTLEMENT R3): an
awarded contract is a standing bid, a sold chip a standing offer. What differs is the
deviation. Only the first interval of the look-ahead binds. What failed is no deviation: the
replacements that dispatch made are handed in and taken off their supplier's change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from clearing.outcome import Outcome, Side
from clearing.types import Book, Interval, ServiceClass
from clearing.units import Chips, ChipSeconds, MicroUsdPerChipHour
from settlement.assignment import Assignment, BackupCharge, IntervalPrice
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.spot.result import (
    Purchase,
    Recall,
    Reclaim,
    Replacement,
    SpotResult,
    SupplyMove,
    Withdrawal,
)
from settlement.types import Contract


def spot_result(
    day_ahead: Assignment,
    book: Book,
    outcome: Outcome,
    traded: Assignment,
    *,
    standing: Mapping[str, str],
    limits: Mapping[str, MicroUsdPerChipHour],
    releases: Mapping[str, str] | None = None,
    replacements: Sequence[Replacement] = (),
) -> SpotResult:
    """What a spot auction moved in its first interval.

    Args:
        day_ahead: The auction whose positions stand.
        book: The spot book; its first interval is the one that binds.
        outcome: Its verified outcome.
        traded: ``settlement.contracts.assign`` of both: gives new demand its suppliers.
        standing: Contract of every standing bid, by its order in the book. An order that is
            not here is new.
        limits: All-in limit of every new bid (``settlement.limits.highest_limits``).
        releases: Released offer of every nomination that may recall, by its order.
        replacements: What dispatch replaced because it failed, in that interval.

    Raises:
        SettlementError: ``SPOT_MOVE_INVALID``, a standing bid grew or changed its pool.
    """
    cell = book.spec.intervals[0]
    contracts = {item.contract_id: item for item in day_ahead.contracts}
    reclaims, withdrawals = _given_up(contracts, outcome, standing, cell)
    purchases, recalls = _taken(day_ahead, traded, standing, limits, releases or {}, cell)
    return SpotResult(
        auction_id=day_ahead.auction_id,
        interval=cell,
        prices=prices_of(book, outcome, 0, cell),
        reclaims=tuple(reclaims),
        withdrawals=tuple(withdrawals),
        purchases=tuple(purchases),
        recalls=tuple(recalls),
        supply=tuple(_supply(day_ahead, outcome, replacements, contracts, cell)),
        replacements=tuple(replacements),
    )


def _chips_at(contract: Contract, cell: Interval) -> int:
    return sum(
        hour.chips
        for hour in contract.hours
        if hour.interval.start <= cell.start and cell.end <= hour.interval.end
    )


def _given_up(
    contracts: Mapping[str, Contract],
    outcome: Outcome,
    standing: Mapping[str, str],
    cell: Interval,
) -> tuple[list[Reclaim], list[Withdrawal]]:
    """Standing bids that kept less than they had."""
    kept: dict[str, int] = defaultdict(int)
    for award in outcome.awards:
        contract_id = standing.get(award.order_id)
        if contract_id is None or award.first > 0 or not award.chips[0]:
            continue
        if award.pool_id != contracts[contract_id].pool_id:
            raise SettlementError(
                SettlementErrorCode.SPOT_MOVE_INVALID, contract_id, f"moved to {award.pool_id}"
            )
        kept[contract_id] += award.chips[0]
    reclaims, withdrawals = [], []
    for contract_id in sorted(set(standing.values())):
        contract = contracts[contract_id]
        lost = _chips_at(contract, cell) - kept[contract_id]
        quantity = ChipSeconds(lost * cell.duration_s)
        if lost < 0:
            raise SettlementError(
                SettlementErrorCode.SPOT_MOVE_INVALID, contract_id, f"grew by {-lost} chips"
            )
        if lost and contract.service_class is ServiceClass.INTERRUPTIBLE:
            reclaims.append(Reclaim(contract_id=contract_id, quantity=quantity))
        elif lost:
            withdrawals.append(Withdrawal(contract_id=contract_id, quantity=quantity))
    return reclaims, withdrawals


def _taken(
    day_ahead: Assignment,
    traded: Assignment,
    standing: Mapping[str, str],
    limits: Mapping[str, MicroUsdPerChipHour],
    releases: Mapping[str, str],
    cell: Interval,
) -> tuple[list[Purchase], list[Recall]]:
    """New demand, and base load above what was nominated."""
    purchases, recalls = [], []
    nominated: dict[str, int] = defaultdict(int)
    for contract in day_ahead.contracts:
        if contract.service_class is ServiceClass.BASE_LOAD:
            nominated[contract.supplier_order_id] += _chips_at(contract, cell)
    for contract in traded.contracts:
        hour = next((item for item in contract.hours if item.interval == cell), None)
        if hour is None or contract.order_id in standing:
            continue
        chips = int(hour.chips)
        if contract.service_class is ServiceClass.BASE_LOAD:
            stood = min(chips, nominated[contract.supplier_order_id])
            nominated[contract.supplier_order_id] -= stood
            chips -= stood
        if not chips:
            continue
        made = replace(
            contract,
            contract_id=f"{day_ahead.auction_id}/{contract.contract_id}",
            auction_id=day_ahead.auction_id,
            hours=(replace(hour, chips=Chips(chips)),),
        )
        if contract.service_class is ServiceClass.BASE_LOAD:
            recalls.append(Recall(order_id=releases[contract.order_id], contract=made))
        else:
            inside = hour.legs.surcharge + hour.legs.fee
            limit = MicroUsdPerChipHour(limits[contract.order_id] - inside)
            purchases.append(Purchase(contract=made, limit=limit))
    return purchases, recalls


def _supply(
    day_ahead: Assignment,
    outcome: Outcome,
    replacements: Sequence[Replacement],
    contracts: Mapping[str, Contract],
    cell: Interval,
) -> list[SupplyMove]:
    """Offers that sell more or less than they did; released ones change by recalls alone."""
    moved: dict[tuple[str, str, str], int] = defaultdict(int)
    for award in outcome.awards:
        if award.side is Side.SUPPLY and award.first == 0:
            key = (award.participant_id, award.order_id, award.pool_id)
            moved[key] += award.chips[0] * cell.duration_s
    for contract in day_ahead.contracts:
        if contract.service_class is ServiceClass.BASE_LOAD:
            continue
        key = (contract.supplier_id, contract.supplier_order_id, contract.pool_id)
        moved[key] -= _chips_at(contract, cell) * cell.duration_s
    for idle in day_ahead.idle_hours:
        if idle.interval.start <= cell.start and cell.end <= idle.interval.end:
            key = (idle.supplier_id, idle.order_id, idle.pool_id)
            moved[key] -= idle.chips * cell.duration_s
    for item in replacements:
        contract = contracts[item.contract_id]
        key = (contract.supplier_id, contract.supplier_order_id, contract.pool_id)
        moved[key] += item.quantity
    return [
        SupplyMove(
            participant_id=participant_id,
            order_id=order_id,
            pool_id=pool_id,
            quantity=ChipSeconds(quantity),
        )
        for (participant_id, order_id, pool_id), quantity in sorted(moved.items())
        if quantity and order_id not in day_ahead.released_order_ids
    ]


def prices_of(
    book: Book, outcome: Outcome, place: int, cell: Interval, *, provisional: bool = False
) -> tuple[IntervalPrice, ...]:
    """Prices that an auction cleared in one of its intervals, without surcharge and fee.

    Args:
        book: That was cleared.
        outcome: Its outcome.
        place: The interval's position in the book.
        cell: Metering interval, inside that interval, that the prices are given for.
        provisional: They stand in for prices that are not there.

    Returns:
        By pool; pools in which nothing was traded have no price.
    """
    sites = {pool.pool_id: pool.site_id for pool in book.pools}
    charges: dict[str, list[BackupCharge]] = defaultdict(list)
    for item in outcome.backup_prices:
        if item.interval == place:
            charges[item.site_id].append(BackupCharge(pool_id=item.pool_id, price=item.price))
    return tuple(
        IntervalPrice(
            pool_id=price.pool_id,
            interval=cell,
            energy=price.energy,
            power=price.power,
            cover=price.node_cover,
            availability=price.availability,
            recall_discount=price.recall_discount,
            provisional=provisional,
            backups=tuple(sorted(charges[sites[price.pool_id]], key=lambda charge: charge.pool_id)),
        )
        for price in sorted(outcome.prices, key=lambda price: price.pool_id)
        if price.interval == place and not price.indicative
    )
