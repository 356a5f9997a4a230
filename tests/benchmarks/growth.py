"""``python -m tests.benchmarks.growth [--out DIR]``: how time and memory grow, one axis at a time.

Starting from a book of 1,000 gangs and 10,000 bid steps, the number of orders, of pools, or of
intervals is multiplied while the rest stays. Prints a table with the exponent of each step (1 is
linear) and draws it (SVG, with matplotlib).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_clearing import measure
from tests.benchmarks.grid_books import FACTORS, GROWTH


def main(arguments: Sequence[str]) -> int:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.growth", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("var/growth"), help="folder of the plot")
    options = parser.parse_args(arguments)
    found: dict[str, list[dict[str, Any]]] = {}
    print(f"{'axis':<12}{'factor':>7}{'seconds':>9}{'peak MiB':>10}{'gap':>10}{'exponent':>10}")
    for axis, specs in GROWTH.items():
        rows = found.setdefault(axis, [])
        for factor, spec in zip(FACTORS, specs, strict=True):
            answer = measure(spec.name, "engine")
            rows.append({"factor": factor, **answer})
            print(_line(axis, rows), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    _draw(found, options.out / "growth.svg")
    print(f"Plot: {options.out / 'growth.svg'}")
    return 0


def _line(axis: str, rows: list[dict[str, Any]]) -> str:
    row = rows[-1]
    exponent = ""
    if len(rows) > 1 and row["seconds"] and rows[-2]["seconds"]:
        ratio = math.log(row["seconds"] / rows[-2]["seconds"])
        exponent = f"{ratio / math.log(row['factor'] / rows[-2]['factor']):.2f}"
    gap = row.get("gap")
    shown = "-" if gap is None else f"{gap:.1e}"
    memory = row.get("peak_mib", 0)
    return (
        f"{axis:<12}{row['factor']:>7}{row['seconds']:>9.2f}{memory:>10}{shown:>10}{exponent:>10}"
    )


def _draw(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
    for axis, rows in found.items():
        factors = [row["factor"] for row in rows]
        left.plot(factors, [row["seconds"] for row in rows], marker="o", label=axis)
        right.plot(factors, [row.get("peak_mib", 0) for row in rows], marker="o", label=axis)
    base = [found["orders"][0]["seconds"] * factor for factor in FACTORS]
    left.plot(FACTORS, base, linestyle=":", color="grey", label="linear")
    for side, title in ((left, "seconds"), (right, "peak memory, MiB")):
        side.set_xscale("log", base=2)
        side.set_yscale("log", base=2)
        side.set_xlabel("factor")
        side.set_title(title)
        side.legend()
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
