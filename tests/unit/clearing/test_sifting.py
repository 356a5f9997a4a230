"""Sifting gives the optimum of the whole program, whatever it was told to start from."""

from __future__ import annotations

import numpy as np
import pytest

from clearing.book import canonical
from clearing.errors import SolverError
from clearing.layout import Choice
from clearing.market import NONE
from clearing.model import build, fix
from clearing.program import Builder, Program
from clearing.reading import read_market
from clearing.search import coordinate, sifting
from clearing.search.doubt import Start
from clearing.search.sifting import solve_by_parts
from clearing.solver import solve_linear
from tests.benchmarks.grid_books import SPECS, TIE_SEED, generate

NEAR = 1e-6
NOBODY = np.zeros(0, dtype=np.int64)


@pytest.fixture(autouse=True)
def _sift_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sifting, "_SIFTED_COLUMNS_MIN", 0)


def _program(name: str) -> tuple[Program, np.ndarray]:
    """A grid book without its blocks, and its rows of choice."""
    book = canonical(generate(SPECS[name]))
    model = build(read_market(book), book, TIE_SEED)
    nothing = Choice(
        proven=False,
        chosen=np.zeros(model.market.blocks.order.size, dtype=np.bool_),
        on=np.zeros(model.market.units.offered.shape, dtype=np.bool_),
        short=np.zeros(model.penalties.size),
        row_duals=np.zeros(0),
        hint=np.zeros(0),
    )
    return fix(model, nothing), model.layout.cell[model.layout.cell != NONE]


def _holds(program: Program, values: np.ndarray) -> bool:
    activity = program.activity(values)
    return bool(
        (activity >= program.row_lower - NEAR).all()
        and (activity <= program.row_upper + NEAR).all()
    )


@pytest.mark.parametrize("name", ["tiny", "strict 8", "strict 20", "growth pools x1"])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.3, 3.0])
def test_the_optimum_does_not_depend_on_the_start(name: str, noise: float) -> None:
    program, choices = _program(name)
    whole = solve_linear(program)
    random = np.random.default_rng(7)
    for with_choices in (choices, choices[:0]):
        duals = whole.row_duals * (1 + noise * random.standard_normal(whole.row_duals.size))
        values = whole.values * (1 + noise * random.standard_normal(whole.values.size))
        found = solve_by_parts(
            program, Start(values=values, duals=duals, choices=with_choices, ties=NOBODY)
        )
        assert found.objective == pytest.approx(whole.objective, rel=1e-9)
        assert _holds(program, found.values)


def test_a_start_that_says_nothing_still_ends_at_the_optimum() -> None:
    program, choices = _program("strict 20")
    start = Start(
        values=np.zeros(program.objective.size),
        duals=np.zeros(program.row_lower.size),
        choices=choices,
        ties=NOBODY,
    )
    found = solve_by_parts(program, start)
    assert found.objective == pytest.approx(solve_linear(program).objective, rel=1e-9)


def test_what_cannot_be_met_is_said() -> None:
    builder = Builder()
    for _ in range(3):
        builder.column(1.0, 0.0, 2.0)
    row = builder.row(10.0, 20.0)
    for column in range(3):
        builder.entry(row, column, 1.0)
    program = builder.freeze()
    start = Start(values=np.full(3, 2.0), duals=np.zeros(1), choices=NOBODY, ties=NOBODY)
    with pytest.raises(SolverError, match="INFEASIBLE"):
        solve_by_parts(program, start)
    with pytest.raises(SolverError, match="INFEASIBLE"):
        solve_by_parts(program)


@pytest.mark.parametrize("name", ["small", "growth pools x2"])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_columns_that_tie_intervals_together_end_where_they_should(name: str, noise: float) -> None:
    book = canonical(generate(SPECS[name]))
    model = build(read_market(book), book, TIE_SEED)
    choice = coordinate.choose(model, book.spec)
    program, layout = fix(model, choice), model.layout
    fills = layout.fill[(layout.fill != NONE) & choice.chosen]
    hint = choice.hint.copy()
    # Every other one is said to be at the wrong end.
    wrong = fills[::2] if noise else fills[:0]
    hint[wrong] = program.upper[wrong] - hint[wrong]
    random = np.random.default_rng(11)
    duals = choice.hint_duals * (1 + noise * random.standard_normal(choice.hint_duals.size))
    cells = layout.cell[layout.cell != NONE]
    found = solve_by_parts(program, Start(values=hint, duals=duals, choices=cells, ties=fills))
    whole = solve_linear(program)
    assert fills.size
    assert found.objective == pytest.approx(whole.objective, rel=1e-9)
    assert _holds(program, found.values)
