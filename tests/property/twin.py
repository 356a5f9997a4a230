"""Brute force for tiny books: every choice of every family, then an exact linear program.

Quantities are continuous where the rules let them be, so the twin's objective is at least that of
any whole-node outcome, and equal to the best of them where the rest is a network with integer data.
A choice is skipped only when an exact bound by weak duality, from a choice that was solved, proves
that it cannot be better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod

from clearing.types import Book
from clearing.units import PPM
from tests.property.simplex import Cut, Infeasible, Program, Tableau
from tests.property.twin_program import Family, TwinProgram


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best that any outcome of a book could reach.

    Attributes:
        objective: Welfare plus restart cost kept, price-seconds.
        welfare: Without the restart cost kept. Where it is negative, nobody gains enough to make
        the
            losers whole.
        shortage: Chips of cover that base load cannot be given, summed over pools and intervals.
        chosen: What is accepted or running there.
        is_whole: All quantities of the solution found are whole chips.
        choices: How many combinations the families have.
        solved: For how many of them the linear program was solved.
    """

    objective: Fraction
    welfare: Fraction
    shortage: Fraction
    chosen: tuple[tuple[object, ...], ...]
    is_whole: bool
    choices: int
    solved: int


def count_choices(book: Book) -> int:
    """Combinations of the families' choices."""
    return prod(len(family.options) for family in TwinProgram(book).families)


def best(book: Book) -> Best | None:
    """The largest objective beside the smallest shortage; None when no outcome is feasible."""
    twin = TwinProgram(book)
    shortage = hold_shortage(twin)
    if shortage is None:
        return None
    order = _Enumeration(twin.families)
    found = order.maximise(Tableau(twin.program))
    if found is None:
        return None
    objective, chosen, values = found
    values |= {twin.program.decisions[k]: Fraction(1) for k in chosen}
    names = [twin.meaning[twin.program.decisions[k]] for k in chosen]
    return Best(
        objective=objective,
        welfare=objective - sum(k * values.get(c, Fraction(0)) for c, k in twin.kept.items()),
        shortage=shortage / PPM,
        chosen=tuple(sorted(names, key=str)),
        is_whole=all(v.denominator == 1 for c, v in values.items() if c not in twin.short),
        choices=prod(len(family.options) for family in twin.families),
        solved=order.solved,
    )


def hold_shortage(twin: TwinProgram) -> Fraction | None:
    """Bound what base load may lack of its cover, in millionths of a chip, and say by how much.

    It is the least that supply alone leaves, before anything is bought; where a forced flow or a
    balance with equality leaves no solution without buying, divisible bids may be served, and at
    last blocks too. None when that does not help either.
    """
    if not twin.short:
        return Fraction(0)
    supply = [family for family in twin.families if not family.is_demand]
    for closed, families in ((twin.bought, supply), ([], supply), ([], twin.families)):
        least = Program(gain=[0] * len(twin.program.gain), decisions=list(twin.program.decisions))
        least.rows, least.limits = dict(twin.program.rows), dict(twin.program.limits)
        for column in twin.short:
            least.gain[column] = -1
        for column in closed:
            least.put(("nothing bought", column), column, 1)
        found = _Enumeration(families).maximise(Tableau(least))
        if found is not None:
            shortage = -found[0]
            for column in twin.short:
                twin.program.put(("shortage",), column, shortage.denominator)
            twin.program.limit(("shortage",), shortage.numerator)
            return shortage
    return None


class TooLargeError(Exception):
    """A question about whole nodes that takes more programs than the caller allows."""


def is_reached(book: Book, amount: int) -> bool:
    """Whether some outcome in whole nodes has an objective above ``amount``."""
    return best_in_nodes(book, above=amount, first=True) is not None


