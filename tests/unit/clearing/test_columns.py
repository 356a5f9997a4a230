from __future__ import annotations

from random import Random

import numpy as np
import pytest

from clearing.columns import (
    divide_up_each,
    expand,
    group,
    integers,
    least_in_windows,
    share_ppm_each,
    starts,
    take,
)
from clearing.units import Ppm, divide_up, share_ppm


def test_ragged_rows_expand_and_are_taken_apart() -> None:
    start = starts(integers((2, 0, 3)))
    assert start.tolist() == [0, 2, 2, 5]
    assert [part.tolist() for part in expand(integers((2, 0, 3)))] == [
        [0, 0, 2, 2, 2],
        [0, 1, 0, 1, 2],
    ]
    position, at = take(start, integers((2, 1, 0)))
    assert (position.tolist(), at.tolist()) == ([0, 0, 0, 2, 2], [2, 3, 4, 0, 1])


@pytest.mark.parametrize("wide", [False, True])
def test_groups_are_sorted_stable_and_complete(wide: bool) -> None:
    random = Random(7)
    span = 2**40 if wide else 3
    rows = [(random.randrange(3) * span, random.randrange(-2, 3) * span) for _ in range(60)]
    found = group(*(integers(part) for part in zip(*rows, strict=True)))
    ranked = sorted(range(60), key=lambda row: rows[row])
    assert found.order.tolist() == ranked
    kinds = sorted(set(rows))
    assert [rows[row] for row in found.first.tolist()] == kinds
    assert found.of_row().tolist() == [kinds.index(row) for row in rows]
    assert found.sums(np.ones(60, dtype=np.int64)).tolist() == [rows.count(kind) for kind in kinds]
    assert found.count == len(kinds)


def test_nothing_makes_no_group() -> None:
    found = group(integers(()), integers(()))
    assert (found.count, found.start.tolist(), found.sums(integers(())).size) == (0, [0], 0)


def test_rounding_is_that_of_the_units() -> None:
    amounts = [-7, -5, -1, 0, 1, 3, 5, 10**9]
    shares = [500_000, 1, 1_000_000, 1_500_000, 999_999_999]
    pairs = [(amount, share) for amount in amounts for share in shares]
    found = share_ppm_each(*(integers(part) for part in zip(*pairs, strict=True)))
    assert found.tolist() == [share_ppm(amount, Ppm(share)) for amount, share in pairs]
    beyond = share_ppm_each(integers((10**13,)), integers((10**9,)))
    assert beyond.tolist() == [10**16]
    assert share_ppm_each(integers(()), integers(())).size == 0
    assert divide_up_each(integers((7, 8, -7)), 4).tolist() == [
        divide_up(7, 4),
        divide_up(8, 4),
        divide_up(-7, 4),
    ]


def test_least_of_a_window_is_found_for_every_window() -> None:
    random = Random(3)
    values = [random.randrange(100) for _ in range(25)]
    windows = [(first, stop) for first in range(25) for stop in range(first + 1, 26)]
    found = least_in_windows(
        integers(values),
        integers(first for first, _ in windows),
        integers(stop - first for first, stop in windows),
    )
    assert found.tolist() == [min(values[first:stop]) for first, stop in windows]
