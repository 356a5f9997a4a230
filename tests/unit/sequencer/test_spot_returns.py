"""Hours of the day ahead given back to spot: what runs sell of them, and their spot results."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from clearing import codec
from clearing.types import Cover, Interval
from clearing.units import Chips, ChipSeconds, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.auctioneer.work import Cleared, Job, work
from iso_exchange.money_commands import PublishSpot
from iso_exchange.sequencer.auctions import book_root
from iso_exchange.sequencer.capacity import Taken
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.spot_moves import cells_due, is_open, result_due, unposted
from iso_exchange.sequencer.state import Auction
from settlement.postings.spot_holds import spot_postings
from settlement.spot.result import Return, SpotResult
from tests.unit.sequencer.spot_world import (
    POOL,
    SPOT,
    STEP,
    USD,
    close,
    market_of,
    offer,
    opened,
    positions,
    run_at,
    steps_terms,
)
from tests.unit.sequencer.world import FIRST, GATE, World

HELD = 16
CONTRACT = f"da-1/bid-1/{POOL}/offer-1"


def at(place: int) -> int:
    return FIRST + place * STEP


def cell(place: int) -> Interval:
    return Interval(start=UnixSeconds(at(place)), end=UnixSeconds(at(place + 1)))


def cleared_day(chips: int = HELD) -> World:
    """Sixteen chips of the lab's for four hours, sold day ahead; and a second lab."""
    world = opened()
    world.must(world.participant("other", c.Role.BUYER))
    world.must(world.deposit("other", 1_000))
    world.must(world.offer(chips=chips))
    world.must(world.bid(chips=chips, end=FIRST + 4 * 3600, cover=Cover.NONE))
    clear(world, world.state.auctions["da-1"])
    return world


def clear(world: World, auction: Auction) -> None:
    """Close an auction, clear it, and publish what the worker says."""
    world.now = max(world.now, GATE)
    count, root = book_root(world.state, auction)
    exchange = world.header("exchange")
    name = auction.spec.auction_id
    world.must(
        c.CloseAuction(
            header=exchange,
            auction_id=name,
            order_count=count,
            book_root=root,
            book_commitment="00" * 32,
        )
    )
    state = world.state
    assert auction.book is not None
    found = work(
        Job(
            book=auction.book,
            seed=b"seed",
            derates={key: record.derate_ppm for key, record in state.pools.items()},
            precisions={item.pool.chip_class: item.precision for item in state.pools.values()},
            nomination_suppliers={key: e.supplier_id for key, e in state.entitlements.items()},
            order_holds={
                key: hold
                for key in auction.order_ids
                if (hold := state.orders[key].hold) is not None
            },
        )
    )
    assert isinstance(found, Cleared), found
    bodies = (auction.written_book(), found.outcome, found.assignment, found.postings)
    digests = [hashlib.sha256(body) for body in bodies]
    result = world.apply(
        c.PublishResult(
            header=exchange,
            auction_id=name,
            book_sha256=digests[0].hexdigest(),
            book_salt="00" * 32,
            outcome_sha256=digests[1].hexdigest(),
            assignment_sha256=digests[2].hexdigest(),
            postings_sha256=digests[3].hexdigest(),
        ),
        {item.digest(): body for item, body in zip(digests, bodies, strict=True)},
    )
    assert isinstance(result, Accepted), result
    world.must(
        c.PublishPrices(
            header=exchange, auction_id=name, prices_sha256="00" * 32, certified_gap_ppb=0
        )
    )


def given(world: World, chips: int = 8, stop: int = 3, **changes: Any) -> c.ReturnHours:
    segment = c.ChipSegment(start=UnixSeconds(at(0)), end=UnixSeconds(at(stop)), chips=Chips(chips))
    values: dict[str, Any] = {
        "header": world.header("lab"),
        "return_id": "ret-1",
        "contract_id": CONTRACT,
        "market_id": SPOT,
        "segments": (segment,) if chips else (),
    }
    return c.ReturnHours(**{**values, **changes})


