"""NODE cover in whole nodes as a row of certificates: below the staircase, and worth something."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearing import auction
from clearing.auction import clear
from clearing.certificate import certify
from clearing.checks.whole_cover import line_of
from clearing.errors import SolverError
from clearing.layout import Choice
from clearing.order_facts import AtPrices
from clearing.outcome import Certificate, Outcome, RowDual
from clearing.search import BranchLeaf
from clearing.types import Book, Cover
from clearing.units import Ppm
from clearing.verify import verify
from clearing.whole_cover import last_step
from tests.benchmarks.grid_books import SMALL, TIE_SEED, generate
from tests.golden.clearing.books import SEED, bid, book, offer, pool
from tests.property.laws import broken_laws
from tests.property.random_books import SEED as RANDOM_SEED
from tests.property.random_books import random_book
from tests.property.twin import best
from tests.unit.clearing.pipeline import cleared_by_steps

PPM = 1_000_000


def need(node: int, theta: int, base: int, nodes: int) -> int:
    """Nodes that stand by for covered nodes and base load: theta in chips, then in nodes."""
    chips = -(-theta * (nodes * node + base) // PPM)
    return -(-chips // node)


@given(
    node=st.integers(1, 9),
    theta=st.one_of(st.integers(1, PPM), st.integers(90_000, 400_000)),
    offered=st.integers(0, 60),
    base=st.integers(0, 80),
)
def test_no_whole_node_award_breaks_the_row(node: int, theta: int, offered: int, base: int) -> None:
    arrays = [np.array([value]) for value in (node, theta, offered, base)]
    steep, corner, nodes = (int(found[0]) for found in last_step(*arrays))
    assert [int(found[0]) for found in line_of(*arrays)] == (
        [steep, node * (steep * (nodes - 1) - corner)] if steep else [0, 0]
    )
    fitting = [
        covered
        for covered in range(offered + 1)
        if covered + need(node, theta, base, covered) <= offered
    ]
    for covered in fitting if steep else []:
        standby = need(node, theta, base, covered)
        assert steep * standby - covered >= steep * (nodes - 1) - corner
    if steep and fitting and max(fitting) > max(0, corner):
        # The line meets the staircase at the most that fits: it cannot be raised.
        assert steep * nodes - max(fitting) == steep * (nodes - 1) - corner


def full() -> Book:
    """21 nodes, a tenth of the covered ones in reserve: 19 and 2, and never 19.09 and 1.91."""
    return book(
        offer("S", (21, "1")),
        bid("b", (21, "5"), cover=Cover.NODE),
        pools=(pool(node_spare_ppm=Ppm(100_000)),),
    )


def certified_by(given: Book, pi: float, omega: float) -> Outcome:
    """The outcome of a book of one place with a certificate made of two duals."""
    at_prices, choice = cleared_by_steps(given)
    duals = np.zeros_like(choice.row_duals)
    duals[at_prices.accounts.model.layout.balance] = -pi
    choice = replace(choice, bound_duals=duals, whole_duals=np.array([omega]))
    return replace(clear(given, SEED), certificate=certify(at_prices, choice))


def test_whole_nodes_close_the_gap_that_fractions_leave() -> None:
    fractions = clear(full(), SEED).certificate
    assert fractions.welfare == 19 * 4 * PPM * 3_600
    assert fractions.bound > fractions.welfare
    # 3.60 an hour for a chip that is sold or stands by, and 40 cents for each covered one.
    outcome = certified_by(full(), 4.6, 0.4)
    assert outcome.certificate.bound == outcome.certificate.welfare == fractions.welfare
    assert verify(full(), outcome).ok


@pytest.mark.parametrize("change", [-1, 1])
def test_dual_that_is_a_little_off_gives_another_bound(change: int) -> None:
    outcome = certified_by(full(), 4.6, 0.4)
    duals = tuple(
        replace(dual, value=dual.value + change) if dual.row == "WHOLE_COVER" else dual
        for dual in outcome.certificate.duals
    )
    assert duals != outcome.certificate.duals
    changed = replace(outcome, certificate=replace(outcome.certificate, duals=duals))
    assert [check.name for check in verify(full(), changed).failures] == ["BOUND"]


def test_large_book_is_bounded_with_whole_nodes() -> None:
    """Pools that sell nearly all they have: without the row the gap is several times as large."""
    certificate = clear(generate(SMALL), TIE_SEED).certificate
    assert any(dual.row == "WHOLE_COVER" for dual in certificate.duals)
    assert certificate.gap_ppb < 100_000


def test_dual_of_a_row_that_is_not_there_is_refused() -> None:
    given = book(offer("S", (21, "1")), bid("b", (21, "5")), pools=(pool(node_spare_ppm=Ppm(0)),))
    outcome = clear(given, SEED)
    more = RowDual(row="WHOLE_COVER", subject="A", interval=0, value=1)
    duals = (*outcome.certificate.duals, more)
    changed = replace(outcome, certificate=replace(outcome.certificate, duals=duals))
    assert {"LEAVES", "BOUND"} <= {check.name for check in verify(given, changed).failures}


def test_no_outcome_in_whole_nodes_is_above_the_bound_of_any_duals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The twin looks for one; the verifier, inside ``clear``, computes each bound again."""
    rng = random.Random(7)

    def shaken(
        at_prices: AtPrices, choice: Choice, branches: tuple[BranchLeaf, ...] = ()
    ) -> Certificate:
        duals = choice.row_duals * np.array([rng.choice([0.8, 1.0]) for _ in choice.row_duals])
        places = at_prices.accounts.model.market.grid.places
        omega = np.array([rng.choice([0.0, 0.1, 0.5, 2.0]) for _ in range(places)])
        nothing = np.zeros_like(duals)
        changed = replace(choice, row_duals=nothing, bound_duals=duals, whole_duals=omega)
        return certify(at_prices, changed, branches)

    monkeypatch.setattr(auction, "certify", shaken)
    used = 0
    for seed in range(30):
        given = random_book(seed)
        try:
            outcome = auction.clear(given, RANDOM_SEED)
        except SolverError:
            continue
        used += any(dual.row == "WHOLE_COVER" for dual in outcome.certificate.duals)
        assert broken_laws(given, outcome, best(given), whole=False) == []
    assert used > 8
