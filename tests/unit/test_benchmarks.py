"""Every benchmark runs at a tiny size and yields rows of its shape; nothing here is timed."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError

import pytest

from clearing import auction
from clearing.errors import RefusedResultError
from tests.benchmarks import bench_clearing, machine
from tests.benchmarks.__main__ import BENCHMARKS, main
from tests.benchmarks.day_ahead import BookSize, digest, generate
from tests.benchmarks.spec import Row, Stopwatch, Verdict, at_least, at_most, percentile
from tests.benchmarks.table import as_json, as_text

PHASES = {
    "clearing": {"build", "solve", "price", "nodes", "certify", "verify", "total", "welfare"},
    "orders": {"accepted", "acknowledged, p50", "acknowledged, p99", "processor time, server"},
    "settlement": {"read", "meter", "post", "books", "total"},
    "ledger": {"commit", "verify, auditor bundle", "proof, p50", "verified, p50"},
}
COMPARED = {
    "clearing": {"one MILP, HiGHS", "one MILP, SCIP", "solve"},
    "orders": {"accepted", "acknowledged, p99"},
    "settlement": {"total"},
    "ledger": {"verify, auditor bundle", "commit, p50"},
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


@pytest.mark.parametrize(
    "size", [bench_clearing.TINY, *bench_clearing.SIZES], ids=lambda size: size.name
)
def test_books_are_the_recorded_ones(size: BookSize) -> None:
    book = generate(size)
    assert digest(book) == size.sha256, f"{size.name} is now {digest(book)}: record it anew"
    assert len(book.offers) + len(book.step_bids) + len(book.block_bids) == size.orders
    assert any(bid.exclusive_group for bid in book.block_bids)


def test_a_result_that_is_refused_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RefusedResultError("bench", (("STEP_RULE", "a step"),))

    monkeypatch.setattr(auction, "clear", refuse)
    rows = tuple(bench_clearing.run([bench_clearing.TINY]))
    (total,) = (row for row in rows if row.phase == "total")
    assert "NO OUTCOME" in total.note
    assert "STEP_RULE" in total.note
    assert not [row for row in rows if row.phase == "welfare"]
    assert [row for row in rows if row.phase == "one MILP, HiGHS" and row.unit == "USD"]


def test_clearing_says_when_a_book_is_not_the_frozen_one() -> None:
    other = BookSize(name="other", orders=20, pools=4, sites=2, seed=21, sha256="0" * 64)
    (total,) = (row for row in bench_clearing.run([other]) if row.phase == "total")
    assert "NOT THE BOOK THAT WAS FROZEN" in total.note


def test_goals_are_judged_in_their_direction() -> None:
    fast = at_least("s", "p", 6_000.0, "/s", goal=5_000.0)
    slow = at_least("s", "p", 4_000.0, "/s", goal=5_000.0)
    assert (fast.verdict, slow.verdict) == (Verdict.REACHED, Verdict.SHORT)
    assert slow.ratio == pytest.approx(0.8)
    quick = at_most("s", "p", 50.0, "ms", goal=100.0)
    late = at_most("s", "p", 150.0, "ms", goal=100.0)
    assert (quick.verdict, late.verdict) == (Verdict.REACHED, Verdict.SHORT)


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
    assert line.endswith("0.5  goal 5,000 orders/s  SHORT")
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
