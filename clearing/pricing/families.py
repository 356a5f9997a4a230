"""Lost opportunity of block families over the face: exclusive groups, linked trees, single blocks.

Each pick (an exclusive group or a single order) has a response variable: at least nothing, at
least the gain of any of its alternatives at full fill plus the responses of the picks under that
order. The response of the picks at the roots less the surplus of what was accepted is what stage
(i) keeps low. Blocks respond at full fill: on the convex hull of nothing and the range the least
fill never enters. Nor do restart costs kept: they are no part of a surplus.

Most families have nothing to say: with the prices that are open as low or as high as they can
be, they would make the same choice, and their lost opportunity is the same at every price.
Those get no variable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.layout import Choice, Model, Settled
from clearing.market import NONE, Blocks, Flags, Integers
from clearing.pricing.face import TICK_DOLLARS, Priced
from clearing.pricing.narrowing import Face, totals, with_conditions, with_variables
from clearing.program import INFINITY, Floats, Program

_CHUNK: Final = 2_000_000
"""Entries of the program read at a time: bounds memory, not results."""

_FAR: Final = 1e9
"""Ticks that stand for a price without a bound when a range is estimated."""

_INDIFFERENT: Final = 1e-6
"""Ticks per chip-hour by which a gain must be able to move to count as moving."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paid:
    """What groups of columns pay, US dollars per hour: a constant, and entries on open prices."""

    constant: Floats
    group: Integers
    variable: Integers
    value: Floats

    def between(self, face: Face) -> tuple[Floats, Floats]:
        """Least and most that each group could pay inside the bounds of the face."""
        one = self.value * np.clip(face.lower, -_FAR, _FAR)[self.variable]
        other = self.value * np.clip(face.upper, -_FAR, _FAR)[self.variable]
        count = self.constant.size
        least = self.constant + totals(self.group, np.minimum(one, other), count)
        most = self.constant + totals(self.group, np.maximum(one, other), count)
        return least, most

    def only(self, groups: Flags) -> tuple[Integers, Integers, Floats]:
        """Entries of some groups."""
        kept = groups[self.group]
        return self.group[kept], self.variable[kept], self.value[kept]


