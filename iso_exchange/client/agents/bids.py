"""What a lab bids at a gate: its jobs and nodes as standing orders.

Pure. Nodes that run jobs smaller than a node are bid for by pool, where they are; new ones
anywhere. Each gang is a bid of its own, of whole nodes in one pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from iso_exchange.client.agents import packing
from iso_exchange.client.agents.jobs import Node, Run

GANG: Final = "gang"

_PARTS: Final = 20
"""A waiting gang bids more in steps of a twentieth of its patience, not at every gate."""

_GROWTH: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a lab bids, micro-USD per chip-hour and seconds.

    Attributes:
        firm_limit: All-in limit for firm nodes.
        interruptible_limit: The same for interruptible ones.
        renewal_premium: Added to either for nodes that run something: moving costs.
        gang_patience_s: A waiting interruptible gang's limit grows by a quarter over this time; one
            that runs bids a quarter more, so that gangs of one lab do not displace each other.
        restart_s: Run time that a restart from a checkpoint costs.
        notice_s: Notice that interruptible work needs.
        chips_per_node: Node size of the pools that it uses.
        wanted_max: New interruptible nodes asked for at once.
        gangs_max: Interruptible gangs bid for at once.
        gang_turn_s: A gang that waits longer for base load has its turn: interruptible jobs smaller
            than a node give way to it, or nodes that end soon are kept for it.
    """

    firm_limit: int
    interruptible_limit: int
    renewal_premium: int = 100_000
    gang_patience_s: int = 86_400
    restart_s: int = 120
    notice_s: int = 300
    chips_per_node: int = 8
    wanted_max: int = 64
    gangs_max: int = 1
    gang_turn_s: int = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One standing bid as the lab wants it from now on.

    Attributes:
        key: Stable name of the bid within the lab; the order's identifier follows from it.
        pool_id: The only pool it may be served in, empty for any.
        nodes: Nodes wanted; zero withdraws the bid.
        gang: All or none, in one pool.
        running: Already running in ``pool_id``.
        work_s: Of a gang: seconds that it has to run, from now on.
    """

    key: str
    firm: bool
    pool_id: str
    nodes: int
    limit: int
    gang: bool = False
    running: bool = False
    work_s: int = 0


def prefix_of(*, firm: bool) -> str:
    """First part of the key of a bid for nodes that run jobs smaller than a node."""
    return "firm/" if firm else "idle/"


def single_wishes(
    policy: Policy, nodes: Iterable[Node], waiting: Iterable[Run], now_s: int, *, firm: bool
) -> Iterator[Wish]:
    """Bids for nodes of jobs smaller than a node.

    Args:
        nodes: Bought ones, gangs left out.
        waiting: Jobs of that class that have no place.
    """
    limit = policy.firm_limit if firm else policy.interruptible_limit
    prefix = prefix_of(firm=firm)
    # What is bid for now begins when a notice would end.
    from_s = now_s + (0 if firm else policy.notice_s)
    held: Counter[str] = Counter()
    ending: list[Node] = []
    for node in nodes:
        if node.firm == firm and not node.leaving:
            if node.end_s(firm=firm) > from_s:
                held[node.pool_id] += 1
            else:
                ending.append(node)
    used = packing.filled(waiting, policy.chips_per_node)
    # Nodes that fall idle meanwhile are kept for jobs that wait.
    held.update(node.pool_id for node in ending[: len(used)])
    used = used[len(ending) :]
    for pool_id, count in held.items():
        yield Wish(
            key=f"{prefix}{pool_id}",
            firm=firm,
            pool_id=pool_id,
            nodes=count,
            limit=limit + policy.renewal_premium,
            running=True,
        )
    full = [chips for chips in used if firm or chips == policy.chips_per_node]
    partly = used[len(full) :]
    new = len(full) if firm else min(len(full), policy.wanted_max)
    if new:
        yield Wish(key=f"{prefix}new", firm=firm, pool_id="", nodes=new, limit=limit)
    if partly:
        # A node that is partly used is worth less, but no less than half.
        share = sum(partly) + len(partly) * policy.chips_per_node
        part = limit * share // (2 * len(partly) * policy.chips_per_node)
        yield Wish(key=f"{prefix}part", firm=firm, pool_id="", nodes=len(partly), limit=part)


def gang_wishes(
    policy: Policy, gangs: Iterable[Run], places: Mapping[str, Sequence[Node]], now_s: int
) -> Iterator[Wish]:
    """A bid for each gang that runs on bought nodes, and for those whose turn it is.

    Args:
        gangs: By submission.
        places: Nodes of each gang that runs, by job.
    """
    waiting = 0
    for run in gangs:
        firm = run.job.firm
        limit = policy.firm_limit if firm else policy.interruptible_limit
        wish = Wish(
            key=f"{GANG}/{run.job.job_id}",
            firm=firm,
            pool_id="",
            nodes=packing.nodes_for(run.job.chips, policy.chips_per_node),
            limit=limit,
            gang=True,
        )
        nodes = places.get(run.job.job_id)
        if nodes:
            if not nodes[0].base:
                yield replace(
                    wish,
                    pool_id=nodes[0].pool_id,
                    running=True,
                    limit=limit + policy.renewal_premium + (0 if firm else limit // _GROWTH),
                    work_s=run.end_s - now_s,
                )
            continue
        if not firm:
            waiting += 1
            if waiting > policy.gangs_max:
                continue
            more = limit * _impatience(policy, run, now_s) // (_PARTS * _GROWTH)
            wish = replace(wish, limit=limit + more)
        yield replace(wish, work_s=run.left_s)


def _impatience(policy: Policy, run: Run, now_s: int) -> int:
    """How long a gang has waited, in parts of the lab's patience."""
    waited = min(now_s - run.job.submit_s, policy.gang_patience_s)
    return waited * _PARTS // policy.gang_patience_s
