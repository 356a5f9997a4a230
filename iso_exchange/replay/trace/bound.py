"""What nobody can beat: a fluid queue.

The clairvoyant bound is a fluid work-conserving queue: chips in use are the lesser of the
capacity and the chips of unfinished jobs, each job at most on its own number of chips, divisible
at will, without nodes, notices or restarts. Among unfinished jobs those with most run time left
go first, which keeps the most jobs parallel.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np

from iso_exchange.client.agents.jobs import Job
from iso_exchange.replay.trace.regime import Window

STEP_S: Final = 300


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
