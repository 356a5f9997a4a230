from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clearing.errors import InvariantError
from iso_exchange.storage.embedded import Embedded
from iso_exchange.storage.migrate import MigrationError, migrate
from iso_exchange.storage.pool import UnsafeServerError, check_settings
from iso_exchange.storage.postgres import PostgresStore, end_of_prefix
from iso_exchange.storage.programs import processes_in
from settlement.storage.memory import MemoryStore
from settlement.storage.store import Commit, LedgerStore, Published, StoreError, TreeState
from tests.integration.store_suite import (
    StoreSuite,
    grow,
    make_balance,
    make_commit,
    make_document,
    make_entry,
    make_transfer,
    snapshot,
)


@pytest_asyncio.fixture
async def postgres_store(database_url: str) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(database_url)
    yield store
    await store.close()


class TestPostgresStore(StoreSuite):
    @pytest.fixture
    def store(self, postgres_store: PostgresStore) -> LedgerStore:
        return postgres_store


async def test_a_database_without_the_schema_is_refused(empty_database_url: str) -> None:
    with pytest.raises(MigrationError) as refused:
        await PostgresStore.open(empty_database_url)
    assert refused.value.code == "PENDING_MIGRATIONS"


async def test_the_envelope_of_a_public_entry_is_not_stored_twice(
    database_url: str, postgres_store: PostgresStore
) -> None:
    await grow(postgres_store, 1)
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT envelope FROM entries") is None
    finally:
        await connection.close()


@pytest.mark.parametrize("table", ["entries", "documents", "transfers"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {} SET kind = 'X'",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "SET session_replication_role = replica; DELETE FROM {}",
    ],
)
async def test_the_log_is_append_only_even_for_its_owner(
    database_url: str, postgres_store: PostgresStore, table: str, statement: str
) -> None:
    batch = make_commit(
        await postgres_store.tree_state(),
        make_entry(0),
        documents=(make_document(b"a"),),
        transfers=(make_transfer(0, 0),),
    )
    await postgres_store.commit(batch)
    column = "code" if table == "transfers" else "kind"
    connection = await asyncpg.connect(database_url)
    try:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
            await connection.execute(statement.replace("kind", column).format(table))
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 1  # noqa: S608
    finally:
        await connection.close()


async def test_a_database_belongs_to_one_origin(postgres_store: PostgresStore) -> None:
    await postgres_store.bind_origin("log.example/1", "iso 0.1")
    await postgres_store.bind_origin("log.example/1", "iso 0.2")
    with pytest.raises(StoreError) as refused:
        await postgres_store.bind_origin("log.example/2", "iso 0.2")
    assert refused.value.code == "OTHER_ORIGIN"


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("a", "b"),
        ("az", "a{"),
        ("", ""),
        ("\ud7ff", "\ue000"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", ""),
    ],
)
def test_the_end_of_a_prefix_is_the_least_string_above(prefix: str, end: str) -> None:
    assert end_of_prefix(prefix) == end


# ------------------------------------------------------------------------- unsafe servers


async def test_a_database_that_may_forget_is_refused(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    name = await connection.fetchval("SELECT current_database()")
    try:
        await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        with pytest.raises(UnsafeServerError) as refused:
            await PostgresStore.open(database_url)
        assert refused.value.code == "UNSAFE_SETTING"
        assert refused.value.setting == "synchronous_commit"
    finally:
        await connection.execute(f"ALTER DATABASE {name} RESET synchronous_commit")
        await connection.close()


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("fsync", "off", "UNSAFE_SETTING"),
        ("full_page_writes", "off", "UNSAFE_SETTING"),
        ("synchronous_commit", "off", "UNSAFE_SETTING"),
        ("server_version_num", "130014", "SERVER_TOO_OLD"),
    ],
)
def test_settings_that_may_forget_are_refused(setting: str, value: str, code: str) -> None:
    good = {
        "server_version_num": "140000",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "local",
    }
    check_settings(good)
    with pytest.raises(UnsafeServerError) as refused:
        check_settings({**good, setting: value})
    assert (refused.value.code, refused.value.setting) == (code, setting)
    assert value in str(refused.value)


# ------------------------------------------------------------------------- broken connections


