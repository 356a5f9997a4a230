"""The branch certificate: leaves that cover everything, and duals that bound each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from clearing.auction import clear
from clearing.book import canonical
from clearing.layout import Choice, Model
from clearing.market import NONE
from clearing.model import build
from clearing.outcome import Fixing
from clearing.program import Floats
from clearing.reading import read_market
from clearing.search import BranchLeaf, Proof, branching, choose, packing, prove, settle
from clearing.search.decisions import Decision, effect, fixing, open_decisions, read_menu
from clearing.search.exact import Searched, tighten
from clearing.search.shortage import hold_shortage
from clearing.search.tree import Tree
from clearing.solver import solve_whole
from clearing.types import Book
from clearing.units import Chips
from clearing.verify import verify
from tests.benchmarks.grid_books import SPECS, TIE_SEED, generate
from tests.golden.clearing.books import SEED, bid, book, committed, gang, offer, pool
from tests.property.random_books import random_book
from tests.unit.clearing.small_models import model_of

THIN = ("thin 8", "thin 20")


def grid_model(name: str) -> tuple[Book, Model]:
    given = canonical(generate(SPECS[name]))
    return given, build(read_market(given), given, TIE_SEED)


def reached(model: Model, choice: Choice) -> float:
    settled = settle(model, choice)
    return float(settled.program.objective @ settled.best)


def proof_of(given: Book, model: Model) -> tuple[Choice, Proof]:
    choice = choose(model, given.spec)
    return choice, prove(model, given, choice, reached(model, choice))


def completes(leaves: tuple[BranchLeaf, ...]) -> bool:
    """Whether the paths are those of a whole binary tree, depth first, False before True."""

    def covered(paths: list[tuple[Fixing, ...]]) -> bool:
        if len(paths) == 1:
            return paths[0] == ()
        if not all(paths):
            return False
        first = [replace(path[0], accepted=False) for path in paths]
        sides = [path[0].accepted for path in paths]
        ordered = all(before <= after for before, after in pairwise(sides))
        if len(set(first)) != 1 or not ordered or not any(sides) or all(sides):
            return False
        split = sides.index(True)
        rest = [path[1:] for path in paths]
        return covered(rest[:split]) and covered(rest[split:])

    return covered([leaf.fixings for leaf in leaves])


def lagrangian(model: Model, menu_bounds: tuple[Floats, Floats], duals: Floats) -> float:
    """What any values within the bounds could be worth at the duals: weak duality."""
    program, (lower, upper) = model.program, menu_bounds
    charged = np.zeros(program.objective.size)
    np.add.at(charged, program.columns, program.values * duals[program.rows])
    reduced = program.objective - charged
    # Columns without an upper bound are held by rows; what is left of their price is rounding.
    ends = np.where(np.isfinite(upper), upper, np.where(reduced > 1e-6, upper, lower))
    best = np.maximum(reduced * lower, np.where(reduced > 0, reduced * ends, reduced * lower))
    rows = np.where(duals > 0, program.row_upper, np.where(duals < 0, program.row_lower, 0.0))
    return float(best.sum() + (duals * rows).sum())


@pytest.mark.parametrize("seed", [1, 3, 12, 28, 45, 51, 66, 83, 109, 158, 179, 209])
def test_random_books_are_closed(seed: int) -> None:
    given = canonical(random_book(seed))
    model = build(read_market(given), given, SEED)
    choice, proof = proof_of(given, model)
    best = solve_whole(hold_shortage(model, model.program, choice.short), node_limit=10_000)
    near = 1e-5 * max(1.0, abs(best.objective))
    assert proof.bound == pytest.approx(best.objective, abs=near)
    assert not proof.leaves or completes(proof.leaves)
    assert proof.better is None


@pytest.mark.parametrize("name", THIN)
def test_leaves_are_complete_and_bounded_by_their_duals(name: str) -> None:
    given, model = grid_model(name)
    choice, proof = proof_of(given, model)
    assert isinstance(choice, Searched)
    assert choice.tree is not None
    assert len(proof.leaves) > 1
    assert completes(proof.leaves)
    root = choice.tree.root
    assert root is not None
    bounds = []
    for node, leaf in zip(root.leaves(), proof.leaves, strict=True):
        steps = [(step.decision, step.accepted) for step in node.path()]
        names = tuple(
            fixing(given, model, decision, accepted=accepted)
            for decision, accepted in steps
            if decision is not None
        )
        assert leaf.fixings == names
        held = choice.tree.bounds(node.path())
        if held is not None and np.isfinite(node.bound):
            # Only in leaves without the rows that the search adds is the relaxation itself met.
            columns = model.program.objective.size
            value = lagrangian(model, (held[0][:columns], held[1][:columns]), leaf.row_duals)
            assert value >= node.bound - 1e-3
            bounds.append(node.bound)
    assert max(bounds) == pytest.approx(proof.bound, rel=1e-6)


@pytest.mark.parametrize("name", THIN)
def test_published_leaves_close_most_of_the_gap(name: str) -> None:
    given = canonical(generate(SPECS[name]))
    outcome = clear(given, TIE_SEED)
    certificate = outcome.certificate
    assert verify(given, outcome).ok
    assert 1 < len(certificate.leaves) <= 1_024
    assert certificate.gap_ppb < 1_000_000


def test_a_part_without_any_solution_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_ROUNDS", 0)
    # Two gangs of five need ten chips and have nine: the side that takes both lacks one.
    given = book(offer("S", (9, "1")), gang("g", 5, "4"), gang("h", 5, "3.9"), bid("b", (9, "2")))
    model = model_of(given)
    choice = choose(model, given.spec)
    assert isinstance(choice, Searched)
    tree = choice.tree
    assert tree is not None
    tree.keep_duals = True
    assert tree.root is not None
    tree.root.children = None
    proof = prove(model, given, choice, reached(model, choice))
    assert completes(proof.leaves)
    lacking = [leaf for leaf in proof.leaves if all(step.accepted for step in leaf.fixings)]
    assert len(lacking) == 1
    # The missing chip is priced above everything in the book.
    assert np.abs(lacking[0].row_duals).max() > 1_000.0
    assert clear(given, SEED).certificate.gap_ppb == 0


def test_a_part_whose_blocks_do_not_fit_together_is_charged_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that state what fits are for sale too: without that such a part had no duals at all."""
    gangs = (gang("g", 5, "4"), gang("h", 5, "3.9"))
    given = book(offer("S", (9, "1")), *gangs, bid("b", (9, "2")))
    model = model_of(given)
    choice = choose(model, given.spec)
    assert isinstance(choice, Searched)
    tree, packed = choice.tree, choice.packed
    assert tree is not None
    assert packed is not None
    assert packed.count > 0
    program = tree.menu.program
    both = program.lower.copy()
    both[model.layout.chosen :][:2] = 1.0
    monkeypatch.setattr(Tree, "bounds", lambda *_: (both, program.upper, program.row_lower))
    duals = branching._Dear(model, tree, packed).duals([])
    charged = packed.charges(duals)
    assert charged.value.sum() > charged.packing.best(charged.item, charged.value)[0] + 1_000.0


