"""Reader and measurements of the ITP job trace: ten tenants of one company's clusters.

Source: ``itp/itp_jobs_*``, Microsoft ITP traces (ElasticFlow, ASPLOS 2023, MIT). The trace
has submissions, run times and sizes, but neither start times nor capacities, so demand is
what runs if every job starts when it is submitted, and a tenant's silo is sized by a
stated rule: **its own 95th percentile of hourly demand**. Quantities are integer
chip-seconds per hour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearing.units import PPM, SECONDS_PER_HOUR, divide_half_even, divide_up
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.tables import find_file, read_rows

JOBS_PATTERN: Final = "itp/itp_jobs_*.csv.gz"
HOURS_PER_DAY: Final = 24
TRACE_DAYS: Final = 30
"""Days in which the trace has submissions; later hours only see jobs end."""

SILO_PERCENT: Final = 95
BASE_PERCENT: Final = 10

_COLUMNS: Final = ("job", "cluster", "submission_time", "duration", "num_gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceJob:
    """One job: ``chips`` for ``duration_s`` from ``submit_s``, seconds since the trace began."""

    job_id: int
    tenant: str
    submit_s: int
    duration_s: int
    chips: int

    @property
    def end_s(self) -> int:
        """End if the job starts when it is submitted."""
        return self.submit_s + self.duration_s


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeShare:
    """Jobs of one size class.

    Attributes:
        chips_min: Smallest size of the class.
        chips_max: Largest size of the class.
        job_ppm: Share of all jobs, parts per million.
        chip_seconds_ppm: Share of all chip-seconds, parts per million.
    """

    chips_min: int
    chips_max: int
    job_ppm: int
    chip_seconds_ppm: int


SIZE_CLASSES: Final = ((1, 1), (2, 4), (5, 8), (9, 16), (17, 64))


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSilo:
    """A tenant on its own cluster, sized by the silo rule.

    Attributes:
        tenant: Name in the trace.
        silo_chip_seconds_per_hour: Its 95th percentile of hourly demand.
        demand_chip_seconds: Demand over the hours measured.
        served_at_once_chip_seconds: The part of it that fits when it arrives, without a queue.
    """

    tenant: str
    silo_chip_seconds_per_hour: int
    demand_chip_seconds: int
    served_at_once_chip_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SiloAllocation:
    """All tenants on their own clusters over the same hours.

    Attributes:
        silos: By tenant name.
        hours: Hours measured.
        allocation_ppm: Demand / capacity, the allocation that any scheduler reaches in the
            long run (jobs wait, none is lost).
        served_at_once_ppm: The same when what does not fit at once is lost.
    """

    silos: tuple[TenantSilo, ...]
    hours: int
    allocation_ppm: int
    served_at_once_ppm: int


def read_jobs(data_dir: Path) -> tuple[TraceJob, ...]:
    """Jobs in file order.

    Raises:
        DataError: the file is absent or malformed.
    """
    path = find_file(data_dir, JOBS_PATTERN)
    jobs = tuple(
        TraceJob(
            job_id=row.integer("job"),
            tenant=row.text("cluster"),
            submit_s=row.integer("submission_time"),
            duration_s=row.integer("duration", least=1),
            chips=row.integer("num_gpu", least=1),
        )
        for row in read_rows(path, _COLUMNS)
    )
    if not jobs:
        raise DataError("NO_JOBS", str(path), 0, "the file holds only a header")
    return jobs


def hourly_demand(jobs: Iterable[TraceJob], hours: int) -> dict[str, tuple[int, ...]]:
    """Chip-seconds in use per hour and tenant if every job starts at its submission.

    Args:
        jobs: In any order.
        hours: Hours from the start of the trace; what runs later is cut off.

    Returns:
        ``hours`` integers per tenant, by tenant name.
    """
    # Each job is two partial hours at its ends and a run of whole hours between them; the
    # runs are added as differences and summed once, so a job costs the same at any length.
    partial: dict[str, list[int]] = defaultdict(lambda: [0] * (hours + 1))
    steps: dict[str, list[int]] = defaultdict(lambda: [0] * (hours + 1))
    horizon_s = hours * SECONDS_PER_HOUR
    for job in jobs:
        edges, whole = partial[job.tenant], steps[job.tenant]
        start_s, end_s = min(job.submit_s, horizon_s), min(job.end_s, horizon_s)
        first, last = start_s // SECONDS_PER_HOUR, end_s // SECONDS_PER_HOUR
        if first == last:
            edges[first] += job.chips * (end_s - start_s)
            continue
        edges[first] += job.chips * ((first + 1) * SECONDS_PER_HOUR - start_s)
        edges[last] += job.chips * (end_s - last * SECONDS_PER_HOUR)
        whole[first + 1] += job.chips
        whole[last] -= job.chips
    demand: dict[str, tuple[int, ...]] = {}
    for tenant in sorted(partial):
        running = 0
        series = []
        for hour in range(hours):
            running += steps[tenant][hour]
            series.append(partial[tenant][hour] + running * SECONDS_PER_HOUR)
        demand[tenant] = tuple(series)
    return demand


def peak_concurrency(jobs: Iterable[TraceJob]) -> dict[str, int]:
    """Most chips in use at one moment, by tenant, if every job starts at its submission."""
    events: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for job in jobs:
        events[job.tenant].append((job.submit_s, job.chips))
        events[job.tenant].append((job.end_s, -job.chips))
    peaks = {}
    for tenant in sorted(events):
        in_use = peak = 0
        # At equal times the negative change sorts first: a job that ends frees its chips.
        for _, change in sorted(events[tenant]):
            in_use += change
            peak = max(peak, in_use)
        peaks[tenant] = peak
    return peaks


def size_shares(jobs: Sequence[TraceJob]) -> tuple[SizeShare, ...]:
    """Shares of jobs and of chip-seconds by the size classes of ``SIZE_CLASSES``."""
    all_seconds = sum(job.chips * job.duration_s for job in jobs)
    shares = []
    for low, high in SIZE_CLASSES:
        members = [job for job in jobs if low <= job.chips <= high]
        seconds = sum(job.chips * job.duration_s for job in members)
        shares.append(
            SizeShare(
                chips_min=low,
                chips_max=high,
                job_ppm=divide_half_even(len(members) * PPM, len(jobs)),
                chip_seconds_ppm=divide_half_even(seconds * PPM, all_seconds),
            )
        )
    return tuple(shares)


def percentile(values: Sequence[int], percent: int) -> int:
    """Percentile by nearest rank: the smallest value with ``percent`` % at or below it.

    Args:
        values: At least one, in any order.
        percent: 1 to 100.

    Raises:
        ValueError: there are no values, or ``percent`` is out of range.
    """
    if not values or not 1 <= percent <= 100:  # noqa: PLR2004 - per cent
        message = f"needs values and a percent of 1 to 100, got {len(values)} and {percent}"
        raise ValueError(message)
    rank = divide_up(len(values) * percent, 100)
    return sorted(values)[rank - 1]


def silo_sizes(demand: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Silo of each tenant, chip-seconds per hour: its own 95th percentile of demand."""
    return {tenant: percentile(series, SILO_PERCENT) for tenant, series in demand.items()}


