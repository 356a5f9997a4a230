"""The only door to OR-Tools: linear and mixed-integer programs as plain arrays.

Three traps are closed here and nowhere else. Limits are counts of branch-and-bound
nodes, never a clock, so that a busy host gives the same answer. HiGHS through MathOpt
refuses a thread count, so its parallelism is switched off by name. A solver reports
1.9999999999999996 for 2, so values within the tolerance of a whole number are snapped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, TypeAlias

import numpy as np
from ortools.math_opt import callback_pb2 as callback
from ortools.math_opt import (
    model_parameters_pb2,
    model_pb2,
    parameters_pb2,
    result_pb2,
)
from ortools.math_opt.core.python import solver as math_opt
from ortools.math_opt.solvers import highs_pb2

from clearing.errors import SolverError
from clearing.program import Floats, Integers, Program

Message: TypeAlias = Any
"""A protocol buffer of MathOpt; its fields carry no types."""

SNAP: Final = 1e-6
"""Values this near to a whole number are that number."""

FACE: Final = 1e-7
"""Reduced costs and duals above it hold a column or row at its bound."""

_GLOP_ENTRIES_MAX: Final = 60_000
"""GLOP is quicker on small programs, HiGHS on large ones (188,000 columns: 86 s to 8 s)."""


class Ended(Enum):
    """Why a solve stopped with an answer."""

    OPTIMAL = "OPTIMAL"
    LIMITED = "LIMITED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Answer of one solve.

    Attributes:
        values: Per column, snapped to whole numbers within the tolerance.
        objective: Value reached.
        bound: No solution is better, as the solver says.
        row_duals: For linear programs: change of the objective per unit of the row's bound.
        reduced_costs: For linear programs, the same per column bound.
    """

    ended: Ended
    values: Floats
    objective: float
    bound: float
    row_duals: Floats
    reduced_costs: Floats


def solve_linear(program: Program) -> Solution:
    """Solve the linear program (``whole`` is ignored) with its duals.

    Raises:
        SolverError: infeasible, unbounded or numerically stuck.
    """
    small = program.values.size <= _GLOP_ENTRIES_MAX
    first, second = (
        parameters_pb2.SOLVER_TYPE_GLOP,
        parameters_pb2.SOLVER_TYPE_HIGHS,
    )
    order = (first, second) if small else (second, first)
    failure = "no solver ran"
    for kind in order:
        result = _run(_proto(program, whole=False), kind, _parameters(kind, node_limit=None))
        if result.termination.reason == result_pb2.TERMINATION_REASON_OPTIMAL:
            return _read_linear(program, result)
        failure = _reason(result)
        if result.termination.reason == result_pb2.TERMINATION_REASON_INFEASIBLE:
            break
    raise SolverError(failure)


def solve_whole(program: Program, *, node_limit: int, relative_gap: float = 0.0) -> Solution:
    """Solve the mixed-integer program within a count of branch-and-bound nodes.

    Raises:
        SolverError: infeasible, or the count ended before any solution was found.
    """
    kind = parameters_pb2.SOLVER_TYPE_HIGHS
    parameters = _parameters(kind, node_limit=node_limit, relative_gap=relative_gap)
    result = _run(_proto(program, whole=True), kind, parameters)
    reason = result.termination.reason
    if reason not in (
        result_pb2.TERMINATION_REASON_OPTIMAL,
        result_pb2.TERMINATION_REASON_FEASIBLE,
    ):
        raise SolverError(_reason(result))
    optimal = reason == result_pb2.TERMINATION_REASON_OPTIMAL
    bounds = result.termination.objective_bounds
    empty = np.zeros(0)
    return Solution(
        ended=Ended.OPTIMAL if optimal else Ended.LIMITED,
        values=_column_values(program, result),
        objective=bounds.primal_bound,
        bound=bounds.dual_bound,
        row_duals=empty,
        reduced_costs=empty,
    )


def restrict_to_best(program: Program, best: Solution) -> Program:
    """The same program over the optimal face that ``best`` proves, by complementary slackness.

    Lexicographic objectives are chained this way and not by a row "objective >= best":
    that row is dense and its tolerance ends in infeasible later stages, while every
    bound set here holds at ``best`` itself.
    """
    lower, upper = program.lower.copy(), program.upper.copy()
    held = np.abs(best.reduced_costs) > FACE
    lower[held] = upper[held] = best.values[held]
    row_lower, row_upper = program.row_lower.copy(), program.row_upper.copy()
    to_upper = (best.row_duals > FACE) & np.isfinite(row_upper)
    to_lower = (best.row_duals < -FACE) & np.isfinite(row_lower)
    row_lower[to_upper] = row_upper[to_upper]
    row_upper[to_lower] = row_lower[to_lower]
    return replace(program, lower=lower, upper=upper, row_lower=row_lower, row_upper=row_upper)


