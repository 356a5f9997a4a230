"""Roll-over: close a log, and begin the one that continues it, such as the next year's.

The two logs name each other: the last entry of the old one names origin and key of the new
one, the first entry of the new one commits to size and root of the old one and is signed
by both log keys. The registry is stated again by the operator in the new log, with the
keys in force, and what a participant's accounts hold is carried over by a deposit. Both
steps can be repeated after a failure.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from clearing.units import UnixSeconds
from iso_exchange import convert
from iso_exchange.audit.bundle import CHECKPOINT_NAME
from iso_exchange.audit.files import BundleFiles
from iso_exchange.audit.verify import verify_and_replay
from iso_exchange.authority import Authorised, authorise, command_of
from iso_exchange.bootstrap import OPERATOR_ID
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.commands import (
    CloseLog,
    Command,
    ContinueLog,
    Header,
    PublishChipTable,
    RecordDeposit,
    RegisterMeter,
    RegisterParticipant,
    RegisterPool,
    RegisterSite,
    Role,
    SuspendParticipant,
)
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.publisher.publisher import Publisher
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.sequencer import Sequencer, Submission
from iso_exchange.sequencer.state import State
from iso_exchange.sequencer.succession import carried_amount, carried_reference
from iso_exchange.signer import EXCHANGE_ID
from settlement.ledger import envelope, tiles
from settlement.ledger.checkpoint import Checkpoint, open_checkpoint
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey
from settlement.storage.store import LedgerStore

CARRIED_KINDS = (
    RegisterParticipant,
    RegisterSite,
    RegisterPool,
    RegisterMeter,
    PublishChipTable,
)
"""Registry commands that the operator states again."""

_TYPES = frozenset(ENTRY_KINDS[kind].payload_type for kind in CARRIED_KINDS)


class RolloverError(RuntimeError):
    """A log that cannot be closed, or not be continued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two logs.

    Attributes:
        directory: Of its published files.
        operator_key: Signing key of the operator, the same in both.
    """

    store: LedgerStore
    origin: str
    secrets: ExchangeSecrets
    operator_key: SigningKey
    directory: Path
    clock: Clock
    new_salt: Callable[[int], bytes]
    code_version: str

    @property
    def vkey(self) -> str:
        """Verifier key of the log."""
        public = self.secrets.log_key.public
        return NoteKey(name=self.origin, algorithm=NoteAlgorithm.ED25519, public=public).to_vkey()


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a new log begins with.

    Attributes:
        entries: Commands stated in it.
        deposits: Balances carried over.
        left: What the operator has to see to, one sentence each.
    """

    entries: int
    deposits: int
    left: tuple[str, ...]


async def close(old: Side, *, successor_origin: str, successor_key: bytes) -> None:
    """Write and publish the last entry of a log.

    Raises:
        RolloverError: something in it is open still, or it is closed for another log.
    """
    async with _writing(old) as sequencer:
        if sequencer.state.closed:
            if sequencer.state.closed != successor_origin:
                raise RolloverError(f"it is closed for {sequencer.state.closed}")
            return
        command = CloseLog(
            header=_header(old, OPERATOR_ID, f"close/{successor_origin}"),
            successor_origin=successor_origin,
            successor_key=successor_key,
            log_key=old.secrets.log_key.public,
        )
        await _submit(old, sequencer, command, (old.operator_key, old.secrets.log_key))


async def begin(new: Side, *, bundle: Path, old_log_key: SigningKey) -> Carried:
    """Write and publish the first entries of a log that continues another.

    Args:
        bundle: Auditor bundle of the closed log, at its end.
        old_log_key: Signs the commitment to it.

    Raises:
        RolloverError: the bundle does not verify, or is of a log that is not closed for this one.
    """
    checkpoint, state = _read(new, bundle, old_log_key)
    async with _writing(new) as sequencer:
        await _submit(
            new,
            sequencer,
            ContinueLog(
                header=_header(new, EXCHANGE_ID, "continue"),
                origin=checkpoint.origin,
                size=checkpoint.size,
                root=checkpoint.root,
                old_log_key=old_log_key.public,
                new_log_key=new.secrets.log_key.public,
            ),
            (new.secrets.log_key, old_log_key),
        )
        commands = [*_registry(new, bundle, checkpoint, state), *_suspensions(new, state)]
        deposits = [*_deposits(new, checkpoint.origin, state)]
        for command in (*commands, *deposits):
            await _submit(new, sequencer, command, (new.operator_key,))
    return Carried(
        entries=1 + len(commands) + len(deposits),
        deposits=len(deposits),
        left=tuple(_left(state)),
    )


