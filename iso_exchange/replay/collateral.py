"""Deposits of a scenario's participants: what their orders may cost at the worst.

The bound here is at least what the exchange checks: a step bid counts its whole quantity at
its first limit. One lab is short on purpose, so that its last order must be refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from clearing.units import PPM
from iso_exchange.replay import grid
from iso_exchange.replay.labs import LAB_PLANS, LabPlan
from iso_exchange.replay.parts import (
    HOURS,
    BaseLoad,
    BlockBid,
    ExpectedRefusal,
    Lab,
    Site,
    StepBid,
)

REFUSAL_REASON: Final = "EXPOSURE_ABOVE_COLLATERAL"
MARGIN_PPM: Final = 1_250_000
ROUND_MICRO_USD: Final = 1_000_000_000
"""Deposits are whole thousands of dollars."""


def step_exposure(bid: StepBid) -> int:
    """Upper bound of what a step bid can cost, micro-USD."""
    return sum(
        max(step.price_micro_usd_per_chip_hour for step in curve.steps)
        * sum(step.chips for step in curve.steps)
        for curve in bid.curves
    )


def block_exposure(bid: BlockBid) -> int:
    """What a gang costs at its limit, micro-USD."""
    return bid.limit_micro_usd_per_chip_hour * bid.chips * bid.duration_hours


def base_exposure(entitlement: BaseLoad, sites: Mapping[str, Site]) -> int:
    """Bound for a nomination: contract price, surcharge and fee on the whole entitlement."""
    plan = next(p for p in grid.POOL_PLANS if p.pool_id == entitlement.pool_id)
    surcharge = sites[plan.site_id].surcharge_micro_usd_per_chip_hour
    price = entitlement.contract_price_micro_usd_per_chip_hour + surcharge
    return (price + grid.OPERATOR_FEE_MICRO_USD) * entitlement.chips * HOURS


def labs(
    base_loads: Sequence[BaseLoad],
    step_bids: Sequence[StepBid],
    block_bids: Sequence[BlockBid],
    sites: Mapping[str, Site],
) -> tuple[tuple[Lab, ...], tuple[ExpectedRefusal, ...]]:
    """Labs with their deposits, and the orders that those deposits refuse.

    Orders are submitted as the scenario lists them: nominations, step bids, block bids.
    """
    rows = []
    refusals = []
    for plan in LAB_PLANS:
        blocks = [bid for bid in block_bids if bid.lab_id == plan.lab_id]
        exposure = (
            sum(base_exposure(b, sites) for b in base_loads if b.lab_id == plan.lab_id)
            + sum(step_exposure(b) for b in step_bids if b.lab_id == plan.lab_id)
            + sum(block_exposure(b) for b in blocks)
        )
        if plan.small_deposit:
            # Everything but the last order fits with room to spare; half of the last is missing.
            last = block_exposure(blocks[-1])
            refusals.append(ExpectedRefusal(order_id=blocks[-1].order_id, reason=REFUSAL_REASON))
            deposit = exposure - last + last // 2
        else:
            deposit = _round_up(exposure * MARGIN_PPM // PPM)
        rows.append(_lab(plan, deposit))
    return tuple(rows), tuple(refusals)


def supplier_deposits(highest: Mapping[str, int]) -> dict[str, int]:
    """Deposit of each supplier: twice the dearest all-in limit on all of its chips, all day.

    Bounds the stop-loss D = max(contract, buyer's price) + 100 % of it on every chip-hour.

    Args:
        highest: Dearest limit of the day by chip class, micro-USD per chip-hour.
    """
    deposits = {row[0]: 0 for row in grid.SUPPLIER_ROWS}
    for plan in grid.POOL_PLANS:
        deposits[plan.supplier_id] += 2 * highest[plan.chip_class] * plan.capacity_chips * HOURS
    return {supplier: _round_up(amount) for supplier, amount in deposits.items()}


def highest_limits(
    step_bids: Sequence[StepBid], block_bids: Sequence[BlockBid], asks: Mapping[str, grid.Ask]
) -> dict[str, int]:
    """Dearest limit or list price of the day by chip class, micro-USD per chip-hour."""
    highest = dict.fromkeys(grid.CHIP_CLASSES, 0)
    for plan in grid.POOL_PLANS:
        highest[plan.chip_class] = max(highest[plan.chip_class], asks[plan.pool_id].mean)
    for bid in step_bids:
        for name in bid.where.chip_classes:
            for curve in bid.curves:
                top = max(step.price_micro_usd_per_chip_hour for step in curve.steps)
                highest[name] = max(highest[name], top)
    for gang in block_bids:
        for name in gang.where.chip_classes:
            highest[name] = max(highest[name], gang.limit_micro_usd_per_chip_hour)
    return highest


def _lab(plan: LabPlan, deposit: int) -> Lab:
    return Lab(
        lab_id=plan.lab_id,
        name=plan.name,
        country=plan.country,
        trace_tenant=plan.trace_tenant,
        deposit_micro_usd=deposit,
    )


def _round_up(amount: int) -> int:
    return -(-amount // ROUND_MICRO_USD) * ROUND_MICRO_USD
