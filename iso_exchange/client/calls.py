"""Which call carries which command: one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import message_factory
from google.protobuf.descriptor import FileDescriptor

from iso_exchange import commands, credit_commands, money_commands
from iso_exchange.api.v1 import (
    auction_service_pb2,
    credits_service_pb2,
    delivery_service_pb2,
    dispatch_service_pb2,
    entitlement_service_pb2,
    market_service_pb2,
    metering_service_pb2,
    registry_service_pb2,
    settlement_service_pb2,
    spot_service_pb2,
)

CALLS: Final[dict[type, str]] = {
    commands.RegisterParticipant: "RegistryService.RegisterParticipant",
    commands.RevokeKey: "RegistryService.RevokeKey",
    commands.RotateKey: "RegistryService.RotateKey",
    commands.RegisterRootKey: "RegistryService.RegisterRootKey",
    commands.SuspendParticipant: "RegistryService.SuspendParticipant",
    commands.ReinstateParticipant: "RegistryService.ReinstateParticipant",
    commands.CancelAllOrders: "RegistryService.CancelAllOrders",
    commands.RegisterSite: "RegistryService.RegisterSite",
    commands.RegisterPool: "RegistryService.RegisterPool",
    commands.RegisterMeter: "RegistryService.RegisterMeter",
    commands.PublishChipTable: "RegistryService.PublishChipTable",
    commands.RecordDeposit: "RegistryService.RecordDeposit",
    commands.CreateAuction: "AuctionService.CreateAuction",
    commands.HaltAuction: "AuctionService.HaltAuction",
    commands.ResumeAuction: "AuctionService.ResumeAuction",
    commands.OpenSpotMarket: "SpotService.OpenSpotMarket",
    commands.HaltSpotMarket: "SpotService.HaltSpotMarket",
    commands.ResumeSpotMarket: "SpotService.ResumeSpotMarket",
    commands.CloseSpotMarket: "SpotService.CloseSpotMarket",
    commands.ReturnHours: "SpotService.ReturnHours",
    commands.SetWebhook: "SpotService.SetWebhook",
    commands.SubmitOrder: "MarketService.SubmitOrder",
    commands.CancelOrder: "MarketService.CancelOrder",
    commands.RegisterEntitlement: "EntitlementService.RegisterEntitlement",
    commands.Nominate: "EntitlementService.Nominate",
    commands.Release: "EntitlementService.Release",
    commands.Recall: "EntitlementService.Recall",
    commands.SubmitReadings: "MeteringService.SubmitReadings",
    commands.ReportOutage: "DeliveryService.ReportOutage",
    commands.AcknowledgeBatch: "DispatchService.AcknowledgeBatch",
    commands.SignReceipt: "DispatchService.SignHandover",
    commands.SetAccessKey: "DispatchService.SetAccessKey",
    money_commands.DisputeHour: "SettlementService.DisputeHour",
    money_commands.DecideDispute: "SettlementService.DecideDispute",
    money_commands.RegisterGrant: "EntitlementService.GrantCapacity",
    credit_commands.OpenCredits: "CreditService.OpenCredits",
    credit_commands.CloseCredits: "CreditService.CloseCredits",
    credit_commands.GrantCredits: "CreditService.GrantCredits",
    credit_commands.BidCredits: "CreditService.BidCredits",
    credit_commands.CancelCreditBid: "CreditService.CancelCreditBid",
}
"""Call of each command that a participant, meter or operator may send."""

_FILES: Final[dict[str, FileDescriptor]] = {
    "RegistryService": registry_service_pb2.DESCRIPTOR,
    "AuctionService": auction_service_pb2.DESCRIPTOR,
    "MarketService": market_service_pb2.DESCRIPTOR,
    "EntitlementService": entitlement_service_pb2.DESCRIPTOR,
    "MeteringService": metering_service_pb2.DESCRIPTOR,
    "DeliveryService": delivery_service_pb2.DESCRIPTOR,
    "DispatchService": dispatch_service_pb2.DESCRIPTOR,
    "SettlementService": settlement_service_pb2.DESCRIPTOR,
    "CreditService": credits_service_pb2.DESCRIPTOR,
    "SpotService": spot_service_pb2.DESCRIPTOR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """One unary call.

    Attributes:
        path: Full gRPC method path.
        request: Message class with ``request_id`` and ``envelope``.
        response: Message class with ``receipt``.
    """

    path: str
    request: Any
    response: Any


def rpc_of(command_type: type) -> Rpc:
    """Call that carries a command.

    Raises:
        ValueError: the command is one that only the exchange's own services sign.
    """
    name = CALLS.get(command_type)
    if name is None:
        message = f"{command_type.__name__} is not sent by participants"
        raise ValueError(message)
    service_name, _, method_name = name.partition(".")
    service = _FILES[service_name].services_by_name[service_name]
    method = service.methods_by_name[method_name]
    return Rpc(
        path=f"/{service.full_name}/{method.name}",
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
    )
