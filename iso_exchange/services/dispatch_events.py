"""What entries of dispatch mean to a supplier and to a buyer, as events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clearing.errors import InvariantError
from iso_exchange.api.v1 import contract_pb2, event_pb2
from iso_exchange.authority import command_of
from iso_exchange.commands import DeclareTimeout, InstructSuppliers, SignReceipt
from iso_exchange.convert.fields import timestamp, timestamp_of_us
from iso_exchange.convert.views.dispatch import instruction_id
from iso_exchange.dispatch_commands import Instruction, InstructionKind, ReceiptKind, node_name
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.services.access import Caller
from iso_exchange.services.backend import Backend
from iso_exchange.services.dispatch import batch_of
from settlement.storage.store import Entry

DISPATCH_KINDS: Final = frozenset(
    ENTRY_KINDS[kind].name for kind in (InstructSuppliers, SignReceipt, DeclareTimeout)
)
RELEASES: Final = frozenset({InstructionKind.STOP, InstructionKind.RELEASE_SPARE})


async def dispatch_events(backend: Backend, caller: Caller, entry: Entry) -> list[event_pb2.Event]:
    """Events of an entry for the caller, always the same and in the same order."""
    command = command_of(entry.envelope)
    if isinstance(command, Rejected):
        message = f"entry {entry.index} no longer decodes: {command}"
        raise InvariantError(message)
    events: list[event_pb2.Event] = []
    me = caller.participant_id
    if isinstance(command, InstructSuppliers):
        for pool in (await batch_of(backend.store, entry)).pools:
            for item in pool.instructions:
                if me in entry.owners:
                    events.append(_to_supplier(pool.pool_id, item))
                elif item.buyer_id == me:
                    events.extend(_to_buyer(pool.pool_id, item))
    elif me in entry.owners and isinstance(command, (SignReceipt, DeclareTimeout)):
        events.append(_answered(command))
    for number, event in enumerate(events):
        event.event_id = f"{entry.index}/{number}"
        event.create_time.CopyFrom(timestamp_of_us(entry.time_us))
    return events


def _to_supplier(pool_id: str, item: Instruction) -> event_pb2.Event:
    names = " ".join(node_name(node) for node in item.nodes)
    event = event_pb2.Event(
        kind=(
            event_pb2.EVENT_KIND_RELEASE_INSTRUCTION
            if item.kind in RELEASES
            else event_pb2.EVENT_KIND_PROVISION_INSTRUCTION
        ),
        pool_id=pool_id,
        contract_id=item.contract_ids[0] if item.contract_ids else "",
        instruction_id=instruction_id(pool_id, item.sequence),
        description=f"{item.kind.value} {names}.",
    )
    if item.due:
        event.deadline_time.CopyFrom(timestamp(item.due))
    return event


def _to_buyer(pool_id: str, item: Instruction) -> Iterator[event_pb2.Event]:
    """Nodes that are being made ready, or are taken away, for own contracts."""
    count, starts = len(item.nodes), item.kind is not InstructionKind.STOP
    if item.carried:
        return
    text = f"{count} nodes of {pool_id} are being made ready."
    if item.replaces:
        text = f"{count} nodes of {pool_id} take the place of failed ones."
    if not starts:
        text = f"{count} nodes of {pool_id} are taken away."
    event = event_pb2.Event(
        kind=event_pb2.EVENT_KIND_CONTRACT_STATE,
        order_id=item.load_id,
        pool_id=pool_id,
        contract_id=item.contract_ids[0] if item.contract_ids else "",
        instruction_id=instruction_id(pool_id, item.sequence),
        description=text,
    )
    if starts:
        event.contract_state = contract_pb2.CONTRACT_STATE_PROVISIONING
        event.reason = contract_pb2.CONTRACT_REASON_ON_TIME
        event.responsible = contract_pb2.RESPONSIBLE_PARTY_NOBODY
        if item.replaces:
            event.reason = contract_pb2.CONTRACT_REASON_NODE_COVER_CALLED
            event.responsible = contract_pb2.RESPONSIBLE_PARTY_SUPPLIER
    yield event


def _answered(command: SignReceipt | DeclareTimeout) -> event_pb2.Event:
    names = " ".join(node_name(node) for node in command.nodes)
    event = event_pb2.Event(
        kind=event_pb2.EVENT_KIND_OUTAGE,
        pool_id=command.pool_id,
        instruction_id=instruction_id(command.pool_id, command.sequence),
        description=f"{names} were not handed over in time: PROVISIONING_TIMEOUT.",
        responsible=contract_pb2.RESPONSIBLE_PARTY_SUPPLIER,
    )
    if isinstance(command, DeclareTimeout):
        return event
    event.description = f"{names} cannot be handed over: {command.reason}."
    if command.kind is ReceiptKind.HANDED_OVER:
        event.kind = event_pb2.EVENT_KIND_CONTRACT_STATE
        event.contract_state = contract_pb2.CONTRACT_STATE_DELIVERING
        event.responsible = contract_pb2.RESPONSIBLE_PARTY_NOBODY
        event.reason = contract_pb2.CONTRACT_REASON_ON_TIME
        event.description = f"{names} are handed over."
    return event
