"""A contract that stands still is metered the same with spot moves of others and without."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clearing.types import Interval
from clearing.units import ChipSeconds, Tflop
from settlement.metering.billable import PoolReadings, metered_hour, metering_intervals
from settlement.metering.moved import metered_with_moves
from tests.unit.settlement.builders import DOLLAR, HOUR, contract, legs

CELLS = metering_intervals(HOUR)
HELD = contract("F", 8, legs(4 * DOLLAR))


def readings(row: list[int | None], held: Interval = HOUR) -> PoolReadings:
    healthy = {
        cell.start: {} if chips is None else {HELD.contract_id: ChipSeconds(chips)}
        for cell, chips in zip(CELLS, row, strict=True)
    }
    return PoolReadings(pool_id="pool-a", interval=held, healthy=healthy, findings=())


@given(st.lists(st.none() | st.integers(0, 9 * 300), min_size=len(CELLS), max_size=len(CELLS)))
def test_the_quick_way_says_the_same(row: list[int | None]) -> None:
    read = readings(row)

    def rate(_: object, quantity: ChipSeconds) -> Tflop:
        return Tflop(3 * quantity)

    quick = metered_hour(HELD, HELD.hours[0], read, rate)
    slow = metered_with_moves(HELD, HOUR, {"pool-a": read}, rate, {})
    assert quick.delivered == slow.delivered
    assert quick.failures == slow.failures
    assert quick.findings == slow.findings
