"""The facts that every check reads: a book and an outcome, indexed once.

Built only after the shape of both was checked (``clearing.verify_shape``), so every
identifier resolves. Nothing here judges; it adds up and looks up. Written from the
rules and not from the engine, which it never imports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from clearing.eligibility import first_mismatch
from clearing.outcome import Award, Outcome, PoolPrice, Side
from clearing.types import (
    BlockBid,
    Book,
    Conversion,
    Cover,
    Eligibility,
    Nomination,
    Offer,
    Pool,
    Segment,
    ServiceClass,
    Site,
    Step,
    StepBid,
    Tariff,
)
from clearing.units import PPM, Ppm, PriceSeconds, divide_up, share_ppm, split_largest_remainder

Bid = StepBid | BlockBid


class Product(Enum):
    """What a bid buys: which parts of the price it pays."""

    COVERED = "COVERED"
    """Firm with NODE cover: pays the cover charge."""
    UNCOVERED = "UNCOVERED"
    """Firm with cover NONE."""
    RECLAIMABLE = "RECLAIMABLE"
    """Interruptible that counts in the reclaimable and the recall row: earns both discounts."""
    RECALLABLE = "RECALLABLE"
    """Interruptible whose notice only fits the recall row."""
    UNCOUNTED = "UNCOUNTED"
    """Interruptible that counts nowhere."""


COUNTS_FOR_RECALL = frozenset({Product.RECLAIMABLE, Product.RECALLABLE})


def product_of(bid: Bid, tariff: Tariff) -> Product:
    """Product that a bid buys (DESIGN 4.1, row 8: notice within the cover time)."""
    if bid.service_class is not ServiceClass.INTERRUPTIBLE:
        return Product.COVERED if bid.cover is Cover.NODE else Product.UNCOVERED
    if bid.notice_s <= tariff.node_cover_notice_s:
        return Product.RECLAIMABLE
    if bid.notice_s <= tariff.site_cover_notice_s:
        return Product.RECALLABLE
    return Product.UNCOUNTED


def price_of(product: Product, price: PoolPrice) -> int:
    """All-in published price of a product; a block's minimum pays ``availability`` on top."""
    match product:
        case Product.COVERED:
            return price.firm
        case Product.UNCOVERED:
            return price.firm_uncovered
        case Product.RECLAIMABLE:
            return price.interruptible
        case Product.RECALLABLE:
            return price.firm_uncovered - price.recall_discount
        case Product.UNCOUNTED:
            return price.interruptible_uncounted


def factor_ppm(conversions: tuple[Conversion, ...], chip_class: str) -> Ppm:
    """A bid's own factor for a class; one million where it names none."""
    return next((c.factor_ppm for c in conversions if c.chip_class == chip_class), Ppm(PPM))


def limit_in(price: int, conversions: tuple[Conversion, ...], chip_class: str) -> int:
    """All-in limit price per chip of a class, rounded half-even once."""
    return share_ppm(price, factor_ppm(conversions, chip_class)) if conversions else price


def least_chips(bid: BlockBid, chips_per_node: int) -> int:
    """Smallest accepted quantity of a block: its minimum fill, up to whole nodes."""
    return whole_nodes(divide_up(bid.chips * bid.min_fill_ppm, PPM), chips_per_node)


def whole_nodes(chips: int, chips_per_node: int) -> int:
    """Chips rounded up to whole nodes."""
    return divide_up(chips, chips_per_node) * chips_per_node


def steps_of(segments: tuple[Segment, ...], interval: int) -> tuple[Step, ...]:
    """The curve in one interval; empty outside the segments."""
    return next((s.steps for s in segments if s.first <= interval < s.stop), ())


def offered_chips(segments: tuple[Segment, ...], interval: int) -> int:
    """Sum of a curve in one interval."""
    return sum(step.chips for step in steps_of(segments, interval))


@dataclass(slots=True, kw_only=True)
class Totals:
    """Sums over the awards of one pool, one entry per interval, chips.

    Attributes:
        sold: Supply awards, released base load included.
        released: Released base load sold.
        delivered: Demand awards.
        covered: Demand awards with NODE cover.
        base: Nominations served; ``base_covered`` those with NODE cover.
        base_paying: The covered part of those: less than all of it in a cover shortage.
        spare: Spare chips held by supply.
        reserve: Interruptible chips counted as reserve.
        reclaimable: Interruptible chips that may be counted for NODE cover.
        recallable: Interruptible chips that may be recalled for released base load.
    """

    sold: list[int]
    released: list[int]
    delivered: list[int]
    covered: list[int]
    base: list[int]
    base_covered: list[int]
    base_paying: list[int]
    spare: list[int]
    reserve: list[int]
    reclaimable: list[int]
    recallable: list[int]


