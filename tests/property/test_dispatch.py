"""Laws of dispatch: of a pool over any sequence of sales and failures, and of a market's runs."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearing.types import ServiceClass
from clearing.units import UnixSeconds
from iso_exchange.dispatch.plan import Before, Want, plan
from iso_exchange.dispatch_commands import Instruction, InstructionKind
from iso_exchange.sequencer.state import OrderState
from tests.unit.sequencer.dispatch_world import (
    Supplier,
    at,
    call_cover,
    covered,
    dispatched,
    instruct,
    of_other,
    outage,
    receipt,
    row_of,
    step,
    time_out,
)
from tests.unit.sequencer.spot_world import POOL, USD, gang_terms, offer, steps_terms

NAMES = ("a1", "a2", "b1", "b2", "c1", "c2")


@st.composite
def sales(draw: st.DrawFn, row: int) -> list[Want]:
    """What is sold of a pool: at most what it has."""
    left, wants = row, []
    for name in draw(st.permutations(NAMES)):
        nodes = draw(st.integers(0, left))
        if nodes:
            left -= nodes
            wants.append(
                Want(
                    load_id=name,
                    buyer_id=name[0],
                    nodes=nodes,
                    gang=name.endswith("2"),
                    covered=draw(st.booleans()),
                )
            )
    return wants


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_pool_is_led_by_its_instructions(data: st.DataObject) -> None:
    row = data.draw(st.integers(1, 12), "row")
    before = Before(row=row, held={}, spare=frozenset(), lost={})
    supplier, sequence = Supplier(), 0
    failed: frozenset[int] = frozenset()
    wants: list[Want] = []
    for _ in range(data.draw(st.integers(1, 5), "moments")):
        is_run = data.draw(st.booleans(), "run")
        if is_run:
            wants = data.draw(sales(row - len(failed)), "wants")
        failed = data.draw(st.frozensets(st.integers(0, row - 1), max_size=3), "failed")
        room = max(0, row - len(failed) - sum(want.nodes for want in wants))
        spare = data.draw(st.integers(0, room + 1), "spare")
        done = plan(before, wants, failed, spare)
        told = []
        for item in done.steps:
            sequence += 1
            told.append(
                Instruction(
                    sequence=sequence,
                    kind=item.kind,
                    load_id=item.load_id,
                    buyer_id=item.load_id[:1],
                    contract_ids=(),
                    nodes=item.nodes,
                    replaces=item.replaces,
                    carried=item.carried,
                    at=UnixSeconds(0),
                    due=UnixSeconds(0),
                    access_key="",
                )
            )
        supplier.follow(told)
        # Who follows knows exactly what is meant: no node serves two, none that failed serves.
        assert supplier.serves == dict(done.held)
        assert supplier.spare == done.spare
        assert not failed & {*done.held, *done.spare}
        assert not done.spare & done.held.keys()
        check_served(before, wants, dict(done.held), failed, dict(done.short), done.stopped)
        buyers = {want.load_id: want.buyer_id for want in wants}
        before = Before(
            row=row,
            held={node: (name, buyers[name]) for node, name in done.held.items()},
            spare=done.spare,
            lost=done.lost,
        )
        again = plan(before, wants, failed, spare)
        assert again.steps == (), "what was done is not done again"


def check_served(
    before: Before,
    wants: list[Want],
    held: dict[int, str],
    failed: frozenset[int],
    short: dict[str, int],
    stopped: tuple[str, ...],
) -> None:
    counts = Counter(held.values())
    for want in wants:
        missing = want.nodes - counts[want.load_id]
        assert missing >= 0
        assert short.get(want.load_id, 0) == (missing if want.covered else 0)
        assert (want.load_id in stopped) == (missing > 0 and not want.covered)
        if want.gang and not want.covered:
            assert counts[want.load_id] in (0, want.nodes), "gangs run whole"
        # Nothing migrates: what runs in service and is still wanted stays where it is.
        old = {node for node, (name, _) in before.held.items() if name == want.load_id} - failed
        if len(old) <= want.nodes and counts[want.load_id]:
            assert old <= {node for node, name in held.items() if name == want.load_id}
    assert set(held.values()) <= {want.load_id for want in wants}


@settings(
    max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(data=st.data())
def test_runs_outages_silence_and_reclaims_keep_the_laws(data: st.DataObject) -> None:
    world = dispatched()
    offer(world)
    world.must(covered(gang_terms(world, "firm-f", notice_s=None, chips=16, limit=9 * USD)))
    world.must(covered(steps_terms(world, "unit-u", notice_s=None, chips=8, limit=8 * USD)))
    world.must(of_other(world, gang_terms(world, "gang-g", chips=16, limit=3 * USD)))
    world.must(of_other(world, steps_terms(world, "soft-s", chips=24, limit=2_600_000)))
    supplier = Supplier()
    for place in range(4):
        told = step(world, place)
        supplier.follow(told)
        for offset in sorted(data.draw(st.sets(st.integers(0, 299), min_size=1, max_size=2))):
            world.now = max(world.now, at(place) + offset)
            for item in told:
                open_nodes = row_of(world).starts.get(item.sequence)
                if open_nodes is not None and data.draw(st.booleans(), "answers"):
                    bad = open_nodes.nodes[:1] if data.draw(st.booleans(), "cannot") else ()
                    world.must(receipt(world, item, nodes=open_nodes.nodes, cannot=bad))
            if data.draw(st.booleans(), "breaks"):
                outage(world, data.draw(st.integers(0, 7), "node"), end=at(place + 2))
            time_out(world)
            told = [*told, *(fresh := instruct(world))]
            supplier.follow(fresh)
            for notice in call_cover(world):
                bid = world.state.orders[notice.order_id].order
                assert bid.service_class is ServiceClass.INTERRUPTIBLE  # type: ignore[union-attr]
                assert notice.deadline == world.now + bid.notice_s  # type: ignore[union-attr]
            row = row_of(world)
            assert supplier.serves == {node: held.load_id for node, held in row.held.items()}
            assert supplier.spare == row.spare
            assert supplier.sequence == row.sequence
            waiting = {node for start in row.starts.values() for node in start.nodes}
            silent = {node for node, held in row.held.items() if held.receipt_index < 0}
            assert waiting == silent, "every start ends in a receipt, a time-out or a stop"
    world.now = at(4) + 1_000
    for order_id in list(world.state.markets["spot"].order_ids):
        if world.state.orders[order_id].state is OrderState.OPEN:
            who = world.state.orders[order_id].submitted.participant_id
            world.must(world.cancel(order_id, who=who))
    time_out(world)
    supplier.follow(instruct(world))
    bound = {name for name, pools in world.state.markets["spot"].bound.items() if POOL in pools}
    assert set(supplier.serves.values()) <= bound
    assert InstructionKind.STOP.value == "STOP"
