"""Prices and holds that follow from a contract-hour alone.

The holds made at award and the postings made at the end of the hour both come from
here, so that what is resolved is exactly what was held.
"""

from __future__ import annotations

from collections.abc import Iterator

from clearing.types import Cover, ServiceClass
from clearing.units import (
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    chip_seconds,
    energy_charge,
    share_ppm,
)
from settlement.assignment import Assignment, FundingPlan, IntervalPrice, MakeWholePlan
from settlement.ledger import accounts
from settlement.postings.draft import hold_of
from settlement.types import Contract, ContractHour, Legs, Transfer, TransferCode


def position(hour: ContractHour) -> ChipSeconds:
    """Chip-seconds awarded."""
    return chip_seconds(hour.chips, hour.interval.duration_s)


def hour_key(contract: Contract, hour: ContractHour) -> str:
    """Identifier of a contract-hour, the last part of its transfers' identifiers."""
    return f"{contract.contract_id}/{hour.interval.start}"


def leg_price(legs: Legs) -> MicroUsdPerChipHour:
    """What the buyer pays in the auction layer: without surcharge, fee and outside payments."""
    return MicroUsdPerChipHour(legs.energy + legs.power + legs.cover - legs.discount + legs.link)


def supply_price(contract: Contract, legs: Legs) -> MicroUsdPerChipHour:
    """pi_c: what the supplier earns; of base load the registered price (SETTLEMENT R5)."""
    return legs.contract if contract.service_class is ServiceClass.BASE_LOAD else legs.energy


def stop_loss_price(contract: Contract, legs: Legs) -> MicroUsdPerChipHour:
    """D = max(pi_c, g_c) + k pi_c, the most a failing supplier pays per chip-hour (R5)."""
    earned = supply_price(contract, legs)
    return MicroUsdPerChipHour(
        max(earned, legs.contract) + share_ppm(earned, contract.stop_loss_ppm)
    )


def gap_price(contract: Contract, hour: ContractHour) -> MicroUsdPerChipHour:
    """What a supplier gives up per unread chip-second: max(pi_c, g_c) (R8)."""
    return MicroUsdPerChipHour(max(0, supply_price(contract, hour.legs), hour.legs.contract))


def spot_supply_price(
    assignment: Assignment, contract: Contract, spot: IntervalPrice
) -> MicroUsdPerChipHour:
    """pi_s of the contract's supply; released base load trades at pi - lam."""
    if contract.supplier_order_id in assignment.released_order_ids:
        return MicroUsdPerChipHour(spot.energy - spot.recall_discount)
    return spot.energy


def spot_product_price(
    assignment: Assignment, contract: Contract, spot: IntervalPrice
) -> MicroUsdPerChipHour:
    """F_s or I_s: spot price of what the buyer bought, without surcharge and fee."""
    price = spot.energy + spot.power
    if contract.service_class is ServiceClass.INTERRUPTIBLE:
        if contract.notice_s <= assignment.site_cover_notice_s:
            price -= spot.recall_discount
        if contract.notice_s <= assignment.node_cover_notice_s:
            price -= spot.availability
    elif contract.cover is Cover.NODE:
        price += spot.cover
    elif contract.cover is Cover.SITE:
        price += spot.backup(contract.backup_pool_id)
    return MicroUsdPerChipHour(price)


def bill_account(contract: Contract) -> str:
    """Account that is billed: the buyer's, or of a grant that of who gives it."""
    return accounts.cash(contract.payer_id or contract.buyer_id)


def leg_amount(hour: ContractHour) -> MicroUsd:
    """Buyer's auction leg, rounded once; negative where the discount exceeds the price."""
    return energy_charge(leg_price(hour.legs), position(hour))


def leg_hold(contract: Contract, hour: ContractHour) -> Transfer | None:
    """Buyer's auction leg, held from award to the end of the hour."""
    return hold_of(
        f"leg-hold/{hour_key(contract, hour)}",
        bill_account(contract),
        accounts.pot(contract.auction_id, hour.interval.start),
        leg_amount(hour),
        TransferCode.AUCTION_LEG,
        contract_id=contract.contract_id,
        start=hour.interval.start,
        quantity=position(hour),
        price=leg_price(hour.legs),
    )


