"""What can go wrong between a program and the exchange, as typed exceptions.

A refusal is a verdict: repeating the request gives the same one. ``Unavailable`` is none:
the outcome is unknown, and the same envelope may be sent again at any time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from iso_exchange.api.v1 import receipt_pb2

_DOMAIN: Final = "iso-exchange"
_DETAILS_KEY: Final = "grpc-status-details-bin"


class ClientError(Exception):
    """Base of everything this package raises on purpose."""


class Refused(ClientError):  # noqa: N818 - a verdict of the exchange, not a fault
    """The exchange said no, and nothing was changed.

    Attributes:
        code: Stable reason code (``iso_exchange.sequencer.refusals.Code``), or the name of
            the gRPC status where the answer carries none.
        field: Path of the field concerned, empty for the whole request.
        advice: What to do next, one sentence.
        got: What was sent, as text, empty where that says nothing.
        limit: What would have been accepted, as text, empty where that says nothing.
        status: Name of the gRPC status, empty for one item of a batch.
    """

    def __init__(
        self,
        code: str,
        *,
        field: str = "",
        advice: str = "",
        got: str = "",
        limit: str = "",
        status: str = "",
    ) -> None:
        """Keep the parts; all of them are ``args``, so that the error survives pickling."""
        super().__init__(code, field, advice, got, limit, status)
        self.code = code
        self.field = field
        self.advice = advice
        self.got = got
        self.limit = limit
        self.status = status

    def __str__(self) -> str:
        """Code, field, advice, and what was sent, in one line."""
        parts = [self.code, self.field, self.advice]
        if self.got:
            parts.append(f"got {self.got}")
        if self.limit:
            parts.append(f"limit {self.limit}")
        return ": ".join(part for part in parts if part)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the parts."""
        return (_refused, (self.args,))


class Unavailable(ClientError):  # noqa: N818 - the exchange is, not this program
    """No answer within the attempts allowed; whether the request was done is unknown.

    Attributes:
        attempts: How often it was sent, always with the same bytes.
    """

    def __init__(self, detail: str, *, attempts: int) -> None:
        """Keep the last status as text."""
        super().__init__(f"no answer after {attempts} attempts: {detail}")
        self.attempts = attempts


class ServerFault(ClientError):  # noqa: N818 - named after whose fault it is
    """The exchange failed in a way that is neither a verdict nor worth a retry."""


class UntrustedAnswer(ClientError):  # noqa: N818 - named after what must not be believed
    """An answer that does not verify: a digest, signature or proof is wrong."""


class IdentityError(ClientError):
    """An identity directory that cannot be used; the message names the file."""


_VERDICTS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


def from_call(error: grpc.aio.AioRpcError) -> ClientError:
    """Typed error of a call that ended with a status and is not retried."""
    if error.code() in _VERDICTS or _reason(error):
        return _verdict(error)
    return ServerFault(f"{error.code().name}: {error.details() or 'no details'}")


def from_item(refusal: receipt_pb2.Refusal) -> Refused:
    """Typed error of one refused item of a batch."""
    found = "" if refusal.description == refusal.advice else refusal.description
    return Refused(
        refusal.reason,
        field=refusal.field,
        advice=refusal.advice,
        got=found.removeprefix("got "),
    )


def retry_delay_s(error: grpc.aio.AioRpcError) -> float | None:
    """Delay the exchange asks for before the next attempt, seconds; None when it names none."""
    for detail in _details(error):
        info = error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            delay: timedelta = info.retry_delay.ToTimedelta()
            return delay.total_seconds()
    return None


def _reason(error: grpc.aio.AioRpcError) -> str:
    """Reason code of the exchange, empty when the status comes from somewhere else."""
    info = error_details_pb2.ErrorInfo()
    for detail in _details(error):
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == _DOMAIN:
            return str(info.reason)
    return ""


def _verdict(error: grpc.aio.AioRpcError) -> Refused:
    code, field, advice, got, limit = error.code().name, "", "", "", ""
    for detail in _details(error):
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        message = error_details_pb2.LocalizedMessage()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            code = info.reason or code
            field = info.metadata.get("field", field)
            got, limit = info.metadata.get("got", got), info.metadata.get("limit", limit)
            advice = info.metadata.get("advice", advice)
        elif detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad) and bad.field_violations:
            field = field or bad.field_violations[0].field
            advice = advice or bad.field_violations[0].description
        elif detail.Is(message.DESCRIPTOR) and detail.Unpack(message):
            advice = message.message or advice
    return Refused(
        code,
        field=field,
        advice=advice or error.details() or "",
        got=got,
        limit=limit,
        status=error.code().name,
    )


def _details(error: grpc.aio.AioRpcError) -> tuple[Any, ...]:
    """Messages in ``google.rpc.Status``, which travels in the trailers."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return tuple(status_pb2.Status.FromString(value).details)
            except DecodeError:
                return ()  # a proxy's bytes; the status itself still says enough
    return ()


def _refused(parts: tuple[str, str, str, str, str, str]) -> Refused:
    code, field, advice, got, limit, status = parts
    return Refused(code, field=field, advice=advice, got=got, limit=limit, status=status)
