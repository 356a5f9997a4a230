"""Grants of capacity."""

from __future__ import annotations

from clearing.types import Interval
from clearing.units import Chips
from iso_exchange.api.v1 import entitlement_pb2
from iso_exchange.convert.fields import REASON_LENGTH_MAX, Reader, timestamp
from iso_exchange.convert.headers import read_header, write_header
from iso_exchange.money_commands import RegisterGrant


def read_grant(body: Reader) -> RegisterGrant:
    """Capacity for a beneficiary at zero price."""
    return RegisterGrant(
        header=read_header(body),
        grant_id=body.identifier("grant_id"),
        beneficiary_id=body.reference("beneficiary_id"),
        supplier_id=body.reference("supplier_id"),
        pool_id=body.reference("pool_id"),
        period=Interval(start=body.instant("start_time"), end=body.instant("end_time")),
        chips=Chips(body.integer("chip_count")),
        purpose=body.text("purpose", longest=REASON_LENGTH_MAX),
    )


def write_grant(command: RegisterGrant) -> entitlement_pb2.Grant:
    """Body of a grant."""
    return entitlement_pb2.Grant(
        header=write_header(command.header),
        grant_id=command.grant_id,
        beneficiary_id=command.beneficiary_id,
        supplier_id=command.supplier_id,
        pool_id=command.pool_id,
        start_time=timestamp(command.period.start),
        end_time=timestamp(command.period.end),
        chip_count=command.chips,
        purpose=command.purpose,
    )
