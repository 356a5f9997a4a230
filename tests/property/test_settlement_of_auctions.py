"""Auctions that were really cleared, then settled: settlement's cash is the outcome's cash."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from clearing.auction import clear
from clearing.codec import decode, digest, encode
from clearing.errors import RefusedResultError, SolverError
from clearing.outcome import Outcome
from clearing.types import Book
from clearing.units import SECONDS_PER_HOUR, Ppm
from settlement.assignment import Assignment
from settlement.contracts import assign
from settlement.ledger import accounts
from settlement.limits import highest_limits, linked_families
from settlement.types import Phase, TransferCode
from tests.property.books import ALL, SEED, Kind, books, mixed_books
from tests.unit.settlement.builders import World


def assigned(book: Book, outcome: Outcome) -> Assignment:
    return assign(
        book,
        outcome,
        derates={pool.pool_id: Ppm(1_000_000) for pool in book.pools},
        precisions={pool.chip_class: "BF16" for pool in book.pools},
        nomination_suppliers={item.entitlement_id: "base-supplier" for item in book.nominations},
    )


@given(st.booleans().flatmap(lambda covered: books(covered=covered)))
def test_full_delivery_settles_what_the_auction_said(book: Book) -> None:
    outcome = clear(book, SEED)
    world = World(assigned(book, outcome))
    for held in book.spec.intervals:
        world.close(held=held)
    limits = {name: int(limit) for name, limit in highest_limits(book).items()}
    assert world.broken(limits) == []
    assert world.books.open_holds() == ()
    moved: dict[TransferCode, int] = {}
    for item in world.applied:
        if item.transfer.phase is not Phase.PENDING:
            code = item.transfer.code
            moved[code] = moved.get(code, 0) + item.applied
    cash = outcome.cash
    assert moved.get(TransferCode.FEE, 0) == cash.operator_fee
    assert moved.get(TransferCode.SURCHARGE, 0) == cash.community
    assert moved.get(TransferCode.POWER_RENT, 0) == cash.power_rent
    assert moved.get(TransferCode.SPARE, 0) == cash.spare
    if len(book.spec.intervals) == 1:
        assert moved.get(TransferCode.SUPPLY, 0) == cash.suppliers
        assert world.posted(accounts.POOL) == max(0, cash.residual)
    assert moved.get(TransferCode.SUPPLY, 0) <= cash.suppliers


@given(mixed_books(ALL - {Kind.LINK, Kind.NEGATIVE}))
@settings(max_examples=60)
def test_every_order_kind_settles_what_the_auction_said(book: Book) -> None:
    try:
        outcome = clear(book, SEED)
    except (SolverError, RefusedResultError):
        return  # the auction fails and nothing of it is settled
    world = World(assigned(book, outcome), linked_families(book))
    for held in book.spec.intervals:
        world.close(held=held)
    limits = {name: int(limit) for name, limit in highest_limits(book).items()}
    assert world.broken(limits) == []
    assert world.books.open_holds() == ()
    moved: dict[TransferCode, int] = defaultdict(int)
    count = 0
    for item in world.applied:
        if item.transfer.phase is not Phase.PENDING:
            moved[item.transfer.code] += item.applied
            count += 1
    cash = outcome.cash
    said = {
        TransferCode.FEE: cash.operator_fee,
        TransferCode.SURCHARGE: cash.community,
        TransferCode.POWER_RENT: cash.power_rent,
        TransferCode.SPARE: cash.spare,
        TransferCode.SUPPLY: cash.suppliers,
    }
    # Whole hours leave nothing to round but a residual that is too small to be funded.
    hourly = book.spec.intervals[0].duration_s == SECONDS_PER_HOUR
    slack = max(0, -cash.residual) if hourly else count
    assert all(abs(moved[code] - amount) <= slack for code, amount in said.items())


@given(books(covered=True), st.randoms(use_true_random=False))
def test_assignment_serves_every_award_and_ignores_order(book: Book, random: Random) -> None:
    outcome = clear(book, SEED)
    settled = assigned(book, outcome)
    awards = list(outcome.awards)
    random.shuffle(awards)
    mixed = replace(
        book, offers=tuple(reversed(book.offers)), step_bids=tuple(reversed(book.step_bids))
    )
    assert digest(assigned(mixed, replace(outcome, awards=tuple(awards)))) == digest(settled)
    assert decode(encode(settled), Assignment) == settled
    wanted: dict[tuple[str, int], int] = {}
    for award in outcome.awards:
        for t, chips in enumerate(award.chips, award.first):
            key = (award.order_id, int(book.spec.intervals[t].start))
            wanted[key] = wanted.get(key, 0) + chips
    got: dict[tuple[str, int], int] = {}
    sold: dict[tuple[str, int], int] = {}
    for item in settled.contracts:
        for hour in item.hours:
            for into, name in ((got, item.order_id), (sold, item.supplier_order_id)):
                served = (name, int(hour.interval.start))
                into[served] = into.get(served, 0) + hour.chips
    for idle in settled.idle_hours:
        unsold = (idle.order_id, int(idle.interval.start))
        sold[unsold] = sold.get(unsold, 0) + idle.chips
    offers = {offer.order_id for offer in book.offers}
    for wish, quantity in wanted.items():
        assert (sold if wish[0] in offers else got).get(wish, 0) == quantity
    released = set(settled.released_order_ids)
    for item in settled.contracts:
        if item.supplier_order_id in released:
            assert item.notice_s <= settled.site_cover_notice_s
