"""The strict rule as one mixed-integer program: decisions, quantities and prices at once.

Madani and Van Vyve's primal-dual formulation: quantities and decisions are feasible, prices are
dual feasible for the divisible part, each family has a surplus of at least nothing and of at
least what its chosen option gains at the prices, and welfare is no less than the dual value. By
weak duality the two are then equal, so prices support the quantities and nobody loses. Options of
a family are enumerated, each with a binary and a big M: for tiny books only.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np

from clearing.layout import Model
from clearing.market import NONE
from clearing.program import INFINITY, Builder
from clearing.solver import solve_whole
from clearing.types import AuctionSpec

Terms = dict[int, float]

PRICE_MAX = 400.0
"""US dollars per node-hour that no price of a tiny book exceeds."""


class StrictTwin:
    """The program of one model; ``welfare`` solves it."""

    def __init__(self, model: Model, spec: AuctionSpec) -> None:
        self.model, self.spec = model, spec
        self.program, self.layout, self.market = model.program, model.layout, model.market
        self.builder = Builder()
        program = self.program
        for at in range(program.objective.size):
            self.builder.column(
                float(program.objective[at]),
                float(program.lower[at]),
                float(program.upper[at]),
                whole=bool(program.whole[at]),
            )
        for low, high in zip(program.row_lower.tolist(), program.row_upper.tolist(), strict=True):
            self.builder.row(low, high)
        self.entries: dict[int, Terms] = defaultdict(lambda: defaultdict(float))
        for row, column, value in zip(
            program.rows.tolist(), program.columns.tolist(), program.values.tolist(), strict=True
        ):
            self.builder.entry(row, column, value)
            self.entries[column][row] += value
        self.dual_value: Terms = defaultdict(float)
        self.price: dict[int, tuple[int, float]] = {}
        self._prices()
        self._divisible()
        self._families()
        row = self.builder.row(0.0, INFINITY)
        for column in np.flatnonzero(program.objective).tolist():
            self.builder.entry(row, column, float(program.objective[column]))
        for column, value in self.dual_value.items():
            self.builder.entry(row, column, -value)

    def welfare(self) -> float:
        """US dollars per hour that the best supported choice reaches."""
        return solve_whole(self.builder.freeze(), node_limit=100_000).objective

    def _prices(self) -> None:
        """A price per row that is no row of decisions: dual = sign * price."""
        layout, program = self.layout, self.program
        whole = self.market.units.whole
        left_out = {*layout.decision.tolist(), *layout.unit_least[whole].ravel().tolist(), NONE}
        balance = set(layout.balance.tolist())
        node = self.market.grid.node.repeat(self.market.grid.intervals)
        size = dict(zip(layout.balance.tolist(), node.tolist(), strict=True))
        for row in range(program.row_lower.size):
            if row in left_out:
                continue
            at_least = np.isfinite(program.row_lower[row])
            lower = 0.0
            if np.isfinite(program.row_lower[row]) and np.isfinite(program.row_upper[row]):
                lower = -PRICE_MAX
            if row in balance:
                lower = self.spec.price_floor / 1e6 * size[row]
            variable = self.builder.column(0.0, lower, PRICE_MAX)
            sign = -1.0 if at_least else 1.0
            self.price[row] = (variable, sign)
            bound = program.row_lower[row] if at_least else program.row_upper[row]
            self.dual_value[variable] += sign * float(bound)

    def _charge(self, column: int) -> Terms:
        found: Terms = defaultdict(float)
        for row, value in self.entries[column].items():
            if row in self.price:
                variable, sign = self.price[row]
                found[variable] += sign * value
        return found

    def _divisible(self) -> None:
        """Dual feasibility of what is neither decided nor forced."""
        program, supply = self.program, self.market.supply
        whole = self.market.units.whole
        for column in np.flatnonzero(~program.whole).tolist():
            if column < supply.unit.size and supply.unit[column] != NONE:
                assert whole[supply.unit[column]]
                continue
            if column in self.layout.fill or column in self.layout.unit_start:
                continue
            low, high = float(program.lower[column]), float(program.upper[column])
            terms = self._charge(column)
            above = self._variable() if np.isfinite(high) else NONE
            if above != NONE:
                terms[above] += 1.0
                self.dual_value[above] += high
            if low != 0.0:
                below = self._variable()
                terms[below] -= 1.0
                self.dual_value[below] -= low
            self._row(terms, float(program.objective[column]), INFINITY)

    def _variable(self) -> int:
        return self.builder.column(0.0, 0.0, INFINITY)

    def _row(self, terms: Terms, low: float, high: float) -> None:
        row = self.builder.row(low, high)
        for column, value in terms.items():
            self.builder.entry(row, column, value)

    def _families(self) -> None:
        blocks, layout = self.market.blocks, self.layout
        self.extra: dict[int, int] = {}
        for at in range(blocks.order.size):
            fill = int(layout.fill[at])
            if fill != NONE:
                gain = self._variable()
                terms = self._charge(fill)
                terms[gain] += 1.0
                self._row(terms, float(self.program.objective[fill]), INFINITY)
                self.extra[at] = gain
        for pick in np.flatnonzero(blocks.pick_parent == NONE).tolist():
            options = self._options(pick)
            mine = {at for option in options for at in option}
            self._family([tuple(option) for option in options], sorted(mine))
        for unit in range(self.market.units.offer.size):
            self._supply_block(unit)

    def _options(self, pick: int) -> list[tuple[int, ...]]:
        blocks = self.market.blocks
        found: list[tuple[int, ...]] = [()]
        for at in np.flatnonzero(blocks.pick_of_order[blocks.order] == pick).tolist():
            under = np.flatnonzero(blocks.pick_parent == blocks.order[at]).tolist()
            found += [
                (at, *(a for part in below for a in part))
                for below in product(*(self._options(child) for child in under))
            ]
        return found

    def _family(self, options: list[tuple[int, ...]], mine: list[int]) -> None:
        """One option is taken; its columns are one, the others of the family zero."""
        picked = [self.builder.column(0.0, 0.0, 1.0, whole=True) for _ in options]
        self._row(dict.fromkeys(picked, 1.0), 1.0, 1.0)
        for at in mine:
            taken = {p: 1.0 for p, option in zip(picked, options, strict=True) if at in option}
            self._row({**taken, self.layout.chosen + at: -1.0}, 0.0, 0.0)
        surplus = self._variable()
        self.dual_value[surplus] += 1.0
        for chosen, option in zip(picked, options, strict=True):
            terms: Terms = defaultdict(float)
            gain = 0.0
            for at in option:
                column = self.layout.chosen + at
                gain += float(self.program.objective[column])
                for variable, value in self._charge(column).items():
                    terms[variable] += value
                if at in self.extra:
                    blocks = self.market.blocks
                    terms[self.extra[at]] -= float(blocks.most[at] - blocks.least[at])
            self._implied(chosen, surplus, terms, gain)

    def _supply_block(self, unit: int) -> None:
        supply, layout = self.market.supply, self.layout
        column = int(layout.unit_on[unit].max())
        if column == NONE:
            return
        surplus = self._variable()
        self.dual_value[surplus] += 1.0
        gain = float(self.program.objective[column])
        terms: Terms = defaultdict(float)
        for variable, value in self._charge(column).items():
            terms[variable] += value
        for step in np.flatnonzero(supply.unit == unit).tolist():
            nodes = float(supply.nodes[step])
            gain += nodes * float(self.program.objective[step])
            for variable, value in self._charge(step).items():
                terms[variable] += nodes * value
        self._implied(column, surplus, terms, gain)

    def _implied(self, chosen: int, surplus: int, charge: Terms, gain: float) -> None:
        """Where ``chosen`` is one, the surplus is at least the gain less the charge."""
        most = abs(gain) + PRICE_MAX * sum(abs(value) for value in charge.values())
        self._row({**charge, surplus: 1.0, chosen: -most}, gain - most, INFINITY)
