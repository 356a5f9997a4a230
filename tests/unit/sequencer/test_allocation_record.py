"""Records of allocation: what the rules take, and what both verifiers find when one lies."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clearing import codec
from clearing.types import Interval
from clearing.units import ChipSeconds, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.audit.allocation import AllocationAudit, check_public_allocation
from iso_exchange.audit.report import Record, Step
from iso_exchange.audit.results import EntryContext
from iso_exchange.sequencer.allocation import (
    Alarm,
    IdleShare,
    Level,
    PoolAllocation,
    allocations,
    level_of,
)
from iso_exchange.sequencer.allocation_demand import Idle
from iso_exchange.sequencer.allocation_record import (
    AllocationDocument,
    draw_up,
    due_hour,
    stated,
)
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import Auction
from iso_exchange.sequencer.strips import delivery_intervals
from iso_exchange.sequencer.succession import open_business
from iso_exchange.spot_commands import ReportAllocation
from tests.unit.sequencer.spot_world import (
    SPOT,
    STEP,
    gang_terms,
    market_terms,
    offer,
    run_at,
    steps_terms,
)
from tests.unit.sequencer.test_late_corrections import settled
from tests.unit.sequencer.test_strips import BEGIN as STRIP_BEGIN
from tests.unit.sequencer.test_strips import cleared as cleared_strip
from tests.unit.sequencer.world import FIRST, World, registered

HOUR = Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + 3_600))


class Audited(World):
    """A world in which the audit looks at every entry before it is applied."""

    def __init__(self, base: World) -> None:
        super().__init__(state=base.state, now=base.now, index=base.index, requests=base.requests)
        self.record = Record()
        self.audit = AllocationAudit(record=self.record)
        self.rows: dict[int, tuple[PoolAllocation, ...]] = {}

    def apply(
        self, command: c.Command, documents: Any = None, values: Any = None
    ) -> Accepted | Rejected:
        named = {name.hex(): body for name, body in (documents or {}).items()}
        entry = EntryContext(self.index, bytes(32), named)
        self.audit.before(self.state, command, entry)
        if isinstance(command, ReportAllocation):
            check_public_allocation(self.record, command, entry)
        return super().apply(command, documents, values)


def made() -> Audited:
    """Four runs of 64 chips: two of 48, which is an alarm, and two of 64."""
    base = registered()
    del base.state.auctions["da-1"]
    base.must(market_terms(base))
    world = Audited(base)
    offer(world)
    world.must(steps_terms(world, "work", notice_s=None, chips=48))
    runs = [run_at(world, FIRST), run_at(world, FIRST + STEP)]
    world.must(steps_terms(world, "more", notice_s=None, chips=16, start=FIRST + 2 * STEP))
    runs.extend(run_at(world, FIRST + place * STEP) for place in (2, 3))
    world.now = FIRST + 4 * STEP
    for run in runs:
        for interval in delivery_intervals(run):
            settled(world, run, interval)
    return world


def record(
    world: Audited,
    interval: Interval,
    before: Alarm,
    *,
    hourly: bool,
    lie: Callable[[AllocationDocument], AllocationDocument] = lambda made: made,
) -> Accepted | Rejected:
    """Draw up a record as the exchange does, and submit what ``lie`` makes of it."""
    made = lie(draw_up(world.state, SPOT, interval, world.rows, before, hourly=hourly))
    body = codec.encode(made)
    digest = hashlib.sha256(body)
    fields: dict[str, Any] = stated(made, digest.hexdigest())
    command = ReportAllocation(header=world.header("exchange"), **fields)
    return world.apply(command, {digest.digest(): body})


def with_rows() -> Audited:
    """A world of which every run is worked out before it is settled and forgotten."""
    world = made()
    # The audit has worked out the same from the books as they were published.
    world.rows = {start: own for (_, start), own in world.audit._rows.items()}
    return world


ALARM = Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + STEP))


def close_market(world: World) -> None:
    world.must(
        c.CloseSpotMarket(header=world.header("operator"), market_id=SPOT, reason="the test")
    )


def test_an_honest_alarm_and_hour_are_taken_once_and_pass_the_audit() -> None:
    world = with_rows()
    assert due_hour(world.state, SPOT, world.now) is None, "another run of the hour may come"
    assert isinstance(record(world, ALARM, Alarm(), hourly=False), Accepted)
    again = record(world, ALARM, Alarm(), hourly=False)
    assert isinstance(again, Rejected)
    assert again.code is Code.ALREADY_EXISTS
    early = record(world, HOUR, Alarm(), hourly=True)
    assert isinstance(early, Rejected)
    assert early.code is Code.WRONG_STATE
    close_market(world)
    assert due_hour(world.state, SPOT, world.now) == HOUR
    waits = f"the allocation of {SPOT} from {FIRST} on is not on record"
    assert waits in list(open_business(world.state)), "a log does not end before it"
    fresh = record(world, HOUR, Alarm(), hourly=True)
    assert isinstance(fresh, Accepted)
    assert not any("allocation" in text for text in open_business(world.state))
    (alarm, hour) = world.state.allocations[SPOT].records
    assert (alarm.level, alarm.awarded, alarm.in_service) == ("MAJOR_OUTAGE", 48 * STEP, 64 * STEP)
    assert (hour.run_count, hour.awarded, hour.delivered) == (4, 2 * (48 + 64) * STEP, 0)
    # Two calmer runs are not enough.
    assert hour.level == "MAJOR_OUTAGE"
    assert world.state.allocations[SPOT].alarm == Alarm(level=Level.MAJOR_OUTAGE, calm=2)
    failed = {step.name for step in world.record.steps() if step.failures}
    assert failed == {"RESULTS"}, "the alarm that was stated twice, by the audit alone"


def shifted(made: AllocationDocument) -> AllocationDocument:
    """Idle chips under another reason."""
    (row,) = made.pools
    (share,) = row.idle
    other = dataclasses.replace(share, reason=Idle.PRICE)
    return dataclasses.replace(made, pools=(dataclasses.replace(row, idle=(other,)),))


def fuller(made: AllocationDocument) -> AllocationDocument:
    """Eight more chips awarded, and so many fewer idle."""
    (row,) = made.pools
    (share,) = row.idle
    less = IdleShare(reason=share.reason, quantity=ChipSeconds(share.quantity - 8 * STEP))
    more = dataclasses.replace(row, awarded=ChipSeconds(row.awarded + 8 * STEP), idle=(less,))
    return dataclasses.replace(made, pools=(more,))


def kept_back(made: AllocationDocument) -> AllocationDocument:
    """Idle chips that were offered to nobody are not in service."""
    (row,) = made.pools
    (share,) = row.idle
    other = dataclasses.replace(share, reason=Idle.NOT_OFFERED)
    return dataclasses.replace(made, pools=(dataclasses.replace(row, idle=(other,)),))


def metered(made: AllocationDocument) -> AllocationDocument:
    """Chips that no meter saw."""
    (row,) = made.pools
    return dataclasses.replace(
        made, pools=(dataclasses.replace(row, delivered=ChipSeconds(row.delivered + 1)),)
    )


def calm(made: AllocationDocument) -> AllocationDocument:
    """Levels that the runs do not give."""
    runs = tuple(
        dataclasses.replace(run, alarm=Level.NORMAL, level=Level.NORMAL) for run in made.runs
    )
    return dataclasses.replace(made, runs=runs, alarm=Alarm())


@pytest.mark.parametrize("lie", [shifted, fuller, kept_back, metered, calm])
def test_a_lie_about_an_hour_is_found(
    lie: Callable[[AllocationDocument], AllocationDocument],
) -> None:
    world = with_rows()
    assert isinstance(record(world, ALARM, Alarm(), hourly=False), Accepted)
    close_market(world)
    assert isinstance(record(world, HOUR, Alarm(), hourly=True, lie=lie), Accepted)
    assert world.record.has_failed(Step.RESULTS), lie.__name__


def test_a_change_of_the_alarm_that_is_kept_back_is_found() -> None:
    world = with_rows()
    close_market(world)
    assert isinstance(record(world, HOUR, Alarm(), hourly=True), Accepted)
    assert world.record.has_failed(Step.RESULTS)
    details = [step.detail for step in world.record.steps() if step.failures]
    assert details == [f"the change of the alarm by {SPOT}/{FIRST} is not on record"]


def test_an_hour_that_is_left_out_is_found_at_the_end_of_the_log() -> None:
    world = with_rows()
    assert isinstance(record(world, ALARM, Alarm(), hourly=False), Accepted)
    close_market(world)
    world.audit.finish(world.state, HOUR.end + 3_600)
    assert not world.record.has_failed(Step.RESULTS)
    world.audit.finish(world.state, HOUR.end + 2 * 3_600 + 1)
    assert world.record.has_failed(Step.RESULTS)


def test_an_entry_says_what_its_document_says() -> None:
    world = with_rows()
    made = draw_up(world.state, SPOT, ALARM, world.rows, Alarm(), hourly=False)
    body = codec.encode(made)
    digest = hashlib.sha256(body)
    fields: dict[str, Any] = stated(made, digest.hexdigest())
    for name, value in (
        ("awarded", fields["awarded"] + 1),
        ("level", "NORMAL"),
        ("run_count", 2),
        ("idle", ()),
        ("delivered", 0),
    ):
        command = ReportAllocation(header=world.header("exchange"), **{**fields, name: value})
        answer = world.apply(command, {digest.digest(): body})
        assert isinstance(answer, Rejected)
        assert (answer.code, answer.field) == (Code.INVALID_VALUE, name)


def test_levels_rise_at_once_and_fall_after_three_calmer_runs() -> None:
    assert [level_of(awarded, 100) for awarded in (93, 94, 95)] == [
        Level.MAJOR_OUTAGE,
        Level.WARNING,
        Level.NORMAL,
    ]
    assert level_of(0, 0) is Level.NORMAL, "nothing in service is no evidence"
    alarm = Alarm()
    seen = []
    for found in "NWMWNWNNNMNNWNNN":
        level = {"N": Level.NORMAL, "W": Level.WARNING, "M": Level.MAJOR_OUTAGE}[found]
        alarm = alarm.after(level)
        seen.append(alarm.level.value[0])
    assert "".join(seen) == "NWMMMWWWNMMMWWWN"


# The verifier that shares no code --------------------------------------------------------


def second_verifier() -> ModuleType:
    path = Path(__file__).parents[3] / "docs" / "verify_ledger.py"
    spec = importlib.util.spec_from_file_location("verify_ledger_of_allocation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class OneDocument:
    """The bundle's documents, as far as an allocation names them."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def document(self, _: str) -> bytes:
        return self.body


