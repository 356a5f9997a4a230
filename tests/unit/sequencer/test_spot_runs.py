"""Runs of a spot market, worked by hand: what binds, who gets a notice, what is left to sell."""

from __future__ import annotations

import dataclasses

import pytest

from clearing.types import Cover, Interval, Step
from clearing.units import Chips, MicroUsdPerChipHour, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.spot import renewal_of
from iso_exchange.sequencer.state import OrderState
from settlement.ledger.books import Books
from tests.unit.sequencer.spot_world import (
    POOL,
    SPOT,
    STEP,
    USD,
    close,
    gang_terms,
    market_of,
    market_terms,
    offer,
    opened,
    positions,
    run_at,
    seed,
    steps_terms,
)
from tests.unit.sequencer.world import FIRST, World, registered


def at(place: int) -> int:
    return FIRST + place * STEP


def test_interruptible_work_binds_its_notice_and_is_renewed_at_the_end_of_it() -> None:
    world = opened()
    offer(world)
    world.must(gang_terms(world, "gang"))
    run_at(world, at(0))
    # Interval 0, and one more for a notice of 300 s.
    assert positions(world, "gang") == {0: 16, 1: 16}
    run_at(world, at(1))
    assert positions(world, "gang") == {0: 16, 1: 16, 2: 16}
    run_at(world, at(2))
    # What is over is forgotten; what runs now is kept.
    assert positions(world, "gang") == {1: 16, 2: 16, 3: 16}
    assert not market_of(world).notices


def test_firm_steps_bind_interval_0_and_a_firm_block_its_whole_look_ahead() -> None:
    world = opened()
    offer(world)
    world.must(steps_terms(world, "steps", notice_s=None))
    world.must(gang_terms(world, "gang", notice_s=None, duration_s=1_500))
    run_at(world, at(0))
    assert positions(world, "steps") == {0: 16}
    assert positions(world, "gang") == dict.fromkeys(range(5), 16)


def test_a_gang_worth_more_than_the_cap_does_not_take_what_is_bound() -> None:
    world = opened()
    offer(world)
    world.must(steps_terms(world, "idle", chips=56))
    run_at(world, at(0))
    assert positions(world, "idle") == {0: 56, 1: 56}
    world.must(world.deposit("lab", 10_000))
    # Over an hour it is worth more than eight bound chips at the price cap, and awarded them.
    world.must(gang_terms(world, "gang", limit=95 * USD, notice_s=None))
    run = run_at(world, at(1))
    assert run.outcome is not None
    awards = {award.order_id: award for award in run.outcome.awards}
    assert awards["gang"].first == 0
    assert positions(world, "gang") == {}
    assert positions(world, "idle") == {0: 56, 1: 56, 2: 48}
    run_at(world, at(2))
    assert positions(world, "gang") == dict.fromkeys(range(2, 14), 16)


def test_a_notice_a_firm_spike_displaces_the_gang_at_the_end_of_its_notice() -> None:
    world = opened()
    offer(world)
    world.must(gang_terms(world, "gang", chips=48, notice_s=600))
    run_at(world, at(0))
    assert positions(world, "gang") == {0: 48, 1: 48, 2: 48}
    world.must(steps_terms(world, "spike", chips=40, limit=9 * USD, notice_s=None))
    run = run_at(world, at(1))
    # Sixteen chips are free at once; the rest of the spike waits for the notice.
    assert positions(world, "spike") == {1: 16}
    (notice,) = run.notices
    assert (notice.order_id, notice.chips, notice.deadline) == ("gang", 48, at(3))
    assert (notice.reason, notice.responsible) == ("HIGHER_VALUE_FIRM", "MARKET")
    assert positions(world, "gang") == {0: 48, 1: 48, 2: 48}
    assert run_at(world, at(2)).notices == (), "one message for one notice"
    run_at(world, at(3))
    assert positions(world, "spike")[3] == 40
    assert 3 not in positions(world, "gang")
    run_at(world, at(4))
    order = world.state.orders["gang"]
    assert (order.state, order.cancel_reason) == (
        OrderState.DECIDED,
        "it was reclaimed before its end",
    )


def test_a_notice_is_withdrawn_when_the_spike_goes() -> None:
    world = opened()
    offer(world)
    world.must(gang_terms(world, "gang", chips=48, notice_s=600))
    run_at(world, at(0))
    world.must(steps_terms(world, "spike", chips=40, limit=9 * USD, notice_s=None))
    run_at(world, at(1))
    world.must(world.cancel("spike"))
    run = run_at(world, at(2))
    (notice,) = run.notices
    assert notice.withdrawn
    assert notice.deadline == at(3)
    assert positions(world, "gang") == {1: 48, 2: 48, 3: 48, 4: 48}


def test_work_that_could_not_be_given_its_notice_does_not_begin() -> None:
    world = opened()
    offer(world)
    # From interval 1 on a firm block wants everything; it is advised there and binds later.
    world.must(gang_terms(world, "later", notice_s=None, start=at(1), limit=9 * USD, chips=64))
    world.must(steps_terms(world, "now", notice_s=300, chips=16))
    run_at(world, at(0))
    assert positions(world, "now") == {}


