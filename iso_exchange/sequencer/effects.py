"""What applying a command yields, and the context it is applied in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from clearing import codec
from clearing.units import UnixSeconds
from iso_exchange.commands import Role
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import Participant, State
from settlement.ledger.books import Applied
from settlement.storage.store import AppliedTransfer
from settlement.types import Phase, Postings, Transfer

Documents = Mapping[bytes, bytes]
"""Documents a command names, by SHA-256 digest."""

MICROSECONDS = 1_000_000

STATED_PREFIXES = ("p:", "community:", "operator:")
"""Accounts whose owners get statements."""


@dataclass(slots=True)
class Meta:
    """Where and when a command is applied; one is made for every entry, and nobody changes it.

    Attributes:
        time_us: Sequencer time; never falls from one command to the next.
        index: Log index its entry will have.
        leaf_hash: Leaf hash of that entry.
        documents: Documents handed in with the command.
        values: What some of them say, by digest, from a service of this process that wrote them.
            It saves reading them; a replay has none and reads.
    """

    time_us: int
    index: int
    leaf_hash: bytes
    documents: Documents
    values: Mapping[bytes, object] = field(default_factory=dict)

    @property
    def now(self) -> UnixSeconds:
        """Sequencer time in whole seconds."""
        return UnixSeconds(self.time_us // MICROSECONDS)


class Accepted(NamedTuple):
    """A command that was applied.

    Attributes:
        owners: Who gets the opening of a confidential entry, sorted.
        transfers: Transfers applied, in order.
    """

    owners: tuple[str, ...] = ()
    transfers: tuple[AppliedTransfer, ...] = ()


def post(
    state: State, meta: Meta, postings: Postings, first: int = 0
) -> tuple[AppliedTransfer, ...] | Rejected:
    """Apply a document of transfers to the books, all or none.

    Args:
        first: Position of the first transfer within the entry.
    """
    result = state.books.apply_all(postings)
    if not isinstance(result, tuple):
        return Rejected(
            code=Code.POSTINGS_REFUSED,
            field=f"{postings.postings_id}.{result.field}",
            advice=f"the books refuse this transfer: {result.code.value}",
            got=str(result.got),
            limit=str(result.limit),
        )
    applied = _applied(meta, postings.transfers, result, first)
    for item in applied:
        _remember(state, item)
    return applied


def _remember(state: State, item: AppliedTransfer) -> None:
    """Keep what moved a stated account for its next statement."""
    transfer = item.transfer
    if transfer.phase is Phase.PENDING or not item.applied:
        return
    for account in (transfer.debit, transfer.credit):
        if account.startswith(STATED_PREFIXES):
            state.activity.setdefault((account, transfer.asset), []).append(item)


def document(meta: Meta, digest: str, kind: type[codec.T]) -> codec.T | Rejected:
    """Read a document that the command names by hex digest."""
    name = bytes.fromhex(digest)
    value = meta.values.get(name)
    if isinstance(value, kind):
        return value
    body = meta.documents.get(name)
    if body is None:
        return Rejected(
            code=Code.NOT_FOUND,
            field="documents",
            advice="hand the document in with the command",
            got=digest,
        )
    return codec.decode(body, kind)


def active_participant(state: State, participant_id: str, role: Role) -> Participant | Rejected:
    """A registered participant with a role, not suspended."""
    participant = state.participants.get(participant_id)
    if participant is None:
        return Rejected(
            code=Code.UNKNOWN_PARTICIPANT,
            field="participant_id",
            advice="register the participant first, or check the spelling",
            got=participant_id,
        )
    if role not in participant.roles:
        return Rejected(
            code=Code.WRONG_ROLE,
            field="participant_id",
            advice=f"only a participant with role {role.value} may do this",
            got=",".join(sorted(held.value for held in participant.roles)),
            limit=role.value,
        )
    if participant.suspended:
        return Rejected(
            code=Code.SUSPENDED,
            field="participant_id",
            advice=f"suspended by the operator: {participant.suspended}; ask to be reinstated",
            got=participant_id,
        )
    return participant


def unknown_pool(state: State, field: str, pool_id: str) -> Rejected:
    """Refusal of a pool that does not exist, or not in an auction that was created before it."""
    late = "it was registered after this auction was created: it takes part in the next one"
    return Rejected(
        code=Code.UNKNOWN_POOL,
        field=field,
        advice=late if pool_id in state.pools else "list the pools",
        got=pool_id,
    )


def _applied(
    meta: Meta, transfers: tuple[Transfer, ...], applied: tuple[Applied, ...], first: int
) -> tuple[AppliedTransfer, ...]:
    index = meta.index
    return tuple(
        [
            AppliedTransfer(index, position, transfer, done.applied)
            for position, (transfer, done) in enumerate(
                zip(transfers, applied, strict=True), start=first
            )
        ]
    )
