"""The only door to OR-Tools: linear and mixed-integer programs as plain arrays.

Traps that are closed here and nowhere else. Limits are counts of branch-and-bound nodes, never a
clock, so that a busy host gives the same answer. HiGHS through MathOpt refuses a thread count, so
its parallelism is switched off by name. A solver reports 1.9999999999999996 for 2, so values within
the tolerance of a whole number are snapped. GLOP's own choice is the primal simplex; welfare
programs have bounded columns and are two to four times quicker with the dual one, which can also
go on from the last answer when bounds move (``Resolver``: 10 to 60 times quicker than a new solve).
HiGHS prints a line now and then whatever its options say (``_quiet``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from ortools.math_opt import callback_pb2 as callback
from ortools.math_opt import (
    model_parameters_pb2,
    model_pb2,
    model_update_pb2,
    parameters_pb2,
    result_pb2,
    solution_pb2,
)
from ortools.math_opt.core.python import solver as math_opt
from ortools.math_opt.solvers import highs_pb2
from pybind11_abseil.status import StatusNotOk  # type: ignore[import-untyped]

from clearing.errors import SolverError
from clearing.program import Floats, Integers, Program

Message: TypeAlias = Any
"""A protocol buffer of MathOpt; its fields carry no types."""

SNAP: Final = 1e-6
"""Values this near to a whole number are that number."""

FACE: Final = 1e-7
"""Reduced costs and duals above it hold a column or row at its bound."""

_GLOP_ENTRIES_MAX: Final = 60_000
"""GLOP is as quick as HiGHS on small programs and slower on large ones (188,000 columns: 86 s
to 8 s)."""


_LEAST_EFFORT: Final = 0.01
"""On small programs neighbourhoods take longer than the problem itself and find nothing better."""


class Kind(Enum):
    """Solvers behind MathOpt, by its number."""

    SCIP = parameters_pb2.SOLVER_TYPE_GSCIP
    GLOP = parameters_pb2.SOLVER_TYPE_GLOP
    CP_SAT = parameters_pb2.SOLVER_TYPE_CP_SAT
    HIGHS = parameters_pb2.SOLVER_TYPE_HIGHS


class Ended(Enum):
    """Why a solve stopped with an answer."""

    OPTIMAL = "OPTIMAL"
    LIMITED = "LIMITED"


class At(IntEnum):
    """Where a column or the activity of a row is in a basis."""

    NOT_KNOWN = solution_pb2.BASIS_STATUS_UNSPECIFIED
    LOWER = solution_pb2.BASIS_STATUS_AT_LOWER_BOUND
    UPPER = solution_pb2.BASIS_STATUS_AT_UPPER_BOUND
    BASIC = solution_pb2.BASIS_STATUS_BASIC


Places = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Basis:
    """Vertex of a linear program: values of ``At``, as many of them ``BASIC`` as there are rows.

    Attributes:
        columns: Per column.
        rows: Per row.
    """

    columns: Places
    rows: Places

    @property
    def whole(self) -> bool:
        """Whether a simplex can start from it."""
        basic = int((self.columns == At.BASIC).sum() + (self.rows == At.BASIC).sum())
        return basic == self.rows.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Answer of one solve.

    Attributes:
        values: Per column, snapped to whole numbers within the tolerance.
        objective: Value reached.
        bound: No solution is better, as the solver says.
        row_duals: For linear programs: change of the objective per unit of the row's bound.
        reduced_costs: For linear programs, the same per column bound.
        basis: Vertex of a linear program, where the solver says.
    """

    ended: Ended
    values: Floats
    objective: float
    bound: float
    row_duals: Floats
    reduced_costs: Floats
    basis: Basis | None = None


def solve_linear(program: Program, basis: Basis | None = None, *, sifted: bool = False) -> Solution:
    """Solve the linear program (``whole`` is ignored) with its duals.

    Args:
        program: What to solve.
        basis: A vertex near the best one, for the primal simplex to go on from.
        sifted: There is nothing to presolve: columns of no account were left out already.

    Raises:
        SolverError: infeasible, unbounded or numerically stuck.
    """
    small = program.values.size <= _GLOP_ENTRIES_MAX
    failure = "no solver ran"
    if basis is not None and basis.whole:
        result = _run_from(program, basis)
        if result.termination.reason == result_pb2.TERMINATION_REASON_OPTIMAL:
            return _read_linear(program, result)
    for kind in (Kind.GLOP, Kind.HIGHS) if small and not sifted else (Kind.HIGHS, Kind.GLOP):
        parameters = _parameters(kind)
        if sifted:
            # HiGHS takes half the time of GLOP then, and two thirds of its own with presolve.
            parameters.presolve = parameters_pb2.EMPHASIS_OFF
        result = _run(_proto(program, whole=False), kind, parameters, _no_hint())
        if result.termination.reason == result_pb2.TERMINATION_REASON_OPTIMAL:
            return _read_linear(program, result)
        failure = _reason(result)
        if result.termination.reason == result_pb2.TERMINATION_REASON_INFEASIBLE:
            break
    raise SolverError(failure)


