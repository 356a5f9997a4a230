"""DeliveryService: contracts to their parties, events, outages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable

from clearing.units import UnixSeconds
from iso_exchange.api.v1 import contract_pb2, delivery_service_pb2
from iso_exchange.api.v1.delivery_service_pb2_grpc import DeliveryServiceServicer
from iso_exchange.clock import MICROSECONDS
from iso_exchange.commands import ReportOutage
from iso_exchange.convert import views
from iso_exchange.convert.views import Surroundings, Viewer
from iso_exchange.convert.views.dispatch import contract_stage
from iso_exchange.sequencer.dispatch_stage import Standings
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.state import Auction, find_auction
from iso_exchange.services.access import Caller, Context
from iso_exchange.services.backend import NO_ENTRY, Backend, Pulse
from iso_exchange.services.dispatch_events import DISPATCH_KINDS, dispatch_events
from iso_exchange.services.errors import not_taken, refuse
from iso_exchange.services.events import concerned, events_of
from iso_exchange.services.pages import cut, page_of
from iso_exchange.services.periods import overlaps
from settlement.types import Contract, Transfer

Holds = dict[str, list[Transfer]]


class DeliveryService(DeliveryServiceServicer):
    """Each party sees its own contracts; auditors see all, once published."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def GetContract(
        self, request: delivery_service_pb2.GetContractRequest, context: Context
    ) -> delivery_service_pb2.GetContractResponse:
        """Read one contract; somebody else's looks like none."""
        caller = self._backend.caller(context)
        contract = self._backend.state.contracts.get(request.contract_id)
        if contract is None or not self._may_read(caller, contract):
            raise refuse(
                Code.NOT_FOUND, "contract_id", "list your contracts", got=request.contract_id
            )
        await self._backend.journal.refresh()
        return delivery_service_pb2.GetContractResponse(
            contract=self._view(caller, contract, self._holds(), self._standings()),
            ledger_size=self._backend.size,
        )

    async def ListContracts(
        self, request: delivery_service_pb2.ListContractsRequest, context: Context
    ) -> delivery_service_pb2.ListContractsResponse:
        """List the caller's contracts by start of delivery."""
        caller = self._backend.caller(context)
        await self._backend.journal.refresh()
        standings = self._standings()
        found, token = cut(
            page_of(request),
            (
                contract
                for contract in self._backend.state.contracts.values()
                if self._may_read(caller, contract) and self._matches(request, contract, standings)
            ),
            lambda contract: (contract.hours[0].interval.start, contract.contract_id),
        )
        holds = self._holds()
        return delivery_service_pb2.ListContractsResponse(
            contracts=[self._view(caller, contract, holds, standings) for contract in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def WatchEvents(
        self, request: delivery_service_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[delivery_service_pb2.WatchEventsResponse]:
        """Follow everything that concerns the caller from a log entry on."""
        caller = self._backend.caller(context)
        start = self._backend.first_entry(request.start_entry_index)
        next_index = start
        pulse = Pulse()
        async for entry in self._backend.journal.follow(start):
            if entry is not None:
                next_index = entry.index + 1
                found = events_of(self._backend.state, caller.participant_id, entry)
                if entry.kind in DISPATCH_KINDS:
                    found = await dispatch_events(self._backend, caller, entry)
                events = [
                    event for event in found if not request.kinds or event.kind in request.kinds
                ]
                if events:
                    pulse.beat()
                    yield delivery_service_pb2.WatchEventsResponse(
                        events=events,
                        entry_index=entry.index,
                        next_entry_index=next_index,
                        ledger_size=self._backend.size,
                    )
                    continue
            if pulse.is_due():
                yield delivery_service_pb2.WatchEventsResponse(
                    entry_index=NO_ENTRY,
                    next_entry_index=next_index,
                    ledger_size=self._backend.size,
                )

    async def ReportOutage(
        self, request: delivery_service_pb2.ReportOutageRequest, context: Context
    ) -> delivery_service_pb2.ReportOutageResponse:
        """Report that capacity is down."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, ReportOutage)
        return delivery_service_pb2.ReportOutageResponse(
            receipt=receipt,
            outage=views.outage_view(
                command,
                (
                    contract.contract_id
                    for contract in concerned(self._backend.state, command)
                    if caller.participant_id in (contract.buyer_id, contract.supplier_id)
                ),
            ),
        )

    async def AcknowledgeInstruction(
        self, request: delivery_service_pb2.AcknowledgeInstructionRequest, context: Context
    ) -> delivery_service_pb2.AcknowledgeInstructionResponse:
        """Refused: batches are acknowledged, and receipts signed, with DispatchService."""
        self._backend.caller(context)
        raise not_taken("acknowledgement")

    def _auction(self, contract: Contract) -> Auction:
        """Auction or run of a contract in the state: it is there as long as its contracts are."""
        auction = find_auction(self._backend.state, contract.auction_id)
        assert auction is not None
        return auction

    def _may_read(self, caller: Caller, contract: Contract) -> bool:
        """A contract is nobody's before its auction is published."""
        auction = self._auction(contract)
        return views.is_published(auction) and caller.may_read(
            (contract.buyer_id, contract.supplier_id)
        )

    def _matches(
        self,
        request: delivery_service_pb2.ListContractsRequest,
        contract: Contract,
        standings: Standings,
    ) -> bool:
        return (
            request.auction_id in ("", contract.auction_id)
            and request.pool_id in ("", contract.pool_id)
            and request.order_id in ("", contract.order_id, contract.supplier_order_id)
            and (not request.state or request.state == self._stage(contract, standings))
            and overlaps(request, contract.hours[0].interval.start, contract.hours[-1].interval.end)
        )

    def _stage(
        self, contract: Contract, standings: Standings
    ) -> contract_pb2.ContractState.ValueType:
        stage = self._dispatched(contract, standings)
        return (stage or views.stage_of(contract, self._auction(contract), self._now())).state

    def _standings(self) -> Standings:
        return Standings(self._backend.state, self._now())

    def _dispatched(self, contract: Contract, standings: Standings) -> views.Stage | None:
        """Stage that instructions and receipts say, None where time alone decides."""
        standing = standings.of(contract)
        return None if standing is None else contract_stage(standing)

    def _now(self) -> UnixSeconds:
        return UnixSeconds(self._backend.clock.now_us() // MICROSECONDS)

    def _holds(self) -> Holds:
        """Open holds by contract, so that a list of contracts looks at each once."""
        holds: Holds = defaultdict(list)
        for hold in self._backend.state.books.open_holds():
            if hold.contract_id:
                holds[hold.contract_id].append(hold)
        return holds

    def _view(
        self, caller: Caller, contract: Contract, holds: Holds, standings: Standings
    ) -> contract_pb2.Contract:
        state = self._backend.state
        delivered: Iterable[tuple[str, int]] = (
            (contract.auction_id, hour.interval.start) for hour in contract.hours
        )
        around = Surroundings(
            auction=self._auction(contract),
            pool=state.pools[contract.pool_id],
            site=state.sites[contract.site_id],
            table=state.chip_table(),
            order=state.orders.get(contract.order_id),
            holds=tuple(holds.get(contract.contract_id, ())),
            delivered=tuple(
                hour
                for key in delivered
                for hour in state.delivered.get(key, ())
                if hour.contract_id == contract.contract_id
            ),
        )
        return views.contract_view(
            contract,
            around,
            viewer=views.viewer_of(contract, caller.participant_id) or Viewer.AUDITOR,
            now=self._now(),
            entry_index=self._backend.journal.stage(contract.auction_id).result_entry_index,
            dispatched=self._dispatched(contract, standings),
        )
