"""The book of one run of a spot market: a pure function of the state at its gate.

Standing orders inside the look-ahead, less what earlier runs bound of them; what is left of
each pool when other auctions, base load, outages and earlier runs are taken out (rule 4); and
base load, with what its holders released (rule 8).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clearing.book import canonical
from clearing.types import (
    BlockBid,
    Book,
    Eligibility,
    Interval,
    Offer,
    Step,
    StepBid,
)
from clearing.units import Chips, MicroUsd
from iso_exchange.commands import ReportOutage
from iso_exchange.sequencer.capacity import Taken
from iso_exchange.sequencer.spot_base_load import base_load_in_run
from iso_exchange.sequencer.spot_cover import standing_by
from iso_exchange.sequencer.spot_curves import clip, joined, less
from iso_exchange.sequencer.spot_market import (
    COUNTED_PREFIXES,
    LATER_MARK,
    SpotMarket,
    is_later,
)
from iso_exchange.sequencer.spot_returns import returned_in_run
from iso_exchange.sequencer.state import Order, State
from settlement.ledger.merkle import Frontier

LATER_STARTS_MAX = 3
"""Later starts at which a run looks at a waiting gang."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBook:
    """What the gate of a run froze.

    Attributes:
        entries: Log index and leaf hash of each order and nomination in it, by index.
        credit_ids: Standing orders left out because their holds are not covered (rule 5).
    """

    book: Book
    entries: tuple[tuple[int, bytes], ...]
    credit_ids: tuple[str, ...]

    def count_and_root(self) -> tuple[int, str]:
        """Number of entries and hex Merkle root over their leaf hashes by log index."""
        root = Frontier().extend(leaf for _, leaf in self.entries).root()
        return len(self.entries), root.hex()


def run_book(state: State, market: SpotMarket, start: int) -> RunBook:
    """Freeze the order set of a run.

    Args:
        state: At the gate; not changed.
        market: Its orders that are over have been taken out.
        start: Start of the run's first interval.
    """
    first, length = market.number(start), market.opened.look_ahead
    without_credit = frozenset(_uncovered(state, market))
    offers: list[Offer] = []
    step_bids: list[StepBid] = []
    ends = _ends_of_what_runs(market, first)
    block_bids: list[BlockBid] = []
    for order_id in market.order_ids:
        if order_id in without_credit:
            continue
        order = state.orders[order_id].order
        if isinstance(order, StepBid):
            step = step_in_run(market, order, first)
            if step is None:
                continue
            step_bids.append(step)
        elif isinstance(order, BlockBid):
            block = block_in_run(market, order, first)
            if block is None:
                continue
            block_bids.extend(_starts(block, record_of(state, order_id), ends, first, length))
        else:
            assert isinstance(order, Offer)  # the only kinds that a market takes
            offer = _offer_in_run(market, order, first)
            if offer is None:
                continue
            offers.append(offer)
    nominations, released, named = base_load_in_run(state, market, first)
    returned, given = returned_in_run(market, first)
    left = tuple(_what_is_left(state, market, offers, first, length))
    bound, owed = standing_by(state, market, first)
    entries = [
        *named,
        *given,
        *(_entry(state, order.order_id) for order in left),
        *(_entry(state, order.order_id) for order in step_bids),
        *(_entry(state, item.order_id) for item in block_bids if not is_later(item.order_id)),
    ]
    entries.sort()
    book = Book(
        spec=market.spec(start),
        sites=tuple(record.site for record in state.sites.values()),
        pools=tuple(state.pools[name].pool for name in market.pool_ids),
        offers=(*left, *released, *returned, *owed),
        step_bids=(*step_bids, *bound),
        block_bids=tuple(block_bids),
        nominations=nominations,
    )
    return RunBook(
        book=canonical(book), entries=tuple(entries), credit_ids=tuple(sorted(without_credit))
    )


def record_of(state: State, order_id: str) -> BlockBid:
    """Standing gang, by interval numbers."""
    order = state.orders[order_id].order
    assert isinstance(order, BlockBid)
    return order


def _ends_of_what_runs(market: SpotMarket, first: int) -> tuple[int, ...]:
    """Intervals of a run in which standing work has to be renewed, the first few."""
    ends: set[int] = set()
    for order_id in market.bound:
        end = 0
        while end < market.opened.look_ahead and market.held(order_id, first + end):
            end += 1
        if order_id in market.order_ids and 0 < end < market.opened.look_ahead:
            ends.add(end)
    return tuple(sorted(ends)[:LATER_STARTS_MAX])


def _starts(
    block: BlockBid, standing: BlockBid, ends: tuple[int, ...], first: int, length: int
) -> Iterator[BlockBid]:
    """A gang that has not begun, at its first start or where running work has to be renewed.

    Without the later starts, work that runs would keep its place for ever: a gang needs its chips
    from its start on, and at interval 0 they are bound.
    """
    later = [
        end
        for end in ends
        if block.earliest_start < end <= standing.latest_start - first and not block.initial_pool_id
    ]
    if not later:
        yield block
        return
    yield dataclasses.replace(block, exclusive_group=block.order_id)
    for start in later:
        yield dataclasses.replace(
            block,
            order_id=f"{block.order_id}{LATER_MARK}{start}",
            exclusive_group=block.order_id,
            earliest_start=start,
            latest_start=start,
            duration=min(standing.duration, length - start),
        )


def _entry(state: State, order_id: str) -> tuple[int, bytes]:
    record = state.orders[order_id]
    return record.entry_index, record.leaf_hash


