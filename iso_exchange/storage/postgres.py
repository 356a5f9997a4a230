"""The ledger store in PostgreSQL.

One commit is one transaction: compare-and-swap of the head, COPY of the rows, COMMIT with
synchronous_commit. When this returns, the entries survive a power cut.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Self

import asyncpg
from asyncpg.transaction import Transaction

from clearing.errors import InvariantError
from clearing.units import ChipSeconds, MicroUsdPerChipHour, UnixSeconds
from iso_exchange.storage import queries
from iso_exchange.storage.migrate import check_schema
from iso_exchange.storage.pool import open_pool
from settlement.storage.checks import check_commit, check_limit, is_storable
from settlement.storage.store import (
    AppliedTransfer,
    Balance,
    Commit,
    Document,
    Entry,
    Published,
    StoreError,
    TreeState,
)
from settlement.types import Phase, Transfer, TransferCode

# The connection or the server went away, or the server gave up: whether a COMMIT took effect is
# not known. InternalClientError: what asyncpg says on a connection that died between two calls.
BROKEN = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
# The statement cannot be right: a bug that a check constraint or a type found.
MALFORMED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
DUPLICATES = {"entries_request": "DUPLICATE_REQUEST", "transfers_id": "DUPLICATE_TRANSFER"}
INT64_MAX = 2**63 - 1


class PostgresStore:
    """A ``LedgerStore``; open it with ``PostgresStore.open``.

    Beyond the codes of the Protocol, reads and ``publish`` raise ``StoreError`` with
    ``UNAVAILABLE`` when the database does not answer: nothing was changed, try again.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    async def open(
        cls, url: str, *, application_name: str = "iso", connections_max: int = 10
    ) -> Self:
        """Connect to a migrated database.

        Raises:
            UnsafeServerError: The server may lose commits.
            MigrationError: The schema is not the one of this code.
        """
        pool = await open_pool(
            url, application_name=application_name, connections_max=connections_max
        )
        try:
            async with pool.acquire() as connection:
                await check_schema(connection)
        except BaseException:
            await pool.close()
            raise
        return cls(pool)

    async def bind_origin(self, origin: str, created_with: str) -> None:
        """Write on first use which log this database is, and refuse any other ever after.

        Args:
            origin: Name of the log, first line of its checkpoints.
            created_with: Name and version of the code.

        Raises:
            StoreError: ``OTHER_ORIGIN`` or ``UNAVAILABLE``.
        """
        async with self._connection() as connection, begin(connection):
            await connection.executemany(
                queries.INSERT_META, [("origin", origin), ("created_with", created_with)]
            )
            rows = await connection.fetch(queries.META)
        found = {row["key"]: row["value"] for row in rows}["origin"]
        if found != origin:
            raise StoreError("OTHER_ORIGIN", f"the database is the log {found}, not {origin}")

    async def take_over(self) -> TreeState:
        """Become the sequencer: raise the epoch by one, durably, and return the new state.

        Raises:
            StoreError: ``UNKNOWN_OUTCOME``: the epoch may have risen; take over again.
        """
        try:
            async with self._pool.acquire() as connection:
                return tree_state_of(await connection.fetchrow(queries.TAKE_OVER))
        except BROKEN as error:
            raise StoreError("UNKNOWN_OUTCOME", describe(error)) from error

    async def tree_state(self) -> TreeState:
        """Current head."""
        async with self._connection() as connection:
            return tree_state_of(await connection.fetchrow(queries.TREE_STATE))

    async def commit(self, batch: Commit) -> None:
        """Apply one group commit atomically and durably.

        Cancelled, it may have happened or not, as with ``UNKNOWN_OUTCOME``.

        Raises:
            StoreError: ``STALE_TREE_STATE``, ``DUPLICATE_REQUEST`` or ``DUPLICATE_TRANSFER``
                (found in this order, nothing was changed) or ``UNKNOWN_OUTCOME``.
            InvariantError: The batch itself is malformed; nothing was changed.
        """
        check_commit(batch)
        try:
            async with self._pool.acquire() as connection, begin(connection):
                await write(connection, batch)
        except asyncpg.UniqueViolationError as error:
            code = DUPLICATES.get(error.constraint_name or "")
            if code is None:
                raise InvariantError(describe(error)) from error
            raise StoreError(code, error.detail or str(error)) from error
        except MALFORMED as error:
            raise InvariantError(describe(error)) from error
        except BROKEN as error:
            raise StoreError("UNKNOWN_OUTCOME", describe(error)) from error

    async def entries(self, start: int, limit: int) -> Sequence[Entry]:
        """Entries ``start <= index < start + limit``, ascending."""
        return tuple(entry_of(row) for row in await self._range(queries.ENTRIES, start, limit))

    async def leaves(self, start: int, limit: int) -> Sequence[bytes]:
        """Only the leaf bytes of a range, for the publisher."""
        return tuple(row["leaf"] for row in await self._range(queries.LEAVES, start, limit))

    async def leaf_hashes(self, start: int, limit: int) -> Sequence[bytes]:
        """Only the stored leaf hashes of a range."""
        rows = await self._range(queries.LEAF_HASHES, start, limit)
        return tuple(row["leaf_hash"] for row in rows)

    async def find_request(self, principal: str, request_id: str) -> Entry | None:
        """Entry that a request produced, or None."""
        if not (is_storable(principal) and is_storable(request_id)):
            return None
        async with self._connection() as connection:
            row = await connection.fetchrow(queries.FIND_REQUEST, principal, request_id)
        return None if row is None else entry_of(row)

    async def document(self, sha256: bytes) -> Document | None:
        """One document, or None."""
        async with self._connection() as connection:
            row = await connection.fetchrow(queries.DOCUMENT, sha256)
        return None if row is None else document_of(row)

    async def documents(self, kind: str, start: bytes, limit: int) -> Sequence[Document]:
        """Documents of a kind (all kinds when empty), ascending by digest, after ``start``."""
        check_limit(limit)
        if not is_storable(kind):
            return ()
        async with self._connection() as connection:
            if kind:
                rows = await connection.fetch(queries.DOCUMENTS_OF_KIND, start, limit, kind)
            else:
                rows = await connection.fetch(queries.DOCUMENTS, start, limit)
        return tuple(document_of(row) for row in rows)

    async def transfers(
        self, account: str, start: tuple[int, int], limit: int
    ) -> Sequence[AppliedTransfer]:
        """Transfers that touch an account (all when empty) from ``start`` on, in log order."""
        check_limit(limit)
        if not is_storable(account):
            return ()
        async with self._connection() as connection:
            if account:
                query = queries.TRANSFERS_OF_ACCOUNT
                rows = await connection.fetch(query, *start, limit, account)
            else:
                rows = await connection.fetch(queries.TRANSFERS, *start, limit)
        return tuple(applied_transfer_of(row) for row in rows)

    async def balances(self, prefix: str) -> Sequence[Balance]:
        """Balances of accounts with a name prefix, sorted by (asset, account)."""
        if not is_storable(prefix):
            return ()
        end = end_of_prefix(prefix)
        async with self._connection() as connection:
            if end:
                rows = await connection.fetch(queries.BALANCES_IN_RANGE, prefix, end)
            else:
                rows = await connection.fetch(queries.BALANCES)
        return tuple(balance_of(row) for row in rows if row["account"].startswith(prefix))

    async def published(self) -> Published | None:
        """Last published checkpoint, or None."""
        async with self._connection() as connection:
            row = await connection.fetchrow(queries.PUBLISHED)
        return None if row is None else Published(size=row["size"], checkpoint=row["checkpoint"])

    async def publish(self, expected_size: int, new: Published) -> None:
        """Compare-and-swap the published checkpoint (``expected_size`` -1 for none yet).

        Raises:
            StoreError: ``STALE_TREE_STATE`` when another publisher was faster; ``ROLLED_BACK``
                when the checkpoint is ahead of the tree; ``UNAVAILABLE`` when the database
                broke: read ``published`` before trying again.
        """
        async with self._connection() as connection:
            state = tree_state_of(await connection.fetchrow(queries.TREE_STATE))
            if new.size > state.size:
                raise StoreError("ROLLED_BACK", f"{new.size} published, {state.size} stored")
            if expected_size == -1:
                query = queries.INSERT_PUBLISHED
                status = await connection.execute(query, new.size, new.checkpoint)
            else:
                query = queries.SWAP_PUBLISHED
                status = await connection.execute(query, expected_size, new.size, new.checkpoint)
        if not status.endswith(" 1"):
            raise StoreError("STALE_TREE_STATE", f"published is not at {expected_size}")

    async def close(self) -> None:
        """Release connections."""
        await self._pool.close()

    async def _range(self, query: str, start: int, limit: int) -> list[asyncpg.Record]:
        check_limit(limit)
        async with self._connection() as connection:
            return await connection.fetch(query, start, min(start + limit, INT64_MAX))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        """A connection for a statement whose failure changes nothing."""
        try:
            async with self._pool.acquire() as connection:
                yield connection
        except MALFORMED as error:
            raise InvariantError(describe(error)) from error
        except BROKEN as error:
            raise StoreError("UNAVAILABLE", describe(error)) from error


