"""Choices of small and thin books: branch and bound, by our own tree and then by HiGHS.

Rows that state which blocks fit together (``clearing.search.packing``) come first: in thin books
they take four fifths of what the relaxation promises too much. The tree (``clearing.search.tree``)
proves tiny books within a hundred linear programs, and with a good choice to begin with it only has
to prove that choice; in thin books with many decisions it splits, dives, and looks around what it
found. Small books that it leaves open go to HiGHS, which cuts; the tree goes on from that value to
prove a bound by branching and rows alone (``clearing.search.branching``), which anybody can check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from clearing.errors import SolverError
from clearing.layout import POWER_UNIT, Choice, Model
from clearing.market import NONE
from clearing.program import INFINITY, Floats, Program
from clearing.search.approach import Approach
from clearing.search.decisions import forbid, read_menu
from clearing.search.packing import PackingRows, add_packing_rows
from clearing.search.settling import settle
from clearing.search.shortage import hold_shortage, least_shortage, reserves
from clearing.search.tree import Tree
from clearing.solver import Ended, Solution, solve_linear, solve_whole
from clearing.types import AuctionSpec

_EXACT_GAP: Final = 1e-7
"""Share of the objective within which a choice counts as optimal."""

_SMALL: Final = 150
"""Binaries up to which books are searched until that is proven."""

_GOOD_GAP: Final = 1.5e-4
"""Gap of larger books: proving more takes minutes there, and the certificate publishes the gap that
was reached."""

_FAIR_GAP: Final = 5e-4
"""The same where the tree is spent, and for the largest books that HiGHS gets."""

_FAIR: Final = 500
"""Binaries above which HiGHS stops at the fair gap."""

_WHOLE_GAP: Final = 3e-5
"""Gap of a small book's choice with reserves in whole nodes."""

_TREE_PROGRAMS: Final = 200
"""Linear programs of the tree before HiGHS is asked."""

_THIN_PROGRAMS: Final = 450
"""The same in thin books of many decisions: half of them before the first dive."""

_DIVE_AFTER: Final = 200

_NEAR_ROUNDS: Final = 3
_NEAR_PROGRAMS: Final = (200, 300)
"""Neighbourhoods of the best solution, and linear programs in each, first and then again."""

_TREE_WORK: Final = 4_000_000
"""Matrix entries that the tree may revisit where it has a choice to begin with."""

_HIGHS_WORK: Final = 40_000_000
"""Matrix entries that HiGHS may revisit in a small book: nodes are fewer where each costs more."""

_HIGHS_FAIR_WORK: Final = 400_000
"""The same in others: its root finds what there is to find, and its first nodes take longest."""

_HALF: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Searched(Choice):
    """A choice with what its search left behind.

    Attributes:
        tree: Search tree over all choices, from which the branch certificate goes on, or None.
        packed: Rows of the tree's program that state what fits.
        master: The tree that found it; it goes on where this choice is cut off.
        held: Shortfalls were held there.
    """

    tree: Tree | None
    packed: PackingRows | None
    master: Tree | None = None
    held: bool = True


def choose(
    model: Model,
    spec: AuctionSpec,
    approach: Approach = Approach.USUAL,
    cuts: tuple[Choice, ...] = (),
    start: Choice | None = None,
    before: Choice | None = None,
) -> Choice:
    """Choose alternatives and commitments for the largest welfare plus tie credit.

    Args:
        model: Problem.
        spec: ``node_limit`` bounds branch and bound.
        approach: The usual one, or a narrower one for a book in which the usual choice leaves no
            room for whole nodes. ``Choice.row_duals`` are always those of the whole problem,
            and what a narrower approach finds is never called proven.
        cuts: Earlier choices, none of which may be accepted again as a whole.
        start: A good choice of the usual approach without cuts: then HiGHS is not asked.
        before: What was chosen with all but the last of these cuts. Its search goes on: what the
            tree has bounded stays bounded by that.

    Raises:
        SolverError: no solution within the node limit.
    """
    failure = SolverError("no program was tried")
    for held in (True, False):
        try:
            return _choose(model, spec, approach, cuts, start, before, held=held)
        except SolverError as error:
            failure = error
            if model.penalties.size == 0:
                break
    raise failure


