"""The clock of a replay: labs bid, a market clears every five minutes, jobs run and end.

Pure but for the market it is given: the same trace, layout, faults and market answers give the
same figures. The market is the exchange over gRPC (``exchange_market``); tests also drive the
engine alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from iso_exchange.client.agents.curve import CurveLab
from iso_exchange.client.agents.jobs import Job
from iso_exchange.client.agents.lab import Lab, Wish
from iso_exchange.replay.trace.faults import Faults
from iso_exchange.replay.trace.figures import HOUR_S, Hour
from iso_exchange.replay.trace.layout import CHIPS_PER_NODE, Layout

INTERVAL_S: Final = 300
GATE_LEAD_S: Final = 2
"""What is submitted later than this before an interval waits for the next one."""

AnyLab = Lab | CurveLab

Positions = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Nodes by lab, key of its bid and pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A notice: nodes of a lab in a pool end at a deadline."""

    lab: str
    key: str
    pool_id: str
    nodes: int
    deadline_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What a run of the market says.

    Attributes:
        positions: What holds in the interval that begins.
        notices: What ends later.
        prices: Price by pool of (firm, interruptible) capacity, micro-USD per chip-hour.
    """

    positions: Positions
    notices: Sequence[Told] = ()
    prices: Mapping[str, tuple[int, int]] = field(default_factory=dict)


class Market(Protocol):
    """What the replay needs of an exchange."""

    async def post(self, lab: str, wishes: Sequence[Wish]) -> None:
        """Standing bids of a lab from now on: those not named any more are withdrawn."""

    async def supply(self, pool_id: str, nodes: int) -> None:
        """Nodes of a pool that are in service from now on."""

    async def clear(self, start_s: int) -> Cleared:
        """Let the gate of the run that begins at ``start_s`` close, and wait for its result."""

    async def deliver(self, start_s: int, failed: Mapping[str, int]) -> int:
        """An interval has passed.

        Args:
            failed: Nodes that were out of service by pool.

        Returns:
            Nodes of base load that were entitled and not served, lost pools left out.
        """


class BaseLoad(Protocol):
    """What the labs hold without a bid."""

    chip_hours: int

    async def at(self, start_s: int) -> None:
        """Called at the start of every interval, after its run was published."""


@dataclass(slots=True, kw_only=True)
class Replay:
    """Everything that happened.

    Attributes:
        base_curtailed: Node-intervals of base load that were not there outside its own pool's
            failures.
        firm_lost: Node-intervals of firm work that meters found down.
        incidents: What became of incidents, for people.
        prices: By start of the interval.
    """

    hours: dict[int, Hour] = field(default_factory=dict)
    base_curtailed: int = 0
    base_chip_hours: int = 0
    firm_lost: int = 0
    incidents: list[str] = field(default_factory=list)
    notices: int = 0
    reclaimed: int = 0
    prices: dict[int, Mapping[str, tuple[int, int]]] = field(default_factory=dict)

    def hour(self, start_s: int) -> Hour:
        """Sums of the hour that a second lies in."""
        first = start_s // HOUR_S * HOUR_S
        return self.hours.setdefault(first, Hour(start_s=first))


async def drive(
    market: Market,
    layout: Layout,
    labs: Mapping[str, AnyLab],
    jobs: Sequence[tuple[str, Job]],
    faults: Faults,
    end_s: int,
    *,
    base: BaseLoad | None = None,
) -> Replay:
    """Run a trace through a market.

    Args:
        jobs: By submission.
        end_s: A multiple of the interval.
    """
    replay = Replay()
    arrivals = _Arrivals(jobs)
    posted: dict[str, dict[str, Wish]] = {name: {} for name in labs}
    in_service = {pool.pool_id: pool.nodes for pool in layout.pools}
    counted = {name: Counted.of(lab) for name, lab in labs.items()}
    broken: dict[str, int] = {}
    dark = _Dark(labs)
    for start_s in range(0, end_s, INTERVAL_S):
        gate_s = start_s - GATE_LEAD_S
        for name, job in arrivals.until(gate_s):
            _submit(labs[name], job)
        for pool in layout.pools:
            nodes = pool.nodes - faults.down(pool, start_s)
            if nodes != in_service[pool.pool_id]:
                in_service[pool.pool_id] = nodes
                await market.supply(pool.pool_id, nodes)
        for name, lab in labs.items():
            lab.advance(max(gate_s, lab.now_s))
            wanted = {wish.key: wish for wish in lab.wishes()}
            if wanted != posted[name]:
                await market.post(name, list(wanted.values()))
                posted[name] = wanted
        cleared = await market.clear(start_s)
        if start_s:
            replay.base_curtailed += await market.deliver(start_s - INTERVAL_S, broken)
        replay.prices[start_s] = cleared.prices
        replay.notices += len(cleared.notices)
        for lab in labs.values():
            lab.advance(start_s)
        if base is not None:
            await base.at(start_s)
        for name, lab in labs.items():
            lab.take(cleared.positions.get(name, {}))
            lab.withdraw_notices()
        for told in cleared.notices:
            labs[told.lab].notice(told.pool_id, told.nodes, told.deadline_s)
            replay.reclaimed += told.nodes
        dark.hold(in_service)
        hour = replay.hour(start_s)
        hour.in_service += sum(in_service.values()) * CHIPS_PER_NODE * INTERVAL_S
        hour.awarded += sum(lab.held_nodes for lab in labs.values()) * CHIPS_PER_NODE * INTERVAL_S
        hour.outage = hour.outage or faults.site_down(start_s)
        for name, job in arrivals.until(start_s + INTERVAL_S - GATE_LEAD_S):
            _submit(labs[name], job)
        for failure in faults.within(start_s, start_s + INTERVAL_S):
            _fail(labs, failure.pool_id, failure.rank)
        for name, lab in labs.items():
            lab.advance(start_s + INTERVAL_S)
            counted[name] = counted[name].booked(hour, lab)
        broken = {pool.pool_id: pool.nodes - in_service[pool.pool_id] for pool in layout.pools}
    replay.base_curtailed += await market.deliver(end_s - INTERVAL_S, broken)
    if base is not None:
        replay.base_chip_hours = base.chip_hours
    return replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Chip-seconds that a lab has counted so far."""

    running: int
    restarts: int
    part: int
    empty: int

    @classmethod
    def of(cls, lab: AnyLab) -> Counted:
        """As it stands."""
        return cls(
            running=lab.chip_seconds,
            restarts=lab.restart_chip_seconds,
            part=lab.idle.part,
            empty=lab.idle.empty,
        )

    def booked(self, hour: Hour, lab: AnyLab) -> Counted:
        """Add what came since to an hour; returns what is counted now."""
        later = Counted.of(lab)
        hour.running += later.running - self.running
        hour.restarted += later.restarts - self.restarts
        hour.part += later.part - self.part
        hour.empty += later.empty - self.empty
        return later


