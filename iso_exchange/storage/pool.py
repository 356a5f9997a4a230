"""Connections to PostgreSQL, only where a COMMIT is durable."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

VERSION_MIN = 140_000  # server_version_num of PostgreSQL 14
# Without any of these an acknowledged entry can vanish in a power cut.
DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


class UnsafeServerError(RuntimeError):
    """The server may lose what it acknowledged, or is too old.

    Attributes:
        code: ``UNSAFE_SETTING`` or ``SERVER_TOO_OLD``.
        setting: Name of the setting concerned.
        value: What the server has.
        advice: What to do about it, one sentence.
    """

    def __init__(self, code: str, setting: str, value: str, advice: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code}: {setting} is {value}: {advice}")
        self.code = code
        self.setting = setting
        self.value = value
        self.advice = advice


async def open_pool(
    url: str,
    *,
    application_name: str,
    connections_max: int = 10,
    statement_timeout_s: int = 30,
) -> asyncpg.Pool:
    """A pool whose every connection was checked.

    Args:
        url: ``postgresql://...``.
        application_name: Shown in ``pg_stat_activity``, such as ``iso sequencer``.
        connections_max: Of this pool.
        statement_timeout_s: The server cancels a statement after it; the client gives up later.

    Raises:
        UnsafeServerError: The server's settings or version are refused.
        OSError: Nobody answers.
        asyncpg.PostgresError: The server refuses the connection.
    """
    pool = asyncpg.create_pool(
        url,
        min_size=1,
        max_size=connections_max,
        init=check_server,
        reset=_keep,
        command_timeout=statement_timeout_s + 5,
        server_settings={
            "application_name": application_name,
            "statement_timeout": f"{statement_timeout_s}s",
            "lock_timeout": f"{statement_timeout_s}s",
            "idle_in_transaction_session_timeout": f"{statement_timeout_s}s",
            "jit": "off",  # compiling costs more than any query here
            "timezone": "UTC",
        },
    )
    return await pool


async def _keep(connection: asyncpg.Connection) -> None:
    """Nothing to undo when a connection is given back.

    No statement here changes a session: no SET, LISTEN, advisory lock or cursor outlives its
    transaction. The default asks the server to undo them all, a round trip after every commit.
    """


async def check_server(connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy) -> None:
    """Refuse a server that may lose an acknowledged commit.

    Runs on each new connection, because settings differ per role and database and change
    while a server runs.

    Raises:
        UnsafeServerError: ``SERVER_TOO_OLD`` or ``UNSAFE_SETTING``.
    """
    names = ["server_version_num", *DURABLE]
    found = await connection.fetch(
        "SELECT name, current_setting(name) AS value FROM unnest($1::text[]) AS name", names
    )
    check_settings({row["name"]: row["value"] for row in found})


def check_settings(settings: Mapping[str, str]) -> None:
    """Judge a server by its settings, as ``current_setting`` prints them.

    Raises:
        UnsafeServerError: ``SERVER_TOO_OLD`` or ``UNSAFE_SETTING``.
    """
    if int(settings["server_version_num"]) < VERSION_MIN:
        raise UnsafeServerError(
            "SERVER_TOO_OLD",
            "server_version_num",
            settings["server_version_num"],
            f"use PostgreSQL {VERSION_MIN // 10_000} or newer",
        )
    for name in DURABLE:
        if settings[name] == "off":
            raise UnsafeServerError(
                "UNSAFE_SETTING", name, "off", f"set {name} = on for this server, role and database"
            )
