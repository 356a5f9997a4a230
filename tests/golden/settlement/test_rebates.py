"""What is given back: shortfalls of earlier hours, the pool's surplus above its ceiling."""

from __future__ import annotations

from dataclasses import replace

from clearing.units import MicroUsd
from settlement.ledger import accounts
from settlement.postings.rebates import pool_rebate, repaid_shortfalls
from settlement.types import Postings
from tests.unit.settlement.builders import (
    AUCTION,
    DOLLAR,
    World,
    assignment,
    contract,
    interval,
    legs,
    price,
    standby,
)
from tests.unit.settlement.spot_world import fund_pool


def test_an_hour_that_finds_the_pool_empty_is_repaid_by_the_hour_that_funds_it() -> None:
    """Hour 0: two offers of 8 at 3.00, one bid of 8: 48 due, 24 there. Hour 1: 8 of cover, free."""
    hours = (interval(0), interval(1))
    free = {"surcharge": 0, "fee": 0}
    first = contract("early", 8, legs(3 * DOLLAR, **free), hours=hours[:1])
    second = contract(
        "late", 8, legs(3 * DOLLAR, cover=1 * DOLLAR, **free), supplier="S3", hours=hours[1:]
    )
    idle = standby("offer-S2", "S2", 8, 3 * DOLLAR)
    world = World(
        assignment(
            first,
            second,
            prices=(
                price(3 * DOLLAR, held=hours[0]),
                price(3 * DOLLAR, cover=1 * DOLLAR, held=hours[1]),
            ),
            idle=(replace(idle, interval=hours[0]),),
            intervals=hours,
        )
    )
    for held in hours:
        world.close(held=held)
    assert (world.cash("S1"), world.cash("S2"), world.cash("S3")) == (
        12 * DOLLAR,
        12 * DOLLAR,
        24 * DOLLAR,
    )
    assert world.posted(accounts.POOL) == 8 * DOLLAR
    fund_pool(world, 5 * DOLLAR)
    repaid = repaid_shortfalls(
        world.assignment,
        [item for document in world.documents for item in document.transfers],
        pool_balance=world.posted(accounts.POOL),
    )
    world.post(Postings(postings_id=f"rebate/{AUCTION}", transfers=repaid))
    # Half of what was missing came in later; what others left in the pool is not touched.
    assert (world.cash("S1"), world.cash("S2")) == (16 * DOLLAR, 16 * DOLLAR)
    assert world.posted(accounts.POOL) == 5 * DOLLAR
    assert world.broken() == []


def test_the_pool_gives_back_what_it_holds_above_its_ceiling() -> None:
    postings = pool_rebate(
        "2026-11",
        pool_balance=1_000,
        ceiling=MicroUsd(300),
        delivered={"a": 3_600, "b": 7_200, "c": 0},
    )
    assert {item.credit: item.amount for item in postings.transfers} == {
        "p:a:cash": 233,
        "p:b:cash": 467,
    }
    none = pool_rebate("x", pool_balance=300, ceiling=MicroUsd(300), delivered={"a": 1})
    assert none.transfers == ()
    nobody = pool_rebate("y", pool_balance=900, ceiling=MicroUsd(300), delivered={})
    assert nobody.transfers == ()