def _choose(
    model: Model,
    spec: AuctionSpec,
    approach: Approach,
    cuts: tuple[Choice, ...],
    start: Choice | None,
    before: Choice | None,
    *,
    held: bool,
) -> Choice:
    """Choose with shortfalls held at their least, or priced where that has no solution."""
    program = tighten(model)
    if held:
        whole = approach in (Approach.WHOLE_RESERVES, Approach.NODE_TO_SPARE)
        short = least_shortage(model, whole_reserves=whole)
        program = hold_shortage(model, program, short)
    if approach in (Approach.WHOLE_RESERVES, Approach.NODE_TO_SPARE):
        searched = forbid(model, program, cuts)
        return _choose_strictly(model, spec, approach, searched, solve_linear(program))
    if approach is Approach.NO_BLOCKS:
        relaxed = solve_linear(program)
        tree = Tree(menu=read_menu(model, forbid(model, _without_blocks(model, program), cuts)))
        tree.change_objective(tree.menu.program.objective + model.credits)
        best, _ = _search(tree, model, spec, None)
        return _choice(model, best, relaxed.row_duals, proven=False)
    begun = None if start is None else _value(model, start)
    if cuts and isinstance(before, Searched) and before.held is held and before.packed is not None:
        row_duals, packed = before.row_duals, before.packed
        searched = packed.added_to(model, program)
    else:
        searched, packed = add_packing_rows(model, program)
        row_duals = (packed.relaxed or solve_linear(program)).row_duals
        before = None
    tree = _tree(model, forbid(model, searched, cuts), before)
    best, proven = _search(tree, model, spec, begun)
    found = _choice(model, best, row_duals, proven=proven)
    return replace(found, tree=None if cuts else tree, packed=packed, master=tree, held=held)


def _tree(model: Model, program: Program, before: Choice | None) -> Tree:
    """A new tree, or the one that found what was chosen before."""
    menu = read_menu(model, program)
    credited = program.objective + model.credits
    tree = before.master if isinstance(before, Searched) else None
    if tree is not None and tree.root is not None and 2 * tree.leaf_count <= tree.leaves_most:
        tree.resume(menu, credited)
        return tree
    tree = Tree(menu=menu)
    tree.change_objective(credited)
    return tree


def _value(model: Model, choice: Choice) -> Solution:
    """A choice as a solution, at its best."""
    settled = settle(model, choice)
    columns = settled.values.copy()
    columns[model.penalties] = choice.short
    objective = model.program.objective.copy()
    objective[model.penalties] = 0.0
    reached = float((objective + model.credits) @ columns)
    return Solution(
        ended=Ended.LIMITED,
        values=columns,
        objective=reached,
        bound=np.inf,
        row_duals=settled.duals,
        reduced_costs=settled.reduced_costs,
    )


