"""Choosing and settling tiny books with one solver call each: what price tests start from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clearing.layout import Choice, Model, Settled
from clearing.market import NONE
from clearing.model import fix
from clearing.program import INFINITY, Program
from clearing.solver import restrict_to_best, solve_linear, solve_whole


def choose(model: Model, cuts: tuple[Choice, ...] = ()) -> Choice:
    """The best decisions, tie credits included."""
    program = replace(model.program, objective=model.program.objective + model.credits)
    for cut in cuts:
        program = _forbid(model, program, cut)
    found = solve_whole(program, node_limit=100_000).values
    layout = model.layout
    alternatives = model.market.blocks.order.size
    return Choice(
        proven=True,
        chosen=found[layout.chosen : layout.chosen + alternatives] > 0.5,
        on=(layout.unit_on != NONE) & (found[layout.unit_on] > 0.5),
        short=found[model.penalties],
        row_duals=np.zeros(0),
        hint=np.zeros(0),
    )


def _forbid(model: Model, program: Program, cut: Choice) -> Program:
    """One more row: not everything that a choice accepted is accepted again."""
    layout = model.layout
    running = np.unique(layout.unit_on[cut.on & (layout.unit_on != NONE)])
    columns = np.append(layout.chosen + np.flatnonzero(cut.chosen), running)
    row = np.full(columns.size, program.row_lower.size)
    return replace(
        program,
        row_lower=np.append(program.row_lower, -INFINITY),
        row_upper=np.append(program.row_upper, columns.size - 1.0),
        rows=np.append(program.rows, row),
        columns=np.append(program.columns, columns),
        values=np.append(program.values, np.ones(columns.size)),
    )


def settle(model: Model, choice: Choice) -> Settled:
    """The linear program that is left, without credits and with them on its best face."""
    program = fix(model, choice)
    best = solve_linear(program)
    face = replace(restrict_to_best(program, best), objective=model.credits)
    tied = solve_linear(face) if model.credits.any() else best
    return Settled(
        program=program,
        values=tied.values,
        best=best.values,
        duals=best.row_duals,
        reduced_costs=best.reduced_costs,
    )
