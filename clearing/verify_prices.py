"""Checks of the published prices: their sums, their range, and what they say about every order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from clearing.outcome import Award
from clearing.types import BlockBid, Offer, StepBid
from clearing.units import PPM, share_ppm
from clearing.verify_bound import Charges, charges_at_prices, cheapest
from clearing.verify_room import has_room
from clearing.verify_view import Product, View, least_chips, limit_in, price_of

BLOCK_ROUNDING: Final = 2
"""Micro-USD per interval that an all-in price may be off the one a block was filled at."""

Place = tuple[str, int]
"""Pool and interval."""


def check_price_parts(view: View) -> Iterator[str]:
    """PRICE_PARTS: every all-in price is the exact sum of its published parts.

    node_cover is theta x spare rounded half-even; firm = energy + power + node_cover +
    surcharge + fee; firm_uncovered leaves node_cover out; interruptible_uncounted equals
    firm_uncovered; interruptible subtracts availability and recall_discount. Surcharge and
    fee are the site's and the auction's. Source: DESIGN 4.2.
    """
    for price in view.outcome.prices:
        pool = view.pools[price.pool_id]
        plain = price.energy + price.power + price.surcharge + price.fee
        sums = {
            "node_cover": (price.node_cover, share_ppm(price.spare, pool.node_spare_ppm)),
            "surcharge": (price.surcharge, view.sites[pool.site_id].surcharge),
            "fee": (price.fee, view.book.spec.operator_fee),
            "firm": (price.firm, plain + price.node_cover),
            "firm_uncovered": (price.firm_uncovered, plain),
            "interruptible": (
                price.interruptible,
                plain - price.availability - price.recall_discount,
            ),
            "interruptible_uncounted": (price.interruptible_uncounted, plain),
        }
        for part, (published, expected) in sums.items():
            if published != expected:
                yield f"{price.pool_id}[{price.interval}] {part} is {published}, not {expected}"


def check_price_range(view: View) -> Iterator[str]:
    """PRICE_RANGE: energy lies between floor and cap, scarcity parts are never negative.

    ``low`` and ``high`` enclose the energy price, inside floor and cap; ``indicative`` says
    that nothing was awarded. A pool without a spare share has no cover price, a site
    without a limit no power price. Source: DESIGN 4.2.
    """
    floor, cap = view.book.spec.price_floor, view.book.spec.price_cap
    for price in view.outcome.prices:
        name = f"{price.pool_id}[{price.interval}]"
        if not floor <= price.low <= price.energy <= price.high <= cap:
            known = f"{floor}, {price.low}, {price.energy}, {price.high}, {cap}"
            yield f"{name} is out of order: {known}"
        parts = (price.power, price.node_cover, price.spare, price.availability)
        if min(*parts, price.recall_discount) < 0:
            yield f"{name} has a negative part"
        pool = view.pools[price.pool_id]
        if price.spare and not pool.node_spare_ppm:
            yield f"{name} prices cover in a pool that holds none"
        if price.power and view.sites[pool.site_id].power_limit is None:
            yield f"{name} prices power at a site without a limit"
        totals = view.totals[price.pool_id]
        awarded = totals.sold[price.interval] + totals.delivered[price.interval]
        if price.indicative is not (awarded == 0):
            yield f"{name} is wrongly marked as {'' if price.indicative else 'not '}indicative"


def check_step_rule(view: View) -> Iterator[str]:
    """STEP_RULE: in the money full, out of the money nothing, partial only at the price.

    Per order, interval and pool, with the one-node rule: whole nodes may leave an order
    less than one node per pool it could use at best, or does use, off its best response.
    Below it, it may stay by more only where the next node does not fit: where in each of
    those pools one more node would break POWER or NODE_COVER (``clearing.verify_room``).
    A block is held to it for its fill above the minimum. Source: DESIGN 4.2 "Whole nodes",
    4.3; GOLDEN "Settlement per order kind".
    """
    charges = charges_at_prices(view)
    wanting = _wanting(view, charges)
    for offer in view.book.offers:
        yield from _offer_rule(view, charges, offer, wanting)
    for bid in view.book.step_bids:
        yield from _bid_rule(view, charges, bid)
    for block in view.book.block_bids:
        for award in view.awards_of.get(block.order_id, ()):
            yield from _block_rule(view, block, award)


def _wanting(view: View, charges: Charges) -> dict[Place, set[Product]]:
    """Products that some bid would buy more of, in the pools where it would like to."""
    found: dict[Place, set[Product]] = defaultdict(set)
    for bid in view.book.step_bids:
        product = view.products[bid.order_id]
        taken = _taken(view, bid.order_id)
        for t, (_, most) in best_of_bid(view, charges, bid).items():
            if sum(taken[t].values()) < most:
                for name in _usable(view, charges, bid, t, set()):
                    found[name, t].add(product)
    return found


def _taken(view: View, order_id: str) -> dict[int, dict[str, int]]:
    """Chips of an order per interval and pool."""
    taken: dict[int, dict[str, int]] = defaultdict(dict)
    for award in view.awards_of.get(order_id, ()):
        for t, chips in enumerate(award.chips, award.first):
            if chips:
                taken[t][award.pool_id] = chips
    return taken


def _offer_rule(
    view: View, charges: Charges, offer: Offer, wanting: dict[Place, set[Product]]
) -> Iterator[str]:
    """Sold chips against the steps that sell better than they would stand by."""
    least, most = offer_range(view, charges, offer)
    name = offer.pool_id
    taken = _taken(view, offer.order_id)
    node = view.pools[name].chips_per_node
    for t in range(view.intervals):
        sold = taken[t].get(name, 0)
        if least[t] - node < sold < most[t] + node:
            continue
        # Short with every buyer's next node in the way: nothing more could be sold here.
        buyers = wanting.get((name, t), {Product.UNCOVERED})
        if sold >= least[t] or any(has_room(view, name, t, product) for product in buyers):
            yield f"{offer.order_id}[{t}] sells {sold}, best is {least[t]} to {most[t]}"


def offer_range(view: View, charges: Charges, offer: Offer) -> tuple[list[int], list[int]]:
    """Least and most chips per interval that an offer would sell at the published prices.

    Sale and spare are compared across two prices that were rounded apart from each other,
    and the spare price is only as exact as theta x spare in whole micro-USD; a difference
    below that counts as none.
    """
    theta = view.pools[offer.pool_id].node_spare_ppm
    prices = view.prices[offer.pool_id]
    least, most = [0] * view.intervals, [0] * view.intervals
    earns = (charges.released if offer.recallable else charges.supply)[offer.pool_id]
    spare = charges.spare[offer.pool_id]
    for segment in offer.segments:
        for t in range(segment.first, segment.stop):
            idle = 0 if offer.recallable else max(0, spare[t])
            rounding = 2 + PPM // theta if theta and prices[t].spare else 0
            for step in segment.steps:
                gain = earns[t] - step.price
                least[t] += step.chips if gain > idle + rounding else 0
                most[t] += step.chips if gain >= max(0, idle - rounding) else 0
    return least, most


def best_of_bid(view: View, charges: Charges, bid: StepBid) -> dict[int, tuple[int, int]]:
    """Least and most chips per interval of its segments that a bid would take at the prices."""
    found: dict[int, tuple[int, int]] = {}
    table = cheapest(view, charges, bid)
    for segment in bid.segments:
        for t in range(segment.first, segment.stop):
            nets = [(s.chips, _net(charges, bid, s.price, table[t])) for s in segment.steps]
            least = sum(chips for chips, net in nets if net > 0)
            found[t] = least, sum(chips for chips, net in nets if net >= 0)
    return found


def _bid_rule(view: View, charges: Charges, bid: StepBid) -> Iterator[str]:
    """Chips taken against the steps in the money, in all and in each pool."""
    taken = _taken(view, bid.order_id)
    for t, (least, most) in best_of_bid(view, charges, bid).items():
        here = taken[t]
        total = sum(here.values())
        if not least <= total <= most and not _near(view, charges, bid, t, here, (least, most)):
            yield f"{bid.order_id}[{t}] takes {total}, best is {least} to {most}"
        for name, part in here.items():
            best = _most_in(view, charges, bid, t, name)
            if part >= best + view.pools[name].chips_per_node:
                yield f"{bid.order_id}[{t}] takes {part} in {name}, at best {best} there"


def _near(
    view: View,
    charges: Charges,
    bid: StepBid,
    interval: int,
    here: dict[str, int],
    best: tuple[int, int],
) -> bool:
    """Whether whole nodes explain that a bid misses its best response."""
    pools = _usable(view, charges, bid, interval, set(here))
    node = sum(view.pools[name].chips_per_node for name in pools)
    total = sum(here.values())
    if best[0] - node < total < best[1] + node:
        return True
    product = view.products[bid.order_id]
    return total < best[0] and not any(has_room(view, p, interval, product) for p in pools)


def _net(charges: Charges, bid: StepBid, price: int, at: dict[str, int]) -> int:
    """Limit minus charge in the best class; minus one where there is no pool at all."""
    return max(
        (charges.scale * limit_in(price, bid.conversions, c) - charge for c, charge in at.items()),
        default=-1,
    )


def _most_in(view: View, charges: Charges, bid: StepBid, interval: int, pool_id: str) -> int:
    """Chips of the steps for which one pool is among the best and not a loss."""
    at = cheapest(view, charges, bid)[interval]
    chip_class = view.pools[pool_id].chip_class
    charge = charges.products[view.products[bid.order_id]][pool_id][interval]
    total = 0
    for segment in bid.segments:
        if segment.first <= interval < segment.stop:
            for step in segment.steps:
                net = charges.scale * limit_in(step.price, bid.conversions, chip_class) - charge
                if net >= max(0, _net(charges, bid, step.price, at)):
                    total += step.chips
    return total


def _usable(
    view: View, charges: Charges, bid: StepBid, interval: int, used: set[str]
) -> list[str]:
    """Pools that a bid uses, or could use as well as its best."""
    at = cheapest(view, charges, bid)[interval]
    series = charges.products[view.products[bid.order_id]]
    return [
        name
        for name in view.eligible(bid.where)
        if name in used or series[name][interval] == at[view.pools[name].chip_class]
    ]


def _block_rule(view: View, block: BlockBid, award: Award) -> Iterator[str]:
    """A block's fill above its minimum: full when it gains, at the minimum when it loses.

    Over several intervals the prices that should add up to its limit were rounded apart.
    """
    pool = view.pools[award.pool_id]
    product = view.products[block.order_id]
    limit = limit_in(block.limit_price, block.conversions, pool.chip_class)
    run = range(award.first, award.first + len(award.chips))
    prices = view.prices[award.pool_id]
    margin = sum(limit - price_of(product, prices[t]) for t in run)
    rounding = BLOCK_ROUNDING * len(run) if len(run) > 1 else 0
    node = pool.chips_per_node
    chips = max(award.chips)
    if (
        margin > rounding
        and chips <= block.chips - node
        and all(has_room(view, award.pool_id, t, product) for t in run)
    ):
        yield f"{block.order_id} gains at the price and runs only {chips} of {block.chips} chips"
    if margin < -rounding and chips >= least_chips(block, node) + node:
        yield f"{block.order_id} loses at the price and runs {chips} chips, above its minimum"
