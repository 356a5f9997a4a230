"""The market as the coordination sees it: chips, US dollars per chip-hour, flat arrays of floats.

Every coupling row of the clearing problem has one multiplier in a flat vector ``x``:

========= ======================= ==========================================================
section   one per                 multiplier
========= ======================= ==========================================================
0         place                   pi of the balance
places    place                   mu of NODE cover
2 places  place                   the part of lambda_b that released base load asks for
slot      slot and interval used  mu of SITE cover
power     site and interval       nu, per kilowatt
work      work group              price of its last chip-interval
========= ======================= ==========================================================

The other multipliers follow: lambda_b is what SITE cover and released base load ask for,
lambda_a what is left of mu, and the price of a spare chip is the dearest thing it can do.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clearing.market import Flags, Integers
from clearing.program import Floats
from clearing.search.coordinate.curves import Curves

Indices = npt.NDArray[np.int32]
"""Positions in arrays that are read for every alternative: half the memory to stream."""

PLAIN: Final = 0
COVERED: Final = 1
RECALL: Final = 2
RECLAIM: Final = 3
TABLES: Final = 4
"""Kinds of delivered chips by what they pay: plain, with NODE cover, recallable, node-wise
reclaimable. SITE cover pays plain and the price of its slot."""


class Places(NamedTuple):
    """Places and the multipliers that live at them.

    Attributes:
        pools, intervals: Counts.
        at_slot, at_power, at_work, size: Sections of ``x``.
        theta: Spare share.  # (places,)
        kilowatts: Per chip.  # (places,)
        limit_of: Power row of a place, or -1.  # (places,)
        offered: Chips of divisible supply, no released base load.  # (places,)
        recalled: lambda_b may be above zero.  # (places,)
        row_start: Multipliers of slots whose backups stand at the place, ragged; they follow
            one another in ``x``.  # (places + 1,)
        slot_pool: Backup pool of each slot.
        slot_row: Multiplier of a slot and interval, or -1.  # (slots * intervals,)
        base_cover: Chips of spare that base load asks for, less its shortage.  # (places,)
        room: Kilowatts that base load leaves.  # (power rows,)
        open: The multiplier exists.  # (size,)
        floor: Least value of a multiplier.  # (size,)
        ref: Size of a price at which the multiplier moves.  # (size,)
        depth: Chips (or kilowatts) that may lie on the row: damping per unit.  # (size,)
    """

    pools: int
    intervals: int
    at_slot: int
    at_power: int
    at_work: int
    size: int
    theta: Floats
    kilowatts: Floats
    limit_of: Integers
    offered: Floats
    recalled: Flags
    row_start: Integers
    slot_pool: Integers
    slot_row: Integers
    base_cover: Floats
    room: Floats
    open: Flags
    floor: Floats
    ref: Floats
    depth: Floats


class Baskets(NamedTuple):
    """Divisible demand that is indifferent between the same ways to be served.

    All cells of a basket value its first arc at their limit and every other arc by the same amount
    more
    or less, so the basket has one price: the least of its arcs' prices less ``offset``.

    Attributes:
        start: Arcs, ragged.
        table, place, row, offset: Per arc; ``row`` is the multiplier of its slot or -1.
        scale: Typical limit: temperatures are shares of it.
        step_curve: Limits of step cells, turned: one list per basket.
        work_start, work_value, work_rate, work_group: Work cells per basket, ragged.
    """

    start: Integers
    table: Integers
    place: Integers
    row: Integers
    offset: Floats
    scale: Floats
    step_curve: Curves
    work_start: Integers
    work_value: Floats
    work_rate: Floats
    work_group: Integers


class Picks(NamedTuple):
    """Alternatives of block bids, those of a pick together.

    An alternative is *plain* if it is the same chips in all intervals, all of them pay the
    same and it has no backup: then ``low``, ``high``, ``chips`` and ``worth`` say everything.

    Attributes:
        start: Alternatives of each pick, ragged.
        down: Linked picks, parents before children.
        parent: Order that a pick needs, or -1.
        linked: The pick has a parent, or one of its orders has children.
        simple: Not linked, and all its alternatives are plain.
        scale: Largest value of an alternative, US dollars.
        low, high: Where its run starts and ends in the running sums of its least chips' price.
        rest: From there to those of its chips above the least.
        chips: At full fill.
        worth: Value less charges of a full fill over the run, restart cost kept included.
        plain: See above.
        order, pool, first, stop: Per alternative.
        slot: Slot, or -1.
        least, extra: Chips at minimum fill, and above it.
        table: What the least chips pay.
        shape: First entry in ``shape_chips``, or -1 where the run is flat.
        shape_chips: Chips by interval.
        source: Position among the market's alternatives.
        orders: Number of block bids.
    """

    start: Integers
    down: Integers
    parent: Integers
    linked: Flags
    simple: Flags
    scale: Floats
    low: Indices
    high: Indices
    rest: Indices
    chips: Floats
    worth: Floats
    plain: Flags
    order: Integers
    pool: Integers
    first: Integers
    stop: Integers
    slot: Integers
    least: Floats
    extra: Floats
    table: Integers
    shape: Integers
    shape_chips: Floats
    source: Integers
    orders: int


class Units(NamedTuple):
    """Supply with commitments.

    Attributes:
        pool, whole, min_run: Per unit.
        start_up, no_load: US dollars per hour of an interval.
        start: Steps of each unit and interval, cheapest first, ragged.
        price, chips: Per step.
        least: Chips sold at least while on.  # (units * intervals,)
        offered: Chips.  # (units * intervals,)
        scale: Money that an interval of the unit is about.  # (units,)
    """

    pool: Integers
    whole: Flags
    min_run: Integers
    start_up: Floats
    no_load: Floats
    start: Integers
    price: Floats
    chips: Floats
    least: Floats
    offered: Floats
    scale: Floats


class Flows(NamedTuple):
    """Links and named backups of base load.

    Attributes:
        source, target: Places of each link and interval.
        least, most: Chips.
        backed_chips: Base load with SITE cover, less its shortage, per row.
        backed_start, backed_row: Multipliers of its candidates' slots, ragged.
    """

    source: Integers
    target: Integers
    least: Floats
    most: Floats
    backed_chips: Floats
    backed_start: Integers
    backed_row: Integers


class Problem(NamedTuple):
    """Everything that the loops read.

    Attributes:
        supply: Divisible supply by place.
        released: Released base load by place.
        work_chips: Chip-intervals per work group.
    """

    places: Places
    supply: Curves
    released: Curves
    baskets: Baskets
    picks: Picks
    units: Units
    flows: Flows
    work_chips: Floats
