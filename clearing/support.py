"""What published prices support: the quantities that every divisible order would choose.

Whole-node awards are a second solve, and left to welfare alone it moves a node to a pool
that costs more at the prices, or leaves a bid in the money several nodes short. Prices are
published before awards are made, so awards are held to them: nothing where the price is
not worth it, and in full, but for the odd node, where it is. The published rule is
written down in ``clearing.verify_prices``, which computes the same from the orders.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from clearing.market import DemandGroup, SupplyGroup
from clearing.model import Model
from clearing.pricing.rounding import Parts, adders
from clearing.units import PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Columns that together should be at their most.

    Attributes:
        interval: When.
        columns: Column and nodes (of a unit common to all) that one of its nodes stands for.
        nodes: What they hold at most, in that unit.
        free: Nodes that they may be short without an explanation: one less than the pools
            among which somebody is indifferent.
    """

    interval: int
    columns: tuple[tuple[int, float], ...]
    nodes: float
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Best responses at the published prices.

    Attributes:
        closed: Columns that nobody would use at the prices.
        due: What buyers and sellers would take and sell in full.
    """

    closed: frozenset[int]
    due: tuple[Due, ...]


def supported(model: Model, parts: tuple[Parts, ...]) -> Support:
    """Best responses of steps at rounded prices.

    Args:
        model: Orders and columns.
        parts: Prices per (pool, interval), flat.
    """
    closed: set[int] = set()
    joined: dict[int, set[int]] = defaultdict(set)
    due = _bids(model, parts, closed, joined)
    due += _offers(model, parts, closed, joined)
    return Support(closed=frozenset(closed), due=tuple(due))


def _bids(
    model: Model, parts: tuple[Parts, ...], closed: set[int], joined: dict[int, set[int]]
) -> list[Due]:
    """Close what is no best response; ``joined`` gets the pools that a bid finds equal."""
    market, layout, grid = model.market, model.layout, model.market.grid
    columns: dict[int, list[int]] = defaultdict(list)
    for position, group_at in enumerate(layout.delivery_group):
        columns[group_at].append(layout.delivery + position)
    wanted: dict[int, Due] = {}
    for group_at, group in enumerate(market.demand):
        nets = _nets(model, parts, group)
        best = max(0, *nets)
        used = []
        for column, pool, net in zip(columns[group_at], group.pools, nets, strict=True):
            if net < best:
                closed.add(column)
            else:
                used.append((column, pool))
        places = {grid.at(pool, group.interval) for _, pool in used}
        for place in places:
            joined[place] |= places - {place}
        if best > 0:
            unit = grid.pools[group.pools[0]].chips_per_node
            wanted[group_at] = Due(
                interval=group.interval,
                columns=tuple((c, grid.pools[p].chips_per_node / unit) for c, p in used),
                nodes=group.chips / unit,
                free=len(used) - 1,
            )
    return _by_order(market.demand, wanted)


def _nets(model: Model, parts: tuple[Parts, ...], group: DemandGroup) -> list[int]:
    """What a chip gains in each pool of its group."""
    market, grid = model.market, model.market.grid
    nets = []
    for pool, value in zip(group.pools, group.values, strict=True):
        part = parts[grid.at(pool, group.interval)]
        nets.append(value - part.energy - adders(market, part, pool, group.product))
    return nets


def _by_order(demand: tuple[DemandGroup, ...], wanted: dict[int, Due]) -> list[Due]:
    """Join the steps of an order in an interval: it is short in all, not step by step."""
    leader: dict[int, int] = {at: at for at in wanted}

    def find(at: int) -> int:
        while leader[at] != at:
            at = leader[at]
        return at

    first: dict[tuple[str, int], int] = {}
    for at in wanted:
        for name, _ in demand[at].members:
            other = first.setdefault((name, demand[at].interval), at)
            low, high = sorted((find(at), find(other)))
            leader[high] = low
    together: dict[int, list[Due]] = defaultdict(list)
    for at, due in wanted.items():
        together[find(at)].append(due)
    return [
        Due(
            interval=dues[0].interval,
            columns=tuple(column for due in dues for column in due.columns),
            nodes=sum(due.nodes for due in dues),
            free=min(due.free for due in dues),
        )
        for dues in together.values()
    ]


def _offers(
    model: Model, parts: tuple[Parts, ...], closed: set[int], joined: dict[int, set[int]]
) -> list[Due]:
    """Close what would rather not sell; what would rather stand by need not sell."""
    market, grid = model.market, model.market.grid
    selling: dict[tuple[int, bool], list[tuple[int, SupplyGroup]]] = defaultdict(list)
    for column, group in enumerate(market.supply):
        place = grid.at(group.pool, group.interval)
        part = parts[place]
        theta = grid.pools[group.pool].node_spare_ppm
        rounding = 2 + PPM // theta if theta and part.spare else 0
        idle = 0 if group.recallable else max(0, part.spare - part.power)
        gain = part.energy - (part.recall if group.recallable else 0) - group.price
        if gain < max(0, idle - rounding):
            closed.add(column)
        elif gain > idle + rounding:
            selling[place, group.recallable].append((column, group))
    return [
        Due(
            interval=groups[0][1].interval,
            columns=tuple((column, 1.0) for column, _ in groups),
            nodes=sum(group.nodes for _, group in groups),
            free=len(joined[place]),
        )
        for (place, _), groups in selling.items()
    ]
