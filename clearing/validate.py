"""What the engine refuses, by name and before anything is solved.

Checked at acceptance as well; here once more, because a book that was cleared around an
error could not be reproduced. Guards run in the order in which they are written, so the
same book always gets the same code.

=========================  ==========================================================
code                       meaning
=========================  ==========================================================
NOT_CLEARED_YET            the feature named in ``field`` is not cleared by this engine
BAD_IDENTIFIER             empty, or holds a zero byte
DUPLICATE_IDENTIFIER       two sites, pools or orders share an identifier
UNKNOWN_SITE               a pool names a site that is not in the book
UNKNOWN_POOL               an order names a pool that is not in the book
BAD_INTERVALS              none, not contiguous, or of unequal length
BAD_PARAMETER              a number of the auction, a site or a pool is out of range
BAD_INTERVAL_RANGE         an order's intervals are empty, outside the auction or overlap
BAD_CURVE                  steps not strictly monotone in price, or none
BAD_QUANTITY               not positive, too large, or no multiple of a node
BAD_PRICE                  outside floor and cap, or not a multiple of the tick
BAD_CLASS                  service class, cover and notice do not go together
BAD_FILL                   minimum fill outside 1 to 1,000,000 parts per million
NO_CONDITION               a bid without any condition on where it may be served
OVER_CAPACITY              offers and nominations of a pool exceed its capacity
=========================  ==========================================================
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from clearing.eligibility import resolve
from clearing.errors import BookError
from clearing.types import (
    MAX_CHIPS,
    MAX_PRICE_MICRO_USD_PER_CHIP_HOUR,
    AuctionSpec,
    BlockBid,
    Book,
    Conversion,
    Cover,
    Eligibility,
    Nomination,
    Offer,
    Pool,
    PricingRule,
    Segment,
    ServiceClass,
    Step,
    StepBid,
)
from clearing.units import PPM, Chips

_TIE_CREDIT_MAX: Final = 100


def validate(book: Book) -> None:
    """Refuse a book that the engine does not clear.

    Raises:
        BookError: with the first code of the module's table that applies.
    """
    _check_features(book)
    _check_spec(book.spec)
    _check_grid(book)
    _check_identifiers(book)
    pools = {pool.pool_id: pool for pool in book.pools}
    for offer in book.offers:
        _check_pool(offer.order_id, offer.pool_id, pools)
        node = pools[offer.pool_id].chips_per_node
        _check_segments(offer.order_id, offer.segments, book.spec, node, rising=True)
    for nomination in book.nominations:
        _check_nomination(nomination, book.spec, pools)
    known: dict[Eligibility, int] = {}
    for bid in _bids(book):
        _check_terms(bid)
        node = Chips(_common_node(bid, book, pools, known))
        if isinstance(bid, StepBid):
            _check_segments(bid.order_id, bid.segments, book.spec, node, rising=False)
        else:
            _check_block(bid, book.spec, node)
    _check_capacity(book)


def _bids(book: Book) -> tuple[StepBid | BlockBid, ...]:
    return (*book.step_bids, *book.block_bids)


def _supplied(book: Book) -> tuple[Offer | Nomination, ...]:
    return (*book.offers, *book.nominations)


def _not_cleared(subject: str, field: str, what: str) -> BookError:
    advice = f"{what} is not cleared by this engine; withdraw or restate the order."
    return BookError("NOT_CLEARED_YET", subject, field, advice)


def _check_features(book: Book) -> None:
    spec = book.spec
    if spec.pricing_rule is not PricingRule.MAKE_WHOLE:
        raise _not_cleared(spec.auction_id, "pricing_rule", "STRICT_UNIFORM pricing")
    if spec.price_floor < 0:
        raise _not_cleared(spec.auction_id, "price_floor", "a negative price floor")
    for link in book.links:
        raise _not_cleared(link.link_id, "link_id", "a link between pools")
    for work in book.work_bids:
        raise _not_cleared(work.order_id, "work", "a work bid")
    for offer in book.offers:
        if offer.commitment is not None:
            raise _not_cleared(offer.order_id, "commitment", "a supplier commitment")
    for nomination in book.nominations:
        if nomination.cover is Cover.SITE:
            raise _not_cleared(nomination.order_id, "cover", "SITE cover")
    for bid in _bids(book):
        if bid.cover is Cover.SITE:
            raise _not_cleared(bid.order_id, "cover", "SITE cover")
    for block in book.block_bids:
        if block.latest_start > block.earliest_start:
            raise _not_cleared(block.order_id, "latest_start", "a shiftable block")
        if block.parent_order_id:
            raise _not_cleared(block.order_id, "parent_order_id", "a linked order")


def _check_spec(spec: AuctionSpec) -> None:
    name = spec.auction_id
    durations = {interval.duration_s for interval in spec.intervals}
    contiguous = all(left.end == right.start for left, right in pairwise(spec.intervals))
    if len(durations) != 1 or min(durations) <= 0 or not contiguous:
        advice = "Give contiguous intervals of one positive length."
        raise BookError("BAD_INTERVALS", name, "intervals", advice)
    numbers = (
        ("tick", spec.tick >= 1),
        ("price_cap", spec.price_floor < spec.price_cap <= MAX_PRICE_MICRO_USD_PER_CHIP_HOUR),
        ("operator_fee", 0 <= spec.operator_fee <= MAX_PRICE_MICRO_USD_PER_CHIP_HOUR),
        ("tie_credit", 0 <= spec.tie_credit <= _TIE_CREDIT_MAX),
        ("node_limit", spec.node_limit >= 1),
    )
    for field, holds in numbers:
        if not holds:
            raise BookError("BAD_PARAMETER", name, field, "Choose a value inside its range.")


def _check_grid(book: Book) -> None:
    for what, names in (
        ("site_id", [site.site_id for site in book.sites]),
        ("pool_id", [pool.pool_id for pool in book.pools]),
    ):
        _check_unique(names, what)
    sites = {site.site_id for site in book.sites}
    for site in book.sites:
        if not 0 <= site.surcharge <= MAX_PRICE_MICRO_USD_PER_CHIP_HOUR:
            raise BookError("BAD_PARAMETER", site.site_id, "surcharge", "It must not be negative.")
        if site.power_limit is not None and site.power_limit < 0:
            raise BookError(
                "BAD_PARAMETER", site.site_id, "power_limit", "It must not be negative."
            )
    for pool in book.pools:
        if pool.site_id not in sites:
            raise BookError("UNKNOWN_SITE", pool.pool_id, "site_id", "Name a site of the book.")
        numbers = (
            ("chips_per_node", 1 <= pool.chips_per_node <= MAX_CHIPS),
            ("capacity", 0 <= pool.capacity <= MAX_CHIPS),
            ("chip_power", pool.chip_power >= 0),
            ("node_spare_ppm", 0 <= pool.node_spare_ppm <= PPM),
        )
        for field, holds in numbers:
            if not holds:
                raise BookError("BAD_PARAMETER", pool.pool_id, field, "Choose a value in range.")


def _check_identifiers(book: Book) -> None:
    names = [bid.order_id for bid in _bids(book)]
    names += [order.order_id for order in _supplied(book)]
    _check_unique(names, "order_id")


def _check_unique(names: Iterable[str], field: str) -> None:
    for name, count in Counter(names).items():
        if not name or "\0" in name:
            raise BookError("BAD_IDENTIFIER", name, field, "Use text without zero bytes.")
        if count > 1:
            raise BookError("DUPLICATE_IDENTIFIER", name, field, "Identifiers must be unique.")


def _check_pool(subject: str, pool_id: str, pools: dict[str, Pool]) -> None:
    if pool_id not in pools:
        raise BookError("UNKNOWN_POOL", subject, "pool_id", f"{pool_id} is no pool of the book.")


def _check_segments(
    subject: str, segments: tuple[Segment, ...], spec: AuctionSpec, node: int, *, rising: bool
) -> None:
    _check_range(subject, segments, len(spec.intervals))
    for segment in segments:
        if not segment.steps:
            raise BookError("BAD_CURVE", subject, "segments", "Give every segment a step.")
        for left, right in pairwise(segment.steps):
            if left.price == right.price or (left.price < right.price) is not rising:
                order = "ascend" if rising else "descend"
                raise BookError("BAD_CURVE", subject, "segments", f"Prices must {order} strictly.")
        for step in segment.steps:
            _check_step(subject, step, spec, node)


def _check_range(subject: str, segments: tuple[Segment, ...], intervals: int) -> None:
    taken: set[int] = set()
    for segment in segments:
        here = range(segment.first, segment.stop)
        outside = not 0 <= segment.first < segment.stop <= intervals
        if outside or not taken.isdisjoint(here):
            advice = "Segments must lie inside the auction and not overlap."
            raise BookError("BAD_INTERVAL_RANGE", subject, "segments", advice)
        taken.update(here)


def _check_step(subject: str, step: Step, spec: AuctionSpec, node: int) -> None:
    _check_quantity(subject, "segments", step.chips, node)
    _check_price(subject, "segments", step.price, spec)


def _check_quantity(subject: str, field: str, chips: int, node: int) -> None:
    if not 0 < chips <= MAX_CHIPS or chips % node:
        advice = f"Give a positive multiple of {node} chips, the node size of its pools."
        raise BookError("BAD_QUANTITY", subject, field, advice)


def _check_price(subject: str, field: str, price: int, spec: AuctionSpec) -> None:
    if not spec.price_floor <= price <= spec.price_cap or price % spec.tick:
        advice = f"Give a multiple of the tick {spec.tick} between floor and cap."
        raise BookError("BAD_PRICE", subject, field, advice)


def _check_nomination(nomination: Nomination, spec: AuctionSpec, pools: dict[str, Pool]) -> None:
    """Chips and price of a nomination are the registered contract's: no tick and no node."""
    _check_pool(nomination.order_id, nomination.pool_id, pools)
    _check_range(nomination.order_id, nomination.segments, len(spec.intervals))
    for segment in nomination.segments:
        if len(segment.steps) != 1:
            raise BookError("BAD_CURVE", nomination.order_id, "segments", "Give exactly one step.")
        _check_quantity(nomination.order_id, "segments", segment.steps[0].chips, 1)


