"""What one auction after another of a market need not do again: orders that still stand.

A spot market clears the same book every few minutes with a few orders changed. Orders are frozen
values, so an order object that was checked and written once is the same order ever after: a
session knows it by identity and keeps the object, so that its identity is not given to another.

Who builds the books hands an order that did not change over as the *same object*: keep one per
order and what it says in the run (its terms, counted from the first interval), and make a new one
only where that is another. Equal copies are right too, and are read anew.

    session = Session()
    document = session.encode(book)                # the bytes of codec.encode
    outcome = clear(book, seed, session=session)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from clearing import codec
from clearing.memory import Memory
from clearing.types import Book

_ORDERS: Final = ("offers", "step_bids", "block_bids", "work_bids", "nominations")


@dataclass(slots=True)
class _Known:
    """An order of the last book.

    Attributes:
        order: The object itself.
        text: Its canonical text.
        checked: Its types were checked.
    """

    order: object
    text: str
    checked: bool = False


class Session:
    """Orders of the last book, with their canonical text.

    For one auction at a time. Memory: the text of the last book.

    Attributes:
        memory: Prices that the next auction begins with, where the session is ``warm``.
    """

    def __init__(self, *, warm: bool = False) -> None:
        """Know nothing.

        Args:
            warm: Begin the search of a large book with the prices of the auction before. Then the
                outcome follows from the book, the seed and the auctions that the session cleared
                before; without, from the book and the seed alone. It is verified all the same.
        """
        self.memory = Memory() if warm else None
        self._known: dict[int, _Known] = {}
        self._kept: dict[int, _Known] = {}
        self._terms: object = None

    def stands(self, book: Book) -> bool:
        """Whether orders seen before were checked under the terms of this book."""
        try:
            return self._terms == _terms(book)
        except (AttributeError, TypeError):
            return False

    def unseen(self, book: Book) -> Book:
        """The book without the orders whose types were checked in an earlier auction."""
        known = self._known
        checked = {name for name, found in known.items() if found.checked}
        if not checked:
            return book
        rest: dict[str, Any] = {
            name: tuple(order for order in getattr(book, name) if id(order) not in checked)
            for name in _ORDERS
            if type(getattr(book, name)) is tuple
        }
        return replace(book, **rest)

    def encode(self, book: Book) -> bytes:
        """``codec.encode`` of a canonical book; only orders that are new are written.

        Raises:
            DocumentError: as ``codec.encode``.
        """
        self._kept = {}
        found = codec.encode(book, self._write)
        self._known, self._kept = self._kept, {}
        return found

    def digest(self, book: Book) -> str:
        """``codec.digest`` of a validated canonical book; its orders are known from now on.

        Raises:
            DocumentError: as ``codec.digest``.
        """
        self._kept = {}
        found = codec.digest(book, self._write)
        self._known, self._kept = self._kept, {}
        for known in self._known.values():
            known.checked = True
        self._terms = _terms(book)
        return found

    def _write(self, values: Sequence[object]) -> list[str]:
        """Canonical texts, from memory where there is one."""
        known = self._known
        found = [known.get(id(value)) for value in values]
        missing = [value for value, one in zip(values, found, strict=True) if one is None]
        new = map(_Known, missing, codec.texts(missing)) if missing else iter(())
        every = [one or next(new) for one in found]
        self._kept.update(zip(map(id, values), every, strict=True))
        return [one.text for one in every]


def _terms(book: Book) -> tuple[object, ...]:
    """All of a book that the conditions of a single order depend on."""
    spec = book.spec
    lengths = tuple(interval.duration_s for interval in spec.intervals)
    common = replace(spec, auction_id="", seed_commitment="", intervals=())
    return book.sites, book.pools, book.links, common, lengths
