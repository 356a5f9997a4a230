"""Checks of what each order is told: its fill, its reason, its surplus and what it missed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from clearing.outcome import Fill, OrderOutcome, Reason
from clearing.types import BlockBid, Nomination, Offer, StepBid
from clearing.verify_bound import (
    Charges,
    best_block,
    charges_at_prices,
    cheapest,
    cover_shortage,
    group_of,
)
from clearing.verify_prices import offer_range
from clearing.verify_view import View, least_chips, limit_in, offered_chips


def check_surplus(view: View) -> Iterator[str]:
    """SURPLUS: each order is told its exact surplus at the prices, before make-whole."""
    for answer in view.outcome.orders:
        expected = view.surplus_of[answer.order_id]
        if answer.surplus != expected:
            yield f"{answer.order_id} is told a surplus of {answer.surplus}, computed {expected}"


def check_paradoxical(view: View) -> Iterator[str]:
    """PARADOXICAL: every rejected block that would gain at the prices is listed with that gain.

    ``foregone`` is the best surplus of the block on its own over its pools and starts, less
    what an accepted member of its exclusive group has: a group could have had only one of
    them. Everybody else has zero. Source: DESIGN 4.3, GOLDEN "Settlement per order kind".
    """
    foregone = foregone_of(view, charges_at_prices(view))
    for answer in view.outcome.orders:
        expected = foregone.get(answer.order_id, 0)
        if answer.foregone != expected:
            yield f"{answer.order_id} is told {answer.foregone} foregone, computed {expected}"
        if (answer.reason is Reason.PARADOXICALLY_REJECTED) is not (expected > 0):
            yield f"{answer.order_id} forgoes {expected} and is told {answer.reason.value}"


def foregone_of(view: View, charges: Charges) -> dict[str, int]:
    """Surplus that each rejected block misses at the prices, where positive."""
    group_surplus: dict[tuple[str, str], int] = defaultdict(int)
    for block in view.book.block_bids:
        if block.order_id in view.awards_of:
            group_surplus[group_of(block)] = max(0, view.surplus_of[block.order_id])
    missed: dict[str, int] = {}
    for block in view.book.block_bids:
        if block.order_id not in view.awards_of:
            best = (best_block(view, charges, block) or 0) - group_surplus[group_of(block)]
            if best > 0:
                missed[block.order_id] = best
    return missed


def check_reasons(view: View) -> Iterator[str]:
    """REASONS: fill follows from the awards, the reason from the prices.

    A reason must be one of those that the facts allow (``allowed_reasons``); ``shortfall``
    is the least amount by which the limit misses a price, zero for any other reason.
    Source: DESIGN 3, "a rejected or unfilled order always has a machine-readable reason".
    """
    charges = charges_at_prices(view)
    foregone = foregone_of(view, charges)
    made_whole = {name for payment in view.outcome.make_whole for name in payment.order_ids}
    for answer in view.outcome.orders:
        name = answer.order_id
        fill = fill_of(view, name)
        if answer.fill is not fill:
            yield f"{name} is told {answer.fill.value}, its fill is {fill.value}"
        allowed = allowed_reasons(
            view, charges, name, made_whole=name in made_whole, foregone=name in foregone
        )
        if answer.reason not in allowed:
            names = sorted(reason.value for reason in allowed)
            yield f"{name} is told {answer.reason.value}, the facts allow {', '.join(names)}"
        missed = shortfall_of(view, charges, answer)
        if answer.shortfall != missed:
            yield f"{name} is told a shortfall of {answer.shortfall}, computed {missed}"


def wanted_chips(view: View, order_id: str) -> int:
    """Chips that an order asked for, summed over intervals."""
    order = view.offers.get(order_id) or view.nominations.get(order_id) or view.bids[order_id]
    if isinstance(order, BlockBid):
        return order.chips * order.duration
    return sum(
        (segment.stop - segment.first) * sum(step.chips for step in segment.steps)
        for segment in order.segments
    )


def fill_of(view: View, order_id: str) -> Fill:
    """How much of an order its awards are; spare is no fill."""
    taken = sum(sum(award.chips) for award in view.awards_of.get(order_id, ()))
    if taken == 0:
        return Fill.NONE
    return Fill.FULL if taken >= wanted_chips(view, order_id) else Fill.PARTIAL


def allowed_reasons(
    view: View, charges: Charges, order_id: str, *, made_whole: bool, foregone: bool
) -> set[Reason]:
    """Reasons that the facts allow, in precedence order."""
    if order_id in view.nominations:
        return _reasons_of_base(view, view.nominations[order_id])
    if made_whole:
        return {Reason.MADE_WHOLE}
    if foregone:
        return {Reason.PARADOXICALLY_REJECTED}
    if order_id in view.offers:
        return _reasons_of_curve(*_offer_facts(view, charges, view.offers[order_id]))
    bid = view.bids[order_id]
    if not view.eligible(bid.where):
        return {Reason.NO_ELIGIBLE_POOL}
    if isinstance(bid, StepBid):
        return _reasons_of_curve(*_bid_facts(view, charges, bid))
    return _reasons_of_block(view, charges, bid)


def _reasons_of_base(view: View, nomination: Nomination) -> set[Reason]:
    name = nomination.order_id
    if fill_of(view, name) is not Fill.FULL:
        return {Reason.BASE_SHORTFALL}
    short = any(
        cover_shortage(view, nomination.pool_id, t)
        for t in range(view.intervals)
        if offered_chips(nomination.segments, t)
    )
    return {Reason.COVER_SHORTAGE if short else Reason.BASE_SERVED}


def _reasons_of_curve(taken: list[int], least: list[int], most: list[int]) -> set[Reason]:
    """Reason of a step order from chips taken and its best response per interval."""
    if any(not low <= chips <= high for chips, low, high in zip(taken, least, most, strict=True)):
        return {Reason.WHOLE_NODE}
    if not any(most):
        return {Reason.OUT_OF_THE_MONEY}
    if least != most:
        return {Reason.AT_THE_PRICE}
    return {Reason.IN_THE_MONEY}


def _offer_facts(
    view: View, charges: Charges, offer: Offer
) -> tuple[list[int], list[int], list[int]]:
    least, most = offer_range(view, charges, offer)
    taken = [0] * view.intervals
    for award in view.awards_of.get(offer.order_id, ()):
        for t, chips in enumerate(award.chips, award.first):
            taken[t] += chips
    return taken, least, most


def _bid_facts(
    view: View, charges: Charges, bid: StepBid
) -> tuple[list[int], list[int], list[int]]:
    taken, least, most = ([0] * view.intervals for _ in range(3))
    table = cheapest(view, charges, bid)
    for segment in bid.segments:
        for t in range(segment.first, segment.stop):
            for step in segment.steps:
                net = max(
                    charges.scale * limit_in(step.price, bid.conversions, c) - charge
                    for c, charge in table[t].items()
                )
                least[t] += step.chips if net > 0 else 0
                most[t] += step.chips if net >= 0 else 0
    for award in view.awards_of.get(bid.order_id, ()):
        for t, chips in enumerate(award.chips, award.first):
            taken[t] += chips
    return taken, least, most


def _reasons_of_block(view: View, charges: Charges, block: BlockBid) -> set[Reason]:
    if block.order_id in view.awards_of:
        surplus = view.surplus_of[block.order_id]
        return {Reason.IN_THE_MONEY if surplus > 0 else Reason.AT_THE_PRICE}
    if not _fits_somewhere(view, block):
        return {Reason.LARGER_THAN_ANY_POOL}
    best = best_block(view, charges, block)
    if best is None:
        return {Reason.LARGER_THAN_ANY_POOL}
    return {Reason.OUT_OF_THE_MONEY if best < 0 else Reason.AT_THE_PRICE}


def _fits_somewhere(view: View, block: BlockBid) -> bool:
    """Whether some pool offers a block's least quantity throughout one of its windows."""
    for name in view.eligible(block.where):
        least = least_chips(block, view.pools[name].chips_per_node)
        supply = view.offered[name]
        for start in range(block.earliest_start, block.latest_start + 1):
            if least <= min(*supply[start : start + block.duration], block.chips):
                return True
    return False


def shortfall_of(view: View, charges: Charges, answer: OrderOutcome) -> int:
    """How far the limit of an order out of the money missed the best price, per chip-hour."""
    if answer.reason is not Reason.OUT_OF_THE_MONEY:
        return 0
    name = answer.order_id
    if name in view.offers:
        offer = view.offers[name]
        earns = (charges.released if offer.recallable else charges.supply)[offer.pool_id]
        gaps = [
            segment.steps[0].price - earns[t]
            for segment in offer.segments
            for t in range(segment.first, segment.stop)
        ]
        return max(0, min(gaps, default=0))
    bid = view.bids.get(name)
    if isinstance(bid, BlockBid):
        best = best_block(view, charges, bid)
        hours = bid.chips * bid.duration * view.duration_s
        return 0 if best is None else -(best // hours)
    if bid is None:
        return 0
    table = cheapest(view, charges, bid)
    gaps = [
        charge - limit_in(segment.steps[0].price, bid.conversions, chip_class)
        for segment in bid.segments
        for t in range(segment.first, segment.stop)
        for chip_class, charge in table[t].items()
    ]
    return max(0, min(gaps, default=0))
