"""What binds of a run: interval 0 for everybody, and as far as notices reach (rules 6 to 10).

A pure function of the book, the outcome and what earlier runs bound; the exchange and the
auditor call it with the same arguments. Intervals are positions in the run; -1 is the one
that ends where the run begins.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from clearing.outcome import Award, Outcome, Side
from clearing.types import BlockBid, Book, Cover, ServiceClass, StepBid
from clearing.units import PPM, Chips, divide_up
from iso_exchange.sequencer.spot_market import BOUND_PREFIX, is_later
from iso_exchange.sequencer.spot_parts import Standing

Bid = StepBid | BlockBid
Places = dict[int, int]
"""Chips by interval of the run; zeros are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What the gate of a run froze besides its book.

    Attributes:
        standing: By order id, for every bid of the book and every bid that runs.
        out: Chips that outages take, by pool and interval of the run; pools without are left out.
        credit_ids: Bids that are out of the run because their holds are not covered.
    """

    standing: Mapping[str, Standing]
    out: Mapping[str, Sequence[int]]
    credit_ids: frozenset[str] = frozenset()


class StopReason(Enum):
    """Why interruptible work is not renewed (rule 10)."""

    HIGHER_VALUE_FIRM = "HIGHER_VALUE_FIRM"
    HIGHER_VALUE_INTERRUPTIBLE = "HIGHER_VALUE_INTERRUPTIBLE"
    BASE_LOAD_RECALL = "BASE_LOAD_RECALL"
    OUTAGE = "OUTAGE"
    PRICE_ABOVE_LIMIT = "PRICE_ABOVE_LIMIT"
    """There are chips left, and they cost more than its limit."""
    SUPPLIER_WITHDREW = "SUPPLIER_WITHDREW"
    POWER = "POWER"
    CREDIT = "CREDIT"
    """Its hold could not be renewed (rule 5)."""


class Party(Enum):
    """Whose doing a stop is."""

    BUYER = "BUYER"
    SUPPLIER = "SUPPLIER"
    HOLDER = "HOLDER"
    MARKET = "MARKET"
    SITE = "SITE"


RESPONSIBLE: Final = {
    StopReason.HIGHER_VALUE_FIRM: Party.MARKET,
    StopReason.HIGHER_VALUE_INTERRUPTIBLE: Party.MARKET,
    StopReason.BASE_LOAD_RECALL: Party.HOLDER,
    StopReason.OUTAGE: Party.SUPPLIER,
    StopReason.PRICE_ABOVE_LIMIT: Party.BUYER,
    StopReason.SUPPLIER_WITHDREW: Party.SUPPLIER,
    StopReason.POWER: Party.SITE,
    StopReason.CREDIT: Party.BUYER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Chips of a bid that run in the interval before and are not renewed.

    Attributes:
        interval: First interval of the run without them.
    """

    order_id: str
    participant_id: str
    pool_id: str
    interval: int
    chips: int
    reason: StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """Document: everything that a run does not renew."""

    auction_id: str
    stops: tuple[Stop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a run binds.

    Attributes:
        outcome: The outcome with the awards that bind, and no make-whole: what contracts are
            made of.
        stops: Interruptible work that is not renewed, sorted by (order, pool, interval).
    """

    outcome: Outcome
    stops: tuple[Stop, ...]


def binding(book: Book, outcome: Outcome, gate: Gate) -> Binding:
    """Awards of a verified outcome that bind.

    Args:
        book: Of the run.
        outcome: Its outcome.
        gate: What its gate froze besides the book.
    """
    bids: dict[str, Bid] = {
        bid.order_id: bid for kind in (book.step_bids, book.block_bids) for bid in kind
    }
    awarded: dict[str, dict[str, Award]] = defaultdict(dict)
    for award in outcome.awards:
        if award.side is Side.DEMAND and not is_later(award.order_id):
            awarded[award.order_id][award.pool_id] = award
    bound: dict[tuple[str, str], Places] = {}
    stops: list[Stop] = []
    why = _Reasons(book, outcome, gate)
    concerned = sorted(name for name, item in gate.standing.items() if item.held or name in awarded)
    for order_id in concerned:
        standing = gate.standing[order_id]
        kept, stopped = _bind(awarded.get(order_id, {}), standing)
        bound.update(((order_id, pool_id), places) for pool_id, places in kept.items())
        if standing.reclaimable:
            stops.extend(
                Stop(
                    order_id=order_id,
                    participant_id=standing.participant_id,
                    pool_id=pool_id,
                    interval=place,
                    chips=chips,
                    reason=why.of(order_id, pool_id, place, chips),
                )
                for pool_id, place, chips in stopped
            )
    _defer(book, outcome, bound)
    awards = [
        trimmed
        for order_id, pools in awarded.items()
        for pool_id, award in pools.items()
        if (trimmed := _trim(award, bound.get((order_id, pool_id), {}))) is not None
    ]
    awards.extend(
        trimmed
        for award in outcome.awards
        if award.side is Side.BASE and (trimmed := _first_only(award)) is not None
    )
    awards.extend(_supply(book, outcome, bids, bound))
    awards.sort(key=lambda award: (award.order_id, award.pool_id))
    return Binding(
        outcome=dataclasses.replace(outcome, awards=tuple(awards), make_whole=()),
        stops=tuple(stops),
    )


def _defer(book: Book, outcome: Outcome, bound: dict[tuple[str, str], Places]) -> None:
    """Take out gangs that were let in on chips which earlier runs bound to others.

    What is bound stands in the book at the price cap, in interval 0 alone; a gang that is worth
    its whole look-ahead may still outbid it there. It begins when the notices are over: what is
    left of interval 1 in this run has room for it, so the next run can give it.

    Args:
        bound: What binds by order and pool; those gangs are taken out, least value first.
    """
    over: dict[str, int] = defaultdict(int)
    for (_, pool_id), places in bound.items():
        over[pool_id] += places.get(0, 0)
    for award in outcome.awards:
        if award.side is Side.SUPPLY and not award.order_id.startswith(BOUND_PREFIX):
            over[award.pool_id] -= _places(award).get(0, 0)
    if all(chips <= 0 for chips in over.values()):
        return
    gangs = sorted(
        (block for block in book.block_bids if not block.initial_pool_id),
        key=lambda block: (
            block.service_class is ServiceClass.FIRM,
            block.limit_price * block.duration,
            block.order_id,
        ),
    )
    for block in gangs:
        for pool_id, chips in over.items():
            places = bound.get((block.order_id, pool_id), {})
            if chips > 0 and places.get(0, 0):
                over[pool_id] -= places[0]
                del bound[block.order_id, pool_id]


def _bind(
    awarded: Mapping[str, Award], standing: Standing
) -> tuple[dict[str, Places], list[tuple[str, int, int]]]:
    """Chips of one bid that bind, by pool and interval; and what of it stops."""
    last = standing.keeps
    pools = sorted(standing.held.keys() | awarded.keys())
    held = {pool: standing.held.get(pool, {}) for pool in pools}
    given = {pool: _places(awarded[pool]) if pool in awarded else {} for pool in pools}
    runs, new = _chain(
        [sum(held[pool].get(place, 0) for pool in pools) for place in range(-1, last + 1)],
        [sum(given[pool].get(place, 0) for pool in pools) for place in range(last + 1)],
        standing.wanted,
    )
    bound: dict[str, Places] = {pool: {} for pool in pools}
    stops: list[tuple[str, int, int]] = []
    before = {pool: held[pool].get(-1, 0) for pool in pools}
    for place in range(last + 1):
        goal = sum(held[pool].get(place, 0) for pool in pools)
        left = sum(given[pool].get(place, 0) for pool in pools) - (runs[place + 1] - goal)
        more = runs[place + 1] - goal + min(left, new)
        after = {pool: held[pool].get(place, 0) for pool in pools}
        # Work that runs stays where it is; the rest goes where it was awarded.
        for stay in (True, False):
            for pool in pools:
                room = given[pool].get(place, 0) - bound[pool].get(place, 0)
                if stay:
                    room = min(room, max(0, before[pool] - after[pool]))
                taken = min(room, more)
                if taken > 0:
                    bound[pool][place] = bound[pool].get(place, 0) + taken
                    after[pool] += taken
                    more -= taken
        stops.extend(_stopped(place, runs, standing.wanted, before, after))
        before = after
    return bound, stops


def _chain(
    held: Sequence[int], given: Sequence[int], wanted: Sequence[int]
) -> tuple[list[int], int]:
    """How much of a bid goes on from interval to interval, and how much begins in interval 0.

    What begins is awarded in every interval that it binds: work that could not be given its
    notice is not begun.

    Args:
        held: From interval -1 on.
        given: From interval 0 on.
        wanted: From interval 0 on.

    Returns:
        Chips that go on, from interval -1 on, and chips that begin.
    """
    runs = [held[0]]
    new: int | None = None
    for place, chips in enumerate(given):
        goes_on = max(held[place + 1], min(held[place + 1] + chips, runs[-1]))
        runs.append(goes_on)
        left = chips - (goes_on - held[place + 1])
        slack = max(0, wanted[0] - wanted[place])
        new = left + slack if new is None else min(new, left + slack)
    return runs, max(0, new or 0)


def _stopped(
    place: int,
    runs: Sequence[int],
    wanted: Sequence[int],
    before: Mapping[str, int],
    after: Mapping[str, int],
) -> Iterable[tuple[str, int, int]]:
    """Pool, interval and chips that stop although the bid wants them."""
    left = max(0, min(runs[place], wanted[place]) - runs[place + 1])
    for pool_id in sorted(before):
        chips = min(left, max(0, before[pool_id] - after[pool_id]))
        if chips:
            left -= chips
            yield pool_id, place, chips


class _Reasons:
    """Why work stops: sums per pool and interval, made when the first one does."""

    def __init__(self, book: Book, outcome: Outcome, gate: Gate) -> None:
        self._book = book
        self._outcome = outcome
        self._gate = gate
        self._ready = False
        self._unsold: dict[tuple[str, int], int] = defaultdict(int)
        self._offered: dict[tuple[str, int], int] = defaultdict(int)
        self._base: dict[tuple[str, int], int] = defaultdict(int)
        self._firm: set[tuple[str, int]] = set()
        self._short_of_power: set[tuple[str, int]] = set()

    def of(self, order_id: str, pool_id: str, place: int, chips: int) -> StopReason:
        """The first reason that applies, from the hardest fact to the softest."""
        if order_id in self._gate.credit_ids:
            return StopReason.CREDIT
        out = self._gate.out.get(pool_id, ())
        if place < len(out) and out[place]:
            return StopReason.OUTAGE
        self._add_up()
        here, earlier = (pool_id, place), (pool_id, place - 1)
        if here in self._short_of_power:
            return StopReason.POWER
        if self._unsold[here] >= chips:
            return StopReason.PRICE_ABOVE_LIMIT
        if place and self._base[here] > self._base[earlier]:
            return StopReason.BASE_LOAD_RECALL
        if not self._offered[here]:
            return StopReason.SUPPLIER_WITHDREW
        if here in self._firm:
            return StopReason.HIGHER_VALUE_FIRM
        return StopReason.HIGHER_VALUE_INTERRUPTIBLE

    def _add_up(self) -> None:
        if self._ready:
            return
        self._ready = True
        for offer in self._book.offers:
            for part in offer.segments:
                chips = sum(step.chips for step in part.steps)
                for place in range(part.first, part.stop):
                    self._unsold[offer.pool_id, place] += chips
                    self._offered[offer.pool_id, place] += chips
        for award in self._outcome.awards:
            for place, chips in enumerate(award.chips, award.first):
                if award.side is Side.SUPPLY:
                    spare = award.reserve[place - award.first]
                    self._unsold[award.pool_id, place] -= chips + spare
                elif award.side is Side.BASE:
                    self._base[award.pool_id, place] += chips
                elif award.service_class is ServiceClass.FIRM and chips:
                    self._firm.add((award.pool_id, place))
        self._short_of_power.update(
            (price.pool_id, price.interval) for price in self._outcome.prices if price.power
        )


def _supply(
    book: Book,
    outcome: Outcome,
    bids: Mapping[str, Bid],
    bound: Mapping[tuple[str, str], Places],
) -> Iterable[Award]:
    """Supply for what binds, cheapest first; and spare chips for what of it is covered."""
    tariff = book.spec.tariff
    offers = {offer.order_id: offer for offer in book.offers}
    pools = {pool.pool_id: pool for pool in book.pools}
    wanted: dict[tuple[str, int], int] = defaultdict(int)
    recallable: dict[tuple[str, int], int] = defaultdict(int)
    covered: dict[tuple[str, int], int] = defaultdict(int)
    for (order_id, pool_id), places in bound.items():
        bid = bids.get(order_id)
        for place, chips in places.items():
            wanted[pool_id, place] += chips
            if bid is None:
                continue
            if bid.service_class is ServiceClass.FIRM:
                if bid.cover is Cover.NODE:
                    covered[pool_id, place] += chips
            elif bid.notice_s <= tariff.site_cover_notice_s:
                recallable[pool_id, place] += chips
    supply = [
        award
        for award in outcome.awards
        if award.side is Side.SUPPLY and not award.order_id.startswith(BOUND_PREFIX)
    ]
    supply.sort(
        key=lambda award: (
            not offers[award.order_id].recallable,
            min(step.price for part in offers[award.order_id].segments for step in part.steps),
            award.order_id,
        )
    )
    for award in supply:
        pool = pools[award.pool_id]
        sold, reserve = list(award.chips), list(award.reserve)
        stand_by = list(award.site_reserve)
        for index in range(len(sold)):
            place = award.first + index
            key = award.pool_id, place
            room = wanted[key]
            if offers[award.order_id].recallable:
                room = min(room, recallable[key])
                recallable[key] -= min(sold[index], room)
            sold[index] = Chips(min(sold[index], room))
            wanted[key] -= sold[index]
            if place == 0:
                continue
            spare = divide_up(
                divide_up(covered[key] * pool.node_spare_ppm, PPM), pool.chips_per_node
            )
            reserve[index] = Chips(min(reserve[index], spare * pool.chips_per_node))
            covered[key] -= min(covered[key], reserve[index] * PPM // max(1, pool.node_spare_ppm))
            if stand_by:
                stand_by[index] = Chips(0)
        yield from _shortened(award, sold, reserve, stand_by)


def _shortened(
    award: Award, chips: list[Chips], reserve: list[Chips], held: list[Chips]
) -> Iterable[Award]:
    """The award up to its last interval with anything; nothing when there is none."""
    stop = len(chips)
    while stop and not (chips[stop - 1] or reserve[stop - 1] or (held and held[stop - 1])):
        stop -= 1
    if stop:
        yield dataclasses.replace(
            award,
            chips=tuple(chips[:stop]),
            reserve=tuple(reserve[:stop]),
            site_reserve=tuple(held[:stop]) if any(held[:stop]) else (),
        )


def _trim(award: Award, places: Mapping[int, int]) -> Award | None:
    """A bid's award cut down to what binds of it."""
    if not places:
        return None
    stop = max(places) + 1 - award.first
    chips = tuple(Chips(places.get(award.first + index, 0)) for index in range(stop))
    return dataclasses.replace(
        award,
        chips=chips,
        reserve=tuple(
            min(mine, kept) for mine, kept in zip(award.reserve[:stop], chips, strict=True)
        ),
        site_reserve=(),
    )


def _first_only(award: Award) -> Award | None:
    """Base load is there again in the next run: interval 0 is what this one binds."""
    if award.first > 0 or not award.chips[0]:
        return None
    return dataclasses.replace(
        award,
        chips=award.chips[:1],
        reserve=award.reserve[:1],
        site_reserve=award.site_reserve[:1],
        backups=tuple(
            dataclasses.replace(backup, chips=backup.chips[:1]) for backup in award.backups
        ),
    )


def _places(award: Award) -> Places:
    return {place: chips for place, chips in enumerate(award.chips, award.first) if chips}
