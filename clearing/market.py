"""The market in a book: groups of equal steps, alternatives of blocks, base load served.

Equal steps (same interval, pools, value per chip and counting rows) are one group and
are shared out after the solve, pro rata. Every non-convex order is a list of
alternatives, of which at most one per family is chosen. Quantities are whole nodes,
values micro-USD per chip-hour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from clearing import ties
from clearing.eligibility import resolve
from clearing.types import (
    BlockBid,
    Book,
    Cover,
    Eligibility,
    Nomination,
    Pool,
    Segment,
    ServiceClass,
    Step,
    StepBid,
    Tariff,
)
from clearing.units import MICRO_USD_PER_USD, PPM, divide_up, share_ppm


class Product(Enum):
    """What a bid buys: which parts of the price it pays and in which rows it counts."""

    COVERED = "COVERED"
    """Firm with NODE cover."""
    UNCOVERED = "UNCOVERED"
    """Firm without cover."""
    RECLAIMABLE = "RECLAIMABLE"
    """Interruptible within the NODE cover time: counts in both reclaimable rows."""
    RECALLABLE = "RECALLABLE"
    """Interruptible within the recall time only."""
    UNCOUNTED = "UNCOUNTED"
    """Interruptible whose notice is too long to count."""


RECALLED: Final = frozenset({Product.RECLAIMABLE, Product.RECALLABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Pools and intervals by position.

    Attributes:
        duration_s: Length of every interval.
        site_of: Site position of each pool.
        charge: Surcharge plus fee per delivered chip-hour, micro-USD, per pool.
    """

    pools: tuple[Pool, ...]
    site_ids: tuple[str, ...]
    power_limits: tuple[int | None, ...]
    intervals: int
    duration_s: int
    site_of: tuple[int, ...]
    charge: tuple[int, ...]
    position: dict[str, int]

    def at(self, pool: int, interval: int) -> int:
        """Position of a (pool, interval) pair in flat arrays."""
        return pool * self.intervals + interval

    def node_dollars(self, pool: int, price: int) -> float:
        """Micro-USD per chip-hour as US dollars per node-hour."""
        return price * self.pools[pool].chips_per_node / MICRO_USD_PER_USD


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyGroup:
    """Equal supply steps of one pool and interval; ``members`` are (order, chips), by order."""

    pool: int
    interval: int
    price: int
    recallable: bool
    members: tuple[tuple[str, int], ...]
    nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandGroup:
    """Equal bid steps of one interval.

    Attributes:
        pools: Eligible pools.
        values: All-in limit per chip in each of them, micro-USD per chip-hour.
        members: (order, chips), sorted by order.
        chips: Sum over the members.
    """

    interval: int
    pools: tuple[int, ...]
    values: tuple[int, ...]
    product: Product
    members: tuple[tuple[str, int], ...]
    chips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One way to accept a block; there is none in a pool too small for its minimum and its cover.

    Attributes:
        family: Position of its family: at most one alternative of a family is chosen.
        value: All-in limit per chip in this pool, micro-USD per chip-hour.
        least_nodes: Minimum fill, up to whole nodes.
        most_nodes: Full quantity.
    """

    order_id: str
    family: int
    pool: int
    first: int
    stop: int
    value: int
    product: Product
    least_nodes: int
    most_nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Book reduced to groups, alternatives and requirements.

    Attributes:
        families: Order ids that share one "at most one" rule, sorted, per family.
        base: Served base load in chips per (pool, interval), flat.
        base_covered: The part of it with NODE cover.
        base_served: Chips served per nomination and interval.
        eligible: Pools per bid; ``product`` what it buys.
        offered: Offered nodes per (pool, interval) without released base; ``released`` those of it.
    """

    grid: Grid
    supply: tuple[SupplyGroup, ...]
    demand: tuple[DemandGroup, ...]
    alternatives: tuple[Alternative, ...]
    families: tuple[tuple[str, ...], ...]
    base: tuple[int, ...]
    base_covered: tuple[int, ...]
    base_served: dict[str, tuple[int, ...]]
    offered: tuple[int, ...]
    released: tuple[int, ...]
    eligible: dict[str, tuple[str, ...]]
    product: dict[str, Product]


def product_of(bid: StepBid | BlockBid, tariff: Tariff) -> Product:
    """Product that a bid buys (DESIGN 4.1 row 8: notice within the cover time)."""
    if bid.service_class is not ServiceClass.INTERRUPTIBLE:
        return Product.COVERED if bid.cover is Cover.NODE else Product.UNCOVERED
    if bid.notice_s <= tariff.node_cover_notice_s:
        return Product.RECLAIMABLE
    if bid.notice_s <= tariff.site_cover_notice_s:
        return Product.RECALLABLE
    return Product.UNCOUNTED


