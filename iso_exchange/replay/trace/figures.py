"""What a replay came to: allocation, waiting, restarts, and whether the reaches are met.

Allocation of an hour = chip-seconds that ran a job's request / chip-seconds in service.
Awarded-node allocation, chips of nodes that somebody holds, stands beside it. Time that restarts
cost counts as run in the first and is taken out in the figure *net of restarts*. Figures cover
the measured window only; jobs are judged by when they were submitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from iso_exchange.client.agents.jobs import Run
from iso_exchange.replay.trace.regime import Regime, Window

HOUR_S: Final = 3_600
ALARM: Final = Fraction(94, 100)
WARNING: Final = Fraction(95, 100)

SIZE_CLASSES: Final = ((1, 1), (2, 4), (5, 8), (9, 16), (17, 64), (65, 10**9))
STARVING_CHIPS: Final = 16
STARVING_S: Final = 86_400
"""A gang that waits longer than a day starves."""


@dataclass(slots=True, kw_only=True)
class Hour:
    """Sums of one hour, chip-seconds.

    Attributes:
        start_s: Seconds since the trace began.
        restarted: Run, or to be run, but only to make up for restarts of that hour.
        part: Held and idle, on nodes that ran something.
        empty: Held and idle, on nodes that ran nothing.
        outage: Some of it was lost to a site outage.
    """

    start_s: int
    in_service: int = 0
    running: int = 0
    awarded: int = 0
    restarted: int = 0
    part: int = 0
    empty: int = 0
    outage: bool = False

    @property
    def allocation(self) -> Fraction:
        """Share of what was in service that ran a job."""
        return Fraction(self.running, self.in_service) if self.in_service else Fraction(1)

    @property
    def unsold(self) -> int:
        """In service and held by nobody; a held node that fails is one less until it is left."""
        return self.in_service - self.running - self.part - self.empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How long jobs of one size class waited for their first start, seconds.

    Attributes:
        unstarted: Jobs submitted in the window that had not started at its end; their wait
            so far counts.
    """

    chips_min: int
    chips_max: int
    firm: bool
    jobs: int
    unstarted: int
    p50_s: int
    p99_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """One number to reach."""

    name: str
    wanted: str
    got: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that is printed of a regime.

    Attributes:
        load: Demand of the window / capacity, backlog of the saturated regime included.
        mean: Allocation over the window.
        net: The same without what restarts cost.
        awarded: Chips of nodes held / in service.
        bound: Clairvoyant bound.
        part: Idle chips of nodes that ran something / in service.
        empty: Idle chips of held nodes that ran nothing / in service.
        unsold: Chips that nobody held / in service.
    """

    regime: Regime
    hours: tuple[Hour, ...]
    load: Fraction
    mean: Fraction
    net: Fraction
    awarded: Fraction
    bound: Fraction
    part: Fraction
    empty: Fraction
    unsold: Fraction
    waiting: tuple[Waiting, ...]
    starved: int
    restarts: int
    firm_p50_s: int
    firm_p99_s: int

    @property
    def worst(self) -> Hour:
        """Hour of least allocation outside outages."""
        return min(
            (hour for hour in self.hours if not hour.outage),
            key=lambda hour: (hour.allocation, hour.start_s),
        )

    @property
    def low_hours(self) -> int:
        """Hours below 94 % outside outages."""
        return sum(hour.allocation < ALARM for hour in self.hours if not hour.outage)


def figures_of(
    regime: Regime,
    window: Window,
    hours: Iterable[Hour],
    runs: Sequence[Run],
    *,
    load: Fraction,
    bound: Fraction,
) -> Figures:
    """Sum up a replay.

    Args:
        hours: All hours; those outside the window are left out.
        runs: Every job that was submitted, done or not.
    """
    inside = tuple(
        hour for hour in hours if window.start_s <= hour.start_s and hour.start_s < window.end_s
    )
    service = sum(hour.in_service for hour in inside)
    running = sum(hour.running for hour in inside)
    measured = [run for run in runs if window.start_s <= run.job.submit_s < window.end_s]
    firm = firm_waits(runs, window) or [0]
    gangs = [run for run in measured if run.job.chips >= STARVING_CHIPS]
    return Figures(
        regime=regime,
        hours=inside,
        load=load,
        mean=Fraction(running, service),
        net=Fraction(running - sum(hour.restarted for hour in inside), service),
        awarded=Fraction(sum(hour.awarded for hour in inside), service),
        bound=bound,
        part=Fraction(sum(hour.part for hour in inside), service),
        empty=Fraction(sum(hour.empty for hour in inside), service),
        unsold=Fraction(sum(hour.unsold for hour in inside), service),
        waiting=tuple(_waiting(measured, window)),
        starved=sum(_wait(run, window) > STARVING_S for run in gangs),
        restarts=sum(run.restarts for run in measured),
        firm_p50_s=rank(firm, 50),
        firm_p99_s=rank(firm, 99),
    )


def firm_waits(runs: Iterable[Run], window: Window) -> list[int]:
    """Seconds to the first start of firm jobs that were submitted in a window, ascending.

    What has not started by its end has waited until then.
    """
    return sorted(
        _wait(run, window)
        for run in runs
        if run.job.firm and window.start_s <= run.job.submit_s < window.end_s
    )


def reaches(figures: Figures, *, base_curtailments: int) -> tuple[Reach, ...]:
    """The numbers to reach of a regime."""
    found = [
        Reach(
            name="base-load curtailments",
            wanted="0",
            got=str(base_curtailments),
            met=base_curtailments == 0,
        )
    ]
    if figures.regime is Regime.LIGHT:
        least = Fraction(99, 100) * min(figures.load, figures.bound)
        found.append(_at_least("allocation >= 0.99 x load", least, figures.mean))
        if not figures.waiting:
            return tuple(found)
        found.append(
            Reach(
                name="p99 start of firm spikes <= one interval",
                wanted="300 s",
                got=f"{figures.firm_p99_s} s",
                met=figures.firm_p99_s <= 300,  # noqa: PLR2004 - seconds of a spot interval
            )
        )
    elif figures.regime is Regime.BALANCED:
        least = Fraction(98, 100) * figures.bound
        found.append(_at_least("allocation >= 0.98 x clairvoyant bound", least, figures.mean))
    else:
        found.append(_at_least("mean allocation >= 95 %", WARNING, figures.mean))
        found.append(
            Reach(
                name="hours below 94 % outside outages",
                wanted="0",
                got=str(figures.low_hours),
                met=figures.low_hours == 0,
            )
        )
    return tuple(found)


def rank(ordered: Sequence[int], percent: int) -> int:
    """Percentile by nearest rank of ascending values, at least one."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _at_least(name: str, wanted: Fraction, got: Fraction) -> Reach:
    return Reach(name=name, wanted=shown(wanted), got=shown(got), met=got >= wanted)


def shown(share: Fraction) -> str:
    """A share in per cent with two decimals."""
    return f"{float(share) * 100:.2f} %"


def _wait(run: Run, window: Window) -> int:
    """Seconds to the first start, or so far."""
    start = window.end_s if run.first_start_s is None else run.first_start_s
    return start - run.job.submit_s


def _waiting(runs: Sequence[Run], window: Window) -> Iterable[Waiting]:
    for firm in (True, False):
        for low, high in SIZE_CLASSES:
            members = [run for run in runs if run.job.firm == firm and low <= run.job.chips <= high]
            if not members:
                continue
            waits = sorted(_wait(run, window) for run in members)
            yield Waiting(
                chips_min=low,
                chips_max=high,
                firm=firm,
                jobs=len(members),
                unstarted=sum(run.first_start_s is None for run in members),
                p50_s=rank(waits, 50),
                p99_s=rank(waits, 99),
            )
