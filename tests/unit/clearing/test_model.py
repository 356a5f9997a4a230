from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clearing.market import NONE
from clearing.types import Cover
from clearing.units import Chips, Ppm, Watts
from tests.golden.clearing.books import (
    bid,
    book,
    committed,
    gang,
    hourly,
    link,
    nomination,
    offer,
    pool,
    price,
    site,
    usd,
    work,
)
from tests.unit.clearing.small_models import (
    EITHER,
    INTERRUPTIBLE,
    best,
    everything,
    model_of,
    optimum,
)

# ----------------------------------------------------------------------- one book per kind


def test_surcharge_decides_which_trades_happen() -> None:
    sold = offer("S", (8, "4")), bid("a", (4, "4.75")), bid("b", (4, "4.30"))
    assert optimum(*sold, sites=(site(surcharge="0.5"),)) == pytest.approx(1)


def test_a_curve_is_filled_as_far_as_it_is_worth_it() -> None:
    assert optimum(offer("S", (6, "2")), bid("b", (4, "5"), (4, "3"))) == pytest.approx(12 + 2)


def test_gang_is_all_or_none() -> None:
    found = optimum(offer("S", (16, "2")), bid("s", (8, "5")), gang("g", 12, "4"))
    assert found == pytest.approx(36)


def test_least_fill_of_a_gang() -> None:
    inside = optimum(offer("S", (6, "2")), gang("g", 8, "4", least=500_000))
    assert inside == pytest.approx(12)
    at_least = optimum(
        offer("S", (4, "2")),
        offer("T", (10, "6")),
        gang("g", 8, "5", least=500_000),
        bid("s", (2, "7")),
    )
    assert at_least == pytest.approx(14)


def test_gang_moves_inside_its_window() -> None:
    found = optimum(
        offer("S", segments=hourly((4, "3"), (4, "1"), (4, "1"))),
        gang("g", 4, "5", duration=2, latest_start=1),
        intervals=3,
    )
    assert found == pytest.approx(32)


def test_profile_takes_what_it_says_in_each_interval() -> None:
    profile = tuple(Chips(chips) for chips in (2, 0, 4))
    model = model_of(
        book(
            offer("S", (4, "1"), first=0, stop=3),
            gang("g", 4, "5", duration=3, profile=profile),
            bid("s", (4, "9"), first=1, stop=2),
            intervals=3,
            tie_credit=0,
        )
    )
    found, values = best(model)
    assert found == pytest.approx(6 * 4 + 4 * 8)
    assert values[model.layout.chosen] == 1
    assert not model.credits.any()


def test_one_of_an_exclusive_group_and_only_in_one_pool() -> None:
    group: dict[str, Any] = {"participant_id": "p", "exclusive_group": "x"}
    offers = (
        offer("A1", (7, "1"), (7, "4")),
        offer("B1", (7, "2"), at="B"),
        offer("B2", (5, "5"), at="B"),
    )
    pools = (pool("A"), pool("B"))
    step = bid("s", (3, "5"))
    assert optimum(*offers, gang("g", 5, "3", at=EITHER), step, pools=pools) == pytest.approx(19)
    twins = (gang("g", 5, "3", **group), gang("h", 5, "3", at=("B",), **group))
    assert optimum(*offers, *twins, step, pools=pools) == pytest.approx(19)


def test_child_needs_its_parent() -> None:
    linked = gang("c", 12, "4", parent_order_id="p", participant_id="of p")
    family = gang("p", 4, "2.5"), linked
    assert optimum(offer("S", (20, "3")), *family) == pytest.approx(10)
    assert optimum(offer("S", (12, "3")), *family) == pytest.approx(0)
    group: dict[str, Any] = {"participant_id": "of p", "exclusive_group": "x"}
    both = replace(linked, **group), gang("d", 4, "5", parent_order_id="p", **group)
    # One child only: the parent loses 2, the larger child gains 12, the other 8.
    assert optimum(offer("S", (24, "3")), gang("p", 4, "2.5"), *both) == pytest.approx(10)


@pytest.mark.parametrize(("duration_s", "objective"), [(3_600, 4 + 12), (300, 4 + 144)])
def test_restart_cost_keeps_work_where_it_runs(duration_s: int, objective: int) -> None:
    model = model_of(
        book(
            offer("S", (4, "4")),
            offer("T", (4, "2"), at="B"),
            gang("g", 4, "5", at=EITHER, initial_pool_id="A", restart_cost=usd("3")),
            pools=(pool("A"), pool("B")),
            duration_s=duration_s,
        )
    )
    found, values = best(model)
    assert found == pytest.approx(objective)
    assert model.kept @ values == pytest.approx(objective - 4)


