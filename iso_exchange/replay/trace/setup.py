"""What a replay says to the exchange before its first run: parties, grid, money, the market."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from clearing.types import Cover, Interval, PricingRule, Step, Tariff
from clearing.units import (
    Chips,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
    Watts,
)
from iso_exchange.commands import (
    CloseSpotMarket,
    Command,
    Header,
    OfferTerms,
    OpenSpotMarket,
    RecordDeposit,
    RegisterEntitlement,
    RegisterMeter,
    RegisterPool,
    RegisterSite,
    Role,
    SubmitOrder,
    TimedSegment,
)
from iso_exchange.replay.grid import POWER_W_BY_CLASS
from iso_exchange.replay.trace.base_load import Base
from iso_exchange.replay.trace.drive import GATE_LEAD_S, INTERVAL_S
from iso_exchange.replay.trace.layout import CHIPS_PER_NODE, Layout, PoolPlan
from iso_exchange.replay.trace.regime import DAY_S

MARKET_ID: Final = "spot"
LOOK_AHEAD: Final = 12
PRICE_CAP: Final = MicroUsdPerChipHour(20_000_000)
FEE: Final = MicroUsdPerChipHour(20_000)
TICK: Final = MicroUsdPerChipHour(1_000)
NODE_SPARE_PPM: Final = Ppm(10_000)
CHAIN_LENGTH: Final = 20_000
"""Runs in 69 days."""

DEPOSIT: Final = MicroUsd(10**15)
"""A billion dollars of collateral: a replay is about capacity, not about credit."""

DEFAULT_POWER_W: Final = 1_260

SITES: Final = {
    "tx-1": ("com-tx-1", 500_000, "us-south", "US"),
    "oh-1": ("com-oh-1", 350_000, "us-east", "US"),
    "no-1": ("com-no-1", 500_000, "eu-north", "NO"),
    "fi-1": ("com-fi-1", 350_000, "eu-north", "FI"),
}
"""Community, surcharge in micro-USD per chip-hour, region, country. Assumptions."""

SUPPLIERS: Final = {
    "tx-1": "sup-lonestar",
    "oh-1": "sup-buckeye",
    "no-1": "sup-fjord",
    "fi-1": "sup-taiga",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Where second 0 of the trace lies, and who signs what.

    Attributes:
        origin: Log origin of the exchange.
        start: Second 0 of the trace, seconds since the epoch, midnight UTC.
    """

    origin: str
    start: UnixSeconds

    def header(self, signer_id: str, request_id: str, moment_s: int = 0) -> Header:
        """Header with a request id that only this statement of this signer has."""
        return Header(
            origin=self.origin,
            signer_id=signer_id,
            request_id=f"replay:{request_id}",
            create_time=self.at(moment_s),
        )

    def at(self, moment_s: int) -> UnixSeconds:
        """A second of the trace as a time."""
        return UnixSeconds(self.start + moment_s)


def parties(labs: Sequence[str]) -> Iterator[tuple[str, Role]]:
    """Everybody who takes part, with the role of each."""
    for supplier_id in SUPPLIERS.values():
        yield supplier_id, Role.SUPPLIER
    for lab in labs:
        yield lab, Role.BUYER
    for community_id, *_ in SITES.values():
        yield community_id, Role.COMMUNITY


def meter_id(pool: PoolPlan) -> str:
    """Meter of a pool."""
    return f"meter-{pool.pool_id}"


def offer_id(pool: PoolPlan) -> str:
    """Standing offer of a pool."""
    return f"offer-{pool.pool_id}"


def grid(calendar: Calendar, layout: Layout) -> Iterator[Command]:
    """Sites and pools."""
    used = {pool.site_id for pool in layout.pools}
    for site_id, (community_id, surcharge, region, country) in SITES.items():
        if site_id in used:
            yield RegisterSite(
                header=calendar.header("operator", f"site/{site_id}"),
                site_id=site_id,
                community_id=community_id,
                surcharge=MicroUsdPerChipHour(surcharge),
                power_limit=None,
                region=region,
                country=country,
                data_residency=(country,),
            )
    for pool in layout.pools:
        yield RegisterPool(
            header=calendar.header("operator", f"pool/{pool.pool_id}"),
            pool_id=pool.pool_id,
            site_id=pool.site_id,
            supplier_ids=(SUPPLIERS[pool.site_id],),
            chip_class=pool.chip_class,
            chips_per_node=Chips(CHIPS_PER_NODE),
            capacity=Chips(pool.chips),
            chip_power=Watts(POWER_W_BY_CLASS.get(pool.chip_class, DEFAULT_POWER_W)),
            node_spare_ppm=NODE_SPARE_PPM,
            fabric="INFINIBAND_NDR",
        )