def test_choices_without_a_tree_get_one() -> None:
    given, model = grid_model("thin 8")
    choice = choose(model, given.spec)
    assert isinstance(choice, Searched)
    bare = Choice(
        proven=False,
        chosen=choice.chosen,
        on=choice.on,
        short=choice.short,
        row_duals=choice.row_duals,
        hint=choice.hint,
    )
    proof = prove(model, given, bare, reached(model, choice))
    assert completes(proof.leaves)
    assert proof.bound == pytest.approx(reached(model, choice), rel=1e-5)


def test_books_that_are_too_large_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    given, model = grid_model("thin 8")
    choice = choose(model, given.spec)
    assert isinstance(choice, Searched)
    monkeypatch.setattr(branching, "_ENTRIES_MAX", 1)
    proof = prove(model, given, replace(choice, tree=None), 1.0)
    assert proof.leaves == ()
    assert proof.bound == np.inf


def test_a_better_choice_is_handed_back() -> None:
    given, model = grid_model("thin 8")
    choice = choose(model, given.spec)
    nothing = Choice(
        proven=False,
        chosen=np.zeros_like(choice.chosen),
        on=np.zeros_like(choice.on),
        short=choice.short,
        row_duals=choice.row_duals,
        hint=np.zeros(0),
    )
    proof = prove(model, given, nothing, 0.0)
    assert proof.better is not None
    assert reached(model, proof.better) == pytest.approx(reached(model, choice), rel=1e-6)


def test_leaves_stop_at_their_limit() -> None:
    given, model = grid_model("thin 20")
    choice = choose(model, given.spec)
    assert isinstance(choice, Searched)
    tree = Tree(
        menu=read_menu(model, hold_shortage(model, tighten(model), choice.short)),
        programs_most=10_000,
        leaves_most=5,
        diving=False,
    )
    tree.cutoff = 0.0
    tree.grow()
    assert tree.root is not None
    assert len(list(tree.root.leaves())) == 5
    assert tree.bound() > reached(model, choice)


