"""``clearing``: generated day-ahead books through the engine, and beside it one big MILP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Final
from unittest.mock import patch

from clearing import auction
from clearing.book import canonical
from clearing.errors import RefusedResultError, SolverError
from clearing.market import read_market
from clearing.model import build
from clearing.outcome import Outcome
from clearing.types import Book
from tests.benchmarks.day_ahead import TIE_SEED, BookSize, digest, generate
from tests.benchmarks.one_milp import Reached, Solver, solve
from tests.benchmarks.spec import Benchmark, Row, Stopwatch

RIVAL_SECONDS_MAX: Final = 10.0
RIVAL_GAP: Final = 3.5e-4
"""Relative gap that the engine itself searches for in books of more than 150 alternatives."""
PRICE_SECONDS_PER_USD: Final = 3_600 * 1_000_000

PHASES: Final = {
    "round_prices": "price",
    "supported": "nodes",
    "validate": "build",
    "read_market": "build",
    "build": "build",
    "choose": "solve",
    "settle": "price",
    "choose_prices": "price",
    "publish": "price",
    "award_nodes": "nodes",
    "_complete": "certify",
    "verify": "verify",
}
"""Function of ``clearing.auction`` to the phase that its time belongs to."""

SIZES: Final = (
    BookSize(
        name="50 orders",
        orders=50,
        pools=6,
        sites=3,
        seed=50,
        sha256="cfef3778766c98e8d6effcb17957d15c020cd1b07d9802a47a1a363d29b4c93f",
    ),
    BookSize(
        name="200 orders",
        orders=200,
        pools=8,
        sites=4,
        seed=200,
        sha256="e19e1209a94b221dec8c73ffb249a43bd769249edb0c9a66c42dbea5b0d0a305",
    ),
    BookSize(
        name="500 orders",
        orders=500,
        pools=12,
        sites=4,
        seed=500,
        sha256="a857ba48b483e5c9db493b190c7dd37fe68332379c90133e7011327ba1fc8cca",
    ),
)
TINY: Final = BookSize(
    name="20 orders",
    orders=20,
    pools=4,
    sites=2,
    seed=20,
    sha256="5aa2fe00e0e3c0c014d67eb4ee069548b23c1fd71509dd68570d6f484e40cf3b",
)


def run(sizes: Sequence[BookSize], rival_seconds_max: float = RIVAL_SECONDS_MAX) -> Iterator[Row]:
    """Clear each book, then hand the same program whole to each stock solver."""
    for size in sizes:
        book = generate(size)
        found = digest(book)
        watch = Stopwatch()
        outcome: Outcome | None = None
        try:
            outcome = clear_timed(book, watch)
            status = outcome.status.value
        except (SolverError, RefusedResultError) as error:
            status = f"NO OUTCOME: {error}"
        total = sum(watch.seconds.values())
        for phase, seconds in watch.seconds.items():
            yield Row(
                size=size.name,
                phase=phase,
                value=seconds,
                unit="s",
                ratio=seconds / total,
                against="total",
            )
        frozen = "" if found == size.sha256 else ", NOT THE BOOK THAT WAS FROZEN"
        note = f"book {found[:12]}{frozen}, {status}"
        yield Row(size=size.name, phase="total", value=total, unit="s", note=note)
        welfare: float | None = None
        if outcome is not None:
            certificate = outcome.certificate
            welfare = certificate.welfare / PRICE_SECONDS_PER_USD
            yield Row(size=size.name, phase="welfare", value=welfare, unit="USD")
            gap = certificate.gap_ppb / 1e9
            yield Row(size=size.name, phase="certified gap", value=gap, unit="of gains")
        program = build(read_market(canonical(book), TIE_SEED), book.spec, TIE_SEED).program
        for solver in Solver:
            reached = solve(program, solver, seconds_max=rival_seconds_max, relative_gap=RIVAL_GAP)
            yield from _rival(size.name, solver, reached, total=total, welfare=welfare)


def clear_timed(book: Book, watch: Stopwatch) -> Outcome:
    """``clear``, with the time of the functions that it calls added to a watch.

    A function that the engine no longer has is left out; its time then counts as ``other``.
    """
    with ExitStack() as stack:
        for name, phase in PHASES.items():
            function = getattr(auction, name, None)
            if function is not None:
                stack.enter_context(patch.object(auction, name, watch.wrap(phase, function)))
        with watch.phase("other"):
            return auction.clear(book, TIE_SEED)


def _rival(
    size: str, solver: Solver, reached: Reached, *, total: float, welfare: float | None
) -> Iterator[Row]:
    gap = "no bound" if reached.gap is None else f"own gap {reached.gap:.1e}"
    yield Row(
        size=size,
        phase=f"one MILP, {solver.value}",
        value=reached.seconds,
        unit="s",
        ratio=reached.seconds / total,
        against="engine, all phases",
        note=f"{reached.ended}, {gap}",
    )
    if reached.welfare_usd is not None:
        yield Row(
            size=size,
            phase=f"one MILP, {solver.value}",
            value=reached.welfare_usd,
            unit="USD",
            ratio=None if welfare is None else reached.welfare_usd / welfare,
            against="" if welfare is None else "engine",
            note="fractional nodes, no prices, no certificate",
        )


BENCHMARK: Final = Benchmark(
    name="clearing",
    title="generated day-ahead books, 24 h; beside it the same program as one MILP, one thread, "
    f"at most {RIVAL_SECONDS_MAX:.0f} s, stopping at a gap of {RIVAL_GAP:g}",
    sizes=SIZES,
    tiny=(TINY,),
    run=run,
)
