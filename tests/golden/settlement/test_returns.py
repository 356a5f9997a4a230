"""Hours returned to a spot market, worked by hand to the micro-USD, in both auctions' money.

F holds eight firm chips of S for an hour at 4.00 (surcharge 0.50, fee 0.02), and gives them back
for the first five minutes, two thirds of a chip-hour.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsdPerChipHour
from settlement.assignment import Assignment
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.invariants import Settled, check_all
from settlement.ledger import accounts
from settlement.metering.billable import metering_intervals
from settlement.postings import award_postings, hour_postings
from settlement.spot.result import Return, SpotResult, check_result
from settlement.types import Contract, ContractHour
from tests.unit.settlement.builders import (
    DOLLAR,
    HOUR,
    World,
    assignment,
    contract,
    legs,
    metered,
    price,
)
from tests.unit.settlement.spot_world import UNREAD, at, close, spot

CELL: Final = metering_intervals(HOUR)[0]
RUN: Final = f"spot/{CELL.start}"
HELD: Final = contract("F", 8, legs(4 * DOLLAR), supplier="S")
QUANTITY: Final = ChipSeconds(8 * 300)


def run_of(energy: int, chips: int = 8) -> Assignment:
    """A run in which G buys what F returned."""
    made = contract("G", chips, legs(energy), buyer="G", supplier="F")
    hour = ContractHour(interval=CELL, chips=made.hours[0].chips, legs=made.hours[0].legs)
    bought = replace(
        made,
        contract_id=f"{RUN}/G/pool-a/return:r",
        auction_id=RUN,
        supplier_order_id="return:r",
        hours=(hour,),
    )
    own = assignment(bought, prices=(price(energy, held=CELL),), intervals=(CELL,))
    return replace(own, auction_id=RUN)


def result(energy: int, sold_to: str) -> SpotResult:
    given = Return(contract_id=HELD.contract_id, quantity=QUANTITY, sold_to=sold_to)
    return spot(0, at(energy), returns=(given,))


def settle(energy: int, *, healthy: int = QUANTITY) -> World:
    """The run, then the hour of the day ahead, in the same books."""
    world = World(assignment(HELD, prices=(price(4 * DOLLAR),)))
    run = run_of(energy)
    (bought,) = run.contracts
    world.post(award_postings(run, {}))
    if healthy == UNREAD:
        read = metered(bought, CELL, gap=QUANTITY)
    else:
        read = metered(bought, CELL, failed={0: QUANTITY - healthy})
    pool = world.books.balance(accounts.POOL).posted
    world.post(hour_postings(run, CELL, [read], pool_balance=pool))
    close(
        world,
        result(energy, bought.contract_id),
        healthy={("pool-a", bought.contract_id, 0): healthy},
    )
    assert world.books.open_holds() == ()
    limits = {"F": MicroUsdPerChipHour(4_520_000), "G": MicroUsdPerChipHour(energy + 520_000)}
    settled = [
        _settled(world, world.assignment, (HOUR,), tuple(world.results), limits),
        replace(_settled(world, run, (CELL,), (), limits), metered=(read,)),
    ]
    assert [item for item in check_all(settled, world.applied) if not item.ok] == []
    return world


def _settled(
    world: World,
    own: Assignment,
    closed: tuple[Interval, ...],
    results: tuple[SpotResult, ...],
    limits: dict[str, MicroUsdPerChipHour],
) -> Settled:
    return Settled(
        assignment=own,
        closed=closed,
        metered=tuple(world.metered),
        limits=limits,
        results=results,
    )


def totals(world: World) -> dict[str, int]:
    found = {name: world.cash(name) for name in ("F", "G", "S")}
    return found | {
        "community": world.posted(accounts.community("site-a")),
        "fee": world.posted(accounts.OPERATOR_FEE),
        "pool": world.posted(accounts.POOL),
    }


def test_the_holder_earns_the_run_and_pays_no_surcharge_for_what_it_gave_back() -> None:
    # F: 32.00 for its hour, .52 on 7.333 chip-hours delivered to it; 2.40 x .667 from the run.
    # G: (2.40 + .52) x .667. Town and operator get what they would have got from F.
    assert totals(settle(2_400_000)) == {
        "F": -32_000_000 - 3_666_667 - 146_667 + 1_600_000,
        "G": -1_600_000 - 333_333 - 13_333,
        "S": 32_000_000,
        "community": 4_000_000,
        "fee": 160_000,
        "pool": 0,
    }


def test_what_nobody_buys_earns_nothing_and_is_not_delivered() -> None:
    world = World(assignment(HELD, prices=(price(4 * DOLLAR),)))
    close(world, result(2_400_000, ""))
    assert totals(world) == {
        "F": -32_000_000 - 3_666_667 - 146_667,
        "G": 0,
        "S": 32_000_000,
        "community": 3_666_667,
        "fee": 146_667,
        "pool": 0,
    }
    assert world.broken({"F": 4_520_000}) == []


def test_a_failed_node_is_the_suppliers_through_both_contracts() -> None:
    # Run: F owes G what G paid, 1.60. Day ahead: S pays max(4.00, 2.40) x .667 and F receives
    # max(4.00, 2.40) x .667: F keeps the difference that it bought.
    assert totals(settle(2_400_000, healthy=0)) == {
        "F": -32_000_000 - 3_666_667 - 146_667 + 2_666_667,
        "G": 0,
        "S": 32_000_000 - 2_666_667,
        "community": 3_666_667,
        "fee": 146_667,
        "pool": 0,
    }


def test_half_of_it_fails_when_spot_is_dear_and_within_the_stop_loss() -> None:
    # .333 chip-hours fail at 6.00, under D = 4.00 + 100 % of 4.00: S pays 2.00 and so much F
    # owes G.
    assert totals(settle(6_000_000, healthy=4 * 300)) == {
        "F": -32_000_000 - 3_666_667 - 146_667 + 4_000_000,
        "G": -4_000_000 + 2_000_000 - 166_667 - 6_667,
        "S": 32_000_000 - 2_000_000,
        "community": 3_666_667 + 166_667,
        "fee": 146_667 + 6_667,
        "pool": 0,
    }


def test_beyond_the_stop_loss_the_holder_bears_what_it_sold_for_more() -> None:
    # At 9.00 S pays D = 8.00 x .667; F owes G 9.00 x .667 and is credited what S pays.
    assert totals(settle(9_000_000, healthy=0)) == {
        "F": -32_000_000 - 3_666_667 - 146_667 + 5_333_333,
        "G": 0,
        "S": 32_000_000 - 5_333_333,
        "community": 3_666_667,
        "fee": 146_667,
        "pool": 0,
    }


def test_a_gap_is_nobodys_gain() -> None:
    # R8 twice: F refunds G 1.60 and is refunded 2.667 by S.
    assert totals(settle(2_400_000, healthy=UNREAD)) == {
        "F": -32_000_000 - 3_666_667 - 146_667 + 2_666_667,
        "G": 0,
        "S": 32_000_000 - 2_666_667,
        "community": 3_666_667,
        "fee": 146_667,
        "pool": 0,
    }


def test_more_than_there_is_cannot_be_returned() -> None:
    wrong = result(2_400_000, "")
    given = replace(wrong.returns[0], quantity=ChipSeconds(QUANTITY + 1))
    contracts: tuple[Contract, ...] = (HELD,)
    with pytest.raises(SettlementError) as refused:
        check_result(replace(wrong, returns=(given,)), contracts)
    assert refused.value.code is SettlementErrorCode.SPOT_MOVE_INVALID
