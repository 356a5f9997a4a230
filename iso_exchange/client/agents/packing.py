"""Packing jobs smaller than a node: where one fits, what to move so that it does, what to close.

Pure functions of nodes as they are. A move costs the job a restart from its checkpoint, a minute
or two of its own chips; a node that is only partly used costs the rest of its chips for as long
as its jobs run. So jobs are moved together whenever that starts another job or saves a node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from iso_exchange.client.agents.jobs import Node, Run

Moves = Sequence[tuple[Run, Node]]
"""Runs and where each goes."""


def nodes_for(chips: int, chips_per_node: int) -> int:
    """Whole nodes that so many chips need."""
    return -(-chips // chips_per_node)


def admits(node: Node, run: Run) -> bool:
    """Whether a job may run on a node at all: firm work on firm nodes only."""
    return node.firm or not run.job.firm


def best_fit(run: Run, nodes: Iterable[Node], free: Mapping[Node, int]) -> Node | None:
    """Node that a job fills best, paid ones after base load; None where it fits nowhere."""
    chips = run.job.chips
    return min(
        (node for node in nodes if free[node] >= chips and admits(node, run)),
        key=lambda node: (free[node], not node.base, node.firm and not run.job.firm),
        default=None,
    )


def placed(runs: Iterable[Run], nodes: Sequence[Node], free: dict[Node, int]) -> Moves | None:
    """Places for all of some jobs, largest first; None where they do not all fit.

    Args:
        free: Idle chips by node; what is placed is taken off, also where not all fit.
    """
    moves: list[tuple[Run, Node]] = []
    for run in sorted(runs, key=lambda run: -run.job.chips):
        node = best_fit(run, nodes, free)
        if node is None:
            return None
        free[node] -= run.job.chips
        moves.append((run, node))
    return moves


def room_for(run: Run, nodes: Sequence[Node]) -> tuple[Node, Moves] | None:
    """A node on which a job starts once others have moved, least chips moved first.

    Args:
        nodes: On which jobs may start.
    """
    free = {node: node.free for node in nodes}
    if sum(free.values()) < run.job.chips:
        return None
    for node in sorted(nodes, key=lambda node: -node.free):
        if not node.free or not admits(node, run):
            continue
        others = [other for other in nodes if other is not node and other.free]
        moves = placed(_in_the_way(node, run.job.chips - node.free), others, dict(free))
        if moves is not None:
            return node, moves
    return None


def _in_the_way(node: Node, chips: int) -> list[Run]:
    """Runs that leave so many chips of a node: the smallest one that does, or the largest."""
    runs = sorted(node.runs.values(), key=lambda run: run.job.chips)
    alone = next((run for run in runs if run.job.chips >= chips), None)
    if alone is not None:
        return [alone]
    found: list[Run] = []
    while runs and chips > 0:
        found.append(runs.pop())
        chips -= found[-1].job.chips
    return found


def closing(nodes: Sequence[Node]) -> Sequence[tuple[Node, Moves]]:
    """Nodes that are given back when their jobs have moved to the free chips of the others.

    Args:
        nodes: On which jobs may start; base load takes jobs and is never given back.
    """
    free = {node: node.free for node in nodes if node.free}
    found: list[tuple[Node, Moves]] = []
    partly = [node for node in free if node.runs and not node.base]
    taken: set[Node] = set()
    for node in sorted(partly, key=lambda node: -node.free):
        if node in taken:
            continue  # it has become the place of another's jobs
        left = dict(free)
        del left[node]
        moves = placed(node.runs.values(), list(left), left)
        if moves is not None:
            found.append((node, moves))
            taken.update(target for _, target in moves)
            free = left
    return found


def filled(runs: Iterable[Run], chips: int) -> list[int]:
    """Chips used on each of the nodes that jobs need by themselves, fullest first.

    Args:
        chips: Of a node.
    """
    counts: dict[int, int] = {}
    for run in runs:
        counts[run.job.chips] = counts.get(run.job.chips, 0) + 1
    used: list[int] = []
    for size in sorted(counts, reverse=True):
        left = counts[size]
        for place, taken in enumerate(used):
            some = min(left, (chips - taken) // size)
            used[place] += some * size
            left -= some
        while left > 0:
            some = min(left, chips // size)
            used.append(some * size)
            left -= some
    return sorted(used, reverse=True)
