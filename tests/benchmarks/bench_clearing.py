"""``clearing``: frozen grid books through the engine, beside it one MILP per stock solver.

Every measure runs in a process of its own, so that peak memory belongs to it. A row with a
number to reach prints PASS or MISS. Stock solvers get the engine's own program, one thread and
the same limit of wall time; they neither price, nor round to whole nodes, nor certify.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.clearing_run import RUNS
from tests.benchmarks.grid_books import (
    LARGE,
    MEDIUM,
    SMALL,
    SPOT,
    STANDING,
    STRICT,
    THIN,
    TINY,
    GridSpec,
    digest,
    generate,
)
from tests.benchmarks.one_milp import Solver
from tests.benchmarks.spec import Benchmark, Row, at_most

ROOT: Final = Path(__file__).resolve().parents[2]
RIVAL_SECONDS_MAX: Final = 60.0
RIVAL_GAP: Final = 1e-4
RUN_SECONDS_MAX: Final = 900

NAMES: Final = {
    "READ": "read",
    "CHOOSE": "coordinate, repair",
    "SETTLE": "settle",
    "PRICE": "price",
    "NODES": "whole nodes",
    "ACCOUNT": "account",
    "CERTIFY": "certify",
    "VERIFY": "verify",
    "other": "other",
}
"""Phase of ``clearing.auction.clear`` to what is printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One book and what is to be reached on it; 0 where nothing is.

    Attributes:
        seconds: The whole of ``clear``: read, coordinate, repair, price, certify, verify.
        gap: Certified.
        mib: Peak memory of the process.
        verify_seconds: Verification alone.
        rivals: Stock solvers run beside it.
        what: What ``tests.benchmarks.clearing_run`` measures.
    """

    name: str
    spec: GridSpec
    seconds: float = 0.0
    gap: float = 0.0
    mib: float = 0.0
    verify_seconds: float = 0.0
    rivals: bool = True
    what: str = "engine"


def _case(spec: GridSpec, seconds: float = 0.0, gap: float = 0.0) -> Case:
    """A case named like its book; large ones and spot are cleared without rivals."""
    rivals = spec not in (SPOT, STANDING, LARGE)
    return Case(name=spec.name, spec=spec, seconds=seconds, gap=gap, rivals=rivals)


SIZES: Final = (
    _case(SMALL, seconds=1.0, gap=1e-4),
    _case(MEDIUM, seconds=3.0, gap=1e-4),
    _case(SPOT, gap=1e-4),
    replace(_case(STANDING, seconds=0.5, gap=1e-4), what="again"),
    *(_case(spec, gap=1e-3) for spec in THIN),
    *(_case(spec) for spec in STRICT),
    replace(_case(LARGE, seconds=60.0, gap=1e-3), mib=2_048, verify_seconds=1.0),
)
TINY_CASE: Final = _case(TINY, seconds=60.0, gap=1.0)


def run(sizes: Sequence[Case]) -> Iterator[Row]:
    """Clear each book, then hand the same program whole to each stock solver."""
    for case in sizes:
        found = measure(case.name, case.what)
        yield from _engine(case, found)
        if case.rivals:
            for solver in Solver:
                reached = measure(case.name, solver.value, str(RIVAL_SECONDS_MAX), str(RIVAL_GAP))
                yield from _rival(case.name, solver, reached, found)


def measure(*arguments: str) -> dict[str, Any]:
    """What ``tests.benchmarks.clearing_run`` answers in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.clearing_run", *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return {"seconds": float(RUN_SECONDS_MAX), "error": "stopped"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {"seconds": 0.0, "error": done.stderr.strip().splitlines()[-1:] or "no answer"}
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _engine(case: Case, found: dict[str, Any]) -> Iterator[Row]:
    name, total = case.name, found["seconds"]
    for phase, printed in NAMES.items():
        seconds = found.get("phases", {}).get(phase)
        if seconds is None:
            continue
        if phase == "VERIFY" and case.verify_seconds:
            yield at_most(name, printed, seconds, "s", goal=case.verify_seconds)
        else:
            share = seconds / total if total else 0.0
            yield Row(
                size=name, phase=printed, value=seconds, unit="s", ratio=share, against="all phases"
            )
    frozen = found.get("sha256", "")
    note = f"book {frozen[:12]}{'' if frozen == case.spec.sha256 else ' (NOT THE FROZEN BOOK)'}"
    if "first_seconds" in found:
        note = f"median of {RUNS - 1} after the first, {found['first_seconds']:.2f} s"
    note += f", {found['error']}" if found.get("error") else f", {found['status']}"
    yield _judged(name, "all phases", total, "s", case.seconds, note)
    if found.get("error"):
        return
    yield Row(size=name, phase="welfare", value=found["welfare_usd"], unit="USD")
    leaves = f"{found['leaves']} leaves" if found["leaves"] else ""
    yield _judged(name, "certified gap", found["gap"], "of gains", case.gap, leaves)
    yield Row(size=name, phase="lost opportunity", value=found["lost_opportunity"], unit="of gains")
    memory = f"{found['idle_mib']} MiB before"
    yield _judged(name, "peak memory", found["peak_mib"], "MiB", case.mib, memory)


def _judged(name: str, phase: str, value: float, unit: str, goal: float, note: str) -> Row:
    if goal:
        return at_most(name, phase, value, unit, goal=goal, note=note)
    return Row(size=name, phase=phase, value=value, unit=unit, note=note)


def _rival(
    name: str, solver: Solver, reached: dict[str, Any], engine: dict[str, Any]
) -> Iterator[Row]:
    phase = f"one MILP, {solver.value}"
    if "ended" not in reached:
        yield Row(size=name, phase=phase, value=reached["seconds"], unit="s", note="no answer")
        return
    gap = "no bound" if reached["gap"] is None else f"own gap {reached['gap']:.1e}"
    yield Row(
        size=name,
        phase=phase,
        value=reached["seconds"],
        unit="s",
        ratio=reached["seconds"] / engine["seconds"] if engine["seconds"] else None,
        against="engine, all phases" if engine["seconds"] else "",
        note=f"{reached['ended']}, {gap}, {reached['columns']:,} columns, "
        f"{reached['peak_mib']} MiB",
    )
    welfare = engine.get("welfare_usd")
    if reached["welfare_usd"] is not None:
        yield Row(
            size=name,
            phase=phase,
            value=reached["welfare_usd"],
            unit="USD",
            ratio=reached["welfare_usd"] / welfare if welfare else None,
            against="engine" if welfare else "",
            note="fractional nodes, no prices, no certificate",
        )


def check_frozen(case: Case) -> bool:
    """Whether a spec still gives the book that was recorded."""
    return digest(generate(case.spec)) == case.spec.sha256


BENCHMARK: Final = Benchmark(
    name="clearing",
    title="frozen grid books; beside them the same program as one MILP, one thread, "
    f"at most {RIVAL_SECONDS_MAX:.0f} s, stopping at a gap of {RIVAL_GAP:g}",
    sizes=SIZES,
    tiny=(TINY_CASE,),
    run=run,
)
