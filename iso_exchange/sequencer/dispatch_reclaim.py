"""Covered work that lost nodes and finds none: interruptible work is told that it stops.

Between runs, least lost value first, whole gangs, never firm or base load (rule 12). The notice
is counted from the message; what runs bound of the work beyond its end is taken back, so that
the next run knows. Nodes change hands when the notice ends (``sequencer.dispatch``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from clearing.types import BlockBid, ServiceClass, StepBid
from clearing.units import MicroUsd, Seconds, UnixSeconds, divide_up
from iso_exchange.commands import GiveNotices, Notice
from iso_exchange.dispatch.reclaim import Victim, choose
from iso_exchange.sequencer import spot
from iso_exchange.sequencer.dispatch import Planned, plans, refuse_moment
from iso_exchange.sequencer.dispatch_state import Called, Row
from iso_exchange.sequencer.dispatch_wants import is_displaced, sold_until
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_binding import Party
from iso_exchange.sequencer.spot_market import COVER_CALLED, SpotMarket
from iso_exchange.sequencer.state import State

SECONDS_PER_HOUR: Final = 3_600


def give_notices(state: State, command: GiveNotices, meta: Meta) -> Accepted | Rejected:
    """Notices of a published run, or of a call of cover between runs."""
    if not command.pool_id:
        return spot.give_notices(state, command, meta)
    market_id, _, start = command.run_id.rpartition("/")
    market = state.markets.get(market_id)
    if market is None or not start.isdigit():
        return Rejected(
            code=Code.UNKNOWN_AUCTION,
            field="run_id",
            advice="name the market and the interval that is dispatched",
            got=command.run_id,
        )
    begin = UnixSeconds(int(start))
    refused = refuse_moment(state, market, begin, command.at, meta)
    if refused:
        return refused
    key = (command.pool_id, command.participant_id)
    due = calls(state, market, begin, command.at).get(key)
    if not due or due != command.notices:
        return Rejected(
            code=Code.WRONG_STATE,
            field="notices",
            advice="other notices follow from the state now: work them out again",
            got=str(len(command.notices)),
        )
    for notice in due:
        _take_back(state, market, notice)
    return Accepted(owners=(command.participant_id,))


def calls(
    state: State, market: SpotMarket, start: UnixSeconds, at: UnixSeconds
) -> dict[tuple[str, str], tuple[Notice, ...]]:
    """Notices that covered work needs, by pool and participant; sorted by order in each."""
    found: dict[tuple[str, str], list[Notice]] = defaultdict(list)
    for planned in plans(state, market, start, at):
        row = state.dispatch.rows.get(planned.pool_id)
        if row is None or not planned.plan.short:
            continue
        taken = _chosen(state, market, planned, row, start, at)
        for load_id, nodes in sorted(taken.items()):
            notice = _notice(state, planned.pool_id, load_id, nodes, start, at)
            found[planned.pool_id, notice.participant_id].append(notice)
    return {key: tuple(notices) for key, notices in sorted(found.items())}


def _chosen(
    state: State, market: SpotMarket, planned: Planned, row: Row, start: int, at: int
) -> dict[str, int]:
    """Nodes that interruptible work of a pool loses, by order.

    Only work whose notice ends before what was sold does: it would come too late otherwise, and
    the next run decides who gets the node.
    """
    pool_id, tariff = planned.pool_id, market.opened.tariff
    victims = {item.load_id: item for item in _victims(state, market, pool_id, row, at)}
    pending = sum(item.nodes for item in row.called if item.deadline > at)
    taken: Counter[str] = Counter()
    for load_id, missing in planned.plan.short.items():
        needed = max(0, missing - pending)
        pending = max(0, pending - missing)
        away = is_displaced(state, pool_id, load_id, start)
        within = tariff.site_cover_notice_s if away else tariff.node_cover_notice_s
        left = sold_until(state, pool_id, load_id, start) - at - 1
        for item in choose(
            tuple(victims.values()),
            needed,
            within_s=Seconds(min(within, left)),
            seed=bytes.fromhex(market.revealed),
        ):
            taken[item.load_id] += item.nodes
            victim = victims[item.load_id]
            victims[item.load_id] = replace(victim, nodes=victim.nodes - item.nodes)
    return dict(taken)


def _victims(state: State, market: SpotMarket, pool_id: str, row: Row, at: int) -> Iterator[Victim]:
    """Interruptible work that runs in a pool and was not told to stop."""
    counts = Counter(held.load_id for held in row.held.values())
    for item in row.called:
        if item.deadline > at:
            counts[item.load_id] -= item.nodes
    for load_id, nodes in sorted(counts.items()):
        record = state.orders.get(load_id)
        bid = record.order if record else None
        if not isinstance(bid, (StepBid, BlockBid)) or nodes <= 0:
            continue  # base load
        if bid.service_class is not ServiceClass.INTERRUPTIBLE:
            continue
        gang = isinstance(bid, BlockBid)
        restart = bid.restart_cost if isinstance(bid, BlockBid) else 0
        price = _limit(bid)
        left = _chip_seconds(market, load_id, pool_id, at)
        lost = divide_up(max(0, price) * left, SECONDS_PER_HOUR) + restart
        yield Victim(
            load_id=load_id,
            nodes=nodes,
            gang=gang,
            loss_per_node=MicroUsd(divide_up(lost, nodes)),
            notice_s=bid.notice_s,
        )


def _limit(bid: StepBid | BlockBid) -> int:
    if isinstance(bid, BlockBid):
        return bid.limit_price
    return max(step.price for part in bid.segments for step in part.steps)


def _chip_seconds(market: SpotMarket, order_id: str, pool_id: str, at: int) -> int:
    """Bound and not yet delivered."""
    places = market.bound.get(order_id, {}).get(pool_id, {})
    return sum(
        chips * (interval.end - max(at, interval.start))
        for number, chips in places.items()
        if (interval := market.interval(number)).end > at
    )


def _notice(
    state: State, pool_id: str, order_id: str, nodes: int, start: UnixSeconds, at: UnixSeconds
) -> Notice:
    bid = state.orders[order_id].order
    assert isinstance(bid, (StepBid, BlockBid))  # only they are victims
    return Notice(
        order_id=order_id,
        participant_id=bid.participant_id,
        pool_id=pool_id,
        chips=nodes * state.pools[pool_id].pool.chips_per_node,
        deadline=UnixSeconds(at + bid.notice_s),
        run_start=start,
        reason=COVER_CALLED,
        responsible=Party.SUPPLIER.value,
    )


def _take_back(state: State, market: SpotMarket, notice: Notice) -> None:
    """What is bound beyond the end of the notice is bound no more, nor owed by its supply."""
    pool_id, order_id = notice.pool_id, notice.order_id
    per_node = state.pools[pool_id].pool.chips_per_node
    market.notices[order_id, pool_id, notice.deadline] = notice
    first = divide_up(notice.deadline, market.seconds)
    state.dispatch.rows[pool_id].called.append(
        Called(
            load_id=order_id,
            nodes=notice.chips // per_node,
            deadline=notice.deadline,
            until=UnixSeconds(first * market.seconds),
        )
    )
    places = market.bound.get(order_id, {}).get(pool_id, {})
    for number in [number for number in places if number >= first]:
        gone = min(places[number], notice.chips)
        places[number] -= gone
        if not places[number]:
            del places[number]
        _release(state, market, order_id, pool_id, number, gone)


def _release(
    state: State, market: SpotMarket, order_id: str, pool_id: str, number: int, chips: int
) -> None:
    """Supply of an order is owed to it no more in an interval; newest runs first."""
    start = market.interval(number).start
    supplies = market.supplied.get(pool_id, {})
    for begin in sorted(market.run_ids, reverse=True):
        assignment = state.runs[market.run_ids[begin]].assignment
        for contract in assignment.contracts if assignment else ():
            if contract.order_id != order_id or contract.pool_id != pool_id:
                continue
            owed = supplies.get(contract.supplier_order_id, {})
            for hour in contract.hours:
                if hour.interval.start == start and number in owed:
                    gone = min(chips, hour.chips, owed[number])
                    owed[number] -= gone
                    chips -= gone
                    if not owed[number]:
                        del owed[number]
            if not chips:
                return
