"""Outage reports."""

from __future__ import annotations

from typing import Final

from clearing.types import Interval
from iso_exchange.api.v1 import event_pb2
from iso_exchange.commands import ReportOutage
from iso_exchange.convert.fields import Reader, not_taken, timestamp
from iso_exchange.convert.headers import read_header, write_header

NODE_COUNT_MAX: Final = 2_000


def read_outage_report(body: Reader) -> ReportOutage:
    """Report that nodes of a pool are down; of a whole site it is not taken yet."""
    subject = body.which("subject", "name the pool that is down")
    if subject != "pool_id":
        raise not_taken(body.path(subject), "report each pool of the site by itself")
    return ReportOutage(
        header=read_header(body),
        outage_id=body.identifier("outage_id"),
        pool_id=body.reference("pool_id"),
        interval=Interval(start=body.instant("start_time"), end=body.instant("end_time")),
        nodes=body.references("node_ids", most=NODE_COUNT_MAX),
        reason=body.reason(),
    )


def write_outage_report(command: ReportOutage) -> event_pb2.OutageReport:
    """Body of an outage report."""
    return event_pb2.OutageReport(
        header=write_header(command.header),
        outage_id=command.outage_id,
        pool_id=command.pool_id,
        node_ids=command.nodes,
        start_time=timestamp(command.interval.start),
        end_time=timestamp(command.interval.end),
        reason=command.reason,
    )
