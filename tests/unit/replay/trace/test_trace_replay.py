"""Regimes, layout, bounds, faults and figures of a trace replay, on small hand-made traces."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso_exchange.client.agents.jobs import Job
from iso_exchange.client.agents.lab import Lab, Policy, Wish
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.trace import faults
from iso_exchange.replay.trace.bound import fluid_bound
from iso_exchange.replay.trace.drive import Cleared, drive
from iso_exchange.replay.trace.figures import Hour, figures_of, reaches
from iso_exchange.replay.trace.layout import Layout, PoolPlan, largest_remainder, layout_of
from iso_exchange.replay.trace.page import Money, Summary, duration, page
from iso_exchange.replay.trace.regime import DAY_S, Regime, Window, demand_of
from iso_exchange.replay.trace.silo import SiloFaults, silo_queue
from iso_exchange.replay.traces import TraceJob

POLICY = Policy(firm_limit=9_000_000, interruptible_limit=3_000_000)
LENGTH_S = 10 * DAY_S


def trace_job(name: int, submit_s: int, work_s: int, chips: int = 8) -> TraceJob:
    return TraceJob(job_id=name, tenant="a", submit_s=submit_s, duration_s=work_s, chips=chips)


def trace() -> list[TraceJob]:
    """A job of 8 chips each hour, each for two hours: 16 chips in use after the first."""
    return [trace_job(hour, hour * 3600, 7200) for hour in range(240)]


def job(name: str, chips: int, work_s: int, submit_s: int = 0, *, firm: bool = False) -> Job:
    return Job(job_id=name, chips=chips, work_s=work_s, submit_s=submit_s, firm=firm)


def test_capacity_is_mean_demand_over_load() -> None:
    light = demand_of(trace(), Regime.LIGHT, 4, length_s=LENGTH_S)
    assert light.mean_chips == 16
    assert light.capacity_chips == Fraction(160, 7)
    assert demand_of(trace(), Regime.BALANCED, 4, length_s=LENGTH_S).capacity_chips == 16


def test_firm_jobs_are_the_same_set_in_every_regime() -> None:
    found = {
        regime: {
            item.job_id
            for _, item in demand_of(trace(), regime, 4, length_s=LENGTH_S).jobs
            if item.firm
        }
        for regime in Regime
    }
    assert found[Regime.LIGHT] == found[Regime.BALANCED] == found[Regime.SATURATED]
    demand = demand_of(trace(), Regime.LIGHT, 4, length_s=LENGTH_S)
    assert Fraction(65, 100) <= demand.firm_chips / demand.mean_chips < Fraction(70, 100)


def test_the_backlog_is_the_trace_shifted_by_half_before_the_days_are_cut() -> None:
    demand = demand_of(trace(), Regime.SATURATED, 3, length_s=LENGTH_S)
    shifted = [item for _, item in demand.jobs if item.job_id.startswith("s")]
    assert [item.submit_s for item in shifted] == [hour * 3600 for hour in range(72)]
    assert not any(item.firm for item in shifted)
    # Job 120 was submitted at half of the trace's length, so its copy opens the backlog.
    assert shifted[0].job_id == "s120"


def test_figures_start_after_the_warm_up() -> None:
    with pytest.raises(DataError):
        demand_of(trace(), Regime.LIGHT, 2, length_s=LENGTH_S)


def test_pools_and_silos_have_the_same_chips() -> None:
    layout = layout_of(Fraction(1111), {"a": 3, "b": 1})
    assert layout.nodes == round(1111 / 8) == sum(layout.silo_nodes.values())
    assert all(pool.chips >= 128 for pool in layout.pools)
    few = layout_of(Fraction(550), {"a": 1})
    assert len(few.pools) == 3
    assert all(pool.chips >= 128 for pool in few.pools)
    with pytest.raises(DataError):
        layout_of(Fraction(100), {"a": 1})


@given(st.integers(0, 500), st.lists(st.integers(0, 50), min_size=1, max_size=8))
def test_a_split_loses_nothing(total: int, weights: list[int]) -> None:
    if sum(weights):
        parts = largest_remainder(total, weights)
        assert sum(parts) == total
        for part, weight in zip(parts, weights, strict=True):
            assert abs(part - Fraction(total * weight, sum(weights))) < 1


def test_fluid_bound_by_hand() -> None:
    """10 chips; 5 for the first 1,000 s, and from 500 s on a second job that wants 20."""
    jobs = [job("one", 5, 1200), job("two", 20, 300, 600)]
    # 0-600: 5 of 10. 600-1200: both want 25, 10 run. Left: 9,000 - 6,000 = 3,000 chip-seconds.
    window = Window(start_s=0, end_s=1500)
    assert fluid_bound(jobs, 10, window) == Fraction(5 * 600 + 10 * 600 + 3000, 15_000)


def silos(**nodes: int) -> Layout:
    """One pool, and silos with its nodes."""
    pool = PoolPlan(pool_id="p", site_id="s", chip_class="x", nodes=sum(nodes.values()))
    return Layout(pools=(pool,), silo_nodes=nodes)


NONE = faults.Faults(failures=(), site_id="", outage_start_s=0, outage_end_s=0)


def test_a_silo_cannot_use_what_is_idle_next_door() -> None:
    jobs = [("a", job("one", 8, 7200)), ("a", job("two", 8, 7200))]
    window = Window(start_s=0, end_s=14_400)
    apart = silo_queue(jobs, silos(a=1, b=1), NONE, POLICY, window)
    assert apart.chip_seconds == (28_800, 28_800, 28_800, 28_800)
    assert apart.allocation == Fraction(1, 2)


def test_a_gang_runs_in_a_silo_that_holds_it() -> None:
    window = Window(start_s=0, end_s=7_200)
    found = silo_queue([("a", job("gang", 16, 3600))], silos(a=2), NONE, POLICY, window)
    assert found.chip_seconds == (57_600, 0)


def test_silos_tell_how_firm_jobs_wait_and_what_never_fits() -> None:
    window = Window(start_s=0, end_s=7_200)
    jobs = [
        ("a", job("first", 8, 3_600, firm=True)),
        ("a", job("second", 8, 3_600, firm=True)),
        ("a", job("gang", 16, 600)),
    ]
    found = silo_queue(jobs, silos(a=1, b=1), NONE, POLICY, window)
    assert (found.firm_waits_s, found.left_out) == ((0, 3_600), 1)


def test_silos_have_the_faults_of_the_grid() -> None:
    """Node 1 of the grid is the node of b; it fails half an hour into the second hour."""
    broken = faults.Faults(
        failures=(faults.Failure(at_s=5400, pool_id="p", rank=1),),
        site_id="",
        outage_start_s=0,
        outage_end_s=0,
    )
    layout = silos(a=1, b=1)
    assert SiloFaults(layout, broken).down(5400) == {}
    assert SiloFaults(layout, broken).down(5700) == {"b": 1}
    window = Window(start_s=0, end_s=7_200)
    jobs = [(name, job("one", 8, 7200)) for name in "ab"]
    found = silo_queue(jobs, layout, broken, POLICY, window)
    assert found.chip_seconds == (57_600, 28_800 + 14_400)
    assert found.in_service == (57_600, 57_600 - 8 * 1500)
    lost = faults.Faults(failures=(), site_id="s", outage_start_s=3600, outage_end_s=7200)
    assert silo_queue(jobs, layout, lost, POLICY, window).chip_seconds == (57_600, 0)


ONE_POOL = Layout(
    pools=(PoolPlan(pool_id="p", site_id="s", chip_class="x", nodes=2),), silo_nodes={"a": 2}
)


class Generous:
    """A market that gives everybody what it asks for, in order, while nodes last.

    What is interruptible is given for one interval more, its notice.
    """

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.bids: dict[str, Sequence[Wish]] = {}
        self.bound: dict[str, int] = {}

    async def post(self, lab: str, wishes: Sequence[Wish]) -> None:
        self.bids[lab] = wishes

    async def supply(self, pool_id: str, nodes: int) -> None:
        assert pool_id == "p"
        self.nodes = nodes

    async def clear(self, start_s: int) -> Cleared:
        left = self.nodes
        positions: dict[str, dict[str, dict[str, int]]] = {}
        for lab, wishes in self.bids.items():
            wanted = sum(wish.nodes for wish in wishes if wish.key.startswith("idle/"))
            bound = min(left, max(wanted, self.bound.get(lab, 0)))
            self.bound[lab] = min(left, wanted)
            if bound:
                positions.setdefault(lab, {})["idle/p"] = {"p": bound}
                left -= bound
            for wish in wishes:
                given = 0 if wish.key.startswith("idle/") else min(left, wish.nodes)
                if given and (given == wish.nodes or not wish.gang):
                    positions.setdefault(lab, {})[wish.key] = {"p": given}
                    left -= given
        return Cleared(positions=positions)

    async def deliver(self, start_s: int, failed: Mapping[str, int]) -> int:
        return failed["p"]


def run(jobs: list[tuple[str, Job]], faults_: faults.Faults, end_s: int) -> dict[int, Hour]:
    labs = {name: Lab(name, POLICY, {}) for name, _ in jobs}
    return asyncio.run(drive(Generous(2), ONE_POOL, labs, jobs, faults_, end_s)).hours


def test_the_drive_counts_chips_that_run_a_job() -> None:
    # Submitted a second after a gate: it starts with the next interval.
    hours = run([("a", job("one", 4, 600, 10))], NONE, 3600)
    assert hours[0].running == 4 * 600
    assert hours[0].in_service == 2 * 8 * 3600
    # Its node is held for the two intervals in which it runs, and not for its notice.
    assert hours[0].awarded == 8 * 600


def test_a_failed_node_stops_its_job_and_is_out_of_service_until_repaired() -> None:
    broken = faults.Faults(
        failures=(faults.Failure(at_s=450, pool_id="p", rank=0),),
        site_id="",
        outage_start_s=0,
        outage_end_s=0,
    )
    hours = run([("a", job("one", 8, 900, 10))], broken, 3600)
    # 150 s done from 300 s on; anew at 600 s for what was left and the restart.
    assert hours[0].running == 8 * (900 + POLICY.restart_s)
    assert hours[0].in_service == 8 * (2 * 600 + 1 * 3000)


def test_a_lost_site_runs_nothing_and_its_base_load_comes_back() -> None:
    lost = faults.Faults(failures=(), site_id="s", outage_start_s=600, outage_end_s=1200)
    some = Lab("a", POLICY, {"p": 1})
    jobs = [("a", job("one", 8, 1_800))]
    found = asyncio.run(drive(Generous(2), ONE_POOL, {"a": some}, jobs, lost, 3600)).hours[0]
    assert found.in_service == 2 * 8 * 3_000
    assert found.running == 8 * (1_800 + POLICY.restart_s)
    assert some.base == {"p": 1}


def test_curtailed_base_load_is_added_up() -> None:
    broken = faults.Faults(
        failures=(faults.Failure(at_s=450, pool_id="p", rank=0),),
        site_id="",
        outage_start_s=0,
        outage_end_s=0,
    )
    found = asyncio.run(drive(Generous(2), ONE_POOL, {}, [], broken, 3600))
    # The test's market says that every node that is down was base load.
    assert found.base_curtailed == 10


def test_faults_repeat_and_stay_inside() -> None:
    layout = layout_of(Fraction(1111), {"a": 1})
    first, again = faults.draw(layout, 10, seed=1), faults.draw(layout, 10, seed=1)
    assert first == again != faults.draw(layout, 10, seed=2)
    assert 0 < len(first.failures) < 20
    assert first.outage_end_s - first.outage_start_s == 7200
    pool = next(pool for pool in layout.pools if pool.site_id == first.site_id)
    assert first.down(pool, first.outage_start_s) == pool.nodes
    assert faults.draw(layout, 3, seed=1).site_id == ""


def hour(start: int, running: int, *, outage: bool = False) -> Hour:
    return Hour(start_s=start * 3600, in_service=100, running=running, awarded=100, outage=outage)


def test_figures_and_reaches_of_a_saturated_day() -> None:
    window = Window(start_s=0, end_s=3 * 3600)
    hours = [hour(0, 98), hour(1, 93), hour(2, 50, outage=True), hour(3, 0)]
    figures = figures_of(Regime.SATURATED, window, hours, [], load=Fraction(2), bound=Fraction(1))
    assert figures.mean == Fraction(241, 300)
    assert figures.worst.allocation == Fraction(93, 100)
    assert figures.low_hours == 1
    assert [reach.met for reach in reaches(figures, base_curtailments=0)] == [True, False, False]
    assert not reaches(figures, base_curtailments=1)[0].met


def test_the_page_is_whole_and_escapes_names() -> None:
    window = Window(start_s=0, end_s=2 * 3600)
    figures = figures_of(
        Regime.LIGHT,
        window,
        [hour(0, 70), hour(1, 71)],
        [],
        load=Fraction(7, 10),
        bound=Fraction(1),
    )
    silo = silo_queue([("a", job("one", 8, 7200))], silos(a=2), NONE, POLICY, window)
    text = page(
        Summary(
            title="<ITP> & light",
            layout=ONE_POOL,
            figures=figures,
            silo=silo,
            reaches=reaches(figures, base_curtailments=0),
            prices={"p<1>": [1_000_000, 2_000_000, -1]},
            money=Money(paid={"lab&co": 5_000_000}, verified="all checks passed"),
            notes=["firm share 0.65"],
        )
    )
    assert text.count("<svg") == text.count("</svg>") == 3
    assert "&lt;ITP&gt; &amp; light" in text
    assert "p&lt;1&gt;" in text
    assert "lab&amp;co pays" in text
    assert "MISS" not in text.split("p99 start")[0].split("allocation")[0]
    assert "http://" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_durations_read_well() -> None:
    assert [duration(s) for s in (90, 600, 7200, 200_000)] == ["90 s", "10 min", "2.0 h", "2.3 d"]
