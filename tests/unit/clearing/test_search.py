"""Choices and settlements of small books against one solver call each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clearing import search
from clearing.book import canonical
from clearing.errors import SolverError
from clearing.layout import Choice, Model
from clearing.market import NONE
from clearing.model import build, fix
from clearing.program import INFINITY
from clearing.reading import read_market
from clearing.search import Approach, choose, exact, settle
from clearing.search.decisions import forbid
from clearing.search.shortage import hold_shortage, least_shortage
from clearing.solver import Ended, Kind, Solution, solve_linear, solve_whole
from clearing.types import Book, Cover, ServiceClass
from clearing.units import Chips, MicroUsd, Ppm, Watts
from tests.benchmarks.grid_books import SPECS, TIE_SEED, generate
from tests.golden.clearing.books import (
    SEED,
    bid,
    book,
    committed,
    gang,
    nomination,
    offer,
    pool,
    site,
)
from tests.property.random_books import random_book
from tests.unit.clearing.small_models import everything, model_of

SEEDS = [seed for seed in range(40) if seed not in {7, 35}]
"""The two books left out have links that must carry what nobody offers."""

INTERRUPTIBLE: dict[str, Any] = {"service_class": ServiceClass.INTERRUPTIBLE}


def held(model: Model, choice: Choice) -> Any:
    """The program with the choice's shortage, objective without credits."""
    return hold_shortage(model, model.program, choice.short)


def reached(model: Model, choice: Choice) -> float:
    """Objective of a choice at its best, without credits."""
    settled = settle(model, choice)
    return float(settled.program.objective @ settled.best)


def grid_model(name: str) -> tuple[Book, Model]:
    given = canonical(generate(SPECS[name]))
    return given, build(read_market(given), given, TIE_SEED)


@pytest.mark.parametrize("seed", SEEDS)
def test_small_books_get_their_best_choice(seed: int) -> None:
    given = canonical(random_book(seed))
    model = build(read_market(given), given, SEED)
    choice = choose(model, given.spec)
    program = held(model, choice)
    credited = replace(program, objective=program.objective + model.credits)
    best = solve_whole(credited, node_limit=10_000)
    near = 1e-6 * max(1.0, abs(best.objective))
    assert choice.proven
    assert float(credited.objective @ choice.hint) == pytest.approx(best.objective, abs=near)


@pytest.mark.parametrize("seed", SEEDS)
def test_settled_books_are_best_and_feasible(seed: int) -> None:
    given = canonical(random_book(seed))
    model = build(read_market(given), given, SEED)
    choice = choose(model, given.spec)
    settled = settle(model, choice)
    program = fix(model, choice)
    alone = solve_linear(program)
    assert float(program.objective @ settled.best) == pytest.approx(alone.objective, abs=1e-6)
    assert float(program.objective @ settled.values) == pytest.approx(alone.objective, abs=1e-6)
    gained = model.credits @ settled.values - model.credits @ settled.best
    assert gained >= -1e-9
    for values in (settled.best, settled.values):
        activity = program.activity(values)
        assert (activity >= program.row_lower - 1e-6).all()
        assert (activity <= program.row_upper + 1e-6).all()
    charged = np.zeros(program.objective.size)
    np.add.at(charged, program.columns, program.values * settled.duals[program.rows])
    assert settled.reduced_costs == pytest.approx(program.objective - charged, abs=1e-6)


@pytest.mark.parametrize("seed", [7, 35])
def test_books_without_a_solution_are_refused_by_type(seed: int) -> None:
    given = canonical(random_book(seed))
    model = build(read_market(given), given, SEED)
    with pytest.raises(SolverError, match="INFEASIBLE"):
        choose(model, given.spec)


def test_every_kind_at_once_is_chosen_and_settled() -> None:
    model = model_of(everything())
    choice = choose(model, everything().spec)
    program = held(model, choice)
    assert choice.proven
    assert reached(model, choice) == pytest.approx(
        solve_whole(program, node_limit=10_000).objective, rel=1e-6
    )


