"""Auctions as data, halts and resumptions."""

from __future__ import annotations

from clearing.types import PricingRule, Tariff
from clearing.units import PPM, MicroUsdPerChipHour, Ppm, Seconds
from iso_exchange.api.v1 import auction_pb2
from iso_exchange.commands import CreateAuction, HaltAuction, ResumeAuction
from iso_exchange.convert import enums
from iso_exchange.convert.fields import SHA256_BYTES, Reader, number_of, octets_of, timestamp
from iso_exchange.convert.headers import read_header, write_header


def read_auction_spec(body: Reader) -> CreateAuction:
    """An auction; whether its figures make one is judged later."""
    tariff = body.child_or_none("tariff")
    return CreateAuction(
        header=read_header(body),
        auction_id=body.identifier("auction_id"),
        product=body.choice("product", enums.AUCTION_PRODUCT),
        close_time=body.instant("close_time"),
        first_interval_start=body.instant("first_interval_start_time"),
        interval_seconds=Seconds(body.integer("interval_seconds")),
        interval_count=body.integer("interval_count"),
        price_floor=read_price(body, "price_floor_micro_usd_per_chip_hour"),
        price_cap=read_price(body, "price_cap_micro_usd_per_chip_hour"),
        tick=read_price(body, "tick_micro_usd_per_chip_hour"),
        operator_fee=read_price(body, "operator_fee_micro_usd_per_chip_hour"),
        pricing_rule=body.choice_or("pricing_rule", enums.PRICING_RULE, PricingRule.MAKE_WHOLE),
        tie_credit=read_price(body, "tie_credit_micro_usd_per_chip_hour"),
        seed_commitment=body.octets("seed_commitment", length=SHA256_BYTES).hex(),
        tariff=read_tariff(tariff) if tariff else Tariff(),
    )


def write_auction_spec(command: CreateAuction) -> auction_pb2.AuctionSpec:
    """Body of an auction.

    Raises:
        BodyError: a product that the wire has no value for, or a seed commitment that is no hex.
    """
    tariff = command.tariff
    return auction_pb2.AuctionSpec(
        header=write_header(command.header),
        auction_id=command.auction_id,
        product=number_of(enums.AUCTION_PRODUCT, command.product, "product"),
        close_time=timestamp(command.close_time),
        first_interval_start_time=timestamp(command.first_interval_start),
        interval_seconds=command.interval_seconds,
        interval_count=command.interval_count,
        price_floor_micro_usd_per_chip_hour=command.price_floor,
        price_cap_micro_usd_per_chip_hour=command.price_cap,
        tick_micro_usd_per_chip_hour=command.tick,
        operator_fee_micro_usd_per_chip_hour=command.operator_fee,
        pricing_rule=enums.PRICING_RULE.number(command.pricing_rule),
        tie_credit_micro_usd_per_chip_hour=command.tie_credit,
        seed_commitment=octets_of(command.seed_commitment, "seed_commitment"),
        tariff=write_tariff(tariff),
    )


def write_tariff(tariff: Tariff) -> auction_pb2.Tariff:
    """Parameters of the rules."""
    return auction_pb2.Tariff(
        node_cover_notice_seconds=tariff.node_cover_notice_s,
        site_cover_notice_seconds=tariff.site_cover_notice_s,
        base_shortfall_penalty_micro_usd_per_chip_hour=tariff.base_shortfall_penalty,
        cover_shortfall_penalty_micro_usd_per_chip_hour=tariff.cover_shortfall_penalty,
        power_shortfall_penalty_micro_usd_per_chip_hour=tariff.power_shortfall_penalty,
        stop_loss_ppm=tariff.stop_loss_ppm,
        withhold_gap_ppm=tariff.withhold_gap_ppm,
    )


def read_auction_halt(body: Reader) -> HaltAuction:
    """Halt of order entry."""
    return HaltAuction(
        header=read_header(body), auction_id=body.reference("auction_id"), reason=body.reason()
    )


def write_auction_halt(command: HaltAuction) -> auction_pb2.AuctionHalt:
    """Body of a halt."""
    return auction_pb2.AuctionHalt(
        header=write_header(command.header), auction_id=command.auction_id, reason=command.reason
    )


def read_auction_resume(body: Reader) -> ResumeAuction:
    """Resumption of order entry."""
    return ResumeAuction(
        header=read_header(body), auction_id=body.reference("auction_id"), reason=body.reason()
    )


def write_auction_resume(command: ResumeAuction) -> auction_pb2.AuctionResume:
    """Body of a resumption."""
    return auction_pb2.AuctionResume(
        header=write_header(command.header), auction_id=command.auction_id, reason=command.reason
    )


def read_tariff(tariff: Reader) -> Tariff:
    """Parameters of the rules."""
    return Tariff(
        node_cover_notice_s=Seconds(tariff.bounded("node_cover_notice_seconds", 0)),
        site_cover_notice_s=Seconds(tariff.bounded("site_cover_notice_seconds", 0)),
        base_shortfall_penalty=_penalty(tariff, "base"),
        cover_shortfall_penalty=_penalty(tariff, "cover"),
        power_shortfall_penalty=_penalty(tariff, "power"),
        stop_loss_ppm=Ppm(tariff.bounded("stop_loss_ppm", 0)),
        withhold_gap_ppm=Ppm(tariff.bounded("withhold_gap_ppm", 0, PPM)),
    )


def _penalty(tariff: Reader, subject: str) -> MicroUsdPerChipHour:
    name = f"{subject}_shortfall_penalty_micro_usd_per_chip_hour"
    return MicroUsdPerChipHour(tariff.bounded(name, 0))


def read_price(body: Reader, name: str) -> MicroUsdPerChipHour:
    """A price in micro-USD per chip-hour."""
    return MicroUsdPerChipHour(body.integer(name))
