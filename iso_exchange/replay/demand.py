"""Turns a day of the trace into the orders of the labs.

Base load is the tenant's trailing 10th percentile; gangs are the day's larger jobs; what
the tenant uses beyond both is bid for hour by hour; a backlog of interruptible work fills
each chip class up to the load that the scenario names. docs/reference/demo-scenario.md
gives the rules and says which are assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from clearing.types import Cover, ServiceClass
from clearing.units import PPM, SECONDS_PER_HOUR, divide_up, split_largest_remainder
from iso_exchange.replay import grid
from iso_exchange.replay.draws import draw, draw_between
from iso_exchange.replay.grid import CHIPS_PER_NODE, Ask, merge_steps, to_tick, whole_nodes
from iso_exchange.replay.labs import LAB_PLANS, LabPlan
from iso_exchange.replay.parts import (
    HOURS,
    BaseLoad,
    BlockBid,
    Eligibility,
    HourCurve,
    Pool,
    Site,
    StepBid,
)
from iso_exchange.replay.traces import BASE_PERCENT, TraceJob, percentile

TRACE_SCALE: Final = 4
"""Chips of the scenario per chip of the trace: the trace's 8-chip jobs become 32-chip gangs."""

TARGET_LOAD_PPM: Final = 1_350_000
"""Load that the interruptible backlog fills each chip class up to, every hour."""

GANG_CHIPS_MIN: Final = CHIPS_PER_NODE
GANG_COUNT_MAX: Final = 600
ENTITLEMENT_CHIPS_MAX: Final = 256
BASE_SHARE_MAX_PPM: Final = 450_000
"""Base load holds at most this share of a pool."""

CONTRACT_DISCOUNT_PPM: Final = 920_000
NOTICE_PERIODS_S: Final = (120, 300, 900, 1_800)
INTERRUPTIBLE_GANG_PPM: Final = 150_000

