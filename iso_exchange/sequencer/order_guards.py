"""What refuses an order, in an auction and in a spot market alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from clearing.eligibility import resolve
from clearing.types import AuctionSpec, BlockBid, Offer, Step, StepBid
from iso_exchange.commands import CancelOrder, OfferTerms, Role, SubmitOrder
from iso_exchange.sequencer.effects import active_participant, unknown_pool
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import BookOrder, Order, OrderState, State
from settlement.types import Transfer

ORDER_ID_LENGTH_MAX = 64
ORDER_COUNT_MAX = 50_000
"""Open orders of one participant in one auction: an order at price zero holds nothing."""
# As on the wire. Colons and slashes belong to identifiers that the exchange makes itself.
_ORDER_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
REVISION_FIRST = 1


def refuse_party(state: State, command: SubmitOrder) -> Rejected | None:
    """Refusal of a participant that may not submit this kind of order."""
    role = Role.SUPPLIER if isinstance(command.terms, OfferTerms) else Role.BUYER
    participant = active_participant(state, command.participant_id, role)
    return participant if isinstance(participant, Rejected) else None


def refuse_identifier(state: State, command: SubmitOrder) -> Rejected | None:
    """Refusal of an identifier that is malformed or another participant's."""
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
    return None


def refuse_amendment(state: State, command: SubmitOrder) -> Rejected | None:
    """Refusal of an amendment in another auction, or of an order that is not open."""
    previous = state.orders.get(command.order_id)
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
    return None


def refuse_count_or_revision(
    state: State, command: SubmitOrder, open_count: int
) -> Rejected | None:
    """Refusal of one order too many, or of a revision that is not the next."""
    previous = state.orders.get(command.order_id)
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


def refuse_nominated(command: SubmitOrder) -> Rejected:
    """Refusal of an identifier that a nomination of the same book has."""
    return Rejected(
        code=Code.ALREADY_EXISTS,
        field="order_id",
        advice="a nomination in this auction has this identifier; choose another",
        got=command.order_id,
    )


def own_order(state: State, command: CancelOrder) -> Order | Rejected:
    """The order that its owner wants to cancel."""
    order = state.orders.get(command.order_id)
    if order is None:
        return _not_found(command.order_id)
    if order.submitted.participant_id != command.header.signer_id:
        return Rejected(
            code=Code.NOT_OWNER, field="order_id", advice="only its owner may cancel an order"
        )
    return order


def refuse_closed(order: Order) -> Rejected:
    """Refusal to cancel what is not open."""
    return Rejected(
        code=Code.WRONG_STATE,
        field="order_id",
        advice="only an open order can be cancelled",
        got=order.state.value,
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


def refuse_prices(spec: AuctionSpec, order: BookOrder) -> Rejected | None:
    """Refusal of a price off the grid or outside the limits, or of a quantity of nothing."""
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


def refuse_pools(state: State, pool_ids: Sequence[str], order: BookOrder) -> Rejected | None:
    """Refusal of pools that an order names or resolves to.

    Args:
        state: Registry.
        pool_ids: Grid of the auction or market.
        order: Offers are the business of a supplier of the one pool that they name.
    """
    if isinstance(order, Offer):
        return _refuse_offer_pool(state, pool_ids, order)
    grid = tuple(state.pools[pool_id].pool for pool_id in pool_ids)
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
        if pool_id not in pool_ids:
            return unknown_pool(state, "pool_ids", pool_id)
    stays = order.initial_pool_id if isinstance(order, BlockBid) else ""
    if stays and stays not in pool_ids:
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


def _refuse_offer_pool(state: State, pool_ids: Sequence[str], offer: Offer) -> Rejected | None:
    if offer.pool_id not in pool_ids:
        return unknown_pool(state, "pool_id", offer.pool_id)
    record = state.pools[offer.pool_id]
    if offer.participant_id not in record.supplier_ids:
        return Rejected(
            code=Code.NOT_OWNER,
            field="pool_id",
            advice="only the registered suppliers of a pool may offer in it",
            got=offer.participant_id,
        )
    return _refuse_nodes(offer, record.pool.chips_per_node)


def refuse_capacity(chips: int, capacity: int) -> Rejected:
    """Refusal of an offer beyond what its pool has, without the sum: others' orders are in it."""
    return Rejected(
        code=Code.QUANTITY_ABOVE_CAPACITY,
        field="segments",
        advice="offers of all auctions and base load of a pool must fit its capacity",
        got=str(chips),
        limit=f"{capacity} less what is offered, sold and set aside",
    )


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


def refuse_credit(state: State, command: SubmitOrder, hold: Transfer) -> Rejected | None:
    """Refusal of an order whose hold does not fit the free collateral."""
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


def _not_found(order_id: str) -> Rejected:
    return Rejected(code=Code.NOT_FOUND, field="order_id", advice="list your orders", got=order_id)