def followed(world: Audited, lie: Callable[[AllocationDocument], AllocationDocument]) -> str:
    """What the second verifier says of an alarm and an hour; empty when it is content."""
    module = second_verifier()
    walk = module.Walk.__new__(module.Walk)
    walk.alarms, walk.alarmed, walk.counts = {}, {FIRST: set()}, {"allocations": 0}
    walk.alarmed = {SPOT: set()}
    walk.gates = {f"{SPOT}/{FIRST + place * STEP}": place for place in range(4)}
    rows = world.rows
    for interval, hourly in ((ALARM, False), (HOUR, True)):
        made = draw_up(world.state, SPOT, interval, rows, Alarm(), hourly=hourly)
        if hourly:
            made = lie(made)
        body = codec.encode(made)
        fields: dict[str, Any] = stated(made, hashlib.sha256(body).hexdigest())
        command = ReportAllocation(header=world.header("exchange"), **fields)
        walk.bundle = OneDocument(body)
        try:
            walk.on_allocation(module.canonical_json(codec.encode(command)))
        except module.WrongError as error:
            return str(error)
    return ""


def test_the_second_verifier_follows_the_alarm() -> None:
    world = with_rows()
    assert followed(world, lambda made: made) == ""
    assert "level of run" in followed(world, calm)
    assert "of its runs are" in followed(world, kept_back)
    assert "of its runs are" in followed(world, fuller)


