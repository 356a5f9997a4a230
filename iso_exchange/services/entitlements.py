"""EntitlementService: base load and what its holders do with it."""

from __future__ import annotations

from iso_exchange.api.v1 import entitlement_pb2, entitlement_service_pb2
from iso_exchange.api.v1.entitlement_service_pb2_grpc import EntitlementServiceServicer
from iso_exchange.commands import Nominate, Recall, RegisterEntitlement, Release
from iso_exchange.convert import body_of
from iso_exchange.money_commands import RegisterGrant
from iso_exchange.services.access import Context
from iso_exchange.services.backend import Backend
from iso_exchange.services.pages import cut, page_of
from iso_exchange.services.periods import overlaps


class EntitlementService(EntitlementServiceServicer):
    """Entitlements, nominations, releases, recalls and grants."""

    def __init__(self, backend: Backend) -> None:
        """Keep the parts."""
        self._backend = backend

    async def RegisterEntitlement(
        self, request: entitlement_service_pb2.RegisterEntitlementRequest, context: Context
    ) -> entitlement_service_pb2.RegisterEntitlementResponse:
        """Register a contract signed by holder and supplier."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, RegisterEntitlement)
        return entitlement_service_pb2.RegisterEntitlementResponse(
            receipt=receipt, entitlement=entitlement_pb2.Entitlement.FromString(body_of(command))
        )

    async def Nominate(
        self, request: entitlement_service_pb2.NominateRequest, context: Context
    ) -> entitlement_service_pb2.NominateResponse:
        """Say what will be used."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, Nominate)
        return entitlement_service_pb2.NominateResponse(
            receipt=receipt, nomination=entitlement_pb2.Nomination.FromString(body_of(command))
        )

    async def Release(
        self, request: entitlement_service_pb2.ReleaseRequest, context: Context
    ) -> entitlement_service_pb2.ReleaseResponse:
        """Offer what will not be used, in a spot market."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, Release)
        return entitlement_service_pb2.ReleaseResponse(
            receipt=receipt, release=entitlement_pb2.Release.FromString(body_of(command))
        )

    async def Recall(
        self, request: entitlement_service_pb2.RecallRequest, context: Context
    ) -> entitlement_service_pb2.RecallResponse:
        """Take released chips back."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, Recall)
        return entitlement_service_pb2.RecallResponse(
            receipt=receipt, recall=entitlement_pb2.Recall.FromString(body_of(command))
        )

    async def GrantCapacity(
        self, request: entitlement_service_pb2.GrantCapacityRequest, context: Context
    ) -> entitlement_service_pb2.GrantCapacityResponse:
        """Set capacity aside at zero price."""
        caller = self._backend.caller(context)
        command, receipt = await self._backend.mutations.one(caller, request, RegisterGrant)
        return entitlement_service_pb2.GrantCapacityResponse(
            receipt=receipt, grant=entitlement_pb2.Grant.FromString(body_of(command))
        )

    async def ListEntitlements(
        self, request: entitlement_service_pb2.ListEntitlementsRequest, context: Context
    ) -> entitlement_service_pb2.ListEntitlementsResponse:
        """List the caller's entitlements, held or supplied; auditors see all."""
        caller = self._backend.caller(context)
        found, token = cut(
            page_of(request),
            (
                command
                for command in self._backend.state.entitlements.values()
                if caller.may_read((command.holder_id, command.supplier_id))
                and request.pool_id in ("", command.pool_id)
                and overlaps(request, command.period.start, command.period.end)
            ),
            lambda command: (command.entitlement_id,),
        )
        return entitlement_service_pb2.ListEntitlementsResponse(
            entitlements=[
                entitlement_pb2.Entitlement.FromString(body_of(command)) for command in found
            ],
            next_page_token=token,
            ledger_size=self._backend.size,
        )

    async def ListGrants(
        self, request: entitlement_service_pb2.ListGrantsRequest, context: Context
    ) -> entitlement_service_pb2.ListGrantsResponse:
        """List grants; they are public."""
        self._backend.caller(context)
        found, token = cut(
            page_of(request),
            (
                command
                for command in self._backend.state.grants.values()
                if request.pool_id in ("", command.pool_id)
            ),
            lambda command: (command.grant_id,),
        )
        return entitlement_service_pb2.ListGrantsResponse(
            grants=[entitlement_pb2.Grant.FromString(body_of(command)) for command in found],
            next_page_token=token,
            ledger_size=self._backend.size,
        )
