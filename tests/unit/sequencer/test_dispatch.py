"""Instructions of runs, worked by hand: who is told what, receipts, time-outs."""

from __future__ import annotations

import dataclasses
import hashlib

from clearing import codec
from clearing.units import UnixSeconds
from iso_exchange import commands as c
from iso_exchange.sequencer.dispatch import batches, moment_of
from iso_exchange.sequencer.refusals import Code, Rejected
from tests.unit.sequencer.dispatch_world import (
    READY,
    at,
    command_of,
    dispatched,
    hand_over,
    instruct,
    picture,
    receipt,
    row_of,
    step,
    time_out,
    told,
)
from tests.unit.sequencer.spot_world import (
    POOL,
    SPOT,
    gang_terms,
    market_of,
    offer,
    opened,
    run_at,
    steps_terms,
)


def test_a_run_starts_work_the_next_ones_leave_it_where_it_is() -> None:
    world = dispatched()
    offer(world)
    world.must(gang_terms(world, "gang-a"))
    world.must(steps_terms(world, "steps-b", chips=8))
    first = step(world, 0)
    assert told(first) == [("START", "gang-a", (0, 1)), ("START", "steps-b", (2,))]
    gang = first[0]
    assert (gang.buyer_id, gang.at, gang.due) == ("lab", at(0), at(0) + READY)
    assert gang.contract_ids == (f"spot/{at(0)}/gang-a/{POOL}/supply",)
    assert [item.sequence for item in first] == [1, 2]
    hand_over(world, first)
    assert step(world, 1) == []
    world.must(world.cancel("steps-b"))
    # What its notice bound is delivered; then it stops.
    assert step(world, 2) == []
    assert told(step(world, 3)) == [("STOP", "steps-b", (2,))]
    assert picture(world) == "aa......"


def test_a_batch_is_exactly_what_follows_from_the_state() -> None:
    world = dispatched()
    offer(world)
    world.must(gang_terms(world, "gang-a"))
    assert told(step(world, 0)) == [("START", "gang-a", (0, 1))]
    world.must(steps_terms(world, "steps-b", chips=8))
    run_at(world, at(1))
    moment = moment_of(world.state, market_of(world), world.now)
    assert moment == (at(1), at(1))
    (due,) = batches(world.state, market_of(world), *moment)
    (pool,) = due.batch.pools
    forged = dataclasses.replace(pool.instructions[0], nodes=(5,))
    other = dataclasses.replace(
        due.batch, pools=(dataclasses.replace(pool, instructions=(forged,)),)
    )
    for batch in (other, dataclasses.replace(due.batch, at=UnixSeconds(at(1) + 60))):
        command, body = command_of(world, batch)
        answer = world.apply(command, {hashlib.sha256(body).digest(): body})
        assert isinstance(answer, Rejected)
        assert answer.code is Code.WRONG_STATE
    command, body = command_of(world, due.batch)
    assert codec.digest(due.batch) == command.batch_sha256
    # Not a second time, and never of the past.
    assert not isinstance(world.apply(command, {hashlib.sha256(body).digest(): body}), Rejected)
    again = world.apply(command, {hashlib.sha256(body).digest(): body})
    assert isinstance(again, Rejected)


def test_without_a_receipt_in_time_the_nodes_count_as_failed_and_others_start() -> None:
    world = dispatched()
    offer(world)
    world.must(gang_terms(world, "gang-a"))
    (start,) = step(world, 0)
    world.now = start.due
    assert time_out(world) == 0
    world.now = start.due + 1
    assert time_out(world) == 1
    assert time_out(world) == 0
    # Idle nodes serve what was sold.
    assert told(instruct(world)) == [("REPLACE", "gang-a", (2, 3))]
    (waiting,) = row_of(world).starts.values()
    assert (waiting.nodes, waiting.due) == ((2, 3), world.now + READY)
    # The next run does not sell the two that failed.
    world.must(steps_terms(world, "steps-b", chips=64))
    step(world, 1)
    assert picture(world) == "..aabbbb"


