"""Checks that need no arithmetic: identity of the book, the seed, and the shape of the outcome.

They run first. Everything after them may index by any identifier without a guard, and
knows how large any number can be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from operator import lt
from typing import Final

import numpy as np

from clearing import codec
from clearing.checks.book_columns import BookColumns
from clearing.checks.exact import Bools, Index, Ints, expand, fold, offsets_of
from clearing.checks.outcome_columns import AwardColumns, OutcomeColumns
from clearing.checks.scope import outside
from clearing.outcome import Outcome, Side
from clearing.types import MAX_CHIPS, Book, Cover, ServiceClass

PRICE_MOST: Final = 10**14
"""Largest part of a price: a cap of 10**9 over a spare share of 10 ppm."""

DUAL_MOST: Final = 10**18


def check_book_digest(book: Book, outcome: Outcome, digest: str | None = None) -> Iterator[str]:
    """BOOK_DIGEST: the outcome names this book.

    What: ``book_sha256`` is the digest of the canonical book, and the auction is its own.
    Why: an outcome of another book, or of one with a late, changed or dropped order,
    proves nothing about this one. Source: DESIGN 4.3.

    Args:
        book: Canonical.
        outcome: As published.
        digest: Of the book, where the caller computed it already.
    """
    if outcome.auction_id != book.spec.auction_id:
        yield f"auction {outcome.auction_id!r}, the book is of {book.spec.auction_id!r}"
    expected = codec.digest(book) if digest is None else digest
    if outcome.book_sha256 != expected:
        yield f"book digest {outcome.book_sha256!r}, computed {expected!r}"


def check_seed(book: Book, outcome: Outcome) -> Iterator[str]:
    """SEED: the revealed tie seed is the one committed to before gate closure.

    Why: a seed chosen after reading the book would choose who wins ties. Source: DESIGN 4.2.
    """
    try:
        seed = bytes.fromhex(outcome.seed)
    except ValueError:
        yield f"seed {outcome.seed!r} is not hex"
        return
    if seed.hex() != outcome.seed:
        yield "the seed is not lower-case hex"
    if hashlib.sha256(seed).hexdigest() != book.spec.seed_commitment:
        yield f"SHA-256 of the seed is not the commitment {book.spec.seed_commitment!r}"


def check_range(columns: OutcomeColumns) -> Iterator[str]:
    """RANGE: every number that enters a product is inside the range for which sums were proven.

    Quantities are at most MAX_CHIPS, parts of prices at most 10**14 micro-USD, duals at most
    10**18. Amounts of money are only ever compared and may be anything. Why: a number that
    wrapped around would turn a lie into a proof.
    """
    awards, prices, backup = columns.awards, columns.prices, columns.backup_prices
    quantities = {
        "an award's first interval": awards.first,
        "awarded chips": awards.chips,
        "reserve": awards.reserve,
        "site reserve": awards.site_reserve,
        "backup chips": awards.backup_chips,
        "a price's interval": prices.interval,
        "a backup price's interval": backup.interval,
        "a run's first interval": columns.run_first,
        "a run's end": columns.run_stop,
        "a link's flow": columns.flow_chips,
    }
    for what, values in quantities.items():
        yield from _range(what, values, MAX_CHIPS)
    for name, values in prices.parts.items():
        yield from _range(name, values, PRICE_MOST)
    yield from _range("a backup price", backup.price, PRICE_MOST)
    for duals in columns.duals:
        yield from _range("a dual's interval", duals.interval, MAX_CHIPS)
        yield from _range("a dual", duals.value, DUAL_MOST)


def _range(what: str, values: Ints, most: int) -> Iterator[str]:
    for value in values[outside(values, -most, most)]:
        yield f"{what} is {value}, beyond {most}"


def check_complete(book: BookColumns, columns: OutcomeColumns) -> Iterator[str]:
    """COMPLETE: every order is answered once, every pool priced once, and nothing is made up.

    What: one ``OrderOutcome`` per order and one price per pool and interval, sorted; awards
    sorted, of known orders with their own participant, side, class and cover, inside the
    auction, with no negative and at least one positive quantity; backups where SITE cover
    asks for them; runs of offers with a commitment, flows of every link, backup prices and
    make-whole payments sorted and of known subjects. Why: an order left out of the answer is
    an order dropped. Source: DESIGN 4.3, clearing.outcome.
    """
    yield from _answers(book, columns)
    pools, intervals = len(book.grid.pool_ids), book.grid.intervals
    places = np.arange(pools * intervals)
    prices = columns.prices
    if (
        len(prices.pool) != len(places)
        or ((prices.pool != places // intervals) | (prices.interval != places % intervals)).any()
    ):
        yield "the prices are not one per pool and interval, sorted"
    yield from _awards(book, columns)
    yield from _backup_prices(book, columns)
    yield from _runs_and_flows(book, columns)
    payments = [payment.order_ids for payment in columns.outcome.make_whole]
    if any(left >= right for left, right in pairwise(payments)):
        yield "make-whole payments are not sorted, or one is repeated"
    for names in payments:
        if any(name not in book.index for name in names) or list(names) != sorted(set(names)):
            yield f"make-whole of unknown or unsorted orders {names}"


def _answers(book: BookColumns, columns: OutcomeColumns) -> Iterator[str]:
    answers = columns.answers
    rising = all(map(lt, answers.ids, answers.ids[1:]))
    if len(answers.ids) != book.orders or (answers.order < 0).any() or not rising:
        yield "the orders answered are not the orders of the book, each once, sorted"
        return
    own = list(map(book.participants.__getitem__, answers.order.tolist()))
    if own != answers.participants:
        for name, who, told in zip(answers.ids, own, answers.participants, strict=True):
            if who != told:
                yield f"{name} is answered to {told!r}"


def _named(columns: OutcomeColumns, at: Index) -> str:
    award = columns.outcome.awards[at]
    return f"award of {award.order_id} in {award.pool_id}"


def _awards(book: BookColumns, columns: OutcomeColumns) -> Iterator[str]:
    awards = columns.awards
    known = (awards.order >= 0) & (awards.pool >= 0)
    for at in np.flatnonzero(~known):
        yield f"{_named(columns, at)}: unknown order or pool"
    if not known.all():
        return
    # Orders of one kind are numbered by identifier; over kinds the identifiers decide.
    ids = list(map(book.ids.__getitem__, awards.order.tolist()))
    same = awards.order[1:] == awards.order[:-1]
    rising = np.fromiter(map(lt, ids, ids[1:]), dtype=np.bool_, count=len(same))
    if not (rising | (same & (np.diff(awards.pool) > 0))).all():
        yield "awards are not sorted, or one is repeated"
    own = list(map(book.participants.__getitem__, awards.order.tolist()))
    if own != awards.participants:
        for number, (who, told) in enumerate(zip(own, awards.participants, strict=True)):
            if who != told:
                yield f"{_named(columns, number)}: awarded to {told!r}"
    for at in np.flatnonzero(_other_terms(book, awards)):
        yield f"{_named(columns, at)}: side, class or cover is not the order's"
    problems = {
        "chips and reserve differ in length, or are empty": (
            (awards.lengths != awards.reserve_lengths)
            | (awards.lengths == 0)
            | ((awards.site_lengths != 0) & (awards.site_lengths != awards.lengths))
        ),
        "outside the auction": (
            (awards.first < 0) | (awards.first + awards.lengths > book.grid.intervals)
        ),
        "a negative quantity": (
            _any(awards.lengths, awards.chips < 0)
            | _any(awards.reserve_lengths, awards.reserve < 0)
            | _any(awards.site_lengths, awards.site_reserve < 0)
        ),
        "awards nothing": ~(
            _any(awards.lengths, awards.chips != 0)
            | _any(awards.reserve_lengths, awards.reserve != 0)
            | _any(awards.site_lengths, awards.site_reserve != 0)
        ),
        "a site reserve of nothing": (
            (awards.site_lengths != 0) & ~_any(awards.site_lengths, awards.site_reserve != 0)
        ),
    }
    for problem, wrong in problems.items():
        for at in np.flatnonzero(wrong):
            yield f"{_named(columns, at)}: {problem}"
    yield from _backups(columns)


def _any(counts: Ints, truths: Bools) -> Bools:
    """Whether any entry of each run is true."""
    found: Bools = fold(np.logical_or, offsets_of(counts), truths, 0).astype(np.bool_)
    return found


def _other_terms(book: BookColumns, awards: AwardColumns) -> Bools:
    """Which awards are not in the terms of their order."""
    kind = np.searchsorted(np.array(book.starts[1:5]), awards.order, side="right")
    supply, base = kind == 0, kind == 4  # noqa: PLR2004 - offers first, nominations last
    bid = ~supply & ~base
    side = np.where(supply, id(Side.SUPPLY), np.where(base, id(Side.BASE), id(Side.DEMAND)))
    interruptible, cover = np.zeros_like(supply), np.full(len(kind), id(Cover.NONE))
    interruptible[supply] = book.released[awards.order[supply]]
    terms, at = book.bids, awards.order[bid] - book.starts[1]
    interruptible[bid] = terms.interruptible[at]
    cover[bid] = _cover(terms.node_cover[at] & ~terms.interruptible[at], terms.site_cover[at])
    at = awards.order[base] - book.starts[4]
    cover[base] = _cover(book.base.node_cover[at], book.base.site_cover[at])
    service = np.where(interruptible, id(ServiceClass.INTERRUPTIBLE), id(ServiceClass.FIRM))
    service[base] = id(ServiceClass.BASE_LOAD)
    found: Bools = (awards.side != side) | (awards.service_class != service)
    found |= awards.cover != cover
    return found


def _cover(node: Bools, site: Bools) -> Ints:
    return np.where(node, id(Cover.NODE), np.where(site, id(Cover.SITE), id(Cover.NONE)))


def _backups(columns: OutcomeColumns) -> Iterator[str]:
    awards = columns.awards
    owner = awards.backup_award
    site = awards.cover == id(Cover.SITE)
    wrong = (awards.backup_pool < 0) | (awards.backup_lengths != awards.lengths[owner])
    wrong |= ~site[owner] | _any(awards.backup_lengths, awards.backup_chips < 0)
    wrong |= ~_any(awards.backup_lengths, awards.backup_chips != 0)
    wrong[1:] |= (owner[1:] == owner[:-1]) & (awards.backup_pool[1:] <= awards.backup_pool[:-1])
    for at in np.flatnonzero(wrong):
        yield f"{_named(columns, owner[at])}: a backup that is unknown, unsorted or of other length"


def _backup_prices(book: BookColumns, columns: OutcomeColumns) -> Iterator[str]:
    prices, grid = columns.backup_prices, book.grid
    known = (prices.site >= 0) & (prices.pool >= 0)
    known &= (prices.interval >= 0) & (prices.interval < grid.intervals) & (prices.price > 0)
    known &= prices.site != grid.site_of[prices.pool]
    for at in np.flatnonzero(~known):
        price = columns.outcome.backup_prices[at]
        yield f"backup price {price} is of no lost site, pool and interval, or not positive"
    keys = (prices.site * len(grid.pool_ids) + prices.pool) * grid.intervals + prices.interval
    if known.all() and (np.diff(keys) <= 0).any():
        yield "backup prices are not sorted, or one is repeated"


def _runs_and_flows(book: BookColumns, columns: OutcomeColumns) -> Iterator[str]:
    order = columns.run_order
    committed = np.zeros(len(order), dtype=np.bool_)
    supply = (order >= 0) & (order < book.offers)
    committed[supply] = book.unit_of[order[supply]] >= 0
    inside = (columns.run_first >= 0) & (columns.run_first < columns.run_stop)
    inside &= columns.run_stop <= book.grid.intervals
    for at in np.flatnonzero(~committed | ~inside):
        yield f"run {columns.outcome.runs[at]} is of no commitment, or outside the auction"
    # Offers are numbered in the order of their identifiers.
    if (np.diff(order * (book.grid.intervals + 1) + columns.run_first) <= 0).any():
        yield "runs are not sorted, or one is repeated"
    if columns.flow_link.tolist() != list(range(len(book.links.link_ids))):
        yield "the flows are not one per link, sorted"
    elif (columns.flow_lengths != book.grid.intervals).any():
        yield "a flow is not given for every interval"


def award_cells(awards: AwardColumns) -> tuple[Ints, Ints]:
    """Award and interval of each entry of ``chips``."""
    owner, position = expand(awards.lengths)
    return owner, awards.first[owner] + position


def site_reserve_of(awards: AwardColumns) -> Ints:
    """Site reserve per entry of ``chips``; zero where an award gives none."""
    found = np.zeros(len(awards.chips), dtype=np.int64)
    found[np.repeat(awards.site_lengths > 0, awards.lengths)] = awards.site_reserve
    return found
