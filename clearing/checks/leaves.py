"""Check that duals name rows, and that the leaves of the branch certificate are a complete tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from clearing.checks.book_columns import BookColumns
from clearing.checks.facts import View
from clearing.checks.outcome_columns import ROWS, DualColumns
from clearing.checks.whole_cover import whole_cover
from clearing.outcome import Fixing, Outcome

LEAVES_MOST: Final = 1_024


def check_leaves(view: View) -> Iterator[str]:
    """LEAVES: the leaves are all there is: a decision and its negation, again and again.

    What: every fixing is a decision that the book leaves open; the leaves are what repeated
    splitting of the whole gives, depth first, False before True; at most 1,024; their duals
    name rows, have the sign of their row and are sorted. Why: the bound is the largest over
    leaves, so one that is missing could hide a better outcome.
    Source: clearing-rules, "Certificate".
    """
    known = view.memory.get("leaves")
    if not isinstance(known, list):
        known = list(_leaves(view.book, view.published.outcome))
        for duals in view.published.duals:
            known.extend(_duals(view, duals))
        view.memory["leaves"] = known
    yield from known


def _duals(view: View, duals: DualColumns) -> Iterator[str]:
    book, grid = view.book, view.book.grid
    site_row, lost_row = ROWS.index("SITE_POWER"), ROWS.index("SITE_COVER")
    known = (duals.row >= 0) & (duals.subject >= 0)
    known &= (duals.interval >= 0) & (duals.interval < grid.intervals)
    lost = duals.row == lost_row
    known &= np.where(lost, duals.lost >= 0, duals.lost == -1)
    at = np.flatnonzero(known & lost)
    known[at] = duals.lost[at] != grid.site_of[duals.subject[at]]
    packing = duals.row == ROWS.index("PACKING")
    block = (duals.order >= book.starts[2]) & (duals.order < book.starts[3])
    known &= np.where(packing, block, duals.order == -1)
    at = np.flatnonzero(known & (duals.row == site_row))
    known[at] = grid.power_limit[duals.subject[at]] >= 0
    at = np.flatnonzero(known & (duals.row == ROWS.index("WHOLE_COVER")))
    place = duals.subject[at] * grid.intervals + duals.interval[at]
    known[at] = whole_cover(view).steep[place] > 0
    for row in np.flatnonzero(~known):
        yield f"dual {row} belongs to no row"
    signed = (duals.row == 0) if book.book.spec.price_floor < 0 else np.zeros_like(known)
    for row in np.flatnonzero((duals.value == 0) | ((duals.value < 0) & ~signed)):
        yield f"dual {row} is {duals.value[row]}, which its row does not allow"
    if known.all():
        order = np.lexsort((duals.interval, duals.order, duals.lost, duals.subject, duals.row))
        key = np.stack((duals.row, duals.subject, duals.lost, duals.order, duals.interval))
        same = (key[:, order][:, 1:] == key[:, order][:, :-1]).all(axis=0)
        if (np.diff(order) < 0).any() or same.any():
            yield "duals are not sorted, or one is repeated"


def _leaves(book: BookColumns, outcome: Outcome) -> Iterator[str]:
    """The leaves are those of a complete binary tree, depth first, False before True.

    The first path is all False. The next one keeps a path up to its last False, turned to
    True, and goes on with False only; the last one is all True.
    """
    leaves = outcome.certificate.leaves
    if not leaves:
        return
    if len(leaves) > LEAVES_MOST:
        yield f"{len(leaves)} leaves, at most {LEAVES_MOST} are allowed"
    fixings = {fixing for leaf in leaves for fixing in leaf.fixings}
    for fixing in fixings:
        if not _is_decision(book, fixing):
            yield f"fixing {fixing} is no decision of the book"
    kept: tuple[tuple[Fixing, bool], ...] = ()
    for number, leaf in enumerate(leaves):
        path = tuple((_undecided(one), one.accepted) for one in leaf.fixings)
        if path[: len(kept)] != kept or any(accepted for _, accepted in path[len(kept) :]):
            yield f"leaf {number} does not follow from the one before it"
            return
        ended = len(path)
        while ended and path[ended - 1][1]:
            ended -= 1
        if not ended:
            if number + 1 != len(leaves):
                yield f"leaf {number} completes the tree, and more follow"
            return
        kept = (*path[: ended - 1], (path[ended - 1][0], True))
    yield "the leaves leave a branch open"


def _undecided(fixing: Fixing) -> Fixing:
    return replace(fixing, accepted=False) if fixing.accepted else fixing


def _is_decision(book: BookColumns, fixing: Fixing) -> bool:
    order = book.index.get(fixing.order_id, -1)
    if book.starts[2] <= order < book.starts[3]:
        return fixing.interval == -1
    if 0 <= order < book.offers and book.unit_of[order] >= 0:
        return (fixing.pool_id, fixing.backup_pool_id, fixing.start) == (
            "",
            "",
            -1,
        ) and -1 <= fixing.interval < book.grid.intervals
    return False