def _proto(program: Program, *, whole: bool) -> Message:
    columns, rows = program.objective.size, program.row_lower.size
    proto = model_pb2.ModelProto()
    proto.variables.ids.extend(range(columns))
    proto.variables.lower_bounds.extend(program.lower.tolist())
    proto.variables.upper_bounds.extend(program.upper.tolist())
    integers = program.whole if whole else np.zeros(columns, dtype=bool)
    proto.variables.integers.extend(integers.tolist())
    proto.objective.maximize = True
    priced = np.flatnonzero(program.objective)
    proto.objective.linear_coefficients.ids.extend(priced.tolist())
    proto.objective.linear_coefficients.values.extend(program.objective[priced].tolist())
    proto.linear_constraints.ids.extend(range(rows))
    proto.linear_constraints.lower_bounds.extend(program.row_lower.tolist())
    proto.linear_constraints.upper_bounds.extend(program.row_upper.tolist())
    entry_rows, entry_columns, entry_values = _row_major(program)
    matrix = proto.linear_constraint_matrix
    matrix.row_ids.extend(entry_rows.tolist())
    matrix.column_ids.extend(entry_columns.tolist())
    matrix.coefficients.extend(entry_values.tolist())
    return proto


def _row_major(program: Program) -> tuple[Integers, Integers, Floats]:
    """Entries sorted by (row, column), those of one place added."""
    if program.values.size == 0:
        return program.rows, program.columns, program.values
    place = program.rows * program.objective.size + program.columns
    unique, inverse = np.unique(place, return_inverse=True)
    values = np.bincount(inverse, weights=program.values, minlength=unique.size)
    kept = values != 0
    unique, values = unique[kept], values[kept]
    return unique // program.objective.size, unique % program.objective.size, values


def _parameters(kind: int, *, node_limit: int | None, relative_gap: float = 0.0) -> Message:
    parameters = parameters_pb2.SolveParametersProto()
    parameters.random_seed = 1
    if kind == parameters_pb2.SOLVER_TYPE_HIGHS:
        parameters.highs.CopyFrom(
            highs_pb2.HighsOptionsProto(
                string_options={"parallel": "off"},
                double_options={"mip_heuristic_effort": 0.01},
                # Both solve restricted copies of the problem; here that took longer than the
                # problem itself, and found no better choices.
                bool_options={"mip_heuristic_run_rens": False, "mip_heuristic_run_rins": False},
            )
        )
        parameters.relative_gap_tolerance = relative_gap
        parameters.absolute_gap_tolerance = 1e-9
        if node_limit is not None:
            parameters.node_limit = node_limit
    else:
        parameters.threads = 1
    return parameters


def _run(proto: Message, kind: int, parameters: Message) -> Message:
    if not proto.variables.ids:
        return _empty_result()
    return math_opt.solve(
        proto,
        kind,
        parameters_pb2.SolverInitializerProto(),
        parameters,
        model_parameters_pb2.ModelSolveParametersProto(),
        None,
        callback.CallbackRegistrationProto(),
        None,
        None,
    )


def _empty_result() -> Message:
    """Answer to a program without columns; every row of ours allows zero."""
    result = result_pb2.SolveResultProto()
    result.termination.reason = result_pb2.TERMINATION_REASON_OPTIMAL
    solution = result.solutions.add()
    solution.primal_solution.objective_value = 0.0
    return result


def _read_linear(program: Program, result: Message) -> Solution:
    duals = np.zeros(program.row_lower.size)
    reduced = np.zeros(program.objective.size)
    for solution in result.solutions[:1]:
        dual = solution.dual_solution
        duals[np.asarray(dual.dual_values.ids, dtype=np.int64)] = dual.dual_values.values
        reduced[np.asarray(dual.reduced_costs.ids, dtype=np.int64)] = dual.reduced_costs.values
    objective = result.solutions[0].primal_solution.objective_value
    return Solution(
        ended=Ended.OPTIMAL,
        values=_column_values(program, result),
        objective=objective,
        bound=objective,
        row_duals=duals,
        reduced_costs=reduced,
    )


def _column_values(program: Program, result: Message) -> Floats:
    values = np.zeros(program.objective.size)
    primal = result.solutions[0].primal_solution.variable_values
    values[np.asarray(primal.ids, dtype=np.int64)] = primal.values
    nearest = np.round(values)
    values = np.where(np.abs(values - nearest) <= SNAP, nearest, values)
    return np.clip(values, program.lower, program.upper)


def _reason(result: Message) -> str:
    reason = result_pb2.TerminationReasonProto.Name(result.termination.reason)
    return f"{reason.removeprefix('TERMINATION_REASON_')} {result.termination.detail}".strip()