def best_in_nodes(
    book: Book, *, above: int, first: bool = False, programs_max: int = 2_000
) -> Fraction | None:
    """The largest objective in whole nodes, for books whose base load has its cover.

    Depth-first over the choices and, in each, over the quantities that are no whole node: one
    branch rounds such a quantity down, the other up. None when nothing lies above ``above``; with
    ``first`` whatever lies above it will do.

    Raises:
        TooLargeError: ``programs_max`` linear programs did not settle it.
    """
    twin = TwinProgram(book)
    hold_shortage(twin)
    order = _Enumeration(twin.families)
    tableau = Tableau(twin.program)
    top = Fraction(above)
    promising = []
    for chosen in order.by_bound():
        try:
            value, cut = tableau.solve(chosen)
        except Infeasible as proof:
            order.learn(proof.args[0])
            continue
        order.learn(cut)
        if value > top:
            promising.append((value, chosen))
    solved = 0
    stack: list[tuple[tuple[int, ...], tuple[_Limit, ...]]]
    stack = [(chosen, ()) for _, chosen in sorted(promising)]
    while stack and not (first and top > above):
        solved += 1
        if solved > programs_max:
            raise TooLargeError
        chosen, limits = stack.pop()
        narrowed = Tableau(_narrowed(twin.program, limits))
        try:
            value, _ = narrowed.solve(chosen)
        except Infeasible:
            continue
        if value <= top:
            continue
        values = narrowed.values(chosen)
        split = next((c for c, node in twin.node.items() if values[c] % node), None)
        if split is None:
            top = value
            continue
        nodes = int(values[split] // twin.node[split])
        stack.append((chosen, (*limits, (split, -1, -(nodes + 1) * twin.node[split]))))
        stack.append((chosen, (*limits, (split, 1, nodes * twin.node[split]))))
    return top if top > above else None


_Limit = tuple[int, int, int]
"""Column, weight, and the most that weight x column may be."""


def _narrowed(given: Program, limits: Sequence[_Limit]) -> Program:
    program = Program(gain=list(given.gain), decisions=list(given.decisions))
    program.limits = dict(given.limits)
    program.rows = dict(given.rows)
    for number, (column, weight, most) in enumerate(limits):
        program.put(("branch", number), column, weight)
        program.limit(("branch", number), most)
    return program


def best_strict(book: Book) -> Fraction | None:
    """The largest welfare at which no accepted family loses at some valid prices (STRICT_UNIFORM).

    Prices support a choice exactly when, with the accepted families alone and each of them free to
    shrink to any share of itself, none gains by shrinking: the optimum stays where all are whole
    (the duals of that program are the prices). Only for books without base load that lacks cover.
    """
    twin = TwinProgram(book)
    tableau = Tableau(twin.program)
    order = _Enumeration(twin.families)
    top: Fraction | None = None
    for chosen in order.by_bound():
        if top is not None and order.current is not None and order.current <= top:
            break
        try:
            value, cut = tableau.solve(chosen)
        except Infeasible as proof:
            order.learn(proof.args[0])
            continue
        order.learn(cut)
        if (top is None or value > top) and _relaxed(twin, chosen) == value:
            top = value
    return top


def _relaxed(twin: TwinProgram, chosen: Sequence[int]) -> Fraction:
    """The optimum when every accepted family may run at any share of itself."""
    given = twin.program
    shares: dict[int, list[int]] = {}
    for number, family in enumerate(twin.families):
        members = {k for option in family.options for k in option}
        picked = [given.decisions[k] for k in chosen if k in members]
        if picked:
            shares[number] = picked
    program = Program(gain=list(given.gain))
    program.limits = dict(given.limits)
    program.rows = {name: dict(row) for name, row in given.rows.items()}
    left_out = set(given.decisions)
    for picked in shares.values():
        share = program.column(sum(given.gain[c] for c in picked))
        for row in program.rows.values():
            weight = sum(row.get(c, 0) for c in picked)
            if weight:
                row[share] = weight
        program.put(("share", share), share, 1)
        program.limit(("share", share), 1)
    program.decisions = sorted(left_out)
    return Tableau(program).solve(())[0]


class _Enumeration:
    """All combinations of choices, the most promising first, none left out unless a bound proves it
    worse."""

    def __init__(self, families: Sequence[Family]) -> None:
        self.choices = [
            tuple(k for option in picked for k in option)
            for picked in product(*(family.options for family in families))
        ]
        self.bounds: list[Fraction | None] = [None] * len(self.choices)
        self.alive = set(range(len(self.choices)))
        self.solved = 0
        self.current: Fraction | None = None

    def maximise(
        self, tableau: Tableau
    ) -> tuple[Fraction, tuple[int, ...], dict[int, Fraction]] | None:
        """The best objective, its choice and its quantities; None when no choice is feasible."""
        top: tuple[Fraction, tuple[int, ...]] | None = None
        for chosen in self.by_bound():
            if top is not None and self.current is not None and self.current <= top[0]:
                break
            try:
                value, cut = tableau.solve(chosen)
            except Infeasible as proof:
                self.learn(proof.args[0])
                continue
            self.learn(cut)
            if top is None or value > top[0]:
                top = value, chosen
        if top is None:
            return None
        tableau.solve(top[1])
        return *top, tableau.values(top[1])

    def by_bound(self) -> Iterator[tuple[int, ...]]:
        while self.alive:
            # An unknown bound is above every other.
            number = min(self.alive, key=lambda n: (_descending(self.bounds[n]), n))
            self.alive.remove(number)
            self.solved += 1
            self.current = self.bounds[number]
            yield self.choices[number]

    def learn(self, cut: Cut) -> None:
        for number in list(self.alive):
            value = cut.at(self.choices[number])
            if cut.feasibility:
                if value < 0:
                    self.alive.remove(number)
                continue
            known = self.bounds[number]
            if known is None or value < known:
                self.bounds[number] = value


def _descending(bound: Fraction | None) -> tuple[int, Fraction]:
    return (0, Fraction(0)) if bound is None else (1, -bound)