def step_in_run(market: SpotMarket, bid: StepBid, first: int) -> StepBid | None:
    """What a step bid asks of a run: its curve less what is bound, dearest steps first."""
    segments = clip(bid.segments, first, market.opened.look_ahead)
    pools = market.bound.get(bid.order_id)
    if pools:
        segments = less(segments, lambda place: market.held(bid.order_id, first + place))
    return dataclasses.replace(bid, segments=segments) if segments else None


def block_in_run(market: SpotMarket, block: BlockBid, first: int) -> BlockBid | None:
    """What a gang asks of a run: to begin, or to go on from where it is bound to.

    What runs beyond interval 0 is bound to its pool; what has to be renewed for interval 0
    may move at the loss of its restart cost (rule 3).
    """
    end = first + market.opened.look_ahead
    gang = market.gangs.get(block.order_id)
    if gang is None:
        begin = max(first, block.earliest_start)
        stop = min(begin + block.duration, end)
        if begin > block.latest_start or begin >= stop:
            return None
        return dataclasses.replace(
            block,
            earliest_start=begin - first,
            latest_start=begin - first,
            duration=stop - begin,
            restart_cost=MicroUsd(0),
        )
    begin = first
    while market.held(block.order_id, begin):
        begin += 1
    stop = min(gang.first + block.duration, end)
    if begin >= stop:
        return None
    may_move = begin == first
    return dataclasses.replace(
        block,
        where=block.where if may_move else Eligibility(pool_ids=(gang.pool_id,)),
        earliest_start=begin - first,
        latest_start=begin - first,
        duration=stop - begin,
        initial_pool_id=gang.pool_id,
        runs_until=begin - first,
    )


def _offer_in_run(market: SpotMarket, offer: Offer, first: int) -> Offer | None:
    segments = clip(offer.segments, first, market.opened.look_ahead)
    owed = market.supplied.get(offer.pool_id, {}).get(offer.order_id)
    if owed:
        segments = less(segments, lambda place: owed.get(first + place, 0))
    return dataclasses.replace(offer, segments=segments) if segments else None


def _uncovered(state: State, market: SpotMarket) -> Iterator[str]:
    """Orders of participants who owe more than they have: the newest first, as many as needed."""
    for participant_id in sorted(name for name, count in market.open_counts.items() if count):
        lacking = -state.books.available_to(participant_id)
        if lacking <= 0:
            continue
        own: list[Order] = [
            record
            for order_id in market.order_ids
            if (record := state.orders[order_id]).submitted.participant_id == participant_id
            and record.hold is not None
            and not isinstance(record.order, Offer)
        ]
        own.sort(key=lambda record: -record.entry_index)
        for record in own:
            if lacking <= 0:
                break
            assert record.hold is not None  # chosen above
            lacking -= record.hold.amount
            yield record.submitted.order_id


def _what_is_left(
    state: State, market: SpotMarket, offers: list[Offer], first: int, length: int
) -> Iterator[Offer]:
    """Offers cut down to what their pool has left, dearest steps first."""
    by_pool: dict[str, list[Offer]] = defaultdict(list)
    for offer in offers:
        by_pool[offer.pool_id].append(offer)
    for pool_id in sorted(by_pool):
        room = pool_room(state, market, pool_id, first, length)
        yield from _cut(by_pool[pool_id], room)


def pool_room(state: State, market: SpotMarket, pool_id: str, first: int, length: int) -> list[int]:
    """Chips of a pool that a run may sell, per interval: capacity less all that is taken."""
    window = Interval(start=market.interval(first).start, end=market.interval(first + length).start)
    pool = state.pools[pool_id].pool
    taken = Taken(state, pool_id, window, markets=False)
    outages = [item for item in state.outages.values() if item.pool_id == pool_id]
    owed = [
        chips
        for supply_id, chips in market.supplied.get(pool_id, {}).items()
        if not supply_id.startswith(COUNTED_PREFIXES)
    ]
    room = []
    for number in range(first, first + length):
        interval = market.interval(number)
        out = chips_out(outages, interval, pool.capacity, pool.chips_per_node)
        bound = sum(chips.get(number, 0) for chips in owed)
        room.append(max(0, pool.capacity - taken.most(interval) - out - bound))
    return room


def chips_out(
    outages: Iterable[ReportOutage], interval: Interval, capacity: int, chips_per_node: int
) -> int:
    """Chips of a pool that reported outages take out of an interval."""
    nodes: set[str] = set()
    for outage in outages:
        if outage.interval.start < interval.end and interval.start < outage.interval.end:
            if not outage.nodes:
                return capacity
            nodes.update(outage.nodes)
    return min(capacity, len(nodes) * chips_per_node)


def _cut(offers: list[Offer], room: list[int]) -> Iterator[Offer]:
    """Keep the cheapest steps of a pool's offers that fit, interval by interval."""
    most = [0] * len(room)
    for offer in offers:
        for segment in offer.segments:
            chips = sum(step.chips for step in segment.steps)
            for place in range(segment.first, segment.stop):
                most[place] += chips
    if all(wanted <= left for wanted, left in zip(most, room, strict=True)):
        yield from offers
        return
    kept: dict[str, list[tuple[Step, ...]]] = {offer.order_id: [()] * len(room) for offer in offers}
    for place, chips_left in enumerate(room):
        left: int = chips_left
        steps = sorted(
            (
                (step.price, offer.order_id, step)
                for offer in offers
                for segment in offer.segments
                if segment.first <= place < segment.stop
                for step in segment.steps
            ),
            key=lambda item: item[:2],
        )
        for _, order_id, step in steps:
            part = min(left, int(step.chips))
            if part:
                kept[order_id][place] += (Step(price=step.price, chips=Chips(part)),)
                left -= part
    for offer in offers:
        segments = joined(kept[offer.order_id])
        if segments:
            yield dataclasses.replace(offer, segments=segments)
