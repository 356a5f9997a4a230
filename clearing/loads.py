"""What whole nodes ask of each place: deliveries, cover, interruptibles, flows and sales.

One draft of an award holds whole nodes per column of the program; everything here follows from
it in integers. Quantities are nodes of the pool unless "chips" is said: at most 1e8 chips to an
order and 1e6 orders, so sums stay below 2**53 and products with a share in ppm below 2**63.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing.columns import Flags, Integers, divide_up_each, expand
from clearing.errors import SolverError
from clearing.layout import Choice, Model
from clearing.market import NONE, RECALLED, Market, Product
from clearing.solver import FACE
from clearing.support import Support, forced_nodes, sums_of
from clearing.units import PPM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runs:
    """Chosen alternatives, one row per interval of each run.

    Attributes:
        alternative: Position in ``Blocks``.
        fixed: Nodes that cannot be left out: the least, or the profile's entry.
    """

    alternative: Integers
    place: Integers
    fixed: Integers


def runs_of(market: Market, chosen: Flags) -> Runs:
    """Expand the chosen alternatives."""
    blocks, intervals = market.blocks, market.grid.intervals
    rows = np.flatnonzero(chosen)
    row, offset = expand(blocks.stop[rows] - blocks.first[rows])
    alternative = rows[row]
    fixed = blocks.least[alternative]
    shaped = np.flatnonzero(blocks.shape[alternative] != NONE)
    fixed[shaped] = blocks.shape_nodes[blocks.shape[alternative[shaped]] + offset[shaped]]
    return Runs(
        alternative=alternative,
        place=blocks.pool[alternative] * intervals + blocks.first[alternative] + offset,
        fixed=fixed,
    )


@dataclass(slots=True, kw_only=True, eq=False)
class Draft:
    """An award in the making.

    Attributes:
        nodes: Whole nodes per column.
        named: Chips per entry of ``base.backed_pool``.
        offered: Nodes that offers without released base load could sell.  # (places,)
        must: Nodes of them that units have to sell because they are on.  # (places,)
    """

    model: Model
    choice: Choice
    support: Support
    runs: Runs
    nodes: Integers
    named: Integers
    offered: Integers
    must: Integers

    @property
    def arcs(self) -> Integers:
        """Nodes per arc, a view."""
        first = self.model.layout.arc
        return self.nodes[first : first + self.model.market.demand.arc_cell.size]

    @property
    def flows(self) -> Integers:
        """Nodes per link and interval."""
        market = self.model.market
        flows = self.nodes[self.model.layout.flow]
        return flows.reshape(market.links.source.size, market.grid.intervals)

    def extra(self) -> Integers:
        """Nodes above the least per row of ``runs``."""
        return self.held(self.model.layout.fill[self.runs.alternative])

    def held(self, columns: Integers) -> Integers:
        """Nodes per place of the columns of one kind, 0 where there is none."""
        there = columns != NONE
        found = np.zeros(columns.size, dtype=np.int64)
        found[there] = self.nodes[columns[there]]
        return found

    def lacking(self, columns: Integers) -> Flags:
        """Where a column of shortfalls has one, beyond the noise of a solver."""
        short = np.zeros(self.nodes.size)
        short[self.model.penalties] = self.choice.short
        there: Flags = columns != NONE
        there[there] = short[columns[there]] > FACE
        return there

    def put(self, columns: Integers, nodes: Integers) -> None:
        """Set the nodes per place of one kind; where there is no column nothing may be held."""
        there = columns != NONE
        if nodes[~there].any():
            raise SolverError("cover is asked for where none can be held")
        self.nodes[columns[there]] = nodes[there]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loads:
    """Nodes per place.

    Attributes:
        delivered: To bids.
        covered: Of those, firm with NODE cover.
        needed: To be sold there: delivered, and what flows out less what flows in.
        countable: Interruptibles that can be reclaimed node by node.
        recalled: Interruptibles within the recall time.
        cover: Asked of NODE cover, whole nodes.
        site_cover: Asked of SITE cover, whole nodes: the most that any lost site needs.
        released: Sold by released base load, at most what is needed.
    """

    delivered: Integers
    covered: Integers
    needed: Integers
    countable: Integers
    recalled: Integers
    cover: Integers
    site_cover: Integers
    released: Integers

    def sold(self, draft: Draft) -> Integers:
        """Nodes to be sold by offers without released base load."""
        sold: Integers = np.maximum(self.needed - self.released, draft.must)
        return sold


def loads_of(draft: Draft) -> Loads:
    """Loads of a draft as it stands."""
    market, layout = draft.model.market, draft.model.layout
    grid, demand, blocks = market.grid, market.demand, market.blocks
    places = grid.places
    used = np.flatnonzero(draft.arcs)
    nodes, at = draft.arcs[used], demand.arc_place[used]
    product = demand.product[demand.arc_cell[used]]
    extra = draft.extra()
    run_nodes, run_at = draft.runs.fixed + extra, draft.runs.place
    run_product = blocks.product[draft.runs.alternative]
    place = np.concatenate((at, run_at))
    amount = np.concatenate((nodes, run_nodes))
    kind = np.concatenate((product, run_product))
    delivered = sums_of(place, amount, places)
    covered = sums_of(*_only(kind == Product.COVERED, place, amount), places)
    recalled = sums_of(*_only(np.isin(kind, RECALLED), place, amount), places)
    countable = sums_of(*_only(product == Product.RECLAIMABLE, at, nodes), places)
    countable += sums_of(*_only(run_product == Product.RECLAIMABLE, run_at, extra), places)
    needed = delivered + outflow_of(draft)
    supply = market.supply
    released = sums_of(
        supply.place[supply.released],
        draft.nodes[: supply.place.size][supply.released],
        places,
    )
    node = grid.node.repeat(grid.intervals)
    theta = grid.theta.repeat(grid.intervals)
    chips = divide_up_each((covered * node + market.base.covered) * theta, PPM)
    backed = np.flatnonzero(layout.slot_of_arc[used] != NONE)
    slot = layout.slot_of_arc[used[backed]] * grid.intervals + at[backed] % grid.intervals
    run_slot = layout.slot_of_alternative[draft.runs.alternative]
    gang = np.flatnonzero(run_slot != NONE)
    gang_slot = run_slot[gang] * grid.intervals + run_at[gang] % grid.intervals
    return Loads(
        delivered=delivered,
        covered=covered,
        needed=needed,
        countable=countable,
        recalled=recalled,
        cover=divide_up_each(chips, node),
        site_cover=_site_cover(
            draft,
            np.concatenate((slot, gang_slot)),
            np.concatenate(
                (nodes[backed] * node[at[backed]], run_nodes[gang] * node[run_at[gang]])
            ),
        ),
        released=np.clip(np.minimum(released, needed - draft.must), 0, None),
    )


def _only(rows: Flags, place: Integers, amount: Integers) -> tuple[Integers, Integers]:
    return place[rows], amount[rows]


def outflow_of(draft: Draft) -> Integers:
    """Nodes that leave each place over links, less those that come in."""
    market = draft.model.market
    flows = draft.flows
    net = np.zeros((len(market.grid.pools), market.grid.intervals), dtype=np.int64)
    np.add.at(net, market.links.source, flows)
    np.subtract.at(net, market.links.target, flows)
    return net.reshape(-1)


def _site_cover(draft: Draft, slot: Integers, chips: Integers) -> Integers:
    """Whole nodes that the worst loss of a site asks of each place."""
    market, layout = draft.model.market, draft.model.layout
    grid, base = market.grid, market.base
    total = sums_of(slot, chips, layout.slot_site.size * grid.intervals)
    row, _ = expand(np.diff(base.backed_start))
    interval = base.backed_place[row] % grid.intervals
    np.add.at(total, layout.slot_of_backing * grid.intervals + interval, draft.named)
    node = grid.node[layout.slot_pool].repeat(grid.intervals)
    nodes = divide_up_each(total, node).reshape(-1, grid.intervals)
    worst = np.zeros((len(grid.pools), grid.intervals), dtype=np.int64)
    np.maximum.at(worst, layout.slot_pool, nodes)
    return worst.reshape(-1)


def offered_on(market: Market, on: Flags) -> tuple[Integers, Integers]:
    """Nodes per place that offers could sell, and those that units have to, at a choice."""
    units, grid = market.units, market.grid
    shape = (len(grid.pools), grid.intervals)
    off = np.zeros(shape, dtype=np.int64)
    must = np.zeros(shape, dtype=np.int64)
    np.add.at(off, units.pool, np.where(on, 0, units.offered))
    np.add.at(must, units.pool, np.where(on, units.least, 0))
    return market.offered - off.reshape(-1), must.reshape(-1)


def sell(draft: Draft, loads: Loads) -> None:
    """Set the supply columns to exactly what is needed; nothing left over at price 0 stays sold.

    Raises:
        SolverError: the draft needs more than supply can sell.
    """
    supply, grid = draft.model.market.supply, draft.model.market.grid
    nodes = merit_order(draft, loads)
    if (sums_of(supply.place, nodes, grid.places) < loads.needed).any():
        raise SolverError("whole-node awards deliver more than supply can sell")
    draft.nodes[: nodes.size] = nodes


def merit_order(draft: Draft, loads: Loads) -> Integers:
    """Nodes per supply column: what is needed, cheapest steps first, as far as supply goes.

    Units that are on sell their least quantity before anybody else sells.
    """
    market = draft.model.market
    supply, grid = market.supply, market.grid
    room = supply.nodes.copy()
    forced = np.zeros(room.size, dtype=np.int64)
    owned = np.flatnonzero(supply.unit != NONE)
    if owned.size:
        on = draft.choice.on[supply.unit[owned], supply.place[owned] % grid.intervals]
        room[owned] = np.where(on, room[owned], 0)
        forced[owned] = np.where(on, forced_nodes(market, owned), 0)
        room -= forced
    others = np.maximum(0, loads.needed - loads.released - draft.must)
    sold = np.where(supply.released, loads.released[supply.place], others[supply.place])
    for rows in (np.flatnonzero(supply.released), np.flatnonzero(~supply.released)):
        place = supply.place[rows]
        before = np.cumsum(room[rows]) - room[rows]
        before -= before[np.searchsorted(place, place)]
        sold[rows] = np.clip(sold[rows] - before, 0, room[rows])
    total: Integers = sold + forced
    return total
