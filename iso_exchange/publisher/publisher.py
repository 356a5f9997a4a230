"""The publisher: reads committed bytes back, re-hashes them, writes tiles, signs.

It trusts nothing but the database's bytes: what it signs, it hashed itself. The order of
writing (bundles, tiles, compare-and-swap, checkpoint) means that a checkpoint that
anybody has seen always has its tiles, and that a restart repeats at most one step.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import structlog

from clearing.errors import InvariantError
from iso_exchange.observability import metrics
from iso_exchange.publisher.checks import complete_files
from iso_exchange.publisher.files import replace, write_once
from settlement.ledger import merkle, tiles
from settlement.ledger.checkpoint import (
    Checkpoint,
    parse_checkpoint,
    parse_note,
    sign_checkpoint,
)
from settlement.ledger.keys import SigningKey
from settlement.storage.store import LedgerStore, Published, StoreError

PUBLISH_SECONDS: Final = 1.0
PAGE_COUNT: Final = 4_096
CHECKPOINT_NAME: Final = "checkpoint"

log = structlog.get_logger("publisher")


class Publisher:
    """Writes the public log below one directory."""

    def __init__(
        self, *, store: LedgerStore, origin: str, key: SigningKey, directory: Path
    ) -> None:
        """Wire the parts; ``start`` reads what is there.

        Args:
            directory: Holds ``checkpoint`` and ``tile/``; served as static files.
        """
        self._store = store
        self._origin = origin
        self._key = key
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

    async def start(self) -> None:
        """Read what is published, and compare the file on disk with the database.

        A file that is behind (a crash between the compare-and-swap and the rename) is renewed,
        and so are files that are missing.

        Raises:
            StoreError: ``ROLLED_BACK`` when the checkpoint file is ahead of the database, or
                names another tree of the same size; ``DAMAGED`` when a file, or a leaf in the
                database, is not what the published checkpoint says.
        """
        self._published = await self._store.published()
        path = self._directory / CHECKPOINT_NAME
        seen = path.read_bytes() if path.exists() else b""
        if seen:
            size = parse_checkpoint(parse_note(seen).text).size
            known = self._published.size if self._published else -1
            if size > known:
                detail = f"the checkpoint file names {size} entries, the database {known}"
                raise StoreError("ROLLED_BACK", detail)
            if self._published and size == known and seen != self._published.checkpoint:
                raise StoreError("ROLLED_BACK", f"two checkpoints of size {size} differ")
        if self._published is not None:
            size = self._published.size
            await self._read(size)
            root = parse_checkpoint(parse_note(self._published.checkpoint).text).root
            if self._tree.root(size) != root:
                raise StoreError("DAMAGED", f"leaves do not give the published root of {size}")
            await complete_files(self._store, self._directory, self._tree.subtree_hash, size)
            if seen != self._published.checkpoint:
                replace(path, self._published.checkpoint)

    async def publish(self) -> Published | None:
        """Publish everything committed so far; None when nothing is new.

        Raises:
            InvariantError: the database's leaves do not give its own root.
        """
        head = await self._store.tree_state()
        old = self._published.size if self._published else 0
        if head.size == old:
            return None
        await self._read(head.size)
        root = self._tree.root(head.size)
        if root != head.root:
            message = f"leaves give root {root.hex()}, the database says {head.root.hex()}"
            raise InvariantError(message)
        for bundle in tiles.changed_bundles(old, head.size):
            first = bundle.index * tiles.TILE_WIDTH
            leaves = await self._store.leaves(first, bundle.width)
            await self._write(bundle, tiles.encode_bundle(leaves))
        for tile in tiles.changed_tiles(old, head.size):
            await self._write(tile, tiles.tile_bytes(tile, self._tree.subtree_hash))
        note = sign_checkpoint(
            Checkpoint(origin=self._origin, size=head.size, root=root), self._key
        )
        new = Published(size=head.size, checkpoint=note)
        await self._store.publish(self._published.size if self._published else -1, new)
        self._published = new
        await asyncio.to_thread(replace, self._directory / CHECKPOINT_NAME, note)
        metrics.published_size.set(head.size)
        async with self.changed:
            self.changed.notify_all()
        return new

    async def run(self) -> None:
        """Publish each second, for ever."""
        while True:
            published = await self.publish()
            if published is not None:
                log.info("published", size=published.size)
            await asyncio.sleep(PUBLISH_SECONDS)

    async def _write(self, tile: tiles.Tile, content: bytes) -> None:
        """Write one immutable file durably, off the event loop: fsync may take long."""
        await asyncio.to_thread(write_once, self._directory / tile.path, content)

    async def _read(self, size: int) -> None:
        """Hash the leaves that are not in the tree yet, from the bytes in the database."""
        while self._tree.size < size:
            start = self._tree.size
            leaves = await self._store.leaves(start, min(PAGE_COUNT, size - start))
            if not leaves:
                raise StoreError("ROLLED_BACK", f"leaves end at {start} of {size}")
            self._tree.extend(merkle.leaf_hash(leaf) for leaf in leaves)
