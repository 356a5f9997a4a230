"""One directory of the Italian day-ahead market, read strictly, in integers.

Prices are 1e-5 EUR/MWh and quantities kWh in an hour, so that published prices (two decimals)
and capacities (three) are exact, and a 4,000 EUR cap fits the engine's price range. Files, as
published by OpenEUPHEMIA from data of the market operator GME:

* ``bid-curves.csv.gz``: hourly curves, accepted blocks already folded in;
* ``simple-bid-curves.csv.gz`` and ``block-orders.csv.gz``: the same market with blocks undecided;
* ``transfer-capacities.csv.gz``, ``published-prices.csv.gz``, ``published-flows.csv.gz``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from iso_exchange.replay.errors import DataError
from iso_exchange.replay.tables import Row, read_rows

PRICE_UNITS_PER_EUR: Final = 100_000
KWH_PER_MWH: Final = 1_000
HOURS_MAX: Final = 25
"""Hours of a day: 23 or 25 where clocks change."""

_CURVES = ("timestamp", "delivery_day", "period", "zone", "side", "price_eur_per_mwh")
_CAPACITIES = ("timestamp", "delivery_day", "period", "id", "from_zone", "to_zone")

Curve = dict[int, int]
"""Price units to kWh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOrder:
    """A block order: all of it, in every hour that it names, or nothing.

    Attributes:
        supply: True for supply, False for demand.
        kwh: Quantity by hour position (period less one).
        accepted: As published: ACC; ``published`` keeps the word (ACC, REJ, PREJ).
    """

    block_id: str
    zone: str
    supply: bool
    price: int
    kwh: dict[int, int]
    published: str


@dataclass(slots=True, kw_only=True)
class Day:
    """One delivery day.

    Attributes:
        curves: Folded curves by (zone, supply, hour); ``simple`` those with blocks undecided.
        capacities: (least, most) kWh by (from zone, to zone), then hour.
        prices: Published price by (zone, hour); ``flows`` kWh by (from zone, to zone, hour).
    """

    day: str
    curves: dict[tuple[str, bool, int], Curve] = field(default_factory=dict)
    simple: dict[tuple[str, bool, int], Curve] = field(default_factory=dict)
    blocks: list[BlockOrder] = field(default_factory=list)
    capacities: dict[tuple[str, str], dict[int, tuple[int, int]]] = field(default_factory=dict)
    prices: dict[tuple[str, int], int] = field(default_factory=dict)
    flows: dict[tuple[str, str, int], int] = field(default_factory=dict)

    @property
    def hours(self) -> int:
        """Number of hours: those that have prices."""
        return 1 + max(hour for _, hour in self.prices)

    @property
    def zones(self) -> tuple[str, ...]:
        """Zones with orders, sorted; all others are borders."""
        return tuple(sorted({zone for zone, _, _ in self.curves}))


def read_days(folder: Path) -> tuple[Day, ...]:
    """Every delivery day of a directory, in order.

    Raises:
        DataError: a file that is missing or malformed, or a day that lacks prices or orders.
    """
    days: dict[str, Day] = {}
    _read_curves(folder / "bid-curves.csv.gz", days, simple=False)
    _read_curves(folder / "simple-bid-curves.csv.gz", days, simple=True)
    _read_blocks(folder / "block-orders.csv.gz", days)
    for row in read_rows(
        folder / "transfer-capacities.csv.gz", (*_CAPACITIES, "min_flow_mwh", "max_flow_mwh")
    ):
        pair = row.text("from_zone"), row.text("to_zone")
        least, most = _kwh(row, "min_flow_mwh"), _kwh(row, "max_flow_mwh")
        day, hour = _when(days, row)
        day.capacities.setdefault(pair, {})[hour] = least, most
    columns = ("timestamp", "delivery_day", "period", "zone", "price_eur_per_mwh")
    for row in read_rows(folder / "published-prices.csv.gz", columns):
        day, hour = _when(days, row)
        day.prices[row.text("zone"), hour] = _price(row)
    flows = ("timestamp", "delivery_day", "period", "from_zone", "to_zone", "flow_mwh")
    for row in read_rows(folder / "published-flows.csv.gz", flows):
        day, hour = _when(days, row)
        day.flows[row.text("from_zone"), row.text("to_zone"), hour] = _kwh(row, "flow_mwh")
    for day in days.values():
        if not (day.prices and day.curves and day.simple):
            raise DataError("EMPTY_FILE", str(folder), 0, f"{day.day} lacks prices or curves")
    return tuple(days[name] for name in sorted(days))


def _read_curves(path: Path, days: dict[str, Day], *, simple: bool) -> None:
    for row in read_rows(path, (*_CURVES, "quantity_mwh")):
        day, hour = _when(days, row)
        into = day.simple if simple else day.curves
        curve = into.setdefault((row.text("zone"), _supply(row), hour), defaultdict(int))
        curve[_price(row)] += _kwh(row, "quantity_mwh")


def _read_blocks(path: Path, days: dict[str, Day]) -> None:
    columns = ("timestamp", "delivery_day", "block_id", "period", "zone", "side")
    found: dict[tuple[str, str], BlockOrder] = {}
    rest = ("quantity_mwh", "price_eur_per_mwh", "published_status")
    for row in read_rows(path, (*columns, *rest)):
        day, hour = _when(days, row)
        key = day.day, row.text("block_id")
        block = found.get(key)
        if block is None:
            block = found[key] = BlockOrder(
                block_id=row.text("block_id"),
                zone=row.text("zone"),
                supply=_supply(row),
                price=_price(row),
                kwh={},
                published=row.text("published_status"),
            )
            day.blocks.append(block)
        if (block.zone, block.supply, block.price) != (row.text("zone"), _supply(row), _price(row)):
            raise DataError("BAD_VALUE", row.path, row.line, "a block has one zone, side and price")
        if hour in block.kwh:
            raise DataError("BAD_VALUE", row.path, row.line, "a block names an hour twice")
        block.kwh[hour] = _kwh(row, "quantity_mwh")


def _when(days: dict[str, Day], row: Row) -> tuple[Day, int]:
    name, period = row.text("delivery_day"), row.integer("period", least=1)
    if period > HOURS_MAX:
        raise DataError("BAD_VALUE", row.path, row.line, f"period {period} is no hour of a day")
    return days.setdefault(name, Day(day=name)), period - 1


def _supply(row: Row) -> bool:
    side = row.text("side")
    if side not in ("supply", "demand"):
        raise DataError("BAD_VALUE", row.path, row.line, f"side {side!r} is not supply or demand")
    return side == "supply"


def _price(row: Row) -> int:
    return _scaled(row, "price_eur_per_mwh", PRICE_UNITS_PER_EUR)


def _kwh(row: Row, column: str) -> int:
    return _scaled(row, column, KWH_PER_MWH)


def _scaled(row: Row, column: str, scale: int) -> int:
    """A decimal cell times a scale, rounded half-even once: the files hold float noise."""
    text = row.text(column)
    try:
        value = Decimal(text) * scale
    except InvalidOperation as error:
        advice = f"{column} must be a decimal, got {text!r}"
        raise DataError("BAD_VALUE", row.path, row.line, advice) from error
    if not value.is_finite() or abs(value) > 10**12:
        raise DataError("BAD_VALUE", row.path, row.line, f"{column} is out of range")
    return int(value.to_integral_value(rounding=ROUND_HALF_EVEN))


def zone_hours(day: Day) -> Iterator[tuple[str, int]]:
    """Zone and hour of every price to compare."""
    for zone in day.zones:
        for hour in range(day.hours):
            yield zone, hour
