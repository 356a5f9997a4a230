"""Take a released book out of a bundle."""

from __future__ import annotations

from pathlib import Path

from clearing import codec
from clearing.outcome import Outcome
from clearing.types import Book
from iso_exchange.audit.bundle import CHECKPOINT_NAME
from iso_exchange.audit.files import BundleFiles
from iso_exchange.audit.log_keys import LogKeys, Trust
from iso_exchange.authority import command_of
from iso_exchange.commands import ReleaseBook
from iso_exchange.kinds import ENTRY_KINDS
from settlement.ledger import envelope, tiles

RELEASE_TYPE = ENTRY_KINDS[ReleaseBook].payload_type


class ReleasedBookError(RuntimeError):
    """There is no such book.

    Attributes:
        code: ``BUNDLE_UNREADABLE``, ``BOOK_NOT_RELEASED`` or ``DOCUMENT_MISSING``.
    """

    def __init__(self, code: str, detail: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code}: {detail}")
        self.code = code


def released_book(directory: Path, auction_id: str, trust: Trust) -> tuple[int, Book, Outcome]:
    """Index of the entry, book and outcome, from a bundle of either kind.

    The checkpoint's signature, every leaf before the entry and the digests of the documents
    are checked; the rest is ``verify``'s.

    Raises:
        ReleasedBookError: it is not there.
        LedgerFormatError: the log is not what the checkpoint says.
    """
    files = BundleFiles(directory)
    try:
        bundle = files.bundle()
    except (OSError, ValueError) as error:
        raise ReleasedBookError("BUNDLE_UNREADABLE", str(error)) from error
    opened = LogKeys(bundle, trust).open(files.read_log(CHECKPOINT_NAME) or b"").checkpoint
    for index, leaf in tiles.replay(files.read_log, size=opened.size, root=opened.root):
        if envelope.decode(leaf, allow_unsigned=True).payload_type != RELEASE_TYPE:
            continue
        command = command_of(leaf)
        if not isinstance(command, ReleaseBook) or command.auction_id != auction_id:
            continue
        bodies = [files.document(command.book_sha256), files.document(command.outcome_sha256)]
        if bodies[0] is None or bodies[1] is None:
            raise ReleasedBookError("DOCUMENT_MISSING", f"entry {index} names it")
        return index, codec.decode(bodies[0], Book), codec.decode(bodies[1], Outcome)
    raise ReleasedBookError("BOOK_NOT_RELEASED", f"no entry releases the book of {auction_id}")
