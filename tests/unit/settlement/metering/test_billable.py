from __future__ import annotations

import random
from dataclasses import replace

import pytest

from clearing.types import Interval
from clearing.units import ChipSeconds, Tflop, UnixSeconds
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.metering.billable import (
    MeterFindingCode,
    delivered_hour,
    metered_hour,
    metering_intervals,
    read_pool,
)
from settlement.types import Contract, MeterBatch, Reading
from tests.unit.settlement.builders import HOUR, contract, interval, legs

FIRM = contract("bid", 8, legs(1_000_000))
CELLS = metering_intervals(HOUR)


def rate(_: Contract, delivered: ChipSeconds) -> Tflop:
    return Tflop(delivered * 2)


def batch(
    index: int, *healthy: int, sequence: int | None = None, pool: str = "pool-a"
) -> MeterBatch:
    return MeterBatch(
        meter_id="meter-a",
        pool_id=pool,
        interval=CELLS[index],
        sequence=index if sequence is None else sequence,
        readings=tuple(
            Reading(contract_id=FIRM.contract_id, node_id=f"n{node}", healthy=ChipSeconds(quantity))
            for node, quantity in enumerate(healthy)
        ),
    )


def full() -> list[MeterBatch]:
    return [batch(index, 1_200, 1_200) for index in range(12)]


def codes(batches: list[MeterBatch]) -> set[MeterFindingCode]:
    readings = read_pool("pool-a", HOUR, batches)
    read = metered_hour(FIRM, FIRM.hours[0], readings, rate)
    return {finding.code for finding in (*readings.findings, *read.findings)}


def parts(batches: list[MeterBatch]) -> tuple[int, int, int]:
    read = delivered_hour(FIRM, FIRM.hours[0], batches, rate)
    assert read.delivered + read.failed + read.gap == read.position == 28_800
    assert read.compute == 2 * read.delivered
    return (read.delivered, read.failed, read.gap)


def test_full_delivery() -> None:
    assert parts(full()) == (28_800, 0, 0)
    assert codes(full()) == set()


def test_less_healthy_than_sold_failed() -> None:
    batches = full()
    batches[3] = batch(3, 1_200, 900)
    assert parts(batches) == (28_500, 300, 0)
    read = metered_hour(FIRM, FIRM.hours[0], read_pool("pool-a", HOUR, batches), rate)
    assert [(item.interval, item.failed) for item in read.failures] == [(CELLS[3], 300)]


def test_zero_healthy_is_failed_and_no_gap() -> None:
    batches = full()
    batches[3] = batch(3, 0)
    assert parts(batches) == (26_400, 2_400, 0)


def test_a_missing_batch_and_a_missing_row_are_gaps() -> None:
    batches = full()[1:]
    batches[0] = batch(1)
    assert parts(batches) == (24_000, 0, 4_800)
    assert codes(batches) == {MeterFindingCode.METER_GAP}
    assert parts([]) == (0, 0, 28_800)


def test_above_position_is_clipped_within_its_interval() -> None:
    batches = full()
    batches[0] = batch(0, 2_400, 2_400)
    batches[1] = batch(1, 1_200)
    assert parts(batches) == (27_600, 1_200, 0)
    assert codes(batches) == {MeterFindingCode.ABOVE_POSITION}


def test_the_same_batch_twice_counts_once() -> None:
    assert parts([*full(), full()[4]]) == (28_800, 0, 0)
    assert codes([*full(), full()[4]]) == {MeterFindingCode.DUPLICATE_BATCH}


@pytest.mark.parametrize("sequence", [4, 99])
def test_contradicting_batches_are_a_gap(sequence: int) -> None:
    batches = [*full(), batch(4, 0, sequence=sequence)]
    assert parts(batches) == (26_400, 0, 2_400)
    assert codes(batches) == {MeterFindingCode.CONFLICTING_BATCH, MeterFindingCode.METER_GAP}


def test_a_node_twice_counts_once_and_a_negative_reading_not_at_all() -> None:
    batches = full()
    row = batches[0].readings[0]
    batches[0] = replace(batches[0], readings=(*batches[0].readings, row))
    batches[1] = batch(1, -5)
    assert parts(batches) == (26_400, 0, 2_400)
    assert codes(batches) == {
        MeterFindingCode.DUPLICATE_READING,
        MeterFindingCode.NEGATIVE_READING,
        MeterFindingCode.METER_GAP,
    }


def test_batches_off_the_grid_or_of_another_pool_are_ignored() -> None:
    late = Interval(start=UnixSeconds(HOUR.start + 60), end=UnixSeconds(HOUR.start + 360))
    batches = [*full()[1:], replace(batch(0, 1_200, 1_200), interval=late)]
    batches.append(batch(0, 1_200, 1_200, pool="pool-b"))
    assert parts(batches) == (26_400, 0, 2_400)
    assert MeterFindingCode.OUTSIDE_GRID in codes(batches)


def test_the_order_of_batches_decides_nothing() -> None:
    batches = [*full()[2:], batch(4, 0, sequence=4), full()[5]]
    mixed = random.Random(7).sample(batches, len(batches))
    assert read_pool("pool-a", HOUR, batches) == read_pool("pool-a", HOUR, mixed)


def test_readings_of_another_hour_are_refused() -> None:
    readings = read_pool("pool-a", interval(1), [])
    with pytest.raises(SettlementError) as caught:
        metered_hour(FIRM, FIRM.hours[0], readings, rate)
    assert caught.value.code is SettlementErrorCode.READING_MISMATCH


def test_an_interval_that_does_not_divide_ends_with_a_short_cell() -> None:
    odd = Interval(start=UnixSeconds(0), end=UnixSeconds(700))
    assert [cell.duration_s for cell in metering_intervals(odd)] == [300, 300, 100]
