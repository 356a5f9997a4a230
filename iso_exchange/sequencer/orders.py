"""Order commands: submit, amend, cancel, cancel all. Guards run in the order of ``Code``."""

from __future__ import annotations

from collections.abc import Iterable

from clearing.errors import InvariantError
from clearing.types import BlockBid, Book, Interval, Offer, StepBid, WorkBid
from iso_exchange.commands import (
    BlockBidTerms,
    CancelAllOrders,
    CancelOrder,
    OfferTerms,
    StepBidTerms,
    SubmitOrder,
)
from iso_exchange.sequencer.capacity import Taken
from iso_exchange.sequencer.effects import (
    Accepted,
    Meta,
    post,
)
from iso_exchange.sequencer.engine import refuse_by_engine
from iso_exchange.sequencer.order_guards import (
    own_order,
    refuse_amendment,
    refuse_capacity,
    refuse_closed,
    refuse_count_or_revision,
    refuse_credit,
    refuse_identifier,
    refuse_nominated,
    refuse_party,
    refuse_pools,
    refuse_prices,
)
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import (
    Auction,
    AuctionState,
    BookOrder,
    Order,
    OrderState,
    State,
    desk_of,
    grid_of,
)
from iso_exchange.sequencer.strips import refuse_in_strip
from iso_exchange.sequencer.ties import (
    is_tied,
    refuse_children,
    refuse_ties,
    relatives,
    tie,
    untie,
)
from iso_exchange.sequencer.windows import segments, window
from settlement.postings.orders import order_hold, release_hold
from settlement.storage.store import AppliedTransfer
from settlement.types import Postings, Transfer

CANCELLED_BY_OWNER = "cancelled by its owner"


def submit_order(state: State, command: SubmitOrder, meta: Meta) -> Accepted | Rejected:
    """Accept a new order or an amendment, with a hold of its worst case at its limit."""
    checked = check_order(state, command, meta)
    if isinstance(checked, Rejected):
        return checked
    order, hold = checked
    auction = state.auctions[command.auction_id]
    previous = state.orders.get(command.order_id)
    released = void(previous, "amended") if previous else ()
    transfers = released + ((hold,) if hold else ())
    applied = post(
        state,
        meta,
        Postings(postings_id=f"order/{command.order_id}/{command.revision}", transfers=transfers),
    )
    if isinstance(applied, Rejected):
        return applied
    if previous is None:
        auction.order_ids.append(command.order_id)
        auction.open_counts[command.participant_id] += 1
    else:
        _count_offered(auction, previous.order, -1)
        untie(auction, previous.order)
    _count_offered(auction, order, 1)
    tie(auction, order)
    state.orders[command.order_id] = Order(
        submitted=command,
        order=order,
        state=OrderState.OPEN,
        entry_index=meta.index,
        leaf_hash=meta.leaf_hash,
        hold=hold,
    )
    return Accepted(owners=(command.participant_id,), transfers=applied)


def check_order(
    state: State, command: SubmitOrder, meta: Meta
) -> tuple[BookOrder, Transfer | None] | Rejected:
    """Everything that can refuse an order; also what a preview runs.

    Returns:
        The order as the book will hold it and the hold that it needs, or the refusal.
    """
    refused = refuse_party(state, command)
    if refused:
        return refused
    refused = _refuse_state(state, command, meta)
    if refused:
        return refused
    auction = state.auctions[command.auction_id]
    order = _book_order(auction, command, meta)
    if isinstance(order, Rejected):
        return order
    refused = refuse_in_strip(auction, order) or _refuse_terms(state, auction, command, order)
    if refused:
        return refused
    hold = order_hold(auction.spec, order, command.revision)
    if hold is None:
        return order, None
    return refuse_credit(state, command, hold) or (order, hold)


def cancel_order(state: State, command: CancelOrder, meta: Meta) -> Accepted | Rejected:
    """Withdraw an open order before its gate closes, and release its hold."""
    order = own_order(state, command)
    if isinstance(order, Rejected):
        return order
    refused = _refuse_gate(state, order.submitted.auction_id, meta, halted_ok=True)
    if refused:
        return refused
    if order.state is not OrderState.OPEN:
        return refuse_closed(order)
    auction = state.auctions[order.submitted.auction_id]
    refused = refuse_children(auction, command.header.signer_id, command.order_id)
    if refused:
        return refused
    transfers = _cancel(state, order, meta, CANCELLED_BY_OWNER)
    if isinstance(transfers, Rejected):
        return transfers
    return Accepted(owners=(command.header.signer_id,), transfers=transfers)