def test_a_credit_breaks_a_tie_and_buys_no_trade() -> None:
    # Two gangs alike fit one at a time; a third pays a tick more and beats both credits.
    alike = [gang(name, 8, "3") for name in ("g", "h")]
    model = model_of(book(offer("S", (8, "1")), *alike))
    chosen = choose(model, book().spec).chosen
    credit = model.credits[model.layout.chosen :][: chosen.size]
    assert chosen.tolist() == (credit == credit.max()).tolist()
    model = model_of(book(offer("S", (8, "1")), *alike, gang("k", 8, "3.001")))
    assert choose(model, book().spec).chosen.tolist() == [False, False, True]


def test_cuts_forbid_earlier_choices_and_nothing_else() -> None:
    given = book(
        offer("S", (8, "1")),
        offer("U", (8, "1"), commitment=committed("4")),
        gang("g", 8, "3"),
        gang("h", 8, "2.9"),
    )
    model = model_of(given)
    cuts: tuple[Choice, ...] = ()
    worth = []
    for _ in range(4):
        choice = choose(model, given.spec, cuts=cuts)
        worth.append(reached(model, choice))
        cuts = (*cuts, choice)
    # Both gangs with the unit on; the better one alone; the other alone; nothing.
    assert worth == pytest.approx([27.2, 16.0, 15.2, 0.0])
    assert len({(tuple(cut.chosen), tuple(cut.on.ravel())) for cut in cuts}) == 4
    assert forbid(model, model.program, cuts).row_lower.size == model.program.row_lower.size + 4


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_a_search_that_goes_on_finds_what_a_new_one_finds(seed: int) -> None:
    given = canonical(random_book(seed))
    model = build(read_market(given), given, SEED)
    cuts: tuple[Choice, ...] = ()
    before: Choice | None = None
    for _ in range(4):
        try:
            anew = choose(model, given.spec, cuts=cuts)
        except SolverError:
            with pytest.raises(SolverError):
                choose(model, given.spec, cuts=cuts, before=before)
            return
        before = choose(model, given.spec, cuts=cuts, before=before)
        assert before.proven == anew.proven
        assert reached(model, before) == pytest.approx(reached(model, anew), rel=1e-6)
        if not (before.chosen.any() or before.on.any()):
            return
        cuts = (*cuts, before)


def test_certificate_duals_are_those_of_the_whole_problem() -> None:
    given = book(offer("S", (16, "2")), bid("b", (8, "5")), gang("g", 12, "4"))
    model = model_of(given)
    usual = choose(model, given.spec)
    cut = choose(model, given.spec, cuts=(usual,))
    assert not np.array_equal(usual.chosen, cut.chosen)
    assert cut.row_duals.tolist() == pytest.approx(usual.row_duals.tolist())
    assert usual.row_duals.size == model.program.row_lower.size


def test_steps_of_a_unit_are_bounded_by_its_share_on() -> None:
    # Half on, the cheap step alone would pay for half the start-up; bounded, it does not.
    given = book(
        offer("U", (5, "1"), (5, "3"), commitment=committed("15")),
        bid("b", (5, "3")),
    )
    model = model_of(given)
    assert solve_linear(model.program).objective == pytest.approx(2.5)
    assert solve_linear(exact.tighten(model)).objective == pytest.approx(0.0, abs=1e-9)
    assert not choose(model, given.spec).on.any()


