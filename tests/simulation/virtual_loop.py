"""An event loop without real time and without threads: one seed gives one history."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeping takes no time: where nothing is ready, the clock jumps to what is next."""

    def __init__(self) -> None:
        """Time begins at zero."""
        self._virtual_s = 0.0
        super().__init__(_VirtualSelector(self))
        self.set_default_executor(_Inline())

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._virtual_s

    def set_default_executor(self, executor: Executor) -> None:
        """Any executor, not only one with threads."""
        self._default_executor = executor

    def skip(self, seconds: float) -> None:
        """Let time pass."""
        self._virtual_s += seconds


class _VirtualSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            message = "everything waits and nothing will ever happen"
            raise RuntimeError(message)
        if not ready and timeout:
            self._loop.skip(timeout)
        return ready


class _Inline(Executor):
    """Runs at once, where it is asked."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed on, as every executor does
            future.set_exception(error)
        return future


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on a virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