def _check_terms(bid: StepBid | BlockBid) -> None:
    interruptible = bid.service_class is ServiceClass.INTERRUPTIBLE
    if bid.service_class is ServiceClass.BASE_LOAD:
        advice = "Base load is nominated, not bid for."
        raise BookError("BAD_CLASS", bid.order_id, "service_class", advice)
    if interruptible and bid.cover is Cover.NODE:
        advice = "An interruptible bid has cover NONE."
        raise BookError("BAD_CLASS", bid.order_id, "cover", advice)
    if bid.notice_s < 0 or (bid.notice_s and not interruptible):
        advice = "Only an interruptible bid has a notice, and it is not negative."
        raise BookError("BAD_CLASS", bid.order_id, "notice_s", advice)
    if bid.where == Eligibility():
        advice = "Name pools or at least one condition."
        raise BookError("NO_CONDITION", bid.order_id, "where", advice)
    _check_conversions(bid.order_id, bid.conversions)


def _check_conversions(subject: str, conversions: tuple[Conversion, ...]) -> None:
    classes = [conversion.chip_class for conversion in conversions]
    if len(set(classes)) != len(classes) or any(c.factor_ppm <= 0 for c in conversions):
        advice = "Give each chip class one positive factor."
        raise BookError("BAD_PARAMETER", subject, "conversions", advice)


