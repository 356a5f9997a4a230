from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from clearing.book import canonical
from clearing.columns import Integers
from clearing.market import NONE, Blocks, Demand, Market, Product
from clearing.reading import read_market
from clearing.types import Book, Conversion, Cover, Eligibility, Pool, ServiceClass
from clearing.units import Chips, MicroUsd, Ppm, Seconds, Watts
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
    work,
)

INTERRUPTIBLE = ServiceClass.INTERRUPTIBLE
TWO_SITES = (site("s"), site("z"))
AB = (pool("A"), pool("B", "z", chip_class="d"))
CD = (
    pool("A", node_spare_ppm=Ppm(250_000), chip_power=Watts(1_000)),
    pool("B", "z", node_spare_ppm=Ppm(250_000)),
)


def market_of(given: Book) -> Market:
    return read_market(canonical(given))


def rows(start: Integers, *columns: Integers) -> list[Any]:
    """A ragged column as lists, of tuples where there are several."""
    members = list(zip(*(column.tolist() for column in columns), strict=True))
    flat = [member[0] if len(columns) == 1 else member for member in members]
    return [flat[first:stop] for first, stop in pairwise(start.tolist())]


def arcs(demand: Demand) -> list[tuple[int, ...]]:
    columns = (demand.arc_cell, demand.arc_pool, demand.arc_backup, demand.arc_place)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def runs(blocks: Blocks) -> list[tuple[int, ...]]:
    columns = (blocks.order, blocks.pool, blocks.first, blocks.stop, blocks.backup)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def nodes(blocks: Blocks) -> list[tuple[int, int]]:
    return list(zip(blocks.least.tolist(), blocks.most.tolist(), strict=True))


# -------------------------------------------------------------------------------- steps


def test_equal_steps_are_one_cell_with_members_in_order() -> None:
    market = market_of(
        book(offer("S", (9, "2")), bid("b", (4, "5")), bid("a", (3, "5")), bid("c", (1, "4")))
    )
    demand = market.demand
    assert demand.chips.tolist() == [1, 7]
    assert rows(demand.member_start, demand.member_bid, demand.member_chips) == [
        [(2, 1)],
        [(0, 3), (1, 4)],
    ]
    assert demand.arc_value.tolist() == [price("4"), price("5")]
    assert demand.work.tolist() == [NONE, NONE]


@pytest.mark.parametrize(
    "terms",
    [
        {"at": ("A", "B")},
        {"cover": Cover.NODE},
        {"conversions": (Conversion(chip_class="c", factor_ppm=Ppm(999_999)),)},
        {"first": 1, "stop": 2},
    ],
)
def test_steps_that_differ_in_anything_are_apart(terms: dict[str, Any]) -> None:
    two = (bid("a", (4, "5")), bid("b", (4, "5"), **terms))
    given = book(*two, pools=AB, sites=TWO_SITES, intervals=2)
    assert market_of(given).demand.chips.tolist() == [4, 4]


def test_steps_of_equal_values_are_one_cell_whatever_factors_made_them() -> None:
    half = (Conversion(chip_class="c", factor_ppm=Ppm(500_000)),)
    unused = (Conversion(chip_class="d", factor_ppm=Ppm(3)),)
    given = book(
        bid("a", (4, "5")),
        bid("b", (3, "10"), conversions=half),
        bid("c", (2, "5"), conversions=unused),
        pools=AB,
        sites=TWO_SITES,
    )
    demand = market_of(given).demand
    assert demand.chips.tolist() == [9]
    assert demand.member_bid.tolist() == [0, 1, 2]


def test_steps_that_a_small_factor_makes_equal_are_one_member() -> None:
    tiny = (Conversion(chip_class="c", factor_ppm=Ppm(1)),)
    demand = market_of(book(bid("a", (4, "5"), (2, "4.9"), conversions=tiny))).demand
    assert demand.chips.tolist() == [6]
    assert (demand.member_bid.tolist(), demand.member_chips.tolist()) == ([0], [6])
    assert demand.arc_value.tolist() == [5]


def test_a_factor_scales_the_value_in_its_class_alone() -> None:
    factors = (Conversion(chip_class="d", factor_ppm=Ppm(1_500_000)),)
    given = book(bid("a", (4, "5"), at=("A", "B"), conversions=factors), pools=AB, sites=TWO_SITES)
    assert market_of(given).demand.arc_value.tolist() == [price("5"), price("7.5")]


