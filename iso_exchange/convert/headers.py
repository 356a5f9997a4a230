"""Header of a signed body.

Origin and request id may be empty here: the refusals of those have codes of their own
(``WRONG_ORIGIN``, ``REQUEST_ID_REQUIRED``), given by ``iso_exchange.authority``.
"""

from __future__ import annotations

from typing import Final

from clearing.units import UnixSeconds
from iso_exchange.api.v1 import header_pb2
from iso_exchange.commands import Header
from iso_exchange.convert.fields import INSTANT_MAX, REFERENCE_LENGTH_MAX, Reader, timestamp

_IS_ALL: Final = {field.name for field in header_pb2.Header.DESCRIPTOR.fields} == {
    "origin",
    "signer_id",
    "request_id",
    "create_time",
}
"""Whether the fields that are read directly are all that a header can have."""


def read_header(body: Reader) -> Header:
    """The field ``header`` of a body."""
    message = body.plain("header") if _IS_ALL else None
    if message is not None:
        origin, signer, request = message.origin, message.signer_id, message.request_id
        time = message.create_time
        if (
            len(origin) <= REFERENCE_LENGTH_MAX
            and 0 < len(signer) <= REFERENCE_LENGTH_MAX
            and len(request) <= REFERENCE_LENGTH_MAX
            and (origin + signer + request).isprintable()
            and message.HasField("create_time")
            and time.nanos == 0
            and 0 <= time.seconds <= INSTANT_MAX
        ):
            return Header(
                origin=origin,
                signer_id=signer,
                request_id=request,
                create_time=UnixSeconds(time.seconds),
            )
    # Something is wrong with it, or unusual: field by field, to the first fault.
    header = body.child("header")
    return Header(
        origin=header.text("origin", longest=REFERENCE_LENGTH_MAX, shortest=0),
        signer_id=header.reference("signer_id"),
        request_id=header.text("request_id", longest=REFERENCE_LENGTH_MAX, shortest=0),
        create_time=header.instant("create_time"),
    )


def write_header(header: Header) -> header_pb2.Header:
    """Header as the wire has it."""
    return header_pb2.Header(
        origin=header.origin,
        signer_id=header.signer_id,
        request_id=header.request_id,
        create_time=timestamp(header.create_time),
    )
