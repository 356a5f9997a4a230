"""Spot markets: opening, halting, resuming, closing."""

from __future__ import annotations

from clearing.types import MAX_CHIPS, PricingRule, Tariff
from clearing.units import Chips, Seconds
from iso_exchange.api.v1 import entitlement_pb2, spot_pb2
from iso_exchange.commands import (
    ChipSegment,
    CloseSpotMarket,
    HaltSpotMarket,
    OpenSpotMarket,
    ResumeSpotMarket,
    ReturnHours,
    SetWebhook,
)
from iso_exchange.convert import enums
from iso_exchange.convert.auctions import read_price, read_tariff, write_tariff
from iso_exchange.convert.fields import SHA256_BYTES, Reader, octets_of, timestamp
from iso_exchange.convert.headers import read_header, write_header
from iso_exchange.convert.orders import SEGMENT_COUNT_MAX
from iso_exchange.sequencer.webhook import URL_LENGTH_MAX


def read_spot_market(body: Reader) -> OpenSpotMarket:
    """A market; whether its figures make one is judged later."""
    tariff = body.child_or_none("tariff")
    return OpenSpotMarket(
        header=read_header(body),
        market_id=body.identifier("market_id"),
        first_start=body.instant("first_start_time"),
        interval_seconds=Seconds(body.integer("interval_seconds")),
        look_ahead=body.integer("look_ahead_count"),
        gate_lead_s=Seconds(body.integer("gate_lead_seconds")),
        price_floor=read_price(body, "price_floor_micro_usd_per_chip_hour"),
        price_cap=read_price(body, "price_cap_micro_usd_per_chip_hour"),
        tick=read_price(body, "tick_micro_usd_per_chip_hour"),
        operator_fee=read_price(body, "operator_fee_micro_usd_per_chip_hour"),
        pricing_rule=body.choice_or("pricing_rule", enums.PRICING_RULE, PricingRule.MAKE_WHOLE),
        tie_credit=read_price(body, "tie_credit_micro_usd_per_chip_hour"),
        seed_anchor=body.octets("seed_anchor", length=SHA256_BYTES).hex(),
        chain_length=body.integer("chain_length"),
        tariff=read_tariff(tariff) if tariff else Tariff(),
        ready_within_s=Seconds(body.integer("ready_within_seconds")),
    )


def write_spot_market(command: OpenSpotMarket) -> spot_pb2.SpotMarketSpec:
    """Body of a market.

    Raises:
        BodyError: a seed anchor that is no hex.
    """
    return spot_pb2.SpotMarketSpec(
        header=write_header(command.header),
        market_id=command.market_id,
        first_start_time=timestamp(command.first_start),
        interval_seconds=command.interval_seconds,
        look_ahead_count=command.look_ahead,
        gate_lead_seconds=command.gate_lead_s,
        price_floor_micro_usd_per_chip_hour=command.price_floor,
        price_cap_micro_usd_per_chip_hour=command.price_cap,
        tick_micro_usd_per_chip_hour=command.tick,
        operator_fee_micro_usd_per_chip_hour=command.operator_fee,
        pricing_rule=enums.PRICING_RULE.number(command.pricing_rule),
        tie_credit_micro_usd_per_chip_hour=command.tie_credit,
        seed_anchor=octets_of(command.seed_anchor, "seed_anchor"),
        chain_length=command.chain_length,
        tariff=write_tariff(command.tariff),
        ready_within_seconds=command.ready_within_s,
    )


def read_spot_halt(body: Reader) -> HaltSpotMarket:
    """Halt of orders and runs."""
    return HaltSpotMarket(
        header=read_header(body), market_id=body.reference("market_id"), reason=body.reason()
    )


def write_spot_halt(command: HaltSpotMarket) -> spot_pb2.SpotHalt:
    """Body of a halt."""
    return spot_pb2.SpotHalt(
        header=write_header(command.header), market_id=command.market_id, reason=command.reason
    )


def read_spot_resume(body: Reader) -> ResumeSpotMarket:
    """Resumption of orders and runs."""
    return ResumeSpotMarket(
        header=read_header(body), market_id=body.reference("market_id"), reason=body.reason()
    )


def write_spot_resume(command: ResumeSpotMarket) -> spot_pb2.SpotResume:
    """Body of a resumption."""
    return spot_pb2.SpotResume(
        header=write_header(command.header), market_id=command.market_id, reason=command.reason
    )


def read_hour_return(body: Reader) -> ReturnHours:
    """Hours of a contract that are given back."""
    return ReturnHours(
        header=read_header(body),
        return_id=body.identifier("return_id"),
        contract_id=body.reference("contract_id"),
        market_id=body.reference("market_id"),
        segments=tuple(
            ChipSegment(
                start=segment.instant("start_time"),
                end=segment.instant("end_time"),
                chips=Chips(segment.bounded("chip_count", 1, MAX_CHIPS)),
            )
            for segment in body.children("segments", least=0, most=SEGMENT_COUNT_MAX)
        ),
    )


def write_hour_return(command: ReturnHours) -> spot_pb2.HourReturn:
    """Body of hours given back."""
    return spot_pb2.HourReturn(
        header=write_header(command.header),
        return_id=command.return_id,
        contract_id=command.contract_id,
        market_id=command.market_id,
        segments=[
            entitlement_pb2.ChipSegment(
                start_time=timestamp(part.start),
                end_time=timestamp(part.end),
                chip_count=part.chips,
            )
            for part in command.segments
        ],
    )


def read_webhook(body: Reader) -> SetWebhook:
    """Address for notices."""
    return SetWebhook(
        header=read_header(body), url=body.text("url", longest=URL_LENGTH_MAX, shortest=0)
    )


def write_webhook(command: SetWebhook) -> spot_pb2.WebhookRegistration:
    """Body of an address for notices."""
    return spot_pb2.WebhookRegistration(header=write_header(command.header), url=command.url)


def read_spot_close(body: Reader) -> CloseSpotMarket:
    """End of a market."""
    return CloseSpotMarket(
        header=read_header(body), market_id=body.reference("market_id"), reason=body.reason()
    )


def write_spot_close(command: CloseSpotMarket) -> spot_pb2.SpotClose:
    """Body of an end."""
    return spot_pb2.SpotClose(
        header=write_header(command.header), market_id=command.market_id, reason=command.reason
    )
