"""Rated compute is exact in integers and rounded once."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso_exchange import reference
from settlement.metering.chip_table import ChipTableError, Precision
from settlement.metering.rated import pflop_hours_text, rated_tflop, rated_tflop_at_peak

H100 = reference.read_default().get("nvidia.h100-sxm5-80gb")


def test_eight_h100_for_one_hour() -> None:
    quantity = rated_tflop(8 * 3_600, H100, Precision.BF16, 1_000_000)
    assert quantity == 28_483_200
    assert pflop_hours_text(quantity, places=3) == "7.912"


def test_derate_rounds_half_to_even_once() -> None:
    assert rated_tflop_at_peak(1, 1, 500_000) == 0
    assert rated_tflop_at_peak(3, 1, 500_000) == 2
    assert rated_tflop_at_peak(5, 1, 500_000) == 2
    assert rated_tflop_at_peak(1, 989, 985_000) == 974


def test_no_limit_at_sixty_four_bits() -> None:
    # A gigawatt of FP4 chips for a month overflows int64 in GFLOP; here nothing overflows.
    assert rated_tflop_at_peak(10**13, 10_000, 1_000_000) == 10**17


@given(
    chip_seconds=st.integers(0, 10**15),
    dense_tflops=st.integers(1, 10**6),
    derate_ppm=st.integers(0, 1_000_000),
)
def test_within_half_a_unit_of_the_exact_product(
    chip_seconds: int, dense_tflops: int, derate_ppm: int
) -> None:
    exact = Fraction(chip_seconds * dense_tflops * derate_ppm, 1_000_000)
    rated = rated_tflop_at_peak(chip_seconds, dense_tflops, derate_ppm)
    assert abs(rated - exact) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("chip_seconds", "dense_tflops", "derate_ppm", "field"),
    [
        (-1, 989, 1_000_000, "chip_seconds"),
        (1, 0, 1_000_000, "dense_tflops"),
        (1, 989, -1, "derate_ppm"),
        (1, 989, 1_000_001, "derate_ppm"),
    ],
)
def test_out_of_range(chip_seconds: int, dense_tflops: int, derate_ppm: int, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        rated_tflop_at_peak(chip_seconds, dense_tflops, derate_ppm)


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ChipTableError, match="UNKNOWN_PRECISION"):
        rated_tflop(1, H100, Precision.FP4, 1_000_000)


@pytest.mark.parametrize(
    ("quantity", "places", "text"),
    [
        (3_600_000, 0, "1"),
        (0, 2, "0.00"),
        (1, 6, "0.000000"),
        (1, 9, "0.000000278"),
        (-28_483_200, 6, "-7.912000"),
        (3_600_000 * 10**30, 2, f"{10**30}.00"),
    ],
)
def test_pflop_hours_text(quantity: int, places: int, text: str) -> None:
    assert pflop_hours_text(quantity, places=places) == text


def test_pflop_hours_places_are_bounded() -> None:
    with pytest.raises(ValueError, match="places"):
        pflop_hours_text(1, places=19)
