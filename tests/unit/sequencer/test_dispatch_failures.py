"""Failed nodes, called cover and lost sites, worked by hand."""

from __future__ import annotations

import dataclasses

from clearing.types import Cover, Eligibility, Interval
from clearing.units import UnixSeconds
from iso_exchange import commands as c
from iso_exchange.sequencer.dispatch_stage import Stage, Standings
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.spot_market import COVER_CALLED
from tests.unit.sequencer.dispatch_world import (
    READY,
    Supplier,
    at,
    call_cover,
    covered,
    dispatched,
    hand_over,
    instruct,
    of_other,
    outage,
    picture,
    row_of,
    step,
    told,
)
from tests.unit.sequencer.spot_world import (
    POOL,
    SPOT,
    STEP,
    USD,
    gang_terms,
    market_terms,
    offer,
    positions,
    run_at,
    steps_terms,
)
from tests.unit.sequencer.world import FIRST, World, registered, run_until_first_hour, span

FAR = "no-1-h100"
CONTRACT = f"before/first-f/{POOL}/supply-0/{FAR}"


def only(pool_id: str) -> Eligibility:
    return Eligibility(pool_ids=(pool_id,))


def dispatched_at_two_sites() -> World:
    """Two pools, and two nodes that an auction sold in one of them with a backup in the other."""
    world = registered()
    world.must(world.participant("other", c.Role.BUYER))
    world.must(world.deposit("other", 1_000))
    world.must(world.site(site_id="no-1", region="eu-north", country="NO"))
    world.must(world.pool(pool_id=FAR, site_id="no-1"))
    run_until_first_hour(world, 16)
    auction = world.state.auctions["before"]
    assert auction.assignment is not None
    (sold,) = auction.assignment.contracts
    moved = dataclasses.replace(
        sold,
        contract_id=CONTRACT,
        order_id="first-f",
        backup_pool_id=FAR,
        cover=Cover.SITE,
        hours=tuple(
            dataclasses.replace(hour, interval=span(FIRST, FIRST + 3_600)) for hour in sold.hours
        ),
    )
    auction.assignment = dataclasses.replace(auction.assignment, contracts=(moved,))
    auction.spec = dataclasses.replace(auction.spec, intervals=(span(FIRST, FIRST + 3_600),))
    world.state.contracts[CONTRACT] = moved
    world.must(market_terms(world, ready_within_s=READY))
    return world


def firm(world: World, name: str, chips: int, **changes: object) -> c.SubmitOrder:
    return covered(steps_terms(world, name, notice_s=None, chips=chips, **changes))


def full_pool(world: World) -> None:
    """Four nodes of covered firm work, and four of interruptible work of two buyers' orders."""
    offer(world)
    world.must(covered(gang_terms(world, "firm-f", notice_s=None, chips=32, limit=9 * USD)))
    world.must(steps_terms(world, "dear-d", chips=16, limit=5 * USD))
    world.must(of_other(world, steps_terms(world, "cheap-c", chips=16, limit=3 * USD)))
    hand_over(world, step(world, 0))


def test_a_spare_node_takes_over_at_once_and_only_for_covered_work() -> None:
    world = dispatched()
    offer(world)
    world.must(firm(world, "firm-f", 8))
    world.must(steps_terms(world, "plain-p", chips=48, notice_s=None))
    hand_over(world, step(world, 0))
    assert picture(world) == "ppppppfS"
    world.now = at(0) + 60
    outage(world, 2, end=at(40))
    # Nothing is idle: the plain work loses its node, the spare one stays where it is.
    assert told(instruct(world)) == [("STOP", "plain-p", (2,))]
    outage(world, 6, end=at(40))
    release, replace = instruct(world)
    assert (release.kind.value, release.nodes) == ("RELEASE_SPARE", (7,))
    assert (replace.kind.value, replace.nodes, replace.replaces) == ("REPLACE", (7,), (6,))
    assert (replace.at, replace.due) == (world.now, world.now + READY)
    assert call_cover(world) == []
    assert picture(world) == "pp.ppp.f"


def test_cover_is_called_from_the_interruptible_that_loses_least_after_its_notice() -> None:
    world = dispatched()
    full_pool(world)
    assert sorted(picture(world)) == sorted("ffffddcc")
    (first,) = [node for node, held in row_of(world).held.items() if held.load_id == "firm-f"][:1]
    world.now = at(0) + 60
    outage(world, first, end=at(40))
    assert told(instruct(world)) == [("STOP", "firm-f", (first,))]
    assert row_of(world).lost == {"firm-f": (first,)}
    (notice,) = call_cover(world)
    assert (notice.order_id, notice.chips, notice.reason) == ("cheap-c", 8, COVER_CALLED)
    assert (notice.deadline, notice.responsible) == (at(0) + 60 + 300, "SUPPLIER")
    # Interval 2 and later are bound no more; interval 1, in which the notice ends, is.
    assert positions(world, "cheap-c") == {0: 16, 1: 16}
    contract = next(item for item in world.state.contracts.values() if item.order_id == "cheap-c")
    standing = Standings(world.state, world.now).of(contract)
    assert standing is not None
    assert (standing.stage, standing.deadline) == (Stage.NOTICE, notice.deadline)
    # The next run knows: it sells seven nodes, and takes nothing from who was told.
    run = run_at(world, at(1))
    assert [item.reason for item in run.notices] == []
    instruct(world)
    world.now = notice.deadline - 1
    assert instruct(world) == []
    world.now = notice.deadline
    stop, replace = instruct(world)
    assert (stop.kind.value, stop.load_id, len(stop.nodes)) == ("STOP", "cheap-c", 1)
    assert (replace.kind.value, replace.load_id) == ("REPLACE", "firm-f")
    assert (replace.replaces, replace.nodes) == ((first,), stop.nodes)
    assert call_cover(world) == []
    step(world, 2)
    assert picture(world).count("f") == 4
    assert len(row_of(world).held) == 7


