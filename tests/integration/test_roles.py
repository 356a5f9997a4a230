"""Sequencer and publisher as processes apart: each is killed on its own, and the other goes on."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clearing.units import UnixSeconds
from iso_exchange import rotation
from iso_exchange.client import BLANK_HEADER, Client, Receipt, Retry
from iso_exchange.commands import RegisterParticipant, Role
from iso_exchange.rotation import Rotated
from iso_exchange.server import EXIT_OK, EXIT_REFUSED, EXIT_STOPPED
from iso_exchange.storage.embedded import free_port
from settlement.ledger.checkpoint import open_checkpoint, parse_checkpoint, parse_note
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey
from tests.integration.market_day import key_of

ORIGIN = "iso-exchange.example/roles"
PATIENCE_SECONDS = 60
PATIENT = Retry(attempts=80, first_delay_s=0.05, delay_s_max=0.4)
STARTED = {"sequencer": "exchange started", "publisher": "publisher started"}


@dataclass(slots=True)
class Part:
    """One process, with what it logged."""

    role: str
    process: asyncio.subprocess.Process
    log: Path

    async def says(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.log.read_text():
            assert self.process.returncode is None, self.log.read_text()[-3_000:]
            assert time.monotonic() < deadline, f"{self.role} does not say {text!r}"
            await asyncio.sleep(0.02)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)


@dataclass(slots=True)
class Parts:
    """Processes over one database and one data directory."""

    data: Path
    url: str
    port: int = field(default_factory=free_port)
    parts: list[Part] = field(default_factory=list)
    clients: AsyncExitStack = field(default_factory=AsyncExitStack)
    registered: int = 0

    async def start(self, role: str, port: int | None = None, *, wait: bool = True) -> Part:
        log = self.data.parent / f"{role}-{len(self.parts)}.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "iso_exchange.server", "--role", role),
                *("--data", str(self.data), "--database-url", self.url, "--origin", ORIGIN),
                *("--listen", f"127.0.0.1:{port or self.port}", "--http-listen", "127.0.0.1:0"),
                stderr=file,
            )
        part = Part(role, process, log)
        self.parts.append(part)
        if wait:
            await part.says(STARTED[role])
        return part

    async def client(self) -> Client:
        directory = self.data / "identities" / "operator"
        return await self.clients.enter_async_context(
            Client.from_directory(directory, retry=PATIENT)
        )

    async def register(self, client: Client) -> Receipt:
        self.registered += 1
        name = f"lab-{self.registered}"
        return await client.send(
            RegisterParticipant(
                header=BLANK_HEADER,
                participant_id=name,
                display_name=name,
                roles=(Role.BUYER,),
                public_key=key_of(name).public,
                country="US",
            )
        )

    def published(self) -> int:
        path = self.data / "log" / "checkpoint"
        return parse_checkpoint(parse_note(path.read_bytes()).text).size if path.exists() else 0

    async def covers(self, receipt: Receipt) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.published() <= receipt.entry_index:
            assert time.monotonic() < deadline, "it is not published"
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        await self.clients.aclose()
        for part in self.parts:
            if part.process.returncode is None:
                await part.kill()


@pytest.fixture
async def parts(tmp_path: Path, database_url: str) -> AsyncIterator[Parts]:
    found = Parts(data=tmp_path / "data", url=database_url)
    yield found
    await found.end()


@pytest.mark.timeout(600)  # eight starts of processes
async def test_each_is_killed_on_its_own_and_the_other_goes_on(parts: Parts) -> None:
    early = await parts.start("publisher", wait=False)
    assert await early.ended() == EXIT_REFUSED
    assert "start the sequencer" in early.log.read_text()
    first = await parts.start("sequencer")
    publisher = await parts.start("publisher")
    client = await parts.client()
    await parts.covers(await parts.register(client))

    standby = await parts.start("publisher", wait=False)
    await standby.says("standing by")
    await publisher.kill()
    # The sequencer goes on, and the publisher that stood by takes over.
    receipt = await parts.register(client)
    await standby.says(STARTED["publisher"])
    await parts.covers(receipt)

    sequencer = await parts.start("sequencer", free_port())
    renewed = await parts.client()  # the identity names the second one's address now
    before = await parts.register(renewed)
    asking = asyncio.create_task(parts.register(client))
    assert await first.ended() == EXIT_STOPPED
    assert "STALE_TREE_STATE" in first.log.read_text()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    # What the first did not write is in no log; the publisher noticed nothing of all this.
    after = await parts.register(renewed)
    assert after.entry_index == before.entry_index + 2
    await parts.covers(after)

    new = rotation.prepare(
        parts.data / "secrets",
        Rotated.LOG,
        origin=ORIGIN,
        reason="a year is over",
        now=UnixSeconds(int(time.time())),
    )
    await sequencer.kill()
    sequencer = await parts.start("sequencer")
    client = await parts.client()
    later = await parts.register(client)
    await parts.covers(later)
    # The publisher, which was not started again, signs with the key that the log names.
    open_checkpoint((parts.data / "log" / "checkpoint").read_bytes(), _note_key(new))
    # Who asks the sequencer's process sees what the publisher's did, a moment later.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (await client.checkpoint()).tree_size <= later.entry_index:
        assert time.monotonic() < deadline, "the sequencer does not see what is published"
        await asyncio.sleep(0.05)
    proof = await client.inclusion_proof(later.entry_index)
    assert proof.entry_index == later.entry_index
    last = await parts.register(client)
    assert await standby.stop() == EXIT_OK
    assert parts.published() > last.entry_index
    assert await sequencer.stop() == EXIT_OK


def _note_key(key: SigningKey) -> NoteKey:
    return NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ED25519, public=key.public)


async def test_apart_they_need_a_server_to_share(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iso_exchange.server", "--role", "publisher"),
        *("--data", str(tmp_path)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == EXIT_REFUSED
    assert b"--database-url" in errors
