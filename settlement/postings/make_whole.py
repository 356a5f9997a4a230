"""Make-whole payments, earned per delivered chip-second (SETTLEMENT R10)."""

from __future__ import annotations

from collections.abc import Mapping

from clearing.units import ChipSeconds, MicroUsd, divide_half_even, split_largest_remainder
from settlement.assignment import Assignment, MakeWholePlan
from settlement.postings import terms
from settlement.postings.draft import Draft
from settlement.types import TransferCode


def earned_make_whole(plan: MakeWholePlan, delivered: ChipSeconds) -> MicroUsd:
    """Part of a make-whole payment that was earned, rounded once.

    A family without contracts has nothing to deliver and earns all of it.

    Example:
        A gang of 12 chips that was out for 300 s of its hour earns 11/12.
    """
    if plan.awarded == 0:
        return plan.amount
    return MicroUsd(divide_half_even(plan.amount * delivered, plan.awarded))


def post_make_whole(
    draft: Draft,
    assignment: Assignment,
    plan: MakeWholePlan,
    delivered: Mapping[str, ChipSeconds],
) -> None:
    """Post what a family earned from its funders in original proportions; void the rest.

    Args:
        draft: Written to.
        assignment: The auction.
        plan: A plan whose last hour this is.
        delivered: Chip-seconds over all hours, by contract of the plan.
    """
    total = ChipSeconds(sum(delivered[name] for name in plan.contract_ids))
    earned = earned_make_whole(plan, total)
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
