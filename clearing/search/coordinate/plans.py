"""Deciding what is not a block: offers with a commitment, link flows, backups of base load.

They come before the blocks, because they say how much room blocks have. A unit is decided by its
exact dynamic program at the prices, less what its own sales would do to them; it stays on wherever
what is already promised would not fit without it.
"""

from __future__ import annotations

import numpy as np

from clearing.market import Integers, Market
from clearing.search.coordinate.compiled import compiled, inner
from clearing.search.coordinate.dive import Local, toll_of
from clearing.search.coordinate.dual import Answer
from clearing.search.coordinate.problem import COVERED, Problem
from clearing.search.coordinate.room import Room, change_backup, place_need
from clearing.search.coordinate.units import choose_runs

_MUST = 1e15


def add_units(problem: Problem, room: Room) -> None:
    """Count all units as on."""
    units, intervals = problem.units, problem.places.intervals
    place = units.pool[:, None] * intervals + np.arange(intervals)
    flat = place.ravel()
    nodes = np.round(units.offered / room.node[flat]).astype(np.int64)
    least = np.round(units.least / room.node[flat]).astype(np.int64)
    forced = np.where(units.whole.repeat(intervals), nodes, least)
    np.add.at(room.offered, flat, nodes)
    np.add.at(room.least, flat, np.where(nodes > 0, forced, 0))


@compiled
def decide_units(
    problem: Problem, answer: Answer, room: Room, local: Local, order: Integers
) -> int:
    """Decide units in the given order; returns how many are on somewhere.

    A unit whose decisions are taken is decided again. ``answer.runs.gain`` and the chips beside
    it are those of the last evaluated point.
    """
    units = problem.units
    runs = answer.runs
    intervals = problem.places.intervals
    count = 0
    for position in range(order.size):
        unit = order[position]
        for interval in range(intervals):
            at = unit * intervals + interval
            place = units.pool[unit] * intervals + interval
            if runs.fixed[unit] == 1 and runs.on[at] == 0.0 and units.offered[at] > 0.0:
                _switch(problem, room, unit, interval, 1)
            local.excess[place] += runs.on[at] * runs.sold[at]
            if units.offered[at] == 0.0:
                continue
            before = toll_of(problem, local, place, local.excess[place])
            after = toll_of(problem, local, place, local.excess[place] - runs.sold[at])
            runs.gain[at] -= after - before
            if not _may_switch_off(problem, room, unit, interval):
                runs.gain[at] += _MUST
        if units.whole[unit]:
            total = -units.start_up[unit]
            for interval in range(intervals):
                at = unit * intervals + interval
                if units.offered[at] > 0.0:
                    total += runs.gain[at]
            for interval in range(intervals):
                at = unit * intervals + interval
                runs.on[at] = 1.0 if total > 0.0 and units.offered[at] > 0.0 else 0.0
        else:
            choose_runs(units, unit, intervals, 0.0, runs)
        runs.fixed[unit] = 1
        used = False
        for interval in range(intervals):
            at = unit * intervals + interval
            place = units.pool[unit] * intervals + interval
            local.excess[place] -= runs.on[at] * runs.sold[at]
            if runs.on[at] > 0.0:
                used = True
            elif units.offered[at] > 0.0:
                _switch(problem, room, unit, interval, -1)
        if used:
            count += 1
    return count


@inner
def _switch(problem: Problem, room: Room, unit: int, interval: int, sign: int) -> None:
    """Count a unit as on (1) or off (-1) in an interval."""
    units = problem.units
    at = unit * problem.places.intervals + interval
    place = units.pool[unit] * problem.places.intervals + interval
    nodes = int(round(units.offered[at] / room.node[place]))
    least = nodes if units.whole[unit] else int(round(units.least[at] / room.node[place]))
    room.offered[place] += sign * nodes
    room.least[place] += sign * least


@inner
def _may_switch_off(problem: Problem, room: Room, unit: int, interval: int) -> bool:
    """Whether what is promised at the place fits without the unit, or no worse than with it."""
    place = problem.units.pool[unit] * problem.places.intervals + interval
    over = max(0, place_need(problem.places, room, place) - room.offered[place])
    _switch(problem, room, unit, interval, -1)
    fits = place_need(problem.places, room, place) - room.offered[place] <= over
    _switch(problem, room, unit, interval, 1)
    return fits


