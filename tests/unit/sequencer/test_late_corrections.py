"""What is said of a day-ahead hour after the spot runs of the same hour are settled and forgotten.

A run leaves the memory when it is settled. The day-ahead hour beside it can be corrected and
disputed for 60 days, out of the same meter batches.
"""

from __future__ import annotations

import hashlib

import pytest

from clearing import codec
from clearing.types import Interval
from clearing.units import ChipSeconds, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.money_commands import (
    CorrectHour,
    CounterReading,
    DecideDispute,
    DisputeHour,
    PublishSpot,
)
from iso_exchange.sequencer.after_auction import batches_of, month_of
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.spot_moves import cells_due
from iso_exchange.sequencer.spot_returns import passed_of
from iso_exchange.sequencer.state import Auction, find_auction
from iso_exchange.sequencer.strips import delivery_intervals
from iso_exchange.settler import recomputation
from iso_exchange.settler.interval import SettledInterval, settle_interval
from settlement.ledger import accounts
from settlement.postings.spot_holds import spot_postings
from settlement.spot.result import SpotResult
from settlement.types import Contract, MeterBatch, Postings, Reading
from tests.unit.sequencer.spot_world import POOL, STEP, offer, opened, run_at, steps_terms
from tests.unit.sequencer.world import FIRST, World, run_until_first_hour, span

HOUR = FIRST - 3_600
"""The day-ahead hour; spot runs take place in its first two intervals."""
NODE_SECONDS = 8 * STEP
DAYS_60 = 60 * 86_400


