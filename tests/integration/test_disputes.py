"""Disputes and grants over gRPC: freeze, decide, who sees them, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from clearing.types import Interval
from clearing.units import Chips, ChipSeconds, UnixSeconds
from iso_exchange.api.v1 import dispute_pb2, event_pb2
from iso_exchange.client import BLANK_HEADER, Refused
from iso_exchange.money_commands import (
    CounterReading,
    DecideDispute,
    DisputeHour,
    RegisterGrant,
)
from iso_exchange.sequencer.state import AuctionState
from settlement.ledger import accounts
from settlement.storage.memory import MemoryStore
from tests.integration.market import FIRST, Market, bid, configuration, offer, open_market

HOUR = 3_600


@pytest_asyncio.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_market(configuration(tmp_path), MemoryStore()) as opened:
        yield opened


async def settled(market: Market) -> str:
    """A contract of both hours, nothing of which was read."""
    await market.supplier.send(offer(chips=40))
    await market.buyer.send(bid())
    await market.operator.advance_time(UnixSeconds(FIRST + 2 * HOUR + 1_000))
    state = market.exchange._sequencer.state
    await until(market, lambda: state.auctions["da-1"].state is AuctionState.SETTLED)
    (contract,) = await market.buyer.contracts()
    return str(contract.contract_id)


async def until(market: Market, holds: Callable[[], bool]) -> None:
    """The services work on their own; wait for what they do."""
    changed = market.exchange._sequencer.changed
    async with asyncio.timeout(30), changed:
        await changed.wait_for(holds)


def dispute(contract_id: str, name: str = "d-1", hour: int = FIRST) -> DisputeHour:
    return DisputeHour(
        header=BLANK_HEADER,
        dispute_id=name,
        contract_id=contract_id,
        hour_start=UnixSeconds(hour),
        reason="nothing was there",
    )


async def test_a_dispute_freezes_and_a_decision_gives_back(market: Market) -> None:
    contract_id = await settled(market)
    books = market.exchange._sequencer.state.books
    before = books.balance(accounts.cash("supplier")).posted
    await market.buyer.send(dispute(contract_id))
    (found,) = await market.buyer.disputes()
    assert found.state == dispute_pb2.DISPUTE_STATE_OPEN
    # The whole hour at max(pi, g): 32 chips.
    assert found.frozen_micro_usd > 32 * 1_999_999
    held = accounts.dispute(contract_id)
    assert books.balance(held).posted == found.frozen_micro_usd
    assert books.balance(accounts.cash("supplier")).posted == before - found.frozen_micro_usd
    assert await market.supplier.disputes() == (found,)
    assert await market.operator.disputes() == (found,)
    assert await market.other.disputes() == ()
    decision = DecideDispute(
        header=BLANK_HEADER, dispute_id="d-1", upheld=False, reason="the meter was down for all"
    )
    await market.operator.send(decision)
    (decided,) = await market.supplier.disputes()
    assert decided.state == dispute_pb2.DISPUTE_STATE_DECIDED
    assert decided.decision.reason == decision.reason
    assert books.balance(held).posted == 0
    assert books.balance(accounts.cash("supplier")).posted == before
    async for update in market.buyer.watch(kinds=[event_pb2.EVENT_KIND_DISPUTE]):
        assert "d-1" in update.events[0].description
        break


@pytest.mark.parametrize(
    ("command", "signer", "reason"),
    [
        (dispute("no/such/contract/x"), "buyer", "NOT_FOUND"),
        (dispute("CONTRACT"), "other", "NOT_FOUND"),
        (dispute("CONTRACT", hour=FIRST + 7 * HOUR), "buyer", "WRONG_STATE"),
        (
            DecideDispute(header=BLANK_HEADER, dispute_id="none", upheld=True, reason="x"),
            "operator",
            "NOT_FOUND",
        ),
        (
            DecideDispute(header=BLANK_HEADER, dispute_id="none", upheld=True, reason="x"),
            "buyer",
            "WRONG_ROLE",
        ),
    ],
)
async def test_what_cannot_be_disputed_is_refused(
    market: Market, command: DisputeHour | DecideDispute, signer: str, reason: str
) -> None:
    contract_id = await settled(market)
    if isinstance(command, DisputeHour) and command.contract_id == "CONTRACT":
        command = replace(command, contract_id=contract_id)
    with pytest.raises(Refused) as refused:
        await getattr(market, signer).send(command)
    assert refused.value.code == reason


async def test_counter_readings_must_claim_something_of_whole_intervals(market: Market) -> None:
    contract_id = await settled(market)

    def reading(start: int, end: int) -> CounterReading:
        return CounterReading(
            node_id="n-1",
            interval=Interval(start=UnixSeconds(start), end=UnixSeconds(end)),
            healthy=ChipSeconds(1),
        )

    for rows in (
        (reading(FIRST, FIRST + 300),),  # more than the meter, which favours the supplier
        (reading(FIRST + 1, FIRST + 301),),
        (reading(FIRST, FIRST + 300), reading(FIRST, FIRST + 300)),
    ):
        with pytest.raises(Refused) as refused:
            await market.buyer.send(replace(dispute(contract_id), counter_readings=rows))
        assert refused.value.code == "INVALID_VALUE"
    # The supplier says that something was served: the buyer's money is frozen.
    await market.supplier.send(
        replace(dispute(contract_id), counter_readings=(reading(FIRST, FIRST + 300),))
    )
    (found,) = await market.supplier.disputes()
    assert found.frozen_micro_usd > 0
    await market.operator.send(
        DecideDispute(header=BLANK_HEADER, dispute_id="d-1", upheld=True, reason="it was")
    )
    await market.operator.advance_time(UnixSeconds(FIRST + 2 * HOUR + 2_000))
    auction = market.exchange._sequencer.state.auctions["da-1"]
    await until(market, lambda: not auction.due)
    assert len(auction.corrections[FIRST]) == 1


async def test_a_grant_is_public_and_free_for_its_beneficiary(market: Market) -> None:
    grant = RegisterGrant(
        header=BLANK_HEADER,
        grant_id="teaching",
        beneficiary_id="other",
        supplier_id="supplier",
        pool_id="plains-h100",
        period=Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + 2 * HOUR)),
        chips=Chips(8),
        purpose="courses",
    )
    with pytest.raises(Refused) as refused:
        await market.buyer.send(grant)
    assert refused.value.code == "WRONG_ROLE"
    await market.supplier.send(grant)
    assert [item.grant_id for item in await market.buyer.grants()] == ["teaching"]
    await settled(market)
    books = market.exchange._sequencer.state.books
    assert books.balance(accounts.cash("other")).posted == 0
    contracts = await market.other.contracts()
    assert [item.supplier_id for item in contracts] == ["supplier"]