def cancel_all_orders(state: State, command: CancelAllOrders, meta: Meta) -> Accepted | Rejected:
    """Cancel every open order of a participant whose gate is still open (operator)."""
    if command.participant_id not in state.participants:
        return Rejected(
            code=Code.UNKNOWN_PARTICIPANT,
            field="participant_id",
            advice="check the spelling",
            got=command.participant_id,
        )
    transfers: list[AppliedTransfer] = []
    for order in list(state.orders.values()):
        auction = state.auctions.get(order.submitted.auction_id)
        if (
            auction is not None  # standing orders are the business of ``spot_entry``
            and order.submitted.participant_id == command.participant_id
            and order.state is OrderState.OPEN
            and auction.state in (AuctionState.OPEN, AuctionState.HALTED)
            and meta.now < auction.created.close_time
        ):
            applied = _cancel(state, order, meta, command.reason, first=len(transfers))
            if isinstance(applied, Rejected):
                message = f"a hold of {order.submitted.order_id} cannot be voided: {applied}"
                raise InvariantError(message)
            transfers.extend(applied)
    return Accepted(owners=(command.participant_id,), transfers=tuple(transfers))


def _refuse_state(state: State, command: SubmitOrder, meta: Meta) -> Rejected | None:
    refused = (
        refuse_identifier(state, command)
        or _refuse_gate(state, command.auction_id, meta)
        or refuse_amendment(state, command)
    )
    if refused:
        return refused
    auction = state.auctions[command.auction_id]
    refused = refuse_children(auction, command.participant_id, command.order_id)
    if refused:
        return refused
    if command.order_id in auction.nominated:
        return refuse_nominated(command)
    return refuse_count_or_revision(state, command, auction.open_counts[command.participant_id])


def _refuse_gate(
    state: State, auction_id: str, meta: Meta, *, halted_ok: bool = False
) -> Rejected | None:
    auction = state.auctions.get(auction_id)
    if auction is None:
        return Rejected(
            code=Code.UNKNOWN_AUCTION,
            field="auction_id",
            advice="list the open auctions",
            got=auction_id,
        )
    if auction.state is AuctionState.HALTED and not halted_ok:
        return Rejected(
            code=Code.AUCTION_HALTED,
            field="auction_id",
            advice="wait until the operator resumes the auction",
        )
    is_open = auction.state in (AuctionState.OPEN, AuctionState.HALTED)
    if not is_open or meta.now >= auction.created.close_time:
        return Rejected(
            code=Code.GATE_CLOSED,
            field="auction_id",
            advice="the gate is closed; bid in the next auction",
            got=str(meta.now),
            limit=str(auction.created.close_time),
        )
    return None


def _book_order(auction: Auction, command: SubmitOrder, meta: Meta) -> BookOrder | Rejected:
    terms, spec = command.terms, auction.spec
    if isinstance(terms, OfferTerms):
        curves = segments(spec, terms.segments, meta.now)
        if isinstance(curves, Rejected):
            return curves
        return Offer(
            order_id=command.order_id,
            participant_id=command.participant_id,
            pool_id=terms.pool_id,
            segments=curves,
            recallable=terms.recallable,
            commitment=terms.commitment,
        )
    conditions = terms.conditions
    if isinstance(terms, StepBidTerms):
        curves = segments(spec, terms.segments, meta.now)
        if isinstance(curves, Rejected):
            return curves
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
    if isinstance(terms, BlockBidTerms):
        return _block(auction, command, terms, meta)
    span = window(spec, terms.start, terms.deadline, meta.now, "start_time")
    if isinstance(span, Rejected):
        return span
    return WorkBid(
        order_id=command.order_id,
        participant_id=command.participant_id,
        where=conditions.where,
        first=span[0],
        stop=span[1],
        work=terms.work,
        max_chips=terms.max_chips,
        limit_price=terms.limit_price,
        service_class=conditions.service_class,
        cover=conditions.cover,
        notice_s=conditions.notice_s,
        conversions=conditions.conversions,
    )


