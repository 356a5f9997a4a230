"""Write an audit bundle: the published log as it is, and what belongs to its entries.

Reads the store and the published files, changes neither, and may run beside a working
exchange: the bundle ends at the checkpoint that was published when it began.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from clearing import codec
from iso_exchange.audit.bundle import (
    BUNDLE_NAME,
    CHECKPOINT_NAME,
    DOCUMENT_PREFIX,
    FORMAT,
    LOG_PREFIX,
    OPENINGS_NAME,
    Bundle,
    BundleFile,
    BundleKind,
    Opening,
    log_paths,
)
from iso_exchange.publisher.files import replace
from settlement.ledger.checkpoint import open_checkpoint
from settlement.ledger.errors import LedgerFormatError
from settlement.ledger.keys import parse_vkey
from settlement.storage.store import Entry, LedgerStore

PAGE_COUNT: Final = 1_000


class ExportError(RuntimeError):
    """A bundle that cannot be written.

    Attributes:
        code: ``DIRECTORY_NOT_EMPTY``, ``NOTHING_PUBLISHED``, ``CHECKPOINT_REFUSED``,
            ``LOG_FILE_MISSING``, ``ENTRIES_MISSING`` or ``DOCUMENT_MISSING``.
        detail: What is concerned, one sentence.
    """

    def __init__(self, code: str, detail: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


async def export(
    *,
    store: LedgerStore,
    log_directory: Path,
    directory: Path,
    kind: BundleKind,
    origin: str,
    vkey: str,
) -> Bundle:
    """Write a bundle of everything published.

    Args:
        store: Only read.
        log_directory: Where the publisher writes ``checkpoint`` and ``tile/``.
        directory: Created; must not exist or be empty. ``bundle.json`` is written last.
        origin: Name of the log.
        vkey: Verifier key of the log.

    Raises:
        ExportError: with a stable code.
        OSError: the file system failed; a directory without ``bundle.json`` is no bundle.
    """
    _refuse_used(directory)
    # Read once: a working exchange may publish the next one meanwhile.
    note, size = _checkpoint(log_directory, origin, vkey)
    files = [_write(directory, LOG_PREFIX + CHECKPOINT_NAME, note)]
    files.extend(
        _write(directory, LOG_PREFIX + path, _read_log(log_directory, path))
        for path in log_paths(size)
    )
    if kind is BundleKind.AUDITOR:
        openings, digests = await _write_openings(store, directory, size)
        files.append(openings)
    else:
        digests = await _digests(store, size)
    files.extend([file async for file in _write_documents(store, directory, kind, digests)])
    bundle = Bundle(
        format=FORMAT,
        kind=kind,
        origin=origin,
        vkey=vkey,
        size=size,
        files=tuple(sorted(files, key=lambda file: file.path)),
    )
    replace(directory / BUNDLE_NAME, codec.encode(bundle))
    return bundle


def _refuse_used(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        return
    if directory.exists():
        raise ExportError("DIRECTORY_NOT_EMPTY", f"{directory} exists and is no empty directory")


def _checkpoint(log_directory: Path, origin: str, vkey: str) -> tuple[bytes, int]:
    path = log_directory / CHECKPOINT_NAME
    if not path.is_file():
        raise ExportError("NOTHING_PUBLISHED", f"there is no {path}")
    note = path.read_bytes()
    try:
        checkpoint = open_checkpoint(note, parse_vkey(vkey)).checkpoint
    except LedgerFormatError as error:
        raise ExportError("CHECKPOINT_REFUSED", f"{path}: {error}") from error
    if checkpoint.origin != origin:
        raise ExportError("CHECKPOINT_REFUSED", f"{path} is of {checkpoint.origin}, not {origin}")
    return note, checkpoint.size


def _read_log(log_directory: Path, path: str) -> bytes:
    try:
        return (log_directory / path).read_bytes()
    except FileNotFoundError as error:
        raise ExportError("LOG_FILE_MISSING", f"{log_directory / path}") from error


async def _entries(store: LedgerStore, size: int) -> AsyncIterator[Entry]:
    start = 0
    while start < size:
        page = await store.entries(start, min(PAGE_COUNT, size - start))
        if not page:
            raise ExportError("ENTRIES_MISSING", f"entries end at {start} of {size}")
        for entry in page:
            yield entry
        start += len(page)


async def _digests(store: LedgerStore, size: int) -> set[bytes]:
    return {digest async for entry in _entries(store, size) for digest in entry.documents}


async def _write_openings(
    store: LedgerStore, directory: Path, size: int
) -> tuple[BundleFile, set[bytes]]:
    """Openings of all confidential entries, and the documents that any entry names."""
    temporary = directory / f".{OPENINGS_NAME}.tmp"
    digest, length = hashlib.sha256(), 0
    documents: set[bytes] = set()
    with temporary.open("wb") as file:
        async for entry in _entries(store, size):
            documents.update(entry.documents)
            if not entry.salt:
                continue
            line = codec.encode(_opening(entry)) + b"\n"
            file.write(line)
            digest.update(line)
            length += len(line)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(directory / OPENINGS_NAME)
    return BundleFile(path=OPENINGS_NAME, sha256=digest.hexdigest(), size=length), documents


def _opening(entry: Entry) -> Opening:
    return Opening(
        index=entry.index,
        kind=entry.kind,
        salt=entry.salt,
        envelope=base64.b64encode(entry.envelope).decode(),
        documents=tuple(sorted(digest.hex() for digest in entry.documents)),
    )


async def _write_documents(
    store: LedgerStore, directory: Path, kind: BundleKind, digests: set[bytes]
) -> AsyncIterator[BundleFile]:
    for sha256 in sorted(digests):
        document = await store.document(sha256)
        if document is None:
            raise ExportError("DOCUMENT_MISSING", f"the store has no document {sha256.hex()}")
        if document.public or kind is BundleKind.AUDITOR:
            yield _write(directory, DOCUMENT_PREFIX + sha256.hex(), document.body)


def _write(directory: Path, path: str, content: bytes) -> BundleFile:
    replace(directory / path, content)
    return BundleFile(path=path, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
