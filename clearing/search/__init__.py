"""How the alternatives are chosen: the welfare problem, and what is left once they are fixed.

``choose`` solves the mixed-integer problem with tie credits. ``settle`` fixes its
binaries, takes shortfalls out of their rows, and solves the linear problem that prices
come from: first without credits, then with credits on its optimal face, so that a
credit can break a tie and can never buy a trade.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from clearing.errors import SolverError
from clearing.model import NONE, Model
from clearing.program import Flags, Floats, Integers, Program
from clearing.solver import Ended, Solution, restrict_to_best, solve_linear, solve_whole

_NODE_WORK: Final = 40_000_000
"""Matrix entries that branch and bound may revisit: nodes are fewer where each costs more."""

_EXACT_GAP: Final = 1e-7
"""Share of the objective within which a choice counts as optimal."""

_LARGE_GAP: Final = 3e-5
"""The same for books with more alternatives than ``_LARGE``: proving more takes minutes there,
and the certificate publishes the gap that was reached."""

_LARGE: Final = 150
_FREE_FIRST: Final = 60
"""Alternatives left open beside the fractional ones in the search of a large book."""


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


def choose(model: Model, node_limit: int, *, whole_reserves: bool = False) -> Choice:
    """Choose alternatives for the largest welfare plus tie credit.

    Args:
        model: Problem.
        node_limit: Branch-and-bound nodes, at most.
        whole_reserves: Hold reserves in whole nodes here already. Dearer to solve, so only
            asked for when the blocks of the usual choice leave no room for whole nodes.

    Raises:
        SolverError: no solution within the node limit.
    """
    program = _bound_shortage(model, whole_reserves=whole_reserves)
    relaxed = solve_linear(program)
    penalties = np.array(model.penalties, dtype=np.int64)
    if not program.whole.any():
        return Choice(
            ended=Ended.OPTIMAL,
            chosen=np.zeros(0, dtype=np.bool_),
            short=program.upper[penalties],
            relaxed=relaxed,
        )
    nodes = max(1, min(node_limit, _NODE_WORK // max(1, program.values.size)))
    credited = replace(program, objective=program.objective + model.credits)
    if whole_reserves:
        strict = replace(credited, whole=program.whole | _reserves(model))
        solution = solve_whole(strict, node_limit=nodes, relative_gap=_LARGE_GAP)
    else:
        solution = _search(credited, nodes)
    return Choice(
        ended=solution.ended,
        chosen=solution.values[program.whole] > _HALF,
        short=solution.values[penalties],
        relaxed=relaxed,
    )


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


def _search(program: Program, node_limit: int) -> Solution:
    """Best choice, with binaries fixed wherever the relaxation proves that they may be.

    A binary at its bound in the relaxation changes the objective by at least its reduced
    cost when it moves. So a restricted search (only fractional binaries and those of the
    smallest reduced cost open) gives a solution; the gap to the relaxation then says which
    of the others could matter at all, and only those are opened for the last search.
    Small books are searched whole.
    """
    binaries = np.flatnonzero(program.whole)
    if binaries.size <= _LARGE:
        return solve_whole(program, node_limit=node_limit, relative_gap=_EXACT_GAP)
    relaxed = solve_linear(program)
    cost = np.abs(relaxed.reduced_costs[binaries])
    fractional = np.abs(relaxed.values[binaries] - np.round(relaxed.values[binaries])) > 0
    order = np.argsort(np.where(fractional, -1.0, cost), kind="stable")
    opened = np.zeros(binaries.size, dtype=np.bool_)
    opened[order[: int(fractional.sum()) + _FREE_FIRST]] = True
    try:
        first = _restricted(program, relaxed, binaries[~opened], node_limit)
    except SolverError:
        return solve_whole(program, node_limit=node_limit, relative_gap=_LARGE_GAP)
    gap = relaxed.objective - first.objective
    size = max(1.0, abs(first.objective))
    if gap <= _LARGE_GAP * size or not (~opened & (cost <= gap)).any():
        proven = gap <= _EXACT_GAP * size
        return first if proven else replace(first, ended=Ended.LIMITED)
    last = _restricted(program, relaxed, binaries[~opened & (cost > gap)], node_limit)
    better = last if last.objective >= first.objective else first
    return replace(better, ended=Ended.LIMITED)


def _restricted(
    program: Program, relaxed: Solution, fixed_columns: Integers, node_limit: int
) -> Solution:
    lower, upper = program.lower.copy(), program.upper.copy()
    lower[fixed_columns] = upper[fixed_columns] = np.round(relaxed.values[fixed_columns])
    restricted = replace(program, lower=lower, upper=upper)
    return solve_whole(restricted, node_limit=node_limit, relative_gap=_LARGE_GAP)


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
