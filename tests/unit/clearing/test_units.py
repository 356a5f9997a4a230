"""Exact arithmetic: rounding, splits and text."""

from __future__ import annotations

import pytest

from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    chip_hours_text,
    chip_seconds,
    divide_half_even,
    divide_up,
    energy_charge,
    floor_to_cent,
    share_ppm,
    share_ppm_up,
    split_largest_remainder,
    usd_text,
)


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [(-5, 2, -2), (-3, 2, -2), (-1, 2, 0), (1, 2, 0), (3, 2, 2), (5, 2, 2), (7, 3, 2), (8, 3, 3)],
)
def test_halves_go_to_even(numerator: int, denominator: int, expected: int) -> None:
    assert divide_half_even(numerator, denominator) == expected


def test_denominators_must_be_positive() -> None:
    with pytest.raises(ValueError, match="denominator must be positive, got -2"):
        divide_half_even(1, -2)
    with pytest.raises(ZeroDivisionError):
        divide_half_even(1, 0)


def test_requirements_round_up() -> None:
    assert (divide_up(7, 2), divide_up(-7, 2), divide_up(8, 2)) == (4, -3, 4)
    assert share_ppm_up(24, Ppm(20_000)) == 1
    assert share_ppm(24, Ppm(20_000)) == 0


def test_energy_charge_rounds_once_and_refuses_negative_quantities() -> None:
    assert energy_charge(MicroUsdPerChipHour(2_490_000), ChipSeconds(300)) == 207_500
    assert energy_charge(MicroUsdPerChipHour(-1), ChipSeconds(1_800)) == 0
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        energy_charge(MicroUsdPerChipHour(1), ChipSeconds(-1))


def test_chip_seconds_multiplies() -> None:
    assert chip_seconds(Chips(8), Seconds(300)) == 2_400


def test_five_nodes_over_three_three_one() -> None:
    """Example 14 (own): pro rata 2, 2, 1."""
    assert split_largest_remainder(5, (3, 3, 1), ("a", "b", "c")) == (2, 2, 1)


def test_equal_remainders_follow_the_tie_keys() -> None:
    assert split_largest_remainder(1, (1, 1), ("b", "a")) == (0, 1)
    assert split_largest_remainder(-1, (1, 1), ("b", "a")) == (0, -1)


@pytest.mark.parametrize(
    ("total", "weights", "keys", "message"),
    [
        (1, (1,), (), "1 weights but 0 tie keys"),
        (1, (-1, 2), ("a", "b"), "weights must not be negative"),
        (1, (0, 0), ("a", "b"), "nothing can take a total of 1"),
    ],
)
def test_splits_that_cannot_be_made_are_refused(
    total: int, weights: tuple[int, ...], keys: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        split_largest_remainder(total, weights, keys)


def test_nothing_over_nobody_is_nothing() -> None:
    assert split_largest_remainder(0, (0, 0), ("a", "b")) == (0, 0)
    assert split_largest_remainder(0, (), ()) == ()


def test_payouts_floor_to_the_cent() -> None:
    """Settlement example 8 (own): 3,645,556 pays 3,640,000."""
    assert floor_to_cent(MicroUsd(3_645_556)) == 3_640_000
    with pytest.raises(ValueError, match="must not be negative"):
        floor_to_cent(MicroUsd(-1))


def test_text_is_exact_or_half_even() -> None:
    assert usd_text(4_500_000, places=2) == "4.50"
    assert usd_text(-1) == "-0.000001"
    assert usd_text(5_000, places=2) == "0.00"
    assert chip_hours_text(5_400) == "1.50"
