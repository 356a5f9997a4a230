"""The ledger store: what the sequencer needs from a database, and nothing more.

One behavioural suite (``tests/integration/store_suite.py``) holds for every adapter.
All methods are coroutines so that a database adapter fits; the Protocol itself knows no
event loop. A store keeps bytes as it was given them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from settlement.types import Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeState:
    """Head of the log: the compare-and-swap value of every commit.

    Attributes:
        epoch: Number of sequencer take-overs; a stale sequencer is fenced by it.
        size: Leaves.
        root: 32 bytes, RFC 6962.
    """

    epoch: int
    size: int
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One leaf and what belongs to it.

    Attributes:
        index: Position in the log, from 0.
        kind: Entry kind, such as ``ORDER`` or ``AUCTION_RESULT``.
        time_us: Microseconds since the epoch, as the sequencer was told; never falls.
        leaf: Exact leaf bytes, at most 32 KiB.
        leaf_hash: RFC 6962 leaf hash, 32 bytes.
        envelope: Exact envelope bytes behind a commitment leaf; equal to ``leaf`` for public kinds.
        salt: 32 bytes for a commitment leaf, empty for a public one.
        owners: Participants to whom the opening belongs, sorted.
        principal: Who submitted it.
        request_id: Idempotency key within ``principal``.
        body_sha256: 32 bytes: digest of the submitted request body.
        reply: Stored answer, for exact replay.
        documents: SHA-256 digests of documents that this entry anchors.
    """

    index: int
    kind: str
    time_us: int
    leaf: bytes
    leaf_hash: bytes
    envelope: bytes
    salt: bytes
    owners: tuple[str, ...]
    principal: str
    request_id: str
    body_sha256: bytes
    reply: bytes
    documents: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A content-addressed document; its digest is in a leaf.

    Attributes:
        sha256: 32 bytes.
        kind: Such as ``BOOK``, ``OUTCOME``, ``POSTINGS``, ``STATEMENT``.
        public: May be handed to anybody.
        owners: Participants who may read it, sorted; auditors always may.
    """

    sha256: bytes
    kind: str
    public: bool
    owners: tuple[str, ...]
    body: bytes


class AppliedTransfer(NamedTuple):
    """A transfer as the books applied it, with the entry that carried it.

    Attributes:
        applied: Amount moved (posted part for POST_PENDING, 0 for VOID_PENDING).
    """

    entry_index: int
    position: int
    transfer: Transfer
    applied: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Balance of one account in one asset.

    Attributes:
        posted: Credits minus debits, posted.
        pending_debit: Held out of it.
        pending_credit: Promised to it.
    """

    asset: str
    account: str
    posted: int
    pending_debit: int
    pending_credit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One group commit: everything or nothing, after a compare-and-swap on ``expected``."""

    expected: TreeState
    new: TreeState
    entries: tuple[Entry, ...]
    documents: tuple[Document, ...]
    transfers: tuple[AppliedTransfer, ...]
    balances: tuple[Balance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Last signed checkpoint that readers may have seen.

    Attributes:
        size: Its tree size.
        checkpoint: Exact signed-note bytes.
    """

    size: int
    checkpoint: bytes


class StoreError(RuntimeError):
    """The store refused or broke; ``code`` is stable.

    ``STALE_TREE_STATE``: another sequencer committed or took over (fenced).
    ``DUPLICATE_REQUEST``: (principal, request_id) exists.
    ``DUPLICATE_TRANSFER``: a transfer id exists.
    ``UNKNOWN_OUTCOME``: the connection broke during commit: exit, reload, let clients retry.
    ``ROLLED_BACK``: the database is behind what was published.
    ``DAMAGED``: the database or a published file holds something else than the log's hashes say.
    ``UNAVAILABLE``: a read or ``publish`` broke; after ``publish`` read ``published`` again.
    ``OTHER_ORIGIN``: the database belongs to another log.
    """

    def __init__(self, code: str, detail: str) -> None:
        """Keep the code; the message joins both."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class LedgerStore(Protocol):
    """Durable log, documents, transfers and balances."""

    async def take_over(self) -> TreeState:
        """Become the sequencer: raise the epoch by one, durably, and return the new state."""
        ...

    async def tree_state(self) -> TreeState:
        """Current head."""
        ...

    async def commit(self, batch: Commit) -> None:
        """Apply one group commit atomically and durably.

        Raises:
            StoreError: ``STALE_TREE_STATE``, ``DUPLICATE_REQUEST``, ``DUPLICATE_TRANSFER`` or
                ``UNKNOWN_OUTCOME``; in the first three nothing was changed.
        """
        ...

    async def entries(self, start: int, limit: int) -> Sequence[Entry]:
        """Entries ``start <= index < start + limit``, ascending."""
        ...

    async def leaves(self, start: int, limit: int) -> Sequence[bytes]:
        """Only the leaf bytes of a range, for the publisher."""
        ...

    async def leaf_hashes(self, start: int, limit: int) -> Sequence[bytes]:
        """Only the stored leaf hashes of a range."""
        ...

    async def find_request(self, principal: str, request_id: str) -> Entry | None:
        """Entry that a request produced, or None."""
        ...

    async def document(self, sha256: bytes) -> Document | None:
        """One document, or None."""
        ...

    async def documents(self, kind: str, start: bytes, limit: int) -> Sequence[Document]:
        """Documents of a kind (all kinds when empty), ascending by digest, after ``start``."""
        ...

    async def transfers(
        self, account: str, start: tuple[int, int], limit: int
    ) -> Sequence[AppliedTransfer]:
        """Transfers of an account (all when empty), by (entry, position), from ``start``."""
        ...

    async def balances(self, prefix: str) -> Sequence[Balance]:
        """Balances of accounts with a name prefix, sorted by (asset, account)."""
        ...

    async def published(self) -> Published | None:
        """Last published checkpoint, or None."""
        ...

    async def publish(self, expected_size: int, new: Published) -> None:
        """Compare-and-swap the published checkpoint (``expected_size`` -1 for none yet).

        Raises:
            StoreError: ``STALE_TREE_STATE`` when another publisher was faster.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
