"""How the alternatives are chosen: the welfare problem, and what is left once they are fixed.

``choose`` solves the mixed-integer problem with tie credits. ``settle`` fixes its
binaries, takes shortfalls out of their rows, and solves the linear problem that prices
come from: first without credits, then with credits on its optimal face, so that a
credit can break a tie and can never buy a trade.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clearing.model import NONE, Model
from clearing.program import Flags, Floats, Program
from clearing.solver import Ended, Solution, restrict_to_best, solve_linear, solve_whole

_NODE_WORK = 40_000_000
"""Matrix entries that branch and bound may revisit: nodes are fewer where each costs more."""

_RELATIVE_GAP = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The accepted alternatives.

    Attributes:
        chosen: One flag per alternative of the market.
        short: Cover shortage of base load per penalty column, nodes.
        relaxed: Linear relaxation without tie credits, with its duals: the certificate's.
    """

    ended: Ended
    chosen: Flags
    short: Floats
    relaxed: Solution


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The linear problem with the alternatives fixed, and its solution.

    Attributes:
        program: Fixed program; penalty columns are held at zero and their rows shifted.
        values: Column values: optimal without credits, and among those best with them.
        best: Solution without credits, with its duals.
    """

    program: Program
    values: Floats
    best: Solution


def choose(model: Model, node_limit: int) -> Choice:
    """Choose alternatives for the largest welfare plus tie credit.

    Raises:
        SolverError: no solution within the node limit.
    """
    program = model.program
    relaxed = solve_linear(program)
    penalties = np.array(model.penalties, dtype=np.int64)
    if not program.whole.any():
        return Choice(
            ended=Ended.OPTIMAL,
            chosen=np.zeros(0, dtype=np.bool_),
            short=relaxed.values[penalties],
            relaxed=relaxed,
        )
    nodes = max(1, min(node_limit, _NODE_WORK // max(1, program.values.size)))
    credited = replace(program, objective=program.objective + model.credits)
    solution = solve_whole(credited, node_limit=nodes, relative_gap=_RELATIVE_GAP)
    chosen = solution.values[program.whole] > 0.5
    return Choice(
        ended=solution.ended,
        chosen=chosen,
        short=solution.values[penalties],
        relaxed=relaxed,
    )


def settle(model: Model, choice: Choice) -> Settled:
    """Fix the alternatives and shortages, and solve the linear problem that is left.

    Raises:
        SolverError: numerical trouble; the problem is feasible by construction.
    """
    program = fixed(model, choice)
    best = solve_linear(program)
    face = replace(restrict_to_best(program, best), objective=model.credits)
    tied = solve_linear(face) if model.credits.any() else best
    return Settled(program=program, values=tied.values, best=best)


def fixed(model: Model, choice: Choice) -> Program:
    """The program with binaries at their chosen value and shortfalls shifted out of their rows."""
    program, layout = model.program, model.layout
    lower, upper = program.lower.copy(), program.upper.copy()
    objective = program.objective.copy()
    binaries = np.flatnonzero(program.whole)
    lower[binaries] = upper[binaries] = choice.chosen
    for position, column in enumerate(layout.fill):
        if column != NONE and not choice.chosen[position]:
            upper[column] = 0.0
    row_lower = program.row_lower.copy()
    shift = dict(zip(model.penalties, choice.short, strict=True))
    for place, column in enumerate(layout.short):
        if column != NONE:
            upper[column] = 0.0
            objective[column] = 0.0
            row_lower[layout.cover[place]] -= shift[column]
    return replace(
        program,
        objective=objective,
        lower=lower,
        upper=upper,
        row_lower=row_lower,
        whole=np.zeros(program.whole.size, dtype=np.bool_),
    )
