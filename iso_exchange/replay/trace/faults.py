"""Faults of a replay: nodes that fail at a stated rate, and one site that is lost.

Both are drawn from a seed, so a replay repeats. A failed node is out of service until it is
repaired. The site outage has the shape of the gap in the Earth trace on 12 May 2020: 14:01 to
16:01, everything of one site at once.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from iso_exchange.replay.trace.layout import Layout, PoolPlan

DAY_S: Final = 86_400

FAILURES_PER_NODE_DAY_PPM: Final = 4_000
"""Assumption, near published figures of large training clusters: 419 interruptions in 54 days on
2,000 nodes of 8 chips (Llama 3, 2024) are 0.0039 a node and day."""

REPAIR_S: Final = 4 * 3_600
"""Assumption."""

OUTAGE_DAY: Final = 4
OUTAGE_START_S: Final = (14 * 60 + 1) * 60
OUTAGE_LENGTH_S: Final = 2 * 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A node fails; ``rank`` is its position in the row of its pool."""

    at_s: int
    pool_id: str
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong, and when.

    Attributes:
        failures: By time.
        site_id: Site that is lost, empty for none.
    """

    failures: tuple[Failure, ...]
    site_id: str
    outage_start_s: int
    outage_end_s: int

    def within(self, start_s: int, end_s: int) -> tuple[Failure, ...]:
        """Nodes that fail in ``[start_s, end_s)``."""
        times = [failure.at_s for failure in self.failures]
        return self.failures[bisect_left(times, start_s) : bisect_left(times, end_s)]

    def site_down(self, start_s: int) -> bool:
        """Whether the site is out in the interval that begins then."""
        return (
            self.site_id != ""
            and self.outage_start_s < start_s + 300
            and start_s < self.outage_end_s
        )

    def down(self, pool: PoolPlan, start_s: int) -> int:
        """Nodes of a pool out of service in the interval that begins then."""
        if pool.site_id == self.site_id and self.site_down(start_s):
            return pool.nodes
        broken = {
            failure.rank
            for failure in self.within(max(0, start_s - REPAIR_S), start_s)
            if failure.pool_id == pool.pool_id
        }
        return len(broken)


def draw(layout: Layout, days: int, *, seed: int, site_id: str = "oh-1") -> Faults:
    """Faults of so many days; a site is lost only where the replay lasts that long."""
    failures: list[Failure] = []
    for pool in layout.pools:
        for rank in range(pool.nodes):
            for day in range(days):
                digest = hashlib.sha256(f"{seed}/{pool.pool_id}/{rank}/{day}".encode()).digest()
                if int.from_bytes(digest[:4]) % 1_000_000 < FAILURES_PER_NODE_DAY_PPM:
                    second = int.from_bytes(digest[4:8]) % DAY_S
                    failures.append(
                        Failure(at_s=day * DAY_S + second, pool_id=pool.pool_id, rank=rank)
                    )
    failures.sort(key=lambda failure: (failure.at_s, failure.pool_id, failure.rank))
    start_s = OUTAGE_DAY * DAY_S + OUTAGE_START_S
    lost = days > OUTAGE_DAY
    return Faults(
        failures=tuple(failures),
        site_id=site_id if lost else "",
        outage_start_s=start_s if lost else 0,
        outage_end_s=start_s + OUTAGE_LENGTH_S if lost else 0,
    )