def _common_node(
    bid: StepBid | BlockBid, book: Book, pools: dict[str, Pool], known: dict[Eligibility, int]
) -> int:
    """Least common multiple of the node sizes of a bid's pools, 1 where it has none."""
    if bid.where not in known:
        for name in bid.where.pool_ids:
            _check_pool(bid.order_id, name, pools)
        sites = {site.site_id: site for site in book.sites}
        eligible = resolve(bid.where, sites, book.pools).eligible
        known[bid.where] = math.lcm(*(pools[name].chips_per_node for name in eligible))
    return known[bid.where]


def _check_block(block: BlockBid, spec: AuctionSpec, node: int) -> None:
    intervals = len(spec.intervals)
    if block.duration <= 0 or not 0 <= block.earliest_start <= intervals - block.duration:
        advice = "It must run at least one interval, inside the auction."
        raise BookError("BAD_INTERVAL_RANGE", block.order_id, "earliest_start", advice)
    if block.latest_start < block.earliest_start:
        advice = "The latest start must not come before the earliest."
        raise BookError("BAD_INTERVAL_RANGE", block.order_id, "latest_start", advice)
    if not 1 <= block.min_fill_ppm <= PPM:
        advice = "Give 1 to 1,000,000 parts per million."
        raise BookError("BAD_FILL", block.order_id, "min_fill_ppm", advice)
    _check_quantity(block.order_id, "chips", block.chips, node)
    _check_price(block.order_id, "limit_price", block.limit_price, spec)


def _check_capacity(book: Book) -> None:
    used: dict[tuple[str, int], int] = defaultdict(int)
    for order in _supplied(book):
        for segment in order.segments:
            chips = sum(step.chips for step in segment.steps)
            for interval in range(segment.first, segment.stop):
                used[order.pool_id, interval] += chips
    capacity: dict[str, int] = {pool.pool_id: pool.capacity for pool in book.pools}
    for (pool_id, interval), named in sorted(used.items()):
        if named > capacity[pool_id]:
            advice = f"Offers and nominations name {named} chips in interval {interval}."
            raise BookError("OVER_CAPACITY", pool_id, "capacity", advice)