def begin(connection: asyncpg.pool.PoolConnectionProxy) -> Transaction:
    """A transaction; whatever the server's default, a swap that waited must see the new head."""
    return connection.transaction(isolation="read_committed")


async def write(connection: asyncpg.pool.PoolConnectionProxy, batch: Commit) -> None:
    """The statements of a commit, inside its transaction."""
    old, new = batch.expected, batch.new
    status = await connection.execute(
        queries.SWAP_TREE_STATE, old.epoch, old.size, old.root, new.epoch, new.size, new.root
    )
    if status != "UPDATE 1":
        raise StoreError("STALE_TREE_STATE", f"the head is not {old}")
    if batch.entries:
        records = [entry_record(entry) for entry in batch.entries]
        await connection.copy_records_to_table(
            "entries", records=records, columns=queries.ENTRY_COLUMNS
        )
    if batch.documents:
        await connection.executemany(
            queries.INSERT_DOCUMENT, [document_record(one) for one in batch.documents]
        )
    if batch.transfers:
        records = [transfer_record(applied) for applied in batch.transfers]
        await connection.copy_records_to_table(
            "transfers", records=records, columns=queries.TRANSFER_COLUMNS
        )
    if batch.balances:
        await connection.execute(queries.UPSERT_BALANCES, *balance_columns(batch.balances))


