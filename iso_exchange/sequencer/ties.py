"""What ties block bids together: parents, exclusive groups, and work that runs already.

A book is judged at gate closure whole, an order at acceptance alone; so an order is judged
with its ancestors and a member of its group, and a parent stays as it is while it has open
children. Every book of orders that were accepted one by one is then a sound book.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clearing.errors import InvariantError
from clearing.types import BlockBid
from iso_exchange.sequencer.capacity import running
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import Auction, BookOrder, Members, OrderState, State

LINK_LEVELS_MAX: Final = 16
"""Ancestors of a linked order."""

GROUP_COUNT_MAX: Final = 256
"""Open orders of an exclusive group."""


def refuse_ties(state: State, auction: Auction, order: BookOrder) -> Rejected | None:
    """Why an order cannot be tied to what it names, or None."""
    if not isinstance(order, BlockBid):
        return None
    return (
        _refuse_parent(state, auction, order)
        or _refuse_group(auction, order)
        or _refuse_stay(state, auction, order)
    )


def refuse_children(auction: Auction, owner_id: str, order_id: str) -> Rejected | None:
    """Why an order may not be amended or cancelled: open orders name it as their parent."""
    children = auction.ties.children.get((owner_id, order_id))
    if not children:
        return None
    return Rejected(
        code=Code.HAS_OPEN_CHILDREN,
        field="order_id",
        advice="cancel the orders that name it as their parent first",
        got=", ".join(list(children)[:10]),
    )


def relatives(state: State, auction: Auction, order: BookOrder) -> tuple[BlockBid, ...]:
    """Open orders without which a book with this one would be unsound.

    Its ancestors, and one member of its group with its own: all members have the same parent,
    so one stands for the others.
    """
    if not isinstance(order, BlockBid):
        return ()
    found = {item.order_id: item for item in _ancestors(state, auction, order)}
    other = next((name for name in _group_of(auction, order) if name != order.order_id), None)
    if other is not None:
        member = _open_block(state, auction, order, other)
        if member is None:
            raise InvariantError(f"{other} is no open member of the group of {order.order_id}")
        found[other] = member
        found.update((item.order_id, item) for item in _ancestors(state, auction, member))
    found.pop(order.order_id, None)
    return tuple(found.values())


def is_tied(order: BookOrder) -> bool:
    """Whether an order is judged together with others."""
    return isinstance(order, BlockBid) and bool(order.parent_order_id or order.exclusive_group)


def tie(auction: Auction, order: BookOrder) -> None:
    """Remember an open order under everything that it names."""
    for members, key in _named(auction, order):
        members.setdefault(key, {})[order.order_id] = None


def untie(auction: Auction, order: BookOrder) -> None:
    """Forget an order that is amended or cancelled."""
    for members, key in _named(auction, order):
        del members[key][order.order_id]
        if not members[key]:
            del members[key]


def _named(auction: Auction, order: BookOrder) -> Iterator[tuple[Members, tuple[str, str]]]:
    if not isinstance(order, BlockBid):
        return
    for members, name in (
        (auction.ties.children, order.parent_order_id),
        (auction.ties.groups, order.exclusive_group),
        (auction.ties.stays, order.initial_pool_id),
    ):
        if name:
            yield members, (order.participant_id, name)


def _refuse_parent(state: State, auction: Auction, order: BlockBid) -> Rejected | None:
    if order.parent_order_id == order.order_id:
        return _bad_parent(order, Code.INVALID_VALUE, "an order does not depend on itself")
    parent = _parent(state, auction, order)
    if order.parent_order_id and parent is None:
        advice = "name an open block bid of yours in this auction; submit the parent first"
        return _bad_parent(order, Code.UNKNOWN_PARENT, advice)
    if sum(1 for _ in _ancestors(state, auction, order)) > LINK_LEVELS_MAX:
        limit = f"{LINK_LEVELS_MAX} levels"
        return _bad_parent(order, Code.INVALID_VALUE, "link it higher up", limit)
    return None


def _bad_parent(order: BlockBid, code: Code, advice: str, limit: str = "") -> Rejected:
    return Rejected(
        code=code,
        field="parent_order_id",
        advice=advice,
        got=order.parent_order_id,
        limit=limit,
    )


def _refuse_group(auction: Auction, order: BlockBid) -> Rejected | None:
    members = _group_of(auction, order)
    count = len(members) + (order.order_id not in members)
    if count <= GROUP_COUNT_MAX:
        return None
    return Rejected(
        code=Code.TOO_MANY_ORDERS,
        field="exclusive_group",
        advice="cancel members of the group, or give some of them another group",
        got=str(count),
        limit=str(GROUP_COUNT_MAX),
    )


def _refuse_stay(state: State, auction: Auction, order: BlockBid) -> Rejected | None:
    """Only what really runs saves a restart, and nothing runs twice.

    At most one member of an exclusive group is accepted, so its largest counts.
    """
    pool_id = order.initial_pool_id
    if not pool_id:
        return None
    key = (order.participant_id, pool_id)
    claims = [state.orders[name].order for name in auction.ties.stays.get(key, {})]
    most_of: dict[tuple[str, str], int] = {}
    for claim in (order, *claims):
        if not isinstance(claim, BlockBid) or (
            claim is not order and claim.order_id == order.order_id
        ):
            continue
        group = claim.exclusive_group
        name = (group, "" if group else claim.order_id)
        most_of[name] = max(most_of.get(name, 0), claim.chips)
    total = sum(most_of.values())
    runs = running(state, order.participant_id, pool_id, auction.spec.intervals[0].start - 1)
    if total <= runs:
        return None
    return Rejected(
        code=Code.NO_RUNNING_CONTRACT,
        field="initial_pool_id",
        advice="your contracts deliver fewer chips there up to the first interval of the auction",
        got=str(total),
        limit=str(runs),
    )


def _ancestors(state: State, auction: Auction, order: BlockBid) -> Iterator[BlockBid]:
    """Parent, its parent and so on; a parent with open children never changes, so no ring."""
    at = _parent(state, auction, order)
    while at is not None:
        yield at
        at = _parent(state, auction, at)


def _parent(state: State, auction: Auction, order: BlockBid) -> BlockBid | None:
    if not order.parent_order_id:
        return None
    return _open_block(state, auction, order, order.parent_order_id)


def _open_block(state: State, auction: Auction, order: BlockBid, order_id: str) -> BlockBid | None:
    """An open block bid of the same participant in the auction."""
    found = state.orders.get(order_id)
    if (
        found is None
        or found.state is not OrderState.OPEN
        or found.submitted.auction_id != auction.spec.auction_id
        or not isinstance(found.order, BlockBid)
        or found.order.participant_id != order.participant_id
    ):
        return None
    return found.order


def _group_of(auction: Auction, order: BlockBid) -> dict[str, None]:
    if not order.exclusive_group:
        return {}
    return auction.ties.groups.get((order.participant_id, order.exclusive_group), {})
