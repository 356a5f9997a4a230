"""SIGKILL of sequencer, publisher and PostgreSQL at random moments under load.

Each round starts what is dead, sends signed commands, kills one or two processes at a seeded
moment and then checks everything that outsiders were ever told (``tests.torture.checks``).
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import secrets
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from iso_exchange.storage.embedded import Embedded
from iso_exchange.storage.migrate import migrate
from iso_exchange.storage.programs import processes_in
from settlement.ledger.keys import NoteAlgorithm, NoteKey
from tests.integration.market_day import ORIGIN
from tests.torture import load, parts
from tests.torture.checks import History, check_database, check_files

ROUNDS_PER_LOG: Final = 40
COMMANDS_PER_ROUND: Final = 30
KILL_SECONDS_MAX: Final = 0.06
VKEY: Final = NoteKey(
    name=ORIGIN, algorithm=NoteAlgorithm.ED25519, public=parts.LOG_KEY.public
).to_vkey()
VICTIMS: Final = {
    "sequencer": 40,
    "publisher": 30,
    "sequencer and publisher": 10,
    "PostgreSQL backend": 8,
    "PostgreSQL postmaster": 4,
    "PostgreSQL, all of it": 8,
}
"""Whom a round kills, with weights."""


@dataclass(slots=True)
class Exchange:
    """One log: its database, its directory, its processes and what outsiders saw of it."""

    server: Embedded
    url: str
    directory: Path
    history: History
    commands: Iterator[bytes]
    counts: Counter[str]
    hasty: bool = False
    waiting: dict[int, bytes] = field(default_factory=dict)
    answers: dict[int, parts.Line] = field(default_factory=dict)
    sequencer: parts.Part | None = None
    publisher: parts.Part | None = None
    number: int = 0

    def start(self, seed: str) -> None:
        """Start whatever does not run."""
        if not self.server.running:
            asyncio.run(self.server.start())
            self.url = self.server.url_of(self.url.rpartition("/")[2])
            self.counts["PostgreSQL recoveries"] += 1
        if self.sequencer is None:
            self.sequencer = self._start(parts.sequencer(self.url, hasty=self.hasty))
        if self.publisher is None:
            self.publisher = self._start(parts.publisher(self.url, self.directory, seed))
        self.counts["process starts"] += 2

    def _start(self, body: object) -> parts.Part:
        deadline = time.monotonic() + parts.PATIENCE_SECONDS
        while True:
            part = parts.fork(body)  # type: ignore[arg-type]
            if part.await_ready():
                return part
            # PostgreSQL is still recovering: the part refused to start, as it must.
            assert part.wait() == parts.EXIT_STOPPED
            part.close()
            assert time.monotonic() < deadline, "a part does not start any more"
            time.sleep(0.05)

    def send(self, count: int) -> None:
        """Send what was not answered once more, and new commands."""
        assert self.sequencer is not None
        self.counts["commands sent again"] += len(self.waiting)
        for _ in range(count):
            self.number += 1
            self.waiting[self.number] = next(self.commands)
        for number, data in sorted(self.waiting.items()):
            self.sequencer.send({"n": number, "envelope": base64.b64encode(data).decode()})

    def listen(self, seconds: float) -> None:
        """Take answers for a while, or until all are there or the sequencer is gone."""
        assert self.sequencer is not None
        for line in self.sequencer.lines(seconds):
            self._answer(line)
            if not self.waiting:
                return

    def _answer(self, line: parts.Line) -> None:
        before = self.answers.setdefault(line["n"], line)
        if before is not line:  # sent again before its answer came
            assert before == line, f"two answers to one request: {before} and {line}"
            self.counts["commands answered twice, alike"] += 1
            return
        data = self.waiting.pop(line["n"])
        if "refused" in line:
            self.history.refused.add(data)
            self.counts[f"refused {line['refused']}"] += 1
        else:
            self.history.acknowledged.append((data, line["index"], line["leaf_hash"]))
            self.counts["commands acknowledged"] += 1

    def settle(self) -> None:
        """Have everything answered that waits."""
        self.send(0)
        deadline = time.monotonic() + parts.PATIENCE_SECONDS
        while self.waiting:
            self.listen(1)
            assert time.monotonic() < deadline, f"{len(self.waiting)} commands stay unanswered"

    def see(self) -> None:
        """Read the checkpoint as anybody can."""
        path = self.directory / "checkpoint"
        if path.exists():
            self.history.notes.add(path.read_bytes())

    def reap(self) -> None:
        """Take what died processes said last, and forget them."""
        if self.sequencer is not None and not self.sequencer.alive():
            self.listen(0.5)
            self.sequencer.close()
            self.sequencer = None
        if self.publisher is not None and not self.publisher.alive():
            self.publisher.close()
            self.publisher = None

    def end(self) -> None:
        """Kill what still runs."""
        for part in (self.sequencer, self.publisher):
            if part is not None:
                part.kill()
        self.reap()


def kill(exchange: Exchange, victim: str, chance: random.Random) -> None:
    """Kill, and wait until everything that must die of it is dead."""
    assert exchange.sequencer is not None
    assert exchange.publisher is not None
    if "sequencer" in victim:
        exchange.sequencer.kill()
    if "publisher" in victim:
        exchange.publisher.kill()
    if not victim.startswith("PostgreSQL"):
        return
    postmaster = exchange.server.pid
    running = processes_in(exchange.server.data)
    if victim == "PostgreSQL backend":
        os.kill(chance.choice([pid for pid in running if pid != postmaster]), signal.SIGKILL)
    else:
        everybody = victim == "PostgreSQL, all of it"
        for pid in running if everybody else (postmaster,):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        while exchange.server.running:
            time.sleep(0.001)
    # What works on a lost connection ends, and neither goes on nor hangs. A sequencer without
    # work may notice nothing, and its next commit finds PostgreSQL recovered.
    exchange.send(1)
    deadline = time.monotonic() + parts.PATIENCE_SECONDS
    while exchange.waiting and exchange.sequencer.alive():
        exchange.listen(0.02)
        assert time.monotonic() < deadline, f"{victim}: neither an answer nor an end"
    if not exchange.sequencer.alive():
        assert exchange.sequencer.wait() == parts.EXIT_STOPPED, f"{victim}: it ended otherwise"
    assert exchange.publisher.wait() == parts.EXIT_STOPPED, f"{victim}: it ended otherwise"


def play(exchange: Exchange, chance: random.Random) -> None:
    """One round."""
    exchange.start(str(chance.random()))
    exchange.send(chance.randrange(1, COMMANDS_PER_ROUND))
    deadline = time.monotonic() + chance.uniform(0, KILL_SECONDS_MAX)
    while time.monotonic() < deadline:
        exchange.listen(min(0.005, max(0.0, deadline - time.monotonic())))
        exchange.see()
        if not exchange.waiting:
            exchange.send(chance.randrange(1, COMMANDS_PER_ROUND))
    victim = chance.choices(list(VICTIMS), list(VICTIMS.values()))[0]
    exchange.see()
    kill(exchange, victim, chance)
    exchange.counts[f"killed: {victim}"] += 1
    exchange.see()
    exchange.reap()


def check(exchange: Exchange) -> None:
    """Everything, after a kill; PostgreSQL is started for it where it was the victim."""
    if not exchange.server.running:
        asyncio.run(exchange.server.start())
        exchange.url = exchange.server.url_of(exchange.url.rpartition("/")[2])
        exchange.counts["PostgreSQL recoveries"] += 1
    for attempt in range(200):
        try:
            asyncio.run(check_database(exchange.url, exchange.history))
            break
        except (asyncpg.CannotConnectNowError, ConnectionError):
            assert attempt < 199, "PostgreSQL does not come back"
            time.sleep(0.02)
    if exchange.publisher is None:
        check_files(exchange.directory, exchange.history)
        exchange.counts["checks of all published files"] += 1
    exchange.counts["checks of log, receipts, checkpoints and books"] += 1


async def new_database(server: Embedded) -> str:
    """URL of a migrated database."""
    connection = await asyncpg.connect(server.url)
    try:
        name = f"torture_{secrets.token_hex(6)}"
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    finally:
        await connection.close()
    url = server.url_of(name)
    await migrate(url)
    return url


def open_exchange(
    server: Embedded, folder: Path, chance: random.Random, counts: Counter[str]
) -> Exchange:
    """A new log with its registry in it."""
    exchange = Exchange(
        server=server,
        url=asyncio.run(new_database(server)),
        directory=folder,
        history=History(vkey=VKEY),
        commands=load.opening(),
        counts=counts,
    )
    exchange.start(str(chance.random()))
    for data in exchange.commands:
        exchange.commands = iter([data])
        exchange.send(1)
        while exchange.waiting:
            exchange.listen(parts.PATIENCE_SECONDS)
    assert not exchange.history.refused, counts
    exchange.commands = load.endless(chance)
    return exchange


def run(rounds: int, seed: int, *, hasty: bool = False) -> Counter[str]:
    """Play some rounds and check after each.

    Args:
        hasty: With a sequencer that answers before it commits, which must be found out.

    Raises:
        AssertionError: something that outsiders were told is no longer true.
    """
    counts: Counter[str] = Counter()
    place = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    base = Path(tempfile.mkdtemp(prefix="iso-torture-", dir=place))
    base.chmod(0o755)
    server = Embedded(base / "postgres")
    asyncio.run(server.start())
    exchange: Exchange | None = None
    try:
        for number in range(rounds):
            chance = random.Random(f"kills {seed} {number}")
            if number % ROUNDS_PER_LOG == 0:
                if exchange is not None:
                    finish(exchange)
                exchange = open_exchange(server, base / f"log-{number}", chance, counts)
                exchange.hasty = hasty
                if hasty:
                    exchange.end()
                counts["logs"] += 1
            assert exchange is not None
            try:
                play(exchange, chance)
                check(exchange)
            except AssertionError as error:
                error.add_note(f"round {number} of seed {seed}")
                raise
        if exchange is not None:
            finish(exchange)
    finally:
        if exchange is not None:
            exchange.end()
        asyncio.run(server.stop())
        shutil.rmtree(base, ignore_errors=True)
    return counts


def finish(exchange: Exchange) -> None:
    """Let everything be answered and published, stop, and check for the last time."""
    exchange.start("last")
    exchange.settle()
    check(exchange)
    deadline = time.monotonic() + parts.PATIENCE_SECONDS
    while len(exchange.history.leaves) > published_size(exchange):
        assert time.monotonic() < deadline, "the last entries are not published"
        time.sleep(0.01)
    exchange.end()
    check(exchange)
    exchange.counts["entries"] += len(exchange.history.leaves)
    exchange.counts["checkpoints seen"] += len(exchange.history.notes)


def published_size(exchange: Exchange) -> int:
    """Size that the checkpoint file names."""
    path = exchange.directory / "checkpoint"
    return int(path.read_bytes().split(b"\n")[1]) if path.exists() else 0
