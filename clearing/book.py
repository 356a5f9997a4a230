"""The canonical form of a book: the same orders in one order, so that they have one digest.

The order in which orders arrived must decide nothing (DESIGN 4.2, "Ties"). The engine
clears, and everybody hashes, the canonical book and never the one it was handed.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Final, TypeVar

from clearing.errors import BookError
from clearing.shapes import Misfit, place_text, shape_of
from clearing.types import Book

T = TypeVar("T")

_IDENTIFIER: Final = {
    "spec": "auction_id",
    "sites": "site_id",
    "pools": "pool_id",
    "links": "link_id",
}
"""Identifying field by field of a book; orders have ``order_id``."""


def canonical(book: Book) -> Book:
    """Sort every tuple of a book by the identifier of its items.

    Only the top level moves: segments, steps, conversions and eligibility lists are
    part of what a participant signed and stay as they are. Sorting is stable, so a
    book with a repeated identifier keeps its duplicates and is refused elsewhere.

    Returns:
        An equal book when it is canonical already.

    Raises:
        BookError: ``BAD_TYPE``: it cannot be sorted, because it is not made of what a book is.

    Example:
        >>> canonical(canonical(book)) == canonical(book)  # doctest: +SKIP
        True
    """
    try:
        return replace(
            book,
            sites=_sorted(book.sites, "site_id"),
            pools=_sorted(book.pools, "pool_id"),
            offers=_sorted(book.offers, "order_id"),
            step_bids=_sorted(book.step_bids, "order_id"),
            block_bids=_sorted(book.block_bids, "order_id"),
            work_bids=_sorted(book.work_bids, "order_id"),
            nominations=_sorted(book.nominations, "order_id"),
            links=_sorted(book.links, "link_id"),
        )
    except (AttributeError, TypeError):
        check_types(book)
        raise


def check_types(book: Book) -> None:
    """Refuse anything in a book that is not exactly of its declared type.

    A float, a NaN, a truth value or a NumPy number in the place of an integer would not fail:
    it would give another result.
    """
    try:
        shape_of(Book).check([book])
    except Misfit as misfit:
        raise _bad_type(book, misfit) from misfit


def _bad_type(book: object, misfit: Misfit) -> BookError:
    if not isinstance(book, Book) or not misfit.path:
        return BookError("BAD_TYPE", "book", "", f"{misfit.what}.")
    kind, *inside = misfit.path
    owner: object = getattr(book, str(kind))
    subject = str(kind)
    if isinstance(owner, tuple) and inside and isinstance(inside[0], int):
        owner, subject = owner[inside[0]], f"{kind}[{inside[0]}]"
        del inside[0]
    name = getattr(owner, _IDENTIFIER.get(str(kind), "order_id"), None)
    if isinstance(name, str) and name.isprintable():
        subject = name
    field = str(inside[0]) if inside else ""
    advice = f"{place_text(inside) or subject}: {misfit.what}."
    return BookError("BAD_TYPE", subject, field, advice)


def _sorted(items: tuple[T, ...], identifier: str) -> tuple[T, ...]:
    return tuple(sorted(items, key=attrgetter(identifier)))
