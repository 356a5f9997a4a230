"""Awarded quantities as columns: who sells, takes, stands by and is backed up, in chips.

``clearing.nodes`` makes them; prices, accounts, explanations and the outcome read them.
"""

from __future__ import annotations

from dataclasses import dataclass

from clearing.market import Flags, Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taken:
    """What bids take, one row per bid, pool, backup pool and interval, sorted by those.

    Attributes:
        bid: Position among step bids, block bids and work bids, in that order.
        pool, interval: Where and when.
        place: ``pool * intervals + interval``.
        backup: Backup pool, or ``NONE``.
        chips: Delivered, > 0.
        countable: Of them, chips that could be reclaimed node by node.
        reserve: Chips counted as NODE cover.
        site_reserve: Chips counted as SITE cover.
    """

    bid: Integers
    pool: Integers
    interval: Integers
    place: Integers
    backup: Integers
    chips: Integers
    countable: Integers
    reserve: Integers
    site_reserve: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """Chips that offers hold spare, one row per offer and place, sorted by those.

    Attributes:
        offer: Position in ``book.offers``.
        node: Chips for NODE cover.
        site: Chips for SITE cover.
    """

    offer: Integers
    place: Integers
    node: Integers
    site: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backed:
    """Backups of base load, one row per nomination, backup pool and interval, sorted by those."""

    nomination: Integers
    pool: Integers
    interval: Integers
    chips: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantities:
    """Awarded chips.

    Attributes:
        nodes: Whole nodes per column of the program; supply left over is not sold, and the
            columns of named base backups hold 0 (``backed`` has them in chips).
        active: Something is sold or delivered there.  # (places,)
        sold: Chips per member of a supply step, as ``Supply.member_offer``.
        flows: Chips per link and interval.  # (links, intervals)
        on: Unit and interval.  # (units, intervals)
    """

    nodes: Integers
    active: Flags
    sold: Integers
    taken: Taken
    held: Held
    backed: Backed
    flows: Integers
    on: Flags
