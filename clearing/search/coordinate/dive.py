"""Deciding blocks one by one at the prices, each with the price that it makes itself.

The prices balance the expected load of everything that is still open. Deciding a block replaces its
expected load by a whole one, and prices would move: by the imbalance divided by the slope of what
is left to answer. An option is therefore worth its value, less its price, less the triangle
that its own imbalance costs. After each round of decisions the dual is solved again.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from clearing.market import Integers
from clearing.program import Floats
from clearing.search.coordinate.baskets import UNREAD, arc_price, soft_least
from clearing.search.coordinate.compiled import compiled, inner
from clearing.search.coordinate.curves import smooth_surplus
from clearing.search.coordinate.dual import Answer
from clearing.search.coordinate.picks import (
    ACCEPTED,
    FILLING,
    OPEN,
    SHUT,
    add_square,
    open_load,
)
from clearing.search.coordinate.problem import TABLES, Baskets, Picks, Problem
from clearing.search.coordinate.room import Room, fits, put

GRID: Final = 19
"""Points of a local price curve, the price itself in the middle."""

_MIDDLE: Final = GRID // 2

_SURE: Final = 20.0
"""Temperatures from its last price at which a basket takes all or nothing."""


class Local(NamedTuple):
    """Imbalance at places and what it costs.

    Attributes:
        excess: Chips of load above what the prices balance.  # (places,)
        offset: Price changes at the points of every curve, as shares of ``ref``.  # (GRID,)
        reach: Excess that balances at a point, rising.  # (places * GRID,)
        toll: What reaching it costs above the price, US dollars.  # (places * GRID,)
        bonus: Tie credit of each alternative at full fill, US dollars.
        fill: Chips decided for each pick's alternative.  # (picks,)
    """

    excess: Floats
    offset: Floats
    reach: Floats
    toll: Floats
    bonus: Floats
    fill: Floats


def new_local(problem: Problem, bonus: Floats) -> Local:
    """No imbalance."""
    count = problem.places.pools * problem.places.intervals
    steps = np.array([0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0])
    return Local(
        excess=np.zeros(count),
        offset=np.concatenate((-steps[::-1], [0.0], steps)),
        reach=np.zeros(count * GRID),
        toll=np.zeros(count * GRID),
        bonus=bonus,
        fill=np.zeros(problem.picks.start.size - 1),
    )


@compiled
def measure(
    problem: Problem,
    x: Floats,
    tau: float,
    answer: Answer,
    slope: Floats,
    round_of: Integers,
    current: int,
    firmness: float,
    own: float,
    local: Local,
) -> None:
    """Start a round: excess as it is, and the price curve of every place from all that stays open.

    Args:
        round_of: Round of each pick; those of ``current`` do not count.
        firmness: Share of a place's supply that answers a price twice as high, at least.
        own: Share of its answer that a basket with several arcs gives at one of them.
    """
    places = problem.places
    count = places.pools * places.intervals
    local.reach[:] = 0.0
    for place in range(count):
        local.excess[place] = -slope[place]
        base = place * GRID
        soft = tau * places.ref[place]
        spare = answer.tables.spare[place]
        recall = answer.tables.recall[place]
        rise = answer.unit_rise[place] + firmness * places.depth[place] / places.ref[place]
        for point in range(GRID):
            change = local.offset[point] * places.ref[place]
            price = x[place] + change
            _, chips, _ = smooth_surplus(problem.supply, place, price - spare, soft)
            _, back, _ = smooth_surplus(problem.released, place, price - recall, soft)
            local.reach[base + point] += chips + back + rise * change
    _measure_baskets(problem, x, tau, answer, own, local)
    _measure_picks(problem, tau, answer, round_of, current, local)
    for place in range(count):
        base = place * GRID
        middle = local.reach[base + _MIDDLE]
        for point in range(GRID):
            local.reach[base + point] -= middle
        for point in range(1, GRID):
            local.reach[base + point] = max(
                local.reach[base + point], local.reach[base + point - 1]
            )
        local.toll[base + _MIDDLE] = 0.0
        for point in range(_MIDDLE + 1, GRID):
            step = local.reach[base + point] - local.reach[base + point - 1]
            mean = 0.5 * (local.offset[point] + local.offset[point - 1]) * places.ref[place]
            local.toll[base + point] = local.toll[base + point - 1] + step * mean
        for point in range(_MIDDLE - 1, -1, -1):
            step = local.reach[base + point + 1] - local.reach[base + point]
            mean = 0.5 * (local.offset[point] + local.offset[point + 1]) * places.ref[place]
            local.toll[base + point] = local.toll[base + point + 1] - step * mean


@inner
def _measure_baskets(
    problem: Problem, x: Floats, tau: float, answer: Answer, own: float, local: Local
) -> None:
    """Take what baskets would ask at each point of the curves of their arcs."""
    places = problem.places
    baskets = problem.baskets
    count = places.pools * places.intervals
    for basket in range(baskets.start.size - 1):
        first = baskets.start[basket]
        stop = baskets.start[basket + 1]
        soft = tau * baskets.scale[basket]
        amount = baskets.step_curve.amount[baskets.step_curve.start[basket + 1] + basket]
        if answer.share[first] == UNREAD:
            soft_least(baskets, basket, answer.tables.price, x, count, soft, answer.share)
        low = np.inf
        for arc in range(first, stop):
            low = min(low, arc_price(baskets, arc, answer.tables.price, x, count))
        for arc in range(first, stop):
            place = baskets.place[arc]
            price = arc_price(baskets, arc, answer.tables.price, x, count)
            others = np.inf
            if stop - first > 1:
                far = (price - low) / soft
                share = math.exp(-far) if far < 40.0 else 0.0
                mass = answer.share[arc]
                if mass >= 1.0 - 1e-12:
                    others = _second(baskets, first, stop, arc, answer.tables.price, x, count)
                else:
                    least = price + soft * math.log(max(mass, 1e-300)) if share > 0.0 else low
                    others = least - soft * math.log(1.0 - mass)
            weight = own if stop - first > 1 else 1.0
            full, none = _ends(baskets, basket, others, soft)
            for point in range(GRID):
                at = price + local.offset[point] * places.ref[place]
                if at > none:
                    break
                if at < full:
                    local.reach[place * GRID + point] -= weight * amount
                    continue
                part = 1.0
                least = at
                if stop - first > 1:
                    over = (at - others) / soft
                    if over > 40.0:
                        continue
                    part = 1.0 / (1.0 + math.exp(max(-40.0, over)))
                    least = at + soft * math.log(part)
                _, chips, _ = smooth_surplus(baskets.step_curve, basket, -least, soft)
                for cell in range(baskets.work_start[basket], baskets.work_start[basket + 1]):
                    group = places.at_work + baskets.work_group[cell]
                    gain = (baskets.work_value[cell] - least - x[group]) / soft
                    if gain > -40.0:
                        chips += baskets.work_rate[cell] / (1.0 + math.exp(-gain))
                local.reach[place * GRID + point] -= weight * part * chips


@inner
def _ends(baskets: Baskets, basket: int, others: float, soft: float) -> tuple[float, float]:
    """Prices of an arc below which the basket takes all it can there, and above which nothing."""
    curve = baskets.step_curve
    first = curve.start[basket]
    stop = curve.start[basket + 1]
    if first == stop or baskets.work_start[basket] < baskets.work_start[basket + 1]:
        return -np.inf, np.inf
    low = min(others, -curve.price[stop - 1])
    high = min(others, -curve.price[first])
    return low - _SURE * soft, high + _SURE * soft


@inner
def _second(
    baskets: Baskets, first: int, stop: int, one: int, price: Floats, x: Floats, count: int
) -> float:
    """Least price of a basket without one of its arcs."""
    low = np.inf
    for arc in range(first, stop):
        if arc != one:
            low = min(low, arc_price(baskets, arc, price, x, count))
    return low


@inner
def _measure_picks(
    problem: Problem,
    tau: float,
    answer: Answer,
    round_of: Integers,
    current: int,
    local: Local,
) -> None:
    """Take the slope of what picks of later rounds would ask."""
    places = problem.places
    picks = problem.picks
    answer.squares[:] = 0.0
    for pick in range(picks.start.size - 1):
        if answer.odds.state[pick] == SHUT or round_of[pick] == current:
            continue
        first = picks.start[pick]
        stop = picks.start[pick + 1]
        if answer.odds.state[pick] == FILLING:
            first = answer.odds.taken[pick]
            stop = first + 1
        for at in range(first, stop):
            part = answer.odds.part[at]
            weight = answer.odds.active[pick] * part
            if weight > 1e-11 and part < 1.0 - 1e-11:
                bend = weight * (1.0 - part) / (tau * picks.scale[pick])
                least, extra, _ = open_load(picks, answer.odds, pick, at)
                add_square(picks, at, least, extra, bend, answer.squares)
    width = places.intervals + 1
    for row in range(TABLES * places.pools):
        total = 0.0
        pool = row % places.pools
        for interval in range(places.intervals):
            total += answer.squares[row * width + interval]
            if total <= 0.0:
                continue
            place = pool * places.intervals + interval
            for point in range(GRID):
                change = local.offset[point] * places.ref[place]
                change = max(
                    -4.0 * tau * places.ref[place], min(4.0 * tau * places.ref[place], change)
                )
                local.reach[place * GRID + point] += total * change


@inner
def toll_of(problem: Problem, local: Local, place: int, excess: float) -> float:
    """What an excess of load at a place costs above its price, US dollars."""
    base = place * GRID
    ref = problem.places.ref[place]
    if excess >= local.reach[base + GRID - 1]:
        beyond = excess - local.reach[base + GRID - 1]
        return local.toll[base + GRID - 1] + 2.0 * beyond * ref * local.offset[GRID - 1]
    if excess <= local.reach[base]:
        beyond = excess - local.reach[base]
        return local.toll[base] + beyond * ref * local.offset[0]
    low = 0
    high = GRID - 1
    while high - low > 1:
        middle = (low + high) // 2
        if local.reach[base + middle] <= excess:
            low = middle
        else:
            high = middle
    step = local.reach[base + high] - local.reach[base + low]
    beyond = excess - local.reach[base + low]
    first = local.offset[low] * ref
    rise = (local.offset[high] - local.offset[low]) * ref
    return local.toll[base + low] + beyond * (first + 0.5 * rise * beyond / step)


@compiled
def decide(
    problem: Problem,
    answer: Answer,
    room: Room,
    local: Local,
    order: Integers,
    start: Integers,
    least_part: float,
) -> int:
    """Decide families one after the other; returns how many picks changed.

    A pick that is open is decided; one that is decided is taken out and decided again.

    Args:
        order: Picks by family, parents before their children.
        start: Families as ranges of ``order``, ragged.
        least_part: Alternatives of an open pick with a smaller share are not looked at.
    """
    picks = problem.picks
    odds = answer.odds
    changed = 0
    for family in range(start.size - 1):
        first = start[family]
        stop = start[family + 1]
        for position in range(first, stop):
            _take_out(problem, answer, room, local, order[position])
        if stop - first > 1:
            _carry_up(problem, answer, room, local, order, first, stop, least_part)
        for position in range(first, stop):
            pick = order[position]
            fresh = odds.state[pick] == OPEN
            before = odds.taken[pick]
            best = -1
            best_fill = 0.0
            parent = picks.parent[pick]
            if parent < 0 or odds.chance[parent] >= ACCEPTED:
                best, _, best_fill = _best_of(
                    problem, answer, room, local, pick, least_part, stop - first > 1
                )
            _record(picks, answer, pick, before, best)
            local.fill[pick] = best_fill
            if best >= 0:
                add_excess(problem, local, best, best_fill)
                put(problem, room, best, 1)
            if best != before or fresh:
                changed += 1
    return changed


@inner
def _take_out(problem: Problem, answer: Answer, room: Room, local: Local, pick: int) -> None:
    """Take the load of a pick, expected or decided, out of the excess."""
    picks = problem.picks
    odds = answer.odds
    if odds.state[pick] == OPEN:
        for at in range(picks.start[pick], picks.start[pick + 1]):
            weight = odds.active[pick] * odds.part[at]
            if weight > 1e-9:
                add_excess(problem, local, at, -weight * (picks.least[at] + picks.extra[at]))
    elif odds.taken[pick] >= 0:
        add_excess(problem, local, odds.taken[pick], -local.fill[pick])
        put(problem, room, odds.taken[pick], -1)


@inner
def _carry_up(
    problem: Problem,
    answer: Answer,
    room: Room,
    local: Local,
    order: Integers,
    first: int,
    stop: int,
    least_part: float,
) -> None:
    """Worth of what could follow each order of a family, at the prices, from the leaves up."""
    picks = problem.picks
    for position in range(first, stop):
        pick = order[position]
        for at in range(picks.start[pick], picks.start[pick + 1]):
            answer.odds.carried[picks.order[at]] = 0.0
    for position in range(stop - 1, first - 1, -1):
        pick = order[position]
        parent = picks.parent[pick]
        if parent >= 0:
            _, gain, _ = _best_of(problem, answer, room, local, pick, least_part, True)
            answer.odds.carried[parent] += gain


@inner
def _best_of(
    problem: Problem,
    answer: Answer,
    room: Room,
    local: Local,
    pick: int,
    least_part: float,
    linked: bool,
) -> tuple[int, float, float]:
    """Best alternative of a pick that fits, or -1, with its gain and fill."""
    picks = problem.picks
    odds = answer.odds
    fresh = odds.state[pick] == OPEN and not linked
    best = -1
    best_gain = 0.0
    best_fill = 0.0
    for at in range(picks.start[pick], picks.start[pick + 1]):
        if fresh and odds.part[at] < least_part:
            continue
        gain, fill = _worth(problem, answer, local, at)
        if linked:
            gain += odds.carried[picks.order[at]]
        if gain > best_gain and fits(problem, room, at):
            best = at
            best_gain = gain
            best_fill = fill
    return best, best_gain, best_fill


@inner
def _record(picks: Picks, answer: Answer, pick: int, before: int, best: int) -> None:
    """Note the decision of a pick."""
    odds = answer.odds
    if before >= 0:
        odds.chance[picks.order[before]] = 0.0
    odds.taken[pick] = best
    odds.state[pick] = SHUT
    if best >= 0:
        odds.chance[picks.order[best]] = ACCEPTED
        if picks.extra[best] > 0.0:
            odds.state[pick] = FILLING


@inner
def add_excess(problem: Problem, local: Local, at: int, chips: float) -> None:
    """Add the load of an alternative to the excess; ``chips`` of its full fill."""
    places = problem.places
    picks = problem.picks
    first = picks.first[at]
    base = picks.pool[at] * places.intervals
    if picks.shape[at] >= 0:
        share = chips / (picks.least[at] + picks.extra[at])
        for interval in range(first, picks.stop[at]):
            shape = picks.shape_chips[picks.shape[at] + interval - first]
            local.excess[base + interval] += share * shape
        return
    for interval in range(first, picks.stop[at]):
        local.excess[base + interval] += chips


@inner
def _worth(problem: Problem, answer: Answer, local: Local, at: int) -> tuple[float, float]:
    """Best gain of an alternative at the prices that it makes itself, and its fill in chips."""
    picks = problem.picks
    full = picks.least[at] + picks.extra[at]
    best = _worth_at(problem, answer, local, at, full)
    fill = full
    if picks.extra[at] > 0.0:
        for part in range(4):
            chips = picks.least[at] + 0.25 * part * picks.extra[at]
            gain = _worth_at(problem, answer, local, at, chips)
            if gain > best:
                best = gain
                fill = chips
    return best, fill


@inner
def _worth_at(problem: Problem, answer: Answer, local: Local, at: int, fill: float) -> float:
    """Gain of an alternative at a fill, in chips."""
    places = problem.places
    picks = problem.picks
    price = answer.tables.price
    count = places.pools * places.intervals
    least = picks.least[at]
    extra = fill - least
    first = picks.first[at]
    base = picks.pool[at] * places.intervals
    high_table = picks.table[at] + picks.rest[at] // (places.pools * (places.intervals + 1))
    total = (picks.worth[at] + local.bonus[at]) * fill / (least + picks.extra[at])
    if picks.slot[at] >= 0:
        slot = picks.slot[at] * (places.intervals + 1)
        slots = answer.tables.slot_running
        total -= fill * (slots[slot + picks.stop[at]] - slots[slot + first])
    for interval in range(first, picks.stop[at]):
        place = base + interval
        chips = fill
        if picks.shape[at] >= 0:
            chips = picks.shape_chips[picks.shape[at] + interval - first]
            total -= chips * price[picks.table[at] * count + place]
        else:
            total -= least * price[picks.table[at] * count + place]
            total -= extra * price[high_table * count + place]
        total -= toll_of(problem, local, place, local.excess[place] + chips)
        total += toll_of(problem, local, place, local.excess[place])
    return total


@compiled
def fix_loads(problem: Problem, answer: Answer, edges: Floats, slot_edges: Floats) -> float:
    """Fixed loads of all decided picks at their least fill; returns their worth, US dollars.

    Args:
        edges, slot_edges: Room for differences, zero.
    """
    picks = problem.picks
    places = problem.places
    odds = answer.odds
    width = places.intervals + 1
    total = 0.0
    answer.fixed_used[:] = 0.0
    answer.fixed_load[:] = 0.0
    edges[:] = 0.0
    slot_edges[:] = 0.0
    for pick in range(odds.state.size):
        at = odds.taken[pick]
        if odds.state[pick] == OPEN or at < 0:
            continue
        least = picks.least[at]
        total += picks.worth[at] * least / (least + picks.extra[at])
        base = (picks.table[at] * places.pools + picks.pool[at]) * width
        if picks.shape[at] >= 0:
            for interval in range(picks.first[at], picks.stop[at]):
                chips = picks.shape_chips[picks.shape[at] + interval - picks.first[at]]
                edges[base + interval] += chips
                edges[base + interval + 1] -= chips
        else:
            edges[base + picks.first[at]] += least
            edges[base + picks.stop[at]] -= least
        if picks.slot[at] >= 0:
            slot = picks.slot[at] * width
            slot_edges[slot + picks.first[at]] += least
            slot_edges[slot + picks.stop[at]] -= least
    for row in range(TABLES * places.pools):
        load = 0.0
        for interval in range(places.intervals):
            load += edges[row * width + interval]
            answer.fixed_used[row * places.intervals + interval] = load
    for slot in range(places.slot_pool.size):
        load = 0.0
        for interval in range(places.intervals):
            load += slot_edges[slot * width + interval]
            row = places.slot_row[slot * places.intervals + interval]
            if row >= 0:
                answer.fixed_load[row] = load
    return total