def test_a_receipt_says_handed_over_or_cannot_node_by_node() -> None:
    world = dispatched()
    offer(world)
    world.must(gang_terms(world, "gang-a"))
    (start,) = step(world, 0)
    strange = receipt(world, start)
    strange = dataclasses.replace(strange, nodes=(0, 7))
    assert world.refused(strange).code is Code.INVALID_VALUE
    world.must(receipt(world, dataclasses.replace(start, nodes=(1,))))
    assert row_of(world).held[1].receipt_index == world.index - 1
    assert row_of(world).held[0].receipt_index == -1
    answer = world.must(receipt(world, start, cannot=(0,), until=at(3)))
    assert answer.owners == ("acme", "lab")
    assert row_of(world).starts == {}
    assert told(instruct(world)) == [("REPLACE", "gang-a", (2,))]
    assert world.refused(receipt(world, start)).code is Code.WRONG_STATE
    world.must(steps_terms(world, "steps-b", chips=64))
    step(world, 1)
    assert picture(world) == ".aabbbbb"
    # In service again.
    step(world, 2)
    step(world, 3)
    assert picture(world) == "baabbbbb"


def test_a_supplier_acknowledges_a_batch_of_its_own_once() -> None:
    world = dispatched()
    offer(world)
    world.must(gang_terms(world, "gang-a"))
    step(world, 0)
    index = world.index - 1

    def by(signer: str) -> c.AcknowledgeBatch:
        return c.AcknowledgeBatch(header=world.header(signer), batch_index=index)

    assert world.refused(by("lab")).code is Code.NOT_FOUND
    assert world.must(by("acme")).owners == ("acme",)
    assert world.refused(by("acme")).code is Code.NOT_FOUND


def test_nobody_is_instructed_for_a_market_that_does_not_say_within_what_time() -> None:
    world = opened()
    offer(world)
    world.must(gang_terms(world, "gang-a"))
    run_at(world, at(0))
    command = c.InstructSuppliers(
        header=world.header("exchange"),
        market_id=SPOT,
        supplier_ids=("acme",),
        start=UnixSeconds(at(0)),
        at=UnixSeconds(at(0)),
        batch_sha256="00" * 32,
    )
    assert world.refused(command).code is Code.UNKNOWN_AUCTION


def test_base_load_goes_on_in_an_interval_without_a_run_and_work_that_is_not_bound_stops() -> None:
    world = dispatched()
    offer(world)
    world.must(world.entitlement(chips=16))
    world.must(steps_terms(world, "steps-b", chips=8, notice_s=None))
    hand_over(world, step(world, 0))
    assert picture(world) == "11b....S"
    # The gate of the second run never closed.
    world.now = at(1)
    stop, release = instruct(world)
    assert told([stop, release]) == [("STOP", "steps-b", (2,)), ("RELEASE_SPARE", "", (7,))]
    assert picture(world) == "11......"


def test_a_time_out_is_declared_for_all_that_is_missing_and_not_before() -> None:
    world = dispatched()
    offer(world)
    world.must(gang_terms(world, "gang-a"))
    (start,) = step(world, 0)

    def declare(*nodes: int) -> c.DeclareTimeout:
        return c.DeclareTimeout(
            header=world.header("exchange"),
            pool_id=POOL,
            sequence=start.sequence,
            nodes=nodes,
        )

    world.now = start.due
    assert world.refused(declare(0, 1)).code is Code.WRONG_STATE
    world.now += 1
    assert world.refused(declare(0)).code is Code.WRONG_STATE
    assert world.must(declare(0, 1)).owners == ("acme", "lab")
    assert world.refused(declare(0, 1)).code is Code.WRONG_STATE
    # A receipt that comes later than that is no receipt.
    assert world.refused(receipt(world, start)).code is Code.WRONG_STATE


def test_suppliers_are_told_the_latest_key_of_the_buyer() -> None:
    world = dispatched()
    offer(world)
    nothing = c.SetAccessKey(header=world.header("lab"), public_key=bytes(32))
    assert world.refused(nothing).code is Code.INVALID_VALUE
    for first in (1, 2):
        key = bytes([first]) * 32
        world.must(c.SetAccessKey(header=world.header("lab"), public_key=key))
    world.must(gang_terms(world, "gang-a"))
    (start,) = step(world, 0)
    assert start.access_key == "02" * 32
