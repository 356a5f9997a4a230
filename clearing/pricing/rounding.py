"""Chosen prices as published integers, each all-in price the exact sum of its parts.

What is rounded is the sums that orders are compared with (energy alone, with power, with
each discount, with cover), and the parts are their differences. Rounding keeps order, and
limits are whole micro-USD, so a limit that was not passed by the exact price is not passed
by the published one. Halves round up, from slightly below a half, so that the noise of a
solver cannot send two equal prices to different sides.

Places without a scarcity price have one sum. In the others several sums hang on a few integers
(and the cover charge is a rounded share of the spare price), so the integers around the exact
values are tried, all places with the same parts at once: a sum that somebody finds equal to its
limit is met first, those of buyers before those of suppliers. Where not all can be met, an offer
that is indifferent between sale and stand-by is one micro-USD off. Backup prices come last: each
closes the sum of the SITE bids that are at their limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from clearing.columns import share_ppm_each
from clearing.layout import Model, Settled
from clearing.market import NONE, Flags, Integers, Product
from clearing.prices import Prices
from clearing.pricing.face import FILLED
from clearing.pricing.narrowing import totals
from clearing.pricing.price_choice import Duals
from clearing.program import Floats
from clearing.solver import FACE
from clearing.units import PPM

_NOISE: Final = 1e-3
"""Micro-USD: far above solver noise, far below anything that money sees."""

_EDGE: Final = 2.0
"""Micro-USD: what rounding may add to a sum of parts."""

_HARD: Final = 1_000
_FIRM: Final = 100

_PARTS: Final = ("energy", "power", "spare", "availability", "recall")
_REACH: Final = (1, 1, 3, 1, 1)
"""How far from the nearest integer each part is tried."""

_TRIED_MAX: Final = 2_000_000
"""Combinations held at a time: bounds memory, not results."""

_NEVER: Final = 10**15
"""Cost of a combination with a part below its least value: above that of any other."""

_DISTANCES: Final = 64
"""More than the distances of all parts from their nearest integers can add up to."""

_SUM_OF_PRODUCT: Final = {
    Product.COVERED: "covered",
    Product.UNCOVERED: "plain",
    Product.UNCOUNTED: "plain",
    Product.RECALLABLE: "recalled",
    Product.RECLAIMABLE: "reclaimed",
}

_PAID: Final = frozenset({"plain", "covered", "recalled", "reclaimed"})
"""Sums that buyers pay; surcharge and fee come on top."""

_Series = TypeVar("_Series", Integers, Floats)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tight:
    """Who finds a sum exactly equal to a limit.

    Attributes:
        names: Flags per place, by sum.
        slot, place: Rows of slots, and the places whose SITE bids they back, of such bids.
    """

    names: dict[str, Flags]
    slot: Integers
    place: Integers


def round_prices(model: Model, settled: Settled, duals: Duals) -> Prices:
    """Rounded prices; awards are held to them.

    Args:
        model: Where each price belongs.
        settled: Which orders are exactly at the price.
        duals: Chosen prices, exact.
    """
    grid = model.market.grid
    there = _place_of_slot(model)
    about = _whole(duals.backup)
    backed = totals(there, duals.backup, grid.places)
    tight = _tight(model, settled, duals, backed)
    parts = {name: _whole(getattr(duals, name)) for name in _PARTS}
    scarce = np.zeros(grid.places, dtype=np.int64)
    for bit, name in enumerate(_PARTS):
        scarce += (parts[name] != 0).astype(np.int64) << bit
    places = np.flatnonzero(scarce & ~1)
    for mask in np.unique(scarce[places]).tolist():
        widths = tuple(w if mask >> bit & 1 else 0 for bit, w in enumerate(_REACH))
        offsets = np.array(np.meshgrid(*(range(-w, w + 1) for w in widths), indexing="ij"))
        offsets = offsets.reshape(len(_PARTS), -1)
        same = places[scarce[places] == mask]
        step = max(1, _TRIED_MAX // offsets.shape[1])
        for first in range(0, same.size, step):
            some = same[first : first + step]
            found = _search(model, duals, tight, backed, some, offsets)
            for name, values in zip(_PARTS, found, strict=True):
                parts[name][some] = values
    backup = _round_backup(model, duals, tight, parts["energy"] + parts["power"], about)
    site_spare = np.zeros(grid.places, dtype=np.int64)
    np.add.at(site_spare, there, backup)
    return Prices(
        energy=parts["energy"],
        power=parts["power"],
        spare=parts["spare"],
        node_cover=share_ppm_each(parts["spare"], grid.theta.repeat(grid.intervals)),
        availability=parts["availability"],
        recall=parts["recall"],
        site_spare=site_spare,
        backup=backup,
    )


def nearest(values: Floats) -> Floats:
    """Nearest whole micro-USD; halves, and what noise leaves just below one, round up."""
    whole: Floats = np.floor(values + (0.5 + _NOISE))
    return whole


def _whole(values: Floats) -> Integers:
    return nearest(values).astype(np.int64)


def _place_of_slot(model: Model) -> Integers:
    """Backup place of every row of a slot."""
    grid = model.market.grid
    interval = np.tile(np.arange(grid.intervals), model.layout.slot_pool.size)
    return model.layout.slot_pool.repeat(grid.intervals) * grid.intervals + interval


def _tight(model: Model, settled: Settled, duals: Duals, backed: Floats) -> _Tight:
    market, layout, grid = model.market, model.layout, model.market.grid
    supply, demand, blocks = market.supply, market.demand, market.blocks
    program = settled.program
    equal = (np.abs(settled.reduced_costs) <= FACE) & (program.upper > program.lower)
    equal |= _at_edge(model, duals, backed) & (program.upper > program.lower)
    names = {
        name: np.zeros(grid.places, dtype=np.bool_)
        for name in ("sold", "released", "plain", "covered", "recalled", "reclaimed")
    }
    # A unit that is off sells nothing whatever the price.
    able = (supply.unit == NONE) | (settled.best[: supply.unit.size] > FILLED)
    at_price = equal[: supply.unit.size] & able
    names["sold"][supply.place[at_price & ~supply.released]] = True
    names["released"][supply.place[at_price & supply.released]] = True
    arcs = np.flatnonzero(equal[layout.arc : layout.arc + demand.arc_cell.size])
    fills = np.flatnonzero(layout.fill != NONE)
    fills = fills[equal[layout.fill[fills]]]
    length = (blocks.stop - blocks.first)[fills]
    run = fills.repeat(length)
    offset = np.arange(run.size) - (np.cumsum(length) - length).repeat(length)
    interval = blocks.first[run] + offset
    place = np.append(demand.arc_place[arcs], blocks.pool[run] * grid.intervals + interval)
    product = np.append(demand.product[demand.arc_cell[arcs]], blocks.product[run])
    slot = np.append(layout.slot_of_arc[arcs], layout.slot_of_alternative[run])
    for kind, name in _SUM_OF_PRODUCT.items():
        names[name][place[product == kind]] = True
    site = product == Product.SITE
    rows = slot[site] * grid.intervals + place[site] % grid.intervals
    return _Tight(names=names, slot=rows, place=place[site])


def _at_edge(model: Model, duals: Duals, backed: Floats) -> Flags:
    """Steps and arcs whose limit is so near the chosen prices that rounding could pass it."""
    market, layout, grid = model.market, model.layout, model.market.grid
    supply, demand = market.supply, market.demand
    theta = grid.theta.repeat(grid.intervals)
    sums = _sums(
        duals.energy,
        duals.power,
        duals.spare,
        duals.availability,
        duals.recall,
        duals.spare * theta / PPM,
        backed,
    )
    found = np.zeros(model.program.objective.size, dtype=np.bool_)
    place = supply.place
    earned = np.where(supply.released, sums["released"][place], sums["sold"][place])
    found[: place.size] = np.abs(earned - supply.price) <= _EDGE
    product = demand.product[demand.arc_cell]
    paid = sums["plain"][demand.arc_place]
    for kind, name in _SUM_OF_PRODUCT.items():
        paid = np.where(product == kind, sums[name][demand.arc_place], paid)
    site = np.flatnonzero(layout.slot_of_arc != NONE)
    interval = demand.interval[demand.arc_cell[site]]
    paid[site] += duals.backup[layout.slot_of_arc[site] * grid.intervals + interval]
    net = demand.arc_value - grid.charge[demand.arc_pool] - paid
    found[layout.arc : layout.arc + net.size] = np.abs(net) <= _EDGE
    return found


def _search(
    model: Model,
    duals: Duals,
    tight: _Tight,
    backed: Floats,
    places: Integers,
    offsets: Integers,
) -> tuple[Integers, ...]:
    """The best integers around the exact parts of some places.

    Args:
        model: Charges and shares of spare.
        duals: Exact prices.
        tight: Sums to meet exactly where they can be.
        backed: Exact site spare price of every place.
        places: Places whose same parts are not zero.
        offsets: What is tried, in the order in which it is preferred.  # (parts, combinations)

    Returns:
        The parts, in the order of ``_PARTS``.
    """
    grid = model.market.grid
    pool = places // grid.intervals
    theta, charge = grid.theta[pool][:, np.newaxis], grid.charge[pool][:, np.newaxis]
    exact = [getattr(duals, name)[places][:, np.newaxis] for name in _PARTS]
    held = backed[places][:, np.newaxis]
    energy, power, spare, availability, recall = exact
    aims = _sums(energy, power, spare, availability, recall, spare * theta / PPM, held)
    about = [_whole(part) for part in exact]
    tried = [part + offset for part, offset in zip(about, offsets, strict=True)]
    cover = share_ppm_each(tried[2].ravel(), np.broadcast_to(theta, tried[2].shape).ravel())
    sums = _sums(
        tried[0],
        tried[1],
        tried[2],
        tried[3],
        tried[4],
        cover.reshape(tried[2].shape),
        _whole(held),
    )
    cost = np.zeros(tried[0].shape, dtype=np.int64)
    for name, values in sums.items():
        paid = name in _PAID
        wanted = _whole(aims[name] + (charge if paid else 0)) - (charge if paid else 0)
        weight = np.where(tight.names[name][places], _HARD if paid else _FIRM, 1)
        cost += np.abs(values - wanted) * weight[:, np.newaxis]
    cost = cost * _DISTANCES + np.abs(offsets[0]) + np.abs(offsets[2])
    above = (tried[0] > duals.cap) & (about[0] <= duals.cap)
    cost[(tried[0] < duals.floor) | above] = _NEVER
    for part in tried[1:]:
        cost[part < 0] = _NEVER
    best = cost.argmin(axis=1)
    rows = np.arange(places.size)
    return tuple(part[rows, best] for part in tried)


def _sums(
    energy: _Series,
    power: _Series,
    spare: _Series,
    availability: _Series,
    recall: _Series,
    cover: _Series,
    site_spare: _Series,
) -> dict[str, _Series]:
    """Sums that orders compare with their limits; surcharge and fee come on top of ``_PAID``."""
    plain = energy + power
    idle = np.maximum(spare, site_spare) - power
    return {
        "sold": energy - np.maximum(idle, 0),
        "released": energy - recall,
        "plain": plain,
        "covered": plain + cover,
        "recalled": plain - recall,
        "reclaimed": plain - recall - availability,
    }


def _round_backup(
    model: Model, duals: Duals, tight: _Tight, plain: Integers, about: Integers
) -> Integers:
    """Backup prices that miss the sums of SITE bids at their limit by least."""
    exact = (duals.energy + duals.power)[tight.place] + duals.backup[tight.slot]
    charge = model.market.grid.charge[tight.place // model.market.grid.intervals]
    wanted = _whole(exact + charge) - charge - plain[tight.place]
    best = np.full(about.size, _NEVER, dtype=np.int64)
    found = about.copy()
    for offset in (0, -1, 1):
        missed = np.zeros(about.size, dtype=np.int64)
        np.add.at(missed, tight.slot, np.abs(about[tight.slot] + offset - wanted))
        better = (missed < best) & (about + offset >= 0) & ((about > 0) | (offset == 0))
        found[better] = about[better] + offset
        best[better] = missed[better]
    return found
