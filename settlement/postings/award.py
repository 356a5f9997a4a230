"""What is posted when an auction is published: holds of contracts replace those of orders."""

from __future__ import annotations

from collections.abc import Mapping

from settlement.assignment import Assignment
from settlement.postings import reasons, terms
from settlement.postings.orders import release_hold
from settlement.types import Postings, Transfer


def award_postings(assignment: Assignment, order_holds: Mapping[str, Transfer]) -> Postings:
    """Void the acceptance holds of an auction and hold what its awards cost (SETTLEMENT R2).

    Per contract-hour: the buyer's auction leg, its surcharge and its fee, and the
    supplier's stop-loss; per make-whole payment each funder's share. Holds of nothing
    are left out. A buyer that is made whole, or a supplier sold far above its offer, may
    end with ``available`` < 0: what the auction decided is held all the same.

    Args:
        assignment: From ``settlement.contracts.assign``.
        order_holds: Open acceptance holds of the auction by order_id, awarded or not.

    Returns:
        Postings ``award/<auction>``; they do not depend on the order of their arguments.
    """
    transfers = [
        release_hold(order_holds[order_id], reasons.NOT_AWARDED) for order_id in sorted(order_holds)
    ]
    holds: list[Transfer | None] = []
    for contract in sorted(assignment.contracts, key=lambda contract: contract.contract_id):
        holds.extend(terms.award_holds(contract))
    for plan in assignment.make_whole:
        holds.extend(
            terms.make_whole_hold(assignment.auction_id, plan, share) for share in plan.shares
        )
    transfers.extend(hold for hold in holds if hold is not None)
    return Postings(
        postings_id=award_postings_id(assignment.auction_id), transfers=tuple(transfers)
    )


def award_postings_id(auction_id: str) -> str:
    """Identifier of an auction's award postings."""
    return f"award/{auction_id}"
