"""Hostile participants, a careless operator: what must be refused, and what must stay clearable."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from typing import Any

import pytest

from clearing.outcome import Award, Side
from clearing.types import Cover, Eligibility, ServiceClass, Step
from clearing.units import Chips, ChipSeconds, MicroUsdPerChipHour, UnixSeconds
from clearing.validate import validate
from iso_exchange import commands as c
from iso_exchange.clock import SimulatedClock
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer import capacity, order_guards
from iso_exchange.sequencer.auctions import build_book
from iso_exchange.sequencer.leaves import Receipt
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.sequencer import Sequencer, Submission
from iso_exchange.sequencer.state import AuctionState, OrderState
from settlement.ledger import envelope
from settlement.ledger.keys import SigningKey, key_id
from settlement.storage.memory import MemoryStore
from settlement.types import MeterBatch, Reading
from tests.unit.sequencer.world import (
    FIRST,
    GATE,
    NOW,
    ORIGIN,
    World,
    registered,
    run_until_first_hour,
    span,
)

KEY = SigningKey.from_seed(hashlib.sha256(b"operator").digest())


@pytest.fixture
def world() -> World:
    return registered()


def nomination(world: World, **changes: Any) -> c.Nominate:
    values: dict[str, Any] = {
        "header": world.header("lab"),
        "nomination_id": "nom-1",
        "entitlement_id": "ent-1",
        "auction_id": "da-1",
        "segments": (
            c.TimedSegment(
                start=UnixSeconds(FIRST),
                end=UnixSeconds(FIRST + 3600),
                steps=(Step(price=MicroUsdPerChipHour(0), chips=Chips(8)),),
            ),
        ),
    }
    return c.Nominate(**{**values, **changes})


def auction_again(world: World, name: str = "spot-1", **changes: Any) -> c.CreateAuction:
    return world.auction(auction_id=name, **changes)


# Books that stay clearable -------------------------------------------------------------


def test_an_amendment_into_another_pool_counts_what_is_offered_there(world: World) -> None:
    world.must(world.pool(pool_id="tx-1-h100-b"))
    world.must(world.deposit("acme", 1_000))
    world.must(auction_again(world))
    world.must(world.offer(auction_id="spot-1", order_id="first", pool_id="tx-1-h100", chips=64))
    world.must(world.offer(auction_id="spot-1", order_id="second", pool_id="tx-1-h100-b", chips=64))
    moved = world.offer(
        auction_id="spot-1", order_id="second", pool_id="tx-1-h100", chips=64, revision=2
    )
    assert world.refused(moved).code is Code.QUANTITY_ABOVE_CAPACITY
    validate(build_book(world.state, world.state.auctions["spot-1"]))


def test_a_pool_that_comes_later_leaves_accepted_orders_clearable(world: World) -> None:
    world.must(world.bid(where=Eligibility(regions=("us-south",))))
    world.must(world.pool(pool_id="late", chips_per_node=72, capacity=144))
    book = build_book(world.state, world.state.auctions["da-1"])
    validate(book)
    assert [pool.pool_id for pool in book.pools] == ["tx-1-h100"]
    late = world.offer(pool_id="late", chips=72)
    assert world.refused(late).code is Code.UNKNOWN_POOL
    named = world.bid(order_id="named", where=Eligibility(pool_ids=("late",)))
    assert world.refused(named).code is Code.UNKNOWN_POOL
    world.must(auction_again(world))
    world.must(dataclasses.replace(late, auction_id="spot-1"))


@pytest.mark.parametrize("first", ["order", "nomination"])
def test_orders_and_nominations_share_their_identifiers(world: World, first: str) -> None:
    world.must(world.entitlement())
    steps: list[c.Command] = [
        world.bid(order_id="same"),
        nomination(world, nomination_id="same"),
    ]
    if first == "nomination":
        steps.reverse()
    world.must(steps[0])
    assert world.refused(steps[1]).code is Code.ALREADY_EXISTS
    validate(build_book(world.state, world.state.auctions["da-1"]))


def test_two_holders_cannot_use_one_nomination_identifier(world: World) -> None:
    world.must(world.entitlement())
    world.must(world.entitlement(entitlement_id="ent-2"))
    world.must(nomination(world))
    other = nomination(world, entitlement_id="ent-2")
    assert world.refused(other).code is Code.ALREADY_EXISTS
    world.must(nomination(world, nomination_id="renamed"))
    world.must(other)
    validate(build_book(world.state, world.state.auctions["da-1"]))


def test_an_order_identifier_cannot_look_like_one_of_the_exchange(world: World) -> None:
    for name in ("standing:ent-1", "a/b", "", "x" * 65, "a b"):
        assert world.refused(world.bid(order_id=name)).code is Code.INVALID_VALUE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"price_cap": 2_000_000_000_000}, Code.BOOK_REFUSED),
        ({"operator_fee": 2_000_000_000_000}, Code.BOOK_REFUSED),
    ],
)
def test_an_auction_that_could_never_clear_is_not_opened(
    world: World, changes: dict[str, Any], code: Code
) -> None:
    assert world.refused(auction_again(world, **changes)).code is code


# One chip, one auction -----------------------------------------------------------------


def test_chips_are_offered_in_one_auction_at_a_time(world: World) -> None:
    world.must(auction_again(world, interval_seconds=300, interval_count=12))
    world.must(world.offer(chips=48))
    half = world.offer(order_id="again", auction_id="spot-1", chips=24)
    terms = half.terms
    assert isinstance(terms, c.OfferTerms)
    hour = (dataclasses.replace(terms.segments[0], end=UnixSeconds(FIRST + 3600)),)
    half = dataclasses.replace(half, terms=dataclasses.replace(terms, segments=hour))
    refused = world.refused(half)
    assert refused.code is Code.QUANTITY_ABOVE_CAPACITY
    assert "72" not in refused.got + refused.limit + refused.advice
    world.must(c.CancelOrder(header=world.header("acme"), order_id="offer-1"))
    world.must(half)
    assert world.refused(world.offer(order_id="back", chips=48)).code is (
        Code.QUANTITY_ABOVE_CAPACITY
    )


def test_after_the_result_what_was_not_sold_is_free_again(world: World) -> None:
    world.must(world.offer(chips=64))
    auction = world.state.auctions["da-1"]
    award = Award(
        order_id="offer-1",
        participant_id="acme",
        side=Side.SUPPLY,
        pool_id="tx-1-h100",
        first=1,
        chips=(Chips(8), Chips(16)),
        reserve=(Chips(0), Chips(8)),
        service_class=ServiceClass.FIRM,
        cover=Cover.NONE,
    )

    class Result:
        awards = (award, dataclasses.replace(award, side=Side.DEMAND))

    auction.offered = capacity.sold(auction, Result())  # type: ignore[arg-type]
    assert auction.offered == {"tx-1-h100": [0, 8, 24, 0]}
    world.must(auction_again(world))
    assert world.refused(world.offer(order_id="o", auction_id="spot-1", chips=48)).code is (
        Code.QUANTITY_ABOVE_CAPACITY
    )
    world.must(world.offer(order_id="o", auction_id="spot-1", chips=40))


def test_base_load_is_carried_by_one_auction(world: World) -> None:
    world.must(world.entitlement())
    world.must(auction_again(world, close_time=GATE + 600))
    world.must(nomination(world, auction_id="spot-1"))
    assert world.refused(nomination(world)).code is Code.QUANTITY_ABOVE_CAPACITY
    (standing,) = build_book(world.state, world.state.auctions["da-1"]).nominations
    assert [(item.first, item.stop) for item in standing.segments] == [(1, 4)]
    auction = world.state.auctions["da-1"]
    auction.book, auction.state = build_book(world.state, auction), AuctionState.CLOSED
    (carried,) = build_book(world.state, world.state.auctions["spot-1"]).nominations
    assert carried.order_id == "nom-1"


# Powers of the operator ----------------------------------------------------------------


def test_after_the_gate_the_operator_cancels_nothing(world: World) -> None:
    world.must(world.bid())
    world.must(c.HaltAuction(header=world.header("operator"), auction_id="da-1", reason="x"))
    world.now = GATE
    world.must(c.CancelAllOrders(header=world.header("operator"), participant_id="lab", reason="x"))
    assert world.state.orders["bid-1"].state is OrderState.OPEN


@pytest.mark.parametrize(
    "roles",
    [
        (c.Role.OPERATOR, c.Role.BUYER),
        (c.Role.OPERATOR, c.Role.COMMUNITY),
        (c.Role.EXCHANGE, c.Role.SUPPLIER),
        (c.Role.AUDITOR, c.Role.BUYER),
        (c.Role.EXCHANGE, c.Role.OPERATOR),
        (c.Role.METER,),
    ],
)
def test_who_runs_or_checks_the_market_takes_no_part_in_it(
    world: World, roles: tuple[c.Role, ...]
) -> None:
    command = dataclasses.replace(world.participant("two", c.Role.BUYER), roles=roles)
    assert world.refused(command).code is Code.INVALID_VALUE


def test_there_is_one_set_of_services(world: World) -> None:
    world.must(world.participant("exchange", c.Role.EXCHANGE))
    second = world.participant("shadow", c.Role.EXCHANGE)
    assert world.refused(second).code is Code.INVALID_VALUE


@pytest.mark.parametrize("name", ["sequencer", ".", "..", "..."])
def test_names_of_the_exchange_and_of_directories_are_refused(world: World, name: str) -> None:
    assert world.refused(world.participant(name, c.Role.BUYER)).code is Code.INVALID_VALUE
    meter = c.RegisterMeter(
        header=world.header("operator"),
        meter_id=name,
        pool_id="tx-1-h100",
        public_key=hashlib.sha256(b"other").digest(),
    )
    assert world.refused(meter).code is Code.INVALID_VALUE


def test_a_surcharge_goes_to_a_community(world: World) -> None:
    for name in ("operator", "acme"):
        site = world.site(site_id="other", community_id=name)
        assert world.refused(site).code is Code.WRONG_ROLE


@pytest.mark.parametrize(
    ("name", "role"), [("operator", c.Role.OPERATOR), ("exchange", c.Role.EXCHANGE)]
)
def test_the_last_key_that_the_exchange_needs_cannot_be_revoked(
    world: World, name: str, role: c.Role
) -> None:
    if name == "exchange":
        world.must(world.participant(name, role))

    def revoke() -> c.RevokeKey:
        return c.RevokeKey(
            header=world.header("operator"),
            participant_id=name,
            key_id=key_id(hashlib.sha256(name.encode()).digest()),
            reason="x",
        )

    assert world.refused(revoke()).code is Code.WRONG_STATE
    if role is c.Role.OPERATOR:
        world.must(world.participant("successor", role))
        world.must(revoke())


def test_a_pool_gets_a_new_meter_once_the_key_of_the_old_one_is_revoked(world: World) -> None:
    def meter() -> c.RegisterMeter:
        return c.RegisterMeter(
            header=world.header("operator"),
            meter_id="meter-2",
            pool_id="tx-1-h100",
            public_key=hashlib.sha256(b"meter 2").digest(),
        )

    assert world.refused(meter()).code is Code.ALREADY_EXISTS
    world.must(
        c.RevokeKey(
            header=world.header("operator"),
            participant_id="meter-1",
            key_id=key_id(hashlib.sha256(b"meter").digest()),
            reason="stolen",
        )
    )
    world.must(meter())
    assert world.state.meter_of_pool["tx-1-h100"] == "meter-2"


def test_open_orders_of_one_participant_are_limited(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_guards, "ORDER_COUNT_MAX", 2)
    world.must(world.bid(order_id="a", price=0))
    world.must(world.bid(order_id="b", price=0))
    refused = world.refused(world.bid(order_id="c", price=0))
    assert (refused.code, refused.limit) == (Code.TOO_MANY_ORDERS, "2")
    world.must(world.bid(order_id="b", price=1_000, revision=2))
    world.must(c.CancelOrder(header=world.header("lab"), order_id="a"))
    world.must(world.bid(order_id="c", price=0))


def test_collateral_fits_the_wire(world: World) -> None:
    def deposit() -> c.RecordDeposit:
        return world.deposit("lab", 10**11)

    for _ in range(9):
        world.must(deposit())
    assert world.refused(deposit()).code is Code.INVALID_VALUE


# Replays -------------------------------------------------------------------------------


def signed(command: c.Command, payload: bytes) -> Submission:
    return Submission(
        command=command,
        envelope=envelope.sign(ENTRY_KINDS[type(command)].payload_type, payload, [KEY]),
        body_sha256=hashlib.sha256(payload).digest(),
    )


@pytest.mark.parametrize("together", [True, False])
def test_a_request_id_names_one_kind_of_request(together: bool) -> None:
    """Halt and resume have bodies of the same bytes; one is not the other's answer."""

    async def run() -> tuple[Receipt | Rejected, ...]:
        world = registered()
        sequencer = Sequencer(
            store=MemoryStore(),
            clock=SimulatedClock(NOW * 1_000_000),
            origin=ORIGIN,
            log_key=KEY,
            new_salt=lambda length: b"s" * length,
            code_version="test",
        )
        await sequencer.start()
        loaded = sequencer._ready()
        loaded.state = world.state
        loaded.state.books.release()
        header = world.header("operator")
        halt = c.HaltAuction(header=header, auction_id="da-1", reason="x")
        resume = c.ResumeAuction(header=header, auction_id="da-1", reason="x")
        submissions = [signed(halt, b"same"), signed(resume, b"same"), signed(halt, b"same")]
        task = asyncio.create_task(sequencer.run())
        try:
            if together:
                return await sequencer.submit_all(submissions)
            return tuple([await sequencer.submit(item) for item in submissions])
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    first, second, third = asyncio.run(run())
    assert isinstance(first, Receipt)
    assert isinstance(second, Rejected)
    assert second.code is Code.REQUEST_CONFLICT
    assert third == first


