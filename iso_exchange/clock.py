"""Clocks: the only source of time, injected everywhere.

A real exchange runs on the system clock. A demo or a replay runs on a simulated one that
only moves when it is told to, so that a market day takes seconds and is repeatable.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

MICROSECONDS = 1_000_000


class Clock(Protocol):
    """Time in microseconds since the epoch."""

    def now_us(self) -> int:
        """Current time; never falls."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return after at most this many seconds of real time, or when time moved."""
        ...


class SystemClock:
    """Wall clock that never goes back, even when the host's does."""

    def __init__(self) -> None:
        """Start at the host's time."""
        self._last_us = 0

    def now_us(self) -> int:
        """Host time, held where it would fall."""
        self._last_us = max(self._last_us, time.time_ns() // 1_000)
        return self._last_us

    async def wait(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)


class SimulatedClock:
    """Time that moves only by ``advance``."""

    def __init__(self, start_us: int) -> None:
        """Start at a given time, microseconds since the epoch."""
        self._now_us = start_us
        self._moved = asyncio.Event()

    def now_us(self) -> int:
        """Simulated time."""
        return self._now_us

    def advance(self, to_us: int) -> int:
        """Move forward to ``to_us``; a time already passed changes nothing. Returns the time."""
        if to_us > self._now_us:
            self._now_us = to_us
            self._moved.set()
        return self._now_us

    async def wait(self, seconds: float) -> None:
        """Return when time moved, or after ``seconds`` of real time."""
        try:
            await asyncio.wait_for(self._moved.wait(), seconds)
        except TimeoutError:
            return
        self._moved.clear()
