"""Realistic day-ahead books always clear: an exchange that cannot publish is down."""

from __future__ import annotations

import pytest

from clearing import auction
from clearing.auction import clear
from clearing.errors import SolverError
from clearing.outcome import Outcome, RunStatus
from clearing.search import Approach, Choice, choose
from clearing.types import Book
from clearing.verify import verify
from clearing.verify_report import Check, Report
from tests.benchmarks.day_ahead import TIE_SEED
from tests.property.day_ahead_books import varied

BOOKS = 10


@pytest.mark.parametrize("seed", range(BOOKS))
def test_varied_books_clear(seed: int) -> None:
    book = varied(seed, orders=(40, 70))
    outcome = clear(book, TIE_SEED)
    report = verify(book, outcome)
    assert report.ok, report.failures
    assert outcome.certificate.welfare > 0


@pytest.mark.parametrize("refused", [1, 2, 3])
def test_narrower_choices_follow_a_refusal(monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
    book = varied(18, orders=(40, 60))
    tried: list[Approach] = []

    def recorded(model: object, node_limit: int, approach: Approach) -> Choice:
        tried.append(approach)
        return choose(model, node_limit, approach)  # type: ignore[arg-type]

    def first_refused(book: Book, outcome: Outcome) -> Report:
        if len(tried) <= refused:
            finding = Check(name="STEP_RULE", ok=False, count=1, detail="a node short")
            return Report(ok=False, checks=(finding,))
        return verify(book, outcome)

    monkeypatch.setattr(auction, "choose", recorded)
    monkeypatch.setattr(auction, "verify", first_refused)
    outcome = clear(book, TIE_SEED)
    assert tried == list(Approach)[: refused + 1]
    assert outcome.status is RunStatus.LIMITED
    assert verify(book, outcome).ok


def test_no_solution_is_the_error_when_no_approach_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[Approach] = []

    def stuck(_model: object, _limit: int, approach: Approach) -> Choice:
        tried.append(approach)
        raise SolverError(approach.value)

    monkeypatch.setattr(auction, "choose", stuck)
    with pytest.raises(SolverError, match="USUAL"):
        clear(varied(18, orders=(40, 60)), TIE_SEED)
    assert tried == list(Approach)
