"""Every guard of the state machine, and that a refusal changes nothing."""

from __future__ import annotations

import typing
from typing import Any

import pytest

from clearing.types import Cover, Eligibility
from clearing.units import ChipSeconds, MicroUsd, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.kinds import COMMAND_BY_PAYLOAD_TYPE, ENTRY_KINDS
from iso_exchange.sequencer.machine import HANDLERS
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.state import AuctionState, OrderState
from settlement.types import MeterBatch, Reading
from tests.unit.sequencer.world import FIRST, GATE, H100, NOW, World, registered, span


@pytest.fixture
def world() -> World:
    return registered()


def test_every_command_has_a_handler_and_an_entry_kind() -> None:
    every = set(typing.get_args(c.Command))
    assert set(HANDLERS) == every
    assert set(ENTRY_KINDS) == every
    assert len(COMMAND_BY_PAYLOAD_TYPE) == len(every)


def test_the_first_participant_must_be_the_operator() -> None:
    world = World()
    assert world.refused(world.participant("acme", c.Role.SUPPLIER)).code is Code.WRONG_ROLE


def test_a_command_for_another_exchange_is_refused(world: World) -> None:
    command = world.participant("x", c.Role.BUYER)
    header = c.Header(
        origin="other", signer_id="operator", request_id="1", create_time=UnixSeconds(NOW)
    )
    moved = c.RegisterParticipant(
        header=header,
        participant_id=command.participant_id,
        display_name="x",
        roles=command.roles,
        public_key=command.public_key,
    )
    assert world.refused(moved).code is Code.WRONG_ORIGIN


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"site_id": "Bad Name"}, Code.INVALID_VALUE),
        ({"surcharge": None, "site_id": "b"}, Code.SITE_WITHOUT_SURCHARGE),
        ({"surcharge": -1, "site_id": "b"}, Code.INVALID_VALUE),
        ({"power_limit": 0, "site_id": "b"}, Code.INVALID_VALUE),
        ({"community_id": "nobody", "site_id": "b"}, Code.UNKNOWN_PARTICIPANT),
        ({}, Code.ALREADY_EXISTS),
    ],
)
def test_site_guards(world: World, changes: dict[str, Any], code: Code) -> None:
    assert world.refused(world.site(**changes)).code is code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"site_id": "nowhere", "pool_id": "p"}, Code.UNKNOWN_SITE),
        ({"chip_class": "nvidia.nonsense", "pool_id": "p"}, Code.UNKNOWN_CHIP_CLASS),
        ({"capacity": 60, "pool_id": "p"}, Code.NOT_NODE_MULTIPLE),
        ({"capacity": 0, "pool_id": "p"}, Code.INVALID_VALUE),
        ({"derate_ppm": 1_000_001, "pool_id": "p"}, Code.INVALID_VALUE),
        ({"precision": "FP4", "pool_id": "p"}, Code.INVALID_VALUE),
        ({"supplier_ids": ("lab",), "pool_id": "p"}, Code.WRONG_ROLE),
        ({}, Code.ALREADY_EXISTS),
    ],
)
def test_pool_guards(world: World, changes: dict[str, Any], code: Code) -> None:
    assert world.refused(world.pool(**changes)).code is code


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"close_time": NOW - 1, "auction_id": "x"}, Code.INVALID_VALUE, "close_time"),
        ({"close_time": FIRST + 1, "auction_id": "x"}, Code.INVALID_VALUE, "close_time"),
        ({"interval_count": 169, "auction_id": "x"}, Code.INVALID_VALUE, "interval_count"),
        ({"interval_seconds": 100, "auction_id": "x"}, Code.INVALID_VALUE, "interval_seconds"),
        ({"seed_commitment": "zz", "auction_id": "x"}, Code.INVALID_VALUE, "seed_commitment"),
        (
            {"price_floor": -1_000, "auction_id": "x"},
            Code.NEGATIVE_ENERGY_PRICE_NOT_SETTLED,
            "price_floor_micro_usd_per_chip_hour",
        ),
        ({}, Code.ALREADY_EXISTS, "auction_id"),
    ],
)
def test_auction_guards(world: World, changes: dict[str, Any], code: Code, field: str) -> None:
    refused = world.refused(world.auction(**changes))
    assert (refused.code, refused.field) == (code, field)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"auction_id": "none"}, Code.UNKNOWN_AUCTION),
        ({"revision": 2}, Code.STALE_REVISION),
        ({"start": NOW - 7200, "end": FIRST + 3600}, Code.WINDOW_IN_PAST),
        ({"end": FIRST + 5 * 3600}, Code.WINDOW_OUTSIDE_AUCTION),
        ({"end": FIRST + 1800}, Code.NOT_ON_INTERVAL_BOUNDARY),
        ({"price": 100_001_000}, Code.PRICE_OUTSIDE_LIMITS),
        ({"price": 4_000_001}, Code.PRICE_NOT_ON_TICK),
        ({"chips": 9}, Code.NOT_NODE_MULTIPLE),
        ({"chips": 0}, Code.INVALID_VALUE),
        ({"where": Eligibility(chip_classes=("amd.mi300x-oam-192gb",))}, Code.UNKNOWN_CHIP_CLASS),
        ({"where": Eligibility(pool_ids=("nope",))}, Code.UNKNOWN_POOL),
        (
            {"where": Eligibility(chip_classes=(H100,), countries=("FR",))},
            Code.NO_ELIGIBLE_POOL,
        ),
        ({"cover": Cover.SITE}, Code.NO_COVER_POSSIBLE),
        ({"chips": 8_000}, Code.EXPOSURE_ABOVE_COLLATERAL),
    ],
)
def test_bid_guards(world: World, changes: dict[str, Any], code: Code) -> None:
    assert world.refused(world.bid(**changes)).code is code