def spot_only() -> World:
    world = registered()
    del world.state.auctions["da-1"]
    world.must(market_terms(world))
    offer(world)
    return world


def row_of(world: World, run: Auction) -> tuple[int, dict[str, int]]:
    """Chips awarded and idle in interval 0 of a run."""
    start = run.spec.intervals[0].start
    service = world.state.allocations[SPOT].runs[start].service
    assert run.book is not None
    assert run.outcome is not None
    assert run.assignment is not None
    (row,) = allocations(run.book, run.outcome, run.assignment, service)
    return row.awarded // STEP, {share.reason.value: share.quantity // STEP for share in row.idle}


def test_chips_wait_for_work_beside_them_that_runs_out_its_notice() -> None:
    world = spot_only()
    world.must(gang_terms(world, "runs", chips=48, notice_s=600))
    assert row_of(world, run_at(world, FIRST)) == (48, {"NO_DEMAND": 16})
    world.must(gang_terms(world, "waits", chips=64, notice_s=None, limit=9_000_000))
    assert row_of(world, run_at(world, FIRST + STEP)) == (48, {"NOTICE_RUNNING": 16})
    assert row_of(world, run_at(world, FIRST + 2 * STEP)) == (48, {"NOTICE_RUNNING": 16})
    assert row_of(world, run_at(world, FIRST + 3 * STEP)) == (64, {})


