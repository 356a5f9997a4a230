"""A spot auction cleared by the engine fills the spot result, and its hour is settled from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.auction import clear
from clearing.types import Book, Interval, ServiceClass
from clearing.units import Chips, Seconds, UnixSeconds
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.limits import highest_limits
from settlement.spot.positions import spot_result
from settlement.spot.result import check_result
from tests.golden.clearing.books import SEED, bid, book, offer, pool, site
from tests.unit.settlement.builders import World
from tests.unit.settlement.outcomes import assigned
from tests.unit.settlement.spot_world import close


def day_ahead() -> tuple[Book, World]:
    """Interruptible 24 at 2, out of 32 offered at 2."""
    given = book(
        offer("S", (24, "2"), participant_id="S"),
        bid("I", (24, "3"), service_class=ServiceClass.INTERRUPTIBLE, notice_s=Seconds(300)),
        sites=(site("s", surcharge="0.5"),),
        pools=(pool("A", "s"),),
    )
    return given, World(assigned(given, clear(given, SEED)))


def at_spot(world: World, given: Book) -> tuple[Book, dict[str, str]]:
    """The first 300 s: S offers 32, I stands at 3, F2 asks for 16 at 5."""
    (hour,) = given.spec.intervals
    cell = Interval(start=hour.start, end=UnixSeconds(hour.start + 300))
    made = book(
        offer("S", (24, "2"), (8, "2.4"), participant_id="S"),
        bid("I", (24, "3"), service_class=ServiceClass.INTERRUPTIBLE, notice_s=Seconds(300)),
        bid("F2", (16, "5")),
        sites=given.sites,
        pools=given.pools,
    )
    spec = replace(made.spec, auction_id="spot-1", intervals=(cell,))
    (contract,) = world.assignment.contracts
    return replace(made, spec=spec), {"I": contract.contract_id}


def test_a_cleared_spot_auction_moves_positions_and_money() -> None:
    given, world = day_ahead()
    book_, standing = at_spot(world, given)
    found = clear(book_, SEED)
    result = spot_result(
        world.assignment,
        book_,
        found,
        assigned(book_, found),
        standing=standing,
        limits=highest_limits(book_),
    )
    check_result(result, world.assignment.contracts)
    assert [move.quantity for move in result.reclaims] == [8 * 300]
    assert [move.quantity for move in result.supply] == [8 * 300]
    assert sum(item.contract.hours[0].chips for item in result.purchases) == 16
    (price,) = result.prices
    assert price.energy == 2_500_000
    close(world, result, held=given.spec.intervals[0])
    # Example 2a as the engine clears it: 2.25 the day ahead, 2.50 at spot, no fee.
    assert world.cash("of I") == -54_000_000 + 1_666_666 - 11_666_667
    assert world.cash("of F2") == -3_333_333 - 666_667
    assert world.cash("S") == 55_666_667
    assert world.posted(accounts.POOL) == 0
    assert world.broken({name: int(limit) for name, limit in highest_limits(given).items()}) == []


def test_a_standing_bid_neither_grows_nor_moves() -> None:
    given, world = day_ahead()
    book_, standing = at_spot(world, given)
    found = clear(book_, SEED)
    grown = replace(
        found,
        awards=tuple(
            replace(award, chips=(Chips(25),)) if award.order_id == "I" else award
            for award in found.awards
        ),
    )
    with pytest.raises(SettlementError) as caught:
        spot_result(
            world.assignment,
            book_,
            grown,
            assigned(book_, found),
            standing=standing,
            limits=highest_limits(book_),
        )
    assert caught.value.code is SettlementErrorCode.SPOT_MOVE_INVALID
