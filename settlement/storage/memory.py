"""The ledger store in memory, for tests and simulation.

Behaves as the PostgreSQL adapter does, with one difference: it forgets. No method awaits
anything, so every call is atomic for whatever event loop runs it.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from settlement.storage.checks import check_commit, check_limit
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

EMPTY_TREE = TreeState(epoch=0, size=0, root=hashlib.sha256().digest())  # RFC 6962, 2.1


class MemoryStore:
    """A ``LedgerStore`` that lives as long as the object."""

    def __init__(self) -> None:
        self._state = EMPTY_TREE
        self._entries: list[Entry] = []
        self._requests: dict[tuple[str, str], int] = {}
        self._documents: dict[bytes, Document] = {}
        self._transfers: list[AppliedTransfer] = []  # by (entry_index, position)
        self._transfer_ids: set[str] = set()
        self._by_account: dict[str, list[AppliedTransfer]] = {}
        self._balances: dict[tuple[str, str], Balance] = {}
        self._published: Published | None = None

    async def take_over(self) -> TreeState:
        """Raise the epoch by one and return the new state."""
        self._state = replace(self._state, epoch=self._state.epoch + 1)
        return self._state

    async def tree_state(self) -> TreeState:
        """Current head."""
        return self._state

    async def commit(self, batch: Commit) -> None:
        """Apply one group commit atomically.

        Raises:
            StoreError: ``STALE_TREE_STATE``, ``DUPLICATE_REQUEST`` or ``DUPLICATE_TRANSFER``,
                found in this order.
            InvariantError: The batch itself is malformed.
        """
        check_commit(batch)
        if batch.expected != self._state:
            raise StoreError("STALE_TREE_STATE", f"expected {batch.expected}, found {self._state}")
        self._refuse_duplicates(batch)
        # From here on nothing fails.
        self._state = batch.new
        for entry in batch.entries:
            self._requests[entry.principal, entry.request_id] = len(self._entries)
            self._entries.append(entry)
        for document in batch.documents:
            self._documents.setdefault(document.sha256, document)
        for applied in sorted(batch.transfers, key=_place):
            self._transfers.append(applied)
            self._transfer_ids.add(applied.transfer.transfer_id)
            for account in {applied.transfer.debit, applied.transfer.credit}:
                self._by_account.setdefault(account, []).append(applied)
        for balance in batch.balances:
            self._balances[balance.asset, balance.account] = balance

    async def entries(self, start: int, limit: int) -> Sequence[Entry]:
        """Entries ``start <= index < start + limit``, ascending."""
        check_limit(limit)
        return tuple(self._entries[max(start, 0) : max(start + limit, 0)])

    async def leaves(self, start: int, limit: int) -> Sequence[bytes]:
        """Only the leaf bytes of a range."""
        return tuple(entry.leaf for entry in await self.entries(start, limit))

    async def leaf_hashes(self, start: int, limit: int) -> Sequence[bytes]:
        """Only the stored leaf hashes of a range."""
        return tuple(entry.leaf_hash for entry in await self.entries(start, limit))

    async def find_request(self, principal: str, request_id: str) -> Entry | None:
        """Entry that a request produced, or None."""
        index = self._requests.get((principal, request_id))
        return None if index is None else self._entries[index]

    async def document(self, sha256: bytes) -> Document | None:
        """One document, or None."""
        return self._documents.get(sha256)

    async def documents(self, kind: str, start: bytes, limit: int) -> Sequence[Document]:
        """Documents of a kind (all kinds when empty), ascending by digest, after ``start``."""
        check_limit(limit)
        digests = sorted(digest for digest in self._documents if digest > start)
        found = (self._documents[digest] for digest in digests)
        return tuple(one for one in found if not kind or one.kind == kind)[:limit]

    async def transfers(
        self, account: str, start: tuple[int, int], limit: int
    ) -> Sequence[AppliedTransfer]:
        """Transfers that touch an account (all when empty) from ``start`` on, in log order."""
        check_limit(limit)
        touched = self._by_account.get(account, []) if account else self._transfers
        first = bisect_left(touched, start, key=_place)
        return tuple(touched[first : first + limit])

    async def balances(self, prefix: str) -> Sequence[Balance]:
        """Balances of accounts with a name prefix, sorted by (asset, account)."""
        keys = sorted(key for key in self._balances if key[1].startswith(prefix))
        return tuple(self._balances[key] for key in keys)

    async def published(self) -> Published | None:
        """Last published checkpoint, or None."""
        return self._published

    async def publish(self, expected_size: int, new: Published) -> None:
        """Compare-and-swap the published checkpoint (``expected_size`` -1 for none yet).

        Raises:
            StoreError: ``STALE_TREE_STATE`` when another publisher was faster; ``ROLLED_BACK``
                when the checkpoint is ahead of the tree.
        """
        if new.size > self._state.size:
            raise StoreError("ROLLED_BACK", f"{new.size} published, {self._state.size} stored")
        found = -1 if self._published is None else self._published.size
        if found != expected_size:
            raise StoreError("STALE_TREE_STATE", f"published {found}, expected {expected_size}")
        self._published = new

    async def close(self) -> None:
        """Nothing to release."""

    def _refuse_duplicates(self, batch: Commit) -> None:
        requests = set[tuple[str, str]]()
        for entry in batch.entries:
            key = (entry.principal, entry.request_id)
            if key in self._requests or key in requests:
                raise StoreError("DUPLICATE_REQUEST", f"{key} exists")
            requests.add(key)
        ids = set[str]()
        for applied in batch.transfers:
            transfer_id = applied.transfer.transfer_id
            if transfer_id in self._transfer_ids or transfer_id in ids:
                raise StoreError("DUPLICATE_TRANSFER", f"{transfer_id} exists")
            ids.add(transfer_id)


def _place(applied: AppliedTransfer) -> tuple[int, int]:
    return (applied.entry_index, applied.position)
