"""The dual of the clearing problem: its value at given multipliers, smoothed or exact.

Every order answers the multipliers alone; the sum of their best answers and of what the rows have
left
over is a bound on the objective for any multipliers of the right sign. The smoothed value lies
above it,
is convex and has a continuous slope, so it can be minimised by Newton's method.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from clearing.market import Integers
from clearing.program import Floats
from clearing.search.coordinate.baskets import exact_baskets, move_baskets, respond_baskets
from clearing.search.coordinate.compiled import compiled, copy_into, inner
from clearing.search.coordinate.curves import smooth_surplus, surplus_at
from clearing.search.coordinate.picks import (
    Loose,
    Odds,
    exact_picks,
    list_undecided,
    move_picks,
    new_loose,
    new_odds,
    respond_picks,
)
from clearing.search.coordinate.problem import COVERED, RECALL, RECLAIM, TABLES, Problem
from clearing.search.coordinate.tables import (
    Tables,
    fill_moves,
    fill_tables,
    new_tables,
    run_up,
    run_up_slots,
)
from clearing.search.coordinate.units import Runs, move_units, new_runs, respond_units


class Answer(NamedTuple):
    """What the market does at one point, and how it moves.

    Attributes:
        tables, odds, runs: Prices, block choices and unit plans.
        soft: Smoothing of the maxima at places.  # (places,)
        fixed_used, fixed_load: Loads that are decided: chips by table and place, and per slot
            multiplier.
        used, bend: Chips delivered by table and place, and their fall per dollar.
        load: Chips per slot multiplier; chip-intervals per work multiplier.
        sold, rise: Sales of divisible supply per place, and their rise per dollar.
        back, back_rise: The same of released base load.
        unit_sold, unit_held, unit_rise: The same of units that are on, and their spare chips.
        share, taken, slope, work_slope: Of baskets.
        flow, flow_rise: Chips of links, and their rise per dollar of difference.
        backed: Share of each candidate in the named backups of base load.
        edges, squares, slot_edges, running, slot_running: Room for differences and sums.
        loose: Picks that still move.
        moving: Baskets that still move; the last entry holds their number.
    """

    tables: Tables
    odds: Odds
    runs: Runs
    soft: Floats
    fixed_used: Floats
    fixed_load: Floats
    used: Floats
    bend: Floats
    load: Floats
    sold: Floats
    rise: Floats
    back: Floats
    back_rise: Floats
    unit_sold: Floats
    unit_held: Floats
    unit_rise: Floats
    share: Floats
    taken: Floats
    slope: Floats
    work_slope: Floats
    flow: Floats
    flow_rise: Floats
    backed: Floats
    edges: Floats
    squares: Floats
    slot_edges: Floats
    running: Floats
    slot_running: Floats
    shift: Floats
    carried: Floats
    chance: Floats
    moves: Floats
    move_spare: Floats
    move_recall: Floats
    move_held: Floats
    loose: Loose
    moving: Integers


def new_answer(problem: Problem) -> Answer:
    """Room for the answers of a problem, with nothing decided."""
    places, baskets, picks, flows = (problem.places, problem.baskets, problem.picks, problem.flows)
    count = places.pools * places.intervals
    width = places.intervals + 1
    per_place = [np.zeros(count) for _ in range(11)]
    by_table = [np.zeros(TABLES * count) for _ in range(4)]
    edges = [np.zeros(TABLES * places.pools * width) for _ in range(3)]
    slots = [np.zeros(places.slot_pool.size * width) for _ in range(2)]
    return Answer(
        tables=new_tables(places),
        odds=new_odds(picks),
        runs=new_runs(problem.units, places.intervals),
        soft=per_place[0],
        fixed_used=by_table[0],
        fixed_load=np.zeros(places.size),
        used=by_table[1],
        bend=by_table[2],
        load=np.zeros(places.size),
        sold=per_place[1],
        rise=per_place[2],
        back=per_place[3],
        back_rise=per_place[4],
        unit_sold=per_place[5],
        unit_held=per_place[6],
        unit_rise=per_place[7],
        share=np.zeros(baskets.table.size),
        taken=np.zeros(baskets.scale.size),
        slope=np.zeros(baskets.scale.size),
        work_slope=np.zeros(baskets.work_value.size),
        flow=np.zeros(flows.least.size),
        flow_rise=np.zeros(flows.least.size),
        backed=np.zeros(flows.backed_row.size),
        edges=edges[0],
        squares=edges[1],
        slot_edges=slots[0],
        running=edges[2],
        slot_running=slots[1],
        shift=np.zeros(picks.order.size),
        carried=np.zeros(picks.orders),
        chance=np.zeros(picks.orders),
        moves=by_table[3],
        move_spare=per_place[8],
        move_recall=per_place[9],
        move_held=per_place[10],
        loose=new_loose(picks),
        moving=np.zeros(baskets.scale.size + 1, dtype=np.int64),
    )


@compiled
def evaluate(problem: Problem, x: Floats, tau: float, answer: Answer, slope: Floats) -> float:
    """Smoothed value at ``x``, and its gradient in ``slope``; fills ``answer``."""
    places = problem.places
    count = places.pools * places.intervals
    fill_tables(places, x, answer.soft, answer.tables)
    copy_into(answer.used, answer.fixed_used)
    copy_into(answer.load, answer.fixed_load)
    answer.bend[:] = 0.0
    total = 0.0
    for at in range(TABLES * count):
        total -= answer.fixed_used[at] * answer.tables.price[at]
    for row in range(places.at_slot, places.at_power):
        total -= answer.fixed_load[row] * x[row]
    total += respond_baskets(
        problem,
        answer.tables.price,
        x,
        tau,
        answer.used,
        answer.bend,
        answer.load,
        answer.share,
        answer.taken,
        answer.slope,
        answer.work_slope,
        answer.moving,
    )
    answer.edges[:] = 0.0
    answer.squares[:] = 0.0
    answer.slot_edges[:] = 0.0
    total += respond_picks(
        problem, answer.tables, tau, answer.odds, answer.edges, answer.slot_edges, answer.squares
    )
    spread(problem, answer.edges, answer.used)
    spread(problem, answer.squares, answer.bend)
    spread_slots(problem, answer.slot_edges, answer.load)
    total += _respond_supply(problem, x, tau, answer)
    answer.unit_sold[:] = 0.0
    answer.unit_held[:] = 0.0
    answer.unit_rise[:] = 0.0
    total += respond_units(
        problem,
        x,
        answer.tables.spare,
        tau,
        answer.runs,
        answer.unit_sold,
        answer.unit_held,
        answer.unit_rise,
    )
    slope[:] = 0.0
    total += _respond_flows(problem, x, answer, slope)
    total += _add_rows(problem, x, answer, slope)
    list_undecided(problem.picks, answer.odds, tau, answer.loose)
    return total


@inner
def spread(problem: Problem, edges: Floats, loads: Floats) -> None:
    """Add differences over intervals to loads by table and place."""
    intervals = problem.places.intervals
    at = 0
    for row in range(TABLES * problem.places.pools):
        total = 0.0
        for interval in range(intervals):
            total += edges[at + interval]
            loads[row * intervals + interval] += total
        at += intervals + 1


@inner
def spread_slots(problem: Problem, edges: Floats, load: Floats) -> None:
    """Add differences over intervals to the load of slots."""
    places = problem.places
    at = 0
    for slot in range(places.slot_pool.size):
        total = 0.0
        for interval in range(places.intervals):
            total += edges[at + interval]
            row = places.slot_row[slot * places.intervals + interval]
            if row >= 0:
                load[row] += total
        at += places.intervals + 1


@inner
def _respond_supply(problem: Problem, x: Floats, tau: float, answer: Answer) -> float:
    places = problem.places
    count = places.pools * places.intervals
    total = 0.0
    for place in range(count):
        soft = tau * places.ref[place]
        spare = answer.tables.spare[place]
        value, chips, rise = smooth_surplus(problem.supply, place, x[place] - spare, soft)
        total += value + spare * places.offered[place]
        answer.sold[place] = chips
        answer.rise[place] = rise
        at = x[place] - answer.tables.recall[place]
        value, chips, rise = smooth_surplus(problem.released, place, at, soft)
        total += value
        answer.back[place] = chips
        answer.back_rise[place] = rise
    return total


@inner
def _respond_flows(problem: Problem, x: Floats, answer: Answer, slope: Floats) -> float:
    """Links and named backups; their loads go straight into the gradient."""
    flows = problem.flows
    total = 0.0
    for link in range(flows.least.size):
        source = flows.source[link]
        target = flows.target[link]
        soft = answer.soft[source]
        over = (x[target] - x[source]) / soft
        room = flows.most[link] - flows.least[link]
        part = 1.0 / (1.0 + math.exp(-over)) if over > -40.0 else 0.0
        total += flows.least[link] * (x[target] - x[source])
        total += room * soft * (math.log1p(math.exp(-abs(over))) + max(0.0, over))
        answer.flow[link] = flows.least[link] + room * part
        answer.flow_rise[link] = room * part * (1.0 - part) / soft
        slope[target] += answer.flow[link]
        slope[source] -= answer.flow[link]
    for held in range(flows.backed_chips.size):
        first = flows.backed_start[held]
        stop = flows.backed_start[held + 1]
        low = np.inf
        for at in range(first, stop):
            low = min(low, x[flows.backed_row[at]])
        soft = _backing_soft(answer)
        mass = 0.0
        for at in range(first, stop):
            answer.backed[at] = math.exp(-(x[flows.backed_row[at]] - low) / soft)
            mass += answer.backed[at]
        for at in range(first, stop):
            answer.backed[at] /= mass
            slope[flows.backed_row[at]] -= flows.backed_chips[held] * answer.backed[at]
        total -= flows.backed_chips[held] * (low - soft * math.log(mass))
    return total


@inner
def _backing_soft(answer: Answer) -> float:
    """One temperature for all named backups of base load."""
    return answer.soft[0]


@inner
def _add_rows(problem: Problem, x: Floats, answer: Answer, slope: Floats) -> float:
    """What rows have left over, times their multipliers; the gradient is added to ``slope``."""
    places = problem.places
    tables = answer.tables
    count = places.pools * places.intervals
    total = 0.0
    for place in range(count):
        reclaimable = answer.used[RECLAIM * count + place]
        taken = 0.0
        for table in range(TABLES):
            taken += answer.used[table * count + place]
        sold = answer.sold[place] + answer.back[place] + answer.unit_sold[place]
        slope[place] += sold - taken
        spare = places.offered[place] - answer.sold[place] + answer.unit_held[place]
        node = tables.node_share[place] * spare
        site = tables.site_share[place] * spare
        counted = tables.owed[place] * reclaimable
        slope[count + place] += (
            node
            + counted
            - places.theta[place] * answer.used[COVERED * count + place]
            - places.base_cover[place]
        )
        total -= x[count + place] * places.base_cover[place]
        if places.recalled[place]:
            left = answer.used[RECALL * count + place] + reclaimable - answer.back[place] - counted
            slope[2 * count + place] += left
            site += left
        for row in range(places.row_start[place], places.row_start[place + 1]):
            slope[row] += site
        if places.recalled[place]:
            site -= left
        limit = places.limit_of[place]
        if limit >= 0:
            slope[places.at_power + limit] -= places.kilowatts[place] * (taken + node + site)
    for limit in range(places.room.size):
        slope[places.at_power + limit] += places.room[limit]
        total += x[places.at_power + limit] * places.room[limit]
    for row in range(places.at_slot, places.at_power):
        slope[row] -= answer.load[row]
    for group in range(problem.work_chips.size):
        row = places.at_work + group
        slope[row] += problem.work_chips[group] - answer.load[row]
        total += x[row] * problem.work_chips[group]
    return total


@inner
def curve_along(
    problem: Problem, tau: float, answer: Answer, direction: Floats, result: Floats
) -> None:
    """Second derivative at the last evaluated point along a direction."""
    places = problem.places
    tables = answer.tables
    fill_moves(places, direction, tables, answer.moves, answer.move_spare, answer.move_recall)
    used = answer.bend  # room: the curvatures are no longer needed once CG runs
    used[:] = 0.0
    load = answer.load
    load[:] = 0.0
    move_baskets(
        problem,
        answer.moves,
        direction,
        tau,
        answer.share,
        answer.taken,
        answer.slope,
        answer.work_slope,
        answer.moving,
        used,
        load,
    )
    run_up(places, answer.moves, answer.running)
    run_up_slots(places, direction, answer.slot_running)
    answer.edges[:] = 0.0
    answer.slot_edges[:] = 0.0
    move_picks(
        problem,
        answer.running,
        answer.slot_running,
        tau,
        answer.odds,
        answer.loose,
        answer.shift,
        answer.carried,
        answer.chance,
        answer.edges,
        answer.slot_edges,
    )
    spread(problem, answer.edges, used)
    spread_slots(problem, answer.slot_edges, load)
    unit_sold = answer.unit_sold
    unit_held = answer.move_held
    unit_sold[:] = 0.0
    unit_held[:] = 0.0
    move_units(problem, direction, answer.move_spare, tau, answer.runs, unit_sold, unit_held)
    result[:] = 0.0
    _move_flows(problem, direction, answer, result)
    _move_rows(problem, direction, answer, used, load, unit_sold, unit_held, result)


@inner
def _move_flows(problem: Problem, direction: Floats, answer: Answer, result: Floats) -> None:
    flows = problem.flows
    for link in range(flows.least.size):
        source = flows.source[link]
        target = flows.target[link]
        shift = answer.flow_rise[link] * (direction[target] - direction[source])
        result[target] += shift
        result[source] -= shift
    soft = _backing_soft(answer) if flows.backed_chips.size > 0 else 1.0
    for held in range(flows.backed_chips.size):
        mean = 0.0
        for at in range(flows.backed_start[held], flows.backed_start[held + 1]):
            mean += answer.backed[at] * direction[flows.backed_row[at]]
        for at in range(flows.backed_start[held], flows.backed_start[held + 1]):
            row = flows.backed_row[at]
            result[row] += (
                flows.backed_chips[held] * answer.backed[at] * (direction[row] - mean) / soft
            )


@inner
def _move_rows(
    problem: Problem,
    direction: Floats,
    answer: Answer,
    used: Floats,
    load: Floats,
    unit_sold: Floats,
    unit_held: Floats,
    result: Floats,
) -> None:
    places = problem.places
    tables = answer.tables
    count = places.pools * places.intervals
    for place in range(count):
        move_spare = answer.move_spare[place]
        move_recall = answer.move_recall[place]
        mu = direction[count + place]
        sold = answer.rise[place] * (direction[place] - move_spare)
        back = answer.back_rise[place] * (direction[place] - move_recall)
        taken = 0.0
        for table in range(TABLES):
            taken += used[table * count + place]
        result[place] += sold + back + unit_sold[place] - taken
        spare = places.offered[place] - answer.sold[place] + answer.unit_held[place]
        shift = unit_held[place] - sold
        limit = places.limit_of[place]
        power = 0.0
        if limit >= 0:
            power = places.kilowatts[place] * direction[places.at_power + limit]
        soft = answer.soft[place]
        node_share = tables.node_share[place]
        site_share = tables.site_share[place]
        node = node_share * (shift + spare * (mu - power - move_spare) / soft)
        site = 0.0
        if site_share > 0.0:
            slots = _slot_move(problem, place, direction)
            site = site_share * (shift + spare * (slots - power - move_spare) / soft)
        owed = tables.owed[place]
        counted = owed * used[RECLAIM * count + place]
        if places.recalled[place]:
            counted += (
                answer.used[RECLAIM * count + place]
                * owed
                * (1.0 - owed)
                * (mu - move_recall)
                / soft
            )
        result[count + place] += (
            node + counted - places.theta[place] * used[COVERED * count + place]
        )
        if limit >= 0:
            result[places.at_power + limit] -= places.kilowatts[place] * (taken + node + site)
        if places.recalled[place]:
            left = used[RECALL * count + place] + used[RECLAIM * count + place] - back - counted
            result[2 * count + place] += left
            site += left
        for row in range(places.row_start[place], places.row_start[place + 1]):
            result[row] += site
    for row in range(places.at_slot, places.at_power):
        result[row] -= load[row]
    for row in range(places.at_work, places.size):
        result[row] -= load[row]


@inner
def _slot_move(problem: Problem, place: int, direction: Floats) -> float:
    places = problem.places
    total = 0.0
    for row in range(places.row_start[place], places.row_start[place + 1]):
        total += direction[row]
    return total


def exact_value(problem: Problem, x: Floats, answer: Answer) -> float:
    """Exact dual value at ``x`` of everything that is open: a bound on what it can reach.

    Decided loads count at their prices, without their worth. ``answer.soft`` is left at zero
    and ``answer.tables`` hold the exact prices afterwards.
    """
    answer.soft[:] = 0.0
    fill_tables(problem.places, x, answer.soft, answer.tables)
    return exact_baskets(problem, answer.tables.price, x) + _exact_rest(problem, x, answer)


@compiled
def _exact_rest(problem: Problem, x: Floats, answer: Answer) -> float:
    """All but divisible demand, at tables that are filled."""
    places = problem.places
    count = places.pools * places.intervals
    tables = answer.tables
    total = exact_picks(problem, tables, answer.odds, answer.carried)
    for at in range(TABLES * count):
        total -= answer.fixed_used[at] * tables.price[at]
    for row in range(places.at_slot, places.at_power):
        total -= answer.fixed_load[row] * x[row]
    for place in range(count):
        spare = tables.spare[place]
        total += surplus_at(problem.supply, place, x[place] - spare)
        total += spare * places.offered[place]
        total += surplus_at(problem.released, place, x[place] - tables.recall[place])
        total -= x[count + place] * places.base_cover[place]
    answer.unit_sold[:] = 0.0
    answer.unit_held[:] = 0.0
    answer.unit_rise[:] = 0.0
    total += respond_units(
        problem,
        x,
        tables.spare,
        0.0,
        answer.runs,
        answer.unit_sold,
        answer.unit_held,
        answer.unit_rise,
    )
    flows = problem.flows
    for link in range(flows.least.size):
        over = x[flows.target[link]] - x[flows.source[link]]
        total += max(flows.least[link] * over, flows.most[link] * over)
    for held in range(flows.backed_chips.size):
        low = np.inf
        for at in range(flows.backed_start[held], flows.backed_start[held + 1]):
            low = min(low, x[flows.backed_row[at]])
        total -= flows.backed_chips[held] * low
    for limit in range(places.room.size):
        total += x[places.at_power + limit] * places.room[limit]
    return total
