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


@dataclass(slots=True, kw_only=True)
class Run:
    """A job and how far it is.

    Attributes:
        left_s: Seconds of run time still to do, restarts included.
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
        drain_s: When it is taken away, or None: nothing new starts on it meanwhile.
    """

    pool_id: str
    firm: bool
    free: int
    base: bool = False
    runs: dict[str, Run] = field(default_factory=dict)
    drain_s: int | None = None
