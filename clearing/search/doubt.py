"""What a guess at the solution of a linear program is worth: columns that are beyond doubt.

Most columns of a market are far from changing sides, and a program without them is a tenth of the
whole. Whether they really are is checked with the duals that come out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from clearing.program import Flags, Floats, Integers, Program
from clearing.solver import FACE

_BAND: Final = 0.03
"""Reduced costs below this share of a typical price are not clearly one-sided, where nothing is
known of the duals."""

_DOUBT: Final = 4.0
"""Bands from its bound at which a column is there beyond doubt, until everything else is solved."""

_CHUNK: Final = 2**20
"""Entries looked at together: a large book has few that are not those of a fixed column."""

_MISSED: Final = 1e-7
"""Share of its activity by which a row may miss its bound: solvers do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where to look for the solution of a program.

    Attributes:
        values: Column values near a solution; they need not be feasible.
        duals: Row duals near a solution, in the solver's sign.
        choices: Rows "at most" of orders that choose among their own columns, each column in one
            of them at most: their duals follow from those of the other rows.
        ties: Columns, few of which end between their bounds, that join parts which share nothing
            else.
        error: Share of a typical price that the duals may be off by.
    """

    values: Floats
    duals: Floats
    choices: Integers
    ties: Integers
    error: float = _BAND


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Entries of the rows in which an order chooses among its columns.

    Attributes:
        rows: The rows.
        of: Position in ``rows`` of each entry, ``column`` and ``value`` of it.
    """

    rows: Integers
    of: Integers
    column: Integers
    value: Floats


def choices_of(program: Program, rows: Integers) -> Choices:
    """Entries of these rows."""
    position = np.full(program.row_lower.size, -1, dtype=np.int64)
    position[rows] = np.arange(rows.size)
    entry = np.flatnonzero(position[program.rows] >= 0)
    return Choices(
        rows=rows,
        of=position[program.rows[entry]],
        column=program.columns[entry],
        value=program.values[entry],
    )


def best_of(choices: Choices, reduced: Floats) -> Floats:
    """Dual of each choice: what its best column gains per unit of the row, 0 where none does."""
    best = np.zeros(choices.rows.size)
    np.maximum.at(best, choices.of, reduced[choices.column] / choices.value)
    return best


def narrowed(
    program: Program, start: Start, choices: Choices, open_: Flags, band: float
) -> Program:
    """The program with columns fixed that the guess puts at one bound beyond any doubt.

    Args:
        program: The whole.
        start: The guess.
        choices: Entries of its rows of choice.
        open_: Columns that could be anything.
        band: As ``band_of`` says.
    """
    guess = start.duals.copy()
    guess[choices.rows] = 0.0
    reduced = reduced_costs(program, guess)
    doubt = _DOUBT * band
    near = np.abs(reduced) <= doubt
    best = np.full(choices.rows.size, -np.inf)
    rest = reduced[choices.column] / choices.value
    np.maximum.at(best, choices.of, rest)
    rival = rest >= best[choices.of] - doubt
    rivals = np.bincount(choices.of[rival], minlength=choices.rows.size)
    gains = best > doubt
    sure = (best < -doubt) | (gains & (rivals == 1))
    near[choices.column] = rival & ~sure[choices.of]
    above = (reduced > doubt) & np.isfinite(program.upper)
    above[choices.column] = rival & (gains & sure)[choices.of]
    near |= ~above & ~np.isfinite(program.lower)
    near[start.ties] = True
    held = np.where(above, program.upper, program.lower)
    far = open_ & ~near
    return replace(
        program,
        lower=np.where(far, held, program.lower),
        upper=np.where(far, held, program.upper),
    )


def price_far(
    program: Program, choices: Choices, near: Flags, values: Floats, duals: Floats
) -> Floats:
    """Set the duals of choices all of whose columns were fixed, in place.

    Returns:
        Reduced costs of all columns then.
    """
    kept = np.zeros(choices.rows.size, dtype=np.bool_)
    kept[choices.of[near[choices.column]]] = True
    used = np.bincount(
        choices.of, weights=choices.value * values[choices.column], minlength=choices.rows.size
    )
    full = used >= program.row_upper[choices.rows] - FACE
    duals[choices.rows[~kept]] = 0.0
    reduced = reduced_costs(program, duals)
    best = np.where(~kept & full, best_of(choices, reduced), 0.0)
    duals[choices.rows] += best
    # Each column is in one choice at most.
    reduced[choices.column] -= choices.value * best[choices.of]
    return reduced


def released(
    program: Program,
    choices: Choices,
    far: Flags,
    values: Floats,
    reduced: Floats,
    band: float,
) -> tuple[Flags, Flags]:
    """Fixed columns that are not beyond doubt after all.

    Returns:
        Those that would gain by moving or are in a row that does not hold; with them what fills
        the orders that they belong to, and those whose side the duals make doubtful.
    """
    wrong = (reduced > FACE) & (values < program.upper)
    wrong |= (reduced < -FACE) & (values > program.lower)
    missed = missed_rows(program, values)
    if missed.any():
        wrong[program.columns[missed[program.rows]]] = True
    wrong &= far
    found = wrong.copy()
    if found.any():
        moved = np.zeros(choices.rows.size, dtype=np.bool_)
        moved[choices.of[found[choices.column]]] = True
        filling = values[choices.column] > program.lower[choices.column]
        found[choices.column[moved[choices.of] & filling]] = True
        found |= np.abs(reduced) <= band
    return wrong, found & far


def band_of(program: Program, start: Start, open_: Flags) -> float:
    """Reduced costs above it are clearly one-sided."""
    prices = np.abs(program.objective[open_ & (program.objective != 0)])
    return FACE + (start.error * float(np.median(prices)) if prices.size else 0.0)


def without(program: Program, fixed: Flags) -> Program:
    """The program with what its fixed columns add up to moved into the bounds of the rows."""
    moved = np.zeros(program.row_lower.size)
    kept = [
        first + _hold(program, slice(first, first + _CHUNK), fixed, moved)
        for first in range(0, program.values.size, _CHUNK)
    ]
    entries = np.concatenate([np.zeros(0, dtype=np.int64), *kept])
    return replace(
        program,
        row_lower=program.row_lower - moved,
        row_upper=program.row_upper - moved,
        rows=program.rows[entries],
        columns=program.columns[entries],
        values=program.values[entries],
    )


def _hold(program: Program, part: slice, fixed: Flags, moved: Floats) -> Integers:
    """Entries that are not of fixed columns; what those make of rows goes to ``moved``."""
    # Coordination, whose compiler this is, settles too.
    from clearing.search.components import hold  # noqa: PLC0415

    kept = np.empty(program.columns[part].size, dtype=np.int64)
    count = hold(
        program.rows[part],
        program.columns[part],
        program.values[part],
        fixed,
        program.lower,
        moved,
        kept,
    )
    return kept[:count]


def reduced_costs(program: Program, duals: Floats) -> Floats:
    """Change of the objective per unit of each column at row duals."""
    charged = np.bincount(
        program.columns,
        weights=program.values * duals[program.rows],
        minlength=program.objective.size,
    )
    found: Floats = program.objective - charged
    return found


def missed_rows(program: Program, values: Floats) -> Flags:
    """Rows that do not hold."""
    activity = program.activity(values)
    slack = _MISSED * np.maximum(1.0, np.abs(activity))
    missed: Flags = activity < program.row_lower - slack
    missed |= activity > program.row_upper + slack
    return missed
