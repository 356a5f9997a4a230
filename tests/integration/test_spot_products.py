"""Beside a spot market, over real gRPC: hours returned to it, and a grant that it sells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clearing.types import Cover, Eligibility, Interval, ServiceClass, Step
from clearing.units import Chips, ChipSeconds, MicroUsdPerChipHour, Seconds, UnixSeconds
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.report import Result
from iso_exchange.client import BLANK_HEADER, Client, Refused, load_identity
from iso_exchange.commands import (
    BidConditions,
    ChipSegment,
    CloseSpotMarket,
    RegisterMeter,
    ReturnHours,
    StepBidTerms,
    SubmitOrder,
    SubmitReadings,
    TimedSegment,
)
from iso_exchange.money_commands import RegisterGrant
from iso_exchange.sequencer.state import State
from settlement.ledger import accounts
from settlement.types import MeterBatch, Reading
from tests.integration.market import (
    CLOSE,
    FIRST,
    Market,
    bid,
    client_of,
    configuration,
    deposit,
    offer,
    open_market,
)
from tests.integration.test_spot import checked, spot_market, until

POOL = "plains-h100"
STEP = 300
USD = 1_000_000
CONTRACT = f"da-1/bid-1/{POOL}/offer-1"
RETURNED = 16


def at(place: int) -> UnixSeconds:
    return UnixSeconds(FIRST + place * STEP)


def standing(order_id: str, price: int, *, notice_s: int | None) -> SubmitOrder:
    """Sixteen chips of the other lab's, for the first two intervals."""
    step = Step(price=MicroUsdPerChipHour(price), chips=Chips(16))
    firm = notice_s is None
    return SubmitOrder(
        header=BLANK_HEADER,
        order_id=order_id,
        auction_id="spot",
        participant_id="other",
        revision=1,
        terms=StepBidTerms(
            conditions=BidConditions(
                where=Eligibility(pool_ids=(POOL,)),
                service_class=ServiceClass.FIRM if firm else ServiceClass.INTERRUPTIBLE,
                cover=Cover.NONE,
                notice_s=Seconds(notice_s or 0),
            ),
            segments=(TimedSegment(start=at(0), end=at(2), steps=(step,)),),
        ),
    )


async def prepare(market: Market) -> None:
    """A day ahead in which the buyer has 32 chips, a grant, and a spot market of nothing else."""
    operator = market.operator
    directory = market.exchange.issue_identity("meter")
    await operator.send(
        RegisterMeter(
            header=BLANK_HEADER,
            meter_id="meter",
            pool_id=POOL,
            public_key=load_identity(directory).signing_key.public,
        )
    )
    await operator.send(deposit("other"))
    await market.supplier.send(
        RegisterGrant(
            header=BLANK_HEADER,
            grant_id="teaching",
            beneficiary_id="other",
            supplier_id="supplier",
            pool_id=POOL,
            period=Interval(start=at(0), end=at(24)),
            chips=Chips(16),
            purpose="teaching",
        )
    )
    opening = await spot_market(operator)
    await operator.send(replace(opening, first_start=at(0)))
    await market.supplier.send(offer(chips=40))
    await market.buyer.send(bid())
    await operator.advance_time(UnixSeconds(CLOSE + 60))
    await until(lambda: CONTRACT in market.exchange.sequencer.state.contracts)


def given(chips: int, stop: int = 2) -> ReturnHours:
    segment = ChipSegment(start=at(0), end=at(stop), chips=Chips(chips))
    return ReturnHours(
        header=BLANK_HEADER,
        return_id="ret-1",
        contract_id=CONTRACT,
        market_id="spot",
        segments=(segment,),
    )


