"""Books of the worked examples (label "own"); the tests beside them say what must come out and why.

``OBJECTIVES`` names each book with the welfare plus restart cost kept that the best outcome
reaches, in dollars.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from clearing.types import Book, Conversion, Cover, ServiceClass
from clearing.units import Chips, Ppm, Seconds, Watts
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

RECALLABLE: Final[dict[str, Any]] = {
    "service_class": ServiceClass.INTERRUPTIBLE,
    "notice_s": Seconds(900),
}
TWO_SITES: Final[dict[str, Any]] = {
    "sites": (site("sA"), site("sB")),
    "pools": (pool("A", "sA"), pool("B", "sB")),
}
SITE_A: Final[dict[str, Any]] = {"at": ("A", "B"), "cover": Cover.SITE}


def surcharge() -> Book:
    return book(
        offer("S", (8, "4")),
        bid("b1", (4, "4.75")),
        bid("b2", (4, "4.30")),
        sites=(site(surcharge="0.5"),),
    )


def losing_gang() -> Book:
    return book(offer("S", (16, "2")), bid("b", (8, "5")), gang("g", 12, "4"))


def two_winners() -> Book:
    return book(
        offer("S1", (10, "2")), offer("S2", (10, "6")), gang("g", 12, "5"), bid("b", (2, "7"))
    )


def start_up() -> Book:
    return book(
        offer("S1", (8, "2")),
        offer("S2", (8, "3"), commitment=committed("4", min_chips=Chips(2))),
        bid("b1", (8, "6")),
        bid("b2", (3, "5")),
    )


def site_loss() -> Book:
    return book(
        offer("SA", (10, "2")),
        offer("SB", (6, "3"), at="B"),
        bid("F", (8, "8"), **SITE_A),
        bid("I", (3, "4"), at=("B",), **RECALLABLE),
        bid("J", (4, "3.2"), at=("A", "B"), **RECALLABLE),
        **TWO_SITES,
    )


def cover_shortage() -> Book:
    return book(
        offer("SA", (10, "2")),
        offer("SB", (4, "2.5"), at="B"),
        nomination("n", 6, cover=Cover.SITE, backups=("B",)),
        bid("F", (3, "8"), **SITE_A),
        bid("I", (2, "4"), at=("B",), **RECALLABLE),
        **TWO_SITES,
    )


def released_base() -> Book:
    return book(
        offer("S", (4, "3")),
        offer("R", (6, "0.5"), recallable=True),
        bid("F", (6, "5")),
        bid("I", (4, "2"), service_class=ServiceClass.INTERRUPTIBLE),
    )


def fill_inside() -> Book:
    return book(offer("S", (6, "2")), gang("g", 8, "4", least=500_000))


def fill_at_least() -> Book:
    return book(
        offer("S1", (4, "2")),
        offer("S2", (10, "6")),
        gang("g", 8, "5", least=500_000),
        bid("b", (2, "7")),
    )


def scarce_power() -> Book:
    return book(
        offer("S", (16, "2")),
        bid("b1", (8, "5")),
        bid("b2", (8, "4")),
        pools=(pool(chip_power=Watts(1_000)),),
        sites=(site(power_limit=10_000),),
    )


def linked() -> Book:
    lab: dict[str, Any] = {"participant_id": "lab"}
    return book(
        offer("S", (20, "3")),
        gang("p", 4, "2.5", **lab),
        gang("c", 12, "4", parent_order_id="p", **lab),
    )


def base_starts_supply() -> Book:
    return book(
        offer("S", (8, "2.5"), at="B", commitment=committed("10")),
        nomination("n", 4, cover=Cover.SITE, backups=("B",)),
        **TWO_SITES,
    )


def one_of_two_pools() -> Book:
    return book(
        offer("A1", (7, "1"), (7, "4")),
        offer("B1", (7, "2"), (5, "5"), at="B"),
        gang("g", 5, "3", at=("A", "B")),
        bid("b", (3, "5")),
        pools=(pool("A"), pool("B")),
    )


def pro_rata() -> Book:
    return book(offer("S", (5, "2")), bid("a", (3, "5")), bid("b", (3, "5")), bid("c", (1, "5")))


def spare_nodes() -> Book:
    return book(
        offer("S", (12, "2")),
        bid("F", (20, "5"), cover=Cover.NODE),
        pools=(pool(node_spare_ppm=Ppm(200_000)),),
    )


def reclaimable() -> Book:
    interruptible = ServiceClass.INTERRUPTIBLE
    return book(
        offer("S", (13, "2")),
        bid("F", (20, "5"), cover=Cover.NODE),
        bid("I", (1, "3"), service_class=interruptible, notice_s=Seconds(300)),
        bid("J", (1, "5"), service_class=interruptible, notice_s=Seconds(1_800)),
        pools=(pool(node_spare_ppm=Ppm(200_000)),),
    )


def shiftable() -> Book:
    return book(
        offer("S", segments=hourly((6, "4"), (6, "2"), (6, "3"))),
        gang("g", 4, "3.5", duration=2, latest_start=1),
        bid("b", (2, "5")),
        intervals=3,
    )


def work_by_deadline() -> Book:
    return book(
        offer("S", segments=hourly((5, "3"), (5, "1"), (5, "2"), (5, "1"))),
        work("w", 6, "4", first=0, stop=3, rate=4),
        intervals=4,
    )


def congested_link() -> Book:
    return book(
        offer("SA", (10, "2")),
        offer("SB", (10, "5"), at="B"),
        bid("a", (2, "4")),
        bid("b", (8, "9"), at=("B",)),
        link("l", "A", "B", (0, 3)),
        **TWO_SITES,
    )


def growing_lab(child: str = "2.2") -> Book:
    """4,000 chips for two hours and, only then, 16,000 more in the second."""
    lab: dict[str, Any] = {"participant_id": "lab"}
    return book(
        offer("S", (30_000, "2"), stop=2),
        gang("now", 4_000, "1.8", duration=2, **lab),
        gang("later", 16_000, child, start=1, parent_order_id="now", **lab),
        pools=(pool(chips_per_node=Chips(8), capacity=Chips(30_000)),),
        intervals=2,
    )


def one_class_or_the_other() -> Book:
    """8 chips of one class, or 4 of another that is worth 2.2 times as much to this lab."""
    choice: dict[str, Any] = {"participant_id": "lab", "exclusive_group": "either"}
    return book(
        offer("SA", (10, "2")),
        offer("SB", (10, "5"), at="B"),
        gang("a", 8, "3", **choice),
        gang(
            "b",
            4,
            "3",
            at=("B",),
            conversions=(Conversion(chip_class="d", factor_ppm=Ppm(2_200_000)),),
            **choice,
        ),
        bid("c", (6, "2.9")),
        pools=(pool("A"), pool("B", chip_class="d")),
    )


def shortest_run() -> Book:
    terms = committed("5", "1", min_run_intervals=2, min_chips=Chips(3))
    return book(
        offer("G", (6, "2"), stop=3, commitment=terms),
        bid("b", (4, "10"), first=1, stop=2),
        bid("c", (3, "1"), first=2, stop=3),
        intervals=3,
    )


def running_gang() -> Book:
    return book(
        offer("SA", (4, "4")),
        offer("SB", (4, "2"), at="B"),
        gang("g", 4, "5", at=("A", "B"), initial_pool_id="A", restart_cost=usd("3")),
        pools=(pool("A"), pool("B")),
    )


def negative_price() -> Book:
    return book(
        offer("S", (8, "1"), commitment=committed(min_chips=Chips(8))),
        gang("g", 6, "5"),
        bid("b", (10, "0.4")),
        sites=(site(surcharge="0.5"),),
        price_floor=price("-1"),
    )


def supply_block() -> Book:
    return book(
        offer("S", (5, "1"), stop=2, commitment=committed("4", whole=True)),
        bid("b", (8, "3")),
        bid("c", (3, "3"), first=1, stop=2),
        intervals=2,
    )


def gang_with_backup() -> Book:
    return book(
        offer("SA", (8, "2")),
        offer("SC", (8, "1"), at="C"),
        gang("g", 6, "9", at=("A", "C"), cover=Cover.SITE),
        bid("b", (5, "4")),
        sites=(site("sA"), site("sC")),
        pools=(pool("A", "sA"), pool("C", "sC")),
    )


def profile() -> Book:
    """2, then none, then 4 chips; the middle hour is left to somebody else."""
    return book(
        offer("S", (4, "2"), stop=3),
        gang("g", 4, "4", duration=3, profile=(Chips(2), Chips(0), Chips(4))),
        bid("b", (5, "3"), stop=3),
        intervals=3,
    )


OBJECTIVES: Final[dict[Callable[[], Book], str]] = {
    surcharge: "1",
    losing_gang: "36",
    two_winners: "30",
    start_up: "34",
    site_loss: "43.8",
    cover_shortage: "3",
    released_base: "14",
    fill_inside: "12",
    fill_at_least: "14",
    scarce_power: "28",
    linked: "10",
    base_starts_supply: "-10",
    one_of_two_pools: "19",
    pro_rata: "15",
    spare_nodes: "30",
    reclaimable: "34",
    shiftable: "10",
    work_by_deadline: "16",
    congested_link: "45",
    growing_lab: "1600",
    one_class_or_the_other: "11.8",
    shortest_run: "22",
    running_gang: "16",
    negative_price: "18.8",
    supply_block: "10",
    gang_with_backup: "52",
    profile: "18",
}

STRICT_WELFARE: Final[dict[Callable[[], Book], str]] = {
    losing_gang: "24",
    two_winners: "10",
    fill_inside: "12",
    fill_at_least: "10",
    linked: "10",
    one_of_two_pools: "17",
    growing_lab: "1600",
    one_class_or_the_other: "11.8",
    supply_block: "10",
    gang_with_backup: "52",
    profile: "18",
}
