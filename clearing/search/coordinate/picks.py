"""Block bids: which alternative each pick takes at the prices, smoothed or exactly.

A pick is one soft choice between its alternatives and nothing; what the picks below an order are
worth is part of the worth of that order's alternatives, so a linked tree is one soft dynamic
program from the leaves up and from the root down.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from clearing.market import Integers
from clearing.program import Floats
from clearing.search.coordinate.compiled import inner
from clearing.search.coordinate.problem import Indices, Picks, Places, Problem
from clearing.search.coordinate.tables import Tables

OPEN: Final = 0
"""All alternatives of the pick are open."""
SHUT: Final = 1
"""Decided: its load, if any, is part of the fixed load."""
FILLING: Final = 2
"""One alternative is chosen and its least chips are fixed load; the chips above are open."""

ACCEPTED: Final = 2.0
"""Chance of an order that is decided and accepted."""

SURE: Final = 1e-11
"""A smaller share is none."""

UNMOVED: Final = 1e-6
"""A share nearer to none or all does not count in the second derivative."""


class Odds(NamedTuple):
    """Smoothed choices.

    Attributes:
        state: ``OPEN``, ``SHUT`` or ``FILLING`` per pick.
        taken: Chosen alternative of a pick that is not open, or -1.
        part: Share of each alternative within its pick.  # (alternatives,)
        active: Share in which the pick is active at all.  # (picks,)
        carried: Worth of the picks below an order.  # (orders,)
        chance: Share in which an order is accepted.  # (orders,)
    """

    state: Integers
    taken: Integers
    part: Floats
    active: Floats
    carried: Floats
    chance: Floats


def new_odds(picks: Picks) -> Odds:
    """Everything open."""
    count = picks.start.size - 1
    return Odds(
        state=np.zeros(count, dtype=np.int64),
        taken=np.full(count, -1, dtype=np.int64),
        part=np.zeros(picks.order.size),
        active=np.ones(count),
        carried=np.zeros(picks.orders),
        chance=np.zeros(picks.orders),
    )


@inner
def run_cost(
    places: Places,
    picks: Picks,
    at: int,
    running: Floats,
    slot_running: Floats,
    least: float,
    extra: float,
) -> float:
    """Price of ``least`` and ``extra`` chips of an alternative over its run."""
    low = picks.low[at]
    high = picks.high[at]
    if picks.plain[at]:
        return (least + extra) * (running[high] - running[low])
    total = 0.0
    if picks.shape[at] >= 0:
        shape = picks.shape[at]
        for interval in range(high - low):
            chips = picks.shape_chips[shape + interval]
            total += chips * (running[low + interval + 1] - running[low + interval])
        return total
    rest = picks.rest[at]
    total += least * (running[high] - running[low])
    total += extra * (running[high + rest] - running[low + rest])
    if picks.slot[at] >= 0:
        slot = picks.slot[at] * (places.intervals + 1)
        first = slot + picks.first[at]
        stop = slot + picks.stop[at]
        total += (least + extra) * (slot_running[stop] - slot_running[first])
    return total


@inner
def add_run(
    places: Places,
    picks: Picks,
    at: int,
    least: float,
    extra: float,
    weight: float,
    edges: Floats,
    slot_edges: Floats,
) -> None:
    """Add the load of an alternative to differences over intervals (laid out like ``running``)."""
    low = picks.low[at]
    high = picks.high[at]
    if picks.plain[at]:
        edges[low] += weight * (least + extra)
        edges[high] -= weight * (least + extra)
        return
    if picks.shape[at] >= 0:
        shape = picks.shape[at]
        for interval in range(high - low):
            chips = weight * picks.shape_chips[shape + interval]
            edges[low + interval] += chips
            edges[low + interval + 1] -= chips
        return
    rest = picks.rest[at]
    edges[low] += weight * least
    edges[high] -= weight * least
    edges[low + rest] += weight * extra
    edges[high + rest] -= weight * extra
    if picks.slot[at] >= 0:
        slot = picks.slot[at] * (places.intervals + 1)
        slot_edges[slot + picks.first[at]] += weight * (least + extra)
        slot_edges[slot + picks.stop[at]] -= weight * (least + extra)


@inner
def add_square(
    picks: Picks, at: int, least: float, extra: float, weight: float, edges: Floats
) -> None:
    """Add ``weight`` times the squared load of an alternative to differences over intervals."""
    low = picks.low[at]
    high = picks.high[at]
    if picks.shape[at] >= 0:
        shape = picks.shape[at]
        for interval in range(high - low):
            chips = picks.shape_chips[shape + interval]
            edges[low + interval] += weight * chips * chips
            edges[low + interval + 1] -= weight * chips * chips
        return
    rest = picks.rest[at]
    if rest == 0:
        least += extra
    elif extra > 0.0:
        edges[low + rest] += weight * extra * extra
        edges[high + rest] -= weight * extra * extra
    edges[low] += weight * least * least
    edges[high] -= weight * least * least


@inner
def open_range(picks: Picks, odds: Odds, pick: int) -> tuple[int, int]:
    """Alternatives of a pick that are open."""
    if odds.state[pick] == FILLING:
        return odds.taken[pick], odds.taken[pick] + 1
    return picks.start[pick], picks.start[pick + 1]


@inner
def open_load(picks: Picks, odds: Odds, pick: int, at: int) -> tuple[float, float, float]:
    """Least and extra chips of an alternative that are open, and their worth."""
    if odds.state[pick] == FILLING:
        extra = picks.extra[at]
        return 0.0, extra, picks.worth[at] * extra / picks.chips[at]
    if picks.plain[at]:
        return picks.chips[at], 0.0, picks.worth[at]
    return picks.least[at], picks.extra[at], picks.worth[at]


@inner
def respond_picks(
    problem: Problem,
    tables: Tables,
    tau: float,
    odds: Odds,
    edges: Floats,
    slot_edges: Floats,
    squares: Floats,
) -> float:
    """Surplus of all picks; loads and curvatures are added as differences over intervals."""
    places = problem.places
    picks = problem.picks
    total = 0.0
    for pick in range(picks.start.size - 1):
        if picks.linked[pick] or odds.state[pick] == SHUT:
            continue
        if picks.simple[pick] and odds.state[pick] == OPEN:
            total += _respond_simple(picks, pick, tau, tables.running, odds.part, edges, squares)
            continue
        total += _soften(places, picks, tables, tau * picks.scale[pick], odds, pick)
        _add_pick(places, picks, odds, pick, 1.0, tau, edges, slot_edges, squares)
    odds.carried[:] = 0.0
    for position in range(picks.down.size - 1, -1, -1):
        pick = picks.down[position]
        if odds.state[pick] == SHUT:
            continue
        value = _soften(places, picks, tables, tau * picks.scale[pick], odds, pick)
        if hangs(picks, odds, pick):
            odds.carried[picks.parent[pick]] += value
        else:
            total += value
    for position in range(picks.down.size):
        pick = picks.down[position]
        if odds.state[pick] == SHUT:
            continue
        active = 1.0
        if hangs(picks, odds, pick):
            active = odds.chance[picks.parent[pick]]
        _add_pick(places, picks, odds, pick, active, tau, edges, slot_edges, squares)
    return total


@inner
def _respond_simple(
    picks: Picks,
    pick: int,
    tau: float,
    running: Floats,
    part: Floats,
    edges: Floats,
    squares: Floats,
) -> float:
    """All of an open pick that stands alone and whose alternatives are plain: the common case."""
    first = picks.start[pick]
    stop = picks.start[pick + 1]
    soft = tau * picks.scale[pick]
    best = 0.0
    for at in range(first, stop):
        cost = picks.chips[at] * (running[picks.high[at]] - running[picks.low[at]])
        part[at] = picks.worth[at] - cost
        best = max(best, part[at])
    mass = math.exp(-best / soft)
    for at in range(first, stop):
        far = (part[at] - best) / soft
        part[at] = math.exp(far) if far > -30.0 else 0.0
        mass += part[at]
    for at in range(first, stop):
        weight = part[at] / mass
        part[at] = weight
        if weight < SURE:
            continue
        low = picks.low[at]
        high = picks.high[at]
        load = weight * picks.chips[at]
        edges[low] += load
        edges[high] -= load
        if weight < 1.0 - SURE:
            bend = load * picks.chips[at] * (1.0 - weight) / soft
            squares[low] += bend
            squares[high] -= bend
    return best + soft * math.log(mass)


@inner
def _add_pick(
    places: Places,
    picks: Picks,
    odds: Odds,
    pick: int,
    active: float,
    tau: float,
    edges: Floats,
    slot_edges: Floats,
    squares: Floats,
) -> None:
    """Add the load of a pick whose shares are known."""
    odds.active[pick] = active
    soft = tau * picks.scale[pick]
    first, stop = open_range(picks, odds, pick)
    counted = picks.linked[pick] and odds.state[pick] == OPEN
    if counted:
        for at in range(first, stop):
            odds.chance[picks.order[at]] = 0.0
    for at in range(first, stop):
        part = odds.part[at]
        weight = active * part
        if counted:
            odds.chance[picks.order[at]] += weight
        if weight < SURE:
            continue
        least, extra, _ = open_load(picks, odds, pick, at)
        add_run(places, picks, at, least, extra, weight, edges, slot_edges)
        if part < 1.0 - SURE:
            bend = weight * (1.0 - part) / soft
            add_square(picks, at, least, extra, bend, squares)


@inner
def hangs(picks: Picks, odds: Odds, pick: int) -> bool:
    """An open pick whose parent is open too."""
    parent = picks.parent[pick]
    return parent >= 0 and odds.state[pick] == OPEN and odds.chance[parent] < ACCEPTED


@inner
def _soften(
    places: Places, picks: Picks, tables: Tables, soft: float, odds: Odds, pick: int
) -> float:
    """Smoothed value of a pick; fills the shares of its alternatives."""
    first, stop = open_range(picks, odds, pick)
    carries = picks.linked[pick] and odds.state[pick] == OPEN
    best = 0.0
    for at in range(first, stop):
        least, extra, worth = open_load(picks, odds, pick, at)
        gain = worth - run_cost(
            places, picks, at, tables.running, tables.slot_running, least, extra
        )
        if carries:
            gain += odds.carried[picks.order[at]]
        odds.part[at] = gain
        best = max(best, gain)
    mass = math.exp(-best / soft)
    for at in range(first, stop):
        far = (odds.part[at] - best) / soft
        odds.part[at] = math.exp(far) if far > -30.0 else 0.0
        mass += odds.part[at]
    for at in range(first, stop):
        odds.part[at] /= mass
    return best + soft * math.log(mass)


class Loose(NamedTuple):
    """Simple picks whose shares still move, packed: what a direction has to read.

    Attributes:
        size: Number of picks, one entry.
        start: Alternatives of each, ragged; those with a share to speak of.
        soft: Temperature of each, US dollars.
        low, high, chips, part: As in ``Picks`` and ``Odds``.
        shift: Room.
        other: Picks that are not simple; the last entry is their number.
    """

    size: Integers
    start: Integers
    soft: Floats
    low: Indices
    high: Indices
    chips: Floats
    part: Floats
    shift: Floats
    other: Integers


def new_loose(picks: Picks) -> Loose:
    """Room for all picks."""
    count, alternatives = picks.start.size - 1, picks.order.size
    return Loose(
        size=np.zeros(1, dtype=np.int64),
        start=np.zeros(count + 1, dtype=np.int64),
        soft=np.zeros(count),
        low=np.zeros(alternatives, dtype=np.int32),
        high=np.zeros(alternatives, dtype=np.int32),
        chips=np.zeros(alternatives),
        part=np.zeros(alternatives),
        shift=np.zeros(alternatives),
        other=np.zeros(count + 1, dtype=np.int64),
    )


@inner
def list_undecided(picks: Picks, odds: Odds, tau: float, loose: Loose) -> None:
    """Pack the picks that stand alone and whose shares still move."""
    size = 0
    count = 0
    others = 0
    for pick in range(picks.start.size - 1):
        if picks.linked[pick] or odds.state[pick] == SHUT:
            continue
        first, stop = open_range(picks, odds, pick)
        most = 0.0
        mass = 0.0
        for at in range(first, stop):
            most = max(most, odds.part[at])
            mass += odds.part[at]
        if mass < UNMOVED or most > 1.0 - UNMOVED:
            continue
        if not picks.simple[pick] or odds.state[pick] != OPEN:
            loose.other[others] = pick
            others += 1
            continue
        for at in range(first, stop):
            if odds.part[at] > UNMOVED:
                loose.low[size] = picks.low[at]
                loose.high[size] = picks.high[at]
                loose.chips[size] = picks.chips[at]
                loose.part[size] = odds.part[at]
                size += 1
        loose.soft[count] = tau * picks.scale[pick]
        count += 1
        loose.start[count] = size
    loose.size[0] = count
    loose.other[-1] = others


@inner
def _move_loose(loose: Loose, running: Floats, edges: Floats) -> None:
    """How the loads of the packed picks change."""
    for pick in range(loose.size[0]):
        first = loose.start[pick]
        stop = loose.start[pick + 1]
        mean = 0.0
        for at in range(first, stop):
            gain = loose.chips[at] * (running[loose.low[at]] - running[loose.high[at]])
            loose.shift[at] = gain
            mean += loose.part[at] * gain
        sharp = 1.0 / loose.soft[pick]
        for at in range(first, stop):
            load = loose.chips[at] * loose.part[at] * (loose.shift[at] - mean) * sharp
            edges[loose.low[at]] += load
            edges[loose.high[at]] -= load


@inner
def move_picks(
    problem: Problem,
    running: Floats,
    slot_running: Floats,
    tau: float,
    odds: Odds,
    loose: Loose,
    shift: Floats,
    carried: Floats,
    chance: Floats,
    edges: Floats,
    slot_edges: Floats,
) -> None:
    """How the loads of all picks change along a direction.

    Args:
        running, slot_running: Running sums of the moves of prices.
        loose: As ``list_undecided`` fills it.
        shift: Room per alternative.
        carried, chance: Room per order.
    """
    places = problem.places
    picks = problem.picks
    _move_loose(loose, running, edges)
    for position in range(loose.other[-1]):
        pick = loose.other[position]
        _shift_pick(places, picks, odds, pick, tau, running, slot_running, carried, shift)
        _add_shift(places, picks, odds, pick, 0.0, shift, chance, edges, slot_edges)
    for position in range(picks.down.size - 1, -1, -1):
        pick = picks.down[position]
        if odds.state[pick] == SHUT:
            continue
        if odds.state[pick] == OPEN:
            for at in range(picks.start[pick], picks.start[pick + 1]):
                chance[picks.order[at]] = 0.0
        mean = _shift_pick(places, picks, odds, pick, tau, running, slot_running, carried, shift)
        if odds.state[pick] == OPEN:
            for at in range(picks.start[pick], picks.start[pick + 1]):
                carried[picks.order[at]] = 0.0
        if hangs(picks, odds, pick):
            carried[picks.parent[pick]] += mean
    for position in range(picks.down.size):
        pick = picks.down[position]
        if odds.state[pick] == SHUT:
            continue
        moved = 0.0
        if hangs(picks, odds, pick):
            moved = chance[picks.parent[pick]]
        _add_shift(places, picks, odds, pick, moved, shift, chance, edges, slot_edges)


@inner
def _shift_pick(
    places: Places,
    picks: Picks,
    odds: Odds,
    pick: int,
    tau: float,
    running: Floats,
    slot_running: Floats,
    carried: Floats,
    shift: Floats,
) -> float:
    """How the shares of a pick change; returns how its value does."""
    first, stop = open_range(picks, odds, pick)
    carries = picks.linked[pick] and odds.state[pick] == OPEN
    mean = 0.0
    for at in range(first, stop):
        if odds.part[at] < UNMOVED:
            continue
        least, extra, _ = open_load(picks, odds, pick, at)
        gain = -run_cost(places, picks, at, running, slot_running, least, extra)
        if carries:
            gain += carried[picks.order[at]]
        shift[at] = gain
        mean += odds.part[at] * gain
    soft = tau * picks.scale[pick]
    for at in range(first, stop):
        if odds.part[at] >= UNMOVED:
            shift[at] = odds.part[at] * (shift[at] - mean) / soft
    return mean


@inner
def _add_shift(
    places: Places,
    picks: Picks,
    odds: Odds,
    pick: int,
    moved: float,
    shift: Floats,
    chance: Floats,
    edges: Floats,
    slot_edges: Floats,
) -> None:
    """Add the change of a pick's load; ``moved`` is the change of its being active."""
    first, stop = open_range(picks, odds, pick)
    counted = picks.linked[pick] and odds.state[pick] == OPEN
    for at in range(first, stop):
        if odds.part[at] < UNMOVED:
            continue
        weight = odds.active[pick] * shift[at] + moved * odds.part[at]
        if counted:
            chance[picks.order[at]] += weight
        least, extra, _ = open_load(picks, odds, pick, at)
        add_run(places, picks, at, least, extra, weight, edges, slot_edges)


