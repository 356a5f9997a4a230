"""Tiles and entry bundles: the files in which a log is served, and reading them back.

A log is a directory of immutable files: entry bundles with 256 leaves each, and tiles
with 256 hashes each, where tile level L holds the full subtrees of level 8L. The writer
asks :func:`changed_tiles` what to write between two checkpoints. :class:`TileReader`
reads through a callable and hands out nothing that the checkpoint's root does not cover.

Source: C2SP tlog-tiles (c2sp.org/tlog-tiles).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from settlement.ledger import merkle
from settlement.ledger.errors import LedgerErrorCode, MerkleError, TileError
from settlement.ledger.merkle import HASH_BYTES, Frontier, HashReader

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
TILE_LEVEL_MAX: Final = 63
ENTRY_BYTES_MAX: Final = 2**16 - 1

FileReader: TypeAlias = Callable[[str], bytes | None]
"""Bytes under a path relative to the log's prefix, or None when there is no such file."""

_PATH: Final = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Place of a tile, or of an entry bundle.

    Attributes:
        level: 0 for leaf hashes, 0 to 63; None for an entry bundle.
        index: Position within the level, 0 and up.
        width: Hashes or entries in it, 1 to 256; below 256 it is partial.
    """

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        """Refuse what has no path.

        Raises:
            TileError: ``TILE_PATH``.
        """
        if (
            (self.level is not None and not 0 <= self.level <= TILE_LEVEL_MAX)
            or not 0 <= self.index <= merkle.TREE_SIZE_MAX >> TILE_HEIGHT
            or not 1 <= self.width <= TILE_WIDTH
        ):
            raise TileError(
                LedgerErrorCode.TILE_PATH,
                f"no tile at level {self.level}, index {self.index}, width {self.width}",
            )

    @property
    def path(self) -> str:
        """Relative path: ``tile/<L>/<N>[.p/<W>]`` or ``tile/entries/<N>[.p/<W>]``."""
        groups = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            groups.append(f"x{rest % 1000:03d}")
            rest //= 1000
        level = "entries" if self.level is None else str(self.level)
        suffix = f".p/{self.width}" if self.width < TILE_WIDTH else ""
        return f"tile/{level}/{'/'.join(reversed(groups))}{suffix}"

    @property
    def full(self) -> Tile:
        """The tile at the same place once it is complete."""
        return Tile(level=self.level, index=self.index)


def parse_path(path: str) -> Tile:
    """Read a relative path; only the one spelling that :attr:`Tile.path` gives.

    Raises:
        TileError: ``TILE_PATH``.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise TileError(LedgerErrorCode.TILE_PATH, "not a tile path", place=path)
    tile = Tile(
        level=None if match["level"] == "entries" else int(match["level"]),
        index=int(match["index"].replace("x", "").replace("/", "")),
        width=int(match["width"] or TILE_WIDTH),
    )
    if tile.path != path:
        raise TileError(LedgerErrorCode.TILE_PATH, f"not spelled {tile.path}", place=path)
    return tile


def changed_tiles(old_size: int, new_size: int) -> Iterator[Tile]:
    """Tiles to write when a log grows, lowest level first.

    Everything that a reader of the new checkpoint needs and a reader of the old one did
    not. Levels rise, so whoever stops half-way has written no hash above missing ones.

    Raises:
        MerkleError: ``TREE_SIZE``.
    """
    _check_growth(old_size, new_size)
    level = 0
    while old_size < new_size:
        yield from _changed(level, old_size, new_size)
        old_size >>= TILE_HEIGHT
        new_size >>= TILE_HEIGHT
        level += 1


def changed_bundles(old_size: int, new_size: int) -> Iterator[Tile]:
    """Entry bundles to write when a log grows, see :func:`changed_tiles`.

    Raises:
        MerkleError: ``TREE_SIZE``.
    """
    _check_growth(old_size, new_size)
    return _changed(None, old_size, new_size)


