"""Large linear programs, exactly: only the columns that could matter, in parts that share nothing.

With decisions fixed a market falls apart into intervals and, within them, into groups of pools that
share bids; and at prices near the right ones most orders are clearly in or clearly out. So columns
with a one-sided reduced cost are held at their bound, the others are solved part by part, and held
ones that the new duals would move are released until there is none: then the duals prove the whole
program (sifting; see Bixby et al., "Very large-scale linear programming", 1992).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from clearing.errors import SolverError
from clearing.program import Flags, Floats, Integers, Part, Program, split_program
from clearing.search.doubt import (
    Choices,
    Start,
    band_of,
    best_of,
    choices_of,
    missed_rows,
    narrowed,
    price_far,
    reduced_costs,
    released,
    without,
)
from clearing.solver import FACE, At, Basis, Ended, Places, Solution, solve_linear

_NARROW: Final = 0.1
"""The same, as a share of it, once everything but ties is at its best."""

_ROOM: Final = 1.0
"""Room in a row, in its units, from which on it is not looked at before it is missed."""

_APART: Final = 2
"""Rounds in which parts are solved without what ties them together, at most."""

_PART_COLUMNS: Final = 400
"""Small parts are solved together up to this many columns: a call has a cost of its own."""

_NEARLY: Final = 0.02
"""Share of its range from a bound within which a tie is taken to be at it."""

_REACH: Final = 300.0
"""How far from the guess a part that lacks something may price its rows at first, in bands."""

_DEAR: Final = 100.0
"""A row that is still missed at this multiple of the dearest column cannot be met."""

_FARTHER: Final = 4.0
"""Growth of the reach of parts that lack something, from one round to the next."""

_SIFTED_COLUMNS_MIN: Final = 3_000
"""Smaller programs are solved without holding anything."""


@dataclass(slots=True, kw_only=True)
class _State:
    """Values and duals so far; ``free`` columns are solved for, the others held.

    Attributes:
        live: Rows that are looked at; others have no dual, and room.
        ties: Columns that join parts and are held while the parts are solved apart.
        guess: Row duals of the start.
        reach: How far from them a part that lacks something may price its rows.
        band: Reduced costs above it are clearly one-sided.
        basis: Vertex of the parts as they were solved last.
        missing: The same for what rows miss below their lower and above their upper bound.
    """

    values: Floats
    duals: Floats
    free: Flags
    stale: Flags
    live: Flags
    ties: Flags
    guess: Floats
    reach: float
    band: float
    basis: Basis
    missing: Places
    choices: Choices


def solve_by_parts(program: Program, start: Start | None = None) -> Solution:
    """Solve a linear program with its duals, quickly where it falls apart.

    Args:
        program: Maximised; ``whole`` is ignored.
        start: A guess; a good one leaves little to solve, a bad one costs time and changes
            which of several optimal solutions is found.

    Raises:
        SolverError: infeasible, unbounded or numerically stuck.
    """
    open_ = program.lower < program.upper
    if start is None or int(open_.sum()) < _SIFTED_COLUMNS_MIN:
        state = _nothing_known(program, open_)
        _converge(without(program, ~open_), open_, state, complete=True)
        return _solution(program, state)
    choices, band = choices_of(program, start.choices), band_of(program, start, open_)
    narrow = narrowed(program, start, choices, open_, band)
    near = narrow.lower < narrow.upper
    rest = without(narrow, ~near)
    state = _guess(rest, start, near, band)
    while True:
        complete = bool((near == open_).all())
        lacking = _converge(rest, near, state, complete=complete)
        reduced = price_far(program, choices, near, state.values, state.duals)
        wrong, more = released(program, choices, open_ & ~near, state.values, reduced, band)
        if not more.any() and not lacking:
            return _solution(program, state)
        state.free |= wrong
        state.stale |= wrong
        # What lacks something although nobody is missing lacks it because of the guess.
        near = near | more if more.any() else open_
        narrow = replace(
            narrow,
            lower=np.where(near, program.lower, narrow.lower),
            upper=np.where(near, program.upper, narrow.upper),
        )
        rest = without(narrow, ~near)
        state.choices = choices_of(rest, start.choices)


def _nothing_known(program: Program, open_: Flags) -> _State:
    """Everything that is open is solved for."""
    return _State(
        values=_nearest_bound(program),
        duals=np.zeros(program.row_lower.size),
        free=open_.copy(),
        stale=np.ones(open_.size, dtype=np.bool_),
        live=_bounded(program),
        ties=np.zeros(open_.size, dtype=np.bool_),
        guess=np.zeros(program.row_lower.size),
        reach=np.inf,
        band=0.0,
        basis=_no_basis(program),
        missing=_nothing_missing(program),
        choices=choices_of(program, np.zeros(0, dtype=np.int64)),
    )


def _converge(program: Program, open_: Flags, state: _State, *, complete: bool) -> bool:
    """Solve for open columns until no held one among them would gain by moving.

    Returns:
        Whether some row does not hold and no open column would help; never where ``complete``.

    Args:
        program: Without the columns that are fixed.
        open_: Columns that are not fixed.
        state: Where it stands; at the end its values and duals are those of the solution.
        complete: No column is left out that could be anything.

    Raises:
        SolverError: infeasible, unbounded or numerically stuck.
    """
    dearest = _DEAR * max(1.0, float(np.abs(program.objective).max(initial=0.0)))
    apart, reach = _APART, state.reach
    while True:
        lacking = _solve_stale(program, state)
        _price_choices(program, state)
        reduced = reduced_costs(program, state.duals)
        missed = missed_rows(program, state.values)
        wrong = _wrong(program, state, reduced) & open_
        apart -= 1
        if state.ties.any() and (apart == 0 or not (wrong & ~state.ties).any()):
            if not wrong.any() and not missed.any():
                state.ties[:] = False
                return False
            _join(program, state, reduced, missed, wrong)
            continue
        if state.ties.any():
            wrong &= ~state.ties
        else:
            more = _look_at(program, state, missed)
            stuck = _stuck(program, state, missed)
            lacking |= bool(stuck.any())
            wrong |= stuck & (np.abs(reduced) <= state.reach) & open_
            if not more and not wrong.any() and not (lacking and complete):
                return lacking
            if lacking and state.reach > dearest and not complete:
                # What it lacks may be among the columns left out.
                state.reach = reach
                return True
            if lacking and state.reach > dearest:
                message = "INFEASIBLE linear program"
                raise SolverError(message)
            if lacking:
                state.reach *= _FARTHER
        state.free |= wrong
        state.stale |= wrong


def _join(program: Program, state: _State, reduced: Floats, missed: Flags, wrong: Flags) -> None:
    """Go on with ties like other columns, the wrong ones free, once the parts are solved apart.

    Prices are nearly right now, so only columns near a change at them stay free and only rows
    without room are looked at: few parts have something to do with a tie or a missed row.
    """
    inside = (state.values > program.lower + FACE) & (state.values < program.upper - FACE)
    # Where only a tie can give way, its whole gain may end up in the price of one row.
    giving = np.zeros_like(wrong)
    giving[program.columns[missed[program.rows]]] = True
    wrong = wrong | (giving & state.ties)
    state.free &= inside | (np.abs(reduced) <= _NARROW * state.band)
    state.free |= wrong
    activity = program.activity(state.values)
    room = np.minimum(activity - program.row_lower, program.row_upper - activity)
    state.live &= missed | (np.abs(state.duals) > FACE) | (room < _ROOM)
    state.stale[:] = wrong
    _again(program, state, missed)
    state.ties[:] = False
    # What rows missed leaves the basis: they are just not met yet.
    state.basis.rows[(state.missing == At.BASIC).any(axis=0)] = At.BASIC
    state.missing[:] = At.LOWER


def _look_at(program: Program, state: _State, missed: Flags) -> bool:
    """Look at rows that had room and are missed now; False where there is none."""
    more = missed & ~state.live
    state.live |= more
    _again(program, state, more)
    return bool(more.any())


def _again(program: Program, state: _State, rows: Flags) -> None:
    """Solve the parts that are in these rows again."""
    state.stale[program.columns[rows[program.rows]]] = True
    state.stale &= state.free


def _no_basis(program: Program) -> Basis:
    """Nothing known of any column or row."""
    return Basis(
        columns=np.full(program.objective.size, At.NOT_KNOWN, dtype=np.int8),
        rows=np.full(program.row_lower.size, At.NOT_KNOWN, dtype=np.int8),
    )


def _nothing_missing(program: Program) -> Places:
    return np.full((2, program.row_lower.size), At.LOWER, dtype=np.int8)


def _nearest_bound(program: Program) -> Floats:
    """Zero, or the bound that is nearest to it."""
    found: Floats = np.clip(0.0, program.lower, program.upper)
    return found


def _guess(program: Program, start: Start, open_: Flags, band: float) -> _State:
    """Hold the columns that the guess puts clearly at one bound.

    The duals of rows that nobody is free in stay as guessed where the row binds.
    """
    choices = choices_of(program, start.choices)
    guess = start.duals.copy()
    guess[choices.rows] = 0.0
    reduced = reduced_costs(program, guess)
    best = best_of(choices, reduced)
    guess[choices.rows] = best
    # A column that loses to another of its order is out, one without a rival is in.
    rest = reduced[choices.column] / choices.value
    rival = rest >= best[choices.of] - band
    rivals = np.bincount(choices.of[rival], minlength=choices.rows.size)
    alone = rival & (rivals[choices.of] == 1) & (best[choices.of] > band)
    reduced = reduced_costs(program, guess)
    above = (reduced > band) & np.isfinite(program.upper)
    below = (reduced < -band) & np.isfinite(program.lower)
    above[choices.column[alone]] = True
    values = np.clip(start.values, program.lower, program.upper)
    values[above], values[below] = program.upper[above], program.lower[below]
    ties = np.zeros(open_.size, dtype=np.bool_)
    ties[start.ties] = True
    ties &= open_
    low, high = program.lower[ties], program.upper[ties]
    near = _NEARLY * (high - low)
    at = np.clip(start.values[ties], low, high)
    values[ties] = np.where(at <= low + near, low, np.where(at >= high - near, high, at))
    free = open_ & ~above & ~below & ~ties
    duals = np.where(_binding(program, values, guess), guess, 0.0)
    return _State(
        values=values,
        duals=duals,
        free=free,
        stale=free.copy(),
        live=_bounded(program),
        ties=ties,
        guess=guess,
        reach=_REACH * band,
        band=band,
        basis=_no_basis(program),
        missing=_nothing_missing(program),
        choices=choices,
    )


def _price_choices(program: Program, state: _State) -> None:
    """Set the duals of choices in which nobody is free."""
    choices = state.choices
    if choices.rows.size == 0:
        return
    held = np.ones(choices.rows.size, dtype=np.bool_)
    held[choices.of[state.free[choices.column]]] = False
    # A row that does not bind has no dual.
    used = np.bincount(
        choices.of,
        weights=choices.value * state.values[choices.column],
        minlength=choices.rows.size,
    )
    full = used >= program.row_upper[choices.rows] - FACE
    state.duals[choices.rows[held]] = 0.0
    best = best_of(choices, reduced_costs(program, state.duals))
    state.duals[choices.rows[held & full]] = best[held & full]


def _binding(program: Program, values: Floats, duals: Floats) -> Flags:
    """Rows at the bound that the sign of their dual names."""
    activity = program.activity(values)
    at_upper = (duals > 0) & (activity >= program.row_upper - FACE)
    at_lower = (duals < 0) & (activity <= program.row_lower + FACE)
    return at_upper | at_lower


def _wrong(program: Program, state: _State, reduced: Floats) -> Flags:
    """Held columns that would gain by moving."""
    at_lower, at_upper = state.values <= program.lower, state.values >= program.upper
    gains = ((reduced > FACE) & ~at_upper) | ((reduced < -FACE) & ~at_lower)
    return gains & ~state.free


def _stuck(program: Program, state: _State, missed: Flags) -> Flags:
    """Held columns of rows that are missed although nobody in them is free."""
    rows = missed.copy()
    rows[program.rows[state.free[program.columns]]] = False
    found = np.zeros(state.free.size, dtype=np.bool_)
    found[program.columns[rows[program.rows]]] = True
    return found & ~state.free


def _bounded(program: Program) -> Flags:
    """Rows with a bound."""
    found: Flags = np.isfinite(program.row_lower) | np.isfinite(program.row_upper)
    return found


def _solve_stale(program: Program, state: _State) -> bool:
    """Solve every part that has a stale column; True where held columns leave one infeasible."""
    row_label, column_label = _components(program, state)
    label = np.where(state.free, column_label, -1)
    again = np.zeros(program.objective.size + program.row_lower.size, dtype=np.bool_)
    again[label[state.stale & state.free]] = True
    state.stale[:] = False
    label[~again[label]] = -1
    # Rows that nobody is free in are labelled with themselves, and no part has that label.
    row_of = np.where(again[row_label], row_label, -1)
    of_column, of_row, count = _batches(label, row_of)
    apart = bool(state.ties.any())
    lacking = False
    for part in split_program(program, of_row, of_column, count, state.values):
        basis = _basis_of(program, state, part)
        found = None
        # Without its ties a part lacks something as a rule, and goes on to.
        if not apart:
            try:
                found = solve_linear(part.program, basis, sifted=state.band > 0.0)
            except SolverError:
                if not np.isfinite(state.reach):
                    raise
                lacking = True
                # Its duals name the held columns that would help; then it is solved again.
                state.stale[part.columns] = True
        if found is None:
            found = _solve_elastic(part, state, basis)
        else:
            state.missing[:, part.rows] = At.LOWER
        state.values[part.columns] = found.values[: part.columns.size]
        state.duals[part.rows] = found.row_duals
        if found.basis is not None:
            state.basis.columns[part.columns] = found.basis.columns[: part.columns.size]
            state.basis.rows[part.rows] = found.basis.rows
    return lacking


def _basis_of(program: Program, state: _State, part: Part) -> Basis | None:
    """Where the part was last, new columns at their bound and new rows with room."""
    columns, rows = state.basis.columns[part.columns], state.basis.rows[part.rows]
    if not (columns == At.BASIC).any():
        return None
    at_upper = state.values[part.columns] >= program.upper[part.columns]
    new = columns == At.NOT_KNOWN
    columns[new] = np.where(at_upper, At.UPPER, At.LOWER)[new]
    rows[rows == At.NOT_KNOWN] = At.BASIC
    return Basis(columns=columns, rows=rows)


def _solve_elastic(part: Part, state: _State, basis: Basis | None) -> Solution:
    """The part with rows allowed to be missed, at their guessed dual and ``reach`` more.

    So the duals that come out stay near the guess, and name few held columns.
    """
    program, guess = part.program, state.guess[part.rows]
    size = program.objective.size
    # Where nobody is in, these rows do not hold; with what they miss everything else does.
    activity = program.activity(_nearest_bound(program))
    low = np.flatnonzero(activity < program.row_lower - FACE)
    high = np.flatnonzero(activity > program.row_upper + FACE)
    rows = np.concatenate((low, high))
    more = np.arange(rows.size, dtype=np.int64)
    missed = np.concatenate(
        (np.minimum(guess[low], 0) - state.reach, -np.maximum(guess[high], 0) - state.reach)
    )
    missing = np.concatenate((state.missing[0, part.rows[low]], state.missing[1, part.rows[high]]))
    found = solve_linear(
        Program(
            objective=np.concatenate((program.objective, missed)),
            lower=np.concatenate((program.lower, np.zeros(rows.size))),
            upper=np.concatenate((program.upper, np.full(rows.size, np.inf))),
            whole=np.zeros(size + rows.size, dtype=np.bool_),
            row_lower=program.row_lower,
            row_upper=program.row_upper,
            rows=np.concatenate((program.rows, rows)),
            columns=np.concatenate((program.columns, size + more)),
            values=np.concatenate((program.values, np.where(more < low.size, 1.0, -1.0))),
        ),
        basis and Basis(columns=np.concatenate((basis.columns, missing)), rows=basis.rows),
        sifted=state.band > 0.0,
    )
    if found.basis is not None:
        missing = found.basis.columns[size:]
        state.missing[0, part.rows[low]] = missing[: low.size]
        state.missing[1, part.rows[high]] = missing[low.size :]
    return found


def _components(program: Program, state: _State) -> tuple[Integers, Integers]:
    """Label of each row and column: equal where free columns and live rows connect them."""
    # Coordination, whose compiler this is, settles too.
    from clearing.search.components import unite  # noqa: PLC0415

    rows, columns = program.row_lower.size, program.objective.size
    label = np.arange(rows + columns)
    unite(program.rows, program.columns, state.free, state.live, label)
    return label[:rows], label[rows:]


def _batches(of_column: Integers, of_row: Integers) -> tuple[Integers, Integers, int]:
    """Number the labels of columns and rows from zero, small neighbours together."""
    labels, sizes = np.unique(of_column[of_column >= 0], return_counts=True)
    if labels.size == 0:
        return of_column, of_row, 0
    before = sizes.cumsum() - sizes
    _, batch = np.unique(before // _PART_COLUMNS, return_inverse=True)
    number = np.full(int(labels[-1]) + 2, -1, dtype=np.int64)
    number[labels] = batch
    return (
        np.where(of_column >= 0, number[of_column], -1),
        np.where(
            (of_row >= 0) & (of_row <= labels[-1]), number[np.minimum(of_row, labels[-1])], -1
        ),
        int(batch[-1]) + 1,
    )


def _solution(program: Program, state: _State) -> Solution:
    objective = float(program.objective @ state.values)
    return Solution(
        ended=Ended.OPTIMAL,
        values=state.values,
        objective=objective,
        bound=objective,
        row_duals=state.duals,
        reduced_costs=reduced_costs(program, state.duals),
    )
