"""Certificate duals: the multipliers of the relaxed problem, as integers anybody can use.

They are not the prices. Any non-negative duals bound the welfare of every feasible
outcome, so rounding them can loosen the bound a little and never falsify it. The bound
itself is computed by the published rule of ``clearing.verify_bound``.
"""

from __future__ import annotations

from clearing.model import NONE, Model
from clearing.outcome import RowDual
from clearing.program import Floats
from clearing.units import MICRO_USD_PER_USD


def row_duals(model: Model, duals: Floats) -> tuple[RowDual, ...]:
    """Non-zero certificate duals, sorted.

    Args:
        model: Where each row belongs.
        duals: Row duals of the linear relaxation, US dollars per unit of the row.
    """
    layout, grid = model.layout, model.market.grid
    found: list[RowDual] = []
    for place in range(len(layout.balance)):
        pool, interval = divmod(place, grid.intervals)
        size, pool_id = grid.pools[pool].chips_per_node, grid.pools[pool].pool_id

        def price(row: int, size: int = size) -> int:
            return 0 if row == NONE else round(abs(duals[row]) * MICRO_USD_PER_USD / size)

        spare, recall = price(layout.cover[place]), price(layout.recall[place])
        # Where no interruptible could be reserve this costs nothing; elsewhere it undoes rounding.
        reclaim = max(price(layout.reclaimable[place]), spare - recall)
        for row, value in (
            ("BALANCE", price(layout.balance[place])),
            ("NODE_COVER", spare),
            ("RECALLABLE", recall),
            ("RECLAIMABLE", reclaim),
        ):
            if value > 0:
                found.append(RowDual(row=row, subject=pool_id, interval=interval, value=value))
    for place, at in enumerate(layout.power):
        if at != NONE:
            site, interval = divmod(place, grid.intervals)
            per_unit = abs(duals[at]) * MICRO_USD_PER_USD
            value = round(per_unit * 1_000 / layout.power_unit)
            if value > 0:
                found.append(
                    RowDual(
                        row="SITE_POWER",
                        subject=grid.site_ids[site],
                        interval=interval,
                        value=value,
                    )
                )
    return tuple(sorted(found, key=lambda dual: (dual.row, dual.subject, dual.interval)))
