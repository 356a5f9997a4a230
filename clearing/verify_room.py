"""Whether one more node would fit: when nodes are sold whole, the next one may not.

Cover and power limits make the priced quantities fractional; awards are whole nodes, with
whole nodes in reserve. A step order may then be left short of its best response, and the
test of that is exact: give it one more node, and a row that the awards may not break breaks.
"""

from __future__ import annotations

from clearing.units import PPM, divide_up
from clearing.verify_view import Product, View, whole_nodes


def has_room(view: View, pool_id: str, interval: int, product: Product) -> bool:
    """Whether POWER and NODE_COVER would still hold with one more node delivered in a pool.

    A covered node may need one more node in reserve: reclaimables that are not counted yet,
    else an unsold chip beside the node itself. What is held may not fall, so that nobody
    else's cover pays for it. Source: DESIGN 4.2 "Whole nodes", 4.1 rows 6 and 8a.

    Args:
        view: Book and outcome.
        pool_id: Pool of the node.
        interval: Its interval.
        product: What the node would be bought as.
    """
    pool, totals = view.pools[pool_id], view.totals[pool_id]
    node = pool.chips_per_node
    standby = 0
    if product is Product.COVERED:
        covered = totals.covered[interval] + totals.base_covered[interval] + node
        needed = whole_nodes(divide_up(pool.node_spare_ppm * covered, PPM), node)
        uncounted = min(
            totals.reclaimable[interval],
            totals.recallable[interval] - totals.released[interval],
        )
        held = totals.spare[interval] + max(totals.reserve[interval], uncounted)
        standby = max(0, needed - held)
        used = totals.sold[interval] - totals.released[interval] + totals.spare[interval]
        if standby and used + standby + node > view.offered_firm[pool_id][interval]:
            return False
    limit = view.sites[pool.site_id].power_limit
    if limit is None:
        return True
    drawn = pool.chip_power * (node + standby)
    for name in view.pools_of_site[pool.site_id]:
        here, power = view.totals[name], view.pools[name].chip_power
        drawn += power * (here.base[interval] + here.delivered[interval] + here.spare[interval])
    return drawn <= limit
