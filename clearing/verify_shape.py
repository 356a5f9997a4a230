"""Checks that need no arithmetic: identity of the book, the seed, and the shape of both documents.

They run first. Everything after them may index by any identifier without a guard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from clearing import codec
from clearing.book import canonical
from clearing.outcome import Award, Outcome, Side
from clearing.types import (
    BlockBid,
    Book,
    Cover,
    Nomination,
    Offer,
    PricingRule,
    Segment,
    ServiceClass,
    StepBid,
)
from clearing.units import PPM

Order = Offer | StepBid | BlockBid | Nomination


def check_book_digest(book: Book, outcome: Outcome) -> Iterator[str]:
    """BOOK_DIGEST: the outcome names this book.

    What: ``book_sha256`` is the digest of the canonical book, and the auction is its own.
    Why: an outcome of another book, or of one with a late, changed or dropped order,
    proves nothing about this one. Source: DESIGN 4.3.
    """
    if outcome.auction_id != book.spec.auction_id:
        yield f"auction {outcome.auction_id!r}, the book is of {book.spec.auction_id!r}"
    expected = codec.digest(canonical(book))
    if outcome.book_sha256 != expected:
        yield f"book digest {outcome.book_sha256!r}, computed {expected!r}"


def check_seed(book: Book, outcome: Outcome) -> Iterator[str]:
    """SEED: the revealed tie seed is the one committed to before gate closure.

    Why: a seed chosen after reading the book would choose who wins ties. Source: DESIGN 4.2.
    """
    try:
        seed = bytes.fromhex(outcome.seed)
    except ValueError:
        yield f"seed {outcome.seed!r} is not hex"
        return
    if seed.hex() != outcome.seed:
        yield "the seed is not lower-case hex"
    if hashlib.sha256(seed).hexdigest() != book.spec.seed_commitment:
        yield f"SHA-256 of the seed is not the commitment {book.spec.seed_commitment!r}"


def check_scope(book: Book) -> Iterator[str]:
    """SCOPE: the book is sound and holds only what these checks cover.

    What: identifiers are unique and resolve; intervals lie inside the auction; quantities
    are positive and curves monotone. Links, work bids, commitments, SITE cover and linked
    orders are refused by name, because a report that ignored them would read as a proof.
    """
    spec = book.spec
    if not spec.intervals:
        yield "the auction has no interval"
        return
    durations = {interval.duration_s for interval in spec.intervals}
    if len(durations) != 1 or min(durations) <= 0:
        yield "intervals differ in length"
    if any(left.end != right.start for left, right in pairwise(spec.intervals)):
        yield "intervals are not contiguous"
    if spec.pricing_rule is not PricingRule.MAKE_WHOLE or spec.price_floor < 0:
        yield "strict uniform prices and negative floors are outside the scope of verification"
    if book.links or book.work_bids:
        yield "links and work bids are outside the scope of verification"
    sites = {site.site_id for site in book.sites}
    pools = {pool.pool_id for pool in book.pools}
    if len(sites) != len(book.sites) or len(pools) != len(book.pools):
        yield "a site or pool identifier is repeated"
    for pool in book.pools:
        if pool.site_id not in sites or pool.chips_per_node <= 0 or pool.node_spare_ppm < 0:
            yield f"pool {pool.pool_id} is not sound"
    orders = _orders(book)
    if len({order.order_id for order in orders}) != len(orders):
        yield "an order identifier is repeated"
    for order in orders:
        yield from _order_scope(order, pools, len(spec.intervals))


def _orders(book: Book) -> list[Order]:
    return [*book.offers, *book.step_bids, *book.block_bids, *book.nominations]


def _order_scope(order: Order, pools: set[str], intervals: int) -> Iterator[str]:
    name = order.order_id
    if isinstance(order, (Offer, Nomination)) and order.pool_id not in pools:
        yield f"{name} names an unknown pool"
    if not isinstance(order, Offer) and order.cover is Cover.SITE:
        yield f"{name} asks for SITE cover, outside the scope of verification"
    if isinstance(order, Offer) and order.commitment is not None:
        yield f"{name} has a commitment, outside the scope of verification"
    if isinstance(order, BlockBid):
        if order.parent_order_id:
            yield f"{name} is a linked order, outside the scope of verification"
        inside = 0 <= order.earliest_start <= order.latest_start <= intervals - order.duration
        if not inside or order.duration <= 0 or order.chips <= 0:
            yield f"{name} has no room in the auction"
        if not 0 < order.min_fill_ppm <= PPM:
            yield f"{name} has a minimum fill outside (0, 1]"
    else:
        yield from _curve_scope(name, order.segments, intervals, rising=isinstance(order, Offer))


def _curve_scope(
    name: str, segments: Sequence[Segment], intervals: int, *, rising: bool
) -> Iterator[str]:
    taken: set[int] = set()
    for segment in segments:
        here = range(segment.first, segment.stop)
        if not 0 <= segment.first < segment.stop <= intervals or not taken.isdisjoint(here):
            yield f"{name} has a segment outside the auction or over another"
        taken.update(here)
        if not segment.steps or any(step.chips <= 0 for step in segment.steps):
            yield f"{name} has an empty step or curve"
        for left, right in pairwise(segment.steps):
            if left.price == right.price or (left.price < right.price) is not rising:
                yield f"{name} has a curve that is not monotone"


def check_complete(book: Book, outcome: Outcome) -> Iterator[str]:
    """COMPLETE: every order is answered once, every pool priced once, and nothing is made up.

    What: one ``OrderOutcome`` per order and one price per pool and interval, sorted; awards
    sorted, of known orders with their own participant, side, class and cover, inside the
    auction, with no negative and at least one positive quantity; make-whole sorted, of known
    orders. Why: an order left out of the answer is an order dropped. Source: DESIGN 4.3.
    """
    orders = {order.order_id: order for order in _orders(book)}
    answered = [answer.order_id for answer in outcome.orders]
    if answered != sorted(orders):
        yield "the orders answered are not the orders of the book, each once, sorted"
    for answer in outcome.orders:
        order = orders.get(answer.order_id)
        if order is not None and answer.participant_id != order.participant_id:
            yield f"{answer.order_id} is answered to {answer.participant_id!r}"
    pools = sorted(pool.pool_id for pool in book.pools)
    expected = [(name, t) for name in pools for t in range(len(book.spec.intervals))]
    if [(price.pool_id, price.interval) for price in outcome.prices] != expected:
        yield "the prices are not one per pool and interval, sorted"
    keys = [(award.order_id, award.pool_id) for award in outcome.awards]
    yield from _rising("awards", keys)
    for award in outcome.awards:
        yield from _award_shape(
            award, orders.get(award.order_id), set(pools), len(book.spec.intervals)
        )
    firsts = [payment.order_ids[:1] for payment in outcome.make_whole]
    yield from _rising("make-whole payments", firsts)
    for payment in outcome.make_whole:
        if any(name not in orders for name in payment.order_ids):
            yield f"make-whole of unknown orders {payment.order_ids}"


def _rising(what: str, keys: Iterable[tuple[str, ...]]) -> Iterator[str]:
    if any(left >= right for left, right in pairwise(keys)):
        yield f"{what} are not sorted, or one is repeated"


def _award_shape(
    award: Award, order: Order | None, pools: set[str], intervals: int
) -> Iterator[str]:
    name = f"award of {award.order_id} in {award.pool_id}"
    if order is None or award.pool_id not in pools:
        yield f"{name}: unknown order or pool"
        return
    if isinstance(order, Offer):
        terms = (Side.SUPPLY, ServiceClass.FIRM, Cover.NONE)
        if order.recallable:
            terms = (Side.SUPPLY, ServiceClass.INTERRUPTIBLE, Cover.NONE)
    elif isinstance(order, Nomination):
        terms = (Side.BASE, ServiceClass.BASE_LOAD, order.cover)
    elif order.service_class is ServiceClass.INTERRUPTIBLE:
        terms = (Side.DEMAND, ServiceClass.INTERRUPTIBLE, Cover.NONE)
    else:
        terms = (Side.DEMAND, order.service_class, order.cover)
    if (award.side, award.service_class, award.cover) != terms:
        yield f"{name}: side, class or cover is not the order's"
    if award.participant_id != order.participant_id:
        yield f"{name}: awarded to {award.participant_id!r}"
    if len(award.chips) != len(award.reserve) or not award.chips:
        yield f"{name}: chips and reserve differ in length, or are empty"
    if award.first < 0 or award.first + len(award.chips) > intervals:
        yield f"{name}: outside the auction"
    if any(chips < 0 for chips in (*award.chips, *award.reserve)):
        yield f"{name}: a negative quantity"
    if not any(award.chips) and not any(award.reserve):
        yield f"{name}: awards nothing"
