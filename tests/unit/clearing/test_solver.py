from __future__ import annotations

import numpy as np
import pytest

from clearing.errors import SolverError
from clearing.program import INFINITY, Builder, Program
from clearing.solver import Ended, restrict_to_best, solve_linear, solve_whole


def knapsack() -> Program:
    """Maximise 3 x + 2 y, x + y <= 3.5, both at most 3, x whole."""
    builder = Builder()
    x = builder.column(3.0, 0.0, 3.0, whole=True)
    y = builder.column(2.0, 0.0, 3.0)
    row = builder.row(-INFINITY, 3.5)
    builder.entry(row, x, 1.0)
    builder.entry(row, y, 1.0)
    return builder.freeze()


def test_linear_program_has_duals() -> None:
    found = solve_linear(knapsack())
    assert found.values.tolist() == pytest.approx([3.0, 0.5])
    assert found.objective == pytest.approx(10.0)
    assert found.row_duals.tolist() == pytest.approx([2.0])
    assert found.reduced_costs.tolist() == pytest.approx([1.0, 0.0])


def test_whole_program_is_exact() -> None:
    found = solve_whole(knapsack(), node_limit=10)
    assert found.ended is Ended.OPTIMAL
    assert found.values.tolist() == pytest.approx([3.0, 0.5])


def test_values_are_snapped_to_whole_numbers() -> None:
    builder = Builder()
    column = builder.column(1.0, 0.0, 10.0)
    row = builder.row(-INFINITY, 6.0)
    builder.entry(row, column, 1.0)
    builder.entry(row, column, 1.9999999999)
    assert solve_linear(builder.freeze()).values.tolist() == [2.0]


def test_infeasible_programs_are_refused() -> None:
    builder = Builder()
    column = builder.column(1.0, 0.0, 1.0, whole=True)
    builder.entry(builder.row(2.0, INFINITY), column, 1.0)
    for solve in (solve_linear, lambda p: solve_whole(p, node_limit=5)):
        with pytest.raises(SolverError, match="INFEASIBLE"):
            solve(builder.freeze())


def test_program_without_columns_has_value_zero() -> None:
    assert solve_linear(Builder().freeze()).objective == 0.0


def test_best_face_keeps_every_best_solution() -> None:
    # x + y <= 1 with equal values: the face is x + y = 1, so a second objective may choose y.
    builder = Builder()
    columns = [builder.column(1.0, 0.0, 1.0) for _ in range(2)]
    row = builder.row(-INFINITY, 1.0)
    for column in columns:
        builder.entry(row, column, 1.0)
    program = builder.freeze()
    face = restrict_to_best(program, solve_linear(program))
    for wanted in ([1.0, 0.0], [0.0, 1.0]):
        second = Program(
            objective=np.array(wanted),
            lower=face.lower,
            upper=face.upper,
            whole=face.whole,
            row_lower=face.row_lower,
            row_upper=face.row_upper,
            rows=face.rows,
            columns=face.columns,
            values=face.values,
        )
        assert solve_linear(second).values.tolist() == wanted
