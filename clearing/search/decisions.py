"""What can be decided about an auction, as changes to the bounds of its program.

A decision names a set: the ways to accept one block bid that match a pool, a backup or a start, or
an interval (or all of them) in which an offer with a commitment is on. It is taken one of two ways:
something of the set is chosen, or nothing is. ``clearing.outcome.Fixing`` is its published form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from clearing.columns import expand, integers, starts
from clearing.layout import Choice, Model
from clearing.market import NONE
from clearing.outcome import Fixing
from clearing.program import INFINITY, Flags, Floats, Integers, Program
from clearing.types import Book

WHOLE: Final = 1e-6
"""A binary this near to 0 or 1 is decided."""


class Decision(NamedTuple):
    """A set of alternatives of a block bid, or an offer with a commitment in an interval.

    Attributes:
        order: Position in ``book.block_bids``, or ``NONE``; ``pool``, ``backup`` and ``start``
            narrow the set where they are not ``NONE``.
        unit: Position in ``Units``, or ``NONE``.
        interval: Interval of the unit; ``NONE`` for any.
    """

    order: int = NONE
    pool: int = NONE
    backup: int = NONE
    start: int = NONE
    unit: int = NONE
    interval: int = NONE


class Share(NamedTuple):
    """How much of a decision's set a fractional solution chooses, between 0 and 1.

    Attributes:
        stake: What is decided about, US dollars per hour.
    """

    decision: Decision
    value: float
    stake: float


class Effect(NamedTuple):
    """What taking a decision does: columns get both bounds, the row a lower one."""

    columns: Integers
    lower: Floats
    upper: Floats
    row: int
    row_lower: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Menu:
    """The decisions of a model.

    Attributes:
        program: The model's, with free rows that add up what belongs together.
        binaries: Columns of decisions, ascending.
        first: First alternative of each block bid, ragged.  # (block bids + 1,)
        stake: What each block bid is worth at most, US dollars per hour.
        unit_stake: What each unit offers in an interval at its own prices, the same.
            # (units, intervals)
        order_row: Sum of the alternatives of each block bid, ``NONE`` without any.
        unit_row: Sum of the intervals on of each unit, ``NONE`` for whole ones.
    """

    model: Model
    program: Program
    binaries: Integers
    first: Integers
    stake: Floats
    unit_stake: Floats
    order_row: Integers
    unit_row: Integers


def read_menu(model: Model, program: Program) -> Menu:
    """Write down what can be decided.

    Args:
        model: Layout of the columns.
        program: The model's program, perhaps with other objectives, bounds or more rows.
    """
    blocks, layout = model.market.blocks, model.layout
    counts = np.bincount(blocks.order, minlength=blocks.pick_of_order.size)
    rows = program.row_lower.size
    several = counts > 0
    order_row = np.where(several, rows + several.cumsum() - 1, NONE)
    rows += int(several.sum())
    there = (layout.unit_on != NONE) & ~model.market.units.whole[:, None]
    free = there.any(axis=1)
    unit_row = np.where(free, rows + free.cumsum() - 1, NONE)
    rows += int(free.sum())
    unit, interval = np.nonzero(there)
    more = rows - program.row_lower.size
    summed = replace(
        program,
        row_lower=np.concatenate((program.row_lower, np.full(more, -INFINITY))),
        row_upper=np.concatenate((program.row_upper, np.full(more, INFINITY))),
        rows=np.concatenate((program.rows, order_row[blocks.order], unit_row[unit])),
        columns=np.concatenate(
            (
                program.columns,
                layout.chosen + np.arange(blocks.order.size),
                layout.unit_on[unit, interval],
            )
        ),
        values=np.concatenate((program.values, np.ones(blocks.order.size + unit.size))),
    )
    return Menu(
        model=model,
        program=summed,
        binaries=np.flatnonzero(program.whole),
        first=starts(counts),
        stake=_stakes(model),
        unit_stake=_unit_stakes(model),
        order_row=order_row,
        unit_row=unit_row,
    )


def _stakes(model: Model) -> Floats:
    """Largest objective of an alternative of each block bid."""
    layout, blocks, objective = model.layout, model.market.blocks, model.program.objective
    worth = objective[layout.chosen : layout.chosen + blocks.order.size].copy()
    there = np.flatnonzero(layout.fill != NONE)
    worth[there] += (blocks.most - blocks.least)[there] * objective[layout.fill[there]]
    found = np.zeros(blocks.pick_of_order.size)
    np.maximum.at(found, blocks.order, worth)
    return found


def _unit_stakes(model: Model) -> Floats:
    supply, units = model.market.supply, model.market.units
    own = np.flatnonzero(supply.unit != NONE)
    found = np.zeros(units.offered.shape)
    at = supply.unit[own], supply.place[own] % model.market.grid.intervals
    np.add.at(found, at, -model.program.objective[own] * supply.nodes[own])
    return found


def effect(menu: Menu, decision: Decision, *, accepted: bool) -> Effect:
    """Bounds that take a decision one way."""
    if decision.unit != NONE:
        return _effect_on_unit(menu, decision, accepted=accepted)
    layout = menu.model.layout
    own, inside = _members(menu, decision)
    if not accepted:
        return _held(layout.chosen + own[inside], 0.0)
    others = layout.chosen + own[~inside]
    if int(inside.sum()) != 1:
        return _held(others, 0.0)._replace(row=int(menu.order_row[decision.order]), row_lower=1.0)
    columns = np.append(others, layout.chosen + own[inside])
    taken = np.append(np.zeros(others.size), 1.0)
    return Effect(columns=columns, lower=taken, upper=taken, row=NONE, row_lower=0.0)


def _members(menu: Menu, decision: Decision) -> tuple[Integers, Flags]:
    """Alternatives of the order, and flags of those in the set."""
    blocks = menu.model.market.blocks
    own = np.arange(menu.first[decision.order], menu.first[decision.order + 1])
    inside = np.ones(own.size, dtype=np.bool_)
    for column, wanted in (
        (blocks.pool, decision.pool),
        (blocks.backup, decision.backup),
        (blocks.first, decision.start),
    ):
        if wanted != NONE:
            inside &= column[own] == wanted
    return own, inside


def _effect_on_unit(menu: Menu, decision: Decision, *, accepted: bool) -> Effect:
    on = menu.model.layout.unit_on[decision.unit]
    if decision.interval != NONE:
        return _held(on[[decision.interval]], float(accepted))
    if not accepted:
        return _held(np.unique(on[on != NONE]), 0.0)
    nothing = _held(on[:0], 0.0)
    return nothing._replace(row=int(menu.unit_row[decision.unit]), row_lower=1.0)


def _held(columns: Integers, value: float) -> Effect:
    bound = np.full(columns.size, value)
    return Effect(columns=columns, lower=bound, upper=bound, row=NONE, row_lower=0.0)


def open_decisions(menu: Menu, values: Floats) -> list[Share]:
    """Decisions that a solution leaves open: one for each order, some for each unit.

    Args:
        menu: What can be decided.
        values: Of ``menu.binaries``.
    """
    layout, blocks = menu.model.layout, menu.model.market.blocks
    chosen = values[np.searchsorted(menu.binaries, layout.chosen) :][: blocks.order.size]
    if blocks.order.size == 0:
        chosen = values[:0]
    split = np.flatnonzero(np.abs(chosen - np.round(chosen)) > WHOLE)
    found = [
        share
        for order in np.unique(blocks.order[split]).tolist()
        for share in _of_order(menu, order, chosen)
    ]
    on = layout.unit_on
    if on.size:
        at = np.searchsorted(menu.binaries, on.clip(0)).clip(max=max(0, values.size - 1))
        running = np.where(on == NONE, 0.0, values[at])
        open_units = (np.abs(running - np.round(running)) > WHOLE).any(axis=1)
        for unit in np.flatnonzero(open_units).tolist():
            found += _of_unit(menu, unit, running[unit])
    return found


def _of_order(menu: Menu, order: int, chosen: Floats) -> list[Share]:
    """Whether at all; once that is decided, the pool, the start or the backup."""
    blocks, stake = menu.model.market.blocks, float(menu.stake[order])
    own = slice(int(menu.first[order]), int(menu.first[order + 1]))
    share = chosen[own]
    total = float(share.sum())
    if WHOLE < total < 1.0 - WHOLE:
        return [Share(Decision(order=order), total, stake)]
    for name, column in (("pool", blocks.pool), ("start", blocks.first), ("backup", blocks.backup)):
        kinds, of_kind = np.unique(column[own], return_inverse=True)
        sums = np.bincount(of_kind, weights=share)
        between = np.minimum(sums, 1.0 - sums)
        best = int(between.argmax())
        if between[best] > WHOLE:
            narrowed = Decision(order=order)._replace(**{name: int(kinds[best])})
            return [Share(narrowed, float(sums[best]), stake)]
    return []


def _of_unit(menu: Menu, unit: int, running: Floats) -> list[Share]:
    """Whether it is on at all, and in every interval that is open, the least clear one first."""
    between = np.minimum(running, 1.0 - running)
    stake = menu.unit_stake[unit]
    found = []
    for interval in np.argsort(-between, kind="stable").tolist():
        if between[interval] <= WHOLE:
            break
        one = Decision(unit=unit, interval=interval)
        found.append(Share(one, float(running[interval]), float(stake[interval])))
        if menu.unit_row[unit] == NONE:
            break
    if menu.unit_row[unit] != NONE and running.sum() < 1.0 - WHOLE:
        found.insert(0, Share(Decision(unit=unit), float(running.sum()), float(stake.sum())))
    return found


def one_each(shares: list[Share]) -> list[Share]:
    """Without the intervals of a unit after its first one."""
    seen: set[int] = set()
    found = []
    for share in shares:
        unit = share.decision.unit
        timed = NONE not in (unit, share.decision.interval)
        if not timed or unit not in seen:
            found.append(share)
        if timed:
            seen.add(unit)
    return found


def fixing(book: Book, model: Model, decision: Decision, *, accepted: bool) -> Fixing:
    """The published form of a decision taken one way."""
    pools = model.market.grid.pools
    if decision.unit != NONE:
        offer = book.offers[int(model.market.units.offer[decision.unit])]
        return Fixing(order_id=offer.order_id, accepted=accepted, interval=decision.interval)
    return Fixing(
        order_id=book.block_bids[decision.order].order_id,
        accepted=accepted,
        pool_id="" if decision.pool == NONE else pools[decision.pool].pool_id,
        backup_pool_id="" if decision.backup == NONE else pools[decision.backup].pool_id,
        start=decision.start,
    )


def forbid(model: Model, program: Program, cuts: tuple[Choice, ...]) -> Program:
    """The program with a row per earlier choice: not all that it accepted is accepted again."""
    layout = model.layout
    taken = []
    for cut in cuts:
        running = layout.unit_on[cut.on & (layout.unit_on != NONE)]
        taken.append(
            np.concatenate((layout.chosen + np.flatnonzero(cut.chosen), np.unique(running)))
        )
    counts = integers(columns.size for columns in taken)
    row, _ = expand(counts)
    return replace(
        program,
        row_lower=np.concatenate((program.row_lower, np.full(counts.size, -INFINITY))),
        row_upper=np.concatenate((program.row_upper, counts - 1.0)),
        rows=np.concatenate((program.rows, program.row_lower.size + row)),
        columns=np.concatenate((program.columns, *taken)),
        values=np.concatenate((program.values, np.ones(row.size))),
    )
