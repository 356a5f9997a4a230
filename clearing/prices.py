"""Published prices as columns: whole micro-USD per place, each all-in price the sum of its parts.

Everything after the price choice (whole nodes, accounts, explanations, lost opportunity) reads
these, and ``clearing.pricing.parts`` turns them into ``PoolPrice`` and ``BackupPrice``.
"""

from __future__ import annotations

from dataclasses import dataclass

from clearing.market import Grid, Integers, Product


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prices:
    """Micro-USD per chip-hour, int64, per place; names as in ``clearing.outcome.PoolPrice``.

    Attributes:
        backup: mu_S per slot and interval, flat (``Layout.slot_row``).
    """

    energy: Integers
    power: Integers
    spare: Integers
    node_cover: Integers
    availability: Integers
    recall: Integers
    site_spare: Integers
    backup: Integers

    def paid(self, grid: Grid, product: Product) -> Integers:
        """All-in price of a product per place; a SITE bid pays its backup price on top."""
        total: Integers = self.energy + self.power + grid.charge.repeat(grid.intervals)
        if product is Product.COVERED:
            return total + self.node_cover
        if product is Product.RECALLABLE:
            return total - self.recall
        if product is Product.RECLAIMABLE:
            return total - self.recall - self.availability
        return total
