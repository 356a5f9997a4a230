"""The stage of a replay: the exchange as a process of its own, identities, further processes."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from clearing.units import UnixSeconds
from iso_exchange.client import Client, IdentityError, load_exchange
from iso_exchange.client.errors import ClientError
from iso_exchange.identity.ca import DevelopmentAuthority
from iso_exchange.identity.directory import signing_key, write_address, write_identity
from iso_exchange.replay.agent import PATIENCE
from settlement.ledger.keys import SigningKey

START_SECONDS_MAX: Final = 90
RESTART_COUNT_MAX: Final = 20


class StageError(RuntimeError):
    """A replay could not be finished; the message says where and why."""


class Stage:
    """Starts and ends processes; the exchange is started again when it dies."""

    def __init__(self, data: Path, clock: UnixSeconds, console: Console) -> None:
        """Prepare; nothing starts before ``start``.

        Args:
            data: Working directory.
            clock: Where the exchange's simulated clock starts.
        """
        self._data = data
        self._clock_start = clock
        self._console = console
        self._children: list[asyncio.subprocess.Process] = []
        self._exchange: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._restarts = 0
        self._started = time.monotonic()
        self._ports = (_free_port(), _free_port())
        self.identities = data / "identities"

    @property
    def data(self) -> Path:
        """Working directory of the exchange."""
        return self._data

    @property
    def exchange_pid(self) -> int:
        """Process id of the exchange; another one after a restart."""
        assert self._exchange is not None  # started
        return self._exchange.pid

    async def start(self) -> None:
        """Start the exchange, and again whenever it ends."""
        self._exchange = await self._spawn_exchange()
        self._keeper = asyncio.create_task(self._keep_exchange())

    async def _keep_exchange(self) -> None:
        """Start the exchange again when it dies, as a service manager would."""
        while self._exchange is not None:
            code = await self._exchange.wait()
            if self._stopping or self._restarts >= RESTART_COUNT_MAX:
                return
            self._restarts += 1
            self.say(f"the exchange ended with {code}; starting it again")
            self._exchange = await self._spawn_exchange()

    async def _spawn_exchange(self) -> asyncio.subprocess.Process:
        grpc_port, http_port = self._ports
        start = datetime.fromtimestamp(self._clock_start, UTC).isoformat()
        return await self.spawn(
            "exchange",
            "iso_exchange.server",
            *("--data", str(self._data)),
            *("--listen", f"127.0.0.1:{grpc_port}", "--http-listen", f"127.0.0.1:{http_port}"),
            *("--clock", f"simulated:{start}", "--log-level", "WARNING"),
        )

    async def spawn(self, name: str, module: str, *arguments: str) -> asyncio.subprocess.Process:
        """Start a module as a process; its output goes to a log, a pipe or both."""
        logs = self._data / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / f"{name}.log").open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *arguments,
                stdout=asyncio.subprocess.PIPE if name != "exchange" else log,
                stderr=log,
            )
        self._children.append(child)
        return child

    async def operator(self) -> Client:
        """The operator's client, once the exchange answers."""
        for _ in range(START_SECONDS_MAX * 5):
            if self._restarts >= RESTART_COUNT_MAX:
                raise StageError(f"the exchange does not stay up: see {self._data}/logs")
            try:
                client = Client.from_directory(self.identities / "operator", retry=PATIENCE)
                await client.time()
            except (ClientError, IdentityError):
                await asyncio.sleep(0.2)
                continue
            self.say(f"exchange is up at 127.0.0.1:{self._ports[0]} (gRPC, mutual TLS)")
            return client
        raise StageError("the exchange did not answer in time")

    async def stop(self) -> None:
        """End every process that was started."""
        self._stopping = True
        for child in reversed(self._children):
            if child.returncode is None:
                child.terminate()
        for child in self._children:
            try:
                await asyncio.wait_for(child.wait(), 30)
            except TimeoutError:
                child.kill()
                await child.wait()

    def issue(self, authority: DevelopmentAuthority, party_id: str) -> SigningKey:
        """Certificate and signing key of a party, once; a second run finds them."""
        directory = self.identities / party_id
        address = load_exchange(self.identities / "operator")
        key = signing_key(directory, os.urandom(32))
        if (directory / "cert.pem").exists():
            write_address(directory, address)
        else:
            issued = authority.issue(party_id, now=datetime.now(UTC))
            ca_pem = authority.certificate_pem
            write_identity(directory, ca_pem=ca_pem, issued=issued, address=address)
        return key

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        elapsed = time.monotonic() - self._started
        self._console.print(f"[dim]{elapsed:6.1f} s[/dim]  {text}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
