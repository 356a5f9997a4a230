"""Rows that keep a relaxation from running shares of blocks that do not fit together.

For each place whose blocks do not all fit, the relaxation's shares are compared with what whole
blocks can do (``clearing.packing``): a row whose left side no set that fits exceeds, and the shares
do. It is found by solving the dual of "these shares are a mix of sets that fit" over a growing list
of such sets (Boccia's exact knapsack separation), and lifted by the orders that have no share.
Root rows alone: rows found deeper in the tree move its bound by less than they slow it down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from clearing.columns import Integers, integers, starts, take
from clearing.layout import Model
from clearing.packing import Packing, RoomCharges, items_of, read_packing, tight_places
from clearing.program import INFINITY, Builder, Floats, Program
from clearing.search.decisions import WHOLE
from clearing.solver import SNAP, Solution, solve_linear

_ROUNDS: Final = 5
"""Times that the relaxation is solved again with the rows found so far."""

_GAINED: Final = 1e-5
"""Share of the objective below which a round was not worth another one."""

_ITEMS_MOST: Final = 60
"""Shares of a place that are looked at together; thin places have a dozen."""

_SETS_MOST: Final = 60
"""Sets that fit, per row."""

_EXCEEDED: Final = 1e-3
"""Share of a row's right side by which it must be exceeded to be worth a row."""

_COEFFICIENT: Final = 1e-9


class Row(NamedTuple):
    """``coefficient`` times the shares of the items is at most 1."""

    items: Integers
    coefficient: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackingRows:
    """Rows of a program that state what fits.

    Attributes:
        relaxed: Solution of the relaxation without them; None where nothing could be packed
            wrongly.
        first: Number of the first one; the others follow.
        start, item, coefficient: Their items, ragged.
    """

    packing: Packing
    relaxed: Solution | None
    first: int
    start: Integers
    item: Integers
    coefficient: Floats

    def added_to(self, model: Model, program: Program) -> Program:
        """The rows at the end of a program with the same columns."""
        at, entry = take(self.packing.way_start, self.item)
        number = np.arange(self.count).repeat(np.diff(self.start))
        return replace(
            program,
            row_lower=np.append(program.row_lower, np.full(self.count, -INFINITY)),
            row_upper=np.append(program.row_upper, np.ones(self.count)),
            rows=np.append(program.rows, program.row_lower.size + number[at]),
            columns=np.append(program.columns, model.layout.chosen + self.packing.way[entry]),
            values=np.append(program.values, self.coefficient[at]),
        )

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.start.size - 1

    def charges(self, row_duals: Floats) -> RoomCharges:
        """What each item is charged for the room it takes, at the rows' duals."""
        duals = np.maximum(0.0, row_duals[self.first : self.first + self.count])
        each = duals.repeat(np.diff(self.start)) * self.coefficient
        found: Floats = np.zeros(self.packing.place.size)
        np.add.at(found, self.item, each)
        items = np.flatnonzero(found > 0)
        return RoomCharges(packing=self.packing, item=items, value=found[items])


def add_packing_rows(model: Model, program: Program) -> tuple[Program, PackingRows]:
    """The program with rows that its relaxation breaks and no choice does.

    Args:
        model: Layout, and the blocks.
        program: To be maximised; rows are added at its end.
    """
    packing = read_packing(model.market)
    tight = tight_places(packing)
    rows: list[Row] = []
    known: set[tuple[int, bytes, bytes]] = set()
    reached, added = np.inf, program
    plain: Solution | None = None
    for _ in range(_ROUNDS if tight.size else 0):
        relaxed = solve_linear(added)
        plain = plain or relaxed
        if relaxed.objective > reached - _GAINED * max(1.0, abs(relaxed.objective)):
            break
        reached = relaxed.objective
        found = _broken(model, packing, tight, relaxed, known)
        if not found:
            break
        rows += found
        added = _rows(program, packing, rows, plain).added_to(model, program)
    return added, _rows(program, packing, rows, plain)