def silo_allocation(
    demand: Mapping[str, Sequence[int]], silos: Mapping[str, int], first_hour: int, hours: int
) -> SiloAllocation:
    """What the tenants' own clusters would have been used for.

    Args:
        demand: Chip-seconds per hour and tenant.
        silos: Chip-seconds per hour that each tenant's cluster can serve.
        first_hour: First hour measured.
        hours: Number of hours, >= 1.

    Raises:
        DataError: ``NO_DEMAND``, every silo is empty.
    """
    rows = []
    for tenant in sorted(demand):
        window = demand[tenant][first_hour : first_hour + hours]
        rows.append(
            TenantSilo(
                tenant=tenant,
                silo_chip_seconds_per_hour=silos[tenant],
                demand_chip_seconds=sum(window),
                served_at_once_chip_seconds=sum(min(used, silos[tenant]) for used in window),
            )
        )
    capacity = sum(row.silo_chip_seconds_per_hour for row in rows) * hours
    if capacity <= 0:
        raise DataError(
            "NO_DEMAND", JOBS_PATTERN, 0, "no tenant uses chips in more than one hour of twenty"
        )
    return SiloAllocation(
        silos=tuple(rows),
        hours=hours,
        allocation_ppm=divide_half_even(sum(r.demand_chip_seconds for r in rows) * PPM, capacity),
        served_at_once_ppm=divide_half_even(
            sum(r.served_at_once_chip_seconds for r in rows) * PPM, capacity
        ),
    )
