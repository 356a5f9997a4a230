"""A run that could not be cleared in time renews what the run before it advised (rule 17).

Firm and base load first, then interruptibles from the highest limit down, each as far as it is
still asked for and supply is still there; gangs whole. Prices are those that the run before
published for these intervals, provisional. No certificate: nothing was optimised, and the
auditor recomputes it instead of verifying it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from clearing import codec
from clearing.outcome import Award, Cash, Certificate, Outcome, PoolPrice, RunStatus, Side
from clearing.types import BlockBid, Book, Cover, Nomination, ServiceClass, StepBid
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, PriceSeconds
from iso_exchange.sequencer.spot_market import is_later, standing_id
from settlement.assignment import Assignment

ENGINE: Final = "renewed"
NOTHING: Final = MicroUsd(0)

Bid = StepBid | BlockBid
Cells = dict[tuple[str, int], int]
"""Chips by pool and interval."""


def renewed_outcome(
    book: Book,
    seed: str,
    before: tuple[Book, Outcome, Assignment] | None,
) -> Outcome:
    """What a run renews.

    Args:
        book: Frozen at its gate.
        seed: Hex tie seed that it reveals: the chain goes on.
        before: Book, outcome and contracts of the last published run; None where there is none,
            and then only base load is served.
    """
    advised: dict[str, Cells] = defaultdict(dict)
    late = 0
    if before is not None:
        late = _intervals_between(before[0], book)
        advised = _advised(before[1], before[2], late, before[0])
    awards = [_base(nomination, book) for nomination in book.nominations]
    ordinary, recallable = _supply(book)
    sold: dict[str, Cells] = defaultdict(lambda: defaultdict(int))
    for bid in _ranked(book):
        wanted = _still_asked(bid, advised.get(bid.order_id, {}))
        for pool_id in sorted({pool for pool, _ in wanted}):
            places = {place: wanted[pool, place] for pool, place in wanted if pool == pool_id}
            firm = bid.service_class is ServiceClass.FIRM
            released = not firm and bid.notice_s <= book.spec.tariff.site_cover_notice_s
            sources = (recallable, ordinary) if released else (ordinary,)
            given = _given(bid, pool_id, places, sources)
            if given:
                awards.append(_award(bid, pool_id, given))
                _take(pool_id, given, sources, sold)
    awards.extend(_sold(book, order_id, cells) for order_id, cells in sorted(sold.items()) if cells)
    return Outcome(
        auction_id=book.spec.auction_id,
        book_sha256=codec.digest(book),
        seed=seed,
        engine=ENGINE,
        status=RunStatus.LIMITED,
        prices=_prices(book, before[1] if before else None, late),
        awards=tuple(sorted(awards, key=lambda award: (award.order_id, award.pool_id))),
        orders=(),
        make_whole=(),
        certificate=Certificate(
            duals=(),
            welfare=PriceSeconds(0),
            bound=PriceSeconds(0),
            gains=PriceSeconds(1),
            lost_opportunity=PriceSeconds(0),
        ),
        cash=Cash(
            buyers=NOTHING,
            suppliers=NOTHING,
            spare=NOTHING,
            community=NOTHING,
            operator_fee=NOTHING,
            link_rent=NOTHING,
            power_rent=NOTHING,
            residual=NOTHING,
            make_whole=NOTHING,
        ),
    )


def _intervals_between(before: Book, book: Book) -> int:
    first, seconds = before.spec.intervals[0].start, before.spec.intervals[0].duration_s
    return (book.spec.intervals[0].start - first) // seconds


def _advised(outcome: Outcome, assignment: Assignment, late: int, book: Book) -> dict[str, Cells]:
    """Chips that the run before awarded and did not bind, by order, in intervals of this run."""
    found: dict[str, Cells] = defaultdict(dict)
    for award in outcome.awards:
        if award.side is Side.DEMAND:
            for place, chips in enumerate(award.chips, award.first - late):
                if place >= 0 and chips:
                    found[standing_id(award.order_id)][award.pool_id, place] = chips
    place_of = {item.start: place - late for place, item in enumerate(book.spec.intervals)}
    for contract in assignment.contracts:
        cells = found.get(contract.order_id, {})
        for hour in contract.hours:
            key = contract.pool_id, place_of[hour.interval.start]
            if key in cells:
                cells[key] -= hour.chips
    return found


def _still_asked(bid: Bid, advised: Mapping[tuple[str, int], int]) -> Cells:
    """Of what was advised, what the bid still asks of this run; a gang has to be whole."""
    if isinstance(bid, BlockBid):
        places = range(bid.earliest_start, bid.earliest_start + bid.duration)
        pools = sorted({pool for pool, place in advised if place == bid.earliest_start})
        for pool_id in pools:
            known = [place for place in places if (pool_id, place) in advised]
            if known and all(advised[pool_id, place] >= bid.chips for place in known):
                # What the run before did not look at goes on as it was.
                return {(pool_id, place): int(bid.chips) for place in places}
        return {}
    left: dict[int, int] = {
        place: sum(step.chips for step in part.steps)
        for part in bid.segments
        for place in range(part.first, part.stop)
    }
    asked: Cells = {}
    for (pool_id, place), chips in sorted(advised.items()):
        part = min(chips, left.get(place, 0))
        if part > 0:
            asked[pool_id, place] = part
            left[place] -= part
    return asked


def _ranked(book: Book) -> list[Bid]:
    """Firm first, then by limit, highest first, then by identifier."""
    bids: list[Bid] = list(book.step_bids)
    bids.extend(block for block in book.block_bids if not is_later(block.order_id))
    return sorted(
        bids,
        key=lambda bid: (
            bid.service_class is not ServiceClass.FIRM,
            -_limit(bid),
            bid.order_id,
        ),
    )


def _limit(bid: Bid) -> int:
    if isinstance(bid, BlockBid):
        return bid.limit_price
    return max(step.price for part in bid.segments for step in part.steps)


def _supply(book: Book) -> tuple[dict[str, Cells], dict[str, Cells]]:
    """Chips of ordinary and of recallable offers, by offer; cheapest offers first."""
    kinds: tuple[dict[str, Cells], dict[str, Cells]] = ({}, {})
    ranked = sorted(
        book.offers,
        key=lambda offer: (
            min(step.price for part in offer.segments for step in part.steps),
            offer.order_id,
        ),
    )
    for offer in ranked:
        kinds[offer.recallable][offer.order_id] = {
            (offer.pool_id, place): sum(step.chips for step in part.steps)
            for part in offer.segments
            for place in range(part.first, part.stop)
        }
    return kinds


def _given(
    bid: Bid,
    pool_id: str,
    places: Mapping[int, int],
    sources: tuple[dict[str, Cells], ...],
) -> dict[int, int]:
    """What supply there is for a bid in a pool; all or nothing for a gang."""
    given: dict[int, int] = {}
    for place, chips in places.items():
        room = sum(cells.get((pool_id, place), 0) for kind in sources for cells in kind.values())
        if isinstance(bid, BlockBid) and room < chips:
            return {}
        if min(room, chips) > 0:
            given[place] = min(room, chips)
    return given


def _take(
    pool_id: str,
    given: Mapping[int, int],
    sources: tuple[dict[str, Cells], ...],
    sold: dict[str, Cells],
) -> None:
    for place, chips in given.items():
        left, key = chips, (pool_id, place)
        for kind in sources:
            for order_id, cells in kind.items():
                part = min(left, cells.get(key, 0))
                if part > 0:
                    cells[key] -= part
                    sold[order_id][key] += part
                    left -= part


def _award(bid: Bid, pool_id: str, given: Mapping[int, int]) -> Award:
    first, last = min(given), max(given)
    chips = tuple(Chips(given.get(place, 0)) for place in range(first, last + 1))
    return Award(
        order_id=bid.order_id,
        participant_id=bid.participant_id,
        side=Side.DEMAND,
        pool_id=pool_id,
        service_class=bid.service_class,
        cover=bid.cover,
        first=first,
        chips=chips,
        reserve=(Chips(0),) * len(chips),
    )


def _sold(book: Book, order_id: str, cells: Cells) -> Award:
    offer = next(item for item in book.offers if item.order_id == order_id)
    first, last = min(place for _, place in cells), max(place for _, place in cells)
    chips = tuple(Chips(cells.get((offer.pool_id, place), 0)) for place in range(first, last + 1))
    return Award(
        order_id=order_id,
        participant_id=offer.participant_id,
        side=Side.SUPPLY,
        pool_id=offer.pool_id,
        service_class=ServiceClass.INTERRUPTIBLE if offer.recallable else ServiceClass.FIRM,
        cover=Cover.NONE,
        first=first,
        chips=chips,
        reserve=(Chips(0),) * len(chips),
    )


def _base(nomination: Nomination, book: Book) -> Award:
    """Base load is served in full; without an auction nothing new stands by for it."""
    chips = [0] * len(book.spec.intervals)
    for part in nomination.segments:
        for place in range(part.first, part.stop):
            chips[place] = part.steps[0].chips
    return Award(
        order_id=nomination.order_id,
        participant_id=nomination.participant_id,
        side=Side.BASE,
        pool_id=nomination.pool_id,
        service_class=ServiceClass.BASE_LOAD,
        cover=Cover.NONE,
        first=0,
        chips=tuple(Chips(quantity) for quantity in chips),
        reserve=(Chips(0),) * len(chips),
    )


def _prices(book: Book, before: Outcome | None, late: int) -> tuple[PoolPrice, ...]:
    """Prices of the run before for these intervals, its last ones beyond; charges alone before it.

    Nothing stands by in a renewal, so nothing is charged for cover.
    """
    known = {(item.pool_id, item.interval): item for item in before.prices} if before else {}
    sites = {site.site_id: site.surcharge for site in book.sites}
    last_of = dict(sorted(known))
    prices = []
    for pool in sorted(book.pools, key=lambda pool: pool.pool_id):
        for place in range(len(book.spec.intervals)):
            last = last_of.get(pool.pool_id, -1)
            found = known.get((pool.pool_id, min(place + late, last)))
            prices.append(
                _price(
                    pool.pool_id,
                    place,
                    energy=found.energy if found else 0,
                    power=found.power if found else 0,
                    surcharge=sites[pool.site_id],
                    fee=book.spec.operator_fee,
                )
            )
    return tuple(prices)


def _price(
    pool_id: str, place: int, *, energy: int, power: int, surcharge: int, fee: int
) -> PoolPrice:
    none = MicroUsdPerChipHour(0)
    plain = MicroUsdPerChipHour(energy + power + surcharge + fee)
    return PoolPrice(
        pool_id=pool_id,
        interval=place,
        energy=MicroUsdPerChipHour(energy),
        power=MicroUsdPerChipHour(power),
        node_cover=none,
        spare=none,
        availability=none,
        recall_discount=none,
        surcharge=MicroUsdPerChipHour(surcharge),
        fee=MicroUsdPerChipHour(fee),
        firm=plain,
        firm_uncovered=plain,
        interruptible=plain,
        interruptible_uncounted=plain,
        indicative=False,
        low=MicroUsdPerChipHour(energy),
        high=MicroUsdPerChipHour(energy),
    )
