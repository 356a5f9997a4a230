"""The rival: the whole market as one mixed-integer program, handed to a stock solver.

The program is the engine's own (``clearing.model.build``: same columns, rows and bounds, no
tie credits), so both optimise the same welfare. The rival gets its default settings, one
thread, a relative gap and a limit of wall time; it neither prices, nor rounds to nodes,
nor certifies.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

import numpy as np
from ortools.math_opt import model_pb2
from ortools.math_opt.python import mathopt

from clearing.program import Program


class Solver(Enum):
    """Stock solvers that OR-Tools carries."""

    HIGHS = "HiGHS"
    SCIP = "SCIP"
    CP_SAT = "CP-SAT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What one solver reached.

    Attributes:
        welfare_usd: Best solution, US dollars over the day; None when there is none.
        gap: (bound - welfare) / welfare as the solver states it; None without both.
    """

    seconds: float
    welfare_usd: float | None
    gap: float | None
    ended: str


def solve(program: Program, solver: Solver, *, seconds_max: float, relative_gap: float) -> Reached:
    """Solve a whole program; building the solver's model counts."""
    started = time.perf_counter()
    model = mathopt.Model.from_model_proto(_model(program))
    highs = mathopt.SolveParameters().highs
    if solver is Solver.HIGHS:
        # MathOpt refuses a thread count for HiGHS.
        highs.string_options["parallel"] = "off"
    parameters = mathopt.SolveParameters(
        time_limit=timedelta(seconds=seconds_max),
        relative_gap_tolerance=relative_gap,
        random_seed=1,
        threads=None if solver is Solver.HIGHS else 1,
        highs=highs,
    )
    kind = {
        Solver.HIGHS: mathopt.SolverType.HIGHS,
        Solver.SCIP: mathopt.SolverType.GSCIP,
        Solver.CP_SAT: mathopt.SolverType.CP_SAT,
    }[solver]
    result = mathopt.solve(model, kind, params=parameters)
    seconds = time.perf_counter() - started
    bounds = result.termination.objective_bounds
    found = result.has_primal_feasible_solution()
    gap = (bounds.dual_bound - bounds.primal_bound) / max(1.0, bounds.primal_bound)
    return Reached(
        seconds=seconds,
        welfare_usd=result.objective_value() if found else None,
        gap=gap if found and np.isfinite(gap) else None,
        ended=result.termination.reason.name,
    )


def _model(program: Program) -> model_pb2.ModelProto:
    model = model_pb2.ModelProto()
    variables = model.variables
    variables.ids.extend(range(program.objective.size))
    variables.lower_bounds.extend(program.lower.tolist())
    variables.upper_bounds.extend(program.upper.tolist())
    variables.integers.extend(program.whole.tolist())
    model.objective.maximize = True
    priced = np.flatnonzero(program.objective)
    model.objective.linear_coefficients.ids.extend(priced.tolist())
    model.objective.linear_coefficients.values.extend(program.objective[priced].tolist())
    rows = model.linear_constraints
    rows.ids.extend(range(program.row_lower.size))
    rows.lower_bounds.extend(program.row_lower.tolist())
    rows.upper_bounds.extend(program.row_upper.tolist())
    place = program.rows * program.objective.size + program.columns
    unique, inverse = np.unique(place, return_inverse=True)
    values = np.bincount(inverse, weights=program.values, minlength=unique.size)
    kept = values != 0
    matrix = model.linear_constraint_matrix
    matrix.row_ids.extend((unique[kept] // program.objective.size).tolist())
    matrix.column_ids.extend((unique[kept] % program.objective.size).tolist())
    matrix.coefficients.extend(values[kept].tolist())
    return model
