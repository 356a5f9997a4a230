"""What a benchmark is: a frozen spec with sizes, each run yielding rows of measured phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Verdict(Enum):
    """A measure beside a number to reach."""

    NONE = ""
    PASS = "PASS"
    MISS = "MISS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured phase.

    Attributes:
        size: Name of the size.
        phase: What was measured.
        value: Measured, in ``unit``.
        ratio: Side by side in the same run: see ``against``; None where nothing is compared.
        against: What the ratio divides by.
        note: Anything a reader needs in order not to misread the value.
    """

    size: str
    phase: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    verdict: Verdict = Verdict.NONE
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A named benchmark.

    Attributes:
        title: One line above its table.
        sizes: Frozen values with a ``name``, in the order of their runs.
        tiny: Sizes for the smoke test.
        run: Sizes to rows.
        slow: Sizes that run only when they are asked for, after the others.
    """

    name: str
    title: str
    sizes: tuple[Any, ...]
    tiny: tuple[Any, ...]
    run: Callable[[Sequence[Any]], Iterator[Row]]
    slow: tuple[Any, ...] = ()


def at_least(size: str, phase: str, value: float, unit: str, *, goal: float, note: str = "") -> Row:
    """Row of a measure that should be large; the ratio is measured over goal."""
    return Row(
        size=size,
        phase=phase,
        value=value,
        unit=unit,
        ratio=value / goal,
        against=f"goal {goal:,g} {unit}",
        verdict=Verdict.PASS if value >= goal else Verdict.MISS,
        note=note,
    )


def at_most(size: str, phase: str, value: float, unit: str, *, goal: float, note: str = "") -> Row:
    """Row of a measure that should be small; the ratio is measured over goal."""
    return Row(
        size=size,
        phase=phase,
        value=value,
        unit=unit,
        ratio=value / goal,
        against=f"goal {goal:,g} {unit}",
        verdict=Verdict.PASS if value <= goal else Verdict.MISS,
        note=note,
    )


class Stopwatch:
    """Wall seconds by phase; a phase inside another is not counted twice."""

    def __init__(self) -> None:
        """Nothing is measured yet."""
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of a block to a phase, without the phases inside it."""
        self._inner.append(0.0)
        started = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            own = elapsed - self._inner.pop()
            self.seconds[name] = self.seconds.get(name, 0.0) + own
            if self._inner:
                self._inner[-1] += elapsed

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that adds its time to a phase."""

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.phase(name):
                return function(*arguments, **named)

        return timed


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile.

    Example:
        >>> percentile([3.0, 1.0, 2.0], 0.5)
        2.0
    """
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[min(len(ordered), max(1, rank)) - 1]
