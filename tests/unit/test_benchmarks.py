"""Every benchmark runs at a tiny size and yields rows of its shape; nothing here is timed."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import FrozenInstanceError

import pytest

from clearing.types import Cover
from tests.benchmarks import bench_clearing, machine
from tests.benchmarks.__main__ import BENCHMARKS, main
from tests.benchmarks.grid_books import SPECS, digest, generate
from tests.benchmarks.spec import Row, Stopwatch, Verdict, at_least, at_most, percentile
from tests.benchmarks.table import as_json, as_text

PHASES = {
    "clearing": {"read", "price", "whole nodes", "certify", "verify", "all phases", "welfare"},
    "orders": {"accepted", "acknowledged, p50", "acknowledged, p99", "processor time, server"},
    "settlement": {"read", "meter", "post", "books", "total"},
    "ledger": {"commit", "verify, auditor bundle", "proof, p50", "verified, p50"},
    "spot": {"gate: book and root", "clear and verify", "settle interval", "gate to awards"},
    "dispatch": {"first run: plan", "next run: plan", "next run: take"},
}
COMPARED = {
    "clearing": {"one MILP, HiGHS", "one MILP, SCIP", "price"},
    "orders": {"accepted", "acknowledged, p99"},
    "settlement": {"total"},
    "ledger": {"processor time, replay", "commit, p50"},
    "spot": {"clear and verify", "gate to awards"},
    "dispatch": {"first run: in all", "next run: in all"},
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_yields_its_phases(name: str) -> None:
    benchmark = BENCHMARKS[name]
    rows = tuple(benchmark.run(benchmark.tiny))
    assert {row.phase for row in rows} >= PHASES[name]
    assert {row.phase for row in rows if row.ratio is not None} >= COMPARED[name]
    for row in rows:
        assert math.isfinite(row.value)
        assert row.value >= 0
        assert row.size
        assert row.unit
        assert (row.ratio is None) == (row.against == "")
        assert row.verdict is Verdict.NONE or row.against.startswith("goal ")
    assert all(row.value > 0 for row in rows if row.phase in {"accepted", "commit", "welfare"})
    assert len(as_text(benchmark.title, rows).splitlines()) == len(rows) + 2
    document = json.loads(as_json(machine.describe(), "2026-01-01", {name: rows}))
    assert len(document["benchmarks"][name]) == len(rows)


def test_every_benchmark_is_expected_here() -> None:
    assert BENCHMARKS.keys() == PHASES.keys() == COMPARED.keys()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_sizes_are_frozen_and_have_names_of_their_own(name: str) -> None:
    sizes = (*BENCHMARKS[name].sizes, *BENCHMARKS[name].tiny)
    assert len({size.name for size in sizes}) == len(sizes)
    for size in sizes:
        with pytest.raises(FrozenInstanceError):
            size.name = "another"


@pytest.mark.parametrize("name", ["tiny", "small", "thin 8", "thin 60", "strict 20"])
def test_books_are_the_recorded_ones(name: str) -> None:
    spec = SPECS[name]
    book = generate(spec)
    assert digest(book) == spec.sha256, f"{name} is now {digest(book)}: record it anew"
    assert len(book.block_bids) == spec.gangs
    assert any(bid.cover is Cover.NODE for bid in book.step_bids)


def test_every_frozen_book_has_a_digest_of_its_own() -> None:
    digests = [spec.sha256 for spec in SPECS.values() if not spec.name.startswith("growth")]
    assert all(len(found) == 64 for found in digests)
    assert len(set(digests)) == len(digests)


def test_a_result_that_is_refused_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> dict[str, object]:
        return {"seconds": 1.0, "phases": {"READ": 1.0}, "error": "STEP_RULE: a step"}

    monkeypatch.setattr(bench_clearing, "measure", refuse)
    case = dataclasses.replace(bench_clearing.TINY_CASE, rivals=False)
    rows = tuple(bench_clearing.run([case]))
    (total,) = (row for row in rows if row.phase == "all phases")
    assert "STEP_RULE" in total.note
    assert "NOT THE FROZEN BOOK" in total.note
    assert not [row for row in rows if row.phase == "welfare"]


def test_goals_are_judged_in_their_direction() -> None:
    fast = at_least("s", "p", 6_000.0, "/s", goal=5_000.0)
    slow = at_least("s", "p", 4_000.0, "/s", goal=5_000.0)
    assert (fast.verdict, slow.verdict) == (Verdict.PASS, Verdict.MISS)
    assert slow.ratio == pytest.approx(0.8)
    quick = at_most("s", "p", 50.0, "ms", goal=100.0)
    late = at_most("s", "p", 150.0, "ms", goal=100.0)
    assert (quick.verdict, late.verdict) == (Verdict.PASS, Verdict.MISS)


def test_stopwatch_counts_a_phase_inside_another_once() -> None:
    watch = Stopwatch()
    inner = watch.wrap("inner", lambda value: value + 1)
    with watch.phase("outer"):
        assert inner(1) == 2
    assert set(watch.seconds) == {"inner", "outer"}
    assert all(seconds >= 0 for seconds in watch.seconds.values())


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_percentile_is_nearest_rank(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_table_has_verdict_and_ratio() -> None:
    row = at_least("large", "accepted", 2_500.0, "orders/s", goal=5_000.0)
    line = as_text("title", [row]).splitlines()[2]
    assert line.endswith("0.5  goal 5,000 orders/s  MISS")
    assert line.startswith("large  accepted  2,500  orders/s")


def test_machine_is_described() -> None:
    facts = machine.describe()
    assert facts["processor"]
    assert int(facts["cores"]) >= 1


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nothing"], ["settlement", "--size", "nothing"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "no such benchmark or size: nothing" in capsys.readouterr().err


def test_row_without_comparison_has_an_empty_cell() -> None:
    row = Row(size="s", phase="p", value=1.0, unit="s")
    assert as_text("title", [row]).splitlines()[2].split() == ["s", "p", "1", "s"]
