"""Whole micro-USD without losses: which way energy prices are rounded under the strict rule.

A block that breaks even over several intervals breaks even on a sum of prices, and rounding each
of them on its own can move that sum by some micro-USD. Rounding an energy price down keeps every
comparison with a limit as rounding it up does, so the way is free. It is chosen by a small
program: no accepted family loses, and as many prices as can be go to the nearest integer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from clearing import exact
from clearing.columns import expand
from clearing.errors import SolverError
from clearing.layout import Choice, Model, Settled
from clearing.market import NONE, Flags, Integers, Product
from clearing.prices import Prices
from clearing.pricing.price_choice import Duals
from clearing.pricing.rounding import round_prices
from clearing.program import INFINITY, Floats, Program
from clearing.solver import solve_whole
from clearing.units import SECONDS_PER_HOUR

_NODES_MAX: Final = 1_000
"""Branch-and-bound nodes for the ways of rounding; a few prices are in question."""

_WHOLE: Final = 1e-3
"""Micro-USD within which a price is whole already."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stakes:
    """What accepted families and supply blocks buy (sell: negative chips), place by place.

    Attributes:
        group: Family, or number of families + unit.
        place: Where.
        chips: How many.
        paid: Price without energy that each chip is worth, micro-USD per chip-hour.
        fixed: Costs paid once per group, price-seconds.
    """

    group: Integers
    place: Integers
    chips: Integers
    paid: Integers
    fixed: Integers

    def surplus(self, energy: Integers, duration_s: int) -> exact.Numbers:
        """Price-seconds of each group."""
        margin = exact.times(self.paid - energy[self.place], self.chips * duration_s)
        total = exact.sums_at(self.group, margin, self.fixed.size)
        return exact.plus(total, -self.fixed)


def in_whole(model: Model, choice: Choice, settled: Settled, duals: Duals) -> Duals | None:
    """Prices that stay without losses when they are rounded.

    Args:
        model: Where each price belongs.
        choice: Accepted decisions.
        settled: Their fills; a part of a node counts as none and as a whole one.
        duals: Prices without losses, exact.

    Returns:
        The same prices, energy moved to an integer next to it where that is needed; None where
        no way of rounding is without a loss.
    """
    prices = round_prices(model, settled, duals)
    losing = _losing(model, choice, settled, prices)
    if not losing.any():
        return duals
    moved = _moved(model, choice, settled, duals, prices, losing)
    if moved is None:
        return None
    rounded = round_prices(model, settled, moved)
    return None if _losing(model, choice, settled, rounded).any() else moved


def _losing(model: Model, choice: Choice, settled: Settled, prices: Prices) -> Flags:
    """Groups that lose, whichever way their fills are rounded."""
    duration_s = model.market.grid.duration_s
    flags = np.zeros(model.market.blocks.families + model.market.units.offer.size, dtype=np.bool_)
    for stakes in _both(model, choice, settled, prices):
        flags |= (stakes.surplus(prices.energy, duration_s) < 0).astype(np.bool_)
    return flags


