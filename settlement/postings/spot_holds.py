"""Holds of a spot result: what its purchases, recalls and new supply may cost (SETTLEMENT R2).

Made when the result is published, from it alone, and voided when the hour is settled: what
is owed over the hour's metering intervals then moves in one transfer per contract.
"""

from __future__ import annotations

from collections.abc import Iterator

from clearing.units import MicroUsdPerChipHour, UnixSeconds, energy_charge
from settlement.assignment import Assignment
from settlement.ledger import accounts
from settlement.postings import terms
from settlement.postings.draft import hold_of
from settlement.spot.result import SpotResult
from settlement.types import Contract, ContractHour, Postings, Transfer, TransferCode


def spot_postings(assignment: Assignment, result: SpotResult) -> Postings:
    """Holds of one spot result, ``spot/<auction>/<start>``."""
    return Postings(
        postings_id=spot_postings_id(result), transfers=tuple(spot_holds(assignment, result))
    )


def spot_postings_id(result: SpotResult) -> str:
    """Identifier of a spot result's postings."""
    return f"spot/{result.auction_id}/{result.interval.start}"


def spot_holds(assignment: Assignment, result: SpotResult) -> Iterator[Transfer]:
    """Per spot contract: the buyer's worst case, then the supplier's stop-loss.

    A purchase is held at its bid and a recall at the dearest it may pay (R6), surcharge and
    fee inside. The supplier's is D: what it earns at spot is not known to be kept.
    """
    hour_start = hour_of(assignment, result)
    dearest = _dearest(assignment, result)
    rows = [(item.contract, int(item.limit)) for item in result.purchases]
    for recall in result.recalls:
        price = next((p for p in result.prices if p.pool_id == recall.contract.pool_id), None)
        most = dearest
        if price is not None:
            most = max(most, price.energy) + price.power + price.cover
            most += max((item.price for item in price.backups), default=0)
        rows.append((recall.contract, most))
    for contract, limit in sorted(rows, key=lambda row: row[0].contract_id):
        (hour,) = contract.hours
        legs = hour.legs
        most = max(0, limit, terms.leg_price(legs)) + legs.surcharge + legs.fee
        for hold in (
            _hold("spot-hold", contract, contract.buyer_id, most, hour, hour_start),
            _hold(
                "spot-stop-loss-hold",
                contract,
                contract.supplier_id,
                terms.stop_loss_price(contract, legs),
                hour,
                hour_start,
            ),
        ):
            if hold is not None:
                yield hold


def hour_of(assignment: Assignment, result: SpotResult) -> UnixSeconds:
    """Start of the delivery interval that a result is inside of."""
    return next(
        item.start
        for item in assignment.intervals
        if item.start <= result.interval.start and result.interval.end <= item.end
    )


def _dearest(assignment: Assignment, result: SpotResult) -> int:
    """Highest contract price that is reclaimed: a recall pays at most that (R6 step 1)."""
    names = {item.contract_id for item in result.reclaims}
    return max(
        (
            int(hour.legs.contract)
            for contract in assignment.contracts
            if contract.contract_id in names
            for hour in contract.hours
            if hour.interval.start <= result.interval.start < hour.interval.end
        ),
        default=0,
    )


def _hold(
    noun: str,
    contract: Contract,
    participant_id: str,
    price: int,
    hour: ContractHour,
    hour_start: UnixSeconds,
) -> Transfer | None:
    at = MicroUsdPerChipHour(max(0, price))
    # One micro-USD for each of leg, surcharge and fee: each is rounded by itself.
    amount = energy_charge(at, terms.position(hour)) + 3
    return hold_of(
        f"{noun}/{contract.contract_id}/{hour.interval.start}",
        accounts.cash(participant_id),
        accounts.pot(contract.auction_id, hour_start),
        amount if price > 0 else 0,
        TransferCode.SPOT_HOLD,
        contract_id=contract.contract_id,
        start=hour.interval.start,
        quantity=terms.position(hour),
        price=at,
    )
