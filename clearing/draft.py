"""A program under construction, and the entries that every kind of order shares."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clearing.columns import Flags, Integers
from clearing.coverage import Coverage
from clearing.layout import POWER_UNIT
from clearing.market import NONE, RECALLED, Market, Product
from clearing.program import BlockBuilder, Floats
from clearing.types import AuctionSpec
from clearing.units import MICRO_USD_PER_USD, PPM, SECONDS_PER_HOUR


@dataclass(slots=True, kw_only=True, eq=False)
class Draft:
    """Program under construction, and the parts of its layout by name."""

    market: Market
    spec: AuctionSpec
    coverage: Coverage
    builder: BlockBuilder
    at: dict[str, Integers] = field(default_factory=dict)
    credits: list[tuple[int, Floats]] = field(default_factory=list)
    kept: list[tuple[int, Floats]] = field(default_factory=list)

    def rows(self, name: str, wanted: Flags, lower: Floats | float, upper: Floats | float) -> None:
        """One row for every flag; bounds are given for all flags."""
        self.at[name] = placed(
            wanted, self.builder.rows(int(wanted.sum()), _only(lower, wanted), _only(upper, wanted))
        )

    def columns(
        self, name: str, wanted: Flags, objective: Floats | float, upper: Floats | float
    ) -> Integers:
        """One column from zero for every flag; returns the column of each flag."""
        first = self.builder.columns(
            int(wanted.sum()), _only(objective, wanted), 0.0, _only(upper, wanted)
        )
        self.at[name] = placed(wanted, first)
        return self.at[name]

    def put(self, name: str, which: Integers, columns: Integers, values: Floats | float) -> None:
        """Coefficients in rows that exist."""
        self.builder.entries(self.at[name][which], columns, values)

    @property
    def once_usd_per_hour(self) -> float:
        """Objective of a micro-USD that is paid once: spread over the hours of an interval."""
        return SECONDS_PER_HOUR / self.market.grid.duration_s / MICRO_USD_PER_USD


def _only(values: Floats | float, wanted: Flags) -> Floats | float:
    return values if isinstance(values, float) else values[wanted]


def placed(wanted: Flags, first: int) -> Integers:
    """Positions from ``first`` on, one for each flag that is set, ``NONE`` for the others."""
    found = np.full(wanted.size, NONE, dtype=np.int64)
    found[wanted] = first + np.arange(int(wanted.sum()))
    return found


def put_power(draft: Draft, places: Integers, columns: Integers, nodes: Floats | float) -> None:
    """Entries of nodes that draw power."""
    grid = draft.market.grid
    watts = (grid.power * grid.node / POWER_UNIT)[places // grid.intervals] * nodes
    drawing = watts != 0
    row = grid.site[places // grid.intervals] * grid.intervals + places % grid.intervals
    draft.put("power", row[drawing], columns[drawing], watts[drawing])


def put_deliveries(
    draft: Draft,
    places: Integers,
    columns: Integers,
    products: Integers,
    nodes: Floats,
    *,
    node_wise: bool,
) -> None:
    """Entries of nodes delivered to bids; ``node_wise`` ones may be reclaimed one by one."""
    grid = draft.market.grid
    draft.put("balance", places, columns, -nodes)
    put_power(draft, places, columns, nodes)
    of = np.flatnonzero(products == Product.COVERED)
    theta = grid.theta[places[of] // grid.intervals] / PPM
    draft.put("cover", places[of], columns[of], -theta * nodes[of])
    for product in RECALLED:
        of = np.flatnonzero(products == product)
        draft.put("recall", places[of], columns[of], -nodes[of])
        if product is Product.RECLAIMABLE and node_wise:
            draft.put("reclaimable", places[of], columns[of], -nodes[of])