def meter(calendar: Calendar, pool: PoolPlan, public_key: bytes) -> RegisterMeter:
    """The meter of a pool."""
    return RegisterMeter(
        header=calendar.header("operator", f"meter/{pool.pool_id}"),
        meter_id=meter_id(pool),
        pool_id=pool.pool_id,
        public_key=public_key,
    )


def deposits(calendar: Calendar, names: Sequence[str]) -> Iterator[RecordDeposit]:
    """Collateral of every lab and supplier."""
    for name in names:
        yield RecordDeposit(
            header=calendar.header("operator", f"deposit/{name}"),
            participant_id=name,
            amount=DEPOSIT,
            bank_reference=f"replay-{name}",
        )


def market(calendar: Calendar, seed_anchor: bytes) -> OpenSpotMarket:
    """The spot market of a replay."""
    return OpenSpotMarket(
        header=calendar.header("operator", "market"),
        market_id=MARKET_ID,
        first_start=calendar.start,
        interval_seconds=Seconds(INTERVAL_S),
        look_ahead=LOOK_AHEAD,
        gate_lead_s=Seconds(GATE_LEAD_S),
        price_floor=MicroUsdPerChipHour(0),
        price_cap=PRICE_CAP,
        tick=TICK,
        operator_fee=FEE,
        pricing_rule=PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(100),
        seed_anchor=seed_anchor.hex(),
        chain_length=CHAIN_LENGTH,
        tariff=Tariff(),
    )


def closing(calendar: Calendar, end_s: int) -> CloseSpotMarket:
    """End of the market: what is bound is delivered, nothing is cleared any more."""
    return CloseSpotMarket(
        header=calendar.header("operator", "market/close", end_s),
        market_id=MARKET_ID,
        reason="end of the replay",
    )


def offer(
    calendar: Calendar,
    pool: PoolPlan,
    steps: tuple[Step, ...],
    revision: int,
    span: tuple[int, int],
) -> SubmitOrder:
    """Standing offer of a pool.

    Args:
        span: First and last second of the trace that it covers, on interval boundaries.
    """
    supplier_id = SUPPLIERS[pool.site_id]
    return SubmitOrder(
        header=calendar.header(supplier_id, f"{offer_id(pool)}/{revision}", span[0]),
        order_id=offer_id(pool),
        auction_id=MARKET_ID,
        participant_id=supplier_id,
        revision=revision,
        terms=OfferTerms(
            pool_id=pool.pool_id,
            segments=(
                TimedSegment(start=calendar.at(span[0]), end=calendar.at(span[1]), steps=steps),
            ),
        ),
    )


def entitlements(
    calendar: Calendar, plan: Base, layout: Layout, day: int, price: MicroUsdPerChipHour
) -> Iterator[RegisterEntitlement]:
    """Base load of one day; each is signed by its holder and its supplier."""
    pools = {pool.pool_id: pool for pool in layout.pools}
    for tenant, places in plan.items():
        for pool_id, nodes in places.items():
            name = f"base-{day:03d}-{tenant}-{pool_id}"
            yield RegisterEntitlement(
                header=calendar.header(tenant, name, day * DAY_S),
                entitlement_id=name,
                holder_id=tenant,
                supplier_id=SUPPLIERS[pools[pool_id].site_id],
                pool_id=pool_id,
                period=Interval(start=calendar.at(day * DAY_S), end=calendar.at((day + 1) * DAY_S)),
                chips=Chips(nodes * CHIPS_PER_NODE),
                contract_price=price,
                cover=Cover.NODE,
            )