class _Dark:
    """Pools that are lost as a whole.

    Labs have nothing there, whatever was bound, until it is back, and then their base load.
    """

    def __init__(self, labs: Mapping[str, AnyLab]) -> None:
        self._labs = labs
        self._base: dict[str, dict[str, int]] = {}

    def hold(self, in_service: Mapping[str, int]) -> None:
        """Call at the start of an interval, when labs hold what the market says.

        Args:
            in_service: Nodes by pool.
        """
        for pool_id, nodes in in_service.items():
            if not nodes:
                base = self._base.setdefault(pool_id, {})
                for name, lab in self._labs.items():
                    base[name] = base.get(name, 0) + lab.base.get(pool_id, 0)
                    lab.lose_pool(pool_id)
            elif pool_id in self._base:
                for name, count in self._base.pop(pool_id).items():
                    if count:
                        self._labs[name].set_base({**self._labs[name].base, pool_id: count})


class _Arrivals:
    """Jobs in order of submission, handed out as time passes."""

    def __init__(self, jobs: Sequence[tuple[str, Job]]) -> None:
        self._jobs = jobs
        self._next = 0

    def until(self, moment_s: int) -> Iterator[tuple[str, Job]]:
        """Those submitted by then."""
        while self._next < len(self._jobs) and self._jobs[self._next][1].submit_s <= moment_s:
            yield self._jobs[self._next]
            self._next += 1


def _submit(lab: AnyLab, job: Job) -> None:
    assert isinstance(lab, Lab)  # a lab with a curve has no jobs
    lab.submit(job)


def _fail(labs: Mapping[str, AnyLab], pool_id: str, rank: int) -> None:
    """The node of that rank in a pool fails: who holds it loses it."""
    for lab in labs.values():
        held = lab.nodes_in(pool_id)
        if rank < held:
            lab.lose(pool_id, rank)
            return
        rank -= held
