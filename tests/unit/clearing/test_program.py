from __future__ import annotations

import numpy as np

from clearing.program import INFINITY, BlockBuilder, Builder, Program, slice_program, split_program
from clearing.solver import solve_linear


def two_hours() -> Program:
    """Sales of two hours at 3 and 5, and a contract over both that pays 4 per unit of each."""
    builder = BlockBuilder(reserved=2)
    first = builder.columns(2, np.array([3.0, 5.0]), 0.0, 10.0)
    both = builder.columns(1, 8.0, 0.0, 3.0, whole=True)
    row = builder.rows(2, -INFINITY, np.array([6.0, 4.0]))
    hours = row + np.arange(2)
    builder.entries(hours, first + np.arange(2), 1.0)
    builder.entries(hours, np.array([both, both]), 1.0)
    builder.entries(np.array([-1, 0]), np.array([0, -1]), np.array([7.0, 7.0]))
    return builder.freeze()


def test_blocks_of_columns_and_rows_make_the_same_program_as_single_ones() -> None:
    single = Builder()
    for gain, upper, whole in ((3.0, 10.0, False), (5.0, 10.0, False), (8.0, 3.0, True)):
        single.column(gain, 0.0, upper, whole=whole)
    for limit in (6.0, 4.0):
        single.row(-INFINITY, limit)
    for row, column in ((0, 0), (1, 1), (0, 2), (1, 2)):
        single.entry(row, column, 1.0)
    expected, found = single.freeze(), two_hours()
    for name in Program.__dataclass_fields__:
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name
        assert getattr(found, name).dtype == getattr(expected, name).dtype, name


def test_activity_is_the_value_of_every_row() -> None:
    assert two_hours().activity(np.array([1.0, 2.0, 3.0])).tolist() == [4.0, 5.0]


def test_parts_hold_what_spans_them() -> None:
    program = two_hours()
    held = np.array([9.0, 9.0, 3.0])
    parts = list(split_program(program, np.array([0, 1]), np.array([0, 1, -1]), 2, held))
    found = [solve_linear(part.program) for part in parts]
    # The contract takes 3 of 6 and 3 of 4.
    assert [solution.values.tolist() for solution in found] == [[3.0], [1.0]]
    assert [part.columns.tolist() for part in parts] == [[0], [1]]
    assert [part.rows.tolist() for part in parts] == [[0], [1]]


def test_a_slice_keeps_its_rows_and_columns_alone() -> None:
    found = slice_program(two_hours(), np.array([1]), np.array([1, 2]), np.array([5.0, 0.0, 0.0]))
    assert found.program.row_upper.tolist() == [4.0]
    assert found.program.objective.tolist() == [5.0, 8.0]
    assert solve_linear(found.program).objective == 4 * 8.0 - 8.0 + 5.0
    assert found.columns.tolist() == [1, 2]


def test_empty_parts_are_empty_programs() -> None:
    program = two_hours()
    parts = list(split_program(program, np.array([2, -1]), np.array([2, -1, -1]), 3, np.zeros(3)))
    assert [part.program.objective.size for part in parts] == [0, 0, 1]
    assert [part.program.values.size for part in parts] == [0, 0, 1]
