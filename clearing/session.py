"""What one auction after another of a market need not read again: orders that still stand.

A spot market clears the same book every few minutes with a few orders changed. Orders are frozen
values, so an order object that was checked and written once is the same order ever after: a
session knows it by identity and keeps the object, so that its identity is not given to another.
What a session saves is time. The outcome is that of the book and the seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from clearing import codec
from clearing.types import Book

_ORDERS: Final = ("offers", "step_bids", "block_bids", "work_bids", "nominations")


class Session:
    """Orders of the last book, with their canonical text.

    For one auction at a time. Memory: the text of the last book.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._known: dict[int, tuple[object, str]] = {}
        self._kept: dict[int, tuple[object, str]] = {}

    def unseen(self, book: Book) -> Book:
        """The book without the orders whose types were checked in an earlier auction."""
        known = self._known
        if not known:
            return book
        rest: dict[str, Any] = {
            name: tuple(order for order in getattr(book, name) if id(order) not in known)
            for name in _ORDERS
            if type(getattr(book, name)) is tuple
        }
        return replace(book, **rest)

    def digest(self, book: Book) -> str:
        """``codec.digest`` of a validated canonical book; its orders are known from now on.

        Raises:
            DocumentError: as ``codec.digest``.
        """
        self._kept = {}
        found = codec.digest(book, self._write)
        self._known, self._kept = self._kept, {}
        return found

    def _write(self, values: Sequence[object]) -> list[str]:
        """Canonical texts, from memory where there is one."""
        known, kept = self._known, self._kept
        missing = [value for value in values if id(value) not in known]
        for value, text in zip(missing, codec.texts(missing), strict=True):
            known[id(value)] = (value, text)
        found = []
        for value in values:
            kept[id(value)] = pair = known[id(value)]
            found.append(pair[1])
        return found
