"""All decisions, in rounds from the largest to the smallest, with the dual solved between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.market import NONE, Flags, Integers, Market
from clearing.program import Floats
from clearing.search.coordinate.dive import Local, decide, fix_loads, measure, new_local
from clearing.search.coordinate.dual import Answer, exact_value
from clearing.search.coordinate.newton import Vectors, minimise
from clearing.search.coordinate.path import DAMPING, set_scales
from clearing.search.coordinate.picks import FILLING
from clearing.search.coordinate.plans import (
    add_units,
    decide_units,
    drop_unsold,
    move_links,
    name_backups,
    start_links,
)
from clearing.search.coordinate.problem import Problem
from clearing.search.coordinate.room import Room, new_room, open_room

_LEAST_PART: Final = 1e-3
"""An alternative with a smaller share of its pick is not looked at."""

_BULKY: Final = 0.125
_BULKY_SHARE: Final = 0.1
"""A block with such a part of its pool is bulky; a book is with such a share in such blocks."""

_FIRMNESS: Final = 1e-3
_OWN: Final = 1.0

_TOLERANCE: Final = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """Families by size, the largest first.

    Attributes:
        order: Picks by family, parents before their children.
        start: Families as ranges of ``order``, ragged.
        round_of_family: Round in which each family of the ranking is decided.
        round_of: The same by pick.
    """

    order: Integers
    start: Integers
    round_of_family: Integers
    round_of: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decided:
    """Decisions and the multipliers that balance what they leave divisible.

    Attributes:
        taken: Alternative of each pick, or -1.
        on: Per unit and interval, flat.
        value: What the decisions reach at most, US dollars per hour: their worth and the dual
            of all that is left.
        multipliers: Where that dual was evaluated.
    """

    taken: Integers
    on: Flags
    value: float
    multipliers: Floats


def is_bulky(problem: Problem) -> bool:
    """Whether much of what blocks ask for comes in pieces that fill a good part of a pool."""
    picks, places = problem.picks, problem.places
    supply = places.depth[: places.pools * places.intervals].reshape(places.pools, -1)
    most = supply.max(axis=1)
    volume = picks.chips * (picks.stop - picks.first)
    bulky = volume[picks.least > _BULKY * most[picks.pool]].sum()
    return bool(bulky > _BULKY_SHARE * volume.sum())


def rank(
    market: Market, problem: Problem, shares: tuple[float, ...], *, by_size: bool = False
) -> Ranking:
    """Sort families by the volume of their largest alternative and deal them out to rounds.

    Args:
        market: Whose families.
        problem: Its picks.
        shares: Of the volume of all, that is decided after each round but the last.
        by_size: Families with more than twice the chips come first, however short they run.
    """
    picks = problem.picks
    count = picks.start.size - 1
    family = market.blocks.family_of_pick
    volume = picks.chips * (picks.stop - picks.first)
    of_pick = np.zeros(count)
    np.maximum.at(of_pick, np.arange(count).repeat(np.diff(picks.start)), volume)
    of_family = np.zeros(market.blocks.families)
    np.maximum.at(of_family, family, of_pick)
    depth = np.zeros(count, dtype=np.int64)
    depth[picks.down] = np.arange(1, picks.down.size + 1)
    size = np.zeros(market.blocks.families)
    if by_size:
        of_alternative = family.repeat(np.diff(picks.start))
        np.maximum.at(size, of_alternative, np.floor(np.log2(np.maximum(1.0, picks.chips))))
    order = np.lexsort((depth, family, -of_family[family], -size[family]))
    changes = np.flatnonzero(np.diff(family[order])) + 1
    start = np.concatenate(([0], changes, [count])) if count else np.zeros(1, dtype=np.int64)
    total = np.add.reduceat(of_pick[order], start[:-1]) if count else np.zeros(0)
    before = total.cumsum() - total
    rounds = np.searchsorted(np.array(shares) * max(1e-9, total.sum()), before, side="right")
    round_of = np.zeros(count, dtype=np.int64)
    round_of[order] = rounds.repeat(np.diff(start))
    return Ranking(
        order=order.astype(np.int64),
        start=start.astype(np.int64),
        round_of_family=rounds,
        round_of=round_of,
    )


@dataclass(slots=True, kw_only=True, eq=False)
class Dive:
    """Decisions under way; ``x`` balances what is still open at temperature ``tau``."""

    market: Market
    problem: Problem
    answer: Answer
    vectors: Vectors
    room: Room
    local: Local
    flow: Integers
    x: Floats
    tau: float
    steps: int
    tolerance: float
    joint: bool
    worth: float = 0.0
    damping: float = DAMPING

    def balance(self) -> None:
        """Solve the dual again."""
        _, damping, _, _, _ = minimise(
            self.problem,
            self.x,
            self.tau,
            self.answer,
            self.vectors,
            self.steps,
            self.tolerance,
            self.damping,
        )
        self.damping = min(damping, 1.0)

    def measure(self, ranking: Ranking, current: int) -> None:
        """Price curves of all places for a round.

        Those that are decided in it are not counted on to move, unless rounds are small.
        """
        measure(
            self.problem,
            self.x,
            self.tau,
            self.answer,
            self.vectors.slope,
            ranking.round_of,
            NONE if self.joint else current,
            _FIRMNESS,
            _OWN,
            self.local,
        )

    def fix(self) -> None:
        """Make the decisions part of the fixed load."""
        answer, units = self.answer, self.problem.units
        self.worth = fix_loads(self.problem, answer, answer.edges, answer.slot_edges)
        on = answer.runs.on.reshape(-1, self.problem.places.intervals) > 0.0
        starts = on.copy()
        starts[:, 1:] &= ~on[:, :-1]
        decided = answer.runs.fixed == 1
        runs = np.where(units.whole, on.any(axis=1), starts.sum(axis=1))
        self.worth -= float((runs * units.start_up)[decided].sum())

    def decide_units(self, ranking: Ranking) -> None:
        """Decide supply with commitments, or decide it again."""
        units = self.problem.units
        if units.pool.size == 0:
            return
        self.measure(ranking, -1)
        order = np.argsort(-units.scale, kind="stable")
        decide_units(self.problem, self.answer, self.room, self.local, order)
        self.fix()
        self.balance()

    def fills(self) -> None:
        """Take the fills that the last dual asked for as decided."""
        picks, odds = self.problem.picks, self.answer.odds
        filling = np.flatnonzero(odds.state == FILLING)
        at = odds.taken[filling]
        self.local.fill[filling] = picks.least[at] + odds.part[at] * picks.extra[at]


def decide_all(
    market: Market,
    problem: Problem,
    x: Floats,
    tau: float,
    answer: Answer,
    vectors: Vectors,
    bonus: Floats,
    waived: Floats,
    ranking: Ranking,
    steps: int,
    tolerance: float,
    *,
    joint: bool,
) -> Dive:
    """Decide everything.

    Args:
        x: Minimiser of the smoothed dual at ``tau``.
        bonus: Tie credit of each alternative at full fill, US dollars per hour.
        waived: Nodes of NODE cover that base load goes without, per place.
        steps: Newton steps between rounds, at most.
        tolerance: Imbalance in money at which prices are good enough for the next round.
        joint: Rounds are small enough for most of their blocks to move still while one is decided.
    """
    room = new_room(market, problem, waived)
    state = Dive(
        market=market,
        problem=problem,
        answer=answer,
        vectors=vectors,
        room=room,
        local=new_local(problem, bonus),
        flow=np.zeros(0, dtype=np.int64),
        x=x.copy(),
        tau=tau,
        steps=steps,
        tolerance=tolerance,
        joint=joint,
    )
    set_scales(problem, state.x)
    state.balance()
    add_units(problem, room)
    state.flow = start_links(problem, room)
    name_backups(market, problem, answer, room)
    open_room(problem.places, room)
    state.decide_units(ranking)
    move_links(problem, answer, room, state.flow)
    rounds = ranking.round_of_family
    for current in range(int(rounds.max(initial=-1)) + 1):
        first, stop = np.searchsorted(rounds, (current, current + 1)).tolist()
        if first < stop:
            _decide_round(state, ranking, current, first, stop)
    if market.equal_balance:
        drop_unsold(problem, answer, room)
        state.fix()
    return state


def _decide_round(state: Dive, ranking: Ranking, current: int, first: int, stop: int) -> None:
    """Decide the families from ``first`` up to ``stop``, and solve the dual again."""
    state.measure(ranking, current)
    begin, end = int(ranking.start[first]), int(ranking.start[stop])
    decide(
        state.problem,
        state.answer,
        state.room,
        state.local,
        ranking.order[begin:end],
        ranking.start[first : stop + 1] - begin,
        _LEAST_PART,
    )
    state.fix()
    state.balance()
    state.fills()
    move_links(state.problem, state.answer, state.room, state.flow)


def appraise(state: Dive, temperatures: tuple[float, ...]) -> Decided:
    """What the decisions are worth, by the dual of what they leave divisible."""
    problem, answer = state.problem, state.answer
    x = state.x.copy()
    best, where = np.inf, x
    damping = DAMPING
    for tau in temperatures:
        x = x.copy()
        _, damping, _, _, _ = minimise(
            problem, x, tau, answer, state.vectors, 2 * state.steps, _TOLERANCE, damping
        )
        value = exact_value(problem, x, answer) + state.worth
        if value < best:
            best, where = value, x
    return Decided(
        taken=answer.odds.taken.copy(),
        on=answer.runs.on > 0.0,
        value=best,
        multipliers=where,
    )