def test_cells_follow_the_segments_of_their_bids() -> None:
    given = book(
        bid("a", segments=hourly((4, "5"), None, (2, "6"))),
        bid("b", (1, "5"), first=0, stop=3),
        intervals=3,
    )
    demand = market_of(given).demand
    assert list(zip(demand.interval.tolist(), demand.chips.tolist(), strict=True)) == [
        (0, 5),
        (1, 1),
        (2, 1),
        (2, 2),
    ]
    assert demand.arc_place.tolist() == demand.interval.tolist()


@pytest.mark.parametrize(
    ("terms", "product"),
    [
        ({"service_class": ServiceClass.FIRM, "cover": Cover.NODE}, Product.COVERED),
        ({"service_class": ServiceClass.FIRM, "cover": Cover.NONE}, Product.UNCOVERED),
        ({"service_class": ServiceClass.FIRM, "cover": Cover.SITE}, Product.SITE),
        ({"service_class": INTERRUPTIBLE, "notice_s": Seconds(300)}, Product.RECLAIMABLE),
        ({"service_class": INTERRUPTIBLE, "notice_s": Seconds(301)}, Product.RECALLABLE),
        ({"service_class": INTERRUPTIBLE, "notice_s": Seconds(1_801)}, Product.UNCOUNTED),
    ],
)
def test_class_cover_and_notice_decide_the_product(terms: dict[str, Any], product: Product) -> None:
    pools = (pool("A"), pool("B", "z"))
    at = ("A", "B")
    given = book(
        bid("a", (4, "5"), at=at, **terms),
        gang("g", 4, "5", at=at, **terms),
        work("w", 4, "5", first=0, stop=1, rate=4, at=at, **terms),
        pools=pools,
        sites=TWO_SITES,
    )
    market = market_of(given)
    assert market.demand.product.tolist() == [product, product]
    assert market.step_product.tolist() == market.block_product.tolist() == [product]
    assert market.work_product.tolist() == [product]


def test_a_bid_without_a_pool_has_no_cell_and_no_alternative() -> None:
    nowhere = Eligibility(chip_classes=("x",))
    given = replace(
        book(offer("S", (9, "2"))),
        step_bids=(bid("a", (4, "5")), replace(bid("b", (4, "5")), where=nowhere)),
        block_bids=(replace(gang("g", 4, "5"), where=nowhere),),
        work_bids=(replace(work("w", 4, "5", first=0, stop=1, rate=4), where=nowhere),),
    )
    market = market_of(given)
    assert market.demand.member_bid.tolist() == [0]
    assert market.blocks.order.size == market.demand.work_chips.size == 0
    assert rows(market.eligible_start, market.eligible_pool) == [[0], [], [], []]


def test_a_requirement_resolves_to_pools() -> None:
    asked = replace(bid("a", (4, "5")), where=Eligibility(chip_classes=("d",)))
    given = book(asked, pools=AB, sites=TWO_SITES)
    assert market_of(given).eligible_pool.tolist() == [1]


def test_site_cover_pairs_a_pool_with_alike_pools_at_other_sites() -> None:
    pools = (
        pool("A"),
        pool("B"),
        pool("C", "z"),
        pool("D", "z", chip_class="d"),
        pool("E", "z", chips_per_node=Chips(2)),
    )
    at = ("A", "B", "C", "D", "E")
    given = book(bid("a", (4, "5"), at=at, cover=Cover.SITE), pools=pools, sites=TWO_SITES)
    demand = market_of(given).demand
    assert arcs(demand) == [(0, 0, 2, 0), (0, 1, 2, 1), (0, 2, 0, 2), (0, 2, 1, 2)]


# ------------------------------------------------------------------------------- supply


def test_equal_supply_steps_are_one_and_committed_ones_are_their_own() -> None:
    given = book(
        offer("a", (4, "2"), (4, "3")),
        offer("b", (2, "2")),
        offer("c", (6, "2"), recallable=True),
        offer("d", (8, "2"), commitment=committed("1")),
        offer("e", (2, "2"), commitment=committed("1")),
        pools=(pool(chips_per_node=Chips(2)),),
    )
    market = market_of(given)
    supply = market.supply
    found = zip(
        supply.price.tolist(),
        supply.released.tolist(),
        supply.unit.tolist(),
        supply.nodes.tolist(),
        rows(supply.member_start, supply.member_offer, supply.member_chips),
        strict=True,
    )
    assert list(found) == [
        (price("2"), False, NONE, 3, [(0, 4), (1, 2)]),
        (price("2"), False, 0, 4, [(3, 8)]),
        (price("2"), False, 1, 1, [(4, 2)]),
        (price("2"), True, NONE, 3, [(2, 6)]),
        (price("3"), False, NONE, 2, [(0, 4)]),
    ]
    assert (market.offered.tolist(), market.released.tolist()) == ([10], [3])


