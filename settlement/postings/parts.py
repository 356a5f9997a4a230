"""What is settled in an hour, contract by contract, and its delivery money while it is added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clearing.units import MicroUsdPerChipHour
from settlement.metering.billable import MeteredHour
from settlement.types import Contract, ContractHour


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A contract-hour with its readings."""

    contract: Contract
    hour: ContractHour
    metered: MeteredHour


@dataclass(slots=True, kw_only=True)
class Delivery:
    """Delivery-layer money of one contract-hour.

    Attributes:
        paid: By its supplier for what it failed.
        credited: To its buyer for what nobody served.
        failed: Chip-seconds that its supplier failed, served by others or not.
    """

    paid: int = 0
    credited: int = 0
    failed: int = 0
    supply_prices: set[MicroUsdPerChipHour] = field(default_factory=set)
    product_prices: set[MicroUsdPerChipHour] = field(default_factory=set)
    provisional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Missing money that was found, or a surplus, of one pool and metering interval.

    Attributes:
        key: ``<pool>/<start>``.
        to_pool: Surplus to ``pool``, or what it gives when negative.
        from_suppliers: Micro-USD that other suppliers give up, by participant.
    """

    key: str
    to_pool: int
    from_suppliers: Mapping[str, int]


def only(prices: set[MicroUsdPerChipHour]) -> MicroUsdPerChipHour:
    """The price, or 0 where several applied within the hour."""
    return next(iter(prices)) if len(prices) == 1 else MicroUsdPerChipHour(0)


def of_suppliers(parts: Sequence[Part]) -> dict[str, dict[str, int]]:
    """Chip-seconds sold by pool and supplier."""
    found: dict[str, dict[str, int]] = {}
    for part in parts:
        pool = found.setdefault(part.contract.pool_id, {})
        sold = pool.get(part.contract.supplier_id, 0)
        pool[part.contract.supplier_id] = sold + part.metered.delivered.position
    return found
