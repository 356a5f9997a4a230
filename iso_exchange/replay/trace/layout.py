"""The grid of a replay: pools that add up to a capacity, and the silos they are compared with.

Six pools at four sites hold three chip classes, or the first so many of them that each has 128
chips; shares are assumptions, asks are list prices of
neoclouds (``prices/neocloud_*``). Silos have the same chips as the grid, split by each tenant's
own 95th percentile of hourly demand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from iso_exchange.replay.errors import DataError

CHIPS_PER_NODE: Final = 8
POOL_CHIPS_MIN: Final = 128

POOL_SHARES: Final = (
    ("tx-1-h100", "tx-1", "nvidia.h100-sxm5-80gb", 22),
    ("no-1-h200", "no-1", "nvidia.h200-sxm5-141gb", 18),
    ("oh-1-a100", "oh-1", "nvidia.a100-sxm4-80gb", 17),
    ("oh-1-h100", "oh-1", "nvidia.h100-sxm5-80gb", 15),
    ("fi-1-h200", "fi-1", "nvidia.h200-sxm5-141gb", 14),
    ("tx-1-a100", "tx-1", "nvidia.a100-sxm4-80gb", 14),
)
"""Pool, site, chip class, percent of the chips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """One pool of a replayed grid."""

    pool_id: str
    site_id: str
    chip_class: str
    nodes: int

    @property
    def chips(self) -> int:
        """Installed chips."""
        return self.nodes * CHIPS_PER_NODE


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A replayed grid and its silos.

    Attributes:
        silo_nodes: Nodes by tenant; they add up to those of the pools.
    """

    pools: tuple[PoolPlan, ...]
    silo_nodes: Mapping[str, int]

    @property
    def nodes(self) -> int:
        """All nodes."""
        return sum(pool.nodes for pool in self.pools)

    @property
    def chips(self) -> int:
        """All chips."""
        return self.nodes * CHIPS_PER_NODE


def layout_of(capacity_chips: Fraction, peaks: Mapping[str, int]) -> Layout:
    """Pools and silos with the same chips.

    Args:
        capacity_chips: Wanted capacity; rounded to the nearest node.
        peaks: 95th percentile of demand by tenant, any common unit.

    Raises:
        DataError: ``TOO_SMALL``, less than one pool of 128 chips.
    """
    nodes = round(capacity_chips / CHIPS_PER_NODE)
    for count in range(len(POOL_SHARES), 0, -1):
        rows = POOL_SHARES[:count]
        shares = largest_remainder(nodes, [share for *_, share in rows])
        if min(shares) * CHIPS_PER_NODE >= POOL_CHIPS_MIN:
            break
    else:
        raise DataError(
            "TOO_SMALL",
            "capacity",
            nodes * CHIPS_PER_NODE,
            f"a pool has at least {POOL_CHIPS_MIN} chips: replay more days, or a lighter load",
        )
    pools = tuple(
        PoolPlan(pool_id=pool_id, site_id=site_id, chip_class=chip_class, nodes=nodes_here)
        for (pool_id, site_id, chip_class, _), nodes_here in zip(rows, shares, strict=True)
    )
    tenants = sorted(peaks)
    silos = largest_remainder(nodes, [peaks[tenant] for tenant in tenants])
    return Layout(pools=pools, silo_nodes=dict(zip(tenants, silos, strict=True)))


def largest_remainder(total: int, weights: Sequence[int]) -> list[int]:
    """Split a whole number in proportion; ties go to the first."""
    whole = sum(weights)
    if whole <= 0:
        raise DataError("NO_DEMAND", "weights", whole, "nothing to share by")
    parts = [total * weight // whole for weight in weights]
    rest = sorted(range(len(weights)), key=lambda place: (-(total * weights[place] % whole), place))
    for place in rest[: total - sum(parts)]:
        parts[place] += 1
    return parts
