"""The branch certificate: a bound that holds in every leaf of a tree of published decisions.

In thin and blocky books the duals of one relaxation leave several percent open. Splitting all
choices into a decision and its negation, with duals for each part, closes that. Anybody can check
that the parts are everything (they are what repeated splitting gives, depth first, False before
True) and that best responses at its duals bound each. The only cuts are rows that state what fits
into a place, and a knapsack per place checks those: no solver needs to be believed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from clearing.errors import InvariantError
from clearing.layout import Choice, Model
from clearing.market import NONE
from clearing.outcome import Fixing
from clearing.packing import RoomCharges
from clearing.program import INFINITY, Floats, Integers, Program
from clearing.search.decisions import fixing, read_menu
from clearing.search.exact import Searched, tighten
from clearing.search.packing import PackingRows, add_packing_rows
from clearing.search.shortage import hold_shortage
from clearing.search.tree import Node, Tree
from clearing.solver import Resolver, Solution
from clearing.types import Book

_WORK: Final = 30_000_000
"""Matrix entries that the tree may revisit: linear programs are fewer where each costs more."""

_ENTRIES_MAX: Final = 80_000
"""Matrix entries up to which a tree is grown from nothing."""

_PROGRAMS_MOST: Final = 4_000
_PROGRAMS_LEAST: Final = 40

_CLOSED: Final = 1e-7
"""Share of the objective within which a bound is closed."""

_BEYOND: Final = 1e-6
"""Share of the objective that is more than rounding."""

_WORTH: Final = 0.05
"""A bound is not pushed nearer to the best choice than this share of what whole nodes cost it."""

_DEAR: Final = 1_000_000.0
"""US dollars per node-hour that a leaf without any solution pays for what it lacks."""

_DEAR_ROOM: Final = 100_000_000.0
"""US dollars per hour that it pays for the room of a whole place."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BranchLeaf:
    """One part of all choices, and duals that bound it.

    Attributes:
        fixings: Decisions from the root down.
        row_duals: Per row of the model's program, US dollars per unit of the row, in the solver's
            sign, without tie credits.
        room: What orders are charged for the room that they take in a place, if anything.
    """

    fixings: tuple[Fixing, ...]
    row_duals: Floats
    room: RoomCharges | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proof:
    """What branching found.

    Attributes:
        leaves: Depth first, the False side first; empty where the root's duals say as much.
        bound: No choice has a larger objective, US dollars per hour, as the solver says.
        better: A choice that was found on the way and beats the given one, or None.
    """

    leaves: tuple[BranchLeaf, ...]
    bound: float
    better: Choice | None


