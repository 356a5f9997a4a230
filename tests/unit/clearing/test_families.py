"""Best choices of groups and trees, with and without orders that must be accepted."""

from __future__ import annotations

import numpy as np

from clearing.families import Best, Picks, best_of_families, parents_there, with_each
from clearing.market import NONE

TREE = Picks(
    # Order 0 alone at the root; 1 and 2 exclude each other under 0; 3 under 1; 4 on its own.
    of_order=np.array([0, 1, 1, 2, 3]),
    parent=np.array([NONE, 0, 1, NONE]),
    level=np.array([0, 1, 2, 0]),
    family=np.array([0, 0, 0, 1]),
    families=2,
)
ALL = np.ones(5, dtype=np.bool_)


def best(gains: list[int], forced: tuple[int, ...] | None = None, *, without: int = -1) -> Best:
    there = ALL.copy()
    if without >= 0:
        there[without] = False
    flags = None
    if forced is not None:
        flags = np.zeros(5, dtype=np.bool_)
        flags[list(forced)] = True
    return best_of_families(TREE, np.array(gains), there, flags)


def test_losing_parent_is_carried_by_its_children() -> None:
    found = best([-2, 5, 4, 3, 1])
    assert found.total(TREE) == (-2 + 5 + 3) + 1
    assert found.order.tolist() == [6, 8, 4, 3, 1]


def test_children_that_lose_are_left_out() -> None:
    assert best([2, -5, -4, 3, -1]).total(TREE) == 2


def test_family_that_loses_stays_out() -> None:
    assert best([-20, 5, 4, 3, 0]).total(TREE) == 0


def test_member_of_a_group_excludes_the_others() -> None:
    assert best([0, 5, 9, 3, 0]).total(TREE) == 9


def test_what_each_order_would_bring() -> None:
    found = best([-2, 5, 4, 3, 1])
    assert with_each(TREE, found).tolist() == [6, 6, 2, 6, 1]


def test_forced_order_takes_its_parents_along() -> None:
    found = best([-20, 5, 9, 3, -4], forced=(3,))
    assert found.possible
    assert found.total(TREE) == -20 + 5 + 3


def test_order_that_must_be_accepted_and_cannot() -> None:
    assert not best([1, 1, 1, 1, 1], forced=(3,), without=3).possible
    assert not best([1, 1, 1, 1, 1], forced=(3,), without=1).possible


def test_numbers_beyond_63_bits() -> None:
    huge = 10**20
    gains = np.array([-huge, 2 * huge, huge, huge, 5], dtype=object)
    assert best_of_families(TREE, gains, ALL).total(TREE) == 2 * huge + 5


def test_orders_whose_ancestors_can_all_be_accepted() -> None:
    there = ALL.copy()
    there[1] = False
    assert parents_there(TREE, there).tolist() == [True, True, True, False, True]
    there[0] = False
    assert parents_there(TREE, there).tolist() == [True, False, False, False, True]