@dataclass(slots=True, kw_only=True)
class View:
    """A book, its outcome and their indexes.

    Attributes:
        offered: Chips offered per pool and interval; ``offered_firm`` without released base.
    """

    book: Book
    outcome: Outcome
    duration_s: int
    sites: dict[str, Site]
    pools: dict[str, Pool]
    pools_of_site: dict[str, list[str]]
    offers: dict[str, Offer]
    bids: dict[str, Bid]
    nominations: dict[str, Nomination]
    products: dict[str, Product]
    prices: dict[str, list[PoolPrice]]
    awards_of: dict[str, list[Award]]
    offered: dict[str, list[int]]
    offered_firm: dict[str, list[int]]
    totals: dict[str, Totals]
    spare_money: dict[str, list[int]]
    covered_base: dict[tuple[str, int], int] = field(default_factory=dict)
    spare_shares: dict[str, int] = field(default_factory=dict)
    surplus_of: dict[str, int] = field(default_factory=dict)
    memory: dict[str, object] = field(default_factory=dict)
    eligible_cache: dict[Eligibility, tuple[str, ...]] = field(default_factory=dict)

    @property
    def intervals(self) -> int:
        """Number of intervals."""
        return len(self.book.spec.intervals)

    def eligible(self, where: Eligibility) -> tuple[str, ...]:
        """Pools that may serve an order, sorted; cached, because many orders share a condition."""
        found = self.eligible_cache.get(where)
        if found is None:
            named = set(where.pool_ids) & self.pools.keys()
            names: Iterable[str] = named if where.pool_ids else self.pools
            found = tuple(
                sorted(
                    name
                    for name in names
                    if first_mismatch(where, self.sites[self.pools[name].site_id], self.pools[name])
                    is None
                )
            )
            self.eligible_cache[where] = found
        return found

    def order_ids(self) -> list[str]:
        """Identifiers of every order, sorted."""
        return sorted([*self.offers, *self.bids, *self.nominations])


def build(book: Book, outcome: Outcome) -> View:
    """Index a book and an outcome whose shapes were checked."""
    spec = book.spec
    bids: dict[str, Bid] = {bid.order_id: bid for bid in book.step_bids}
    bids.update({bid.order_id: bid for bid in book.block_bids})
    prices: dict[str, list[PoolPrice]] = defaultdict(list)
    for price in outcome.prices:
        prices[price.pool_id].append(price)
    awards_of: dict[str, list[Award]] = defaultdict(list)
    for award in outcome.awards:
        awards_of[award.order_id].append(award)
    pools_of_site: dict[str, list[str]] = defaultdict(list)
    for pool in book.pools:
        pools_of_site[pool.site_id].append(pool.pool_id)
    view = View(
        book=book,
        outcome=outcome,
        duration_s=spec.intervals[0].duration_s,
        sites={site.site_id: site for site in book.sites},
        pools={pool.pool_id: pool for pool in book.pools},
        pools_of_site=pools_of_site,
        offers={offer.order_id: offer for offer in book.offers},
        bids=bids,
        nominations={nomination.order_id: nomination for nomination in book.nominations},
        products={name: product_of(bid, spec.tariff) for name, bid in bids.items()},
        prices=prices,
        awards_of=awards_of,
        offered=_offered(book, book.offers),
        offered_firm=_offered(book, [o for o in book.offers if not o.recallable]),
        totals={},
        spare_money={},
    )
    _add_up(view)
    _cover_base(view)
    for pool_id in view.pools:
        view.spare_money[pool_id] = [cover_left(view, pool_id, t) for t in range(view.intervals)]
    _share_spare_money(view)
    for name in view.order_ids():
        view.surplus_of[name] = surplus(view, name)
    return view


def _offered(book: Book, offers: Iterable[Offer]) -> dict[str, list[int]]:
    """Chips of some offers per pool and interval."""
    offered = {pool.pool_id: [0] * len(book.spec.intervals) for pool in book.pools}
    for offer in offers:
        for segment in offer.segments:
            chips = sum(step.chips for step in segment.steps)
            for interval in range(segment.first, segment.stop):
                offered[offer.pool_id][interval] += chips
    return offered


