"""Audit bundles of one market day, and the forger's workshop: change a bundle and reseal it."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from clearing import codec
from iso_exchange import convert
from iso_exchange.audit.bundle import Bundle, BundleFile, BundleKind, Opening, documents_of
from iso_exchange.audit.export import export
from iso_exchange.authority import command_of
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.leaves import BATCH_PAYLOAD_TYPE, BatchHeader, leaf_of
from iso_exchange.sequencer.refusals import Rejected
from settlement.ledger import envelope, merkle, tiles
from settlement.ledger.checkpoint import Checkpoint, sign_checkpoint
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey
from tests.integration.market_day import ORIGIN, MarketDay, Tamper, key_of

LOG_KEY = key_of("log")


@dataclass(frozen=True, kw_only=True)
class Made:
    """Where the bundles of a day lie, and the key of its log."""

    auditor: Path
    public: Path
    vkey: str

    def of(self, kind: BundleKind) -> Path:
        return self.auditor if kind is BundleKind.AUDITOR else self.public


def make_bundles(directory: Path, tamper: Tamper | None = None) -> Made:
    """Run a market day and export it, for everybody and for auditors."""

    async def run() -> Made:
        async with MarketDay(directory=directory, tamper=tamper) as day:
            await day.run()
            for kind in BundleKind:
                await write_bundle(day, directory / kind.value, kind)
            return Made(auditor=directory / "auditor", public=directory / "public", vkey=day.vkey)

    # Nobody cuts the power of a test; syncing takes longer than the day.
    with patch("os.fsync"):
        return asyncio.run(run())


async def write_bundle(day: MarketDay, directory: Path, kind: BundleKind) -> Bundle:
    return await export(
        store=day.store,
        log_directory=day.log_directory,
        directory=directory,
        kind=kind,
        origin=ORIGIN,
        vkey=day.vkey,
    )


def vkey_of(key: SigningKey) -> str:
    return NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ED25519, public=key.public).to_vkey()


def read_bundle(directory: Path) -> Bundle:
    return codec.decode((directory / "bundle.json").read_bytes(), Bundle)


def reseal(directory: Path, **changes: object) -> None:
    """Write ``bundle.json`` anew, with the digests of the files as they now are."""
    files = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name != "bundle.json":
            body = path.read_bytes()
            digest = hashlib.sha256(body).hexdigest()
            files.append(BundleFile(path=name, sha256=digest, size=len(body)))
    files.sort(key=lambda file: file.path)
    bundle = dataclasses.replace(read_bundle(directory), files=tuple(files), **changes)  # type: ignore[arg-type]
    (directory / "bundle.json").write_bytes(codec.encode(bundle))


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """An entry apart from its place in the log.

    Attributes:
        salt: Empty for a public kind.
    """

    data: bytes
    salt: bytes

    @property
    def kind(self) -> str:
        return ENTRY_KINDS[type(self.command)].name

    @property
    def command(self):  # type: ignore[no-untyped-def]  # noqa: ANN201 - tests read any field
        command = command_of(self.data)
        assert not isinstance(command, Rejected)
        return command

    def signed_again(self, command: object, *names: str) -> LogEntry:
        """The entry with another command, signed by the owners of the names."""
        kind = ENTRY_KINDS[type(command)]
        payload = (
            codec.encode(command)
            if kind.payload_type.endswith("+json")
            else convert.body_of(command)  # type: ignore[arg-type]
        )
        keys = [key_of(name) for name in names]
        return dataclasses.replace(self, data=envelope.sign(kind.payload_type, payload, keys))


@dataclass(kw_only=True)
class Batch:
    time_us: int
    epoch: int
    entries: list[LogEntry]


def read_log(directory: Path) -> list[Batch]:
    """All entries of an auditor bundle by batch, opened."""
    openings: dict[int, Opening] = {}
    for line in (directory / "openings.jsonl").read_bytes().splitlines():
        opening = codec.decode(line, Opening)
        openings[opening.index] = opening
    batches: list[Batch] = []
    entries: list[LogEntry] = []
    for index, leaf in enumerate(read_leaves(directory)):
        parsed = envelope.decode(leaf, allow_unsigned=True)
        if parsed.payload_type == BATCH_PAYLOAD_TYPE:
            header = codec.decode(parsed.payload, BatchHeader)
            batches.append(Batch(time_us=header.time_us, epoch=header.epoch, entries=entries))
            entries = []
        elif index in openings:
            opened = openings[index]
            entries.append(LogEntry(data=opened.envelope_bytes(), salt=opened.salt))
        else:
            entries.append(LogEntry(data=leaf, salt=b""))
    return batches


def read_leaves(directory: Path) -> list[bytes]:
    leaves: list[bytes] = []
    size = read_bundle(directory).size
    for tile in tiles.changed_bundles(0, size):
        leaves.extend(tiles.decode_bundle((directory / "log" / tile.path).read_bytes()))
    return leaves


def write_log(directory: Path, batches: list[Batch], key: SigningKey = LOG_KEY) -> None:
    """Forge a consistent log of these batches: headers, tiles, checkpoint, openings, listing."""
    leaves: list[bytes] = []
    openings: list[bytes] = []
    for batch in batches:
        first = len(leaves)
        for entry in batch.entries:
            kind = ENTRY_KINDS[type(entry.command)]
            if entry.salt:
                opening = Opening(
                    index=len(leaves),
                    kind=kind.name,
                    salt=entry.salt,
                    envelope=base64.b64encode(entry.data).decode(),
                    documents=tuple(sorted(set(documents_of(entry.command)))),
                )
                openings.append(codec.encode(opening) + b"\n")
            # Without a salt even an order is written in the open, as the forger likes.
            leaves.append(leaf_of(kind, entry.data, entry.salt) if entry.salt else entry.data)
        hashes = [merkle.leaf_hash(leaf) for leaf in leaves[first:]]
        header = BatchHeader(
            first_index=first,
            count=len(hashes),
            root=merkle.Frontier().extend(hashes).root().hex(),
            time_us=batch.time_us,
            epoch=batch.epoch,
            code_version="forged",
        )
        leaves.append(envelope.sign(BATCH_PAYLOAD_TYPE, codec.encode(header), [key]))
    (directory / "openings.jsonl").write_bytes(b"".join(openings))
    write_leaves(directory, leaves, key)


def write_leaves(directory: Path, leaves: list[bytes], key: SigningKey = LOG_KEY) -> None:
    """Tiles and a signed checkpoint of these leaves, and the listing; openings stay."""
    shutil.rmtree(directory / "log")
    tree = merkle.HashTree()
    tree.extend(merkle.leaf_hash(leaf) for leaf in leaves)
    for tile in tiles.changed_tiles(0, len(leaves)):
        _write(directory / "log" / tile.path, tiles.tile_bytes(tile, tree.subtree_hash))
    for tile in tiles.changed_bundles(0, len(leaves)):
        first = tile.index * tiles.TILE_WIDTH
        body = tiles.encode_bundle(leaves[first : first + tile.width])
        _write(directory / "log" / tile.path, body)
    checkpoint = Checkpoint(origin=ORIGIN, size=len(leaves), root=tree.root())
    _write(directory / "log" / "checkpoint", sign_checkpoint(checkpoint, key))
    reseal(directory, size=len(leaves))


def change_entry(
    directory: Path, kind: str, change: Callable[[LogEntry], LogEntry], *, number: int = 0
) -> None:
    """Forge the log with one entry of a kind changed."""
    batches = read_log(directory)
    found = [
        (batch, position)
        for batch in batches
        for position, entry in enumerate(batch.entries)
        if entry.kind == kind
    ]
    batch, position = found[number]
    batch.entries[position] = change(batch.entries[position])
    write_log(directory, batches)


def write_document(directory: Path, body: bytes) -> str:
    """Add a document; returns its digest."""
    digest = hashlib.sha256(body).hexdigest()
    _write(directory / "documents" / digest, body)
    return digest


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def replaced(value: Any, **changes: Any) -> Any:
    """A copy with some fields changed, whatever its type."""
    return dataclasses.replace(value, **changes)
