"""Which pools may serve an order, and for every other pool the first reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from clearing.types import Eligibility, Pool, Site

Flags = npt.NDArray[np.bool_]


class Ineligible(Enum):
    """Why a pool cannot serve an order, in the order in which the conditions are checked."""

    NOT_NAMED = "NOT_NAMED"
    CHIP_CLASS = "CHIP_CLASS"
    REGION = "REGION"
    COUNTRY = "COUNTRY"
    DATA_RESIDENCY = "DATA_RESIDENCY"
    LEGAL_CONTROL = "LEGAL_CONTROL"
    CERTIFICATION = "CERTIFICATION"
    FABRIC = "FABRIC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Result of resolving a requirement.

    Attributes:
        eligible: Pool identifiers, sorted.
        refused: (pool identifier, reason), sorted by pool.
    """

    eligible: tuple[str, ...]
    refused: tuple[tuple[str, Ineligible], ...]


def resolve(where: Eligibility, sites: Mapping[str, Site], pools: Iterable[Pool]) -> Resolution:
    """Resolve a requirement to pools (DESIGN: every condition must hold together).

    Args:
        where: Conditions; an empty tuple is no condition.
        sites: Sites by identifier; holds the site of every pool.
        pools: Candidate pools.

    Returns:
        Eligible pools and, for each of the rest, the first condition it misses.
    """
    eligible: list[str] = []
    refused: list[tuple[str, Ineligible]] = []
    for pool in sorted(pools, key=lambda pool: pool.pool_id):
        reason = first_mismatch(where, sites[pool.site_id], pool)
        if reason is None:
            eligible.append(pool.pool_id)
        else:
            refused.append((pool.pool_id, reason))
    return Resolution(eligible=tuple(eligible), refused=tuple(refused))


def first_mismatch(where: Eligibility, site: Site, pool: Pool) -> Ineligible | None:
    """First condition of ``where`` that a pool misses, or None when it may serve the order."""
    checks = (
        (Ineligible.NOT_NAMED, _named(pool.pool_id, where.pool_ids)),
        (Ineligible.CHIP_CLASS, _named(pool.chip_class, where.chip_classes)),
        (Ineligible.REGION, _named(site.region, where.regions)),
        (Ineligible.COUNTRY, _named(site.country, where.countries)),
        (Ineligible.DATA_RESIDENCY, set(where.data_residency) <= set(site.data_residency)),
        (
            Ineligible.LEGAL_CONTROL,
            not set(where.excluded_legal_controls) & set(site.legal_controls),
        ),
        (Ineligible.CERTIFICATION, set(where.certifications) <= set(site.certifications)),
        (Ineligible.FABRIC, _named(pool.fabric, where.fabrics)),
    )
    return next((reason for reason, holds in checks if not holds), None)


class PoolIndex:
    """Pools by what orders ask of them: the same answer as ``resolve``, without the reasons.

    For books in which thousands of orders state conditions: what one value of one condition
    admits is looked up once.
    """

    def __init__(self, sites: Mapping[str, Site], pools: Iterable[Pool]) -> None:
        """Index pools; ``sites`` holds the site of every one."""
        self._pools = sorted(pools, key=lambda pool: pool.pool_id)
        self._sites = [sites[pool.site_id] for pool in self._pools]
        self._position = {pool.pool_id: index for index, pool in enumerate(self._pools)}
        self._admitted: dict[tuple[str, tuple[str, ...]], Flags] = {}

    def eligible(self, where: Eligibility) -> tuple[str, ...]:
        """Identifiers of the pools that may serve an order, sorted; unknown names admit none."""
        found = np.ones(len(self._pools), dtype=np.bool_)
        if where.pool_ids:
            found[:] = False
            known = [self._position[name] for name in where.pool_ids if name in self._position]
            found[known] = True
        for condition in _CONDITIONS:
            wanted: tuple[str, ...] = getattr(where, condition)
            if wanted:
                found &= self._admits(condition, wanted)
        return tuple(self._pools[index].pool_id for index in np.flatnonzero(found))

    def _admits(self, condition: str, wanted: tuple[str, ...]) -> Flags:
        admitted = self._admitted.get((condition, wanted))
        if admitted is None:
            admits, values = _CONDITIONS[condition], frozenset(wanted)
            pairs = zip(self._sites, self._pools, strict=True)
            admitted = np.array(
                [admits(site, pool, values) for site, pool in pairs], dtype=np.bool_
            )
            self._admitted[condition, wanted] = admitted
        return admitted


_CONDITIONS: Final[Mapping[str, Callable[[Site, Pool, frozenset[str]], bool]]] = {
    "chip_classes": lambda _, pool, wanted: pool.chip_class in wanted,
    "regions": lambda site, _, wanted: site.region in wanted,
    "countries": lambda site, _, wanted: site.country in wanted,
    "data_residency": lambda site, _, wanted: wanted.issubset(site.data_residency),
    "excluded_legal_controls": lambda site, _, wanted: wanted.isdisjoint(site.legal_controls),
    "certifications": lambda site, _, wanted: wanted.issubset(site.certifications),
    "fabrics": lambda _, pool, wanted: pool.fabric in wanted,
}


def _named(value: str, allowed: tuple[str, ...]) -> bool:
    return not allowed or value in allowed
