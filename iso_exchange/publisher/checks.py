"""Published files after a start: what is missing is written anew, what differs is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from iso_exchange.publisher.files import write_once
from settlement.ledger import merkle, tiles
from settlement.ledger.errors import TileError
from settlement.storage.store import LedgerStore, StoreError

log = structlog.get_logger("publisher")


async def complete_files(
    store: LedgerStore, directory: Path, read: Callable[[int, int], bytes], size: int
) -> None:
    """Compare every file of a published size with the tree; write those that are not there.

    A log directory that was restored from a backup lacks the latest files; without them
    nobody could check the checkpoint that goes with them.

    Args:
        store: Asked for the leaves of bundles that are missing.
        directory: Holds ``tile/``.
        read: Hash of a full subtree by level and index, from the database's leaves.
        size: Leaves under the published checkpoint.

    Raises:
        StoreError: ``DAMAGED`` with the file's name when one holds something else.
        OSError: a file cannot be read or written.
    """
    for tile in tiles.changed_bundles(0, size):
        if not await asyncio.to_thread(_is_there, directory, tile, read):
            leaves = await store.leaves(tile.index * tiles.TILE_WIDTH, tile.width)
            await _write(directory / tile.path, tiles.encode_bundle(leaves))
    for tile in tiles.changed_tiles(0, size):
        if not await asyncio.to_thread(_is_there, directory, tile, read):
            await _write(directory / tile.path, tiles.tile_bytes(tile, read))


async def _write(path: Path, content: bytes) -> None:
    log.warning("a published file was missing and is written anew", path=str(path))
    await asyncio.to_thread(write_once, path, content)


def _is_there(directory: Path, tile: tiles.Tile, read: Callable[[int, int], bytes]) -> bool:
    """Whether a file is there, and is what the tree says."""
    path = directory / tile.path
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    if tile.level is not None:
        is_right = content == tiles.tile_bytes(tile, read)
    else:
        first = tile.index * tiles.TILE_WIDTH
        try:
            hashes = [merkle.leaf_hash(leaf) for leaf in tiles.decode_bundle(content, tile.path)]
        except TileError:
            hashes = []
        is_right = hashes == [read(0, first + number) for number in range(tile.width)]
    if not is_right:
        detail = f"{path} holds something else than the log: move it away and start again"
        raise StoreError("DAMAGED", f"{detail}; it is then written anew from the database")
    return True
