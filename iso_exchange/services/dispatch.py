"""DispatchService: instructions to suppliers, receipts to buyers, who is served where."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

from clearing import codec
from clearing.errors import InvariantError
from clearing.types import Interval
from clearing.units import UnixSeconds
from iso_exchange.api.v1 import dispatch_pb2, dispatch_service_pb2
from iso_exchange.api.v1.dispatch_service_pb2_grpc import DispatchServiceServicer
from iso_exchange.authority import command_of
from iso_exchange.clock import MICROSECONDS
from iso_exchange.commands import (
    AcknowledgeBatch,
    InstructSuppliers,
    SetAccessKey,
    SignReceipt,
)
from iso_exchange.convert.views import dispatch as views
from iso_exchange.dispatch_commands import InstructionBatch, node_name
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.dispatch_stage import Standings
from iso_exchange.sequencer.dispatch_wants import failed_nodes, nodes_of
from iso_exchange.sequencer.refusals import Code
from iso_exchange.services.access import Caller, Context
from iso_exchange.services.backend import Backend, Pulse
from iso_exchange.services.errors import refuse
from iso_exchange.services.pages import cut, page_of
from settlement.storage.store import Entry, LedgerStore

INSTRUCTIONS: Final = ENTRY_KINDS[InstructSuppliers].name
HANDOVER: Final = ENTRY_KINDS[SignReceipt].name


class DispatchService(DispatchServiceServicer):
    """Suppliers see their pools, buyers what serves them; auditors see all."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def WatchInstructions(
        self, request: dispatch_service_pb2.WatchInstructionsRequest, context: Context
    ) -> AsyncIterator[dispatch_service_pb2.WatchInstructionsResponse]:
        """Follow the caller's batches from a log entry on."""
        caller = self._backend.caller(context)
        next_index = self._backend.first_entry(request.start_entry_index)
        pulse = Pulse()
        async for entry in self._backend.journal.follow(next_index):
            if entry is not None:
                next_index = entry.index + 1
                if entry.kind == INSTRUCTIONS and caller.may_read(entry.owners):
                    pulse.beat()
                    batch = await batch_of(self._backend.store, entry)
                    yield dispatch_service_pb2.WatchInstructionsResponse(
                        batch=views.batch_view(batch, entry.index),
                        next_entry_index=next_index,
                        ledger_size=self._backend.size,
                    )
                    continue
            if pulse.is_due():
                yield dispatch_service_pb2.WatchInstructionsResponse(
                    next_entry_index=next_index, ledger_size=self._backend.size
                )

    async def AcknowledgeBatch(
        self, request: dispatch_service_pb2.AcknowledgeBatchRequest, context: Context
    ) -> dispatch_service_pb2.AcknowledgeBatchResponse:
        """Say that a batch was received."""
        caller = self._backend.caller(context)
        _, receipt = await self._backend.mutations.one(caller, request, AcknowledgeBatch)
        return dispatch_service_pb2.AcknowledgeBatchResponse(receipt=receipt)

    async def SignHandover(
        self, request: dispatch_service_pb2.SignHandoverRequest, context: Context
    ) -> dispatch_service_pb2.SignHandoverResponse:
        """Say that nodes were handed over, or cannot be."""
        caller = self._backend.caller(context)
        _, receipt = await self._backend.mutations.one(caller, request, SignReceipt)
        return dispatch_service_pb2.SignHandoverResponse(receipt=receipt)

    async def SetAccessKey(
        self, request: dispatch_service_pb2.SetAccessKeyRequest, context: Context
    ) -> dispatch_service_pb2.SetAccessKeyResponse:
        """Register the key that access details are sealed to."""
        caller = self._backend.caller(context)
        _, receipt = await self._backend.mutations.one(caller, request, SetAccessKey)
        return dispatch_service_pb2.SetAccessKeyResponse(receipt=receipt)

    async def ListNodes(
        self, request: dispatch_service_pb2.ListNodesRequest, context: Context
    ) -> dispatch_service_pb2.ListNodesResponse:
        """Nodes of own pools, or that serve the caller."""
        caller = self._backend.caller(context)
        found, token = cut(
            page_of(request),
            self._nodes(caller, request.pool_id),
            lambda node: (node.pool_id, node.node_id),
        )
        return dispatch_service_pb2.ListNodesResponse(
            nodes=found, next_page_token=token, ledger_size=self._backend.size
        )

    async def ReadAccess(
        self, request: dispatch_service_pb2.ReadAccessRequest, context: Context
    ) -> dispatch_service_pb2.ReadAccessResponse:
        """Sealed access details of a receipt, to its parties."""
        caller = self._backend.caller(context)
        index = request.receipt_entry_index
        entries = (
            await self._backend.store.entries(index, 1) if 0 <= index < self._backend.size else ()
        )
        for entry in entries:
            # An auditor reads the entry in the log; what is sealed means nothing to it.
            if entry.kind == HANDOVER and caller.participant_id in entry.owners:
                command = command_of(entry.envelope)
                assert isinstance(command, SignReceipt)  # its kind says so
                return dispatch_service_pb2.ReadAccessResponse(
                    pool_id=command.pool_id,
                    sequence_number=command.sequence,
                    node_ids=[node_name(node) for node in command.nodes],
                    sealed_access=command.sealed_access,
                    ledger_size=self._backend.size,
                )
        raise refuse(
            Code.NOT_FOUND,
            "receipt_entry_index",
            "ask for a receipt that ListNodes names",
            got=str(index),
        )

    async def ListDeliveries(
        self, request: dispatch_service_pb2.ListDeliveriesRequest, context: Context
    ) -> dispatch_service_pb2.ListDeliveriesResponse:
        """How own contracts that deliver now stand."""
        caller = self._backend.caller(context)
        found, token = cut(
            page_of(request),
            self._deliveries(caller, request.contract_id),
            lambda delivery: (delivery.contract_id,),
        )
        return dispatch_service_pb2.ListDeliveriesResponse(
            deliveries=found, next_page_token=token, ledger_size=self._backend.size
        )

    def _nodes(self, caller: Caller, pool_id: str) -> Iterator[dispatch_pb2.NodeView]:
        state, now = self._backend.state, self._now()
        window = Interval(start=UnixSeconds(now), end=UnixSeconds(now + 1))
        for name, row in state.dispatch.rows.items():
            if pool_id not in ("", name):
                continue
            whole = caller.may_read(state.pools[name].supplier_ids)
            failed, _ = failed_nodes(state, name, window)
            keys = state.dispatch.access_keys
            for node in views.node_views(name, nodes_of(state, name), row, failed, keys):
                if whole or node.buyer_id == caller.participant_id:
                    yield node

    def _deliveries(self, caller: Caller, contract_id: str) -> Iterator[dispatch_pb2.Delivery]:
        state = self._backend.state
        standings = Standings(state, self._now())
        for contract in state.contracts.values():
            if contract_id in ("", contract.contract_id) and caller.may_read(
                (contract.buyer_id, contract.supplier_id)
            ):
                standing = standings.of(contract)
                if standing is not None:
                    yield views.delivery_view(contract, standing)

    def _now(self) -> int:
        return self._backend.clock.now_us() // MICROSECONDS


async def batch_of(store: LedgerStore, entry: Entry) -> InstructionBatch:
    """Batch of an ``INSTRUCTIONS`` entry."""
    for sha256 in entry.documents:
        found = await store.document(sha256)
        if found is not None:
            return codec.decode(found.body, InstructionBatch)
    message = f"the batch of entry {entry.index} is not in the store"
    raise InvariantError(message)
