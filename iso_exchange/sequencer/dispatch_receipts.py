"""What suppliers answer to instructions, and what happens when they do not.

A node that was not handed over in time, or cannot be, is out of service like one that an outage
report names: the next run does not sell it, and dispatch finds another for covered work.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from clearing.types import Interval
from clearing.units import UnixSeconds
from iso_exchange.commands import ReportOutage
from iso_exchange.dispatch_commands import (
    AcknowledgeBatch,
    DeclareTimeout,
    ReceiptKind,
    SetAccessKey,
    SignReceipt,
    node_name,
)
from iso_exchange.sequencer.dispatch_state import OpenStart, Row
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import State

OUT_SECONDS: Final = 3_600
"""A node that was not handed over is out of service so long, unless its supplier says how long."""
TIMEOUT: Final = "PROVISIONING_TIMEOUT"
SEPARATOR: Final = "/"
"""In the identifiers of outages that the exchange adds; no reported one has it."""


def acknowledge_batch(state: State, command: AcknowledgeBatch, _: Meta) -> Accepted | Rejected:
    """A supplier has a batch; once per batch."""
    batch = state.dispatch.batches.get(command.batch_index)
    if batch is None or command.header.signer_id not in batch.supplier_ids:
        return Rejected(
            code=Code.NOT_FOUND,
            field="batch_entry_index",
            advice="acknowledge a batch of yours once, by the log index it came with",
            got=str(command.batch_index),
        )
    del state.dispatch.batches[command.batch_index]
    return Accepted(owners=batch.supplier_ids)


def sign_receipt(state: State, command: SignReceipt, meta: Meta) -> Accepted | Rejected:
    """Nodes were handed over, or cannot be."""
    found = _waiting(state, command)
    if isinstance(found, Rejected):
        return found
    row, start = found
    refused = _refuse_terms(command, start, meta)
    if refused:
        return refused
    _take_out(row, start, command.nodes)
    if command.kind is ReceiptKind.HANDED_OVER:
        for node in command.nodes:
            held = row.held.get(node)
            if held is not None:
                row.held[node] = replace(held, receipt_index=meta.index)
    else:
        until = command.until or UnixSeconds(meta.now + OUT_SECONDS)
        _take_out_of_service(state, command, start, until, meta, command.reason)
    owners = {*state.pools[command.pool_id].supplier_ids, start.buyer_id}
    return Accepted(owners=tuple(sorted(owners)))


def declare_timeout(state: State, command: DeclareTimeout, meta: Meta) -> Accepted | Rejected:
    """Nodes without a receipt when their time is over count as failed."""
    row = state.dispatch.rows.get(command.pool_id)
    start = row.starts.get(command.sequence) if row else None
    if row is None or start is None or start.nodes != command.nodes or meta.now <= start.due:
        return Rejected(
            code=Code.WRONG_STATE,
            field="sequence",
            advice="declare what is due: all nodes without a receipt, after their time",
            got=str(command.sequence),
            limit=str(start.due if start else ""),
        )
    _take_out(row, start, command.nodes)
    until = UnixSeconds(meta.now + OUT_SECONDS)
    _take_out_of_service(state, command, start, until, meta, TIMEOUT)
    owners = {*state.pools[command.pool_id].supplier_ids, start.buyer_id}
    return Accepted(owners=tuple(sorted(owners)))


def set_access_key(state: State, command: SetAccessKey, _: Meta) -> Accepted | Rejected:
    """Keep or replace the key of a buyer."""
    if not any(command.public_key):
        return Rejected(
            code=Code.INVALID_VALUE,
            field="public_key",
            advice="register the public half of an X25519 key",
        )
    state.dispatch.access_keys[command.header.signer_id] = command.public_key.hex()
    return Accepted()


def _waiting(state: State, command: SignReceipt) -> tuple[Row, OpenStart] | Rejected:
    record = state.pools.get(command.pool_id)
    if record is None or command.header.signer_id not in record.supplier_ids:
        return Rejected(
            code=Code.NOT_OWNER,
            field="pool_id",
            advice="a supplier signs receipts for its own pools",
            got=command.pool_id,
        )
    row = state.dispatch.rows.get(command.pool_id)
    start = row.starts.get(command.sequence) if row else None
    if row is None or start is None:
        return Rejected(
            code=Code.WRONG_STATE,
            field="sequence_number",
            advice="no receipt is awaited: it is signed, it timed out, or its nodes were stopped",
            got=str(command.sequence),
        )
    return row, start


def _refuse_terms(command: SignReceipt, start: OpenStart, meta: Meta) -> Rejected | None:
    if not command.nodes or not set(command.nodes) <= set(start.nodes):
        return Rejected(
            code=Code.INVALID_VALUE,
            field="node_ids",
            advice="name nodes of the instruction that have no receipt yet",
            got=", ".join(map(node_name, command.nodes)),
            limit=", ".join(map(node_name, start.nodes)),
        )
    if command.kind is ReceiptKind.CANNOT and command.until and command.until <= meta.now:
        return Rejected(
            code=Code.INVALID_VALUE,
            field="until_time",
            advice="say until when they are out of service, or leave it out",
            got=str(command.until),
            limit=f"after {meta.now}",
        )
    return None


def _take_out(row: Row, start: OpenStart, nodes: tuple[int, ...]) -> None:
    left = tuple(node for node in start.nodes if node not in nodes)
    if left:
        row.starts[start.sequence] = replace(start, nodes=left)
    else:
        del row.starts[start.sequence]


def _take_out_of_service(
    state: State,
    command: SignReceipt | DeclareTimeout,
    start: OpenStart,
    until: UnixSeconds,
    meta: Meta,
    reason: str,
) -> None:
    """Record an outage of the nodes: runs and dispatch both see it."""
    names = tuple(map(node_name, command.nodes))
    outage_id = SEPARATOR.join((command.pool_id, str(start.sequence), names[0]))
    state.outages[outage_id] = ReportOutage(
        header=command.header,
        outage_id=outage_id,
        pool_id=command.pool_id,
        interval=Interval(start=meta.now, end=until),
        nodes=names,
        reason=reason,
    )