def test_search_never_solves_more_programs_than_it_may() -> None:
    given, model = grid_model("thin 20")
    menu = read_menu(model, tighten(model))
    for most in (1, 7, 30):
        tree = Tree(menu=menu, programs_most=most)
        tree.grow()
        # A split that has begun is finished: both sides of each candidate that it measures.
        assert most <= tree.solved <= most + 20
        assert given.spec.node_limit > most


class TestDecisions:
    given = book(
        offer("S", (9, "1"), first=0, stop=3),
        offer("T", (9, "1"), at="B", first=0, stop=3),
        offer("U", (4, "1"), first=0, stop=3, commitment=committed("2", min_run_intervals=2)),
        offer("V", (3, "1"), first=0, stop=2, commitment=committed("1", whole=True)),
        gang("g", 4, "4", duration=1, latest_start=1, at=("A", "B")),
        gang("h", 4, "4"),
        pools=(pool("A"), pool("B")),
        intervals=3,
    )

    def menu(self) -> tuple[Model, Callable[..., dict[int, float]]]:
        model = model_of(self.given)
        menu = read_menu(model, tighten(model))

        def held(accepted: bool, **terms: int) -> dict[int, float]:
            found = effect(menu, Decision(**terms), accepted=accepted)
            assert found.lower.tolist() == found.upper.tolist()
            return dict(zip(found.columns.tolist(), found.upper.tolist(), strict=True))

        return model, held

    def test_leaving_a_set_out_holds_all_of_it_at_zero(self) -> None:
        model, held = self.menu()
        first = model.layout.chosen
        assert held(False, order=0) == dict.fromkeys(range(first, first + 4), 0.0)
        assert held(False, order=0, pool=1) == {first + 2: 0.0, first + 3: 0.0}
        assert held(False, order=0, start=1) == {first + 1: 0.0, first + 3: 0.0}

    def test_taking_a_set_leaves_the_others_out(self) -> None:
        model, held = self.menu()
        first = model.layout.chosen
        assert held(True, order=0) == {}
        assert held(True, order=0, pool=1) == {first: 0.0, first + 1: 0.0}
        assert held(True, order=0, pool=1, start=1) == {
            first: 0.0,
            first + 1: 0.0,
            first + 2: 0.0,
            first + 3: 1.0,
        }
        assert held(True, order=1) == {first + 4: 1.0}

    def test_sets_of_several_are_taken_by_their_row(self) -> None:
        model = model_of(self.given)
        menu = read_menu(model, tighten(model))
        taken = effect(menu, Decision(order=0, pool=1), accepted=True)
        assert taken.row_lower == 1.0
        members = menu.program.columns[menu.program.rows == taken.row]
        first = model.layout.chosen
        assert sorted(members.tolist()) == list(range(first, first + 4))
        assert menu.program.row_lower[taken.row] == -np.inf

    def test_units_are_held_by_interval_or_as_a_whole(self) -> None:
        model, held = self.menu()
        on = model.layout.unit_on
        whole = int(np.flatnonzero(model.market.units.whole)[0])
        free = 1 - whole
        assert held(True, unit=free, interval=2) == {int(on[free, 2]): 1.0}
        assert held(False, unit=free) == dict.fromkeys(on[free].tolist(), 0.0)
        assert held(True, unit=free) == {}
        assert held(True, unit=whole, interval=1) == {int(on[whole, 1]): 1.0}
        assert on[whole, 2] == NONE

    def test_open_decisions_name_what_is_fractional(self) -> None:
        model = model_of(self.given)
        menu = read_menu(model, tighten(model))
        values = np.zeros(model.program.objective.size)
        first = model.layout.chosen
        values[[first, first + 3]] = 0.5, 0.5
        values[first + 4] = 0.25
        found = {
            share.decision: share.value for share in open_decisions(menu, values[menu.binaries])
        }
        assert found == {
            Decision(order=0, pool=0): pytest.approx(0.5),
            Decision(order=1): pytest.approx(0.25),
        }

    def test_fixings_name_orders_and_pools(self) -> None:
        model = model_of(self.given)
        given = canonical(self.given)
        decision = Decision(order=0, pool=1, start=1)
        assert fixing(given, model, decision, accepted=True) == Fixing(
            order_id="g", accepted=True, pool_id="B", start=1
        )
        unit = Decision(unit=0, interval=2)
        assert fixing(given, model, unit, accepted=False) == Fixing(
            order_id="U", accepted=False, interval=2
        )
        assert given.block_bids[0].chips == Chips(4)
