"""The range of energy prices that the step orders of a pool are content with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from clearing.types import StepBid
from clearing.verify_view import View, limit_in, price_of

Place = tuple[str, int]
"""Pool and interval."""


@dataclass(slots=True, kw_only=True)
class Range:
    """Lowest and highest price; ``exact`` where the awards say which step is served where."""

    low: int
    high: int
    exact: bool = True


def check_price_bounds(view: View) -> Iterator[str]:
    """PRICE_BOUNDS: ``low`` and ``high`` are those that the step orders allow.

    With the other prices held, an offer's step with chips sold wants at least its price, one
    with chips left at most; a bid's step served wants at most its limit less the other parts,
    and one left short in its only pool at least. The published energy price is always inside.
    Where a bid has several steps and several pools in one interval the awards do not say which
    step is served where; there only the enclosure of PRICE_RANGE is checked.
    Source: DESIGN 4.2 ("a product with no award publishes a range").
    """
    ranges = price_ranges(view)
    for price in view.outcome.prices:
        found = ranges[price.pool_id, price.interval]
        low, high = min(found.low, price.energy), max(found.high, price.energy)
        if found.exact and (price.low, price.high) != (low, high):
            name = f"{price.pool_id}[{price.interval}]"
            yield f"{name} has a range of {price.low} to {price.high}, computed {low} to {high}"


def price_ranges(view: View) -> dict[Place, Range]:
    """Range per pool and interval, before the published price is taken in."""
    floor, cap = view.book.spec.price_floor, view.book.spec.price_cap
    ranges = {
        (name, t): Range(low=floor, high=cap) for name in view.pools for t in range(view.intervals)
    }
    taken: dict[str, dict[Place, int]] = defaultdict(dict)
    for award in view.outcome.awards:
        for t, chips in enumerate(award.chips, award.first):
            if chips:
                taken[award.order_id][award.pool_id, t] = chips
    for offer in view.book.offers:
        sold = taken.get(offer.order_id, {})
        for segment in offer.segments:
            for t in range(segment.first, segment.stop):
                here, left = ranges[offer.pool_id, t], sold.get((offer.pool_id, t), 0)
                price = view.prices[offer.pool_id][t]
                extra = price.recall_discount if offer.recallable else 0
                for step in segment.steps:
                    if left > 0:
                        here.low = max(here.low, step.price + extra)
                    if left < step.chips:
                        here.high = min(here.high, step.price + extra)
                    left = max(0, left - step.chips)
    for bid in view.book.step_bids:
        _read_bid(view, bid, taken.get(bid.order_id, {}), ranges)
    return ranges


def _read_bid(
    view: View, bid: StepBid, taken: dict[Place, int], ranges: dict[Place, Range]
) -> None:
    pools = view.eligible(bid.where)
    product = view.products[bid.order_id]
    for segment in bid.segments:
        for t in range(segment.first, segment.stop):
            used = [name for name in pools if (name, t) in taken]
            if len(pools) > 1 and len(segment.steps) > 1:
                for name in used:
                    ranges[name, t].exact = False
                continue
            for name in pools if len(pools) == 1 else used:
                price, here = view.prices[name][t], ranges[name, t]
                other = price_of(product, price) - price.energy
                left = taken.get((name, t), 0)
                for step in segment.steps:
                    limit = limit_in(step.price, bid.conversions, view.pools[name].chip_class)
                    if left > 0:
                        here.high = min(here.high, limit - other)
                    if len(pools) == 1 and left < step.chips:
                        here.low = max(here.low, limit - other)
                    left = max(0, left - step.chips)
