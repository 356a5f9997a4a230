"""Prices of the last auction of a market: where the search of the next one begins.

Prices move little from one run of a spot market to the next, so the coordinated search need not
come down from far away. What is remembered is where it looks first: the choice is certified and
verified like any other, but where several are as good it may be another than without memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clearing.market import Grid
from clearing.program import Floats
from clearing.types import Interval


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Prices:
    """By pool or site and interval.

    Attributes:
        starts: Of the intervals, seconds since the epoch.
        place: Multipliers of pools, three kinds of them.  # (kinds, pools, intervals)
        power: Multipliers of sites with a power limit.  # (sites, intervals)
    """

    pools: tuple[str, ...]
    sites: tuple[str, ...]
    starts: tuple[int, ...]
    place: Floats
    power: Floats


class Memory:
    """Multipliers of the last coordinated choice; nothing at first."""

    def __init__(self) -> None:
        """Remember nothing."""
        self._last: _Prices | None = None

    def keep(self, grid: Grid, intervals: Sequence[Interval], place: Floats, power: Floats) -> None:
        """Remember multipliers in the place of all earlier ones.

        Args:
            grid: Pools and sites, in the order of the multipliers.
            intervals: Of the auction.
            place: Per pool and interval.  # (kinds, pools, intervals)
            power: Per site with a power limit and interval.  # (sites, intervals)
        """
        self._last = _Prices(
            pools=_pools(grid),
            sites=_sites(grid),
            starts=tuple(interval.start for interval in intervals),
            place=place.copy(),
            power=power.copy(),
        )

    def recall(self, grid: Grid, intervals: Sequence[Interval]) -> tuple[Floats, Floats] | None:
        """Multipliers for an auction, or nothing where they say nothing of some pool or site.

        An interval that is new has those of the one before it.
        """
        last = self._last
        if last is None:
            return None
        pool = {name: at for at, name in enumerate(last.pools)}
        site = {name: at for at, name in enumerate(last.sites)}
        pools, sites = _pools(grid), _sites(grid)
        if not (pool.keys() >= set(pools) and site.keys() >= set(sites)):
            return None
        starts = np.array([interval.start for interval in intervals], dtype=np.int64)
        known = np.array(last.starts, dtype=np.int64)
        at = np.clip(np.searchsorted(known, starts, side="right") - 1, 0, known.size - 1)
        of_pool = [pool[name] for name in pools]
        of_site = [site[name] for name in sites]
        return last.place[:, of_pool][:, :, at], last.power[of_site][:, at]


def _pools(grid: Grid) -> tuple[str, ...]:
    return tuple(pool.pool_id for pool in grid.pools)


def _sites(grid: Grid) -> tuple[str, ...]:
    """Sites with a power limit."""
    limits = grid.power_limit.tolist()
    return tuple(name for name, limit in zip(grid.site_ids, limits, strict=True) if limit >= 0)
