"""The sequencer and the publisher, each as a process that can be killed at any moment.

A part is forked from a process that has imported everything, so that a thousand of them take
minutes. It runs what the exchange runs; only its wire is a pipe of JSON lines.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import random
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import structlog

from iso_exchange.authority import authorise
from iso_exchange.clock import MICROSECONDS, SimulatedClock
from iso_exchange.publisher.publisher import Publisher
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.sequencer import Sequencer, StoppedError, Submission
from iso_exchange.storage.postgres import PostgresStore
from settlement.storage.store import Commit, StoreError
from tests.integration.market_day import MORNING, ORIGIN, key_of

READY: Final = {"ready": True}
EXIT_STOPPED: Final = 3
PATIENCE_SECONDS: Final = 60.0
LINE_BYTES_MAX: Final = 1 << 20
LOG_KEY: Final = key_of("log")

Line = dict[str, Any]


class Part:
    """A forked process and the lines that it sends."""

    def __init__(self, pid: int, wire: socket.socket) -> None:
        """Parent's side."""
        self.pid = pid
        self.status: int | None = None
        self.wire = wire
        self._rest = b""

    def send(self, line: Line) -> None:
        """Hand it a line; one that is gone reads nothing any more."""
        try:
            self.wire.sendall(json.dumps(line).encode() + b"\n")
        except OSError:
            return

    def lines(self, seconds: float) -> Iterator[Line]:
        """What it says within a time; ends early when it is gone."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.wire], [], [], left)[0]:
                return
            try:
                data = self.wire.recv(LINE_BYTES_MAX)
            except ConnectionResetError:
                return
            if not data:
                return
            *whole, self._rest = (self._rest + data).split(b"\n")
            yield from map(json.loads, whole)

    def await_ready(self) -> bool:
        """Whether it started; False when it ended instead."""
        return any(line == READY for line in self._until(lambda line: line == READY))

    def _until(self, last: Callable[[Line], bool]) -> Iterator[Line]:
        for line in self.lines(PATIENCE_SECONDS):
            yield line
            if last(line):
                return

    def kill(self) -> None:
        """SIGKILL; what it said before is still read."""
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
            _, self.status = os.waitpid(self.pid, 0)

    def alive(self) -> bool:
        """Whether it still runs."""
        if self.status is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if found else None
        return self.status is None

    def wait(self) -> int:
        """Exit code of a part that ends by itself."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.alive():
            assert time.monotonic() < deadline, f"process {self.pid} does not end by itself"
            time.sleep(0.001)
        assert self.status is not None
        return os.waitstatus_to_exitcode(self.status)

    def close(self) -> None:
        """Release the wire."""
        self.wire.close()


def fork(body: Callable[[socket.socket], Coroutine[Any, Any, None]]) -> Part:
    """A process that runs a coroutine; it exits with 3 when the store or the sequencer stopped."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        theirs.close()
        return Part(pid, ours)
    code = 1
    try:
        ours.close()
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
        logging.disable()  # lost connections are the point
        asyncio.run(body(theirs))
        code = 0
    except (StoppedError, StoreError, OSError):
        code = EXIT_STOPPED
    except BaseException:  # noqa: BLE001 - a fork must never return into its parent's code
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


class HastyStore(PostgresStore):
    """A store that promises before it writes: what the torture must find out."""

    async def commit(self, batch: Commit) -> None:
        """Return at once, write soon."""
        asyncio.get_running_loop().call_later(0.02, self._later, batch)

    def _later(self, batch: Commit) -> None:
        self._task = asyncio.ensure_future(super().commit(batch))


def sequencer(
    url: str, *, hasty: bool = False
) -> Callable[[socket.socket], Coroutine[Any, Any, None]]:
    """Body of the sequencer's process: envelopes come in, receipts go out after the commit."""

    async def run(wire: socket.socket) -> None:
        kind = HastyStore if hasty else PostgresStore
        store = await kind.open(url, application_name="torture sequencer")
        part = Sequencer(
            store=store,
            clock=SimulatedClock(MORNING * MICROSECONDS),
            origin=ORIGIN,
            log_key=LOG_KEY,
            new_salt=secrets.token_bytes,
            code_version="torture",
        )
        await part.start()
        reader, writer = await asyncio.open_connection(sock=wire)
        running = asyncio.create_task(part.run())
        serving = asyncio.create_task(serve(part, reader, writer))
        await asyncio.wait({running, serving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, serving):
            if task.done():
                task.result()
        await store.close()

    return run


async def serve(
    part: Sequencer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer each line; several are under way at a time."""

    async def answer(line: Line) -> None:
        data = base64.b64decode(line["envelope"])
        authorised = authorise(part.state, data)
        result = authorised if isinstance(authorised, Rejected) else None
        if not isinstance(authorised, Rejected):
            try:
                given = await part.submit(
                    Submission(
                        command=authorised.command,
                        envelope=data,
                        body_sha256=authorised.body_sha256,
                    )
                )
            except StoppedError:
                return  # the sequencer's own task says why; nothing is answered
            if not isinstance(given, Rejected):
                receipt = {"index": given.entry_index, "leaf_hash": given.leaf_hash.hex()}
                writer.write(json.dumps({"n": line["n"], **receipt}).encode() + b"\n")
                return
            result = given
        assert result is not None
        writer.write(json.dumps({"n": line["n"], "refused": result.code.value}).encode() + b"\n")

    writer.write(json.dumps(READY).encode() + b"\n")
    async with asyncio.TaskGroup() as group:
        while data := await reader.readline():
            group.create_task(answer(json.loads(data)))


def publisher(url: str, directory: Path, seed: str) -> Callable[..., Coroutine[Any, Any, None]]:
    """Body of the publisher's process: publishes as often as it can, with short breaths."""

    async def run(wire: socket.socket) -> None:
        chance = random.Random(seed)
        store = await PostgresStore.open(url, application_name="torture publisher")
        part = Publisher(store=store, origin=ORIGIN, key=LOG_KEY, directory=directory)
        await part.start()
        wire.sendall(json.dumps(READY).encode() + b"\n")
        while True:
            await part.publish()
            await asyncio.sleep(chance.uniform(0, 0.004))

    return run
