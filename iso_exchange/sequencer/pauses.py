"""Keeping the cyclic garbage collector's pauses short while the state grows.

Everything that the state machine keeps (orders, holds, contracts) stays for good and is in no
cycle, yet each full collection would walk all of it: a tenth of a second with a few ten thousand
orders, and longer with every one. So after every few thousand entries what survived is moved out
of the collector's sight (``gc.freeze``), right after it collected what is garbage by then.

A call that is in flight at that moment may be frozen with a cycle of its own and is then never
freed: at most a few hundred bytes per entry of the log, far less than the entry itself keeps.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ENTRY_COUNT: Final = 2_000
"""Entries between two collections: about a hundred thousand objects, ten milliseconds."""


class Pauses:
    """Collects and freezes by the number of entries applied."""

    def __init__(self) -> None:
        """Nothing was applied yet."""
        self._entries = 0

    @contextmanager
    def none(self) -> Iterator[None]:
        """No collection inside this block."""
        wanted = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if wanted:
                gc.enable()

    def after(self, entries: int) -> None:
        """Entries were applied and answered; collect and freeze when there were enough."""
        self._entries += entries
        if self._entries >= ENTRY_COUNT:
            self.now()

    def now(self) -> None:
        """Collect garbage and take everything else out of sight."""
        self._entries = 0
        gc.collect()
        gc.freeze()
