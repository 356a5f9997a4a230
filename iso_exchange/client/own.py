"""Gathering a participant's own bundle from the exchange, to be kept and read offline."""

from __future__ import annotations

import hashlib

from iso_exchange.api.v1 import ledger_pb2
from iso_exchange.audit.bundle import documents_of
from iso_exchange.authority import command_of
from iso_exchange.client.client import Client
from iso_exchange.commands import (
    Command,
    IssueStatement,
    NotifyAward,
    PublishPrices,
    SubmitReadings,
)
from iso_exchange.exports.own import OWN_KINDS, OwnBundle, OwnEntry
from iso_exchange.sequencer.refusals import Rejected


async def own_bundle(client: Client, statement_id: str) -> OwnBundle:
    """Everything that one own statement rests on and that its owner may open.

    Args:
        client: Connected as the statement's owner.
        statement_id: One of its statements, under the latest checkpoint.

    Raises:
        Refused: ``NOT_FOUND``, it is none of the caller's.
    """
    found = await client.statement(statement_id)
    start, end = found.statement.start_time.seconds, found.statement.end_time.seconds
    auctions = {line.contract_id.partition("/")[0] for line in found.lines if line.contract_id}
    checkpoint = await client.checkpoint()
    kept: list[OwnEntry] = []
    bodies: dict[str, bytes] = {}
    for entry in await client.entries(kinds=OWN_KINDS):
        command = _readable(entry)
        if command is None or entry.entry_index >= checkpoint.tree_size:
            continue
        if not _concerns(command, statement_id, auctions, start, end):
            continue
        proof = await client.inclusion_proof(entry.entry_index, tree_size=checkpoint.tree_size)
        kept.append(
            OwnEntry(
                index=entry.entry_index,
                leaf=entry.leaf.hex(),
                salt=entry.opening_salt.hex(),
                envelope=entry.opening_envelope.hex(),
                path=tuple(part.hex() for part in proof.hashes),
            )
        )
        for digest in documents_of(command):
            body = await client.document(bytes.fromhex(digest))
            bodies[hashlib.sha256(body).hexdigest()] = body
    return OwnBundle(
        statement_id=statement_id,
        checkpoint=checkpoint.note.decode(),
        entries=tuple(kept),
        documents=tuple(bodies[digest].hex() for digest in sorted(bodies)),
    )


def _readable(entry: ledger_pb2.Entry) -> Command | None:
    """The command of a public entry, or of one that the caller may open."""
    data = entry.leaf if entry.is_public else entry.opening_envelope
    if not data:
        return None
    command = command_of(data)
    return None if isinstance(command, Rejected) else command


def _concerns(
    command: Command, statement_id: str, auctions: set[str], start: int, end: int
) -> bool:
    match command:
        case IssueStatement():
            return command.statement_id == statement_id
        case NotifyAward() | PublishPrices():
            return command.auction_id in auctions
        case SubmitReadings():
            return start <= command.batch.interval.start < end
        case _:
            return True
