"""Acceptance holds: the most an order can cost before the auction says what it does cost.

A bid is held at its worst case: everything it asks for, at its limits (a step bid with
all steps at their own limits, a bid with conversion factors at the highest of them). Each
order is held by itself, so a linked tree is held in full and an exclusive group for every
member, although one of them is accepted at most: the simple bound, which stays true when
a member is amended or cancelled. A linked order may pay more than its own limit where its
family gains elsewhere; the family's holds together bound what the family pays.
Offers are held at k x offered price x chips, an approximation of their stop-loss: the
exact one, (D - pi_c) per chip-second, needs the prices and replaces it at award. A
nomination has no limit price and is held at award only.
"""

from __future__ import annotations

from collections.abc import Iterable

from clearing.types import (
    AuctionSpec,
    BlockBid,
    Conversion,
    Interval,
    Nomination,
    Offer,
    Segment,
    StepBid,
    WorkBid,
)
from clearing.units import PPM, SECONDS_PER_HOUR, divide_up
from settlement.ledger import accounts
from settlement.postings.draft import hold_of
from settlement.types import Phase, Transfer, TransferCode

Order = Offer | StepBid | BlockBid | WorkBid | Nomination


def order_hold(spec: AuctionSpec, order: Order, revision: int | None = None) -> Transfer | None:
    """Hold to be taken when an order is accepted, or None when there is nothing to hold.

    The buyer's account must still have ``available`` >= 0 with it (SETTLEMENT R2).

    Args:
        revision: Of the order, part of the hold's identifier; None for none.
    """
    name = order_hold_id(spec.auction_id, order.order_id)
    return hold_of(
        name if revision is None else f"{name}/{revision}",
        accounts.cash(order.participant_id),
        accounts.order_pot(spec.auction_id),
        _worst_case(spec, order),
        TransferCode.ORDER_HOLD,
    )


def order_hold_id(auction_id: str, order_id: str) -> str:
    """Identifier of an order's acceptance hold."""
    return f"order-hold/{auction_id}/{order_id}"


def release_hold(hold: Transfer, reason: str) -> Transfer:
    """Void an open hold: a cancelled order's, or one that the award's holds replace."""
    return Transfer(
        transfer_id=f"void/{hold.transfer_id}",
        asset=hold.asset,
        debit=hold.debit,
        credit=hold.credit,
        amount=0,
        phase=Phase.VOID_PENDING,
        code=hold.code,
        pending_id=hold.transfer_id,
        reason=reason,
        contract_id=hold.contract_id,
        interval_start=hold.interval_start,
    )


def _worst_case(spec: AuctionSpec, order: Order) -> int:
    """Micro-USD, rounded up once."""
    match order:
        case Offer():
            curve = _curve(spec.intervals, order.segments)
            return divide_up(curve * spec.tariff.stop_loss_ppm, SECONDS_PER_HOUR * PPM)
        case StepBid():
            price_seconds = _curve(spec.intervals, order.segments)
        case BlockBid():
            longest = max(
                _seconds(spec.intervals, start, start + order.duration)
                for start in range(order.earliest_start, order.latest_start + 1)
            )
            chips = order.chips * longest
            if order.profile:
                chips = sum(order.profile) * (longest // order.duration)
            price_seconds = max(0, order.limit_price) * chips
        case WorkBid():
            price_seconds = max(0, order.limit_price) * order.work
        case Nomination():
            return 0
    factor = _highest_factor(order.conversions)
    return divide_up(price_seconds * factor, SECONDS_PER_HOUR * PPM)


def _curve(intervals: tuple[Interval, ...], segments: Iterable[Segment]) -> int:
    """All steps at their limits, price x chip-seconds."""
    return sum(
        sum(max(0, step.price) * step.chips for step in segment.steps)
        * _seconds(intervals, segment.first, segment.stop)
        for segment in segments
    )


def _seconds(intervals: tuple[Interval, ...], first: int, stop: int) -> int:
    """From the start of one interval to the end of another: an auction's have no gaps."""
    return intervals[stop - 1].end - intervals[first].start if first < stop else 0


def _highest_factor(conversions: tuple[Conversion, ...]) -> int:
    return max((PPM, *(conversion.factor_ppm for conversion in conversions)))
