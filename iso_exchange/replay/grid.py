"""The grid of the demo scenario: communities, sites, suppliers, pools and their quotes.

Places, companies, capacities and power are assumptions (docs/reference/demo-scenario.md);
prices are list prices of the provider named with each pool.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from clearing.units import PPM
from iso_exchange.replay.parts import (
    HOURS,
    TICK_MICRO_USD,
    Community,
    CurveStep,
    Offer,
    Pool,
    Site,
    Supplier,
)
from iso_exchange.replay.prices import ProviderQuote, quote_at

H100: Final = "nvidia.h100-sxm5-80gb"
H200: Final = "nvidia.h200-sxm5-141gb"
B200: Final = "nvidia.b200-hgx-180gb"
MI300X: Final = "amd.mi300x-oam-192gb"
CHIP_CLASSES: Final = (H100, H200, B200, MI300X)
SHORT_NAMES: Final = {H100: "h100", H200: "h200", B200: "b200", MI300X: "mi300x"}

CHIPS_PER_NODE: Final = 8
OPERATOR_FEE_MICRO_USD: Final = 20_000
SITE_POWER_MARGIN_PPM: Final = 1_100_000

POWER_W_BY_CLASS: Final = {H100: 1_260, H200: 1_260, B200: 1_800, MI300X: 1_350}
"""Assumption: 1.8 x design power of the chip, for host, network and cooling."""

MI300X_ASSUMED_ASK_MICRO_USD: Final = 1_850_000
"""Assumption: the price data has no MI300X; near the list prices seen for it in 2025."""

COMMUNITIES: Final = (
    Community(community_id="com-tx-1", name="County around tx-1", jurisdiction="US-TX"),
    Community(community_id="com-oh-1", name="County around oh-1", jurisdiction="US-OH"),
    Community(community_id="com-no-1", name="Municipality around no-1", jurisdiction="NO"),
    Community(community_id="com-fi-1", name="Municipality around fi-1", jurisdiction="FI"),
    Community(community_id="com-fr-1", name="Commune around fr-1", jurisdiction="FR"),
    Community(community_id="com-is-1", name="Municipality around is-1", jurisdiction="IS"),
    Community(community_id="com-jp-1", name="City around jp-1", jurisdiction="JP"),
)

_SITE_ROWS: Final = (
    # site, community, region, country, jurisdiction, residency, operator, parent, CLOUD Act,
    # certifications, gCO2e/kWh, surcharge
    ("tx-1", "com-tx-1", "us-south", "US", "US-TX", ("US",), "US", "US", True,
     ("ISO27001", "SOC2_TYPE2"), 370, 500_000),
    ("oh-1", "com-oh-1", "us-east", "US", "US-OH", ("US",), "US", "US", True,
     ("FEDRAMP_MODERATE", "ISO27001", "SOC2_TYPE2"), 420, 350_000),
    ("no-1", "com-no-1", "eu-north", "NO", "NO", ("EEA", "NO"), "NO", "NO", False,
     ("ISO27001", "SOC2_TYPE2"), 30, 500_000),
    ("fi-1", "com-fi-1", "eu-north", "FI", "FI", ("EEA", "FI"), "FI", "FI", False,
     ("ISO27001",), 80, 350_000),
    ("fr-1", "com-fr-1", "eu-west", "FR", "FR", ("EEA", "FR"), "FR", "FR", False,
     ("ISO27001", "SECNUMCLOUD"), 55, 500_000),
    # In the EEA, yet within reach of a US warrant through the parent.
    ("is-1", "com-is-1", "eu-north", "IS", "IS", ("EEA", "IS"), "IS", "US", True,
     ("ISO27001", "SOC2_TYPE2"), 28, 500_000),
    ("jp-1", "com-jp-1", "ap-east", "JP", "JP", ("JP",), "JP", "JP", False,
     ("ISO27001",), 460, 350_000),
)  # fmt: skip

SUPPLIER_ROWS: Final = (
    ("sup-lonestar", "Lone Star Compute", "US"),
    ("sup-buckeye", "Buckeye Cloud", "US"),
    ("sup-fjord", "Fjord Compute", "NO"),
    ("sup-taiga", "Taiga Data", "FI"),
    ("sup-lumiere", "Lumiere Calcul", "FR"),
    ("sup-geysir", "Geysir Compute", "IS"),
    ("sup-yuki", "Yuki Cloud", "JP"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """A pool before the day is known.

    Attributes:
        listing: Chip of the quote, empty where the ask is an assumption.
        provider: Provider of the quote, empty where the ask is an assumption.
        contiguous_reserve_chips: Chips that base load must leave free, for large gangs.
    """

    pool_id: str
    site_id: str
    supplier_id: str
    chip_class: str
    fabric: str
    capacity_chips: int
    listing: str
    provider: str
    contiguous_reserve_chips: int
    acceptance_derate_ppm: int


def _plan(
    site_id: str,
    supplier_id: str,
    chip_class: str,
    capacity_chips: int,
    quote: tuple[str, str],
    *,
    fabric: str = "INFINIBAND_NDR",
    reserve_chips: int = 0,
    derate_ppm: int = PPM,
) -> PoolPlan:
    return PoolPlan(
        pool_id=f"{site_id}-{SHORT_NAMES[chip_class]}",
        site_id=site_id,
        supplier_id=supplier_id,
        chip_class=chip_class,
        fabric=fabric,
        capacity_chips=capacity_chips,
        listing=quote[0],
        provider=quote[1],
        contiguous_reserve_chips=reserve_chips,
        acceptance_derate_ppm=derate_ppm,
    )


_H100, _H200, _B200 = "H100_80GB_SXM5", "H200_141GB", "B200_180GB"
NO_QUOTE: Final = ("", "")

POOL_PLANS: Final = (
    _plan("tx-1", "sup-lonestar", H100, 768, (_H100, "dc_roan"), reserve_chips=512),
    _plan("tx-1", "sup-lonestar", B200, 512, (_B200, "dc_wildebeest"), derate_ppm=985_000),
    _plan("oh-1", "sup-buckeye", H100, 512, (_H100, "lambdalabs"), derate_ppm=992_000),
    _plan("oh-1", "sup-buckeye", B200, 256, (_B200, "lambdalabs")),
    _plan("no-1", "sup-fjord", H100, 768, (_H100, "nebius"), reserve_chips=512),
    _plan("no-1", "sup-fjord", H200, 512, (_H200, "nebius")),
    _plan("fi-1", "sup-taiga", H100, 512, (_H100, "hyperstack"), fabric="ROCE_V2"),
    _plan("fr-1", "sup-lumiere", H200, 640, (_H200, "nebius"), derate_ppm=997_000),
    _plan("fr-1", "sup-lumiere", MI300X, 256, NO_QUOTE, fabric="ROCE_V2"),
    _plan("is-1", "sup-geysir", H200, 512, (_H200, "runpod")),
    _plan("is-1", "sup-geysir", B200, 384, (_B200, "runpod")),
    _plan("jp-1", "sup-yuki", H100, 640, (_H100, "runpod"), fabric="ROCE_V2"),
    _plan("jp-1", "sup-yuki", H200, 384, (_H200, "dc_wildebeest"), fabric="ROCE_V2"),
)  # fmt: skip

_MW_STEP_W: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """List price of a pool's chips, micro-USD per chip-hour, multiples of the tick.

    ``mean`` is the provider's mean over its offers, at least ``lowest``.
    """

    lowest: int
    mean: int
    quote: str


def sites() -> tuple[Site, ...]:
    """Sites with a power limit a tenth above what their pools draw, in steps of 0.1 MW."""
    rows = []
    for row in _SITE_ROWS:
        draw_w = sum(
            plan.capacity_chips * POWER_W_BY_CLASS[plan.chip_class]
            for plan in POOL_PLANS
            if plan.site_id == row[0]
        )
        limit_w = draw_w * SITE_POWER_MARGIN_PPM // PPM
        rows.append(
            Site(
                site_id=row[0],
                community_id=row[1],
                region=row[2],
                country=row[3],
                jurisdiction=row[4],
                data_residency=row[5],
                operator_country=row[6],
                ultimate_parent_country=row[7],
                cloud_act_exposed=row[8],
                certifications=row[9],
                carbon_g_per_kwh=row[10],
                power_limit_w=-(-limit_w // _MW_STEP_W) * _MW_STEP_W,
                surcharge_micro_usd_per_chip_hour=row[11],
            )
        )
    return tuple(rows)


def suppliers(deposits: dict[str, int]) -> tuple[Supplier, ...]:
    """Suppliers with the deposits given by supplier."""
    return tuple(
        Supplier(supplier_id=key, name=name, country=country, deposit_micro_usd=deposits[key])
        for key, name, country in SUPPLIER_ROWS
    )


def pools(set_aside: dict[str, int]) -> tuple[Pool, ...]:
    """Pools, with the chips that base load holds in each."""
    return tuple(
        Pool(
            pool_id=plan.pool_id,
            site_id=plan.site_id,
            supplier_id=plan.supplier_id,
            chip_class=plan.chip_class,
            fabric=plan.fabric,
            fabric_domain=f"{plan.pool_id}-fabric-1",
            chips_per_node=CHIPS_PER_NODE,
            capacity_chips=plan.capacity_chips,
            contiguous_chips=plan.capacity_chips,
            chip_power_w=POWER_W_BY_CLASS[plan.chip_class],
            set_aside_chips=set_aside[plan.pool_id],
            acceptance_derate_ppm=plan.acceptance_derate_ppm,
        )
        for plan in POOL_PLANS
    )


def asks(quotes: Iterable[ProviderQuote], at: datetime) -> dict[str, Ask]:
    """List price of every pool at an instant, by pool.

    Raises:
        DataError: ``NO_QUOTE``, a provider lists nothing near that instant.
    """
    known = tuple(quotes)
    result = {}
    for plan in POOL_PLANS:
        if not plan.provider:
            result[plan.pool_id] = Ask(
                lowest=MI300X_ASSUMED_ASK_MICRO_USD,
                mean=MI300X_ASSUMED_ASK_MICRO_USD,
                quote="assumption: no quote in the price data",
            )
            continue
        quote = quote_at(known, plan.listing, plan.provider, at)
        lowest = to_tick(quote.lowest)
        result[plan.pool_id] = Ask(
            lowest=lowest,
            mean=max(lowest, to_tick(quote.mean)),
            quote=f"{plan.provider} {plan.listing} {quote.taken_at.isoformat()}",
        )
    return result


def offers(
    asks_by_pool: dict[str, Ask], set_aside: dict[str, int], floor_ppm: int
) -> tuple[Offer, ...]:
    """One offer per pool: half at the interruptible floor, the rest at the list price.

    Where the provider's mean is above its lowest price, an eighth of the pool asks the
    mean. Chips that entitlements hold are not offered.
    """
    rows = []
    for plan in POOL_PLANS:
        ask = asks_by_pool[plan.pool_id]
        free = plan.capacity_chips - set_aside[plan.pool_id]
        top = whole_nodes(free // 8) if ask.mean > ask.lowest else 0
        bottom = whole_nodes(free // 2)
        curve = (
            (to_tick(ask.lowest * floor_ppm // PPM), bottom),
            (ask.lowest, free - bottom - top),
            (ask.mean, top),
        )
        rows.append(
            Offer(
                order_id=f"offer-{plan.pool_id}",
                supplier_id=plan.supplier_id,
                pool_id=plan.pool_id,
                first_hour=0,
                stop_hour=HOURS,
                steps=merge_steps(curve),
                quote=ask.quote,
            )
        )
    return tuple(rows)


def merge_steps(curve: Iterable[tuple[int, int]]) -> tuple[CurveStep, ...]:
    """Curve without empty steps, equal prices in one step, in the order given."""
    steps: dict[int, int] = {}
    for price, chips in curve:
        if chips > 0:
            steps[price] = steps.get(price, 0) + chips
    return tuple(
        CurveStep(price_micro_usd_per_chip_hour=price, chips=chips)
        for price, chips in steps.items()
    )


def to_tick(price: int) -> int:
    """Largest multiple of the tick not above a price."""
    return price - price % TICK_MICRO_USD


def whole_nodes(chips: int) -> int:
    """Largest number of chips in whole nodes not above a number of chips."""
    return chips - chips % CHIPS_PER_NODE
