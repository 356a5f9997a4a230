"""Regimes of a replay: which jobs there are, which of them are firm, and how many chips.

Capacity = mean demand / load, where mean demand is the mean number of chips in use if every job
started at its submission, over the measured window. Light is load 0.7, balanced 1.0. Saturated
is load 1.0 with a standing backlog of other real jobs: the full trace shifted by half its length,
modulo its length, before the days are cut. Which jobs are firm is decided by a hash of the job,
the same set in every regime: jobs of the trace are taken in the order of their hash until their
demand is 0.65 of the saturated regime's capacity. Shifted jobs are interruptible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Final

from iso_exchange.client.agents.jobs import Job
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.traces import TraceJob

DAY_S: Final = 86_400
WARM_UP_S: Final = 2 * DAY_S
"""Figures start after 48 hours of replayed warm-up."""

FIRM_SHARE: Final = Fraction(65, 100)


class Regime(Enum):
    """How much demand there is for the chips."""

    LIGHT = "light"
    BALANCED = "balanced"
    SATURATED = "saturated"

    @property
    def load(self) -> Fraction:
        """Mean demand of the trace over capacity; a backlog comes on top."""
        return Fraction(7, 10) if self is Regime.LIGHT else Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Measured part of a replay, seconds since the trace began; half-open."""

    start_s: int
    end_s: int

    @property
    def length_s(self) -> int:
        """Seconds measured."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Jobs of one regime.

    Attributes:
        jobs: By submission, with the tenant of each.
        window: What is measured.
        mean_chips: Mean demand of the trace itself over the window, backlog left out.
        capacity_chips: Mean demand / load, before it is rounded to nodes.
        firm_chips: Mean demand of firm jobs over the window.
    """

    regime: Regime
    jobs: tuple[tuple[str, Job], ...]
    window: Window
    mean_chips: Fraction
    capacity_chips: Fraction
    firm_chips: Fraction


def window_of(days: int) -> Window:
    """Measured window of a replay of that many days.

    Raises:
        DataError: ``TOO_SHORT``, nothing is left after the warm-up.
    """
    if days * DAY_S <= WARM_UP_S:
        raise DataError("TOO_SHORT", "DAYS", days, "figures start after 48 hours: ask for 3 days")
    return Window(start_s=WARM_UP_S, end_s=days * DAY_S)


def demand_of(
    trace: Sequence[TraceJob],
    regime: Regime,
    days: int,
    *,
    length_s: int,
    firm_share: Fraction = FIRM_SHARE,
) -> Demand:
    """Jobs and capacity of a regime.

    Args:
        trace: The full trace.
        days: Days replayed, warm-up included.
        length_s: Length of the full trace.
        firm_share: Firm demand over the saturated regime's capacity.

    Raises:
        DataError: ``TOO_SHORT`` or ``NO_DEMAND``.
    """
    window = window_of(days)
    mean = mean_chips(trace, window)
    if not mean:
        raise DataError("NO_DEMAND", "trace", 0, "no job runs in the measured window")
    firm, firm_chips = _firm(trace, window, firm_share * mean)
    jobs = [(job.tenant, _job(job, f"t{job.job_id}", job.submit_s, firm)) for job in trace]
    if regime is Regime.SATURATED:
        jobs.extend(
            (
                job.tenant,
                _job(job, f"s{job.job_id}", (job.submit_s + length_s // 2) % length_s, firm),
            )
            for job in trace
        )
    cut = sorted(
        (item for item in jobs if item[1].submit_s < window.end_s),
        key=lambda item: (item[1].submit_s, item[1].job_id),
    )
    return Demand(
        regime=regime,
        jobs=tuple(cut),
        window=window,
        mean_chips=mean,
        capacity_chips=mean / regime.load,
        firm_chips=firm_chips,
    )


def mean_chips(jobs: Iterable[TraceJob], window: Window) -> Fraction:
    """Mean chips in use in a window if every job starts at its submission."""
    return Fraction(sum(_inside(job, window) for job in jobs), window.length_s)


def _inside(job: TraceJob, window: Window) -> int:
    """Chip-seconds of a job inside a window."""
    first, last = max(job.submit_s, window.start_s), min(job.end_s, window.end_s)
    return job.chips * max(0, last - first)


def _firm(
    trace: Sequence[TraceJob], window: Window, wanted: Fraction
) -> tuple[frozenset[str], Fraction]:
    """Firm jobs by name, and their mean demand."""
    firm: set[str] = set()
    total = 0
    goal = wanted * window.length_s
    for job in sorted(trace, key=lambda job: hashlib.sha256(f"t{job.job_id}".encode()).digest()):
        if total >= goal:
            break
        firm.add(f"t{job.job_id}")
        total += _inside(job, window)
    return frozenset(firm), Fraction(total, window.length_s)


def _job(job: TraceJob, name: str, submit_s: int, firm: frozenset[str]) -> Job:
    return Job(
        job_id=name,
        chips=job.chips,
        work_s=job.duration_s,
        submit_s=submit_s,
        firm=name in firm,
    )