def solve_whole(
    program: Program,
    *,
    node_limit: int,
    relative_gap: float = 0.0,
    hint: Floats | None = None,
    effort: float = _LEAST_EFFORT,
    kind: Kind = Kind.HIGHS,
) -> Solution:
    """Solve the mixed-integer program within a count of branch-and-bound nodes.

    Args:
        program: Columns marked ``whole`` take whole numbers.
        node_limit: Branch-and-bound nodes, at most; CP-SAT has no such count and ignores it.
        relative_gap: Share of the objective within which an answer counts as optimal.
        hint: Column values to start from, not a number where there is none.
        effort: Share of its work that HiGHS gives to solving restricted copies of the problem;
            above the least, some of those are the neighbourhoods of its best solutions.
        kind: HIGHS unless solvers are compared.

    Raises:
        SolverError: infeasible, or the count ended before any solution was found.
    """
    parameters = _parameters(kind)
    parameters.relative_gap_tolerance = relative_gap
    parameters.absolute_gap_tolerance = 1e-9
    if kind is not Kind.CP_SAT:
        parameters.node_limit = node_limit
    if kind is Kind.HIGHS:
        options = parameters.highs
        options.double_options["mip_heuristic_effort"] = effort
        for name in ("mip_heuristic_run_rens", "mip_heuristic_run_rins"):
            options.bool_options[name] = effort > _LEAST_EFFORT
        # It finds next to nothing to reduce here, and thin books take half as long again with it.
        parameters.presolve = parameters_pb2.EMPHASIS_OFF
    with _quiet():
        result = _run(_proto(program, whole=True), kind, parameters, _hinted(hint))
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


class Resolver:
    """One linear program, solved again and again while its bounds and objective change.

    GLOP keeps the basis of the last answer. Its path depends on what was asked before, so the same
    questions in the same order give the same answers.
    """

    program: Program

    def __init__(self, program: Program) -> None:
        """Hand the program to the solver."""
        self._solver: Message = None
        self._start(program)

    def change(
        self,
        *,
        lower: Floats | None = None,
        upper: Floats | None = None,
        row_lower: Floats | None = None,
        row_upper: Floats | None = None,
        objective: Floats | None = None,
    ) -> None:
        """Set what is given, each for all columns or rows; the rest stays as it is."""
        old = self.program
        new = replace(
            old,
            lower=old.lower if lower is None else lower,
            upper=old.upper if upper is None else upper,
            row_lower=old.row_lower if row_lower is None else row_lower,
            row_upper=old.row_upper if row_upper is None else row_upper,
            objective=old.objective if objective is None else objective,
        )
        update = model_update_pb2.ModelUpdateProto()
        columns, rows = update.variable_updates, update.linear_constraint_updates
        for target, before, after in (
            (columns.lower_bounds, old.lower, new.lower),
            (columns.upper_bounds, old.upper, new.upper),
            (rows.lower_bounds, old.row_lower, new.row_lower),
            (rows.upper_bounds, old.row_upper, new.row_upper),
            (update.objective_updates.linear_coefficients, old.objective, new.objective),
        ):
            if before is not after:
                moved = np.flatnonzero(before != after)
                target.ids.extend(moved.tolist())
                target.values.extend(after[moved].tolist())
        self.program = new
        if not self._solver.update(update):
            self._start(new)

    def solve(self, columns: Integers | None = None) -> Solution | None:
        """Solve the program as it is now; None where nothing meets its bounds.

        Args:
            columns: Where given, only the values of these columns (ascending) are read, and no
                duals: ``values`` has one entry for each.

        Raises:
            SolverError: unbounded or numerically stuck.
        """
        asked = model_parameters_pb2.ModelSolveParametersProto()
        if columns is not None:
            asked.variable_values_filter.filter_by_ids = True
            asked.variable_values_filter.filtered_ids.extend(columns.tolist())
            asked.dual_values_filter.filter_by_ids = True
            asked.reduced_costs_filter.filter_by_ids = True
        result = self._ask(asked)
        if result.termination.reason not in _ANSWERS:
            # A basis that went bad: GLOP forgets it, and then HiGHS has its say.
            self._start(self.program)
            result = self._ask(asked)
        if result.termination.reason == result_pb2.TERMINATION_REASON_INFEASIBLE:
            return None
        if result.termination.reason != result_pb2.TERMINATION_REASON_OPTIMAL:
            try:
                found = solve_linear(self.program)
            except SolverError as error:
                if error.status.startswith("INFEASIBLE"):
                    return None
                raise
            return found if columns is None else replace(found, values=found.values[columns])
        if columns is None:
            return _read_linear(self.program, result)
        objective = result.solutions[0].primal_solution.objective_value
        return Solution(
            ended=Ended.OPTIMAL,
            values=_column_values(self.program, result)[columns],
            objective=objective,
            bound=objective,
            row_duals=np.zeros(0),
            reduced_costs=np.zeros(0),
        )

    def _start(self, program: Program) -> None:
        self.program = program
        self._solver = math_opt.new(
            Kind.GLOP.value,
            _proto(program, whole=False),
            parameters_pb2.SolverInitializerProto(),
        )

    def _ask(self, asked: Message) -> Message:
        if self.program.objective.size == 0:
            return _empty_result()
        parameters = _parameters(Kind.GLOP)
        # A reduced program has no basis to go on from.
        parameters.presolve = parameters_pb2.EMPHASIS_OFF
        registration = callback.CallbackRegistrationProto()
        try:
            return self._solver.solve(parameters, asked, None, registration, None, None)
        except StatusNotOk as error:
            return _failed(error)


