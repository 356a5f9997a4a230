from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.services.errors import STATUS, Refused, not_taken, refuse, status_of


def test_every_code_has_one_status() -> None:
    assert set(STATUS) == set(Code)
    assert grpc.StatusCode.OK not in STATUS.values()
    assert grpc.StatusCode.INTERNAL not in STATUS.values()


@pytest.mark.parametrize("code", Code)
def test_a_status_carries_code_field_and_advice(code: Code) -> None:
    rejected = Rejected(code=code, field="order.chips", advice="do this", got="7", limit="8")
    status = status_of(Refused(rejected))
    information = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    advice = error_details_pb2.LocalizedMessage()
    assert status.details[0].Unpack(information)
    assert status.details[1].Unpack(request)
    assert status.details[2].Unpack(advice)
    assert (information.reason, information.domain) == (code.value, "iso-exchange")
    assert dict(information.metadata) == {"field": "order.chips", "got": "7", "limit": "8"}
    assert request.field_violations[0].field == "order.chips"
    assert request.field_violations[0].description == "got 7, expected 8"
    assert advice.message == "do this"


def test_a_refusal_of_the_whole_request_names_no_field() -> None:
    status = status_of(refuse(Code.UNAVAILABLE, "", "again"))
    retry = error_details_pb2.RetryInfo()
    assert len(status.details) == 3
    assert status.details[2].Unpack(retry)
    assert retry.retry_delay.seconds == 1


def test_long_evidence_does_not_overflow_the_trailers() -> None:
    status = status_of(refuse(Code.INVALID_VALUE, "x", "short", got="y" * 100_000))
    assert len(status.SerializeToString()) < 8_192


def test_what_is_not_taken_is_unimplemented() -> None:
    refused = not_taken("acknowledgement")
    assert refused.status is grpc.StatusCode.UNIMPLEMENTED
    assert refused.rejected.advice
