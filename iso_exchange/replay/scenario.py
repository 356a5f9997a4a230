"""Builds one market day of the demo as pure data, from real traces and prices or built-in ones.

``build`` is deterministic: the same data, day and seed give the same scenario on every host.
It contacts nothing and knows no calendar; the demo turns the scenario into signed messages.
Rules and assumptions: docs/reference/demo-scenario.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from clearing.types import ServiceClass
from clearing.units import PPM, SECONDS_PER_HOUR, divide_half_even, divide_up
from iso_exchange.replay import builtin, collateral, demand, grid, prices, traces
from iso_exchange.replay.errors import DataError, ScenarioError
from iso_exchange.replay.labs import LAB_PLANS
from iso_exchange.replay.parts import (
    TICK_MICRO_USD,
    BaseLoad,
    BlockBid,
    InputSource,
    LeftOut,
    MeterGap,
    NodeOutage,
    Origin,
    Scenario,
    Silo,
    SingleTenant,
    StepBid,
)
from iso_exchange.replay.traces import HOURS_PER_DAY, TRACE_DAYS, TraceJob

DEFAULT_DAY: Final = 24
DEFAULT_SEED: Final = 1
SEED_MAX: Final = (1 << 63) - 1
BASE_WINDOW_DAYS: Final = 28
_PPM_PER_PERCENT: Final = 10_000

_PRICES_FROM: Final = datetime(2025, 10, 20, 23, 59, 59, tzinfo=UTC)
_PRICE_DAYS: Final = 14
"""Days of list prices in the data; days of the trace run through them in turn."""


def build(data_dir: Path | None, day: int = DEFAULT_DAY, seed: int = DEFAULT_SEED) -> Scenario:
    """Builds the scenario of one day.

    Args:
        data_dir: Folder with ``itp/`` and ``prices/``, or None for built-in inputs. A kind
            of input whose file is absent is built in too; ``Scenario.sources`` says which.
        day: Day of the trace, 0 to 29.
        seed: Seed of every draw, 0 to 2**63 - 1.

    Raises:
        ScenarioError: ``DAY_OUT_OF_RANGE`` or ``SEED_OUT_OF_RANGE``.
        DataError: a file is there but malformed.
    """
    if not 0 <= day < TRACE_DAYS:
        raise ScenarioError("DAY_OUT_OF_RANGE", f"name a day from 0 to {TRACE_DAYS - 1}")
    if not 0 <= seed <= SEED_MAX:
        raise ScenarioError("SEED_OUT_OF_RANGE", f"name a seed from 0 to {SEED_MAX}")
    at = _PRICES_FROM + timedelta(days=day % _PRICE_DAYS)
    jobs, job_source = _jobs(data_dir, seed)
    quotes, quote_source = _quotes(data_dir, at)
    floor_ppm, floor_source = _floor(data_dir)

    sites = grid.sites()
    site_by_id = {site.site_id: site for site in sites}
    asks = grid.asks(quotes, at)
    context = demand.Context(
        seed=seed,
        sites=site_by_id,
        asks=asks,
        levels=demand.price_levels(site_by_id, asks, floor_ppm),
        floor_ppm=floor_ppm,
    )
    hourly = traces.hourly_demand(jobs, TRACE_DAYS * HOURS_PER_DAY)
    days = demand.tenant_days(jobs, hourly, day, BASE_WINDOW_DAYS)
    base_loads, held, unplaced_chips = demand.base_loads(days, context)
    day_gangs, left_out = demand.trace_gangs(days, held, day, context)
    firm = demand.firm_bids(days, base_loads, day_gangs, context)
    block_bids = (*day_gangs, *demand.assumed_gangs(context))
    asked = demand.demand_by_class(base_loads, firm, block_bids)
    step_bids = (*firm, *demand.backlog_bids(days, asked, context))
    labs, refusals = collateral.labs(base_loads, step_bids, block_bids, site_by_id)
    highest = collateral.highest_limits(step_bids, block_bids, asks)
    load_ppm, firm_load_ppm = _loads(base_loads, step_bids, block_bids)
    return Scenario(
        name=f"saturated, load {load_ppm // _PPM_PER_PERCENT} % of capacity, trace day {day}",
        day=day,
        seed=seed,
        sources=(job_source, quote_source, floor_source),
        price_date=at.date().isoformat(),
        trace_scale=demand.TRACE_SCALE,
        tick_micro_usd=TICK_MICRO_USD,
        operator_fee_micro_usd_per_chip_hour=grid.OPERATOR_FEE_MICRO_USD,
        interruptible_floor_ppm=floor_ppm,
        load_ppm=load_ppm,
        firm_load_ppm=firm_load_ppm,
        communities=grid.COMMUNITIES,
        sites=sites,
        suppliers=grid.suppliers(collateral.supplier_deposits(highest)),
        pools=grid.pools(held),
        offers=grid.offers(asks, held, floor_ppm),
        labs=labs,
        base_loads=base_loads,
        step_bids=step_bids,
        block_bids=block_bids,
        expected_refusals=refusals,
        meter_gaps=_METER_GAPS,
        node_outages=_NODE_OUTAGES,
        single_tenant=single_tenant(hourly, day, days),
        left_out=_left_out(left_out, day, unplaced_chips),
    )


_METER_GAPS: Final = (
    MeterGap(pool_id="fr-1-h200", hour=9, first_interval=4, interval_count=2),
    MeterGap(pool_id="jp-1-h100", hour=17, first_interval=11, interval_count=1),
)

_NODE_OUTAGES: Final = (
    NodeOutage(
        pool_id="tx-1-h100",
        supplier_id="sup-lonestar",
        hour=13,
        first_interval=3,
        interval_count=6,
        node_count=3,
    ),
)
"""Lone Star falls short: three of its nodes are down for half an hour."""


def single_tenant(
    hourly: Mapping[str, Sequence[int]], day: int, days: Sequence[demand.TenantDay]
) -> SingleTenant:
    """What the same labs reach with a cluster each, sized to their own p95 of the whole trace."""
    sizes = traces.silo_sizes(hourly)
    whole = traces.silo_allocation(hourly, sizes, 0, TRACE_DAYS * HOURS_PER_DAY)
    one_day = traces.silo_allocation(hourly, sizes, day * HOURS_PER_DAY, HOURS_PER_DAY)
    lab_by_tenant = {row.lab.trace_tenant: row.lab.lab_id for row in days}
    return SingleTenant(
        silos=tuple(
            Silo(
                lab_id=lab_by_tenant[row.tenant],
                silo_chips=divide_up(
                    row.silo_chip_seconds_per_hour * demand.TRACE_SCALE, SECONDS_PER_HOUR
                ),
                demand_chip_seconds=row.demand_chip_seconds * demand.TRACE_SCALE,
                served_at_once_chip_seconds=row.served_at_once_chip_seconds * demand.TRACE_SCALE,
            )
            for row in one_day.silos
        ),
        trace_allocation_ppm=whole.allocation_ppm,
        day_allocation_ppm=one_day.allocation_ppm,
        day_served_at_once_ppm=one_day.served_at_once_ppm,
    )


def _jobs(data_dir: Path | None, seed: int) -> tuple[tuple[TraceJob, ...], InputSource]:
    if data_dir is not None and any(data_dir.glob(traces.JOBS_PATTERN)):
        jobs = traces.read_jobs(data_dir)
        unknown = {job.tenant for job in jobs} - {plan.trace_tenant for plan in LAB_PLANS}
        if unknown:
            raise DataError(
                "UNKNOWN_TENANT", str(data_dir), 0, f"no lab replays {', '.join(sorted(unknown))}"
            )
        return jobs, InputSource(
            kind="jobs",
            origin=Origin.DATA,
            citation="Microsoft ITP traces (ElasticFlow, ASPLOS 2023), MIT",
        )
    return builtin.jobs(seed), InputSource(
        kind="jobs",
        origin=Origin.BUILT_IN,
        citation="generated; sizes and silo allocation calibrated to the ITP traces",
    )


def _quotes(
    data_dir: Path | None, at: datetime
) -> tuple[tuple[prices.ProviderQuote, ...], InputSource]:
    if data_dir is not None and any(data_dir.glob(prices.PROVIDER_PATTERN)):
        return prices.read_provider_quotes(data_dir), InputSource(
            kind="list prices",
            origin=Origin.DATA,
            citation="gpu-price-tracker, 19 October to 2 November 2025, MIT",
        )
    return builtin.provider_quotes(at), InputSource(
        kind="list prices",
        origin=Origin.BUILT_IN,
        citation="gpu-price-tracker, 2 November 2025, quoted in the source",
    )


def _floor(data_dir: Path | None) -> tuple[int, InputSource]:
    if data_dir is not None and any(data_dir.glob(prices.MARKETPLACE_PATTERN)):
        return prices.interruptible_floor_ppm(prices.read_marketplace_asks(data_dir)), InputSource(
            kind="interruptible floor",
            origin=Origin.DATA,
            citation="CCIR marketplace snapshots, median of H100 SXM and H200, CC-BY-4.0",
        )
    return builtin.INTERRUPTIBLE_FLOOR_PPM, InputSource(
        kind="interruptible floor",
        origin=Origin.BUILT_IN,
        citation="CCIR marketplace snapshots, median 0.83, quoted in the source",
    )


def _loads(
    base_loads: Sequence[BaseLoad], step_bids: Sequence[StepBid], block_bids: Sequence[BlockBid]
) -> tuple[int, int]:
    """Mean demand of the day and its base and firm part, over capacity, parts per million."""
    firm = sum(sum(row.nominated_chips) for row in base_loads)
    interruptible = 0
    rows = [
        (bid.service_class, sum(step.chips for curve in bid.curves for step in curve.steps))
        for bid in step_bids
    ]
    rows += [(gang.service_class, gang.chips * gang.duration_hours) for gang in block_bids]
    for service_class, chip_hours in rows:
        if service_class is ServiceClass.INTERRUPTIBLE:
            interruptible += chip_hours
        else:
            firm += chip_hours
    capacity = sum(plan.capacity_chips for plan in grid.POOL_PLANS) * HOURS_PER_DAY
    return (
        divide_half_even((firm + interruptible) * PPM, capacity),
        divide_half_even(firm * PPM, capacity),
    )


def _left_out(jobs: Sequence[TraceJob], day: int, unplaced_chips: int) -> LeftOut:
    day_end_s = (day + 1) * HOURS_PER_DAY * SECONDS_PER_HOUR
    seconds = sum(
        job.chips * demand.TRACE_SCALE * (min(job.end_s, day_end_s) - job.submit_s) for job in jobs
    )
    return LeftOut(
        gang_count=len(jobs),
        gang_chip_hours=seconds // SECONDS_PER_HOUR,
        entitlement_chips=unplaced_chips,
    )