_ANSWERS: Final = (
    result_pb2.TERMINATION_REASON_OPTIMAL,
    result_pb2.TERMINATION_REASON_INFEASIBLE,
)


def _proto(program: Program, *, whole: bool) -> Message:
    columns, rows = program.objective.size, program.row_lower.size
    proto = model_pb2.ModelProto()
    proto.variables.ids.extend(range(columns))
    proto.variables.lower_bounds.extend(program.lower.tolist())
    proto.variables.upper_bounds.extend(program.upper.tolist())
    integers = program.whole.tolist() if whole else [False] * columns
    proto.variables.integers.extend(integers)
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
    """Entries sorted by (row, column), those of one place added, zeros left out."""
    # Rows x columns of the largest books are below 1e14.
    place = program.rows.astype(np.int64) * program.objective.size + program.columns
    values = program.values
    if np.any(place[1:] <= place[:-1]):
        order = place.argsort(kind="stable")
        place = place[order]
        first = np.flatnonzero(np.concatenate(([True], place[1:] != place[:-1])))
        values = np.add.reduceat(values[order], first)
        place = place[first]
    if not values.all():
        kept = values != 0
        place, values = place[kept], values[kept]
    row, column = np.divmod(place, max(1, program.objective.size))
    return row, column, values


def _parameters(kind: Kind) -> Message:
    parameters = parameters_pb2.SolveParametersProto()
    parameters.random_seed = 1
    if kind is Kind.HIGHS:
        parameters.highs.CopyFrom(highs_pb2.HighsOptionsProto(string_options={"parallel": "off"}))
        return parameters
    parameters.threads = 1
    if kind is Kind.GLOP:
        parameters.lp_algorithm = parameters_pb2.LP_ALGORITHM_DUAL_SIMPLEX
    return parameters


def _no_hint() -> Message:
    return model_parameters_pb2.ModelSolveParametersProto()


def _hinted(hint: Floats | None) -> Message:
    asked = _no_hint()
    if hint is not None:
        known = np.flatnonzero(np.isfinite(hint))
        values = asked.solution_hints.add().variable_values
        values.ids.extend(known.tolist())
        values.values.extend(hint[known].tolist())
    return asked


def _run(proto: Message, kind: Kind, parameters: Message, asked: Message) -> Message:
    if not proto.variables.ids:
        return _empty_result()
    try:
        return math_opt.solve(
            proto,
            kind.value,
            parameters_pb2.SolverInitializerProto(),
            parameters,
            asked,
            None,
            callback.CallbackRegistrationProto(),
            None,
            None,
        )
    except StatusNotOk as error:
        return _failed(error)


