"""The verifier: re-checks a published outcome against its book, trusting nobody.

It imports neither the model nor the solver and shares no arithmetic with them beyond
``clearing.units``. Everything is recomputed in integers from three inputs: the book, the
awards and the prices. What the engine claims beside those (surpluses, reasons, cash, welfare,
the bound) is compared with what follows from them. The time is linear in the number of orders
times their intervals; step orders that name many pools share one table per set of pools.

Two things are not checked, by design: ``OrderOutcome.detail`` (text for people), and
``Outcome.engine`` with ``Outcome.status`` (claims about the run; the certified gap says how
good the result is whatever the run says of itself).

Source: DESIGN 4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from clearing.book import canonical
from clearing.outcome import Outcome
from clearing.types import Book
from clearing.verify_feasible import (
    check_balance,
    check_base,
    check_block_fill,
    check_eligible,
    check_exclusive,
    check_headroom,
    check_node_cover,
    check_node_multiples,
    check_power,
    check_recallable,
    check_reclaimable,
    check_window,
)
from clearing.verify_money import (
    check_bound,
    check_cash,
    check_limits,
    check_make_whole,
    check_welfare,
)
from clearing.verify_prices import check_price_parts, check_price_range, check_step_rule
from clearing.verify_range import check_price_bounds
from clearing.verify_reasons import check_paradoxical, check_reasons, check_surplus
from clearing.verify_report import Check, Report, check_of
from clearing.verify_shape import check_book_digest, check_complete, check_scope, check_seed
from clearing.verify_ties import check_ties
from clearing.verify_view import View, build

__all__ = ["Check", "Report", "verify"]

_CHECKS: Final[tuple[tuple[str, Callable[[View], Iterator[str]]], ...]] = (
    ("ELIGIBLE", check_eligible),
    ("NODE_MULTIPLES", check_node_multiples),
    ("WINDOW", check_window),
    ("BLOCK_FILL", check_block_fill),
    ("EXCLUSIVE", check_exclusive),
    ("BALANCE", check_balance),
    ("HEADROOM", check_headroom),
    ("POWER", check_power),
    ("RECLAIMABLE", check_reclaimable),
    ("RECALLABLE", check_recallable),
    ("NODE_COVER", check_node_cover),
    ("BASE", check_base),
    ("PRICE_PARTS", check_price_parts),
    ("PRICE_RANGE", check_price_range),
    ("PRICE_BOUNDS", check_price_bounds),
    ("STEP_RULE", check_step_rule),
    ("TIES", check_ties),
    ("SURPLUS", check_surplus),
    ("LIMITS", check_limits),
    ("MAKE_WHOLE", check_make_whole),
    ("PARADOXICAL", check_paradoxical),
    ("REASONS", check_reasons),
    ("CASH", check_cash),
    ("WELFARE", check_welfare),
    ("BOUND", check_bound),
)


def verify(book: Book, outcome: Outcome) -> Report:
    """Check an outcome against its book.

    Args:
        book: As cleared, in any order.
        outcome: As published.

    Returns:
        Named checks in a fixed order. When the shape of either document is wrong
        (BOOK_DIGEST, SEED, SCOPE or COMPLETE), the rest cannot be read and is left out.
        A wrong outcome is a finding and never an exception.
    """
    shape = [check_of("SCOPE", check_scope(book))]
    if shape[0].ok:
        shape.append(check_of("BOOK_DIGEST", check_book_digest(book, outcome)))
        shape.append(check_of("SEED", check_seed(book, outcome)))
        shape.append(check_of("COMPLETE", check_complete(book, outcome)))
    if not all(check.ok for check in shape):
        return Report(ok=False, checks=tuple(shape))
    view = build(canonical(book), outcome)
    checks = [*shape, *(check_of(name, check(view)) for name, check in _CHECKS)]
    return Report(ok=all(check.ok for check in checks), checks=tuple(checks))
