"""Checks of what each order is told: its fill, its reason, what it missed and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.checks.accounts import accounts_of, family_surplus, on_intervals
from clearing.checks.charges import charges_at_prices, demand_of
from clearing.checks.commitments import best_runs, free
from clearing.checks.covers import short_site
from clearing.checks.exact import LIMIT, Bools, Ints, fold, most, plus, spread, times
from clearing.checks.facts import View, cover_shortage
from clearing.checks.families import (
    alternatives_of,
    families_of,
    family_values,
    gains,
    scale_of_time,
)
from clearing.checks.responses import (
    Response,
    bids_at_prices,
    offers_at_prices,
    works_at_prices,
)
from clearing.outcome import Fill, Reason

REASONS: Final = tuple(Reason)
_CODE: Final = {reason: at for at, reason in enumerate(REASONS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFacts:
    """Blocks at the prices, units of value.

    Attributes:
        own: Best gain at full quantity, without its children; 0 without an alternative.
        best: The same with the best of its children.
        foregone: What a rejected block misses beside what its family has, price-seconds.
        fits: Whether it could be delivered at all.
    """

    own: Ints
    best: Ints
    foregone: Ints
    fits: Bools


def block_facts(view: View) -> BlockFacts:
    """What each block would gain at the prices; made once per view.

    A rejected block misses the best that its family could do with it accepted: its own best
    at full quantity, and for every order above it the best with everything else under that,
    less what the family has. Its ancestors come with it, its group's other members do not.
    """
    known = view.memory.get("blocks")
    if isinstance(known, BlockFacts):
        return known
    book, families, ways = view.book, families_of(view), alternatives_of(view)
    first, stop = book.starts[2], book.starts[3]
    charges = charges_at_prices(view)
    full, least = gains(view, charges, ways, ways.chips, restarts=False)
    exists = np.diff(ways.begins) > 0
    own = fold(np.maximum, ways.begins, full, 0)
    better = fold(np.maximum, ways.begins, np.maximum(full, least), 0)
    nothing = np.zeros(stop - first, dtype=np.bool_)
    values, best, _ = family_values(families, better, exists, nothing)
    under = plus(best, -better)
    best_full = plus(own, under)
    above, possible = _above(view, best, values, exists)
    scale = scale_of_time(view)
    reached = times(plus(best_full, above), scale.unit)
    has = np.maximum(0, family_surplus(view))[families.family]
    missed = np.maximum(0, plus(reached, -has))
    rejected = ~view.accepted[first:stop] & exists & possible
    found = BlockFacts(own=own, best=best_full, foregone=np.where(rejected, missed, 0), fits=exists)
    view.memory["blocks"] = found
    return found


def _above(view: View, best: Ints, values: Ints, exists: Bools) -> tuple[Ints, Bools]:
    """What the ancestors of each block gain beside its own group, and whether all of them can."""
    families = families_of(view)
    linked = np.flatnonzero(families.parent >= 0)
    found = np.zeros(len(best), dtype=best.dtype)
    if len(linked) and most(best) * (len(best) + 1) >= LIMIT:
        found = found.astype(object)
    possible = np.ones(len(best), dtype=np.bool_)
    for depth in range(1, int(families.depth.max()) + 1 if len(best) else 0):
        here = np.flatnonzero(families.depth == depth)
        parent = families.parent[here]
        found[here] = found[parent] + best[parent] - values[families.group[here]]
        possible[here] = possible[parent] & exists[parent]
    return found, possible


def foregone_of(view: View) -> Ints:
    """Surplus at the prices that each rejected block or unit misses, price-seconds per order."""
    book = view.book
    found = np.zeros(book.orders, dtype=np.int64)
    blocks = block_facts(view).foregone
    best, _ = best_runs(view, charges_at_prices(view), free(view))
    never = ~on_intervals(view).any(axis=1)
    units = times(np.where(never, np.maximum(0, best), 0), scale_of_time(view).unit)
    if object in (blocks.dtype, units.dtype):
        found = found.astype(object)
    found[book.starts[2] : book.starts[3]] = blocks
    found[book.units.order] = units
    return found


def check_paradoxical(view: View) -> Iterator[str]:
    """PARADOXICAL: every rejected family that would gain at the prices is listed with that gain.

    ``foregone`` is what a rejected block misses (``block_facts``), and the best response of an
    offer with a commitment that is never on; everybody else has zero.
    Source: DESIGN 4.3, GOLDEN "Settlement per order kind", clearing-rules "Families".
    """
    expected = foregone_of(view)[view.published.answers.order]
    answers = view.published.answers
    for at in np.flatnonzero(answers.foregone != expected):
        told = f"{answers.foregone[at]} foregone, computed {expected[at]}"
        yield f"{answers.ids[at]} is told {told}"
    listed = answers.reason == id(Reason.PARADOXICALLY_REJECTED)
    for at in np.flatnonzero(listed != (expected > 0)):
        yield f"{answers.ids[at]} forgoes {expected[at]}, and is told otherwise"


def check_reasons(view: View) -> Iterator[str]:
    """REASONS: fill follows from the awards, the reason from the prices.

    ``reasons_of`` says which reason the facts allow; ``shortfall`` is the least amount by
    which the limit misses a price, zero for any other reason.
    Source: DESIGN 3, "a rejected or unfilled order always has a machine-readable reason".
    """
    orders, answers = view.published.answers.order, view.published.answers
    fills = fills_of(view)[orders]
    for at in np.flatnonzero(answers.fill != fills):
        fill = next(fill for fill in Fill if id(fill) == fills[at])
        yield f"{answers.ids[at]} is told another fill than {fill.value}"
    codes = reasons_of(view)[orders]
    identities = np.array([id(reason) for reason in REASONS], dtype=np.int64)
    for at in np.flatnonzero(answers.reason != identities[codes]):
        told = next((r.value for r in Reason if id(r) == answers.reason[at]), "something else")
        yield f"{answers.ids[at]} is told {told}, the facts say {REASONS[codes[at]].value}"
    shortfall = np.where(codes == _CODE[Reason.OUT_OF_THE_MONEY], shortfalls(view)[orders], 0)
    for at in np.flatnonzero(answers.shortfall != shortfall):
        told = f"{answers.shortfall[at]}, computed {shortfall[at]}"
        yield f"{answers.ids[at]} is told a shortfall of {told}"


def fills_of(view: View) -> Ints:
    """How much of each order its awards are, as identities of ``Fill``; spare is no fill."""
    book, curves = view.book, view.curves
    taken = spread(view.taken.who, view.taken.chips, book.orders)
    wanted = spread(curves.order, curves.chips, book.orders)
    wanted[book.starts[2] : book.starts[3]] = block_chips(view)
    wanted[book.starts[3] : book.starts[4]] = book.works.work // book.grid.duration_s
    full = np.where(taken >= wanted, id(Fill.FULL), id(Fill.PARTIAL))
    return np.where(taken == 0, id(Fill.NONE), full)


def block_chips(view: View) -> Ints:
    """Chip-intervals of each block at its full quantity."""
    blocks = view.book.blocks
    shaped = fold(np.add, blocks.profile, blocks.profile_chips, 0)
    return np.where(np.diff(blocks.profile) > 0, shaped, blocks.chips * blocks.duration)


def reasons_of(view: View) -> Ints:
    """Reason that the facts allow, per order, as positions in ``REASONS``."""
    book, curves = view.book, view.curves
    found = np.zeros(book.orders, dtype=np.int64)
    offers = offers_at_prices(view)
    found[: book.offers] = _curve_reasons(offers, curves.order[: curves.starts[1]], book.offers)
    never = book.units.order[~on_intervals(view).any(axis=1)]
    found[never] = _CODE[Reason.NOT_STARTED]
    bids, _ = bids_at_prices(view)
    begin = book.starts[1]
    owner = curves.order[curves.starts[1] : curves.starts[2]] - begin
    found[begin : book.starts[2]] = _curve_reasons(bids, owner, book.starts[2] - begin)
    found[book.starts[2] : book.starts[3]] = _block_reasons(view)
    found[book.starts[3] : book.starts[4]] = _work_reasons(view)
    nowhere = view.menus.eligible[view.menus.of_bid] == 0
    found[begin : book.starts[4]][nowhere] = _CODE[Reason.NO_ELIGIBLE_POOL]
    found[foregone_of(view) > 0] = _CODE[Reason.PARADOXICALLY_REJECTED]
    paid = [name for made in view.published.outcome.make_whole for name in made.order_ids]
    found[[book.index[name] for name in paid]] = _CODE[Reason.MADE_WHOLE]
    found[book.starts[4] :] = _base_reasons(view)
    return found


def _curve_reasons(response: Response, owner: Ints, count: int) -> Ints:
    """Reasons of orders from their best responses by interval."""
    bound = response.bound
    off = bound & ((response.taken < response.least) | (response.taken > response.most))
    missed, wanted, even = (np.zeros(count, dtype=np.bool_) for _ in range(3))
    missed[owner[off]] = True
    wanted[owner[bound & (response.most > 0)]] = True
    even[owner[bound & (response.least != response.most)]] = True
    return _step_reasons(missed, wanted, even)


def _step_reasons(missed: Bools, wanted: Bools, even: Bools) -> Ints:
    """Reasons from: a best response is missed; something is wanted; some of it either way."""
    found = np.where(even, _CODE[Reason.AT_THE_PRICE], _CODE[Reason.IN_THE_MONEY])
    found = np.where(wanted, found, _CODE[Reason.OUT_OF_THE_MONEY])
    return np.where(missed, _CODE[Reason.WHOLE_NODE], found)


def _work_reasons(view: View) -> Ints:
    works = works_at_prices(view)
    missed = (works.done < works.least) | (works.done > works.most)
    return _step_reasons(missed, works.most > 0, works.least != works.most)


def _block_reasons(view: View) -> Ints:
    """Accepted: whether it gains. Rejected: the first of the reasons that apply."""
    book, facts, families = view.book, block_facts(view), families_of(view)
    first, stop = book.starts[2], book.starts[3]
    accepted = view.accepted[first:stop]
    surplus = accounts_of(view).surplus[first:stop]
    found = np.where(
        accepted & (surplus > 0), _CODE[Reason.IN_THE_MONEY], _CODE[Reason.AT_THE_PRICE]
    )
    taken = np.zeros(families.groups, dtype=np.bool_)
    taken[families.group[accepted]] = True
    orphan = (families.parent >= 0) & ~accepted[families.parent]
    for reason, applies in (
        (Reason.OTHER_ACCEPTED, taken[families.group]),
        (Reason.PARENT_NOT_ACCEPTED, orphan),
        (Reason.OUT_OF_THE_MONEY, facts.best < 0),
        (Reason.LARGER_THAN_ANY_POOL, ~facts.fits),
    ):
        found = np.where(~accepted & applies, _CODE[reason], found)
    return found


def _base_reasons(view: View) -> Ints:
    book, taken, curves = view.book, view.taken, view.curves
    first = book.starts[4]
    count = book.orders - first
    short = np.zeros(count, dtype=np.bool_)
    lacking = cover_shortage(view) > 0
    cells = np.arange(curves.starts[2], curves.starts[3])
    base = curves.order[cells] - first
    place = book.base.pool[base] * view.intervals + curves.interval[cells]
    short[base[lacking[place] & book.base.node_cover[base]]] = True
    short[taken.who[short_site(view) > 0] - first] = True
    found = np.where(short, _CODE[Reason.COVER_SHORTAGE], _CODE[Reason.BASE_SERVED])
    full = fills_of(view)[first:] == id(Fill.FULL)
    return np.where(full, found, _CODE[Reason.BASE_SHORTFALL])


def shortfalls(view: View) -> Ints:
    """How far the limit of an order out of the money missed the best price, per chip-hour."""
    book, curves, charges = view.book, view.curves, charges_at_prices(view)
    none = np.iinfo(np.int64).max
    found = np.full(book.orders, none, dtype=np.int64)
    heads = curves.entries[:-1]
    offers = slice(0, curves.starts[1])
    owner = curves.order[offers]
    place = book.offer_pool[owner] * view.intervals + curves.interval[offers]
    earns = np.where(book.released[owner], charges.released[place], charges.supply[place])
    np.minimum.at(found, owner, curves.price[heads[offers]] - earns)
    bids = slice(curves.starts[1], curves.starts[2])
    _, net = bids_at_prices(view)
    served = np.diff(demand_of(view).row_arcs) > 0
    here = served[demand_of(view).of_cell]
    gaps = -net[heads[bids] - curves.entries[curves.starts[1]]]
    np.minimum.at(found, curves.order[bids][here], gaps[here])
    works, cells = works_at_prices(view), view.work_cells
    here = served[demand_of(view).of_work]
    np.minimum.at(found, book.starts[3] + cells.work[here], -works.net[here])
    found[book.units.order] = 0
    found = np.where(found == none, 0, np.maximum(0, found))
    facts = block_facts(view)
    size = block_chips(view) * scale_of_time(view).per_chip
    missed = np.maximum(0, -(facts.own // np.maximum(1, size)))
    if missed.dtype == object:
        found = found.astype(object)
    found[book.starts[2] : book.starts[3]] = missed
    return found
