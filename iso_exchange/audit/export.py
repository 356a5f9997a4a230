"""Write an audit bundle: the published log as it is, and what belongs to its entries.

Reads the store and the published files, changes neither, and may run beside a working
exchange: the bundle ends at the checkpoint that was published when it began.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clearing import codec
from iso_exchange.audit.bundle import (
    BUNDLE_NAME,
    CHECKPOINT_NAME,
    DOCUMENT_PREFIX,
    FORMAT,
    LOG_PREFIX,
    NOT_SEALED,
    OPENINGS_NAME,
    Bundle,
    BundleFile,
    BundleKind,
    Opening,
    log_paths,
    timestamp_paths,
)
from iso_exchange.authority import command_of
from iso_exchange.commands import (
    CancelOrder,
    CloseRun,
    CloseSpotMarket,
    Command,
    Nominate,
    OpenSpotMarket,
    PublishPrices,
    Recall,
    Release,
    ReturnHours,
    RotateLogKey,
    SubmitOrder,
)
from iso_exchange.credit_commands import (
    BidCredits,
    CancelCreditBid,
    CloseCreditRound,
    CloseCredits,
    DiscloseCreditRound,
    OpenCredits,
    PublishCreditRound,
)
from iso_exchange.disclosure import SEALED_KINDS, credits_name, sealing_auction
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.publisher.files import replace
from iso_exchange.sequencer.refusals import Rejected
from settlement.ledger.checkpoint import open_checkpoint
from settlement.ledger.errors import LedgerFormatError
from settlement.ledger.keys import NoteAlgorithm, NoteKey, parse_vkey
from settlement.storage.store import Entry, LedgerStore

PAGE_COUNT: Final = 1_000
ROTATION_KIND: Final = ENTRY_KINDS[RotateLogKey].name
READ_KINDS: Final = SEALED_KINDS | {
    ENTRY_KINDS[kind].name
    for kind in (
        PublishPrices,
        OpenSpotMarket,
        CloseSpotMarket,
        CloseRun,
        OpenCredits,
        CloseCredits,
        CloseCreditRound,
        DiscloseCreditRound,
    )
}
"""Entries that are sealed, or that say what is open."""


class ExportError(RuntimeError):
    """A bundle that cannot be written.

    Attributes:
        code: ``DIRECTORY_NOT_EMPTY``, ``NOTHING_PUBLISHED``, ``CHECKPOINT_REFUSED``,
            ``LOG_FILE_MISSING``, ``ENTRIES_MISSING``, ``ENTRY_UNREADABLE`` or
            ``DOCUMENT_MISSING``.
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
    checkpoint_name: str = CHECKPOINT_NAME,
) -> Bundle:
    """Write a bundle of everything published.

    Entries that are sealed until an auction is published stay sealed, and with them every
    confidential entry after the first of them: ``Bundle.sealed_from``.

    Args:
        store: Only read.
        log_directory: Where the publisher writes ``checkpoint`` and ``tile/``.
        directory: Created; must not exist or be empty. ``bundle.json`` is written last.
        origin: Name of the log.
        vkey: Verifier key of the log.
        checkpoint_name: Another checkpoint of the directory, such as the last witnessed one.

    Raises:
        ExportError: with a stable code.
        OSError: the file system failed; a directory without ``bundle.json`` is no bundle.
    """
    _refuse_used(directory)
    # Read once: a working exchange may publish the next one meanwhile.
    note, size = _checkpoint(log_directory / checkpoint_name, origin, vkey)
    files = [_write(directory, LOG_PREFIX + CHECKPOINT_NAME, note)]
    files.extend(
        _write(directory, LOG_PREFIX + path, _read_log(log_directory, path))
        for path in log_paths(size)
    )
    files.extend(
        _write(directory, LOG_PREFIX + path, _read_log(log_directory, path))
        for stamped in _stamped(log_directory, size)
        for path in timestamp_paths(stamped)
    )
    sealed_from = NOT_SEALED
    opened = 0
    if kind is BundleKind.AUDITOR:
        sealed_from = await _sealed_from(store, size)
        opened = size if sealed_from == NOT_SEALED else sealed_from
        files.append(await _write_openings(store, directory, opened))
    digests, first = await _digests(store, size, opened)
    files.extend([file async for file in _write_documents(store, directory, digests)])
    bundle = Bundle(
        format=FORMAT,
        kind=kind,
        origin=origin,
        vkey=vkey,
        size=size,
        sealed_from=sealed_from,
        files=tuple(sorted(files, key=lambda file: file.path)),
        first_vkey="" if first is None else _vkey(origin, first.old_public_key),
    )
    # One sync for tens of thousands of documents: a bundle without its listing is none.
    os.sync()
    replace(directory / BUNDLE_NAME, codec.encode(bundle))
    return bundle


