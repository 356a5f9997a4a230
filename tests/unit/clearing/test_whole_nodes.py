"""Nodes are sold whole and held whole: what that may leave short, and what it may not."""

from __future__ import annotations

from dataclasses import replace

from clearing import codec
from clearing.auction import clear
from clearing.book import canonical
from clearing.outcome import Outcome, Reason
from clearing.types import Book, Cover
from clearing.units import Chips, Ppm, Watts
from clearing.verify import verify
from tests.golden.clearing.books import (
    SEED,
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

COVERED = Cover.NODE


def powered(limit: int) -> Book:
    """A covered bid for two nodes of 700 W; one node in ten is held in reserve."""
    return book(
        offer("S", (8, "2")),
        bid("b", (2, "5"), cover=COVERED),
        pools=(pool(chip_power=Watts(700), node_spare_ppm=Ppm(100_000)),),
        sites=(site(power_limit=limit),),
    )


def chips_of(outcome: Outcome) -> dict[str, tuple[int, int]]:
    return {a.order_id: (sum(a.chips), sum(a.reserve)) for a in outcome.awards}


def failing(given: Book, outcome: Outcome) -> set[str]:
    """Failed checks of awards moved into another book."""
    moved = replace(outcome, book_sha256=codec.digest(canonical(given)))
    return {check.name for check in verify(given, moved).failures}


def test_bid_stays_a_whole_node_short_where_power_carries_no_other() -> None:
    # 2.57 nodes of power hold 2.2 priced nodes, but not two nodes and a whole one in reserve.
    outcome = clear(powered(1_800), SEED)
    assert chips_of(outcome) == {"S": (1, 1), "b": (1, 0)}
    assert {o.order_id: o.reason for o in outcome.orders}["b"] is Reason.WHOLE_NODE


def test_bid_is_full_where_power_carries_the_reserve_too() -> None:
    assert chips_of(clear(powered(2_100), SEED)) == {"S": (2, 1), "b": (2, 0)}


def test_node_short_with_power_to_spare_is_refused() -> None:
    assert "STEP_RULE" in failing(powered(2_100), clear(powered(1_800), SEED))


def test_pool_that_is_sold_out_does_not_hold_a_bid_to_a_powerless_one() -> None:
    # Pool B sells its 5 chips to the bid. Node A runs two nodes, covered needs a third.
    outcome = clear(
        book(
            offer("A", (48, "0.6")),
            offer("B", (3, "4"), (2, "4.3"), at="B"),
            bid("b", (16, "7.3"), (56, "5.3"), at=("A", "B"), cover=COVERED),
            bid("i", (16, "6.2")),
            bid("j", (7, "6.5"), at=("B",)),
            pools=(
                pool(chips_per_node=8, chip_power=Watts(1_300), node_spare_ppm=Ppm(300_000)),
                pool("B", "t", node_spare_ppm=Ppm(0)),
            ),
            sites=(site(power_limit=40_000), site("t", surcharge="0.7")),
        ),
        SEED,
    )
    assert chips_of(outcome)["b"][0] < 16
    assert chips_of(outcome)["B"] == (5, 0)


def test_base_cover_that_power_cannot_hold_whole_is_a_shortage() -> None:
    # 7 chips of base load need 0.07 chips in reserve; a node of 4 draws more than is left.
    outcome = clear(
        book(
            offer("S", (20, "1")),
            gang("g", 8, "4", cover=COVERED),
            nomination("n", 7, cover=COVERED),
            pools=(pool(chips_per_node=4, chip_power=Watts(1_300), node_spare_ppm=Ppm(10_000)),),
            sites=(site(power_limit=13_000),),
        ),
        SEED,
    )
    assert chips_of(outcome) == {"n": (7, 0)}
    reasons = {order.order_id: order.reason for order in outcome.orders}
    assert reasons["n"] is Reason.COVER_SHORTAGE


def test_fill_of_a_gang_gives_way_to_a_whole_node_in_reserve() -> None:
    # 6.9 nodes of power: priced are 4 of the covered gang, 2.7 of the other and 0.2 in reserve.
    outcome = clear(
        book(
            offer("S", (64, "0.5")),
            gang("g", 16, "7.8", least=330_000, cover=COVERED),
            gang("h", 16, "1.5", least=500_000),
            pools=(pool(chips_per_node=4, chip_power=Watts(1_300), node_spare_ppm=Ppm(50_000)),),
            sites=(site(power_limit=36_000),),
        ),
        SEED,
    )
    assert chips_of(outcome) == {"S": (20, 4), "g": (12, 0), "h": (8, 0)}


def test_supply_left_over_at_price_zero_is_not_sold() -> None:
    # Three hours of 7 chips at 0 for a bid of 3: left over, so no energy price above 0 fits.
    outcome = clear(
        book(
            offer("S", (7, "0"), stop=3),
            bid("b", (3, "2.6"), stop=3),
            bid("c", (1, "0")),
            sites=(site(surcharge="0.7"),),
            intervals=3,
        ),
        SEED,
    )
    assert [(found.low, found.energy, found.high) for found in outcome.prices] == [(0, 0, 0)] * 3


def test_published_range_wider_than_the_left_over_supply_allows_is_refused() -> None:
    given = book(offer("S", (7, "0")), bid("b", (3, "2.6")))
    outcome = clear(given, SEED)
    (found,) = outcome.prices
    wider = replace(outcome, prices=(replace(found, high=price("1.9")),))
    assert failing(given, wider) == {"PRICE_BOUNDS"}


def test_backup_of_a_site_is_held_in_whole_nodes() -> None:
    # 4 chips at s name B, whose node is 4 chips: one node, shared by nobody else.
    outcome = clear(
        book(
            offer("S", (8, "1")),
            offer("T", (8, "2"), at="B"),
            bid("b", (4, "9"), at=("A", "B"), cover=Cover.SITE),
            pools=(pool(chips_per_node=4), pool("B", "z", chips_per_node=4)),
            sites=(site(), site("z")),
        ),
        SEED,
    )
    held = {a.order_id: sum(a.site_reserve) for a in outcome.awards if any(a.site_reserve)}
    backups = {a.pool_id: [b.pool_id for b in a.backups] for a in outcome.awards if a.backups}
    assert held == {"T": 4}
    assert backups == {"A": ["B"]}


def test_backup_of_base_load_need_not_be_a_whole_node_but_what_stands_by_is() -> None:
    outcome = clear(
        book(
            offer("T", (8, "2"), at="B"),
            nomination("n", 5, cover=Cover.SITE, backups=("B",)),
            pools=(pool(chips_per_node=4), pool("B", "z", chips_per_node=4)),
            sites=(site(), site("z")),
        ),
        SEED,
    )
    awards = {a.order_id: a for a in outcome.awards}
    assert awards["n"].backups[0].chips == (5,)
    assert awards["T"].site_reserve == (8,)


def test_link_carries_whole_nodes() -> None:
    # Half a node of B's power is left, so its bid stays at one node and the link at one.
    outcome = clear(
        book(
            offer("S", (16, "1")),
            bid("b", (12, "5"), at=("B",)),
            link("l", "A", "B", (0, 12)),
            pools=(
                pool(chips_per_node=4),
                pool("B", "z", chips_per_node=4, chip_power=Watts(1_000)),
            ),
            sites=(site(), site("z", power_limit=6_000)),
        ),
        SEED,
    )
    assert outcome.flows[0].chips == (4,)
    assert chips_of(outcome) == {"S": (4, 0), "b": (4, 0)}


def test_nothing_is_carried_that_nobody_takes() -> None:
    outcome = clear(
        book(
            offer("S", (8, "0")),
            offer("T", (8, "0"), at="B"),
            bid("b", (4, "5"), at=("B",)),
            link("l", "A", "B", (0, 8)),
            pools=(pool("A"), pool("B")),
        ),
        SEED,
    )
    sold = sum(chips for chips, _ in chips_of(outcome).values()) - 4
    assert sold == 4
    assert 0 <= outcome.flows[0].chips[0] <= 4


def test_unit_that_is_on_sells_its_least_first() -> None:
    outcome = clear(
        book(
            offer("U", (8, "3"), commitment=committed(min_chips=Chips(4))),
            offer("S", (8, "2")),
            gang("g", 10, "9"),
        ),
        SEED,
    )
    assert chips_of(outcome) == {"S": (6, 0), "U": (4, 0), "g": (10, 0)}


def test_identical_work_bids_share_alike_and_none_gets_more_than_its_work() -> None:
    # 4 + 3 + 2 nodes over three hours for three bids of three nodes each.
    hours = hourly((4, "1"), (3, "1"), (2, "1"))
    workers = [work(name, 3, "5", rate=3, first=0, stop=3) for name in ("u", "v", "w")]
    outcome = clear(book(offer("S", segments=hours), *workers, intervals=3), SEED)
    chips = chips_of(outcome)
    assert [chips[name][0] for name in ("u", "v", "w")] == [3, 3, 3]


def test_spare_nodes_are_held_pro_rata_to_what_was_not_sold() -> None:
    outcome = clear(
        book(
            offer("S", (4, "1")),
            offer("T", (4, "2")),
            offer("U", (2, "2")),
            bid("b", (4, "9"), cover=COVERED),
            pools=(pool(node_spare_ppm=Ppm(750_000)),),
        ),
        SEED,
    )
    assert {name: held for name, (_, held) in chips_of(outcome).items() if held} == {
        "T": 2,
        "U": 1,
    }


def test_equal_orders_that_are_partly_served_share_whole_nodes() -> None:
    bids = [bid(name, (6, "5")) for name in ("b", "c", "d")]
    outcome = clear(book(offer("S", (10, "1")), *bids, pools=(pool(chips_per_node=2),)), SEED)
    taken = sorted(chips_of(outcome)[name][0] for name in ("b", "c", "d"))
    assert taken == [2, 4, 4]
