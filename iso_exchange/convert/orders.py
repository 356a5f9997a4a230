"""Orders of every kind, and their cancellation."""

from __future__ import annotations

from typing import Final

from clearing.types import (
    Commitment,
    Conversion,
    Cover,
    Eligibility,
    ServiceClass,
    Step,
)
from clearing.units import (
    PPM,
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
)
from iso_exchange.api.v1 import order_pb2
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    CancelOrder,
    OfferTerms,
    OrderTerms,
    StepBidTerms,
    SubmitOrder,
    TimedSegment,
    WorkBidTerms,
)
from iso_exchange.convert import enums
from iso_exchange.convert.fields import (
    BodyError,
    Reader,
    malformed,
    misplaced,
    number_of,
    timestamp,
)
from iso_exchange.convert.headers import read_header, write_header

SEGMENT_COUNT_MAX: Final = 168
STEP_COUNT_MAX: Final = 64
PROFILE_COUNT_MAX: Final = 168
CONDITION_COUNT_MAX: Final = 64
CONVERSION_COUNT_MAX: Final = 32
KNOWN_COUNT_MAX: Final = 20_000
"""Conditions that are remembered; beyond it all are forgotten. About a kilobyte each."""

_STEP_FIELDS: Final = ("price_micro_usd_per_chip_hour", "chip_count")

_KNOWN: Final[dict[bytes, tuple[BidConditions, MicroUsd]]] = {}
"""Conditions that were read whole and without fault, by their bytes."""


def read_order(body: Reader) -> SubmitOrder:
    """A new or amended order; whether the market can take it is judged later."""
    kind = body.which("kind", "state an offer, a step bid, a block bid or a work bid")
    return SubmitOrder(
        header=read_header(body),
        order_id=body.identifier("order_id"),
        auction_id=body.reference("auction_id"),
        participant_id=body.reference("participant_id"),
        revision=body.bounded("revision", 1),
        terms=_terms(body, kind),
    )


def write_order(command: SubmitOrder) -> order_pb2.Order:
    """Body of an order.

    Raises:
        BodyError: the wire cannot say the terms.
    """
    order = order_pb2.Order(
        header=write_header(command.header),
        order_id=command.order_id,
        auction_id=command.auction_id,
        participant_id=command.participant_id,
        revision=command.revision,
    )
    match command.terms:
        case OfferTerms():
            order.offer.CopyFrom(_write_offer(command.terms))
        case StepBidTerms():
            order.step_bid.terms.CopyFrom(_write_conditions(command.terms.conditions))
            order.step_bid.segments.extend(write_segments(command.terms.segments))
        case BlockBidTerms():
            order.block_bid.CopyFrom(_write_block(command.terms))
            order.exclusive_group = command.terms.exclusive_group
            order.parent_order_id = command.terms.parent_order_id
        case WorkBidTerms():
            order.work_bid.CopyFrom(_write_work(command.terms))
    return order


def read_order_cancellation(body: Reader) -> CancelOrder:
    """Withdrawal of an order."""
    return CancelOrder(header=read_header(body), order_id=body.reference("order_id"))


def write_order_cancellation(command: CancelOrder) -> order_pb2.OrderCancellation:
    """Body of an order's withdrawal."""
    return order_pb2.OrderCancellation(
        header=write_header(command.header), order_id=command.order_id
    )


def _terms(body: Reader, kind: str) -> OrderTerms:
    exclusive_group = body.identifier("exclusive_group", optional=True)
    parent_order_id = body.reference("parent_order_id", optional=True)
    terms = body.child(kind)
    if kind == "block_bid":
        return _block(terms, exclusive_group, parent_order_id)
    for name, value in (("exclusive_group", exclusive_group), ("parent_order_id", parent_order_id)):
        if value:
            raise malformed(body.path(name), "only a block bid may have it", got=value)
    if kind == "offer":
        return _offer(terms)
    conditions, restart_cost = _conditions(terms)
    if restart_cost:
        raise misplaced(
            terms.path("terms.restart_cost_micro_usd_per_chip"),
            "only a block bid can stay where it runs: leave it out",
            got=str(restart_cost),
        )
    if kind == "step_bid":
        return StepBidTerms(conditions=conditions, segments=read_segments(terms))
    return WorkBidTerms(
        conditions=conditions,
        start=terms.instant("start_time"),
        deadline=terms.instant("deadline_time"),
        work=ChipSeconds(terms.bounded("work_chip_seconds", 1)),
        max_chips=Chips(terms.integer("max_chip_count")),
        limit_price=_limit(terms),
    )


