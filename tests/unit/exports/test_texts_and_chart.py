from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearing.units import ChipSeconds, UnixSeconds
from settlement.errors import SettlementError
from settlement.exports import chart
from settlement.exports.texts import (
    cents_text,
    chip_hours,
    date_text,
    decimal_text,
    next_date_text,
    short_id,
    time_text,
)
from settlement.ledger import accounts

IDENTIFIERS = st.text("abcxXyzABCZ019._-", min_size=1, max_size=12)
# Beancount's grammar of names (docs: beancount_language_syntax).
BEANCOUNT_ACCOUNT = re.compile(r"(Assets|Liabilities|Equity)(:[A-Z0-9][A-Za-z0-9-]*)+")
BEANCOUNT_CURRENCY = re.compile(r"[A-Z][A-Z0-9'._-]*[A-Z0-9]")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.000000"),
        (1, "0.000001"),
        (-1, "-0.000001"),
        (1_500_000, "1.500000"),
        (-12_345_678, "-12.345678"),
        (2**127 - 1, "170141183460469231731687303715884.105727"),
    ],
)
def test_decimals_keep_every_digit(amount: int, text: str) -> None:
    assert decimal_text(amount) == text


def test_cents_are_whole_or_refused() -> None:
    assert cents_text(3_640_000) == "3.64"
    assert cents_text(120_000_000) == "120.00"
    with pytest.raises(ValueError, match="no whole cents"):
        cents_text(3_640_001)


def test_times_and_quantities() -> None:
    assert time_text(UnixSeconds(1_791_277_200)) == "2026-10-06T09:00:00Z"
    assert date_text(UnixSeconds(1_791_277_200)) == "2026-10-06"
    assert next_date_text(UnixSeconds(1_798_761_599)) == "2027-01-01"
    assert chip_hours(ChipSeconds(28_800)) == "8.000000000"
    assert chip_hours(ChipSeconds(26_248)) == "7.291111111"


def test_short_identifiers_fit_payment_formats() -> None:
    assert len(short_id("P-", "payout/" + "x" * 200)) == 34
    assert short_id("P-", "a") != short_id("P-", "b")
    assert short_id("P-", "a") == short_id("P-", "a")


@pytest.mark.parametrize(
    ("account", "name", "kind"),
    [
        ("p:lab-1:cash", "Liabilities:Participant:Lab-1:Cash", "L"),
        ("p:lab-1:collateral", "Liabilities:Participant:Lab-1:Collateral", "L"),
        ("p:Lab_1:compute", "Equity:Compute:X4Cab-X", "E"),
        ("pot:day-1:1800007200", "Liabilities:Pot:Day-1:1800007200", "L"),
        ("cover:day-1:pool-a:0", "Liabilities:Cover:Day-1:Pool-a:0", "L"),
        ("dispute:a/b/c/d", "Liabilities:Dispute:AX2FbX2FcX2Fd", "L"),
        ("xenon", "", ""),
        ("community:xenon", "Liabilities:Community:X78enon", "L"),
        ("operator:fee", "Liabilities:OperatorFee", "L"),
        ("bank", "Assets:Bank", "A"),
        ("pool", "Equity:StopLossPool", "E"),
        ("held:p:lab-1:cash", "Equity:Held:Participant:Lab-1:Cash", "E"),
        ("promised:pool", "Equity:Promised:StopLossPool", "E"),
    ],
)
def test_accounts_keep_the_chart_of_accounts(account: str, name: str, kind: str) -> None:
    if not name:
        with pytest.raises(SettlementError):
            chart.beancount_account(account)
        return
    expected = name.replace("X4Cab-X", "X4CabX5F1")
    assert chart.beancount_account(account) == expected
    assert BEANCOUNT_ACCOUNT.fullmatch(expected)
    assert chart.hledger_account(account) == account
    assert chart.hledger_type(account) == kind


@given(IDENTIFIERS, IDENTIFIERS)
def test_different_accounts_have_different_names(one: str, other: str) -> None:
    for name in (accounts.cash, accounts.community, accounts.rent):
        first, second = chart.beancount_account(name(one)), chart.beancount_account(name(other))
        assert (first == second) == (one == other)
        assert BEANCOUNT_ACCOUNT.fullmatch(first)


@given(IDENTIFIERS, IDENTIFIERS)
def test_different_assets_have_different_currencies(one: str, other: str) -> None:
    for head in ("CREDIT", "TFLOP"):
        first = chart.beancount_currency(f"{head}:{one}")
        assert (first == chart.beancount_currency(f"{head}:{other}")) == (one == other)
        assert BEANCOUNT_CURRENCY.fullmatch(first)


def test_assets() -> None:
    assert chart.beancount_currency("USD") == "USD"
    assert chart.beancount_currency("TFLOP:BF16") == "TFLOP.BF16"
    assert chart.beancount_currency("CREDIT:acme") == "CREDIT.ACME"
    assert chart.hledger_commodity("USD") == "USD"
    assert chart.hledger_commodity("TFLOP:BF16") == '"TFLOP:BF16"'
