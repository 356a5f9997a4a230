"""Where everything is in the program of a market, and the model that holds both.

``NONE`` marks a row or column that does not exist. A *slot* is one (lost site, backup pool) pair
that some order or nomination may use; its rows are ``slot * intervals + interval``.

========== ================================================================== ===============
row        meaning (docs/reference/clearing-rules.md)                         unit
========== ================================================================== ===============
balance    sold + inflow - outflow - delivered >= 0 (or = 0)                  node of the pool
headroom   sold + spare + site spare - units' offers that are on <= offered   node of the pool
cover      spare + R + short - theta x covered bids >= theta x base           node of the pool
reclaim    R <= node-wise interruptibles                                      node of the pool
recall     R + R_S + released sold <= recallable interruptibles               node of the pool
slot       site spare + R_S - SITE bids - named base backups >= 0             node of the backup
backing    named backups + short = base load with SITE cover                  node of the pool
power      power x (delivered + spares) <= limit - base, per site             10 kW
cell       arcs of a cell <= chips, where it has several arcs or is work      node of the first arc
work       arcs of a work group over all intervals <= work                    node of the first arc
pick       alternatives of a pick <= 1, or <= alternatives of the parent      1
fill       nodes above the least <= (most - least) x chosen                   node of the pool
unit       sold by a unit <= offered x on; >= least x on; starts; runs        node, or 1
========== ================================================================== ===============
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from clearing.market import Flags, Integers, Market
from clearing.program import Floats, Program

POWER_UNIT: Final = 10_000
"""Watts that one unit of a power row stands for: about one node."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Positions in the program.

    Columns: supply column ``i`` is supply step ``i``; arc ``j`` is ``arc + j``; alternative ``a``
    is chosen by ``chosen + a``. Column values are nodes of the pool concerned, decisions 0 or 1;
    objectives US dollars per hour of an interval: what is paid once is divided by its length.
    Spare columns exist exactly where their rows do: ``spare`` with ``cover``, ``site_spare`` where
    any slot row of the pool is, ``headroom`` with either.

    Attributes:
        arc: First arc column.
        chosen: First binary of an alternative.
        fill: Column of the nodes above the least, per alternative.  # (alternatives,)
        spare, site_spare, reclaim, site_reclaim, short: Column per place.
        flow: Column per link and interval, flat.
        backing: Column per entry of ``base.backed_pool``.
        backing_short: Column per row of ``base.backed_place``.
        unit_on: Binary per unit and interval in which it offers something; one column for all
            of those of a whole unit.  # (units, intervals)
        unit_start: 1 where a run starts, else 0; a column from 0 to 1 that is whole where
            ``unit_on`` is. ``NONE`` for whole units.  # (units, intervals)
        slot_site, slot_pool: The slots, sorted.
        slot_of_arc, slot_of_alternative, slot_of_backing: Slot of each, or ``NONE``.
        balance, headroom, cover, reclaimable, recall: Row per place.
        slot_row: Row per slot and interval, flat.
        backing_row: Row per row of ``base.backed_place``.
        power: Row per site and interval, flat.
        cell: Row per cell.
        work: Row per work group.
        pick: Row per pick.
        fill_row: Row per alternative.
        unit_most, unit_least: Rows per unit and interval.  # (units, intervals)
        decision: Rows that bind nothing once decisions are fixed: picks, fills, starts, runs
            and ``unit_most``.
        interval_of_column, interval_of_row: The interval a column or row belongs to. ``NONE``
            for decisions, fills, work rows, and the rows of decisions alone.
    """

    arc: int
    chosen: int
    fill: Integers
    spare: Integers
    site_spare: Integers
    reclaim: Integers
    site_reclaim: Integers
    short: Integers
    flow: Integers
    backing: Integers
    backing_short: Integers
    unit_on: Integers
    unit_start: Integers
    slot_site: Integers
    slot_pool: Integers
    slot_of_arc: Integers
    slot_of_alternative: Integers
    slot_of_backing: Integers
    balance: Integers
    headroom: Integers
    cover: Integers
    reclaimable: Integers
    recall: Integers
    slot_row: Integers
    backing_row: Integers
    power: Integers
    cell: Integers
    work: Integers
    pick: Integers
    fill_row: Integers
    unit_most: Integers
    unit_least: Integers
    decision: Integers
    interval_of_column: Integers
    interval_of_row: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A market, its program and where everything is in it.

    Attributes:
        program: Objective without tie credits; binaries are the whole columns. Restart costs
            kept are in the objective of the alternatives that keep them.
        credits: Tie credit per column, US dollars per hour, for the objective.
        penalties: Columns of shortfalls, ascending (``short``, then ``backing_short``); no price
            may come from them.
        kept: Restart cost in the objective, per column, US dollars per hour of an interval.
        written: Alternatives whose entries in the rows of places are in the matrix: all, or in
            a large book those that ``clearing.model.with_runs`` wrote.
    """

    market: Market
    program: Program
    layout: Layout
    credits: Floats
    penalties: Integers
    kept: Floats
    written: Flags


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The decisions of one auction.

    Attributes:
        proven: The search proved that no better choice exists (within its tolerance).
        chosen: One flag per alternative.
        on: One flag per unit and interval.  # (units, intervals)
        short: Shortfall per penalty column.
        row_duals: Certificate duals: per row of the program, US dollars per unit of the row, in the
            solver's sign; of the linear relaxation or of a dual method.
        bound_duals: Row duals that may bound better, together with ``whole_duals``; or empty.
        whole_duals: Certificate duals of ``clearing.whole_cover``, per place, US dollars per node
            of the right-hand side; empty for none.
        hint: Column values near which the linear problem with these decisions has its
            solution, or empty.
        hint_duals: Row duals near those of that solution, where the choice was coordinated.
        hint_error: Share of a typical price that they may be off by.
    """

    proven: bool
    chosen: Flags
    on: Flags
    short: Floats
    row_duals: Floats
    hint: Floats
    bound_duals: Floats = field(default_factory=lambda: np.zeros(0))
    whole_duals: Floats = field(default_factory=lambda: np.zeros(0))
    hint_duals: Floats = field(default_factory=lambda: np.zeros(0))
    hint_error: float = 0.03


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Settled:
    """The linear problem with the decisions fixed, and its solution.

    Attributes:
        program: Decisions fixed; penalty columns are held at zero and their rows shifted.
        values: Column values: optimal without credits, and among those best with them.
        duals: Row duals without credits, solver's sign.
        reduced_costs: Per column, without credits.
        best: Column values of the solution that ``duals`` belong to.
    """

    program: Program
    values: Floats
    best: Floats
    duals: Floats
    reduced_costs: Floats
