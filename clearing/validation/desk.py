"""An order that is judged as it comes in, alone, many times a second.

``clearing.validate`` reads a book as columns: made for a million orders, it costs half a
millisecond for one. A desk checks auction, sites and pools once and then looks at one order's
own numbers. It only ever says *certainly sound*; of everything else it says nothing, and the
caller asks ``validate`` for the verdict and its reason. So the desk can be too strict, which
costs time, and must never be too lenient, which a property test holds it to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from clearing.eligibility import PoolIndex
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
    Offer,
    Pool,
    PricingRule,
    Segment,
    ServiceClass,
    Site,
    Step,
    StepBid,
    WorkBid,
)
from clearing.units import PPM
from clearing.validate import validate
from clearing.validation.families import check_groups, check_parents, check_parents_known
from clearing.validation.limits import (
    MAX_FACTOR_PPM,
    MAX_NOTICE_SECONDS,
    MAX_STEPS_PER_SEGMENT,
    MAX_WORTH,
)
from clearing.validation.sheet import CLIP, Sheet, Venue, venue_of

_VENUES_MAX: Final = 10_000
"""Sets of conditions that are remembered; beyond it the desk forgets all and begins again."""
_NONE: Final = -1
"""In the place of a size: not certainly sound."""

Bid = StepBid | BlockBid | WorkBid


class Desk:
    """Judges single orders of one auction, over one set of sites and pools."""

    def __init__(self, spec: AuctionSpec, sites: Iterable[Site], pools: Iterable[Pool]) -> None:
        """Check what all orders share; where that is refused, no order is called sound."""
        book = Book(spec=spec, sites=tuple(sites), pools=tuple(pools))
        self._refused = _is_refused(book)
        if self._refused:
            return
        self._spec = spec
        self._intervals = len(spec.intervals)
        self._duration_s = spec.intervals[0].duration_s
        self._highest = max(spec.price_cap, -spec.price_floor)
        self._strict = spec.pricing_rule is PricingRule.STRICT_UNIFORM
        self._pools: Mapping[str, Pool] = {pool.pool_id: pool for pool in book.pools}
        self._index = PoolIndex({site.site_id: site for site in book.sites}, book.pools)
        self._venues: dict[Eligibility, Venue] = {}

    def is_sound(self, order: Offer | Bid) -> bool:
        """Whether ``validate`` certainly accepts a book with this order and no other.

        What ties block bids to one another (parents, groups) is not looked at, and a bid
        that no pool is eligible for is not called sound.
        """
        if self._refused or not (_is_name(order.order_id) and _is_name(order.participant_id)):
            return False
        if order.order_id.startswith("rent:"):
            return False
        if type(order) is Offer:
            return self._is_sound_offer(order)
        if type(order) is StepBid:
            return self._is_sound_step(order)
        if type(order) is BlockBid:
            return self._is_sound_block(order)
        return type(order) is WorkBid and self._is_sound_work(order)

    def is_sound_family(self, blocks: Sequence[BlockBid]) -> bool:
        """Whether ``validate`` certainly accepts a book with these block bids and no others."""
        if len({block.order_id for block in blocks}) != len(blocks):
            return False
        if not all(map(self.is_sound, blocks)):
            return False
        sheet = Sheet(Book(spec=self._spec, sites=(), pools=(), block_bids=tuple(blocks)))
        try:
            for guard in (check_groups, check_parents_known, check_parents):
                guard(sheet)
        except BookError:
            return False
        return True

    def _is_sound_offer(self, offer: Offer) -> bool:
        pool = self._pools.get(offer.pool_id) if _is_text(offer.pool_id) else None
        if pool is None or offer.commitment is not None or type(offer.recallable) is not bool:
            return False
        size = self._curve(offer.segments, pool.chips_per_node, rising=True, most=pool.capacity)
        return 0 <= size <= MAX_WORTH // self._highest

    def _is_sound_step(self, bid: StepBid) -> bool:
        venue = self._venue(bid)
        if venue is None:
            return False
        size = self._curve(bid.segments, venue.node, rising=False, most=MAX_WORTH)
        if size < 0:
            return False
        dearest = max(abs(step.price) for segment in bid.segments for step in segment.steps)
        return self._is_worth(bid, size, dearest)

    def _is_sound_block(self, bid: BlockBid) -> bool:
        first, last, length = bid.earliest_start, bid.latest_start, bid.duration
        numbers = (first, last, length, bid.min_fill_ppm, bid.restart_cost, bid.runs_until)
        if (
            any(type(number) is not int for number in numbers)
            or bid.profile != ()
            or bid.runs_until
        ):
            return False
        names = (bid.exclusive_group, bid.parent_order_id, bid.initial_pool_id)
        if not all(map(_is_text, names)):
            return False
        stays = bid.initial_pool_id
        venue = self._venue(bid)
        if venue is None or not (stays == "" or stays in self._pools):
            return False
        most = 0 if self._strict else MAX_PRICE_MICRO_USD_PER_CHIP_HOUR
        return (
            length > 0
            and 0 <= first <= last <= self._intervals - length
            and 1 <= bid.min_fill_ppm <= PPM
            and 0 <= bid.restart_cost <= most
            and _is_whole(bid.chips, venue.node)
            and self._is_price(bid.limit_price)
            and self._is_worth(bid, bid.chips * length, abs(bid.limit_price))
        )

    def _is_sound_work(self, bid: WorkBid) -> bool:
        if type(bid.first) is not int or type(bid.stop) is not int or type(bid.work) is not int:
            return False
        venue = self._venue(bid)
        return (
            venue is not None
            and 0 <= bid.first < bid.stop <= self._intervals
            and _is_whole(bid.max_chips, venue.node)
            and 0 < bid.work < CLIP
            and bid.work % (venue.node * self._duration_s) == 0
            and self._is_price(bid.limit_price)
            and self._is_worth(bid, bid.work // self._duration_s, abs(bid.limit_price))
        )

    def _venue(self, bid: Bid) -> Venue | None:
        """Where a bid may be served, or None unless its conditions and terms are sound."""
        if type(bid.notice_s) is not int or type(bid.cover) is not Cover:
            return None
        if bid.service_class is ServiceClass.FIRM:
            sound = bid.notice_s == 0
        else:
            sound = bid.service_class is ServiceClass.INTERRUPTIBLE and bid.cover is Cover.NONE
            sound = sound and 0 <= bid.notice_s <= MAX_NOTICE_SECONDS
        if not sound:
            return None
        try:
            venue = self._venues.get(bid.where) or self._resolve(bid.where)
        except TypeError:  # a list in the place of a tuple has no hash
            return None
        if venue is None:
            return None
        if venue.pools == 0 or (bid.cover is Cover.SITE and not venue.covered):
            return None
        return venue

    def _resolve(self, where: Eligibility) -> Venue | None:
        if where == Eligibility() or not _is_sound_eligibility(where):
            return None
        if any(name not in self._pools for name in where.pool_ids):
            return None
        if len(self._venues) >= _VENUES_MAX:
            self._venues.clear()
        venue = venue_of([self._pools[name] for name in self._index.eligible(where)])
        self._venues[where] = venue
        return venue

    def _curve(self, segments: tuple[Segment, ...], node: int, *, rising: bool, most: int) -> int:
        """Chips times intervals of a sound curve, else -1; ``most`` bounds a segment's chips."""
        if type(segments) is not tuple or not segments:
            return _NONE
        size, reached = 0, 0
        for segment in segments:
            if type(segment) is not Segment or type(segment.steps) is not tuple:
                return _NONE
            first, stop, steps = segment.first, segment.stop, segment.steps
            if type(first) is not int or type(stop) is not int:
                return _NONE
            if not (reached <= first < stop <= self._intervals):
                return _NONE
            if not 0 < len(steps) <= MAX_STEPS_PER_SEGMENT:
                return _NONE
            offered = self._steps(steps, node, rising=rising)
            if not 0 <= offered <= most:
                return _NONE
            size += offered * (stop - first)
            reached = stop
        return size

    def _steps(self, steps: Sequence[Step], node: int, *, rising: bool) -> int:
        offered = 0
        before: int | None = None
        for step in steps:
            if type(step) is not Step or not _is_whole(step.chips, node):
                return _NONE
            price = step.price
            if not self._is_price(price):
                return _NONE
            if before is not None and (price <= before if rising else price >= before):
                return _NONE
            before = price
            offered += step.chips
        return offered

    def _is_price(self, price: int) -> bool:
        spec = self._spec
        return (
            type(price) is int
            and spec.price_floor <= price <= spec.price_cap
            and price % spec.tick == 0
        )

    def _is_worth(self, bid: Bid, size: int, dearest: int) -> bool:
        """Own factors in range, and chips times intervals times price within 63 bits."""
        value = dearest * PPM
        if bid.conversions != ():
            factor = _largest_factor(bid.conversions)
            value = dearest * factor
            if factor < PPM or value > MAX_PRICE_MICRO_USD_PER_CHIP_HOUR * PPM:
                return False
        return size <= MAX_WORTH // max(self._highest, value // PPM)


