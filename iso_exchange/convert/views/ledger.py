"""The log as the API answers it: receipts, refusals, entries, checkpoints, proofs, documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from iso_exchange.api.v1 import ledger_pb2, ledger_service_pb2, metering_service_pb2, receipt_pb2
from iso_exchange.convert.fields import timestamp_of_us
from iso_exchange.sequencer.leaves import Receipt
from iso_exchange.sequencer.refusals import Rejected
from settlement.ledger.checkpoint import parse_checkpoint, parse_note
from settlement.storage.store import Document, Entry, Published
from settlement.types import MeterBatch

CHUNK_BYTES_MAX: Final = 1 << 20


def receipt_view(receipt: Receipt, ledger_size: int) -> receipt_pb2.Receipt:
    """Where an accepted envelope stands in the log.

    Args:
        receipt: As the sequencer gave it, or gave it before.
        ledger_size: Number of log entries that the response reflects.
    """
    return receipt_pb2.Receipt(
        entry_index=receipt.entry_index,
        leaf_hash=receipt.leaf_hash,
        accept_time=timestamp_of_us(receipt.time_us),
        ledger_size=ledger_size,
        salt=receipt.salt,
    )


def refusal_view(rejected: Rejected) -> receipt_pb2.Refusal:
    """Why an item was not accepted and what to do about it."""
    found = []
    if rejected.got:
        found.append(f"got {rejected.got}")
    if rejected.limit:
        found.append(f"expected {rejected.limit}")
    return receipt_pb2.Refusal(
        reason=rejected.code.value,
        field=rejected.field,
        advice=rejected.advice,
        description=", ".join(found),
    )


def item_result(
    request_id: str, answer: Receipt | Rejected, ledger_size: int
) -> receipt_pb2.ItemResult:
    """Answer to one item of a call that carries many."""
    if isinstance(answer, Rejected):
        return receipt_pb2.ItemResult(request_id=request_id, refusal=refusal_view(answer))
    return receipt_pb2.ItemResult(request_id=request_id, receipt=receipt_view(answer, ledger_size))


def reading_summary(batch: MeterBatch) -> metering_service_pb2.ReadingSummary:
    """What was taken from a batch."""
    return metering_service_pb2.ReadingSummary(
        reading_count=len(batch.readings),
        healthy_chip_seconds=sum(reading.healthy for reading in batch.readings),
        next_sequence_number=batch.sequence + 1,
    )


def checkpoint_view(
    published: Published, *, publish_time_us: int | None = None
) -> ledger_pb2.Checkpoint:
    """A published checkpoint; the note is exact, the rest is read from it.

    Args:
        published: As the publisher stored it.
        publish_time_us: When it was published, None where that is not at hand.

    Raises:
        CheckpointError: the stored note is not a checkpoint.
    """
    head = parse_checkpoint(parse_note(published.checkpoint).text)
    return ledger_pb2.Checkpoint(
        note=published.checkpoint,
        tree_size=head.size,
        root_hash=head.root,
        publish_time=None if publish_time_us is None else timestamp_of_us(publish_time_us),
    )


def entry_view(entry: Entry, *, with_opening: bool) -> ledger_pb2.Entry:
    """One entry of the log.

    Args:
        entry: The entry.
        with_opening: Whether the caller may open it: an owner, or an auditor after publication.
            Without it a confidential entry shows its commitment and nothing else.
    """
    is_public = not entry.salt
    opened = with_opening and not is_public
    return ledger_pb2.Entry(
        entry_index=entry.index,
        kind=entry.kind,
        accept_time=timestamp_of_us(entry.time_us),
        leaf=entry.leaf,
        leaf_hash=entry.leaf_hash,
        is_public=is_public,
        opening_envelope=entry.envelope if opened else b"",
        opening_salt=entry.salt if opened else b"",
        document_sha256s=entry.documents if opened or is_public else (),
    )


def inclusion_proof(
    *,
    entry_index: int,
    tree_size: int,
    leaf_hash: bytes,
    hashes: Sequence[bytes],
    root_hash: bytes,
    ledger_size: int,
) -> ledger_service_pb2.GetInclusionProofResponse:
    """Proof that an entry is in a tree (RFC 6962 section 2.1.1)."""
    return ledger_service_pb2.GetInclusionProofResponse(
        entry_index=entry_index,
        tree_size=tree_size,
        leaf_hash=leaf_hash,
        hashes=hashes,
        root_hash=root_hash,
        ledger_size=ledger_size,
    )


def consistency_proof(
    *, first_tree_size: int, second_tree_size: int, hashes: Sequence[bytes], ledger_size: int
) -> ledger_service_pb2.GetConsistencyProofResponse:
    """Proof that one tree extends another (RFC 6962 section 2.1.2)."""
    return ledger_service_pb2.GetConsistencyProofResponse(
        first_tree_size=first_tree_size,
        second_tree_size=second_tree_size,
        hashes=hashes,
        ledger_size=ledger_size,
    )


def document_chunk(
    document: Document, *, offset_bytes: int, max_bytes: int, ledger_size: int
) -> ledger_service_pb2.GetDocumentResponse:
    """A piece of a document.

    Args:
        document: The document; whether the caller may read it was checked.
        offset_bytes: First byte wanted, 0 to the size.
        max_bytes: Most bytes wanted; 0, and anything larger, is taken as 1 MiB.
        ledger_size: Number of log entries that the response reflects.
    """
    length = min(max_bytes or CHUNK_BYTES_MAX, CHUNK_BYTES_MAX)
    return ledger_service_pb2.GetDocumentResponse(
        kind=document.kind,
        size_bytes=len(document.body),
        chunk=document.body[offset_bytes : offset_bytes + length],
        ledger_size=ledger_size,
    )