def tile_bytes(tile: Tile, read: HashReader) -> bytes:
    """Content of a tile from full-subtree hashes.

    Raises:
        TileError: ``TILE_PATH`` for an entry bundle.
    """
    if tile.level is None:
        raise TileError(LedgerErrorCode.TILE_PATH, "a bundle has no hashes", place=tile.path)
    level, first = tile.level * TILE_HEIGHT, tile.index * TILE_WIDTH
    return b"".join([read(level, index) for index in range(first, first + tile.width)])


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries one after another, each behind its length as a big-endian uint16.

    Raises:
        TileError: ``BUNDLE_ENTRY_TOO_LARGE``.
    """
    parts = []
    for number, entry in enumerate(entries):
        if len(entry) > ENTRY_BYTES_MAX:
            raise TileError(
                LedgerErrorCode.BUNDLE_ENTRY_TOO_LARGE,
                f"{len(entry)} bytes, the limit is {ENTRY_BYTES_MAX}",
                place=f"entry {number}",
            )
        parts.append(len(entry).to_bytes(2, "big"))
        parts.append(entry)
    return b"".join(parts)


def decode_bundle(data: bytes, place: str = "") -> list[bytes]:
    """Entries of a bundle.

    Args:
        data: Bundle bytes, whole.
        place: What to call the bundle in an error.

    Raises:
        TileError: ``BUNDLE_MALFORMED`` when a length points past the end.
    """
    entries = []
    position, end = 0, len(data)
    while position + 2 <= end:
        start = position + 2
        position = start + (data[start - 2] << 8 | data[start - 1])
        entries.append(data[start:position])
    if position != end:
        raise TileError(
            LedgerErrorCode.BUNDLE_MALFORMED, f"entry {len(entries)} is cut off", place=place
        )
    return entries


class TileReader:
    """Reads a log at one checkpoint and verifies every byte before handing it out.

    The partial tiles on the right edge give the root; a full tile is checked against its
    hash one level up, and so on up to the edge; an entry is checked against the leaf
    hashes. A partial file that is gone is replaced by the full one, as the format allows.
    """

    def __init__(self, read: FileReader, *, size: int, root: bytes) -> None:
        """Remember what to read; nothing is read yet.

        Args:
            read: Called with relative paths.
            size: Of the checkpoint, already verified by the caller.
            root: Of the checkpoint.
        """
        self._read = read
        self._size = size
        self._root = root
        self._edge: dict[int, bytes] | None = None
        # The last full tile used at each level: enough for a walk from left to right.
        self._recent: dict[int, tuple[int, bytes]] = {}

    def replay(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Every (index, leaf) from ``start`` on, each verified before it is given out.

        Raises:
            TileError: What is missing or wrong; the place names the file, and the entry
                or hash in it.
            MerkleError: ``LEAF_INDEX`` when ``start`` is beyond the log.
        """
        if not 0 <= start <= self._size:
            raise MerkleError(
                LedgerErrorCode.LEAF_INDEX, f"no leaf {start} in a log of size {self._size}"
            )
        self._edge_tiles()
        for bundle in range(start >> TILE_HEIGHT, _ceiling(self._size)):
            first = bundle << TILE_HEIGHT
            entries = self._entries(bundle)[0]
            skipped = max(start - first, 0)
            yield from enumerate(entries[skipped:], first + skipped)

    def bundles(self) -> Iterator[tuple[list[bytes], bytes]]:
        """Every entry bundle from the first on, verified: its leaves, and their hashes in a row.

        Raises:
            TileError: See :meth:`replay`.
        """
        self._edge_tiles()
        return map(self._entries, range(_ceiling(self._size)))

    def leaf(self, index: int) -> bytes:
        """One verified leaf.

        Raises:
            TileError: See :meth:`replay`.
            MerkleError: ``LEAF_INDEX``.
        """
        if not 0 <= index < self._size:
            raise MerkleError(
                LedgerErrorCode.LEAF_INDEX, f"no leaf {index} in a log of size {self._size}"
            )
        return self._entries(index >> TILE_HEIGHT)[0][index % TILE_WIDTH]

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """Audit path of a leaf to the checkpoint's root.

        Raises:
            TileError: See :meth:`replay`.
            MerkleError: ``LEAF_INDEX``.
        """
        return merkle.inclusion_proof(index, self._size, self.subtree_hash)

    def consistency_proof(self, old_size: int) -> tuple[bytes, ...]:
        """Proof that an earlier size is a prefix of this checkpoint.

        Raises:
            TileError: See :meth:`replay`.
            MerkleError: ``TREE_SIZE``.
        """
        return merkle.consistency_proof(old_size, self._size, self.subtree_hash)

    def subtree_hash(self, level: int, index: int) -> bytes:
        """Verified hash of a full subtree: a :data:`~settlement.ledger.merkle.HashReader`.

        Raises:
            TileError: See :meth:`replay`.
            MerkleError: ``LEAF_INDEX`` when the subtree is not complete.
        """
        if level < 0 or index < 0 or (index + 1) << level > self._size:
            raise MerkleError(
                LedgerErrorCode.LEAF_INDEX,
                f"subtree ({level}, {index}) is not complete at size {self._size}",
            )
        tile_level, height = divmod(level, TILE_HEIGHT)
        first = index << height
        start = first % TILE_WIDTH * HASH_BYTES
        row = self._tile(tile_level, first >> TILE_HEIGHT)
        row = row[start : start + (HASH_BYTES << height)]
        for _ in range(height):
            row = merkle.parent_hashes(row)
        return row

    def frontier(self) -> Frontier:
        """Verified frontier at the checkpoint, to continue the log from.

        Raises:
            TileError: See :meth:`replay`.
        """
        subtrees = merkle.full_subtrees(0, self._size)
        return Frontier(
            size=self._size,
            hashes=tuple(self.subtree_hash(level, index) for level, index in subtrees),
        )

    def _entries(self, bundle: int) -> tuple[list[bytes], bytes]:
        """Entries of one bundle, checked against the leaf hashes, and these."""
        width = min(self._size - (bundle << TILE_HEIGHT), TILE_WIDTH)
        place = Tile(level=None, index=bundle, width=width)
        hashes = self._tile(0, bundle)
        data, place = self._file(place, LedgerErrorCode.BUNDLE_MISSING)
        entries = decode_bundle(data, place.path)
        if len(entries) != place.width:
            raise TileError(
                LedgerErrorCode.BUNDLE_MALFORMED,
                f"{len(entries)} entries, expected {place.width}",
                place=place.path,
            )
        entries = entries[:width]
        computed = [merkle.leaf_hash(entry) for entry in entries]
        if b"".join(computed) != hashes:
            number = next(
                number
                for number, hash_ in enumerate(computed)
                if hash_ != hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES]
            )
            raise TileError(
                LedgerErrorCode.BUNDLE_ENTRY_MISMATCH,
                f"leaf {(bundle << TILE_HEIGHT) + number} does not have its hash in the tree",
                place=f"{place.path} entry {number}",
            )
        return entries, hashes

    def _tile(self, level: int, index: int) -> bytes:
        """Hashes of one tile, verified up to the root."""
        edge = self._edge_tiles()
        count = self._size >> (level * TILE_HEIGHT)
        if index == count >> TILE_HEIGHT:
            return edge[level]
        recent = self._recent.get(level)
        if recent is not None and recent[0] == index:
            return recent[1]
        tile = Tile(level=level, index=index)
        data = self._tile_file(tile)
        parent = self._tile(level + 1, index >> TILE_HEIGHT)
        start = index % TILE_WIDTH * HASH_BYTES
        if tile_root(data) != parent[start : start + HASH_BYTES]:
            raise TileError(
                LedgerErrorCode.TILE_HASH_MISMATCH,
                f"the tile does not have its hash in the tile of level {level + 1} above it",
                place=tile.path,
            )
        self._recent[level] = (index, data)
        return data

    def _edge_tiles(self) -> dict[int, bytes]:
        """Partial tiles of the right edge by level, verified against the root."""
        if self._edge is not None:
            return self._edge
        edge: dict[int, bytes] = {}
        hashes: list[bytes] = []
        count, level = self._size, 0
        while count:
            width = count % TILE_WIDTH
            if width:
                tile = Tile(level=level, index=count >> TILE_HEIGHT, width=width)
                edge[level] = self._tile_file(tile)
                frontier = Frontier().extend(_hashes(edge[level]))
                hashes = [*frontier.hashes, *hashes]
            count >>= TILE_HEIGHT
            level += 1
        if Frontier(size=self._size, hashes=tuple(hashes)).root() != self._root:
            raise self._root_mismatch(edge)
        self._edge = edge
        return edge

    def _root_mismatch(self, edge: dict[int, bytes]) -> TileError:
        """Name the file on the right edge that disagrees with what it stands for."""
        for level in sorted(edge):
            count = self._size >> (level * TILE_HEIGHT)
            tile = Tile(level=level, index=count >> TILE_HEIGHT, width=count % TILE_WIDTH)
            below = self._hashes_below(tile)
            for number, hash_ in enumerate(_hashes(edge[level])):
                if next(below) != hash_:
                    return TileError(
                        LedgerErrorCode.TILE_HASH_MISMATCH,
                        "the hash is not that of what lies below it, and the root disagrees",
                        place=f"{tile.path} hash {number}",
                    )
        return TileError(
            LedgerErrorCode.TILE_ROOT_MISMATCH,
            f"tiles and entries agree, but not with the root of size {self._size}",
            place="checkpoint",
        )

    def _hashes_below(self, tile: Tile) -> Iterator[bytes]:
        """What the hashes of an edge tile should be, from the files one level down."""
        if tile.level == 0:
            place = Tile(level=None, index=tile.index, width=tile.width)
            data, place = self._file(place, LedgerErrorCode.BUNDLE_MISSING)
            entries = decode_bundle(data, place.path)
            if len(entries) != place.width:
                raise TileError(
                    LedgerErrorCode.BUNDLE_MALFORMED,
                    f"{len(entries)} entries, expected {place.width}",
                    place=place.path,
                )
            yield from map(merkle.leaf_hash, entries)
        elif tile.level is not None:
            first = tile.index << TILE_HEIGHT
            for index in range(first, first + tile.width):
                yield tile_root(self._tile_file(Tile(level=tile.level - 1, index=index)))

    def _tile_file(self, tile: Tile) -> bytes:
        """Bytes of a tile, as wide as asked for; only their number is checked."""
        data, found = self._file(tile, LedgerErrorCode.TILE_MISSING)
        if len(data) != found.width * HASH_BYTES:
            raise TileError(
                LedgerErrorCode.TILE_LENGTH,
                f"{len(data)} bytes, expected {found.width * HASH_BYTES}",
                place=found.path,
            )
        return data[: tile.width * HASH_BYTES]

    def _file(self, tile: Tile, missing: LedgerErrorCode) -> tuple[bytes, Tile]:
        """A file, or the full one in place of a partial one that was removed."""
        data = self._read(tile.path)
        if data is None and tile.width < TILE_WIDTH:
            tile, asked = tile.full, tile
            data = self._read(tile.path)
            tile = asked if data is None else tile
        if data is None:
            raise TileError(missing, "no such file", place=tile.path)
        return data, tile