def test_units_carry_their_limits_per_interval() -> None:
    given = book(
        offer("a", (4, "2")),
        offer(
            "b",
            segments=hourly((8, "2"), None, (6, "2")),
            commitment=committed("5", "1", min_chips=Chips(4), min_run_intervals=2),
        ),
        offer("c", segments=hourly(None, (4, "1"), None), commitment=committed(whole=True)),
        pools=(pool(chips_per_node=Chips(2)),),
        intervals=3,
    )
    units = market_of(given).units
    assert units.offer.tolist() == [1, 2]
    assert units.offered.tolist() == [[4, 0, 3], [0, 2, 0]]
    assert units.least.tolist() == [[2, 0, 2], [0, 2, 0]]
    assert (units.min_run.tolist(), units.whole.tolist()) == ([2, 1], [False, True])
    assert (units.start_up.tolist(), units.no_load.tolist()) == ([5_000_000, 0], [1_000_000, 0])


def test_links_carry_whole_nodes() -> None:
    pools = (pool("A", chips_per_node=Chips(4)), pool("B", chips_per_node=Chips(4)))
    given = book(link("L", "A", "B", (-8, 12), (4, 8)), pools=pools, intervals=2)
    links = market_of(given).links
    assert (links.source.tolist(), links.target.tolist()) == ([0], [1])
    assert (links.least.tolist(), links.most.tolist()) == ([[-2, 1]], [[3, 2]])


# --------------------------------------------------------------------------------- work


def test_identical_work_is_one_group_with_a_cell_per_interval() -> None:
    given = book(
        work("a", 6, "5", first=1, stop=3, rate=4),
        work("b", 6, "5", first=1, stop=3, rate=4),
        work("c", 8, "5", first=1, stop=3, rate=4),
        intervals=3,
    )
    demand = market_of(given).demand
    assert rows(demand.work_member_start, demand.work_member_bid) == [[0, 1], [2]]
    assert demand.work_chips.tolist() == [12, 8]
    assert demand.work.tolist() == [0, 0, 1, 1]
    assert demand.interval.tolist() == [1, 2, 1, 2]
    assert demand.chips.tolist() == [8, 8, 4, 4]
    assert rows(demand.member_start, demand.member_bid) == [[], [], [], []]


def test_work_is_counted_in_chip_intervals() -> None:
    given = book(work("a", 6, "5", first=0, stop=1, rate=4), duration_s=300)
    assert market_of(given).demand.work_chips.tolist() == [72]


# ------------------------------------------------------------------------------- blocks


def test_a_block_has_an_alternative_per_pool_and_start() -> None:
    pools = (pool("A", chips_per_node=Chips(2)), pool("B", chips_per_node=Chips(4)))
    given = book(
        offer("S", (8, "2"), first=0, stop=4),
        offer("T", (8, "2"), at="B", first=0, stop=4),
        gang("g", 8, "5", at=("A", "B"), least=300_000, duration=2, start=1, latest_start=2),
        pools=pools,
        intervals=4,
    )
    blocks = market_of(given).blocks
    assert runs(blocks) == [
        (0, 0, 1, 3, NONE),
        (0, 0, 2, 4, NONE),
        (0, 1, 1, 3, NONE),
        (0, 1, 2, 4, NONE),
    ]
    # 30 % of 8 chips is 2.4, so 3 chips: two nodes of A, one of B.
    assert nodes(blocks) == [(2, 4), (2, 4), (1, 2), (1, 2)]


def test_backups_multiply_the_alternatives_and_need_room_themselves() -> None:
    pools = (pool("A"), pool("B", "y"), pool("C", "z"))
    sites = (site("s"), site("y"), site("z"))
    given = book(
        offer("S", (8, "2"), first=0, stop=2),
        offer("T", (8, "2"), at="B", first=0, stop=2),
        offer("U", (3, "2"), at="C", first=0, stop=2),
        gang("g", 4, "5", at=("A", "B", "C"), latest_start=1, cover=Cover.SITE),
        pools=pools,
        sites=sites,
        intervals=2,
    )
    found = [run[1:3] + run[4:] for run in runs(market_of(given).blocks)]
    assert found == [(0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 1, 0)]


