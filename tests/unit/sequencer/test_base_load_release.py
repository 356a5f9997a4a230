"""What a holder releases of its base load is offered at its price, and comes back when recalled."""

from __future__ import annotations

import pytest

from clearing.types import Step
from clearing.units import Chips, MicroUsdPerChipHour, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.sequencer.refusals import Code
from tests.unit.sequencer.spot_world import (
    SPOT,
    STEP,
    gang_terms,
    market_of,
    opened,
    positions,
    run_at,
)
from tests.unit.sequencer.world import FIRST, World

RECALL_STEPS = 6
"""The tariff's site cover time, 1,800 s."""


def at(place: int) -> int:
    return FIRST + place * STEP


def segment(first: int, stop: int, *steps: tuple[int, int]) -> c.TimedSegment:
    return c.TimedSegment(
        start=UnixSeconds(at(first)),
        end=UnixSeconds(at(stop)),
        steps=tuple(Step(price=MicroUsdPerChipHour(p), chips=Chips(n)) for p, n in steps),
    )


def release(world: World, *segments: c.TimedSegment, name: str = "rel-1") -> c.Release:
    return c.Release(
        header=world.header("lab"),
        release_id=name,
        entitlement_id="ent-1",
        auction_id=SPOT,
        segments=segments,
    )


def recall(world: World, *segments: c.TimedSegment, name: str = "rel-1") -> c.Recall:
    return c.Recall(
        header=world.header("lab"), recall_id="back", release_id=name, segments=segments
    )


@pytest.fixture
def world() -> World:
    found = opened()
    found.must(found.entitlement(chips=32))
    return found


def test_a_release_is_offered_at_its_prices_and_the_rest_is_nominated(world: World) -> None:
    world.must(release(world, segment(1, 3, (500_000, 8), (2_000_000, 16))))
    run = run_at(world, at(0))
    assert run.book is not None
    (offer,) = run.book.offers
    assert (offer.order_id, offer.participant_id, offer.recallable) == (
        "release:ent-1",
        "lab",
        True,
    )
    (part,) = offer.segments
    assert (part.first, part.stop) == (1, 3)
    assert [(step.price, step.chips) for step in part.steps] == [(500_000, 8), (2_000_000, 16)]
    (base,) = run.book.nominations
    assert base.order_id == "rel-1"
    nominated = [(part.first, part.stop, part.steps[0].chips) for part in base.segments]
    length = market_of(world).opened.look_ahead
    assert nominated == [(0, 1, 32), (1, 3, 8), (3, length, 32)]


def test_chips_are_sold_above_the_price_of_the_release_only(world: World) -> None:
    world.must(release(world, segment(0, 12, (500_000, 8), (90_000_000, 16))))
    world.must(gang_terms(world, "gang", chips=8, notice_s=300, duration_s=7_200))
    world.must(gang_terms(world, "poor", chips=16, notice_s=300, duration_s=7_200))
    run_at(world, at(0))
    assert positions(world, "gang") == {0: 8, 1: 8}
    assert not positions(world, "poor")
    run = run_at(world, at(1))
    assert run.book is not None
    (offer,) = run.book.offers
    # The cheapest chips are those that are sold already.
    assert [step.price for step in offer.segments[0].steps] == [90_000_000]


def test_a_recall_takes_the_dearest_chips_back_after_the_recall_time(world: World) -> None:
    world.must(release(world, segment(0, 20, (500_000, 8), (1_000_000, 16))))
    run_at(world, at(0))
    soon = recall(world, segment(RECALL_STEPS - 2, 20, (0, 8)))
    assert world.refused(soon).code is Code.WINDOW_IN_PAST
    world.must(recall(world, segment(8, 20, (0, 8))))
    record = world.state.nominations[f"{SPOT}/ent-1"]
    assert [(part.first, part.stop) for part in record.released] == [
        (at(0) // STEP, at(8) // STEP),
        (at(8) // STEP, at(20) // STEP),
    ]
    assert [step.chips for step in record.released[0].steps] == [8, 16]
    assert [(step.price, step.chips) for step in record.released[1].steps] == [
        (500_000, 8),
        (1_000_000, 8),
    ]


def test_what_is_recalled_whole_is_nominated_in_full(world: World) -> None:
    world.must(release(world, segment(8, 12, (500_000, 32))))
    world.must(recall(world, segment(8, 12, (0, 32))))
    run = run_at(world, at(0))
    assert run.book is not None
    assert not run.book.offers
    (base,) = run.book.nominations
    assert [part.steps[0].chips for part in base.segments] == [32]


def test_a_nomination_and_a_release_replace_each_other(world: World) -> None:
    world.must(release(world, segment(0, 4, (500_000, 8))))
    world.must(
        c.Nominate(
            header=world.header("lab"),
            nomination_id="nom-1",
            entitlement_id="ent-1",
            auction_id=SPOT,
            segments=(segment(0, 4, (0, 16)),),
        )
    )
    replaced = recall(world, segment(8, 9, (0, 8)))
    assert world.refused(replaced).code is Code.WRONG_STATE
    world.must(release(world, segment(0, 4, (500_000, 8)), name="rel-2"))
    assert market_of(world).nominated == {"rel-2": "ent-1"}


@pytest.mark.parametrize(
    ("segments", "code"),
    [
        ([segment(0, 2, (0, 40))], Code.QUANTITY_ABOVE_CAPACITY),
        ([segment(0, 2, (0, 12))], Code.NOT_NODE_MULTIPLE),
        ([segment(0, 2, (500_001, 8))], Code.PRICE_NOT_ON_TICK),
        ([segment(0, 2, (10**12, 8))], Code.PRICE_OUTSIDE_LIMITS),
        ([segment(0, 2, (-1_000, 8))], Code.PRICE_OUTSIDE_LIMITS),
        ([segment(0, 9_000, (0, 8))], Code.WINDOW_OUTSIDE_AUCTION),
        ([segment(0, 3, (0, 8)), segment(2, 4, (0, 8))], Code.INVALID_VALUE),
        ([], Code.INVALID_VALUE),
    ],
)
def test_a_release_stays_inside_its_entitlement(
    world: World, segments: list[c.TimedSegment], code: Code
) -> None:
    assert world.refused(release(world, *segments)).code is code


def test_releases_are_the_holders_own_and_named_once(world: World) -> None:
    sound = segment(0, 4, (0, 8))
    foreign = c.Release(
        header=world.header("sup"),
        release_id="rel-9",
        entitlement_id="ent-1",
        auction_id=SPOT,
        segments=(sound,),
    )
    assert world.refused(foreign).code is Code.NOT_OWNER
    assert world.refused(recall(world, segment(8, 9, (0, 8)))).code is Code.NOT_FOUND
    world.must(release(world, sound))
    assert world.refused(release(world, sound)).code is Code.ALREADY_EXISTS
    other = recall(world, segment(8, 9, (0, 8)))
    assert world.refused(other).code is Code.QUANTITY_ABOVE_CAPACITY
