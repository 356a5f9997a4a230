"""A gateway in this process whose answers a test writes down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.timestamp_pb2 import Timestamp

from iso_exchange.api.v1 import (
    clock_service_pb2,
    delivery_service_pb2,
    ledger_service_pb2,
    market_service_pb2,
    metering_service_pb2,
    receipt_pb2,
    registry_service_pb2,
)

FILES = (
    clock_service_pb2,
    delivery_service_pb2,
    ledger_service_pb2,
    market_service_pb2,
    metering_service_pb2,
    registry_service_pb2,
)
NOW_US = 1_790_000_000_000_000
Handler = Callable[..., Any]


class Gateway:
    """Answers each method with the handler a test registers; records what it received."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {"GetTime": get_time}
        self.received: list[tuple[str, Any]] = []
        self.delays: list[float] = []
        self.target = ""

    def on(self, method: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.handlers[method] = handler
            return handler

        return register

    def requests(self, method: str) -> list[Any]:
        return [request for name, request in self.received if name == method]

    async def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)

    def unary(self, method: str) -> Callable[..., Awaitable[Any]]:
        async def handle(request: Any, context: Any) -> Any:
            self.received.append((method, request))
            return await self.handlers[method](request, context)

        return handle

    def stream(self, method: str) -> Callable[..., AsyncIterator[Any]]:
        async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
            self.received.append((method, request))
            async for answer in self.handlers[method](request, context):
                yield answer

        return handle


async def get_time(_: Any, __: Any) -> clock_service_pb2.GetTimeResponse:
    return clock_service_pb2.GetTimeResponse(
        current_time=timestamp_us(NOW_US), simulated=True, ledger_size=1
    )


def timestamp_us(micros: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(micros)
    return stamp


def receipt(entry_index: int, accept_time_us: int = NOW_US) -> receipt_pb2.Receipt:
    return receipt_pb2.Receipt(
        entry_index=entry_index,
        leaf_hash=bytes(32),
        accept_time=timestamp_us(accept_time_us),
        ledger_size=entry_index + 1,
        salt=b"s" * 32,
    )


def generic_handlers(gateway: Gateway) -> list[grpc.GenericRpcHandler]:
    built = []
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            methods = {}
            for method in service.methods:
                request = message_factory.GetMessageClass(method.input_type)
                response = message_factory.GetMessageClass(method.output_type)
                kind: Any = grpc.unary_unary_rpc_method_handler
                handle: Any = gateway.unary(method.name)
                if method.client_streaming:
                    kind, handle = (
                        grpc.stream_stream_rpc_method_handler,
                        gateway.stream(method.name),
                    )
                elif method.server_streaming:
                    kind, handle = (
                        grpc.unary_stream_rpc_method_handler,
                        gateway.stream(method.name),
                    )
                methods[method.name] = kind(
                    handle,
                    request_deserializer=request.FromString,
                    response_serializer=response.SerializeToString,
                )
            built.append(grpc.method_handlers_generic_handler(service.full_name, methods))
    return built
