"""The one place where a refusal becomes a gRPC status.

Every status carries ``google.rpc.ErrorInfo`` with the stable reason code, ``BadRequest`` with
the field when there is one, ``LocalizedMessage`` with the advice, and ``RetryInfo`` when the same
request may be sent again.
"""

from __future__ import annotations

from typing import Final

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from iso_exchange.convert.bodies import NOT_TAKEN_YET
from iso_exchange.convert.views import refusal_view
from iso_exchange.observability import metrics
from iso_exchange.sequencer.refusals import Code, Rejected

DOMAIN: Final = "iso-exchange"
RETRY_SECONDS: Final = 1
DETAILS_KEY: Final = "grpc-status-details-bin"
# Trailers share the client's header limit (8 KiB by default); a value is never more than evidence.
TEXT_LENGTH_MAX: Final = 500

log = structlog.get_logger("gateway")

STATUS: Final[dict[Code, grpc.StatusCode]] = {
    Code.MESSAGE_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.MALFORMED_ENVELOPE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.MALFORMED_BODY: grpc.StatusCode.INVALID_ARGUMENT,
    Code.REQUEST_ID_REQUIRED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.HEADER_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Code.WRONG_ORIGIN: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNKNOWN_PARTICIPANT: grpc.StatusCode.NOT_FOUND,
    Code.BAD_SIGNATURE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.KEY_REVOKED: grpc.StatusCode.UNAUTHENTICATED,
    Code.WRONG_ROLE: grpc.StatusCode.PERMISSION_DENIED,
    Code.REQUEST_CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    Code.SUSPENDED: grpc.StatusCode.FAILED_PRECONDITION,
    Code.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.NOT_OWNER: grpc.StatusCode.PERMISSION_DENIED,
    Code.INVALID_VALUE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNKNOWN_SITE: grpc.StatusCode.NOT_FOUND,
    Code.UNKNOWN_POOL: grpc.StatusCode.NOT_FOUND,
    Code.UNKNOWN_CHIP_CLASS: grpc.StatusCode.NOT_FOUND,
    Code.SITE_WITHOUT_SURCHARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNKNOWN_AUCTION: grpc.StatusCode.NOT_FOUND,
    Code.GATE_CLOSED: grpc.StatusCode.FAILED_PRECONDITION,
    Code.AUCTION_HALTED: grpc.StatusCode.FAILED_PRECONDITION,
    Code.WRONG_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Code.HAS_OPEN_CHILDREN: grpc.StatusCode.FAILED_PRECONDITION,
    Code.STALE_REVISION: grpc.StatusCode.FAILED_PRECONDITION,
    Code.WINDOW_IN_PAST: grpc.StatusCode.INVALID_ARGUMENT,
    Code.WINDOW_OUTSIDE_AUCTION: grpc.StatusCode.INVALID_ARGUMENT,
    Code.NOT_ON_INTERVAL_BOUNDARY: grpc.StatusCode.INVALID_ARGUMENT,
    Code.PRICE_OUTSIDE_LIMITS: grpc.StatusCode.INVALID_ARGUMENT,
    Code.PRICE_NOT_ON_TICK: grpc.StatusCode.INVALID_ARGUMENT,
    Code.NOT_NODE_MULTIPLE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.QUANTITY_ABOVE_CAPACITY: grpc.StatusCode.FAILED_PRECONDITION,
    Code.NO_ELIGIBLE_POOL: grpc.StatusCode.INVALID_ARGUMENT,
    Code.NOT_CLEARED_YET: grpc.StatusCode.UNIMPLEMENTED,
    Code.NEGATIVE_ENERGY_PRICE_NOT_SETTLED: grpc.StatusCode.UNIMPLEMENTED,
    Code.UNKNOWN_PARENT: grpc.StatusCode.NOT_FOUND,
    Code.NO_RUNNING_CONTRACT: grpc.StatusCode.FAILED_PRECONDITION,
    Code.NO_COVER_POSSIBLE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.BOOK_REFUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.EXPOSURE_ABOVE_COLLATERAL: grpc.StatusCode.FAILED_PRECONDITION,
    Code.POSTINGS_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Code.TOO_MANY_ORDERS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.TOO_MANY_STREAMS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
"""Status of each code; total over ``Code`` (checked by a test)."""


class Refused(Exception):  # noqa: N818 - an answer to the caller, not an error of ours
    """Ends a call with the status of a refusal.

    Attributes:
        rejected: What the caller is told.
        status: Usually that of the code.
        logged: Whether whoever made the refusal has logged it.
    """

    def __init__(
        self,
        rejected: Rejected,
        *,
        status: grpc.StatusCode | None = None,
        logged: bool = False,
    ) -> None:
        """Keep the parts."""
        super().__init__(f"{rejected.code.value}: {rejected.advice}")
        self.rejected = rejected
        self.status = status or STATUS[rejected.code]
        self.logged = logged


def refuse(
    code: Code,
    field: str,
    advice: str,
    *,
    got: str = "",
    limit: str = "",
    status: grpc.StatusCode | None = None,
) -> Refused:
    """A refusal made by the gateway itself, to be raised."""
    rejected = Rejected(code=code, field=field, advice=advice, got=got, limit=limit)
    return Refused(rejected, status=status)


def not_taken(noun: str) -> Refused:
    """Refusal of a method whose commands the market does not act on yet; UNIMPLEMENTED."""
    payload_type = f"application/vnd.iso-exchange.{noun}.v1+protobuf"
    return refuse(Code.NOT_CLEARED_YET, "", NOT_TAKEN_YET[payload_type], got=payload_type)


def log_refusal(rejected: Rejected, **names: str) -> None:
    """Log and count a refusal that the gateway made itself."""
    metrics.refusals.labels(rejected.code.value).inc()
    log.info("refused", code=rejected.code.value, field=rejected.field, **names)


def status_of(refused: Refused) -> status_pb2.Status:
    """Status message of a refusal, with its details."""
    rejected = refused.rejected
    information = error_details_pb2.ErrorInfo(
        reason=rejected.code.value,
        domain=DOMAIN,
        metadata={
            name: _short(value)
            for name, value in (
                ("field", rejected.field),
                ("got", rejected.got),
                ("limit", rejected.limit),
            )
            if value
        },
    )
    details = [_packed(information)]
    if rejected.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_short(rejected.field),
            description=_short(refusal_view(rejected).description or rejected.advice),
            reason=rejected.code.value,
        )
        details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    advice = error_details_pb2.LocalizedMessage(locale="en", message=_short(rejected.advice))
    details.append(_packed(advice))
    if rejected.code in (Code.UNAVAILABLE, Code.OVERLOADED):
        delay = duration_pb2.Duration(seconds=RETRY_SECONDS)
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(
        code=code_pb2.Code.Value(refused.status.name),
        message=_short(f"{rejected.code.value}: {rejected.advice}"),
        details=details,
    )


def trailers_of(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata that carries a status message."""
    return ((DETAILS_KEY, status.SerializeToString()),)


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH_MAX else f"{text[: TEXT_LENGTH_MAX - 1]}…"
