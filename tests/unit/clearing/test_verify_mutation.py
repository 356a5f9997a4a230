"""Changing any one field of a valid outcome fails a named check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass

import pytest

from clearing import outcome as outcome_module
from clearing.auction import clear
from clearing.outcome import Outcome
from clearing.types import Book
from clearing.verify import verify
from tests.unit.clearing import hand, hand_kinds
from tests.unit.clearing.mutation import COARSE, FREE, LOOSE, Mutant, mutants

CASES = [*hand.CASES, *hand_kinds.KINDS]


def survivors(book: Book, outcome: Outcome) -> tuple[list[str], int]:
    """Mutants that every check lets pass, and how many were tried."""
    passed: list[str] = []
    tried = 0
    for mutant in mutants(outcome):
        if mutant.field not in FREE:
            tried += 1
            if verify(book, mutant.value).ok:
                passed.append(describe(mutant))
    return passed, tried


def describe(mutant: Mutant) -> str:
    return f"{mutant.path} {mutant.change}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_change_of_an_outcome_worked_out_by_hand_is_caught(
    case: Callable[[], tuple[Book, Outcome]],
) -> None:
    passed, tried = survivors(*case())
    assert set(passed) == LOOSE.get(case.__name__, set())
    assert tried > 120


def test_every_field_of_an_outcome_is_mutated() -> None:
    reached: set[str] = set()
    for case in CASES:
        reached |= {mutant.field for mutant in mutants(case()[1])}
    kinds = [
        kind
        for kind in vars(outcome_module).values()
        if isinstance(kind, type) and is_dataclass(kind) and kind is not Outcome
    ]
    every = {f"{kind.__name__}.{part.name}" for kind in [*kinds, Outcome] for part in fields(kind)}
    nested = {"Outcome.certificate", "Outcome.cash"}
    assert every - nested == reached
    assert set(FREE) | set(COARSE) <= every


def test_free_fields_change_nothing() -> None:
    book, outcome = hand.losing_gang()
    free = [mutant for mutant in mutants(outcome) if mutant.field in FREE]
    assert {mutant.field for mutant in free} == set(FREE)
    assert all(verify(book, mutant.value).ok for mutant in free)


@pytest.mark.parametrize(
    "case",
    [hand.power, hand_kinds.least_fill, hand_kinds.start_up],
    ids=lambda case: case.__name__,
)
def test_every_change_of_a_cleared_outcome_is_caught(
    case: Callable[[], tuple[Book, Outcome]],
) -> None:
    book, _ = case()
    passed, tried = survivors(book, clear(book, hand.SEED))
    assert [change for change in passed if not is_loose(change)] == []
    assert tried > 120


def is_loose(change: str) -> bool:
    """Duals that bind nothing may be any; see ``LOOSE``."""
    return ".duals[" in change and not change.endswith(("repeated", "swapped"))