def test_restart_cost_counts_per_chip_of_a_partial_fill() -> None:
    model = model_of(
        book(
            offer("S", (3, "4")),
            gang("g", 4, "5", least=500_000, initial_pool_id="A", restart_cost=usd("3")),
        )
    )
    found, values = best(model)
    assert found == pytest.approx(3 + 9)
    assert model.kept @ values == pytest.approx(9)


def test_work_goes_to_the_cheapest_hours_at_its_rate() -> None:
    sold = offer("S", segments=hourly((4, "1"), (4, "3"), (4, "2")))
    task = work("w", 6, "5", first=0, stop=3, rate=4)
    assert optimum(sold, task, intervals=3) == pytest.approx(4 * 4 + 2 * 3)
    late = replace(task, first=1)
    assert optimum(sold, late, intervals=3) == pytest.approx(4 * 3 + 2 * 2)


def test_work_of_unlike_nodes_is_counted_in_chips() -> None:
    pools = (pool("A", chips_per_node=Chips(2)), pool("B", chips_per_node=Chips(4)))
    task = work("w", 12, "5", first=0, stop=2, rate=8, at=EITHER)
    model = model_of(
        book(
            offer("S", (4, "1"), first=0, stop=2),
            offer("T", (4, "2"), at="B", first=0, stop=2),
            task,
            pools=pools,
            intervals=2,
        )
    )
    assert best(model)[0] == pytest.approx(8 * 4 + 4 * 3)
    assert model.program.row_upper[model.layout.work].tolist() == [6]
    assert model.program.row_upper[model.layout.cell].tolist() == [4, 4]


def test_start_up_is_paid_per_run_and_no_load_per_hour() -> None:
    def welfare(no_load: str, **terms: Any) -> float:
        return optimum(
            offer("S", (4, "1"), first=0, stop=3, commitment=committed("3", no_load, **terms)),
            bid("a", (4, "5"), first=0, stop=1),
            bid("c", (4, "5"), first=2, stop=3),
            intervals=3,
        )

    assert welfare("1") == pytest.approx(32 - 3 - 3)
    assert welfare("4") == pytest.approx(32 - 6 - 8)
    # A least quantity in the hour nobody asks for is left over.
    assert welfare("1", min_chips=Chips(3)) == pytest.approx(32 - 6 - 2)
    assert welfare("1", min_run_intervals=2, min_chips=Chips(1)) == pytest.approx(32 - 3 - 3 - 1)


def test_start_up_and_least_quantity() -> None:
    commitment = committed("4", min_chips=Chips(2))
    found = optimum(
        offer("S", (8, "2")),
        offer("T", (8, "3"), commitment=commitment),
        bid("a", (8, "6")),
        bid("b", (3, "5")),
    )
    assert found == pytest.approx(34)


def test_a_run_lies_inside_the_auction_and_the_segments() -> None:
    def welfare(first: int, stop: int) -> float:
        commitment = committed("3", "1", min_run_intervals=2)
        return optimum(
            offer("S", (4, "1"), first=first, stop=stop, commitment=commitment),
            bid("a", (4, "5"), first=2, stop=3),
            intervals=3,
        )

    assert welfare(1, 3) == pytest.approx(16 - 3 - 2)
    assert welfare(2, 3) == pytest.approx(0)


def test_costs_of_short_intervals_are_spread_over_their_hours() -> None:
    found = optimum(
        offer("S", (4, "1"), commitment=committed("1", "0.1")), bid("a", (4, "5")), duration_s=300
    )
    assert found == pytest.approx(16 - 12 * 1.1)


def test_a_supply_block_sells_everything_or_nothing() -> None:
    block = offer("S", (8, "2"), first=0, stop=2, commitment=committed("1", "1", whole=True))
    wanted = bid("a", (6, "5"), first=0, stop=2)
    model = model_of(book(block, wanted, intervals=2))
    assert best(model)[0] == pytest.approx(2 * (30 - 16) - 1 - 2)
    assert np.unique(model.layout.unit_on).size == 1
    assert (model.layout.unit_start == NONE).all()
    # Where nothing may be left over, six bids for eight chips do not fit.
    negative = book(block, wanted, intervals=2, price_floor=price("-1"))
    assert best(model_of(negative))[0] == pytest.approx(0)


def test_a_negative_floor_leaves_nothing_over() -> None:
    orders = offer("S", (4, "-0.5")), bid("a", (3, "-0.2"))
    assert optimum(*orders, price_floor=price("-1")) == pytest.approx(0.9)
    assert optimum(*orders) == pytest.approx(4 * 0.5)


def test_links_carry_supply_to_the_other_pool() -> None:
    pools = (pool("A"), pool("B"))
    orders = offer("S", (10, "2")), bid("a", (8, "5"), at=("B",))
    assert optimum(*orders, link("L", "A", "B", (0, 6)), pools=pools) == pytest.approx(18)
    assert optimum(*orders, link("L", "B", "A", (-4, 6)), pools=pools) == pytest.approx(12)
    forced = link("L", "A", "B", (2, 6))
    assert optimum(orders[0], forced, pools=pools) == pytest.approx(-4)