def paid(
    priced: Priced,
    face: Face,
    program: Program,
    group: Integers,
    weight: Floats,
    count: int,
    rows: Flags | None = None,
) -> Paid:
    """Sum up what columns pay.

    Args:
        priced: Which row has which price.
        face: Prices that are not open count in the constant.
        program: Entries.
        group: Group of each column, or ``NONE``.
        weight: How often each column counts.
        count: Number of groups.
        rows: Rows that count; all of them if not given.
    """
    wanted = (group != NONE) & (weight != 0)
    charged = priced.variable != NONE
    if rows is not None:
        charged &= rows
    still = face.is_open
    constant = np.zeros(count)
    parts: list[tuple[Integers, Integers, Floats]] = []
    for first in range(0, program.rows.size, _CHUNK):
        chunk = slice(first, first + _CHUNK)
        row, column = program.rows[chunk], program.columns[chunk]
        found = np.flatnonzero(wanted[column] & charged[row] & (program.values[chunk] != 0))
        row, column = row[found], column[found]
        variable = priced.variable[row]
        value = program.values[chunk][found] * priced.factor[row] * weight[column]
        kept = still[variable]
        here = np.where(kept, 0.0, value * np.where(kept, 0.0, face.lower[variable]))
        constant += totals(group[column], here, count)
        parts.append((group[column][kept], variable[kept], value[kept]))
    empty = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    groups, variables, values = zip(empty, *parts, strict=True)
    return Paid(
        constant=constant,
        group=np.concatenate(groups),
        variable=np.concatenate(variables),
        value=np.concatenate(values),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Chains:
    """Responses of all picks to given gains of alternatives.

    Attributes:
        best: Per pick.
        total: Per alternative, the picks under its order included.
    """

    best: Floats
    total: Floats


def with_blocks(
    model: Model, choice: Choice, settled: Settled, priced: Priced, face: Face
) -> tuple[Face, Floats]:
    """The face with responses of block families, and what each variable costs in stage (i).

    Returns:
        The face, and US dollars per unit of each of its variables.
    """
    blocks = model.market.blocks
    if blocks.order.size == 0:
        return face, np.zeros(face.lower.size)
    full, gain = _at_full_fill(model, priced, face, settled.program)
    least, most = full.between(face)
    low, high = _respond(blocks, gain - most), _respond(blocks, gain - least)
    noise = _INDIFFERENT * _unit(model)
    pick = blocks.pick_of_order[blocks.order]
    families = _moving(model, choice, settled, low, high, noise)
    mine = families[blocks.family_of_pick[pick]]
    rows = np.flatnonzero(mine & (high.total >= low.best[pick] - noise))
    picks = np.flatnonzero(families[blocks.family_of_pick])
    unit = np.ones(low.best.size)
    unit[pick[::-1]] = _unit(model)[::-1]
    variable = np.full(low.best.size, NONE, dtype=np.int64)
    variable[picks] = face.lower.size + np.arange(picks.size)
    face = with_variables(face, low.best[picks] / unit[picks], np.full(picks.size, INFINITY))
    face = _with_rows(face, blocks, rows, full, gain, variable, unit)
    cost = np.zeros(face.lower.size)
    roots = picks[blocks.pick_parent[picks] == NONE]
    cost[variable[roots]] = unit[roots]
    accepted = paid(priced, face, settled.program, *_accepted(model, choice, settled))
    _, prices, values = accepted.only(families)
    np.add.at(cost, prices, values)
    return face, cost


def block_surpluses(
    model: Model, choice: Choice, settled: Settled, priced: Priced, face: Face
) -> tuple[Floats, Paid]:
    """What accepted families gain before they pay (restart costs left out), and what they pay."""
    group, weight, count = _accepted(model, choice, settled)
    worth = (model.program.objective - model.kept) * weight
    columns = np.flatnonzero(group != NONE)
    gain = totals(group[columns], worth[columns], count)
    return gain, paid(priced, face, settled.program, group, weight, count)


def _accepted(model: Model, choice: Choice, settled: Settled) -> tuple[Integers, Floats, int]:
    """Family of the columns of accepted alternatives, their values, and how many families."""
    blocks, layout = model.market.blocks, model.layout
    chosen = np.flatnonzero(choice.chosen)
    family = blocks.family_of_pick[blocks.pick_of_order[blocks.order[chosen]]]
    group = np.full(settled.best.size, NONE, dtype=np.int64)
    group[layout.chosen + chosen] = family
    filled = layout.fill[chosen] != NONE
    group[layout.fill[chosen[filled]]] = family[filled]
    return group, settled.best, blocks.families


def _at_full_fill(
    model: Model, priced: Priced, face: Face, program: Program
) -> tuple[Paid, Floats]:
    """What every alternative pays at full fill, and what it is worth to its bidder there."""
    blocks, layout = model.market.blocks, model.layout
    objective = model.program.objective - model.kept
    count = blocks.order.size
    alternative = np.arange(count)
    group = np.full(objective.size, NONE, dtype=np.int64)
    weight = np.zeros(objective.size)
    group[layout.chosen + alternative] = alternative
    weight[layout.chosen + alternative] = 1.0
    gain = objective[layout.chosen + alternative].copy()
    filled = np.flatnonzero(layout.fill != NONE)
    extra = (blocks.most - blocks.least)[filled]
    group[layout.fill[filled]] = filled
    weight[layout.fill[filled]] = extra
    gain[filled] += extra * objective[layout.fill[filled]]
    return paid(priced, face, program, group, weight, count), gain


def _unit(model: Model) -> Floats:
    """US dollars of a tick on all chips of each alternative over its run: scale of its gain."""
    blocks, grid = model.market.blocks, model.market.grid
    chip_intervals = blocks.most * grid.node[blocks.pool] * (blocks.stop - blocks.first)
    return chip_intervals * TICK_DOLLARS


def _respond(blocks: Blocks, gain: Floats) -> _Chains:
    """Best responses from the leaves of the trees to their roots."""
    pick, count = blocks.pick_of_order[blocks.order], blocks.pick_parent.size
    depth = np.zeros(count, dtype=np.int64)
    linked = np.flatnonzero(blocks.pick_parent != NONE)
    above = blocks.pick_of_order[blocks.pick_parent[linked]]
    while not np.array_equal(depth[linked], depth[above] + 1):
        depth[linked] = depth[above] + 1
    best, total = np.zeros(count), gain.copy()
    under = np.zeros(blocks.pick_of_order.size)
    for level in range(int(depth.max(initial=0)), -1, -1):
        here = np.flatnonzero(depth[pick] == level)
        total[here] += under[blocks.order[here]]
        np.maximum.at(best, pick[here], total[here])
        children = linked[depth[linked] == level]
        np.add.at(under, blocks.pick_parent[children], best[children])
    return _Chains(best=best, total=total)


def _moving(
    model: Model,
    choice: Choice,
    settled: Settled,
    low: _Chains,
    high: _Chains,
    noise: Floats,
) -> Flags:
    """Families whose lost opportunity is not the same at all prices inside the bounds.

    It is where, at every pick, the accepted alternative is full and the best whatever the
    prices, and where nothing is accepted nothing is worth anything: then the response is the
    surplus itself. And it is where the response has no range and nothing is accepted.
    """
    blocks, layout = model.market.blocks, model.layout
    pick = blocks.pick_of_order[blocks.order]
    count = blocks.pick_parent.size
    chosen = np.flatnonzero(choice.chosen)
    taken = np.zeros(count, dtype=np.bool_)
    taken[pick[chosen]] = True
    rivals = high.total.copy()
    rivals[chosen] = 0.0
    rival = np.zeros(count)
    np.maximum.at(rival, pick, rivals)
    least_noise = np.zeros(count)
    np.maximum.at(least_noise, pick, noise)
    settled_pick = high.best <= least_noise
    full = np.ones(chosen.size, dtype=np.bool_)
    filled = layout.fill[chosen] != NONE
    extra = (blocks.most - blocks.least)[chosen][filled]
    full[filled] = settled.best[layout.fill[chosen[filled]]] > extra - _INDIFFERENT
    settled_pick[pick[chosen]] = full & (low.total[chosen] >= rival[pick[chosen]] - noise[chosen])
    order_taken = np.zeros(blocks.pick_of_order.size, dtype=np.bool_)
    order_taken[blocks.order[chosen]] = True
    parent = blocks.pick_parent
    matters = (parent == NONE) | order_taken[parent]
    moving = np.zeros(blocks.families, dtype=np.bool_)
    moving[blocks.family_of_pick[matters & ~settled_pick]] = True
    accepted = np.zeros(blocks.families, dtype=np.bool_)
    accepted[blocks.family_of_pick[taken]] = True
    flat = np.ones(blocks.families, dtype=np.bool_)
    flat[blocks.family_of_pick[high.best - low.best > least_noise]] = False
    return moving & (accepted | ~flat)


def _with_rows(
    face: Face,
    blocks: Blocks,
    rows: Integers,
    full: Paid,
    gain: Floats,
    variable: Integers,
    unit: Floats,
) -> Face:
    """Conditions: a response is worth at least each alternative, the picks under it included."""
    position = np.full(blocks.order.size, NONE, dtype=np.int64)
    position[rows] = np.arange(rows.size)
    group, prices, values = full.only(position != NONE)
    pick = blocks.pick_of_order[blocks.order[rows]]
    children = np.flatnonzero((blocks.pick_parent != NONE) & (variable != NONE))
    by_order = np.argsort(blocks.pick_parent[children], kind="stable")
    children = children[by_order]
    parents = blocks.pick_parent[children]
    first = np.searchsorted(parents, blocks.order[rows], side="left")
    stop = np.searchsorted(parents, blocks.order[rows], side="right")
    counts = stop - first
    row_of_child = np.arange(rows.size).repeat(counts)
    offset = np.arange(row_of_child.size) - (np.cumsum(counts) - counts).repeat(counts)
    child = children[first.repeat(counts) + offset]
    return with_conditions(
        face,
        np.concatenate([position[group], np.arange(rows.size), row_of_child]),
        np.concatenate([prices, variable[pick], variable[child]]),
        np.concatenate([values, unit[pick], -unit[child]]),
        gain[rows] - full.constant[rows],
        np.full(rows.size, INFINITY),
    )
