from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clearing.layout import Choice, Model
from clearing.market import NONE
from clearing.model import fix
from clearing.program import Floats
from clearing.solver import solve_linear
from clearing.types import Cover
from clearing.units import Chips, Ppm
from tests.golden.clearing.books import (
    bid,
    book,
    committed,
    nomination,
    offer,
    pool,
)
from tests.unit.clearing.small_models import (
    best,
    everything,
    model_of,
)


def choice_of(model: Model, values: Floats) -> Choice:
    layout, blocks = model.layout, model.market.blocks
    on = np.where(layout.unit_on == NONE, 0.0, values[layout.unit_on]) > 0.5
    return Choice(
        proven=True,
        chosen=values[layout.chosen : layout.chosen + blocks.order.size] > 0.5,
        on=on,
        short=values[model.penalties],
        row_duals=np.zeros(model.program.row_lower.size),
        hint=np.zeros(0),
    )


def test_fixed_decisions_leave_a_linear_problem_of_the_same_worth() -> None:
    model = model_of(everything())
    found, values = best(model)
    choice = choice_of(model, values)
    fixed = fix(model, choice)
    assert not fixed.whole.any()
    settled = solve_linear(fixed)
    assert settled.objective == pytest.approx(found)
    assert choice.chosen.any()
    assert choice.on.any()
    free = np.flatnonzero(fixed.lower < fixed.upper)
    decisions = np.flatnonzero(model.layout.interval_of_column == NONE)
    assert set(decisions.tolist()) & set(free.tolist()) <= set(model.layout.fill.tolist())
    assert not np.isfinite(fixed.row_lower[model.layout.decision]).any()
    assert not np.isfinite(fixed.row_upper[model.layout.decision]).any()


def test_other_decisions_are_worth_no_more() -> None:
    model = model_of(everything())
    found, values = best(model)
    chosen = choice_of(model, values)
    for position in range(chosen.on.shape[0]):
        on = chosen.on.copy()
        on[position] = ~on[position]
        if (on[position] & (model.layout.unit_on[position] == NONE)).any():
            continue
        other = solve_linear(fix(model, replace(chosen, on=on)))
        assert other.objective <= found + 1e-6


def test_shortfalls_leave_their_rows_and_the_objective() -> None:
    model = model_of(
        book(
            offer("S", (3, "2")),
            nomination("n", 8, cover=Cover.NODE),
            bid("b", (3, "5")),
            pools=(pool(node_spare_ppm=Ppm(500_000)),),
        )
    )
    short = np.array([1.0])
    choice = replace(choice_of(model, np.zeros(model.program.objective.size)), short=short)
    settled = solve_linear(fix(model, choice))
    assert settled.objective == pytest.approx(0)
    assert settled.values[model.layout.spare].tolist() == pytest.approx([3])
    assert np.abs(settled.row_duals).max() < 10


def test_a_supply_block_that_is_on_is_sold_out() -> None:
    given = book(
        offer("U", (8, "2"), commitment=committed(whole=True)),
        offer("X", (8, "3"), commitment=committed("1", min_chips=Chips(2))),
        bid("b", (10, "5")),
    )
    model = model_of(given)
    empty = choice_of(model, np.zeros(model.program.objective.size))
    both = solve_linear(fix(model, replace(empty, on=np.ones((2, 1), dtype=np.bool_))))
    assert both.values[:2].tolist() == [8, 2]
    assert both.objective == pytest.approx(50 - 16 - 6 - 1)
    off = solve_linear(fix(model, empty))
    assert off.values[:2].tolist() == [0, 0]
