"""A complete small log as files: what the tests, the examples and the foreign verifiers read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from settlement.ledger import checkpoint, merkle, proofs, tiles
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey

ORIGIN = "log.example/iso-exchange"
WITNESS = "witness.example/one"
LOG_KEY = SigningKey.from_seed(bytes(range(32)))
WITNESS_KEY = SigningKey.from_seed(bytes(range(32, 64)))
LOG_NOTE_KEY = NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ED25519, public=LOG_KEY.public)
WITNESS_NOTE_KEY = NoteKey(
    name=WITNESS, algorithm=NoteAlgorithm.COSIGNATURE_V1, public=WITNESS_KEY.public
)
COSIGNED_AT_SECONDS = 1_767_225_600


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleLog:
    """Files by relative path, with the tree they were made from."""

    entries: tuple[bytes, ...]
    tree: merkle.HashTree
    files: dict[str, bytes]

    @property
    def root(self) -> bytes:
        return self.tree.root()

    def reader(self, files: dict[str, bytes] | None = None) -> tiles.TileReader:
        read = (self.files if files is None else files).get
        return tiles.TileReader(read, size=len(self.entries), root=self.root)

    def proof_file(self, index: int) -> bytes:
        path = merkle.inclusion_proof(index, len(self.entries), self.tree.subtree_hash)
        return proofs.encode_proof(
            proofs.LogProof(index=index, path=path, checkpoint=self.files["checkpoint"])
        )

    def write(self, folder: Path) -> None:
        for path, data in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)


def entries_of(count: int, size_bytes: int = 24) -> tuple[bytes, ...]:
    """Distinct entries of varying length."""
    return tuple(b"entry %d " % number + b"." * (number % size_bytes) for number in range(count))


def signed_checkpoint(size: int, root: bytes, *, cosigned: bool = True) -> bytes:
    statement = checkpoint.Checkpoint(origin=ORIGIN, size=size, root=root)
    note = checkpoint.sign_checkpoint(statement, LOG_KEY)
    if not cosigned:
        return note
    text = checkpoint.encode_checkpoint(statement)
    line = checkpoint.cosign(text, WITNESS, WITNESS_KEY, COSIGNED_AT_SECONDS)
    return checkpoint.add_signature_lines(note, [line])


def build(entries: Sequence[bytes], *, steps: Sequence[int] = ()) -> SampleLog:
    """The log after publishing at each of the steps and at the end; older files stay."""
    tree = merkle.HashTree()
    files: dict[str, bytes] = {}
    old_size = 0
    for size in (*steps, len(entries)):
        tree.extend(merkle.leaf_hash(entry) for entry in entries[old_size:size])
        for tile in tiles.changed_bundles(old_size, size):
            first = tile.index * tiles.TILE_WIDTH
            files[tile.path] = tiles.encode_bundle(entries[first : first + tile.width])
        for tile in tiles.changed_tiles(old_size, size):
            files[tile.path] = tiles.tile_bytes(tile, tree.subtree_hash)
        old_size = size
    files["checkpoint"] = signed_checkpoint(len(entries), tree.root())
    return SampleLog(entries=tuple(entries), tree=tree, files=files)
