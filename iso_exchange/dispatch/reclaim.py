"""What to reclaim when nodes are needed between runs: least lost value, whole gangs.

Nodes that firm or base load needs at once (a failed node, a lost site, a recall) come from idle
nodes first, then from spare, then from interruptible work whose notice is short enough, so that
the value lost is least (docs/reference/spot-rules.md, rule 12). A gang stops whole, or not at
all. Exact for the sizes that occur: a minimum knapsack over nodes by dynamic programming.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from clearing.units import MicroUsd, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """Interruptible work that may be reclaimed in a pool.

    Attributes:
        load_id: Order that runs it.
        nodes: Nodes that it holds, >= 1.
        gang: Only all of them.
        loss_per_node: What stopping a node loses: limit price x chip-seconds still bound, plus
            the restart cost, micro-USD >= 0. For a gang, of each of its nodes.
        notice_s: Notice that it must be given.
    """

    load_id: str
    nodes: int
    gang: bool
    loss_per_node: MicroUsd
    notice_s: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaimed:
    """Nodes taken from one load."""

    load_id: str
    nodes: int
    loss: MicroUsd


def choose(
    victims: Sequence[Victim], needed: int, *, within_s: Seconds, seed: bytes
) -> tuple[Reclaimed, ...]:
    """Reclaim at least so many nodes at the least loss.

    Args:
        victims: What runs in the pool, in any order.
        needed: Nodes needed.
        within_s: Only work with at most this notice can free nodes in time.
        seed: Tie seed, any bytes: among equal losses fewer nodes, then the hash decides.

    Returns:
        By load. Fewer nodes than needed if there are no more: the caller says what stays short.
    """
    eligible = sorted(
        (victim for victim in victims if victim.notice_s <= within_s and victim.nodes > 0),
        key=lambda victim: _rank(seed, victim.load_id),
    )
    total = sum(victim.nodes for victim in eligible)
    if needed <= 0 or not eligible:
        return ()
    if total <= needed:
        return _answer(eligible, [victim.nodes for victim in eligible])
    # best[n]: least (loss, nodes) of the victims so far that frees n nodes, or more at n = needed.
    best: list[tuple[int, int] | None] = [(0, 0)] + [None] * needed
    steps: list[dict[int, tuple[int, int]]] = []
    for victim in eligible:
        after, step = list(best), dict[int, tuple[int, int]]()
        options = (victim.nodes,) if victim.gang else range(1, victim.nodes + 1)
        for count, freed in itertools.product(options, range(needed + 1)):
            start = best[freed]
            if start is None:
                continue
            reached = min(needed, freed + count)
            value = (start[0] + count * victim.loss_per_node, start[1] + count)
            known = after[reached]
            if known is None or value < known:
                after[reached], step[reached] = value, (count, freed)
        best = after
        steps.append(step)
    counts = [0] * len(eligible)
    at = needed
    for index in range(len(eligible) - 1, -1, -1):
        if at in steps[index]:
            counts[index], at = steps[index][at]
    return _answer(eligible, counts)


def _answer(victims: Sequence[Victim], counts: Sequence[int]) -> tuple[Reclaimed, ...]:
    return tuple(
        Reclaimed(load_id=victim.load_id, nodes=count, loss=MicroUsd(count * victim.loss_per_node))
        for victim, count in zip(victims, counts, strict=True)
        if count
    )


def _rank(seed: bytes, load_id: str) -> bytes:
    return hashlib.sha256(seed + load_id.encode()).digest()