def _read(new: Side, bundle: Path, old_log_key: SigningKey) -> tuple[Checkpoint, State]:
    files = BundleFiles(bundle)
    origin = files.bundle().origin
    key = NoteKey(name=origin, algorithm=NoteAlgorithm.ED25519, public=old_log_key.public)
    report, state = verify_and_replay(bundle, key.to_vkey())
    if not report.ok or state is None:
        found = next(iter((*report.failed, *report.not_checkable)), None)
        reason = "it cannot be replayed" if found is None else f"{found.name}: {found.detail}"
        raise RolloverError(f"{bundle} does not verify: {reason}")
    if state.closed != new.origin:
        raise RolloverError(f"{origin} is closed for {state.closed or 'no log'}, not {new.origin}")
    note = files.read_log(CHECKPOINT_NAME) or b""
    return open_checkpoint(note, key).checkpoint, state


def _registry(new: Side, bundle: Path, checkpoint: Checkpoint, state: State) -> Iterator[Command]:
    """The registry's own commands, for the new log, with the keys in force."""
    read = BundleFiles(bundle).read_log
    for index, leaf in tiles.replay(read, size=checkpoint.size, root=checkpoint.root):
        if envelope.decode(leaf, allow_unsigned=True).payload_type not in _TYPES:
            continue
        command = command_of(leaf)
        assert isinstance(command, CARRIED_KINDS), "the bundle verified"
        header = _header(new, OPERATOR_ID, f"carry/{index}")
        if not isinstance(command, RegisterParticipant | RegisterMeter):
            yield dataclasses.replace(command, header=header)
            continue
        is_meter = isinstance(command, RegisterMeter)
        name = command.meter_id if isinstance(command, RegisterMeter) else command.participant_id
        participant = state.participants[name]
        key = next(iter(participant.keys.values()), None)
        if Role.EXCHANGE in participant.roles:
            key = new.secrets.service_key.public
        # Without a key nobody can act, but books may still be paid out by statement.
        if key is None and is_meter:
            continue
        if key is None:
            raise RolloverError(f"{name} has no key in force: give it one, or pay it out")
        yield dataclasses.replace(command, header=header, public_key=key)


def _suspensions(new: Side, state: State) -> Iterator[Command]:
    for name, participant in state.participants.items():
        if participant.suspended:
            yield SuspendParticipant(
                header=_header(new, OPERATOR_ID, f"suspend/{name}"),
                participant_id=name,
                reason=participant.suspended,
            )


def _deposits(new: Side, origin: str, state: State) -> Iterator[Command]:
    for name in state.participants:
        amount = carried_amount(state, name)
        if amount > 0:
            yield RecordDeposit(
                header=_header(new, OPERATOR_ID, f"balance/{name}"),
                participant_id=name,
                amount=amount,
                bank_reference=carried_reference(origin, name),
            )


def _left(state: State) -> Iterator[str]:
    if state.root_key:
        yield "register the root key again: iso key root-register FILE"
    for name in state.entitlements:
        yield f"entitlement {name} is not carried over: holder and supplier sign it again"
    for (organisation, team_id), team in state.credit_teams.items():
        if team.grants:
            yield f"credits of {organisation} are not carried over: it gives {team_id} others"
    waiting = [name for name, auction in state.auctions.items() if not auction.released]
    if waiting:
        yield f"run the closed exchange until the books of {len(waiting)} auctions are released"


@asynccontextmanager
async def _writing(side: Side) -> AsyncIterator[Sequencer]:
    """A sequencer of the log; what it took is published at the end."""
    sequencer = Sequencer(
        store=side.store,
        clock=side.clock,
        origin=side.origin,
        log_key=side.secrets.log_key,
        new_salt=side.new_salt,
        code_version=side.code_version,
    )
    await sequencer.start()
    publisher = Publisher(
        store=side.store,
        origin=side.origin,
        key=side.secrets.log_key,
        second_key=side.secrets.second_log_key,
        directory=side.directory,
        now_seconds=lambda: side.clock.now_us() // MICROSECONDS,
    )
    await publisher.start()
    task = asyncio.create_task(sequencer.run())
    try:
        yield sequencer
        await publisher.publish()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _header(side: Side, signer_id: str, request_id: str) -> Header:
    return Header(
        origin=side.origin,
        signer_id=signer_id,
        request_id=f"roll-over/{request_id}"[:128],
        # The same in every try, so that a repeated one is the same request.
        create_time=UnixSeconds(0),
    )


async def _submit(
    side: Side, sequencer: Sequencer, command: Command, keys: Sequence[SigningKey]
) -> None:
    payload = convert.body_of(command)
    signed = envelope.sign(ENTRY_KINDS[type(command)].payload_type, payload, keys)
    header = command.header
    answer: Authorised | Rejected | None = None
    # What was accepted before a failure need not be acceptable again.
    if await side.store.find_request(header.signer_id, header.request_id) is None:
        answer = authorise(sequencer.state, signed)
    if not isinstance(answer, Rejected):
        receipt = await sequencer.submit(
            Submission(
                command=command, envelope=signed, body_sha256=hashlib.sha256(payload).digest()
            )
        )
        if not isinstance(receipt, Rejected):
            return
        answer = receipt
    detail = f"{answer.code.value} {answer.field}: {answer.advice} (got {answer.got})"
    raise RolloverError(f"{type(command).__name__} is refused: {detail}")
