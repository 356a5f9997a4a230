"""A participant's own bundle: what one of its statements rests on, and the proofs of that.

One file of canonical JSON that its owner keeps. Everything in it is checked offline against
the checkpoint that the log's key signed: leaves by inclusion proof, confidential entries by
their openings, documents by digest. Other parties' entries, and the postings documents of whole
hours, are not in it: those are for auditors. The statement itself lists its owner's transfers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from clearing import codec
from clearing.units import energy_charge
from iso_exchange.audit.bundle import documents_of
from iso_exchange.authority import command_of
from iso_exchange.commands import (
    Command,
    IssueStatement,
    NotifyAward,
    PublishPrices,
    SubmitReadings,
)
from iso_exchange.exports.explain import ExplainError, Explanation, Step, legs_text
from iso_exchange.money_commands import DecideDispute, DisputeHour
from iso_exchange.publication import AwardNotice
from iso_exchange.sequencer.refusals import Rejected
from settlement.ledger import merkle, proofs
from settlement.ledger.checkpoint import Checkpoint, open_checkpoint
from settlement.ledger.keys import parse_vkey
from settlement.types import Statement, StatementLine

OWN_KINDS = ("STATEMENT", "AWARD", "AUCTION_PRICES", "METER_BATCH", "DISPUTE", "DISPUTE_DECISION")
"""Entry kinds that a bill rests on and that its owner may open, or that are public."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEntry:
    """A log entry with what opens and proves it; bytes as hex.

    Attributes:
        salt: Of a commitment, empty for a public entry.
        envelope: Opening of a commitment, empty for a public entry.
        path: Inclusion proof, from the leaf up.
    """

    index: int
    leaf: str
    salt: str
    envelope: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnBundle:
    """What one statement rests on.

    Attributes:
        checkpoint: Signed note, verbatim.
        entries: Ascending by index.
        documents: Bodies that the entries name, as hex, in the order of their digests.
    """

    statement_id: str
    checkpoint: str
    entries: tuple[OwnEntry, ...]
    documents: tuple[str, ...]


def explain_own(bundle: OwnBundle, vkey: str, number: int) -> Explanation:
    """Walk one line of the bundle's statement back, offline.

    Args:
        bundle: As its owner kept it.
        vkey: Verifier key of the log, from a place that is trusted.
        number: Line, from 1.

    Raises:
        LedgerFormatError: the checkpoint is not signed by that key, or an entry is not under it.
        ExplainError: the statement is not in the bundle, or has no such line.
    """
    head = open_checkpoint(bundle.checkpoint.encode(), parse_vkey(vkey)).checkpoint
    documents = [bytes.fromhex(text) for text in bundle.documents]
    bodies = {hashlib.sha256(body).hexdigest(): body for body in documents}
    opened = [(entry.index, _open(entry, head)) for entry in bundle.entries]
    index, statement = _statement(bundle.statement_id, opened, bodies)
    if not 1 <= number <= len(statement.lines):
        raise ExplainError(f"{bundle.statement_id} has lines 1 to {len(statement.lines)}")
    line = statement.lines[number - 1]
    amount = f"{statement.party_id}: {line.code.value} {line.amount:+,} {statement.asset}"
    steps = [
        Step(what="statement", detail=amount, entry_index=index, proved=True),
        *_postings(line),
        *(step for place, command in opened for step in _steps(line, place, command, bodies)),
    ]
    # A statement closes at what its lines move: one changed line would not add up.
    total = statement.opening + sum(item.amount for item in statement.lines)
    return Explanation(
        statement_id=bundle.statement_id,
        number=number,
        line=line,
        steps=tuple(steps),
        adds_up=total == statement.closing,
    )


def _open(entry: OwnEntry, head: Checkpoint) -> Command:
    """Prove an entry and read it.

    Raises:
        LedgerFormatError: it is not under the checkpoint, or not what was committed to.
        ExplainError: it holds no command.
    """
    leaf = bytes.fromhex(entry.leaf)
    merkle.verify_inclusion(
        index=entry.index,
        size=head.size,
        leaf=merkle.leaf_hash(leaf),
        proof=[bytes.fromhex(part) for part in entry.path],
        root=head.root,
    )
    data = leaf
    if entry.envelope:
        data = bytes.fromhex(entry.envelope)
        commitment = proofs.parse_commitment_leaf(leaf)
        proofs.open_commitment(commitment, bytes.fromhex(entry.salt), data)
    command = command_of(data)
    if isinstance(command, Rejected):
        raise ExplainError(f"entry {entry.index} cannot be read: {command.advice}")
    return command


def _statement(
    statement_id: str, opened: list[tuple[int, Command]], bodies: dict[str, bytes]
) -> tuple[int, Statement]:
    for index, command in opened:
        if isinstance(command, IssueStatement) and command.statement_id == statement_id:
            return index, codec.decode(_document(command, bodies), Statement)
    raise ExplainError(f"no statement {statement_id}")


def _document(command: Command, bodies: dict[str, bytes]) -> bytes:
    (digest,) = documents_of(command)
    body = bodies.get(digest)
    if body is None:
        raise ExplainError(f"document {digest} is missing")
    return body


def _postings(line: StatementLine) -> Iterator[Step]:
    """Transfers that the statement lists, and the arithmetic of the line."""
    detail = ", ".join(line.transfer_ids)
    if line.price and line.quantity:
        due = energy_charge(line.price, line.quantity)
        exact = "=" if due == abs(line.amount) else "~ (shared, bounded or several)"
        detail += f"; {line.quantity:,} chip-seconds x {line.price:,} / 3600 {exact} {due:,}"
    yield Step(what="posting", detail=detail, entry_index=-1, proved=False)


def _steps(
    line: StatementLine, index: int, command: Command, bodies: dict[str, bytes]
) -> Iterator[Step]:
    """What one entry says of the line."""
    auction_id = line.contract_id.partition("/")[0]
    what, detail = "", ""
    match command:
        case NotifyAward() if command.auction_id == auction_id:
            notice = codec.decode(_document(command, bodies), AwardNotice)
            for contract in notice.contracts:
                for hour in contract.hours:
                    if (contract.contract_id, hour.interval.start) == (
                        line.contract_id,
                        line.interval_start,
                    ):
                        what = "award notice"
                        detail = f"{hour.chips} chips: {legs_text(hour.legs)}"
        case PublishPrices() if command.auction_id == auction_id:
            what, detail = "price", f"published prices of {auction_id}"
        case SubmitReadings():
            batch = command.batch
            rows = [row for row in batch.readings if row.contract_id == line.contract_id]
            if rows and line.interval_start <= batch.interval.start:
                healthy = sum(row.healthy for row in rows)
                what = "reading"
                detail = f"{batch.pool_id} at {batch.interval.start}: {healthy:,} healthy"
        case DisputeHour() if command.contract_id == line.contract_id:
            what, detail = "dispute", command.reason
        case DecideDispute():
            what, detail = "decision", f"{command.dispute_id}: {command.reason}"
        case _:
            return
    if what:
        yield Step(what=what, detail=detail, entry_index=index, proved=True)
