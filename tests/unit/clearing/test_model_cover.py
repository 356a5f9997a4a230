from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.types import Cover
from clearing.units import Ppm, Seconds
from tests.golden.clearing.books import (
    bid,
    book,
    committed,
    gang,
    nomination,
    offer,
    pool,
    site,
)
from tests.unit.clearing.small_models import (
    EITHER,
    INTERRUPTIBLE,
    QUARTER,
    TWO_SITES,
    best,
    model_of,
    optimum,
)


def test_cover_is_spare_or_interruptible() -> None:
    firm = bid("f", (8, "5"), cover=Cover.NODE)
    queued = bid("i", (8, "3"), **INTERRUPTIBLE)
    assert optimum(offer("S", (10, "2")), firm, pools=QUARTER) == pytest.approx(24)
    assert optimum(offer("S", (10, "2")), firm, queued, pools=QUARTER) == pytest.approx(26)
    slow = replace(queued, notice_s=Seconds(301))
    assert optimum(offer("S", (10, "2")), firm, slow, pools=QUARTER) == pytest.approx(24)


def test_only_the_fill_above_the_least_of_a_gang_is_cover() -> None:
    firm = bid("f", (8, "5"), cover=Cover.NODE)

    def welfare(least: int) -> float:
        queued = gang("i", 2, "2.5", least=least, **INTERRUPTIBLE)
        return optimum(offer("S", (11, "2")), firm, queued, pools=QUARTER)

    # Eight firm chips need two in reserve: of the gang one may count, if it can do without it.
    assert welfare(1_000_000) == pytest.approx(24)
    assert welfare(500_000) == pytest.approx(24 + 1)


def test_released_base_load_sells_to_interruptibles_alone() -> None:
    found = optimum(
        offer("S", (4, "3")),
        offer("R", (6, "0.5"), recallable=True),
        bid("f", (6, "5")),
        bid("i", (4, "2"), **INTERRUPTIBLE),
    )
    assert found == pytest.approx(4 * 2 + 4 * 1.5)


def test_a_reserve_is_not_on_released_base_load() -> None:
    found = optimum(
        offer("S", (8, "2")),
        offer("R", (4, "0.5"), recallable=True),
        bid("f", (8, "5"), cover=Cover.NODE),
        bid("i", (2, "1"), **INTERRUPTIBLE),
        pools=QUARTER,
    )
    # A chip of reserve takes an offered chip, spare or sold, and 6.4 + 1.6 are all there is.
    assert found == pytest.approx(6.4 * 3 + 2 * 0.5)


def test_cover_may_stand_on_a_committed_offer_that_is_on() -> None:
    firm = bid("f", (8, "5"), cover=Cover.NODE)
    ordinary = offer("S", (8, "2"))
    unit = offer("U", (4, "1"), commitment=committed("2"))
    assert optimum(ordinary, unit, firm, pools=QUARTER) == pytest.approx(4 * 4 + 4 * 3 - 2)
    dear = offer("U", (4, "1"), commitment=committed("9"))
    assert optimum(ordinary, dear, firm, pools=QUARTER) == pytest.approx(6.4 * 3)


def test_a_supply_block_does_not_stand_by() -> None:
    firm = bid("f", (8, "5"), cover=Cover.NODE)
    block = offer("U", (10, "1"), commitment=committed(whole=True))
    assert optimum(block, firm, pools=QUARTER) == pytest.approx(0)
    spare = offer("S", (2, "4"))
    assert optimum(block, spare, firm, pools=QUARTER) == pytest.approx(40 - 10)


def test_site_cover_needs_a_backup_at_another_site() -> None:
    firm = bid("f", (8, "8"), at=EITHER, cover=Cover.SITE)
    orders = (
        offer("S", (10, "2")),
        offer("T", (6, "3"), at="B"),
        firm,
        bid("i", (3, "4"), at=("B",), **INTERRUPTIBLE),
        bid("j", (4, "3.2"), at=EITHER, **INTERRUPTIBLE),
    )
    model = model_of(book(*orders, **TWO_SITES))
    assert best(model)[0] == pytest.approx(6 * 6 + 3 * 1 + 4 * 1.2)
    assert (model.layout.slot_site.tolist(), model.layout.slot_pool.tolist()) == ([0, 1], [1, 0])


