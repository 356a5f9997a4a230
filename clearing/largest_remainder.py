"""Whole nodes over equals: pro rata, largest remainder, equal remainders by the seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clearing.columns import Flags, Integers, starts
from clearing.errors import InvariantError

Keys = Callable[[Integers], list[bytes]]
"""Tie keys of members, by position; only asked for where a remainder is tied."""


def share(wanted: Integers, start: Integers, weight: Integers, keys: Keys) -> Integers:
    """``clearing.units.split_largest_remainder`` of many totals at once.

    Args:
        wanted: Nodes to share, per group.
        start: Members of each group, ragged.
        weight: Nodes that each member could take; a group's sum is at least its total, so
            nobody gets more than that.
        keys: Ranks of tied members, lowest first.

    Returns:
        Nodes per member.

    Raises:
        InvariantError: a total is larger than the weights of its group.
    """
    group = np.arange(wanted.size).repeat(np.diff(start))
    running = starts(weight)
    weights = running[start[1:]] - running[start[:-1]]
    if (wanted > weights).any():
        raise InvariantError("more nodes to share than members could take")
    # Nodes and their sums stay below 1e8 x 1e6 members, and a total below 1e8: below 2**63
    # unless a group is full, where the parts are the weights and no product is made.
    full = wanted == weights
    parts = weight.copy()
    part_of = np.flatnonzero(~full[group])
    at = group[part_of]
    parts[part_of], rest = np.divmod(wanted[at] * weight[part_of], weights[at])
    left = wanted - np.add.reduceat(np.append(parts, 0), start[:-1]) * (np.diff(start) > 0)
    remainder = np.zeros(weight.size, dtype=np.int64)
    remainder[part_of] = rest
    parts += _odd(left, start, group, remainder, keys)
    return parts


def _odd(
    left: Integers, start: Integers, group: Integers, remainder: Integers, keys: Keys
) -> Integers:
    """One more node for the members with the largest remainders, as many as are left."""
    more = np.zeros(group.size, dtype=np.int64)
    rows = np.flatnonzero(left[group] > 0)
    if rows.size == 0:
        return more
    rows = rows[np.lexsort((-remainder[rows], group[rows]))]
    of_group = group[rows]
    rank = np.arange(rows.size) - np.searchsorted(of_group, of_group)
    last = rank == left[of_group] - 1
    # Remainders add up to ``left`` times the weights and each is below them, so more members
    # than are given a node have one, and there is always a next.
    next_up = np.roll(remainder[rows], -1)
    tied_group = of_group[last & (remainder[rows] == next_up) & _same_next(of_group)]
    cut = np.zeros(start.size - 1, dtype=np.int64)
    cut[of_group[last]] = remainder[rows][last]
    given = rank < left[of_group]
    tied = np.isin(of_group, tied_group) & (remainder[rows] == cut[of_group])
    more[rows[given & ~tied]] = 1
    _by_key(rows[tied], of_group[tied], given[tied], keys, more)
    return more


def _same_next(groups: Integers) -> Flags:
    same = np.zeros(groups.size, dtype=np.bool_)
    same[:-1] = groups[1:] == groups[:-1]
    return same


def _by_key(rows: Integers, groups: Integers, given: Flags, keys: Keys, more: Integers) -> None:
    """Among the tied members of each group, the lowest keys get what is left for them."""
    if rows.size == 0:
        return
    ranked = sorted(zip(groups.tolist(), keys(rows), rows.tolist(), strict=True))
    counts = np.bincount(groups, weights=given).astype(np.int64).tolist()
    for of_group, _, row in ranked:
        if counts[of_group] > 0:
            counts[of_group] -= 1
            more[row] = 1