def test_power_is_shared_by_value() -> None:
    terms: dict[str, Any] = {
        "sites": (site(power_limit=10_000),),
        "pools": (pool(chip_power=Watts(1_000), node_spare_ppm=Ppm(250_000)),),
    }
    bids = bid("a", (8, "5")), bid("b", (8, "4"))
    assert optimum(offer("S", (16, "2")), *bids, **terms) == pytest.approx(28)
    # Spare nodes draw power too: 8 covered and 2 spare.
    covered = bid("a", (16, "5"), cover=Cover.NODE)
    assert optimum(offer("S", (16, "2")), covered, **terms) == pytest.approx(24)
    base = nomination("n", 6)
    assert optimum(offer("S", (16, "2")), *bids, base, **terms) == pytest.approx(12)


# -------------------------------------------------------------------------------- layout


def test_only_used_rows_exist() -> None:
    plain = model_of(book(offer("S", (8, "2")), bid("b", (4, "5"))))
    layout = plain.layout
    for row in (layout.cover, layout.headroom, layout.recall, layout.power, layout.cell):
        assert row.tolist() == [NONE]
    assert plain.program.row_lower.size == 1
    covered = model_of(
        book(
            offer("S", (8, "2")),
            bid("b", (4, "5"), cover=Cover.NODE),
            bid("i", (4, "5"), **INTERRUPTIBLE),
            sites=(site(power_limit=9_000),),
            pools=(pool(chip_power=Watts(1_000)),),
        )
    )
    rows = covered.layout
    parts = (rows.cover, rows.headroom, rows.reclaimable, rows.recall, rows.power)
    assert NONE not in np.concatenate(parts)
    assert covered.program.row_lower.size == 6


def test_columns_and_rows_know_their_interval() -> None:
    model = model_of(everything())
    layout, program = model.layout, model.program
    crossing = layout.interval_of_column[program.columns] != layout.interval_of_row[program.rows]
    of_none = (layout.interval_of_column[program.columns] == NONE) | (
        layout.interval_of_row[program.rows] == NONE
    )
    assert not (crossing & ~of_none).any()
    decisions = np.flatnonzero(layout.interval_of_column == NONE)
    named = [layout.fill, layout.unit_on.reshape(-1), layout.unit_start.reshape(-1)]
    expected = {*np.concatenate(named).tolist(), *np.flatnonzero(program.whole).tolist()}
    assert set(decisions.tolist()) == expected - {NONE}


def test_block_is_a_list_of_alternatives_with_one_binary_each() -> None:
    group: dict[str, Any] = {"participant_id": "p", "exclusive_group": "x"}
    given = book(
        offer("A1", (8, "2")),
        offer("B1", (8, "2"), at="B"),
        gang("g", 8, "5", at=EITHER, least=300_000, **group),
        gang("h", 4, "5", **group),
        pools=(pool("A", chips_per_node=Chips(2)), pool("B", chips_per_node=Chips(4))),
    )
    model = model_of(given)
    assert np.flatnonzero(model.program.whole).tolist() == [
        model.layout.chosen + alternative for alternative in range(3)
    ]
    assert (model.layout.fill != NONE).tolist() == [True, True, False]
    assert (model.layout.pick != NONE).tolist() == [True]


def test_shortage_column_exists_only_where_ordinary_supply_cannot_cover_base_load() -> None:
    pools = (pool(node_spare_ppm=Ppm(500_000)), pool("B"))
    base = nomination("n", 8, cover=Cover.NODE)

    def columns(*orders: Any, **terms: Any) -> int:
        return model_of(book(base, *orders, pools=pools, **terms)).penalties.size

    assert columns(offer("S", (4, "2"))) == 0
    assert columns(offer("S", (3, "2"))) == 1
    assert columns(offer("S", (4, "2"), commitment=committed("1"))) == 1
    assert columns(offer("S", (4, "2"), recallable=True)) == 1
    assert columns(offer("S", (4, "2")), sites=(site(power_limit=10**9),)) == 1
    assert columns(offer("S", (4, "2")), link("L", "A", "B", (1, 2))) == 1
    assert columns(offer("S", (5, "2")), link("L", "A", "B", (1, 2))) == 0


def test_credits_never_touch_supply() -> None:
    model = model_of(book(offer("S", (8, "2")), bid("b", (4, "5")), gang("g", 4, "4")))
    assert not model.credits[: model.layout.arc].any()
    assert 0 < np.abs(model.credits).max() <= 4 * 100 / 1_000_000
