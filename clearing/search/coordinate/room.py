"""Whether decided blocks fit, in whole nodes: supply, spare for cover, backups and site power.

What is decided must leave the problem feasible with every divisible order at zero. At a place, with
``y`` the recallable interruptibles that released base load does not carry,

``max(firm + y, least sales of units) + cover + max(0, backups - y) <= offered``

where cover is theta of the covered chips rounded up to a node, and backups are the most that
any one lost site asks for. Recallable interruptibles may stand in for backups; that
interruptibles may stand in for NODE cover is left to what is divisible.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from clearing.market import Integers, Market
from clearing.program import Floats
from clearing.search.coordinate.compiled import compiled, inner
from clearing.search.coordinate.problem import COVERED, RECALL, Picks, Places, Problem
from clearing.search.coordinate.reading import chips_per_node


class Room(NamedTuple):
    """Loads of decided blocks, nodes.

    Attributes:
        node: Chips per node.  # (places,)
        offered: Supply of offers that are on, with what links bring and take.  # (places,)
        released: Released base load.  # (places,)
        least: Sales that units which are on must make.  # (places,)
        firm, recallable: Delivered.  # (places,)
        covered: Chips with NODE cover, base load included.  # (places,)
        waived: Cover that base load goes without.  # (places,)
        named: Nodes that name each slot, by multiplier row.  # (size,)
        backup: The most of them at a place.  # (places,)
        power: Kilowatts left.  # (power rows,)
    """

    node: Integers
    offered: Integers
    released: Integers
    least: Integers
    firm: Integers
    recallable: Integers
    covered: Floats
    waived: Integers
    named: Integers
    backup: Integers
    power: Floats


def new_room(market: Market, problem: Problem, waived: Floats) -> Room:
    """Nothing decided; units off, links and named backups of base load still to be placed.

    Args:
        waived: Nodes of NODE cover that base load goes without, per place.
    """
    node = chips_per_node(market)
    places = problem.places
    count = market.grid.places
    offered = np.round(places.offered / node).astype(np.int64)
    return Room(
        node=node,
        offered=offered,
        released=market.released.copy(),
        least=np.zeros(count, dtype=np.int64),
        firm=np.zeros(count, dtype=np.int64),
        recallable=np.zeros(count, dtype=np.int64),
        covered=market.base.covered.astype(np.float64),
        waived=np.floor(waived + 1e-6).astype(np.int64),
        named=np.zeros(places.size, dtype=np.int64),
        backup=np.zeros(count, dtype=np.int64),
        power=places.room.copy(),
    )


@inner
def cover_nodes(places: Places, room: Room, place: int, covered: float) -> int:
    """Whole nodes of spare that covered chips ask for."""
    if covered <= 0.0:
        return 0
    asked = math.ceil(places.theta[place] * covered / room.node[place] - 1e-9)
    return max(0, asked - room.waived[place])


@inner
def _need(
    places: Places,
    room: Room,
    place: int,
    firm: int,
    recallable: int,
    covered: float,
    backup: int,
) -> tuple[int, int]:
    """Nodes of supply, and nodes that draw power."""
    carried = max(0, recallable - room.released[place])
    spare = cover_nodes(places, room, place, covered) + max(0, backup - carried)
    supply = max(firm + carried, room.least[place]) + spare
    return supply, firm + recallable + spare


@compiled
def place_need(places: Places, room: Room, place: int) -> int:
    """Nodes of supply that is promised at a place."""
    supply, _ = _need(
        places,
        room,
        place,
        room.firm[place],
        room.recallable[place],
        room.covered[place],
        room.backup[place],
    )
    return supply


@inner
def _fits_at(
    places: Places,
    room: Room,
    place: int,
    firm: int,
    recallable: int,
    covered: float,
    backup: int,
) -> tuple[bool, float]:
    """Whether more load fits at a place, and the kilowatts that it draws."""
    before, drawn_before = _need(
        places,
        room,
        place,
        room.firm[place],
        room.recallable[place],
        room.covered[place],
        room.backup[place],
    )
    after, drawn = _need(
        places,
        room,
        place,
        room.firm[place] + firm,
        room.recallable[place] + recallable,
        room.covered[place] + covered,
        max(room.backup[place], backup),
    )
    power = (drawn - drawn_before) * room.node[place] * places.kilowatts[place]
    return after <= max(before, room.offered[place]), power


@inner
def fits(problem: Problem, room: Room, at: int) -> bool:
    """Whether an alternative at its least fill fits beside what is decided."""
    places = problem.places
    picks = problem.picks
    for interval in range(picks.first[at], picks.stop[at]):
        place = picks.pool[at] * places.intervals + interval
        chips = _chips(picks, at, interval)
        nodes = int(round(chips / room.node[place]))
        firm, recallable, covered = _kinds(picks, at, nodes, chips)
        fit, power = _fits_at(places, room, place, firm, recallable, covered, 0)
        if not fit:
            return False
        limit = places.limit_of[place]
        if picks.slot[at] >= 0:
            row = places.slot_row[picks.slot[at] * places.intervals + interval]
            other = _backup_place(places, picks.slot[at], interval)
            fit, more = _fits_at(places, room, other, 0, 0, 0.0, room.named[row] + nodes)
            if not fit:
                return False
            beyond = places.limit_of[other]
            if beyond >= 0 and more > 0.0 and more > room.power[beyond] + 1e-6:
                return False
        if limit >= 0 and power > 0.0 and power > room.power[limit] + 1e-6:
            return False
    return True


@inner
def _chips(picks: Picks, at: int, interval: int) -> float:
    """Chips of an alternative at its least fill in an interval."""
    if picks.shape[at] >= 0:
        return picks.shape_chips[picks.shape[at] + interval - picks.first[at]]
    return picks.least[at]


@inner
def _kinds(picks: Picks, at: int, nodes: int, chips: float) -> tuple[int, int, float]:
    """Firm nodes, recallable nodes and covered chips of a load."""
    if picks.table[at] == RECALL:
        return 0, nodes, 0.0
    if picks.table[at] == COVERED:
        return nodes, 0, chips
    return nodes, 0, 0.0


@inner
def _backup_place(places: Places, slot: int, interval: int) -> int:
    """Where a slot's backups stand."""
    return places.slot_pool[slot] * places.intervals + interval