def _add_up(view: View) -> None:
    count = view.intervals
    view.totals = {
        name: Totals(**{part: [0] * count for part in Totals.__dataclass_fields__})
        for name in view.pools
    }
    for award in view.outcome.awards:
        totals = view.totals[award.pool_id]
        if award.side is Side.SUPPLY:
            _add(totals.sold, award.first, award.chips)
            _add(totals.spare, award.first, award.reserve)
            if view.offers[award.order_id].recallable:
                _add(totals.released, award.first, award.chips)
        elif award.side is Side.BASE:
            _add(totals.base, award.first, award.chips)
            if award.cover is Cover.NODE:
                _add(totals.base_covered, award.first, award.chips)
        else:
            _add(totals.delivered, award.first, award.chips)
            _add_demand(view, award, totals)


def _add_demand(view: View, award: Award, totals: Totals) -> None:
    product = view.products[award.order_id]
    if product is Product.COVERED:
        _add(totals.covered, award.first, award.chips)
    if product is Product.RECLAIMABLE:
        _add(totals.reserve, award.first, award.reserve)
        _add(totals.reclaimable, award.first, countable(view, award))
    if product in COUNTS_FOR_RECALL:
        _add(totals.recallable, award.first, award.chips)


def _add(into: list[int], first: int, chips: Iterable[int]) -> None:
    for position, quantity in enumerate(chips, first):
        into[position] += quantity


def _cover_base(view: View) -> None:
    """What of each nomination is covered, and so pays for cover.

    All of it, unless the pool holds too little: then what spare and reclaimable chips cover
    beyond the firm awards, split over its nominations by largest remainder.
    """
    held: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
    for award in view.outcome.awards:
        if award.side is Side.BASE and award.cover is Cover.NODE:
            for position, chips in enumerate(award.chips, award.first):
                if chips:
                    held[award.pool_id, position].append((award.order_id, chips))
    for (name, t), parts in held.items():
        totals, theta = view.totals[name], view.pools[name].node_spare_ppm
        paying = totals.base_covered[t]
        if theta:
            covers = (totals.spare[t] + totals.reclaimable[t]) * PPM // theta
            paying = min(paying, max(0, covers - totals.covered[t]))
        totals.base_paying[t] = paying
        shares = split_largest_remainder(paying, [c for _, c in parts], [o for o, _ in parts])
        view.covered_base.update(
            ((order_id, t), share) for (order_id, _), share in zip(parts, shares, strict=True)
        )


def countable(view: View, award: Award) -> list[int]:
    """Chips of a reclaimable award that count as reserve: a block's only above its minimum."""
    bid = view.bids[award.order_id]
    least = 0
    if isinstance(bid, BlockBid):
        least = least_chips(bid, view.pools[award.pool_id].chips_per_node)
    return [max(0, chips - least) for chips in award.chips]


def cover_left(view: View, pool_id: str, interval: int) -> int:
    """Cover money of one pool and interval that spare chips share, price x chips.

    Covered load pays ``node_cover``; released base load gives up ``recall_discount``;
    the discounts of interruptibles come out of that first, because they are inside
    their prices. Spare chips receive the rest, at most ``spare`` each (DESIGN 4.2: chips
    added only by node rounding earn nothing beyond make-whole).
    """
    totals, price = view.totals[pool_id], view.prices[pool_id][interval]
    came_in = cover_came_in(totals, price, interval)
    return min(max(0, came_in), price.spare * totals.spare[interval])


def cover_came_in(totals: Totals, price: PoolPrice, interval: int) -> int:
    """Cover charges and recall discounts collected, less discounts granted, price x chips."""
    covered = totals.covered[interval] + totals.base_paying[interval]
    return (
        price.node_cover * covered
        + price.recall_discount * totals.released[interval]
        - price.availability * totals.reclaimable[interval]
        - price.recall_discount * totals.recallable[interval]
    )


def spare_power(view: View, pool_id: str, interval: int) -> int:
    """Power rent that spare chips pay out of their cover money, price x chips."""
    totals, price = view.totals[pool_id], view.prices[pool_id][interval]
    return min(view.spare_money[pool_id][interval], price.power * totals.spare[interval])


def _share_spare_money(view: View) -> None:
    """Split what spare chips receive, after power, by largest remainder over the holders."""
    holders: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
    for award in view.outcome.awards:
        if award.side is Side.SUPPLY:
            for position, reserve in enumerate(award.reserve, award.first):
                if reserve > 0:
                    holders[award.pool_id, position].append((award.order_id, reserve))
    for (pool_id, interval), held in holders.items():
        money = view.spare_money[pool_id][interval] - spare_power(view, pool_id, interval)
        parts = split_largest_remainder(money, [r for _, r in held], [name for name, _ in held])
        for (name, _), part in zip(held, parts, strict=True):
            view.spare_shares[name] = view.spare_shares.get(name, 0) + part * view.duration_s


