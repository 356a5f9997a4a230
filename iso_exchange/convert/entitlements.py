"""Base load: entitlements and nominations."""

from __future__ import annotations

from clearing.types import MAX_CHIPS, Cover, Interval, Step
from clearing.units import Chips, MicroUsdPerChipHour
from iso_exchange.api.v1 import entitlement_pb2
from iso_exchange.commands import Nominate, Recall, RegisterEntitlement, Release, TimedSegment
from iso_exchange.convert import enums
from iso_exchange.convert.fields import BodyError, Reader, timestamp
from iso_exchange.convert.headers import read_header, write_header
from iso_exchange.convert.orders import (
    CONDITION_COUNT_MAX,
    SEGMENT_COUNT_MAX,
    read_segments,
    write_segments,
)

NO_PRICE = MicroUsdPerChipHour(0)
"""A nomination states chips only: its price is the entitlement's."""


def read_entitlement(body: Reader) -> RegisterEntitlement:
    """Registration of a base-load contract."""
    return RegisterEntitlement(
        header=read_header(body),
        entitlement_id=body.identifier("entitlement_id"),
        holder_id=body.reference("holder_id"),
        supplier_id=body.reference("supplier_id"),
        pool_id=body.reference("pool_id"),
        period=Interval(start=body.instant("start_time"), end=body.instant("end_time")),
        chips=Chips(body.integer("chip_count")),
        contract_price=MicroUsdPerChipHour(body.integer("contract_price_micro_usd_per_chip_hour")),
        cover=body.choice_or("cover", enums.COVER, Cover.NODE),
        backup_pool_ids=body.references("backup_pool_ids", most=CONDITION_COUNT_MAX),
    )


def write_entitlement(command: RegisterEntitlement) -> entitlement_pb2.Entitlement:
    """Body of a base-load contract."""
    return entitlement_pb2.Entitlement(
        header=write_header(command.header),
        entitlement_id=command.entitlement_id,
        holder_id=command.holder_id,
        supplier_id=command.supplier_id,
        pool_id=command.pool_id,
        start_time=timestamp(command.period.start),
        end_time=timestamp(command.period.end),
        chip_count=command.chips,
        contract_price_micro_usd_per_chip_hour=command.contract_price,
        cover=enums.COVER.number(command.cover),
        backup_pool_ids=command.backup_pool_ids,
    )


def read_nomination(body: Reader) -> Nominate:
    """What a holder will use; each segment becomes one step without a price."""
    return Nominate(
        header=read_header(body),
        nomination_id=body.identifier("nomination_id"),
        entitlement_id=body.reference("entitlement_id"),
        auction_id=body.reference("auction_id"),
        segments=_chip_segments(body),
        backup_pool_ids=body.references("backup_pool_ids", most=CONDITION_COUNT_MAX),
    )


def _chip_segments(body: Reader) -> tuple[TimedSegment, ...]:
    return tuple(
        TimedSegment(
            start=segment.instant("start_time"),
            end=segment.instant("end_time"),
            steps=(Step(price=NO_PRICE, chips=Chips(segment.bounded("chip_count", 1, MAX_CHIPS))),),
        )
        for segment in body.children("segments", least=1, most=SEGMENT_COUNT_MAX)
    )


def read_release(body: Reader) -> Release:
    """What a holder gives up, by curves of least prices."""
    return Release(
        header=read_header(body),
        release_id=body.identifier("release_id"),
        entitlement_id=body.reference("entitlement_id"),
        auction_id=body.reference("auction_id"),
        segments=read_segments(body),
    )


def write_release(command: Release) -> entitlement_pb2.Release:
    """Body of a release."""
    return entitlement_pb2.Release(
        header=write_header(command.header),
        release_id=command.release_id,
        entitlement_id=command.entitlement_id,
        auction_id=command.auction_id,
        segments=write_segments(command.segments),
    )


def read_recall(body: Reader) -> Recall:
    """What a holder takes back of a release."""
    return Recall(
        header=read_header(body),
        recall_id=body.identifier("recall_id"),
        release_id=body.reference("release_id"),
        segments=_chip_segments(body),
    )


def write_recall(command: Recall) -> entitlement_pb2.Recall:
    """Body of a recall.

    Raises:
        BodyError: a segment has no step, several, or a price.
    """
    return entitlement_pb2.Recall(
        header=write_header(command.header),
        recall_id=command.recall_id,
        release_id=command.release_id,
        segments=[_chip_segment(segment) for segment in command.segments],
    )


def write_nomination(command: Nominate) -> entitlement_pb2.Nomination:
    """Body of a nomination.

    Raises:
        BodyError: a segment has no step, several, or a price.
    """
    return entitlement_pb2.Nomination(
        header=write_header(command.header),
        nomination_id=command.nomination_id,
        entitlement_id=command.entitlement_id,
        auction_id=command.auction_id,
        segments=[_chip_segment(segment) for segment in command.segments],
        backup_pool_ids=command.backup_pool_ids,
    )


def _chip_segment(segment: TimedSegment) -> entitlement_pb2.ChipSegment:
    if len(segment.steps) != 1 or segment.steps[0].price != NO_PRICE:
        raise BodyError("segments", "one quantity per segment, and no price")
    return entitlement_pb2.ChipSegment(
        start_time=timestamp(segment.start),
        end_time=timestamp(segment.end),
        chip_count=segment.steps[0].chips,
    )
