"""Order entry of spot markets: submit, amend and cancel standing orders.

``submit_order`` and the other handlers here stand before those of ``orders``: an order that
names a market is taken here, every other one there.
"""

from __future__ import annotations

from clearing.errors import InvariantError
from clearing.types import BlockBid, Book, Offer, StepBid
from iso_exchange.commands import CancelAllOrders, CancelOrder, SubmitOrder
from iso_exchange.sequencer import order_guards, orders
from iso_exchange.sequencer.credit_books import end_bids_of
from iso_exchange.sequencer.effects import Accepted, Meta, post
from iso_exchange.sequencer.engine import refuse_by_engine
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.sequencer.spot_orders import (
    StandingOrder,
    refuse_market,
    sample,
    standing_hold,
    standing_order,
)
from iso_exchange.sequencer.state import BookOrder, Order, OrderState, State
from settlement.storage.store import AppliedTransfer
from settlement.types import Postings, Transfer


def submit_order(state: State, command: SubmitOrder, meta: Meta) -> Accepted | Rejected:
    """Accept an order of an auction, or a standing order of a spot market."""
    market = state.markets.get(command.auction_id)
    if market is None:
        return orders.submit_order(state, command, meta)
    checked = _check_standing(state, market, command, meta)
    if isinstance(checked, Rejected):
        return checked
    order, hold = checked
    previous = state.orders.get(command.order_id)
    released = orders.void(previous, "amended") if previous else ()
    applied = post(
        state,
        meta,
        Postings(
            postings_id=f"order/{command.order_id}/{command.revision}",
            transfers=released + ((hold,) if hold else ()),
        ),
    )
    if isinstance(applied, Rejected):
        return applied
    if previous is None:
        market.order_ids[command.order_id] = None
        market.open_counts[command.participant_id] += 1
    else:
        _forget_offer(market, previous.order)
    if isinstance(order, Offer):
        market.offered.setdefault(order.pool_id, {})[order.order_id] = most_offered(order)
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
    """Everything that can refuse an order, of an auction or of a market; what a preview runs."""
    market = state.markets.get(command.auction_id)
    if market is None:
        return orders.check_order(state, command, meta)
    return _check_standing(state, market, command, meta)


def cancel_order(state: State, command: CancelOrder, meta: Meta) -> Accepted | Rejected:
    """Withdraw an open order; what runs bound of a standing one stays bought."""
    found = state.orders.get(command.order_id)
    market = state.markets.get(found.submitted.auction_id) if found else None
    if market is None:
        return orders.cancel_order(state, command, meta)
    order = order_guards.own_order(state, command)
    if isinstance(order, Rejected):
        return order
    refused = refuse_market(market, halted_ok=True)
    if refused:
        return refused
    if order.state is not OrderState.OPEN:
        return order_guards.refuse_closed(order)
    applied = end_order(state, market, order, meta, orders.CANCELLED_BY_OWNER)
    return Accepted(owners=(command.header.signer_id,), transfers=applied)


def cancel_all_orders(state: State, command: CancelAllOrders, meta: Meta) -> Accepted | Rejected:
    """Cancel every open order of a participant, in auctions and in spot markets (operator)."""
    done = orders.cancel_all_orders(state, command, meta)
    if isinstance(done, Rejected):
        return done
    transfers = list(done.transfers)
    for market in state.markets.values():
        for order_id in list(market.order_ids):
            order = state.orders[order_id]
            if order.submitted.participant_id == command.participant_id:
                transfers.extend(
                    end_order(state, market, order, meta, command.reason, first=len(transfers))
                )
    end_bids_of(state, command.participant_id)
    return Accepted(owners=done.owners, transfers=tuple(transfers))


