"""Supplier failure and the order in which missing money is found (SETTLEMENT R5, R6).

Worked out per pool and metering interval, because spot prices change with it:

- a failing supplier pays min(max(pi_c, pi_s), D) per failed chip-second;
- an unserved buyer is owed max(g_c, F_s);
- what is missing between the two is found (1) from the failing suppliers by failed
  chip-seconds, each inside its D; (2) from the buyers' premiums above contract price, pro
  rata, at most what the stop-loss withheld; (3) from ``pool``; (4) from other suppliers'
  earnings of that hour and chip class, pro rata; and as nothing else is left, (5) from the
  rest of the premiums. Refunds never shrink: D is at least the contract price.
- what is over goes to ``pool``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clearing.errors import InvariantError
from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsdPerChipHour, energy_charge, split_largest_remainder
from settlement.assignment import Assignment, IntervalPrice
from settlement.postings import terms
from settlement.types import Contract, ContractHour


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One contract's failed chip-seconds in one metering interval."""

    contract: Contract
    hour: ContractHour
    failed: ChipSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureMoney:
    """What one failure costs and brings, micro-USD.

    Attributes:
        paid: By its supplier.
        credited: To its buyer.
        supply_price: Price at which the supplier is charged before R6, per chip-hour.
        product_price: Price that the buyer is owed before R6, per chip-hour.
    """

    paid: int
    credited: int
    supply_price: MicroUsdPerChipHour
    product_price: MicroUsdPerChipHour


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureResult:
    """Failures of one pool and metering interval, settled.

    Attributes:
        money: In the order of the failures given.
        to_pool: Surplus to ``pool``, or what it gives when negative.
        from_suppliers: Micro-USD that other suppliers give up, by participant.
    """

    money: tuple[FailureMoney, ...]
    to_pool: int
    from_suppliers: dict[str, int]


def settle_failures(
    assignment: Assignment,
    failures: Sequence[Failure],
    spot: IntervalPrice,
    *,
    pool_balance: int,
    earnings: Mapping[str, int],
) -> FailureResult:
    """Settle the failures of one pool and metering interval.

    Args:
        assignment: Their auction.
        failures: Sorted by contract.
        spot: Spot prices of the pool in the interval, or their stand-in.
        pool_balance: What ``pool`` can give, >= 0.
        earnings: What suppliers earned in that hour and chip class and have not given up
            yet, by participant; those that fail here are left out by this function.
    """
    names = [failure.contract.contract_id for failure in failures]
    rates = [_rates(assignment, failure, spot) for failure in failures]
    paid = [rate.paid for rate in rates]
    credited = [rate.owed for rate in rates]
    # (1) The causes, inside their limits.
    missing = sum(credited) - sum(paid)
    if missing > 0:
        added = split_capped(
            missing,
            [failure.failed for failure in failures],
            [rate.room for rate in rates],
            names,
        )
        paid = [amount + more for amount, more in zip(paid, added, strict=True)]
        missing -= sum(added)
    # (2) Premiums, at most by what the stop-loss withheld.
    premiums = [rate.premium for rate in rates]
    cut = min(max(0, missing), sum(rate.withheld for rate in rates), sum(premiums))
    credited, premiums, missing = _cut(credited, premiums, names, cut, missing)
    # (3) The pool, (4) other suppliers.
    from_pool = min(max(0, missing), pool_balance)
    missing -= from_pool
    failing = {failure.contract.supplier_id for failure in failures}
    others = sorted(name for name in earnings if name not in failing and earnings[name] > 0)
    shares = split_capped(
        max(0, missing), [earnings[n] for n in others], [earnings[n] for n in others], others
    )
    missing -= sum(shares)
    # (5) The rest of the premiums.
    if missing > 0:
        credited, premiums, missing = _cut(credited, premiums, names, missing, missing)
    if missing > 0:
        raise InvariantError(f"refunds of {names} lack {missing}, although D covers them")
    return FailureResult(
        money=tuple(
            FailureMoney(
                paid=pay,
                credited=credit,
                supply_price=rate.supply_price,
                product_price=rate.product_price,
            )
            for pay, credit, rate in zip(paid, credited, rates, strict=True)
        ),
        to_pool=-missing - from_pool,
        from_suppliers={n: share for n, share in zip(others, shares, strict=True) if share},
    )


def split_capped(
    total: int, weights: Sequence[int], caps: Sequence[int], keys: Sequence[str]
) -> list[int]:
    """Split an amount in proportion to weights, nobody above its cap.

    What a capped one cannot take is split again over the others.

    Args:
        total: >= 0.
        weights: >= 0.
        caps: >= 0, of the same length.
        keys: Different; they order equal remainders.

    Returns:
        Parts that sum to the smaller of ``total`` and what those with a weight can take.
    """
    parts = [0] * len(weights)
    left = total
    while left > 0:
        takers = [i for i, part in enumerate(parts) if weights[i] > 0 and part < caps[i]]
        if not takers:
            break
        shares = split_largest_remainder(
            left, [weights[i] for i in takers], [keys[i] for i in takers]
        )
        for index, share in zip(takers, shares, strict=True):
            taken = min(share, caps[index] - parts[index])
            parts[index] += taken
            left -= taken
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    paid: int
    owed: int
    room: int
    withheld: int
    premium: int
    supply_price: MicroUsdPerChipHour
    product_price: MicroUsdPerChipHour


def _rates(assignment: Assignment, failure: Failure, spot: IntervalPrice) -> _Rates:
    """What R5 says of one failure before any money is missing."""
    contract, legs, failed = failure.contract, failure.hour.legs, failure.failed
    limit = terms.stop_loss_price(contract, legs)
    wanted = max(
        terms.supply_price(contract, legs), terms.spot_supply_price(assignment, contract, spot)
    )
    supply_price = MicroUsdPerChipHour(min(wanted, limit))
    # A contract price below zero (a discount above the price) is not charged a second time.
    refund_price = MicroUsdPerChipHour(max(0, legs.contract))
    product_price = MicroUsdPerChipHour(
        max(refund_price, terms.spot_product_price(assignment, contract, spot))
    )
    paid = energy_charge(supply_price, failed)
    owed = energy_charge(product_price, failed)
    return _Rates(
        paid=paid,
        owed=owed,
        room=energy_charge(limit, failed) - paid,
        withheld=energy_charge(MicroUsdPerChipHour(wanted), failed) - paid,
        premium=owed - energy_charge(refund_price, failed),
        supply_price=supply_price,
        product_price=product_price,
    )


def _cut(
    credited: list[int], premiums: list[int], names: list[str], amount: int, missing: int
) -> tuple[list[int], list[int], int]:
    """Take an amount off the premiums, pro rata."""
    cuts = split_capped(amount, premiums, premiums, names)
    return (
        [credit - cut for credit, cut in zip(credited, cuts, strict=True)],
        [premium - cut for premium, cut in zip(premiums, cuts, strict=True)],
        missing - sum(cuts),
    )


def spot_price_at(
    prices: Mapping[str, Sequence[IntervalPrice]], pool_id: str, interval: Interval
) -> IntervalPrice | None:
    """Price of the pool whose interval holds a metering interval, or None."""
    for price in prices.get(pool_id, ()):
        if price.interval.start <= interval.start and interval.end <= price.interval.end:
            return price
    return None
