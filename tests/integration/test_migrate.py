from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from iso_exchange.storage.migrate import (
    MigrationError,
    check_schema,
    load_migrations,
    migrate,
)


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, sql in files.items():
        (folder / f"{name}.sql").write_text(sql)
    return folder


async def fetch(url: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row.values()) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def check(url: str, folder: Path | None = None) -> None:
    connection = await asyncpg.connect(url)
    try:
        await check_schema(connection, load_migrations(folder))
    finally:
        await connection.close()


async def test_the_shipped_migrations_apply_once(empty_database_url: str) -> None:
    versions = tuple(migration.version for migration in load_migrations())
    assert await migrate(empty_database_url) == versions
    assert await migrate(empty_database_url) == ()
    await check(empty_database_url)
    rows = await fetch(empty_database_url, "SELECT version, sha256 FROM schema_migrations")
    assert rows == [(migration.version, migration.sha256) for migration in load_migrations()]


async def test_only_what_is_new_is_applied(empty_database_url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", **{"0001_a": "CREATE TABLE a (x int)"})
    assert await migrate(empty_database_url, load_migrations(folder)) == (1,)
    write(folder, **{"0002_b": "ALTER TABLE a ADD y int; INSERT INTO a VALUES (1, 2)"})
    with pytest.raises(MigrationError) as pending:
        await check(empty_database_url, folder)
    assert pending.value.code == "PENDING_MIGRATIONS"
    assert await migrate(empty_database_url, load_migrations(folder)) == (2,)
    assert await fetch(empty_database_url, "SELECT x, y FROM a") == [(1, 2)]
    await check(empty_database_url, folder)


async def test_a_changed_file_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", **{"0001_a": "CREATE TABLE a (x int)"})
    await migrate(empty_database_url, load_migrations(folder))
    write(folder, **{"0001_a": "CREATE TABLE a (x int) ", "0002_b": "CREATE TABLE b ()"})
    for attempt in (migrate(empty_database_url, load_migrations(folder)),):
        with pytest.raises(MigrationError) as refused:
            await attempt
        assert refused.value.code == "CHANGED_FILE"
        assert "0001_a.sql" in refused.value.detail
    with pytest.raises(MigrationError) as refused:
        await check(empty_database_url, folder)
    assert refused.value.code == "CHANGED_FILE"
    assert await fetch(empty_database_url, "SELECT to_regclass('b') IS NULL") == [(True,)]


async def test_a_newer_database_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    files = {"0001_a": "CREATE TABLE a (x int)", "0002_b": "CREATE TABLE b ()"}
    await migrate(empty_database_url, load_migrations(write(tmp_path / "new", **files)))
    old = write(tmp_path / "old", **{"0001_a": files["0001_a"]})
    with pytest.raises(MigrationError) as refused:
        await migrate(empty_database_url, load_migrations(old))
    assert refused.value.code == "NEWER_DATABASE"


async def test_a_failing_migration_leaves_nothing(empty_database_url: str, tmp_path: Path) -> None:
    broken = "CREATE TABLE b (x int); INSERT INTO b VALUES (1 / 0)"
    folder = write(tmp_path / "m", **{"0001_a": "CREATE TABLE a (x int)", "0002_b": broken})
    with pytest.raises(MigrationError) as refused:
        await migrate(empty_database_url, load_migrations(folder))
    assert refused.value.code == "FAILED"
    assert "0002_b.sql" in refused.value.detail
    rows = await fetch(empty_database_url, "SELECT version FROM schema_migrations")
    assert rows == [(1,)]
    assert await fetch(empty_database_url, "SELECT to_regclass('b') IS NULL") == [(True,)]
    write(folder, **{"0002_b": "CREATE TABLE b (x int)"})
    assert await migrate(empty_database_url, load_migrations(folder)) == (2,)


async def test_concurrent_starts_migrate_once(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    versions = tuple(migration.version for migration in load_migrations())
    assert sorted(applied) == [(), (), (), versions]


@pytest.mark.parametrize(
    "names", [(), ("0002_b",), ("0001_a", "0003_c"), ("0001_a", "0001_b"), ("1_a",), ("0001_A",)]
)
def test_misnamed_files_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = write(tmp_path / "m", **dict.fromkeys(names, "SELECT 1"))
    with pytest.raises(MigrationError) as refused:
        load_migrations(folder)
    assert refused.value.code == "BAD_FILES"


async def test_check_schema_changes_nothing(empty_database_url: str) -> None:
    with pytest.raises(MigrationError):
        await check(empty_database_url)
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert await fetch(empty_database_url, tables) == [(0,)]