def surcharge_hold(contract: Contract, hour: ContractHour) -> Transfer | None:
    """Buyer's surcharge for the whole position."""
    return hold_of(
        f"surcharge-hold/{hour_key(contract, hour)}",
        bill_account(contract),
        accounts.community(contract.site_id),
        energy_charge(hour.legs.surcharge, position(hour)),
        TransferCode.DELIVERY_HOLD,
        contract_id=contract.contract_id,
        start=hour.interval.start,
        quantity=position(hour),
        price=hour.legs.surcharge,
    )


def fee_hold(contract: Contract, hour: ContractHour) -> Transfer | None:
    """Buyer's operator fee for the whole position."""
    return hold_of(
        f"fee-hold/{hour_key(contract, hour)}",
        bill_account(contract),
        accounts.OPERATOR_FEE,
        energy_charge(hour.legs.fee, position(hour)),
        TransferCode.DELIVERY_HOLD,
        contract_id=contract.contract_id,
        start=hour.interval.start,
        quantity=position(hour),
        price=hour.legs.fee,
    )


def stop_loss_hold(contract: Contract, hour: ContractHour) -> Transfer | None:
    """What a failure of the whole hour could cost the supplier beyond what it earns (R2).

    (D - pi_c) x chip-seconds. Base load is paid outside, so nothing that is earned here
    can be kept back and the whole D is held.
    """
    price = MicroUsdPerChipHour(stop_loss_price(contract, hour.legs) - hour.legs.energy)
    return hold_of(
        f"stop-loss-hold/{hour_key(contract, hour)}",
        accounts.cash(contract.supplier_id),
        accounts.pot(contract.auction_id, hour.interval.start),
        energy_charge(price, position(hour)),
        TransferCode.STOP_LOSS_HOLD,
        contract_id=contract.contract_id,
        start=hour.interval.start,
        quantity=position(hour),
        price=price,
    )


def award_holds(contract: Contract) -> Iterator[Transfer]:
    """Holds of all hours of a contract, by hour: leg, surcharge, fee, stop-loss (R2).

    They are those of ``leg_hold``, ``surcharge_hold``, ``fee_hold`` and ``stop_loss_hold``, made
    together: a run of a large market makes them for tens of thousands of contracts.
    """
    buyer, supplier = bill_account(contract), accounts.cash(contract.supplier_id)
    town = accounts.community(contract.site_id)
    for hour in contract.hours:
        legs, start, quantity = hour.legs, hour.interval.start, position(hour)
        key = hour_key(contract, hour)
        pot = accounts.pot(contract.auction_id, start)
        loss = MicroUsdPerChipHour(stop_loss_price(contract, legs) - legs.energy)
        for name, debit, credit, price, code in (
            ("leg-hold", buyer, pot, leg_price(legs), TransferCode.AUCTION_LEG),
            ("surcharge-hold", buyer, town, legs.surcharge, TransferCode.DELIVERY_HOLD),
            ("fee-hold", buyer, accounts.OPERATOR_FEE, legs.fee, TransferCode.DELIVERY_HOLD),
            ("stop-loss-hold", supplier, pot, loss, TransferCode.STOP_LOSS_HOLD),
        ):
            if price <= 0:
                continue  # nothing to hold
            hold = hold_of(
                f"{name}/{key}",
                debit,
                credit,
                energy_charge(price, quantity),
                code,
                contract_id=contract.contract_id,
                start=start,
                quantity=quantity,
                price=price,
            )
            if hold is not None:
                yield hold


def make_whole_hold(auction_id: str, plan: MakeWholePlan, share: FundingPlan) -> Transfer | None:
    """A funder's share of a make-whole payment; None where the family funds itself."""
    return hold_of(
        f"make-whole-hold/{auction_id}/{plan.family_id}/{share.source}",
        share.account,
        plan.payee,
        share.amount,
        TransferCode.MAKE_WHOLE_HOLD,
        start=plan.last.start,
        quantity=plan.awarded,
    )
