"""Standing orders of a spot market: the guards of ``orders`` for times without an auction.

A standing order names absolute times and may reach beyond the look-ahead. It is judged once,
over a stretch of intervals of the length of a run, and the engine never refuses a part of it
later.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from clearing.types import (
    AuctionSpec,
    BlockBid,
    Cover,
    Interval,
    Offer,
    Segment,
    ServiceClass,
    StepBid,
)
from clearing.units import UnixSeconds
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    OfferTerms,
    StepBidTerms,
    SubmitOrder,
    TimedSegment,
    WorkBidTerms,
)
from iso_exchange.sequencer.effects import Meta
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_market import MarketState, SpotMarket
from settlement.postings.orders import order_hold
from settlement.types import Transfer

REACH_SECONDS = 31 * 86_400
"""How far ahead a standing order may reach."""

StandingOrder = Offer | StepBid | BlockBid


def refuse_market(market: SpotMarket, *, halted_ok: bool = False) -> Rejected | None:
    """Why a market takes no order now, or None; there is always a next gate."""
    if market.state is MarketState.CLOSED:
        return Rejected(
            code=Code.GATE_CLOSED, field="auction_id", advice="the spot market is closed"
        )
    if market.state is MarketState.HALTED and not halted_ok:
        return Rejected(
            code=Code.AUCTION_HALTED,
            field="auction_id",
            advice="wait until the operator resumes the market",
        )
    return None


def standing_order(
    market: SpotMarket, command: SubmitOrder, meta: Meta
) -> StandingOrder | Rejected:
    """The order by interval numbers, or why spot does not take it."""
    terms = command.terms
    refused = _refuse_kind(market, command)
    if refused:
        return refused
    if isinstance(terms, OfferTerms):
        curves = numbered_segments(market, terms.segments, meta.now)
        if isinstance(curves, Rejected):
            return curves
        return Offer(
            order_id=command.order_id,
            participant_id=command.participant_id,
            pool_id=terms.pool_id,
            segments=curves,
            recallable=terms.recallable,
        )
    if isinstance(terms, StepBidTerms):
        curves = numbered_segments(market, terms.segments, meta.now)
        if isinstance(curves, Rejected):
            return curves
        conditions = terms.conditions
        return StepBid(
            order_id=command.order_id,
            participant_id=command.participant_id,
            where=conditions.where,
            segments=curves,
            service_class=conditions.service_class,
            cover=conditions.cover,
            notice_s=conditions.notice_s,
            conversions=conditions.conversions,
        )
    assert isinstance(terms, BlockBidTerms)  # the other kinds are refused above
    return _block(market, command, terms, meta)


def _block(
    market: SpotMarket, command: SubmitOrder, terms: BlockBidTerms, meta: Meta
) -> BlockBid | Rejected:
    spans = []
    running = command.order_id in market.gangs
    for field, start in (
        ("earliest_start_time", terms.earliest_start),
        ("latest_start_time", terms.latest_start),
    ):
        # An amendment of what runs keeps the start that it had.
        now = UnixSeconds(0) if running or field.startswith("earliest") else meta.now
        span = numbered(market, start, start + terms.duration_s, now, field)
        if isinstance(span, Rejected):
            return span
        spans.append(span)
    (first, stop), (last, _) = spans
    if last < first:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="latest_start_time",
            advice="the latest start is not before the earliest",
        )
    return BlockBid(
        order_id=command.order_id,
        participant_id=command.participant_id,
        where=terms.conditions.where,
        earliest_start=first,
        latest_start=last,
        duration=stop - first,
        chips=terms.chips,
        limit_price=terms.limit_price,
        min_fill_ppm=terms.min_fill_ppm,
        service_class=terms.conditions.service_class,
        cover=terms.conditions.cover,
        notice_s=terms.conditions.notice_s,
        conversions=terms.conditions.conversions,
        restart_cost=terms.restart_cost,
    )


def numbered(
    market: SpotMarket, start: int, end: int, now: UnixSeconds, field: str
) -> tuple[int, int] | Rejected:
    """Interval numbers ``[first, stop)`` of a window of absolute times."""
    if end <= start:
        return Rejected(
            code=Code.INVALID_VALUE,
            field=field,
            advice="a window ends after it starts",
            got=f"[{start}, {end})",
        )
    if end <= now or (not field.startswith("segments") and start < now):
        return Rejected(
            code=Code.WINDOW_IN_PAST,
            field=field,
            advice="choose a time in the future",
            got=str(start),
            limit=str(now),
        )
    if now and end > now + REACH_SECONDS:
        return Rejected(
            code=Code.WINDOW_OUTSIDE_AUCTION,
            field=field,
            advice="a standing order reaches at most 31 days ahead; amend it when it runs out",
            got=str(end),
            limit=str(now + REACH_SECONDS),
        )
    if start % market.seconds or end % market.seconds:
        return Rejected(
            code=Code.NOT_ON_INTERVAL_BOUNDARY,
            field=field,
            advice=f"start and end on interval boundaries, every {market.seconds} s of UTC",
            got=f"[{start}, {end})",
        )
    return market.number(start), market.number(end)


def numbered_segments(
    market: SpotMarket, timed: tuple[TimedSegment, ...], now: UnixSeconds
) -> tuple[Segment, ...] | Rejected:
    """Curves by interval number, ascending; a segment may have begun already."""
    if not timed:
        return Rejected(
            code=Code.INVALID_VALUE, field="segments", advice="give at least one segment"
        )
    found: list[Segment] = []
    for position, segment in enumerate(timed):
        span = numbered(market, segment.start, segment.end, now, f"segments[{position}]")
        if isinstance(span, Rejected):
            return span
        found.append(Segment(first=span[0], stop=span[1], steps=segment.steps))
    found.sort(key=lambda segment: segment.first)
    for earlier, later in itertools.pairwise(found):
        if later.first < earlier.stop:
            return Rejected(
                code=Code.INVALID_VALUE,
                field="segments",
                advice="windows of one order must not overlap",
                got=f"{earlier.first}-{earlier.stop} and {later.first}-{later.stop}",
            )
    return tuple(found)


def _refuse_kind(market: SpotMarket, command: SubmitOrder) -> Rejected | None:
    terms = command.terms
    if isinstance(terms, WorkBidTerms):
        return _not_in_spot("work", "work by a deadline is a day-ahead kind: bid steps or blocks")
    if isinstance(terms, OfferTerms):
        if terms.commitment is not None:
            return _not_in_spot("commitment", "offers with a commitment are a day-ahead kind")
        return None
    if isinstance(terms, BlockBidTerms):
        for field, value, what in (
            ("profile", terms.profile, "profiles"),
            ("exclusive_group", terms.exclusive_group, "exclusive groups"),
            ("parent_order_id", terms.parent_order_id, "linked orders"),
        ):
            if value:
                return _not_in_spot(field, f"{what} are a day-ahead kind: leave it out")
        if terms.initial_pool_id:
            return Rejected(
                code=Code.INVALID_VALUE,
                field="initial_pool_id",
                advice="the exchange knows from positions what runs where: leave it out",
                got=terms.initial_pool_id,
            )
    return _refuse_conditions(market, terms.conditions)


def _refuse_conditions(market: SpotMarket, conditions: BidConditions) -> Rejected | None:
    if conditions.cover is Cover.SITE:
        return _not_in_spot("cover", "cover against the loss of a site is sold day ahead")
    most = (market.opened.look_ahead - 1) * market.seconds
    if conditions.service_class is ServiceClass.INTERRUPTIBLE and conditions.notice_s > most:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="notice_seconds",
            advice="a notice is shorter than the look-ahead of a run",
            got=str(conditions.notice_s),
            limit=str(most),
        )
    return None


def _not_in_spot(field: str, advice: str) -> Rejected:
    return Rejected(code=Code.KIND_NOT_IN_SPOT, field=field, advice=advice)


def keeps(order: StandingOrder, look_ahead: int, seconds: int) -> int:
    """Intervals that work which begins in interval 0 binds after it (rules 6, 7 and 9)."""
    if isinstance(order, Offer):
        return 0
    if order.service_class is ServiceClass.INTERRUPTIBLE:
        return min(look_ahead - 1, -(-order.notice_s // seconds))
    return look_ahead - 1 if isinstance(order, BlockBid) else 0


def spans(order: StandingOrder) -> Iterator[tuple[int, int]]:
    """Interval numbers ``[first, stop)`` in which an order may have chips."""
    if isinstance(order, BlockBid):
        yield order.earliest_start, order.latest_start + order.duration
    else:
        for segment in order.segments:
            yield segment.first, segment.stop


def sample(market: SpotMarket, order: StandingOrder) -> tuple[AuctionSpec, StandingOrder]:
    """The order as a run in which it is in full would see it, for the engine's verdict."""
    length = market.opened.look_ahead
    first = min(start for start, _ in spans(order))
    spec = market.spec(first * market.seconds)
    if isinstance(order, BlockBid):
        return spec, dataclasses.replace(
            order,
            earliest_start=0,
            latest_start=0,
            duration=min(order.duration, length),
        )
    # One interval for each segment, so that all of its curves are looked at.
    shown = tuple(
        dataclasses.replace(segment, first=place, stop=place + 1)
        for place, segment in enumerate(order.segments)
    )
    intervals = tuple(market.interval(first + place) for place in range(max(length, len(shown))))
    return dataclasses.replace(spec, intervals=intervals), dataclasses.replace(
        order, segments=shown
    )


