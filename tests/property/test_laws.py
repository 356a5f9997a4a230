"""The laws notice what they are there to notice: a good outcome, bent in one place."""

from __future__ import annotations

from dataclasses import replace

from clearing.auction import clear
from clearing.outcome import Award, Outcome, Side
from clearing.types import Book
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, PriceSeconds
from tests.golden.clearing import examples
from tests.golden.clearing.books import SEED
from tests.property.laws import broken_laws
from tests.property.twin import best


def names(book: Book, outcome: Outcome) -> set[str]:
    found = {symptom.name for symptom in broken_laws(book, outcome, best(book), whole=True)}
    return {name.partition(":")[0] for name in found}


def test_a_good_outcome_breaks_none() -> None:
    book = examples.losing_gang()
    assert names(book, clear(book, SEED)) == set()


def test_a_missing_payment_leaves_somebody_past_its_limit() -> None:
    book = examples.losing_gang()
    found = names(book, replace(clear(book, SEED), make_whole=()))
    assert found == {"refused by the verifier", "past its limit"}


def test_a_moved_price_supports_nothing() -> None:
    book = examples.losing_gang()
    outcome = clear(book, SEED)
    dear = tuple(
        replace(
            p,
            energy=MicroUsdPerChipHour(p.energy + 1_000),
            firm_uncovered=MicroUsdPerChipHour(p.firm_uncovered + 1_000),
        )
        for p in outcome.prices
    )
    found = names(book, replace(outcome, prices=dear))
    assert {"bid not at its best response", "surplus does not add up"} <= found


def test_a_chip_too_few_costs_welfare() -> None:
    book = examples.pro_rata()
    outcome = clear(book, SEED)
    awards = tuple(_one_less(a) if a.order_id in {"S", "a"} else a for a in outcome.awards)
    found = names(book, replace(outcome, awards=awards))
    assert {"welfare does not add up", "refused by the verifier"} <= found


def _one_less(award: Award) -> Award:
    return replace(award, chips=(Chips(award.chips[0] - 1),))


def test_a_worse_choice_is_below_the_optimum() -> None:
    book = examples.losing_gang()
    worse = replace(book, block_bids=())
    outcome = replace(clear(worse, SEED), book_sha256=clear(book, SEED).book_sha256)
    assert "below the optimum" in names(book, outcome)


def test_a_bound_below_the_optimum_is_noticed() -> None:
    book = examples.losing_gang()
    outcome = clear(book, SEED)
    low = replace(outcome.certificate, bound=PriceSeconds(outcome.certificate.bound // 2))
    assert "bound below the optimum" in names(book, replace(outcome, certificate=low))


def test_money_that_vanishes_is_noticed() -> None:
    book = examples.surcharge()
    outcome = clear(book, SEED)
    cash = replace(outcome.cash, community=MicroUsd(outcome.cash.community - 1))
    assert "cash does not add up" in names(book, replace(outcome, cash=cash))
    assert any(award.side is Side.SUPPLY for award in outcome.awards)