def _run_from(program: Program, basis: Basis) -> Message:
    parameters = _parameters(Kind.GLOP)
    # A reduced program has another basis.
    parameters.presolve = parameters_pb2.EMPHASIS_OFF
    parameters.lp_algorithm = parameters_pb2.LP_ALGORITHM_PRIMAL_SIMPLEX
    asked = model_parameters_pb2.ModelSolveParametersProto()
    for target, places in (
        (asked.initial_basis.variable_status, basis.columns),
        (asked.initial_basis.constraint_status, basis.rows),
    ):
        target.ids.extend(range(places.size))
        target.values.extend(places.tolist())
    return _run(_proto(program, whole=False), Kind.GLOP, parameters, asked)


def _failed(error: StatusNotOk) -> Message:
    """What a solver that gives up reports (GLOP: ``ABNORMAL``), so that another one is asked."""
    result = result_pb2.SolveResultProto()
    result.termination.reason = result_pb2.TERMINATION_REASON_NUMERICAL_ERROR
    result.termination.detail = error.message
    return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Send what C code prints nowhere; Python's own output does not pass through there."""
    if _C_OUTPUT is None or _NOWHERE is None:
        yield
        return
    _C_OUTPUT.value = _NOWHERE
    try:
        yield
    finally:
        _C_OUTPUT.value = _C_OUTPUT_BEFORE


def _c_output() -> ctypes.c_void_p | None:
    """Variable ``stdout`` of the C library; None where it has another name."""
    try:
        return ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stdout")
    except (OSError, ValueError):
        return None


def _nowhere() -> int | None:
    """A C stream that discards; None where none can be opened."""
    opening = ctypes.CDLL(None).fopen
    opening.restype = ctypes.c_void_p
    stream: int | None = opening(b"/dev/null", b"w")
    return stream


_C_OUTPUT: Final = _c_output()
_C_OUTPUT_BEFORE: Final = None if _C_OUTPUT is None else _C_OUTPUT.value
_NOWHERE: Final = None if _C_OUTPUT is None else _nowhere()


def _empty_result() -> Message:
    """Answer to a program without columns; every row of ours allows zero."""
    result = result_pb2.SolveResultProto()
    result.termination.reason = result_pb2.TERMINATION_REASON_OPTIMAL
    solution = result.solutions.add()
    solution.primal_solution.objective_value = 0.0
    return result


def _read_linear(program: Program, result: Message) -> Solution:
    dual = result.solutions[0].dual_solution
    objective = result.solutions[0].primal_solution.objective_value
    return Solution(
        ended=Ended.OPTIMAL,
        values=_column_values(program, result),
        objective=objective,
        bound=objective,
        row_duals=_spread(dual.dual_values, program.row_lower.size),
        reduced_costs=_spread(dual.reduced_costs, program.objective.size),
        basis=_read_basis(program, result.solutions[0]),
    )


def _read_basis(program: Program, found: Message) -> Basis | None:
    if not found.HasField("basis"):
        return None
    sides = []
    for statuses, size in (
        (found.basis.variable_status, program.objective.size),
        (found.basis.constraint_status, program.row_lower.size),
    ):
        places = np.full(size, At.NOT_KNOWN, dtype=np.int8)
        count = len(statuses.ids)
        at = np.fromiter(statuses.ids, np.int64, count)
        places[at] = np.fromiter(statuses.values, np.int8, count)
        sides.append(places)
    return Basis(columns=sides[0], rows=sides[1])


def _column_values(program: Program, result: Message) -> Floats:
    values = _spread(result.solutions[0].primal_solution.variable_values, program.objective.size)
    nearest = np.round(values)
    values = np.where(np.abs(values - nearest) <= SNAP, nearest, values)
    return np.clip(values, program.lower, program.upper)


def _spread(sparse: Message, size: int) -> Floats:
    found = np.zeros(size)
    count = len(sparse.ids)
    at = np.fromiter(sparse.ids, np.int64, count)
    found[at] = np.fromiter(sparse.values, np.float64, count)
    return found


def _reason(result: Message) -> str:
    reason = result_pb2.TerminationReasonProto.Name(result.termination.reason)
    return f"{reason.removeprefix('TERMINATION_REASON_')} {result.termination.detail}".strip()
