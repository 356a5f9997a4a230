"""Hypothesis strategies of tiny books; ``random_books`` draws them from a seed."""

from __future__ import annotations

from hypothesis import strategies as st

from clearing.types import Book
from tests.property.random_books import ALL, SEED, Kind, random_book
from tests.property.simple_books import books

__all__ = ["ALL", "SEED", "Kind", "books", "mixed_books"]


def mixed_books(kinds: frozenset[Kind] = ALL) -> st.SearchStrategy[Book]:
    """Books of every kind in ``kinds``, mixed."""
    return st.integers(0, 2**32 - 1).map(lambda seed: random_book(seed, kinds))
