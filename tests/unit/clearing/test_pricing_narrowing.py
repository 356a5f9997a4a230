from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from clearing.pricing.narrowing import (
    Face,
    bounded,
    components,
    merged,
    narrow,
    part_of,
    with_conditions,
    with_variables,
)
from clearing.program import INFINITY

Condition = tuple[float, dict[int, float], float]


def face_of(bounds: Sequence[tuple[float, float]], *conditions: Condition) -> Face:
    lower, upper = (np.array(side, dtype=np.float64) for side in zip(*bounds, strict=True))
    row = [at for at, (_, terms, _) in enumerate(conditions) for _ in terms]
    index = [variable for _, terms, _ in conditions for variable in terms]
    value = [factor for _, terms, _ in conditions for factor in terms.values()]
    return with_conditions(
        bounded(lower, upper),
        np.array(row, dtype=np.int64),
        np.array(index, dtype=np.int64),
        np.array(value, dtype=np.float64),
        np.array([low for low, _, _ in conditions], dtype=np.float64),
        np.array([high for _, _, high in conditions], dtype=np.float64),
    )


def test_equations_that_meet_in_a_point_leave_nothing_open() -> None:
    # x - y = 2 and x + y / 2 = 5; then z >= x + 1.
    face, crossed = narrow(
        face_of(
            [(0, 10), (0, 10), (0, 10)],
            (2, {0: 1, 1: -1}, 2),
            (5, {0: 1, 1: 0.5}, 5),
            (1, {2: 1, 0: -1}, INFINITY),
        )
    )
    assert not crossed.any()
    assert np.allclose(face.lower, [4, 2, 5])
    assert np.allclose(face.upper, [4, 2, 10])
    assert face.low.size == 0


def test_bounds_without_end_are_narrowed_as_far_as_conditions_reach() -> None:
    face, _ = narrow(
        face_of(
            [(0, INFINITY), (0, INFINITY), (-INFINITY, INFINITY)],
            (-INFINITY, {0: 1, 1: 2}, 8),
            (3, {2: 1, 0: 1}, 3),
        )
    )
    assert face.lower.tolist() == [0, 0, -5]
    assert face.upper.tolist() == [8, 4, 3]


def test_a_contradiction_is_named_where_it_shows() -> None:
    _, crossed = narrow(
        face_of([(0, 1), (0, 1), (0, 9)], (3, {0: 1, 1: 1}, INFINITY), (1, {2: 1}, 2))
    )
    assert crossed[:2].any()
    assert not crossed[2]


def test_bounds_that_chase_each_other_end_as_a_contradiction() -> None:
    # y >= 2 x + 1 and x >= 2 y + 1 have no solution with x, y >= 0.
    _, crossed = narrow(
        face_of(
            [(0, INFINITY), (0, INFINITY)],
            (1, {1: 1, 0: -2}, INFINITY),
            (1, {0: 1, 1: -2}, INFINITY),
        )
    )
    assert crossed.any()


def test_components_are_what_conditions_join() -> None:
    face, _ = narrow(
        face_of(
            [(0, 5), (0, 5), (0, 5), (2, 2), (0, 5)],
            (1, {0: 1, 2: -1}, INFINITY),
            (1, {1: 1, 3: -1}, INFINITY),
        )
    )
    label = components(face)
    assert label[0] == label[2]
    assert len({label[0], label[1], label[4]}) == 3
    assert label[3] == -1


def test_a_part_is_the_face_of_its_components() -> None:
    face, _ = narrow(
        face_of(
            [(0, 5)] * 4,
            (1, {0: 1, 2: -1}, INFINITY),
            (-1, {1: 1, 3: -1}, 1),
        )
    )
    part, kept, rows = part_of(face, np.array([False, True, False, True]))
    assert kept.tolist() == [1, 3]
    assert rows.tolist() == [1]
    assert (part.index.tolist(), part.low.tolist(), part.high.tolist()) == ([0, 1], [-1], [1])


def test_equal_conditions_become_one() -> None:
    face = merged(
        face_of(
            [(0, 9), (0, 9)],
            (1, {0: 1, 1: -1}, INFINITY),
            (2, {1: -1, 0: 1}, INFINITY),
            (-INFINITY, {0: 1, 1: -1}, 4),
            (3, {0: 1, 1: 1}, INFINITY),
        )
    )
    assert sorted(zip(face.low.tolist(), face.high.tolist(), strict=True)) == [
        (2, 4),
        (3, INFINITY),
    ]


def test_conditions_are_divided_by_their_largest_coefficient() -> None:
    face = face_of([(0, 1), (0, 1)], (4, {0: -8, 1: 2}, 16))
    assert face.value.tolist() == [-1, 0.25]
    assert (face.low.tolist(), face.high.tolist()) == ([0.5], [2])


def test_new_variables_come_behind_the_others() -> None:
    face = with_variables(face_of([(0, 1)]), np.array([2.0]), np.array([3.0]))
    assert (face.lower.tolist(), face.upper.tolist()) == ([0, 2], [1, 3])


def test_no_point_is_lost() -> None:
    draw = Random(3)
    for _ in range(200):
        count = draw.randint(2, 6)
        point = [draw.randint(-4, 9) for _ in range(count)]
        bounds = [(p - draw.randint(0, 5), p + draw.choice((0, 3, INFINITY))) for p in point]
        conditions: list[Condition] = []
        for _ in range(draw.randint(1, 8)):
            members = draw.sample(range(count), draw.randint(1, min(3, count)))
            terms = {variable: float(draw.choice((-2, -1, 1, 3))) for variable in members}
            value = sum(factor * point[variable] for variable, factor in terms.items())
            low = value - draw.choice((0, 0, 2, INFINITY))
            conditions.append((low, terms, value + draw.choice((0, 1, INFINITY))))
        face, crossed = narrow(face_of(bounds, *conditions))
        at = np.array(point, dtype=np.float64)
        assert not crossed.any()
        assert (face.lower <= at + 1e-6).all()
        assert (at <= face.upper + 1e-6).all()
        assert (face.at(at) >= face.low - 1e-6).all()
        assert (face.at(at) <= face.high + 1e-6).all()
