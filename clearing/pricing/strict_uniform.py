"""The strict rule: uniform prices at which no accepted family loses, and no side payments.

``PricingRule.STRICT_UNIFORM`` (docs/reference/clearing-rules.md, DESIGN 4.2). The welfare problem
is the master. Where no valid prices keep every accepted family (supply blocks included) from
losing, the accepted decisions may not all be accepted together again, and the master is solved
anew. Madani and Van Vyve, "Computationally efficient MIP formulation and algorithms for European
day-ahead electricity market auctions", European Journal of Operational Research 242 (2015); a
master and price problems also in Martin, Mueller and Pokutta, "Strict linear prices in non-convex
European day-ahead electricity markets", arXiv:1203.4177.

The cut forbids every choice that accepts at least as much, and that loses nothing: prices that
support more would bound the master's welfare by weak duality, so they would support the master's
own choice too. The argument holds for each part of the book that shares no row with the rest, so
each part that fails has a cut of its own. It needs masters that are solved to proof; with less,
the result is strict, and as good as its certified gap says. It also leaves out what a linked
child that loses, carried by its parent, could do for a supply block (ADR 0013).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from clearing.errors import SolverError
from clearing.layout import Choice, Model, Settled
from clearing.market import NONE, Integers
from clearing.pricing.narrowing import bounded, components, with_conditions
from clearing.pricing.no_loss import obstacles
from clearing.pricing.price_choice import Duals, choose_prices
from clearing.pricing.strict_rounding import in_whole
from clearing.search import Approach, choose, settle
from clearing.types import AuctionSpec

MASTERS_MAX: Final = 1_000
"""Masters solved, at most; the last serves divisible orders alone, which have prices."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strict:
    """A choice that uniform prices support, and those prices.

    Attributes:
        duals: Prices that stay without losses when they are rounded.
        masters: How many masters were solved.
        proven: Every one of them to proof.
    """

    choice: Choice
    settled: Settled
    duals: Duals
    masters: int
    proven: bool


def strict(model: Model, spec: AuctionSpec, approach: Approach, seed: bytes) -> Strict:
    """The largest welfare that uniform prices support.

    Args:
        model: Without commitments other than supply blocks, and without restart costs.
        spec: Floor, cap and limits of the search.
        approach: How masters are solved.
        seed: Tie seed.

    Raises:
        SolverError: a master has no solution within its limits, or none is left: a link's least
            flow can force a supply block that no price pays for.
    """
    cuts: tuple[Choice, ...] = ()
    proven = True
    choice: Choice | None = None
    parts: tuple[Integers, Integers] | None = None
    for masters in range(1, MASTERS_MAX + 1):
        last = masters == MASTERS_MAX
        choice = choose(model, spec, Approach.NO_BLOCKS if last else approach, cuts, choice)
        proven = proven and choice.proven and not last
        settled = settle(model, choice)
        duals = choose_prices(model, choice, settled, spec, seed, no_loss=True)
        if duals is not None:
            duals = in_whole(model, choice, settled, duals)
        if duals is not None:
            return Strict(
                choice=choice, settled=settled, duals=duals, masters=masters, proven=proven
            )
        parts = parts or _parts(model)
        cuts += _cuts(model, choice, settled, spec, parts)
    raise SolverError("divisible orders alone have no prices")


def _cuts(
    model: Model,
    choice: Choice,
    settled: Settled,
    spec: AuctionSpec,
    parts: tuple[Integers, Integers],
) -> tuple[Choice, ...]:
    """The accepted decisions of each part of the book that fails; all of them where none does.

    None fails where prices without losses exist and only their rounding is in the way.
    """
    layout = model.layout
    part_of_row, part_of_column = parts
    rows, columns = obstacles(model, choice, settled, spec)
    failing = np.union1d(part_of_row[rows], part_of_column[columns])
    if failing.size == 0:
        return (choice,)
    chosen = part_of_column[layout.chosen : layout.chosen + choice.chosen.size]
    on = np.where(layout.unit_on != NONE, part_of_column[layout.unit_on], NONE)
    found = []
    for part in failing.tolist():
        cut = replace(choice, chosen=choice.chosen & (chosen == part), on=choice.on & (on == part))
        if cut.chosen.any() or cut.on.any():
            found.append(cut)
    return tuple(found) or (choice,)


def _parts(model: Model) -> tuple[Integers, Integers]:
    """Part of the book of each row and each column: what shares a row is one part."""
    program = model.program
    count, columns = program.row_lower.size, program.columns.astype(np.int64)
    rows = program.rows.astype(np.int64)
    face = with_conditions(
        bounded(np.zeros(count), np.ones(count)),
        columns,
        rows,
        np.ones(rows.size),
        np.zeros(program.objective.size),
        np.ones(program.objective.size),
    )
    part_of_row = components(face)
    part_of_column = np.full(program.objective.size, NONE, dtype=np.int64)
    part_of_column[columns] = part_of_row[rows]
    return part_of_row, part_of_column