def replay(read: FileReader, *, size: int, root: bytes) -> Iterator[tuple[int, bytes]]:
    """Every (index, leaf) of a log, verified against a checkpoint's size and root.

    Args:
        read: Called with relative paths.
        size: From a checkpoint whose signature the caller has verified.
        root: From the same checkpoint.

    Raises:
        TileError: See :meth:`TileReader.replay`; nothing is given out after it.
    """
    return TileReader(read, size=size, root=root).replay()


def tile_root(data: bytes) -> bytes:
    """Root over the 256 hashes of a full tile: its hash in the tile above."""
    row = data
    for _ in range(TILE_HEIGHT):
        row = merkle.parent_hashes(row)
    return row


def _hashes(data: bytes) -> Iterator[bytes]:
    return (data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES))


def _changed(level: int | None, old_count: int, new_count: int) -> Iterator[Tile]:
    if old_count == new_count:
        return
    for index in range(old_count >> TILE_HEIGHT, new_count >> TILE_HEIGHT):
        yield Tile(level=level, index=index)
    width = new_count % TILE_WIDTH
    if width:
        yield Tile(level=level, index=new_count >> TILE_HEIGHT, width=width)


def _check_growth(old_size: int, new_size: int) -> None:
    if not 0 <= old_size <= new_size <= merkle.TREE_SIZE_MAX:
        raise MerkleError(
            LedgerErrorCode.TREE_SIZE, f"a log does not go from {old_size} to {new_size} leaves"
        )


def _ceiling(size: int) -> int:
    """Bundles of a log of this size."""
    return -(-size // TILE_WIDTH)
