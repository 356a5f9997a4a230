"""Sharing many totals at once agrees with sharing one, member by member."""

from __future__ import annotations

import random

import numpy as np
import pytest

from clearing.errors import InvariantError
from clearing.largest_remainder import share
from clearing.units import split_largest_remainder


def shared(totals: list[int], groups: list[list[int]], keys: list[bytes]) -> list[int]:
    start = np.cumsum([0, *map(len, groups)])
    weights = np.array([weight for group in groups for weight in group], dtype=np.int64)
    parts = share(
        np.array(totals, dtype=np.int64),
        start,
        weights,
        lambda rows: [keys[row] for row in rows.tolist()],
    )
    found: list[int] = parts.tolist()
    return found


def test_agrees_with_the_split_of_one_total() -> None:
    rng = random.Random(5)
    for _ in range(300):
        groups = [
            [rng.choice([0, 1, 1, 2, 3, 3, 5]) for _ in range(rng.randint(0, 6))]
            for _ in range(rng.randint(1, 5))
        ]
        totals = [rng.randint(0, sum(group)) for group in groups]
        keys = [bytes([rng.randrange(256), at]) for at in range(sum(map(len, groups)))]
        expected: list[int] = []
        for total, group in zip(totals, groups, strict=True):
            own = keys[len(expected) : len(expected) + len(group)]
            expected += split_largest_remainder(total, group, own)
        assert shared(totals, groups, keys) == expected


def test_only_tied_members_are_asked_for_their_key() -> None:
    asked: list[list[int]] = []

    def keys(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[bytes]:
        asked.append(rows.tolist())
        return [bytes([9 - row]) for row in rows.tolist()]

    start = np.array([0, 3, 6, 8])
    weight = np.array([3, 3, 1, 2, 2, 2, 4, 4])
    parts = share(np.array([5, 4, 8]), start, weight, keys)
    assert parts.tolist() == [2, 2, 1, 1, 1, 2, 4, 4]
    assert asked == [[3, 4, 5]]


def test_more_than_the_members_could_take_is_a_bug() -> None:
    with pytest.raises(InvariantError):
        shared([5], [[2, 2]], [b"a", b"b"])
