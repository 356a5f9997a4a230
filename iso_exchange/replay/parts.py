"""Parts of a market-day scenario: frozen values, no behaviour beyond sums over themselves.

Units: prices are integer micro-USD per chip-hour, limits of bids all-in (surcharge and
operator fee inside), prices of offers without either; quantities are chips in whole
nodes; hours count from 0 at the start of the delivery day to 23, and the caller adds the
date; shares are parts per million.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from clearing.types import Cover, ServiceClass

HOURS: Final = 24
INTERVALS_PER_HOUR: Final = 12
INTERVAL_S: Final = 300
TICK_MICRO_USD: Final = 1_000


class Origin(Enum):
    """Where an input comes from."""

    DATA = "data"
    BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSource:
    """One kind of input of the scenario, and where it was taken from."""

    kind: str
    origin: Origin
    citation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """Host community that receives a site's surcharge."""

    community_id: str
    name: str
    jurisdiction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place with a host community.

    Attributes:
        site_id: Unique.
        community_id: Community that the surcharge is paid to.
        region: Exchange region, such as ``us-south``.
        country: ISO 3166-1 alpha-2.
        jurisdiction: ISO 3166-2 subdivision where there is one, otherwise the country.
        data_residency: Areas in which data stays: country codes and ``EEA``, sorted.
        operator_country: Country of the company that runs the site.
        ultimate_parent_country: Country of its ultimate parent.
        cloud_act_exposed: A US warrant reaches the operator or its parent.
        certifications: Such as ``SOC2_TYPE2``, sorted.
        carbon_g_per_kwh: Mean carbon intensity of the grid there, gCO2e/kWh (assumption).
        power_limit_w: Power available to exchange load, W.
        surcharge_micro_usd_per_chip_hour: Community surcharge per delivered chip-hour.
    """

    site_id: str
    community_id: str
    region: str
    country: str
    jurisdiction: str
    data_residency: tuple[str, ...]
    operator_country: str
    ultimate_parent_country: str
    cloud_act_exposed: bool
    certifications: tuple[str, ...]
    carbon_g_per_kwh: int
    power_limit_w: int
    surcharge_micro_usd_per_chip_hour: int

    @property
    def legal_controls(self) -> tuple[str, ...]:
        """Legal regimes that can compel the operator, as eligibility conditions name them."""
        return (CLOUD_ACT,) if self.cloud_act_exposed else ()


CLOUD_ACT: Final = "US_CLOUD_ACT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplier:
    """A fictional neocloud; its prices are real list prices of the provider that is named."""

    supplier_id: str
    name: str
    country: str
    deposit_micro_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Site x chip class x fabric domain.

    Attributes:
        pool_id: Unique.
        site_id: A site of the scenario.
        supplier_id: Its only supplier.
        chip_class: Key into the chip table.
        fabric: Scale-out fabric, such as ``INFINIBAND_NDR``.
        fabric_domain: Name of the fabric domain.
        chips_per_node: 8.
        capacity_chips: Installed chips, whole nodes.
        contiguous_chips: Largest gang that the fabric carries.
        chip_power_w: Power of one busy chip with host and cooling, W (assumption).
        set_aside_chips: Part of the capacity that base-load entitlements hold; it is not
            in the supplier's offer.
        acceptance_derate_ppm: Acceptance derate of the pool on the day.
    """

    pool_id: str
    site_id: str
    supplier_id: str
    chip_class: str
    fabric: str
    fabric_domain: str
    chips_per_node: int
    capacity_chips: int
    contiguous_chips: int
    chip_power_w: int
    set_aside_chips: int
    acceptance_derate_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveStep:
    """Up to ``chips`` at a price: at least it (offers), at most it (bids)."""

    price_micro_usd_per_chip_hour: int
    chips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Supply of one pool, the same curve in every hour of ``[first_hour, stop_hour)``.

    The steps ascend in price and add up to capacity less ``set_aside_chips``.
    """

    order_id: str
    supplier_id: str
    pool_id: str
    first_hour: int
    stop_hour: int
    steps: tuple[CurveStep, ...]
    quote: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """Where a bid may be served; an empty tuple is no condition, all conditions must hold."""

    pool_ids: tuple[str, ...] = ()
    chip_classes: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    data_residency: tuple[str, ...] = ()
    excluded_legal_controls: tuple[str, ...] = ()
    certifications: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HourCurve:
    """Steps of one hour, descending in price."""

    hour: int
    steps: tuple[CurveStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBid:
    """Divisible demand, one curve per hour; hours without demand have no curve."""

    order_id: str
    lab_id: str
    where: Eligibility
    service_class: ServiceClass
    cover: Cover
    notice_s: int
    curves: tuple[HourCurve, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockBid:
    """A gang: the same chips in one pool from ``start_hour`` for ``duration_hours``.

    Attributes:
        min_fill_ppm: Least accepted share; 1,000,000 is all or none.
        trace_job_id: Job of the trace that it stands for, or None where it is an assumption.
    """

    order_id: str
    lab_id: str
    where: Eligibility
    service_class: ServiceClass
    cover: Cover
    notice_s: int
    start_hour: int
    duration_hours: int
    chips: int
    min_fill_ppm: int
    limit_micro_usd_per_chip_hour: int
    trace_job_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLoad:
    """Base-load entitlement from a registered bilateral contract, and its nomination.

    Attributes:
        entitlement_id: Unique.
        lab_id: Holder.
        supplier_id: Other party of the contract.
        pool_id: Pool that serves it.
        chips: Entitled quantity, every hour.
        contract_price_micro_usd_per_chip_hour: Paid outside the exchange.
        nominated_chips: What the holder will use, one value per hour, each <= ``chips``.
        release_price_micro_usd_per_chip_hour: Least the holder takes for the rest.
        cover: Cover of the nominated part.
    """

    entitlement_id: str
    lab_id: str
    supplier_id: str
    pool_id: str
    chips: int
    contract_price_micro_usd_per_chip_hour: int
    nominated_chips: tuple[int, ...]
    release_price_micro_usd_per_chip_hour: int
    cover: Cover

    @property
    def released_chips(self) -> tuple[int, ...]:
        """The part of each hour that the holder releases to the auction."""
        return tuple(self.chips - nominated for nominated in self.nominated_chips)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A buyer.

    Attributes:
        lab_id: Unique.
        name: For people.
        country: ISO 3166-1 alpha-2.
        trace_tenant: Tenant of the trace that it replays; empty for an assumed lab.
        deposit_micro_usd: Collateral posted before the day.
    """

    lab_id: str
    name: str
    country: str
    trace_tenant: str
    deposit_micro_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRefusal:
    """An order that the exchange must refuse at acceptance, and the reason."""

    order_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterGap:
    """Five-minute intervals of one hour for which a pool's meter sends no reading.

    Concerns the contract with the most chips in the pool in that hour.
    """

    pool_id: str
    hour: int
    first_interval: int
    interval_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOutage:
    """Nodes of a pool that deliver nothing for some five-minute intervals of one hour."""

    pool_id: str
    supplier_id: str
    hour: int
    first_interval: int
    interval_count: int
    node_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Silo:
    """A tenant on its own cluster, sized to its own 95th percentile of hourly demand.

    Chip figures are at the scenario's scale and exact before they are shown as whole chips.
    """

    lab_id: str
    silo_chips: int
    demand_chip_seconds: int
    served_at_once_chip_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleTenant:
    """What the same labs reach with a cluster each.

    Attributes:
        silos: One per lab that replays a tenant.
        trace_allocation_ppm: Demand / capacity over all days of the trace.
        day_allocation_ppm: Demand / capacity on the scenario's day; above 1,000,000 jobs wait.
        day_served_at_once_ppm: The same when what does not fit at once is not counted.
    """

    silos: tuple[Silo, ...]
    trace_allocation_ppm: int
    day_allocation_ppm: int
    day_served_at_once_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What the day would hold without the scenario's limits.

    Attributes:
        gang_count: Jobs of the day that are gangs but exceed the cap on orders.
        gang_chip_hours: Their chip-hours (they stay in the hourly firm bids).
        entitlement_chips: Base load for which no eligible pool had room.
    """

    gang_count: int
    gang_chip_hours: int
    entitlement_chips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One market day, complete.

    Attributes:
        name: Names the regime and the load.
        day: Day of the trace, 0 to 29.
        seed: Seed of every draw.
        sources: Where each kind of input comes from.
        price_date: Date of the list prices, ISO 8601.
        trace_scale: Chips of the scenario per chip of the trace.
        tick_micro_usd: Every limit and offer price is a multiple of it.
        operator_fee_micro_usd_per_chip_hour: Inside every bid's limit.
        interruptible_floor_ppm: Least price of idle chips / list price.
        load_ppm: Mean demand of the day / capacity.
        firm_load_ppm: The part of it that is base load or firm.
    """

    name: str
    day: int
    seed: int
    sources: tuple[InputSource, ...]
    price_date: str
    trace_scale: int
    tick_micro_usd: int
    operator_fee_micro_usd_per_chip_hour: int
    interruptible_floor_ppm: int
    load_ppm: int
    firm_load_ppm: int
    communities: tuple[Community, ...]
    sites: tuple[Site, ...]
    suppliers: tuple[Supplier, ...]
    pools: tuple[Pool, ...]
    offers: tuple[Offer, ...]
    labs: tuple[Lab, ...]
    base_loads: tuple[BaseLoad, ...]
    step_bids: tuple[StepBid, ...]
    block_bids: tuple[BlockBid, ...]
    expected_refusals: tuple[ExpectedRefusal, ...]
    meter_gaps: tuple[MeterGap, ...]
    node_outages: tuple[NodeOutage, ...]
    single_tenant: SingleTenant
    left_out: LeftOut

    @property
    def capacity_chips(self) -> int:
        """Installed chips of all pools."""
        return sum(pool.capacity_chips for pool in self.pools)

    @property
    def order_count(self) -> int:
        """Offers, bids and base-load nominations."""
        return sum(
            len(orders)
            for orders in (self.offers, self.base_loads, self.step_bids, self.block_bids)
        )
