"""What the engine refuses, by name and before anything is solved.

Checked at acceptance as well; here once more, because a book that was cleared around an
error could not be reproduced. Guards run in the order of the table, each over the whole
book, and a refusal names the first order, in the order of the book, that the guard is about:
the same book always gets the same code.

======================  =====================================================================
code                    meaning
======================  =====================================================================
BAD_TYPE                a value is not exactly of its declared type: a float, a truth value
                        for a number, a list for a tuple, text that UTF-8 cannot hold
TOO_MANY                more intervals, pools, orders, segments or steps than
                        ``clearing.validation.limits``
BAD_INTERVALS           none, not contiguous, of unequal length, or out of range
BAD_IDENTIFIER          empty, or holds a zero byte; an order's begins with ``rent:``
DUPLICATE_IDENTIFIER    two sites, pools, links or orders share an identifier
UNKNOWN_SITE            a pool names a site that is not in the book
UNKNOWN_POOL            a link or an order names a pool that is not in the book
BAD_PARAMETER           a number of the auction, its tariff, a site, a pool or an own factor
                        is out of range
BAD_PRICING_RULE        STRICT_UNIFORM with a restart cost, or with a commitment that is not
                        ``whole``
BAD_LINK                from a pool to itself, between unlike pools, or impossible capacities
BAD_CLASS               service class, cover and notice do not go together
NO_CONDITION            a bid without any condition on where it may be served
BAD_INTERVAL_RANGE      an order's intervals are empty, outside the auction or overlap
BAD_CURVE               no segment, no step, or prices not strictly monotone
BAD_FILL                minimum fill outside 1 to 1,000,000 parts per million
BAD_QUANTITY            not positive, too large, or not whole nodes (work: whole nodes times
                        the length of an interval)
BAD_PRICE               outside floor and cap, not a multiple of the tick, or lifted above
                        the largest price by an own factor
BAD_PROFILE             a profile that contradicts duration, chips, fill, cover or node size
BAD_RESTART             restart cost out of range
BAD_COMMITMENT          a commitment that no run could keep, or on released base load
BAD_GROUP               members of an exclusive group have different parents
UNKNOWN_PARENT          the parent is not in the book
BAD_PARENT              the parent is no block bid, another participant's, or depends on it
BAD_BACKUP              a backup pool at the same site or unlike the pool, or without SITE cover
NO_COVER_POSSIBLE       SITE cover without a pool at another site that could take over
OVER_CAPACITY           offers and nominations of a pool exceed its capacity
TOO_LARGE               an order's chips times intervals times price leave 63 bits
======================  =====================================================================

No refusals, but reasons in the outcome: a bid that no pool is eligible for, a gang larger than
any pool, a market with one side only. A book without orders, or without pools, clears to
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from clearing.book import check_types
from clearing.errors import BookError
from clearing.types import Book
from clearing.validation import bids, curves, families, grid, supply
from clearing.validation.sheet import Sheet

_GUARDS: Final[tuple[Callable[[Sheet], None], ...]] = (
    grid.check_sizes,
    grid.check_intervals,
    grid.check_identifiers,
    grid.check_unique,
    grid.check_known,
    grid.check_parameters,
    curves.check_conversions,
    grid.check_pricing_rule,
    grid.check_links,
    bids.check_terms,
    bids.check_conditions,
    curves.check_ranges,
    bids.check_windows,
    curves.check_curves,
    bids.check_fills,
    curves.check_step_quantities,
    bids.check_quantities,
    curves.check_step_prices,
    bids.check_prices,
    curves.check_values,
    bids.check_profiles,
    bids.check_restarts,
    supply.check_commitments,
    families.check_groups,
    families.check_parents_known,
    families.check_parents,
    supply.check_backups,
    bids.check_cover,
    supply.check_backed,
    curves.check_capacity,
    curves.check_worth,
)


def validate(book: Book, unseen: Book | None = None, *, standing: bool = False) -> None:
    """Refuse a book that the engine does not clear.

    Args:
        book: Anything; what is no book is refused as well.
        unseen: The part of it whose types were not checked before; all of it where not given.
        standing: The step bids that are not in ``unseen`` were in a book that was accepted, of the
            same pools, sites and terms. Then only what they have to do with others is checked.

    Raises:
        BookError: with the first code of the module's table that applies.
    """
    check_types(book if unseen is None else unseen)
    if standing and unseen is not None and _stands(book, replace(book, step_bids=unseen.step_bids)):
        return
    sheet = Sheet(book)
    for guard in _GUARDS:
        guard(sheet)


def _stands(book: Book, rest: Book) -> bool:
    """Whether a book is accepted; where not, all of it is looked at for the first reason.

    Step bids have to do with others in two ways: their number and their names.
    """
    try:
        grid.check_count(Sheet(book))
        grid.check_unique(Sheet(book))
        sheet = Sheet(rest)
        for guard in _GUARDS:
            guard(sheet)
    except BookError:
        return False
    return True
