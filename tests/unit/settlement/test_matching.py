from __future__ import annotations

import pytest

from clearing.errors import InvariantError
from settlement.matching import Lot, pair


def lot(name: str, *chips: int, gang: bool = False, released: bool = False) -> Lot:
    left = {t: quantity for t, quantity in enumerate(chips) if quantity}
    return Lot(order_id=name, left=left, gang=gang, released=released)


def test_a_gang_goes_whole_to_the_tightest_fit_over_all_its_intervals() -> None:
    found = pair(
        "pool",
        [lot("gang", 4, 4, gang=True), lot("a", 8, 6)],
        [lot("s1", 6, 2), lot("s2", 0, 4), lot("s3", 6, 4)],
    )
    assert found.flows["gang", "s3"] == {0: 4, 1: 4}
    assert ("gang", "s1") not in found.flows


def test_larger_gangs_choose_first() -> None:
    found = pair(
        "pool",
        [lot("a-small", 2, gang=True), lot("b-large", 6, gang=True)],
        [lot("s1", 6), lot("s2", 2)],
    )
    assert found.flows == {("a-small", "s2"): {0: 2}, ("b-large", "s1"): {0: 6}}


def test_a_gang_that_fits_nowhere_is_split() -> None:
    found = pair("pool", [lot("gang", 8, gang=True)], [lot("s1", 5), lot("s2", 3)])
    assert found.flows == {("gang", "s1"): {0: 5}, ("gang", "s2"): {0: 3}}


def test_a_contract_keeps_its_supplier_across_intervals() -> None:
    found = pair(
        "pool", [lot("a", 4, 4, 4), lot("b", 4, 4, 4)], [lot("s1", 4, 8, 4), lot("s2", 4, 0, 4)]
    )
    assert found.flows == {
        ("a", "s1"): {0: 4, 1: 4, 2: 4},
        ("b", "s1"): {1: 4},
        ("b", "s2"): {0: 4, 2: 4},
    }


def test_released_base_load_serves_recallable_orders_only() -> None:
    found = pair(
        "pool",
        [lot("firm", 4), lot("int", 6, released=True)],
        [lot("r", 4, released=True), lot("s", 6)],
    )
    assert found.flows == {("firm", "s"): {0: 4}, ("int", "r"): {0: 4}, ("int", "s"): {0: 2}}
    left = pair("pool", [lot("firm", 4)], [lot("r", 4, released=True), lot("s", 4)])
    assert left.idle == {"r": {0: 4}}


def test_supply_that_nobody_takes_is_idle() -> None:
    found = pair("pool", [lot("a", 4)], [lot("s1", 3), lot("s2", 3)])
    assert found.idle == {"s2": {0: 2}}


def test_more_delivered_than_sold_is_a_bug() -> None:
    with pytest.raises(InvariantError, match="sells less"):
        pair("pool", [lot("a", 4)], [lot("s", 3)])
