"""Checks of the published prices: their sums, their range, and what they say about every order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from clearing.outcome import Award
from clearing.types import BlockBid, Offer, StepBid
from clearing.units import PPM, share_ppm
from clearing.verify_bound import Charges, charges_at_prices, cheapest
from clearing.verify_room import has_room
from clearing.verify_view import COUNTS_FOR_RECALL, Product, View, least_chips, limit_in, price_of

BLOCK_ROUNDING: Final = 2
"""Micro-USD per interval that an all-in price may be off the one a block was filled at."""

Place = tuple[str, int]
"""Pool and interval."""

Buyer = tuple[Product, range]
"""What is bought and in which intervals at once."""


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
    less than one node per pool it could use at best, or does use, off its best response; an
    offer also per pool to which its buyers could as well have gone. Below its best response
    it may stay by more only where the next node does not fit: where in each of those pools,
    other than sold out ones, one more node would break POWER or NODE_COVER
    (``clearing.verify_room``); for an offer, whoever would buy that node.
    A block is held to it for its fill above the minimum. Source: DESIGN 4.2 "Whole nodes",
    4.3; GOLDEN "Settlement per order kind".
    """
    charges = charges_at_prices(view)
    missed = [miss for offer in view.book.offers for miss in _missed(view, charges, offer)]
    if missed:
        market = _demand(view, charges, {miss.place for miss in missed})
        yield from (miss.finding() for miss in missed if not _explained(view, market, miss))
    for bid in view.book.step_bids:
        yield from _bid_rule(view, charges, bid)
    for block in view.book.block_bids:
        for award in view.awards_of.get(block.order_id, ()):
            yield from _block_rule(view, block, award)


@dataclass(slots=True, kw_only=True)
class _Demand:
    """What buyers would still do, per pool and interval.

    Attributes:
        wanting: Who would buy more here.
        joined: Other pools that a step bid would use as well as this one.
    """

    wanting: dict[Place, set[Buyer]]
    joined: dict[Place, set[str]]


def _demand(view: View, charges: Charges, places: set[Place]) -> _Demand:
    wanting: dict[Place, set[Buyer]] = defaultdict(set)
    joined: dict[Place, set[str]] = defaultdict(set)
    for bid in view.book.step_bids:
        product = view.products[bid.order_id]
        taken = _taken(view, bid.order_id)
        for t, (_, most) in best_of_bid(view, charges, bid).items():
            pools = _usable(view, charges, bid, t, set()) if most else []
            for name in pools:
                if (name, t) not in places:
                    continue
                joined[name, t].update(other for other in pools if other != name)
                if sum(taken[t].values()) < most:
                    wanting[name, t].add((product, range(t, t + 1)))
    for block in view.book.block_bids:
        for award in view.awards_of.get(block.order_id, ()):
            margin, rounding = _margin(view, block, award)
            if max(award.chips) < block.chips and margin >= -rounding:
                run = range(award.first, award.first + len(award.chips))
                for t in run:
                    wanting[award.pool_id, t].add((view.products[block.order_id], run))
    return _Demand(wanting=wanting, joined=joined)


def _taken(view: View, order_id: str) -> dict[int, dict[str, int]]:
    """Chips of an order per interval and pool."""
    taken: dict[int, dict[str, int]] = defaultdict(dict)
    for award in view.awards_of.get(order_id, ()):
        for t, chips in enumerate(award.chips, award.first):
            if chips:
                taken[t][award.pool_id] = chips
    return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class _Miss:
    """An offer that sells a node or more off its best response in one interval."""

    offer: Offer
    interval: int
    sold: int
    least: int
    most: int

    @property
    def place(self) -> Place:
        return self.offer.pool_id, self.interval

    def finding(self) -> str:
        where = f"{self.offer.order_id}[{self.interval}]"
        return f"{where} sells {self.sold}, best is {self.least} to {self.most}"


def _missed(view: View, charges: Charges, offer: Offer) -> Iterator[_Miss]:
    """Sold chips against the steps that sell better than they would stand by."""
    least, most = offer_range(view, charges, offer)
    taken = _taken(view, offer.order_id)
    node = view.pools[offer.pool_id].chips_per_node
    for t in range(view.intervals):
        sold = taken[t].get(offer.pool_id, 0)
        if not least[t] - node < sold < most[t] + node:
            yield _Miss(offer=offer, interval=t, sold=sold, least=least[t], most=most[t])


def _explained(view: View, market: _Demand, miss: _Miss) -> bool:
    """Whether whole nodes explain that an offer sells too little."""
    if miss.sold >= miss.least:
        return False
    name, t = miss.place
    nodes = sum(view.pools[other].chips_per_node for other in {name, *market.joined[name, t]})
    if miss.least - nodes < miss.sold:
        return True
    buyers = market.wanting[name, t] or {(Product.UNCOVERED, range(t, t + 1))}
    return not any(all(has_room(view, name, at, product) for at in run) for product, run in buyers)


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
    full = [name for name in pools if not has_room(view, name, interval, product)]
    others = [name for name in pools if name not in full]
    # Where another pool has room, it must have nothing left to sell.
    return (
        total < best[0]
        and bool(full)
        and not any(_has_supply(view, charges, name, interval, product) for name in others)
    )


def _has_supply(
    view: View, charges: Charges, pool_id: str, interval: int, product: Product
) -> bool:
    """Whether offers of a pool would sell one more node at its price.

    Released base load is supply for interruptibles only.
    """
    left = 0
    for offer in view.book.offers:
        if offer.pool_id != pool_id or (offer.recallable and product not in COUNTS_FOR_RECALL):
            continue
        _, most = offer_range(view, charges, offer)
        used = 0
        for award in view.awards_of.get(offer.order_id, ()):
            if award.first <= interval < award.first + len(award.chips):
                at = interval - award.first
                used += award.chips[at] + award.reserve[at]
        left += max(0, most[interval] - used)
    return left >= view.pools[pool_id].chips_per_node


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


def _usable(view: View, charges: Charges, bid: StepBid, interval: int, used: set[str]) -> list[str]:
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
    margin, rounding = _margin(view, block, award)
    product = view.products[block.order_id]
    run = range(award.first, award.first + len(award.chips))
    node = view.pools[award.pool_id].chips_per_node
    chips = max(award.chips)
    if (
        margin > rounding
        and chips <= block.chips - node
        and all(has_room(view, award.pool_id, t, product) for t in run)
    ):
        yield f"{block.order_id} gains at the price and runs only {chips} of {block.chips} chips"
    if margin < -rounding and chips >= least_chips(block, node) + node:
        yield f"{block.order_id} loses at the price and runs {chips} chips, above its minimum"


def _margin(view: View, block: BlockBid, award: Award) -> tuple[int, int]:
    """What a block gains per chip over its run, and how far rounding may have moved it."""
    chip_class = view.pools[award.pool_id].chip_class
    limit = limit_in(block.limit_price, block.conversions, chip_class)
    product = view.products[block.order_id]
    prices = view.prices[award.pool_id][award.first : award.first + len(award.chips)]
    margin = sum(limit - price_of(product, price) for price in prices)
    return margin, BLOCK_ROUNDING * len(prices) if len(prices) > 1 else 0
