"""One process at a time does a thing: a PostgreSQL advisory lock held by a connection of its own.

The server gives the lock back when the connection ends, however that comes about, so whoever waits
takes over from a process that was killed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from settlement.storage.store import StoreError


@asynccontextmanager
async def leadership(url: str, what: str) -> AsyncIterator[asyncio.Future[None]]:
    """Wait until nobody else leads, then lead.

    Args:
        url: PostgreSQL server and database.
        what: Name of what there is one of, also shown as the connection's application name.

    Yields:
        What ends with ``StoreError`` (``UNAVAILABLE``) when the lock is lost.

    Raises:
        StoreError: ``UNAVAILABLE``: the server cannot be reached.
    """
    key = int.from_bytes(hashlib.sha256(f"iso-exchange/{what}".encode()).digest()[:8], "big")
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        connection = await asyncpg.connect(url, server_settings={"application_name": what})
    except (asyncpg.PostgresError, OSError) as error:
        raise StoreError("UNAVAILABLE", f"{what}: {error}") from error

    def ended(_: object) -> None:
        if not lost.done():
            lost.set_exception(StoreError("UNAVAILABLE", f"{what}: the connection is lost"))
            lost.exception()  # whoever waits is told; nobody waiting is no mistake

    connection.add_termination_listener(ended)
    try:
        # Signed, as PostgreSQL takes it.
        await connection.execute("SELECT pg_advisory_lock($1)", key - (1 << 63))
        yield lost
    except asyncpg.PostgresError as error:
        raise StoreError("UNAVAILABLE", f"{what}: {error}") from error
    finally:
        connection.remove_termination_listener(ended)
        lost.cancel()
        connection.terminate()  # the lock ends with it; nothing of it is worth waiting for
