"""One embedded PostgreSQL for the test session, an empty database for each test.

``database_url``        a migrated database of the test's own
``empty_database_url``  the same without any table
``make_database``       the coroutine behind both, for tests that need several
``embedded_server``     the server itself; do not stop it
``server_directory``    a folder with a stopped server, for a server of the test's own
``empty_directory``     an empty folder in which a server can be made
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from iso_exchange.storage.embedded import Embedded
from iso_exchange.storage.migrate import migrate

pytest.register_assert_rewrite("tests.integration.store_suite")

MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 * 2**30
MakeDatabase = Callable[[], Awaitable[str]]

# Emptying a database takes a tenth of the time that CREATE DATABASE takes.
EMPTY = (
    """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    """,
    "DROP SCHEMA public CASCADE",
    "CREATE SCHEMA public",
)


@pytest.fixture
def empty_directory() -> Iterator[Path]:
    yield from passable_directory()


@pytest.fixture
def server_directory(stopped_server: Path, empty_directory: Path) -> Path:
    # Quicker than initdb; cp keeps owner and mode.
    subprocess.run(["cp", "-a", f"{stopped_server}/.", str(empty_directory)], check=True)
    return empty_directory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stopped_server(stopped_server_directory: Path) -> Path:
    async with Embedded(stopped_server_directory):
        pass
    return stopped_server_directory


@pytest.fixture(scope="session")
def stopped_server_directory() -> Iterator[Path]:
    yield from passable_directory()


@pytest.fixture(scope="session")
def shared_server_directory() -> Iterator[Path]:
    yield from passable_directory()


def passable_directory() -> Iterator[Path]:
    """A folder in which an embedded server can live, also under root: tmp_path is private.

    In memory where there is room: no test here can cut the power, so none needs the disk.
    """
    place = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    if place is not None and shutil.disk_usage(place).free < MEMORY_BYTES_MIN:
        place = None
    with tempfile.TemporaryDirectory(prefix="iso-postgres-", dir=place) as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedded_server(shared_server_directory: Path) -> AsyncIterator[Embedded]:
    async with Embedded(shared_server_directory) as server:
        yield server


@pytest.fixture(scope="session")
def free_databases() -> list[str]:
    """Names of empty databases that no test uses now."""
    return []


@pytest_asyncio.fixture
async def make_database(
    embedded_server: Embedded, free_databases: list[str]
) -> AsyncIterator[MakeDatabase]:
    """Coroutine that returns the URL of an empty database, the test's own until its end."""
    used: list[str] = []

    async def make() -> str:
        if free_databases:
            name = free_databases.pop()
        else:
            name = f"test_{secrets.token_hex(8)}"
            await execute(embedded_server.url, f"CREATE DATABASE {name} TEMPLATE template0")
        used.append(name)
        return embedded_server.url_of(name)

    yield make
    for name in used:
        await execute(embedded_server.url_of(name), *EMPTY)
        free_databases.append(name)


@pytest_asyncio.fixture
async def empty_database_url(make_database: MakeDatabase) -> str:
    """URL of a database without any table."""
    return await make_database()


@pytest_asyncio.fixture
async def database_url(make_database: MakeDatabase) -> str:
    """URL of a migrated, otherwise empty database."""
    url = await make_database()
    await migrate(url)
    return url


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
