"""Make-whole inside what a run binds: no gang pays more than its limit for what it got.

A gang is accepted for its value over the look-ahead, but only the first intervals bind. What
it would pay in them above its own limit is paid back by those who gain in the same pool and
the same intervals, in proportion to their gains: bids below their limits, offers above their
steps. Where all gains together are less, they are all there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from clearing.types import BlockBid, Book, Offer, Segment, StepBid
from clearing.units import (
    PPM,
    SECONDS_PER_HOUR,
    ChipSeconds,
    MicroUsd,
    chip_seconds,
    divide_up,
    split_largest_remainder,
)
from settlement.assignment import Assignment, FundingPlan, MakeWholePlan
from settlement.ledger import accounts
from settlement.postings import terms
from settlement.types import Contract

Bid = StepBid | BlockBid


def make_whole_plans(book: Book, assignment: Assignment) -> tuple[MakeWholePlan, ...]:
    """Payments to gangs that would pay above their limits in what a run binds.

    Args:
        book: Of the run.
        assignment: Contracts of what it binds.

    Returns:
        Sorted by order; shares add up to each amount.
    """
    bids: dict[str, Bid] = {
        bid.order_id: bid for kind in (book.step_bids, book.block_bids) for bid in kind
    }
    offers = {offer.order_id: offer for offer in book.offers}
    place_of = {item.start: place for place, item in enumerate(book.spec.intervals)}
    # Price x chip-seconds, by order and pool.
    surplus: dict[tuple[str, str], int] = defaultdict(int)
    contracts: dict[tuple[str, str], list[Contract]] = defaultdict(list)
    used: dict[tuple[str, int], int] = defaultdict(int)
    for contract in assignment.contracts:
        bid = bids.get(contract.order_id)
        if bid is None:
            continue
        contracts[contract.order_id, contract.pool_id].append(contract)
        offer = offers[contract.supplier_order_id]
        for hour in contract.hours:
            place, seconds = place_of[hour.interval.start], hour.interval.duration_s
            paid = terms.leg_price(hour.legs) + hour.legs.surcharge + hour.legs.fee
            worth = _worth(bid, contract.chip_class, place, hour.chips, used)
            surplus[contract.order_id, contract.pool_id] += (worth - paid * hour.chips) * seconds
            cost = _cost(offer, place, hour.chips, used)
            surplus[offer.order_id, contract.pool_id] += (
                hour.legs.energy * hour.chips - cost
            ) * seconds
    plans = []
    left = {key: max(0, amount) // SECONDS_PER_HOUR for key, amount in surplus.items()}
    for key in sorted(contracts):
        order_id, pool_id = key
        if surplus[key] >= 0 or not isinstance(bids[order_id], BlockBid):
            continue
        shares = _shares(divide_up(-surplus[key], SECONDS_PER_HOUR), pool_id, left)
        if shares:
            plans.append(_plan(bids, offers, order_id, contracts[key], shares))
    return tuple(plans)


def _shares(wanted: int, pool_id: str, left: dict[tuple[str, str], int]) -> list[tuple[str, int]]:
    """Who of a pool pays how much of an amount; takes it out of what they have left."""
    funders = sorted(name for name, where in left if where == pool_id and left[name, where])
    gains = [left[name, pool_id] for name in funders]
    amount = min(wanted, sum(gains))
    if amount <= 0:
        return []
    parts = split_largest_remainder(amount, gains, funders)
    found = [(name, part) for name, part in zip(funders, parts, strict=True) if part]
    for name, part in found:
        left[name, pool_id] -= part
    return found


def _plan(
    bids: Mapping[str, Bid],
    offers: Mapping[str, Offer],
    order_id: str,
    contracts: list[Contract],
    shares: list[tuple[str, int]],
) -> MakeWholePlan:
    hours = [hour for contract in contracts for hour in contract.hours]
    funders: dict[str, Bid | Offer] = {**bids, **offers}
    return MakeWholePlan(
        family_id=order_id,
        payee=accounts.cash(bids[order_id].participant_id),
        amount=MicroUsd(sum(part for _, part in shares)),
        shares=tuple(
            FundingPlan(
                source=name,
                account=accounts.cash(funders[name].participant_id),
                amount=MicroUsd(part),
            )
            for name, part in shares
        ),
        contract_ids=tuple(sorted(contract.contract_id for contract in contracts)),
        awarded=ChipSeconds(
            sum(chip_seconds(hour.chips, hour.interval.duration_s) for hour in hours)
        ),
        last=max((hour.interval for hour in hours), key=lambda interval: interval.start),
    )


def _worth(
    bid: Bid, chip_class: str, place: int, chips: int, used: dict[tuple[str, int], int]
) -> int:
    """What a bid would have paid at most for chips of an interval, price x chips."""
    factor = next(
        (item.factor_ppm for item in bid.conversions if item.chip_class == chip_class), PPM
    )
    if isinstance(bid, BlockBid):
        return bid.limit_price * chips * factor // PPM
    return _along(bid.order_id, bid.segments, place, chips, used) * factor // PPM


def _cost(offer: Offer, place: int, chips: int, used: dict[tuple[str, int], int]) -> int:
    return _along(offer.order_id, offer.segments, place, chips, used)


def _along(
    order_id: str,
    segments: tuple[Segment, ...],
    place: int,
    chips: int,
    used: dict[tuple[str, int], int],
) -> int:
    """Price x chips of the next chips of a curve in an interval."""
    skip = used[order_id, place]
    used[order_id, place] += chips
    total = 0
    for segment in segments:
        if not segment.first <= place < segment.stop:
            continue
        for step in segment.steps:
            passed = min(skip, step.chips)
            skip -= passed
            taken = min(chips, step.chips - passed)
            chips -= taken
            total += step.price * taken
    return total
