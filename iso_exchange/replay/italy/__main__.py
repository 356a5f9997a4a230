"""``python -m iso_exchange.replay.italy DIR``: clear every day of an Italian book, and compare.

Each day is cleared twice: with the accepted blocks folded into the curves (``replayed``), and with
the blocks decided here (``blind``, STRICT_UNIFORM as the market's rule allows no loss).
Exit status 1 when a price or a block decision differs, or when days take longer than their reach on
average. Flows between zones of one price are not determined by prices and are only counted.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from clearing import clear
from clearing.errors import BookError, RefusedResultError, SolverError
from clearing.types import Book
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.italy.book import TIE_SEED, book_of
from iso_exchange.replay.italy.compare import ACCEPTED, PARADOXICAL, REJECTED, Comparison, compare
from iso_exchange.replay.italy.data import Day, read_days

REPLAYED_S: Final = 0.4
BLIND_S: Final = 1.0
"""Reach for build + solve + price of a day, mean over the days."""

BUILD: Final = ("book", "READ")
SOLVE: Final = ("CHOOSE", "SETTLE", "PRICE", "NODES")
SHOWN: Final = 20
PLAIN_WIDTH: Final = 160


class PhaseClock:
    """Seconds by phase of ``clear``: each call ends the phase before it."""

    def __init__(self) -> None:
        """Start counting now."""
        self.seconds: dict[str, float] = {}
        self._name = "other"
        self._since = time.perf_counter()

    def __call__(self, name: str) -> None:
        """Begin a phase."""
        now = time.perf_counter()
        self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One day cleared once; ``error`` instead of a comparison when it was not."""

    day: str
    blind: bool
    seconds: dict[str, float]
    comparison: Comparison | None
    error: str

    @property
    def counted_s(self) -> float:
        """Build + solve + price."""
        return sum(self.seconds.get(name, 0.0) for name in (*BUILD, *SOLVE))


def run_day(day: Day, *, blind: bool) -> Run:
    """Clear one day and compare it."""
    clock = PhaseClock()
    clock("book")
    book: Book = book_of(day, blind=blind)
    try:
        outcome = clear(book, TIE_SEED, phase=clock)
    except (BookError, SolverError, RefusedResultError) as error:
        clock("end")
        return _run(day, clock, None, str(error), blind=blind)
    clock("end")
    return _run(day, clock, compare(day, outcome, blind=blind), "", blind=blind)


def _run(day: Day, clock: PhaseClock, found: Comparison | None, error: str, *, blind: bool) -> Run:
    return Run(day=day.day, blind=blind, seconds=clock.seconds, comparison=found, error=error)


def reached(runs: Sequence[Run]) -> bool:
    """Whether every reach was met."""
    alike = all(
        run.comparison is not None
        and not run.comparison.price_misses
        and run.comparison.blocks[ACCEPTED][0] == run.comparison.blocks[ACCEPTED][1]
        and run.comparison.blocks[REJECTED][0] == run.comparison.blocks[REJECTED][1]
        for run in runs
    )
    return alike and all(
        mean_s(runs, blind=blind) <= (BLIND_S if blind else REPLAYED_S) for blind in (False, True)
    )


def mean_s(runs: Sequence[Run], *, blind: bool) -> float:
    """Counted seconds of a day, mean; 0 without runs."""
    counted = [run.counted_s for run in runs if run.blind is blind]
    return sum(counted) / max(1, len(counted))