async def trade(market: Market) -> None:
    """Half of the buyer's chips are sold on for ten minutes, and the grant with them."""
    with pytest.raises(Refused) as refused:
        await market.other.send(given(8))
    assert refused.value.code == "NOT_OWNER"
    await market.buyer.send(given(RETURNED))
    (shown,) = await market.buyer.returns("spot")
    assert (shown.return_id, shown.segments[0].chip_count) == ("ret-1", RETURNED)
    assert await market.other.returns("spot") == ()
    await market.other.send(standing("firm", 3 * USD, notice_s=None))
    await market.other.send(standing("soft", USD, notice_s=300))
    await market.operator.advance_time(at(0))
    found = {item.order_id: item.chip_count for item in await market.other.positions("spot")}
    assert found == {"firm": 16, "soft": 16}
    (shown,) = await market.buyer.returns("spot")
    assert [part.chip_count for part in shown.sold_segments] == [16]
    await market.operator.advance_time(at(1))
    close = CloseSpotMarket(header=BLANK_HEADER, market_id="spot", reason="the test")
    await market.operator.send(close)


def readings(state: State) -> Iterator[SubmitReadings]:
    """Everything healthy; of the returned chips the runs' contracts have the rows."""
    for place in range(24):
        rows: list[Reading] = []
        for contract in state.contracts.values():
            for hour in contract.hours:
                if not hour.interval.start <= at(place) < hour.interval.end:
                    continue
                chips = hour.chips
                if contract.contract_id == CONTRACT and place < 2:
                    chips = Chips(chips - RETURNED)
                rows.extend(
                    Reading(
                        contract_id=contract.contract_id,
                        node_id=f"{contract.order_id}-{node}",
                        healthy=ChipSeconds(8 * STEP),
                    )
                    for node in range(chips // 8)
                )
        yield SubmitReadings(
            header=BLANK_HEADER,
            batch=MeterBatch(
                meter_id="meter",
                pool_id=POOL,
                interval=Interval(start=at(place), end=at(place + 1)),
                sequence=place + 1,
                readings=tuple(rows),
            ),
        )


async def read(market: Market, meter: Client) -> None:
    for place, command in enumerate(list(readings(market.exchange.sequencer.state))):
        await market.operator.advance_time(at(place + 1))
        await meter.send(command)
    await market.operator.advance_time(at(28))
    await until(lambda: not market.exchange.sequencer.state.runs)
    await until(lambda: len(market.exchange.sequencer.state.auctions["da-1"].settled) == 2)


async def test_returned_hours_and_a_grant_are_sold_in_runs_and_audited(
    tmp_path: Path, database_url: str
) -> None:
    async with open_market(configuration(tmp_path / "data", database_url)) as market:
        await prepare(market)
        await trade(market)
        async with client_of(market.exchange.identity_directory("meter")) as meter:
            await read(market, meter)
        state = market.exchange.sequencer.state
        auction = state.auctions["da-1"]
        cells = [result.interval.start for result in auction.spot]
        assert cells == [at(0), at(1)]
        assert [sum(item.quantity for item in result.returns) for result in auction.spot] == [
            RETURNED * STEP
        ] * 2
        assert [bool(item.sold_to) for result in auction.spot for item in result.returns] == [
            True,
            True,
        ]
        # Day ahead: 32 chips for two hours at 2.00 and delivery of all but ten minutes of 16.
        held = state.delivered["da-1", int(at(0))]
        (hour,) = [item for item in held if item.contract_id == CONTRACT]
        assert (hour.withdrawn, hour.failed, hour.gap) == (RETURNED * 2 * STEP, 0, 0)
        cash = accounts.cash("buyer")
        paid_out = sum(item.payout for item in state.statements.values() if item.account == cash)
        earned = state.books.balance(cash).posted + paid_out
        (first,) = [p for p in auction.spot[0].prices if p.pool_id == POOL]
        resale = RETURNED * STEP * first.energy // 3_600
        assert resale > 0
        delivered = (32 * 7_200 - RETURNED * 2 * STEP) * 510_000 // 3_600
        second = RETURNED * STEP * auction.spot[1].prices[0].energy // 3_600
        assert abs(earned - (resale + second - 64 * 2 * USD - delivered)) <= 4
        for kind in BundleKind:
            report = await checked(market.exchange, tmp_path, kind, kind.value)
            if kind is BundleKind.AUDITOR:
                assert all(step.result is Result.OK for step in report.steps), report.steps
                assert report.auctions == 3