def _moved(
    model: Model,
    choice: Choice,
    settled: Settled,
    duals: Duals,
    prices: Prices,
    losing: Flags,
) -> Duals | None:
    """Energy prices at the places of losing groups, each at one of the integers next to it."""
    grid, both = model.market.grid, _both(model, choice, settled, prices)
    below = np.floor(duals.energy + _WHOLE).astype(np.int64)
    free = duals.energy - below > _WHOLE
    concerned = np.zeros(grid.places, dtype=np.bool_)
    for stakes in both:
        concerned[stakes.place[losing[stakes.group]]] = True
    places = np.flatnonzero(free & concerned)
    column = np.full(grid.places, NONE, dtype=np.int64)
    column[places] = np.arange(places.size)
    base = np.where(column != NONE, below, prices.energy)
    entries: list[tuple[Integers, Integers, Floats]] = []
    upper: list[Floats] = []
    for at, stakes in enumerate(both):
        inside = np.flatnonzero(column[stakes.place] != NONE)
        row = stakes.group[inside] + at * stakes.fixed.size
        entries.append((row, column[stakes.place[inside]], stakes.chips[inside].astype(float)))
        upper.append((stakes.surplus(base, grid.duration_s) // grid.duration_s).astype(float))
    rows, columns, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    limit = np.concatenate(upper)
    touched = np.bincount(rows, minlength=limit.size) > 0
    if places.size == 0 or (limit[~touched] < 0).any():
        return None
    program = Program(
        objective=np.where(prices.energy[places] > below[places], 1.0, -1.0),
        lower=np.zeros(places.size),
        upper=np.ones(places.size),
        whole=np.ones(places.size, dtype=np.bool_),
        row_lower=np.full(limit.size, -INFINITY),
        row_upper=np.where(touched, limit, INFINITY),
        rows=rows,
        columns=columns,
        values=values,
    )
    try:
        found = solve_whole(program, node_limit=_NODES_MAX)
    except SolverError:
        return None
    energy = duals.energy.copy()
    energy[places] = below[places] + found.values
    return replace(duals, energy=energy)


def _both(model: Model, choice: Choice, settled: Settled, prices: Prices) -> tuple[_Stakes, ...]:
    """Stakes with fills rounded down, and rounded up."""
    return tuple(
        _stakes(model, choice, prices, whole(settled.best + slack).astype(np.int64))
        for whole, slack in ((np.floor, _WHOLE), (np.ceil, -_WHOLE))
    )


def _stakes(model: Model, choice: Choice, prices: Prices, nodes: Integers) -> _Stakes:
    """What accepted decisions buy and sell at given values of the columns."""
    blocks, layout, grid = model.market.blocks, model.layout, model.market.grid
    chosen = np.flatnonzero(choice.chosen)
    at, offset = expand(blocks.stop[chosen] - blocks.first[chosen])
    alternative = chosen[at]
    interval = blocks.first[alternative] + offset
    pool = blocks.pool[alternative]
    place = pool * grid.intervals + interval
    shape = blocks.shape[alternative]
    shaped = shape != NONE
    least = blocks.least[alternative]
    least[shaped] = blocks.shape_nodes[(shape + offset)[shaped]]
    fill = layout.fill[alternative]
    extra = np.where(fill != NONE, nodes[fill], 0)
    family = blocks.family_of_pick[blocks.pick_of_order[blocks.order[alternative]]]
    value = blocks.value[alternative]
    above = value - _beside_energy(model, prices, alternative, place)
    # A reclaimable block's least chips earn no availability.
    whole = blocks.product[alternative] == Product.RECLAIMABLE
    below = above - np.where(whole, prices.availability[place], 0)
    size = grid.node[pool]
    sold = _sold(model, choice)
    units, families = model.market.units, blocks.families
    supply = model.market.supply
    fixed = np.zeros(families + units.offer.size, dtype=np.int64)
    running = units.whole & (choice.on.sum(axis=1) > 0)
    once = units.start_up + units.no_load * (units.offered > 0).sum(axis=1)
    fixed[families:] = np.where(running, once * SECONDS_PER_HOUR, 0)
    return _Stakes(
        group=np.concatenate([family, family, families + supply.unit[sold]]),
        place=np.concatenate([place, place, supply.place[sold]]),
        chips=np.concatenate(
            [
                least * size,
                extra * size,
                -supply.nodes[sold] * grid.node[supply.place[sold] // grid.intervals],
            ]
        ),
        paid=np.concatenate([below, above, supply.price[sold]]),
        fixed=fixed,
    )


def _sold(model: Model, choice: Choice) -> Integers:
    """Supply columns of accepted supply blocks."""
    supply, units = model.market.supply, model.market.units
    owned = np.flatnonzero(supply.unit != NONE)
    running = units.whole & (choice.on.sum(axis=1) > 0)
    sold: Integers = owned[running[supply.unit[owned]]]
    return sold


def _beside_energy(
    model: Model, prices: Prices, alternative: Integers, place: Integers
) -> Integers:
    """What a chip of an alternative pays beside the energy price, backup included."""
    grid, product = model.market.grid, model.market.blocks.product[alternative]
    found = np.zeros(alternative.size, dtype=np.int64)
    for kind in Product:
        mine = product == kind
        found[mine] = (prices.paid(grid, kind) - prices.energy)[place[mine]]
    slot = model.layout.slot_of_alternative[alternative]
    backed = np.flatnonzero(slot != NONE)
    found[backed] += prices.backup[slot[backed] * grid.intervals + place[backed] % grid.intervals]
    return found