def test_an_order_after_gate_closure_is_refused(world: World) -> None:
    world.now = GATE
    assert world.refused(world.bid()).code is Code.GATE_CLOSED


def test_a_halted_auction_takes_no_orders_and_then_does(world: World) -> None:
    world.must(c.HaltAuction(header=world.header("operator"), auction_id="da-1", reason="x"))
    assert world.refused(world.bid()).code is Code.AUCTION_HALTED
    world.must(c.ResumeAuction(header=world.header("operator"), auction_id="da-1", reason="x"))
    world.must(world.bid())


def test_a_suspended_participant_is_refused_until_reinstated(world: World) -> None:
    world.must(
        c.SuspendParticipant(header=world.header("operator"), participant_id="lab", reason="why")
    )
    assert world.refused(world.bid()).code is Code.SUSPENDED
    world.must(
        c.ReinstateParticipant(header=world.header("operator"), participant_id="lab", reason="ok")
    )
    world.must(world.bid())


def test_offers_and_base_load_fit_the_pool(world: World) -> None:
    world.must(world.entitlement())
    assert world.refused(world.offer(chips=56)).code is Code.QUANTITY_ABOVE_CAPACITY
    world.must(world.offer(chips=48))
    over = world.entitlement(entitlement_id="ent-2", chips=8)
    assert world.refused(over).code is Code.QUANTITY_ABOVE_CAPACITY


def test_only_registered_suppliers_offer_in_a_pool(world: World) -> None:
    world.must(world.participant("other", c.Role.SUPPLIER))
    stranger = world.offer(header=world.header("other"), participant_id="other", order_id="o-2")
    assert world.refused(stranger).code is Code.NOT_OWNER


def test_amending_replaces_the_hold_and_cancelling_releases_it(world: World) -> None:
    free = world.state.books.available_to("lab")
    world.must(world.bid())
    assert free - world.state.books.available_to("lab") == 8 * 4_000_000
    world.must(world.bid(revision=2, price=5_000_000))
    assert free - world.state.books.available_to("lab") == 8 * 5_000_000
    assert world.refused(world.bid(revision=2)).code is Code.STALE_REVISION
    world.must(c.CancelOrder(header=world.header("lab"), order_id="bid-1"))
    assert world.state.books.available_to("lab") == free
    again = c.CancelOrder(header=world.header("lab"), order_id="bid-1")
    assert world.refused(again).code is Code.WRONG_STATE
    world.state.books.check()


def test_nobody_cancels_or_amends_anothers_order(world: World) -> None:
    world.must(world.bid())
    world.must(world.participant("rival", c.Role.BUYER))
    theirs = c.CancelOrder(header=world.header("rival"), order_id="bid-1")
    assert world.refused(theirs).code is Code.NOT_OWNER
    taken = world.bid(header=world.header("rival"), participant_id="rival", revision=2)
    assert world.refused(taken).code is Code.NOT_OWNER


