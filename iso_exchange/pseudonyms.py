"""A book and its outcome under pseudonyms: the same auction, without who.

Participants and entitlements get other names, one for one. Order ids stay: ties are drawn
from them, so under others the outcome would not verify. Everything that is checked about
an outcome holds of the renamed one just as well, and its public prices document is the
same byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

from clearing import codec
from clearing.outcome import Outcome
from clearing.types import Book


def names_of(book: Book) -> tuple[str, ...]:
    """Participants and entitlements that a book names, sorted, each once."""
    entitlements = (nomination.entitlement_id for nomination in book.nominations)
    return tuple(sorted({*_participants(book), *entitlements}))


def pseudonymised(book: Book, outcome: Outcome, names: Mapping[str, str]) -> tuple[Book, Outcome]:
    """Book and outcome under other names.

    Args:
        book: Canonical; so is the answer, because order ids stay.
        names: Another name for each of ``names_of``.

    Raises:
        KeyError: a name has no other.
    """
    renamed = replace(
        book,
        offers=tuple(
            replace(order, participant_id=names[order.participant_id]) for order in book.offers
        ),
        step_bids=tuple(
            replace(order, participant_id=names[order.participant_id]) for order in book.step_bids
        ),
        block_bids=tuple(
            replace(order, participant_id=names[order.participant_id]) for order in book.block_bids
        ),
        work_bids=tuple(
            replace(order, participant_id=names[order.participant_id]) for order in book.work_bids
        ),
        nominations=tuple(
            replace(
                order,
                participant_id=names[order.participant_id],
                entitlement_id=names[order.entitlement_id],
            )
            for order in book.nominations
        ),
    )
    return renamed, replace(
        outcome,
        book_sha256=codec.digest(renamed),
        orders=tuple(
            replace(order, participant_id=names[order.participant_id]) for order in outcome.orders
        ),
        awards=tuple(
            replace(award, participant_id=names[award.participant_id]) for award in outcome.awards
        ),
    )


def names_between(book: Book, renamed: Book) -> dict[str, str] | None:
    """Names that lead from one book to the other, None where they are not one for one.

    Only a candidate: whether nothing else differs is for the caller to compare.
    """
    names: dict[str, str] = {}
    for old, new in chain(
        zip(_participants(book), _participants(renamed), strict=False),
        zip(_entitlements(book), _entitlements(renamed), strict=False),
    ):
        if names.setdefault(old, new) != new:
            return None
    return names if len(set(names.values())) == len(names) else None


def _participants(book: Book) -> Iterator[str]:
    for orders in (
        book.offers,
        book.step_bids,
        book.block_bids,
        book.work_bids,
        book.nominations,
    ):
        for order in orders:
            yield order.participant_id


def _entitlements(book: Book) -> Iterator[str]:
    for nomination in book.nominations:
        yield nomination.entitlement_id
