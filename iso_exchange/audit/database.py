"""Reach the database of an exchange for reading, whether the exchange works or is stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from iso_exchange.storage.embedded import DATABASE, SUPERUSER, Embedded, read_password
from iso_exchange.storage.postgres import PostgresStore
from iso_exchange.storage.programs import EmbeddedError

POSTGRES_DIRECTORY: Final = "postgres"
PORT_LINE: Final = 3  # of postmaster.pid, counted from 0 (PostgreSQL: LOCK_FILE_LINE_PORT)
READ_ONLY: Final = "default_transaction_read_only=on"


@asynccontextmanager
async def open_for_reading(data: Path, database_url: str = "") -> AsyncIterator[PostgresStore]:
    """Store over a connection on which the server refuses to write.

    Args:
        data: Data directory of the exchange; its embedded server is used where it runs, and
            started for as long as this takes where it does not.
        database_url: PostgreSQL server instead.

    Raises:
        EmbeddedError: there is no embedded database below ``data``, or it does not start.
        UnsafeServerError: the server may lose commits.
        MigrationError: the schema is not the one of this code.
        OSError: nobody answers.
    """
    async with AsyncExitStack() as stack:
        url = database_url or await _embedded_url(stack, data / POSTGRES_DIRECTORY)
        separator = "&" if "?" in url else "?"
        store = await PostgresStore.open(
            f"{url}{separator}{READ_ONLY}", application_name="iso audit", connections_max=2
        )
        stack.push_async_callback(store.close)
        yield store


async def _embedded_url(stack: AsyncExitStack, directory: Path) -> str:
    server = Embedded(directory)
    if not server.data.is_dir():
        raise EmbeddedError(
            "NO_DATABASE",
            f"there is no database in {directory}",
            "name the data directory of the exchange, or the URL of its PostgreSQL server",
        )
    try:
        await stack.enter_async_context(server)
    except EmbeddedError as error:
        if error.code != "DIRECTORY_IN_USE":
            raise
        return _running_url(server)
    return server.url


def _running_url(server: Embedded) -> str:
    """URL of the server that a working exchange runs, from the files beside it."""
    try:
        lines = (server.data / "postmaster.pid").read_text().splitlines()
        port = int(lines[PORT_LINE])
    except (FileNotFoundError, IndexError, ValueError) as error:
        raise EmbeddedError(
            "NOT_READY", f"the server in {server.directory} is starting or stopping", "try again"
        ) from error
    password = read_password(server.directory)
    return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/{DATABASE}"