def test_cancel_all_releases_every_hold(world: World) -> None:
    free = world.state.books.available_to("lab")
    world.must(world.bid())
    world.must(world.bid(order_id="bid-2"))
    accepted = world.must(
        c.CancelAllOrders(header=world.header("operator"), participant_id="lab", reason="why")
    )
    assert [item.position for item in accepted.transfers] == [0, 1]
    assert world.state.books.available_to("lab") == free
    assert {order.state for order in world.state.orders.values()} == {OrderState.CANCELLED}


def test_a_bank_reference_counts_once(world: World) -> None:
    command = world.deposit("lab", 5)
    world.must(command)
    again = c.RecordDeposit(
        header=world.header("operator"),
        participant_id="lab",
        amount=MicroUsd(5_000_000),
        bank_reference=command.bank_reference,
    )
    assert world.refused(again).code is Code.ALREADY_EXISTS


def test_the_gate_closes_only_in_time_and_on_the_true_book(world: World) -> None:
    from iso_exchange.sequencer.auctions import book_root

    world.must(world.offer())
    world.must(world.bid())
    count, root = book_root(world.state, world.state.auctions["da-1"])
    early = c.CloseAuction(
        header=world.header("exchange"),
        auction_id="da-1",
        order_count=count,
        book_root=root,
        book_commitment="00" * 32,
    )
    assert world.refused(early).code is Code.WRONG_STATE
    world.now = GATE
    false = c.CloseAuction(
        header=world.header("exchange"),
        auction_id="da-1",
        order_count=count - 1,
        book_root=root,
        book_commitment="00" * 32,
    )
    assert world.refused(false).code is Code.WRONG_STATE
    world.must(early)
    auction = world.state.auctions["da-1"]
    assert auction.state is AuctionState.CLOSED
    assert auction.book is not None
    assert len(auction.book.offers) == len(auction.book.step_bids) == 1


def test_an_entitlement_without_nomination_is_nominated_in_full(world: World) -> None:
    from iso_exchange.sequencer.auctions import build_book

    world.must(world.entitlement())
    book = build_book(world.state, world.state.auctions["da-1"])
    (nomination,) = book.nominations
    assert nomination.segments[0].steps[0].chips == 16
    assert (nomination.segments[0].first, nomination.segments[0].stop) == (0, 4)


def test_readings_are_taken_once_from_the_right_meter(world: World) -> None:
    world.now = FIRST + 300

    def readings(**changes: Any) -> c.SubmitReadings:
        values: dict[str, Any] = {
            "meter_id": "meter-1",
            "pool_id": "tx-1-h100",
            "interval": span(FIRST, FIRST + 300),
            "sequence": 1,
            "readings": (),
        }
        batch = MeterBatch(**{**values, **changes})
        return c.SubmitReadings(header=world.header("meter-1"), batch=batch)

    assert world.refused(readings(pool_id="other")).code is Code.NOT_OWNER
    future = span(FIRST + 300, FIRST + 600)
    assert world.refused(readings(interval=future)).code is Code.INVALID_VALUE
    stray = (Reading(contract_id="none", node_id="n1", healthy=ChipSeconds(1)),)
    assert world.refused(readings(readings=stray)).code is Code.NOT_FOUND
    world.must(readings())
    assert world.refused(readings(sequence=2)).code is Code.ALREADY_EXISTS


def test_resuming_a_failed_auction_asks_for_another_clearing(world: World) -> None:
    from iso_exchange.sequencer.auctions import book_root

    world.must(world.bid())
    world.now = GATE
    count, root = book_root(world.state, world.state.auctions["da-1"])
    world.must(
        c.CloseAuction(
            header=world.header("exchange"),
            auction_id="da-1",
            order_count=count,
            book_root=root,
            book_commitment="00" * 32,
        )
    )
    failed = c.FailAuction(header=world.header("exchange"), auction_id="da-1", reason="no result")
    world.must(failed)
    auction = world.state.auctions["da-1"]
    assert (auction.state, len(auction.failures), auction.forgiven_failures) == (
        AuctionState.FAILED,
        1,
        0,
    )
    world.must(c.ResumeAuction(header=world.header("operator"), auction_id="da-1", reason="mended"))
    assert (auction.state, auction.forgiven_failures) == (AuctionState.CLOSED, 1)
    assert world.refused(world.bid(order_id="late")).code is Code.GATE_CLOSED