def test_a_refusal_does_not_say_what_others_offer(world: World) -> None:
    world.must(world.participant("rival", c.Role.SUPPLIER))
    world.must(world.pool(pool_id="shared", supplier_ids=("acme", "rival")))
    world.must(world.deposit("rival", 1_000))
    world.must(auction_again(world))
    world.must(world.offer(auction_id="spot-1", pool_id="shared", chips=40))
    probe = world.offer(
        header=world.header("rival"),
        participant_id="rival",
        order_id="probe",
        auction_id="spot-1",
        pool_id="shared",
        chips=32,
    )
    refused = world.refused(probe)
    assert refused.code is Code.QUANTITY_ABOVE_CAPACITY
    text = f"{refused.got} {refused.limit} {refused.advice}"
    assert not {"40", "72"} & set(text.replace(",", " ").split())


# Settlement ----------------------------------------------------------------------------


def test_an_hour_is_settled_from_every_reading_that_is_there(world: World) -> None:
    run_until_first_hour(world, 16)
    world.now = FIRST
    read = span(FIRST - 300, FIRST)
    (contract,) = world.state.contracts
    rows = (Reading(contract_id=contract, node_id="n1", healthy=ChipSeconds(2_400)),)
    batch = MeterBatch(
        meter_id="meter-1", pool_id="tx-1-h100", interval=read, sequence=1, readings=rows
    )
    world.must(c.SubmitReadings(header=world.header("meter-1"), batch=batch))
    settle = c.SettleHour(
        header=world.header("exchange"),
        auction_id="before",
        interval=span(FIRST - 3600, FIRST),
        postings_sha256="00" * 32,
        delivered_sha256="00" * 32,
        batch_count=0,
    )
    refused = world.refused(settle)
    assert (refused.code, refused.field, refused.limit) == (Code.WRONG_STATE, "batch_count", "1")
    for count in (1, -1):  # -1: an entry of before it was stated
        counted = dataclasses.replace(settle, batch_count=count)
        assert world.refused(counted).field == "documents"
    # Another settlement moved the stop-loss pool since this one was worked out.
    stale = dataclasses.replace(settle, batch_count=1, pool_balance=7)
    refused = world.refused(stale)
    assert (refused.code, refused.field, refused.limit) == (Code.WRONG_STATE, "pool_balance", "0")
    fresh = dataclasses.replace(stale, pool_balance=0)
    assert world.refused(fresh).field == "documents"