@inner
def exact_picks(problem: Problem, tables: Tables, odds: Odds, carried: Floats) -> float:
    """Exact best response of everything that is open; ``carried`` is room per order."""
    picks = problem.picks
    total = 0.0
    for pick in range(picks.start.size - 1):
        if not picks.linked[pick] and odds.state[pick] != SHUT:
            total += _exact_pick(problem, tables, odds, carried, pick)
    carried[:] = 0.0
    for position in range(picks.down.size - 1, -1, -1):
        pick = picks.down[position]
        if odds.state[pick] == SHUT:
            continue
        best = _exact_pick(problem, tables, odds, carried, pick)
        if hangs(picks, odds, pick):
            carried[picks.parent[pick]] += best
        else:
            total += best
    return total


@inner
def _exact_pick(problem: Problem, tables: Tables, odds: Odds, carried: Floats, pick: int) -> float:
    picks = problem.picks
    carries = picks.linked[pick] and odds.state[pick] == OPEN
    first, stop = open_range(picks, odds, pick)
    best = 0.0
    for at in range(first, stop):
        least, extra, worth = open_load(picks, odds, pick, at)
        gain = worth - run_cost(
            problem.places, picks, at, tables.running, tables.slot_running, least, extra
        )
        if carries:
            gain += carried[picks.order[at]]
        best = max(best, gain)
    return best