def spike(world: World, **changes: Any) -> c.SubmitOrder:
    """A firm bid of the other lab."""
    command = steps_terms(world, "spike", **{"notice_s": None, **changes})
    return dataclasses.replace(command, participant_id="other", header=world.header("other"))


def posted(world: World, result: SpotResult) -> Accepted | Rejected:
    auction = world.state.auctions["da-1"]
    assert auction.assignment is not None
    bodies = [codec.encode(result), codec.encode(spot_postings(auction.assignment, result))]
    digests = [hashlib.sha256(body) for body in bodies]
    return world.apply(
        PublishSpot(
            header=world.header("exchange"),
            auction_id="da-1",
            interval=result.interval,
            spot_sha256=digests[0].hexdigest(),
            postings_sha256=digests[1].hexdigest(),
        ),
        {item.digest(): body for item, body in zip(digests, bodies, strict=True)},
    )


def test_returned_hours_are_supply_of_the_runs_and_income_of_their_holder() -> None:
    world = cleared_day()
    world.must(given(world))
    world.must(spike(world, chips=8))
    assert is_open(world.state, cell(0), world.now)
    run = run_at(world, at(0))
    assert run.book is not None
    (returned,) = run.book.offers
    assert (returned.order_id, returned.participant_id) == ("return:ret-1", "lab")
    assert [(s.first, s.stop, s.steps[0].chips) for s in returned.segments] == [(0, 3, 8)]
    assert positions(world, "spike") == {0: 8}
    assert run.assignment is not None
    (contract,) = run.assignment.contracts
    assert (contract.supplier_id, contract.buyer_id) == ("lab", "other")
    auction = world.state.auctions["da-1"]
    (due,) = cells_due(world.state, auction, world.now)
    assert due.interval == cell(0)
    assert [price.pool_id for price in due.prices] == [POOL]
    assert due.returns == (
        Return(contract_id=CONTRACT, quantity=ChipSeconds(8 * STEP), sold_to=contract.contract_id),
    )
    # Chips that are sold twice over are counted once: as the day ahead's.
    window = Interval(start=UnixSeconds(at(0)), end=UnixSeconds(at(12)))
    assert Taken(world.state, POOL, window).most(cell(0)) == HELD


def test_what_no_run_sells_is_given_back_all_the_same() -> None:
    world = cleared_day()
    world.must(given(world))
    run = run_at(world, at(0))
    assert run.spec.auction_id not in world.state.runs, "it bound nothing and is over"
    world.now = at(0)
    (due,) = cells_due(world.state, world.state.auctions["da-1"], world.now)
    assert due.returns == (Return(contract_id=CONTRACT, quantity=ChipSeconds(8 * STEP)),)


def test_what_is_taken_back_stays_sold_as_far_as_a_notice_reaches() -> None:
    world = cleared_day()
    world.must(given(world, stop=12))
    command = steps_terms(world, "soft", notice_s=600, chips=8)
    world.must(dataclasses.replace(command, participant_id="other", header=world.header("other")))
    run_at(world, at(0))
    assert positions(world, "soft") == {0: 8, 1: 8, 2: 8}
    world.must(given(world, chips=0))
    run = run_at(world, at(1))
    assert run.book is not None
    assert [item.order_id for item in run.book.offers if "return" in item.order_id] == []
    auction = world.state.auctions["da-1"]
    due = result_due(world.state, auction, cell(1))
    assert due is not None
    (item,) = due.returns
    assert item.sold_to.startswith(f"{SPOT}/{at(0)}/soft/")
    # An interval without a run of its own is told as well.
    world.now = at(2)
    assert not is_open(world.state, cell(2), world.now)
    due = result_due(world.state, auction, cell(2))
    assert due is not None
    assert not due.prices
    assert [item.quantity for item in due.returns] == [8 * STEP]


