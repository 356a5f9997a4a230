"""Worked example 9: two teams of a lab in credits; budgets and expiry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.units import UnixSeconds
from settlement.credits import CreditGrant, asset_of, expired, granted, in_credits, overspent
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.ledger.books import Books, Rejected
from settlement.postings import award_postings, hour_postings
from settlement.types import Postings, Transfer
from tests.unit.settlement.builders import (
    DOLLAR,
    HOUR,
    assignment,
    contract,
    legs,
    metered,
    price,
)

CREDIT = asset_of("lab")
LATER = UnixSeconds(2_000_000_000)


def grant(team: str, amount: int, name: str = "", expiry: UnixSeconds = LATER) -> CreditGrant:
    return CreditGrant(
        grant_id=name or team, organisation="lab", team_id=team, amount=amount, expiry=expiry
    )


def settled(surcharge: int = 0, fee: int = 0, budget: int = 240 * DOLLAR) -> Books:
    prices = legs(30 * DOLLAR, surcharge=surcharge, fee=fee)
    teams = [
        contract(f"bid-{name}", 8, prices, buyer=name, supplier="lab") for name in ("red", "blue")
    ]
    own = assignment(*teams, prices=(price(30 * DOLLAR),))
    books = Books()
    for name in ("red", "blue"):
        assert not isinstance(books.apply(granted(grant(name, budget))), Rejected)
    hour = hour_postings(own, HOUR, [metered(item, tflops=3) for item in teams], pool_balance=0)
    for document in (award_postings(own, {}), hour):
        result = books.apply_all(in_credits(document, "lab"))
        assert not isinstance(result, Rejected), result
        books.check()
    return books


def test_9_two_teams_pay_the_treasury_in_credits() -> None:
    books = settled()
    # Each was given 240: what it paid is what it has no more.
    assert books.balance(accounts.team("red"), CREDIT).posted - 240 * DOLLAR == -240_000_000
    assert books.balance(accounts.team("blue"), CREDIT).posted - 240 * DOLLAR == -240_000_000
    assert books.balance(accounts.TREASURY, CREDIT).posted + 480 * DOLLAR == 480_000_000
    assert not [item for item in books.balances() if item.asset == "USD" and item.posted]
    assert books.open_holds() == ()
    assert overspent(books.balances()) == ()


def test_surcharge_and_fee_are_one_usd_bill_of_the_lab() -> None:
    books = settled(surcharge=500_000, fee=20_000)
    assert books.balance(accounts.cash("lab")).posted == -16 * 520_000
    assert books.balance(accounts.community("site-a")).posted == 8 * DOLLAR
    assert books.balance(accounts.OPERATOR_FEE).posted == 320_000
    assert books.balance(accounts.compute("red"), "TFLOP:BF16").posted == 8 * 3_600 * 3


def test_a_team_beyond_its_budget_is_named() -> None:
    books = settled(budget=239 * DOLLAR)
    assert overspent(books.balances()) == ("team:blue", "team:red")


def test_expired_grants_give_back_what_is_left_oldest_first() -> None:
    books = Books()
    grants = [
        grant("red", 100, "a", UnixSeconds(10)),
        grant("red", 50, "b", UnixSeconds(20)),
        grant("red", 7, "c", UnixSeconds(30)),
    ]
    for item in grants:
        assert not isinstance(books.apply(granted(item)), Rejected)
    spend = granted(grant("red", 130, "x"))
    back = replace(spend, debit=spend.credit, credit=spend.debit)
    assert not isinstance(books.apply(back), Rejected)
    balance = books.balance(accounts.team("red"), CREDIT)
    assert balance.posted == 27
    # 130 spent: all of a, 30 of b. At 20, b has 20 left; c still runs.
    assert [(t.transfer_id[-1], t.amount) for t in at(grants, balance, 20)] == [("b", 20)]
    assert [(t.transfer_id[-1], t.amount) for t in at(grants, balance, 30)] == [
        ("b", 20),
        ("c", 7),
    ]
    held = replace(balance, pending_debit=25)
    assert [t.amount for t in at(grants, held, 30)] == [2]


def at(grants: list[CreditGrant], balance: object, now: int) -> tuple[Transfer, ...]:
    return expired(grants, 130, balance, UnixSeconds(now))  # type: ignore[arg-type]


def test_credits_never_reach_a_community_and_grants_are_positive() -> None:
    wrong = replace(granted(grant("red", 1)), debit=accounts.community("site-a"))
    with pytest.raises(SettlementError) as caught:
        in_credits(Postings(postings_id="x", transfers=(wrong,)), "lab")
    assert caught.value.code is SettlementErrorCode.ACCOUNT_UNKNOWN
    with pytest.raises(SettlementError) as refused:
        granted(grant("red", 0))
    assert refused.value.code is SettlementErrorCode.AMOUNT_NOT_POSITIVE