def test_a_profile_is_counted_in_nodes_of_each_pool() -> None:
    pools = (pool("A", chips_per_node=Chips(2)), pool("B", chips_per_node=Chips(4)))
    profile = (Chips(4), Chips(0), Chips(8))
    given = book(
        offer("S", (8, "2"), first=0, stop=4),
        offer("T", (8, "2"), at="B", first=0, stop=3),
        gang("f", 4, "5"),
        gang("g", 8, "5", at=("A", "B"), duration=3, latest_start=1, profile=profile),
        pools=pools,
        intervals=4,
    )
    blocks = market_of(given).blocks
    assert runs(blocks)[1:] == [(1, 0, 0, 3, NONE), (1, 0, 1, 4, NONE), (1, 1, 0, 3, NONE)]
    assert nodes(blocks)[1:] == [(4, 4), (4, 4), (2, 2)]
    assert blocks.shape.tolist() == [NONE, 0, 0, 3]
    assert blocks.shape_nodes.tolist() == [2, 0, 4, 1, 0, 2]


def test_restart_cost_is_kept_where_it_runs_already() -> None:
    given = book(
        offer("S", (8, "2"), first=0, stop=2),
        offer("T", (8, "2"), at="B", first=0, stop=2),
        gang(
            "g",
            4,
            "5",
            at=("A", "B"),
            latest_start=1,
            initial_pool_id="B",
            restart_cost=MicroUsd(7),
        ),
        pools=(pool("A"), pool("B")),
        intervals=2,
    )
    assert market_of(given).blocks.kept.tolist() == [0, 0, 7, 0]


def room(*orders: Any, chips: int = 8, pools: tuple[Pool, ...] | None = None, **terms: Any) -> int:
    """Alternatives of a block of so many chips beside the orders given."""
    sites = terms.pop("sites", TWO_SITES)
    given = book(*orders, gang("g", chips, "5", **terms), pools=pools or CD, sites=sites)
    return market_of(given).blocks.order.size


def test_a_block_needs_room_for_its_least_quantity() -> None:
    assert room(offer("S", (8, "2"))) == 1
    assert room(offer("S", (7, "2"))) == 0
    assert room(offer("S", (7, "2")), least=800_000) == 1
    assert room(offer("S", (8, "2"), commitment=committed("1"))) == 1


def test_a_covered_block_needs_room_for_cover_with_that_of_base_load() -> None:
    base = nomination("n", 1, cover=Cover.NODE)
    # A quarter of 8 chips is 2; of 9 chips, base load's included, 3.
    assert room(offer("S", (10, "2")), cover=Cover.NODE) == 1
    assert room(offer("S", (9, "2")), cover=Cover.NODE) == 0
    assert room(offer("S", (10, "2")), base, cover=Cover.NODE) == 0
    assert room(offer("S", (11, "2")), base, cover=Cover.NODE) == 1
    assert room(offer("S", (1, "2")), nomination("n", 99, cover=Cover.NODE), chips=1) == 1


def test_released_base_load_is_room_for_interruptibles() -> None:
    release = offer("R", (8, "1"), recallable=True)
    assert room(release) == 0
    assert room(release, service_class=INTERRUPTIBLE, notice_s=Seconds(1_800)) == 1
    assert room(release, service_class=INTERRUPTIBLE, notice_s=Seconds(1_801)) == 0


def test_links_bring_room_with_and_against_their_direction() -> None:
    there = offer("S", (8, "2"), at="B")
    assert room(there, link("L", "B", "A", (0, 8))) == 1
    assert room(there, link("L", "A", "B", (-8, 0))) == 1
    assert room(there, link("L", "B", "A", (-8, 0))) == 0


def test_site_power_is_room_too() -> None:
    def powered(limit: int) -> int:
        return room(
            offer("S", (8, "2")), nomination("n", 2), sites=(site("s", "0", limit), site("z"))
        )

    assert (powered(10_000), powered(9_999)) == (1, 0)