@compiled
def move_links(problem: Problem, answer: Answer, room: Room, flow: Integers) -> None:
    """Move decided flows (nodes) towards the expected ones as far as both sides' promises allow."""
    flows = problem.flows
    for link in range(flows.least.size):
        source = flows.source[link]
        target = flows.target[link]
        wanted = int(round(answer.flow[link] / room.node[source]))
        change = wanted - flow[link]
        if change > 0:
            spare = room.offered[source] - place_need(problem.places, room, source)
            change = max(0, min(change, spare))
        elif change < 0:
            spare = room.offered[target] - place_need(problem.places, room, target)
            change = -max(0, min(-change, spare))
        flow[link] += change
        room.offered[source] -= change
        room.offered[target] += change


def start_links(problem: Problem, room: Room) -> Integers:
    """Flows nearest to nothing."""
    flows = problem.flows
    node = room.node[flows.source]
    flow = np.clip(0, np.round(flows.least / node), np.round(flows.most / node)).astype(np.int64)
    np.subtract.at(room.offered, flows.source, flow)
    np.add.at(room.offered, flows.target, flow)
    return flow


def name_backups(market: Market, problem: Problem, answer: Answer, room: Room) -> None:
    """Name backups of base load: candidates by their expected share, as far as each has room."""
    places, flows = problem.places, problem.flows
    intervals = places.intervals
    for held in range(flows.backed_chips.size):
        first, stop = int(flows.backed_start[held]), int(flows.backed_start[held + 1])
        interval = int(market.base.backed_place[held]) % intervals
        order = first + np.argsort(-answer.backed[first:stop], kind="stable")
        backup = market.base.backed_pool * intervals + interval
        left = int(np.ceil(flows.backed_chips[held] / room.node[market.base.backed_place[held]]))
        for position, at in enumerate(order.tolist()):
            row, place = int(flows.backed_row[at]), int(backup[at])
            spare = room.offered[place] - place_need(places, room, place)
            spare += room.backup[place] - room.named[row]
            nodes = min(left, max(0, int(spare)))
            if position == order.size - 1:
                nodes = left
            room.named[row] += nodes
            left -= nodes
            change_backup(places, room, place)


def drop_unsold(problem: Problem, answer: Answer, room: Room) -> None:
    """Switch off units whose least sales might find nobody, where nothing may be left over."""
    order = np.argsort(problem.units.scale, kind="stable")
    _drop_unsold(problem, answer, room, order, _divisible_nodes(problem, room))


@compiled
def _drop_unsold(
    problem: Problem, answer: Answer, room: Room, order: Integers, thirst: Integers
) -> None:
    units, intervals, on = problem.units, problem.places.intervals, answer.runs.on
    for position in range(order.size):
        unit = order[position]
        unsold = False
        for interval in range(intervals):
            place = units.pool[unit] * intervals + interval
            taken = room.firm[place] + room.recallable[place] + thirst[place]
            if on[unit * intervals + interval] > 0.0 and room.least[place] > taken:
                unsold = True
        for interval in range(intervals):
            if unsold and on[unit * intervals + interval] > 0.0:
                unsold = _may_switch_off(problem, room, unit, interval)
        for interval in range(intervals):
            at = unit * intervals + interval
            if unsold and on[at] > 0.0:
                _switch(problem, room, unit, interval, -1)
                on[at] = 0.0


def _divisible_nodes(problem: Problem, room: Room) -> Integers:
    """Nodes that divisible bids with no other place to go could take, at whatever price."""
    baskets, places = problem.baskets, problem.places
    first = baskets.start[:-1]
    alone = np.diff(baskets.start) == 1
    cover = (baskets.table[first] == COVERED) & (places.theta[baskets.place[first]] > 0)
    curves = baskets.step_curve
    chips = curves.amount[curves.start[1:] + np.arange(first.size)]
    kept = alone & ~cover & (baskets.row[first] < 0)
    total = np.bincount(baskets.place[first][kept], weights=chips[kept], minlength=room.node.size)
    return np.floor(total / room.node + 1e-9).astype(np.int64)
