"""Every service of the exchange, by full name, and how it is added to a server."""

from __future__ import annotations

from functools import partial
from typing import Final

from iso_exchange.api.v1 import (
    auction_service_pb2,
    auction_service_pb2_grpc,
    clock_service_pb2,
    clock_service_pb2_grpc,
    credits_service_pb2,
    credits_service_pb2_grpc,
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    dispatch_service_pb2,
    dispatch_service_pb2_grpc,
    entitlement_service_pb2,
    entitlement_service_pb2_grpc,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    market_service_pb2,
    market_service_pb2_grpc,
    metering_service_pb2,
    metering_service_pb2_grpc,
    registry_service_pb2,
    registry_service_pb2_grpc,
    settlement_service_pb2,
    settlement_service_pb2_grpc,
    spot_service_pb2,
    spot_service_pb2_grpc,
)
from iso_exchange.gateway.grpc_server import Registration
from iso_exchange.services.auctions import AuctionService
from iso_exchange.services.backend import Backend
from iso_exchange.services.clock import ClockService
from iso_exchange.services.credits import CreditService
from iso_exchange.services.delivery import DeliveryService
from iso_exchange.services.dispatch import DispatchService
from iso_exchange.services.entitlements import EntitlementService
from iso_exchange.services.ledger import LedgerService
from iso_exchange.services.market import MarketService
from iso_exchange.services.metering import MeteringService
from iso_exchange.services.registry import RegistryService
from iso_exchange.services.settlement import SettlementService
from iso_exchange.services.spot import SpotService

SERVICE_NAMES: Final = tuple(
    service.full_name
    for module in (
        auction_service_pb2,
        clock_service_pb2,
        credits_service_pb2,
        delivery_service_pb2,
        dispatch_service_pb2,
        entitlement_service_pb2,
        ledger_service_pb2,
        market_service_pb2,
        metering_service_pb2,
        registry_service_pb2,
        settlement_service_pb2,
        spot_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)


def registrations(backend: Backend) -> tuple[Registration, ...]:
    """One function per service that adds it to a server."""
    return (
        partial(
            auction_service_pb2_grpc.add_AuctionServiceServicer_to_server, AuctionService(backend)
        ),
        partial(clock_service_pb2_grpc.add_ClockServiceServicer_to_server, ClockService(backend)),
        partial(
            credits_service_pb2_grpc.add_CreditServiceServicer_to_server, CreditService(backend)
        ),
        partial(
            delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server,
            DeliveryService(backend),
        ),
        partial(
            dispatch_service_pb2_grpc.add_DispatchServiceServicer_to_server,
            DispatchService(backend),
        ),
        partial(
            entitlement_service_pb2_grpc.add_EntitlementServiceServicer_to_server,
            EntitlementService(backend),
        ),
        partial(
            ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server, LedgerService(backend)
        ),
        partial(
            market_service_pb2_grpc.add_MarketServiceServicer_to_server, MarketService(backend)
        ),
        partial(
            metering_service_pb2_grpc.add_MeteringServiceServicer_to_server,
            MeteringService(backend),
        ),
        partial(
            registry_service_pb2_grpc.add_RegistryServiceServicer_to_server,
            RegistryService(backend),
        ),
        partial(
            settlement_service_pb2_grpc.add_SettlementServiceServicer_to_server,
            SettlementService(backend),
        ),
        partial(spot_service_pb2_grpc.add_SpotServiceServicer_to_server, SpotService(backend)),
    )
