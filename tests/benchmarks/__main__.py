"""``python -m tests.benchmarks [name ...] [--json]``: run benchmarks and print their tables."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from tests.benchmarks import bench_clearing, bench_ledger, bench_orders, bench_settlement, machine
from tests.benchmarks.spec import Benchmark, Row
from tests.benchmarks.table import as_json, as_text

BENCHMARKS: Final[dict[str, Benchmark]] = {
    benchmark.name: benchmark
    for benchmark in (
        bench_clearing.BENCHMARK,
        bench_orders.BENCHMARK,
        bench_settlement.BENCHMARK,
        bench_ledger.BENCHMARK,
    )
}


def main(arguments: Sequence[str]) -> int:
    """Run what is named, everything when nothing is; tables as they are ready, or one JSON."""
    options = _parser().parse_args(arguments)
    facts, date = machine.describe(), datetime.now(UTC).date().isoformat()
    if not options.json:
        print(date + "  " + "  ".join(f"{name}: {value}" for name, value in facts.items()))
    results: dict[str, tuple[Row, ...]] = {}
    for name in dict.fromkeys(options.names or BENCHMARKS):
        benchmark = BENCHMARKS[name]
        sizes = [size for size in benchmark.sizes if options.size in ("", size.name)]
        started = time.perf_counter()
        results[name] = tuple(benchmark.run(sizes))
        if not options.json:
            print(f"\n{as_text(f'{name}: {benchmark.title}', results[name])}")
            print(f"({time.perf_counter() - started:.0f} s in all)", flush=True)
    if options.json:
        print(as_json(facts, date, results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="name")
    parser.add_argument("--size", default="", help="only the size of this name")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
