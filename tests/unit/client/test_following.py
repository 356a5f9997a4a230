"""Watches resume where they stopped, report nothing twice and end when nobody answers."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from iso_exchange.api.v1 import delivery_service_pb2, event_pb2
from iso_exchange.client import Client, Refused, Unavailable
from tests.unit.client.gateway import Gateway


def message(index: int, *event_ids: str) -> delivery_service_pb2.WatchEventsResponse:
    return delivery_service_pb2.WatchEventsResponse(
        events=[event_pb2.Event(event_id=name) for name in event_ids],
        entry_index=index if event_ids else -1,
        next_entry_index=index + 1,
        ledger_size=index + 1,
    )


async def test_a_watch_resumes_at_its_cursor_and_drops_what_it_reported(
    client: Client, gateway: Gateway
) -> None:
    @gateway.on("WatchEvents")
    async def answer(request: Any, context: Any) -> Any:
        if request.start_entry_index == 3:
            yield message(3, "a")
            yield message(5)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "shutdown")
        yield message(6, "a", "b")
        yield message(9, "c")

    seen = []
    async for update in client.watch(cursor=3):
        seen.append((update.cursor, [event.event_id for event in update.events]))
        if update.cursor == 10:
            break
    assert seen == [(4, ["a"]), (7, ["b"]), (10, ["c"])]
    assert [item.start_entry_index for item in gateway.requests("WatchEvents")] == [3, 6]


async def test_a_watch_ends_when_nobody_answers(client: Client, gateway: Gateway) -> None:
    @gateway.on("WatchEvents")
    async def answer(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        yield message(0)

    with pytest.raises(Unavailable, match="4 attempts: away"):
        await anext(client.watch())
    assert len(gateway.requests("WatchEvents")) == 4


async def test_a_watch_that_is_refused_says_so(client: Client, gateway: Gateway) -> None:
    @gateway.on("WatchEvents")
    async def answer(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
        yield message(0)

    with pytest.raises(Refused, match="who are you"):
        await anext(client.watch())
    assert len(gateway.requests("WatchEvents")) == 1