def prove(model: Model, book: Book, choice: Choice, reached: float) -> Proof:
    """Split the choices until no part promises more than has been reached.

    Args:
        model: Problem.
        book: Canonical book; the names in the fixings.
        choice: The choice that was published, with the tree of its search.
        reached: Objective of the published awards (welfare and restart cost kept, no penalties),
            US dollars per hour of an interval. Whole nodes cost some of what ``choice``
            promises; below that branching cannot go.

    Returns:
        At most 1,024 leaves; none where the relaxation alone is too large to solve again.
    """
    tree = packed = None
    if isinstance(choice, Searched):
        tree, packed = choice.tree, choice.packed
    if tree is None or packed is None:
        program = hold_shortage(model, tighten(model), choice.short)
        if program.values.size > _ENTRIES_MAX or not program.whole.any():
            return Proof(leaves=(), bound=np.inf, better=None)
        program, packed = add_packing_rows(model, program)
        tree = Tree(menu=read_menu(model, program))
    objective = tree.menu.program.objective
    promised = reached
    if choice.hint.size:
        promised = max(reached, float(objective @ choice.hint))
    size = max(1, tree.menu.program.values.size)
    programs = min(_PROGRAMS_MOST, max(_PROGRAMS_LEAST, _WORK // size))
    tree.diving, tree.keep_duals = False, True
    tree.relative_gap = max(_CLOSED, _WORTH * (promised - reached) / max(1.0, abs(promised)))
    tree.renew(objective, promised)
    tree.programs_most = tree.solved + programs
    tree.grow()
    if tree.root is None:
        raise InvariantError("a tree that has grown has a root")
    return Proof(
        leaves=_leaves(model, book, tree, tree.root, packed),
        bound=tree.bound(),
        better=_better(model, choice, tree.best, promised),
    )


def _leaves(
    model: Model, book: Book, tree: Tree, root: Node, packed: PackingRows
) -> tuple[BranchLeaf, ...]:
    if root.children is None and packed.count == 0:
        return ()
    rows = model.program.row_lower.size
    dear: _Dear | None = None
    found = []
    for leaf in root.leaves():
        path = leaf.path()
        duals = leaf.row_duals
        if duals is None:
            dear = dear or _Dear(model, tree, packed)
            duals = dear.duals(path)
        steps = [(step.decision, step.accepted) for step in path if step.decision is not None]
        found.append(
            BranchLeaf(
                fixings=tuple(
                    fixing(book, model, decision, accepted=accepted) for decision, accepted in steps
                ),
                row_duals=duals[:rows],
                room=packed.charges(duals),
            )
        )
    return tuple(found)


def _better(model: Model, choice: Choice, best: Solution | None, promised: float) -> Choice | None:
    """The solution as a choice like the given one, where it is better beyond rounding."""
    if best is None or best.objective <= promised + _BEYOND * max(1.0, abs(promised)):
        return None
    layout = model.layout
    there = layout.unit_on != NONE
    on = np.zeros(layout.unit_on.shape, dtype=np.bool_)
    on[there] = np.round(best.values[layout.unit_on[there]]) > 0
    chosen = slice(layout.chosen, layout.chosen + choice.chosen.size)
    return replace(
        choice,
        proven=False,
        chosen=np.round(best.values[chosen]) > 0,
        on=on,
        short=best.values[model.penalties],
        hint=best.values,
    )


class _Dear:
    """The relaxation with everything for sale at a price above all others.

    A part without any solution has no duals; here it has, and they bound it far below zero.
    """

    def __init__(self, model: Model, tree: Tree, packed: PackingRows) -> None:
        self._tree = tree
        program = tree.menu.program
        layout = model.layout
        lacking = np.concatenate(
            [rows[rows != NONE] for rows in (layout.balance, layout.cover, layout.slot_row)]
        )
        power = layout.power[layout.power != NONE]
        most = np.concatenate((lacking if model.market.equal_balance else lacking[:0], power))
        room = packed.first + np.arange(packed.count)
        self._program = _for_sale(program, lacking, most, room)
        self._resolver = Resolver(self._program)

    def duals(self, path: list[Node]) -> Floats:
        """Row duals of a part; those of the root where its decisions contradict each other."""
        bounds = self._tree.bounds(path)
        if bounds is None:
            bounds = self._tree.bounds([])
        if bounds is None:
            raise InvariantError("the root contradicts itself")
        lower, upper, row_lower = bounds
        columns, rows = lower.size, row_lower.size
        self._resolver.change(
            lower=np.concatenate((lower, self._program.lower[columns:])),
            upper=np.concatenate((upper, self._program.upper[columns:])),
            row_lower=np.concatenate((row_lower, self._program.row_lower[rows:])),
        )
        found = self._resolver.solve()
        if found is None:
            # Picks that cannot all be had: no family can do what the decisions ask.
            return np.zeros(rows)
        return found.row_duals


def _for_sale(program: Program, least: Integers, most: Integers, room: Integers) -> Program:
    """Columns that add to rows with a lower bound, and take from rows with an upper one."""
    rows = np.concatenate((least, most, room))
    signs = np.ones(rows.size)
    signs[least.size :] = -1.0
    price = np.full(rows.size, _DEAR)
    price[least.size + most.size :] = _DEAR_ROOM
    more = rows.size
    columns = program.objective.size + np.arange(more)
    return replace(
        program,
        objective=np.append(program.objective, -price),
        lower=np.append(program.lower, np.zeros(more)),
        upper=np.append(program.upper, np.full(more, INFINITY)),
        whole=np.append(program.whole, np.zeros(more, dtype=np.bool_)),
        rows=np.append(program.rows, rows),
        columns=np.append(program.columns, columns),
        values=np.append(program.values, signs),
    )
