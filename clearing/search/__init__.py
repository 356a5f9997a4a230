"""How the decisions of an auction are made, and what is left once they are.

``choose`` decides which block bids are accepted where and which offers with a commitment are on;
``settle`` solves the linear problem that prices come from; ``prove`` bounds by branching what any
other decisions could reach. Small and thin books are searched exactly, large ones by coordination.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from clearing.errors import SolverError
from clearing.layout import Choice, Model, Settled
from clearing.memory import Memory
from clearing.model import with_runs
from clearing.search import exact
from clearing.search.approach import Approach
from clearing.search.branching import BranchLeaf, Proof, prove
from clearing.search.settling import settle
from clearing.types import AuctionSpec

__all__ = [
    "Approach",
    "BranchLeaf",
    "Choice",
    "Proof",
    "Settled",
    "choose",
    "is_large",
    "prove",
    "settle",
]

_ENTRIES_MAX: Final = 80_000
"""Books with more matrix entries are large: one relaxation takes half a second there."""

_BINARIES_MAX: Final = 150
"""Books with no more binaries are searched without a choice to begin with."""


def is_large(model: Model) -> bool:
    """Whether a book is coordinated instead of searched exactly: a rule of counts alone."""
    return model.program.values.size > _ENTRIES_MAX


def choose(
    model: Model,
    spec: AuctionSpec,
    approach: Approach = Approach.USUAL,
    cuts: tuple[Choice, ...] = (),
    before: Choice | None = None,
    memory: Memory | None = None,
) -> Choice:
    """Choose alternatives and commitments for the largest welfare plus tie credit.

    Large books are coordinated. Between them and small ones a coordinated choice begins the exact
    search, unless offers have commitments, which prices alone decide badly.

    Args:
        model: Problem.
        spec: Limits, as counts.
        approach: See ``Approach``; a large book has the usual one and the one without blocks.
        cuts: Earlier choices, none of which may be accepted again as a whole; with them a book
            is searched exactly whatever its size.
        before: What was chosen with fewer cuts, whose search goes on (and ends as its own).
        memory: Prices of the auction before, where a large book is to begin with them.

    Raises:
        SolverError: no solution within the limits.
    """
    if cuts:
        everything = with_runs(model, spec, np.ones_like(model.written))
        return exact.choose(everything, spec, approach, cuts, before=before)
    large = is_large(model)
    if approach is Approach.USUAL and (large or _is_plain(model)):
        choice = _coordinate(model, spec, memory if large else None)
        if large:
            return choice
        found = exact.choose(model, spec, start=choice)
        return replace(found, bound_duals=choice.bound_duals, whole_duals=choice.whole_duals)
    if not large:
        return exact.choose(model, spec, approach)
    if approach is not Approach.NO_BLOCKS:
        message = f"LIMIT a large book has no approach {approach.value}"
        raise SolverError(message)
    choice = _coordinate(model, spec)
    nothing = np.zeros_like(choice.chosen)
    return replace(choice, proven=False, chosen=nothing, hint=np.zeros(0))


def _is_plain(model: Model) -> bool:
    """Many alternatives of blocks, and no commitments."""
    binaries, alternatives = int(model.program.whole.sum()), model.market.blocks.order.size
    return binaries == alternatives > _BINARIES_MAX


def _coordinate(model: Model, spec: AuctionSpec, memory: Memory | None = None) -> Choice:
    # Compiled loops take a while to load; small books do without them.
    from clearing.search import coordinate  # noqa: PLC0415

    return coordinate.choose(model, spec, memory)