async def test_a_connection_lost_in_a_commit_is_an_unknown_outcome(
    database_url: str, postgres_store: PostgresStore
) -> None:
    state = await postgres_store.take_over()
    batch = make_commit(state, make_entry(0))
    blocker = await asyncpg.connect(database_url)
    try:
        async with blocker.transaction():
            await blocker.execute("SELECT * FROM tree_state FOR UPDATE")
            committing = asyncio.create_task(postgres_store.commit(batch))
            waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while (pid := await blocker.fetchval(waiting)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await blocker.execute("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises(StoreError) as broken:
                await committing
    finally:
        await blocker.close()
    assert broken.value.code == "UNKNOWN_OUTCOME"
    assert await postgres_store.tree_state() == state
    await postgres_store.commit(batch)
    assert await postgres_store.tree_state() == batch.new


async def kill_server(server: Embedded) -> None:
    """SIGKILL to every process of the server, as the kernel's OOM killer may do."""
    while server.running or processes_in(server.data):
        for pid in processes_in(server.data):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.01)


async def commit_until_broken(store: PostgresStore) -> tuple[list[Commit], Commit, StoreError]:
    """Commit without pause; what was acknowledged, what was in flight, and the refusal."""
    acknowledged: list[Commit] = []
    state = await store.take_over()
    while True:
        indices = range(state.size, state.size + 5)
        batch = make_commit(
            state,
            *(make_entry(index) for index in indices),
            transfers=tuple(make_transfer(index, 0) for index in indices),
            balances=(make_balance("a", state.size + 5),),
        )
        try:
            await store.commit(batch)
        except StoreError as error:
            return acknowledged, batch, error
        acknowledged.append(batch)
        state = batch.new


async def test_what_was_acknowledged_survives_a_killed_server(server_directory: Path) -> None:
    server = Embedded(server_directory)
    await server.start()
    try:
        await migrate(server.url)
        kept: list[Commit] = []
        for pause_s in (0.1, 0.17, 0.31):
            store = await PostgresStore.open(server.url)
            asyncio.get_running_loop().call_later(
                pause_s, lambda: os.kill(server.pid, signal.SIGKILL)
            )
            acknowledged, in_flight, error = await commit_until_broken(store)
            assert error.code == "UNKNOWN_OUTCOME"
            assert acknowledged
            await kill_server(server)
            await store.close()
            await server.start()

            store = await PostgresStore.open(server.url)
            kept += acknowledged
            # At most the one commit in flight may be there beyond those acknowledged.
            found = await store.tree_state()
            assert found in {kept[-1].new, in_flight.new}
            if found == in_flight.new:
                kept.append(in_flight)
            entries = tuple(entry for batch in kept for entry in batch.entries)
            transfers = tuple(applied for batch in kept for applied in batch.transfers)
            assert tuple(await store.entries(0, 100_000)) == entries
            assert tuple(await store.transfers("", (0, 0), 100_000)) == transfers
            assert list(await store.balances("")) == [make_balance("a", found.size)]
            await store.close()
    finally:
        await server.stop()


async def test_a_read_without_a_server_says_unavailable(server_directory: Path) -> None:
    async with Embedded(server_directory) as server:
        await migrate(server.url)
        store = await PostgresStore.open(server.url)
    with pytest.raises(StoreError) as broken:
        await store.tree_state()
    assert broken.value.code == "UNAVAILABLE"
    await store.close()


# ------------------------------------------------------------------------- memory and PostgreSQL

BODIES = st.sampled_from([b"", b"a", b"b", b"c" * 3_000])
ACCOUNTS = st.sampled_from(["a", "b", "ab", "é"])

COMMITS = st.fixed_dictionaries(
    {
        "stale": st.sampled_from(["", "", "", "", "epoch", "root"]),
        "requests": st.lists(st.sampled_from("pqrstuvwxyz"), max_size=3),
        "transfers": st.lists(
            st.tuples(st.integers(0, 20), ACCOUNTS, ACCOUNTS, st.sampled_from([0, 5, 10**37])),
            max_size=3,
        ),
        "documents": st.lists(st.tuples(BODIES, st.sampled_from(["BOOK", "OUTCOME"])), max_size=2),
        "balances": st.dictionaries(ACCOUNTS, st.integers(-(10**38), 10**38), max_size=2),
    }
)
OPERATIONS = st.lists(
    st.one_of(
        st.just("take over"),
        st.tuples(st.integers(-1, 6), st.integers(0, 6)),
        COMMITS,
    ),
    min_size=1,
    max_size=10,
)


def commit_of(state: TreeState, drawn: Any) -> Commit:
    """A commit on a state, with whatever was drawn: it may be refused or malformed."""
    if drawn["stale"] == "epoch":
        state = replace(state, epoch=state.epoch + 1)
    elif drawn["stale"] == "root":
        state = replace(state, root=bytes(32))
    entries = [
        make_entry(state.size + number, request) for number, request in enumerate(drawn["requests"])
    ]
    transfers = [
        make_transfer(
            state.size, place, debit=debit, credit=credit, amount=amount, transfer_id=f"t{number}"
        )
        for place, (number, debit, credit, amount) in enumerate(drawn["transfers"])
    ]
    documents = [make_document(body, kind) for body, kind in drawn["documents"]]
    balances = [make_balance(account, posted) for account, posted in drawn["balances"].items()]
    return make_commit(
        state,
        *entries,
        documents=tuple(documents),
        transfers=tuple(transfers),
        balances=tuple(balances),
    )


async def perform(store: LedgerStore, operation: Any) -> object:
    """Do one drawn operation; the answer, or the code of the refusal."""
    try:
        if operation == "take over":
            return await store.take_over()
        if isinstance(operation, tuple):
            expected_size, size = operation
            checkpoint = b"%d after %d" % (size, expected_size)
            await store.publish(expected_size, Published(size=size, checkpoint=checkpoint))
            return "published"
        await store.commit(commit_of(await store.tree_state(), operation))
        return "committed"
    except StoreError as error:
        return error.code
    except InvariantError as error:
        return str(error)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations=OPERATIONS)
@example(operations=["take over", (-1, 0), (0, 0)])
async def test_memory_and_postgres_agree(database_url: str, operations: list[object]) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()
    await migrate(database_url)
    memory = MemoryStore()
    postgres = await PostgresStore.open(database_url, connections_max=1)
    try:
        for operation in operations:
            assert await perform(memory, operation) == await perform(postgres, operation)
            assert await snapshot(memory) == await snapshot(postgres)
        for account in ("a", "b", "é"):
            for start in ((0, 0), (1, 1)):
                ours = await memory.transfers(account, start, 2)
                assert list(ours) == list(await postgres.transfers(account, start, 2))
        for prefix in ("a", "é"):
            assert list(await memory.balances(prefix)) == list(await postgres.balances(prefix))
    finally:
        await postgres.close()
