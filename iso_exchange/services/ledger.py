"""LedgerService: leaves, openings, proofs, documents, checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from iso_exchange.api.v1 import ledger_pb2, ledger_service_pb2
from iso_exchange.api.v1.ledger_service_pb2_grpc import LedgerServiceServicer
from iso_exchange.convert import views
from iso_exchange.convert.views.ledger import CHUNK_BYTES_MAX
from iso_exchange.gateway.journal import HEARTBEAT_SECONDS
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.leaves import BATCH_KIND
from iso_exchange.sequencer.refusals import Code
from iso_exchange.services.access import Caller, Context
from iso_exchange.services.backend import Backend
from iso_exchange.services.disclosure import is_disclosed, is_published
from iso_exchange.services.errors import refuse
from iso_exchange.services.pages import page_of
from settlement.ledger import merkle
from settlement.storage.store import Document, Entry, Published

SHA256_BYTES: Final = 32
RESULT_KINDS: Final = frozenset({"BOOK", "OUTCOME", "ASSIGNMENT"})
SCAN_COUNT: Final = 1_000
COMMITMENT: Final = "COMMITMENT"
"""Kind shown of an entry that the caller may not open: not even what it is about."""
KINDS: Final = frozenset({kind.name for kind in ENTRY_KINDS.values()} | {BATCH_KIND})


class LedgerService(LedgerServiceServicer):
    """Leaves and proofs for everybody; openings for owners, and for auditors once published."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def GetCheckpoint(
        self, request: ledger_service_pb2.GetCheckpointRequest, context: Context
    ) -> ledger_service_pb2.GetCheckpointResponse:
        """Read the latest published checkpoint."""
        self._backend.caller(context)
        return ledger_service_pb2.GetCheckpointResponse(
            checkpoint=await self._checkpoint(self._published()), ledger_size=self._backend.size
        )

    async def GetEntry(
        self, request: ledger_service_pb2.GetEntryRequest, context: Context
    ) -> ledger_service_pb2.GetEntryResponse:
        """Read one entry."""
        caller = self._backend.caller(context)
        size = self._backend.size
        if not 0 <= request.entry_index < size:
            raise refuse(
                Code.NOT_FOUND,
                "entry_index",
                "ask for an entry of the log",
                got=str(request.entry_index),
                limit=f"0 to {size - 1}",
            )
        (entry,) = await self._backend.store.entries(request.entry_index, 1)
        return ledger_service_pb2.GetEntryResponse(
            entry=self._entry(caller, entry), ledger_size=size
        )

    async def ListEntries(
        self, request: ledger_service_pb2.ListEntriesRequest, context: Context
    ) -> ledger_service_pb2.ListEntriesResponse:
        """List entries in the order of the log."""
        caller = self._backend.caller(context)
        page = page_of(request)
        unknown = sorted(set(request.kinds) - KINDS)
        if unknown:
            raise refuse(
                Code.INVALID_VALUE,
                "kinds",
                "use kinds of docs/reference/architecture.md",
                got=", ".join(unknown),
            )
        if request.start_entry_index < 0:
            raise refuse(Code.INVALID_VALUE, "start_entry_index", "count from 0")
        index = request.start_entry_index
        if page.after is not None:
            last = page.after[0]
            if not isinstance(last, int) or last < 0:
                raise refuse(Code.INVALID_VALUE, "page_token", "send the token as it was given")
            index = last + 1
        size = self._backend.size
        found: list[Entry] = []
        scanned = 0
        # A page of a rare kind ends early rather than reading the whole log for one call.
        while index < size and len(found) < page.size and scanned < SCAN_COUNT * 20:
            entries = await self._backend.store.entries(index, min(SCAN_COUNT, size - index))
            for entry in entries:
                if not request.kinds or (
                    entry.kind in request.kinds and self._may_open(caller, entry)
                ):
                    found.append(entry)
                index, scanned = entry.index + 1, scanned + 1
                if len(found) == page.size:
                    break
        return ledger_service_pb2.ListEntriesResponse(
            entries=[self._entry(caller, entry) for entry in found],
            next_page_token=page.token((index - 1,)) if index < size else "",
            ledger_size=size,
        )

    async def GetInclusionProof(
        self, request: ledger_service_pb2.GetInclusionProofRequest, context: Context
    ) -> ledger_service_pb2.GetInclusionProofResponse:
        """Prove that an entry is in a tree."""
        self._backend.caller(context)
        published = self._published()
        tree = self._backend.publisher.tree
        size = request.tree_size or published.size
        if not 0 <= request.entry_index < size <= published.size:
            raise refuse(
                Code.INVALID_VALUE,
                "tree_size" if size > published.size else "entry_index",
                "entry_index < tree_size <= published size; wait for the next checkpoint",
                got=f"{request.entry_index} in {size}",
                limit=str(published.size),
            )
        return ledger_service_pb2.GetInclusionProofResponse(
            entry_index=request.entry_index,
            tree_size=size,
            leaf_hash=tree.subtree_hash(0, request.entry_index),
            hashes=merkle.inclusion_proof(request.entry_index, size, tree.subtree_hash),
            root_hash=tree.root(size),
            ledger_size=self._backend.size,
        )

    async def GetConsistencyProof(
        self, request: ledger_service_pb2.GetConsistencyProofRequest, context: Context
    ) -> ledger_service_pb2.GetConsistencyProofResponse:
        """Prove that one tree extends another."""
        self._backend.caller(context)
        published = self._published()
        second = request.second_tree_size or published.size
        if not 1 <= request.first_tree_size <= second <= published.size:
            raise refuse(
                Code.INVALID_VALUE,
                "first_tree_size",
                "1 <= first_tree_size <= second_tree_size <= published size",
                got=f"{request.first_tree_size} and {second}",
                limit=str(published.size),
            )
        tree = self._backend.publisher.tree
        return ledger_service_pb2.GetConsistencyProofResponse(
            first_tree_size=request.first_tree_size,
            second_tree_size=second,
            hashes=merkle.consistency_proof(request.first_tree_size, second, tree.subtree_hash),
            ledger_size=self._backend.size,
        )

    async def GetDocument(
        self, request: ledger_service_pb2.GetDocumentRequest, context: Context
    ) -> ledger_service_pb2.GetDocumentResponse:
        """Read a document piece by piece; one that may not be read looks like none."""
        caller = self._backend.caller(context)
        if len(request.sha256) != SHA256_BYTES:
            raise refuse(
                Code.INVALID_VALUE,
                "sha256",
                "send the raw SHA-256 digest",
                got=f"{len(request.sha256)} bytes",
                limit=f"{SHA256_BYTES} bytes",
            )
        document = await self._backend.store.document(request.sha256)
        # After it: what the journal does not know then was committed before the document.
        await self._backend.journal.refresh()
        if document is None or not self._may_read(caller, document):
            raise refuse(
                Code.NOT_FOUND,
                "sha256",
                "no such document, or not for you",
                got=request.sha256.hex(),
            )
        size = len(document.body)
        wanted = request.max_bytes or CHUNK_BYTES_MAX
        if not 0 <= request.offset_bytes <= size or not 0 < wanted <= CHUNK_BYTES_MAX:
            raise refuse(
                Code.INVALID_VALUE,
                "offset_bytes",
                f"offset 0 to the size, at most {CHUNK_BYTES_MAX} bytes at a time",
                got=f"{wanted} bytes at {request.offset_bytes}",
                limit=str(size),
            )
        return views.document_chunk(
            document,
            offset_bytes=request.offset_bytes,
            max_bytes=wanted,
            ledger_size=self._backend.size,
        )

    async def WatchCheckpoints(
        self, request: ledger_service_pb2.WatchCheckpointsRequest, context: Context
    ) -> AsyncIterator[ledger_service_pb2.WatchCheckpointsResponse]:
        """Follow checkpoints, beginning with the latest."""
        self._backend.caller(context)
        publisher = self._backend.publisher
        sent = -1
        while True:
            published = publisher.published
            if published is not None and published.size > sent:
                sent = published.size
                if published.size >= request.min_tree_size:
                    yield ledger_service_pb2.WatchCheckpointsResponse(
                        checkpoint=await self._checkpoint(published),
                        ledger_size=self._backend.size,
                    )
            self._backend.journal.refuse_when_stopping()
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS), publisher.changed:
                    await publisher.changed.wait()
            except TimeoutError:
                continue

    def _may_read(self, caller: Caller, document: Document) -> bool:
        """Results of an auction are sealed, for auditors too, until its prices are public."""
        auction_id = self._backend.journal.result_documents.get(document.sha256)
        if auction_id is None:
            sealed = document.kind in RESULT_KINDS  # committed, and not yet in the journal
        else:
            sealed = not is_published(self._backend.state, auction_id)
        return document.public or (caller.may_read(document.owners) and not sealed)

    def _published(self) -> Published:
        published = self._backend.publisher.published
        if published is None or self._backend.publisher.tree.size < published.size:
            raise refuse(Code.UNAVAILABLE, "", "nothing is published yet: ask again in a second")
        return published

    async def _checkpoint(self, published: Published) -> ledger_pb2.Checkpoint:
        """A checkpoint names no time: that of its last entry, the batch header, stands for it."""
        await self._backend.journal.refresh()
        return views.checkpoint_view(
            published, publish_time_us=self._backend.journal.time_us(published.size - 1)
        )

    def _entry(self, caller: Caller, entry: Entry) -> ledger_pb2.Entry:
        view = views.entry_view(entry, with_opening=self._may_open(caller, entry))
        if not self._may_open(caller, entry):
            view.kind = COMMITMENT
        return view

    def _may_open(self, caller: Caller, entry: Entry) -> bool:
        """Whether an entry is public, or its opening is the caller's to see."""
        return (
            not entry.salt
            or caller.participant_id in entry.owners
            or (caller.is_auditor and is_disclosed(self._backend.state, entry))
        )
