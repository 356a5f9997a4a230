"""SITE cover in cash: worked examples 5 and 6 of the clearing rules, and own hours.

The awards and prices are those of the examples, written out here; that the engine finds them
is checked in tests/golden/clearing.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.types import Book, Cover, Site
from clearing.units import MicroUsdPerChipHour
from settlement.ledger import accounts
from settlement.limits import highest_limits
from settlement.metering.billable import metering_intervals
from settlement.types import TransferCode
from tests.golden.clearing import examples
from tests.golden.clearing.books import bid, book, offer, pool, site
from tests.unit.settlement.builders import World, metered
from tests.unit.settlement.outcomes import (
    assigned,
    award,
    backup_price,
    outcome,
    pool_price,
)

DOLLAR = 1_000_000


def site_loss(**surcharges: int) -> tuple[Book, World]:
    """Example 5, closed or not: firm load at A, its backup at B."""
    given = examples.site_loss()
    given = replace(
        given,
        sites=tuple(
            Site(
                site_id=item.site_id,
                surcharge=MicroUsdPerChipHour(surcharges.get(item.site_id, 0)),
            )
            for item in given.sites
        ),
    )
    found = outcome(
        given,
        (
            pool_price("A", 0, energy=3 * DOLLAR, surcharge=surcharges.get("sA", 0)),
            pool_price(
                "B",
                0,
                energy=8 * DOLLAR,
                recall_discount=5 * DOLLAR,
                site_spare=5 * DOLLAR,
                surcharge=surcharges.get("sB", 0),
            ),
        ),
        (
            award(given, "F", "A", 6, backups={"B": (6,)}),
            award(given, "I", "B", 3, site_reserve=(3,)),
            award(given, "J", "A", 4),
            award(given, "SA", "A", 10),
            award(given, "SB", "B", 3, site_reserve=(3,)),
        ),
        backup_prices=(backup_price("sA", "B", 0, 5 * DOLLAR),),
    )
    return given, World(assigned(given, found))


def limits(given: Book) -> dict[str, int]:
    return {name: int(limit) for name, limit in highest_limits(given).items()}


def test_example_5_backup_money_goes_to_the_pool_that_stands_by() -> None:
    given, world = site_loss()
    (hour,) = given.spec.intervals
    postings = world.close(held=hour)
    assert world.cash("of F") == -48_000_000
    assert world.cash("of I") == -9_000_000
    assert world.cash("of J") == -12_000_000
    assert world.cash("of SA") == 30_000_000
    assert world.cash("of SB") == 39_000_000
    assert world.posted(accounts.POOL) == 0
    cover = {
        (item.debit, item.credit): (item.amount, item.price)
        for item in postings.transfers
        if item.code in {TransferCode.COVER, TransferCode.SPARE, TransferCode.AVAILABILITY}
    }
    assert cover == {
        ("pot:own:0", "cover:own:B:0"): (30_000_000, 5_000_000),
        ("cover:own:B:0", "pot:own:0"): (15_000_000, 0),
        ("cover:own:B:0", "p:of SB:cash"): (15_000_000, 5_000_000),
    }
    assert world.broken(limits(given)) == []


def test_example_5_with_surcharges_and_a_lost_site() -> None:
    """Surcharge .50 at A and .60 at B; A is lost for 300 s with nobody called in.

    F fails 6 chips x 300 s: D = 8 + 3 covers what it is owed, 8 a chip-hour (pi 3 + mu 5): 4.00
    from S_A. J fails 4 x 300 s: 3 a chip-hour: 1.00. Delivered at A: 10 x 3,300 s.
    """
    given, world = site_loss(sA=500_000, sB=600_000)
    (hour,) = given.spec.intervals
    contracts = {item.order_id: item for item in world.assignment.contracts}
    assert contracts["F"].contract_id == "own/F/A/SA/B"
    assert contracts["F"].backup_pool_id == "B"
    world.close(
        metered(contracts["F"], hour, failed={4: 6 * 300}),
        metered(contracts["J"], hour, failed={4: 4 * 300}),
        held=hour,
    )
    assert len(metering_intervals(hour)) == 12
    assert world.cash("of F") == -48_000_000 + 4_000_000 - 2_750_000
    assert world.cash("of J") == -12_000_000 + 1_000_000 - 1_833_333
    assert world.cash("of I") == -9_000_000 - 1_800_000
    assert world.cash("of SA") == 30_000_000 - 5_000_000
    assert world.cash("of SB") == 39_000_000
    assert world.posted(accounts.community("sA")) == 4_583_333
    assert world.posted(accounts.community("sB")) == 1_800_000
    assert world.broken() == []


def test_example_6_only_covered_base_load_pays_for_a_backup() -> None:
    """Base load 6 at A, 4 of them with a backup at B: 6 x 4 = 24; B sells 2 and holds 2."""
    given = examples.cover_shortage()
    (hour,) = given.spec.intervals
    found = outcome(
        given,
        (
            pool_price("A", 0, energy=2 * DOLLAR),
            pool_price("B", 0, energy=8_500_000, recall_discount=6 * DOLLAR, site_spare=6 * DOLLAR),
        ),
        (
            award(given, "I", "B", 2, site_reserve=(2,)),
            award(given, "n", "A", 6, backups={"B": (4,)}),
            award(given, "SB", "B", 2, site_reserve=(2,)),
        ),
        backup_prices=(backup_price("sA", "B", 0, 6 * DOLLAR),),
    )
    world = World(assigned(given, found))
    base = {item.contract_id: item for item in world.assignment.contracts if item.order_id == "n"}
    assert {name: (item.cover, item.hours[0].chips) for name, item in base.items()} == {
        "own/n/A/right n": (Cover.NONE, 2),
        "own/n/A/right n/B": (Cover.SITE, 4),
    }
    world.close(held=hour)
    assert world.cash("of n") == -24_000_000
    assert world.cash("of I") == -5_000_000
    assert world.cash("of SB") == 29_000_000
    assert world.cash("base-supplier") == 0
    assert world.posted(accounts.POOL) == 0
    assert world.broken(limits(given)) == []


def two_purposes() -> Book:
    """Firm load at B needs a spare node there, firm load at A a backup there."""
    return book(
        offer("SA", (4, "2")),
        offer("SB", (12, "2"), at="B"),
        bid("F", (4, "9"), at=("A", "B"), cover=Cover.SITE),
        bid("N", (4, "9"), at=("B",), cover=Cover.NODE),
        sites=(site("sA"), site("sB", power_limit=12_000)),
        pools=(pool("A", "sA"), pool("B", "sB", node_spare_ppm=500_000, chip_power=1_000)),
    )


@pytest.mark.parametrize(
    ("backup", "node", "site_part", "rent", "left"),
    [
        # Due: NODE 2 x (2 + 1) = 6, SITE 4 x (3 + 1) = 16. Cover money 2 x 3 and 4 x 4: all paid.
        (4_000_000, 4_000_000, 12_000_000, 6_000_000, 0),
        # SITE chips pay 3.00 only: 18 for 22. 4.909091 and 13.090909; power 2 and 4 first.
        (3_000_000, 2_909_091, 9_090_909, 6_000_000, 0),
        # 25 cents: 7 for 22. 1.909091 is less than the power of two chips; 5.090909 is more.
        (250_000, 0, 1_090_909, 5_909_091, 0),
        # Too much: the rest is a residual.
        (5_000_000, 4_000_000, 12_000_000, 6_000_000, 4_000_000),
    ],
)
def test_one_offer_holds_for_both_covers_and_each_shares_what_came_in(
    backup: int, node: int, site_part: int, rent: int, left: int
) -> None:
    given = two_purposes()
    (hour,) = given.spec.intervals
    found = outcome(
        given,
        (
            pool_price("A", 0, energy=2 * DOLLAR),
            pool_price(
                "B",
                0,
                energy=2 * DOLLAR,
                power=1 * DOLLAR,
                node_cover=1_500_000,
                spare=3 * DOLLAR,
                site_spare=4 * DOLLAR,
            ),
        ),
        (
            award(given, "F", "A", 4, backups={"B": (4,)}),
            award(given, "N", "B", 4),
            award(given, "SA", "A", 4),
            award(given, "SB", "B", 4, reserve=(2,), site_reserve=(4,)),
        ),
        backup_prices=(backup_price("sA", "B", 0, backup),),
    )
    world = World(assigned(given, found))
    postings = world.close(held=hour)
    paid = {item.transfer_id: item.amount for item in postings.transfers}
    assert paid.get("spare/own/B/0/SB", 0) == node
    assert paid.get("site-spare/own/B/0/SB", 0) == site_part
    assert world.posted(accounts.rent("sB")) == 4 * DOLLAR + rent
    assert world.cash("of SB") == 8 * DOLLAR + node + site_part
    assert world.cash("of F") == -(8 * DOLLAR + 4 * backup)
    assert world.cash("of N") == -18 * DOLLAR
    assert world.posted(accounts.POOL) == left
    assert world.broken() == []
