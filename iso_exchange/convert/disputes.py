"""Disputes and their decisions."""

from __future__ import annotations

from typing import Final

from clearing.types import Interval
from clearing.units import ChipSeconds
from iso_exchange.api.v1 import dispute_pb2
from iso_exchange.convert.fields import SHA256_BYTES, Reader, timestamp
from iso_exchange.convert.headers import read_header, write_header
from iso_exchange.convert.meters import NODE_ID_LENGTH_MAX
from iso_exchange.money_commands import CounterReading, DecideDispute, DisputeHour

COUNTER_READING_COUNT_MAX: Final = 200


def read_dispute(body: Reader) -> DisputeHour:
    """One contested contract-hour, with counter readings."""
    readings = tuple(
        CounterReading(
            node_id=row.text("node_id", longest=NODE_ID_LENGTH_MAX),
            interval=Interval(start=row.instant("start_time"), end=row.instant("end_time")),
            healthy=ChipSeconds(row.bounded("healthy_chip_seconds", 0)),
            observed_tflop=row.bounded("observed_tflop", 0),
            energy_joules=row.bounded("energy_joules", 0),
        )
        for row in body.children("counter_readings", most=COUNTER_READING_COUNT_MAX)
    )
    return DisputeHour(
        header=read_header(body),
        dispute_id=body.identifier("dispute_id"),
        contract_id=body.reference("contract_id"),
        hour_start=body.instant("hour_start_time"),
        reason=body.reason(),
        counter_readings=readings,
        evidence_sha256=_digest(body),
    )


def write_dispute(command: DisputeHour) -> dispute_pb2.Dispute:
    """Body of a dispute."""
    return dispute_pb2.Dispute(
        header=write_header(command.header),
        dispute_id=command.dispute_id,
        contract_id=command.contract_id,
        hour_start_time=timestamp(command.hour_start),
        reason=command.reason,
        counter_readings=[
            dispute_pb2.CounterReading(
                node_id=item.node_id,
                start_time=timestamp(item.interval.start),
                end_time=timestamp(item.interval.end),
                healthy_chip_seconds=item.healthy,
                observed_tflop=item.observed_tflop,
                energy_joules=item.energy_joules,
            )
            for item in command.counter_readings
        ],
        evidence_sha256=bytes.fromhex(command.evidence_sha256),
    )


def read_dispute_decision(body: Reader) -> DecideDispute:
    """The operator's decision of a dispute."""
    return DecideDispute(
        header=read_header(body),
        dispute_id=body.identifier("dispute_id"),
        upheld=body.flag("upheld"),
        reason=body.reason(),
    )


def write_dispute_decision(command: DecideDispute) -> dispute_pb2.DisputeDecision:
    """Body of a decision."""
    return dispute_pb2.DisputeDecision(
        header=write_header(command.header),
        dispute_id=command.dispute_id,
        upheld=command.upheld,
        reason=command.reason,
    )


def _digest(body: Reader) -> str:
    """Hex digest of the evidence; a dispute may have none."""
    return body.octets_or_none("evidence_sha256", length=SHA256_BYTES).hex()
