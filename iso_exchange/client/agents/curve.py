"""Reference agent of a lab that knows its demand only as a curve: chips wanted, minute by minute.

Pure, with the face of ``lab.Lab``. What is wanted is bought in whole nodes: a firm part and an
interruptible rest, of which the last node may be partly used and is a bid of its own. What is
not served in its minute is gone: a curve has no queue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from iso_exchange.client.agents.jobs import Run
from iso_exchange.client.agents.lab import Idle, Policy, Wish

MINUTE_S: Final = 60

FIRM: Final = "firm"
IDLE: Final = "idle"
PART: Final = "part"
"""Kinds of bids: firm nodes, interruptible ones in full use, and the one that is not."""


class CurveLab:
    """A demand curve, held nodes and bids of one lab."""

    def __init__(self, name: str, policy: Policy, curve: Sequence[int], *, firm_ppm: int) -> None:
        """Start without nodes.

        Args:
            curve: Chips wanted in each minute; after its end nothing is wanted.
            firm_ppm: Part of it that is bought firm, in whole nodes rounded up.
        """
        self.name = name
        self.policy = policy
        self.now_s = 0
        self.chip_seconds = 0
        """Chip-seconds served so far."""
        self.restart_chip_seconds = 0
        """None: a curve has nothing to restart."""
        self.idle = Idle()
        self._curve = curve
        self._firm_ppm = firm_ppm
        self._held: dict[tuple[str, str], int] = {}
        self._base: dict[str, int] = {}
        self._lost: dict[str, int] = {}

    def advance(self, until_s: int) -> None:
        """Let time pass: each minute is served with what is held."""
        chips = self.held_nodes * self.policy.chips_per_node
        while self.now_s < until_s:
            minute = self.now_s // MINUTE_S
            stop = min(until_s, (minute + 1) * MINUTE_S)
            seconds = stop - self.now_s
            used = min(self._wanted(minute), chips)
            part = min(-used % self.policy.chips_per_node, chips - used)
            self.chip_seconds += used * seconds
            self.idle.add(part * seconds, empty=False)
            self.idle.add((chips - used - part) * seconds, empty=True)
            self.now_s = stop

    def wishes(self) -> Iterator[Wish]:
        """Bids for the next gate: what is wanted now, beyond base load."""
        policy = self.policy
        wanted = self._wanted(-(-self.now_s // MINUTE_S))
        nodes = -(-wanted // policy.chips_per_node)
        firm = min(nodes, -(-nodes * self._firm_ppm // 1_000_000))
        spare = sum(self._base.values())
        loose = max(0, nodes - max(firm, spare))
        rest = wanted % policy.chips_per_node if loose else 0
        yield from self._kind(FIRM, max(0, firm - spare))
        yield from self._kind(IDLE, loose - (rest > 0))
        if rest:
            # A node that is partly used is worth less, but no less than half.
            limit = policy.interruptible_limit
            part = limit * (policy.chips_per_node + rest) // (2 * policy.chips_per_node)
            yield Wish(key=f"{PART}/new", firm=False, pool_id="", nodes=1, limit=part)

    def _kind(self, kind: str, wanted: int) -> Iterator[Wish]:
        policy, firm = self.policy, kind == FIRM
        limit = policy.firm_limit if firm else policy.interruptible_limit
        left = wanted
        for (name, pool_id), held in self._held.items():
            kept = min(left, held) if name == kind else 0
            left -= kept
            if kept:
                yield Wish(
                    key=f"{kind}/{pool_id}",
                    firm=firm,
                    pool_id=pool_id,
                    nodes=kept,
                    limit=limit + policy.renewal_premium,
                    running=True,
                )
        if left:
            yield Wish(key=f"{kind}/new", firm=firm, pool_id="", nodes=left, limit=limit)

    def take(self, positions: Mapping[str, Mapping[str, int]]) -> None:
        """Hold what the exchange says from now on."""
        held: dict[tuple[str, str], int] = {}
        for key, pools in positions.items():
            kind = key.partition("/")[0]
            for pool_id, nodes in pools.items():
                held[kind, pool_id] = held.get((kind, pool_id), 0) + nodes
        self._held = held
        self._lost = {}

    def notice(self, pool_id: str, nodes: int, deadline_s: int) -> None:
        """Nothing to do: a curve has no work to checkpoint."""

    def withdraw_notices(self) -> None:
        """Nothing to do."""

    def set_base(self, base: Mapping[str, int]) -> None:
        """Base load from now on, nodes by pool."""
        self._base = dict(base)

    def nodes_in(self, pool_id: str) -> int:
        """Nodes held in a pool."""
        bid = sum(nodes for (_, name), nodes in self._held.items() if name == pool_id)
        return bid + self._base.get(pool_id, 0) - self._lost.get(pool_id, 0)

    def lose(self, pool_id: str, rank: int) -> None:
        """A held node stops without notice, until the next positions."""
        if rank < self.nodes_in(pool_id):
            self._lost[pool_id] = self._lost.get(pool_id, 0) + 1

    def lose_pool(self, pool_id: str) -> None:
        """Every node of a pool serves nothing, base load there included."""
        self._base.pop(pool_id, None)
        self._lost.pop(pool_id, None)
        self._held = {name: nodes for name, nodes in self._held.items() if name[1] != pool_id}

    @property
    def base(self) -> dict[str, int]:
        """Nodes of base load by pool."""
        return {pool_id: nodes for pool_id, nodes in self._base.items() if nodes}

    @property
    def held_nodes(self) -> int:
        """Nodes held, base load included."""
        return sum(self._held.values()) + sum(self._base.values()) - sum(self._lost.values())

    def all_runs(self) -> Iterator[Run]:
        """None: a curve has no jobs."""
        yield from ()

    def _wanted(self, minute: int) -> int:
        return self._curve[minute] if 0 <= minute < len(self._curve) else 0
