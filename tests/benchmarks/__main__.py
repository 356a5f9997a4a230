"""``python -m tests.benchmarks [name ...] [--json]``: run benchmarks and print their tables."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from iso_exchange.observability import logs
from tests.benchmarks import (
    bench_clearing,
    bench_dispatch,
    bench_ledger,
    bench_orders,
    bench_settlement,
    bench_spot,
    machine,
)
from tests.benchmarks.spec import Benchmark, Row
from tests.benchmarks.table import as_json, as_text

BENCHMARKS: Final[dict[str, Benchmark]] = {
    benchmark.name: benchmark
    for benchmark in (
        bench_clearing.BENCHMARK,
        bench_orders.BENCHMARK,
        bench_settlement.BENCHMARK,
        bench_ledger.BENCHMARK,
        bench_spot.BENCHMARK,
        bench_dispatch.BENCHMARK,
    )
}


def main(arguments: Sequence[str]) -> int:
    """Run what is named, everything when nothing is; tables as they are ready, or one JSON."""
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - BENCHMARKS.keys())
    chosen = _chosen(options.names or list(BENCHMARKS), options.size, slow=options.all)
    if unknown or not chosen:
        parser.error(f"no such benchmark or size: {', '.join(unknown) or options.size}")
    logs.configure("WARNING")
    facts, date = machine.describe(), datetime.now(UTC).date().isoformat()
    if not options.json:
        print(date + "  " + "  ".join(f"{name}: {value}" for name, value in facts.items()))
    results: dict[str, tuple[Row, ...]] = {}
    for name, sizes in chosen.items():
        benchmark = BENCHMARKS[name]
        started = time.perf_counter()
        results[name] = tuple(benchmark.run(sizes))
        if not options.json:
            print(f"\n{as_text(f'{name}: {benchmark.title}', results[name])}")
            print(f"({time.perf_counter() - started:.0f} s in all)", flush=True)
    if options.json:
        print(as_json(facts, date, results))
    return 0


def _chosen(names: Sequence[str], size_name: str, *, slow: bool) -> dict[str, list[Any]]:
    """Sizes to run by benchmark; benchmarks without one are left out."""
    chosen: dict[str, list[Any]] = {}
    for name in names:
        if name in BENCHMARKS:
            sizes = BENCHMARKS[name].sizes
            if slow or size_name:
                sizes += BENCHMARKS[name].slow
            chosen[name] = [size for size in sizes if size_name in ("", size.name)]
    return {name: sizes for name, sizes in chosen.items() if sizes}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    parser.add_argument("--size", default="", help="only the size of this name")
    parser.add_argument("--all", action="store_true", help="sizes that take minutes as well")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
