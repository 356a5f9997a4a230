"""Sending: the same bytes again, one verdict per command, batches, header and time."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from clearing.types import Cover, Eligibility, Interval, ServiceClass
from clearing.units import Chips, MicroUsdPerChipHour, Ppm, Seconds, UnixSeconds
from iso_exchange.api.v1 import market_service_pb2, metering_service_pb2, receipt_pb2
from iso_exchange.authority import command_of
from iso_exchange.client import (
    BLANK_HEADER,
    Client,
    Receipt,
    Refused,
    ServerFault,
    Unavailable,
)
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    CancelOrder,
    CloseAuction,
    SubmitOrder,
    SubmitReadings,
)
from iso_exchange.sequencer.refusals import Code
from iso_exchange.services import errors as server_errors
from settlement.ledger import envelope
from settlement.types import MeterBatch
from tests.unit.client.gateway import Gateway, receipt

NOW_S = 1_790_000_000


def cancellation(order_id: str) -> CancelOrder:
    return CancelOrder(header=BLANK_HEADER, order_id=order_id)


def order(order_id: str) -> SubmitOrder:
    terms = BlockBidTerms(
        conditions=BidConditions(
            where=Eligibility(pool_ids=("pool-1",)),
            service_class=ServiceClass.FIRM,
            cover=Cover.NODE,
        ),
        earliest_start=UnixSeconds(NOW_S - NOW_S % 3600 + 3600),
        latest_start=UnixSeconds(NOW_S - NOW_S % 3600 + 3600),
        duration_s=Seconds(3600),
        chips=Chips(8),
        limit_price=MicroUsdPerChipHour(3_100_000),
        min_fill_ppm=Ppm(1_000_000),
    )
    return SubmitOrder(
        header=BLANK_HEADER,
        order_id=order_id,
        auction_id="day-1",
        participant_id="lab-1",
        revision=1,
        terms=terms,
    )


async def test_a_call_without_an_answer_is_repeated_with_the_same_bytes(
    client: Client, gateway: Gateway
) -> None:
    @gateway.on("CancelOrder")
    async def answer(request: Any, context: Any) -> Any:
        if len(gateway.requests("CancelOrder")) < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        return market_service_pb2.CancelOrderResponse(receipt=receipt(7))

    got = await client.send(cancellation("o-1"))
    sent = gateway.requests("CancelOrder")
    assert len(sent) == 3
    assert {(item.request_id, item.envelope) for item in sent} == {(got.request_id, got.envelope)}
    assert (got.entry_index, got.salt) == (7, b"s" * 32)
    assert isinstance(got.response, market_service_pb2.CancelOrderResponse)
    assert len(gateway.delays) == 2
    assert 0.05 <= gateway.delays[0] <= 0.1 <= gateway.delays[1] <= 0.2


async def test_the_envelope_says_who_where_and_when(client: Client, gateway: Gateway) -> None:
    @gateway.on("CancelOrder")
    async def answer(request: Any, context: Any) -> Any:
        return market_service_pb2.CancelOrderResponse(receipt=receipt(7))

    got = await client.send(cancellation("o-1"))
    key = client.identity.signing_key
    envelope.verify(got.envelope, {key.key_id: key.public})
    command = command_of(got.envelope)
    assert isinstance(command, CancelOrder)
    header = command.header
    assert (header.origin, header.signer_id) == ("exchange.example/log", "lab-1")
    assert header.create_time == NOW_S
    assert header.request_id == got.request_id
    assert len(got.request_id) == 32


async def test_it_gives_up_after_the_attempts_allowed(client: Client, gateway: Gateway) -> None:
    @gateway.on("CancelOrder")
    async def answer(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "away")

    with pytest.raises(Unavailable, match="away") as caught:
        await client.send(cancellation("o-1"))
    assert caught.value.attempts == 4
    assert len(gateway.requests("CancelOrder")) == 4


async def test_a_refusal_is_raised_with_all_of_its_parts_and_not_repeated(
    client: Client, gateway: Gateway
) -> None:
    refusal = server_errors.refuse(
        Code.EXPOSURE_ABOVE_COLLATERAL, "limit_price", "deposit more", got="10", limit="5"
    )

    @gateway.on("SubmitOrder")
    async def answer(request: Any, context: Any) -> Any:
        status = server_errors.status_of(refusal)
        context.set_trailing_metadata(server_errors.trailers_of(status))
        await context.abort(refusal.status, status.message)

    with pytest.raises(Refused) as caught:
        await client.send(order("o-1"))
    error = caught.value
    assert (error.code, error.field, error.advice) == (
        "EXPOSURE_ABOVE_COLLATERAL",
        "limit_price",
        "deposit more",
    )
    assert (error.got, error.limit, error.status) == ("10", "5", "FAILED_PRECONDITION")
    assert len(gateway.requests("SubmitOrder")) == 1


async def test_a_refusal_under_an_unusual_status_is_still_a_refusal(
    client: Client, gateway: Gateway
) -> None:
    refusal = server_errors.refuse(Code.NOT_CLEARED_YET, "cover", "choose NODE")

    @gateway.on("SubmitOrder")
    async def answer(request: Any, context: Any) -> Any:
        context.set_trailing_metadata(server_errors.trailers_of(server_errors.status_of(refusal)))
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "later")

    with pytest.raises(Refused, match="NOT_CLEARED_YET"):
        await client.send(order("o-1"))


async def test_a_fault_of_the_exchange_is_not_a_refusal(client: Client, gateway: Gateway) -> None:
    @gateway.on("CancelOrder")
    async def answer(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.INTERNAL, "a bug")

    with pytest.raises(ServerFault, match="INTERNAL: a bug"):
        await client.send(cancellation("o-1"))


async def test_commands_of_the_exchange_itself_are_not_sent(client: Client) -> None:
    command = CloseAuction(
        header=BLANK_HEADER, auction_id="a", order_count=0, book_root="", book_commitment=""
    )
    with pytest.raises(ValueError, match="CloseAuction"):
        await client.send(command)


async def test_orders_travel_in_batches_and_only_items_without_a_verdict_again(
    client: Client, gateway: Gateway
) -> None:
    waiting = {"o-3"}

    @gateway.on("SubmitOrders")
    async def answer(request: Any, context: Any) -> Any:
        results = []
        for item in request.items:
            command = command_of(item.envelope)
            assert isinstance(command, SubmitOrder | CancelOrder)
            result = receipt_pb2.ItemResult(request_id=item.request_id)
            if command.order_id in waiting:
                waiting.discard(command.order_id)
                result.refusal.reason = "UNAVAILABLE"
            elif command.order_id == "o-5":
                result.refusal.MergeFrom(
                    receipt_pb2.Refusal(reason="GATE_CLOSED", field="auction_id", advice="later")
                )
            else:
                result.receipt.CopyFrom(receipt(int(command.order_id[2:])))
            results.append(result)
        return market_service_pb2.SubmitOrdersResponse(results=results)

    commands = [order(f"o-{number}") for number in range(120)]
    got = await client.send_many([*commands, cancellation("o-7")])
    assert [len(item.items) for item in gateway.requests("SubmitOrders")] == [100, 1, 21]
    refused = got[5]
    assert isinstance(refused, Refused)
    assert (refused.code, refused.field, refused.advice) == ("GATE_CLOSED", "auction_id", "later")
    indexes = [item.entry_index for item in got if isinstance(item, Receipt)]
    assert indexes == [number for number in range(120) if number != 5] + [7]


async def test_batches_may_be_in_flight_together(client: Client, gateway: Gateway) -> None:
    @gateway.on("SubmitOrders")
    async def answer(request: Any, context: Any) -> Any:
        results = [
            receipt_pb2.ItemResult(request_id=item.request_id, receipt=receipt(1))
            for item in request.items
        ]
        return market_service_pb2.SubmitOrdersResponse(results=results)

    got = await client.send_many([order(f"o-{n}") for n in range(250)], in_flight=3)
    assert len(got) == 250
    assert all(isinstance(item, Receipt) for item in got)


async def test_meter_batches_travel_over_the_stream(client: Client, gateway: Gateway) -> None:
    @gateway.on("StreamReadings")
    async def answer(requests: Any, context: Any) -> Any:
        async for request in requests:
            results = [
                receipt_pb2.ItemResult(request_id=item.request_id, receipt=receipt(number))
                for number, item in enumerate(request.items)
            ]
            yield metering_service_pb2.StreamReadingsResponse(results=results)

    interval = Interval(start=UnixSeconds(0), end=UnixSeconds(300))
    commands = [
        SubmitReadings(
            header=BLANK_HEADER,
            batch=MeterBatch(
                meter_id="lab-1", pool_id="p", interval=interval, sequence=number, readings=()
            ),
        )
        for number in (1, 2)
    ]
    got = await client.send_many(commands)
    assert [item.entry_index for item in got if isinstance(item, Receipt)] == [0, 1]
