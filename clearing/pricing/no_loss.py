"""Prices at which no accepted family loses: conditions on the face, and who stands in their way."""

from __future__ import annotations

from typing import Final

import numpy as np

from clearing.layout import Choice, Model, Settled
from clearing.market import NONE, Flags, Integers
from clearing.pricing.face import Priced, open_face
from clearing.pricing.families import Paid, block_surpluses
from clearing.pricing.narrowing import Face, components, narrow, part_of, with_conditions
from clearing.pricing.stages import has_point
from clearing.pricing.unit_families import supply_block_surpluses
from clearing.program import INFINITY, Floats
from clearing.types import AuctionSpec

_NOISE: Final = 1e-9
"""Share of its gain by which a family may seem to lose."""

_Surpluses = tuple[tuple[Floats, Paid], ...]


def without_losses(
    model: Model, choice: Choice, settled: Settled, priced: Priced, face: Face
) -> Face | None:
    """The face where no accepted block family and no accepted supply block loses, narrowed.

    Families that cannot lose inside the bounds add nothing. None where the bounds alone say
    that one must lose.
    """
    surpluses = _surpluses(model, choice, settled, priced, face)
    if any(sure.any() for sure in _sure_losers(surpluses, face)):
        return None
    face, crossed = narrow(_with_surpluses(surpluses, face))
    return None if crossed.any() else face


def obstacles(
    model: Model, choice: Choice, settled: Settled, spec: AuctionSpec
) -> tuple[Flags, Flags]:
    """Where no prices keep every accepted family from losing.

    Returns:
        Rows of the program whose prices contradict each other, and decisions (columns) of
        families that lose at all prices; at least one of each part of the book that fails.
    """
    priced, face = open_face(model, choice, settled, spec, capped=True)
    face, beyond_cap = narrow(face)
    surpluses = _surpluses(model, choice, settled, priced, face)
    columns = np.zeros(model.program.objective.size, dtype=np.bool_)
    blocks, layout = model.market.blocks, model.layout
    losing, running = _sure_losers(surpluses, face)
    family = blocks.family_of_pick[blocks.pick_of_order[blocks.order]]
    columns[layout.chosen + np.flatnonzero(choice.chosen & losing[family])] = True
    if running.any():
        columns[layout.unit_on[running].max(axis=1)] = True
    face, variables = narrow(_with_surpluses(surpluses, face))
    variables |= beyond_cap
    label = components(face)
    for component in np.unique(label[face.index]).tolist():
        own = label == component
        if not (variables & own).any() and not has_point(part_of(face, own)[0]):
            variables |= own
    rows = np.zeros(priced.variable.size, dtype=np.bool_)
    there = np.flatnonzero(priced.variable != NONE)
    rows[there] = variables[priced.variable[there]]
    return rows, columns


def _surpluses(
    model: Model, choice: Choice, settled: Settled, priced: Priced, face: Face
) -> _Surpluses:
    """Worth and payments of accepted families, then of accepted supply blocks."""
    return (
        block_surpluses(model, choice, settled, priced, face),
        supply_block_surpluses(model, choice, priced, face),
    )


def _noise(gain: Floats) -> Floats:
    return _NOISE * np.maximum(1.0, np.abs(gain))


def _sure_losers(surpluses: _Surpluses, face: Face) -> list[Flags]:
    """Families, and supply blocks, that lose at all prices inside the bounds."""
    return [charge.between(face)[0] > gain + _noise(gain) for gain, charge in surpluses]


def _with_surpluses(surpluses: _Surpluses, face: Face) -> Face:
    """The face with a condition for each family that can lose and need not."""
    for gain, charge in surpluses:
        least, most = charge.between(face)
        rows = np.flatnonzero((most > gain + _noise(gain)) & (least <= gain + _noise(gain)))
        position: Integers = np.full(gain.size, NONE, dtype=np.int64)
        position[rows] = np.arange(rows.size)
        group, variable, value = charge.only(position != NONE)
        low, high = np.full(rows.size, -INFINITY), (gain - charge.constant)[rows]
        face = with_conditions(face, position[group], variable, value, low, high)
    return face
