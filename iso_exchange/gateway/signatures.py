"""Signatures are checked in a process of their own: the dearest step of an order, and a pure one.

The worker (``iso_exchange.signature_worker``) reads frames of (key, signature, message)
and answers one byte each. It holds no state and no secret, decides nothing but whether an Ed25519
equation holds, and ends with its pipe. A few signatures are checked on the spot: for them the way
to the worker and back costs more than it saves.

When the worker ends, this part of the exchange ended, and the exchange stops and is started again
as after the end of any other part; calls in flight are answered UNAVAILABLE.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

from iso_exchange.sequencer.sequencer import StoppedError
from iso_exchange.signature_checks import LENGTH, SignatureCheck, frame_of, holds

FEW: Final = 8
"""Up to so many signatures are checked in this process."""


class WorkerEndedError(RuntimeError):
    """The worker is gone: somebody killed it, or the host ran out of memory."""


class SignatureWorker:
    """One worker process; ``start`` it, keep ``run`` running, ``stop`` it."""

    def __init__(self) -> None:
        """Nothing runs before ``start``."""
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: deque[asyncio.Future[list[bool]]] = deque()
        self._ended = ""
        self._checking = 0

    @property
    def checking(self) -> int:
        """Signatures that are with the worker."""
        return self._checking

    async def start(self) -> None:
        """Start the process.

        Raises:
            OSError: it cannot be started.
        """
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iso_exchange.signature_worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    async def check(self, checks: Sequence[SignatureCheck]) -> list[bool]:
        """Whether each signature holds.

        Raises:
            StoppedError: the worker ended.
        """
        if len(checks) <= FEW or self._process is None:
            return [holds(check) for check in checks]
        if self._ended:
            raise StoppedError(self._ended)
        answer: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        writer = self._process.stdin
        assert writer is not None
        writer.write(frame_of(checks))
        self._checking += len(checks)
        try:
            return await answer
        finally:
            self._checking -= len(checks)

    async def run(self) -> None:
        """Hand out answers, for ever.

        Raises:
            WorkerEndedError: whatever ended it.
        """
        assert self._process is not None, "the worker is not started"
        reader = self._process.stdout
        assert reader is not None
        try:
            while True:
                (count,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                found = await reader.readexactly(count)
                answer = self._waiting.popleft()
                if not answer.done():  # its call may have been cancelled
                    answer.set_result([byte == 1 for byte in found])
        except (asyncio.IncompleteReadError, OSError) as error:
            self._ended = "the process that checks signatures ended"
            for answer in self._waiting:
                if not answer.done():
                    answer.set_exception(StoppedError(self._ended))
            raise WorkerEndedError(self._ended) from error

    async def stop(self) -> None:
        """Close the pipe and wait for the process to end."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
