"""Which of the valid prices is published (DESIGN 4.2, "Which valid price").

With the decisions fixed the auction is a linear problem, and its valid prices are the dual
solutions that support the awards: everybody in the money is full, everybody out of it empty,
partial fills are exactly at the price (``clearing.pricing.face``). Among them, in this order,

1. the least total lost opportunity over all families (blocks and groups and trees of them,
   offers with commitments): best response at the prices less the surplus of what was accepted;
2. the least cover + power + interruptibility + backup price;
3. the mean of the lowest and the highest hash-weighted price sum.

Restart costs kept are in the objective, so in the conditions of a block's fill; they are no part
of a surplus, neither of the accepted one nor of a response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing import ties
from clearing.errors import SolverError
from clearing.layout import POWER_UNIT, Choice, Model, Settled
from clearing.market import NONE, Flags, Integers
from clearing.pricing.face import (
    FALLING,
    FILLED,
    LOOSELY_FILLED,
    SCARCITY,
    TICK,
    Kind,
    Priced,
    open_face,
)
from clearing.pricing.families import with_blocks
from clearing.pricing.narrowing import Face, narrow
from clearing.pricing.no_loss import without_losses
from clearing.pricing.stages import Aims, choose_point
from clearing.pricing.unit_families import with_units
from clearing.program import Floats
from clearing.types import AuctionSpec

_NAMES: Final = {
    Kind.ENERGY: "energy",
    Kind.COVER: "cover",
    Kind.RECLAIMABLE: "reclaimable",
    Kind.RECALL: "recall",
    Kind.SLOT: "backup",
    Kind.POWER: "power",
}
"""Published prices as the hash of stage (iii) knows them."""

_WEIGHT: Final = 1_000
"""Hash weights of 1 are 1,000 in ``clearing.ties``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Duals:
    """Chosen prices in micro-USD per chip-hour, not yet rounded.

    Attributes:
        energy: pi.  # (places,)
        power: Chip power x nu.  # (places,)
        spare: mu_N.  # (places,)
        availability: lambda_a.  # (places,)
        recall: lambda_b.  # (places,)
        backup: mu_S per slot and interval, flat.  # (slots x intervals,)
        floor, cap: What energy prices are held to.
    """

    energy: Floats
    power: Floats
    spare: Floats
    availability: Floats
    recall: Floats
    backup: Floats
    floor: int
    cap: int


def choose_prices(
    model: Model,
    choice: Choice,
    settled: Settled,
    spec: AuctionSpec,
    seed: bytes,
    *,
    no_loss: bool = False,
) -> Duals | None:
    """Choose the published prices.

    Args:
        model: Where everything is in the program.
        choice: Decisions.
        settled: The linear problem with the decisions fixed, solved.
        spec: Floor and cap.
        seed: Tie seed: weights of the last stage.
        no_loss: No accepted family may lose (``PricingRule.STRICT_UNIFORM``).

    Returns:
        Prices, or None where ``no_loss`` is asked for and no prices up to the cap can give it.

    Raises:
        SolverError: no valid price exists, which contradicts linear programming duality.
    """
    for capped, filled in ((True, FILLED), (False, FILLED), (False, LOOSELY_FILLED)):
        face = open_face(model, choice, settled, spec, capped=capped, filled=filled)
        found = _choose(model, choice, settled, spec, seed, face, no_loss=no_loss)
        if found is not None:
            return found
        if no_loss and (choice.chosen.any() or choice.on.any()):
            return None
    raise SolverError("no valid prices")


def _choose(
    model: Model,
    choice: Choice,
    settled: Settled,
    spec: AuctionSpec,
    seed: bytes,
    opened: tuple[Priced, Face],
    *,
    no_loss: bool,
) -> Duals | None:
    """Prices on a face, or None where it is empty."""
    priced, face = opened
    face, crossed = narrow(face)
    if crossed.any():
        return None
    if no_loss:
        possible = without_losses(model, choice, settled, priced, face)
        if possible is None:
            return None
        face = possible
    face, lost = with_blocks(model, choice, settled, priced, face)
    face, more = with_units(model, choice, settled, priced, face)
    lost = np.append(lost, np.zeros(more.size - lost.size)) + more
    face, _ = narrow(face)
    extra = lost.size - priced.kind.size
    aims = Aims(
        lost=lost,
        scarcity=np.append(_scarcity(model, priced), np.zeros(extra)),
        published=np.append(priced.of(*_NAMES), np.zeros(extra, dtype=np.bool_)),
        falling=np.append(priced.of(*FALLING), np.ones(extra, dtype=np.bool_)),
        weights=lambda variables: _hash_weights(model, priced, variables, seed),
        reference=priced.reference(settled),
    )
    try:
        return _read(model, priced, choose_point(face, aims), spec)
    except SolverError:
        return None


def _scarcity(model: Model, priced: Priced) -> Floats:
    """Weight of cover, power, interruptibility and backup prices: what they add to a chip-hour."""
    grid = model.market.grid
    weights = np.where(priced.of(*SCARCITY), 1.0, 0.0)
    watts = np.zeros(len(grid.site_ids))
    np.add.at(watts, grid.site, grid.power)
    power = np.flatnonzero(priced.of(Kind.POWER))
    weights[power] = watts[priced.place[power] // grid.intervals] / POWER_UNIT
    return weights


def _hash_weights(model: Model, priced: Priced, variables: Integers, seed: bytes) -> Floats:
    """Weights of some published prices, 1 to 2."""
    grid, layout = model.market.grid, model.layout
    weights = np.empty(variables.size)
    for at, variable in enumerate(variables.tolist()):
        kind = Kind(int(priced.kind[variable]))
        row, interval = divmod(int(priced.place[variable]), grid.intervals)
        if kind is Kind.POWER:
            subject = grid.site_ids[row]
        elif kind is Kind.SLOT:
            site, pool = int(layout.slot_site[row]), int(layout.slot_pool[row])
            subject = f"{grid.site_ids[site]}\0{grid.pools[pool].pool_id}"
        else:
            subject = grid.pools[row].pool_id
        weights[at] = ties.price_weight(seed, _NAMES[kind], subject, interval) / _WEIGHT
    return weights


def _read(model: Model, priced: Priced, point: Floats, spec: AuctionSpec) -> Duals:
    layout, grid = model.layout, model.market.grid

    def series(rows: Integers) -> Floats:
        found = np.zeros(rows.size)
        there: Flags = rows != NONE
        there[there] = priced.variable[rows[there]] != NONE
        found[there] = point[priced.variable[rows[there]]] * TICK
        return found

    place = np.arange(grid.places)
    pool, interval = place // grid.intervals, place % grid.intervals
    per_unit = series(layout.power)[grid.site[pool] * grid.intervals + interval]
    return Duals(
        energy=series(layout.balance),
        power=per_unit * grid.power[pool] / POWER_UNIT,
        spare=series(layout.cover),
        availability=series(layout.reclaimable),
        recall=series(layout.recall),
        backup=series(layout.slot_row),
        floor=int(spec.price_floor),
        cap=int(spec.price_cap),
    )
