"""A cleared day beside what the market operator published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clearing.outcome import Outcome
from iso_exchange.replay.italy.data import PRICE_UNITS_PER_EUR, BlockOrder, Day, zone_hours

PRICE_NEAR: Final = PRICE_UNITS_PER_EUR * 5 // 1_000
"""Half a cent: published prices are rounded to cents."""
FLOW_NEAR_KWH: Final = 10

ACCEPTED: Final = "ACC"
REJECTED: Final = "REJ"
PARADOXICAL: Final = "PREJ"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceMiss:
    """A zone and hour whose price is not the published one, EUR/MWh."""

    zone: str
    hour: int
    published: float
    cleared: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMiss:
    """A block that was decided otherwise; its surplus at the published prices, EUR."""

    block_id: str
    published: str
    accepted: bool
    surplus_eur: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a day compares.

    Attributes:
        prices, prices_equal: Zone-hours, and those within half a cent.
        blocks: Per published status: how many, and how many decided alike.
        flows, flows_equal: Internal links and hours, and those within 10 kWh.
        welfare_eur: Of the cleared day.
    """

    day: str
    prices: int
    prices_equal: int
    price_misses: tuple[PriceMiss, ...]
    blocks: dict[str, tuple[int, int]]
    block_misses: tuple[BlockMiss, ...]
    flows: int
    flows_equal: int
    welfare_eur: float


def compare(day: Day, outcome: Outcome, *, blind: bool) -> Comparison:
    """Set an outcome beside the published one."""
    cleared = {(price.pool_id, price.interval): int(price.energy) for price in outcome.prices}
    misses = tuple(
        PriceMiss(
            zone=zone,
            hour=hour,
            published=day.prices[zone, hour] / PRICE_UNITS_PER_EUR,
            cleared=cleared[zone, hour] / PRICE_UNITS_PER_EUR,
        )
        for zone, hour in zone_hours(day)
        if abs(cleared[zone, hour] - day.prices[zone, hour]) >= PRICE_NEAR
    )
    accepted = {award.order_id for award in outcome.awards}
    blocks = day.blocks if blind else []
    flows = {flow.link_id: flow.chips for flow in outcome.flows}
    equal = sum(
        abs(flows[f"{source}>{target}"][hour] - published) <= FLOW_NEAR_KWH
        for (source, target, hour), published in day.flows.items()
        if f"{source}>{target}" in flows
    )
    return Comparison(
        day=day.day,
        prices=len(tuple(zone_hours(day))),
        prices_equal=len(tuple(zone_hours(day))) - len(misses),
        price_misses=misses,
        blocks={
            status: (
                sum(block.published == status for block in blocks),
                sum(
                    (block.block_id in accepted) is (status == ACCEPTED)
                    for block in blocks
                    if block.published == status
                ),
            )
            for status in (ACCEPTED, REJECTED, PARADOXICAL)
        },
        block_misses=tuple(
            BlockMiss(
                block_id=block.block_id,
                published=block.published,
                accepted=block.block_id in accepted,
                surplus_eur=surplus_at_published(day, block),
            )
            for block in blocks
            if (block.block_id in accepted) is not (block.published == ACCEPTED)
        ),
        flows=len(day.flows),
        flows_equal=equal,
        welfare_eur=outcome.certificate.welfare / 3_600 / PRICE_UNITS_PER_EUR / 1_000,
    )


def surplus_at_published(day: Day, block: BlockOrder) -> float:
    """What a block would gain at the published prices of its zone, EUR."""
    gain = sum(
        kwh * (day.prices[block.zone, hour] - block.price) for hour, kwh in block.kwh.items()
    )
    return (gain if block.supply else -gain) / PRICE_UNITS_PER_EUR / 1_000
