"""The publisher: reads committed bytes back, re-hashes them, writes tiles, signs.

It trusts nothing but the database's bytes: what it signs, it hashed itself. The order of
writing (bundles, tiles, compare-and-swap, checkpoint) means that a checkpoint that
anybody has seen always has its tiles, and that a restart repeats at most one step.

Witnesses are asked before a checkpoint is published where the policy names a quorum, and
beside publication where it names none: then the file ``checkpoint`` gets their lines when
they come. ``checkpoint.witnessed`` is the last one that has the quorum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from clearing.errors import InvariantError
from iso_exchange.observability import metrics
from iso_exchange.publisher.checks import complete_files
from iso_exchange.publisher.files import replace, write_once
from iso_exchange.publisher.keys import LogKeys
from iso_exchange.publisher.publication import (
    CHECKPOINT_NAME,
    WITNESSED_NAME,
    Publication,
    read_note,
)
from iso_exchange.publisher.witnesses import Cosigned, Finding, Witnesses
from settlement.ledger import merkle, tiles
from settlement.ledger.checkpoint import (
    Checkpoint,
    add_signature_lines,
    cosign,
    encode_checkpoint,
    sign_checkpoint,
)
from settlement.ledger.keys import SigningKey
from settlement.ledger.mldsa import MlDsaKey
from settlement.storage.store import LedgerStore, Published, StoreError, TreeState

PUBLISH_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 10.0
"""Until a witness that did not answer is asked again about the same checkpoint."""

log = structlog.get_logger("publisher")


class Publisher(Publication):
    """Writes the public log below one directory."""

    def __init__(
        self,
        *,
        store: LedgerStore,
        origin: str,
        key: SigningKey,
        directory: Path,
        second_key: MlDsaKey | None = None,
        witnesses: Witnesses | None = None,
        now_seconds: Callable[[], int] = lambda: 0,
        log_keys: LogKeys | None = None,
    ) -> None:
        """Wire the parts; ``start`` reads what is there.

        Args:
            directory: Holds ``checkpoint`` and ``tile/``; served as static files.
            second_key: Signs every checkpoint too.
            witnesses: Asked for cosignatures.
            now_seconds: POSIX time in the second signature; 0 states none.
            log_keys: Where nobody says ``use_key``: finds the key that the log names.
        """
        super().__init__(store=store, directory=directory)
        self._origin = origin
        self._key = key
        self._log_keys = log_keys
        self._second_key = second_key
        self._witnesses = witnesses
        self._now_seconds = now_seconds
        self._writing = asyncio.Lock()

    def use_key(self, key: SigningKey) -> None:
        """Sign with another key from the next checkpoint on, which covers its rotation."""
        self._key = key

    async def start(self) -> None:
        """Read what is published, and compare files and witnesses with the database.

        A file that is behind (a crash between the compare-and-swap and the rename) is renewed,
        and so are files that are missing.

        Raises:
            StoreError: ``DAMAGED_CHECKPOINT``; ``ROLLED_BACK`` when the database does not
                extend the checkpoint files, its own published checkpoint, or what a witness
                cosigned; ``DAMAGED`` when a file is not what the published checkpoint says.
        """
        head = await self._store.tree_state()
        self._published = await self._store.published()
        path = self._directory / CHECKPOINT_NAME
        seen = path.read_bytes() if path.exists() else b""
        if seen:
            known = self._published.size if self._published else -1
            size = read_note(CHECKPOINT_NAME, seen).size
            if size > known:
                detail = f"the checkpoint file names {size} entries, the database {known}"
                raise StoreError("ROLLED_BACK", detail)
        await self._read(head.size)
        for name in (CHECKPOINT_NAME, WITNESSED_NAME):
            if (self._directory / name).exists():
                self._refuse_other(name, (self._directory / name).read_bytes(), head)
        if self._published is not None:
            self._refuse_other("the database", self._published.checkpoint, head)
            size = self._published.size
            await complete_files(self._store, self._directory, self._tree.subtree_hash, size)
            if seen != self._published.checkpoint:
                replace(path, self._published.checkpoint)
        await self._compare_with_witnesses(head)

    async def publish(self) -> Published | None:
        """Publish everything committed so far; None when nothing is new, or no quorum cosigned.

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
        note = self._sign(head.size, root)
        if self._waits:
            cosigned = await self._ask(note)
            if not cosigned.is_quorum:
                log.error("not published: too few witnesses cosigned", size=head.size)
                return None
            note = cosigned.note
        new = Published(size=head.size, checkpoint=note)
        async with self._writing:
            await self._store.publish(self._published.size if self._published else -1, new)
            for name in (CHECKPOINT_NAME, WITNESSED_NAME) if self._waits else (CHECKPOINT_NAME,):
                await self._replace(name, note)
            self._published = new
        metrics.published_size.set(head.size)
        async with self.changed:
            self.changed.notify_all()
        return new

    async def collect(self) -> Cosigned | None:
        """Ask the witnesses about the published checkpoint and add their lines to it.

        For a policy without a quorum. None when nothing is published, or nobody to ask.
        """
        published = self._published
        if self._witnesses is None or published is None:
            return None
        cosigned = await self._ask(published.checkpoint)
        if cosigned.note == published.checkpoint:
            return cosigned
        async with self._writing:
            if self._published == published:
                new = Published(size=published.size, checkpoint=cosigned.note)
                await self._store.publish(published.size, new)
                self._published = new
                await self._replace(CHECKPOINT_NAME, cosigned.note)
            # Also where the log has grown meanwhile: nobody cosigned what it is now.
            await self._replace(WITNESSED_NAME, cosigned.note)
        return cosigned

    async def catch_up(self) -> None:
        """See what is published, and let the file say so.

        ``run`` may have been cancelled between the database and the file.
        """
        self._published = await self._store.published()
        if self._published is not None:
            await self._replace(CHECKPOINT_NAME, self._published.checkpoint)

    async def run(self) -> None:
        """Publish each second, for ever; what publishing took is taken off the wait."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PUBLISH_SECONDS
            published = await self.publish()
            if published is not None:
                log.info("published", size=published.size)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def run_witnesses(self) -> None:
        """Have each published checkpoint cosigned, for ever; the latest where they are slow."""
        asked, is_complete = -1, True
        while True:
            if self._waits or self._size in (-1, asked):
                try:
                    async with (
                        asyncio.timeout(None if is_complete else RETRY_SECONDS),
                        self.changed,
                    ):
                        # Looked at again under the lock: nobody can have told us before.
                        if self._waits or self._size in (-1, asked):
                            await self.changed.wait()
                    continue
                except TimeoutError:
                    pass  # the log is quiet, and somebody did not answer
            asked = self._size
            cosigned = await self.collect()
            is_complete = cosigned is None or cosigned.is_complete

    @property
    def _size(self) -> int:
        return -1 if self._published is None else self._published.size

    @property
    def _waits(self) -> bool:
        """Whether nothing is published that the quorum did not cosign."""
        return self._witnesses is not None and self._witnesses.policy.needs_witnesses

    def _see(self, leaf: bytes) -> None:
        if self._log_keys is not None:
            self._log_keys.see(leaf)

    def _sign(self, size: int, root: bytes) -> bytes:
        if self._log_keys is not None:
            self._key = self._log_keys.key()
        checkpoint = Checkpoint(origin=self._origin, size=size, root=root)
        note = sign_checkpoint(checkpoint, self._key)
        if self._second_key is None:
            return note
        text = encode_checkpoint(checkpoint)
        line = cosign(text, self._origin, self._second_key, self._now_seconds())
        return add_signature_lines(note, [line])

    async def _ask(self, note: bytes) -> Cosigned:
        assert self._witnesses is not None
        cosigned = await self._witnesses.cosign(
            note,
            lambda old, new: merkle.consistency_proof(old, new, self._tree.subtree_hash),
        )
        for answer in cosigned.answers:
            if answer.finding is not Finding.COSIGNED:
                log.warning(
                    "no cosignature",
                    witness=answer.witness.name,
                    finding=answer.finding.value,
                    detail=answer.detail,
                )
        return cosigned

    async def _compare_with_witnesses(self, head: TreeState) -> None:
        """What was restored from a backup looks whole; a witness remembers what is missing."""
        if self._witnesses is None:
            return
        note = self._sign(head.size, self._tree.root(head.size))
        cosigned = await self._ask(note)
        for answer in cosigned.answers:
            if answer.finding in (Finding.AHEAD, Finding.FORK):
                detail = f"witness {answer.witness.name}: {answer.detail}; restore a later backup"
                raise StoreError("ROLLED_BACK", detail)

    async def _replace(self, name: str, content: bytes) -> None:
        await asyncio.to_thread(replace, self._directory / name, content)

    async def _write(self, tile: tiles.Tile, content: bytes) -> None:
        """Write one immutable file durably, off the event loop: fsync may take long."""
        await asyncio.to_thread(write_once, self._directory / tile.path, content)
