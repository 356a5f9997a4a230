"""Reading a bundle's files: the listing, the log, the openings, the documents.

Nothing here follows a link or a path out of the directory, whatever the bundle says.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from clearing import codec
from iso_exchange.audit.bundle import (
    BUNDLE_NAME,
    CHECKPOINT_NAME,
    DOCUMENT_PREFIX,
    FORMAT,
    LOG_PREFIX,
    OPENINGS_NAME,
    Bundle,
    BundleKind,
    Opening,
    is_digest,
    log_paths,
    read_opening,
    timestamp_paths,
    timestamps_of,
)
from iso_exchange.audit.report import Record, Step
from settlement.ledger.merkle import TREE_SIZE_MAX

CHUNK_BYTES = 1 << 20
BUNDLE_BYTES_MAX = 1 << 30


class BundleFiles:
    """Files of one bundle directory."""

    def __init__(self, directory: Path) -> None:
        """Nothing is read yet."""
        self._directory = directory

    @property
    def directory(self) -> Path:
        """Where they are."""
        return self._directory

    def bundle(self) -> Bundle:
        """Read ``bundle.json``.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no bundle document of this format.
        """
        path = self._directory / BUNDLE_NAME
        if not is_regular(path) or path.stat().st_size > BUNDLE_BYTES_MAX:
            message = f"there is no readable {BUNDLE_NAME}"
            raise ValueError(message)
        bundle = codec.decode(path.read_bytes(), Bundle)
        if bundle.format != FORMAT:
            message = f"format {bundle.format!r} is not {FORMAT!r}"
            raise ValueError(message)
        if not 0 <= bundle.size <= TREE_SIZE_MAX:
            message = f"no log has {bundle.size} leaves"
            raise ValueError(message)
        return bundle

    def read_log(self, path: str) -> bytes | None:
        """A file below ``log/``, or None: ``settlement.ledger.tiles.FileReader``."""
        return self._read(LOG_PREFIX + path)

    def document(self, digest: str) -> bytes | None:
        """A document that has the digest, or None."""
        body = self._read(DOCUMENT_PREFIX + digest) if is_digest(digest) else None
        if body is None or hashlib.sha256(body).hexdigest() != digest:
            return None
        return body

    def opening_lines(self) -> Iterator[tuple[int, bytes]]:
        """Lines of ``openings.jsonl`` as they are, numbered from 1.

        Raises:
            OSError: the file cannot be read.
            ValueError: there is none.
        """
        path = self._directory / OPENINGS_NAME
        if not is_regular(path):
            message = f"there is no readable {OPENINGS_NAME}"
            raise ValueError(message)
        with path.open("rb") as file:
            yield from enumerate(file, start=1)

    def openings(self) -> Iterator[Opening]:
        """Lines of ``openings.jsonl``, read.

        Raises:
            OSError: the file cannot be read.
            ValueError: a line is no opening; the message names it.
        """
        return (opening_of(number, line) for number, line in self.opening_lines())

    def present(self) -> Iterator[str]:
        """Relative paths of everything in the directory that is not a folder."""
        for folder, _, names in os.walk(self._directory):
            for name in names:
                yield (Path(folder) / name).relative_to(self._directory).as_posix()
        # os.walk lists links to folders as folders and does not enter them.
        for folder, folders, _ in os.walk(self._directory):
            for name in folders:
                path = Path(folder) / name
                if path.is_symlink():
                    yield path.relative_to(self._directory).as_posix()

    def digest(self, path: str) -> tuple[str, int] | None:
        """Hex digest and size of a regular file, or None when it is none."""
        place = self._directory / path
        if not is_regular(place):
            return None
        digest, length = hashlib.sha256(), 0
        with place.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                length += len(chunk)
        return digest.hexdigest(), length

    def _read(self, path: str) -> bytes | None:
        place = self._directory / path
        return place.read_bytes() if is_regular(place) else None


def opening_of(number: int, line: bytes) -> Opening:
    """What a line of ``openings.jsonl`` says.

    Raises:
        ValueError: it is no opening; the message names it.
    """
    opening = read_opening(line)
    if opening is not None:
        return opening
    try:
        return codec.decode(line.removesuffix(b"\n"), Opening)
    except codec.DocumentError as error:
        message = f"line {number}: {error}"
        raise ValueError(message) from error


def is_regular(path: Path) -> bool:
    """Whether a path is a plain file, not a link, pipe or folder."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def check_files(record: Record, files: BundleFiles, bundle: Bundle) -> None:
    """Step FILES: nothing missing, nothing changed, nothing that does not belong here."""
    listed = {file.path: file for file in bundle.files}
    if len(listed) != len(bundle.files) or list(listed) != sorted(listed):
        record.fail(Step.FILES, BUNDLE_NAME, "files are not sorted by path, each once")
    expected = {LOG_PREFIX + CHECKPOINT_NAME}
    expected.update(LOG_PREFIX + path for path in _log_paths(bundle, len(listed)))
    for size in timestamps_of(bundle):
        expected.update(LOG_PREFIX + path for path in timestamp_paths(size))
    if bundle.kind is BundleKind.AUDITOR:
        expected.add(OPENINGS_NAME)
    for path in sorted(expected - listed.keys()):
        record.fail(Step.FILES, path, "not listed, but belongs to a bundle of this kind and size")
    present = set(files.present()) - {BUNDLE_NAME}
    for path in sorted(present - listed.keys()):
        record.fail(Step.FILES, path, "is not listed")
    for path, file in listed.items():
        if path not in expected and not _is_document(path):
            record.fail(Step.FILES, path, "does not belong to a bundle of this kind and size")
            continue
        found = files.digest(path)
        if found is None:
            record.fail(Step.FILES, path, "is missing, or no regular file")
        elif found != (file.sha256, file.size):
            record.fail(Step.FILES, path, f"has digest {found[0]} and {found[1]} bytes")
        elif _is_document(path) and path.removeprefix(DOCUMENT_PREFIX) != file.sha256:
            record.fail(Step.FILES, path, "is not named by its digest")
        record.count(Step.FILES, "files")


def _log_paths(bundle: Bundle, file_count: int) -> Iterator[str]:
    """Paths of the log; a size far beyond the files is not spelled out."""
    for position, path in enumerate(log_paths(bundle.size)):
        yield path
        if position > file_count:
            return


def _is_document(path: str) -> bool:
    return path.startswith(DOCUMENT_PREFIX) and is_digest(path.removeprefix(DOCUMENT_PREFIX))