def surplus(view: View, order_id: str) -> int:
    """Surplus of an order at the published prices, before make-whole, price-seconds."""
    if order_id in view.offers:
        return receipts(view, order_id) - cost(view, order_id)
    if order_id in view.bids:
        return value(view, order_id) - payment(view, order_id)
    return -payment(view, order_id)


def receipts(view: View, order_id: str) -> int:
    """What supply earns: energy price, less the recall discount on released base, plus spare."""
    recallable = view.offers[order_id].recallable
    total = 0
    for award in view.awards_of.get(order_id, ()):
        prices = view.prices[award.pool_id]
        for position, chips in enumerate(award.chips, award.first):
            price = prices[position]
            total += chips * (price.energy - (price.recall_discount if recallable else 0))
    return total * view.duration_s + view.spare_shares.get(order_id, 0)


def cost(view: View, order_id: str) -> int:
    """Offered cost of what an offer sold: its cheapest steps first, price-seconds."""
    segments = view.offers[order_id].segments
    total = 0
    for award in view.awards_of.get(order_id, ()):
        for position, chips in enumerate(award.chips, award.first):
            if chips:
                total += _along(steps_of(segments, position), chips)
    return total * view.duration_s


def _along(steps: tuple[Step, ...], chips: int) -> int:
    """Price x chips of the first ``chips`` of a curve."""
    total = 0
    for step in steps:
        taken = min(chips, step.chips)
        total += taken * step.price
        chips -= taken
    return total


def payment(view: View, order_id: str) -> int:
    """All-in payment of a bid or nomination, price-seconds."""
    total = 0
    nomination = view.nominations.get(order_id)
    for award in view.awards_of.get(order_id, ()):
        prices = view.prices[award.pool_id]
        if nomination is not None:
            for position, chips in enumerate(award.chips, award.first):
                price = prices[position]
                total += chips * (price.surcharge + price.fee + price.power)
                covered = view.covered_base.get((order_id, position), 0)
                total += covered * price.node_cover
            continue
        product = view.products[order_id]
        counted = countable(view, award) if product is Product.RECLAIMABLE else None
        for index, chips in enumerate(award.chips):
            if chips:
                price = prices[award.first + index]
                total += chips * price_of(product, price)
                if counted is not None:
                    total += (chips - counted[index]) * price.availability
    return total * view.duration_s


def value(view: View, order_id: str) -> int:
    """Bid value of what a bid was awarded, at its all-in limits, price-seconds.

    A step bid served in several classes is read in its own favour: its highest steps
    go to the pools where its conversion factor is highest.
    """
    bid = view.bids[order_id]
    awards = view.awards_of.get(order_id, ())
    if isinstance(bid, BlockBid):
        return view.duration_s * sum(
            limit_in(bid.limit_price, bid.conversions, view.pools[a.pool_id].chip_class)
            * sum(a.chips)
            for a in awards
        )
    ranked = sorted(
        awards,
        key=lambda a: -factor_ppm(bid.conversions, view.pools[a.pool_id].chip_class),
    )
    used: dict[int, int] = {}
    total = 0
    for award in ranked:
        chip_class = view.pools[award.pool_id].chip_class
        for position, chips in enumerate(award.chips, award.first):
            if chips:
                skip = used.get(position, 0)
                total += _value_between(bid, position, skip, chips, chip_class)
                used[position] = skip + chips
    return total * view.duration_s


def _value_between(bid: StepBid, interval: int, skip: int, chips: int, chip_class: str) -> int:
    total = 0
    for step in steps_of(bid.segments, interval):
        left = max(0, step.chips - skip)
        skip = max(0, skip - step.chips)
        taken = min(chips, left)
        total += taken * limit_in(step.price, bid.conversions, chip_class)
        chips -= taken
    return total


def welfare(view: View) -> PriceSeconds:
    """Values minus costs, fees and surcharges of the awards; base load is no part of it."""
    total = sum(value(view, name) for name in view.bids if name in view.awards_of)
    total -= sum(cost(view, name) for name in view.offers if name in view.awards_of)
    fee = view.book.spec.operator_fee
    for name, totals in view.totals.items():
        adders = view.sites[view.pools[name].site_id].surcharge + fee
        total -= adders * sum(totals.delivered) * view.duration_s
    return PriceSeconds(total)
