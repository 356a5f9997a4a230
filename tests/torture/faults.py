"""Every file call of a publication and of an append fails once: EIO, ENOSPC, SIGKILL.

strace is attached to the one thread (or PostgreSQL backend) that does the work, counts its calls
in a first run and makes one of them fail in each of the next. The process then either goes on
rightly or ends; a restart without faults completes what was begun. After both, every published
file is checked up to the signed root.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from iso_exchange.publisher.files import TileConflictError
from iso_exchange.publisher.publisher import Publisher
from iso_exchange.storage.embedded import Embedded
from settlement.ledger import merkle
from settlement.storage.memory import MemoryStore
from settlement.storage.store import Commit, Entry, Published, StoreError, TreeState
from tests.integration.market_day import ORIGIN
from tests.torture import kills, load, parts
from tests.torture.checks import History, SkippedError, check_files, check_notes

BEFORE: Final = 254
AFTER: Final = 514
"""Sizes of the two publications: the second closes tiles, opens new ones and a level."""
FAULTS: Final = ("error=EIO", "error=ENOSPC", "signal=KILL")
NOT_FILES: Final = re.compile(
    r"brk|clock_\w+|clone3?|epoll_\w+|exit|futex|get(pid|random|tid)|kill|madvise|mmap|mprotect"
    r"|mremap|munmap|prctl|recv\w+|restart_syscall|rseq|rt_sig\w+|sched_yield|send\w+"
    r"|set_robust_list|setitimer|sigaltstack|socket"
)
CALL: Final = re.compile(r"^(?:\d+ +)?(\w+)\(")
EXIT_REFUSED: Final = 4


@functools.cache
def unavailable() -> str:
    """Why strace cannot be used here, empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    sleeper = subprocess.Popen(["sleep", "30"])
    try:
        with attached(sleeper.pid, Path("/dev/null"), []):
            return ""
    except RuntimeError as error:
        return f"ptrace is refused: {error}"
    finally:
        sleeper.kill()
        sleeper.wait()


