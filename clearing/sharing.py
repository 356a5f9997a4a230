"""Whole nodes of columns as chips of orders: members of a column share it pro rata.

Largest remainder, equal remainders by the seed (``clearing.ties.sharing_key``). Nearly every
column has one member or is full, so a key is only made where it decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing import ties
from clearing.columns import Integers, expand, group, starts, take
from clearing.errors import InvariantError
from clearing.largest_remainder import Keys, share
from clearing.loads import Draft
from clearing.market import NONE, RECALLED, Product
from clearing.quantities import Backed, Held, Quantities, Taken
from clearing.support import sums_of
from clearing.types import BlockBid, Book, StepBid, WorkBid
from clearing.units import split_largest_remainder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Names:
    """Identifiers that ties are ranked by.

    Attributes:
        bids: Step bids, block bids and work bids.
    """

    seed: bytes
    offers: tuple[str, ...]
    bids: tuple[str, ...]
    pools: tuple[str, ...]
    nominations: tuple[str, ...]
    intervals: int

    def keys(self, orders: tuple[str, ...], order: Integers, place: Integers) -> Keys:
        """Tie keys of members, each an order in a place."""

        def of(rows: Integers) -> list[bytes]:
            pool, interval = np.divmod(place[rows], self.intervals)
            return [
                ties.sharing_key(self.seed, orders[one], self.pools[at], when)
                for one, at, when in zip(
                    order[rows].tolist(), pool.tolist(), interval.tolist(), strict=True
                )
            ]

        return of


def names_of(book: Book, seed: bytes) -> Names:
    """Identifiers of a canonical book."""
    bids: list[StepBid | BlockBid | WorkBid] = [
        *book.step_bids,
        *book.block_bids,
        *book.work_bids,
    ]
    return Names(
        seed=seed,
        offers=tuple(offer.order_id for offer in book.offers),
        bids=tuple(bid.order_id for bid in bids),
        pools=tuple(pool.pool_id for pool in book.pools),
        nominations=tuple(nomination.order_id for nomination in book.nominations),
        intervals=len(book.spec.intervals),
    )


def share_out(draft: Draft, names: Names) -> Quantities:
    """Chips of every order.

    Args:
        draft: Whole nodes that keep every rule.
        names: For ties.
    """
    market, layout, grid = draft.model.market, draft.model.layout, draft.model.market.grid
    sold = _share_supply(draft, names)
    taken = _reserve(draft, names, _taken(draft, names))
    held = _share_spare(draft, names, sold)
    active = sums_of(market.supply.place, draft.nodes[: market.supply.place.size], grid.places) > 0
    active[taken.place] = True
    flows = draft.nodes[layout.flow].reshape(market.links.source.size, grid.intervals)
    return Quantities(
        nodes=draft.nodes,
        active=active,
        sold=sold,
        taken=taken,
        held=held,
        backed=_share_backing(draft, names),
        flows=flows * grid.node[market.links.source][:, None],
        on=draft.choice.on,
    )


def _share_supply(draft: Draft, names: Names) -> Integers:
    """Chips per member of a supply step."""
    supply, grid = draft.model.market.supply, draft.model.market.grid
    place = supply.place.repeat(np.diff(supply.member_start))
    node = grid.node[place // grid.intervals]
    keys = names.keys(names.offers, supply.member_offer, place)
    nodes = draft.nodes[: supply.place.size]
    return share(nodes, supply.member_start, supply.member_chips // node, keys) * node


def _share_spare(draft: Draft, names: Names, sold: Integers) -> Held:
    """Spare chips per offer, pro rata to what it offered and did not sell."""
    market, layout = draft.model.market, draft.model.layout
    supply, grid = market.supply, market.grid
    node_spare, site_spare = draft.held(layout.spare), draft.held(layout.site_spare)
    column, _ = expand(np.diff(supply.member_start))
    able = (node_spare + site_spare)[supply.place] > 0
    able &= ~supply.released
    owned = np.flatnonzero(supply.unit != NONE)
    interval = supply.place[owned] % grid.intervals
    able[owned] &= draft.choice.on[supply.unit[owned], interval]
    member = np.flatnonzero(able[column])
    offer, place = supply.member_offer[member], supply.place[column[member]]
    of_offer = group(place, offer)
    first = member[of_offer.first]
    offer, place = supply.member_offer[first], supply.place[column[first]]
    node = grid.node[place // grid.intervals]
    unsold = of_offer.sums((supply.member_chips - sold)[member]) // node
    at_place = group(place)
    spots = place[at_place.first]
    keys = names.keys(names.offers, offer, place)
    for_node = share(node_spare[spots], at_place.start, unsold, keys)
    for_site = share(site_spare[spots], at_place.start, unsold - for_node, keys)
    if for_node.sum() + for_site.sum() != node_spare.sum() + site_spare.sum():
        raise InvariantError("chips stand by where nobody offers any")
    held = np.flatnonzero(for_node + for_site)
    held = held[np.lexsort((place[held], offer[held]))]
    return Held(
        offer=offer[held],
        place=place[held],
        node=(for_node * node)[held],
        site=(for_site * node)[held],
    )


def _taken(draft: Draft, names: Names) -> Taken:
    """Chips of bids, without what counts as reserve."""
    market, grid = draft.model.market, draft.model.market.grid
    demand, blocks = market.demand, market.blocks
    steps, gangs = market.step_product.size, market.block_product.size
    arc_of_step, bid_of_step, step_nodes = _share_steps(draft, names)
    arc_of_work, bid_of_work, work_nodes = _share_work(draft, names)
    arc = np.concatenate((arc_of_step, arc_of_work))
    alternative, extra = draft.runs.alternative, draft.extra()
    bid = np.concatenate(
        (bid_of_step, steps + gangs + bid_of_work, steps + blocks.order[alternative])
    )
    place = np.concatenate((demand.arc_place[arc], draft.runs.place))
    backup = np.concatenate((demand.arc_backup[arc], blocks.backup[alternative]))
    nodes = np.concatenate((step_nodes, work_nodes, draft.runs.fixed + extra))
    loose = np.concatenate((step_nodes, work_nodes, extra))
    products = np.concatenate((market.step_product, market.block_product, market.work_product))
    # An order with two steps in the money has one award in a pool.
    used = np.flatnonzero(nodes)
    bid, place, backup, nodes, loose = (
        column[used] for column in (bid, place, backup, nodes, loose)
    )
    pool, interval = np.divmod(place, grid.intervals)
    rows = group(bid, pool, backup, interval)
    node = grid.node[pool[rows.first]]
    loose_chips = rows.sums(loose) * node
    product = products[bid[rows.first]]
    none = np.zeros(rows.count, dtype=np.int64)
    return Taken(
        bid=bid[rows.first],
        pool=pool[rows.first],
        interval=interval[rows.first],
        place=place[rows.first],
        backup=backup[rows.first],
        chips=rows.sums(nodes) * node,
        countable=np.where(product == Product.RECLAIMABLE, loose_chips, 0),
        reserve=none,
        site_reserve=none,
    )


def _share_steps(draft: Draft, names: Names) -> tuple[Integers, Integers, Integers]:
    """Arc, step bid and nodes of every share; where a cell has several arcs, one after the other.

    Larger nodes go first: what is left then still comes out in smaller ones.
    """
    market, grid = draft.model.market, draft.model.market.grid
    demand = market.demand
    used = np.flatnonzero((draft.arcs > 0) & (demand.work[demand.arc_cell] == NONE))
    node = grid.node[demand.arc_pool]
    used = used[np.lexsort((used, -node[used], demand.arc_cell[used]))]
    turn = np.arange(used.size) - np.searchsorted(demand.arc_cell[used], demand.arc_cell[used])
    left = demand.member_chips.copy()
    shares: list[tuple[Integers, Integers, Integers]] = []
    for number in range(int(turn.max(initial=NONE)) + 1):
        arcs = used[turn == number]
        position, member = take(demand.member_start, demand.arc_cell[arcs])
        weight = left[member] // node[arcs[position]]
        start = starts(np.bincount(position, minlength=arcs.size))
        most = np.bincount(position, weights=weight, minlength=arcs.size).astype(np.int64)
        keys = names.keys(names.bids, demand.member_bid[member], demand.arc_place[arcs][position])
        parts = share(np.minimum(draft.arcs[arcs], most), start, weight, keys)
        left[member] -= parts * node[arcs[position]]
        shares.append((arcs[position], demand.member_bid[member], parts))
    return _joined(shares)


def _joined(
    shares: list[tuple[Integers, Integers, Integers]],
) -> tuple[Integers, Integers, Integers]:
    if not shares:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    first, second, third = (np.concatenate(column) for column in zip(*shares, strict=True))
    return first, second, third


def _share_work(draft: Draft, names: Names) -> tuple[Integers, Integers, Integers]:
    """Arc, work bid and nodes of every share of a work group.

    Members are identical, and no one may get more than its own work over all intervals, so
    each interval evens them out: those with most left get the odd nodes.
    """
    demand, grid = draft.model.market.demand, draft.model.market.grid
    used = np.flatnonzero((draft.arcs > 0) & (demand.work[demand.arc_cell] != NONE))
    groups = demand.work[demand.arc_cell[used]]
    members = np.diff(demand.work_member_start)
    alone = members[groups] == 1
    single = used[alone]
    bids = demand.work_member_bid[demand.work_member_start[groups[alone]]]
    shares = [(single, bids, draft.arcs[single])]
    first = draft.model.market.step_product.size + draft.model.market.block_product.size
    for number in np.unique(groups[~alone]).tolist():
        arcs = used[~alone][groups[~alone] == number]
        arcs = arcs[
            np.lexsort((-grid.node[demand.arc_pool[arcs]], demand.interval[demand.arc_cell[arcs]]))
        ]
        begin, end = demand.work_member_start[number : number + 2].tolist()
        of_group = demand.work_member_bid[begin:end].tolist()
        left = dict.fromkeys(of_group, int(demand.work_chips[number]) // len(of_group))
        for arc in arcs.tolist():
            pool, interval = divmod(int(demand.arc_place[arc]), grid.intervals)
            rank = {
                bid: ties.sharing_key(
                    names.seed, names.bids[first + bid], names.pools[pool], interval
                )
                for bid in of_group
            }
            size = int(grid.node[pool])
            each, odd = divmod(int(draft.arcs[arc]), len(of_group))
            ranked = sorted(of_group, key=lambda bid: (-left[bid], rank[bid]))
            parts = [each + (place < odd) for place in range(len(ranked))]
            for bid, part in zip(ranked, parts, strict=True):
                left[bid] -= part * size
            shares.append((np.full(len(ranked), arc), np.array(ranked), np.array(parts)))
        if min(left.values()) < 0:
            raise InvariantError("identical work bids cannot be served alike")
    return _joined(shares)


def _reserve(draft: Draft, names: Names, taken: Taken) -> Taken:
    """Chips that count as reserve per interruptible, pro rata to what may be recalled."""
    market, layout, grid = draft.model.market, draft.model.layout, draft.model.market.grid
    products = np.concatenate((market.step_product, market.block_product, market.work_product))
    node = grid.node[taken.pool]
    reserve = _spread(draft.held(layout.reclaim), taken, taken.countable // node, names)
    recalled = np.isin(products[taken.bid], RECALLED)
    free = np.where(recalled, taken.chips // node - reserve, 0)
    site_reserve = _spread(draft.held(layout.site_reclaim), taken, free, names)
    return Taken(
        bid=taken.bid,
        pool=taken.pool,
        interval=taken.interval,
        place=taken.place,
        backup=taken.backup,
        chips=taken.chips,
        countable=taken.countable,
        reserve=reserve * node,
        site_reserve=site_reserve * node,
    )


def _spread(nodes: Integers, taken: Taken, weight: Integers, names: Names) -> Integers:
    """Share the nodes of each place over the rows of ``taken`` that have weight there."""
    rows = np.flatnonzero((nodes[taken.place] > 0) & (weight > 0))
    found = np.zeros(taken.bid.size, dtype=np.int64)
    at_place = group(taken.place[rows])
    ordered = rows[at_place.order]
    spots = taken.place[rows[at_place.first]] if rows.size else rows
    if nodes[spots].sum() != nodes.sum():
        raise InvariantError("reserve is counted where nobody can be recalled")
    keys = names.keys(names.bids, taken.bid[ordered], taken.place[ordered])
    start = at_place.start if rows.size else np.zeros(1, dtype=np.int64)
    found[ordered] = share(nodes[spots], start, weight[ordered], keys)
    return found


def _share_backing(draft: Draft, names: Names) -> Backed:
    """Backups of nominations: each covered alike, one candidate after the other."""
    base, intervals = draft.model.market.base, draft.model.market.grid.intervals
    rows: list[tuple[int, int, int, int]] = []
    for row, place in enumerate(base.backed_place.tolist()):
        interval = place % intervals
        begin, end = base.backed_start[row : row + 2].tolist()
        named = draft.named[begin:end].tolist()
        holders = np.flatnonzero(base.backed_of[:, interval] == row).tolist()
        left = {one: int(base.served[one, interval]) for one in holders}
        covered = _split(sum(named), left, names)
        for pool, chips in zip(base.backed_pool[begin:end].tolist(), named, strict=True):
            for one, part in _split(chips, covered, names).items():
                covered[one] -= part
                if part:
                    rows.append((one, pool, interval, part))
    rows.sort()
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Backed(nomination=columns[0], pool=columns[1], interval=columns[2], chips=columns[3])


def _split(total: int, weights: dict[int, int], names: Names) -> dict[int, int]:
    ordered = sorted(weights)
    parts = split_largest_remainder(
        total, [weights[one] for one in ordered], [names.nominations[one] for one in ordered]
    )
    return dict(zip(ordered, parts, strict=True))
