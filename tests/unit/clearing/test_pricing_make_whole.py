from __future__ import annotations

from collections import Counter

import pytest

from clearing.errors import UnfundedError
from clearing.outcome import MakeWhole
from clearing.pricing.make_whole import Family, make_whole
from clearing.units import SECONDS_PER_HOUR

HOUR = SECONDS_PER_HOUR


def funding(payments: tuple[MakeWhole, ...]) -> list[dict[str, int]]:
    return [{share.source: share.amount for share in made.funding} for made in payments]


def given(payments: tuple[MakeWhole, ...]) -> Counter[str]:
    total: Counter[str] = Counter()
    for shares in funding(payments):
        total.update(shares)
    return total


def test_rent_pays_first_then_surpluses_then_base_load() -> None:
    payments = make_whole(
        {("loser",): -100 * HOUR, ("x",): 30 * HOUR, ("y",): 10 * HOUR},
        {"s": 20 * HOUR},
        {"n": 7},
        0,
    )
    assert funding(payments) == [{"rent:s": 20, "x": 30, "y": 10, "n": 40}]


def test_surpluses_pay_pro_rata_over_several_losers() -> None:
    payments = make_whole(
        {("a",): -6 * HOUR, ("b",): -2 * HOUR, ("x",): 30 * HOUR, ("y",): 10 * HOUR}, {}, {}, 0
    )
    assert [made.amount for made in payments] == [6, 2]
    assert given(payments) == {"x": 6, "y": 2}


def test_a_family_is_paid_and_pays_as_one() -> None:
    payments = make_whole({("child", "parent"): -5 * HOUR, ("p", "q"): 9 * HOUR}, {}, {}, 0)
    assert [made.order_ids for made in payments] == [("child", "parent")]
    assert funding(payments) == [{"p": 5}]


def test_worked_example_is_split_by_largest_remainder() -> None:
    payments = make_whole(
        {("g",): -12_000_000 * HOUR, ("S1",): 40_000_000 * HOUR, ("b",): 2_000_000 * HOUR},
        {},
        {},
        0,
    )
    assert funding(payments) == [{"S1": 11_428_571, "b": 571_429}]


def test_loss_is_rounded_up() -> None:
    payments = make_whole({("a",): -1, ("x",): 5 * HOUR}, {}, {}, 0)
    assert [made.amount for made in payments] == [1]


def test_negative_residual_is_an_entry_without_orders() -> None:
    payments = make_whole({("x",): 5 * HOUR}, {}, {}, -3)
    assert [(made.order_ids, made.amount) for made in payments] == [((), 3)]
    assert make_whole({("x",): 5 * HOUR}, {}, {}, 3) == ()


def test_loss_that_nobody_can_fund_is_refused() -> None:
    with pytest.raises(UnfundedError, match="fund 2"):
        make_whole({("a",): -3 * HOUR, ("x",): HOUR}, {}, {}, 0)


def test_no_source_gives_more_than_it_has() -> None:
    surpluses: dict[Family, int] = {(f"x{n}",): n * HOUR for n in range(1, 200)}
    losers: dict[Family, int] = {(f"a{n}",): -97 * HOUR for n in range(200)}
    payments = make_whole({**surpluses, **losers}, {"s": 50 * HOUR}, {}, 0)
    total = given(payments)
    assert total["rent:s"] == 50
    assert sum(total.values()) == 200 * 97
    assert all(total[f"x{n}"] <= n for n in range(1, 200))


def test_shares_are_fewer_than_sources_and_payments() -> None:
    winners: dict[Family, int] = {
        (f"x{n:06d}",): (1 + n % 977) * 1_000 * HOUR for n in range(100_000)
    }
    losers: dict[Family, int] = {(f"a{n:06d}",): -(1 + n % 7) * 999 * HOUR for n in range(5_000)}
    payments = make_whole({**winners, **losers}, {}, {}, 0)
    shares = sum(len(made.funding) for made in payments)
    total = given(payments)
    weight, all_given = sum(gain // HOUR for gain in winners.values()), total.total()
    assert len(payments) == 5_000
    assert shares < 105_000
    assert all(
        abs(total[name] * weight - all_given * (gain // HOUR)) <= weight
        for (name,), gain in winners.items()
    )
