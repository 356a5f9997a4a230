"""What bids allow: the limits and families that bills are judged by."""

from __future__ import annotations

from collections.abc import Iterable

from clearing.types import BlockBid, Book, WorkBid
from clearing.units import PPM, MicroUsdPerChipHour, divide_up


def highest_limits(book: Book) -> dict[str, MicroUsdPerChipHour]:
    """Highest all-in limit of every bid, in its own most valuable class."""
    limits: dict[str, MicroUsdPerChipHour] = {}
    for step in book.step_bids:
        price = max((s.price for part in step.segments for s in part.steps), default=0)
        limits[step.order_id] = _best(price, [c.factor_ppm for c in step.conversions])
    whole: tuple[BlockBid | WorkBid, ...] = (*book.block_bids, *book.work_bids)
    for bid in whole:
        limits[bid.order_id] = _best(bid.limit_price, [c.factor_ppm for c in bid.conversions])
    return limits


def linked_families(book: Book) -> dict[str, str]:
    """Order at the root of every linked order: a child may make up for what its parent loses."""
    parents = {bid.order_id: bid.parent_order_id for bid in book.block_bids if bid.parent_order_id}
    roots: dict[str, str] = {}
    for order_id in parents:
        at = order_id
        while at in parents:
            at = parents[at]
        roots[order_id] = at
    return roots


def _best(price: int, factors: Iterable[int]) -> MicroUsdPerChipHour:
    return MicroUsdPerChipHour(divide_up(price * max((PPM, *factors)), PPM))
