"""Jobs of a lab, and the nodes that they run on.

Times are seconds since the epoch or since a trace began, whichever the caller uses. A job
runs at its full size or not at all; work that is done stays done at a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a lab wants to run.

    Attributes:
        job_id: Unique within the lab.
        chips: Chips that it needs at once, >= 1.
        work_s: Seconds that it runs on them, >= 1.
        submit_s: When it is queued.
        firm: Bought as firm capacity; else interruptible.
    """

    job_id: str
    chips: int
    work_s: int
    submit_s: int
    firm: bool


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """A job and how far it is.

    Attributes:
        left_s: Seconds of run time still to do at its last start, restarts included.
        started_s: Start of its present run; meaningless while it waits.
        first_start_s: Start of its first run, or None.
        restarts: Runs after the first.
        restart_s: Seconds that restarts added so far.
        version: Counts starts and stops, so that an announced end can be recognised as stale.
    """

    job: Job
    left_s: int
    started_s: int = 0
    first_start_s: int | None = None
    restarts: int = 0
    restart_s: int = 0
    version: int = 0

    @property
    def end_s(self) -> int:
        """When its present run ends, undisturbed."""
        return self.started_s + self.left_s

    def loss(self, now_s: int) -> int:
        """Chip-seconds since its start: what stopping it without a checkpoint would cost."""
        return self.job.chips * (now_s - self.started_s)


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """A node that the lab holds in a pool.

    Attributes:
        free: Idle chips.
        base: Base load: held for ever, without a bid.
        runs: What runs on it, by job id; a gang appears on each of its nodes.
        gang: It belongs to a gang that runs.
        drain_s: When the exchange takes it away, or None: nothing new starts on it meanwhile.
        leaving: The lab gives it back: nothing new starts on it.
    """

    pool_id: str
    firm: bool
    free: int
    base: bool = False
    runs: dict[str, Run] = field(default_factory=dict)
    gang: bool = False
    drain_s: int | None = None
    leaving: bool = False

    @property
    def is_open(self) -> bool:
        """Whether a job smaller than a node may start on it, where there is room."""
        return not (self.gang or self.leaving or self.drain_s is not None)

    @property
    def yielding(self) -> int:
        """Chips that firm work may have: idle ones and those of interruptible jobs."""
        return self.free + sum(run.job.chips for run in self.runs.values() if not run.job.firm)

    def end_s(self, *, firm: bool = False) -> int:
        """When the last of its jobs ends, of firm ones if so asked; 0 where nothing runs."""
        return max((run.end_s for run in self.runs.values() if run.job.firm or not firm), default=0)
