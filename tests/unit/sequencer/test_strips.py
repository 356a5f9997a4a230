"""Strips: one price for a week, hours that follow from it, and what the day ahead has left."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from clearing.types import Cover, Interval, ServiceClass
from clearing.units import Chips, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.sequencer.capacity import Taken
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.state import Auction
from iso_exchange.sequencer.strips import delivery_intervals
from settlement.assignment import Assignment
from settlement.types import Contract
from tests.unit.sequencer.test_spot_returns import clear
from tests.unit.sequencer.world import FIRST, World, registered

POOL = "tx-1-h100"
WEEK = 7 * 86_400
HOURS = 168
BEGIN = FIRST + 3_600
"""On an hour, and on no multiple of a week."""


def strip(world: World, **changes: Any) -> c.CreateAuction:
    values: dict[str, Any] = {
        "auction_id": "strip",
        "product": "FORWARD",
        "first_interval_start": BEGIN,
        "interval_seconds": WEEK,
        "interval_count": 1,
    }
    return world.auction(**{**values, **changes})


def offered(world: World, chips: int, **changes: Any) -> c.SubmitOrder:
    window = {"start": BEGIN, "end": BEGIN + WEEK}
    return world.offer(auction_id="strip", order_id="s-1", chips=chips, **{**window, **changes})


def wanted(world: World, chips: int, **changes: Any) -> c.SubmitOrder:
    window = {"start": BEGIN, "end": BEGIN + WEEK}
    values: dict[str, Any] = {"auction_id": "strip", "order_id": "b-1", "chips": chips}
    return world.bid(**{**values, **window, **changes})


def cleared(cover: Cover = Cover.NODE) -> tuple[World, Auction, Assignment]:
    """Sixteen chips for a week out of forty that are offered."""
    world = registered()
    world.must(world.deposit("lab", 100_000))
    world.must(world.deposit("acme", 100_000))
    world.must(strip(world))
    world.must(offered(world, 40))
    world.must(wanted(world, 16, cover=cover))
    auction = world.state.auctions["strip"]
    clear(world, auction)
    assert auction.assignment is not None
    return world, auction, auction.assignment


def only(assignment: Assignment) -> Contract:
    (contract,) = assignment.contracts
    return contract


def test_a_strip_has_one_price_and_is_delivered_by_the_hour() -> None:
    _, auction, assignment = cleared()
    assert auction.outcome is not None
    assert len(auction.spec.intervals) == 1
    contract = only(assignment)
    assert len(contract.hours) == HOURS
    assert {(hour.chips, hour.legs) for hour in contract.hours} == {
        (Chips(16), contract.hours[0].legs)
    }
    assert contract.hours[0].interval.start == BEGIN
    assert contract.hours[-1].interval.end == BEGIN + WEEK
    assert delivery_intervals(auction) == assignment.intervals
    assert len(assignment.intervals) == HOURS
    # Cover is part of it: a spare node stands by in every hour.
    assert {item.chips for item in assignment.spare_hours} == {8}
    assert len(assignment.spare_hours) == HOURS
    assert len(assignment.prices) == HOURS


def test_what_a_strip_sold_with_its_cover_is_not_offered_again() -> None:
    world, _, _ = cleared()
    day = Interval(start=UnixSeconds(BEGIN), end=UnixSeconds(BEGIN + 4 * 3_600))
    assert Taken(world.state, POOL, day).most(day) == 16 + 8
    window: dict[str, Any] = {"start": BEGIN, "end": BEGIN + 3_600}
    world.must(
        world.auction(
            auction_id="next", close_time=BEGIN - 60, first_interval_start=BEGIN, interval_count=4
        )
    )
    more = world.offer(auction_id="next", order_id="o-2", chips=48, **window)
    assert world.refused(more).code is Code.QUANTITY_ABOVE_CAPACITY
    world.must(world.offer(auction_id="next", order_id="o-2", chips=40, **window))


def test_base_load_is_left_to_the_day_ahead() -> None:
    world = registered()
    period = Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + 2 * WEEK))
    world.must(world.entitlement(period=period))
    world.must(strip(world))
    auction = world.state.auctions["strip"]
    refused = world.refused(
        c.Nominate(
            header=world.header("lab"),
            nomination_id="nom-1",
            entitlement_id="ent-1",
            auction_id="strip",
            segments=(),
        )
    )
    assert (refused.code, refused.field) == (Code.INVALID_VALUE, "auction_id")
    clear(world, auction)
    assert auction.book is not None
    assert auction.book.nominations == ()


def test_strips_are_firm_and_whole() -> None:
    world = registered()
    world.must(world.deposit("lab", 100_000))
    world.must(strip(world))
    part = wanted(world, 8, end=BEGIN + 86_400)
    assert world.refused(part).code is Code.NOT_ON_INTERVAL_BOUNDARY
    bid = wanted(world, 8)
    assert isinstance(bid.terms, c.StepBidTerms)
    conditions = dataclasses.replace(
        bid.terms.conditions, service_class=ServiceClass.INTERRUPTIBLE, cover=Cover.NONE
    )
    soft = dataclasses.replace(bid, terms=dataclasses.replace(bid.terms, conditions=conditions))
    assert world.refused(soft).field == "service_class"
    work = world.work(auction_id="strip", start=BEGIN, deadline=BEGIN + WEEK, work=8 * WEEK)
    assert world.refused(work).field == "terms"
    world.must(world.gang(auction_id="strip", start=BEGIN, duration_s=WEEK, chips=16))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"product": "DAY_AHEAD"}, "interval_seconds"),
        ({"interval_seconds": 32 * 86_400}, "interval_seconds"),
        ({"interval_seconds": WEEK + 300}, "interval_seconds"),
        ({"interval_count": 53}, "interval_count"),
        ({"first_interval_start": BEGIN + 300}, "first_interval_start_time"),
    ],
)
def test_strips_that_are_refused(changes: dict[str, Any], field: str) -> None:
    world = registered()
    assert world.refused(strip(world, **changes)).field == field
