"""Plain SQL migrations, forward only.

A migration is a file ``NNNN_name.sql``, numbered from 0001 without gaps, applied in a
transaction of its own together with the record of its SHA-256. An applied file must never
change: the recorded digest is compared at every start.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg

NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
# Key of the advisory lock; any constant that nobody else uses in this database.
LOCK = 0x69736F5F_6C6F6731

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
SELECT_APPLIED = "SELECT version, name, sha256 FROM schema_migrations ORDER BY version"
INSERT_APPLIED = "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)"


class MigrationError(RuntimeError):
    """The schema and the code do not fit together; nothing was changed by the refusal.

    Attributes:
        code: ``CHANGED_FILE``: an applied migration is not the file that we have.
            ``NEWER_DATABASE``: the database knows migrations that we do not have.
            ``PENDING_MIGRATIONS``: the database is older than the code.
            ``BAD_FILES``: the migration files are misnamed or have gaps.
            ``FAILED``: PostgreSQL refused a migration; it was rolled back as a whole.
        advice: What to do about it, one sentence.
    """

    def __init__(self, code: str, detail: str, advice: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code}: {detail}: {advice}")
        self.code = code
        self.detail = detail
        self.advice = advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str
    sha256: bytes


def load_migrations(folder: Traversable | None = None) -> tuple[Migration, ...]:
    """The migrations of a folder, ascending; by default those shipped with the package.

    Raises:
        MigrationError: ``BAD_FILES``.
    """
    place = files("iso_exchange.storage") / "migrations" if folder is None else folder
    found = sorted(
        (entry for entry in place.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    migrations = []
    for expected, entry in enumerate(found, 1):
        match = NAME.fullmatch(entry.name)
        if match is None or int(match[1]) != expected:
            raise MigrationError(
                "BAD_FILES",
                f"found {entry.name}",
                f"number {expected:04} comes next: NNNN_name.sql",
            )
        content = entry.read_bytes()
        migrations.append(
            Migration(
                version=expected,
                name=entry.name,
                sql=content.decode("utf-8"),
                sha256=hashlib.sha256(content).digest(),
            )
        )
    if not migrations:
        raise MigrationError("BAD_FILES", "no migration found", "install the package with its data")
    return tuple(migrations)


async def migrate(url: str, migrations: Sequence[Migration] | None = None) -> tuple[int, ...]:
    """Bring a database up to date and return the versions that were applied now.

    Any number of processes may call it at the same time: an advisory lock lets one work.

    Raises:
        MigrationError: ``CHANGED_FILE``, ``NEWER_DATABASE``, ``BAD_FILES`` or ``FAILED``.
    """
    known = load_migrations() if migrations is None else tuple(migrations)
    # Not from a pool: a migration may take longer than any statement timeout.
    connection = await asyncpg.connect(
        url, server_settings={"application_name": "iso migrate", "statement_timeout": "0"}
    )
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        # Inside the lock: two concurrent CREATE TABLE IF NOT EXISTS can collide.
        await connection.execute(CREATE_TABLE)
        applied = await connection.fetch(SELECT_APPLIED)
        compare(known, applied)
        pending = known[len(applied) :]
        for migration in pending:
            await apply(connection, migration)
        return tuple(migration.version for migration in pending)
    finally:
        await connection.close()  # the lock ends with the session


async def check_schema(
    connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy,
    migrations: Sequence[Migration] | None = None,
) -> None:
    """Refuse to work on a schema that is not exactly ours; changes nothing.

    Raises:
        MigrationError: ``CHANGED_FILE``, ``NEWER_DATABASE``, ``PENDING_MIGRATIONS`` or
            ``BAD_FILES``.
    """
    known = load_migrations() if migrations is None else tuple(migrations)
    exists = await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL")
    applied = await connection.fetch(SELECT_APPLIED) if exists else []
    compare(known, applied)
    if len(applied) < len(known):
        raise MigrationError(
            "PENDING_MIGRATIONS", f"{known[len(applied)].name} is not applied", "migrate first"
        )


def compare(known: Sequence[Migration], applied: Sequence[asyncpg.Record]) -> None:
    """The applied migrations must be a prefix of the known ones, byte for byte."""
    for position, row in enumerate(applied):
        if position >= len(known):
            raise MigrationError(
                "NEWER_DATABASE",
                f"the database has {row['name']}, the code ends with {known[-1].name}",
                "use a release at least as new as the database",
            )
        migration = known[position]
        if row["version"] != migration.version or row["sha256"] != migration.sha256:
            raise MigrationError(
                "CHANGED_FILE",
                f"{migration.name} has SHA-256 {migration.sha256.hex()}, "
                f"{row['name']} was applied with {row['sha256'].hex()}",
                "restore the file and write a new migration instead",
            )


async def apply(connection: asyncpg.Connection, migration: Migration) -> None:
    """Apply one migration and record it, or nothing."""
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                INSERT_APPLIED, migration.version, migration.name, migration.sha256
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(
            "FAILED", f"{migration.name}: {error}", "nothing of it was applied; correct the cause"
        ) from error