def main(arguments: Sequence[str]) -> int:
    """Run the replay; 0 when every reach is met."""
    parser = argparse.ArgumentParser(
        prog="python -m iso_exchange.replay.italy", description=__doc__
    )
    parser.add_argument("data", type=Path, help="directory in the format of italy_mgp")
    parser.add_argument("--days", type=int, default=0, help="only the first so many days")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON document")
    options = parser.parse_args(arguments)
    console = Console(stderr=options.as_json, highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    started = time.perf_counter()
    try:
        days = read_days(options.data)
    except DataError as error:
        console.print(f"[red]Cannot read the data:[/red] {error}")
        return 2
    read_s = (time.perf_counter() - started) / len(days)
    days = days[: options.days] if options.days else days
    # What was read stays; collecting it again and again is no part of a clearing.
    gc.collect()
    gc.freeze()
    # The first clearing loads the solver library; it is not part of any day.
    run_day(days[0], blind=False)
    runs = [run_day(day, blind=blind) for blind in (False, True) for day in days]
    ok = reached(runs)
    if options.as_json:
        print(
            json.dumps({"reached": ok, "read_s_per_day": read_s, "runs": [asdict(r) for r in runs]})
        )
    else:
        _print(console, runs, read_s)
        console.print("Every reach is met." if ok else "A reach is missed (see above).")
    return 0 if ok else 1


def _print(console: Console, runs: Sequence[Run], read_s: float) -> None:
    table = Table(title="Italian day-ahead market, cleared and as published", header_style="bold")
    for name in ("day", "blocks"):
        table.add_column(name)
    for name in (
        *("prices equal", "ACC", "REJ", "PREJ", "flows equal", "welfare EUR"),
        *("build s", "solve s", "price s", "verify s", "counted s"),
    ):
        table.add_column(name, justify="right")
    for run in runs:
        table.add_row(*_cells(run))
    console.print(table)
    console.print(f"Reading the files took {read_s:.2f} s a day (not counted).")
    for blind in (False, True):
        found = [run.comparison for run in runs if run.blind is blind and run.comparison]
        prices, equal = sum(c.prices for c in found), sum(c.prices_equal for c in found)
        worst = max(run.counted_s for run in runs if run.blind is blind)
        reach, mean = BLIND_S if blind else REPLAYED_S, mean_s(runs, blind=blind)
        console.print(
            f"{'Blind' if blind else 'Replayed'}: {equal:,} of {prices:,} prices equal; "
            f"{mean:.2f} s a day (reach {reach} s: {'PASS' if mean <= reach else 'MISS'}), "
            f"worst {worst:.2f} s."
        )
    for run in runs:
        if run.error:
            console.print(f"{run.day} {'blind' if run.blind else 'replayed'}: {run.error}")
        elif run.comparison:
            _print_misses(console, run.comparison)


def _print_misses(console: Console, found: Comparison) -> None:
    for miss in found.price_misses[:SHOWN]:
        console.print(
            f"{found.day} {miss.zone} hour {miss.hour + 1}: cleared {miss.cleared:.2f}, "
            f"published {miss.published:.2f} EUR/MWh"
        )
    for block in found.block_misses:
        console.print(
            f"{found.day} {block.block_id}: published {block.published}, here "
            f"{'accepted' if block.accepted else 'rejected'}; surplus at published prices "
            f"{block.surplus_eur:,.2f} EUR"
        )


def _cells(run: Run) -> tuple[str, ...]:
    seconds = [run.seconds.get(name, 0.0) for name in ("PRICE", "VERIFY")]
    build = sum(run.seconds.get(name, 0.0) for name in BUILD)
    solve = sum(run.seconds.get(name, 0.0) for name in SOLVE if name != "PRICE")
    found = run.comparison
    times = (*(f"{s:.2f}" for s in (build, solve, *seconds)), f"{run.counted_s:.2f}")
    if found is None:
        return (run.day, "blind" if run.blind else "folded", *("-" * 6), *times)
    decided = [
        "/".join(str(count) for count in reversed(found.blocks[status])) if run.blind else ""
        for status in (ACCEPTED, REJECTED, PARADOXICAL)
    ]
    return (
        run.day,
        "blind" if run.blind else "folded",
        f"{found.prices_equal}/{found.prices}",
        *decided,
        f"{found.flows_equal}/{found.flows}",
        f"{found.welfare_eur:,.0f}",
        *times,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
