"""A hot query that loses its index fails here, before it is slow anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import asyncpg
import pytest_asyncio

from iso_exchange.storage import queries

SEED = """
INSERT INTO entries
SELECT i, 'ORDER', i, sha256(i::text::bytea), sha256(i::text::bytea), NULL, '', '{}',
       'principal ' || i % 50, 'request ' || i, sha256(''), '', '{}'
FROM generate_series(0, 19999) AS i;
INSERT INTO documents
SELECT sha256(i::text::bytea), 'KIND ' || i % 20, false, '{}', ''
FROM generate_series(1, 5000) AS i;
INSERT INTO transfers
SELECT i, 0, 'transfer ' || i, 'USD', 'account ' || i % 499, 'account ' || i % 503, 1, 1,
       'POSTED', 'DEPOSIT', '', '', '', 0, 0, 0, ''
FROM generate_series(0, 19999) AS i;
INSERT INTO balances
SELECT CASE WHEN i % 2 = 0 THEN 'USD' ELSE 'CREDIT:lab ' || i % 400 END, 'account ' || i, 0, 0, 0
FROM generate_series(0, 9999) AS i;
ANALYZE;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hot:
    """A query, and every index without which it reads too much."""

    query: str
    indexes: tuple[str, ...]
    sorts: bool = False  # by design: few rows, ordered by something else


HOT = {
    "entries": Hot(query=queries.ENTRIES, indexes=("entries_pkey",)),
    "leaves": Hot(query=queries.LEAVES, indexes=("entries_pkey",)),
    "leaf_hashes": Hot(query=queries.LEAF_HASHES, indexes=("entries_pkey",)),
    "find_request": Hot(query=queries.FIND_REQUEST, indexes=("entries_request",)),
    "document": Hot(query=queries.DOCUMENT, indexes=("documents_pkey",)),
    "documents": Hot(query=queries.DOCUMENTS, indexes=("documents_pkey",)),
    "documents_of_kind": Hot(query=queries.DOCUMENTS_OF_KIND, indexes=("documents_kind",)),
    "transfers": Hot(query=queries.TRANSFERS, indexes=("transfers_pkey",)),
    "transfers_of_account": Hot(
        query=queries.TRANSFERS_OF_ACCOUNT, indexes=("transfers_debit", "transfers_credit")
    ),
    "balances_in_range": Hot(
        query=queries.BALANCES_IN_RANGE, indexes=("balances_account",), sorts=True
    ),
}
DROP = {
    "entries_pkey": "ALTER TABLE entries DROP CONSTRAINT entries_pkey",
    "entries_request": "ALTER TABLE entries DROP CONSTRAINT entries_request",
    "documents_pkey": "ALTER TABLE documents DROP CONSTRAINT documents_pkey",
    "documents_kind": "DROP INDEX documents_kind",
    "transfers_pkey": "ALTER TABLE transfers DROP CONSTRAINT transfers_pkey",
    "transfers_debit": "DROP INDEX transfers_debit",
    "transfers_credit": "DROP INDEX transfers_credit",
    "balances_account": "DROP INDEX balances_account",
}


def nodes(plan: dict[str, object]) -> Iterator[dict[str, object]]:
    yield plan
    below = plan.get("Plans", [])
    assert isinstance(below, list)
    for child in below:
        yield from nodes(child)


async def findings(connection: asyncpg.Connection, hot: Hot) -> list[str]:
    """What is wrong with the plan of a query, for parameters not yet known."""
    count = max(int(number) for number in re.findall(r"\$(\d+)", hot.query))
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE hot AS {hot.query}")
    unknown = ", ".join(["NULL"] * count)
    explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE hot({unknown})")
    await connection.execute("DEALLOCATE hot")
    found = list(nodes(json.loads(explained)[0]["Plan"]))
    used = {node.get("Index Name") for node in found}
    kinds = {str(node["Node Type"]) for node in found}
    missing = [f"does not use {index}" for index in hot.indexes if index not in used]
    scans = [f"{kind} of a table" for kind in kinds if kind == "Seq Scan"]
    sorts = [kind for kind in kinds if kind == "Sort" and not hot.sorts]
    return [*missing, *scans, *sorts]


@pytest_asyncio.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute(SEED)
    yield connection
    await connection.close()


async def test_every_hot_query_uses_its_indexes(connection: asyncpg.Connection) -> None:
    wrong = {name: await findings(connection, hot) for name, hot in HOT.items()}
    assert wrong == {name: [] for name in HOT}


async def test_a_lost_index_is_found(connection: asyncpg.Connection) -> None:
    missed = []
    for index, statement in DROP.items():
        concerned = [name for name, hot in HOT.items() if index in hot.indexes]
        assert concerned
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(statement)
        missed += [(index, name) for name in concerned if not await findings(connection, HOT[name])]
        await transaction.rollback()
    assert missed == []
    assert {index for hot in HOT.values() for index in hot.indexes} == set(DROP)
