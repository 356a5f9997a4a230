"""RegistryService: participants, sites, pools, meters, chip tables, deposits."""

from __future__ import annotations

from typing import TypeVar

from iso_exchange.api.v1 import (
    chip_table_pb2,
    deposit_pb2,
    meter_pb2,
    participant_pb2,
    pool_pb2,
    receipt_pb2,
    registry_service_pb2,
)
from iso_exchange.api.v1.registry_service_pb2_grpc import RegistryServiceServicer
from iso_exchange.commands import (
    CancelAllOrders,
    PublishChipTable,
    RecordDeposit,
    RegisterMeter,
    RegisterParticipant,
    RegisterPool,
    RegisterRootKey,
    RegisterSite,
    ReinstateParticipant,
    RevokeKey,
    RotateKey,
    SuspendParticipant,
)
from iso_exchange.convert import body_of, enums, views
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.state import OrderState, PoolRecord, State
from iso_exchange.services.access import Context
from iso_exchange.services.backend import Backend
from iso_exchange.services.errors import refuse
from iso_exchange.services.mutations import SignedRequest
from iso_exchange.services.pages import cut, page_of

C = TypeVar("C")


class RegistryService(RegistryServiceServicer):
    """The public registry: signed by the operator, read by everybody."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def RegisterParticipant(
        self, request: registry_service_pb2.RegisterParticipantRequest, context: Context
    ) -> registry_service_pb2.RegisterParticipantResponse:
        """Admit a participant."""
        command, receipt = await self._accept(request, context, RegisterParticipant)
        return registry_service_pb2.RegisterParticipantResponse(
            receipt=receipt, participant=await self._participant(command.participant_id)
        )

    async def RegisterSite(
        self, request: registry_service_pb2.RegisterSiteRequest, context: Context
    ) -> registry_service_pb2.RegisterSiteResponse:
        """Register a site."""
        command, receipt = await self._accept(request, context, RegisterSite)
        return registry_service_pb2.RegisterSiteResponse(
            receipt=receipt, site=views.site_view(self._backend.state.sites[command.site_id])
        )

    async def RegisterPool(
        self, request: registry_service_pb2.RegisterPoolRequest, context: Context
    ) -> registry_service_pb2.RegisterPoolResponse:
        """Register a pool."""
        command, receipt = await self._accept(request, context, RegisterPool)
        return registry_service_pb2.RegisterPoolResponse(
            receipt=receipt, pool=self._pool(self._backend.state.pools[command.pool_id])
        )

    async def RegisterMeter(
        self, request: registry_service_pb2.RegisterMeterRequest, context: Context
    ) -> registry_service_pb2.RegisterMeterResponse:
        """Register the meter of a pool."""
        command, receipt = await self._accept(request, context, RegisterMeter)
        return registry_service_pb2.RegisterMeterResponse(
            receipt=receipt, meter=meter_pb2.Meter.FromString(body_of(command))
        )

    async def PublishChipTable(
        self, request: registry_service_pb2.PublishChipTableRequest, context: Context
    ) -> registry_service_pb2.PublishChipTableResponse:
        """Publish a version of the chip table."""
        command, receipt = await self._accept(request, context, PublishChipTable)
        return registry_service_pb2.PublishChipTableResponse(
            receipt=receipt,
            chip_table=chip_table_pb2.ChipTablePublication.FromString(body_of(command)),
        )

    async def RecordDeposit(
        self, request: registry_service_pb2.RecordDepositRequest, context: Context
    ) -> registry_service_pb2.RecordDepositResponse:
        """Book collateral."""
        command, receipt = await self._accept(request, context, RecordDeposit)
        return registry_service_pb2.RecordDepositResponse(
            receipt=receipt, deposit=deposit_pb2.Deposit.FromString(body_of(command))
        )

    async def RevokeKey(
        self, request: registry_service_pb2.RevokeKeyRequest, context: Context
    ) -> registry_service_pb2.RevokeKeyResponse:
        """Revoke a key."""
        command, receipt = await self._accept(request, context, RevokeKey)
        return registry_service_pb2.RevokeKeyResponse(
            receipt=receipt,
            key_revocation=participant_pb2.KeyRevocation.FromString(body_of(command)),
        )

    async def RotateKey(
        self, request: registry_service_pb2.RotateKeyRequest, context: Context
    ) -> registry_service_pb2.RotateKeyResponse:
        """Replace a key."""
        command, receipt = await self._accept(request, context, RotateKey)
        return registry_service_pb2.RotateKeyResponse(
            receipt=receipt,
            key_rotation=participant_pb2.KeyRotation.FromString(body_of(command)),
        )

    async def RegisterRootKey(
        self, request: registry_service_pb2.RegisterRootKeyRequest, context: Context
    ) -> registry_service_pb2.RegisterRootKeyResponse:
        """State or replace the root key."""
        command, receipt = await self._accept(request, context, RegisterRootKey)
        return registry_service_pb2.RegisterRootKeyResponse(
            receipt=receipt, root_key=participant_pb2.RootKey.FromString(body_of(command))
        )

    async def SuspendParticipant(
        self, request: registry_service_pb2.SuspendParticipantRequest, context: Context
    ) -> registry_service_pb2.SuspendParticipantResponse:
        """Suspend a participant."""
        command, receipt = await self._accept(request, context, SuspendParticipant)
        return registry_service_pb2.SuspendParticipantResponse(
            receipt=receipt, participant=await self._participant(command.participant_id)
        )

    async def ReinstateParticipant(
        self, request: registry_service_pb2.ReinstateParticipantRequest, context: Context
    ) -> registry_service_pb2.ReinstateParticipantResponse:
        """Lift a suspension."""
        command, receipt = await self._accept(request, context, ReinstateParticipant)
        return registry_service_pb2.ReinstateParticipantResponse(
            receipt=receipt, participant=await self._participant(command.participant_id)
        )

    async def CancelAllOrders(
        self, request: registry_service_pb2.CancelAllOrdersRequest, context: Context
    ) -> registry_service_pb2.CancelAllOrdersResponse:
        """Cancel every open order of a participant."""
        command, receipt = await self._accept(request, context, CancelAllOrders)
        return registry_service_pb2.CancelAllOrdersResponse(
            receipt=receipt,
            cancelled_order_count=_cancelled(self._backend.state, command, receipt.entry_index),
        )

    async def GetParticipant(
        self, request: registry_service_pb2.GetParticipantRequest, context: Context
    ) -> registry_service_pb2.GetParticipantResponse:
        """Read one participant."""
        self._backend.caller(context)
        if request.participant_id not in self._backend.state.participants:
            raise refuse(
                Code.NOT_FOUND,
                "participant_id",
                "list the participants",
                got=request.participant_id,
            )
        return registry_service_pb2.GetParticipantResponse(
            participant=await self._participant(request.participant_id),
            ledger_size=self._backend.size,
        )

    async def ListParticipants(
        self, request: registry_service_pb2.ListParticipantsRequest, context: Context
    ) -> registry_service_pb2.ListParticipantsResponse:
        """List participants by identifier."""
        self._backend.caller(context)
        page = page_of(request)
        role = enums.ROLE.value(request.role)
        found, token = cut(
            page,
            (
                participant.participant_id
                for participant in self._backend.state.participants.values()
                if role is None or role in participant.roles
            ),
            lambda participant_id: (participant_id,),
        )
        return registry_service_pb2.ListParticipantsResponse(
            participants=[await self._participant(participant_id) for participant_id in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def GetSite(
        self, request: registry_service_pb2.GetSiteRequest, context: Context
    ) -> registry_service_pb2.GetSiteResponse:
        """Read one site."""
        self._backend.caller(context)
        record = self._backend.state.sites.get(request.site_id)
        if record is None:
            raise refuse(Code.NOT_FOUND, "site_id", "list the sites", got=request.site_id)
        return registry_service_pb2.GetSiteResponse(
            site=views.site_view(record), ledger_size=self._backend.size
        )

    async def ListSites(
        self, request: registry_service_pb2.ListSitesRequest, context: Context
    ) -> registry_service_pb2.ListSitesResponse:
        """List sites by identifier."""
        self._backend.caller(context)
        found, token = cut(
            page_of(request),
            (
                record
                for record in self._backend.state.sites.values()
                if request.region in ("", record.site.region)
            ),
            lambda record: (record.site.site_id,),
        )
        return registry_service_pb2.ListSitesResponse(
            sites=[views.site_view(record) for record in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def GetPool(
        self, request: registry_service_pb2.GetPoolRequest, context: Context
    ) -> registry_service_pb2.GetPoolResponse:
        """Read one pool."""
        self._backend.caller(context)
        record = self._backend.state.pools.get(request.pool_id)
        if record is None:
            raise refuse(Code.NOT_FOUND, "pool_id", "list the pools", got=request.pool_id)
        return registry_service_pb2.GetPoolResponse(
            pool=self._pool(record), ledger_size=self._backend.size
        )

    async def ListPools(
        self, request: registry_service_pb2.ListPoolsRequest, context: Context
    ) -> registry_service_pb2.ListPoolsResponse:
        """List pools by identifier."""
        self._backend.caller(context)
        found, token = cut(
            page_of(request),
            (
                record
                for record in self._backend.state.pools.values()
                if request.site_id in ("", record.pool.site_id)
                and request.chip_class in ("", record.pool.chip_class)
            ),
            lambda record: (record.pool.pool_id,),
        )
        return registry_service_pb2.ListPoolsResponse(
            pools=[self._pool(record) for record in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def _accept(
        self, request: SignedRequest, context: Context, kind: type[C]
    ) -> tuple[C, receipt_pb2.Receipt]:
        return await self._backend.mutations.one(self._backend.caller(context), request, kind)

    def _pool(self, record: PoolRecord) -> pool_pb2.Pool:
        return views.pool_view(record, self._backend.state.chip_table())

    async def _participant(self, participant_id: str) -> participant_pb2.ParticipantView:
        await self._backend.journal.refresh()
        return views.participant_view(
            self._backend.state.participants[participant_id],
            entry_index=self._backend.journal.participants[participant_id].entry_index,
        )


def _cancelled(state: State, command: CancelAllOrders, entry_index: int) -> int:
    """Orders that this command cancelled; its owner and reason tell."""
    return sum(
        order.entry_index < entry_index
        and order.submitted.participant_id == command.participant_id
        and order.state is OrderState.CANCELLED
        and order.cancel_reason == command.reason
        for order in state.orders.values()
    )