def test_what_the_day_ahead_sold_and_base_load_and_outages_are_out_of_supply() -> None:
    world = opened()
    world.must(world.offer(chips=16))
    world.must(world.entitlement(chips=16, cover=Cover.NONE))
    offer(world)
    world.must(
        c.ReportOutage(
            header=world.header("operator"),
            outage_id="o1",
            pool_id=POOL,
            interval=Interval(start=UnixSeconds(at(3)), end=UnixSeconds(at(6))),
            nodes=("n1",),
            reason="a node is down",
        )
    )
    run = close(world, at(0))
    assert run.book is not None
    (supply,) = run.book.offers
    # 64 less 16 offered day ahead, less 16 of base load; less one node of 8 in three intervals.
    assert [(part.first, part.stop, part.steps[0].chips) for part in supply.segments] == [
        (0, 3, 32),
        (3, 6, 24),
        (6, 12, 32),
    ]
    (base,) = run.book.nominations
    assert base.order_id == "standing:ent-1"
    assert [(part.first, part.stop, part.steps[0].chips) for part in base.segments] == [(0, 12, 16)]


def test_positions_leave_the_cheapest_steps_of_an_offer_and_the_dearest_of_a_bid() -> None:
    world = opened()
    offer(world, chips=32)
    offer(world, order_id="dear", chips=32, price=3 * USD)
    world.must(steps_terms(world, "steps", chips=40))
    run_at(world, at(0))
    assert positions(world, "steps") == {0: 40, 1: 40}
    run = close(world, at(1))
    assert run.book is not None
    left = {
        item.order_id: [(part.first, part.steps[0].chips) for part in item.segments]
        for item in run.book.offers
        if not item.order_id.startswith("bound:")
    }
    # In interval 1 (now 0) 32 chips of the cheap offer and 8 of the dear one are owed.
    assert left == {"supply": [(1, 32)], "dear": [(0, 24), (1, 32)]}
    bound, bid = run.book.step_bids
    assert [(part.first, part.stop) for part in bid.segments] == [(1, 12)]
    # What is owed stands by in interval 0 with its supply.
    assert bound.order_id == f"bound:steps/{POOL}"
    assert [(part.first, part.stop, part.steps[0].chips) for part in bound.segments] == [(0, 1, 40)]


def test_bound_interruptible_work_stands_by_for_firm_work_that_begins_beside_it() -> None:
    world = opened()
    offer(world)
    world.must(steps_terms(world, "steps", chips=56))
    run_at(world, at(0))
    assert positions(world, "steps") == {0: 56, 1: 56}
    # One node is left. Firm work with NODE cover needs a node that can be taken away: bound ones.
    firm = steps_terms(world, "firm", notice_s=None, limit=9 * USD, chips=8)
    assert isinstance(firm.terms, c.StepBidTerms)
    covered = dataclasses.replace(firm.terms.conditions, cover=Cover.NODE)
    world.must(dataclasses.replace(firm, terms=dataclasses.replace(firm.terms, conditions=covered)))
    run = run_at(world, at(1))
    assert positions(world, "firm") == {1: 8}
    assert positions(world, "steps") == {0: 56, 1: 56, 2: 56}
    assert run.assignment is None or not any(
        contract.order_id.startswith("bound:") for contract in run.assignment.contracts
    )


def test_holds_stand_and_one_that_is_not_covered_keeps_its_order_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = opened()
    offer(world)
    world.must(steps_terms(world, "old", chips=8))
    world.must(steps_terms(world, "new", chips=8))
    # 4 dollars x 8 chips x 600 s: two intervals can be bound by one run.
    hold = world.state.orders["old"].hold
    assert hold is not None
    assert hold.amount == 5_333_334
    # Bills took more than there is: the newest orders go, as many as are needed.
    monkeypatch.setattr(Books, "available_to", lambda _, name: -1 if name == "lab" else 0)
    run = close(world, at(0))
    assert run.gate is not None
    assert run.gate.credit_ids == {"new"}
    assert run.book is not None
    assert [bid.order_id for bid in run.book.step_bids] == ["old"]


def test_base_load_released_is_sold_to_interruptibles_and_recalled_after_their_notice() -> None:
    world = opened()
    world.must(world.entitlement(chips=32))
    release(world, 8, 1)
    world.must(gang_terms(world, "gang", chips=24, notice_s=300, duration_s=7_200))
    run = run_at(world, at(0))
    assert run.book is not None
    (released,) = run.book.offers
    assert (released.order_id, released.participant_id) == ("release:ent-1", "lab")
    assert positions(world, "gang") == {0: 24, 1: 24}
    release(world, 32, 2)
    run = run_at(world, at(1))
    assert run.book is not None
    (base,) = run.book.nominations
    # Interval 1 is bound to the gang; from interval 2 on the holder has everything again.
    assert [(part.first, part.steps[0].chips) for part in base.segments] == [(0, 8), (1, 32)]
    (notice,) = run.notices
    assert (notice.reason, notice.deadline) == ("BASE_LOAD_RECALL", at(2))


