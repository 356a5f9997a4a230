"""What changes between runs is all that the process which clears them is sent."""

from __future__ import annotations

from iso_exchange.auctioneer.handover import Missed, Receiver, Sender, parcel_of
from iso_exchange.auctioneer.work import Job
from iso_exchange.sequencer.state import Auction
from tests.unit.sequencer.spot_world import (
    SPOT,
    STEP,
    USD,
    close,
    gang_terms,
    job_of,
    offer,
    opened,
    publish,
    steps_terms,
)
from tests.unit.sequencer.world import FIRST, World


def market() -> World:
    world = opened()
    offer(world)
    for number in range(8):
        world.must(steps_terms(world, f"steps-{number}", chips=8, limit=(3 + number) * USD))
    world.must(gang_terms(world, "gang"))
    return world


def closed(world: World, place: int) -> tuple[Auction, Job]:
    run = close(world, FIRST + place * STEP)
    return run, job_of(world, run)


def test_the_receiver_has_the_job_and_is_sent_little() -> None:
    world, sender, receiver = market(), Sender(SPOT), Receiver()
    counts = []
    before: dict[str, object] = {}
    kept = 0
    for place in range(5):
        if place == 3:
            world.must(steps_terms(world, "steps-0", chips=16, limit=3 * USD, revision=2))
        run, job = closed(world, place)
        parcel = parcel_of(sender.pack(job))
        counts.append(len(parcel.fresh))
        got = receiver.open(parcel)
        assert got == job
        assert isinstance(got, Job)
        now = {order.order_id: order for order in got.book.step_bids}
        kept += sum(before.get(name) is order for name, order in now.items())
        before = dict(now)
        publish(world, run)
    assert counts[0] > 15, "everything at first"
    assert max(counts[2:]) < counts[0]
    assert kept > 15, "an order that stands is the same object in the next run"


def test_who_missed_a_parcel_is_sent_everything() -> None:
    world, sender, receiver = market(), Sender(SPOT), Receiver()
    run, job = closed(world, 0)
    assert receiver.open(parcel_of(sender.pack(job))) == job
    publish(world, run)
    run, job = closed(world, 1)
    sender.pack(job)  # given up on its way
    publish(world, run)
    run, job = closed(world, 2)
    assert isinstance(receiver.open(parcel_of(sender.pack(job))), Missed)
    sender.reset()
    assert receiver.open(parcel_of(sender.pack(job))) == job
    # As after a start: it knows nothing, and says so.
    publish(world, run)
    _, job = closed(world, 3)
    assert isinstance(Receiver().open(parcel_of(sender.pack(job))), Missed)
