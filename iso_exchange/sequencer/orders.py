"""Order commands: submit, amend, cancel, cancel all. Guards run in the order of ``Code``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from clearing.eligibility import resolve
from clearing.errors import InvariantError
from clearing.types import BlockBid, Book, Interval, Offer, Step, StepBid, WorkBid
from iso_exchange.commands import (
    BlockBidTerms,
    CancelAllOrders,
    CancelOrder,
    OfferTerms,
    Role,
    StepBidTerms,
    SubmitOrder,
)
from iso_exchange.sequencer.capacity import Taken
from iso_exchange.sequencer.effects import (
    Accepted,
    Meta,
    active_participant,
    post,
    unknown_pool,
)
from iso_exchange.sequencer.engine import refuse_by_engine
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

ORDER_ID_LENGTH_MAX = 64
ORDER_COUNT_MAX = 50_000
"""Open orders of one participant in one auction: an order at price zero holds nothing."""
# As on the wire. Colons and slashes belong to identifiers that the exchange makes itself.
_ORDER_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CANCELLED_BY_OWNER = "cancelled by its owner"
REVISION_FIRST = 1


def submit_order(state: State, command: SubmitOrder, meta: Meta) -> Accepted | Rejected:
    """Accept a new order or an amendment, with a hold of its worst case at its limit."""
    checked = check_order(state, command, meta)
    if isinstance(checked, Rejected):
        return checked
    order, hold = checked
    auction = state.auctions[command.auction_id]
    previous = state.orders.get(command.order_id)
    released = _void(previous, "amended") if previous else ()
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
    role = Role.SUPPLIER if isinstance(command.terms, OfferTerms) else Role.BUYER
    participant = active_participant(state, command.participant_id, role)
    if isinstance(participant, Rejected):
        return participant
    refused = _refuse_state(state, command, meta)
    if refused:
        return refused
    auction = state.auctions[command.auction_id]
    order = _book_order(auction, command, meta)
    if isinstance(order, Rejected):
        return order
    refused = _refuse_terms(state, auction, command, order)
    if refused:
        return refused
    hold = order_hold(auction.spec, order, command.revision)
    if hold is None:
        return order, None
    return _refuse_credit(state, command, hold) or (order, hold)


def cancel_order(state: State, command: CancelOrder, meta: Meta) -> Accepted | Rejected:
    """Withdraw an open order before its gate closes, and release its hold."""
    order = state.orders.get(command.order_id)
    if order is None:
        return _not_found(command.order_id)
    if order.submitted.participant_id != command.header.signer_id:
        return Rejected(
            code=Code.NOT_OWNER, field="order_id", advice="only its owner may cancel an order"
        )
    refused = _refuse_gate(state, order.submitted.auction_id, meta, halted_ok=True)
    if refused:
        return refused
    if order.state is not OrderState.OPEN:
        return Rejected(
            code=Code.WRONG_STATE,
            field="order_id",
            advice="only an open order can be cancelled",
            got=order.state.value,
        )
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
        auction = state.auctions[order.submitted.auction_id]
        if (
            order.submitted.participant_id == command.participant_id
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
    if not _ORDER_ID.fullmatch(command.order_id):
        return Rejected(
            code=Code.INVALID_VALUE,
            field="order_id",
            advice="use 1 to 64 of a-z, A-Z, 0-9, dot, dash and underscore",
            got=command.order_id[:ORDER_ID_LENGTH_MAX],
        )
    previous = state.orders.get(command.order_id)
    if previous and previous.submitted.participant_id != command.participant_id:
        return Rejected(
            code=Code.NOT_OWNER,
            field="order_id",
            advice="the identifier belongs to another participant; choose another",
        )
    refused = _refuse_gate(state, command.auction_id, meta)
    if refused:
        return refused
    if previous and previous.submitted.auction_id != command.auction_id:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="auction_id",
            advice="an amendment stays in its auction; cancel and submit a new order instead",
            got=command.auction_id,
            limit=previous.submitted.auction_id,
        )
    if previous and previous.state is not OrderState.OPEN:
        return Rejected(
            code=Code.WRONG_STATE,
            field="order_id",
            advice="only an open order can be amended",
            got=previous.state.value,
        )
    auction = state.auctions[command.auction_id]
    refused = refuse_children(auction, command.participant_id, command.order_id)
    if refused:
        return refused
    if command.order_id in auction.nominated:
        return Rejected(
            code=Code.ALREADY_EXISTS,
            field="order_id",
            advice="a nomination in this auction has this identifier; choose another",
            got=command.order_id,
        )
    open_count = auction.open_counts[command.participant_id]
    if previous is None and open_count >= ORDER_COUNT_MAX:
        return Rejected(
            code=Code.TOO_MANY_ORDERS,
            field="order_id",
            advice="cancel orders of this auction, or state curves with more steps",
            got=str(open_count + 1),
            limit=str(ORDER_COUNT_MAX),
        )
    wanted = previous.submitted.revision + 1 if previous else REVISION_FIRST
    if command.revision != wanted:
        return Rejected(
            code=Code.STALE_REVISION,
            field="revision",
            advice="send 1 for a new order, the next number for an amendment",
            got=str(command.revision),
            limit=str(wanted),
        )
    return None


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


def steps_of(order: BookOrder) -> Iterable[Step]:
    """Every (price, chips) pair that an order states."""
    if isinstance(order, (Offer, StepBid)):
        for segment in order.segments:
            yield from segment.steps
    elif isinstance(order, BlockBid):
        yield Step(price=order.limit_price, chips=order.chips)
    else:
        yield Step(price=order.limit_price, chips=order.max_chips)


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
        (None if sound else _refuse_prices(auction, order))
        or (
            None
            if sound and not isinstance(order, Offer)
            else _refuse_pools(state, auction, command, order)
        )
        or refuse_ties(state, auction, order)
    )
    if refused or (sound and not is_tied(order)):
        return refused
    family = relatives(state, auction, order)
    if isinstance(order, BlockBid) and desk.is_sound_family((order, *family)):
        return None
    return _refuse_by_engine(state, auction, order, family)


def _refuse_prices(auction: Auction, order: BookOrder) -> Rejected | None:
    spec = auction.spec
    for step in steps_of(order):
        if not spec.price_floor <= step.price <= spec.price_cap:
            return Rejected(
                code=Code.PRICE_OUTSIDE_LIMITS,
                field="price_micro_usd_per_chip_hour",
                advice="choose a price between the auction's floor and cap",
                got=str(step.price),
                limit=f"{spec.price_floor} to {spec.price_cap}",
            )
        if step.price % spec.tick:
            return Rejected(
                code=Code.PRICE_NOT_ON_TICK,
                field="price_micro_usd_per_chip_hour",
                advice=f"prices are multiples of {spec.tick} micro-USD",
                got=str(step.price),
            )
        if step.chips <= 0:
            return Rejected(
                code=Code.INVALID_VALUE,
                field="chips",
                advice="quantities are above zero",
                got=str(step.chips),
            )
    return None


def _refuse_pools(
    state: State, auction: Auction, command: SubmitOrder, order: BookOrder
) -> Rejected | None:
    if isinstance(order, Offer):
        return _refuse_offer_pool(state, auction, command, order)
    grid = grid_of(state, auction)
    known = {pool.chip_class for pool in grid}
    for chip_class in order.where.chip_classes:
        if chip_class not in known:
            return Rejected(
                code=Code.UNKNOWN_CHIP_CLASS,
                field="chip_classes",
                advice="no pool has this chip class; list the chip table and the pools",
                got=chip_class,
            )
    for pool_id in order.where.pool_ids:
        if pool_id not in auction.pool_ids:
            return unknown_pool(state, "pool_ids", pool_id)
    stays = order.initial_pool_id if isinstance(order, BlockBid) else ""
    if stays and stays not in auction.pool_ids:
        return unknown_pool(state, "initial_pool_id", stays)
    resolution = resolve(
        order.where,
        {site_id: record.site for site_id, record in state.sites.items()},
        grid,
    )
    if not resolution.eligible:
        reasons = ", ".join(f"{pool}: {reason.value}" for pool, reason in resolution.refused[:10])
        return Rejected(
            code=Code.NO_ELIGIBLE_POOL,
            field="where",
            advice=f"no pool meets every condition ({reasons})",
        )
    node = math.lcm(*(state.pools[pool].pool.chips_per_node for pool in resolution.eligible))
    return _refuse_nodes(order, node)


def _refuse_offer_pool(
    state: State, auction: Auction, command: SubmitOrder, offer: Offer
) -> Rejected | None:
    if offer.pool_id not in auction.pool_ids:
        return unknown_pool(state, "pool_id", offer.pool_id)
    record = state.pools[offer.pool_id]
    if command.participant_id not in record.supplier_ids:
        return Rejected(
            code=Code.NOT_OWNER,
            field="pool_id",
            advice="only the registered suppliers of a pool may offer in it",
            got=command.participant_id,
        )
    refused = _refuse_nodes(offer, record.pool.chips_per_node)
    if refused:
        return refused
    previous = state.orders.get(command.order_id)
    replaced = {}
    if previous is not None and isinstance(previous.order, Offer):
        replaced = dict(_offered(previous.order)) if previous.order.pool_id == offer.pool_id else {}
    intervals = auction.spec.intervals
    taken = Taken(state, offer.pool_id, Interval(start=intervals[0].start, end=intervals[-1].end))
    for interval, chips in _offered(offer):
        others = taken.most(intervals[interval]) - replaced.get(interval, 0)
        if others + chips > record.pool.capacity:
            # Without the sum: other suppliers' open offers are in it.
            return Rejected(
                code=Code.QUANTITY_ABOVE_CAPACITY,
                field="segments",
                advice="offers of all auctions and base load of a pool must fit its capacity",
                got=str(chips),
                limit=f"{record.pool.capacity} less what is offered, sold and set aside",
            )
    return None


def _refuse_nodes(order: BookOrder, chips_per_node: int) -> Rejected | None:
    for step in steps_of(order):
        if step.chips % chips_per_node:
            return Rejected(
                code=Code.NOT_NODE_MULTIPLE,
                field="chips",
                advice="quantities are whole nodes of every eligible pool",
                got=str(step.chips),
                limit=f"multiple of {chips_per_node}",
            )
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


def _refuse_credit(state: State, command: SubmitOrder, hold: Transfer) -> Rejected | None:
    previous = state.orders.get(command.order_id)
    free = state.books.available_to(command.participant_id)
    if previous is not None and previous.hold is not None:
        free += previous.hold.amount
    if hold.amount <= free:
        return None
    return Rejected(
        code=Code.EXPOSURE_ABOVE_COLLATERAL,
        field="limit_price",
        advice="deposit more collateral, or bid less: the worst case at the limit must be covered",
        got=str(hold.amount),
        limit=str(free),
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
            transfers=_void(order, reason),
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


def _void(order: Order, reason: str) -> tuple[Transfer, ...]:
    return (release_hold(order.hold, reason),) if order.hold else ()


def _not_found(order_id: str) -> Rejected:
    return Rejected(code=Code.NOT_FOUND, field="order_id", advice="list your orders", got=order_id)
