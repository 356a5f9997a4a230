"""Dispatch as suppliers and buyers see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from iso_exchange.api.v1 import dispatch_pb2
from iso_exchange.api.v1.contract_pb2 import ContractReason as WireReason
from iso_exchange.api.v1.contract_pb2 import ContractState as WireState
from iso_exchange.api.v1.contract_pb2 import ResponsibleParty as WireParty
from iso_exchange.convert import enums
from iso_exchange.convert.fields import timestamp
from iso_exchange.convert.views.contracts import Stage
from iso_exchange.dispatch_commands import (
    Instruction,
    InstructionBatch,
    node_name,
)
from iso_exchange.sequencer import dispatch_stage
from iso_exchange.sequencer.dispatch_stage import Standing
from iso_exchange.sequencer.dispatch_state import Held, Row
from settlement.types import Contract

STATE: Final = {
    dispatch_stage.Stage.PROVISIONING: WireState.CONTRACT_STATE_PROVISIONING,
    dispatch_stage.Stage.DELIVERING: WireState.CONTRACT_STATE_DELIVERING,
    dispatch_stage.Stage.NOTICE: WireState.CONTRACT_STATE_NOTICE,
    dispatch_stage.Stage.RECLAIMED: WireState.CONTRACT_STATE_RECLAIMED,
}
REASON: Final = {
    "": WireReason.CONTRACT_REASON_ON_TIME,
    "HIGHER_VALUE_FIRM": WireReason.CONTRACT_REASON_HIGHER_VALUE_FIRM,
    "BASE_LOAD_RECALL": WireReason.CONTRACT_REASON_BASE_LOAD_RECALL,
    "COVER_CALLED": WireReason.CONTRACT_REASON_NODE_COVER_CALLED,
    "OUTAGE": WireReason.CONTRACT_REASON_OUTAGE_REPORTED,
    "SUPPLIER_WITHDREW": WireReason.CONTRACT_REASON_SUPPLIER_FAILURE,
    "PRICE_ABOVE_LIMIT": WireReason.CONTRACT_REASON_BUYER_WITHDREW,
    "CREDIT": WireReason.CONTRACT_REASON_BUYER_WITHDREW,
}
"""Reasons that contracts know by name; others are named in full by ``ListDeliveries``."""
PARTY: Final = {
    "NOBODY": WireParty.RESPONSIBLE_PARTY_NOBODY,
    "BUYER": WireParty.RESPONSIBLE_PARTY_BUYER,
    "SUPPLIER": WireParty.RESPONSIBLE_PARTY_SUPPLIER,
    "HOLDER": WireParty.RESPONSIBLE_PARTY_THIRD_PARTY,
    "MARKET": WireParty.RESPONSIBLE_PARTY_EXCHANGE,
    "SITE": WireParty.RESPONSIBLE_PARTY_THIRD_PARTY,
}


def contract_stage(standing: Standing) -> Stage:
    """Stage of a contract whose supplier is instructed."""
    return Stage(
        state=STATE[standing.stage],
        reason=REASON.get(standing.reason, WireReason.CONTRACT_REASON_UNSPECIFIED),
        responsible=PARTY[standing.responsible],
        since=standing.since or None,
    )


def instruction_id(pool_id: str, sequence: int) -> str:
    """How events and people name an instruction."""
    return f"{pool_id}/{sequence}"


def instruction_view(pool_id: str, instruction: Instruction) -> dispatch_pb2.Instruction:
    """One instruction."""
    return dispatch_pb2.Instruction(
        instruction_id=instruction_id(pool_id, instruction.sequence),
        pool_id=pool_id,
        sequence_number=instruction.sequence,
        kind=enums.INSTRUCTION_KIND.number(instruction.kind),
        load_id=instruction.load_id,
        buyer_id=instruction.buyer_id,
        contract_ids=instruction.contract_ids,
        node_ids=[node_name(node) for node in instruction.nodes],
        replaced_node_ids=[node_name(node) for node in instruction.replaces],
        carried=instruction.carried,
        effect_time=timestamp(instruction.at),
        due_time=timestamp(instruction.due) if instruction.due else None,
        access_key=bytes.fromhex(instruction.access_key),
    )


def batch_view(batch: InstructionBatch, entry_index: int) -> dispatch_pb2.InstructionBatch:
    """A batch with the log entry that names it."""
    return dispatch_pb2.InstructionBatch(
        batch_entry_index=entry_index,
        market_id=batch.market_id,
        start_time=timestamp(batch.start),
        effect_time=timestamp(batch.at),
        instructions=[
            instruction_view(pool.pool_id, instruction)
            for pool in batch.pools
            for instruction in pool.instructions
        ],
    )


def node_views(
    pool_id: str, count: int, row: Row, failed: frozenset[int], keys: Mapping[str, str]
) -> Iterator[dispatch_pb2.NodeView]:
    """Every node of a pool, as its supplier sees it; ``keys`` are access keys by buyer."""
    due = {node: start.due for start in row.starts.values() for node in start.nodes}
    for node in range(count):
        held = row.held.get(node)
        view = dispatch_pb2.NodeView(
            pool_id=pool_id,
            node_id=node_name(node),
            state=_node_state(node, held, row, failed),
            receipt_entry_index=-1,
        )
        if held is not None:
            view.load_id, view.buyer_id = held.load_id, held.buyer_id
            view.sequence_number = held.sequence
            view.start_time.CopyFrom(timestamp(held.at))
            view.receipt_entry_index = held.receipt_index
        if node in due:
            view.due_time.CopyFrom(timestamp(due[node]))
            view.access_key = bytes.fromhex(keys.get(view.buyer_id, ""))
        yield view


def delivery_view(contract: Contract, standing: Standing) -> dispatch_pb2.Delivery:
    """How a contract's work stands."""
    return dispatch_pb2.Delivery(
        contract_id=contract.contract_id,
        pool_id=standing.pool_id,
        state=STATE[standing.stage],
        reason=standing.reason,
        responsible=standing.responsible,
        node_ids=[node_name(node) for node in standing.nodes],
        sold_node_count=standing.sold,
        deadline_time=timestamp(standing.deadline) if standing.deadline else None,
    )


def _node_state(
    node: int, held: Held | None, row: Row, failed: frozenset[int]
) -> dispatch_pb2.NodeState.ValueType:
    if node in failed:
        return dispatch_pb2.NODE_STATE_OUT
    if held is not None:
        waits = held.receipt_index < 0
        return dispatch_pb2.NODE_STATE_PROVISIONING if waits else dispatch_pb2.NODE_STATE_DELIVERING
    return dispatch_pb2.NODE_STATE_SPARE if node in row.spare else dispatch_pb2.NODE_STATE_IDLE
