"""A server that loses what it stands on ends soon, with a status and one line.

Its data directory, its database, or the process that checks its signatures.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from iso_exchange.server import EXIT_STOPPED
from tests.integration.test_server import start_process

END_SECONDS_MAX = 8
LOG_BYTES_MAX = 10_000


def remove(place: Path) -> None:
    """All at once: whoever writes there while it is deleted file by file would be in the way."""
    away = place.with_name(f"{place.name}.deleted")
    place.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def delete_everything(data: Path) -> None:
    remove(data)


def delete_database(data: Path) -> None:
    remove(data / "postgres" / "data")


def delete_secrets(data: Path) -> None:
    remove(data / "secrets")


def kill_database(data: Path) -> None:
    lines = (data / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    os.kill(int(lines[0]), signal.SIGKILL)


def delete_and_kill(data: Path) -> None:
    pid = int((data / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    remove(data)
    os.kill(pid, signal.SIGKILL)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill_signature_worker(data: Path) -> None:
    lines = (data / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    server = _parent(int(lines[0]))
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = _parent(int(entry.name))
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == server and b"iso_exchange.signature_worker" in command:
            os.kill(int(entry.name), signal.SIGKILL)
            return
    raise AssertionError("there is no signature worker")


LOSSES: dict[str, Callable[[Path], None]] = {
    action.__name__: action
    for action in (
        delete_everything,
        delete_database,
        delete_secrets,
        kill_database,
        delete_and_kill,
        kill_signature_worker,
    )
}


@pytest.mark.parametrize("name", LOSSES)
async def test_the_process_ends_soon_and_says_why_once(name: str, server_directory: Path) -> None:
    data = server_directory / "var"
    process, _ = await start_process(data)
    assert process.stderr is not None
    try:
        LOSSES[name](data)
        async with asyncio.timeout(END_SECONDS_MAX):
            said = await process.stderr.read()
            assert await process.wait() == EXIT_STOPPED
    finally:
        if process.returncode is None:
            process.kill()
    assert len(said) < LOG_BYTES_MAX
    lines = [json.loads(line) for line in said.decode().splitlines()]
    errors = [line for line in lines if line["level"] == "error"]
    assert len(errors) == 1, lines
    assert errors[0]["event"] == "a part of the exchange ended"
    assert errors[0]["reason"]
    assert "exception" not in errors[0]