def end_order(
    state: State,
    market: SpotMarket,
    order: Order,
    meta: Meta,
    reason: str,
    *,
    first: int = 0,
    new: OrderState = OrderState.CANCELLED,
) -> tuple[AppliedTransfer, ...]:
    """Take a standing order out of its market and release its hold.

    Raises:
        InvariantError: its hold cannot be voided.
    """
    command = order.submitted
    applied = post(
        state,
        meta,
        Postings(
            postings_id=f"cancel/{command.order_id}/{command.revision}",
            transfers=orders.void(order, reason),
        ),
        first=first,
    )
    if isinstance(applied, Rejected):
        message = f"the hold of {command.order_id} cannot be voided: {applied}"
        raise InvariantError(message)
    del market.order_ids[command.order_id]
    market.open_counts[command.participant_id] -= 1
    _forget_offer(market, order.order)
    order.state = new
    order.cancel_reason = reason
    order.hold = None
    return applied


def most_offered(offer: Offer) -> int:
    """Most chips that an offer states at any one time."""
    return max(sum(step.chips for step in segment.steps) for segment in offer.segments)


def _check_standing(
    state: State, market: SpotMarket, command: SubmitOrder, meta: Meta
) -> tuple[StandingOrder, Transfer | None] | Rejected:
    refused = (
        order_guards.refuse_party(state, command)
        or order_guards.refuse_identifier(state, command)
        or refuse_market(market)
        or order_guards.refuse_amendment(state, command)
    )
    if refused:
        return refused
    if command.order_id in market.nominated:
        return order_guards.refuse_nominated(command)
    refused = order_guards.refuse_count_or_revision(
        state, command, market.open_counts[command.participant_id]
    )
    if refused:
        return refused
    order = standing_order(market, command, meta)
    if isinstance(order, Rejected):
        return order
    spec, shown = sample(market, order)
    refused = (
        order_guards.refuse_prices(spec, order)
        or order_guards.refuse_pools(state, market.pool_ids, order)
        or _refuse_capacity(state, market, order)
        or _refuse_gang(market, order)
        or refuse_by_engine(
            Book(
                spec=spec,
                sites=tuple(record.site for record in state.sites.values()),
                pools=tuple(state.pools[name].pool for name in market.pool_ids),
                offers=(shown,) if isinstance(shown, Offer) else (),
                step_bids=(shown,) if isinstance(shown, StepBid) else (),
                block_bids=(shown,) if isinstance(shown, BlockBid) else (),
            )
        )
    )
    if refused:
        return refused
    hold = standing_hold(market, order, command.revision)
    if hold is None:
        return order, None
    return order_guards.refuse_credit(state, command, hold) or (order, hold)


def _refuse_capacity(state: State, market: SpotMarket, order: StandingOrder) -> Rejected | None:
    """Standing offers of a pool fit its capacity; what else takes of it, runs take out."""
    if not isinstance(order, Offer):
        return None
    others = dict(market.offered.get(order.pool_id, {}))
    others.pop(order.order_id, None)
    capacity = state.pools[order.pool_id].pool.capacity
    chips = most_offered(order)
    if sum(others.values()) + chips > capacity:
        return order_guards.refuse_capacity(chips, capacity)
    return None


def _refuse_gang(market: SpotMarket, order: StandingOrder) -> Rejected | None:
    """What runs has begun: its start, its length and its size are decided."""
    gang = market.gangs.get(order.order_id)
    if gang is None or not isinstance(order, BlockBid):
        return None
    if order.earliest_start <= gang.first <= order.latest_start:
        return None
    return Rejected(
        code=Code.INVALID_VALUE,
        field="earliest_start_time",
        advice="the gang runs: keep the start that it had; its end, size and limit may change",
        got=str(order.earliest_start * market.seconds),
        limit=str(gang.first * market.seconds),
    )


def _forget_offer(market: SpotMarket, order: BookOrder) -> None:
    if isinstance(order, Offer):
        offers = market.offered[order.pool_id]
        offers.pop(order.order_id, None)
        if not offers:
            del market.offered[order.pool_id]