@contextmanager
def attached(pid: int, output: Path, options: list[str]) -> Iterator[None]:
    """strace on one thread or process.

    Raises:
        RuntimeError: it does not attach.
    """
    tracer = subprocess.Popen(
        ["strace", "-s", "0", "-o", str(output), *options, "-p", str(pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    try:
        if "attached" not in said:
            raise RuntimeError(said.strip() or "strace says nothing")
        yield
    finally:
        if tracer.poll() is None:
            tracer.terminate()
        tracer.wait()
        tracer.stderr.close()


def calls_in(trace: Path) -> list[tuple[str, int]]:
    """File calls of a trace: name, and which one of that name."""
    counts: Counter[str] = Counter()
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        match = CALL.match(line)
        if match and not NOT_FILES.fullmatch(match[1]):
            counts[match[1]] += 1
            found.append((match[1], counts[match[1]]))
    return found


def injection(call: tuple[str, int], fault: str) -> list[str]:
    """Options that make one call fail."""
    return ["-e", f"trace={call[0]}", "-e", f"inject={call[0]}:{fault}:when={call[1]}"]


# A publication -------------------------------------------------------------------------------


class ReportingStore(MemoryStore):
    """Says over a wire what it took, for it dies with its process and a database would not."""

    def __init__(self, entries: list[bytes], published: bytes | None) -> None:
        super().__init__()
        for leaf in entries:
            self._entries.append(entry(len(self._entries), leaf))
        hashes = [merkle.leaf_hash(leaf) for leaf in entries]
        root = merkle.Frontier().extend(hashes).root()
        self._state = TreeState(epoch=1, size=len(entries), root=root)
        if published is not None:
            size = int(published.split(b"\n")[1])
            self._published = Published(size=size, checkpoint=published)
        self.wire: socket.socket | None = None

    async def publish(self, expected_size: int, new: Published) -> None:
        await super().publish(expected_size, new)
        if self.wire is not None:
            self.wire.sendall(json.dumps({"note": new.checkpoint.decode()}).encode() + b"\n")

    async def commit(self, batch: Commit) -> None:
        raise NotImplementedError


def entry(index: int, leaf: bytes) -> Entry:
    """An entry of which only the leaf matters."""
    return Entry(
        index=index,
        kind="ANY",
        time_us=0,
        leaf=leaf,
        leaf_hash=merkle.leaf_hash(leaf),
        envelope=leaf,
        salt=b"",
        owners=(),
        principal="",
        request_id=str(index),
        body_sha256=bytes(32),
        reply=b"",
    )


def leaves(count: int) -> list[bytes]:
    """Distinct leaves."""
    return [b"leaf %d " % number + b"." * (number % 50) for number in range(count)]


def publisher_of(store: MemoryStore, directory: Path) -> Publisher:
    """The exchange's own publisher."""
    return Publisher(store=store, origin=ORIGIN, key=parts.LOG_KEY, directory=directory)


async def publish(store: MemoryStore, directory: Path) -> None:
    """Start and publish everything."""
    publisher = publisher_of(store, directory)
    await publisher.start()
    await publisher.publish()


def publication(
    directory: Path, note: bytes
) -> Callable[[socket.socket], Coroutine[Any, Any, None]]:
    """Body of a process that publishes once, its file calls all in one thread."""

    async def run(wire: socket.socket) -> None:
        store = ReportingStore(leaves(AFTER), note)
        store.wire = wire
        publisher = publisher_of(store, directory)
        await publisher.start()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1) as one:
            loop.set_default_executor(one)
            thread = await asyncio.to_thread(threading.get_native_id)
            wire.sendall(json.dumps({"thread": thread}).encode() + b"\n")
            await loop.sock_recv(wire, 1)
            try:
                await publisher.publish()
            except (OSError, StoreError, TileConflictError):
                wire.close()
                # The pool's threads are of no interest any more.
                os._exit(EXIT_REFUSED)

    return run


def one_publication(
    whole: Path, directory: Path, trace: Path, options: list[str]
) -> tuple[int, set[bytes]]:
    """Publish under strace; how the process ended (-9: killed) and what the store took."""
    shutil.copytree(whole, directory)
    note = (directory / "checkpoint").read_bytes()
    part = parts.fork(publication(directory, note))
    lines = part.lines(parts.PATIENCE_SECONDS)
    thread = next(lines)["thread"]
    with attached(thread, trace, options):
        part.wire.setblocking(True)
        part.wire.sendall(b"\n")
        taken = {line["note"].encode() for line in lines}
        code = part.wait()
    part.close()
    return code, taken


def publications(rounds: int, seed: int) -> Counter[str]:
    """Some (or all) faults of a publication, in a seeded order.

    Raises:
        AssertionError: files were published that do not hold together.
    """
    reason = unavailable()
    if reason:
        raise SkippedError(reason)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="iso-faults-") as name:
        base = Path(name)
        whole = base / "whole"
        asyncio.run(publish(ReportingStore(leaves(BEFORE), None), whole))
        code, _ = one_publication(whole, base / "counted", base / "trace", [])
        assert code == 0
        cases = list(itertools.product(calls_in(base / "trace"), FAULTS))
        counts["file calls of a publication"] = len(cases) // len(FAULTS)
        random.Random(seed).shuffle(cases)
        for call, fault in cases[:rounds]:
            try:
                how = fail_publication(whole, base / "case", base / "trace", call, fault)
            except AssertionError as error:
                error.add_note(f"{call[0]} number {call[1]}, {fault}")
                raise
            counts[f"{fault}: {how}"] += 1
    return counts


def fail_publication(
    whole: Path, directory: Path, trace: Path, call: tuple[str, int], fault: str
) -> str:
    """One fault, the check, a restart without faults, the check again."""
    history = History(vkey=kills.VKEY)
    old = (whole / "checkpoint").read_bytes()
    code, taken = one_publication(whole, directory, trace, injection(call, fault))
    assert code in {0, EXIT_REFUSED, -9}, f"the process ended with {code}"
    size = check_files(directory, history)
    assert size in {BEFORE, AFTER}
    if code == 0:
        assert size == AFTER, "it says that it published"
    store = ReportingStore(leaves(AFTER), next(iter(taken), old))
    asyncio.run(publish(store, directory))
    assert check_files(directory, history) == AFTER
    history.leaves = leaves(AFTER)
    history.notes |= taken
    check_notes(history)
    shutil.rmtree(directory)
    return {0: "went on", EXIT_REFUSED: "refused, restarted", -9: "killed, restarted"}[code]


# An append -----------------------------------------------------------------------------------


def appends(rounds: int, seed: int) -> Counter[str]:
    """Some (or all) faults of a PostgreSQL backend while it commits one entry.

    Raises:
        AssertionError: a receipt, a checkpoint or the books do not hold any more.
    """
    reason = unavailable()
    if reason:
        raise SkippedError(reason)
    counts: Counter[str] = Counter()
    chance = random.Random(f"appends {seed}")
    base = Path(tempfile.mkdtemp(prefix="iso-faults-"))
    base.chmod(0o755)
    server = Embedded(base / "postgres")
    asyncio.run(server.start())
    exchange: kills.Exchange | None = None
    try:
        exchange = kills.open_exchange(server, base / "log", chance, counts)
        exchange.commands = load.deposits(chance)
        trace = base / "trace"
        append(exchange, trace, [])  # fills caches, so that the counted ones are like the next
        append(exchange, trace, [])
        cases = list(itertools.product(calls_in(trace), FAULTS))
        counts["file calls of a commit"] = len(cases) // len(FAULTS)
        random.Random(seed).shuffle(cases)
        for call, fault in cases[:rounds]:
            try:
                append(exchange, trace, injection(call, fault))
                kills.check(exchange)
            except AssertionError as error:
                error.add_note(f"{call[0]} number {call[1]}, {fault}")
                raise
            ended = exchange.sequencer is None
            counts[f"{fault}: {'ended, restarted' if ended else 'went on'}"] += 1
        kills.finish(exchange)
    finally:
        if exchange is not None:
            exchange.end()
        asyncio.run(server.stop())
        shutil.rmtree(base, ignore_errors=True)
    return counts


def append(exchange: kills.Exchange, trace: Path, options: list[str]) -> None:
    """One command, while the sequencer's backend is traced."""
    exchange.start("append")
    exchange.settle()
    backends = asyncio.run(backends_of(exchange.url, "torture sequencer"))
    assert len(backends) == 1, backends
    assert exchange.sequencer is not None
    with attached(backends[0], trace, options):
        exchange.send(1)
        deadline = time.monotonic() + parts.PATIENCE_SECONDS
        while exchange.waiting and exchange.sequencer.alive():
            exchange.listen(0.02)
            assert time.monotonic() < deadline, "neither an answer nor an end"
    exchange.reap()


async def backends_of(url: str, application: str) -> list[int]:
    """Processes that serve an application's connections."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity"
            " WHERE application_name = $1 AND datname = current_database()",
            application,
        )
    finally:
        await connection.close()
    return [row["pid"] for row in rows]
