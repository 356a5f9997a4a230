"""Models of small books, and what their best solution is worth."""

from __future__ import annotations

from typing import Any

from clearing.book import canonical
from clearing.layout import Model
from clearing.model import build
from clearing.program import Floats
from clearing.reading import read_market
from clearing.solver import solve_whole
from clearing.types import Book, Cover, ServiceClass
from clearing.units import Chips, MicroUsd, Ppm, Watts
from tests.golden.clearing.books import (
    SEED,
    bid,
    book,
    committed,
    gang,
    link,
    nomination,
    offer,
    pool,
    site,
    work,
)

INTERRUPTIBLE: dict[str, Any] = {"service_class": ServiceClass.INTERRUPTIBLE}
TWO_SITES: dict[str, Any] = {
    "sites": (site("s"), site("z")),
    "pools": (pool("A"), pool("B", "z")),
}
EITHER = ("A", "B")
QUARTER = (pool(node_spare_ppm=Ppm(250_000)),)


def model_of(given: Book) -> Model:
    given = canonical(given)
    return build(read_market(given), given, SEED)


def best(model: Model) -> tuple[float, Floats]:
    """Objective without shortfall penalties, and column values, at the optimum."""
    values = solve_whole(model.program, node_limit=10_000).values
    gains = model.program.objective.copy()
    gains[model.penalties] = 0.0
    return float(gains @ values), values


def optimum(*orders: Any, **terms: Any) -> float:
    return best(model_of(book(*orders, **terms)))[0]


def everything() -> Book:
    """A little of every kind over three hours."""
    terms: dict[str, Any] = {"first": 0, "stop": 3}
    pools = (
        pool("A", chips_per_node=Chips(2), node_spare_ppm=Ppm(100_000), chip_power=Watts(1_000)),
        pool("B", "z", chips_per_node=Chips(2), node_spare_ppm=Ppm(100_000)),
    )
    profile = (Chips(2), Chips(4))
    family: dict[str, Any] = {"participant_id": "p", "at": EITHER}
    running: dict[str, Any] = {"initial_pool_id": "B", "restart_cost": MicroUsd(100)}
    return book(
        offer("S", (20, "2"), (20, "4"), **terms),
        offer("T", (20, "3"), at="B", **terms),
        offer("R", (4, "0"), recallable=True, **terms),
        offer("U", (10, "1"), commitment=committed("9", "1", min_run_intervals=2), **terms),
        offer("V", (6, "1"), at="B", commitment=committed("9", whole=True), **terms),
        bid("a", (10, "5"), (10, "4"), at=EITHER, cover=Cover.NODE, **terms),
        bid("b", (6, "6"), at=EITHER, cover=Cover.SITE, **terms),
        bid("i", (8, "3"), at=EITHER, **INTERRUPTIBLE, **terms),
        gang("g", 8, "5", duration=2, latest_start=1, least=500_000, **family, **running),
        gang("h", 4, "9", cover=Cover.SITE, parent_order_id="g", **family),
        gang("k", 4, "6", duration=2, profile=profile, cover=Cover.NODE, at=("B",)),
        gang("l", 6, "3", least=300_000, **INTERRUPTIBLE),
        work("w", 12, "3.5", rate=8, at=EITHER, **terms),
        nomination("m", 4, cover=Cover.NODE),
        nomination("n", 6, cover=Cover.SITE, backups=("B",)),
        link("L", "A", "B", (0, 4), (-2, 2), (1, 4)),
        pools=pools,
        sites=(site("s", "0.1", 40_000), site("z")),
        intervals=3,
    )
