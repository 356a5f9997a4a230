"""Header of a signed body.

Origin and request id may be empty here: the refusals of those have codes of their own
(``WRONG_ORIGIN``, ``REQUEST_ID_REQUIRED``), given by ``iso_exchange.authority``.
"""

from __future__ import annotations

from iso_exchange.api.v1 import header_pb2
from iso_exchange.commands import Header
from iso_exchange.convert.fields import REFERENCE_LENGTH_MAX, Reader, timestamp


def read_header(body: Reader) -> Header:
    """The field ``header`` of a body."""
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
