"""Make-whole payments, earned per delivered chip-second (SETTLEMENT R10)."""

from __future__ import annotations

from collections.abc import Mapping

from clearing.units import (
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    divide_half_even,
    energy_charge,
    split_largest_remainder,
)
from settlement.assignment import Assignment, MakeWholePlan
from settlement.ledger import accounts
from settlement.postings import terms
from settlement.postings.draft import Draft
from settlement.types import TransferCode


def earned_make_whole(plan: MakeWholePlan, delivered: ChipSeconds, unpaid: int = 0) -> MicroUsd:
    """Part of a make-whole payment that was earned, rounded once.

    Per delivered chip-second, and for a buyer at least what keeps its bill inside its limit
    (ADR 0019): with uneven prices pro rata alone would leave a buyer that was served in dear
    hours only above limit x awarded quantity.

    Args:
        plan: The payment.
        delivered: Chip-seconds of its contracts.
        unpaid: For a buyer, what it does not pay or gets back for undelivered chip-seconds
            (``unpaid_for``); for a supplier the whole payment, so that pro rata decides.

    Returns:
        Micro-USD, 0 to the full payment. A family without contracts has nothing to deliver and
        earns all of it.

    Example:
        A gang of 12 chips that was out for 300 s of its hour earns 11/12.
    """
    if plan.awarded == 0:
        return plan.amount
    pro_rata = divide_half_even(plan.amount * delivered, plan.awarded)
    return MicroUsd(min(plan.amount, max(pro_rata, plan.amount - unpaid)))


def unpaid_for(
    assignment: Assignment, plan: MakeWholePlan, delivered: Mapping[tuple[str, int], ChipSeconds]
) -> int:
    """What a made-whole buyer is not billed, or refunded, for what was not delivered to it.

    At contract price, the least that R4, R5 and R8 refund, with surcharge and fee.

    Args:
        assignment: The auction.
        plan: One of its plans.
        delivered: Chip-seconds by contract and start of the hour.

    Returns:
        Micro-USD; the full payment where the payee is no buyer of the family.
    """
    total = 0
    buys = False
    for contract in assignment.contracts:
        if contract.contract_id not in plan.contract_ids:
            continue
        if accounts.cash(contract.buyer_id) != plan.payee:
            continue
        buys = True
        for hour in contract.hours:
            legs = hour.legs
            price = max(0, legs.contract) + legs.surcharge + legs.fee
            served = delivered.get((contract.contract_id, int(hour.interval.start)), 0)
            missing = ChipSeconds(terms.position(hour) - served)
            total += energy_charge(MicroUsdPerChipHour(price), missing)
    return total if buys else plan.amount


def post_make_whole(
    draft: Draft,
    assignment: Assignment,
    plan: MakeWholePlan,
    delivered: Mapping[tuple[str, int], ChipSeconds],
) -> None:
    """Post what a family earned from its funders in original proportions; void the rest.

    Args:
        draft: Written to.
        assignment: The auction.
        plan: A plan whose last hour this is.
        delivered: Chip-seconds by contract of the plan and start of the hour.
    """
    names = set(plan.contract_ids)
    total = ChipSeconds(sum(amount for (name, _), amount in delivered.items() if name in names))
    earned = earned_make_whole(plan, total, unpaid_for(assignment, plan, delivered))
    parts = split_largest_remainder(
        earned, [share.amount for share in plan.shares], [share.source for share in plan.shares]
    )
    for share, part in zip(plan.shares, parts, strict=True):
        draft.resolve(
            hold := terms.make_whole_hold(assignment.auction_id, plan, share),
            f"make-whole/{assignment.auction_id}/{plan.family_id}/{share.source}",
            part if hold is not None else 0,
            TransferCode.MAKE_WHOLE,
        )
