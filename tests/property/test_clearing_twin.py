"""The engine against brute force on tiny books, and its own laws on the same books."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from clearing import codec
from clearing.auction import clear
from clearing.outcome import Outcome, Side
from clearing.types import Book
from clearing.verify import verify
from tests.property.books import SEED, books
from tests.property.twin import best_welfare

T = TypeVar("T")


def welfare_of(book: Book, outcome: Outcome) -> int:
    """Welfare of the awards, added up chip by chip without the product's arithmetic."""
    site = {pool.pool_id: pool.site_id for pool in book.pools}
    surcharge = {s.site_id: s.surcharge for s in book.sites}
    curves = {o.order_id: o.segments for o in book.offers}
    curves.update({b.order_id: b.segments for b in book.step_bids})
    limits = {b.order_id: b.limit_price for b in book.block_bids}
    taken: dict[tuple[str, int], int] = {}
    total = 0
    for award in outcome.awards:
        if award.side is Side.BASE:
            continue
        for t, chips in enumerate(award.chips, award.first):
            taken[award.order_id, t] = taken.get((award.order_id, t), 0) + chips
            if award.side is Side.DEMAND:
                total -= chips * (surcharge[site[award.pool_id]] + book.spec.operator_fee)
    sellers = {offer.order_id for offer in book.offers}
    for (name, t), sum_of_chips in taken.items():
        if name in limits:
            total += limits[name] * sum_of_chips
            continue
        steps = next(s.steps for s in curves[name] if s.first <= t < s.stop)
        unit_prices = [step.price for step in steps for _ in range(step.chips)]
        total += sum(unit_prices[:sum_of_chips]) * (-1 if name in sellers else 1)
    return total * book.spec.intervals[0].duration_s


@given(books(covered=False))
def test_plain_books_reach_the_optimum(book: Book) -> None:
    outcome = clear(book, SEED)
    best = best_welfare(book)
    assert welfare_of(book, outcome) == best
    assert outcome.certificate.welfare == best
    assert outcome.certificate.bound >= best


@given(books(covered=True))
def test_covered_books_lie_between_their_welfare_and_their_bound(book: Book) -> None:
    """Spare shares make parts of nodes: whole-node awards may reach less than the optimum."""
    outcome = clear(book, SEED)
    best = best_welfare(book)
    assert outcome.certificate.welfare == welfare_of(book, outcome)
    if best is not None:
        assert outcome.certificate.welfare <= best <= outcome.certificate.bound


@given(books(covered=True))
def test_outcomes_verify(book: Book) -> None:
    report = verify(book, clear(book, SEED))
    assert report.ok, report.failures


@given(books(covered=True))
def test_cash_adds_up_chip_by_chip(book: Book) -> None:
    """Hourly intervals make every payment exact, so plain sums must meet the published lines."""
    outcome = clear(book, SEED)
    prices = {(p.pool_id, p.interval): p for p in outcome.prices}
    released = {offer.order_id for offer in book.offers if offer.recallable}
    sold = community = fee = power = 0
    for award in outcome.awards:
        for t, chips in enumerate(award.chips, award.first):
            price = prices[award.pool_id, t]
            if award.side is Side.SUPPLY:
                discount = price.recall_discount if award.order_id in released else 0
                sold += chips * (price.energy - discount)
            else:
                community += chips * price.surcharge
                fee += chips * price.fee
                power += chips * price.power
    cash = outcome.cash
    assert (cash.suppliers, cash.community, cash.operator_fee) == (sold, community, fee)
    assert cash.power_rent >= power
    received = cash.suppliers + cash.spare + cash.community + cash.operator_fee
    assert cash.buyers == received + cash.link_rent + cash.power_rent + cash.residual
    assert cash.make_whole == sum(payment.amount for payment in outcome.make_whole)


@given(books(covered=True), st.randoms(use_true_random=False))
def test_the_order_of_the_book_decides_nothing(book: Book, chance: random.Random) -> None:
    shuffled = replace(
        book,
        sites=_shuffled(book.sites, chance),
        pools=_shuffled(book.pools, chance),
        offers=_shuffled(book.offers, chance),
        step_bids=_shuffled(book.step_bids, chance),
        block_bids=_shuffled(book.block_bids, chance),
        nominations=_shuffled(book.nominations, chance),
    )
    assert codec.digest(clear(shuffled, SEED)) == codec.digest(clear(book, SEED))


def _shuffled(items: tuple[T, ...], chance: random.Random) -> tuple[T, ...]:
    return tuple(chance.sample(items, len(items)))
