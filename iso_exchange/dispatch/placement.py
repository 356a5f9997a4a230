"""Which nodes of a pool serve which contract: pure, one pool, one moment at a time.

A pool is a row of nodes, numbered along its fabric. Running work keeps its nodes: nothing
migrates (docs/reference/spot-rules.md, rule 14). A gang takes the smallest run of free
neighbours that holds it, else as few runs as possible; single nodes fill the smallest holes, so
that large runs stay whole for gangs. Spare nodes are the last of the row. A buyer's node may
pass from one of its orders to another without a restart.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clearing.errors import InvariantError

SPARE: Final = ""
"""Name of the load that stands by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What an order is to run in a pool over the coming interval.

    Attributes:
        load_id: Order (or entitlement) that is served; unique in the pool.
        buyer_id: Who runs it.
        nodes: Nodes that it is to have, >= 0.
        gang: Placed in as few runs of neighbours as possible.
        give_back: Nodes that the buyer would rather lose than others, dearest last.
    """

    load_id: str
    buyer_id: str
    nodes: int
    gang: bool = False
    give_back: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One node that changes hands.

    Attributes:
        node: Position in the row.
        before: Load that had it, or None.
        after: Load that gets it, or None.
        carried: Buyer and machine stay: only the order that pays changes.
    """

    node: int
    before: str | None
    after: str | None
    carried: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A pool's nodes over the coming interval.

    Attributes:
        nodes: Load of each node in service, None where idle; a failed node is absent.
        changes: What differs from before, by node.
        short: Nodes by load that found no place: more was sold than is in service.
    """

    nodes: Mapping[int, str | None]
    changes: tuple[Change, ...]
    short: Mapping[str, int]


def place(
    row: int,
    before: Mapping[int, Load],
    loads: Iterable[Load],
    *,
    failed: frozenset[int] = frozenset(),
    spare: int = 0,
) -> Placement:
    """Place what was sold on nodes.

    Args:
        row: Nodes of the pool, >= 1.
        before: Load of each node that runs something now.
        loads: What is to run; loads without nodes may be left out. In order of precedence: the
            last ones are short where nodes are missing.
        failed: Nodes out of service; what ran there is placed anew.
        spare: Nodes that stand by, taken from what is left, from the end of the row.

    Raises:
        InvariantError: a load named twice, a node outside the row.
    """
    wanted = {load.load_id: load for load in loads}
    order = list(wanted)
    if SPARE in wanted or any(not 0 <= node < row for node in (*before, *failed)):
        raise InvariantError("a load without a name, or a node outside its row")
    held = _kept(before, wanted, failed)
    free = [n for n in range(row) if n not in failed and n not in held]
    counts = Counter(held.values())
    missing = {name: wanted[name].nodes - counts[name] for name in order}
    _carry_over(before, wanted, missing, held, free)
    short = _short(order, wanted, missing, len(free))
    holes = _Holes(free)
    # Gangs first, largest first: what is left for the others is small anyway.
    for name in sorted(order, key=lambda name: (not wanted[name].gang, -missing[name])):
        pick = holes.neighbours if wanted[name].gang else holes.singles
        held.update((node, name) for node in pick(missing[name]))
    free = [node for node in free if node not in held]
    for node in free[len(free) - min(spare, len(free)) :]:
        held[node] = SPARE
    nodes = {node: held.get(node) for node in range(row) if node not in failed}
    return Placement(
        nodes=nodes,
        changes=_changes(row, before, wanted, nodes),
        short=short,
    )


def _kept(
    before: Mapping[int, Load], wanted: Mapping[str, Load], failed: frozenset[int]
) -> dict[int, str]:
    """Nodes that go on running what they run."""
    held: dict[int, str] = {}
    running: dict[str, list[int]] = {}
    for node in sorted(before):
        if node not in failed:
            running.setdefault(before[node].load_id, []).append(node)
    for name, nodes in running.items():
        load = wanted.get(name)
        if load is None:
            continue
        # A gang runs on all of its nodes or on none: one that lost a node starts anew.
        if load.gang and len(nodes) != load.nodes:
            continue
        rank = {node: place for place, node in enumerate(load.give_back)}
        # What it gives back first comes last; else the last of the row go.
        nodes.sort(key=lambda node: (-rank.get(node, len(rank)), node))
        for node in nodes[: load.nodes]:
            held[node] = name
    return held


def _carry_over(
    before: Mapping[int, Load],
    wanted: Mapping[str, Load],
    missing: dict[str, int],
    held: dict[int, str],
    free: list[int],
) -> None:
    """Nodes that one order of a buyer gives back go to another of its orders."""
    passing: dict[str, list[int]] = {}
    for node in reversed(free):
        if node in before:
            passing.setdefault(before[node].buyer_id, []).append(node)
    for name, load in wanted.items():
        nodes = [] if load.gang else passing.get(load.buyer_id, [])
        while nodes and missing[name] > 0:
            node = nodes.pop()
            held[node] = name
            free.remove(node)
            missing[name] -= 1


def _short(
    order: Sequence[str], wanted: Mapping[str, Load], missing: dict[str, int], room: int
) -> dict[str, int]:
    """Take what does not fit out of what is missing, the last loads first, gangs whole."""
    short: dict[str, int] = {}
    over = sum(max(0, missing[name]) for name in order) - room
    for name in reversed(order):
        if over <= 0:
            break
        if missing[name] > 0:
            lost = missing[name] if wanted[name].gang else min(missing[name], over)
            short[name] = lost
            missing[name] -= lost
            over -= lost
    return short


class _Holes:
    """Free nodes as runs of neighbours, shortest first, then by position."""

    def __init__(self, free: Sequence[int]) -> None:
        """Find the runs of free nodes, which ascend."""
        groups = (
            [node for _, node in group]
            for _, group in itertools.groupby(enumerate(free), key=lambda item: item[1] - item[0])
        )
        self._runs = sorted((len(group), group[0]) for group in groups)
        self._count = len(free)

    def neighbours(self, count: int) -> list[int]:
        """Nodes out of the smallest run that holds them, else out of as few runs as possible."""
        if self._count < count:
            return []
        found: list[int] = []
        while len(found) < count:
            place = bisect.bisect_left(self._runs, (count - len(found), -1))
            found.extend(self._take(min(place, len(self._runs) - 1), count - len(found)))
        return found

    def singles(self, count: int) -> list[int]:
        """Nodes out of the shortest runs."""
        found: list[int] = []
        while len(found) < count and self._runs:
            found.extend(self._take(0, count - len(found)))
        return found

    def _take(self, place: int, most: int) -> range:
        """The first nodes of a run; what is left of it is a run."""
        length, first = self._runs.pop(place)
        count = min(length, most)
        self._count -= count
        if length > count:
            bisect.insort(self._runs, (length - count, first + count))
        return range(first, first + count)


def _changes(
    row: int,
    before: Mapping[int, Load],
    wanted: Mapping[str, Load],
    nodes: Mapping[int, str | None],
) -> tuple[Change, ...]:
    found = []
    for node in range(row):
        old = before.get(node)
        new = nodes.get(node)
        if (old.load_id if old else None) == new:
            continue
        load = wanted.get(new) if new else None
        carried = bool(old and load and load.buyer_id == old.buyer_id and not load.gang)
        found.append(
            Change(node=node, before=old.load_id if old else None, after=new, carried=carried)
        )
    return tuple(found)