def test_only_what_the_runs_say_is_taken_and_it_comes_before_the_hour_is_settled() -> None:
    world = cleared_day()
    world.must(given(world))
    world.must(spike(world, chips=8))
    run = run_at(world, at(0))
    auction = world.state.auctions["da-1"]
    (due,) = cells_due(world.state, auction, world.now)
    world.now = at(1)
    missing = unposted(world.state, run, cell(0), world.now)
    assert missing is not None
    assert (missing.auction_id, missing.cell) == ("da-1", cell(0))
    settle = c.SettleHour(
        header=world.header("exchange"),
        auction_id=run.spec.auction_id,
        interval=cell(0),
        postings_sha256="00" * 32,
        delivered_sha256="00" * 32,
    )
    refused = world.refused(settle)
    assert (refused.code, refused.field) == (Code.WRONG_STATE, "interval")
    for wrong in (
        dataclasses.replace(due, returns=()),
        dataclasses.replace(due, prices=()),
        dataclasses.replace(due, returns=(dataclasses.replace(due.returns[0], sold_to=""),)),
    ):
        answer = posted(world, wrong)
        assert isinstance(answer, Rejected)
        assert answer.code is Code.INVALID_VALUE
    early = dataclasses.replace(due, interval=cell(5), prices=(), returns=())
    assert isinstance(posted(world, early), Rejected)
    assert isinstance(posted(world, due), Accepted)
    assert unposted(world.state, run, cell(0), world.now) is None
    assert list(cells_due(world.state, auction, world.now)) == []


def test_returned_base_load_serves_interruptible_work_only() -> None:
    world = opened()
    world.must(world.entitlement(chips=16, cover=Cover.NONE))
    clear(world, world.state.auctions["da-1"])
    base = f"da-1/standing:ent-1/{POOL}/ent-1"
    world.must(given(world, contract_id=base))
    world.must(steps_terms(world, "firm", notice_s=None, chips=8, limit=9 * USD))
    world.must(steps_terms(world, "soft", notice_s=300, chips=8))
    run_at(world, at(0))
    assert positions(world, "firm") == {}
    assert positions(world, "soft") == {0: 8, 1: 8}


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"market_id": "none"}, Code.UNKNOWN_AUCTION, "market_id"),
        ({"contract_id": "none"}, Code.NOT_FOUND, "contract_id"),
        ({"chips": 7}, Code.NOT_NODE_MULTIPLE, "segments"),
        ({"chips": 24}, Code.QUANTITY_ABOVE_CAPACITY, "segments"),
        ({"stop": 49}, Code.QUANTITY_ABOVE_CAPACITY, "segments"),
    ],
)
def test_refusals(changes: dict[str, Any], code: Code, field: str) -> None:
    world = cleared_day()
    refused = world.refused(given(world, **changes))
    assert (refused.code, refused.field) == (code, field)


def test_only_the_buyer_returns_and_one_name_is_one_contract() -> None:
    world = cleared_day()
    command = dataclasses.replace(given(world), header=world.header("other"))
    assert world.refused(command).code is Code.NOT_OWNER
    world.must(given(world))
    run_at(world, at(0))
    assert market_of(world).returns[CONTRACT].chips_at(at(0) // STEP) == 8
    offer(world, chips=8)
    world.must(spike(world, chips=8, limit=9 * USD))
    run = run_at(world, at(1))
    assert run.assignment is not None
    spot_contract = run.assignment.contracts[0].contract_id
    again = dataclasses.replace(
        given(world, contract_id=spot_contract), header=world.header("other")
    )
    assert world.refused(again).code is Code.WRONG_STATE
    world.must(dataclasses.replace(given(world, chips=0), return_id="ret-2"))
    assert market_of(world).returns[CONTRACT].return_id == "ret-2"
    close(world, at(2))
