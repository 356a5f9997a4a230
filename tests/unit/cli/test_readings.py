"""Meter batches from JSON: read strictly, refused with the place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from clearing.types import Interval
from clearing.units import ChipSeconds, Tflop, UnixSeconds
from iso_exchange.cli.readings import parse_batch
from iso_exchange.cli.refusals import BadValue
from settlement.types import MeterBatch, Reading

BATCH: dict[str, Any] = {
    "meter_id": "meter-1",
    "pool_id": "pool-1",
    "start_time": "1970-01-01T00:05:00Z",
    "end_time": "1970-01-01T00:10:00Z",
    "sequence_number": 3,
    "readings": [
        {"contract_id": "c", "node_id": "n1", "healthy_chip_seconds": 2400},
        {"contract_id": "c", "node_id": "n2", "healthy_chip_seconds": 0, "observed_tflop": 9},
    ],
}


def test_a_batch_is_read() -> None:
    assert parse_batch(BATCH, "FILE") == MeterBatch(
        meter_id="meter-1",
        pool_id="pool-1",
        interval=Interval(start=UnixSeconds(300), end=UnixSeconds(600)),
        sequence=3,
        readings=(
            Reading(contract_id="c", node_id="n1", healthy=ChipSeconds(2400)),
            Reading(contract_id="c", node_id="n2", healthy=ChipSeconds(0), observed_tflop=Tflop(9)),
        ),
    )


FIRST = "FILE.readings[0]"


def with_first_reading(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(batch: dict[str, Any]) -> None:
        batch["readings"][0][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda batch: batch.pop("meter_id"), "FILE"),
        (lambda batch: batch.update(extra=1), "FILE"),
        (lambda batch: batch.update(readings={}), "FILE.readings"),
        (lambda batch: batch.update(start_time="now"), "FILE.start_time"),
        (lambda batch: batch.update(sequence_number=True), "FILE.sequence_number"),
        (
            with_first_reading("healthy_chip_seconds", 2400.0),
            f"{FIRST}.healthy_chip_seconds",
        ),
        (with_first_reading("healthy_chip_seconds", -1), f"{FIRST}.healthy_chip_seconds"),
        (with_first_reading("energy_joules", "9"), "FILE.readings[0].energy_joules"),
        (with_first_reading("node_id", ""), "FILE.readings[0].node_id"),
        (with_first_reading("node", "n"), "FILE.readings[0]"),
    ],
)
def test_other_batches_are_refused_with_the_place(
    change: Callable[[dict[str, Any]], None], place: str
) -> None:
    document = copy.deepcopy(BATCH)
    change(document)
    with pytest.raises(BadValue) as caught:
        parse_batch(document, "FILE")
    assert caught.value.field == place