def value_in(bid: StepBid | BlockBid, price: int, pool: Pool) -> int:
    """A bid's limit per chip of a pool: its own conversion factor scales the value."""
    for conversion in bid.conversions:
        if conversion.chip_class == pool.chip_class:
            return share_ppm(price, conversion.factor_ppm)
    return price


def cover_chips(pool: Pool, covered: int) -> int:
    """Chips in whole nodes that stand by for so many covered chips of a pool.

    They are offered chips beside the covered ones: spare, or sold to an interruptible that
    is not on released base load.
    """
    wanted = divide_up(covered * pool.node_spare_ppm, PPM)
    return divide_up(wanted, pool.chips_per_node) * pool.chips_per_node


def read_market(book: Book, seed: bytes) -> Market:
    """Reduce a validated canonical book to groups, alternatives and requirements."""
    grid = _grid(book)
    lookup = _eligible_pools(book)
    supply = _supply_groups(book, grid)
    offered = [0] * (len(grid.pools) * grid.intervals)
    released = [0] * len(offered)
    for group in supply:
        into = released if group.recallable else offered
        into[grid.at(group.pool, group.interval)] += group.nodes
    served = _serve_base(book, grid, seed)
    base, base_covered = [0] * len(offered), [0] * len(offered)
    for nomination in book.nominations:
        pool = grid.position[nomination.pool_id]
        for interval, chips in enumerate(served[nomination.order_id]):
            base[grid.at(pool, interval)] += chips
            if nomination.cover is Cover.NODE:
                base_covered[grid.at(pool, interval)] += chips
    bids: tuple[StepBid | BlockBid, ...] = (*book.step_bids, *book.block_bids)
    eligible = {bid.order_id: lookup(bid.where) for bid in bids}
    families = _families(book)
    supply_nodes = (offered, released, base_covered)
    alternatives = _alternatives(book, grid, eligible, families, supply_nodes)
    return Market(
        grid=grid,
        supply=supply,
        demand=_demand_groups(book, grid, eligible),
        alternatives=alternatives,
        families=tuple(families),
        base=tuple(base),
        base_covered=tuple(base_covered),
        base_served=served,
        offered=tuple(offered),
        released=tuple(released),
        eligible=eligible,
        product={bid.order_id: product_of(bid, book.spec.tariff) for bid in bids},
    )


def _grid(book: Book) -> Grid:
    sites = {site.site_id: position for position, site in enumerate(book.sites)}
    fee = book.spec.operator_fee
    return Grid(
        pools=book.pools,
        site_ids=tuple(site.site_id for site in book.sites),
        power_limits=tuple(site.power_limit for site in book.sites),
        intervals=len(book.spec.intervals),
        duration_s=book.spec.intervals[0].duration_s,
        site_of=tuple(sites[pool.site_id] for pool in book.pools),
        charge=tuple(book.sites[sites[pool.site_id]].surcharge + fee for pool in book.pools),
        position={pool.pool_id: position for position, pool in enumerate(book.pools)},
    )


def _eligible_pools(book: Book) -> Callable[[Eligibility], tuple[str, ...]]:
    sites = {site.site_id: site for site in book.sites}
    pools = {pool.pool_id: pool for pool in book.pools}
    known: dict[Eligibility, tuple[str, ...]] = {}

    def lookup(where: Eligibility) -> tuple[str, ...]:
        if where not in known:
            named = [pools[name] for name in where.pool_ids] if where.pool_ids else book.pools
            known[where] = resolve(where, sites, named).eligible
        return known[where]

    return lookup


def _supply_groups(book: Book, grid: Grid) -> tuple[SupplyGroup, ...]:
    members: dict[tuple[int, int, int, bool], list[tuple[str, int]]] = defaultdict(list)
    for offer in book.offers:
        pool = grid.position[offer.pool_id]
        for segment in offer.segments:
            for step in segment.steps:
                for interval in range(segment.first, segment.stop):
                    key = (pool, interval, step.price, offer.recallable)
                    members[key].append((offer.order_id, step.chips))
    return tuple(
        SupplyGroup(
            pool=pool,
            interval=interval,
            price=price,
            recallable=recallable,
            members=tuple(held),
            nodes=sum(chips for _, chips in held) // grid.pools[pool].chips_per_node,
        )
        for (pool, interval, price, recallable), held in sorted(members.items())
    )


def _demand_groups(
    book: Book, grid: Grid, eligible: dict[str, tuple[str, ...]]
) -> tuple[DemandGroup, ...]:
    members: dict[tuple[int, tuple[int, ...], tuple[int, ...], str], list[tuple[str, int]]] = (
        defaultdict(list)
    )
    for bid in book.step_bids:
        pools = tuple(grid.position[name] for name in eligible[bid.order_id])
        if not pools:
            continue
        product = product_of(bid, book.spec.tariff).value
        for segment in bid.segments:
            for step in segment.steps:
                values = tuple(value_in(bid, step.price, grid.pools[pool]) for pool in pools)
                for interval in range(segment.first, segment.stop):
                    key = (interval, pools, values, product)
                    members[key].append((bid.order_id, step.chips))
    return tuple(
        DemandGroup(
            interval=interval,
            pools=pools,
            values=values,
            product=Product(product),
            members=tuple(held),
            chips=sum(chips for _, chips in held),
        )
        for (interval, pools, values, product), held in sorted(members.items())
    )


