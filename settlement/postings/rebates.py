"""Rebates: power rent of an auction, and what the stop-loss pool holds above its ceiling.

Power rent pays make-whole first; the rest goes back per delivered chip-second at the site
(SETTLEMENT R14). ``pool`` keeps surpluses up to its ceiling, above it they are rebated per
delivered chip-second (R6).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from clearing.units import (
    MicroUsd,
    MicroUsdPerChipHour,
    chip_seconds,
    energy_charge,
    split_largest_remainder,
)
from settlement.assignment import Assignment
from settlement.ledger import accounts
from settlement.metering.moved import delivered_at
from settlement.postings import reasons, terms
from settlement.postings.auction_layer import standby_transfer_id
from settlement.postings.draft import Draft
from settlement.types import (
    Contract,
    DeliveredHour,
    Phase,
    Postings,
    SpareHour,
    Transfer,
    TransferCode,
)


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


def repaid_shortfalls(
    assignment: Assignment, transfers: Iterable[Transfer], *, pool_balance: int
) -> tuple[Transfer, ...]:
    """Pay what an hour could not, out of what later hours of the auction left in ``pool``.

    An hour whose pots lack money finds it in ``pool``; while that is empty its suppliers and
    the reserve of its interruptibles go short (ADR 0020). What the auction's other hours left
    there belongs to them first.

    Args:
        assignment: The auction, every hour of it settled.
        transfers: Of its hours and their corrections.
        pool_balance: Posted balance of ``pool``, >= 0.
    """
    paid: dict[str, int] = defaultdict(int)
    left = 0
    for item in transfers:
        if item.phase is not Phase.POSTED:
            continue
        if item.reason in (reasons.POT_RESIDUAL, reasons.COVER_RESIDUAL):
            left += item.amount * ((item.credit == accounts.POOL) - (item.debit == accounts.POOL))
        paid[item.transfer_id] += item.amount
    missing = sorted(
        (name, payee, due - paid[name])
        for name, payee, due in _dues(assignment)
        # One micro-USD is the rounding of a pot that was shared in full.
        if due - paid[name] > 1
    )
    draft = Draft(pool_balance=pool_balance)
    money = min(pool_balance, max(0, left), sum(lack for _, _, lack in missing))
    shares = split_largest_remainder(
        money, [lack for _, _, lack in missing], [name for name, _, _ in missing]
    )
    for (name, payee, _), share in zip(missing, shares, strict=True):
        draft.post(
            f"repaid/{name}",
            accounts.POOL,
            payee,
            share,
            TransferCode.RESIDUAL,
            reason=reasons.SHORTFALL_REPAID,
            start=assignment.intervals[0].start,
        )
    return tuple(draft.transfers)


def _dues(assignment: Assignment) -> Iterator[tuple[str, str, int]]:
    """Transfer, payee and micro-USD of what the auction owes suppliers and reserve, by hour."""
    for contract in assignment.contracts:
        for hour in contract.hours:
            due = energy_charge(hour.legs.energy, terms.position(hour))
            name = f"supply/{terms.hour_key(contract, hour)}"
            yield name, accounts.cash(contract.supplier_id), due
    for idle in assignment.idle_hours:
        name = f"supply/{idle.auction_id}/{idle.pool_id}/{idle.interval.start}/{idle.order_id}"
        yield name, accounts.cash(idle.supplier_id), _held(idle)
    for held in assignment.reserve_hours:
        name = standby_transfer_id(held, reserve=True)
        yield name, accounts.cash(held.supplier_id), _held(held)


def _held(item: SpareHour) -> int:
    price = MicroUsdPerChipHour(max(0, item.price))
    return energy_charge(price, chip_seconds(item.chips, item.interval.duration_s))


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
