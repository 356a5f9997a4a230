"""Rebuild the state from the log: decode every entry and apply it again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from clearing.errors import InvariantError
from iso_exchange.authority import command_of
from iso_exchange.sequencer.effects import Documents, Meta
from iso_exchange.sequencer.leaves import BATCH_KIND
from iso_exchange.sequencer.machine import apply
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.state import State
from settlement.ledger import merkle, proofs
from settlement.storage.store import Entry, LedgerStore, StoreError, TreeState

PAGE_COUNT = 5_000
RESTORE = "restore the database from a backup and replay its write-ahead log"


@dataclass(slots=True, kw_only=True)
class Loaded:
    """State and end of the log, kept in step by the sequencer.

    Attributes:
        requests: Every (signer, request id) answered so far.
    """

    state: State
    head: TreeState
    frontier: merkle.Frontier
    time_us: int
    requests: set[tuple[str, str]]


async def load(store: LedgerStore, origin: str, head: TreeState) -> Loaded:
    """Replay the whole log.

    Raises:
        StoreError: ``ROLLED_BACK`` when the entries do not give the head's root, or the
            database is behind what was published; ``DAMAGED`` when an entry, a document or a
            balance is not what the log's hashes say.
        InvariantError: an accepted entry is refused on replay.
    """
    loaded = Loaded(
        state=State(origin=origin),
        head=head,
        frontier=merkle.Frontier(),
        time_us=0,
        requests=set(),
    )
    while loaded.frontier.size < head.size:
        page = await store.entries(loaded.frontier.size, PAGE_COUNT)
        if not page:
            raise StoreError("ROLLED_BACK", f"entries end at {loaded.frontier.size}")
        for entry in page:
            await replay_entry(store, loaded, entry)
        loaded.frontier = loaded.frontier.extend(entry.leaf_hash for entry in page)
        loaded.state.books.release()
    if loaded.frontier.root() != head.root:
        raise StoreError("ROLLED_BACK", "the entries do not give the recorded root")
    published = await store.published()
    if published is not None and published.size > head.size:
        raise StoreError(
            "ROLLED_BACK", f"published {published.size} entries, the database holds {head.size}"
        )
    await _check_balances(store, loaded.state)
    return loaded


async def _check_balances(store: LedgerStore, state: State) -> None:
    """The stored balances are those that the log gives."""
    kept = {(item.asset, item.account): item for item in await store.balances("")}
    for due in state.books.balances():
        found = kept.pop((due.asset, due.account), None)
        if found != due:
            detail = f"{due.account} holds {found}, the log gives {due}: {RESTORE}"
            raise StoreError("DAMAGED", detail)
    if kept:
        raise StoreError("DAMAGED", f"no entry made the balances {sorted(kept)}: {RESTORE}")


async def replay_entry(store: LedgerStore, loaded: Loaded, entry: Entry) -> None:
    """Apply one stored entry again."""
    loaded.time_us = entry.time_us
    loaded.requests.add((entry.principal, entry.request_id))
    if merkle.leaf_hash(entry.leaf) != entry.leaf_hash:
        raise StoreError("DAMAGED", f"leaf {entry.index} does not have its hash: {RESTORE}")
    if entry.salt:
        sealed = proofs.commitment_leaf(proofs.commit(entry.salt, entry.envelope))
    else:
        sealed = entry.envelope
    if sealed != entry.leaf:
        detail = f"the envelope of entry {entry.index} is not what its leaf says: {RESTORE}"
        raise StoreError("DAMAGED", detail)
    if entry.kind == BATCH_KIND:
        return
    command = command_of(entry.envelope)
    if isinstance(command, Rejected):
        message = f"entry {entry.index} no longer decodes: {command}"
        raise InvariantError(message)
    meta = Meta(
        time_us=entry.time_us,
        index=entry.index,
        leaf_hash=entry.leaf_hash,
        documents=await _documents(store, entry),
    )
    result = apply(loaded.state, command, meta)
    if isinstance(result, Rejected):
        message = f"entry {entry.index} ({entry.kind}) is refused on replay: {result}"
        raise InvariantError(message)


async def _documents(store: LedgerStore, entry: Entry) -> Documents:
    bodies: dict[bytes, bytes] = {}
    for digest in entry.documents:
        document = await store.document(digest)
        if document is None:
            raise StoreError("ROLLED_BACK", f"document {digest.hex()} is missing")
        if hashlib.sha256(document.body).digest() != digest:
            raise StoreError("DAMAGED", f"document {digest.hex()} has another digest: {RESTORE}")
        bodies[digest] = document.body
    return bodies
