"""The exact simplex of the twin against every vertex of small polytopes."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tests.property.simplex import Infeasible, Program, Tableau

WEIGHTS = st.integers(-4, 6)
Line = tuple[list[int], int]


@st.composite
def programs(draw: st.DrawFn) -> tuple[Program, list[Line], list[int], int]:
    """A bounded program in two quantities and up to two decisions, with its rows written out."""
    program = Program()
    decisions = draw(st.integers(0, 2))
    columns = [program.column(draw(WEIGHTS)) for _ in range(2)]
    columns += [program.decision(draw(WEIGHTS)) for _ in range(decisions)]
    lines: list[Line] = []
    for row in range(draw(st.integers(0, 4))):
        weights = [draw(WEIGHTS) for _ in columns]
        limit = draw(st.integers(-3, 12))
        for column, weight in zip(columns, weights, strict=True):
            program.put(("row", row), column, weight)
        program.limit(("row", row), limit)
        lines.append((weights, limit))
    for column in columns[:2]:
        program.put(("most", column), column, 1)
        program.limit(("most", column), 7)
    return program, lines, list(program.gain), decisions


def best_vertex(lines: list[Line], gain: list[int], chosen: tuple[int, ...]) -> Fraction | None:
    fixed = [(w[:2], limit - sum(w[2 + k] for k in chosen)) for w, limit in lines]
    fixed += [([1, 0], 7), ([0, 1], 7), ([-1, 0], 0), ([0, -1], 0)]
    top: Fraction | None = None
    for (a, b), (c, d) in combinations(fixed, 2):
        determinant = a[0] * c[1] - a[1] * c[0]
        if determinant == 0:
            continue
        x = Fraction(b * c[1] - a[1] * d, determinant)
        y = Fraction(a[0] * d - b * c[0], determinant)
        if all(w[0] * x + w[1] * y <= limit for w, limit in fixed):
            value = gain[0] * x + gain[1] * y + sum(gain[2 + k] for k in chosen)
            top = value if top is None else max(top, value)
    return top


@given(programs())
def test_every_set_of_decisions_has_the_value_of_its_best_vertex(
    drawn: tuple[Program, list[Line], list[int], int],
) -> None:
    program, lines, gain, decisions = drawn
    tableau = Tableau(program)
    for chosen in [(), (0,), (1,), (0, 1)]:
        if any(k >= decisions for k in chosen):
            continue
        expected = best_vertex(lines, gain, chosen)
        try:
            value, _ = tableau.solve(chosen)
        except Infeasible:
            assert expected is None
        else:
            assert value == expected
            quantities = tableau.values(chosen)
            reached = sum((gain[c] * x for c, x in quantities.items()), Fraction(0))
            assert reached + sum(gain[2 + k] for k in chosen) == value


@given(programs())
def test_a_cut_bounds_every_other_set_of_decisions(
    drawn: tuple[Program, list[Line], list[int], int],
) -> None:
    program, lines, gain, decisions = drawn
    tableau = Tableau(program)
    everything = [c for c in [(), (0,), (1,), (0, 1)] if all(k < decisions for k in c)]
    for chosen in everything:
        try:
            _, cut = tableau.solve(chosen)
        except Infeasible as proof:
            cut = proof.args[0]
            assert cut.at(chosen) < 0
        for other in everything:
            expected = best_vertex(lines, gain, other)
            if expected is not None:
                assert cut.at(other) >= (0 if cut.feasibility else expected)
