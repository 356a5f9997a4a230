"""Reads: pages, limits, time, documents."""

from __future__ import annotations

import hashlib
from typing import Any

import grpc
import pytest

from clearing.units import UnixSeconds
from iso_exchange.api.v1 import (
    clock_service_pb2,
    ledger_pb2,
    ledger_service_pb2,
    participant_pb2,
    registry_service_pb2,
)
from iso_exchange.client import Client, ExchangeTime, Refused, UntrustedAnswer
from tests.unit.client.gateway import Gateway

NOW_US = 1_790_000_000_000_000


async def test_lists_follow_every_page(client: Client, gateway: Gateway) -> None:
    @gateway.on("ListParticipants")
    async def answer(request: Any, context: Any) -> Any:
        page = int(request.page_token or 0)
        return registry_service_pb2.ListParticipantsResponse(
            participants=[participant_pb2.ParticipantView(entry_index=page)],
            next_page_token=str(page + 1) if page < 2 else "",
        )

    got = await client.participants()
    assert [view.entry_index for view in got] == [0, 1, 2]
    assert [item.page_token for item in gateway.requests("ListParticipants")] == ["", "1", "2"]
    assert {item.page_size for item in gateway.requests("ListParticipants")} == {1_000}


async def test_a_limit_asks_for_no_more(client: Client, gateway: Gateway) -> None:
    @gateway.on("ListEntries")
    async def answer(request: Any, context: Any) -> Any:
        return ledger_service_pb2.ListEntriesResponse(
            entries=[ledger_pb2.Entry(entry_index=n) for n in range(request.page_size)],
            next_page_token="more",
        )

    got = await client.entries(limit=3)
    assert len(got) == 3
    assert [item.page_size for item in gateway.requests("ListEntries")] == [3]


async def test_time_is_told_and_moved(client: Client, gateway: Gateway) -> None:
    @gateway.on("AdvanceTime")
    async def answer(request: Any, context: Any) -> Any:
        return clock_service_pb2.AdvanceTimeResponse(current_time=request.target_time)

    assert await client.time() == ExchangeTime(now_us=NOW_US, simulated=True)
    moved = await client.advance_time(UnixSeconds(1_790_000_060))
    assert moved == 1_790_000_060_000_000


@pytest.mark.parametrize("tampered", [False, True])
async def test_a_document_is_put_together_and_checked(
    client: Client, gateway: Gateway, tampered: bool
) -> None:
    body = bytes(range(200)) * 10

    @gateway.on("GetDocument")
    async def answer(request: Any, context: Any) -> Any:
        piece = body[request.offset_bytes : request.offset_bytes + 700]
        return ledger_service_pb2.GetDocumentResponse(
            size_bytes=len(body), chunk=piece[::-1] if tampered else piece
        )

    digest = hashlib.sha256(body).digest()
    if tampered:
        with pytest.raises(UntrustedAnswer, match=digest.hex()):
            await client.document(digest)
    else:
        assert await client.document(digest) == body
    assert [item.offset_bytes for item in gateway.requests("GetDocument")] == [0, 700, 1400]


async def test_what_is_not_there_is_a_refusal(client: Client, gateway: Gateway) -> None:
    @gateway.on("GetEntry")
    async def answer(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.NOT_FOUND, "beyond the end")

    with pytest.raises(Refused) as caught:
        await client.entry(99)
    assert (caught.value.code, caught.value.advice) == ("NOT_FOUND", "beyond the end")
