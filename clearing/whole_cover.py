"""NODE cover in whole nodes: a row that no fractions of nodes can meet, for the certificate alone.

Where a place delivers nearly all that it has to covered bids, the last node that stands by covers
fewer of them than a full one would. With ``most = offered - nodes`` covered nodes at most, of which
``corner`` need one node less than ``nodes``, every whole-node award obeys

``steep * (spare + reserve) - covered >= steep * (nodes - 1) - corner``

with ``steep = most - corner``: the line through (corner, nodes - 1) and (most, nodes), which is
below the staircase wherever ``steep`` is not above the full nodes that one node covers
(docs/reference/clearing-rules.md, "Certificate").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearing.columns import Integers
from clearing.market import Market
from clearing.options import carried, inflow_of
from clearing.units import PPM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeCover:
    """The row of each place.

    Attributes:
        steep: Covered nodes that the last node carries; 0 where there is no row.  # (places,)
        corner: Most covered chips that need one node less.
        floor: Right-hand side, nodes times ``steep``; it may be negative.
    """

    steep: Integers
    corner: Integers
    floor: Integers


def whole_cover(market: Market) -> WholeCover:
    """Rows of every place of a market; those where base load lacks cover must not be used."""
    grid = market.grid
    node, theta = grid.node.repeat(grid.intervals), grid.theta.repeat(grid.intervals)
    offered = carried(market, market.offered + inflow_of(market)) // node
    steep, corner, nodes = last_step(node, theta, offered, market.base.covered)
    return WholeCover(
        steep=steep,
        corner=np.where(steep > 0, corner * node, 0),
        floor=np.where(steep > 0, steep * (nodes - 1) - corner, 0),
    )


def last_step(
    node: Integers, theta: Integers, offered: Integers, base: Integers
) -> tuple[Integers, Integers, Integers]:
    """The last step of the staircase of each place.

    Args:
        node: Chips per node.
        theta: Share that stands by, ppm.
        offered: Nodes that could be delivered or stand by.
        base: Covered base load, chips.

    Returns:
        ``steep`` (0 for no row), ``corner`` and ``nodes``, as in the text of this module.
    """
    # Chips <= 1e8 and theta <= 1e6: products stay below 1e15.
    nodes = -(-theta * (node * offered + base) // (node * (PPM + theta)))
    share = np.maximum(1, theta)
    corner = ((nodes - 1) * node * PPM - theta * base) // (share * node)
    steep = np.maximum(1, offered - nodes - corner)
    there = (theta > 0) & (nodes > 0) & (offered >= nodes) & (steep <= PPM // share)
    return np.where(there, steep, 0), corner, nodes
