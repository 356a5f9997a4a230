"""Choices of large books: a smoothed dual, decisions in rounds at its prices, a bound by its value.

No solver holds a book of a hundred thousand gangs as one program. Here every order answers prices
on its
own; Newton's method finds the prices that balance the answers (``path``), blocks are decided from
the largest to the smallest while the prices are solved again (``rounds``), and the dual value at
the
best prices bounds what any other decisions could reach. The same arrays give the same result on
every host:
sums have a fixed order, there is one thread, and limits are counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.layout import Choice, Model
from clearing.market import NONE
from clearing.memory import Memory
from clearing.model import with_runs
from clearing.program import Floats
from clearing.search.coordinate.dual import evaluate, new_answer
from clearing.search.coordinate.hint import column_values, row_duals
from clearing.search.coordinate.newton import new_vectors
from clearing.search.coordinate.path import descend, first_guess, set_scales
from clearing.search.coordinate.problem import Problem
from clearing.search.coordinate.reading import chips_per_node, read_problem
from clearing.search.coordinate.remembered import keep, recalled
from clearing.search.coordinate.rounds import appraise, decide_all, is_bulky, rank
from clearing.search.coordinate.steep import prove
from clearing.search.shortage import least_shortage
from clearing.types import AuctionSpec

__all__ = ["choose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Effort:
    """How far to go.

    Attributes:
        ladder: Temperatures of the bound, falling.
        tolerance: Imbalance in money at which a minimiser is good enough.
        dive: Temperature of the decisions, one of the ladder's.
        shares: Share of the volume of blocks that is decided after each round but the last.
        steps: Newton steps between rounds.
        balance: Imbalance in money at which prices are good enough for the next round.
        last: Temperatures at which the decisions are appraised.
        bulky: The same where blocks fill a good part of their pools: one in the wrong place keeps
            others out. Much larger blocks come first there, and those of a round count on one
            another to move. None where the time for more rounds is not there.
        bound: Temperatures of the bound with whole nodes of cover, begun on the ladder; or none.
    """

    ladder: tuple[float, ...]
    tolerance: float
    dive: float
    shares: tuple[float, ...]
    steps: int
    balance: float
    last: tuple[float, ...]
    bulky: tuple[float, ...] = ()
    bound: tuple[float, ...] = ()


_USUAL: Final = _Effort(
    ladder=(0.1, 0.03, 0.01, 0.003, 0.001),
    tolerance=2e-3,
    dive=0.001,
    shares=(0.3, 0.5, 0.7, 0.85, 0.93, 0.98),
    steps=12,
    balance=2e-3,
    last=(0.0003,),
    bulky=(*(0.05 * part for part in range(1, 11)), 0.6, 0.7, 0.85, 0.93, 0.98),
    bound=(0.003, 0.001, 0.0003, 0.0001),
)
_LARGE: Final = _Effort(
    ladder=(0.1, 0.03, 0.01, 0.003, 0.001),
    tolerance=5e-3,
    dive=0.001,
    shares=(0.4, 0.7, 0.92),
    steps=6,
    balance=2e-3,
    last=(0.001,),
)
_AGAIN: Final = _Effort(
    ladder=(0.003, 0.001),
    tolerance=2e-3,
    dive=0.001,
    shares=(0.4, 0.7, 0.9),
    steps=6,
    balance=4e-3,
    last=(0.0003,),
    bulky=_USUAL.bulky,
    bound=(0.001, 0.0003, 0.0001),
)
"""From the prices of the last auction: fewer and larger rounds do as well where most of a book
is as it was."""

_LARGE_ALTERNATIVES: Final = 200_000
_SETTLED_WITHIN: Final = 30.0
"""Temperatures within which the prices of what is left are right, but for a few."""


def choose(model: Model, spec: AuctionSpec, memory: Memory | None = None) -> Choice:
    """Choose alternatives and commitments of a large book.

    Args:
        model: Problem.
        spec: Of its book; its limits are not read, those here are fixed counts.
        memory: Of the auction before; it is left with what this one found.

    Returns:
        Decisions that leave room for themselves in whole nodes, cover and site power included;
        never called proven. ``row_duals`` price what they leave divisible, ``bound_duals`` are
        the multipliers of the best bound.
    """
    market, layout = model.market, model.layout
    short = least_shortage(model)
    columns = np.zeros(model.program.objective.size)
    columns[model.penalties] = short
    node = chips_per_node(market)
    waived = np.where(layout.short == NONE, 0.0, columns[np.maximum(layout.short, 0)])
    held = layout.backing_short
    backing = np.where(held == NONE, 0.0, columns[np.maximum(held, 0)])
    home = market.base.backed_place // market.grid.intervals
    problem = read_problem(market, waived * node, backing * market.grid.node[home])
    answer, vectors = new_answer(problem), new_vectors(problem.places.size)
    begin = None if memory is None else recalled(memory, market, spec, problem)
    effort = _effort(problem, again=begin is not None)
    if begin is None:
        begin = first_guess(problem)
    bulky = bool(effort.bulky) and is_bulky(problem)
    descent = descend(problem, begin, answer, vectors, effort.ladder, tolerance=effort.tolerance)
    minimiser = descent.minimisers[effort.ladder.index(effort.dive)]
    if memory is not None:
        keep(memory, market, spec, problem, minimiser)
    proof = prove(market, problem, descent, answer, vectors, waived, effort.ladder, effort.bound)
    state = decide_all(
        market,
        problem,
        minimiser,
        effort.dive,
        answer,
        vectors,
        _bonus(model)[problem.picks.source],
        waived,
        rank(market, problem, effort.bulky if bulky else effort.shares, by_size=bulky),
        effort.steps,
        effort.balance,
        joint=bulky,
    )
    decided = appraise(state, effort.last)
    tau = effort.last[-1]
    set_scales(problem, decided.multipliers)
    answer.soft[:] = tau * problem.places.ref[: answer.soft.size]
    evaluate(problem, decided.multipliers, tau, answer, vectors.slope)
    chosen = np.zeros(market.blocks.order.size, dtype=np.bool_)
    chosen[problem.picks.source[decided.taken[decided.taken >= 0]]] = True
    x = decided.multipliers
    hint = column_values(with_runs(model, spec, chosen), problem, x, tau, answer, decided.taken)
    duals = row_duals(model, problem, x, answer)
    return Choice(
        proven=False,
        chosen=chosen,
        on=decided.on.reshape(market.units.offered.shape),
        short=short,
        row_duals=duals,
        hint=hint,
        hint_duals=duals,
        hint_error=_SETTLED_WITHIN * tau,
        bound_duals=row_duals(model, proof.problem, proof.multipliers, answer, proof.steep),
        whole_duals=proof.whole_duals,
    )


def _effort(problem: Problem, *, again: bool) -> _Effort:
    if problem.picks.order.size > _LARGE_ALTERNATIVES:
        return _LARGE
    return _AGAIN if again else _USUAL


def _bonus(model: Model) -> Floats:
    """Tie credit of each alternative at full fill, US dollars per hour."""
    layout, blocks = model.layout, model.market.blocks
    count = blocks.order.size
    bonus = model.credits[layout.chosen : layout.chosen + count].copy()
    there = layout.fill != NONE
    bonus[there] += (model.credits[layout.fill[there]]) * (blocks.most - blocks.least)[there]
    return bonus