def release(world: World, chips: int, revision: int) -> None:
    world.must(
        c.Nominate(
            header=world.header("lab"),
            nomination_id=f"nom-{revision}",
            entitlement_id="ent-1",
            auction_id=SPOT,
            segments=(
                c.TimedSegment(
                    start=UnixSeconds(FIRST),
                    end=UnixSeconds(FIRST + 4 * 3_600),
                    steps=(Step(price=MicroUsdPerChipHour(0), chips=Chips(chips)),),
                ),
            ),
        )
    )


def test_seeds_are_a_chain_each_run_reveals_what_the_one_before_committed_to() -> None:
    world = opened()
    offer(world)
    world.must(steps_terms(world, "steps"))
    first = run_at(world, at(0))
    second = run_at(world, at(1))
    assert first.outcome is not None
    assert second.outcome is not None
    assert first.outcome.seed == seed(1).hex()
    assert second.spec.seed_commitment == seed(1).hex()
    assert second.outcome.seed == seed(2).hex()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"market_id": SPOT}, Code.ALREADY_EXISTS),
        ({"market_id": "m", "first_start": FIRST + 1}, Code.INVALID_VALUE),
        ({"market_id": "m", "interval_seconds": 200}, Code.INVALID_VALUE),
        ({"market_id": "m", "look_ahead": 0}, Code.INVALID_VALUE),
        ({"market_id": "m", "gate_lead_s": 300}, Code.INVALID_VALUE),
        ({"market_id": "m", "seed_anchor": "zz"}, Code.INVALID_VALUE),
        ({"market_id": "m", "price_floor": -1}, Code.INVALID_VALUE),
    ],
)
def test_terms_of_a_market(changes: dict[str, object], code: Code) -> None:
    world = opened()
    assert world.refused(market_terms(world, **changes)).code is code


def test_a_run_is_closed_at_its_gate_and_never_after_its_interval_began() -> None:
    world = opened()
    world.now = at(0) - 3
    run = c.CloseRun(header=world.header("exchange"), market_id=SPOT, start=UnixSeconds(at(0)))
    assert world.refused(run).code is Code.WRONG_STATE
    world.now = at(0)
    assert world.refused(run).code is Code.WRONG_STATE
    world.now = at(1) - 1
    world.must(
        c.CloseRun(header=world.header("exchange"), market_id=SPOT, start=UnixSeconds(at(1)))
    )


def test_the_world_without_a_market_is_as_before() -> None:
    assert registered().state.markets == {}


def test_a_renewal_goes_on_with_what_was_advised_firm_first_and_no_more_than_there_is() -> None:
    world = opened()
    offer(world)
    world.must(gang_terms(world, "gang", chips=32, notice_s=300))
    world.must(steps_terms(world, "firm", chips=24, notice_s=None))
    run_at(world, at(0))
    run = close(world, at(1))
    outcome = renewal_of(world.state, run, seed(2).hex())
    awards = {item.order_id: (item.first, item.chips[0]) for item in outcome.awards}
    # The gang is bound in interval 0; it goes on after it. The firm bid is renewed at once.
    assert awards == {"firm": (0, 24), "gang": (1, 32), "supply": (0, 24)}
    assert {price.energy for price in outcome.prices} == {2 * USD}
    world.must(world.cancel("supply", who="acme"))
    run = close(world, at(2))
    assert renewal_of(world.state, run, seed(2).hex()).awards == ()


@pytest.mark.parametrize(("restart_cost", "stays"), [(0, False), (500_000, True)])
def test_work_that_runs_keeps_its_place_for_its_restart_cost(
    restart_cost: int, stays: bool
) -> None:
    world = opened()
    offer(world)
    day = {"duration_s": 86_400, "chips": 64}
    world.must(gang_terms(world, "old", limit=4 * USD, restart_cost=restart_cost, **day))
    run_at(world, at(0))
    # A cent per chip-hour more, for the eleven intervals after the notice.
    world.must(gang_terms(world, "new", limit=4 * USD + 10_000, **day))
    run = run_at(world, at(1))
    assert (2 in positions(world, "old")) is stays
    assert bool(run.notices) is not stays
    run_at(world, at(2))
    assert bool(positions(world, "new")) is not stays


def test_a_gang_does_not_begin_on_chips_that_are_bound_to_others() -> None:
    """It is worth more in one interval than a node of theirs is at the cap."""
    world = opened(price_cap=10 * USD)
    offer(world)
    world.must(steps_terms(world, "runs", chips=40))
    run_at(world, at(0))
    world.must(gang_terms(world, "gang", chips=32, limit=9 * USD, notice_s=None))
    run = run_at(world, at(1))
    assert run.outcome is not None
    gang = next(award for award in run.outcome.awards if award.order_id == "gang")
    assert gang.first == 0, "the engine lets it in on bound chips"
    assert positions(world, "gang") == {}
    assert positions(world, "runs") == {0: 40, 1: 40, 2: 32}
    assert sum(notice.chips for notice in run.notices) == 8
    run_at(world, at(2))
    assert positions(world, "gang")[2] == 32
    assert positions(world, "runs")[2] == 32