def _rows(
    program: Program, packing: Packing, rows: list[Row], relaxed: Solution | None
) -> PackingRows:
    return PackingRows(
        packing=packing,
        relaxed=relaxed,
        first=program.row_lower.size,
        start=starts(integers(row.items.size for row in rows)),
        item=np.concatenate([np.zeros(0, dtype=np.int64), *(row.items for row in rows)]),
        coefficient=np.concatenate([np.zeros(0), *(row.coefficient for row in rows)]),
    )


def _broken(
    model: Model,
    packing: Packing,
    places: Integers,
    relaxed: Solution,
    known: set[tuple[int, bytes, bytes]],
) -> list[Row]:
    """New rows that a solution breaks, one per place at most; neighbours often share theirs."""
    layout, intervals = model.layout, model.market.grid.intervals
    shares = np.add.reduceat(
        relaxed.values[layout.chosen + packing.way], packing.way_start[:-1]
    ).clip(0.0, 1.0)
    found = []
    before: set[tuple[bytes, ...]] = set()
    for place in places.tolist():
        items = items_of(packing, np.array([place]))
        # From one interval to the next little changes.
        alike = tuple(
            part.tobytes()
            for part in (
                packing.order[items],
                packing.chips[items],
                shares[items],
                packing.room[[place]],
                packing.base[[place]],
                np.array([place // intervals]),
            )
        )
        if alike in before:
            continue
        before.add(alike)
        row = _row(packing, items, shares[items])
        if row is None:
            continue
        orders, sizes = packing.order[row.items], np.round(row.coefficient, 6)
        key = (place // intervals, orders.tobytes(), sizes.tobytes())
        if key not in known:
            known.add(key)
            found.append(row)
    return found


def _row(packing: Packing, items: Integers, shares: Floats) -> Row | None:
    """A row that the shares of a place break, or None."""
    some = np.flatnonzero(shares > WHOLE)
    if some.size > _ITEMS_MOST or not bool(np.any(shares[some] < 1.0 - WHOLE)):
        return None
    coefficient = np.zeros(items.size)
    found = _separated(packing, items[some], shares[some])
    if found is None:
        return None
    coefficient[some] = found
    none = np.flatnonzero(shares <= WHOLE)
    for item in none[np.argsort(-packing.chips[items[none]], kind="stable")].tolist():
        coefficient[item] = _lifted(packing, items, coefficient, item)
    kept = coefficient > _COEFFICIENT
    return Row(items[kept], coefficient[kept])


def _separated(packing: Packing, items: Integers, shares: Floats) -> Floats | None:
    """Coefficients whose sum over the shares is largest, and over any set that fits at most 1."""
    sets = [np.array([item]) for item in range(items.size)]
    worth, members = packing.best(items, shares, members=True)
    if worth >= shares.sum() - SNAP:
        return None
    sets.append(members)
    for _ in range(_SETS_MOST):
        coefficient = _dual_of(sets, shares)
        if float(coefficient @ shares) <= 1.0 + _EXCEEDED:
            return None
        worth, members = packing.best(items, coefficient, members=True)
        if worth <= 1.0 + SNAP:
            break
        sets.append(members)
    coefficient /= max(1.0, float(worth))
    exceeded = float(coefficient @ shares) > 1.0 + _EXCEEDED
    return coefficient if exceeded else None


def _dual_of(sets: list[Integers], shares: Floats) -> Floats:
    builder = Builder()
    for share in shares.tolist():
        builder.column(share, 0.0, 1.0)
    for members in sets:
        row = builder.row(-INFINITY, 1.0)
        for item in members.tolist():
            builder.entry(row, item, 1.0)
    return solve_linear(builder.freeze()).values


def _lifted(packing: Packing, items: Integers, coefficient: Floats, item: int) -> float:
    """What an order without a share may count, so that the row still holds with it."""
    kept = np.flatnonzero(coefficient > _COEFFICIENT)
    alone, _ = packing.best(items[[item]], [1.0])
    if alone < 1.0:
        return 1.0
    # The most that fits beside it: it is worth more than all the others together.
    much = 2.0 * float(coefficient.sum()) + 2.0
    worth, _ = packing.best(items[[*kept, item]], [*coefficient[kept].tolist(), much])
    return max(0.0, 1.0 - (float(worth) - much))
