"""A strip's money by hand: the hours of a week add up to it, to the micro-USD."""

from __future__ import annotations

from dataclasses import replace

from clearing.types import Interval
from clearing.units import UnixSeconds
from settlement.ledger import accounts
from settlement.strips import by_hour, hours_of, is_strip
from settlement.types import TransferCode
from tests.unit.settlement.builders import (
    DOLLAR,
    HOUR,
    World,
    assignment,
    contract,
    legs,
    metered,
    plan,
    price,
    standby,
)

WEEK = Interval(start=HOUR.start, end=UnixSeconds(HOUR.start + 7 * 86_400))
HOURS = hours_of(WEEK)


def test_an_auction_of_hours_is_left_as_it_is() -> None:
    own = assignment(contract("F", 8, legs(3 * DOLLAR)), prices=(price(3 * DOLLAR),))
    assert by_hour(own) is own
    assert not is_strip(HOUR)
    assert is_strip(WEEK)
    assert len(HOURS) == 168


def test_a_week_at_one_price_with_its_cover_and_a_failed_node() -> None:
    # F buys 8 chips at 3.00, and 0.10 of cover that one spare node earns; G's gang of 16 is made
    # whole with 336 dollars, two for each hour, by S.
    held = contract("F", 8, legs(3 * DOLLAR, cover=100_000), supplier="S", hours=(WEEK,))
    gang = contract("G", 16, legs(3 * DOLLAR), buyer="G", supplier="S", hours=(WEEK,))
    coarse = assignment(
        held,
        gang,
        prices=(price(3 * DOLLAR, cover=100_000, held=WEEK),),
        intervals=(WEEK,),
        spare=(replace(standby("spare", "S2", 8, 100_000), interval=WEEK),),
        make_whole=(replace(plan("G", "G", 336 * DOLLAR, {"S": 336 * DOLLAR}, gang), last=WEEK),),
    )
    own = by_hour(coarse)
    assert [item.last for item in own.make_whole] == [HOURS[-1]]
    assert own.make_whole[0].awarded == coarse.make_whole[0].awarded
    world = World(own)
    by_id = {item.order_id: item for item in own.contracts}
    for index, hour in enumerate(HOURS):
        down = [metered(by_id["F"], hour, failed={0: 2_400})] if index == 100 else []
        world.close(*down, held=hour)
    assert world.books.open_holds() == ()
    # One node is down for five minutes of hour 100, two thirds of a chip-hour: F is paid back
    # 3.10 for each, S gives up 3.00 of them and stands in for the rest with its stop-loss.
    lost_s, lost_f = 2_066_667, 2_066_667
    delivered = 8 * 168 * 3_600 - 2_400
    surcharge = 167 * 4_000_000 + 3_666_667
    assert delivered * 500_000 // 3_600 + 1 == surcharge
    fee = 167 * 160_000 + 146_667
    assert world.cash("F") == -(8 * 168 * 3_100_000) - surcharge - fee + lost_f
    assert world.cash("S2") == 8 * 168 * 100_000
    assert world.cash("G") == -(16 * 168 * 3_520_000) + 336 * DOLLAR
    assert world.posted(accounts.POOL) == 0
    assert world.cash("S") == 24 * 168 * 3 * DOLLAR - 336 * DOLLAR - lost_s
    assert world.broken({"F": 3_620_000, "G": 3_520_000}) == []
    paid = [
        item.transfer
        for item in world.applied
        if item.transfer.code is TransferCode.MAKE_WHOLE and item.applied
    ]
    assert {item.interval_start for item in paid} == {HOURS[-1].start}
