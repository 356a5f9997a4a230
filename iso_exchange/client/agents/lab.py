"""Reference agent of a lab: turns a queue of jobs into bids, and positions into running jobs.

Pure: time and what the exchange says are inputs. The lab holds whole nodes and packs jobs
smaller than a node into them; a node that one job leaves takes the next one at once, without
asking the market. Jobs larger than a node are gangs of whole nodes in one pool, bid for one by
one. When nodes are to be given back it gives those whose loss is least, and what ran on them is
checkpointed and queued again at the head.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from iso_exchange.client.agents import packing
from iso_exchange.client.agents.bids import (
    GANG,
    Policy,
    Wish,
    gang_wishes,
    prefix_of,
    single_wishes,
)
from iso_exchange.client.agents.jobs import Job, Node, Run

__all__ = ["Idle", "Lab", "Policy", "Wish"]


@dataclass(slots=True, kw_only=True)
class Idle:
    """Chip-seconds that a lab held and did not use.

    Attributes:
        part: Of nodes that ran something.
        empty: Of nodes that ran nothing.
    """

    part: int = 0
    empty: int = 0

    def add(self, chip_seconds: int, *, empty: bool) -> None:
        """Count some more."""
        if empty:
            self.empty += chip_seconds
        else:
            self.part += chip_seconds


class Lab:
    """Jobs, held nodes and bids of one lab."""

    def __init__(self, name: str, policy: Policy, base: Mapping[str, int]) -> None:
        """Start idle.

        Args:
            base: Nodes of base load by pool; they count as held, firm, for ever.
        """
        self.name = name
        self.policy = policy
        self.now_s = 0
        self.chip_seconds = 0
        """Chip-seconds run so far, time lost to restarts included."""
        self.restart_chip_seconds = 0
        """Chip-seconds that restarts have cost or are going to."""
        self.idle = Idle()
        self.running_chips = 0
        self.done: list[Run] = []
        self._singles: dict[bool, deque[Run]] = {True: deque(), False: deque()}
        self._gangs: dict[str, Run] = {}
        self._gang_nodes: dict[str, list[Node]] = {}
        self._nodes: list[Node] = []
        self._base: dict[str, list[Node]] = {}
        self._places: dict[str, Node] = {}
        self._ends: list[tuple[int, str, int, Run]] = []
        self.set_base(base)

    # What happens to it ---------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Queue a job; it starts at once where a held node has room."""
        self.advance(job.submit_s)
        run = Run(job=job, left_s=job.work_s)
        if job.chips > self.policy.chips_per_node:
            self._gangs[job.job_id] = run
        else:
            self._singles[job.firm].append(run)
        self._fill()

    def advance(self, until_s: int) -> None:
        """Let time pass: jobs end, and the next ones start where they ran."""
        while self._ends and self._ends[0][0] <= until_s:
            end_s, job_id, version, run = heapq.heappop(self._ends)
            if run.version != version:
                continue
            self._pass(end_s)
            self._leave(job_id, run)
            run.left_s = 0
            self.done.append(run)
            self._fill()
        self._pass(until_s)

    def wishes(self) -> Iterator[Wish]:
        """Bids for the next gate; nodes that are not worth their price are left for it."""
        self._give_back()
        policy = self.policy
        waiting = list(self._singles[False])
        left = (node for node in self._nodes if node.firm and node.leaving)
        waiting.extend(run for node in left for run in node.runs.values())
        yield from single_wishes(policy, self._nodes, self._singles[True], self.now_s, firm=True)
        yield from single_wishes(policy, self._nodes, waiting, self.now_s, firm=False)
        yield from gang_wishes(policy, self._gangs.values(), self._gang_nodes, self.now_s)

    def take(self, positions: Mapping[str, Mapping[str, int]]) -> None:
        """Hold what the exchange says from now on: nodes by pool of each bid's key."""
        for firm in (True, False):
            prefix = prefix_of(firm=firm)
            wanted: dict[str, int] = {}
            for key, pools in positions.items():
                if key.startswith(prefix):
                    for pool_id, nodes in pools.items():
                        wanted[pool_id] = wanted.get(pool_id, 0) + nodes
            self._hold(wanted, firm=firm)
        for job_id, (first, *_) in list(self._gang_nodes.items()):
            # What is not renewed stops; what was moved to another pool starts again there.
            if not first.base and first.pool_id not in positions.get(f"{GANG}/{job_id}", {}):
                self._stop_gang(job_id)
        for key, pools in positions.items():
            job_id = key.removeprefix(f"{GANG}/")
            if job_id != key and job_id not in self._gang_nodes and job_id in self._gangs:
                self._start_gang(job_id, next(iter(pools)))
        self._fill()

    def notice(self, pool_id: str, nodes: int, deadline_s: int) -> None:
        """That many interruptible nodes of a pool go at a deadline: nothing new starts there."""
        held = [
            node
            for node in self._nodes
            if node.pool_id == pool_id and not (node.firm or node.leaving)
        ]
        for node in self._least_loss(held)[:nodes]:
            node.drain_s = deadline_s

    def withdraw_notices(self) -> None:
        """Notices given so far do not hold any more."""
        for node in self._nodes:
            node.drain_s = None

    def set_base(self, base: Mapping[str, int]) -> None:
        """Base load from now on, nodes by pool; what ran on less of it is queued again."""
        for pool_id in {*base, *self._base}:
            nodes = self._base.setdefault(pool_id, [])
            surplus = len(nodes) - base.get(pool_id, 0)
            for node in self._least_loss(nodes)[: max(0, surplus)]:
                self._evict(node)
                nodes.remove(node)
            nodes.extend(
                Node(pool_id=pool_id, firm=True, free=self.policy.chips_per_node, base=True)
                for _ in range(-surplus)
            )
        self._fill()

    def nodes_in(self, pool_id: str) -> int:
        """Nodes held in a pool."""
        return len(self._row(pool_id))

    def lose(self, pool_id: str, rank: int) -> None:
        """A held node stops without notice: what ran on it is queued again.

        Args:
            rank: Position among those held in the pool, in order of arrival; below ``nodes_in``.
        """
        node = self._row(pool_id)[rank]
        self._evict(node)
        if node in self._nodes:
            self._nodes.remove(node)

    def lose_pool(self, pool_id: str) -> None:
        """Every node of a pool stops without notice, base load there included."""
        self.set_base({name: len(nodes) for name, nodes in self._base.items() if name != pool_id})
        while self._row(pool_id):
            self.lose(pool_id, 0)
        self._fill()

    # Figures ----------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        idle = sum(job_id not in self._gang_nodes for job_id in self._gangs)
        return idle + sum(len(queue) for queue in self._singles.values())

    @property
    def base(self) -> dict[str, int]:
        """Nodes of base load by pool."""
        return {pool_id: len(nodes) for pool_id, nodes in self._base.items() if nodes}

    @property
    def held_nodes(self) -> int:
        """Nodes held, base load and gangs included."""
        return (
            len(self._nodes)
            + sum(len(nodes) for nodes in self._base.values())
            + sum(1 for _ in self._bought_for_gangs())
        )

    def all_runs(self) -> Iterator[Run]:
        """Every job that was submitted, done, running or waiting."""
        yield from self.done
        seen: set[str] = set()
        for node in self._all_nodes():
            for job_id, run in node.runs.items():
                if job_id not in self._gangs and job_id not in seen:
                    seen.add(job_id)
                    yield run
        yield from self._gangs.values()
        for queue in self._singles.values():
            yield from queue

    # Within -----------------------------------------------------------------------------

    def _node(self, pool_id: str, *, firm: bool) -> Node:
        return Node(pool_id=pool_id, firm=firm, free=self.policy.chips_per_node)

    def _pass(self, until_s: int) -> None:
        if until_s > self.now_s:
            seconds = until_s - self.now_s
            self.chip_seconds += self.running_chips * seconds
            for node in (*self._all_nodes(), *self._bought_for_gangs()):
                self.idle.add(node.free * seconds, empty=not node.runs)
            self.now_s = until_s

    def _row(self, pool_id: str) -> list[Node]:
        nodes = (*self._all_nodes(), *self._bought_for_gangs())
        return [node for node in nodes if node.pool_id == pool_id]

    def _all_nodes(self) -> Iterator[Node]:
        for nodes in self._base.values():
            yield from nodes
        yield from self._nodes

    def _bought_for_gangs(self) -> Iterator[Node]:
        for nodes in self._gang_nodes.values():
            yield from (node for node in nodes if not node.base)

    def _fill(self) -> None:
        """Start waiting jobs on held nodes: best fit, first come first served, backfilling."""
        kept = self._start_gangs_on_base()
        for firm in (True, False):
            if self._singles[firm]:
                self._fill_singles(kept, firm=firm)

    def _fill_singles(self, kept: AbstractSet[Node], *, firm: bool) -> None:
        nodes = [node for node in self._all_nodes() if node.is_open and node not in kept]
        waiting: deque[Run] = deque()
        # The least size that is known not to fit.
        hopeless = 1 + sum(self._room(node, firm=firm) for node in nodes if node.firm or not firm)
        queue = self._singles[firm]
        self._singles[firm] = deque()
        while queue:
            run = queue.popleft()
            if run.job.chips >= hopeless or not self._start_single(run, nodes):
                hopeless = min(hopeless, run.job.chips)
                waiting.append(run)
            if hopeless <= 1:
                break
        waiting.extend(queue)
        # Interruptible jobs that gave way to firm ones stand before those that wait.
        self._singles[firm].extend(waiting)

    def _room(self, node: Node, *, firm: bool) -> int:
        return node.yielding if firm else node.free

    def _start_single(self, run: Run, nodes: Sequence[Node]) -> bool:
        """Start a job where it fits, where others can move away, or where others give way."""
        node = packing.best_fit(run, nodes, {node: node.free for node in nodes})
        if node is None:
            found = packing.room_for(run, nodes)
            if found is not None:
                node, moves = found
                self._move(moves)
        if node is None and run.job.firm:
            node = self._made_to_yield(run, nodes)
        if node is None:
            return False
        self._start(run, [node])
        return True

    def _made_to_yield(self, run: Run, nodes: Sequence[Node]) -> Node | None:
        """A firm node on which interruptible jobs give way to a firm one, least loss first."""
        fitting = [node for node in nodes if node.yielding >= run.job.chips]
        node = min(fitting, key=lambda node: node.yielding, default=None)
        if node is None:
            return None
        loose = [other for other in node.runs.values() if not other.job.firm]
        for other in sorted(loose, key=lambda other: other.loss(self.now_s)):
            if node.free >= run.job.chips:
                break
            self._suspend(other)
        return node

    def _start_gangs_on_base(self) -> AbstractSet[Node]:
        """Start gangs on base load; base nodes that are kept free for one that waits so long."""
        kept: set[Node] = set()
        for job_id, run in self._gangs.items():
            if job_id in self._gang_nodes:
                continue
            count = packing.nodes_for(run.job.chips, self.policy.chips_per_node)
            turn_s = self.policy.gang_turn_s
            late = self.now_s - run.job.submit_s > turn_s
            for nodes in self._base.values():
                if len(nodes) < count:
                    continue
                if self._start_gang_here(run, nodes, count, over=run.job.firm or late):
                    break
                soonest = sorted(nodes, key=lambda node: node.end_s())[:count]
                # Others would wait for longer than it does, where the last of them ends late.
                if late and not kept and soonest[-1].end_s() <= self.now_s + turn_s:
                    kept.update(soonest)
        return kept

    def _start_gang_here(self, run: Run, nodes: Sequence[Node], count: int, *, over: bool) -> bool:
        """Start a gang on the emptiest base nodes, where what runs there can move or give way.

        Args:
            over: Interruptible jobs that cannot move give way.
        """
        mine = sorted(
            (node for node in nodes if not node.gang),
            key=lambda node: (-self._room(node, firm=over), -node.free),
        )[:count]
        if len(mine) < count:
            return False
        others = [node for node in self._all_nodes() if node.is_open and node not in mine]
        runs = [other for node in mine for other in node.runs.values()]
        stay = [other for other in runs if other.job.firm or not over]
        free = {node: node.free for node in others if node.free}
        moves = packing.placed(stay, list(free), free) if stay else ()
        if moves is None:
            return False
        self._move(moves)
        for other in runs:
            if other not in stay:
                self._suspend(other)
        self._gang_nodes[run.job.job_id] = mine
        self._start(run, mine)
        return True

    def _start(self, run: Run, nodes: list[Node]) -> None:
        run.version += 1
        run.started_s = self.now_s
        if run.first_start_s is None:
            run.first_start_s = self.now_s
        job = run.job
        gang = job.job_id in self._gangs
        left = job.chips
        for node in nodes:
            part = min(self.policy.chips_per_node, left)
            node.runs[job.job_id] = run
            node.free -= part
            node.gang = gang
            left -= part
        if not gang:
            self._places[job.job_id] = nodes[0]
        self.running_chips += job.chips
        heapq.heappush(self._ends, (run.end_s, job.job_id, run.version, run))

    def _leave(self, job_id: str, run: Run) -> None:
        """A run ends or stops: free what it held."""
        run.version += 1
        self.running_chips -= run.job.chips
        if job_id in self._gang_nodes:
            # Its nodes go on as single ones: the lab holds them until the interval ends.
            for node in self._gang_nodes.pop(job_id):
                self._empty(node, job_id)
                if not node.base:
                    self._nodes.append(node)
            del self._gangs[job_id]
            return
        node = self._places.pop(job_id)
        del node.runs[job_id]
        node.free += run.job.chips

    def _empty(self, node: Node, job_id: str) -> None:
        """A gang leaves one of its nodes."""
        del node.runs[job_id]
        node.gang = False
        node.free = self.policy.chips_per_node

    def _requeue(self, run: Run) -> None:
        """Checkpoint: what was done stays done, the restart costs its time."""
        run.left_s += run.started_s - self.now_s + self.policy.restart_s
        run.restarts += 1
        run.restart_s += self.policy.restart_s
        self.restart_chip_seconds += run.job.chips * self.policy.restart_s

    def _move(self, moves: packing.Moves) -> None:
        """Restart runs elsewhere at once."""
        for run, _ in moves:
            self._leave(run.job.job_id, run)
            self._requeue(run)
        for run, node in moves:
            self._start(run, [node])

    def _suspend(self, run: Run) -> None:
        """Stop a job that is smaller than a node; it is the next one in the queue."""
        self._leave(run.job.job_id, run)
        self._requeue(run)
        self._singles[run.job.firm].appendleft(run)

    def _evict(self, node: Node) -> None:
        """Stop what runs on a node, gangs that reach beyond it included."""
        for job_id, run in list(node.runs.items()):
            if job_id in self._gang_nodes:
                self._stop_gang(job_id)
            else:
                self._suspend(run)

    def _least_loss(self, nodes: Iterable[Node]) -> list[Node]:
        chips = self.policy.chips_per_node
        return sorted(
            nodes,
            key=lambda node: (
                not node.leaving,
                node.drain_s is None,
                any(run.job.firm for run in node.runs.values()),
                chips - node.free,
                sum(run.loss(self.now_s) for run in node.runs.values()),
            ),
        )

    def _hold(self, wanted: Mapping[str, int], *, firm: bool) -> None:
        held: dict[str, list[Node]] = {}
        for node in self._nodes:
            if node.firm == firm:
                held.setdefault(node.pool_id, []).append(node)
        for pool_id, nodes in held.items():
            surplus = len(nodes) - wanted.get(pool_id, 0)
            for node in self._least_loss(nodes)[: max(0, surplus)]:
                self._evict(node)
                self._nodes.remove(node)
        for pool_id, count in wanted.items():
            for _ in range(count - len(held.get(pool_id, ()))):
                self._nodes.append(self._node(pool_id, firm=firm))

    def _start_gang(self, job_id: str, pool_id: str) -> None:
        run = self._gangs[job_id]
        nodes = [
            self._node(pool_id, firm=run.job.firm)
            for _ in range(packing.nodes_for(run.job.chips, self.policy.chips_per_node))
        ]
        self._gang_nodes[job_id] = nodes
        self._start(run, nodes)

    def _stop_gang(self, job_id: str) -> None:
        run = self._gangs[job_id]
        self.running_chips -= run.job.chips
        run.version += 1
        for node in self._gang_nodes.pop(job_id):
            self._empty(node, job_id)
        self._requeue(run)

    def _give_back(self) -> None:
        """Choose nodes that are not bid for any more, and move what runs on them."""
        for node in self._nodes:
            if node.firm and node.is_open and not any(run.job.firm for run in node.runs.values()):
                node.leaving = True
        open_nodes = [node for node in self._all_nodes() if node.is_open]
        free = {node: node.free for node in open_nodes if node.free}
        for node in [node for node in self._nodes if node.leaving]:
            for run in list(node.runs.values()):
                self._move(packing.placed([run], list(free), free) or ())
        for node, moves in packing.closing(open_nodes):
            self._move(moves)
            node.leaving = True
