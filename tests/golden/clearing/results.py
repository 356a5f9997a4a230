"""Reading an outcome in the words of the worked examples: dollars, chips, names."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clearing.auction import clear
from clearing.outcome import Outcome, PoolPrice, Reason
from clearing.types import Book, PricingRule
from clearing.units import SECONDS_PER_HOUR
from clearing.verify import verify
from tests.golden.clearing.books import SEED


@dataclass(frozen=True, kw_only=True)
class Result:
    outcome: Outcome

    def chips(self, order_id: str) -> int:
        return sum(sum(a.chips) for a in self.outcome.awards if a.order_id == order_id)

    def taken(self, order_id: str) -> dict[tuple[str, int], int]:
        """Chips by pool and interval."""
        return {
            (a.pool_id, t): chips
            for a in self.outcome.awards
            if a.order_id == order_id
            for t, chips in enumerate(a.chips, a.first)
            if chips
        }

    def held(self, order_id: str) -> int:
        return sum(sum(a.reserve) for a in self.outcome.awards if a.order_id == order_id)

    def held_for_site(self, order_id: str) -> int:
        return sum(sum(a.site_reserve) for a in self.outcome.awards if a.order_id == order_id)

    def backups(self, order_id: str) -> dict[tuple[str, str], int]:
        """Chips by pool and backup pool."""
        return {
            (a.pool_id, b.pool_id): sum(b.chips)
            for a in self.outcome.awards
            if a.order_id == order_id
            for b in a.backups
        }

    def pools(self, order_id: str) -> list[str]:
        return [a.pool_id for a in self.outcome.awards if a.order_id == order_id]

    def price(self, pool_id: str = "A", interval: int = 0) -> PoolPrice:
        return next(
            p for p in self.outcome.prices if (p.pool_id, p.interval) == (pool_id, interval)
        )

    def backup_price(self, site_id: str, pool_id: str) -> int:
        return sum(
            p.price
            for p in self.outcome.backup_prices
            if (p.site_id, p.pool_id, p.interval) == (site_id, pool_id, 0)
        )

    def reason(self, order_id: str) -> Reason:
        return next(o.reason for o in self.outcome.orders if o.order_id == order_id)

    def surplus(self, order_id: str) -> int:
        """Micro-USD."""
        found = next(o.surplus for o in self.outcome.orders if o.order_id == order_id)
        assert found % SECONDS_PER_HOUR == 0
        return found // SECONDS_PER_HOUR

    def funding(self, *order_ids: str) -> dict[str, int]:
        payment = next(m for m in self.outcome.make_whole if m.order_ids == order_ids)
        assert payment.amount == sum(share.amount for share in payment.funding)
        return {share.source: share.amount for share in payment.funding}

    def amounts(self) -> tuple[int, int]:
        """Welfare and gap at the prices, micro-USD."""
        found = self.outcome.certificate
        values = (found.welfare, found.lost_opportunity)
        assert all(value % SECONDS_PER_HOUR == 0 for value in values)
        return values[0] // SECONDS_PER_HOUR, values[1] // SECONDS_PER_HOUR

    def gap(self) -> int:
        """Certified gap, micro-USD rounded up: 0 where the certificate closes it."""
        found = self.outcome.certificate
        return -((found.welfare + found.restart_kept - found.bound) // SECONDS_PER_HOUR)

    def cash(self) -> dict[str, int]:
        lines = self.outcome.cash
        named = {name: getattr(lines, name) for name in type(lines).__dataclass_fields__}
        assert named["buyers"] == sum(named[n] for n in named if n not in {"buyers", "make_whole"})
        return {name: amount for name, amount in named.items() if amount}


def cleared(given: Book) -> Result:
    """Clear a book; the verifier must accept what comes out."""
    outcome = clear(given, SEED)
    report = verify(given, outcome)
    assert report.ok, report.failures
    return Result(outcome=outcome)


def strict(given: Book) -> Result:
    """The same book without payments to losers."""
    spec = replace(given.spec, pricing_rule=PricingRule.STRICT_UNIFORM)
    found = cleared(replace(given, spec=spec))
    assert found.outcome.make_whole == ()
    assert found.outcome.cash.make_whole == 0
    return found
