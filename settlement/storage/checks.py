"""What every adapter demands of a commit before it looks at the store.

A commit that fails here is a bug of the sequencer, not a refusal: nothing in it comes from a
participant unchecked. One place, so that the adapters cannot differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from clearing.errors import InvariantError
from settlement.storage.store import AppliedTransfer, Balance, Commit, Document, Entry

LEAF_BYTES_MAX = 32 * 1024
DIGEST_BYTES = 32
INT64_MAX = 2**63 - 1
NUMERIC_MAX = 10**38 - 1  # numeric(38, 0)
POSITION_MAX = 2**31 - 1

Subject = tuple[str | int, ...]
COMMIT: Subject = ("commit",)


def check_commit(batch: Commit) -> None:
    """Check sizes, digests, ranges and that the parts of a commit fit together.

    Raises:
        InvariantError: With what is wrong.
    """
    expected, new = batch.expected, batch.new
    _demand(new.epoch == expected.epoch, COMMIT, "a commit keeps the epoch")
    _demand(new.size == expected.size + len(batch.entries), COMMIT, "the tree grows by the entries")
    _demand(len(new.root) == DIGEST_BYTES, COMMIT, "the root has 32 bytes")
    for index, entry in enumerate(batch.entries, expected.size):
        _check_entry(index, entry)
    for document in batch.documents:
        _check_document(document)
    places = [(applied.entry_index, applied.position) for applied in batch.transfers]
    _demand(len(set(places)) == len(places), COMMIT, "each transfer has its own place")
    for applied in batch.transfers:
        _check_transfer(applied, batch)
    accounts = [(balance.asset, balance.account) for balance in batch.balances]
    _demand(len(set(accounts)) == len(accounts), COMMIT, "each balance is given once")
    for balance in batch.balances:
        _check_balance(balance)


def check_limit(limit: int) -> None:
    """A page has a size.

    Raises:
        InvariantError: The limit is negative.
    """
    _demand(0 <= limit <= INT64_MAX, ("limit", limit), "is a page size")


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can keep a text: neither NUL nor lone surrogates.

    No stored name equals a text that is not storable, so a search for one finds nothing.
    """
    if "\0" in text:
        return False
    if text.isascii():  # nearly all are
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_entry(index: int, entry: Entry) -> None:
    name = ("entry", entry.index)
    _demand(entry.index == index, name, "has the next index")
    _demand(bool(entry.kind), name, "has a kind")
    _demand(abs(entry.time_us) <= INT64_MAX, name, "time is an int64")
    _demand(len(entry.leaf) <= LEAF_BYTES_MAX, name, "a leaf has at most 32 KiB")
    digests = (entry.leaf_hash, entry.body_sha256, *entry.documents)
    _demand(all(len(digest) == DIGEST_BYTES for digest in digests), name, "32-byte digests")
    _demand(len(entry.salt) in {0, DIGEST_BYTES}, name, "a salt has 32 bytes")
    _check_texts(name, (entry.kind, entry.principal, entry.request_id, *entry.owners))


def _check_document(document: Document) -> None:
    name = ("document", document.sha256.hex())
    found = hashlib.sha256(document.body).digest()
    _demand(document.sha256 == found, name, "has the digest of its body")
    _demand(bool(document.kind), name, "has a kind")
    _check_texts(name, (document.kind, *document.owners))


def _check_transfer(applied: AppliedTransfer, batch: Commit) -> None:
    transfer = applied.transfer
    name = ("transfer", transfer.transfer_id)
    carried = batch.expected.size <= applied.entry_index < batch.new.size
    _demand(carried, name, "belongs to an entry of its commit")
    _demand(0 <= applied.position <= POSITION_MAX, name, "position is an int32")
    _demand(bool(transfer.transfer_id and transfer.asset), name, "has an id and an asset")
    _demand(0 <= transfer.amount <= NUMERIC_MAX, name, "the amount has at most 38 digits")
    _demand(0 <= applied.applied <= NUMERIC_MAX, name, "applied has at most 38 digits")
    _demand(abs(transfer.quantity) <= NUMERIC_MAX, name, "quantity has at most 38 digits")
    _demand(abs(transfer.price) <= INT64_MAX, name, "price is an int64")
    _demand(abs(transfer.interval_start) <= INT64_MAX, name, "interval_start is an int64")
    texts = (transfer.transfer_id, transfer.asset, transfer.debit, transfer.credit)
    more = (transfer.pending_id, transfer.contract_id, transfer.corrects, transfer.reason)
    _check_texts(name, (*texts, *more))


def _check_balance(balance: Balance) -> None:
    name = ("balance", balance.asset, balance.account)
    _demand(bool(balance.asset), name, "has an asset")
    _demand(abs(balance.posted) <= NUMERIC_MAX, name, "at most 38 digits")
    for pending in (balance.pending_debit, balance.pending_credit):
        _demand(0 <= pending <= NUMERIC_MAX, name, "pending is not negative")
    _check_texts(name, (balance.asset, balance.account))


def _check_texts(name: Subject, texts: Iterable[str]) -> None:
    # Joined: a text that cannot be stored spoils the whole, and one look is cheaper than ten.
    _demand(is_storable("".join(texts)), name, "texts hold neither NUL nor lone surrogates")


def _demand(condition: bool, subject: Subject, demand: str) -> None:  # noqa: FBT001 - an assertion
    if not condition:
        # Formatted only here: a commit makes thousands of these calls.
        raise InvariantError(f"{' '.join(str(part) for part in subject)}: {demand}")