class TestApproaches:
    given = book(
        offer("S", (20, "1")),
        gang("g", 10, "5", cover=Cover.NODE),
        bid("b", (12, "4"), cover=Cover.NODE),
        bid("i", (4, "2"), **INTERRUPTIBLE),
        pools=(pool(node_spare_ppm=Ppm(120_000), chips_per_node=Chips(2)),),
    )

    def test_whole_reserves_are_whole(self) -> None:
        model = model_of(self.given)
        usual = choose(model, self.given.spec)
        strict = choose(model, self.given.spec, Approach.WHOLE_RESERVES)
        layout = model.layout
        columns = [layout.spare[0], layout.reclaim[0]]
        assert strict.hint[columns].tolist() == np.round(strict.hint[columns]).tolist()
        assert model.program.objective @ strict.hint < model.program.objective @ usual.hint
        assert usual.proven
        assert not strict.proven

    def test_a_node_is_left_for_rounding(self) -> None:
        model = model_of(self.given)
        spared = choose(model, self.given.spec, Approach.NODE_TO_SPARE)
        sold = spared.hint[: model.layout.arc].sum()
        assert sold + spared.hint[model.layout.spare[0]] <= 9.0 + 1e-9

    def test_power_of_a_node_is_left_too(self) -> None:
        given = replace(
            self.given,
            sites=(site(power_limit=20_000),),
            pools=(pool(chip_power=Watts(1_000), chips_per_node=Chips(2)),),
        )
        model = model_of(given)
        spared = choose(model, given.spec, Approach.NODE_TO_SPARE)
        delivered = model.program.activity(spared.hint)[model.layout.power[0]]
        assert delivered <= (20_000 - 2_000) / 10_000 + 1e-9

    def test_without_blocks_none_is_chosen(self) -> None:
        model = model_of(self.given)
        plain = choose(model, self.given.spec, Approach.NO_BLOCKS)
        assert not plain.chosen.any()
        assert reached(model, plain) > 0.0


class TestShortage:
    def test_is_what_offers_cannot_hold(self) -> None:
        given = book(
            offer("S", (3, "1")),
            bid("b", (8, "5"), cover=Cover.NODE),
            nomination("n", 10, cover=Cover.NODE),
            pools=(pool(node_spare_ppm=Ppm(500_000)),),
        )
        model = model_of(given)
        assert least_shortage(model).tolist() == pytest.approx([2.0])
        choice = choose(model, given.spec)
        assert choice.short.tolist() == pytest.approx([2.0])
        assert choice.proven
        assert reached(model, choice) == pytest.approx(0.0, abs=1e-9)

    def test_is_whole_with_whole_reserves(self) -> None:
        given = book(
            offer("S", (4, "1")),
            nomination("n", 10, cover=Cover.NODE),
            pools=(pool(node_spare_ppm=Ppm(500_000), chip_power=Watts(1_000)),),
            sites=(site(power_limit=13_500),),
        )
        model = model_of(given)
        assert least_shortage(model).tolist() == pytest.approx([1.5])
        assert least_shortage(model, whole_reserves=True).tolist() == pytest.approx([2.0])

    def test_turns_units_on(self) -> None:
        given = book(
            offer("U", (8, "1"), commitment=committed("10")),
            nomination("n", 10, cover=Cover.NODE),
            pools=(pool(node_spare_ppm=Ppm(500_000)),),
        )
        model = model_of(given)
        choice = choose(model, given.spec)
        assert choice.short.tolist() == [0.0]
        assert choice.on.tolist() == [[True]]

    def test_of_a_book_without_base_load_is_nothing(self) -> None:
        assert least_shortage(model_of(book(offer("S", (3, "1"))))).size == 0


def test_thin_books_go_to_highs_when_the_tree_leaves_them_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, model = grid_model("thin 8")
    alone = choose(model, given.spec)
    asked: list[float] = []

    def spy(program: Any, **terms: Any) -> Solution:
        asked.append(terms["relative_gap"])
        return solve_whole(program, **terms)

    monkeypatch.setattr(exact, "_TREE_PROGRAMS", 1)
    monkeypatch.setattr(exact, "solve_whole", spy)
    helped = choose(model, given.spec)
    assert asked == [1e-7]
    assert helped.proven
    assert reached(model, helped) == pytest.approx(reached(model, alone), rel=1e-6)


