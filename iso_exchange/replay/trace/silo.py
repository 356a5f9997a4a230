"""The same chips as silos: each tenant alone on its own nodes, with the same faults.

The nodes of the grid, pool by pool, are handed to the tenants one after the other: node i of
the grid is node i of the silos, and fails, is repaired and is lost with its site at the same
moments. The silo of a tenant of jobs is a queue of the same agent as on the grid, with all of its
nodes as base load: whole nodes, packing, restarts; it needs no notice and waits for no gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from iso_exchange.client.agents.jobs import Job
from iso_exchange.client.agents.lab import Lab, Policy
from iso_exchange.replay.trace.drive import INTERVAL_S
from iso_exchange.replay.trace.earth import MINUTE_S, CurveDemand
from iso_exchange.replay.trace.faults import REPAIR_S, Faults
from iso_exchange.replay.trace.figures import firm_waits
from iso_exchange.replay.trace.layout import CHIPS_PER_NODE, Layout
from iso_exchange.replay.trace.regime import Window

HOUR_S: Final = 3_600
SILO: Final = "silo"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiloResult:
    """All tenants on their own clusters, hour by hour of the window.

    Attributes:
        chip_seconds: That ran a job's request.
        in_service: Chip-seconds in service.
        firm_waits_s: Seconds to the first start of firm jobs, ascending.
        left_out: Jobs larger than the silo of their tenant.
    """

    chip_seconds: tuple[int, ...]
    in_service: tuple[int, ...]
    firm_waits_s: tuple[int, ...] = ()
    left_out: int = 0

    @property
    def allocation(self) -> Fraction:
        """Mean share of what was in service that ran a job's request."""
        return Fraction(sum(self.chip_seconds), sum(self.in_service))

    @property
    def hours(self) -> list[float]:
        """The same of each hour."""
        return [
            used / service if service else 1.0
            for used, service in zip(self.chip_seconds, self.in_service, strict=True)
        ]


class SiloFaults:
    """Faults of the grid, as they meet the silos."""

    def __init__(self, layout: Layout, faults: Faults) -> None:
        """Hand the nodes of the grid to the tenants, in the order of both."""
        self._faults = faults
        self._layout = layout
        self._first: dict[str, int] = {}
        node = 0
        for pool in layout.pools:
            self._first[pool.pool_id] = node
            node += pool.nodes
        self._own: dict[str, range] = {}
        node = 0
        for tenant, nodes in layout.silo_nodes.items():
            self._own[tenant] = range(node, node + nodes)
            node += nodes

    def down(self, start_s: int) -> dict[str, int]:
        """Nodes out of service in the interval that begins then, by tenant; zeros left out."""
        broken = {
            self._first[failure.pool_id] + failure.rank
            for failure in self._faults.within(max(0, start_s - REPAIR_S), start_s)
        }
        if self._faults.site_down(start_s):
            for pool in self._layout.pools:
                if pool.site_id == self._faults.site_id:
                    first = self._first[pool.pool_id]
                    broken.update(range(first, first + pool.nodes))
        found: dict[str, int] = {}
        for tenant, own in self._own.items():
            count = sum(node in own for node in broken)
            if count:
                found[tenant] = count
        return found

    def failures(self, tenant: str, start_s: int) -> Iterator[tuple[int, int]]:
        """When which node of a tenant fails, in the interval that begins then."""
        own = self._own[tenant]
        for failure in self._faults.within(start_s, start_s + INTERVAL_S):
            node = self._first[failure.pool_id] + failure.rank
            if node in own:
                yield failure.at_s, node - own.start


def silo_queue(
    jobs: Sequence[tuple[str, Job]],
    layout: Layout,
    faults: Faults,
    policy: Policy,
    window: Window,
) -> SiloResult:
    """Run every tenant on its own nodes.

    A gang larger than its tenant's silo can never run there and is left out.
    """
    met = SiloFaults(layout, faults)
    starts = range(0, window.end_s, INTERVAL_S)
    down = [met.down(start) for start in starts]
    used, service = _Hours(window), _Hours(window)
    waits: list[int] = []
    placed = 0
    for tenant, nodes in layout.silo_nodes.items():
        own = [job for name, job in jobs if name == tenant and job.chips <= nodes * CHIPS_PER_NODE]
        placed += len(own)
        arriving = iter(own)
        job = next(arriving, None)
        lab = Lab(SILO, policy, {SILO: nodes})
        for start, broken in zip(starts, down, strict=True):
            lab.set_base({SILO: nodes - broken.get(tenant, 0)})
            end, before = start + INTERVAL_S, lab.chip_seconds
            for at, rank in (*met.failures(tenant, start), (end, -1)):
                while job is not None and job.submit_s < at:
                    lab.submit(job)
                    job = next(arriving, None)
                lab.advance(at)
                if 0 <= rank < lab.nodes_in(SILO):
                    lab.lose(SILO, rank)
                    lab.set_base({SILO: lab.nodes_in(SILO) - 1})
            used.add(start, lab.chip_seconds - before)
            in_service = nodes - broken.get(tenant, 0)
            service.add(start, in_service * CHIPS_PER_NODE * INTERVAL_S)
        waits.extend(firm_waits(lab.all_runs(), window))
    return SiloResult(
        chip_seconds=used.sums,
        in_service=service.sums,
        firm_waits_s=tuple(sorted(waits)),
        left_out=len(jobs) - placed,
    )


def silo_curves(demand: CurveDemand, layout: Layout, faults: Faults) -> SiloResult:
    """What each cluster serves of its own curve on its own nodes."""
    met = SiloFaults(layout, faults)
    curves = {name: np.asarray(row, dtype=np.int64) for name, row in demand.curves.items()}
    used, service = _Hours(demand.window), _Hours(demand.window)
    for start in range(demand.window.start_s, demand.window.end_s, INTERVAL_S):
        broken = met.down(start)
        minutes = slice(start // MINUTE_S, (start + INTERVAL_S) // MINUTE_S)
        for tenant, nodes in layout.silo_nodes.items():
            chips = (nodes - broken.get(tenant, 0)) * CHIPS_PER_NODE
            used.add(start, int(np.minimum(curves[tenant][minutes], chips).sum()) * MINUTE_S)
            service.add(start, chips * INTERVAL_S)
    return SiloResult(chip_seconds=used.sums, in_service=service.sums)


class _Hours:
    """Sums by hour of a window; what lies outside of it is left out."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._sums = [0] * -(-window.length_s // HOUR_S)

    def add(self, at_s: int, amount: int) -> None:
        """Add to the hour of a second."""
        if self._window.start_s <= at_s < self._window.end_s:
            self._sums[(at_s - self._window.start_s) // HOUR_S] += amount

    @property
    def sums(self) -> tuple[int, ...]:
        """All of them, by time."""
        return tuple(self._sums)
