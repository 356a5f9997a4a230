"""Which pools may serve an order, and for every other pool the first reason why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from clearing.types import Eligibility, Pool, Site


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


def _named(value: str, allowed: tuple[str, ...]) -> bool:
    return not allowed or value in allowed
