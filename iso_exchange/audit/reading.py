"""What can be said of leaves without knowing what came before them.

Every leaf is hashed to the signed root, a commitment is opened, and the envelope in it is taken
apart. Nearly all leaves are in the usual form, and of these the walk gets what it goes on with;
every other leaf it gets as it is, with the line that should open it, and goes the long way.
A long log is read in a process of its own, beside the walk (``reader``); what is handed on is plain
tuples, which are quick to send.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterator
from typing import Final, TypeAlias

from iso_exchange.audit.bundle import read_opening_parts
from iso_exchange.audit.files import BundleFiles
from iso_exchange.sequencer.leaves import BATCH_PAYLOAD_TYPE
from settlement.ledger import proofs, tiles
from settlement.ledger.envelope import parts_of
from settlement.ledger.errors import LedgerFormatError, TileError
from settlement.ledger.merkle import HASH_BYTES, Frontier
from settlement.ledger.proofs import COMMITMENT_PREFIX

Usual: TypeAlias = tuple[bytes, str, str, bytes, str, bytes]
"""A commitment that was opened, to an envelope with one signature: leaf hash, entry kind that the
opening says, payload type, payload, key identifier, signature. The opening names no document."""

Line: TypeAlias = tuple[int, bytes] | str | None
"""The line of openings for a leaf, with its number; what went wrong; or None: there is none."""

Other: TypeAlias = tuple[bytes, bytes, Line, bytes]
"""Any other leaf: its hash, itself, its line where it is a commitment, and where it is a batch
header the root over the leaves since the one before."""

Frame: TypeAlias = tuple[int, list[Usual | Other], tuple[str, str] | None, Line]
"""Index of the first leaf; leaves; place and text of what ended the reading, if anything did;
and after the last leaf the line of openings that is left over."""

TEXT_COUNT_MAX: Final = 10_000

_COMMITMENT_BEGIN, _COMMITMENT_END = proofs.commitment_leaf(bytes(32)).split(
    binascii.b2a_base64(bytes(32), newline=False)
)
_HEADER_MARK: Final = f'","payloadType":"{BATCH_PAYLOAD_TYPE}"'.encode()


def read_frames(files: BundleFiles, *, size: int, root: bytes, openings: bool) -> Iterator[Frame]:
    """Every leaf under a checkpoint, some hundred at a time.

    Args:
        files: Of the bundle.
        size: Of the checkpoint, already verified by the caller.
        root: Of the checkpoint.
        openings: Whether the bundle has any.
    """
    reading = _Reading(files, openings=openings)
    reader = tiles.TileReader(files.read_log, size=size, root=root)
    bundles = reader.bundles()
    first = 0
    while True:
        try:
            found = next(bundles, None)
        except TileError as error:
            yield first, [], (error.place, str(error)), None
            return
        if found is None:
            break
        entries, hashes = found
        yield first, reading.leaves(entries, hashes), None, None
        first += len(entries)
    yield first, [], None, reading.line() if openings else None


class _Reading:
    """Openings go with the commitments of the log, one after the other."""

    def __init__(self, files: BundleFiles, *, openings: bool) -> None:
        self._files = files
        self._with_openings = openings
        self._lines: Iterator[tuple[int, bytes]] | None = None
        self._texts: dict[bytes, str] = {}
        self._batch: list[bytes] = []
        self._index = 0

    def leaves(self, entries: list[bytes], hashes: bytes) -> list[Usual | Other]:
        """One item for each leaf."""
        found: list[Usual | Other] = []
        for position, leaf in enumerate(entries):
            start = position * HASH_BYTES
            hash_ = hashes[start : start + HASH_BYTES]
            if leaf.endswith(_COMMITMENT_END):
                found.append(self._commitment(leaf, hash_))
                self._batch.append(hash_)
            elif _HEADER_MARK in leaf:
                found.append((hash_, leaf, None, Frontier().extend(self._batch).root()))
                self._batch = []
            else:
                found.append((hash_, leaf, None, b""))
                self._batch.append(hash_)
            self._index += 1
        return found

    def line(self) -> Line:
        """The next line of openings."""
        if self._lines is None:
            self._lines = self._files.opening_lines()
        try:
            return next(self._lines, None)
        except (OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    def _commitment(self, leaf: bytes, hash_: bytes) -> Usual | Other:
        try:
            proofs.parse_commitment_leaf(leaf)
        except LedgerFormatError:
            return hash_, leaf, None, b""
        if not self._with_openings:
            return hash_, leaf, None, b""
        line = self.line()
        usual = self._opened(leaf, hash_, line[1]) if isinstance(line, tuple) else None
        return usual or (hash_, leaf, line, b"")

    def _opened(self, leaf: bytes, hash_: bytes, line: bytes) -> Usual | None:
        """What a leaf commits to, where everything is as usual and right."""
        opening = read_opening_parts(line)
        if opening is None:
            return None
        data, index, kind, salt = opening
        if index != self._index:
            return None
        committed = hashlib.sha256(COMMITMENT_PREFIX + salt + data).digest()
        again = binascii.b2a_base64(committed, newline=False)
        if leaf != b"%b%b%b" % (_COMMITMENT_BEGIN, again, _COMMITMENT_END):
            return None
        parts = parts_of(data)
        if parts is None:
            return None
        payload_type, payload, keyid, sig = parts
        if keyid is None or sig is None:
            return None
        texts = self._texts
        return (
            hash_,
            texts.get(kind) or self._text(kind),
            texts.get(payload_type) or self._text(payload_type),
            payload,
            texts.get(keyid) or self._text(keyid),
            sig,
        )

    def _text(self, data: bytes) -> str:
        """The same text is one object: it is then sent once in a frame."""
        if len(self._texts) > TEXT_COUNT_MAX:
            self._texts.clear()
        return self._texts.setdefault(data, data.decode())