def test_a_gang_is_reclaimed_whole_and_firm_work_never() -> None:
    world = dispatched()
    offer(world)
    world.must(covered(gang_terms(world, "firm-f", notice_s=None, chips=24, limit=9 * USD)))
    world.must(gang_terms(world, "plain-p", notice_s=None, chips=16, limit=5 * USD))
    world.must(steps_terms(world, "dear-d", chips=8, limit=90 * USD))
    world.must(of_other(world, gang_terms(world, "gang-g", chips=16, limit=3 * USD)))
    hand_over(world, step(world, 0))
    assert sorted(picture(world)) == sorted("fffppdgg")
    world.now = at(0) + 10
    (lost,) = [node for node, held in row_of(world).held.items() if held.load_id == "firm-f"][:1]
    outage(world, lost, end=at(40))
    instruct(world)
    (notice,) = call_cover(world)
    assert (notice.order_id, notice.chips) == ("gang-g", 16)
    world.now = notice.deadline
    run_at(world, at(1))
    world.now = notice.deadline
    changes = told(instruct(world))
    assert ("STOP", "gang-g", tuple(sorted(changes[0][2]))) == changes[0]
    assert len(changes[0][2]) == 2
    assert picture(world).count("f") == 3
    assert picture(world).count("p") == 2
    assert "g" not in picture(world)
    ended = row_of(world).ended["gang-g"]
    assert (ended.reason, ended.at) == ("RECLAIMED", notice.deadline)
    contract = next(item for item in world.state.contracts.values() if item.order_id == "gang-g")
    standing = Standings(world.state, world.now).of(contract)
    assert standing is not None
    assert (standing.stage, standing.reason) == (Stage.RECLAIMED, COVER_CALLED)
    # A reclaimed gang is over.
    step(world, 2)
    assert "g" not in picture(world)


def test_no_other_notices_than_the_state_asks_for_are_taken() -> None:
    world = dispatched()
    full_pool(world)
    world.now = at(0) + 60
    command = c.GiveNotices(
        header=world.header("exchange"),
        run_id=f"{SPOT}/{at(0)}",
        participant_id="lab",
        notices=(),
        pool_id=POOL,
        at=UnixSeconds(world.now),
    )
    assert world.refused(command).code is Code.WRONG_STATE
    strange = dataclasses.replace(command, run_id="other/1")
    assert world.refused(strange).code is Code.UNKNOWN_AUCTION


def test_a_report_names_nodes_as_instructions_do() -> None:
    world = dispatched()
    full_pool(world)
    report = c.ReportOutage(
        header=world.header("acme"),
        outage_id="out",
        pool_id=POOL,
        interval=Interval(start=UnixSeconds(at(1)), end=UnixSeconds(at(2))),
        nodes=("n0008",),
        reason="a fault",
    )
    assert world.refused(report).field == "node_ids"


def test_a_lost_site_stops_everything_there() -> None:
    world = dispatched()
    full_pool(world)
    supplier = Supplier()
    world.now = at(0) + 60
    outage(world, end=at(3))
    stops = instruct(world)
    assert {item.kind.value for item in stops} == {"STOP"}
    assert picture(world) == "." * 8
    assert call_cover(world) == []
    assert supplier.serves == {}
    assert STEP == 300


def test_covered_work_of_a_lost_site_moves_to_its_backup() -> None:
    """An hour of a day-ahead contract with SITE cover; its backup is full of interruptibles."""
    world = dispatched_at_two_sites()
    offer(world, "far-supply", pool_id=FAR)
    world.must(of_other(world, steps_terms(world, "soft-s", chips=64, where=only(FAR))))
    step(world, 0)
    assert picture(world) == "ff......"
    assert picture(world, FAR) == "s" * 8
    world.now = at(0) + 60
    outage(world, end=at(12))
    assert told(instruct(world)) == [("STOP", "first-f", (0, 1))]
    assert row_of(world).lost == {}
    (notice,) = call_cover(world)
    assert (notice.pool_id, notice.order_id, notice.chips) == (FAR, "soft-s", 16)
    run_at(world, at(1))
    world.now = notice.deadline
    told_there = instruct(world)
    assert told(told_there) == [("STOP", "soft-s", (6, 7)), ("START", "first-f", (6, 7))]
    assert told_there[1].contract_ids == (CONTRACT,)
    contract = world.state.contracts[CONTRACT]
    standing = Standings(world.state, world.now).of(contract)
    assert standing is not None
    assert (standing.pool_id, standing.nodes, standing.sold) == (FAR, (6, 7), 2)