def read(world: World, start: int, sequence: int, **changes: int) -> c.SubmitReadings:
    """Every contract of an interval healthy, but for the chip-seconds named by contract."""
    rows = tuple(
        Reading(
            contract_id=contract.contract_id,
            node_id=f"{place}-n{node}",
            healthy=ChipSeconds(changes.get(contract.auction_id, NODE_SECONDS)),
        )
        for place, contract in enumerate(sorted_contracts(world))
        for hour in contract.hours
        if hour.interval.start <= start < hour.interval.end
        for node in range(hour.chips // 8)
    )
    return batch(world, start, sequence, rows)


def sorted_contracts(world: World) -> list[Contract]:
    return [world.state.contracts[name] for name in sorted(world.state.contracts)]


def batch(
    world: World, start: int, sequence: int, rows: tuple[Reading, ...], corrects: int = 0
) -> c.SubmitReadings:
    return c.SubmitReadings(
        header=world.header("meter-1"),
        batch=MeterBatch(
            meter_id="meter-1",
            pool_id=POOL,
            interval=span(start, start + STEP),
            sequence=sequence,
            readings=rows,
            corrects=corrects,
        ),
    )


def settled(world: World, auction: Auction, interval: Interval) -> SettledInterval:
    """One interval settled from the readings that are there."""
    state, assignment = world.state, auction.assignment
    table = state.chip_table()
    assert assignment is not None
    assert table is not None
    batches = batches_of(state, auction, interval)
    done = settle_interval(
        assignment=assignment,
        interval=interval,
        batches=batches,
        table=table,
        pool_balance=state.books.balance(accounts.POOL).posted,
        earlier=recomputation.hours_of(state, auction),
        results=auction.spot,
        passed=passed_of(state),
    )
    documents = {bytes.fromhex(codec.digest(item)): codec.encode(item) for item in parts(done)}
    command = c.SettleHour(
        header=world.header("exchange"),
        auction_id=auction.spec.auction_id,
        interval=interval,
        delivered_sha256=codec.digest(done.delivered),
        postings_sha256=codec.digest(done.postings),
        batch_count=len(batches),
    )
    answer = world.apply(command, documents)
    assert isinstance(answer, Accepted), answer
    return done


def posted(world: World, auction: Auction, result: SpotResult) -> None:
    """What a published run says of an interval of a day-ahead auction."""
    assert auction.assignment is not None
    found = (result, spot_postings(auction.assignment, result))
    command = PublishSpot(
        header=world.header("exchange"),
        auction_id=auction.spec.auction_id,
        interval=result.interval,
        spot_sha256=codec.digest(found[0]),
        postings_sha256=codec.digest(found[1]),
    )
    documents = {bytes.fromhex(codec.digest(item)): codec.encode(item) for item in found}
    answer = world.apply(command, documents)
    assert isinstance(answer, Accepted), answer


def parts(done: SettledInterval) -> tuple[object, object]:
    return done.delivered, done.postings


def after_everything() -> World:
    """A day-ahead hour of 16 chips and two runs of 16 beside it, all read and settled."""
    world = opened(first_start=HOUR, look_ahead=2)
    offer(world, "rest", chips=32, start=HOUR, end=FIRST)
    run_until_first_hour(world, 16)
    world.must(steps_terms(world, "work", start=HOUR, end=FIRST, notice_s=None))
    for place in (0, 1):
        run_at(world, HOUR + place * STEP)
    world.now = FIRST
    for place in range(12):
        world.must(read(world, HOUR + place * STEP, place + 1))
    before = world.state.auctions["before"]
    for result in list(cells_due(world.state, before, world.now)):
        posted(world, before, result)
    settled(world, before, span(HOUR, FIRST))
    # The runs are not the last of their day: nothing holds them back.
    for place in (0, 1):
        run = find_auction(world.state, f"spot/{HOUR + place * STEP}")
        assert run is not None
        for interval in delivery_intervals(run):
            settled(world, run, interval)
    assert not world.state.runs
    return world


def dispute(world: World, healthy: int) -> DisputeHour:
    (contract,) = sorted_contracts(world)
    return DisputeHour(
        header=world.header("lab"),
        dispute_id="d-1",
        contract_id=contract.contract_id,
        hour_start=UnixSeconds(HOUR),
        reason="our own counters say less",
        counter_readings=(
            CounterReading(
                node_id="0-n0",
                interval=span(HOUR, HOUR + STEP),
                healthy=ChipSeconds(healthy),
            ),
        ),
    )


def test_a_dispute_is_compared_with_what_the_meter_said_and_corrects_the_difference() -> None:
    world = after_everything()
    auction = world.state.auctions["before"]
    (before,) = world.state.delivered["before", HOUR]
    assert before.delivered == 16 * 3_600
    claims_nothing = world.refused(dispute(world, NODE_SECONDS))
    assert claims_nothing.field == "counter_readings"
    world.must(dispute(world, NODE_SECONDS - 1_000))
    world.must(
        DecideDispute(header=world.header("operator"), dispute_id="d-1", upheld=True, reason="yes")
    )
    assert auction.due == {HOUR}
    delivered, postings = recomputation.corrected(world.state, auction, HOUR)
    (after,) = delivered.hours
    assert after.delivered == before.delivered - 1_000, "nothing but what was contested"
    command = CorrectHour(
        header=world.header("exchange"),
        auction_id="before",
        interval=span(HOUR, FIRST),
        number=1,
        delivered_sha256=codec.digest(delivered),
        postings_sha256=codec.digest(postings),
        batch_count=12,
    )
    answer = world.apply(
        command,
        {bytes.fromhex(codec.digest(item)): codec.encode(item) for item in (delivered, postings)},
    )
    assert isinstance(answer, Accepted), answer


def test_a_meter_corrects_the_day_ahead_hour_and_leaves_settled_runs_as_they_were() -> None:
    world = after_everything()
    known = world.state.batches[POOL, UnixSeconds(HOUR)]
    own, others = known.readings[:2], known.readings[2:]
    assert others, "rows of the run stand in the batch"
    less = tuple(
        Reading(contract_id=row.contract_id, node_id=row.node_id, healthy=ChipSeconds(0))
        for row in own
    )
    changed = Reading(
        contract_id=others[0].contract_id, node_id=others[0].node_id, healthy=ChipSeconds(1)
    )
    refused = world.refused(batch(world, HOUR, 13, (*less, changed), corrects=1))
    assert (refused.code, refused.got) == (Code.WRONG_STATE, others[0].contract_id)
    world.must(batch(world, HOUR, 14, (*less, *others), corrects=1))
    delivered, _ = recomputation.corrected(world.state, world.state.auctions["before"], HOUR)
    assert [hour.delivered for hour in delivered.hours] == [16 * (3_600 - STEP)]


def test_readings_that_nothing_can_ask_for_any_more_leave_the_memory() -> None:
    world = after_everything()
    assert len(world.state.batches) == 12
    late = HOUR + DAYS_60 + 2 * 86_400
    world.now = late - 100
    del world.state.auctions["da-1"]  # never closed: its hours would be awaited for ever
    offer(world, order_id="later", chips=32, start=late, end=late + 3_600)
    world.must(steps_terms(world, "work-2", start=late, end=late + 3_600, notice_s=None))
    run = run_at(world, late)
    world.now = late + STEP
    world.must(read(world, late, 99))
    (interval,) = delivery_intervals(run)
    settled(world, run, interval)
    assert {start for _, start in world.state.batches} == {late}
    old = world.refused(batch(world, HOUR, 100, ()))
    assert old.advice == "this interval is settled"


def test_an_interval_that_only_runs_delivered_in_is_not_read_again() -> None:
    world = opened(first_start=HOUR, look_ahead=2)
    offer(world, start=HOUR, end=FIRST)
    world.must(steps_terms(world, "work", start=HOUR, end=FIRST, notice_s=None))
    for place in (0, 1, 2):
        run = run_at(world, HOUR + place * STEP)
        world.now = HOUR + (place + 1) * STEP
        world.must(read(world, HOUR + place * STEP, place + 1))
        settled(world, run, delivery_intervals(run)[0])
    assert world.refused(batch(world, HOUR, 9, ())).advice == "this interval is settled"


def test_the_pool_is_rebated_for_what_forgotten_runs_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = after_everything()
    month = month_of(UnixSeconds(HOUR))
    assert month_of(UnixSeconds(FIRST)) == month
    assert world.state.forgotten == {month.start: {"lab": 2 * 16 * STEP}}
    shares: list[dict[str, int]] = []

    def rebate(name: str, *, delivered: dict[str, int], **_: object) -> Postings:
        shares.append(dict(delivered))
        return Postings(postings_id=name, transfers=())

    monkeypatch.setattr(recomputation, "pool_rebate", rebate)
    recomputation.pool_surplus(world.state, month)
    assert shares == [{"lab": 16 * 3_600 + 2 * 16 * STEP}]


def test_months_that_were_rebated_are_not_kept() -> None:
    world = after_everything()
    first = month_of(UnixSeconds(HOUR)).start
    for late in (HOUR + 40 * 86_400, HOUR + 80 * 86_400):
        world.now = late - 100
        offer(world, order_id=f"offer-{late}", chips=32, start=late, end=late + 3_600)
        world.must(steps_terms(world, f"work-{late}", start=late, end=late + 3_600, notice_s=None))
        run = run_at(world, late)
        world.now = late + STEP
        world.must(read(world, late, late))
        settled(world, run, delivery_intervals(run)[0])
    assert first not in world.state.forgotten
    assert len(world.state.forgotten) == 2


def test_a_run_is_not_read_by_another_pools_meter() -> None:
    world = opened(look_ahead=2)
    world.must(world.pool(pool_id="tx-1-b"))
    world.must(
        c.RegisterMeter(
            header=world.header("operator"),
            meter_id="meter-2",
            pool_id="tx-1-b",
            public_key=hashlib.sha256(b"meter-2").digest(),
        )
    )
    offer(world)
    world.must(steps_terms(world, "work", notice_s=None))
    run_at(world, FIRST)
    world.now = FIRST + STEP
    own = read(world, FIRST, 1).batch
    other = MeterBatch(
        meter_id="meter-2",
        pool_id="tx-1-b",
        interval=own.interval,
        sequence=1,
        readings=own.readings,
    )
    refused = world.refused(c.SubmitReadings(header=world.header("meter-2"), batch=other))
    assert refused.advice == "read contracts of the meter's own pool"
