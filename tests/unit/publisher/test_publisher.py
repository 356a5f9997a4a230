"""The publisher against a crash at each of its steps, and against a rolled-back database."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from iso_exchange.publisher.files import TileConflictError, write_once
from iso_exchange.publisher.publication import CHECKPOINT_NAME
from iso_exchange.publisher.publisher import Publisher
from settlement.ledger import merkle, tiles
from settlement.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey
from settlement.storage.memory import MemoryStore
from settlement.storage.store import Commit, Entry, Published, StoreError, TreeState

ORIGIN = "test.example/log"
KEY = SigningKey.from_seed(b"\x07" * 32)
NOTE_KEY = NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ED25519, public=KEY.public)


def entry(index: int) -> Entry:
    leaf = f"leaf {index}".encode()
    return Entry(
        index=index,
        kind="TEST",
        time_us=index,
        leaf=leaf,
        leaf_hash=merkle.leaf_hash(leaf),
        envelope=leaf,
        salt=b"",
        owners=(),
        principal="p",
        request_id=str(index),
        body_sha256=hashlib.sha256(leaf).digest(),
        reply=b"{}",
    )


async def grow(store: MemoryStore, count: int) -> None:
    head = await store.tree_state()
    entries = tuple(entry(head.size + offset) for offset in range(count))
    everything = [merkle.leaf_hash(leaf) for leaf in await store.leaves(0, head.size)]
    everything.extend(item.leaf_hash for item in entries)
    frontier = merkle.Frontier().extend(everything)
    await store.commit(
        Commit(
            expected=head,
            new=TreeState(epoch=head.epoch, size=frontier.size, root=frontier.root()),
            entries=entries,
            documents=(),
            transfers=(),
            balances=(),
        )
    )


def publisher(store: MemoryStore, directory: Path) -> Publisher:
    return Publisher(store=store, origin=ORIGIN, key=KEY, directory=directory)


def read_everything(directory: Path) -> list[bytes]:
    note = (directory / CHECKPOINT_NAME).read_bytes()
    opened = open_checkpoint(note, NOTE_KEY).checkpoint

    def read(path: str) -> bytes | None:
        file = directory / path
        return file.read_bytes() if file.exists() else None

    return [leaf for _, leaf in tiles.replay(read, size=opened.size, root=opened.root)]


async def test_what_is_published_replays_at_every_size(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.take_over()
    writer = publisher(store, tmp_path)
    await writer.start()
    for count in (1, 3, 252, 1, 300):
        await grow(store, count)
        await writer.publish()
        assert len(read_everything(tmp_path)) == (await store.tree_state()).size
    assert await writer.publish() is None


async def test_a_restart_can_prove_what_was_published_before(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.take_over()
    first = publisher(store, tmp_path)
    await first.start()
    await grow(store, 5)
    await first.publish()
    second = publisher(store, tmp_path)
    await second.start()
    assert second.published == first.published
    assert second.tree.root(5) == (await store.tree_state()).root


async def test_a_crash_before_the_rename_is_repaired(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.take_over()
    writer = publisher(store, tmp_path)
    await writer.start()
    await grow(store, 5)
    await writer.publish()
    old = (tmp_path / CHECKPOINT_NAME).read_bytes()
    await grow(store, 5)
    await writer.publish()
    new = (tmp_path / CHECKPOINT_NAME).read_bytes()
    (tmp_path / CHECKPOINT_NAME).write_bytes(old)
    await publisher(store, tmp_path).start()
    assert (tmp_path / CHECKPOINT_NAME).read_bytes() == new


async def test_a_database_behind_the_checkpoint_file_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.take_over()
    writer = publisher(store, tmp_path)
    await writer.start()
    await grow(store, 5)
    await writer.publish()
    restored = MemoryStore()
    await restored.take_over()
    await grow(restored, 3)
    with pytest.raises(StoreError, match="ROLLED_BACK"):
        await publisher(restored, tmp_path).start()


async def test_a_damaged_checkpoint_file_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.take_over()
    writer = publisher(store, tmp_path)
    await writer.start()
    await grow(store, 5)
    await writer.publish()
    (tmp_path / CHECKPOINT_NAME).write_bytes(b"not a note")
    with pytest.raises(StoreError, match="DAMAGED: checkpoint is no checkpoint"):
        await publisher(store, tmp_path).start()


async def test_another_tree_of_the_same_size_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.take_over()
    writer = publisher(store, tmp_path)
    await writer.start()
    await grow(store, 5)
    await writer.publish()
    other = Checkpoint(origin=ORIGIN, size=5, root=bytes(32))
    await store.publish(5, Published(size=5, checkpoint=sign_checkpoint(other, KEY)))
    with pytest.raises(StoreError, match="ROLLED_BACK"):
        await publisher(store, tmp_path).start()


def test_a_published_file_never_changes(tmp_path: Path) -> None:
    write_once(tmp_path / "tile", b"one")
    write_once(tmp_path / "tile", b"one")
    with pytest.raises(TileConflictError):
        write_once(tmp_path / "tile", b"two")
    assert (tmp_path / "tile").read_bytes() == b"one"