def test_a_backup_needs_room() -> None:
    offers = (offer("S", (8, "2")), offer("T", (8, "2"), at="B"))
    where: dict[str, Any] = {"at": ("A", "B"), "cover": Cover.SITE}
    assert room(*offers, **where) == 2
    assert room(offers[0], **where) == 0
    assert room(offers[0], link("L", "A", "B", (0, 8)), **where) == 2


def test_groups_are_picks_and_linked_trees_families() -> None:
    group: dict[str, Any] = {"participant_id": "p", "exclusive_group": "x"}
    given = book(
        gang("a", 1, "5", participant_id="p"),
        gang("b", 1, "5", parent_order_id="a", **group),
        gang("c", 1, "5", parent_order_id="a", **group),
        gang("d", 1, "5", parent_order_id="c", participant_id="p"),
        gang("e", 1, "5", participant_id="q", exclusive_group="x"),
    )
    blocks = market_of(given).blocks
    assert blocks.pick_of_order.tolist() == [0, 1, 1, 2, 3]
    assert blocks.pick_parent.tolist() == [NONE, 0, 2, NONE]
    assert blocks.family_of_pick.tolist() == [0, 0, 0, 1]
    assert blocks.families == 2


# ----------------------------------------------------------------------------- base load


def test_base_load_is_served_and_summed() -> None:
    given = book(
        nomination("m", 6, cover=Cover.NODE), nomination("n", 5), pools=(pool(),), intervals=2
    )
    base = market_of(given).base
    assert base.served.tolist() == [[6, 0], [5, 0]]
    assert (base.chips.tolist(), base.covered.tolist()) == ([11, 0], [6, 0])


@pytest.mark.parametrize(
    ("limit", "served"),
    [
        (12_000, [[6], [6]]),
        # 7.5 kW: 3 chips each and one more for the first.
        (7_500, [[4], [3]]),
        (0, [[0], [0]]),
    ],
)
def test_base_load_beyond_site_power_is_cut(limit: int, served: list[list[int]]) -> None:
    given = book(
        nomination("m", 6),
        nomination("n", 6),
        sites=(site(power_limit=limit),),
        pools=(pool(chip_power=Watts(1_000)),),
    )
    assert market_of(given).base.served.tolist() == served


def test_cut_base_load_keeps_whole_nodes_and_what_draws_no_power() -> None:
    pools = (
        pool("A", chips_per_node=Chips(4), chip_power=Watts(1_000)),
        pool("B", chips_per_node=Chips(4)),
    )
    given = book(
        nomination("m", 6),
        nomination("n", 6),
        nomination("o", 7, at="B"),
        sites=(site(power_limit=11_000),),
        pools=pools,
    )
    # Half of 11 chips each is one node of four; the three chips left complete the first.
    assert market_of(given).base.served.tolist() == [[6], [4], [7]]


def test_backups_of_base_load_are_summed_per_candidates() -> None:
    pools = (pool("A"), pool("B", "z"), pool("C", "z"))
    given = book(
        nomination("l", 2, cover=Cover.SITE, backups=("B", "C")),
        nomination("m", 3, cover=Cover.SITE, backups=("C", "B")),
        nomination("n", 4, cover=Cover.SITE, backups=("C",)),
        nomination("o", 5, at="B", cover=Cover.SITE, backups=("A",)),
        pools=pools,
        sites=TWO_SITES,
    )
    base = market_of(given).base
    assert base.backed_place.tolist() == [0, 0, 1]
    assert base.backed_chips.tolist() == [5, 4, 5]
    assert rows(base.backed_start, base.backed_pool) == [[1, 2], [2], [0]]
    assert base.backed_of.tolist() == [[0], [0], [1], [2]]
    assert base.covered.tolist() == [0, 0, 0]


def test_the_grid_carries_charges_and_limits() -> None:
    given = book(
        pools=(pool("A", "z", chip_power=Watts(700), node_spare_ppm=Ppm(5)), pool("B")),
        sites=(site("s", "0.5", 9), site("z")),
        operator_fee=price("0.1"),
        price_floor=price("-1"),
    )
    market = market_of(given)
    grid = market.grid
    assert grid.site.tolist() == [1, 0]
    assert grid.charge.tolist() == [price("0.1"), price("0.6")]
    assert grid.power_limit.tolist() == [9, NONE]
    assert (grid.power.tolist(), grid.theta.tolist()) == ([700, 0], [5, 10_000])
    assert market.equal_balance
