"""Granted capacity between its nominations: interruptible supply of spot runs."""

from __future__ import annotations

from clearing.types import Step
from clearing.units import Chips, MicroUsdPerChipHour, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.money_commands import RegisterGrant
from tests.unit.sequencer.spot_world import POOL, SPOT, STEP, USD, opened, positions, run_at
from tests.unit.sequencer.spot_world import steps_terms as steps
from tests.unit.sequencer.test_spot_returns import clear
from tests.unit.sequencer.world import FIRST, World, registered, span


def at(place: int) -> int:
    return FIRST + place * STEP


def granted(world: World, chips: int = 16) -> None:
    world.must(world.participant("school", c.Role.BUYER))
    world.must(
        RegisterGrant(
            header=world.header("acme"),
            grant_id="grant-1",
            beneficiary_id="school",
            supplier_id="acme",
            pool_id=POOL,
            period=span(FIRST, FIRST + 4 * 3_600),
            chips=Chips(chips),
            purpose="teaching",
        )
    )


def nominated(world: World, name: str, chips: int, first: int, stop: int) -> None:
    step = Step(price=MicroUsdPerChipHour(0), chips=Chips(chips))
    segment = c.TimedSegment(start=UnixSeconds(at(first)), end=UnixSeconds(at(stop)), steps=(step,))
    world.must(
        c.Nominate(
            header=world.header("school"),
            nomination_id=name,
            entitlement_id="grant-1",
            auction_id=SPOT,
            segments=(segment,),
        )
    )


def test_a_grant_that_is_not_nominated_serves_interruptibles_and_its_giver_earns() -> None:
    world = opened()
    granted(world)
    world.must(steps(world, "firm", notice_s=None, limit=9 * USD, chips=8))
    world.must(steps(world, "soft", notice_s=300, chips=16))
    run = run_at(world, at(0))
    assert run.book is not None
    (released,) = run.book.offers
    assert (released.order_id, released.participant_id) == ("release:grant-1", "acme")
    assert run.book.nominations == ()
    assert positions(world, "firm") == {}
    assert positions(world, "soft") == {0: 16, 1: 16}
    assert run.assignment is not None
    (contract,) = run.assignment.contracts
    assert (contract.supplier_id, contract.payer_id) == ("acme", "")


def test_a_nomination_recalls_it_within_the_notice_and_gives_it_up_at_its_end() -> None:
    world = opened()
    granted(world)
    world.must(steps(world, "soft", notice_s=300, chips=16))
    run_at(world, at(0))
    nominated(world, "class", 16, 1, 6)
    run = run_at(world, at(1))
    (notice,) = run.notices
    assert (notice.reason, notice.deadline, notice.chips) == ("BASE_LOAD_RECALL", at(2), 16)
    run = run_at(world, at(2))
    assert run.book is not None
    (base,) = run.book.nominations
    # Six intervals from the class's start; afterwards nobody nominates it.
    assert [(part.first, part.stop, part.steps[0].chips) for part in base.segments] == [(0, 4, 16)]
    assert 2 not in positions(world, "soft")
    for place in range(3, 6):
        run_at(world, at(place))
    run_at(world, at(6))
    assert positions(world, "soft") == {6: 16, 7: 16}


def test_a_day_ahead_auction_leaves_it_to_the_spot_market_where_there_is_one() -> None:
    for world, carried in ((opened(), 0), (registered(), 1)):
        granted(world)
        auction = world.state.auctions["da-1"]
        clear(world, auction)
        assert auction.book is not None
        assert len(auction.book.nominations) == carried
