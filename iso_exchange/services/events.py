"""What one log entry means to one participant."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from clearing.errors import InvariantError
from iso_exchange.api.v1 import contract_pb2, event_pb2
from iso_exchange.authority import command_of
from iso_exchange.commands import (
    CancelAllOrders,
    Command,
    GiveNotices,
    IssueStatement,
    NotifyAward,
    ReinstateParticipant,
    ReportOutage,
    Role,
    SettleHour,
    SuspendParticipant,
)
from iso_exchange.convert.fields import timestamp, timestamp_of_us
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.money_commands import DecideDispute, DisputeHour
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.state import OrderState, State, find_auction
from iso_exchange.spot_commands import ReportAllocation
from settlement.storage.store import Entry
from settlement.types import Contract

_TELLING: Final = frozenset(
    ENTRY_KINDS[kind].name
    for kind in (
        CancelAllOrders,
        DecideDispute,
        DisputeHour,
        GiveNotices,
        IssueStatement,
        NotifyAward,
        ReinstateParticipant,
        ReportAllocation,
        ReportOutage,
        SettleHour,
        SuspendParticipant,
    )
)


def events_of(state: State, participant_id: str, entry: Entry) -> list[event_pb2.Event]:
    """Events of an entry that concern a participant, always the same and in the same order."""
    if entry.kind not in _TELLING:
        return []
    command = command_of(entry.envelope)
    if isinstance(command, Rejected):
        message = f"entry {entry.index} no longer decodes: {command}"
        raise InvariantError(message)
    events = list(_events(state, participant_id, command))
    for number, event in enumerate(events):
        event.event_id = f"{entry.index}/{number}"
        event.create_time.CopyFrom(timestamp_of_us(entry.time_us))
    return events


def concerned(state: State, outage: ReportOutage) -> list[Contract]:
    """Contracts of the pool that deliver while it is down, by identifier."""
    return sorted(
        (
            contract
            for contract in state.contracts.values()
            if contract.pool_id == outage.pool_id
            and any(
                hour.interval.start < outage.interval.end
                and outage.interval.start < hour.interval.end
                for hour in contract.hours
            )
        ),
        key=lambda contract: contract.contract_id,
    )


def _events(state: State, participant_id: str, command: Command) -> Iterator[event_pb2.Event]:
    match command:
        case NotifyAward() if command.participant_id == participant_id:
            yield from _awarded(state, participant_id, command)
        case GiveNotices() if command.participant_id == participant_id:
            yield from _notices(command)
        case SettleHour():
            yield from _settled(state, participant_id, command)
        case ReportOutage():
            yield from _outage(state, participant_id, command)
        case CancelAllOrders() if command.participant_id == participant_id:
            yield from _dropped(state, participant_id, command)
        case SuspendParticipant() if command.participant_id == participant_id:
            yield event_pb2.Event(
                kind=event_pb2.EVENT_KIND_PARTICIPANT_STATE,
                description=f"Suspended: {command.reason}. New orders are refused.",
            )
        case ReinstateParticipant() if command.participant_id == participant_id:
            yield event_pb2.Event(
                kind=event_pb2.EVENT_KIND_PARTICIPANT_STATE,
                description=f"Reinstated: {command.reason}.",
            )
        case ReportAllocation() if not command.hourly:
            if Role.OPERATOR in state.participants[participant_id].roles:
                yield _allocation(command)
        case DisputeHour():
            yield from _disputed(state, participant_id, command.dispute_id, "opened")
        case DecideDispute():
            decided = "upheld" if command.upheld else "dismissed"
            yield from _disputed(state, participant_id, command.dispute_id, decided)
        case IssueStatement() if command.party_id == participant_id:
            yield event_pb2.Event(
                kind=event_pb2.EVENT_KIND_STATEMENT,
                auction_id=command.auction_id,
                statement_id=command.statement_id,
                description="A statement was issued.",
            )
        case _:
            return


def _awarded(state: State, participant_id: str, command: NotifyAward) -> Iterator[event_pb2.Event]:
    yield event_pb2.Event(
        kind=event_pb2.EVENT_KIND_AWARD,
        auction_id=command.auction_id,
        description="The auction is published; your orders are decided.",
    )
    for contract in _contracts(state, participant_id, command.auction_id):
        yield event_pb2.Event(
            kind=event_pb2.EVENT_KIND_CONTRACT_STATE,
            auction_id=command.auction_id,
            order_id=_own_order(contract, participant_id),
            contract_id=contract.contract_id,
            pool_id=contract.pool_id,
            contract_state=contract_pb2.CONTRACT_STATE_AWARDED,
            reason=contract_pb2.CONTRACT_REASON_AUCTION_AWARD,
            responsible=contract_pb2.RESPONSIBLE_PARTY_EXCHANGE,
            deadline_time=timestamp(contract.hours[0].interval.start),
            chip_count=max(hour.chips for hour in contract.hours),
            description="Awarded; delivery begins at the deadline.",
        )


def _notices(command: GiveNotices) -> Iterator[event_pb2.Event]:
    """From the entry alone: the same however long ago the run was."""
    for notice in command.notices:
        at = datetime.fromtimestamp(notice.deadline, UTC).strftime("%H:%M:%SZ")
        text = f"{notice.chips} chips stop at {at}: {notice.reason} ({notice.responsible})."
        if notice.withdrawn:
            text = f"The notice of {notice.chips} chips for {at} is withdrawn: they go on."
        yield event_pb2.Event(
            kind=(
                event_pb2.EVENT_KIND_NOTICE_WITHDRAWN
                if notice.withdrawn
                else event_pb2.EVENT_KIND_RECLAIM_NOTICE
            ),
            auction_id=command.run_id,
            order_id=notice.order_id,
            pool_id=notice.pool_id,
            deadline_time=timestamp(notice.deadline),
            notice_seconds=max(0, notice.deadline - notice.run_start),
            chip_count=notice.chips,
            description=text,
        )


def _allocation(command: ReportAllocation) -> event_pb2.Event:
    share = command.awarded * 10_000 // max(1, command.in_service)
    idle = sorted(command.idle, key=lambda item: -item.quantity)
    held = ", ".join(
        f"{item.reason} {item.quantity // command.interval.duration_s}" for item in idle
    )
    return event_pb2.Event(
        kind=event_pb2.EVENT_KIND_ALLOCATION,
        auction_id=f"{command.market_id}/{command.interval.start}",
        chip_count=(command.in_service - command.awarded) // command.interval.duration_s,
        description=(
            f"{command.level}: {share // 100}.{share % 100:02} % of the chips in service carry"
            f" work. Idle chips: {held or 'none'}."
        ),
    )


def _settled(state: State, participant_id: str, command: SettleHour) -> Iterator[event_pb2.Event]:
    hours = {
        hour.contract_id: hour
        for hour in state.delivered.get((command.auction_id, command.interval.start), ())
    }
    for contract in _contracts(state, participant_id, command.auction_id):
        hour = hours.get(contract.contract_id)
        if hour is not None and hour.gap:
            yield event_pb2.Event(
                kind=event_pb2.EVENT_KIND_METER_GAP,
                auction_id=command.auction_id,
                order_id=_own_order(contract, participant_id),
                contract_id=contract.contract_id,
                pool_id=contract.pool_id,
                description=(
                    f"{hour.gap} of {hour.position} chip-seconds from {command.interval.start} on "
                    "were not read; the buyer is refunded."
                ),
            )
        if command.interval == contract.hours[-1].interval:
            yield event_pb2.Event(
                kind=event_pb2.EVENT_KIND_CONTRACT_STATE,
                auction_id=command.auction_id,
                order_id=_own_order(contract, participant_id),
                contract_id=contract.contract_id,
                pool_id=contract.pool_id,
                contract_state=contract_pb2.CONTRACT_STATE_SETTLED,
                reason=contract_pb2.CONTRACT_REASON_ALL_HOURS_SETTLED,
                responsible=contract_pb2.RESPONSIBLE_PARTY_NOBODY,
                description="Its last hour is settled.",
            )


def _outage(state: State, participant_id: str, command: ReportOutage) -> Iterator[event_pb2.Event]:
    contracts = [
        contract
        for contract in concerned(state, command)
        if participant_id in (contract.buyer_id, contract.supplier_id)
    ]
    described = f"Outage {command.outage_id}: {command.reason}."
    for contract in contracts:
        yield event_pb2.Event(
            kind=event_pb2.EVENT_KIND_OUTAGE,
            auction_id=contract.auction_id,
            order_id=_own_order(contract, participant_id),
            contract_id=contract.contract_id,
            pool_id=command.pool_id,
            description=described,
        )
    if not contracts and participant_id in state.pools[command.pool_id].supplier_ids:
        yield event_pb2.Event(
            kind=event_pb2.EVENT_KIND_OUTAGE, pool_id=command.pool_id, description=described
        )


def _dropped(
    state: State, participant_id: str, command: CancelAllOrders
) -> Iterator[event_pb2.Event]:
    for order in state.orders.values():
        if (
            order.submitted.participant_id == participant_id
            and order.state is OrderState.CANCELLED
            and order.cancel_reason == command.reason
        ):
            yield event_pb2.Event(
                kind=event_pb2.EVENT_KIND_ORDER_DROPPED,
                auction_id=order.submitted.auction_id,
                order_id=order.submitted.order_id,
                description=f"Cancelled by the operator: {command.reason}.",
            )


def _disputed(
    state: State, participant_id: str, dispute_id: str, what: str
) -> Iterator[event_pb2.Event]:
    contract = state.contracts[state.disputes[dispute_id].opened.contract_id]
    if participant_id in (contract.buyer_id, contract.supplier_id):
        yield event_pb2.Event(
            kind=event_pb2.EVENT_KIND_DISPUTE,
            auction_id=contract.auction_id,
            order_id=_own_order(contract, participant_id),
            contract_id=contract.contract_id,
            pool_id=contract.pool_id,
            description=f"Dispute {dispute_id} was {what}.",
        )


def _contracts(state: State, participant_id: str, auction_id: str) -> list[Contract]:
    """Own contracts of an auction, by identifier."""
    auction = find_auction(state, auction_id)
    assignment = auction.assignment if auction is not None else None
    return [
        contract
        for contract in (assignment.contracts if assignment else ())
        if participant_id in (contract.buyer_id, contract.supplier_id)
    ]


def _own_order(contract: Contract, participant_id: str) -> str:
    """Each side is told its own order only."""
    buys = participant_id == contract.buyer_id
    return contract.order_id if buys else contract.supplier_order_id