def _search(
    tree: Tree, model: Model, spec: AuctionSpec, begun: Solution | None
) -> tuple[Solution, bool]:
    """Best solution, and whether it is proven to be one."""
    size = max(1, tree.menu.program.values.size)
    small = tree.menu.binaries.size <= _SMALL
    tree.relative_gap = _EXACT_GAP if small else _GOOD_GAP
    tree.leaves_most = max(1, min(tree.leaves_most, spec.node_limit))
    if begun is not None:
        tree.best, tree.cutoff = begun, begun.objective
        tree.programs_most = tree.solved + min(_TREE_PROGRAMS, max(1, _TREE_WORK // size))
    elif small or tree.menu.binaries.size == model.market.blocks.order.size:
        tree.programs_most = tree.solved + _TREE_PROGRAMS
    else:
        # With commitments a dive from the root takes many steps and misses a percent or two.
        tree.programs_most = tree.solved + _THIN_PROGRAMS
        tree.dive_after = tree.dive_after or _DIVE_AFTER
    tree.grow()
    if begun is None and not small:
        for programs in _NEAR_PROGRAMS:
            tree.improve(_NEAR_ROUNDS, programs)
    if not small:
        tree.relative_gap = _FAIR_GAP
    if begun is None and not tree.reached() and (small or tree.best is None):
        _ask_highs(tree, model, spec)
    best = tree.best
    if best is None:
        message = "LIMIT no solution within the count of linear programs"
        raise SolverError(message)
    exact = _EXACT_GAP * max(1.0, abs(best.objective))
    return best, tree.bound() <= best.objective + exact


def _ask_highs(tree: Tree, model: Model, spec: AuctionSpec) -> None:
    """Look for a better solution than the tree's, and for a better bound.

    Raises:
        SolverError: neither has a solution.
    """
    program = tree.menu.program
    binaries, size = tree.menu.binaries.size, max(1, program.values.size)
    small = binaries <= _SMALL
    gap = _EXACT_GAP if small else _GOOD_GAP if binaries <= _FAIR else _FAIR_GAP
    work = _HIGHS_WORK if small else _HIGHS_FAIR_WORK
    nodes = max(1, min(spec.node_limit, work // size))
    credited = replace(program, objective=program.objective + model.credits)
    try:
        found = solve_whole(credited, node_limit=nodes, relative_gap=gap)
    except SolverError:
        if tree.best is None:
            raise
        return
    tree.ceiling = min(tree.ceiling, found.bound)
    if tree.best is None or found.objective > tree.best.objective:
        tree.best, tree.cutoff = found, found.objective


def _choose_strictly(
    model: Model, spec: AuctionSpec, approach: Approach, program: Program, relaxed: Solution
) -> Choice:
    """Choose with reserves in whole nodes."""
    strict = replace(
        program,
        objective=program.objective + model.credits,
        whole=program.whole | reserves(model.layout, program),
    )
    if approach is Approach.NODE_TO_SPARE:
        strict = _leave_node(model, strict)
    size = max(1, program.values.size)
    gap = _WHOLE_GAP if int(program.whole.sum()) <= _SMALL else _GOOD_GAP
    nodes = max(1, min(spec.node_limit, _HIGHS_WORK // size))
    found = solve_whole(strict, node_limit=nodes, relative_gap=gap)
    return _choice(model, found, relaxed.row_duals, proven=False)


def _choice(model: Model, best: Solution, row_duals: Floats, *, proven: bool) -> Searched:
    layout, program = model.layout, model.program
    there = layout.unit_on != NONE
    on = np.zeros(layout.unit_on.shape, dtype=np.bool_)
    on[there] = best.values[layout.unit_on[there]] > _HALF
    chosen = slice(layout.chosen, layout.chosen + model.market.blocks.order.size)
    return Searched(
        proven=proven,
        chosen=best.values[chosen] > _HALF,
        on=on,
        short=best.values[model.penalties],
        row_duals=row_duals[: program.row_lower.size],
        hint=best.values,
        tree=None,
        packed=None,
    )


def tighten(model: Model) -> Program:
    """The program with a row per step of an offer with a commitment: at most its size times on.

    Without them a unit that is half on sells all of its cheapest step; with them the relaxation is
    as tight as best responses to prices, which is what the certificate's bound adds up.
    """
    program, layout, supply = model.program, model.layout, model.market.supply
    column = np.flatnonzero(supply.unit != NONE)
    interval = supply.place[column] % model.market.grid.intervals
    row = program.row_lower.size + np.arange(column.size)
    on = layout.unit_on[supply.unit[column], interval]
    return replace(
        program,
        row_lower=np.append(program.row_lower, np.full(column.size, -INFINITY)),
        row_upper=np.append(program.row_upper, np.zeros(column.size)),
        rows=np.concatenate((program.rows, row, row)),
        columns=np.concatenate((program.columns, column, on)),
        values=np.concatenate((program.values, np.ones(column.size), -supply.nodes[column] * 1.0)),
    )


def _without_blocks(model: Model, program: Program) -> Program:
    layout, upper = model.layout, program.upper.copy()
    upper[layout.chosen : layout.chosen + model.market.blocks.order.size] = 0.0
    return replace(program, upper=upper)


def _leave_node(model: Model, program: Program) -> Program:
    """The program with a node less to sell or hold in each pool, and less power by one."""
    layout, grid = model.layout, model.market.grid
    row_upper = program.row_upper.copy()
    rows = layout.headroom[layout.headroom != NONE]
    row_upper[rows] = np.maximum(0.0, row_upper[rows] - 1.0)
    largest = np.zeros(len(grid.site_ids), dtype=np.int64)
    np.maximum.at(largest, grid.site, grid.power * grid.node)
    units: Floats = largest.repeat(grid.intervals) / POWER_UNIT
    there = layout.power != NONE
    rows = layout.power[there]
    row_upper[rows] = np.maximum(0.0, row_upper[rows] - units[there])
    return replace(program, row_upper=row_upper)
