from __future__ import annotations

import ctypes
import sys
from dataclasses import replace

import numpy as np
import pytest

from clearing import solver
from clearing.errors import SolverError
from clearing.program import INFINITY, Builder, Program
from clearing.solver import (
    At,
    Basis,
    Ended,
    Kind,
    Resolver,
    restrict_to_best,
    solve_linear,
    solve_whole,
)


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


def transport() -> Program:
    """Two sellers and two buyers on all four ways, entries in no order and one of them split."""
    builder = Builder()
    ways = [builder.column(gain, 0.0, 10.0) for gain in (5.0, 3.0, 4.0, 6.0)]
    rows = [builder.row(-INFINITY, most) for most in (4.0, 5.0, 3.0, 6.0)]
    for way, row in ((3, 1), (0, 0), (1, 0), (2, 1), (0, 2), (2, 2), (1, 3)):
        builder.entry(rows[row], ways[way], 1.0)
    builder.entry(rows[3], ways[3], 0.25)
    builder.entry(rows[3], ways[3], 0.75)
    return builder.freeze()


@pytest.mark.parametrize("columns", [(), (3,), (0, 3), (0, 1, 2, 3)])
def test_from_any_vertex_to_the_best(columns: tuple[int, ...]) -> None:
    """Basic in place of the first rows; a set of columns that is no vertex is made one."""
    program = transport()
    basis = Basis(
        columns=np.full(4, At.LOWER, dtype=np.int8), rows=np.full(4, At.BASIC, dtype=np.int8)
    )
    basis.columns[list(columns)] = At.BASIC
    basis.rows[: len(columns)] = At.UPPER
    found = solve_linear(program, basis)
    assert found.basis is not None
    assert found.basis.whole
    assert found.objective == pytest.approx(4.0 * 5.0 - 2.0 + 5.0 * 6.0)
    assert found.objective == pytest.approx(float(transport().objective @ found.values))


@pytest.mark.parametrize("kind", [Kind.HIGHS, Kind.SCIP])
def test_solvers_of_whole_programs_agree(kind: Kind) -> None:
    found = solve_whole(knapsack(), node_limit=10, kind=kind)
    assert found.ended is Ended.OPTIMAL
    assert found.values.tolist() == pytest.approx([3.0, 0.5])
    assert found.bound == pytest.approx(10.0)


def test_hints_change_nothing_but_the_way() -> None:
    hint = np.array([2.0, np.nan])
    for effort in (0.01, 0.2):
        found = solve_whole(knapsack(), node_limit=10, hint=hint, effort=effort)
        assert found.values.tolist() == pytest.approx([3.0, 0.5])


def test_resolver_answers_like_a_new_solve() -> None:
    program = transport()
    resolver = Resolver(program)
    first = resolver.solve()
    assert first is not None
    assert first.objective == pytest.approx(solve_linear(program).objective)
    upper, row_upper = program.upper.copy(), program.row_upper.copy()
    upper[0], row_upper[1] = 1.0, 2.0
    resolver.change(upper=upper, row_upper=row_upper)
    again = resolver.solve()
    fresh = solve_linear(replace(program, upper=upper, row_upper=row_upper))
    assert again is not None
    assert again.objective == pytest.approx(fresh.objective)
    assert again.row_duals.tolist() == pytest.approx(fresh.row_duals.tolist())
    resolver.change(objective=np.array([0.0, 0.0, 1.0, 0.0]))
    last = resolver.solve()
    assert last is not None
    assert last.objective == pytest.approx(2.0)


def test_resolver_reads_only_what_is_asked_for() -> None:
    found = Resolver(transport()).solve(np.array([0, 3]))
    assert found is not None
    assert found.values.tolist() == pytest.approx([3.0, 5.0])
    assert found.row_duals.size == 0


def test_resolver_recovers_from_bounds_that_nothing_meets() -> None:
    program = transport()
    resolver = Resolver(program)
    resolver.change(lower=np.full(4, 9.0))
    assert resolver.solve() is None
    resolver.change(lower=program.lower)
    found = resolver.solve()
    assert found is not None
    assert found.objective == pytest.approx(48.0)


def test_resolver_of_nothing_has_value_zero() -> None:
    found = Resolver(Builder().freeze()).solve()
    assert found is not None
    assert found.objective == 0.0


def test_programs_that_no_solver_takes_are_refused_by_type() -> None:
    endless = replace(knapsack(), objective=np.array([np.inf, 1.0]))
    with pytest.raises(SolverError, match="NUMERICAL_ERROR"):
        solve_linear(endless)


def test_what_c_code_prints_meanwhile_is_lost(capfd: pytest.CaptureFixture[str]) -> None:
    library = ctypes.CDLL(None)
    with solver._quiet():
        library.puts(b"a line of a solver")
        sys.stdout.write("a line of ours\n")
    sys.stdout.flush()
    library.fflush(None)
    assert capfd.readouterr().out == "a line of ours\n"