def test_a_count_that_ends_the_search_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    given, model = grid_model("thin 20")

    def first_found(program: Any, **terms: Any) -> Solution:
        nothing = solve_whole(program, **(terms | {"relative_gap": 1.0}))
        return replace(nothing, ended=Ended.LIMITED, bound=INFINITY)

    monkeypatch.setattr(exact, "_TREE_PROGRAMS", 1)
    monkeypatch.setattr(exact, "solve_whole", first_found)
    choice = choose(model, given.spec)
    assert not choice.proven
    assert reached(model, choice) > 0.0


def test_a_search_without_any_solution_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    given, model = grid_model("thin 8")

    def nothing_found(program: Any, **terms: Any) -> Solution:
        raise SolverError("LIMIT")

    monkeypatch.setattr(exact, "_TREE_PROGRAMS", 1)
    monkeypatch.setattr(exact, "solve_whole", nothing_found)
    with pytest.raises(SolverError, match="LIMIT"):
        choose(model, given.spec)


class TestSizes:
    def test_large_books_are_coordinated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given, model = grid_model("tiny")
        monkeypatch.setattr(search, "_ENTRIES_MAX", 0)
        assert search.is_large(model)
        choice = choose(model, given.spec)
        assert not choice.proven
        assert choice.row_duals.size == model.program.row_lower.size
        plain = choose(model, given.spec, Approach.NO_BLOCKS)
        assert not plain.chosen.any()
        with pytest.raises(SolverError, match="WHOLE_RESERVES"):
            choose(model, given.spec, Approach.WHOLE_RESERVES)

    def test_cuts_are_searched_exactly_whatever_the_size(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = book(offer("S", (8, "1")), gang("g", 8, "3"))
        model = model_of(given)
        first = choose(model, given.spec)
        monkeypatch.setattr(search, "_ENTRIES_MAX", 0)
        assert not choose(model, given.spec, cuts=(first,)).chosen.any()

    def test_a_coordinated_choice_begins_the_search_of_others(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given, model = grid_model("strict 20")
        exactly = reached(model, choose(model, given.spec))
        monkeypatch.setattr(search, "_BINARIES_MAX", 0)
        begun = choose(model, given.spec)
        assert isinstance(begun, exact.Searched)
        assert begun.tree is not None
        assert reached(model, begun) == pytest.approx(exactly, rel=1e-3)


def test_the_same_book_gives_the_same_choice() -> None:
    given, model = grid_model("thin 20")
    first, second = (choose(model, given.spec) for _ in range(2))
    assert np.array_equal(first.chosen, second.chosen)
    assert np.array_equal(first.on, second.on)
    assert np.array_equal(first.row_duals, second.row_duals)
    assert np.array_equal(first.hint, second.hint)


def test_scip_agrees_on_a_book_of_every_kind() -> None:
    model = model_of(everything())
    choice = choose(model, everything().spec)
    found = solve_whole(held(model, choice), node_limit=10_000, kind=Kind.SCIP)
    assert reached(model, choice) == pytest.approx(found.objective, rel=1e-6)


def test_restart_costs_count_in_the_choice() -> None:
    stay: dict[str, Any] = {"initial_pool_id": "A", "restart_cost": MicroUsd(600_000)}
    pools = (pool("A"), pool("B"))
    offers = (offer("S", (8, "2")), offer("T", (8, "1.5"), at="B"))
    moved = book(*offers, gang("g", 8, "4", at=("A", "B")), pools=pools)
    kept = book(*offers, gang("g", 8, "4", at=("A", "B"), **stay), pools=pools)
    for given, wanted in ((moved, 1), (kept, 0)):
        model = model_of(given)
        chosen = choose(model, given.spec).chosen
        assert model.market.blocks.pool[chosen].tolist() == [wanted]
    assert (model.layout.fill == NONE).all()
