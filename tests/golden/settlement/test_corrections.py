"""Worked example 5b: a refunded gap is resolved later, by reference, to the micro-USD."""

from __future__ import annotations

import pytest

from clearing.types import Cover, ServiceClass
from clearing.units import MicroUsd, UnixSeconds
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.postings.correction import CORRECTION_SECONDS_MAX, check_in_time
from settlement.postings.rebates import pool_rebate
from tests.unit.settlement.builders import (
    DOLLAR,
    World,
    assignment,
    contract,
    legs,
    price,
    standby,
)
from tests.unit.settlement.spot_world import UNREAD, at, close, correct, fund_pool, spot


def test_5b_a_gap_that_is_read_later_is_corrected() -> None:
    firm = contract("bid", 8, legs(3 * DOLLAR, cover=100_000), cover=Cover.NODE)
    world = World(
        assignment(
            firm,
            prices=(price(3 * DOLLAR, cover=100_000),),
            spare=(standby("offer-spare", "spare", 8, 100_000),),
        )
    )
    prices = (spot(2, at(3_600_000)), spot(3, at(3_600_000)))
    unread = {("pool-a", firm.contract_id, index): UNREAD for index in (2, 3)}
    close(world, *prices, healthy=unread, tflops=989)
    assert world.cash("F") == -24_133_333
    assert world.cash("S1") == 19_866_667
    posted = correct(world, *prices, healthy={("pool-a", firm.contract_id, 3): 2_000}, tflops=989)
    assert world.cash("F") == -28_502_222
    assert world.cash("S1") == 23_600_000
    assert world.cash("spare") == 800_000
    assert world.posted(accounts.community("site-a")) == 3_944_444
    assert world.posted(accounts.OPERATOR_FEE) == 157_778
    assert world.posted(accounts.POOL) == 0
    assert world.posted(accounts.compute("F"), "TFLOP:BF16") == 28_400 * 989
    assert world.broken({"bid": 3_620_000}) == []
    first = {item.transfer_id for document in world.documents for item in document.transfers}
    assert {item.corrects for item in posted.transfers} <= first | {posted.postings_id[11:-2]}
    assert world.books.open_holds() == ()
    # Once more from the same readings: nothing left to correct.
    again = correct(world, *prices, healthy={("pool-a", firm.contract_id, 3): 2_000}, tflops=989)
    assert again.transfers == ()


def test_a_correction_of_the_same_readings_is_none() -> None:
    firm = contract("bid", 8, legs(3 * DOLLAR))
    world = World(assignment(firm, prices=(price(3 * DOLLAR),)))
    close(world)
    assert correct(world).transfers == ()


def test_corrections_end_after_60_days() -> None:
    end = UnixSeconds(1_000_000)
    check_in_time(end, UnixSeconds(end + CORRECTION_SECONDS_MAX))
    with pytest.raises(SettlementError) as caught:
        check_in_time(end, UnixSeconds(end + CORRECTION_SECONDS_MAX + 1))
    assert caught.value.code is SettlementErrorCode.CORRECTION_TOO_LATE


def test_a_correction_never_overdraws_the_pool() -> None:
    """Example 5c left 1.333333 of a gap in ``pool``; it was rebated before the gap is read."""
    held = contract(
        "int",
        8,
        legs(3 * DOLLAR, discount=1 * DOLLAR),
        buyer="I",
        service_class=ServiceClass.INTERRUPTIBLE,
    )
    firm = contract("firm", 8, legs(3 * DOLLAR, cover=1 * DOLLAR), cover=Cover.NODE)
    world = World(
        assignment(
            held, firm, prices=(price(3 * DOLLAR, cover=1 * DOLLAR, availability=1 * DOLLAR),)
        )
    )
    unread = {("pool-a", held.contract_id, index): UNREAD for index in (5, 6)}
    close(world, healthy=unread)
    assert world.posted(accounts.POOL) == 1_333_333
    world.post(pool_rebate("m1", pool_balance=1_333_333, ceiling=MicroUsd(333), delivered={"F": 1}))
    with pytest.raises(SettlementError) as caught:
        correct(world)
    assert caught.value.code is SettlementErrorCode.POOL_TOO_SMALL
    fund_pool(world, 1_333_000)
    assert correct(world).transfers
    assert world.posted(accounts.POOL) == 0
    assert world.broken() == []
