"""A strip over real gRPC: sold once, netted into the day ahead, settled by the hour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsd, Seconds, UnixSeconds
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.report import Result
from iso_exchange.client import BLANK_HEADER, Client, Refused, load_identity
from iso_exchange.commands import (
    OfferTerms,
    RegisterMeter,
    StepBidTerms,
    SubmitOrder,
    SubmitReadings,
    TimedSegment,
)
from iso_exchange.sequencer.state import State
from iso_exchange.sequencer.strips import delivery_intervals
from settlement.ledger import accounts
from settlement.types import MeterBatch, Reading
from tests.integration.market import (
    CLOSE,
    FIRST,
    Market,
    auction,
    bid,
    client_of,
    configuration,
    deposit,
    offer,
    open_market,
    segment,
)
from tests.integration.test_spot import checked, until

POOL = "plains-h100"
CELL = 300
HOURS = 25
"""The shortest strip: longer than a day."""


def wanted(segments: tuple[TimedSegment, ...]) -> SubmitOrder:
    found = bid("buy-strip")
    assert isinstance(found.terms, StepBidTerms)
    return replace(found, auction_id="strip", terms=replace(found.terms, segments=segments))


async def trade(market: Market) -> None:
    """Sixteen chips for 25 hours for at most 3.00, and a day ahead in what is left of the pool."""
    directory = market.exchange.issue_identity("meter")
    await market.operator.send(
        RegisterMeter(
            header=BLANK_HEADER,
            meter_id="meter",
            pool_id=POOL,
            public_key=load_identity(directory).signing_key.public,
        )
    )
    money = replace(deposit("buyer", "wire-strip"), amount=MicroUsd(4_000_000_000))
    await market.operator.send(money)
    await market.operator.send(replace(money, participant_id="supplier", bank_reference="wire-2"))
    await market.operator.send(
        replace(
            await auction(market.operator, "strip"),
            product="FORWARD",
            close_time=UnixSeconds(CLOSE - 600),
            interval_seconds=Seconds(HOURS * 3_600),
            interval_count=1,
        )
    )
    part = (segment(3_000_000, 16),)
    with pytest.raises(Refused) as refused:
        await market.buyer.send(wanted(part))
    assert refused.value.code == "NOT_ON_INTERVAL_BOUNDARY"
    sale = replace(
        offer("sell-strip"),
        auction_id="strip",
        terms=OfferTerms(pool_id=POOL, segments=(segment(2_000_000, 32, hours=HOURS),)),
    )
    await market.supplier.send(sale)
    await market.buyer.send(wanted((segment(3_000_000, 16, hours=HOURS),)))
    await market.operator.advance_time(UnixSeconds(CLOSE - 300))
    await until(
        lambda: (
            "strip"
            in {item.auction_id for item in market.exchange.sequencer.state.contracts.values()}
        )
    )
    # Sold with a spare node: 64 less 16 less 8 are left for the day ahead.
    with pytest.raises(Refused) as full:
        await market.supplier.send(offer(chips=48))
    assert full.value.code == "QUANTITY_ABOVE_CAPACITY"
    await market.supplier.send(offer(chips=40))
    await market.buyer.send(bid(chips=8))


def readings(state: State, hour: int) -> Iterator[SubmitReadings]:
    """Everything healthy in an hour of the strip."""
    begin = FIRST + hour * 3_600
    for start in range(begin, begin + 3_600, CELL):
        rows = tuple(
            Reading(
                contract_id=contract.contract_id,
                node_id=f"{contract.order_id}-{node}",
                healthy=ChipSeconds(8 * CELL),
            )
            for contract in state.contracts.values()
            for part in contract.hours
            if part.interval.start <= start < part.interval.end
            for node in range(part.chips // 8)
        )
        yield SubmitReadings(
            header=BLANK_HEADER,
            batch=MeterBatch(
                meter_id="meter",
                pool_id=POOL,
                interval=Interval(start=UnixSeconds(start), end=UnixSeconds(start + CELL)),
                sequence=start // CELL,
                readings=rows,
            ),
        )


def _settled(state: State, hours: int) -> bool:
    return len(state.auctions["strip"].settled) == hours


async def deliver(market: Market, meter: Client) -> None:
    state = market.exchange.sequencer.state
    await market.operator.advance_time(UnixSeconds(FIRST))
    for hour in range(HOURS):
        await market.operator.advance_time(UnixSeconds(FIRST + (hour + 1) * 3_600))
        for command in readings(state, hour):
            await meter.send(command)
        done = partial(_settled, state, hour + 1)
        await until(done)


async def test_a_strip_is_sold_once_and_settled_by_the_hour(
    tmp_path: Path, database_url: str
) -> None:
    async with open_market(configuration(tmp_path / "data", database_url)) as market:
        await trade(market)
        async with client_of(market.exchange.identity_directory("meter")) as meter:
            await deliver(market, meter)
        state = market.exchange.sequencer.state
        strip = state.auctions["strip"]
        assert len(strip.spec.intervals) == 1
        assert len(delivery_intervals(strip)) == HOURS
        (contract,) = [item for item in state.contracts.values() if item.auction_id == "strip"]
        price = contract.hours[0].legs.contract
        earned = sum(
            transfer.amount
            for start in strip.settled
            for transfer in state.postings[f"hour/strip/{start}"].transfers
            if transfer.contract_id == contract.contract_id
            and transfer.debit == accounts.cash("buyer")
            and transfer.code.value == "AUCTION_LEG"
        )
        assert earned == 16 * HOURS * price
        view = await market.buyer.auction("strip")
        assert view.spec.interval_count == 1
        await until(lambda: not strip.unstated)
        for kind in BundleKind:
            report = await checked(market.exchange, tmp_path, kind, kind.value)
            if kind is BundleKind.AUDITOR:
                assert all(step.result is Result.OK for step in report.steps), report.steps
                assert report.hours == HOURS + 2
