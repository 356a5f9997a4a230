"""Built-in inputs for machines without the real data: a generated trace and list prices.

The generator is calibrated to published measurements of the real data, quoted here; it is
no copy of them. Sources: job sizes and silo allocation, Microsoft ITP traces (ElasticFlow,
ASPLOS 2023); list prices, gpu-price-tracker, 19 October to 2 November 2025; interruptible
floor, CCIR marketplace snapshots, 2026.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from clearing.units import PPM, SECONDS_PER_HOUR
from iso_exchange.replay.draws import draw
from iso_exchange.replay.prices import ProviderQuote
from iso_exchange.replay.traces import HOURS_PER_DAY, TRACE_DAYS, TraceJob

INTERRUPTIBLE_FLOOR_PPM: Final = 830_000
"""Median of least interruptible bid / ask, H100 SXM marketplace offers: 0.83."""

SILO_ALLOCATION_PPM: Final = 510_000
"""Silos sized to their own 95th percentile of demand: 51 % allocation (ITP)."""

ONE_CHIP_JOB_PPM: Final = 830_000
"""One-chip jobs: 83 % of jobs and 13 % of chip-hours; 5-8 chips 10 % and 49 %; 17-64 chips
0.6 % and 23 % (ITP)."""

_LIST_PRICES: Final = (
    # listing, provider, lowest and mean price in micro-USD per chip-hour, 2 November 2025
    ("H100_80GB_SXM5", "dc_roan", 1_990_000, 2_070_000),
    ("H100_80GB_SXM5", "nebius", 2_120_000, 2_120_000),
    ("H100_80GB_SXM5", "hyperstack", 2_400_000, 2_400_000),
    ("H100_80GB_SXM5", "runpod", 2_690_000, 2_700_000),
    ("H100_80GB_SXM5", "lambdalabs", 3_290_000, 3_290_000),
    ("H200_141GB", "nebius", 2_670_000, 2_670_000),
    ("H200_141GB", "dc_wildebeest", 2_990_000, 2_990_000),
    ("H200_141GB", "runpod", 3_590_000, 3_600_000),
    ("B200_180GB", "dc_wildebeest", 4_400_000, 4_400_000),
    ("B200_180GB", "lambdalabs", 4_990_000, 4_990_000),
    ("B200_180GB", "runpod", 5_690_000, 5_700_000),
)

_TENANTS: Final = (
    # tenant, share of jobs in ppm, days active in ppm, first day with jobs
    ("cluster01", 12_000, 500_000, 20),
    ("cluster02", 70_000, 800_000, 0),
    ("cluster03", 35_000, 450_000, 10),
    ("cluster04", 460_000, PPM, 0),
    ("cluster05", 22_000, 450_000, 0),
    ("cluster06", 85_000, 800_000, 0),
    ("cluster07", 215_000, PPM, 0),
    ("cluster08", 70_000, PPM, 0),
    ("cluster09", 30_000, 850_000, 0),
    ("cluster10", 1_000, 100_000, 0),
)

_SIZES: Final = (
    # chips, share of jobs in ppm, mean run time in seconds
    (1, 830_000, 11_000),
    (2, 28_000, 20_000),
    (4, 34_000, 26_000),
    (8, 100_000, 43_000),
    (16, 2_000, 60_000),
    (32, 5_000, 83_000),
    (64, 1_000, 60_000),
)

_RUN_TIME_FACTORS_PPM: Final = (80_000, 250_000, 600_000, 1_100_000, 2_970_000)
"""Drawn with equal chance; their mean is one."""

_DAY_FACTORS_PPM: Final = (650_000, 800_000, 950_000, 1_150_000, 1_450_000)
"""Busy and quiet days of one tenant; their mean is one."""

_HOUR_WEIGHTS: Final = (
    2, 2, 1, 1, 1, 1, 2, 3, 5, 7, 8, 8, 6, 7, 8, 8, 7, 6, 5, 4, 4, 3, 3, 2,
)  # fmt: skip

_JOBS_PER_DAY: Final = 1_120


def jobs(seed: int) -> tuple[TraceJob, ...]:
    """Generated trace of ``TRACE_DAYS`` days, by submission.

    Every figure comes from SHA-256 of the seed and the job's labels; nothing else enters.
    """
    rows: list[TraceJob] = []
    for tenant, share_ppm, active_ppm, first_day in _TENANTS:
        for day in range(first_day, TRACE_DAYS):
            if draw(seed, PPM, "active", tenant, day) >= active_ppm:
                continue
            factor = _DAY_FACTORS_PPM[draw(seed, len(_DAY_FACTORS_PPM), "day", tenant, day)]
            # Integers only; a tenant active on fewer days is busier on those it is.
            expected = _JOBS_PER_DAY * share_ppm * factor // active_ppm
            count = expected // PPM + (draw(seed, PPM, "more", tenant, day) < expected % PPM)
            rows.extend(_job(seed, tenant, day, number) for number in range(count))
    rows.sort(key=lambda row: (row.submit_s, row.tenant, row.chips, row.duration_s))
    return tuple(
        TraceJob(
            job_id=index,
            tenant=row.tenant,
            submit_s=row.submit_s,
            duration_s=row.duration_s,
            chips=row.chips,
        )
        for index, row in enumerate(rows)
    )


def provider_quotes(at: datetime) -> tuple[ProviderQuote, ...]:
    """List prices as if read at one instant; the prices do not change from day to day."""
    return tuple(
        ProviderQuote(
            taken_at=at,
            listing=listing,
            provider=provider,
            offer_count=1,
            lowest=lowest,
            mean=mean,
        )
        for listing, provider, lowest, mean in _LIST_PRICES
    )


def _job(seed: int, tenant: str, day: int, number: int) -> TraceJob:
    labels = (tenant, day, number)
    size = _pick(draw(seed, PPM, "size", *labels), tuple(row[1] for row in _SIZES))
    chips, _, mean_s = _SIZES[size]
    factors = _RUN_TIME_FACTORS_PPM
    factor = factors[draw(seed, len(factors), "run", *labels)]
    hour = _pick(draw(seed, sum(_HOUR_WEIGHTS), "hour", *labels), _HOUR_WEIGHTS)
    second = draw(seed, SECONDS_PER_HOUR, "second", *labels)
    return TraceJob(
        job_id=0,
        tenant=tenant,
        submit_s=(day * HOURS_PER_DAY + hour) * SECONDS_PER_HOUR + second,
        duration_s=mean_s * factor // PPM,
        chips=chips,
    )


def _pick(point: int, weights: tuple[int, ...]) -> int:
    """Index whose cumulated weight first exceeds ``point``."""
    for index, weight in enumerate(weights):
        if point < weight:
            return index
        point -= weight
    return len(weights) - 1