def _families(book: Book) -> list[tuple[str, ...]]:
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for bid in book.block_bids:
        key = (bid.participant_id, bid.exclusive_group) if bid.exclusive_group else ("", "")
        if bid.exclusive_group:
            grouped[key].append(bid.order_id)
    alone = [(bid.order_id,) for bid in book.block_bids if not bid.exclusive_group]
    return sorted([*alone, *(tuple(sorted(ids)) for ids in grouped.values())])


def _alternatives(
    book: Book,
    grid: Grid,
    eligible: dict[str, tuple[str, ...]],
    families: list[tuple[str, ...]],
    supply: tuple[list[int], list[int], list[int]],
) -> tuple[Alternative, ...]:
    family_of = {name: position for position, ids in enumerate(families) for name in ids}
    offered, released, base_covered = supply
    found: list[Alternative] = []
    for bid in book.block_bids:
        product = product_of(bid, book.spec.tariff)
        first, stop = bid.earliest_start, bid.earliest_start + bid.duration
        for name in eligible[bid.order_id]:
            pool = grid.position[name]
            size = grid.pools[pool].chips_per_node
            spots = range(grid.at(pool, first), grid.at(pool, first) + bid.duration)
            least = divide_up(divide_up(bid.chips * bid.min_fill_ppm, PPM), size)
            if product is Product.COVERED:
                held = [
                    cover_chips(grid.pools[pool], least * size + base_covered[s]) for s in spots
                ]
                room = min(offered[s] - h // size for s, h in zip(spots, held, strict=True))
            else:
                room = min(offered[s] + (released[s] if product in RECALLED else 0) for s in spots)
            if least > room:
                continue
            found.append(
                Alternative(
                    order_id=bid.order_id,
                    family=family_of[bid.order_id],
                    pool=pool,
                    first=first,
                    stop=stop,
                    value=value_in(bid, bid.limit_price, grid.pools[pool]),
                    product=product,
                    least_nodes=least,
                    most_nodes=bid.chips // size,
                )
            )
    return tuple(found)


def _serve_base(book: Book, grid: Grid, seed: bytes) -> dict[str, tuple[int, ...]]:
    """Base load that site power can carry: all of it, or pro rata whole nodes where it cannot.

    Nothing else may take power before base load (penalty ladder: base first), so its
    shortfall is known before the market is solved and never enters it.
    """
    served = {n.order_id: list(_nominated(n, grid.intervals)) for n in book.nominations}
    for site, limit in enumerate(grid.power_limits):
        if limit is None:
            continue
        local = [n for n in book.nominations if grid.site_of[grid.position[n.pool_id]] == site]
        for interval in range(grid.intervals):
            drawn = sum(
                served[n.order_id][interval] * grid.pools[grid.position[n.pool_id]].chip_power
                for n in local
            )
            if drawn <= limit:
                continue
            left = limit
            for n in sorted(
                local, key=lambda n: ties.sharing_key(seed, n.order_id, n.pool_id, interval)
            ):
                pool = grid.pools[grid.position[n.pool_id]]
                wanted = served[n.order_id][interval]
                share = wanted * limit // drawn
                if pool.chip_power == 0:
                    share = wanted
                chips = share - share % pool.chips_per_node
                served[n.order_id][interval] = chips
                left -= chips * pool.chip_power
            _top_up_base(local, grid, interval, served, left)
    return {name: tuple(chips) for name, chips in served.items()}


def _top_up_base(
    local: list[Nomination], grid: Grid, interval: int, served: dict[str, list[int]], left: int
) -> None:
    """Give back the nodes that rounding down left, one each, in order of identifier."""
    for nomination in local:
        pool = grid.pools[grid.position[nomination.pool_id]]
        node_power = pool.chip_power * pool.chips_per_node
        short = _nominated(nomination, grid.intervals)[interval]
        if served[nomination.order_id][interval] < short and 0 < node_power <= left:
            served[nomination.order_id][interval] += pool.chips_per_node
            left -= node_power


def _nominated(nomination: Nomination, intervals: int) -> tuple[int, ...]:
    return tuple(
        sum(step.chips for step in steps_at(nomination.segments, interval))
        for interval in range(intervals)
    )


def steps_at(segments: tuple[Segment, ...], interval: int) -> tuple[Step, ...]:
    """The curve in one interval; empty outside the segments."""
    for segment in segments:
        if segment.first <= interval < segment.stop:
            return segment.steps
    return ()
