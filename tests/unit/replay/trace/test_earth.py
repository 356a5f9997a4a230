from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iso_exchange.replay.errors import DataError
from iso_exchange.replay.trace.earth import curve_bound, curve_demand, read_curves
from iso_exchange.replay.trace.faults import Faults
from iso_exchange.replay.trace.layout import Layout, PoolPlan
from iso_exchange.replay.trace.regime import Regime, Window
from iso_exchange.replay.trace.silo import silo_curves


def write(directory: Path, rows: list[tuple[int, str, int, int, int, int]]) -> Path:
    start = datetime(2020, 5, 1, tzinfo=UTC).replace(tzinfo=None)
    names = ("running_gpus", "pending_gpus", "running_gpus_jobs_ge8", "pending_gpus_jobs_ge8")
    table = pa.table(
        {
            "time": [start + timedelta(minutes=row[0]) for row in rows],
            "vc": [row[1] for row in rows],
            **{name: [row[2 + place] for row in rows] for place, name in enumerate(names)},
        }
    )
    (directory / "earth").mkdir()
    pq.write_table(table, directory / "earth" / "earth_vc_minute_x.parquet")
    return directory


def test_a_curve_is_what_runs_and_waits_with_large_jobs_in_whole_nodes(tmp_path: Path) -> None:
    curves = read_curves(write(tmp_path, [(0, "a", 13, 4, 9, 0), (1, "a", 5, 0, 0, 0)]))
    # 8 small ones, and 9 of large jobs in two nodes.
    assert curves["a"].tolist() == [8 + 16, 5]


def test_a_gap_of_the_log_keeps_the_last_reading(tmp_path: Path) -> None:
    rows = [(0, "a", 8, 0, 0, 0), (1, "a", 0, 0, 0, 0), (2, "a", 4, 0, 0, 0)]
    rows += [(0, "b", 2, 0, 0, 0), (1, "b", 0, 0, 0, 0), (2, "b", 0, 0, 0, 0)]
    curves = read_curves(write(tmp_path, rows))
    assert curves["a"].tolist() == [8, 8, 4]
    assert curves["b"].tolist() == [2, 2, 0]


def test_missing_minutes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_curves(write(tmp_path, [(0, "a", 8, 0, 0, 0), (2, "a", 8, 0, 0, 0)]))


def test_bound_and_silos_by_hand() -> None:
    hour = 60
    curves = {
        "a": np.array([16] * hour + [0] * hour + [8] * 2 * hour),
        "b": np.array([0] * hour + [24] * hour + [0] * 2 * hour),
    }
    window = Window(start_s=0, end_s=2 * 3600)
    demand = curve_demand(curves, Regime.BALANCED, window)
    assert demand.mean_chips == demand.capacity_chips == 20
    assert curve_bound(demand, 16) == Fraction(1)
    assert curve_bound(demand, 32) == Fraction(40, 64)
    pool = PoolPlan(pool_id="p", site_id="s", chip_class="x", nodes=2)
    layout = Layout(pools=(pool,), silo_nodes={"a": 1, "b": 1})
    none = Faults(failures=(), site_id="", outage_start_s=0, outage_end_s=0)
    found = silo_curves(demand, layout, none)
    assert found.chip_seconds == (8 * 3600, 8 * 3600)
    assert found.allocation == Fraction(1, 2)
    saturated = curve_demand(curves, Regime.SATURATED, window)
    # The second half comes on top of the first.
    assert saturated.curves["a"][:1] == [24]
    with pytest.raises(DataError):
        curve_demand(curves, Regime.LIGHT, Window(start_s=0, end_s=5 * 3600))
