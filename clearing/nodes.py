"""Whole-node awards: a second solve with the same decisions (DESIGN 4.2, "Whole nodes").

Nodes are sold whole, while cover shares and power limits make the priced quantities fractional.
Most places need no solve: where every delivery is whole already, what stands by is rounded up to
the node and checked against headroom, interruptibles and power. What is left open goes to small
exact programs (``clearing.node_program``) that keep what is whole and decide what is not. Supply
follows demand throughout, and prices are never computed from whole nodes. Equal orders share
what their column has, pro rata (``clearing.sharing``).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from clearing.columns import Flags, expand
from clearing.layout import Choice, Model, Settled
from clearing.loads import (
    Draft,
    Loads,
    loads_of,
    merit_order,
    offered_on,
    outflow_of,
    runs_of,
    sell,
)
from clearing.market import NONE
from clearing.node_program import Open, places_of, round_open
from clearing.place_rounding import round_places, sell_more
from clearing.quantities import Quantities
from clearing.sharing import Names, share_out
from clearing.standby import hold, trim
from clearing.support import Due, Support

_NEAR: Final = 1e-6
"""Values this near to a whole number are that number."""


def award_nodes(
    model: Model, choice: Choice, settled: Settled, support: Support, names: Names
) -> Quantities:
    """Round the priced solution to whole nodes and share it over orders.

    Args:
        model: Problem.
        choice: Decisions.
        settled: Priced solution, fractions of nodes included.
        support: What the published prices support.
        names: They rank equal remainders.

    Raises:
        SolverError: no whole-node award exists for these decisions.
    """
    draft, open_ = _open_draft(model, choice, settled, support)
    if not model.market.equal_balance:
        _trim_flows(draft, open_.column)
    _open_shortages(draft, open_)
    fractional = open_.column.copy()
    round_places(draft, open_, settled.values)
    loads = loads_of(draft)
    failed = hold(draft, loads)
    open_.place |= failed
    _open_again(draft, open_, fractional, failed)
    explained = sell_more(draft, ~open_.place)
    loads = loads_of(draft)
    hold(draft, loads)
    for due in _unmet(draft, loads, open_, explained):
        _open_due(draft, due, open_)
    round_open(draft, settled, open_)
    loads = loads_of(draft)
    trim(draft, loads)
    sell(draft, loads)
    return share_out(draft, names)


def _open_draft(
    model: Model, choice: Choice, settled: Settled, support: Support
) -> tuple[Draft, Open]:
    """Nearest whole nodes, and which columns are not whole, or not supported, as they stand."""
    market, layout, grid = model.market, model.layout, model.market.grid
    demand, supply = market.demand, market.supply
    near = np.rint(settled.values)
    fractional = np.abs(settled.values - near) > _NEAR
    nodes = near.astype(np.int64)
    offered, must = offered_on(market, choice.on)
    node = grid.node[market.base.backed_pool]
    chips = settled.values[layout.backing] * node
    open_column = np.zeros(nodes.size, dtype=np.bool_)
    arcs = slice(layout.arc, layout.arc + demand.arc_cell.size)
    open_column[arcs] = fractional[arcs] | (nodes[arcs] > support.arc_most)
    released = np.flatnonzero(supply.released)
    open_column[released] = fractional[released] | (nodes[released] > support.most[released])
    fills = layout.fill[(layout.fill != NONE) & choice.chosen]
    open_column[fills] = fractional[fills]
    open_column[layout.flow] = fractional[layout.flow]
    open_column[layout.backing] = np.abs(chips - np.rint(chips)) > _NEAR * node
    draft = Draft(
        model=model,
        choice=choice,
        support=support,
        runs=runs_of(market, choice.chosen),
        nodes=nodes,
        named=np.rint(chips).astype(np.int64),
        offered=offered,
        must=must,
    )
    open_ = Open(column=open_column, place=np.zeros(grid.places, dtype=np.bool_))
    open_.place[places_of(draft, np.flatnonzero(open_column))] = True
    return draft, open_


def _trim_flows(draft: Draft, open_column: Flags) -> None:
    """Carry nothing that nobody takes: with supply left over a link may move some of it."""
    market, layout = draft.model.market, draft.model.layout
    links, intervals = market.links, market.grid.intervals
    if not links.source.size:
        return
    loads = loads_of(draft)
    surplus = np.maximum(0, -loads.needed).reshape(-1, intervals)
    columns = layout.flow.reshape(-1, intervals)
    for _ in range(links.source.size):
        before = draft.nodes[layout.flow].copy()
        for link, (source, target) in enumerate(
            zip(links.source.tolist(), links.target.tolist(), strict=True)
        ):
            flow = draft.nodes[columns[link]]
            closed = ~open_column[columns[link]]
            back = np.minimum(surplus[target], flow - np.maximum(0, links.least[link])) * closed
            forth = np.minimum(surplus[source], np.minimum(0, links.most[link]) - flow) * closed
            change = np.maximum(0, forth) - np.maximum(0, back)
            draft.nodes[columns[link]] += change
            needed = (loads.delivered + outflow_of(draft)).reshape(-1, intervals)
            surplus = np.maximum(0, -needed)
        if (draft.nodes[layout.flow] == before).all():
            return


def _open_shortages(draft: Draft, open_: Open) -> None:
    """Where base load goes without some of its cover, what can be held is for a program to say."""
    layout, market = draft.model.layout, draft.model.market
    open_.place |= draft.lacking(layout.short)
    rows = np.flatnonzero(draft.lacking(layout.backing_short))
    row, _ = expand(np.diff(market.base.backed_start))
    entries = np.flatnonzero(np.isin(row, rows))
    open_.column[layout.backing[entries]] = True
    intervals = market.grid.intervals
    at = market.base.backed_place[row[entries]] % intervals
    open_.place[market.base.backed_pool[entries] * intervals + at] = True


def _open_again(draft: Draft, open_: Open, fractional: Flags, failed: Flags) -> None:
    """Deliveries that had to be rounded in places where the result does not fit."""
    demand, first = draft.model.market.demand, draft.model.layout.arc
    arcs = np.flatnonzero(failed[demand.arc_place])
    arcs = arcs[fractional[first + arcs]]
    open_.column[first + arcs] = True
    open_.place[places_of(draft, first + arcs)] = True


def _unmet(draft: Draft, loads: Loads, open_: Open, explained: Flags) -> list[Due]:
    """Dues that whole nodes as they stand miss by more than the odd node, unexplained."""
    market, layout = draft.model.market, draft.model.layout
    supply = merit_order(draft, loads)
    undecided = (open_.place | explained)[market.supply.place]
    supply[undecided] = market.supply.nodes[undecided]
    demand = market.demand
    settled = ~open_.column[layout.arc : layout.arc + demand.arc_cell.size]
    return draft.support.unmet(supply, draft.arcs, settled)


def _open_due(draft: Draft, due: Due, open_: Open) -> None:
    columns = np.array([column for column, _ in due.columns], dtype=np.int64)
    open_.place[places_of(draft, columns)] = True
