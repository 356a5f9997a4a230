"""What a curious auditor, a greedy client and an idle market must not achieve."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from clearing.units import MicroUsd, MicroUsdPerChipHour, UnixSeconds
from iso_exchange.api.v1 import (
    auction_service_pb2,
    auction_service_pb2_grpc,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    settlement_service_pb2,
    settlement_service_pb2_grpc,
)
from iso_exchange.client import Client
from iso_exchange.commands import (
    Command,
    CreateAuction,
    OfferTerms,
    RecordDeposit,
    RegisterParticipant,
    RegisterSite,
    StepBidTerms,
    SubmitOrder,
)
from iso_exchange.gateway.interceptor import STREAMS_PER_CLIENT_MAX
from iso_exchange.sequencer.state import AuctionState
from iso_exchange.services.pages import page_of
from settlement.storage.memory import MemoryStore
from settlement.types import TransferCode
from tests.integration import market_day
from tests.integration.market import (
    COLLATERAL,
    FIRST,
    Market,
    bid,
    configuration,
    offer,
    open_market,
)
from tests.integration.market_day import MarketDay

HOLDS = {"p:buyer:cash", "pot:da-1:0"}


@pytest_asyncio.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_market(configuration(tmp_path), MemoryStore()) as opened:
        yield opened


# What the books tell others of an open order -------------------------------------------


async def test_an_open_order_is_not_read_from_the_books(market: Market) -> None:
    await market.supplier.send(offer())
    await market.buyer.send(bid())
    await market.buyer.send(bid("second", chips=8))
    own = await market.buyer.balance()
    assert own.available_micro_usd < COLLATERAL
    seen = await market.auditor.balance("buyer")
    assert seen.available_micro_usd == COLLATERAL
    assert {item.pending_debit for item in seen.balances} == {"0"}
    for account in HOLDS:
        assert await market.auditor.transfers(account=account) == ()
    assert len(await market.buyer.transfers(account="p:buyer:cash")) == 2

    await market.operator.advance_time(UnixSeconds(FIRST))
    for account in HOLDS:
        assert await market.auditor.transfers(account=account)
    now_own, now_seen = await market.buyer.balance(), await market.auditor.balance("buyer")
    assert now_seen.available_micro_usd == now_own.available_micro_usd < COLLATERAL


async def test_a_sealed_entry_does_not_say_what_it_is(market: Market) -> None:
    await market.supplier.send(offer())
    index = (await market.buyer.send(bid())).entry_index

    async def kinds(client: Client, *wanted: str) -> list[str]:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(client._channel)
        request = ledger_service_pb2.ListEntriesRequest(start_entry_index=index, kinds=wanted)
        return [entry.kind for entry in (await stub.ListEntries(request)).entries]

    assert (await kinds(market.buyer))[0] == "ORDER"
    for client in (market.operator, market.other, market.auditor):
        assert (await kinds(client))[0] == "COMMITMENT"
        assert await kinds(client, "ORDER") == []
    await market.operator.advance_time(UnixSeconds(FIRST))
    assert (await kinds(market.auditor))[0] == "ORDER"
    assert (await kinds(market.other))[0] == "COMMITMENT"


# Greedy clients ------------------------------------------------------------------------


async def test_one_client_cannot_take_every_stream(market: Market) -> None:
    def watch(client: Client) -> Any:
        stub = auction_service_pb2_grpc.AuctionServiceStub(client._channel)
        return stub.WatchAuctions(auction_service_pb2.WatchAuctionsRequest(start_entry_index=-1))

    held = [watch(market.other) for _ in range(STREAMS_PER_CLIENT_MAX)]
    await asyncio.gather(*(call.initial_metadata() for call in held))
    await asyncio.sleep(0.1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(aiter(watch(market.other)))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "TOO_MANY_STREAMS" in (refused.value.details() or "")
    neighbour = watch(market.buyer)
    await neighbour.initial_metadata()
    assert not neighbour.done()
    held[0].cancel()
    await asyncio.sleep(0.1)
    again = watch(market.other)
    await again.initial_metadata()
    await asyncio.sleep(0.1)
    assert not again.done()
    for call in (*held, neighbour, again):
        call.cancel()


@pytest.mark.parametrize("place", [(10**30, 0), (0, 10**30), (-1, 0), (0, 2**31)])
async def test_a_forged_page_token_is_the_clients_mistake(
    market: Market, place: tuple[int, int]
) -> None:
    request = settlement_service_pb2.ListTransfersRequest(account="p:buyer:collateral")
    text = json.dumps([page_of(request).digest, *place])
    request.page_token = urlsafe_b64encode(text.encode()).decode().rstrip("=")
    stub = settlement_service_pb2_grpc.SettlementServiceStub(market.buyer._channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListTransfers(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# Markets in which little happens -------------------------------------------------------


@pytest.mark.parametrize("side", ["nobody", "supply", "demand"])
async def test_a_one_sided_market_is_cleared_settled_and_stated(tmp_path: Path, side: str) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        by_id = {
            command.order_id: (signer, command)
            for signer, command in market_day.orders()
            if isinstance(command, SubmitOrder)
        }
        if side == "supply":
            assert isinstance(by_id["offer-a"][1].terms, OfferTerms)
            await day.send(*by_id["offer-a"])
        if side == "demand":
            assert isinstance(by_id["step-1"][1].terms, StepBidTerms)
            await day.send(*by_id["step-1"])
        await day.clear()
        await day.settle()
        auction = day.sequencer.state.auctions[market_day.AUCTION]
        assert auction.state is AuctionState.SETTLED
        assert auction.failures == []
        assert day.sequencer.state.contracts == {}
        assert auction.totals == {"site-a", "site-b"}
        assert not day.sequencer.state.books.open_holds()
        day.sequencer.state.books.check()


async def test_two_auctions_of_one_period_are_stated_once_and_whole(tmp_path: Path) -> None:
    """The second has no trades, so that it is settled first."""
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        first = next(
            command
            for command in market_day.registry(day.secrets)
            if isinstance(command, CreateAuction)
        )
        second = dataclasses.replace(
            first,
            header=market_day.header("operator", "auction/twin"),
            auction_id="twin",
            seed_commitment=day.secrets.seed_commitment("twin"),
        )
        await day.send("operator", second)
        await day.trade()
        await day.clear()
        state = day.sequencer.state
        assert state.auctions["twin"].book is not None
        assert not state.auctions["twin"].book.nominations
        await day.deliver()
        assert state.auctions["twin"].state is AuctionState.SETTLED
        assert state.auctions["twin"].statements == set()
        await day.settle()
        assert len(state.statements) == len(state.auctions[market_day.AUCTION].statements) > 0
        (period,) = {name.rpartition("/")[2] for name in state.statements}
        assert period == f"{market_day.FIRST}-{market_day.FIRST + 2 * market_day.HOUR}"
        left = [item.transfer.code for moved in state.activity.values() for item in moved]
        assert set(left) == {TransferCode.PAYOUT}
        state.books.check()


async def test_what_happens_later_is_no_matter_of_an_auction_that_is_settled(
    tmp_path: Path,
) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.run()
        state = day.sequencer.state
        auction = state.auctions[market_day.AUCTION]
        stated, totals = set(state.statements), set(auction.totals)
        await day.send("operator", *newcomers("late", day))
        await day.work()
        assert state.books.balance("p:late:collateral").posted == 1_000_000
        assert set(state.statements) == stated
        assert auction.totals == totals


def newcomers(name: str, day: MarketDay) -> Iterator[Command]:
    """A lab with its deposit, and a site."""
    lab = next(
        command
        for command in market_day.registry(day.secrets)
        if isinstance(command, RegisterParticipant) and command.participant_id == "lab-1"
    )
    yield dataclasses.replace(
        lab,
        header=market_day.header("operator", f"participant/{name}"),
        participant_id=name,
        public_key=market_day.key_of(name).public,
    )
    yield RecordDeposit(
        header=market_day.header("operator", f"deposit/{name}"),
        participant_id=name,
        amount=MicroUsd(1_000_000),
        bank_reference=f"wire-{name}",
    )
    yield RegisterSite(
        header=market_day.header("operator", "site/late"),
        site_id="site-late",
        community_id="town-a",
        surcharge=MicroUsdPerChipHour(0),
        power_limit=None,
        region="us-south",
        country="US",
    )
