"""Demand, silos and their allocation, by hand and on the real trace."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso_exchange.replay import traces
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.traces import TraceJob

HEADER = "job,cluster,submission_time,duration,num_gpu\n"


def job(submit_s: int, duration_s: int, chips: int, tenant: str = "a") -> TraceJob:
    return TraceJob(job_id=0, tenant=tenant, submit_s=submit_s, duration_s=duration_s, chips=chips)


def folder_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "itp").mkdir()
    (tmp_path / "itp" / "itp_jobs_x.csv.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path


def test_reads_jobs(tmp_path: Path) -> None:
    jobs = traces.read_jobs(folder_with(tmp_path, HEADER + "7,cluster02,10,20,8\n"))
    assert jobs == (TraceJob(job_id=7, tenant="cluster02", submit_s=10, duration_s=20, chips=8),)
    assert jobs[0].end_s == 30


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (HEADER, "NO_JOBS"),
        (HEADER + "7,cluster02,10,0,8\n", "BAD_VALUE"),
        (HEADER + "7,cluster02,10,20,-8\n", "BAD_VALUE"),
        (HEADER + "7,,10,20,8\n", "BAD_VALUE"),
        (HEADER + "7,cluster02,10,20\n", "WRONG_COLUMNS"),
        ("job\n", "WRONG_HEADER"),
    ],
)
def test_malformed_traces(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(DataError) as caught:
        traces.read_jobs(folder_with(tmp_path, text))
    assert caught.value.code == code


def test_hourly_demand_by_hand() -> None:
    jobs = [job(1_800, 7_200, 2), job(3_600, 3_600, 1), job(0, 60, 4, "b"), job(9_000, 9_999, 1)]
    assert traces.hourly_demand(jobs, 3) == {
        "a": (3_600, 10_800, 5_400),
        "b": (240, 0, 0),
    }


@given(
    st.lists(
        st.builds(
            job,
            st.integers(0, 50_000),
            st.integers(1, 60_000),
            st.integers(1, 64),
            st.sampled_from(("a", "b")),
        ),
        max_size=20,
    )
)
def test_demand_adds_up_to_the_work_inside_the_horizon(jobs: list[TraceJob]) -> None:
    hours = 12
    horizon_s = hours * 3_600
    demand = traces.hourly_demand(jobs, hours)
    inside = sum(j.chips * (min(j.end_s, horizon_s) - min(j.submit_s, horizon_s)) for j in jobs)
    assert sum(sum(series) for series in demand.values()) == inside
    assert all(used >= 0 for series in demand.values() for used in series)


def test_peak_concurrency_frees_before_it_takes() -> None:
    jobs = [job(0, 10, 4), job(10, 10, 4), job(5, 2, 1), job(0, 1, 9, "b")]
    assert traces.peak_concurrency(jobs) == {"a": 5, "b": 9}


def test_percentile_is_nearest_rank() -> None:
    values = list(range(1, 101))
    assert [traces.percentile(values, p) for p in (1, 10, 50, 95, 100)] == [1, 10, 50, 95, 100]
    assert traces.percentile([7], 95) == 7
    for values_, percent in (([], 50), ([1], 0), ([1], 101)):
        with pytest.raises(ValueError, match="percent"):
            traces.percentile(values_, percent)


def test_silo_allocation_by_hand() -> None:
    demand = {"a": (10, 30), "b": (0, 20)}
    result = traces.silo_allocation(demand, {"a": 20, "b": 20}, 0, 2)
    assert result.allocation_ppm == 750_000
    assert result.served_at_once_ppm == 625_000
    with pytest.raises(DataError, match="NO_DEMAND"):
        traces.silo_allocation(demand, {"a": 0, "b": 0}, 0, 2)


def test_real_trace_silos_are_half_empty(data_dir: Path) -> None:
    jobs = traces.read_jobs(data_dir)
    hours = traces.TRACE_DAYS * traces.HOURS_PER_DAY
    demand = traces.hourly_demand(jobs, hours)
    result = traces.silo_allocation(demand, traces.silo_sizes(demand), 0, hours)
    assert len(jobs) == 41_446
    assert len(demand) == 10
    assert result.allocation_ppm == 506_622  # published with the data: 51 %
    assert result.served_at_once_ppm == 495_059


def test_real_trace_sizes_and_peaks(data_dir: Path) -> None:
    jobs = traces.read_jobs(data_dir)
    shares = {(row.chips_min, row.chips_max): row for row in traces.size_shares(jobs)}
    assert shares[1, 1].job_ppm == 858_225
    assert shares[5, 8].chip_seconds_ppm == 405_785
    assert sum(row.job_ppm for row in shares.values()) == pytest.approx(1_000_000, abs=3)
    assert traces.peak_concurrency(jobs)["cluster04"] == 2_025