@inner
def put(problem: Problem, room: Room, at: int, sign: int) -> None:
    """Add (1) or take away (-1) an alternative at its least fill."""
    places = problem.places
    picks = problem.picks
    for interval in range(picks.first[at], picks.stop[at]):
        place = picks.pool[at] * places.intervals + interval
        chips = _chips(picks, at, interval)
        nodes = int(round(chips / room.node[place]))
        firm, recallable, covered = _kinds(picks, at, nodes, chips)
        _change(places, room, place, sign * firm, sign * recallable, sign * covered)
        if picks.slot[at] >= 0:
            row = places.slot_row[picks.slot[at] * places.intervals + interval]
            other = _backup_place(places, picks.slot[at], interval)
            room.named[row] += sign * nodes
            change_backup(places, room, other)


@inner
def _change(
    places: Places, room: Room, place: int, firm: int, recallable: int, covered: float
) -> None:
    _, before = _need(
        places,
        room,
        place,
        room.firm[place],
        room.recallable[place],
        room.covered[place],
        room.backup[place],
    )
    room.firm[place] += firm
    room.recallable[place] += recallable
    room.covered[place] += covered
    _, after = _need(
        places,
        room,
        place,
        room.firm[place],
        room.recallable[place],
        room.covered[place],
        room.backup[place],
    )
    limit = places.limit_of[place]
    if limit >= 0:
        room.power[limit] -= (after - before) * room.node[place] * places.kilowatts[place]


@compiled
def change_backup(places: Places, room: Room, place: int) -> None:
    """The most that any lost site asks for, after a change of ``named``."""
    most = 0
    for row in range(places.row_start[place], places.row_start[place + 1]):
        most = max(most, room.named[row])
    _, before = _need(
        places,
        room,
        place,
        room.firm[place],
        room.recallable[place],
        room.covered[place],
        room.backup[place],
    )
    room.backup[place] = most
    _, after = _need(
        places,
        room,
        place,
        room.firm[place],
        room.recallable[place],
        room.covered[place],
        room.backup[place],
    )
    limit = places.limit_of[place]
    if limit >= 0:
        room.power[limit] -= (after - before) * room.node[place] * places.kilowatts[place]


@compiled
def open_room(places: Places, room: Room) -> None:
    """Take the spare that base load asks for out of site power."""
    for place in range(room.node.size):
        limit = places.limit_of[place]
        if limit >= 0:
            _, drawn = _need(places, room, place, 0, 0, room.covered[place], room.backup[place])
            room.power[limit] -= drawn * room.node[place] * places.kilowatts[place]
