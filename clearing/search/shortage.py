"""How much cover base load must do without, before anything is traded.

Cover of base load comes before every trade (penalty ladder), so the least shortage is found first.
In most books it is zero, which closes the shortage columns for good and takes their huge costs out
of the search; where it is not, it is a constant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from clearing.errors import SolverError
from clearing.layout import Layout, Model
from clearing.market import NONE
from clearing.program import Flags, Floats, Program
from clearing.search.sifting import solve_by_parts
from clearing.solver import SNAP, solve_whole

_NODES: Final = 2_000
"""Branch-and-bound nodes for the least shortage: each place is a problem of its own."""


def least_shortage(model: Model, *, whole_reserves: bool = False) -> Floats:
    """Smallest shortfall of each penalty column, nodes.

    Nothing is bought unless the book has no solution otherwise (links that must carry something,
    balance with equality); offers may be on.

    Args:
        model: Problem.
        whole_reserves: Reserves are whole nodes; then what power leaves of a node is a
            shortage too.

    Raises:
        SolverError: even without trade the book has no solution.
    """
    if model.penalties.size == 0:
        return np.zeros(0)
    program, layout = model.program, model.layout
    objective = np.zeros(program.objective.size)
    objective[model.penalties] = program.objective[model.penalties]
    upper = program.upper.copy()
    upper[layout.chosen : layout.chosen + model.market.blocks.order.size] = 0.0
    upper[layout.fill[layout.fill != NONE]] = 0.0
    untraded = upper.copy()
    untraded[layout.arc : layout.arc + model.market.demand.arc_cell.size] = 0.0
    market = model.market
    if market.links.source.size == 0 and market.units.offer.size == 0:
        # Nobody buys, nothing flows and nobody must sell to stand by, so nothing has to be sold.
        untraded[: market.supply.place.size] = 0.0
    failure = SolverError("no shortage was tried")
    for most in (untraded, upper):
        least = replace(program, objective=objective, upper=most)
        try:
            found = _solve(least, reserves(layout, program) if whole_reserves else None)
        except SolverError as error:
            failure = error
            continue
        return found[model.penalties]
    raise failure


def _solve(program: Program, whole: Flags | None) -> Floats:
    if whole is None:
        return solve_by_parts(program).values
    strict = replace(program, whole=program.whole | whole)
    return solve_whole(strict, node_limit=_NODES).values


def reserves(layout: Layout, program: Program) -> Flags:
    """Columns of spare nodes and of counted interruptibles."""
    flags = np.zeros(program.objective.size, dtype=np.bool_)
    for columns in (layout.spare, layout.site_spare, layout.reclaim, layout.site_reclaim):
        flags[columns[columns != NONE]] = True
    return flags


def hold_shortage(model: Model, program: Program, short: Floats) -> Program:
    """The program with its shortfalls held, and nothing paid for them."""
    lower, upper, objective = program.lower.copy(), program.upper.copy(), program.objective.copy()
    kept = np.where(short <= SNAP, 0.0, short)
    lower[model.penalties] = upper[model.penalties] = kept
    objective[model.penalties] = 0.0
    return replace(program, lower=lower, upper=upper, objective=objective)
