from __future__ import annotations

import pytest

from clearing.errors import InvariantError
from clearing.pricing.make_whole import make_whole
from clearing.pricing.rounding import nearest
from clearing.units import SECONDS_PER_HOUR

HOUR = SECONDS_PER_HOUR


def funding(payments: tuple[object, ...]) -> list[dict[str, int]]:
    return [{s.source: s.amount for s in p.funding} for p in payments]  # type: ignore[attr-defined]


def test_rent_pays_first_then_surpluses_then_base_load() -> None:
    payments = make_whole(
        {"loser": -100 * HOUR, "x": 30 * HOUR, "y": 10 * HOUR}, {"s": 20 * HOUR}, {"n": 7}, 0
    )
    assert funding(payments) == [{"rent:s": 20, "x": 30, "y": 10, "n": 40}]


def test_surpluses_pay_pro_rata_over_several_losers() -> None:
    payments = make_whole(
        {"a": -6 * HOUR, "b": -2 * HOUR, "x": 30 * HOUR, "y": 10 * HOUR}, {}, {}, 0
    )
    shares = funding(payments)
    assert [sum(share.values()) for share in shares] == [6, 2]
    assert sum(share["x"] for share in shares) == 6


def test_loss_is_rounded_up() -> None:
    payments = make_whole({"a": -1, "x": 5 * HOUR}, {}, {}, 0)
    assert [p.amount for p in payments] == [1]


def test_negative_residual_is_an_entry_without_orders() -> None:
    payments = make_whole({"x": 5 * HOUR}, {}, {}, -3)
    assert [(p.order_ids, p.amount) for p in payments] == [((), 3)]
    assert make_whole({"x": 5 * HOUR}, {}, {}, 3) == ()


def test_loss_that_nobody_can_fund_is_a_bug() -> None:
    with pytest.raises(InvariantError, match="fund 2"):
        make_whole({"a": -3 * HOUR, "x": HOUR}, {}, {}, 0)


@pytest.mark.parametrize(
    ("value", "whole"), [(2.4, 2), (2.5, 3), (2.4999999, 3), (3.5, 4), (-0.4, 0), (7.0, 7)]
)
def test_halves_round_up_whatever_the_noise(value: float, whole: int) -> None:
    assert nearest(value) == whole
