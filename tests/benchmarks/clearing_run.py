"""One measured run in a process of its own: ``python -m tests.benchmarks.clearing_run NAME WHAT``.

``WHAT`` is ``engine``, ``again`` (runs of a spot market that follow one another in one session, the
one of median time of all but the first), or a stock solver that gets the same model whole. One
JSON line with processor seconds by phase, welfare, gap and the peak memory of the process; a
process of its own because peak memory never falls.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from operator import itemgetter
from typing import Any, Final

from clearing import clear, codec
from clearing.book import canonical
from clearing.errors import BookError, RefusedResultError, SolverError
from clearing.model import build
from clearing.outcome import Outcome
from clearing.reading import read_market
from clearing.search.coordinate.warming import warm
from clearing.session import Session
from clearing.types import Book
from tests.benchmarks.grid_books import SPECS, TIE_SEED, TINY, GridSpec, generate
from tests.benchmarks.one_milp import Solver, solve
from tests.benchmarks.spot_runs import first_book, next_book

PRICE_SECONDS_PER_USD: Final = 3_600 * 1_000_000

RUNS: Final = 6
"""Runs of a spot market in a row; the first knows nothing of any other."""


class PhaseClock:
    """Processor seconds of this process by phase; each call ends the phase before it."""

    def __init__(self) -> None:
        """Start counting now, before any phase."""
        self.seconds: dict[str, float] = {}
        self._name = "other"
        self._since = time.process_time()

    def __call__(self, name: str) -> None:
        """Begin a phase."""
        now = time.process_time()
        self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now


def run_engine(spec: GridSpec) -> dict[str, Any]:
    """Clear a book; what is generated or compiled beforehand is not counted."""
    book = generate(spec)
    _warm()
    return _measured(book, None)[0]


def run_again(spec: GridSpec) -> dict[str, Any]:
    """Clear one run of a spot market after the other in one session: the median of all but one."""
    book = first_book(spec)
    _warm()
    session = Session(warm=True)
    found, outcome = _measured(book, session)
    first = {"first_seconds": found["seconds"]}
    later: list[dict[str, Any]] = []
    for number in range(1, RUNS):
        if outcome is None:
            return found | first
        book = next_book(book, outcome, number)
        found, outcome = _measured(book, session)
        later.append(found)
    if outcome is None:
        return found | first
    gap = max(run["gap"] for run in later)
    return sorted(later, key=itemgetter("seconds"))[len(later) // 2] | first | {"gap": gap}


def _measured(book: Book, session: Session | None) -> tuple[dict[str, Any], Outcome | None]:
    idle_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock = PhaseClock()
    error = ""
    outcome = None
    started = time.process_time()
    try:
        outcome = clear(book, TIE_SEED, phase=clock, session=session)
    except (BookError, SolverError, RefusedResultError) as refused:
        error = f"{type(refused).__name__}: {refused}"[:300]
    seconds = time.process_time() - started
    clock("end")
    found: dict[str, Any] = {
        "seconds": seconds,
        "phases": clock.seconds,
        "error": error,
        "sha256": codec.digest(canonical(book)),
        "idle_mib": idle_kib // 1_024,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024,
    }
    if outcome is not None:
        certificate = outcome.certificate
        gains = max(1, certificate.gains)
        found |= {
            "status": outcome.status.value,
            "welfare_usd": certificate.welfare / PRICE_SECONDS_PER_USD,
            "gap": certificate.gap_ppb / 1e9,
            "lost_opportunity": certificate.lost_opportunity / gains,
            "leaves": len(certificate.leaves),
            "make_whole_usd": outcome.cash.make_whole / 1e6,
        }
    return found, outcome


def _warm() -> None:
    """Compile and load everything that the first auction of a process would wait for."""
    warm()
    clear(generate(TINY), TIE_SEED)


def run_rival(spec: GridSpec, solver: Solver, seconds_max: float, gap: float) -> dict[str, Any]:
    """Hand the whole model to a stock solver; reading and building the model are not counted."""
    book = canonical(generate(spec))
    program = build(read_market(book), book, TIE_SEED).program
    reached = solve(program, solver, seconds_max=seconds_max, relative_gap=gap)
    return {
        "seconds": reached.seconds,
        "columns": int(program.objective.size),
        "rows": int(program.row_lower.size),
        "welfare_usd": None
        if reached.welfare_usd is None
        else reached.welfare_usd * spec.duration_s / 3_600,
        "gap": reached.gap,
        "ended": reached.ended,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024,
    }


def main(arguments: list[str]) -> int:
    """Run one measure and print it."""
    name, what, *rest = arguments
    spec = SPECS[name]
    if what == "engine":
        found = run_engine(spec)
    elif what == "again":
        found = run_again(spec)
    else:
        found = run_rival(spec, Solver(what), float(rest[0]), float(rest[1]))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
