"""A plain price choice for tiny books: the whole dual problem as one program, stage after stage.

Nothing is narrowed, split or left out: every family has its response, every choice of a family
its condition, written from the prices that its orders pay and not from the program's columns.
Supply with a commitment has a condition for every pattern of on and off.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from clearing import ties
from clearing.layout import POWER_UNIT, Choice, Model, Settled
from clearing.market import NONE, Product
from clearing.program import INFINITY, Builder, Program
from clearing.solver import restrict_to_best, solve_linear
from clearing.types import AuctionSpec

TICK = 1_000
"""Micro-USD per unit of the program."""

FILLED = 1e-6

Terms = dict[int, float]
"""Price in ticks as a sum over variables."""


class PriceTwin:
    """The dual problem of one settled program."""

    def __init__(
        self, model: Model, choice: Choice, settled: Settled, spec: AuctionSpec, *, no_loss: bool
    ) -> None:
        self.model, self.choice, self.settled, self.spec = model, choice, settled, spec
        self.market, self.layout, self.grid = model.market, model.layout, model.market.grid
        self.builder = Builder()
        self.of_row: dict[int, int] = {}
        self.named: dict[int, tuple[str, str, int]] = {}
        self.scarce: dict[int, float] = {}
        self._variables()
        self._column_conditions()
        self.lost: Terms = defaultdict(float)
        self._block_families(no_loss=no_loss)
        self._units(no_loss=no_loss)

    def lost_opportunity(self) -> Program:
        """The face, with lost opportunity as what is minimised (but for a constant)."""
        return self._minimise(self.builder.freeze(), self.lost)

    def choose(self, seed: bytes) -> dict[tuple[str, str, int], float]:
        """Published prices by name, subject and interval, in ticks."""
        program = self.lost_opportunity()
        program = restrict_to_best(program, solve_linear(program))
        program = self._minimise(program, self.scarce)
        program = restrict_to_best(program, solve_linear(program))
        weights = np.zeros(program.objective.size)
        for variable, (name, subject, interval) in self.named.items():
            weights[variable] = ties.price_weight(seed, name, subject, interval) / 1_000
        low = solve_linear(replace(program, objective=-weights)).values
        upper = np.minimum(program.upper, np.maximum(program.lower, 1e7))
        high = solve_linear(replace(program, objective=weights, upper=upper)).values
        return {key: (low[v] + high[v]) / 2 for v, key in self.named.items()}

    def _minimise(self, program: Program, costs: Terms) -> Program:
        objective = np.zeros(program.objective.size)
        for variable, cost in costs.items():
            objective[variable] -= cost
        return replace(program, objective=objective)

    # ------------------------------------------------------------------------------------ the face

    def _variables(self) -> None:
        program, layout, grid = self.settled.program, self.layout, self.grid
        activity = program.activity(self.settled.best)
        at_least = np.isfinite(program.row_lower)
        bound = np.where(at_least, program.row_lower, program.row_upper)
        self.tight = np.abs(activity - bound) <= FILLED * np.maximum(1.0, np.abs(bound))
        self.sign = np.where(at_least, -1.0, 1.0)
        floor, cap = self.spec.price_floor / TICK, self.spec.price_cap / TICK
        for place in range(grid.places):
            row = int(layout.balance[place])
            upper = cap if self.tight[row] else floor
            pool, interval = divmod(place, grid.intervals)
            subject = grid.pools[pool].pool_id
            self.of_row[row] = self.builder.column(0.0, floor, upper)
            self.named[self.of_row[row]] = ("energy", subject, interval)
            for name, rows in (
                ("cover", layout.cover),
                ("reclaimable", layout.reclaimable),
                ("recall", layout.recall),
            ):
                self._scarce(int(rows[place]), (name, subject, interval), 1.0)
            self._private(int(layout.headroom[place]))
        for at, row in enumerate(layout.slot_row.tolist()):
            slot, interval = divmod(at, grid.intervals)
            pool_id = grid.pools[layout.slot_pool[slot]].pool_id
            subject = f"{grid.site_ids[layout.slot_site[slot]]}\0{pool_id}"
            self._scarce(row, ("backup", subject, interval), 1.0)
        for at, row in enumerate(layout.power.tolist()):
            site, interval = divmod(at, grid.intervals)
            weight = float(grid.power[grid.site == site].sum()) / POWER_UNIT
            self._scarce(row, ("power", grid.site_ids[site], interval), weight)
        for row in (*layout.cell.tolist(), *layout.work.tolist(), *layout.unit_least.ravel()):
            self._private(int(row))
        for row in layout.backing_row.tolist():
            self.of_row[row] = self.builder.column(0.0, -INFINITY, INFINITY)

    def _scarce(self, row: int, key: tuple[str, str, int], weight: float) -> None:
        if row != NONE and self.tight[row]:
            self.of_row[row] = self.builder.column(0.0, 0.0, INFINITY)
            self.named[self.of_row[row]] = key
            self.scarce[self.of_row[row]] = weight

    def _private(self, row: int) -> None:
        if row != NONE and self.tight[row]:
            self.of_row[row] = self.builder.column(0.0, 0.0, INFINITY)

    def _scale(self, row: int) -> float:
        """US dollars of a tick for one unit of a row; private prices have any scale."""
        for rows in (self.layout.balance, self.layout.cover, self.layout.reclaimable):
            if row in rows:
                return self._dollars(int(np.flatnonzero(rows == row)[0]) // self.grid.intervals)
        if row in self.layout.recall:
            return self._dollars(
                int(np.flatnonzero(self.layout.recall == row)[0]) // self.grid.intervals
            )
        if row in self.layout.slot_row:
            slot = int(np.flatnonzero(self.layout.slot_row == row)[0]) // self.grid.intervals
            return self._dollars(int(self.layout.slot_pool[slot]))
        return TICK / 1e6

    def _dollars(self, pool: int) -> float:
        return float(self.grid.node[pool]) * TICK / 1e6

    def _column_conditions(self) -> None:
        program = self.settled.program
        entries: dict[int, Terms] = defaultdict(lambda: defaultdict(float))
        for row, column, value in zip(
            program.rows.tolist(), program.columns.tolist(), program.values.tolist(), strict=True
        ):
            if row in self.of_row:
                scaled = value * self.sign[row] * self._scale(row)
                entries[column][self.of_row[row]] += scaled
        supply, intervals = self.market.supply, self.grid.intervals
        for column in np.flatnonzero(
            (program.upper > program.lower) & ~self.model.program.whole
        ).tolist():
            if column < supply.unit.size and supply.unit[column] != NONE:
                interval = int(supply.place[column]) % intervals
                if not self.choice.on[supply.unit[column], interval]:
                    continue
            at, gain = self.settled.best[column], program.objective[column]
            low = gain if at < program.upper[column] - FILLED else -INFINITY
            high = gain if at > program.lower[column] + FILLED else INFINITY
            self._condition(entries[column], low, high)

    def _condition(self, terms: Terms, low: float, high: float) -> None:
        if not terms:
            return
        unit = max(abs(value) for value in terms.values()) or 1.0
        row = self.builder.row(low / unit, high / unit)
        for variable, value in terms.items():
            self.builder.entry(row, variable, value / unit)

    # ----------------------------------------------------------------- what a chip pays and earns

    def _price(self, row: int) -> Terms:
        return {self.of_row[row]: 1.0} if row in self.of_row else {}

    def _power(self, place: int) -> Terms:
        pool, interval = divmod(place, self.grid.intervals)
        row = int(self.layout.power[self.grid.site[pool] * self.grid.intervals + interval])
        return _times(self._price(row), float(self.grid.power[pool]) / POWER_UNIT)

    def _paid(self, place: int, kind: Product, slot: int, *, countable: bool) -> Terms:
        """Ticks beside surcharge and fee of a chip of a product."""
        grid, layout = self.grid, self.layout
        pool, interval = divmod(place, grid.intervals)
        parts = [self._price(int(layout.balance[place])), self._power(place)]
        if kind is Product.COVERED:
            theta = float(grid.theta[pool]) / 1e6
            parts.append(_times(self._price(int(layout.cover[place])), theta))
        if kind is Product.SITE:
            parts.append(self._price(int(layout.slot_row[slot * grid.intervals + interval])))
        if kind in (Product.RECLAIMABLE, Product.RECALLABLE):
            parts.append(_times(self._price(int(layout.recall[place])), -1.0))
        if kind is Product.RECLAIMABLE and countable:
            parts.append(_times(self._price(int(layout.reclaimable[place])), -1.0))
        return _sum(parts)

    # ------------------------------------------------------------------------------------- blocks

    def _block(self, at: int, extra: float) -> tuple[float, Terms]:
        """Worth and payment, US dollars per hour, of an alternative with nodes above its least.

        Restart costs are left out.
        """
        blocks, grid = self.market.blocks, self.grid
        pool, kind = int(blocks.pool[at]), Product(int(blocks.product[at]))
        worth, paid = 0.0, []
        for k, interval in enumerate(range(int(blocks.first[at]), int(blocks.stop[at]))):
            least = float(blocks.least[at])
            if blocks.shape[at] != NONE:
                least = float(blocks.shape_nodes[blocks.shape[at] + k])
            net = float(blocks.value[at] - grid.charge[pool]) / TICK
            place = grid.at(pool, interval)
            slot = int(self.layout.slot_of_alternative[at])
            for nodes, countable in ((least, False), (extra, True)):
                dollars = nodes * self._dollars(pool)
                worth += dollars * net
                paid.append(_times(self._paid(place, kind, slot, countable=countable), dollars))
        return worth, _sum(paid)

    def _options(self, pick: int) -> list[tuple[int, ...]]:
        """Every way to choose in a pick and in the picks under what is chosen."""
        blocks = self.market.blocks
        found: list[tuple[int, ...]] = [()]
        for at in np.flatnonzero(blocks.pick_of_order[blocks.order] == pick).tolist():
            under = np.flatnonzero(blocks.pick_parent == blocks.order[at]).tolist()
            found += [
                (at, *(a for part in below for a in part))
                for below in product(*(self._options(child) for child in under))
            ]
        return found

    def _block_families(self, *, no_loss: bool) -> None:
        blocks = self.market.blocks
        most = (blocks.most - blocks.least).astype(float)
        for pick in np.flatnonzero(blocks.pick_parent == NONE).tolist():
            family = int(blocks.family_of_pick[pick])
            response = self.builder.column(0.0, 0.0, INFINITY)
            self.lost[response] += 1.0
            for option in self._options(pick):
                worth, paid = 0.0, []
                for at in option:
                    gain, terms = self._block(at, most[at])
                    worth += gain
                    paid.append(terms)
                self._condition({response: 1.0, **_sum(paid)}, worth, INFINITY)
            total, charges = 0.0, []
            for at in np.flatnonzero(self.choice.chosen).tolist():
                own = blocks.pick_of_order[blocks.order[at]]
                if blocks.family_of_pick[own] == family:
                    fill = int(self.layout.fill[at])
                    extra = float(self.settled.best[fill]) if fill != NONE else 0.0
                    gain, terms = self._block(at, extra)
                    total += gain
                    charges.append(terms)
            for variable, value in _sum(charges).items():
                self.lost[variable] += value
            if no_loss and charges:
                self._no_loss(_sum(charges), total)

    def _no_loss(self, charges: Terms, worth: float) -> None:
        """Payments are at most the worth; a row without prices must still be able to fail."""
        zero = self.builder.column(0.0, 0.0, 0.0)
        self._condition({**charges, zero: 1.0}, -INFINITY, worth + 1e-7)

    # -------------------------------------------------------------------------------------- units

    def _units(self, *, no_loss: bool) -> None:
        for unit in range(self.market.units.offer.size):
            if self.market.units.whole[unit]:
                self._supply_block(unit, no_loss=no_loss)
            else:
                self._commitment(unit)

    def _steps(self, unit: int, interval: int) -> list[int]:
        supply = self.market.supply
        place = self.grid.at(int(self.market.units.pool[unit]), interval)
        mine = np.flatnonzero((supply.unit == unit) & (supply.place == place)).tolist()
        return sorted(mine, key=lambda column: int(supply.price[column]))

    def _hour(self, amount: int) -> float:
        """Micro-USD paid once as US dollars per hour of an interval."""
        return amount / 1e6 * 3_600 / self.grid.duration_s

    def _supply_block(self, unit: int, *, no_loss: bool) -> None:
        units, supply = self.market.units, self.market.supply
        pool = int(units.pool[unit])
        dollars, worth, earned = self._dollars(pool), -self._hour(int(units.start_up[unit])), []
        for interval in np.flatnonzero(units.offered[unit]).tolist():
            worth -= self._hour(int(units.no_load[unit]))
            price = self._price(int(self.layout.balance[self.grid.at(pool, interval)]))
            for column in self._steps(unit, interval):
                nodes = float(supply.nodes[column])
                worth -= nodes * dollars * float(supply.price[column]) / TICK
                earned.append(_times(price, -nodes * dollars))
        response = self.builder.column(0.0, 0.0, INFINITY)
        self.lost[response] += 1.0
        paid = _sum(earned)
        self._condition({response: 1.0, **paid}, worth, INFINITY)
        if self.choice.on[unit].any():
            for variable, value in paid.items():
                self.lost[variable] += value
            if no_loss:
                self._no_loss(paid, worth)

    def _commitment(self, unit: int) -> None:
        units = self.market.units
        intervals = self.grid.intervals
        profits = [
            self._profit(unit, t) if units.offered[unit, t] else NONE for t in range(intervals)
        ]
        response = self.builder.column(0.0, 0.0, INFINITY)
        self.lost[response] += 1.0
        for pattern in product((False, True), repeat=intervals):
            runs = list(_runs(pattern))
            if any(profits[t] == NONE for t in range(intervals) if pattern[t]):
                continue
            if any(stop - first < units.min_run[unit] for first, stop in runs):
                continue
            terms = {profits[t]: -1.0 for t in range(intervals) if pattern[t]}
            worth = -self._hour(int(units.start_up[unit])) * len(runs)
            self._condition({response: 1.0, **terms}, worth, INFINITY)
        for t in np.flatnonzero(self.choice.on[unit]).tolist():
            self._earned(unit, t)

    def _profit(self, unit: int, interval: int) -> int:
        """A variable that is at least the profit of every way to sell in an interval."""
        supply, units = self.market.supply, self.market.units
        pool = int(units.pool[unit])
        place, dollars = self.grid.at(pool, interval), self._dollars(pool)
        variable = self.builder.column(0.0, -INFINITY, INFINITY)
        price = self._price(int(self.layout.balance[place]))
        steps = self._steps(unit, interval)
        kept = [float(supply.nodes[column]) for column in steps]
        least, offered = float(units.least[unit, interval]), sum(kept)
        points = {least, *(total for total in np.cumsum(kept).tolist() if total >= least)}
        for sold in sorted(points):
            left, cost = sold, self._hour(int(units.no_load[unit]))
            for column, nodes in zip(steps, kept, strict=True):
                part = min(left, nodes)
                cost += part * dollars * float(supply.price[column]) / TICK
                left -= part
            for idle in self._idle(place):
                waiting = (offered - sold) * dollars
                paid = _sum((_times(price, -sold * dollars), _times(idle, -waiting)))
                self._condition({variable: 1.0, **paid}, -cost, INFINITY)
        return variable

    def _idle(self, place: int) -> Iterator[Terms]:
        """What a chip that is not sold can earn: nothing, or by standing by."""
        layout, grid = self.layout, self.grid
        pool, interval = divmod(place, grid.intervals)
        yield {}
        power = _times(self._power(place), -1.0)
        if layout.spare[place] != NONE:
            yield _sum((self._price(int(layout.cover[place])), power))
        if layout.site_spare[place] != NONE:
            rows = [
                int(layout.slot_row[slot * grid.intervals + interval])
                for slot in np.flatnonzero(layout.slot_pool == pool).tolist()
            ]
            yield _sum((*(self._price(row) for row in rows), power))

    def _earned(self, unit: int, interval: int) -> None:
        """Take what a running unit earns off the lost opportunity."""
        supply, units = self.market.supply, self.market.units
        pool = int(units.pool[unit])
        place, dollars = self.grid.at(pool, interval), self._dollars(pool)
        sold = sum(float(self.settled.best[column]) for column in self._steps(unit, interval))
        for variable, value in self._price(int(self.layout.balance[place])).items():
            self.lost[variable] -= value * sold * dollars
        row = int(self.layout.headroom[place])
        if row in self.of_row:
            # The rent of a chip is what its best stand-by earns wherever a chip stands by.
            offered = sum(float(supply.nodes[column]) for column in self._steps(unit, interval))
            scale = TICK / 1e6
            self.lost[self.of_row[row]] -= (offered - sold) * scale


def _times(terms: Terms, factor: float) -> Terms:
    return {variable: value * factor for variable, value in terms.items()}


def _sum(parts: Iterator[Terms] | list[Terms] | tuple[Terms, ...]) -> Terms:
    total: Terms = defaultdict(float)
    for terms in parts:
        for variable, value in terms.items():
            total[variable] += value
    return dict(total)


def _runs(pattern: tuple[bool, ...]) -> Iterator[tuple[int, int]]:
    first = None
    for t, on in enumerate((*pattern, False)):
        if on and first is None:
            first = t
        if not on and first is not None:
            yield first, t
            first = None