def _is_refused(book: Book) -> bool:
    try:
        validate(book)
    except BookError:
        return True
    return False


def _largest_factor(conversions: tuple[Conversion, ...]) -> int:
    """Largest own factor, one million at least; 0 unless all are sound."""
    if type(conversions) is not tuple:
        return 0
    largest, classes = PPM, set()
    for item in conversions:
        if type(item) is not Conversion or type(item.factor_ppm) is not int:
            return 0
        if not _is_text(item.chip_class) or not 1 <= item.factor_ppm <= MAX_FACTOR_PPM:
            return 0
        classes.add(item.chip_class)
        largest = max(largest, item.factor_ppm)
    return largest if len(classes) == len(conversions) else 0


def _is_sound_eligibility(where: Eligibility) -> bool:
    return type(where) is Eligibility and all(
        type(names) is tuple and all(map(_is_text, names))
        for names in (getattr(where, field) for field in Eligibility.__slots__)
    )


def _is_name(value: str) -> bool:
    return type(value) is str and value != "" and value.isascii() and "\0" not in value


def _is_text(value: str) -> bool:
    return type(value) is str and value.isascii()


def _is_whole(chips: int, node: int) -> bool:
    """Whether chips are a positive number of whole nodes."""
    return type(chips) is int and 0 < chips <= MAX_CHIPS and chips % node == 0
