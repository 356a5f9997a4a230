"""What nobody can beat, and what each tenant alone would get: fluid and silo queues.

The clairvoyant bound is a fluid work-conserving queue: chips in use are the lesser of the
capacity and the chips of unfinished jobs, each job at most on its own number of chips, divisible
at will, without nodes, notices or restarts. Among unfinished jobs those with most run time left
go first, which keeps the most jobs parallel. The silo of a tenant is a real queue on its own
nodes: first come, first served with backfilling, the work of the same agent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from iso_exchange.client.agents.jobs import Job
from iso_exchange.client.agents.lab import Lab, Policy
from iso_exchange.replay.trace.regime import Window

STEP_S: Final = 300
HOUR_S: Final = 3_600


def fluid_bound(jobs: Sequence[Job], chips: int, window: Window) -> Fraction:
    """Mean share of the chips that the fluid queue uses in a window.

    Args:
        jobs: By submission.
        chips: Capacity in service.
        window: Measured; the queue starts empty at second 0.
    """
    size = np.array([job.chips for job in jobs], dtype=np.int64)
    left = np.array([job.work_s for job in jobs], dtype=np.int64) * size
    start = np.array([job.submit_s for job in jobs], dtype=np.int64)
    used = 0
    live = np.zeros(0, dtype=np.int64)
    arrived = 0
    for now in range(0, window.end_s, STEP_S):
        until = int(np.searchsorted(start, now + STEP_S))
        live = np.concatenate((live, np.arange(arrived, until)))
        arrived = until
        if not live.size:
            continue
        order = live[np.argsort(-(left[live] // size[live]), kind="stable")]
        here = np.minimum(STEP_S, now + STEP_S - start[order])
        want = np.minimum(left[order], here * size[order])
        before = np.cumsum(want) - want
        given = np.clip(chips * STEP_S - before, 0, want)
        left[order] -= given
        if now >= window.start_s:
            used += int(given.sum())
        live = live[left[live] > 0]
    return Fraction(used, chips * window.length_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiloResult:
    """All tenants on their own clusters, hour by hour.

    Attributes:
        chip_seconds: Run per hour of the window, all tenants.
        chips: Of all silos.
    """

    chip_seconds: tuple[int, ...]
    chips: int

    @property
    def allocation(self) -> Fraction:
        """Mean share of the chips that ran a job's request."""
        return Fraction(sum(self.chip_seconds), self.chips * HOUR_S * len(self.chip_seconds))


def silo_queue(
    jobs: Sequence[tuple[str, Job]], silo_nodes: dict[str, int], policy: Policy, window: Window
) -> SiloResult:
    """Run every tenant on its own nodes.

    A gang larger than its tenant's silo can never run there and is left out.
    """
    hours = range(window.start_s, window.end_s, HOUR_S)
    totals = [0] * len(hours)
    for tenant, nodes in silo_nodes.items():
        own = [job for name, job in jobs if name == tenant]
        for place, seconds in enumerate(_silo_hours(own, nodes, policy, hours)):
            totals[place] += seconds
    chips = sum(silo_nodes.values()) * policy.chips_per_node
    return SiloResult(chip_seconds=tuple(totals), chips=chips)


def _silo_hours(jobs: Sequence[Job], nodes: int, policy: Policy, hours: range) -> Iterator[int]:
    """Chip-seconds of one tenant in each hour."""
    lab = Lab("silo", policy, {"silo": nodes})
    arriving = iter(job for job in jobs if -(-job.chips // policy.chips_per_node) <= nodes)
    job = next(arriving, None)
    before = 0
    for hour in (hours.start, *(start + HOUR_S for start in hours)):
        while job is not None and job.submit_s < hour:
            lab.submit(job)
            job = next(arriving, None)
        lab.advance(hour)
        if hour > hours.start:
            yield lab.chip_seconds - before
        before = lab.chip_seconds
