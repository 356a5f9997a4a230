"""The services over a real socket: who sees what, pages, watches, proofs, clock."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clearing.units import UnixSeconds
from iso_exchange.api.v1 import (
    auction_pb2,
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    event_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    market_service_pb2,
    market_service_pb2_grpc,
    order_pb2,
    receipt_pb2,
    registry_service_pb2,
    registry_service_pb2_grpc,
)
from iso_exchange.client import BLANK_HEADER, Client, Refused
from iso_exchange.commands import CancelOrder
from iso_exchange.server import Exchange
from settlement.ledger import merkle, proofs
from settlement.ledger.checkpoint import open_checkpoint
from settlement.ledger.keys import parse_vkey
from settlement.storage.memory import MemoryStore
from tests.integration.market import (
    COLLATERAL,
    FIRST,
    Market,
    bid,
    configuration,
    offer,
    open_market,
)


@pytest_asyncio.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_market(configuration(tmp_path), MemoryStore()) as opened:
        yield opened


def reason_of(error: grpc.aio.AioRpcError) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            information = error_details_pb2.ErrorInfo()
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(information):
                    return str(information.reason)
    return ""


async def settle_market(market: Market) -> None:
    await market.supplier.send(offer())
    await market.buyer.send(bid())
    await market.operator.advance_time(UnixSeconds(FIRST))


async def test_an_open_order_is_shown_to_its_owner_only(market: Market) -> None:
    await market.buyer.send(bid())
    assert (await market.buyer.order("bid-1")).state == order_pb2.ORDER_STATE_OPEN
    for client in (market.operator, market.other, market.auditor, market.supplier):
        with pytest.raises(Refused) as refused:
            await client.order("bid-1")
        assert refused.value.code == "NOT_FOUND"
        assert await client.orders() == ()


async def test_an_opening_is_for_the_owner_and_after_publication_for_auditors(
    market: Market,
) -> None:
    await market.supplier.send(offer())
    receipt = await market.buyer.send(bid())

    async def entry(client: Client) -> ledger_service_pb2.GetEntryResponse:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(client._channel)
        request = ledger_service_pb2.GetEntryRequest(entry_index=receipt.entry_index)
        return await stub.GetEntry(request)

    own = (await entry(market.buyer)).entry
    assert own.opening_envelope == receipt.envelope
    assert own.leaf == proofs.commitment_leaf(proofs.commit(own.opening_salt, receipt.envelope))
    for client in (market.operator, market.other, market.auditor):
        assert (await entry(client)).entry.opening_envelope == b""
    await market.operator.advance_time(UnixSeconds(FIRST))
    assert (await entry(market.auditor)).entry.opening_envelope == receipt.envelope
    assert (await entry(market.operator)).entry.opening_envelope == b""


async def test_a_cleared_auction_reaches_everybody_and_each_owner(market: Market) -> None:
    await settle_market(market)
    shown = await market.other.auction("da-1")
    assert shown.state == auction_pb2.AUCTION_STATE_PUBLISHED
    assert shown.result.order_count == 2
    prices = await market.other.prices("da-1")
    assert [price.energy_micro_usd_per_chip_hour for price in prices] == [2_000_000, 2_000_000]
    assert len(await market.other.curves("da-1")) == 2
    assert (await market.buyer.order("bid-1")).state == order_pb2.ORDER_STATE_FILLED
    (contract,) = await market.buyer.contracts()
    assert (contract.order_id, contract.supplier_order_id) == ("bid-1", "")
    (sold,) = await market.supplier.contracts()
    assert (sold.order_id, sold.supplier_order_id) == ("", "offer-1")
    assert await market.other.contracts() == ()
    assert len(await market.auditor.contracts()) == 1


async def test_a_rejected_order_is_told_how_far_it_missed(market: Market) -> None:
    await market.supplier.send(offer(price=3_000_000))
    await market.buyer.send(bid(price=2_000_000))
    before = await market.buyer.explain_order("bid-1")
    assert "open" in before.explanation
    await market.operator.advance_time(UnixSeconds(FIRST))
    answer = await market.buyer.explain_order("bid-1")
    assert answer.order.outcome.reason == order_pb2.REASON_CODE_OUT_OF_THE_MONEY
    missed = answer.order.outcome.shortfall_micro_usd_per_chip_hour
    assert missed > 0
    (explained,) = answer.pools
    assert explained.price_micro_usd_per_chip_hour == 2_000_000 + missed
    assert explained.shortfall_micro_usd_per_chip_hour == missed


async def test_books_are_shown_to_their_party_and_to_auditors(market: Market) -> None:
    balance = await market.buyer.balance()
    assert balance.available_micro_usd == COLLATERAL
    assert (await market.auditor.balance("buyer")).available_micro_usd == COLLATERAL
    for client in (market.operator, market.other):
        with pytest.raises(Refused) as refused:
            await client.balance("buyer")
        assert (refused.value.code, refused.value.status) == ("WRONG_ROLE", "PERMISSION_DENIED")
    (moved,) = await market.buyer.transfers()
    assert moved.amount == str(COLLATERAL)
    with pytest.raises(Refused) as foreign:
        await market.other.transfers(account="p:buyer:cash")
    assert foreign.value.code == "NOT_OWNER"


async def test_preview_changes_nothing_and_says_what_an_order_would_cost(market: Market) -> None:
    size = market.exchange.sequencer.size
    accepted = await market.buyer.preview(bid())
    assert accepted.worst_case_micro_usd == 4 * 32 * 2 * 1_000_000
    assert accepted.surcharge_micro_usd == 32 * 2 * 500_000
    assert accepted.operator_fee_micro_usd == 32 * 2 * 10_000
    assert accepted.collateral_after_micro_usd == COLLATERAL - accepted.worst_case_micro_usd
    assert [item.pool_id for item in accepted.eligible_pools] == ["plains-h100"]
    assert not accepted.refusals
    refused = await market.buyer.preview(bid(price=90_000_000, chips=64))
    assert [item.reason for item in refused.refusals] == ["EXPOSURE_ABOVE_COLLATERAL"]
    assert refused.collateral_after_micro_usd < 0
    assert market.exchange.sequencer.size == size


async def test_amend_and_cancel_until_gate_closure(market: Market) -> None:
    await market.buyer.send(bid())
    await market.buyer.send(bid(price=3_000_000, revision=2))
    await market.buyer.send(CancelOrder(header=BLANK_HEADER, order_id="bid-1"))
    view = await market.buyer.order("bid-1")
    assert (view.order.revision, view.state) == (2, order_pb2.ORDER_STATE_CANCELLED)
    assert (await market.buyer.balance()).available_micro_usd == COLLATERAL


async def test_pages_fit_together_and_a_foreign_token_is_refused(market: Market) -> None:
    stub = registry_service_pb2_grpc.RegistryServiceStub(market.other._channel)
    request = registry_service_pb2.ListParticipantsRequest(page_size=3)
    names: list[str] = []
    while True:
        page = await stub.ListParticipants(request)
        assert len(page.participants) <= 3
        assert page.ledger_size == market.exchange.sequencer.size
        names += [item.participant.participant_id for item in page.participants]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert names == sorted(names)
    assert len(names) == 7
    for bad in (
        registry_service_pb2.ListSitesRequest(page_token=request.page_token),
        registry_service_pb2.ListSitesRequest(page_token="%%%"),
        registry_service_pb2.ListSitesRequest(page_size=-1),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListSites(bad)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason_of(refused.value) == "INVALID_VALUE"


async def test_watches_resume_from_a_cursor(market: Market) -> None:
    await settle_market(market)
    async with asyncio.timeout(10):
        first = await anext(market.buyer.watch())
        kinds = [event.kind for event in first.events]
        assert kinds == [event_pb2.EVENT_KIND_AWARD, event_pb2.EVENT_KIND_CONTRACT_STATE]
        states = []
        async for change in market.other.watch_auctions():
            states.append(change.auction.state)
            if change.auction.state == auction_pb2.AUCTION_STATE_PUBLISHED:
                break
    assert states == [
        auction_pb2.AUCTION_STATE_OPEN,
        auction_pb2.AUCTION_STATE_CLOSED,
        auction_pb2.AUCTION_STATE_CLEARED,
        auction_pb2.AUCTION_STATE_PUBLISHED,
    ]
    resumed = market.other.watch_auctions(cursor=change.cursor)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await anext(resumed)


async def test_proofs_verify_against_the_signed_checkpoint(market: Market) -> None:
    receipt = await market.buyer.send(bid())
    stub = ledger_service_pb2_grpc.LedgerServiceStub(market.buyer._channel)
    watch = stub.WatchCheckpoints(
        ledger_service_pb2.WatchCheckpointsRequest(min_tree_size=receipt.entry_index + 1)
    )
    async with asyncio.timeout(10):
        checkpoint = (await anext(aiter(watch))).checkpoint
    watch.cancel()
    opened = open_checkpoint(checkpoint.note, parse_vkey(market.exchange.log_vkey)).checkpoint
    proof = await stub.GetInclusionProof(
        ledger_service_pb2.GetInclusionProofRequest(
            entry_index=receipt.entry_index, tree_size=opened.size
        )
    )
    merkle.verify_inclusion(
        leaf=receipt.leaf_hash,
        index=receipt.entry_index,
        size=opened.size,
        proof=tuple(proof.hashes),
        root=opened.root,
    )
    assert proof.leaf_hash == receipt.leaf_hash
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetInclusionProof(ledger_service_pb2.GetInclusionProofRequest(entry_index=10**6))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_is_not_taken_says_so_and_where_to_go(market: Market) -> None:
    stub = delivery_service_pb2_grpc.DeliveryServiceStub(market.buyer._channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.AcknowledgeInstruction(
            delivery_service_pb2.AcknowledgeInstructionRequest(request_id="r")
        )
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason_of(refused.value) == "NOT_CLEARED_YET"


async def test_a_method_takes_only_its_own_envelopes(market: Market) -> None:
    sealed = await market.buyer.prepare(bid())
    stub = market_service_pb2_grpc.MarketServiceStub(market.buyer._channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.CancelOrder(
            market_service_pb2.CancelOrderRequest(
                request_id=sealed.request_id, envelope=sealed.envelope
            )
        )
    assert reason_of(refused.value) == "MALFORMED_ENVELOPE"
    with pytest.raises(grpc.aio.AioRpcError) as mismatch:
        await stub.SubmitOrder(
            market_service_pb2.SubmitOrderRequest(request_id="other", envelope=sealed.envelope)
        )
    assert reason_of(mismatch.value) == "HEADER_MISMATCH"
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await stub.SubmitOrder(market_service_pb2.SubmitOrderRequest(envelope=sealed.envelope))
    assert reason_of(missing.value) == "REQUEST_ID_REQUIRED"


async def test_only_the_operator_moves_the_clock_and_never_back(market: Market) -> None:
    with pytest.raises(Refused) as refused:
        await market.buyer.advance_time(UnixSeconds(FIRST))
    assert refused.value.code == "WRONG_ROLE"
    assert await market.operator.advance_time(UnixSeconds(FIRST)) == FIRST * 1_000_000
    with pytest.raises(Refused) as past:
        await market.operator.advance_time(UnixSeconds(FIRST - 1))
    assert past.value.code == "INVALID_VALUE"


async def test_a_real_clock_cannot_be_moved(tmp_path: Path) -> None:
    config = dataclasses.replace(configuration(tmp_path), simulated_start_us=None)
    async with Exchange(config, store=MemoryStore()) as exchange:
        directory = exchange.identity_directory("operator")
        async with Client.from_directory(directory) as operator:
            with pytest.raises(Refused) as refused:
                await operator.advance_time(UnixSeconds(FIRST * 2))
    assert refused.value.status == "FAILED_PRECONDITION"


async def test_unreadable_bytes_are_the_callers_mistake(market: Market) -> None:
    call = market.buyer._channel.unary_unary(
        "/iso_exchange.api.v1.MarketService/SubmitOrder",
        request_serializer=lambda data: data,
        response_deserializer=lambda data: data,
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"\xff\xff\xff")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refused.value) == "MALFORMED_BODY"


async def test_a_client_without_certificate_is_not_connected(market: Market) -> None:
    credentials = grpc.ssl_channel_credentials(root_certificates=market.buyer.identity.ca_pem)
    async with grpc.aio.secure_channel(market.exchange.target, credentials) as channel:
        stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListSites(registry_service_pb2.ListSitesRequest(), timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_health_says_serving(market: Market) -> None:
    stub = health_pb2_grpc.HealthStub(market.buyer._channel)
    answer = await stub.Check(
        health_pb2.HealthCheckRequest(service="iso_exchange.api.v1.MarketService")
    )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_stream_answers_each_request_in_order(market: Market) -> None:
    sealed = [await market.buyer.prepare(bid(f"bid-{number}", chips=8)) for number in range(3)]
    cancellation = await market.buyer.prepare(CancelOrder(header=BLANK_HEADER, order_id="bid-0"))

    async def requests() -> AsyncIterator[market_service_pb2.StreamOrdersRequest]:
        for batch in (sealed, [cancellation], []):
            yield market_service_pb2.StreamOrdersRequest(
                items=[
                    receipt_pb2.SignedItem(request_id=item.request_id, envelope=item.envelope)
                    for item in batch
                ]
            )

    stub = market_service_pb2_grpc.MarketServiceStub(market.buyer._channel)
    answered = []
    call = aiter(stub.StreamOrders(requests()))
    for _ in range(2):
        response = await anext(call)
        answered.append([result.HasField("receipt") for result in response.results])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(call)
    assert answered == [[True, True, True], [True]]
    assert reason_of(refused.value) == "INVALID_VALUE"
    states = {view.order.order_id: view.state for view in await market.buyer.orders()}
    assert states["bid-0"] == order_pb2.ORDER_STATE_CANCELLED
    assert states["bid-2"] == order_pb2.ORDER_STATE_OPEN
