"""What everything costs at given multipliers, and how loads on places act back on the multipliers.

At a place with multipliers pi, mu, xb, those of its slots and nu of its site (w = kilowatts * nu):

* lambda_b = sum of slots + xb; lambda_a = what is missing to mu, max(0, mu - lambda_b);
* a spare chip earns max(0, mu - w, sum of slots - w);
* delivered chips pay pi + w, with NODE cover theta mu more, recallable lambda_b less,
  reclaimable node by node lambda_b + lambda_a less.

Both maxima are smoothed over ``soft``, unless nothing but mu is there: then they are mu itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from clearing.program import Floats
from clearing.search.coordinate.compiled import compiled, inner
from clearing.search.coordinate.problem import (
    COVERED,
    PLAIN,
    RECALL,
    RECLAIM,
    TABLES,
    Places,
)


class Tables(NamedTuple):
    """Prices at one point, US dollars per chip-hour.

    Attributes:
        price: By table and place, flat.  # (tables * places,)
        running: Running sums of ``price`` over the intervals of each pool.
            # (tables * pools * (intervals + 1),)
        slot_running: The same of the slots' multipliers.  # (slots * (intervals + 1),)
        spare: What a spare chip earns.  # (places,)
        node_share, site_share: How it moves with mu and with the slots.
        recall: lambda_b.  # (places,)
        owed: How lambda_a moves with mu.  # (places,)
    """

    price: Floats
    running: Floats
    slot_running: Floats
    spare: Floats
    node_share: Floats
    site_share: Floats
    recall: Floats
    owed: Floats


def new_tables(places: Places) -> Tables:
    """Room for the tables of a problem."""
    count = places.pools * places.intervals
    width = places.intervals + 1
    return Tables(
        price=np.zeros(TABLES * count),
        running=np.zeros(TABLES * places.pools * width),
        slot_running=np.zeros(places.slot_pool.size * width),
        spare=np.zeros(count),
        node_share=np.zeros(count),
        site_share=np.zeros(count),
        recall=np.zeros(count),
        owed=np.zeros(count),
    )


@compiled
def fill_tables(places: Places, x: Floats, soft: Floats, tables: Tables) -> None:
    """Tables at ``x``; a ``soft`` of zero at a place takes the maxima exactly."""
    count = places.pools * places.intervals
    for place in range(count):
        pi = x[place]
        mu = x[count + place]
        site = 0.0
        slotted = False
        for row in range(places.row_start[place], places.row_start[place + 1]):
            site += x[row]
            slotted = True
        limit = places.limit_of[place]
        power = 0.0
        if limit >= 0:
            power = places.kilowatts[place] * x[places.at_power + limit]
        recall = 0.0
        owed = mu
        moves = 1.0
        if places.recalled[place]:
            recall = site + x[2 * count + place]
            owed, moves = _soft_max(mu - recall, soft[place])
        tables.recall[place] = recall
        tables.owed[place] = moves
        _fill_spare(places, place, mu, site, power, slotted, soft[place], tables)
        tables.price[PLAIN * count + place] = pi + power
        tables.price[COVERED * count + place] = pi + power + places.theta[place] * mu
        tables.price[RECALL * count + place] = pi + power - recall
        tables.price[RECLAIM * count + place] = pi + power - recall - owed
    run_up(places, tables.price, tables.running)
    run_up_slots(places, x, tables.slot_running)


@inner
def _soft_max(value: float, soft: float) -> tuple[float, float]:
    """max(0, value), smoothed, and its slope."""
    if soft <= 0.0 or value > 40.0 * soft:
        return (value, 1.0) if value > 0.0 else (0.0, 0.0)
    if value < -40.0 * soft:
        return 0.0, 0.0
    grown = math.exp(value / soft)
    return soft * math.log1p(grown), grown / (1.0 + grown)


@inner
def _fill_spare(
    places: Places,
    place: int,
    mu: float,
    site: float,
    power: float,
    slotted: bool,
    soft: float,
    tables: Tables,
) -> None:
    """What a spare chip earns, and its shares."""
    count = places.pools * places.intervals
    covered = places.open[count + place]
    node_share = 0.0
    site_share = 0.0
    spare = 0.0
    if not slotted:
        if places.limit_of[place] < 0:
            spare, node_share = mu, 1.0
        elif covered:
            spare, node_share = _soft_max(mu - power, soft)
    elif not covered:
        spare, site_share = _soft_max(site - power, soft)
    else:
        top = max(mu, site)
        lift = 0.0
        if soft > 0.0:
            grown = math.exp((mu - top) / soft)
            other = math.exp((site - top) / soft)
            lift = soft * math.log(grown + other)
            node_share = grown / (grown + other)
        elif mu >= site:
            node_share = 1.0
        site_share = 1.0 - node_share
        spare, moves = _soft_max(top + lift - power, soft)
        node_share *= moves
        site_share *= moves
    tables.spare[place] = spare
    tables.node_share[place] = node_share
    tables.site_share[place] = site_share


@inner
def run_up(places: Places, price: Floats, running: Floats) -> None:
    """Running sums over the intervals of each table and pool."""
    at = 0
    for row in range(TABLES * places.pools):
        total = 0.0
        running[at] = 0.0
        at += 1
        for interval in range(places.intervals):
            total += price[row * places.intervals + interval]
            running[at] = total
            at += 1


@inner
def run_up_slots(places: Places, x: Floats, running: Floats) -> None:
    """Running sums of the slots' multipliers."""
    at = 0
    for slot in range(places.slot_pool.size):
        total = 0.0
        running[at] = 0.0
        at += 1
        for interval in range(places.intervals):
            row = places.slot_row[slot * places.intervals + interval]
            if row >= 0:
                total += x[row]
            running[at] = total
            at += 1


@inner
def fill_moves(
    places: Places, direction: Floats, tables: Tables, moves: Floats, spare: Floats, recall: Floats
) -> None:
    """How prices, spare and lambda_b move along a direction of the multipliers.

    Args:
        moves: By table and place, filled.
        spare, recall: By place, filled.
    """
    count = places.pools * places.intervals
    for place in range(count):
        mu = direction[count + place]
        site = 0.0
        for row in range(places.row_start[place], places.row_start[place + 1]):
            site += direction[row]
        limit = places.limit_of[place]
        power = 0.0
        if limit >= 0:
            power = places.kilowatts[place] * direction[places.at_power + limit]
        back = 0.0
        if places.recalled[place]:
            back = site + direction[2 * count + place]
        spare[place] = tables.node_share[place] * (mu - power) + tables.site_share[place] * (
            site - power
        )
        recall[place] = back
        plain = direction[place] + power
        moves[PLAIN * count + place] = plain
        moves[COVERED * count + place] = plain + places.theta[place] * mu
        moves[RECALL * count + place] = plain - back
        moves[RECLAIM * count + place] = plain - back - tables.owed[place] * (mu - back)