def _offer(terms: Reader) -> OfferTerms:
    commitment = terms.child_or_none("commitment")
    return OfferTerms(
        pool_id=terms.reference("pool_id"),
        segments=read_segments(terms),
        recallable=terms.flag("recallable"),
        commitment=_commitment(commitment) if commitment else None,
    )


def _commitment(terms: Reader) -> Commitment:
    return Commitment(
        start_up=MicroUsd(terms.bounded("start_up_micro_usd", 0)),
        no_load=MicroUsd(terms.bounded("no_load_micro_usd_per_interval", 0)),
        min_run_intervals=terms.bounded("min_run_interval_count", 0) or 1,
        min_chips=Chips(terms.bounded("min_chip_count", 0)),
        whole=terms.flag("whole"),
    )


def _block(terms: Reader, exclusive_group: str, parent_order_id: str) -> BlockBidTerms:
    earliest = terms.instant("earliest_start_time")
    latest = terms.instant_or_none("latest_start_time")
    conditions, restart_cost = _conditions(terms)
    initial_pool_id = terms.reference("initial_pool_id", optional=True)
    return BlockBidTerms(
        conditions=conditions,
        earliest_start=earliest,
        latest_start=earliest if latest is None else latest,
        duration_s=Seconds(terms.integer("duration_seconds")),
        chips=Chips(terms.integer("chip_count")),
        limit_price=_limit(terms),
        min_fill_ppm=Ppm(terms.bounded("min_fill_ppm", 0, PPM) or PPM),
        profile=tuple(map(Chips, terms.integers("profile_chip_counts", most=PROFILE_COUNT_MAX))),
        exclusive_group=exclusive_group,
        parent_order_id=parent_order_id,
        initial_pool_id=initial_pool_id,
        restart_cost=restart_cost,
    )


def _conditions(terms: Reader) -> tuple[BidConditions, MicroUsd]:
    """What all bids share, and the restart cost, which only a block bid may have.

    A participant states the same few conditions again and again: the same bytes are read once.
    """
    written = terms.bytes_of("terms")
    known = _KNOWN.get(written)
    if known is not None:
        return known
    bid = terms.child("terms")
    found = _read_conditions(bid)
    if bid.is_finished():
        if len(_KNOWN) >= KNOWN_COUNT_MAX:
            _KNOWN.clear()
        _KNOWN[written] = found
    return found


def _read_conditions(bid: Reader) -> tuple[BidConditions, MicroUsd]:
    restart_cost = MicroUsd(bid.bounded("restart_cost_micro_usd_per_chip", 0))
    service_class = bid.choice("service_class", enums.SERVICE_CLASS)
    unstated = Cover.NONE if service_class is ServiceClass.INTERRUPTIBLE else Cover.NODE
    conversions = tuple(
        Conversion(
            chip_class=item.reference("chip_class"), factor_ppm=Ppm(item.integer("factor_ppm"))
        )
        for item in bid.children("conversions", most=CONVERSION_COUNT_MAX)
    )
    named = [conversion.chip_class for conversion in conversions]
    if len(set(named)) != len(named):
        raise malformed(bid.path("conversions"), "give each chip class one factor")
    conditions = BidConditions(
        where=_eligibility(bid.child("eligibility")),
        service_class=service_class,
        cover=bid.choice_or("cover", enums.COVER, unstated),
        notice_s=Seconds(bid.bounded("notice_seconds", 0)),
        conversions=conversions,
    )
    return conditions, restart_cost


def _eligibility(where: Reader) -> Eligibility:
    return Eligibility(
        pool_ids=where.references("pool_ids", most=CONDITION_COUNT_MAX),
        chip_classes=where.references("chip_classes", most=CONDITION_COUNT_MAX),
        regions=where.references("regions", most=CONDITION_COUNT_MAX),
        countries=where.areas("country_codes", most=CONDITION_COUNT_MAX),
        data_residency=where.areas("data_residency_country_codes", most=CONDITION_COUNT_MAX),
        excluded_legal_controls=where.choices("excluded_legal_regimes", enums.LEGAL_REGIME),
        certifications=where.choices("certifications", enums.CERTIFICATION),
        fabrics=where.choices("fabrics", enums.FABRIC),
    )


