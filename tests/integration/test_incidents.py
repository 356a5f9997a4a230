"""Replays of an hour with incidents: real processes, a small grid, one of every kind.

The exchange runs as a process on an embedded PostgreSQL. What must hold whatever happens: every
run is published, no receipt is lost, base load and covered firm work are served where there is
a node left for them, the books balance and the ledger verifies.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from rich.console import Console

from clearing.units import MicroUsdPerChipHour
from iso_exchange.audit.report import Report
from iso_exchange.client.agents.jobs import Job
from iso_exchange.client.agents.lab import Policy
from iso_exchange.replay.trace.drive import INTERVAL_S, Replay
from iso_exchange.replay.trace.faults import Failure, Faults
from iso_exchange.replay.trace.incidents import Incident, Kind, Log, with_site
from iso_exchange.replay.trace.layout import Layout, PoolPlan
from iso_exchange.replay.trace.regime import Demand, Regime, Window
from iso_exchange.replay.trace.run import (
    FIRM_LIMIT,
    INTERRUPTIBLE_LIMIT,
    Options,
    Plan,
    TraceReplay,
)
from iso_exchange.replay.trace.setup import SUPPLIERS

CHIP_CLASS = "nvidia.h100-sxm5-80gb"
POOLS = (
    PoolPlan(pool_id="tx-1-h100", site_id="tx-1", chip_class=CHIP_CLASS, nodes=8),
    PoolPlan(pool_id="oh-1-h100", site_id="oh-1", chip_class=CHIP_CLASS, nodes=8),
)
LAYOUT = Layout(pools=POOLS, silo_nodes={"lab-a": 8, "lab-b": 8})
NO_FAULTS = Faults(failures=(), site_id="", outage_start_s=0, outage_end_s=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A replay that is over."""

    replay: Replay
    report: Report
    log: Log


def at(interval: int) -> int:
    return interval * INTERVAL_S


def jobs(end_s: int) -> tuple[tuple[str, Job], ...]:
    """Firm work of four nodes for as long as it lasts, and more interruptible than fits."""
    found = [
        ("lab-a", Job(job_id="firm", chips=32, work_s=end_s, submit_s=0, firm=True)),
        ("lab-b", Job(job_id="small", chips=8, work_s=end_s, submit_s=0, firm=True)),
    ]
    found.extend(
        (
            "lab-b" if number % 2 else "lab-a",
            Job(job_id=f"spot-{number}", chips=8, work_s=2_400, submit_s=number * 400, firm=False),
        )
        for number in range(end_s // 400)
    )
    return tuple(sorted(found, key=lambda item: item[1].submit_s))


def played(
    directory: Path, end: int, incidents: tuple[Incident, ...], failures: tuple[Failure, ...] = ()
) -> Played:
    """Play so many intervals of the small grid."""
    window = Window(start_s=0, end_s=at(end))
    plan = Plan(
        demand=Demand(
            regime=Regime.SATURATED,
            jobs=jobs(at(end)),
            window=window,
            mean_chips=Fraction(64),
            capacity_chips=Fraction(LAYOUT.chips),
            firm_chips=Fraction(40),
        ),
        layout=LAYOUT,
        hourly={"lab-a": [], "lab-b": []},
        asks={pool.pool_id: MicroUsdPerChipHour(2_000_000) for pool in POOLS},
        faults=with_site(replace(NO_FAULTS, failures=failures), incidents),
        policies={
            name: Policy(
                firm_limit=FIRM_LIMIT, interruptible_limit=INTERRUPTIBLE_LIMIT + place * 100_000
            )
            for place, name in enumerate(("lab-a", "lab-b"))
        },
        incidents=incidents,
        flood_orders=150,
        base={"lab-a": {"tx-1-h100": 2}},
    )
    options = Options(
        trace="itp",
        data=directory,
        regime=Regime.SATURATED,
        days=1,
        work=directory / "work",
        out=directory / "page.html",
        seed=1,
        faults=True,
    )
    stage = TraceReplay(options, plan, Console(quiet=True))
    replay, _, _, report, _ = asyncio.run(stage.run())
    return Played(replay=replay, report=report, log=stage.incidents)


def check(done: Played, end: int) -> None:
    """What holds whatever happens."""
    assert done.report.ok, done.report.failed
    assert not done.report.not_checkable, done.report.not_checkable
    assert sorted(done.replay.prices) == [at(place) for place in range(end)], "every run"
    assert any("receipts about them stand" in line for line in done.log.lines)
    assert any(line.endswith(" 0 renewed") for line in done.log.lines), done.log.lines


def test_what_suppliers_meters_and_floods_do(empty_directory: Path) -> None:
    """Nodes fail, one is not told of; a meter is silent; a lab floods the market."""
    end = 15
    incidents = (
        Incident(
            kind=Kind.SILENT_SUPPLIER,
            subject=SUPPLIERS["oh-1"],
            start_s=at(3),
            end_s=at(6),
        ),
        Incident(kind=Kind.SILENT_METER, subject="tx-1-h100", start_s=at(7), end_s=at(9)),
        Incident(kind=Kind.FLOOD, subject="lab-b", start_s=at(10), end_s=at(12)),
    )
    failures = (
        Failure(at_s=at(1) + 10, pool_id="tx-1-h100", rank=7),
        Failure(at_s=at(3) + 10, pool_id="oh-1-h100", rank=7),
    )
    done = played(empty_directory, end, incidents, failures)
    check(done, end)
    # The silent supplier reports when it speaks again; until then the node is sold and is down.
    assert len(done.log.outages) == 2
    assert done.log.unread == 2
    assert done.report.meter_gaps > 0, "what nobody read is a gap, not a delivery"
    assert done.log.flood == {"accepted": 300}
    assert done.replay.base_curtailed == 0
    assert done.replay.firm_lost == 0


def test_a_lost_site_a_killed_exchange_and_a_database_that_goes_down(empty_directory: Path) -> None:
    end = 10
    incidents = (
        Incident(kind=Kind.AUCTIONEER, start_s=at(2), end_s=at(3)),
        Incident(kind=Kind.DATABASE, start_s=at(4), end_s=at(5)),
        Incident(kind=Kind.SITE, subject="oh-1", start_s=at(6), end_s=at(8)),
    )
    done = played(empty_directory, end, incidents)
    check(done, end)
    assert len(done.log.kills) == 1
    assert len(done.log.back_s) == 2, "after the kill, and after the database"
    assert done.log.outages == [f"lost-oh-1-h100-{at(6)}"]
    assert done.replay.base_curtailed == 0, "base load is at the other site"