def standing_hold(market: SpotMarket, order: StandingOrder, revision: int) -> Transfer | None:
    """Hold of an order's worst case over what one run can bind of it (rule 5).

    It stays while the order stands; what a run binds is held beside it.
    """
    length = 1 + keeps(order, market.opened.look_ahead, market.seconds)
    spec = market.spec(min(start for start, _ in spans(order)) * market.seconds)
    if isinstance(order, BlockBid):
        part: StandingOrder = dataclasses.replace(
            order, earliest_start=0, latest_start=0, duration=min(order.duration, length)
        )
    else:
        dearest = max(
            order.segments,
            key=lambda segment: sum(max(0, step.price) * step.chips for step in segment.steps),
        )
        intervals = min(length, sum(segment.stop - segment.first for segment in order.segments))
        part = dataclasses.replace(
            order, segments=(dataclasses.replace(dearest, first=0, stop=intervals),)
        )
    spec = dataclasses.replace(spec, auction_id=market.opened.market_id)
    hold = order_hold(spec, part)
    if hold is None:
        return None
    return dataclasses.replace(hold, transfer_id=f"{hold.transfer_id}/{revision}")


def overlaps(order: StandingOrder, window: Interval, seconds: int) -> bool:
    """Whether an order may have chips inside a window of time."""
    return any(
        start * seconds < window.end and window.start < stop * seconds
        for start, stop in spans(order)
    )
