"""Realistic day-ahead books always clear: an exchange that cannot publish is down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.auction import clear
from clearing.types import PricingRule
from clearing.verify import verify
from tests.benchmarks.day_ahead import TIE_SEED
from tests.property.day_ahead_books import varied

BOOKS = 10


@pytest.mark.parametrize("seed", range(BOOKS))
def test_varied_books_clear(seed: int) -> None:
    book = varied(seed, orders=(40, 70))
    outcome = clear(book, TIE_SEED)
    report = verify(book, outcome)
    assert report.ok, report.failures
    assert 0 < outcome.certificate.welfare <= outcome.certificate.bound


def test_a_varied_book_clears_without_payments_to_losers() -> None:
    book = varied(1, orders=(40, 60))
    spec = replace(book.spec, pricing_rule=PricingRule.STRICT_UNIFORM)
    strict = replace(book, spec=spec, nominations=())
    outcome = clear(strict, TIE_SEED)
    report = verify(strict, outcome)
    assert report.ok, report.failures
    assert not any(payment.order_ids for payment in outcome.make_whole)