def _refuse_used(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        return
    if directory.exists():
        raise ExportError("DIRECTORY_NOT_EMPTY", f"{directory} exists and is no empty directory")


def _checkpoint(path: Path, origin: str, vkey: str) -> tuple[bytes, int]:
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


def _stamped(log_directory: Path, size: int) -> list[int]:
    """Sizes of the checkpoints up to this one that a timestamp authority stamped."""
    found = (path.stem for path in (log_directory / "timestamps").glob("*.tsr"))
    sizes = (int(stem) for stem in found if stem.isascii() and stem.isdigit())
    return sorted(stamped for stamped in sizes if 0 < stamped <= size)


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


async def _sealed_from(store: LedgerStore, size: int) -> int:
    """First entry of an auction whose prices are not among the entries, or ``NOT_SEALED``."""
    first: dict[str, int] = {}
    published: set[str] = set()
    spot = _SealedInSpot()
    auctions: dict[str, str] = {}
    async for entry in _entries(store, size):
        if entry.kind not in READ_KINDS:
            continue
        command = _command(entry)
        if spot.take(command, entry.index):
            continue
        if isinstance(command, PublishPrices):
            published.add(command.auction_id)
        if isinstance(command, SubmitOrder):
            auctions[command.order_id] = command.auction_id
        auction_id = sealing_auction(command, auctions.__getitem__)
        if auction_id is not None:
            first.setdefault(auction_id, entry.index)
    sealed = [index for auction_id, index in first.items() if auction_id not in published]
    return min([*sealed, *spot.sealed()], default=NOT_SEALED)


@dataclass(slots=True)
class _SealedInSpot:
    """What is still sealed of spot markets and credits books: behind the last decided gate."""

    _orders: dict[str, list[int]] = field(default_factory=dict)
    _gates: dict[str, int] = field(default_factory=dict)
    _market_of: dict[str, str] = field(default_factory=dict)
    _results: dict[str, int] = field(default_factory=dict)

    def take(self, command: Command, index: int) -> bool:
        """Whether an entry is an order of a market, or says where its orders are open."""
        match command:
            case OpenSpotMarket():
                self._orders[command.market_id] = []
            case CloseRun():
                self._gates[f"{command.market_id}/{command.start}"] = index
            case CloseSpotMarket():
                self._open(command.market_id, index)
            case PublishPrices() if command.auction_id in self._gates:
                market_id = command.auction_id.rpartition("/")[0]
                self._open(market_id, self._gates.pop(command.auction_id))
                return False
            case ReturnHours():
                self._orders[command.market_id].append(index)
            case OpenCredits():
                self._orders[credits_name(command.book_id)] = []
            case CloseCreditRound():
                self._gates[f"{credits_name(command.book_id)}/{command.start}"] = index
            case DiscloseCreditRound():
                name = credits_name(command.book_id)
                self._open(name, self._gates.pop(f"{name}/{command.start}"))
                self._results.pop(f"{name}/{command.start}", None)
            case CloseCredits():
                self._open(credits_name(command.book_id), index)
            case BidCredits() | CancelCreditBid():
                self._orders[credits_name(command.book_id)].append(index)
            case PublishCreditRound():
                self._results[f"{credits_name(command.book_id)}/{command.start}"] = index
            case SubmitOrder() | Nominate() | Release() if command.auction_id in self._orders:
                self._orders[command.auction_id].append(index)
                if isinstance(command, SubmitOrder):
                    self._market_of[command.order_id] = command.auction_id
                elif isinstance(command, Release):
                    self._market_of[command.release_id] = command.auction_id
            case Recall() if command.release_id in self._market_of:
                self._orders[self._market_of[command.release_id]].append(index)
            case CancelOrder() if command.order_id in self._market_of:
                self._orders[self._market_of[command.order_id]].append(index)
            case _:
                return False
        return True

    def sealed(self) -> list[int]:
        """First sealed entry of each market that has one, and results that are not disclosed."""
        first = [indexes[0] for indexes in self._orders.values() if indexes]
        return [*first, *self._results.values()]

    def _open(self, market_id: str, gate: int) -> None:
        self._orders[market_id] = [index for index in self._orders[market_id] if index > gate]


def _command(entry: Entry) -> Command:
    command = command_of(entry.envelope)
    if isinstance(command, Rejected):
        raise ExportError("ENTRY_UNREADABLE", f"entry {entry.index}: {command.advice}")
    return command


async def _digests(
    store: LedgerStore, size: int, opened: int
) -> tuple[dict[bytes, bool], RotateLogKey | None]:
    """Documents that entries name, and whether an entry below ``opened`` names them.

    Beside them the first rotation of the log key.
    """
    found: dict[bytes, bool] = {}
    first: RotateLogKey | None = None
    async for entry in _entries(store, size):
        if entry.kind == ROTATION_KIND and first is None:
            command = _command(entry)
            assert isinstance(command, RotateLogKey)
            first = command
        for digest in entry.documents:
            found[digest] = found.get(digest, False) or entry.index < opened
    return found, first


def _vkey(origin: str, public: bytes) -> str:
    return NoteKey(name=origin, algorithm=NoteAlgorithm.ED25519, public=public).to_vkey()


async def _write_openings(store: LedgerStore, directory: Path, opened: int) -> BundleFile:
    """Openings of all confidential entries below ``opened``."""
    temporary = directory / f".{OPENINGS_NAME}.tmp"
    digest, length = hashlib.sha256(), 0
    with temporary.open("wb") as file:
        async for entry in _entries(store, opened):
            if not entry.salt:
                continue
            line = codec.encode(_opening(entry)) + b"\n"
            file.write(line)
            digest.update(line)
            length += len(line)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(directory / OPENINGS_NAME)
    return BundleFile(path=OPENINGS_NAME, sha256=digest.hexdigest(), size=length)


def _opening(entry: Entry) -> Opening:
    return Opening(
        index=entry.index,
        kind=entry.kind,
        salt=entry.salt,
        envelope=base64.b64encode(entry.envelope).decode(),
        documents=tuple(sorted(digest.hex() for digest in entry.documents)),
    )


async def _write_documents(
    store: LedgerStore, directory: Path, digests: dict[bytes, bool]
) -> AsyncIterator[BundleFile]:
    """Public documents, and those that an opened entry names."""
    for sha256, is_opened in sorted(digests.items()):
        document = await store.document(sha256)
        if document is None:
            raise ExportError("DOCUMENT_MISSING", f"the store has no document {sha256.hex()}")
        if document.public or is_opened:
            yield _write(directory, DOCUMENT_PREFIX + sha256.hex(), document.body)


def _write(directory: Path, path: str, content: bytes) -> BundleFile:
    """Write a file of the bundle; all of them are synced at once before its listing is."""
    place = directory / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return BundleFile(path=path, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