def _block(
    auction: Auction, command: SubmitOrder, terms: BlockBidTerms, meta: Meta
) -> BlockBid | Rejected:
    spec = auction.spec
    first = window(
        spec,
        terms.earliest_start,
        terms.earliest_start + terms.duration_s,
        meta.now,
        "earliest_start_time",
    )
    if isinstance(first, Rejected):
        return first
    last = window(
        spec,
        terms.latest_start,
        terms.latest_start + terms.duration_s,
        meta.now,
        "latest_start_time",
    )
    if isinstance(last, Rejected):
        return last
    return BlockBid(
        order_id=command.order_id,
        participant_id=command.participant_id,
        where=terms.conditions.where,
        earliest_start=first[0],
        latest_start=last[0],
        duration=first[1] - first[0],
        chips=terms.chips,
        limit_price=terms.limit_price,
        min_fill_ppm=terms.min_fill_ppm,
        service_class=terms.conditions.service_class,
        cover=terms.conditions.cover,
        notice_s=terms.conditions.notice_s,
        conversions=terms.conditions.conversions,
        profile=terms.profile,
        exclusive_group=terms.exclusive_group,
        parent_order_id=terms.parent_order_id,
        initial_pool_id=terms.initial_pool_id,
        restart_cost=terms.restart_cost,
    )


def _refuse_terms(
    state: State, auction: Auction, command: SubmitOrder, order: BookOrder
) -> Rejected | None:
    """Prices, pools, ties and the engine's verdict.

    What the desk calls sound passes the first, the second and the last: they are asked only
    for the reason why not, and where other orders have a say.
    """
    desk = desk_of(state, auction)
    sound = desk.is_sound(order)
    refused = (
        (None if sound else refuse_prices(auction.spec, order))
        or (
            None
            if sound and not isinstance(order, Offer)
            else refuse_pools(state, auction.pool_ids, order)
        )
        or _refuse_offer(state, auction, command, order)
        or refuse_ties(state, auction, order)
    )
    if refused or (sound and not is_tied(order)):
        return refused
    family = relatives(state, auction, order)
    if isinstance(order, BlockBid) and desk.is_sound_family((order, *family)):
        return None
    return _refuse_by_engine(state, auction, order, family)


def _refuse_offer(
    state: State, auction: Auction, command: SubmitOrder, offer: BookOrder
) -> Rejected | None:
    """Chips are offered in one auction at a time."""
    if not isinstance(offer, Offer):
        return None
    previous = state.orders.get(command.order_id)
    replaced = {}
    if previous is not None and isinstance(previous.order, Offer):
        replaced = dict(_offered(previous.order)) if previous.order.pool_id == offer.pool_id else {}
    intervals = auction.spec.intervals
    capacity = state.pools[offer.pool_id].pool.capacity
    taken = Taken(state, offer.pool_id, Interval(start=intervals[0].start, end=intervals[-1].end))
    for interval, chips in _offered(offer):
        others = taken.most(intervals[interval]) - replaced.get(interval, 0)
        if others + chips > capacity:
            return refuse_capacity(chips, capacity)
    return None


def _refuse_by_engine(
    state: State, auction: Auction, order: BookOrder, family: tuple[BlockBid, ...]
) -> Rejected | None:
    return refuse_by_engine(
        Book(
            spec=auction.spec,
            sites=tuple(record.site for record in state.sites.values()),
            pools=grid_of(state, auction),
            offers=(order,) if isinstance(order, Offer) else (),
            step_bids=(order,) if isinstance(order, StepBid) else (),
            block_bids=(order, *family) if isinstance(order, BlockBid) else (),
            work_bids=(order,) if isinstance(order, WorkBid) else (),
        )
    )


def _offered(order: BookOrder) -> Iterable[tuple[int, int]]:
    if isinstance(order, Offer):
        for segment in order.segments:
            chips = sum(step.chips for step in segment.steps)
            for interval in range(segment.first, segment.stop):
                yield interval, chips


def _count_offered(auction: Auction, order: BookOrder, sign: int) -> None:
    if isinstance(order, Offer):
        counts = auction.offered.setdefault(order.pool_id, [0] * len(auction.spec.intervals))
        for interval, chips in _offered(order):
            counts[interval] += sign * chips


def _cancel(
    state: State, order: Order, meta: Meta, reason: str, first: int = 0
) -> tuple[AppliedTransfer, ...] | Rejected:
    command = order.submitted
    applied = post(
        state,
        meta,
        Postings(
            postings_id=f"cancel/{command.order_id}/{command.revision}",
            transfers=void(order, reason),
        ),
        first=first,
    )
    if isinstance(applied, Rejected):
        return applied
    auction = state.auctions[command.auction_id]
    _count_offered(auction, order.order, -1)
    untie(auction, order.order)
    auction.open_counts[command.participant_id] -= 1
    order.state = OrderState.CANCELLED
    order.cancel_reason = reason
    order.hold = None
    return applied


def void(order: Order, reason: str) -> tuple[Transfer, ...]:
    """Release of an order's hold, where it has one."""
    return (release_hold(order.hold, reason),) if order.hold else ()
