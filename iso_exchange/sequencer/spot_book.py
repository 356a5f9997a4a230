"""The book of one run of a spot market: a pure function of the state at its gate.

Standing orders inside the look-ahead, less what earlier runs bound of them; what is left of
each pool when other auctions, base load, outages and earlier runs are taken out (rule 4); and
base load, with what its holders released (rule 8).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

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
)
from iso_exchange.sequencer.spot_orders import keeps
from iso_exchange.sequencer.spot_parts import (
    BlockPart,
    Standing,
    held_of,
    intervals_held,
    same_or,
    step_part,
)
from iso_exchange.sequencer.spot_returns import returned_in_run
from iso_exchange.sequencer.state import Order, OrderState, State
from settlement.ledger.merkle import Frontier

LATER_STARTS_MAX = 3
"""Later starts at which a run looks at a waiting gang."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBook:
    """What the gate of a run froze.

    Attributes:
        entries: Log index and leaf hash of each order and nomination in it, by index.
        credit_ids: Standing orders left out because their holds are not covered (rule 5).
        standing: What binding has to know of each bid of the book and each that runs.
    """

    book: Book
    entries: tuple[tuple[int, bytes], ...]
    credit_ids: tuple[str, ...]
    standing: dict[str, Standing]

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
    shown = _shown(state, market, first, without_credit)
    nominations, released, named = base_load_in_run(state, market, first)
    returned, given = returned_in_run(market, first)
    left = tuple(_what_is_left(state, market, shown.offers, first, length))
    bound, owed = standing_by(state, market, first)
    entries = [*named, *given, *(_entry(state, order.order_id) for order in left), *shown.entries]
    entries.sort()
    book = Book(
        spec=market.spec(start),
        sites=tuple(record.site for record in state.sites.values()),
        pools=tuple(state.pools[name].pool for name in market.pool_ids),
        offers=(*left, *released, *returned, *owed),
        step_bids=(*shown.step_bids, *bound),
        block_bids=tuple(shown.block_bids),
        nominations=nominations,
    )
    return RunBook(
        book=canonical(book),
        entries=tuple(entries),
        credit_ids=tuple(sorted(without_credit)),
        standing=shown.standing,
    )


@dataclass(slots=True)
class _Shown:
    """Standing orders as a run sees them."""

    offers: list[Offer] = field(default_factory=list)
    step_bids: list[StepBid] = field(default_factory=list)
    block_bids: list[BlockBid] = field(default_factory=list)
    entries: list[tuple[int, bytes]] = field(default_factory=list)
    standing: dict[str, Standing] = field(default_factory=dict)


def _shown(state: State, market: SpotMarket, first: int, without_credit: frozenset[str]) -> _Shown:
    """Every open order's part of a run; what did not change since the last one is kept."""
    parts, shown = market.parts, _Shown()
    orders, positions, steps = state.orders, market.bound, parts.steps
    blocks: list[tuple[str, BlockBid]] = []
    ends: set[int] = set()
    for order_id in parts.open_names(market.order_ids):
        record = orders[order_id]
        part, pools = steps.get(order_id), positions.get(order_id)
        order = record.order
        if not (
            # Nothing of it changed: asked of fifty thousand orders at every gate.
            part is not None
            and part.order is order
            and pools is None
            and not part.held
            and first < part.until
        ):
            if isinstance(order, Offer):
                offer = _offer_in_run(market, order, first)
                if offer is not None:
                    shown.offers.append(offer)
                continue
            held = held_of(pools, first)
            ends.add(intervals_held(held))
            if isinstance(order, BlockBid):
                blocks.append((order_id, order))
                continue
            assert isinstance(order, StepBid)  # the only kinds that a market takes
            if part is None or part.order is not order or part.held != held or first >= part.until:
                known = part
                part = step_part(
                    order,
                    held,
                    first,
                    market.opened.look_ahead,
                    keeps(order, market.opened.look_ahead, market.seconds),
                )
                if known is not None:
                    part.bid = same_or(known.bid, part.bid)
                steps[order_id] = part
        if part.bid is not None and order_id not in without_credit:
            shown.step_bids.append(part.bid)
            shown.entries.append((record.entry_index, record.leaf_hash))
            shown.standing[order_id] = part.standing
        elif pools is not None:
            shown.standing[order_id] = part.standing
    length = market.opened.look_ahead
    soonest = tuple(sorted(end for end in ends if 0 < end < length)[:LATER_STARTS_MAX])
    for order_id, block in blocks:
        _show_block(state, market, shown, block, first, soonest, out=order_id in without_credit)
    for order_id in positions:
        if order_id not in market.order_ids:
            shown.standing[order_id] = standing_of(market, orders[order_id], first)
    return shown


def _show_block(
    state: State,
    market: SpotMarket,
    shown: _Shown,
    order: BlockBid,
    first: int,
    ends: tuple[int, ...],
    *,
    out: bool,
) -> None:
    """A gang's part of a run; ``out``: without credit, it binds nothing new."""
    name = order.order_id
    known = market.parts.blocks.get(name)
    record = state.orders[name]
    begun = None if out else block_in_run(market, order, first)
    bids: tuple[BlockBid, ...] = ()
    if begun is not None:
        bids = tuple(_starts(begun, order, ends, first, market.opened.look_ahead))
    part = BlockPart(
        bids=bids if known is None else same_or(known.bids, bids),
        standing=same_or(known.standing if known else None, standing_of(market, record, first)),
    )
    market.parts.blocks[name] = part
    if bids:
        shown.block_bids.extend(part.bids)
        shown.entries.append((record.entry_index, record.leaf_hash))
    if bids or name in market.bound:
        shown.standing[name] = part.standing


def standing_of(market: SpotMarket, order: Order, number: int) -> Standing:
    """What binding has to know of a standing bid at the gate of a run.

    Args:
        market: Its market.
        order: A step or block bid, open or not.
        number: Interval number of the run's interval 0.
    """
    bid, length = order.order, market.opened.look_ahead
    assert isinstance(bid, (StepBid, BlockBid))  # offers bind nothing of their own
    wanted = [0] * length
    if order.state is OrderState.OPEN:
        for first, stop, chips in _wanted(market, bid, number):
            for place in range(max(0, first - number), min(length, stop - number)):
                wanted[place] = chips
    return Standing(
        participant_id=bid.participant_id,
        keeps=keeps(bid, length, market.seconds),
        reclaimable=bid.service_class.value == "INTERRUPTIBLE",
        held={
            pool_id: dict(cells)
            for pool_id, cells in held_of(market.bound.get(bid.order_id), number)
        },
        wanted=tuple(wanted),
    )


def _wanted(market: SpotMarket, bid: StepBid | BlockBid, number: int) -> list[tuple[int, int, int]]:
    if isinstance(bid, StepBid):
        return [
            (part.first, part.stop, sum(step.chips for step in part.steps)) for part in bid.segments
        ]
    gang = market.gangs.get(bid.order_id)
    first = max(number, bid.earliest_start) if gang is None else gang.first
    return [(first, first + bid.duration, bid.chips)]


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
