"""Around every call: correlation id, logs, metrics, deadline, and one status for every failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from iso_exchange.gateway.streams import StreamLimit
from iso_exchange.observability import metrics
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.sequencer import StoppedError
from iso_exchange.services.access import NAMES_KEY
from iso_exchange.services.errors import Refused, log_refusal, status_of, trailers_of
from settlement.storage.store import StoreError

OWN_METHODS: Final = "/iso_exchange.api."
CORRELATION_KEY: Final = "x-request-id"
CORRELATION_LENGTH_MAX: Final = 64
STREAMS_PER_CLIENT_MAX: Final = 64

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any, Context], Awaitable[Any]]
Stream = Callable[[Any, Context], AsyncIterator[Any]]
Durable = Callable[[], Awaitable[None]]

log = structlog.get_logger("gateway")


class Unreadable:
    """Stands for a request whose bytes are no message of its type."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the exchange's own methods; health and reflection pass as they are."""

    def __init__(
        self, *, call_seconds_max: float, new_id: Callable[[], str], durable: Durable
    ) -> None:
        """Keep the limits.

        Args:
            call_seconds_max: Longest unary call, whatever deadline its client sets.
            new_id: Makes a correlation id where the client sent none.
            durable: Returns when everything that can be read now is committed: no answer may
                rest on what a crash would take back.
        """
        self._call_seconds_max = call_seconds_max
        self._new_id = new_id
        self._durable = durable
        self._streams = StreamLimit(STREAMS_PER_CLIENT_MAX)

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Replace a method's behaviour by the wrapped one."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OWN_METHODS):
            return handler  # type: ignore[no-any-return]
        name = handler_call_details.method.rsplit(".", 1)[-1]
        serializers = (_tolerant(handler.request_deserializer), handler.response_serializer)
        if handler.response_streaming:
            behaviour = handler.stream_stream or handler.unary_stream
            make: Any = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            streaming = self._streaming(name, behaviour, reads_stream=handler.request_streaming)
            return make(streaming, *serializers)  # type: ignore[no-any-return]
        behaviour = handler.stream_unary or handler.unary_unary
        make = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return make(self._unary(name, behaviour), *serializers)  # type: ignore[no-any-return]

    def _unary(self, name: str, behaviour: Unary) -> Unary:
        async def call(request: Any, context: Context) -> Any:  # noqa: ANN401 - any message
            started = time.monotonic()
            self._bind(name, context)
            try:
                _refuse_unreadable(request)
                async with asyncio.timeout(self._call_seconds_max):
                    try:
                        response = await behaviour(request, context)
                    except Refused:
                        await self._durable()
                        raise
                    await self._durable()
            except BaseException as error:
                await _fail(name, context, error)
                raise
            finally:
                metrics.request_seconds.labels(name).observe(time.monotonic() - started)
            metrics.requests.labels(name, grpc.StatusCode.OK.name).inc()
            return response

        return call

    def _streaming(self, name: str, behaviour: Stream, *, reads_stream: bool) -> Stream:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401
            self._bind(name, context)
            try:
                requests = _readable(request) if reads_stream else request
                _refuse_unreadable(requests)
                # A watch may have nothing to say for a while: its client learns that it is open.
                await context.send_initial_metadata(())
                names = context.auth_context().get(NAMES_KEY, ())
                with self._streams.held(names):
                    async for response in behaviour(requests, context):
                        await self._durable()
                        yield response
            except BaseException as error:
                await _fail(name, context, error)
                raise
            metrics.requests.labels(name, grpc.StatusCode.OK.name).inc()

        return call

    def _bind(self, name: str, context: Context) -> None:
        """Name the call in every log line of its task, and to the client in the trailers."""
        given = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }.get(CORRELATION_KEY, "")
        usable = 0 < len(given) <= CORRELATION_LENGTH_MAX and given.isprintable()
        correlation = given if usable else self._new_id()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(
            method=name, correlation_id=correlation, peer=context.peer()
        )
        context.set_trailing_metadata(((CORRELATION_KEY, correlation),))


async def _fail(name: str, context: Context, error: BaseException) -> None:
    """Log what was not logged yet, count it, and end the call; returns only to re-raise."""
    if isinstance(error, grpc.aio.AbortError):
        return
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        metrics.requests.labels(name, grpc.StatusCode.CANCELLED.name).inc()
        return
    status = _status(error)
    code = grpc.StatusCode[code_pb2.Code.Name(status.code)]
    metrics.requests.labels(name, code.name).inc()
    correlation = structlog.contextvars.get_contextvars().get("correlation_id", "")
    trailers = (*trailers_of(status), (CORRELATION_KEY, correlation))
    await context.abort(code, status.message, trailers)


def _status(error: BaseException) -> status_pb2.Status:
    if isinstance(error, Refused):
        if not error.logged:
            log_refusal(error.rejected)
        return status_of(error)
    if isinstance(error, TimeoutError):
        log.warning("deadline exceeded")
        return status_pb2.Status(
            code=code_pb2.DEADLINE_EXCEEDED,
            message="the exchange took too long: repeat the same request with the same id",
        )
    if isinstance(error, (StoppedError, StoreError)):
        log.error("unavailable", reason=str(error))
        return status_of(
            Refused(
                Rejected(
                    code=Code.UNAVAILABLE,
                    field="",
                    advice="no answer now: repeat the same request with the same request id",
                )
            )
        )
    log.error("unexpected error", exc_info=error)
    status = status_pb2.Status(
        code=code_pb2.INTERNAL,
        message=f"internal error: report it with the {CORRELATION_KEY} of the trailers",
    )
    detail = status.details.add()
    detail.Pack(error_details_pb2.ErrorInfo(reason="INTERNAL", domain="iso-exchange"))
    return status


def _refuse_unreadable(request: object) -> None:
    if isinstance(request, Unreadable):
        raise Refused(
            Rejected(
                code=Code.MALFORMED_BODY,
                field="",
                advice="the bytes are no request of this method: use the published .proto files",
            )
        )


async def _readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        _refuse_unreadable(request)
        yield request


def _tolerant(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Unreadable bytes are the caller's mistake; gRPC itself would call them ours."""

    def parse(data: bytes) -> Any:  # noqa: ANN401 - any message
        try:
            return read(data)
        except DecodeError:
            return Unreadable()

    return parse
