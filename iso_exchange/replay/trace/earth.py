"""Demand curves of the Earth trace: chips that each virtual cluster ran or waited for.

Source: ``earth/earth_vc_minute_*.parquet``, Helios "Earth" (SC 2021). There are no jobs: a
virtual cluster's demand in a minute is its running and pending GPUs, those of jobs of eight and
more in whole nodes. The saturated regime adds the curve shifted by half its length. Minutes in
which every cluster reads zero are a gap of the log: the last reading before stands in for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from iso_exchange.replay.errors import DataError
from iso_exchange.replay.tables import find_file
from iso_exchange.replay.trace.layout import CHIPS_PER_NODE
from iso_exchange.replay.trace.regime import Regime, Window

PATTERN: Final = "earth/earth_vc_minute_*.parquet"
MINUTE_S: Final = 60
_COLUMNS: Final = (
    "time",
    "vc",
    "running_gpus",
    "pending_gpus",
    "running_gpus_jobs_ge8",
    "pending_gpus_jobs_ge8",
)

Curve = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveDemand:
    """Curves of one regime.

    Attributes:
        curves: Chips wanted per minute, by virtual cluster.
        mean_chips: Mean over the window of the trace itself, backlog left out.
    """

    regime: Regime
    curves: Mapping[str, Sequence[int]]
    window: Window
    mean_chips: Fraction
    capacity_chips: Fraction


def read_curves(data_dir: Path) -> dict[str, Curve]:
    """Chips wanted in each minute by virtual cluster.

    Raises:
        DataError: the file is absent, lacks a column or a minute.
    """
    path = find_file(data_dir, PATTERN)
    table = pq.read_table(path)
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise DataError("BAD_HEADER", str(path), 0, f"columns are missing: {', '.join(missing)}")
    minutes = table["time"].to_numpy().astype("datetime64[m]").astype(np.int64)
    # Participants have lower-case names; clusters that differ by case alone would lack minutes.
    names = np.array([str(name).lower() for name in table["vc"].to_pylist()])
    first, count = int(minutes.min()), int(minutes.max() - minutes.min()) + 1
    running, pending, big, waiting = (
        table[name].to_numpy().astype(np.int64) for name in _COLUMNS[2:]
    )
    # Jobs of eight chips and more are whole nodes.
    gangs = -(-(big + waiting) // CHIPS_PER_NODE) * CHIPS_PER_NODE
    wanted = np.maximum(0, running + pending - big - waiting) + gangs
    curves: dict[str, Curve] = {}
    for name in sorted(set(names.tolist())):
        own = names == name
        if int(own.sum()) != count:
            raise DataError("MISSING_MINUTES", str(path), int(own.sum()), f"{name} lacks minutes")
        row = np.zeros(count, dtype=np.int64)
        row[minutes[own] - first] = wanted[own]
        curves[name] = row
    _bridge(curves, count)
    return curves


def _bridge(curves: Mapping[str, Curve], count: int) -> None:
    """Carry the last reading through minutes in which nobody runs anything."""
    total = sum(curves.values(), start=np.zeros(count, dtype=np.int64))
    known = np.maximum.accumulate(np.where(total > 0, np.arange(count), 0))
    for row in curves.values():
        row[:] = row[known]


def curve_demand(curves: Mapping[str, Curve], regime: Regime, window: Window) -> CurveDemand:
    """Curves and capacity of a regime.

    Raises:
        DataError: ``TOO_LONG``, the window ends after the trace.
    """
    length = len(next(iter(curves.values())))
    first, last = window.start_s // MINUTE_S, window.end_s // MINUTE_S
    if last > length:
        raise DataError("TOO_LONG", PATTERN, last, f"the trace has {length // 1440} days")
    total = sum(int(row[first:last].sum()) for row in curves.values())
    mean = Fraction(total, last - first)
    shift = length // 2
    shown = {
        name: row + np.roll(row, -shift) if regime is Regime.SATURATED else row
        for name, row in curves.items()
    }
    return CurveDemand(
        regime=regime,
        curves={name: row[:last].tolist() for name, row in shown.items()},
        window=window,
        mean_chips=mean,
        capacity_chips=mean / regime.load,
    )


def curve_bound(demand: CurveDemand, chips: int) -> Fraction:
    """Mean over the window of min(capacity, demand) / capacity."""
    first, last = demand.window.start_s // MINUTE_S, demand.window.end_s // MINUTE_S
    rows = [np.asarray(row[first:last], dtype=np.int64) for row in demand.curves.values()]
    total = np.sum(rows, axis=0)
    return Fraction(int(np.minimum(total, chips).sum()), chips * (last - first))
