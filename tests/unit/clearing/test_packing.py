"""What fits into a pool together: the knapsack, the rows it gives, and the charges it bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from random import Random

import numpy as np
import pytest

from clearing.auction import clear
from clearing.certificate import certify
from clearing.outcome import Certificate
from clearing.packing import WIDTH_MOST, Packing, RoomCharges, read_packing, tight_places
from clearing.program import Flags, Floats, Integers
from clearing.search import BranchLeaf
from clearing.search.packing import add_packing_rows
from clearing.solver import solve_linear
from clearing.types import Book, Cover
from clearing.units import PPM, Chips, Ppm, PriceSeconds
from clearing.verify import verify
from tests.golden.clearing.books import SEED, bid, book, gang, nomination, offer, pool
from tests.unit.clearing.hand_decisions import one_fits
from tests.unit.clearing.pipeline import cleared_by_steps
from tests.unit.clearing.small_models import model_of

SEEDS = range(12)


def crowded(seed: int) -> Book:
    """Two pools that hold half of the gangs that want them; cover costs up to a third more."""
    draw = Random(seed)
    node = draw.choice((1, 2, 4))
    pools = tuple(
        pool(
            name,
            chips_per_node=Chips(node),
            node_spare_ppm=Ppm(draw.choice((10_000, 100_000, 333_333))),
        )
        for name in "AB"
    )
    gangs = []
    for number in range(9):
        duration = draw.randrange(1, 3)
        sizes = tuple(Chips(node * draw.randrange(1, 7)) for _ in range(duration))
        shaped = duration > 1 and draw.randrange(3) == 0
        gangs.append(
            gang(
                f"g{number}",
                max(sizes) if shaped else sizes[0],
                f"{draw.randrange(3, 9)}",
                at=("A", "B") if draw.randrange(2) else (draw.choice("AB"),),
                duration=duration,
                latest_start=2 - duration,
                cover=draw.choice((Cover.NODE, Cover.NONE)),
                profile=sizes if shaped else (),
                least=PPM if shaped else draw.choice((PPM, PPM // 2)),
            )
        )
    return book(
        *(offer(f"S{name}", (node * draw.randrange(6, 12), "2"), at=name, stop=2) for name in "AB"),
        bid("b", (3 * node, "4")),
        nomination("n", node, cover=draw.choice((Cover.NODE, Cover.NONE))),
        *gangs,
        pools=pools,
        intervals=2,
    )


def fits(packing: Packing, place: int, chips: Integers, covered: Flags) -> bool:
    """The rule itself: least chips and whole nodes of cover within what the offers bring."""
    node, theta = int(packing.node[place]), int(packing.theta[place])
    held = int(chips[covered].sum())
    needed = (held + int(packing.base[place])) * theta
    standby = -(-needed // (PPM * node)) * node if held else 0
    return int(chips.sum()) + standby <= int(packing.room[place])


def dearest(packing: Packing, items: Integers, values: Floats | Integers) -> float:
    """Largest value of a set that fits, by trying all."""
    place = int(packing.place[items[0]])
    best = 0
    for count in range(items.size + 1):
        for some in combinations(range(items.size), count):
            members = list(some)
            own = items[members]
            if fits(packing, place, packing.chips[own], packing.covered[own]):
                best = max(best, sum(values[at] for at in members))
    return best


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_set_that_fits_is_found(seed: int) -> None:
    given = crowded(seed)
    packing = read_packing(model_of(given).market)
    draw = np.random.default_rng(seed)
    places = tight_places(packing)
    assert places.size
    for place in places[:2].tolist():
        items = np.arange(packing.start[place], packing.start[place + 1])[:8]
        whole = draw.integers(0, 20, items.size)
        found, members = packing.best(items, whole, members=True)
        assert found == dearest(packing, items, whole) == whole[members].sum()
        assert fits(packing, place, packing.chips[items[members]], packing.covered[items[members]])
        huge = whole * 10**17
        assert packing.best(items, huge)[0] == found * 10**17
        shares = draw.random(items.size)
        assert packing.best(items, shares)[0] == pytest.approx(dearest(packing, items, shares))


def test_coarse_steps_admit_more_and_never_less() -> None:
    given = book(
        offer("S", (3 * WIDTH_MOST, "1")),
        *(gang(f"g{at}", WIDTH_MOST + 1 + at // 2, "2") for at in range(3)),
        pools=(pool(capacity=Chips(4 * WIDTH_MOST)),),
    )
    packing = read_packing(model_of(given).market)
    items = np.arange(3)
    # Three chips are one step: the four chips that are too many together are not seen.
    assert packing.best(items, np.ones(3))[0] == 3.0
    assert dearest(packing, items, np.ones(3)) == 2


def test_rows_cut_off_no_set_that_fits_and_lower_the_bound() -> None:
    lowered = 0
    for seed in SEEDS:
        model = model_of(crowded(seed))
        program, rows = add_packing_rows(model, model.program)
        for row in range(rows.count):
            own = slice(rows.start[row], rows.start[row + 1])
            items = rows.item[own]
            assert len(set(rows.packing.place[items].tolist())) == 1
            assert dearest(rows.packing, items, rows.coefficient[own]) <= 1.0 + 1e-6
        before, after = solve_linear(model.program), solve_linear(program)
        assert after.objective <= before.objective + 1e-6
        if after.objective < before.objective - 1e-6:
            lowered += 1
            assert rows.charges(after.row_duals).value.sum() > 0
    assert lowered > len(SEEDS) // 3


def charged(given: Book, seed: int) -> tuple[Certificate, Certificate]:
    """The certificate that was published, and one with room charged at random."""
    at_prices, choice = cleared_by_steps(given)
    packing = read_packing(at_prices.accounts.model.market)
    draw = np.random.default_rng(seed)
    item = np.flatnonzero(draw.random(packing.place.size) < 0.7)
    room = RoomCharges(packing=packing, item=item, value=draw.random(item.size) * 10)
    leaf = BranchLeaf(fixings=(), row_duals=choice.row_duals, room=room)
    published = clear(given, SEED).certificate
    poor = replace(choice, row_duals=100.0 * choice.row_duals)
    return published, certify(at_prices, poor, (leaf,))


@pytest.mark.parametrize("seed", SEEDS)
def test_any_charges_bound_the_best_outcome_and_the_verifier_agrees(seed: int) -> None:
    given = crowded(seed)
    published, found = charged(given, seed)
    assert any(dual.row == "PACKING" for leaf in found.leaves for dual in leaf.duals)
    outcome = clear(given, SEED)
    report = verify(given, replace(outcome, certificate=found))
    assert report.ok, [(check.name, check.detail) for check in report.failures]
    assert found.bound >= published.welfare + published.restart_kept


def test_charges_that_name_nothing_are_no_duals() -> None:
    given, outcome = one_fits()
    leaf = outcome.certificate.leaves[0]
    balance, packed, other = leaf.duals
    for duals in (
        (balance, replace(packed, order_id="s"), other),
        (balance, replace(packed, order_id=""), other),
        (balance, replace(packed, order_id="nobody"), other),
        (replace(balance, order_id="g"), packed, other),
        (balance, other, packed),
        (balance, packed, packed, other),
        (balance, replace(packed, value=-1), other),
    ):
        certificate = replace(outcome.certificate, leaves=(replace(leaf, duals=duals),))
        report = verify(given, replace(outcome, certificate=certificate))
        assert "LEAVES" in {check.name for check in report.failures}


def test_charges_beyond_any_machine_word_are_added_exactly() -> None:
    given, outcome = one_fits()
    leaf = outcome.certificate.leaves[0]
    balance, *packed = leaf.duals
    duals = (balance, *(replace(dual, value=10**18 - at) for at, dual in enumerate(packed)))
    bound = PriceSeconds(10**18 * 3_600)
    certificate = replace(outcome.certificate, leaves=(replace(leaf, duals=duals),), bound=bound)
    assert verify(given, replace(outcome, certificate=certificate)).ok
    certificate = replace(certificate, bound=PriceSeconds(bound - 1))
    assert not verify(given, replace(outcome, certificate=certificate)).ok