_STEP_SHAPES: Final = {
    "firm": ((600_000, 1_100, 1_400), (300_000, 1_000, 1_120)),
    "queue": ((600_000, 1_000, 1_200), (250_000, 960, 1_060)),
}
"""Share of the quantity, and the limit drawn between two thousandths of the highest all-in ask.

The rest of the quantity is limited below the lowest all-in price, so some is refused.
"""
_LOW_THOUSANDTHS: Final = (820, 990)
_GANG_THOUSANDTHS: Final = (930, 1_400)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLevels:
    """All-in prices of one chip class, micro-USD per chip-hour.

    Attributes:
        lowest: Cheapest way to be served: an interruptible floor, surcharge and fee.
        highest: Dearest list price, surcharge and fee.
    """

    lowest: int
    highest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantDay:
    """Demand of one lab, chips in whole nodes at the scenario's scale.

    Attributes:
        hourly_chips: One value per hour of the day.
        base_chips: Trailing 10th percentile.
        backlog_weight: Mean hourly demand before the day, chip-seconds of the trace.
        jobs: Jobs submitted on the day.
    """

    lab: LabPlan
    hourly_chips: tuple[int, ...]
    base_chips: int
    backlog_weight: int
    jobs: tuple[TraceJob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every rule here needs to know about the grid and the day."""

    seed: int
    sites: Mapping[str, Site]
    asks: Mapping[str, Ask]
    levels: Mapping[str, PriceLevels]
    floor_ppm: int


def price_levels(
    sites: Mapping[str, Site], asks: Mapping[str, Ask], floor_ppm: int
) -> dict[str, PriceLevels]:
    """All-in price levels by chip class."""
    levels = {}
    for chip_class in grid.CHIP_CLASSES:
        plans = [plan for plan in grid.POOL_PLANS if plan.chip_class == chip_class]
        wedges = {
            plan.pool_id: sites[plan.site_id].surcharge_micro_usd_per_chip_hour
            + grid.OPERATOR_FEE_MICRO_USD
            for plan in plans
        }
        levels[chip_class] = PriceLevels(
            lowest=min(
                to_tick(asks[p.pool_id].lowest * floor_ppm // PPM) + wedges[p.pool_id]
                for p in plans
            ),
            highest=max(asks[p.pool_id].mean + wedges[p.pool_id] for p in plans),
        )
    return levels


def tenant_days(
    jobs: Sequence[TraceJob], demand: Mapping[str, Sequence[int]], day: int, window_days: int
) -> tuple[TenantDay, ...]:
    """Demand of every lab that replays a tenant.

    Args:
        jobs: Jobs of the whole trace.
        demand: Chip-seconds per hour and tenant over the whole trace.
        day: Day of the trace.
        window_days: Days before ``day`` that base load looks back on; a day in the first
            week looks at the first week instead, since it has no week behind it.
    """
    week = 7
    first = max(0, day - window_days) if day >= week else 0
    stop = max(day, week)
    start_s = day * HOURS * SECONDS_PER_HOUR
    stop_s = start_s + HOURS * SECONDS_PER_HOUR
    days = []
    for lab in LAB_PLANS:
        if not lab.trace_tenant:
            continue
        series = demand.get(lab.trace_tenant, (0,) * (HOURS * max(stop, day + 1)))
        trailing = series[first * HOURS : stop * HOURS]
        base = percentile(trailing, BASE_PERCENT) * TRACE_SCALE // SECONDS_PER_HOUR
        days.append(
            TenantDay(
                lab=lab,
                hourly_chips=tuple(
                    _nodes_up(divide_up(used * TRACE_SCALE, SECONDS_PER_HOUR))
                    for used in series[day * HOURS : (day + 1) * HOURS]
                ),
                base_chips=whole_nodes(base),
                backlog_weight=sum(trailing) // len(trailing),
                jobs=tuple(
                    job
                    for job in jobs
                    if job.tenant == lab.trace_tenant and start_s <= job.submit_s < stop_s
                ),
            )
        )
    return tuple(days)


def base_loads(
    days: Sequence[TenantDay], context: Context
) -> tuple[tuple[BaseLoad, ...], dict[str, int], int]:
    """Places entitlements in pools and nominates them.

    The largest holder is placed first, each class share into the eligible pools with most
    room left, at most ``ENTITLEMENT_CHIPS_MAX`` chips per contract.

    Returns:
        The entitlements, the chips they hold by pool, and the chips that found no room.
    """
    room = {
        plan.pool_id: whole_nodes(
            min(
                plan.capacity_chips * BASE_SHARE_MAX_PPM // PPM,
                plan.capacity_chips - plan.contiguous_reserve_chips,
            )
        )
        for plan in grid.POOL_PLANS
    }
    held = dict.fromkeys(room, 0)
    placed: list[BaseLoad] = []
    unplaced = 0
    for tenant in sorted(days, key=lambda d: (-d.base_chips, d.lab.lab_id)):
        to_nominate = list(tenant.hourly_chips)
        parts = _split_nodes(tenant.base_chips, tenant.lab.class_shares)
        for (chip_class, _), wanted in zip(tenant.lab.class_shares, parts, strict=True):
            left = wanted
            candidates = eligible_plans(tenant.lab.eligible_for(chip_class), context.sites)
            while left > 0:
                best = min(candidates, key=lambda p: (-room[p.pool_id], p.pool_id))
                chips = min(left, room[best.pool_id], ENTITLEMENT_CHIPS_MAX)
                if chips == 0:
                    unplaced += left
                    break
                room[best.pool_id] -= chips
                held[best.pool_id] += chips
                left -= chips
                nominated = tuple(min(chips, need) for need in to_nominate)
                to_nominate = [
                    need - used for need, used in zip(to_nominate, nominated, strict=True)
                ]
                name = f"base-{tenant.lab.lab_id}-{best.pool_id}-{len(placed) + 1:03d}"
                entitlement = _base_load(name, tenant.lab, best, nominated, context)
                placed.append(replace(entitlement, chips=chips))
    return tuple(placed), held, unplaced


def _base_load(
    entitlement_id: str,
    lab: LabPlan,
    plan: grid.PoolPlan,
    nominated: tuple[int, ...],
    context: Context,
) -> BaseLoad:
    price = to_tick(context.asks[plan.pool_id].lowest * CONTRACT_DISCOUNT_PPM // PPM)
    return BaseLoad(
        entitlement_id=entitlement_id,
        lab_id=lab.lab_id,
        supplier_id=plan.supplier_id,
        pool_id=plan.pool_id,
        chips=0,
        contract_price_micro_usd_per_chip_hour=price,
        nominated_chips=nominated,
        release_price_micro_usd_per_chip_hour=to_tick(price * context.floor_ppm // PPM),
        cover=Cover.NODE,
    )


def trace_gangs(
    days: Sequence[TenantDay], held: Mapping[str, int], day: int, context: Context
) -> tuple[tuple[BlockBid, ...], tuple[TraceJob, ...]]:
    """Gangs of the day, largest first until ``GANG_COUNT_MAX``, and the jobs left out."""
    start_s = day * HOURS * SECONDS_PER_HOUR
    candidates = []
    for tenant in days:
        for job in tenant.jobs:
            chips = job.chips * TRACE_SCALE
            if chips % CHIPS_PER_NODE or chips < GANG_CHIPS_MIN:
                continue
            first = (job.submit_s - start_s) // SECONDS_PER_HOUR
            stop = min(HOURS, divide_up(job.end_s - start_s, SECONDS_PER_HOUR))
            candidates.append((tenant.lab, job, chips, first, stop - first))
    candidates.sort(key=lambda c: (-c[2] * c[4], c[1].job_id))
    gangs = []
    for lab, job, chips, first, hours in candidates[:GANG_COUNT_MAX]:
        where, level = _gang_place(lab, job, chips, held, context)
        firm = draw(context.seed, PPM, "class", job.job_id) >= INTERRUPTIBLE_GANG_PPM
        splits = chips > CHIPS_PER_NODE * 2 and draw(context.seed, 3, "fill", job.job_id) == 0
        factor = draw_between(context.seed, *_GANG_THOUSANDTHS, "gang", lab.lab_id, job.job_id)
        gangs.append(
            BlockBid(
                order_id=f"gang-{lab.lab_id}-{job.job_id:05d}",
                lab_id=lab.lab_id,
                where=where,
                service_class=ServiceClass.FIRM if firm else ServiceClass.INTERRUPTIBLE,
                cover=Cover.NODE if firm else Cover.NONE,
                notice_s=0 if firm else _notice(context.seed, "gang", job.job_id),
                start_hour=first,
                duration_hours=hours,
                chips=chips,
                min_fill_ppm=PPM // 2 if splits else PPM,
                limit_micro_usd_per_chip_hour=to_tick(level.highest * factor // 1_000),
                trace_job_id=job.job_id,
            )
        )
    gangs.sort(key=lambda gang: gang.order_id)
    return tuple(gangs), tuple(candidate[1] for candidate in candidates[GANG_COUNT_MAX:])


def _gang_place(
    lab: LabPlan, job: TraceJob, chips: int, held: Mapping[str, int], context: Context
) -> tuple[Eligibility, PriceLevels]:
    """Chip class of a gang, drawn by the lab's shares among classes with a pool that fits it."""
    fits = [
        (chip_class, share)
        for chip_class, share in lab.class_shares
        if any(
            plan.capacity_chips - held[plan.pool_id] >= chips
            for plan in eligible_plans(lab.eligible_for(chip_class), context.sites)
        )
    ] or list(lab.class_shares)
    point = draw(context.seed, sum(share for _, share in fits), "chip", job.job_id)
    chosen = fits[-1][0]
    for chip_class, share in fits:
        if point < share:
            chosen = chip_class
            break
        point -= share
    classes = {name for name, _ in lab.class_shares}
    either = {grid.H100, grid.H200}
    if chosen in either <= classes and draw(context.seed, 2, "either", job.job_id) == 0:
        return lab.eligible_for(grid.H100, grid.H200), context.levels[chosen]
    return lab.eligible_for(chosen), context.levels[chosen]


def assumed_gangs(context: Context) -> tuple[BlockBid, ...]:
    """The gangs that the trace does not have: runs of 512 chips, and one beyond its deposit."""
    labs = {lab.lab_id: lab for lab in LAB_PLANS}
    rows = (
        # order, lab, classes, start, hours, chips, least fill, thousandths of the highest ask
        ("gang-lab-11-512-a", "lab-11", (grid.H100,), 6, 8, 512, PPM, 1_450),
        ("gang-lab-11-512-b", "lab-11", (grid.H100, grid.H200), 15, 6, 512, PPM, 1_200),
        ("gang-lab-12-512-a", "lab-12", (grid.H100, grid.H200), 10, 8, 512, PPM // 2, 1_350),
        ("gang-lab-12-512-b", "lab-12", (grid.H100,), 0, 12, 512, PPM, 700),
        ("gang-lab-10-8-a", "lab-10", (grid.H100,), 9, 6, 8, PPM, 1_250),
        ("gang-lab-10-beyond-deposit", "lab-10", (grid.H100,), 0, 24, 64, PPM, 1_300),
    )
    return tuple(
        BlockBid(
            order_id=order_id,
            lab_id=lab_id,
            where=labs[lab_id].eligible_for(*classes),
            service_class=ServiceClass.FIRM,
            cover=Cover.NODE,
            notice_s=0,
            start_hour=start,
            duration_hours=hours,
            chips=chips,
            min_fill_ppm=least_fill,
            limit_micro_usd_per_chip_hour=to_tick(
                max(context.levels[name].highest for name in classes) * thousandths // 1_000
            ),
            trace_job_id=None,
        )
        for order_id, lab_id, classes, start, hours, chips, least_fill, thousandths in rows
    )


def firm_bids(
    days: Sequence[TenantDay],
    entitlements: Sequence[BaseLoad],
    gangs: Sequence[BlockBid],
    context: Context,
) -> tuple[StepBid, ...]:
    """Hourly bids for what a lab uses beyond its nominations and its gangs, per chip class."""
    bids = []
    for tenant in days:
        lab = tenant.lab
        rest = list(tenant.hourly_chips)
        for entitlement in entitlements:
            if entitlement.lab_id == lab.lab_id:
                for hour in range(HOURS):
                    rest[hour] -= entitlement.nominated_chips[hour]
        for gang in gangs:
            if gang.lab_id == lab.lab_id:
                for hour in range(gang.start_hour, gang.start_hour + gang.duration_hours):
                    rest[hour] -= gang.chips
        parts = [_split_nodes(max(0, chips), lab.class_shares) for chips in rest]
        for index, (chip_class, _) in enumerate(lab.class_shares):
            series = [part[index] for part in parts]
            bid = _step_bid("firm", lab, chip_class, series, context)
            if bid.curves:
                bids.append(bid)
    return tuple(bids)


def backlog_bids(
    days: Sequence[TenantDay], demand_by_class: Mapping[str, Sequence[int]], context: Context
) -> tuple[StepBid, ...]:
    """Interruptible backlog: what is missing to the target load, shared by mean past demand.

    Args:
        days: Labs that queue work.
        demand_by_class: Chips per hour already asked for, by chip class.
        context: The grid and the day.
    """
    bids = []
    for chip_class in grid.CHIP_CLASSES:
        capacity = sum(p.capacity_chips for p in grid.POOL_PLANS if p.chip_class == chip_class)
        target = capacity * TARGET_LOAD_PPM // PPM
        users = [tenant for tenant in days if chip_class in dict(tenant.lab.class_shares)]
        shares = tuple(
            # One chip-second more than its past, so that a tenant without a past queues too.
            (t.lab.lab_id, (t.backlog_weight + 1) * dict(t.lab.class_shares)[chip_class])
            for t in users
        )
        parts = [
            _split_nodes(max(0, whole_nodes(target - asked)), shares)
            for asked in demand_by_class[chip_class]
        ]
        for index, tenant in enumerate(users):
            series = [part[index] for part in parts]
            bid = _step_bid("queue", tenant.lab, chip_class, series, context)
            if bid.curves:
                bids.append(
                    replace(
                        bid,
                        service_class=ServiceClass.INTERRUPTIBLE,
                        cover=Cover.NONE,
                        notice_s=_notice(context.seed, "queue", bid.order_id),
                    )
                )
    return tuple(bids)


def demand_by_class(
    entitlements: Sequence[BaseLoad], steps: Sequence[StepBid], gangs: Sequence[BlockBid]
) -> dict[str, list[int]]:
    """Chips asked for by hour and chip class; an order with several classes counts at its first."""
    classes = {plan.pool_id: plan.chip_class for plan in grid.POOL_PLANS}
    totals = {chip_class: [0] * HOURS for chip_class in grid.CHIP_CLASSES}
    for entitlement in entitlements:
        for hour, chips in enumerate(entitlement.nominated_chips):
            totals[classes[entitlement.pool_id]][hour] += chips
    for bid in steps:
        for curve in bid.curves:
            totals[bid.where.chip_classes[0]][curve.hour] += sum(s.chips for s in curve.steps)
    for gang in gangs:
        for hour in range(gang.start_hour, gang.start_hour + gang.duration_hours):
            totals[gang.where.chip_classes[0]][hour] += gang.chips
    return totals


def eligible_plans(where: Eligibility, sites: Mapping[str, Site]) -> list[grid.PoolPlan]:
    """Pools that meet every condition, in grid order."""
    return [
        plan
        for plan in grid.POOL_PLANS
        if _meets(where, plan.pool_id, plan.chip_class, sites[plan.site_id])
    ]


def eligible_pools(
    where: Eligibility, pools: Sequence[Pool], sites: Mapping[str, Site]
) -> tuple[Pool, ...]:
    """Pools of a scenario that meet every condition, in scenario order."""
    return tuple(
        pool for pool in pools if _meets(where, pool.pool_id, pool.chip_class, sites[pool.site_id])
    )


def _meets(where: Eligibility, pool_id: str, chip_class: str, site: Site) -> bool:
    return (
        (not where.pool_ids or pool_id in where.pool_ids)
        and (not where.chip_classes or chip_class in where.chip_classes)
        and (not where.countries or site.country in where.countries)
        and set(where.data_residency) <= set(site.data_residency)
        and not set(where.excluded_legal_controls) & set(site.legal_controls)
        and set(where.certifications) <= set(site.certifications)
    )


def _step_bid(
    kind: str,
    lab: LabPlan,
    chip_class: str,
    series: Sequence[int],
    context: Context,
) -> StepBid:
    """Firm step bid over all hours with demand; limits are the lab's, the same every hour."""
    shape = _STEP_SHAPES[kind]
    level = context.levels[chip_class]
    order_id = f"{kind}-{lab.lab_id}-{grid.SHORT_NAMES[chip_class]}"
    limits = [
        to_tick(level.highest * draw_between(context.seed, low, high, order_id, low) // 1_000)
        for _, low, high in shape
    ]
    low_factor = draw_between(context.seed, *_LOW_THOUSANDTHS, order_id, "low")
    limits.append(to_tick(level.lowest * low_factor // 1_000))
    shares = [(f"step-{index}", share) for index, (share, _, _) in enumerate(shape)]
    shares.append(("step-low", PPM - sum(share for _, share in shares)))
    curves = []
    for hour, chips in enumerate(series):
        if chips == 0:
            continue
        parts = _split_nodes(chips, shares)
        steps = sorted(zip(limits, parts, strict=True), reverse=True)
        curves.append(HourCurve(hour=hour, steps=merge_steps(steps)))
    return StepBid(
        order_id=order_id,
        lab_id=lab.lab_id,
        where=lab.eligible_for(chip_class),
        service_class=ServiceClass.FIRM,
        cover=Cover.NODE,
        notice_s=0,
        curves=tuple(curves),
    )


def _split_nodes(chips: int, shares: Sequence[tuple[str, int]]) -> tuple[int, ...]:
    """Chips in whole nodes, split by shares, largest remainder."""
    nodes = split_largest_remainder(
        chips // CHIPS_PER_NODE, [share for _, share in shares], [name for name, _ in shares]
    )
    return tuple(part * CHIPS_PER_NODE for part in nodes)


def _nodes_up(chips: int) -> int:
    return divide_up(chips, CHIPS_PER_NODE) * CHIPS_PER_NODE


def _notice(seed: int, *labels: object) -> int:
    return NOTICE_PERIODS_S[draw(seed, len(NOTICE_PERIODS_S), "notice", *labels)]
