"""The canonical form of a book: the same orders in one order, so that they have one digest.

The order in which orders arrived must decide nothing (DESIGN 4.2, "Ties"). The engine
clears, and everybody hashes, the canonical book and never the one it was handed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from clearing.types import Book

T = TypeVar("T")


def canonical(book: Book) -> Book:
    """Sort every tuple of a book by the identifier of its items.

    Only the top level moves: segments, steps, conversions and eligibility lists are
    part of what a participant signed and stay as they are. Sorting is stable, so a
    book with a repeated identifier keeps its duplicates and is refused elsewhere.

    Returns:
        An equal book when it is canonical already.

    Example:
        >>> canonical(canonical(book)) == canonical(book)  # doctest: +SKIP
        True
    """
    return replace(
        book,
        sites=_sorted(book.sites, lambda site: site.site_id),
        pools=_sorted(book.pools, lambda pool: pool.pool_id),
        offers=_sorted(book.offers, lambda order: order.order_id),
        step_bids=_sorted(book.step_bids, lambda order: order.order_id),
        block_bids=_sorted(book.block_bids, lambda order: order.order_id),
        work_bids=_sorted(book.work_bids, lambda order: order.order_id),
        nominations=_sorted(book.nominations, lambda order: order.order_id),
        links=_sorted(book.links, lambda link: link.link_id),
    )


def _sorted(items: tuple[T, ...], identifier: Callable[[T], str]) -> tuple[T, ...]:
    return tuple(sorted(items, key=identifier))
