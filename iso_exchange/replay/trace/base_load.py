"""Base load of a replay: each tenant's trailing 10th percentile, day by day.

For a day it is the 10th percentile of the tenant's hourly demand over the seven days before, or
over the days that exist, in whole nodes, rounded down. It is a bilateral entitlement in one or
more pools; half of a pool at most is given to base load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from clearing.units import SECONDS_PER_HOUR
from iso_exchange.replay.trace.layout import CHIPS_PER_NODE, Layout
from iso_exchange.replay.traces import BASE_PERCENT, percentile

DAYS_BACK: Final = 7
HOURS_PER_DAY: Final = 24
POOL_PART: Final = 2
"""One part in so many of a pool may be base load."""

Base = Mapping[str, Mapping[str, int]]
"""Nodes by tenant and pool."""


def base_nodes(demand: Mapping[str, Sequence[int]], day: int) -> dict[str, int]:
    """Nodes of base load by tenant on a day.

    Args:
        demand: Chip-seconds per hour by tenant, from the start of the trace on.
        day: Day of the trace; day 0 has no past and so no base load.
    """
    first, last = max(0, day - DAYS_BACK) * HOURS_PER_DAY, day * HOURS_PER_DAY
    if first >= last:
        return dict.fromkeys(demand, 0)
    node_hour = CHIPS_PER_NODE * SECONDS_PER_HOUR
    return {
        tenant: percentile(series[first:last], BASE_PERCENT) // node_hour
        for tenant, series in demand.items()
    }


def base_plan(demand: Mapping[str, Sequence[int]], layout: Layout, day: int) -> Base:
    """Where the base load of a day is: largest first, in the pool with most room for it."""
    room = {pool.pool_id: pool.nodes // POOL_PART for pool in layout.pools}
    plan: dict[str, dict[str, int]] = {}
    wanted = base_nodes(demand, day)
    for tenant in sorted(wanted, key=lambda name: (-wanted[name], name)):
        left = wanted[tenant]
        while left > 0 and any(room.values()):
            pool_id = max(room, key=lambda name: (room[name], name))
            nodes = min(left, room[pool_id])
            plan.setdefault(tenant, {})[pool_id] = nodes
            room[pool_id] -= nodes
            left -= nodes
    return plan
