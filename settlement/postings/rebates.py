"""Rebates: power rent of an auction, and what the stop-loss pool holds above its ceiling.

Power rent pays make-whole first; the rest goes back per delivered chip-second at the site
(SETTLEMENT R14). ``pool`` keeps surpluses up to its ceiling, above it they are rebated per
delivered chip-second (R6).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from clearing.units import MicroUsd, split_largest_remainder
from settlement.assignment import Assignment
from settlement.ledger import accounts
from settlement.metering.moved import delivered_at
from settlement.postings import reasons
from settlement.postings.draft import Draft
from settlement.types import Contract, DeliveredHour, Phase, Postings, Transfer, TransferCode


def rents_of(transfers: Iterable[Transfer]) -> dict[str, int]:
    """Micro-USD of power rent left per site, from the transfers of one auction's hours."""
    found: dict[str, int] = defaultdict(int)
    for transfer in transfers:
        if transfer.phase not in (Phase.POSTED, Phase.POST_PENDING):
            continue
        for account, sign in ((transfer.credit, 1), (transfer.debit, -1)):
            if account.startswith("rent:"):
                found[account.removeprefix("rent:")] += sign * transfer.amount
    return {site_id: amount for site_id, amount in sorted(found.items()) if amount > 0}


def rent_rebates(
    assignment: Assignment,
    contracts: Iterable[Contract],
    delivered: Iterable[DeliveredHour],
    rents: Mapping[str, int],
) -> Postings:
    """Give the rent of every site back to who was delivered there.

    Args:
        assignment: The auction, every hour of it settled.
        contracts: Its contracts and those of its spot results.
        delivered: All their delivered hours.
        rents: From ``rents_of``. A site where nothing was delivered keeps its rent.

    Returns:
        Postings ``rebate/<auction>``; empty where there is nothing to give.
    """
    known = {item.contract_id: item for item in contracts}
    quantities: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for hour in delivered:
        contract = known[hour.contract_id]
        for site_id in {contract.site_id, *(part.site_id for part in hour.served)}:
            quantities[site_id][hour.contract_id] += delivered_at(hour, contract, site_id)
    draft = Draft()
    for site_id, rent in sorted(rents.items()):
        there = {name: amount for name, amount in sorted(quantities[site_id].items()) if amount}
        if rent <= 0 or not there:
            continue
        shares = split_largest_remainder(rent, list(there.values()), list(there))
        for (name, quantity), share in zip(there.items(), shares, strict=True):
            draft.post(
                f"rebate/{assignment.auction_id}/{site_id}/{name}",
                accounts.rent(site_id),
                accounts.cash(known[name].buyer_id),
                share,
                TransferCode.REBATE,
                reason=reasons.POWER_RENT_REBATE,
                contract_id=name,
                start=assignment.intervals[0].start,
                quantity=quantity,
            )
    return Postings(
        postings_id=rebate_postings_id(assignment.auction_id), transfers=tuple(draft.transfers)
    )


def rebate_postings_id(auction_id: str) -> str:
    """Identifier of an auction's rebates."""
    return f"rebate/{auction_id}"


def pool_rebate(
    rebate_id: str, *, pool_balance: int, ceiling: MicroUsd, delivered: Mapping[str, int]
) -> Postings:
    """Give what ``pool`` holds above its ceiling back per delivered chip-second (R6).

    Args:
        rebate_id: Unique, such as the month.
        pool_balance: Posted balance of ``pool``.
        ceiling: What it keeps, >= 0.
        delivered: Chip-seconds of the period by buyer; nobody: nothing is given back.
    """
    draft = Draft(pool_balance=pool_balance)
    buyers = sorted(name for name, quantity in delivered.items() if quantity > 0)
    above = pool_balance - ceiling
    if above > 0 and buyers:
        shares = split_largest_remainder(above, [delivered[name] for name in buyers], buyers)
        for name, share in zip(buyers, shares, strict=True):
            draft.post(
                f"pool-rebate/{rebate_id}/{name}",
                accounts.POOL,
                accounts.cash(name),
                share,
                TransferCode.REBATE,
                reason=reasons.POOL_REBATE,
                quantity=delivered[name],
            )
    return Postings(postings_id=f"pool-rebate/{rebate_id}", transfers=tuple(draft.transfers))