def read_segments(terms: Reader) -> tuple[TimedSegment, ...]:
    """The field ``segments``: curves over periods."""
    return tuple(
        TimedSegment(
            start=segment.instant("start_time"),
            end=segment.instant("end_time"),
            steps=tuple(
                Step(price=MicroUsdPerChipHour(price), chips=Chips(chips))
                for price, chips in segment.rows(
                    "steps", _STEP_FIELDS, least=1, most=STEP_COUNT_MAX
                )
            ),
        )
        for segment in terms.children("segments", least=1, most=SEGMENT_COUNT_MAX)
    )


def _limit(terms: Reader) -> MicroUsdPerChipHour:
    return MicroUsdPerChipHour(terms.integer("limit_price_micro_usd_per_chip_hour"))


def _write_offer(terms: OfferTerms) -> order_pb2.Offer:
    offer = order_pb2.Offer(
        pool_id=terms.pool_id,
        segments=write_segments(terms.segments),
        recallable=terms.recallable,
    )
    commitment = terms.commitment
    if commitment is not None:
        if commitment.min_run_intervals < 1:
            raise BodyError("offer.commitment.min_run_interval_count", "at least 1")
        offer.commitment.CopyFrom(
            order_pb2.Commitment(
                start_up_micro_usd=commitment.start_up,
                no_load_micro_usd_per_interval=commitment.no_load,
                min_run_interval_count=commitment.min_run_intervals,
                min_chip_count=commitment.min_chips,
                whole=commitment.whole,
            )
        )
    return offer


def _write_block(terms: BlockBidTerms) -> order_pb2.BlockBid:
    if terms.min_fill_ppm == 0:
        raise BodyError("block_bid.min_fill_ppm", "0 stands for the default on the wire")
    bid = order_pb2.BlockBid(
        terms=_write_conditions(terms.conditions),
        earliest_start_time=timestamp(terms.earliest_start),
        latest_start_time=timestamp(terms.latest_start),
        duration_seconds=terms.duration_s,
        chip_count=terms.chips,
        min_fill_ppm=terms.min_fill_ppm,
        limit_price_micro_usd_per_chip_hour=terms.limit_price,
        initial_pool_id=terms.initial_pool_id,
        profile_chip_counts=terms.profile,
    )
    bid.terms.restart_cost_micro_usd_per_chip = terms.restart_cost
    return bid


def _write_work(terms: WorkBidTerms) -> order_pb2.WorkBid:
    return order_pb2.WorkBid(
        terms=_write_conditions(terms.conditions),
        start_time=timestamp(terms.start),
        deadline_time=timestamp(terms.deadline),
        work_chip_seconds=terms.work,
        max_chip_count=terms.max_chips,
        limit_price_micro_usd_per_chip_hour=terms.limit_price,
    )


def _write_conditions(conditions: BidConditions) -> order_pb2.BidTerms:
    where = conditions.where
    return order_pb2.BidTerms(
        service_class=enums.SERVICE_CLASS.number(conditions.service_class),
        cover=enums.COVER.number(conditions.cover),
        notice_seconds=conditions.notice_s,
        eligibility=order_pb2.Eligibility(
            pool_ids=where.pool_ids,
            chip_classes=where.chip_classes,
            regions=where.regions,
            country_codes=where.countries,
            data_residency_country_codes=where.data_residency,
            excluded_legal_regimes=[
                number_of(enums.LEGAL_REGIME, name, "eligibility.excluded_legal_regimes")
                for name in where.excluded_legal_controls
            ],
            certifications=[
                number_of(enums.CERTIFICATION, name, "eligibility.certifications")
                for name in where.certifications
            ],
            fabrics=[
                number_of(enums.FABRIC, name, "eligibility.fabrics") for name in where.fabrics
            ],
        ),
        conversions=[
            order_pb2.Conversion(chip_class=item.chip_class, factor_ppm=item.factor_ppm)
            for item in conditions.conversions
        ],
    )


def write_segments(segments: tuple[TimedSegment, ...]) -> list[order_pb2.Segment]:
    """Curves over periods as the wire has them."""
    return [
        order_pb2.Segment(
            start_time=timestamp(segment.start),
            end_time=timestamp(segment.end),
            steps=[
                order_pb2.Step(price_micro_usd_per_chip_hour=step.price, chip_count=step.chips)
                for step in segment.steps
            ],
        )
        for segment in segments
    ]
