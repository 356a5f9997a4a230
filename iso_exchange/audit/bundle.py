"""What an audit bundle is: a directory of files, each with its digest in ``bundle.json``.

The bundle holds the published log as it is served, and for auditors what opens its
commitments. Every document is canonical JSON (``clearing.codec``), so a file has one
spelling and one digest. See docs/reference/audit.md.
"""

from __future__ import annotations

import binascii
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from clearing.shapes import LATER
from iso_exchange.commands import (
    Command,
    InstructSuppliers,
    IssueStatement,
    NotifyAward,
    PublishPrices,
    PublishResult,
    ReleaseBook,
    SettleHour,
)
from iso_exchange.credit_commands import ExpireCredits, PublishCreditRound
from iso_exchange.money_commands import (
    CorrectHour,
    PublishSpot,
    RebatePool,
    RebateRents,
)
from iso_exchange.spot_commands import ReportAllocation
from settlement.ledger import tiles

FORMAT: Final = "iso-exchange.audit-bundle.v1"
BUNDLE_NAME: Final = "bundle.json"
OPENINGS_NAME: Final = "openings.jsonl"
LOG_PREFIX: Final = "log/"
CHECKPOINT_NAME: Final = "checkpoint"
DOCUMENT_PREFIX: Final = "documents/"
TIMESTAMP: Final = re.compile(r"log/timestamps/([1-9][0-9]{0,18})\.tsr")
NOT_SEALED: Final = -1
SHA256_HEX_LENGTH: Final = 64
HEX_DIGITS: Final = frozenset("0123456789abcdef")

_DOCUMENT_FIELDS: Final[dict[type, tuple[str, ...]]] = {
    PublishResult: (
        "book_sha256",
        "outcome_sha256",
        "assignment_sha256",
        "postings_sha256",
        "stops_sha256",
    ),
    PublishPrices: ("prices_sha256",),
    NotifyAward: ("notice_sha256",),
    SettleHour: ("delivered_sha256", "postings_sha256"),
    PublishSpot: ("spot_sha256", "postings_sha256"),
    CorrectHour: ("delivered_sha256", "postings_sha256"),
    RebateRents: ("postings_sha256",),
    RebatePool: ("postings_sha256",),
    IssueStatement: ("statement_sha256",),
    ReleaseBook: ("book_sha256", "outcome_sha256"),
    ReportAllocation: ("allocation_sha256",),
    PublishCreditRound: ("book_sha256", "outcome_sha256", "assignment_sha256", "postings_sha256"),
    ExpireCredits: ("postings_sha256",),
    InstructSuppliers: ("batch_sha256",),
}


class BundleKind(Enum):
    """For whom a bundle is."""

    PUBLIC = "public"
    """Anybody: the log and public documents, no opening."""
    AUDITOR = "auditor"
    """Auditors: everything but what is sealed until its auction is published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """One file of a bundle.

    Attributes:
        path: Relative to the bundle, ``/`` between folders.
        sha256: Lower-case hex digest.
        size: Bytes.
    """

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Document ``bundle.json``; written last, so that a directory without it is no bundle.

    Attributes:
        format: ``FORMAT``.
        origin: Name of the log.
        vkey: Verifier key of the log (C2SP signed note), as the exchange states it.
        size: Leaves under the checkpoint.
        sealed_from: Index of the first entry that belongs to an auction without published
            prices and is sealed until then; no entry from there on is opened. ``NOT_SEALED``
            where every entry is opened, and in every public bundle.
        files: Every other file, sorted by path.
        first_vkey: Verifier key of the log's first batches, where a rotation replaced it; empty
            where there was none.
    """

    format: str
    kind: BundleKind
    origin: str
    vkey: str
    size: int
    sealed_from: int
    files: tuple[BundleFile, ...]
    first_vkey: str = field(default="", metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One line of ``openings.jsonl``: what a commitment leaf commits to.

    Attributes:
        index: Log index of the leaf; lines ascend by it.
        kind: Entry kind, such as ``ORDER``.
        salt: 32 bytes.
        envelope: Base64 of the exact envelope.
        documents: Digests of the documents that the entry names, hex, sorted.
    """

    index: int
    kind: str
    salt: bytes
    envelope: str
    documents: tuple[str, ...]

    def envelope_bytes(self) -> bytes:
        """Decoded envelope.

        Raises:
            ValueError: not base64 in its one spelling.
        """
        try:
            data = binascii.a2b_base64(self.envelope, strict_mode=True)
        except binascii.Error as error:
            message = f"envelope is no base64: {error}"
            raise ValueError(message) from error
        if binascii.b2a_base64(data, newline=False).decode() != self.envelope:
            message = "envelope is base64 in a second spelling"
            raise ValueError(message)
        return data


_OPENING_BEGIN: Final = b'{"documents":[],"envelope":"'
_OPENING_REST: Final = re.compile(
    rb'","index":(0|[1-9][0-9]{0,14}),"kind":"([A-Z_]{1,64})","salt":"([0-9a-f]{64})"\}\n?'
)


def read_opening_parts(line: bytes) -> tuple[bytes, int, bytes, bytes] | None:
    """Envelope, index, kind and salt of an opening without documents, in its canonical form.

    Nearly all lines are so, and reading one as a general document costs ten times as much; None
    for any other line. What is admitted is canonical, so ``codec.decode`` would come to the same.
    """
    if not line.startswith(_OPENING_BEGIN):
        return None
    end = line.find(b'"', len(_OPENING_BEGIN))
    match = _OPENING_REST.fullmatch(line, end) if end > 0 else None
    if match is None:
        return None
    text = line[len(_OPENING_BEGIN) : end]
    try:
        data = binascii.a2b_base64(text)
    except binascii.Error:
        return None
    if binascii.b2a_base64(data, newline=False) != text:
        return None
    index, kind, salt = match.groups()
    return data, int(index), kind, binascii.a2b_hex(salt)


def read_opening(line: bytes) -> Opening | None:
    """``read_opening_parts`` as an opening."""
    parts = read_opening_parts(line)
    if parts is None:
        return None
    data, index, kind, salt = parts
    return Opening(
        index=index,
        kind=kind.decode(),
        salt=salt,
        envelope=binascii.b2a_base64(data, newline=False).decode(),
        documents=(),
    )


def documents_of(command: Command) -> tuple[str, ...]:
    """Hex digests of the documents that a command names, as it spells them."""
    fields = _DOCUMENT_FIELDS.get(type(command))
    if fields is None:
        return ()
    return tuple(digest for field in fields if (digest := getattr(command, field)))


def is_digest(text: str) -> bool:
    """Whether a text is a SHA-256 digest in lower-case hex."""
    return len(text) == SHA256_HEX_LENGTH and set(text) <= HEX_DIGITS


def timestamps_of(bundle: Bundle) -> tuple[int, ...]:
    """Sizes of the stamped checkpoints that a bundle lists, ascending."""
    matches = (TIMESTAMP.fullmatch(file.path) for file in bundle.files)
    sizes = {int(match[1]) for match in matches if match is not None}
    return tuple(sorted(size for size in sizes if size <= bundle.size))


def timestamp_paths(size: int) -> tuple[str, str]:
    """Paths of a stamped checkpoint below ``log/``."""
    return f"timestamps/{size}.checkpoint", f"timestamps/{size}.tsr"


def log_paths(size: int) -> Iterator[str]:
    """Paths below ``log/`` of the tiles and entry bundles of a log of some size."""
    for tile in itertools.chain(tiles.changed_tiles(0, size), tiles.changed_bundles(0, size)):
        yield tile.path
