"""Market to mathematics: the clearing problem of DESIGN 4.1 as plain arrays, with no solver.

Quantities are nodes of the pool concerned and values US dollars per hour, so that the
coefficients stay between 1e-4 and 1e6. These floats steer the search only: awards, money
and the certificate are computed from integers again.

========== ======================================================== =================
row        meaning (per pool and interval)                          dual
========== ======================================================== =================
balance    sold - delivered >= 0                                    pi
headroom   sold (without released base) + spare <= offered          rent of a chip
cover      spare + R + short - theta x covered bids >= theta x base mu
reclaim    R <= interruptibles that can go node by node             lambda_a
recall     R + released base sold <= interruptibles in recall time  lambda_b
power      per site: power x (delivered + spare) <= limit - base    nu
========== ======================================================== =================

Spare capacity is one column per pool and interval, because any unsold chip is as good
as another. A cover shortage is only ever owed to base load (a bid is not sold without
its cover), and its column exists only where all supply held spare would not be enough.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from clearing import ties
from clearing.market import RECALLED, Alternative, Market, Product
from clearing.program import INFINITY, Builder, Floats, Program
from clearing.types import AuctionSpec
from clearing.units import MICRO_USD_PER_USD, PPM, divide_up

NONE: Final = -1
"""No such row or column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where things are in the program; ``NONE`` where a row or column does not exist.

    Attributes:
        delivery: First of the delivery columns; supply columns start at 0.
        delivery_group: Demand group of each delivery column.
        delivery_pool: Pool of each delivery column.
        chosen: First of the binaries, one per alternative.
        fill: Column of the nodes above the minimum, per alternative.
        spare: Column per (pool, interval), flat; ``reclaim`` and ``short`` alike.
        balance: Row per (pool, interval), flat; headroom, cover and the rest alike.
        quantity: Row per demand group.
        power: Row per (site, interval), flat; its unit is ``power_unit`` watts.
    """

    delivery: int
    delivery_group: tuple[int, ...]
    delivery_pool: tuple[int, ...]
    chosen: int
    fill: tuple[int, ...]
    spare: tuple[int, ...]
    reclaim: tuple[int, ...]
    short: tuple[int, ...]
    balance: tuple[int, ...]
    headroom: tuple[int, ...]
    cover: tuple[int, ...]
    reclaimable: tuple[int, ...]
    recall: tuple[int, ...]
    quantity: tuple[int, ...]
    power: tuple[int, ...]
    power_unit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A market, its program and where everything is in it.

    Attributes:
        program: Objective without tie credits; binaries are the whole columns.
        credits: Tie credit per column, US dollars per hour, for the objective.
        penalties: Columns of shortfalls; no price may come from them.
    """

    market: Market
    program: Program
    layout: Layout
    credits: Floats
    penalties: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class _Draft:
    """Program under construction, with the row and column maps filled so far."""

    market: Market
    builder: Builder
    covered: set[int]
    countable: set[int]
    rows: dict[str, list[int]] = field(default_factory=dict)
    credits: dict[int, float] = field(default_factory=dict)


def build(market: Market, spec: AuctionSpec, seed: bytes) -> Model:
    """Write the program of a market.

    Args:
        market: Reduced book.
        spec: Tie credit and penalties come from here.
        seed: Tie seed; it reaches the credits only.
    """
    draft = _Draft(
        market=market,
        builder=Builder(),
        covered=_covered_places(market),
        countable=_countable(market),
    )
    _add_rows(draft)
    _add_supply(draft)
    delivery = len(draft.builder.objective)
    groups, pools, quantity = _add_deliveries(draft, spec, seed)
    chosen = len(draft.builder.objective)
    fill = _add_alternatives(draft, spec, seed)
    spare, reclaim, short = _add_reserves(draft, spec)
    program = draft.builder.freeze()
    tie_credits = np.zeros(program.objective.size)
    for column, credit in draft.credits.items():
        tie_credits[column] = credit
    rows = draft.rows
    layout = Layout(
        delivery=delivery,
        delivery_group=groups,
        delivery_pool=pools,
        chosen=chosen,
        fill=fill,
        spare=spare,
        reclaim=reclaim,
        short=short,
        balance=tuple(rows["balance"]),
        headroom=tuple(rows["headroom"]),
        cover=tuple(rows["cover"]),
        reclaimable=tuple(rows["reclaimable"]),
        recall=tuple(rows["recall"]),
        quantity=quantity,
        power=tuple(rows["power"]),
        power_unit=_POWER_UNIT,
    )
    penalties = tuple(column for column in short if column != NONE)
    return Model(
        market=market, program=program, layout=layout, credits=tie_credits, penalties=penalties
    )


_POWER_UNIT: Final = 10_000
"""Watts that one unit of a power row stands for: about one node."""


