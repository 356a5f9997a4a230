"""Products and sums stay exact beyond 63 bits."""

from __future__ import annotations

import numpy as np
import pytest

from clearing import exact

HUGE = 10**18


def column(*values: int) -> exact.Numbers:
    return np.array(values, dtype=np.int64)


def test_small_products_stay_in_machine_integers() -> None:
    found = exact.times(column(3, -4), column(5, 6))
    assert found.dtype == np.int64
    assert found.tolist() == [15, -24]


def test_large_products_become_python_integers() -> None:
    found = exact.times(column(HUGE, -HUGE), column(HUGE, 7))
    assert found.tolist() == [HUGE * HUGE, -7 * HUGE]


def test_sums_of_pairs_do_not_wrap() -> None:
    most = 2**62
    assert exact.plus(column(most), column(most)).tolist() == [2**63]


@pytest.mark.parametrize("values", [[HUGE] * 50, [-HUGE] * 50, [HUGE, -HUGE, 1], []])
def test_total_is_exact(values: list[int]) -> None:
    assert exact.total(column(*values)) == sum(values)


def test_total_of_products_is_exact() -> None:
    values, weights = [4 * HUGE, -3 * HUGE, 17], [2**31 - 1, 100_000_000, 0]
    expected = sum(v * w for v, w in zip(values, weights, strict=True))
    assert exact.total_product(column(*values), column(*weights)) == expected


@pytest.mark.parametrize("scale", [1, HUGE])
def test_sums_per_row(scale: int) -> None:
    rows, values = column(0, 2, 2, 2), column(4, 1, -3, 9) * scale
    assert exact.sums_at(rows, values, 3).tolist() == [4 * scale, 0, 7 * scale]


def test_rows_whose_sum_needs_more_bits() -> None:
    rows = np.zeros(40, dtype=np.int64)
    assert exact.sums_at(rows, column(*[HUGE] * 40), 1).tolist() == [40 * HUGE]


@pytest.mark.parametrize("scale", [1, HUGE])
def test_running_sums(scale: int) -> None:
    values = (np.array([[1, 2, 3], [4, 5, 6]]) * scale).astype(np.int64)
    expected = [[0, 1, 3, 6], [0, 4, 9, 15]]
    assert exact.running(values).tolist() == [[x * scale for x in row] for row in expected]
