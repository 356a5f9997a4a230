"""Guards on what ties block bids together: exclusive groups and parents."""

from __future__ import annotations

from clearing.errors import BookError
from clearing.types import BlockBid
from clearing.validation.sheet import Sheet


def check_groups(sheet: Sheet) -> None:
    """Refuse exclusive groups whose members have different parents."""
    parents: dict[tuple[str, str], str] = {}
    for block in sheet.book.block_bids:
        if block.exclusive_group:
            key = (block.participant_id, block.exclusive_group)
            if parents.setdefault(key, block.parent_order_id) != block.parent_order_id:
                advice = "Members of an exclusive group have the same parent, or none."
                raise BookError("BAD_GROUP", block.order_id, "parent_order_id", advice)


def check_parents_known(sheet: Sheet) -> None:
    """Refuse parents that are not in the book."""
    linked = _linked(sheet)
    names = {order.order_id for order in sheet.orders} if linked else set()
    for block in linked:
        if block.parent_order_id not in names:
            advice = f"{block.parent_order_id} is no order of the book."
            raise BookError("UNKNOWN_PARENT", block.order_id, "parent_order_id", advice)


def check_parents(sheet: Sheet) -> None:
    """Refuse parents that are no block bids of the same participant, and rings of parents."""
    linked = _linked(sheet)
    if not linked:
        return
    blocks = {block.order_id: block for block in sheet.book.block_bids}
    for block in linked:
        parent = blocks.get(block.parent_order_id)
        if parent is None:
            raise _bad_parent(block, "The parent must be a block bid.")
        if parent.participant_id != block.participant_id:
            raise _bad_parent(block, "The parent must be the same participant's.")
    rooted: set[str] = set()
    for block in linked:
        path: dict[str, None] = {}
        at = block
        while at.parent_order_id and at.order_id not in rooted:
            if at.order_id in path:
                raise _bad_parent(block, "An order must not depend on itself.")
            path[at.order_id] = None
            at = blocks[at.parent_order_id]
        rooted.update(path)


def _linked(sheet: Sheet) -> list[BlockBid]:
    return [block for block in sheet.book.block_bids if block.parent_order_id]


def _bad_parent(block: BlockBid, advice: str) -> BookError:
    return BookError("BAD_PARENT", block.order_id, "parent_order_id", advice)
