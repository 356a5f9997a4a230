"""Checks of the published prices: their sums, their range, and what step orders allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.checks.accounts import factor_of, taken_in
from clearing.checks.charges import charges_at_prices, demand_of, limit_in
from clearing.checks.covers import drawn
from clearing.checks.curves import find
from clearing.checks.exact import Bools, Ints, half_even, spread, times
from clearing.checks.facts import View
from clearing.checks.menus import Product
from clearing.units import PPM

ROUNDING: Final = 2
"""Micro-USD per interval that prices of two places, rounded apart from each other, may be off."""


SPARE_NODES: Final = 2
"""Nodes that whole-node awards may leave of something scarce, beside one for every award."""


def check_price_parts(view: View) -> Iterator[str]:
    """PRICE_PARTS: every all-in price is the exact sum of its published parts.

    node_cover is theta x spare rounded half-even, site_spare the sum of the backup prices of
    the pool; firm = energy + power + node_cover + surcharge + fee; firm_uncovered leaves
    node_cover out; interruptible_uncounted equals firm_uncovered; interruptible subtracts
    availability and recall_discount. Surcharge and fee are the site's and the auction's.
    Source: DESIGN 4.2, clearing-rules "Prices".
    """
    prices, grid = view.prices, view.book.grid
    plain = prices["energy"] + prices["power"] + prices["surcharge"] + prices["fee"]
    # Parts are at most 10**14 (RANGE), so that sums of all of them fit 63 bits.
    expected = {
        "node_cover": half_even(times(prices["spare"], view.per_place(grid.theta)), PPM),
        "site_spare": view.pair_sum(view.mu),
        "surcharge": view.per_place(grid.surcharge),
        "fee": np.full(grid.places, view.book.book.spec.operator_fee, dtype=np.int64),
        "firm": plain + prices["node_cover"],
        "firm_uncovered": plain,
        "interruptible": plain - prices["availability"] - prices["recall_discount"],
        "interruptible_uncounted": plain,
    }
    for part, values in expected.items():
        for place in np.flatnonzero(prices[part] != values):
            yield f"{grid.name(place)} {part} is {prices[part][place]}, not {values[place]}"


def check_price_range(view: View) -> Iterator[str]:
    """PRICE_RANGE: energy lies between floor and cap, scarcity parts are never negative.

    ``low`` and ``high`` enclose the energy price, inside floor and cap; ``indicative`` says
    that nothing was awarded. A pool without a spare share has no cover price, a site
    without a limit no power price. Source: DESIGN 4.2.
    """
    prices, grid, spec = view.prices, view.book.grid, view.book.book.spec
    ordered = (spec.price_floor <= prices["low"]) & (prices["low"] <= prices["energy"])
    ordered &= (prices["energy"] <= prices["high"]) & (prices["high"] <= spec.price_cap)
    parts = ("power", "node_cover", "spare", "availability", "recall_discount", "site_spare")
    negative = np.zeros(grid.places, dtype=np.bool_)
    for part in parts:
        negative |= prices[part] < 0
    awarded = view.totals.sold + view.totals.delivered > 0
    limit = view.per_place(grid.power_limit[grid.site_of])
    problems: dict[str, Bools] = {
        "has low, energy and high out of order, or beyond floor and cap": ~ordered,
        "has a negative part": negative,
        "prices cover in a pool that holds none": (
            (prices["spare"] != 0) & (view.per_place(grid.theta) == 0)
        ),
        "prices power at a site without a limit": (prices["power"] != 0) & (limit < 0),
        "is wrongly marked as indicative or not": view.published.prices.indicative == awarded,
    }
    for problem, wrong in problems.items():
        for place in np.flatnonzero(wrong):
            yield f"{grid.name(place)} {problem}"


def check_scarcity(view: View) -> Iterator[str]:
    """SCARCITY: a part of a price is there only where its row has nothing to spare.

    What: power where the site has no power left; availability and recall_discount where every
    interruptible that could count does; a backup price where what is held is named. Up to one
    node per award there and two more, because nodes are awarded whole; prices within their
    rounding of zero count as zero. NODE cover is held exactly, which NODE_COVER checks.
    Why: rent for what is not scarce would be taken from those who pay it.
    Source: complementary slackness of the rows in clearing-rules, "Rows".
    """
    totals, prices, grid, taken = view.totals, view.prices, view.book.grid, view.taken
    active = taken.chips + taken.reserve + taken.site_reserve > 0
    awards = spread(taken.place[active], np.ones(int(active.sum()), dtype=np.int64), grid.places)
    node = view.per_place(grid.node)
    slack = (awards + SPARE_NODES) * node
    claimed = totals.reserve + totals.site_reserve + totals.released
    base, traded = drawn(view)
    site = view.per_place(grid.site_of) * view.intervals
    site += np.tile(np.arange(view.intervals), len(grid.pool_ids))
    watts = times(view.per_place(grid.chip_power), node)
    largest = np.zeros(len(base), dtype=watts.dtype)
    np.maximum.at(largest, site, watts)
    left = np.repeat(grid.power_limit, view.intervals) - base - traded
    unused = left > times(largest, view.site_sum(awards) + SPARE_NODES)
    idle = {
        "power": unused[site],
        "availability": totals.reclaimable - totals.reserve > slack,
        "recall_discount": totals.recallable - claimed > slack,
    }
    for part, wrong in idle.items():
        for place in np.flatnonzero(wrong & (prices[part] > ROUNDING)):
            yield f"{grid.name(place)} prices {part}, of which there is plenty"
    at = np.repeat(view.pairs.pool, view.intervals) * view.intervals
    at += np.tile(np.arange(view.intervals), len(view.pairs.pool))
    unnamed = (totals.site_spare + totals.site_reserve)[at] - totals.bids_named - totals.base_named
    for row in np.flatnonzero((unnamed > slack[at]) & (view.mu > ROUNDING)):
        lost = grid.site_ids[view.pairs.site[row // view.intervals]]
        yield f"{grid.name(at[row])} prices a backup of {lost}, of which there is plenty"


def check_link_rule(view: View) -> Iterator[str]:
    """LINK_RULE: a link carries its most where it gains by it, its least where it loses.

    Up to one node, and where the power of the receiving site carries one more; prices of two
    places that differ by no more than their rounding count as equal.
    Source: clearing-rules, "Prices".
    """
    links, grid, flows = view.book.links, view.book.grid, view.published.flow_chips
    if not len(flows):
        return
    at = np.tile(np.arange(view.intervals), len(links.link_ids))
    into, out = (np.repeat(pool, view.intervals) for pool in (links.to_pool, links.from_pool))
    energy = view.prices["energy"]
    rise = energy[into * view.intervals + at] - energy[out * view.intervals + at]
    node = grid.node[into]
    base, traded = drawn(view)
    site = grid.site_of[into]
    limit = grid.power_limit[site]
    used = base[site * view.intervals + at] + traded[site * view.intervals + at]
    room = (limit < 0) | (used + grid.chip_power[into] * node <= limit)
    idle = (rise > ROUNDING) & (flows + node <= links.most) & room
    wasted = (rise < -ROUNDING) & (flows - node >= links.least)
    for row in np.flatnonzero(idle | wasted):
        name = f"{links.link_ids[row // view.intervals]}[{at[row]}]"
        yield f"{name} carries {flows[row]} at a price difference of {rise[row]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranges:
    """Per place the lowest and highest price; ``exact`` where awards say which step is where."""

    low: Ints
    high: Ints
    exact: Bools


def check_price_bounds(view: View) -> Iterator[str]:
    """PRICE_BOUNDS: ``low`` and ``high`` are those that the step orders allow.

    With the other prices held, an offer's step with chips sold wants at least its price, one
    with chips left at most; a bid's step served wants at most its limit less the other parts,
    and one left short in its only pool at least. The published energy price is always inside.
    Offers with a commitment, blocks and work say nothing here. Where a bid for SITE cover, or
    one with several steps and several pools, takes chips, the awards do not say which step is
    served where; there only the enclosure of PRICE_RANGE is checked.
    Source: DESIGN 4.2 ("a product with no award publishes a range").
    """
    found, prices, grid = _ranges(view), view.prices, view.book.grid
    low = np.minimum(found.low, prices["energy"])
    high = np.maximum(found.high, prices["energy"])
    wrong = found.exact & ((prices["low"] != low) | (prices["high"] != high))
    for place in np.flatnonzero(wrong):
        told = f"{prices['low'][place]} to {prices['high'][place]}"
        yield f"{grid.name(place)} has a range of {told}, computed {low[place]} to {high[place]}"


def _ranges(view: View) -> _Ranges:
    book, grid, curves = view.book, view.book.grid, view.curves
    spec = book.book.spec
    found = _Ranges(
        low=np.full(grid.places, spec.price_floor, dtype=np.int64),
        high=np.full(grid.places, spec.price_cap, dtype=np.int64),
        exact=np.ones(grid.places, dtype=np.bool_),
    )
    stop = curves.starts[1]
    sold = taken_in(view, curves.key[:stop])
    cell = curves.cell[: curves.entries[stop]]
    entry = np.flatnonzero(book.unit_of[curves.order[cell]] < 0)
    cell = cell[entry]
    place = book.offer_pool[curves.order[cell]] * view.intervals + curves.interval[cell]
    extra = np.where(book.released[curves.order[cell]], view.prices["recall_discount"][place], 0)
    wants = curves.price[entry] + extra
    left = sold[cell] - curves.before[entry]
    np.maximum.at(found.low, place[left > 0], wants[left > 0])
    short = left < curves.size[entry]
    np.minimum.at(found.high, place[short], wants[short])
    _read_single(view, found)
    _read_several(view, found)
    return found


def other_parts(view: View, product: Ints, place: Ints) -> Ints:
    """All-in price of a product less energy."""
    found: Ints = charges_at_prices(view).products[product, place] - view.prices["energy"][place]
    return found


def _read_single(view: View, found: _Ranges) -> None:
    """Bids with one eligible pool: each of their steps says something."""
    curves, demand = view.curves, demand_of(view)
    begin, stop = curves.starts[1], curves.starts[2]
    taken = taken_in(view, curves.key[begin:stop])
    arcs = np.diff(demand.row_arcs)
    cell = curves.cell[curves.entries[begin] : curves.entries[stop]] - begin
    picked = arcs[demand.of_cell[cell]] == 1
    entry = np.flatnonzero(picked) + curves.entries[begin]
    cell = cell[picked]
    row = demand.of_cell[cell]
    arc = demand.row_arcs[row]
    product = view.menus.product[demand.menu[row]]
    picked = product != Product.SITE
    entry, cell, row, arc, product = (x[picked] for x in (entry, cell, row, arc, product))
    place = demand.place[arc]
    limit = limit_in(curves.price[entry], demand.factor[demand.lanes[row]])
    wants = limit - other_parts(view, product, place)
    left = taken[cell] - curves.before[entry]
    np.minimum.at(found.high, place[left > 0], wants[left > 0])
    short = left < curves.size[entry]
    np.maximum.at(found.low, place[short], wants[short])


def _read_several(view: View, found: _Ranges) -> None:
    """Bids with several pools: where they are served, if the awards say by which step."""
    book, curves, taken = view.book, view.curves, view.taken
    demand = demand_of(view)
    begin, stop = curves.starts[1], curves.starts[2]
    cells = np.flatnonzero((taken.who < book.starts[2]) & ~taken.supply & (taken.chips > 0))
    curve = find(curves.key[begin:stop], taken.key[cells])
    cells, curve = cells[curve >= 0], curve[curve >= 0]
    arcs = np.diff(demand.row_arcs)[demand.of_cell[curve]]
    product = taken.product[cells]
    site = product == Product.SITE
    several = (arcs > 1) | site
    steps = np.diff(curves.entries)[begin:stop][curve]
    unknown = several & (site | (steps > 1))
    found.exact[taken.place[cells[unknown]]] = False
    one = several & ~unknown
    cells, curve, product = cells[one], curve[one], product[one]
    price = curves.price[curves.entries[begin + curve]]
    place = taken.place[cells]
    wants = limit_in(price, factor_of(view, cells)) - other_parts(view, product, place)
    np.minimum.at(found.high, place, wants)
