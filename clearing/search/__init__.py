"""How the alternatives are chosen: the welfare problem, and what is left once they are fixed.

``choose`` solves the mixed-integer problem with tie credits. ``settle`` fixes its
binaries, takes shortfalls out of their rows, and solves the linear problem that prices
come from: first without credits, then with credits on its optimal face, so that a
credit can break a tie and can never buy a trade.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import numpy as np

from clearing.model import NONE, Model
from clearing.program import Flags, Floats, Program
from clearing.solver import Ended, Solution, restrict_to_best, solve_linear, solve_whole

_NODE_WORK: Final = 40_000_000
"""Matrix entries that branch and bound may revisit: nodes are fewer where each costs more."""

_EXACT_GAP: Final = 1e-7
"""Share of the objective within which a choice counts as optimal."""

_LARGE_GAP: Final = 3.5e-4
"""The same for books with more alternatives than ``_LARGE``: proving more takes minutes there,
and the certificate publishes the gap that was reached."""

_LARGE: Final = 150
_LARGE_NODE_WORK: Final = 5_000_000
"""``_NODE_WORK`` of a large book: its first few dozen nodes find what there is to find, and
the others only move the bound."""

_WHOLE_GAP: Final = 3e-5
"""Gap of a choice with reserves in whole nodes, in books that are not large."""


class Approach(Enum):
    """Ways to choose, in the order in which they are tried until whole nodes fit the choice."""

    USUAL = "USUAL"
    """Largest welfare, with reserves and power in fractions of a node."""
    WHOLE_RESERVES = "WHOLE_RESERVES"
    """The same with reserves in whole nodes."""
    NODE_TO_SPARE = "NODE_TO_SPARE"
    """The same, and a node of every pool and of every site's power left for rounding."""
    NO_BLOCKS = "NO_BLOCKS"
    """Divisible orders alone."""


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


def choose(model: Model, node_limit: int, approach: Approach = Approach.USUAL) -> Choice:
    """Choose alternatives for the largest welfare plus tie credit.

    Args:
        model: Problem.
        node_limit: Branch-and-bound nodes, at most.
        approach: The usual one, or a narrower one for a book in which the blocks of the
            usual choice leave no room for whole nodes. ``Choice.relaxed`` is always that of
            the whole problem, and what a narrower approach finds is never called optimal.

    Raises:
        SolverError: no solution within the node limit.
    """
    whole_reserves = approach is not Approach.USUAL
    program = _bound_shortage(model, whole_reserves=whole_reserves)
    relaxed = solve_linear(program)
    penalties = np.array(model.penalties, dtype=np.int64)
    if approach is Approach.NO_BLOCKS or not program.whole.any():
        return Choice(
            ended=Ended.OPTIMAL if approach is Approach.USUAL else Ended.LIMITED,
            chosen=np.zeros(int(program.whole.sum()), dtype=np.bool_),
            short=program.upper[penalties],
            relaxed=relaxed,
        )
    large = int(program.whole.sum()) > _LARGE
    work = _LARGE_NODE_WORK if large else _NODE_WORK
    nodes = max(1, min(node_limit, work // max(1, program.values.size)))
    credited = replace(program, objective=program.objective + model.credits)
    if whole_reserves:
        strict = replace(credited, whole=program.whole | _reserves(model))
        if approach is Approach.NODE_TO_SPARE:
            strict = _leave_node(model, strict)
        gap = _LARGE_GAP if large else _WHOLE_GAP
        solution = solve_whole(strict, node_limit=nodes, relative_gap=gap)
    else:
        gap = _LARGE_GAP if large else _EXACT_GAP
        solution = solve_whole(credited, node_limit=nodes, relative_gap=gap)
    proven = solution.bound - solution.objective <= _EXACT_GAP * max(1.0, abs(solution.objective))
    return Choice(
        ended=Ended.OPTIMAL if proven and approach is Approach.USUAL else Ended.LIMITED,
        chosen=solution.values[program.whole] > _HALF,
        short=solution.values[penalties],
        relaxed=relaxed,
    )


def _leave_node(model: Model, program: Program) -> Program:
    """The program with a node less to sell or hold in each pool, and less power by one."""
    layout, grid = model.layout, model.market.grid
    row_upper = program.row_upper.copy()
    for row in layout.headroom:
        if row != NONE:
            row_upper[row] = max(0.0, row_upper[row] - 1.0)
    for place, row in enumerate(layout.power):
        if row != NONE:
            site = place // grid.intervals
            local = [p for at, p in enumerate(grid.pools) if grid.site_of[at] == site]
            node = max((p.chip_power * p.chips_per_node for p in local), default=0)
            row_upper[row] = max(0.0, row_upper[row] - node / layout.power_unit)
    return replace(program, row_upper=row_upper)


_HALF: Final = 0.5

_SHORTAGE_NODES: Final = 2_000
"""Branch-and-bound nodes for the least shortage: each place is a problem of its own."""


def _reserves(model: Model) -> Flags:
    """Columns of spare nodes and of counted reclaimables."""
    flags = np.zeros(model.program.objective.size, dtype=np.bool_)
    flags[[c for c in (*model.layout.spare, *model.layout.reclaim) if c != NONE]] = True
    return flags


def _bound_shortage(model: Model, *, whole_reserves: bool) -> Program:
    """The program with cover shortages at most as large as without any block.

    Cover of base load comes before every trade (penalty ladder), so in most books this
    closes the shortage columns for good and takes their huge costs out of the search. With
    ``whole_reserves``, what power leaves of a node in reserve is a shortage too.
    """
    program = model.program
    if not model.penalties:
        return program
    penalties = np.array(model.penalties, dtype=np.int64)
    upper = program.upper.copy()
    upper[program.whole] = 0.0
    least = np.zeros(program.objective.size)
    least[penalties] = program.objective[penalties]
    least_short = replace(program, objective=least, upper=upper)
    if whole_reserves:
        least_short = replace(least_short, whole=_reserves(model))
        found = solve_whole(least_short, node_limit=_SHORTAGE_NODES)
    else:
        found = solve_linear(least_short)
    upper = program.upper.copy()
    upper[penalties] = found.values[penalties]
    return replace(program, upper=upper)


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
