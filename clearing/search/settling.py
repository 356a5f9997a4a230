"""What is left once the decisions are made: the linear problem that prices come from."""

from __future__ import annotations

from dataclasses import replace

from clearing.layout import Choice, Model, Settled
from clearing.market import NONE
from clearing.model import fix
from clearing.search.doubt import Start
from clearing.search.sifting import solve_by_parts
from clearing.solver import restrict_to_best


def settle(model: Model, choice: Choice) -> Settled:
    """Fix decisions and shortfalls, and solve the linear problem that is left, twice.

    First without tie credits, which gives duals; then with credits on its optimal face, so that a
    credit can break a tie and can never buy a trade. With decisions fixed only work and partly
    filled blocks tie intervals together, so the problem is solved in parts, and near
    ``choice.hint`` where there is one: the result is exact either way.

    Raises:
        SolverError: numerical trouble; the problem is feasible by construction.
    """
    program = fix(model, choice)
    layout = model.layout
    cells = layout.cell[layout.cell != NONE]
    fills = layout.fill[(layout.fill != NONE) & choice.chosen]
    duals = choice.hint_duals if choice.hint_duals.size else choice.row_duals
    start = (
        Start(values=choice.hint, duals=duals, choices=cells, ties=fills, error=choice.hint_error)
        if choice.hint.size
        else None
    )
    best = solve_by_parts(program, start)
    values = best.values
    if model.credits.any():
        face = replace(restrict_to_best(program, best), objective=model.credits)
        if choice.hint_duals.size:
            # Parts stay apart: credits break ties within an interval of a coordinated book.
            face.lower[fills] = face.upper[fills] = best.values[fills]
        values = solve_by_parts(face).values
    return Settled(
        program=program,
        values=values,
        best=best.values,
        duals=best.row_duals,
        reduced_costs=best.reduced_costs,
    )