def describe(error: BaseException) -> str:
    """Kind and text of an error; some of asyncpg's and every bare TimeoutError have no text."""
    return f"{type(error).__name__}: {error}"


def end_of_prefix(prefix: str) -> str:
    """The least string above all that start with a prefix, empty when there is none.

    In code point order, which is the byte order of UTF-8 and of COLLATE "C".
    """
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return ""
    following = ord(stem[-1]) + 1
    # Surrogates are no characters of UTF-8.
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)  # noqa: PLR2004


def tree_state_of(row: asyncpg.Record | None) -> TreeState:
    """The head; its row is made by the first migration."""
    if row is None:
        raise InvariantError("tree_state has no row")
    return TreeState(epoch=row["epoch"], size=row["size"], root=row["root"])


def entry_record(entry: Entry) -> tuple[object, ...]:
    """A row of ``entries``, in the order of its columns."""
    return (
        entry.index,
        entry.kind,
        entry.time_us,
        entry.leaf,
        entry.leaf_hash,
        None if entry.envelope == entry.leaf else entry.envelope,
        entry.salt,
        entry.owners,
        entry.principal,
        entry.request_id,
        entry.body_sha256,
        entry.reply,
        entry.documents,
    )


def entry_of(row: asyncpg.Record) -> Entry:
    """An entry from its row."""
    return Entry(
        index=row["index"],
        kind=row["kind"],
        time_us=row["time_us"],
        leaf=row["leaf"],
        leaf_hash=row["leaf_hash"],
        envelope=row["leaf"] if row["envelope"] is None else row["envelope"],
        salt=row["salt"],
        owners=tuple(row["owners"]),
        principal=row["principal"],
        request_id=row["request_id"],
        body_sha256=row["body_sha256"],
        reply=row["reply"],
        documents=tuple(row["documents"]),
    )


def document_record(document: Document) -> tuple[object, ...]:
    """Arguments of ``INSERT_DOCUMENT``."""
    return (document.sha256, document.kind, document.public, document.owners, document.body)


def document_of(row: asyncpg.Record) -> Document:
    """A document from its row."""
    return Document(
        sha256=row["sha256"],
        kind=row["kind"],
        public=row["public"],
        owners=tuple(row["owners"]),
        body=row["body"],
    )


def transfer_record(applied: AppliedTransfer) -> tuple[object, ...]:
    """A row of ``transfers``, in the order of its columns."""
    transfer = applied.transfer
    return (
        applied.entry_index,
        applied.position,
        transfer.transfer_id,
        transfer.asset,
        transfer.debit,
        transfer.credit,
        transfer.amount,
        applied.applied,
        transfer.phase.value,
        transfer.code.value,
        transfer.pending_id,
        transfer.reason,
        transfer.contract_id,
        transfer.interval_start,
        transfer.quantity,
        transfer.price,
        transfer.corrects,
    )


def applied_transfer_of(row: asyncpg.Record) -> AppliedTransfer:
    """An applied transfer from its row."""
    transfer = Transfer(
        transfer_id=row["transfer_id"],
        asset=row["asset"],
        debit=row["debit"],
        credit=row["credit"],
        amount=int(row["amount"]),
        phase=Phase(row["phase"]),
        code=TransferCode(row["code"]),
        pending_id=row["pending_id"],
        reason=row["reason"],
        contract_id=row["contract_id"],
        interval_start=UnixSeconds(row["interval_start"]),
        quantity=ChipSeconds(int(row["quantity"])),
        price=MicroUsdPerChipHour(row["price"]),
        corrects=row["corrects"],
    )
    return AppliedTransfer(
        entry_index=row["entry_index"],
        position=row["position"],
        transfer=transfer,
        applied=int(row["applied"]),
    )


def balance_columns(balances: Iterable[Balance]) -> tuple[list[object], ...]:
    """Arguments of ``UPSERT_BALANCES``, one array per column."""
    # Sorted, so that concurrent writers would lock rows in one order.
    rows = sorted(balances, key=lambda balance: (balance.asset, balance.account))
    return (
        [row.asset for row in rows],
        [row.account for row in rows],
        [row.posted for row in rows],
        [row.pending_debit for row in rows],
        [row.pending_credit for row in rows],
    )


def balance_of(row: asyncpg.Record) -> Balance:
    """A balance from its row."""
    return Balance(
        asset=row["asset"],
        account=row["account"],
        posted=int(row["posted"]),
        pending_debit=int(row["pending_debit"]),
        pending_credit=int(row["pending_credit"]),
    )
