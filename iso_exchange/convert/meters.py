"""Meters and their batches of readings."""

from __future__ import annotations

import sys
from typing import Any, Final

from clearing.types import Interval
from clearing.units import ChipSeconds, Tflop
from iso_exchange.api.v1 import meter_pb2
from iso_exchange.commands import RegisterMeter, SubmitReadings
from iso_exchange.convert.fields import Reader, malformed, timestamp
from iso_exchange.convert.headers import read_header, write_header
from iso_exchange.convert.participants import PUBLIC_KEY_BYTES
from settlement.types import MeterBatch, Reading

NODE_ID_LENGTH_MAX: Final = 128
CONTRACT_COUNT_MAX: Final = 1_000
NODE_COUNT_MAX: Final = 2_000


def read_meter(body: Reader) -> RegisterMeter:
    """Registration of a pool's meter."""
    return RegisterMeter(
        header=read_header(body),
        meter_id=body.identifier("meter_id"),
        pool_id=body.reference("pool_id"),
        public_key=body.octets("public_key", length=PUBLIC_KEY_BYTES),
    )


def write_meter(command: RegisterMeter) -> meter_pb2.Meter:
    """Body of a meter's registration."""
    return meter_pb2.Meter(
        header=write_header(command.header),
        meter_id=command.meter_id,
        pool_id=command.pool_id,
        public_key=command.public_key,
    )


def read_meter_batch(body: Reader) -> SubmitReadings:
    """A batch of readings; the wire groups them by contract."""
    readings: list[Reading] = []
    contracts: set[str] = set()
    for group in body.children("contracts", most=CONTRACT_COUNT_MAX):
        contract_id = group.reference("contract_id")
        if contract_id in contracts:
            raise malformed(group.path("contract_id"), "name each contract once", got=contract_id)
        contracts.add(contract_id)
        rows = group.rows("nodes", _NODE_FIELDS, least=1, most=NODE_COUNT_MAX)
        if _are_sound(rows):
            readings += [
                # A node has one name in twelve batches an hour: kept once.
                Reading(
                    contract_id=contract_id,
                    node_id=sys.intern(node_id),
                    healthy=healthy,
                    observed_tflop=observed,
                    energy_joules=joules,
                )
                for node_id, healthy, observed, joules in rows
            ]
        else:
            readings += _read_rows(group, contract_id)
    return SubmitReadings(
        header=read_header(body),
        batch=MeterBatch(
            meter_id=body.reference("meter_id"),
            pool_id=body.reference("pool_id"),
            interval=Interval(start=body.instant("start_time"), end=body.instant("end_time")),
            sequence=body.bounded("sequence_number", 0),
            readings=tuple(readings),
            corrects=body.bounded("corrected_sequence_number", 0),
        ),
    )


_NODE_FIELDS: Final = (
    "node_id",
    "healthy_chip_seconds",
    "observed_tflop",
    "energy_joules",
)


def _are_sound(rows: list[tuple[Any, ...]]) -> bool:
    """Whether nothing is wrong with any row, looked at by columns."""
    names, *evidence = zip(*rows, strict=True)
    return (
        len(set(names)) == len(names)
        and all(names)
        and max(map(len, names)) <= NODE_ID_LENGTH_MAX
        and "".join(names).isprintable()
        and min(map(min, evidence)) >= 0
    )


def _read_rows(group: Reader, contract_id: str) -> list[Reading]:
    """The same one by one, which finds the first fault and its place."""
    readings: list[Reading] = []
    nodes: set[str] = set()
    for row in group.children("nodes", least=1, most=NODE_COUNT_MAX):
        node_id = row.text("node_id", longest=NODE_ID_LENGTH_MAX)
        if node_id in nodes:
            raise malformed(row.path("node_id"), "name each node once", got=node_id)
        nodes.add(node_id)
        readings.append(
            Reading(
                contract_id=contract_id,
                node_id=node_id,
                healthy=ChipSeconds(row.bounded("healthy_chip_seconds", 0)),
                observed_tflop=Tflop(row.bounded("observed_tflop", 0)),
                energy_joules=row.bounded("energy_joules", 0),
            )
        )
    return readings


def write_meter_batch(command: SubmitReadings) -> meter_pb2.MeterBatch:
    """Body of a batch; readings of one contract are put together, in order of first mention."""
    batch = command.batch
    groups: dict[str, list[Reading]] = {}
    for reading in batch.readings:
        groups.setdefault(reading.contract_id, []).append(reading)
    return meter_pb2.MeterBatch(
        header=write_header(command.header),
        meter_id=batch.meter_id,
        pool_id=batch.pool_id,
        start_time=timestamp(batch.interval.start),
        end_time=timestamp(batch.interval.end),
        sequence_number=batch.sequence,
        corrected_sequence_number=batch.corrects,
        contracts=[
            meter_pb2.ContractReadings(
                contract_id=contract_id,
                nodes=[
                    meter_pb2.NodeReading(
                        node_id=row.node_id,
                        healthy_chip_seconds=row.healthy,
                        observed_tflop=row.observed_tflop,
                        energy_joules=row.energy_joules,
                    )
                    for row in rows
                ],
            )
            for contract_id, rows in groups.items()
        ],
    )
