"""What is published, for those who read it: the last checkpoint, and the tree it is of.

``Publisher`` is one that writes. Where it runs in a process of its own, the sequencer's process
has a ``FollowedPublication``: it sees in the database what the publisher did.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import structlog

from iso_exchange.observability import metrics
from settlement.ledger import merkle
from settlement.ledger.checkpoint import Checkpoint, parse_checkpoint, parse_note
from settlement.ledger.errors import CheckpointError
from settlement.storage.store import LedgerStore, Published, StoreError, TreeState

PAGE_COUNT: Final = 4_096
CHECKPOINT_NAME: Final = "checkpoint"
WITNESSED_NAME: Final = "checkpoint.witnessed"
FOLLOW_SECONDS: Final = 0.25
BEHIND_SECONDS: Final = 30.0
"""A publisher that has been silent for so long while the log grew is worth a warning."""

log = structlog.get_logger("publication")


class Publication:
    """Hashes of the log, and its last published checkpoint."""

    def __init__(self, *, store: LedgerStore, directory: Path) -> None:
        """Nothing is read yet."""
        self._store = store
        self._directory = directory
        self._tree = merkle.HashTree()
        self._published: Published | None = None
        self.changed = asyncio.Condition()

    @property
    def published(self) -> Published | None:
        """Last checkpoint that readers may have seen."""
        return self._published

    @property
    def tree(self) -> merkle.HashTree:
        """Hashes of all leaves read so far, for proofs."""
        return self._tree

    async def _read(self, size: int) -> None:
        """Hash the leaves that are not in the tree yet, from the bytes in the database."""
        while self._tree.size < size:
            start = self._tree.size
            leaves = await self._store.leaves(start, min(PAGE_COUNT, size - start))
            if not leaves:
                raise StoreError("ROLLED_BACK", f"leaves end at {start} of {size}")
            for leaf in leaves:
                self._see(leaf)
            self._tree.extend(merkle.leaf_hash(leaf) for leaf in leaves)

    def _see(self, leaf: bytes) -> None:
        """A leaf on its way into the tree."""

    def _refuse_other(self, where: str, note: bytes, head: TreeState) -> None:
        """Refuse a checkpoint that is no part of the database's tree.

        Raises:
            StoreError: ``ROLLED_BACK``, or ``DAMAGED`` when it is no checkpoint.
        """
        found = read_note(where, note)
        if found.size > head.size or found.root != self._tree.root(found.size):
            detail = f"{where} names another tree of {found.size} entries, or more than are stored"
            raise StoreError("ROLLED_BACK", detail)


class FollowedPublication(Publication):
    """What a publisher in another process publishes."""

    async def start(self) -> None:
        """Read what is published, and hold it, and the checkpoint file here, against the log.

        Raises:
            StoreError: ``ROLLED_BACK`` when the database does not extend them; ``DAMAGED``.
        """
        head = await self._store.tree_state()
        await self._read(head.size)
        self._published = await self._store.published()
        if self._published is not None:
            self._refuse_other("the database", self._published.checkpoint, head)
        path = self._directory / CHECKPOINT_NAME
        if path.exists():
            self._refuse_other(CHECKPOINT_NAME, path.read_bytes(), head)

    async def run(self) -> None:
        """See what is published, for ever."""
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            if await self.follow():
                seen = loop.time()
            elif loop.time() > seen + BEHIND_SECONDS:
                seen = loop.time()
                head = await self._store.tree_state()
                known = 0 if self._published is None else self._published.size
                if head.size > known:
                    log.warning("nothing is published", size=head.size, published=known)

    async def follow(self) -> bool:
        """See what is published now; whether it is something new.

        Raises:
            StoreError: ``ROLLED_BACK``: it is no part of the database's tree.
        """
        found = await self._store.published()
        if found is None or found == self._published:
            return False
        head = await self._store.tree_state()
        await self._read(found.size)
        self._refuse_other("the database", found.checkpoint, head)
        self._published = found
        metrics.published_size.set(found.size)
        async with self.changed:
            self.changed.notify_all()
        return True


def read_note(where: str, note: bytes) -> Checkpoint:
    """A checkpoint that nobody verified.

    Raises:
        StoreError: ``DAMAGED``: it is none.
    """
    try:
        return parse_checkpoint(parse_note(note).text)
    except CheckpointError as error:
        detail = f"{where} is no checkpoint ({error}): restore it, or remove it if it is a file"
        raise StoreError("DAMAGED", detail) from error
