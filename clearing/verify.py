"""The verifier: re-checks a published outcome against its book, trusting nobody.

It imports neither the model nor a solver and shares no arithmetic with the engine beyond
``clearing.units``. Everything is recomputed in integers from three inputs: the book, the
awards and the prices. What the engine claims beside those (surpluses, reasons, cash, welfare,
the bound) is compared with what follows from them. Both documents are put into columns
once; the time is linear in the number of orders times their intervals.

Free by design: ``OrderOutcome.detail`` (text for people), and ``Outcome.engine`` with
``Outcome.status`` (claims about the run; the certified gap says how good the result is
whatever the run says of itself). Duals may be any; the bound must be the one they give.

Source: DESIGN 4.3; docs/reference/clearing-rules; table of the checks:
docs/reference/clearing-checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from clearing.book import canonical
from clearing.checks.book_columns import read_book
from clearing.checks.bound import check_bound
from clearing.checks.covers import (
    check_base,
    check_node_cover,
    check_power,
    check_recallable,
    check_reclaimable,
    check_site_cover,
)
from clearing.checks.facts import View, build
from clearing.checks.feasible import (
    check_balance,
    check_block_fill,
    check_commitment,
    check_eligible,
    check_exclusive,
    check_headroom,
    check_linked,
    check_links,
    check_node_multiples,
    check_window,
)
from clearing.checks.leaves import check_leaves
from clearing.checks.menus import check_backups, read_menus
from clearing.checks.money import (
    check_cash,
    check_limits,
    check_make_whole,
    check_surplus,
    check_welfare,
)
from clearing.checks.outcome_columns import read_outcome
from clearing.checks.prices import (
    check_link_rule,
    check_price_bounds,
    check_price_parts,
    check_price_range,
    check_scarcity,
)
from clearing.checks.reasons import check_paradoxical, check_reasons
from clearing.checks.report import Check, Report, check_of
from clearing.checks.scope import check_scope
from clearing.checks.shape import check_book_digest, check_complete, check_range, check_seed
from clearing.checks.step_rule import check_step_rule
from clearing.checks.ties import check_ties
from clearing.outcome import Outcome
from clearing.types import Book

__all__ = ["Check", "Report", "verify", "verify_canonical"]

_CHECKS: Final[tuple[tuple[str, Callable[[View], Iterator[str]]], ...]] = (
    ("ELIGIBLE", check_eligible),
    ("NODE_MULTIPLES", check_node_multiples),
    ("WINDOW", check_window),
    ("BLOCK_FILL", check_block_fill),
    ("EXCLUSIVE", check_exclusive),
    ("LINKED", check_linked),
    ("COMMITMENT", check_commitment),
    ("LINKS", check_links),
    ("BALANCE", check_balance),
    ("HEADROOM", check_headroom),
    ("POWER", check_power),
    ("RECLAIMABLE", check_reclaimable),
    ("RECALLABLE", check_recallable),
    ("NODE_COVER", check_node_cover),
    ("SITE_COVER", check_site_cover),
    ("BASE", check_base),
    ("PRICE_PARTS", check_price_parts),
    ("PRICE_RANGE", check_price_range),
    ("PRICE_BOUNDS", check_price_bounds),
    ("SCARCITY", check_scarcity),
    ("LINK_RULE", check_link_rule),
    ("STEP_RULE", check_step_rule),
    ("TIES", check_ties),
    ("SURPLUS", check_surplus),
    ("LIMITS", check_limits),
    ("MAKE_WHOLE", check_make_whole),
    ("PARADOXICAL", check_paradoxical),
    ("REASONS", check_reasons),
    ("CASH", check_cash),
    ("WELFARE", check_welfare),
    ("LEAVES", check_leaves),
    ("BOUND", check_bound),
)


def verify(book: Book, outcome: Outcome) -> Report:
    """Check an outcome against its book.

    Args:
        book: As cleared, in any order.
        outcome: As published.

    Returns:
        Named checks in a fixed order. When the shape of either document is wrong (SCOPE,
        BOOK_DIGEST, SEED, RANGE or COMPLETE), the rest cannot be read and is left out.
        A wrong outcome is a finding and never an exception.
    """
    return verify_canonical(canonical(book), outcome)


def verify_canonical(ordered: Book, outcome: Outcome, digest: str | None = None) -> Report:
    """The same for a canonical book, for who has its digest already.

    Args:
        ordered: ``clearing.book.canonical`` made it.
        outcome: As published.
        digest: ``codec.digest`` of it; computed where not given. A wrong one proves nothing of
            BOOK_DIGEST, so only who computed it may give it.
    """
    columns = read_book(ordered)
    shape = [check_of("SCOPE", check_scope(columns))]
    if not shape[0].ok:
        return Report(ok=False, checks=tuple(shape))
    menus = read_menus(columns)
    shape = [check_of("SCOPE", check_backups(columns, menus))]
    if not shape[0].ok:
        return Report(ok=False, checks=tuple(shape))
    published = read_outcome(columns, outcome)
    shape.append(check_of("BOOK_DIGEST", check_book_digest(ordered, outcome, digest)))
    shape.append(check_of("SEED", check_seed(ordered, outcome)))
    shape.append(check_of("RANGE", check_range(published)))
    if shape[-1].ok:
        shape.append(check_of("COMPLETE", check_complete(columns, published)))
    if not all(check.ok for check in shape):
        return Report(ok=False, checks=tuple(shape))
    view = build(columns, menus, published)
    checks = [*shape, *(check_of(name, check(view)) for name, check in _CHECKS)]
    return Report(ok=all(check.ok for check in checks), checks=tuple(checks))
