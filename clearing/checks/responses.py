"""Best responses of divisible orders at the published prices, by interval.

Everything here answers: how many chips would the order sell or take, at least and at most,
if it had the choice. A step exactly at the price may go either way.
Source: GOLDEN "Settlement per order kind", clearing-rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing.checks.accounts import on_intervals, taken_in
from clearing.checks.charges import Charges, charges_at_prices, demand_of, lane_charges, nets
from clearing.checks.exact import Bools, Ints, dot, expand, plus, sum_runs, times, total, zeros
from clearing.checks.facts import View
from clearing.checks.prices import ROUNDING
from clearing.units import PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """Per cell: chips taken, and least and most of the best response.

    Attributes:
        bound: Cells to which the rule applies.
    """

    taken: Ints
    least: Ints
    most: Ints
    bound: Bools


def offers_at_prices(view: View) -> Response:
    """Chips that each offer would sell in each of its cells; made once per view.

    Sale and spare are compared across two prices that were rounded apart from each other,
    and the spare price is only as exact as theta x spare in whole micro-USD; a difference
    below that counts as none. An offer with a commitment sells ``min_chips`` at least where
    it is on, a whole one everything, and is not held to this rule where it is off.
    """
    known = view.memory.get("offers")
    if isinstance(known, Response):
        return known
    book, curves, charges = view.book, view.curves, charges_at_prices(view)
    stop = curves.starts[1]
    cell = curves.cell[: curves.entries[stop]]
    owner = curves.order[cell]
    place = book.offer_pool[owner] * view.intervals + curves.interval[cell]
    released = book.released[owner]
    earns = np.where(released, charges.released[place], charges.supply[place])
    idle = np.where(released, 0, charges.idle[place])
    theta = view.per_place(book.grid.theta)
    priced = (theta > 0) & (view.prices["spare"] != 0)
    blur = np.where(priced, 2 + PPM // np.maximum(1, theta), 0)
    blur = np.where(~priced & (view.prices["site_spare"] != 0), 2, blur)[place]
    gain = earns - curves.price[: len(cell)]
    size = curves.size[: len(cell)]
    offsets = curves.entries[: stop + 1]
    least = sum_runs(offsets, np.where(gain > idle + blur, size, 0))
    most = sum_runs(offsets, np.where(gain >= np.maximum(0, idle - blur), size, 0))
    unit = book.unit_of[curves.order[:stop]]
    bound = np.ones(stop, dtype=np.bool_)
    committed = np.flatnonzero(unit >= 0)
    if len(committed):
        own = unit[committed]
        on = on_intervals(view)[own, curves.interval[committed]]
        whole = book.units.whole[own]
        floor = np.where(whole, curves.chips[committed], book.units.min_chips[own])
        least[committed] = np.maximum(least[committed], floor)
        most[committed] = np.maximum(most[committed], floor)
        bound[committed] = on
    found = Response(taken=taken_in(view, curves.key[:stop]), least=least, most=most, bound=bound)
    view.memory["offers"] = found
    return found


def step_nets(view: View, charges: Charges) -> Ints:
    """Per entry of a step bid: its limit less what its best pool charges."""
    curves, demand = view.curves, demand_of(view)
    begin, stop = curves.starts[1], curves.starts[2]
    entries = slice(curves.entries[begin], curves.entries[stop])
    row = demand.of_cell[curves.cell[entries] - begin]
    return nets(charges, demand, lane_charges(charges, demand), row, curves.price[entries])


def work_nets(view: View, charges: Charges) -> Ints:
    """Per work cell: the limit less what its best pool charges in that interval."""
    demand = demand_of(view)
    price = view.book.works.limit[view.work_cells.work]
    return nets(charges, demand, lane_charges(charges, demand), demand.of_work, price)


def bids_at_prices(view: View) -> tuple[Response, Ints]:
    """Chips that each step bid would take in each of its cells, and the net of each entry."""
    known = view.memory.get("bids")
    if isinstance(known, tuple):
        return known
    curves = view.curves
    begin, stop = curves.starts[1], curves.starts[2]
    net = step_nets(view, charges_at_prices(view))
    offsets = curves.entries[begin : stop + 1] - curves.entries[begin]
    size = curves.size[curves.entries[begin] : curves.entries[stop]]
    found = Response(
        taken=taken_in(view, curves.key[begin:stop]),
        least=sum_runs(offsets, np.where(net > 0, size, 0)),
        most=sum_runs(offsets, np.where(net >= 0, size, 0)),
        bound=np.ones(stop - begin, dtype=np.bool_),
    )
    view.memory["bids"] = (found, net)
    return found, net


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkResponse:
    """Work bids at the prices.

    Attributes:
        cells: Per cell, as of a step bid: full where the gain is above that of the last
            interval that the work reaches, nothing where it is below.
        net: Per cell: gain of a chip.
        wanted: Chip-intervals of each bid: its work.
        least, most: Chip-intervals of its best response in all.
        done: Chip-intervals that it has.
    """

    cells: Response
    net: Ints
    wanted: Ints
    least: Ints
    most: Ints
    done: Ints


def works_at_prices(view: View) -> WorkResponse:
    """The best intervals of each work bid first, up to its rate, until its work is done."""
    known = view.memory.get("works")
    if isinstance(known, WorkResponse):
        return known
    works, cells = view.book.works, view.work_cells
    net = work_nets(view, charges_at_prices(view))
    rate = works.max_chips[cells.work]
    wanted = works.work // view.book.grid.duration_s
    order = np.lexsort((-net, cells.work))
    before = zeros(len(net))
    before[order] = expand(np.diff(cells.cells))[1]
    # The gain of the interval in which the work runs out; zero where it does not.
    reached = before * rate < wanted[cells.work]
    last = np.full(len(works.work), np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(last, cells.work[reached], net[reached])
    runs_out = np.diff(cells.cells) * works.max_chips >= wanted
    margin = np.where(runs_out, np.maximum(0, last), 0)[cells.work]
    taken = taken_in(view, cells.key)
    full = sum_runs(cells.cells, np.where(net > 0, rate, 0))
    even = sum_runs(cells.cells, np.where(net >= 0, rate, 0))
    found = WorkResponse(
        cells=Response(
            taken=taken,
            least=np.where(net > margin + ROUNDING, rate, 0),
            most=np.where(net >= np.maximum(0, margin - ROUNDING), rate, 0),
            bound=np.ones(len(net), dtype=np.bool_),
        ),
        net=net,
        wanted=wanted,
        least=np.minimum(wanted, full),
        most=np.minimum(wanted, even),
        done=sum_runs(cells.cells, taken),
    )
    view.memory["works"] = found
    return found


def best_of_offers(view: View, charges: Charges) -> int:
    """Largest surplus of all offers without a commitment: per chip sold, spare or idle."""
    book, curves = view.book, view.curves
    cell = curves.cell[: curves.entries[curves.starts[1]]]
    entry = np.flatnonzero(book.unit_of[curves.order[cell]] < 0)
    cell = cell[entry]
    owner = curves.order[cell]
    place = book.offer_pool[owner] * view.intervals + curves.interval[cell]
    released = book.released[owner]
    earns = np.where(released, charges.released[place], charges.supply[place])
    gain = plus(earns, -times(curves.price[entry], charges.scale))
    best = np.maximum(gain, np.where(released, 0, charges.idle[place]))
    return dot(best, curves.size[entry])


def best_of_bids(view: View, charges: Charges) -> int:
    """Largest surplus of all step bids: per step its best pool, or nothing."""
    curves = view.curves
    size = curves.size[curves.entries[curves.starts[1]] : curves.entries[curves.starts[2]]]
    return dot(np.maximum(0, step_nets(view, charges)), size)


def best_of_works(view: View, charges: Charges) -> int:
    """Largest surplus of all work bids: their best intervals first."""
    works, cells = view.book.works, view.work_cells
    net = np.maximum(0, work_nets(view, charges))
    rank = np.unique(net, return_inverse=True)[1].reshape(-1) if len(net) else zeros(0)
    before = zeros(len(net))
    before[np.lexsort((-rank, cells.work))] = expand(np.diff(cells.cells))[1]
    wanted = (works.work // view.book.grid.duration_s)[cells.work]
    rate = works.max_chips[cells.work]
    chips = np.clip(wanted - before * rate, 0, rate)
    return total(times(net, chips))