def _covered_places(market: Market) -> set[int]:
    """(pool, interval) pairs where somebody may want NODE cover."""
    grid = market.grid
    places = {place for place, nodes in enumerate(market.base_covered) if nodes}
    for group in market.demand:
        if group.product is Product.COVERED:
            places.update(grid.at(pool, group.interval) for pool in group.pools)
    for alternative in market.alternatives:
        if alternative.product is Product.COVERED:
            start = grid.at(alternative.pool, alternative.first)
            places.update(range(start, start + alternative.stop - alternative.first))
    return {p for p in places if grid.pools[p // grid.intervals].node_spare_ppm > 0}


def _countable(market: Market) -> set[int]:
    """(pool, interval) pairs with interruptibles that may serve as reserve."""
    grid = market.grid
    places: set[int] = set()
    for group in market.demand:
        if group.product is Product.RECLAIMABLE:
            places.update(grid.at(pool, group.interval) for pool in group.pools)
    for alternative in market.alternatives:
        if (
            alternative.product is Product.RECLAIMABLE
            and alternative.most_nodes > alternative.least_nodes
        ):
            start = grid.at(alternative.pool, alternative.first)
            places.update(range(start, start + alternative.stop - alternative.first))
    return places


def _add_rows(draft: _Draft) -> None:
    market, builder, grid = draft.market, draft.builder, draft.market.grid
    places = range(len(grid.pools) * grid.intervals)
    rows = draft.rows
    rows["balance"] = [builder.row(0.0, INFINITY) for _ in places]
    for name in ("headroom", "cover", "reclaimable", "recall"):
        rows[name] = [NONE] * len(places)
    for place in places:
        reserves = place in draft.covered and place in draft.countable
        if place in draft.covered:
            rows["headroom"][place] = builder.row(-INFINITY, market.offered[place])
            rows["cover"][place] = builder.row(_base_cover(draft, place), INFINITY)
        if reserves:
            rows["reclaimable"][place] = builder.row(-INFINITY, 0.0)
        if reserves or market.released[place]:
            rows["recall"][place] = builder.row(-INFINITY, 0.0)
    rows["power"] = [NONE] * (len(grid.site_ids) * grid.intervals)
    for site, limit in enumerate(grid.power_limits):
        if limit is None:
            continue
        for interval in range(grid.intervals):
            left = limit - sum(
                market.base[grid.at(p, interval)] * pool.chip_power
                for p, pool in enumerate(grid.pools)
                if grid.site_of[p] == site
            )
            row = builder.row(-INFINITY, max(0, left) / _POWER_UNIT)
            rows["power"][site * grid.intervals + interval] = row


def _theta(draft: _Draft, place: int) -> float:
    grid = draft.market.grid
    return grid.pools[place // grid.intervals].node_spare_ppm / PPM


def _base_cover(draft: _Draft, place: int) -> float:
    """Nodes of cover that base load asks for."""
    size = draft.market.grid.pools[place // draft.market.grid.intervals].chips_per_node
    return _theta(draft, place) * draft.market.base_covered[place] / size


def _put(draft: _Draft, name: str, place: int, column: int, value: float) -> None:
    row = draft.rows[name][place]
    if row != NONE:
        draft.builder.entry(row, column, value)


def _put_power(draft: _Draft, place: int, column: int, nodes: float) -> None:
    grid = draft.market.grid
    pool = place // grid.intervals
    row = draft.rows["power"][grid.site_of[pool] * grid.intervals + place % grid.intervals]
    watts = grid.pools[pool].chip_power * grid.pools[pool].chips_per_node
    if row != NONE and watts:
        draft.builder.entry(row, column, watts * nodes / _POWER_UNIT)


def _add_supply(draft: _Draft) -> None:
    grid = draft.market.grid
    for group in draft.market.supply:
        place = grid.at(group.pool, group.interval)
        price = grid.node_dollars(group.pool, group.price)
        column = draft.builder.column(-price, 0.0, group.nodes)
        _put(draft, "balance", place, column, 1.0)
        _put(draft, "recall" if group.recallable else "headroom", place, column, 1.0)


def _put_delivery(
    draft: _Draft, place: int, column: int, product: Product, nodes: float, counted: float
) -> None:
    """Entries of delivered nodes, of which ``counted`` may be reclaimed one by one."""
    _put(draft, "balance", place, column, -nodes)
    _put_power(draft, place, column, nodes)
    if product is Product.COVERED:
        _put(draft, "cover", place, column, -_theta(draft, place) * nodes)
    if product in RECALLED:
        _put(draft, "recall", place, column, -nodes)
    if product is Product.RECLAIMABLE and counted:
        _put(draft, "reclaimable", place, column, -counted)


def _add_deliveries(
    draft: _Draft, spec: AuctionSpec, seed: bytes
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    grid, builder = draft.market.grid, draft.builder
    credit = [
        grid.node_dollars(p, ties.pool_credit(seed, pool.pool_id, spec.tie_credit))
        for p, pool in enumerate(grid.pools)
    ]
    groups: list[int] = []
    pools: list[int] = []
    quantity: list[int] = []
    for position, group in enumerate(draft.market.demand):
        several = len(group.pools) > 1
        row = NONE
        unit = grid.pools[group.pools[0]].chips_per_node
        if several:
            row = builder.row(-INFINITY, group.chips / unit)
        quantity.append(row)
        for pool, value in zip(group.pools, group.values, strict=True):
            size = grid.pools[pool].chips_per_node
            gain = grid.node_dollars(pool, value - grid.charge[pool])
            column = builder.column(gain, 0.0, group.chips // size)
            draft.credits[column] = credit[pool]
            if several:
                builder.entry(row, column, size / unit)
            place = grid.at(pool, group.interval)
            _put_delivery(draft, place, column, group.product, 1.0, 1.0)
            groups.append(position)
            pools.append(pool)
    return tuple(groups), tuple(pools), tuple(quantity)


def _add_alternatives(draft: _Draft, spec: AuctionSpec, seed: bytes) -> tuple[int, ...]:
    market, builder = draft.market, draft.builder
    members: dict[int, list[int]] = defaultdict(list)
    for alternative in market.alternatives:
        gain = _alternative_gain(market, alternative)
        column = builder.column(gain * alternative.least_nodes, 0.0, 1.0, whole=True)
        credit = _alternative_credit(market, alternative, spec, seed)
        draft.credits[column] = credit * alternative.least_nodes
        members[alternative.family].append(column)
        for place in _places(market, alternative):
            _put_delivery(draft, place, column, alternative.product, alternative.least_nodes, 0.0)
    fill: list[int] = []
    first = len(builder.objective) - len(market.alternatives)
    for position, alternative in enumerate(market.alternatives):
        extra = alternative.most_nodes - alternative.least_nodes
        if extra == 0:
            fill.append(NONE)
            continue
        column = builder.column(_alternative_gain(market, alternative), 0.0, extra)
        draft.credits[column] = _alternative_credit(market, alternative, spec, seed)
        row = builder.row(-INFINITY, 0.0)
        builder.entry(row, column, 1.0)
        builder.entry(row, first + position, -extra)
        for place in _places(market, alternative):
            _put_delivery(draft, place, column, alternative.product, 1.0, 1.0)
        fill.append(column)
    for columns in members.values():
        if len(columns) > 1:
            row = builder.row(-INFINITY, 1.0)
            for column in columns:
                builder.entry(row, column, 1.0)
    return tuple(fill)


def _alternative_gain(market: Market, alternative: Alternative) -> float:
    """US dollars per node over the whole run, all intervals."""
    net = alternative.value - market.grid.charge[alternative.pool]
    return market.grid.node_dollars(alternative.pool, net) * (alternative.stop - alternative.first)


def _alternative_credit(
    market: Market, alternative: Alternative, spec: AuctionSpec, seed: bytes
) -> float:
    """US dollars per node over the whole run."""
    pool_id = market.grid.pools[alternative.pool].pool_id
    credit = ties.alternative_credit(
        seed, alternative.order_id, pool_id, alternative.first, spec.tie_credit
    )
    hours = alternative.stop - alternative.first
    return market.grid.node_dollars(alternative.pool, credit) * hours


def _places(market: Market, alternative: Alternative) -> range:
    start = market.grid.at(alternative.pool, alternative.first)
    return range(start, start + alternative.stop - alternative.first)


def _add_reserves(
    draft: _Draft, spec: AuctionSpec
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    market, builder, grid = draft.market, draft.builder, draft.market.grid
    places = range(len(draft.rows["balance"]))
    spare, reclaim, short = ([NONE] * len(places) for _ in range(3))
    penalty = spec.tariff.cover_shortfall_penalty / MICRO_USD_PER_USD
    for place in places:
        if place not in draft.covered:
            continue
        column = spare[place] = builder.column(0.0, 0.0, market.offered[place])
        _put(draft, "headroom", place, column, 1.0)
        _put(draft, "cover", place, column, 1.0)
        _put_power(draft, place, column, 1.0)
        if place in draft.countable:
            column = reclaim[place] = builder.column(0.0, 0.0, INFINITY)
            for name, value in (("cover", 1.0), ("reclaimable", 1.0), ("recall", 1.0)):
                _put(draft, name, place, column, value)
        needed = _base_cover(draft, place)
        if needed and not _coverable(market, place):
            size = grid.pools[place // grid.intervals].chips_per_node
            column = short[place] = builder.column(-penalty * size, 0.0, needed)
            _put(draft, "cover", place, column, 1.0)
    return tuple(spare), tuple(reclaim), tuple(short)


def _coverable(market: Market, place: int) -> bool:
    """Whether offered chips alone could cover the base load whatever site power allows."""
    grid = market.grid
    pool = grid.pools[place // grid.intervals]
    needed = divide_up(pool.node_spare_ppm * market.base_covered[place], PPM)
    limited = grid.power_limits[grid.site_of[place // grid.intervals]] is not None
    return not limited and market.offered[place] * pool.chips_per_node >= needed
