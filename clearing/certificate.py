"""The certificate: multipliers of the relaxed problem, and the bound that they prove.

They are not the prices. Any non-negative duals bound the welfare of every feasible
outcome, so rounding them can loosen the bound a little and never falsify it. The bound is
computed from the market here and from the orders by the verifier.
"""

from __future__ import annotations

from clearing.accounts import Accounts, welfare
from clearing.model import NONE, Model
from clearing.outcome import Certificate, RowDual
from clearing.program import Floats
from clearing.responses import (
    Multipliers,
    best_total,
    charges_at_multipliers,
    charges_at_prices,
    room_of,
)
from clearing.units import MICRO_USD_PER_USD, PPM, PriceSeconds, divide_up


def certify(model: Model, accounts: Accounts, duals: Floats) -> Certificate:
    """Welfare of the awards, a bound on any, and the lost opportunity at the prices.

    Args:
        model: Where each row belongs.
        accounts: Awards and prices.
        duals: Row duals of the linear relaxation, US dollars per unit of the row.
    """
    market, blocks = model.market, accounts.book.block_bids
    multipliers = round_duals(model, duals)
    reached = welfare(accounts)
    at_prices = charges_at_prices(accounts.prices, market.grid.intervals)
    best = best_total(market, at_prices, blocks)
    earned = sum(accounts.surplus[offer.order_id] for offer in accounts.book.offers)
    earned += sum(accounts.surplus[name] for name in accounts.bids)
    return Certificate(
        duals=row_duals(model, multipliers),
        welfare=reached,
        bound=_bound(model, accounts, multipliers),
        gains=PriceSeconds(max(1, reached)),
        lost_opportunity=PriceSeconds(best - earned),
    )


def round_duals(model: Model, duals: Floats) -> Multipliers:
    """Row duals as whole micro-USD."""
    layout, grid = model.layout, model.market.grid

    def price(row: int, size: int) -> int:
        return 0 if row == NONE else round(abs(duals[row]) * MICRO_USD_PER_USD / size)

    sizes = [grid.pools[at // grid.intervals].chips_per_node for at in range(len(layout.balance))]
    spare = [price(row, size) for row, size in zip(layout.cover, sizes, strict=True)]
    recall = [price(row, size) for row, size in zip(layout.recall, sizes, strict=True)]
    reclaim = [price(row, size) for row, size in zip(layout.reclaimable, sizes, strict=True)]
    return Multipliers(
        energy=[price(row, size) for row, size in zip(layout.balance, sizes, strict=True)],
        spare=spare,
        recall=recall,
        # Where no interruptible could be reserve this costs nothing; elsewhere it undoes rounding.
        reclaim=[max(a, m - b) for a, m, b in zip(reclaim, spare, recall, strict=True)],
        power=[
            0
            if row == NONE
            else round(abs(duals[row]) * MICRO_USD_PER_USD * 1_000 / layout.power_unit)
            for row in layout.power
        ],
    )


def row_duals(model: Model, duals: Multipliers) -> tuple[RowDual, ...]:
    """Non-zero certificate duals, sorted."""
    grid = model.market.grid
    pools = [pool.pool_id for pool in grid.pools]
    rows = (
        ("BALANCE", pools, duals.energy),
        ("NODE_COVER", pools, duals.spare),
        ("RECALLABLE", pools, duals.recall),
        ("RECLAIMABLE", pools, duals.reclaim),
        ("SITE_POWER", grid.site_ids, duals.power),
    )
    found = [
        RowDual(
            row=row,
            subject=subjects[place // grid.intervals],
            interval=place % grid.intervals,
            value=value,
        )
        for row, subjects, series in rows
        for place, value in enumerate(series)
        if value > 0
    ]
    return tuple(sorted(found, key=lambda dual: (dual.row, dual.subject, dual.interval)))


def _bound(model: Model, accounts: Accounts, duals: Multipliers) -> PriceSeconds:
    """Best responses at the duals, and the right-hand sides of the rows times the duals."""
    market, grid, tally = model.market, model.market.grid, accounts.tally
    charges = charges_at_multipliers(market, duals)
    total = best_total(market, charges, accounts.book.block_bids, room_of(market))
    drawn = [0] * len(duals.power)
    rents = 0
    for place, base in enumerate(market.base):
        at, interval = divmod(place, grid.intervals)
        pool = grid.pools[at]
        drawn[grid.site_of[at] * grid.intervals + interval] += base * pool.chip_power
        needed = pool.node_spare_ppm * market.base_covered[place]
        short = needed - PPM * (tally.spare[place] + tally.reserve[place])
        if tally.covered[place] or short < 0:
            short = 0
        rents -= duals.spare[place] * (needed - short)
    for place, value in enumerate(duals.power):
        limit = grid.power_limits[place // grid.intervals]
        if limit is not None:
            rents += 1_000 * value * max(0, limit - drawn[place])
    return PriceSeconds(divide_up(total + rents * grid.duration_s, PPM))
