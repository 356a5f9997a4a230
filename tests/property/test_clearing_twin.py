"""The engine against brute force on tiny books of every kind, and its laws on the same books.

Where one chip is a node and what is left after the choices is a network (no cover, no power limit),
the engine must reach the twin's objective to the last price-second. Elsewhere whole nodes may cost
something: the engine stays at or below the twin, which may split chips. Its bound is never below
the twin, or at least never below what whole nodes can reach.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from clearing.auction import clear
from clearing.types import Book
from tests.property.books import SEED, books
from tests.property.laws import broken_laws
from tests.property.sweep import PRESETS, sweep
from tests.property.twin import best

CHUNK = 25
CHUNKS = {
    "network": 4,
    "mixed": 4,
    "site": 3,
    "network-many": 1,
    "mixed-many": 1,
    "strict-network": 3,
    "strict": 2,
}


@pytest.mark.parametrize(
    ("preset", "chunk"), [(name, chunk) for name, n in CHUNKS.items() for chunk in range(n)]
)
def test_random_books_keep_every_law(preset: str, chunk: int) -> None:
    tally = sweep(preset, range(chunk * CHUNK, (chunk + 1) * CHUNK), folder=None)
    assert tally.books >= CHUNK // 2
    assert dict(tally.examples) == {}


@pytest.mark.parametrize(("preset", "seed"), [("mixed", 5106), ("mixed-many", 5108)])
def test_who_must_sell_to_stand_by_counts_in_the_shortage(preset: str, seed: int) -> None:
    """Units cover base load only while they are on: what they must sell then has to be sold."""
    assert dict(sweep(preset, range(seed, seed + 1), folder=None).examples) == {}


def test_every_preset_is_swept() -> None:
    assert CHUNKS.keys() == PRESETS.keys()


@settings(max_examples=40)
@given(books(covered=False))
def test_plain_books_reach_the_optimum(book: Book) -> None:
    outcome = clear(book, SEED)
    found = best(book)
    assert found is not None
    assert outcome.certificate.welfare == found.objective
    assert broken_laws(book, outcome, found, whole=True) == []


@settings(max_examples=40)
@given(books(covered=True))
def test_covered_books_lie_between_their_welfare_and_their_bound(book: Book) -> None:
    assert broken_laws(book, clear(book, SEED), best(book), whole=False) == []