def test_work_whose_notice_could_not_be_kept_leaves_its_chips_idle() -> None:
    world = spot_only()
    later = FIRST + STEP
    world.must(gang_terms(world, "later", notice_s=None, start=later, limit=9_000_000, chips=64))
    world.must(steps_terms(world, "now", notice_s=300, chips=16))
    assert row_of(world, run_at(world, FIRST)) == (0, {"NOTICE_RUNNING": 16, "NO_DEMAND": 48})


def test_what_other_auctions_hold_and_what_is_down_or_kept_back() -> None:
    world = registered()
    world.must(market_terms(world))
    world.must(world.offer(chips=16))  # still open: neither sold nor offered to the market
    offer(world, chips=40)
    world.must(steps_terms(world, "work", notice_s=None, chips=24))
    world.must(
        c.ReportOutage(
            header=world.header("operator"),
            outage_id="one",
            pool_id="tx-1-h100",
            interval=Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + 3_600)),
            nodes=("n0003",),
            reason="it is down",
        )
    )
    assert row_of(world, run_at(world, FIRST)) == (
        24,
        {"OUTAGE": 8, "NOT_OFFERED": 16, "NO_DEMAND": 16},
    )


def test_a_strip_runs_in_every_hour_of_its_week() -> None:
    world, _, _ = cleared_strip()
    begin = STRIP_BEGIN + 50 * 3_600
    world.now = begin - 1_000
    world.must(market_terms(world, first_start=begin))
    offer(world, chips=24, start=begin, end=begin + 3_600)
    # Sixteen chips of the strip, and a node that stands by for them.
    assert row_of(world, run_at(world, begin)) == (
        16,
        {"NOT_OFFERED": 16, "COVER": 8, "NO_DEMAND": 24},
    )


def test_a_row_has_no_more_awarded_than_chips_in_service() -> None:
    """A pool that is down carries nothing, whatever was bound there before."""
    base = registered()
    del base.state.auctions["da-1"]
    base.must(market_terms(base))
    offer(base)
    base.must(steps_terms(base, "work", chips=48))
    run_at(base, FIRST)
    base.must(
        c.ReportOutage(
            header=base.header("operator"),
            outage_id="dark",
            pool_id="tx-1-h100",
            interval=Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + 3_600)),
            nodes=(),
            reason="the site is lost",
        )
    )
    run: Auction = run_at(base, FIRST + STEP)
    service = base.state.allocations[SPOT].runs[FIRST + STEP].service
    assert run.book is not None
    assert run.outcome is not None
    assert run.assignment is not None
    (row,) = allocations(run.book, run.outcome, run.assignment, service)
    assert (row.awarded, row.idle) == (
        0,
        (IdleShare(reason=Idle.OUTAGE, quantity=ChipSeconds(64 * STEP)),),
    )
