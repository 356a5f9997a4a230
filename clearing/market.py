"""The market in a book, as columns: what can be sold, bought, chosen and must be served.

Everything the engine does after reading a book works on these arrays, so that a book of a
million steps costs arrays and not objects. ``clearing.reading`` fills them from a canonical book;
``clearing.model`` writes the program. Positions refer to the canonical book: a pool is its
position in ``book.pools``, an offer its position in ``book.offers`` and so on. A *place* is
``pool * intervals + interval``. Prices are micro-USD per chip-hour, quantities whole nodes of the
pool unless "chips" is said. All integer arrays are int64, all flags bool; ``NONE`` (-1) means "no
such".

Ragged columns are compressed: the members of row ``i`` are ``[start[i] : start[i + 1]]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from clearing.types import Pool
from clearing.units import MICRO_USD_PER_USD

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NONE: Final = -1


class Product(IntEnum):
    """What a bid buys: which parts of the price it pays and in which rows it counts."""

    COVERED = 0
    """Firm with NODE cover."""
    SITE = 1
    """Firm with SITE cover."""
    UNCOVERED = 2
    """Firm without cover."""
    RECLAIMABLE = 3
    """Interruptible within the NODE cover time: counts in both rows."""
    RECALLABLE = 4
    """Interruptible within the recall time only."""
    UNCOUNTED = 5
    """Interruptible whose notice is too long to count."""


RECALLED: Final = (Product.RECLAIMABLE, Product.RECALLABLE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Pools, sites and intervals by position.

    Attributes:
        duration_s: Length of every interval.
        position: Pool position by identifier.
        site: Site of each pool.  # (pools,)
        node: Chips per node.  # (pools,)
        charge: Surcharge plus fee per delivered chip-hour, micro-USD.  # (pools,)
        power: Watts per chip.  # (pools,)
        theta: NODE spare share, ppm.  # (pools,)
        power_limit: Watts, ``NONE`` without a limit.  # (sites,)
    """

    pools: tuple[Pool, ...]
    site_ids: tuple[str, ...]
    intervals: int
    duration_s: int
    position: dict[str, int]
    site: Integers
    node: Integers
    charge: Integers
    power: Integers
    theta: Integers
    power_limit: Integers

    def at(self, pool: int, interval: int) -> int:
        """The place of a pool and an interval."""
        return pool * self.intervals + interval

    def node_dollars(self, pool: int, price: float) -> float:
        """Micro-USD per chip-hour as US dollars per node-hour."""
        return price * int(self.node[pool]) / MICRO_USD_PER_USD

    @property
    def places(self) -> int:
        """Number of (pool, interval) pairs."""
        return len(self.pools) * self.intervals


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Supply:
    """Supply steps, equal ones merged: same place, price, ``released`` and unit; sorted by those.

    Attributes:
        released: Released base load: sold to recallable interruptibles only.
        unit: Commitment that must be on (position in ``Units``), or ``NONE``.
        member_start, member_offer, member_chips: Who is in it and with how many chips,
            sorted by offer.
    """

    place: Integers
    price: Integers
    nodes: Integers
    released: Flags
    unit: Integers
    member_start: Integers
    member_offer: Integers
    member_chips: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """Offers with a commitment.

    Attributes:
        offer: Position in ``book.offers``.  # (units,)
        start_up, no_load: Micro-USD.  # (units,)
        min_run: Intervals.  # (units,)
        whole: Supply blocks.  # (units,)
        offered: Nodes per interval, 0 where it cannot be on.  # (units, intervals)
        least: Nodes it must sell while on; all of them for supply blocks.  # (units, intervals)
    """

    offer: Integers
    pool: Integers
    start_up: Integers
    no_load: Integers
    min_run: Integers
    whole: Flags
    offered: Integers
    least: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demand:
    """Divisible demand: *cells*, each with one limit on chips over all its arcs.

    Equal bid steps (interval, eligible pools and values, product) are one cell; a work group
    has one cell per interval of its window. A cell's *arcs* are the ways to serve it: a pool and,
    for SITE cover, a backup pool.

    Attributes:
        interval: Per cell.
        chips: Most chips, summed over the members.
        product: ``Product`` value per cell.
        work: Work group of the cell, or ``NONE`` for bid steps.
        member_start, member_bid, member_chips: Members of a step cell, positions in
            ``book.step_bids``, sorted; a work cell has none here.
        arc_cell, arc_pool, arc_place, arc_value, arc_backup: Per arc, sorted by
            (cell, pool, backup); ``arc_value`` is the all-in limit per chip there.
        work_chips: Most chip-intervals of a work group (work / duration), all members.
        work_member_start, work_member_bid: Members of each work group, positions in
            ``book.work_bids``: identical in everything but identity.
    """

    interval: Integers
    chips: Integers
    product: Integers
    work: Integers
    member_start: Integers
    member_bid: Integers
    member_chips: Integers
    arc_cell: Integers
    arc_pool: Integers
    arc_place: Integers
    arc_value: Integers
    arc_backup: Integers
    work_chips: Integers
    work_member_start: Integers
    work_member_bid: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """Alternatives of block bids; none in a pool too small for its least nodes and its cover.

    Sorted by (order, pool, first, backup). A *pick* is an exclusive group or a single order: at
    most one of its alternatives is chosen, and none unless its parent order is.

    Attributes:
        order: Position in ``book.block_bids``.  # (alternatives,)
        pool, first, stop: Where and when.
        backup: Backup pool, or ``NONE``.
        value: All-in limit per chip.
        product: ``Product`` value.
        least, most: Nodes at minimum and at full fill (equal: all or none).
        shape: First entry in ``shape_nodes`` for a profile, ``NONE`` where it is flat.
        shape_nodes: Nodes per interval of the run.
        kept: Restart cost kept by choosing it, micro-USD per chip of it, once; 0 for none.
        pick_of_order: Pick of each block bid.  # (block bids,)
        pick_parent: Block bid whose acceptance a pick needs, or ``NONE``.  # (picks,)
        family_of_pick: Family of each pick.  # (picks,)
        families: Number of families.
    """

    order: Integers
    pool: Integers
    first: Integers
    stop: Integers
    backup: Integers
    value: Integers
    product: Integers
    least: Integers
    most: Integers
    shape: Integers
    shape_nodes: Integers
    kept: Integers
    pick_of_order: Integers
    pick_parent: Integers
    family_of_pick: Integers
    families: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Base:
    """Base load that site power can carry.

    Attributes:
        served: Chips.  # (nominations, intervals)
        chips: Served chips, ``covered`` those of them with NODE cover.  # (places,)
        backed_place, backed_chips: Served chips with SITE cover, per place and set of
            candidates; sorted by place.  # (backed,)
        backed_start, backed_pool: Candidates of each, ragged.
        backed_of: Row of ``backed_place`` for each nomination and interval, ``NONE``
            where it has none.  # (nominations, intervals)
    """

    served: Integers
    chips: Integers
    covered: Integers
    backed_place: Integers
    backed_chips: Integers
    backed_start: Integers
    backed_pool: Integers
    backed_of: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Links:
    """Interties.

    Attributes:
        source, target: Pools.  # (links,)
        least, most: Nodes per interval.  # (links, intervals)
    """

    source: Integers
    target: Integers
    least: Integers
    most: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Market:
    """A book as columns.

    Attributes:
        offered: Offered nodes without released base load, commitments included.  # (places,)
        released: Nodes of released base load.  # (places,)
        eligible_start, eligible_pool: Eligible pools of each bid, ragged; bids in the order
            step_bids, block_bids, work_bids.
        step_product, block_product, work_product: ``Product`` values by position in the book.
        equal_balance: The price floor is negative: nothing is left over.
    """

    grid: Grid
    supply: Supply
    units: Units
    demand: Demand
    blocks: Blocks
    base: Base
    links: Links
    offered: Integers
    released: Integers
    eligible_start: Integers
    eligible_pool: Integers
    step_product: Integers
    block_product: Integers
    work_product: Integers
    equal_balance: bool