def test_a_gang_is_backed_by_whole_gangs_and_spare() -> None:
    orders = (
        offer("S", (8, "2")),
        offer("T", (8, "2"), at="B"),
        gang("f", 8, "5", at=EITHER, cover=Cover.SITE),
        gang("i", 5, "3", at=("B",), **INTERRUPTIBLE),
        bid("u", (8, "2.5"), at=("B",)),
    )
    assert optimum(*orders, **TWO_SITES) == pytest.approx(24 + 5)


def test_one_reserve_serves_the_loss_of_any_one_site() -> None:
    sites = (site("s"), site("y"), site("z"))
    pools = (pool("A"), pool("B", "y"), pool("C", "z"))
    orders = (
        offer("S", (4, "2")),
        offer("T", (4, "2"), at="B"),
        offer("U", (4, "9"), at="C"),
        gang("f", 4, "5", at=("A", "C"), cover=Cover.SITE),
        gang("g", 4, "5", at=("B", "C"), cover=Cover.SITE),
    )
    assert optimum(*orders, sites=sites, pools=pools) == pytest.approx(24)


def test_a_chip_stands_by_for_one_purpose() -> None:
    pools = (
        pool("A", node_spare_ppm=Ppm(0)),
        pool("B", "z", node_spare_ppm=Ppm(500_000)),
    )
    orders = (
        offer("S", (4, "2")),
        offer("T", (10, "2"), at="B"),
        bid("f", (4, "5"), at=EITHER, cover=Cover.SITE),
        bid("n", (4, "5"), at=("B",), cover=Cover.NODE),
    )
    # Four chips of B are sold with two spare, and four more back A.
    terms = {**TWO_SITES, "pools": pools}
    assert optimum(*orders, **terms) == pytest.approx(24)
    scarce = (orders[0], offer("T", (7, "2"), at="B"), *orders[2:])
    # 1 chip of A takes one of B, 1 of B one and a half: first A.
    assert optimum(*scarce, **terms) == pytest.approx(12 + 3 * 2)


def test_cover_of_base_load_comes_first_and_may_fall_short() -> None:
    orders = (
        offer("S", (10, "2")),
        offer("T", (4, "2.5"), at="B"),
        nomination("n", 6, cover=Cover.SITE, backups=("B",)),
        bid("f", (3, "8"), at=EITHER, cover=Cover.SITE),
        bid("i", (2, "4"), at=("B",), **INTERRUPTIBLE),
    )
    model = model_of(book(*orders, **TWO_SITES))
    found, values = best(model)
    assert found == pytest.approx(3)
    assert values[model.penalties].tolist() == pytest.approx([2])
    assert model.layout.backing_short.tolist() == model.penalties.tolist()


def test_base_load_can_force_a_start_up() -> None:
    model = model_of(
        book(
            offer("T", (8, "2.5"), at="B", commitment=committed("10")),
            nomination("n", 4, cover=Cover.SITE, backups=("B",)),
            **TWO_SITES,
        )
    )
    found, values = best(model)
    assert found == pytest.approx(-10)
    assert values[model.penalties].tolist() == pytest.approx([0])


def test_base_load_splits_its_backup_over_candidates() -> None:
    sites = (site("s"), site("y"), site("z"))
    pools = (pool("A"), pool("B", "y"), pool("C", "z"))
    model = model_of(
        book(
            offer("T", (3, "2"), at="B"),
            offer("U", (3, "2"), at="C"),
            nomination("n", 5, cover=Cover.SITE, backups=("B", "C")),
            bid("b", (9, "3"), at=("B",)),
            bid("c", (9, "4"), at=("C",)),
            sites=sites,
            pools=pools,
        )
    )
    found, values = best(model)
    assert found == pytest.approx(2)
    assert values[model.layout.backing].tolist() == pytest.approx([3, 2])
