"""``spot``: one run of a spot market from its gate to published awards, in processor seconds.

Everything that a run costs is done in this process, one phase after the other, without gRPC and
the database: gate and book, commitment, what is handed to the process that clears, clearing with
verification, contracts, documents, what is read back of them, publication in the state machine,
settlement of one interval. Runs follow one another, with a share of the orders amended before each,
so that most work runs already, as on a real grid; the last one is measured.
"""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from clearing import codec
from clearing.auction import clear
from clearing.outcome import Outcome
from clearing.types import Cover, Eligibility, ServiceClass, Step
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, Ppm, Seconds, UnixSeconds
from iso_exchange import commands as c
from iso_exchange.auctioneer.handover import Receiver, Sender
from iso_exchange.auctioneer.work import Job
from iso_exchange.publication import award_notice, prices_document
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.late_outcome import LateOutcome
from iso_exchange.sequencer.spot_assignment import Terms, assigned_in_run, concerned
from iso_exchange.sequencer.spot_binding import Stops
from iso_exchange.sequencer.spot_entry import most_offered
from iso_exchange.sequencer.spot_orders import standing_order
from iso_exchange.sequencer.state import Auction, Order, OrderState, State
from iso_exchange.settler.interval import settle_interval
from iso_exchange.signer import Written, make_document, read_back, read_result, with_value
from settlement.assignment import Assignment
from settlement.postings.award import award_postings
from tests.benchmarks.spec import Benchmark, Row, at_most
from tests.unit.sequencer.spot_world import SPOT, STEP, job_of, market_of, market_terms
from tests.unit.sequencer.world import FIRST, World, registered

NODE: Final = 8
USD: Final = 1_000_000
GOAL_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotSize:
    """One market.

    Attributes:
        capacity: Chips of each pool.
        runs: Runs after each other; the last is measured.
        changed: Step bids amended before each run but the first.
    """

    name: str
    pools: int
    capacity: int
    steps: int
    gangs: int
    runs: int = 4
    changed: int = 0


SIZES: Final = (
    SpotSize(name="replay", pools=8, capacity=512, steps=100, gangs=200, changed=2),
    SpotSize(
        name="50k", pools=100, capacity=4_096, steps=48_000, gangs=2_000, runs=3, changed=1_000
    ),
)


@dataclass(slots=True)
class _Clock:
    """Processor seconds by phase."""

    spent: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.process_time)

    def lap(self, phase: str) -> None:
        now = time.process_time()
        self.spent[phase] = self.spent.get(phase, 0.0) + now - self._last
        self._last = now


def run(sizes: Sequence[SpotSize]) -> Iterator[Row]:
    """Rows of every size."""
    for size in sizes:
        world = _market(size)
        clock = _Clock()
        lines = _Lines(Sender(SPOT), Receiver())
        for place in range(size.runs):
            if place:
                _amend(world, size, place)
            clock = _Clock()
            _one_run(world, FIRST + place * STEP, clock, lines)
        total = sum(seconds for phase, seconds in clock.spent.items() if phase != "settle interval")
        for phase, seconds in clock.spent.items():
            yield Row(
                size=size.name,
                phase=phase,
                value=seconds * 1_000,
                unit="ms CPU",
                ratio=seconds / total,
                against="gate to awards",
            )
        yield at_most(
            size.name,
            "gate to awards",
            total,
            "s CPU",
            goal=GOAL_S,
            note="without gRPC and database",
        )


@dataclass(frozen=True, slots=True)
class _Lines:
    """Both ends of what is handed to the process that clears."""

    sender: Sender
    receiver: Receiver


def _market(size: SpotSize) -> World:
    world = registered()
    for number in range(size.pools):
        world.must(world.pool(pool_id=f"p{number:03}", capacity=size.capacity))
    world.must(world.deposit("lab", 1_000_000_000))
    world.must(market_terms(world))
    random = Random(7)
    for number in range(size.pools):
        _stand(world, "acme", f"offer-{number}", _offer(f"p{number:03}", size.capacity))
    for number in range(size.steps):
        pools = random.sample(range(size.pools), k=2)
        _stand(world, "lab", f"s{number:06}", _steps(random, pools))
    for number in range(size.gangs):
        pools = random.sample(range(size.pools), k=2)
        _stand(world, "lab", f"g{number:06}", _gang(random, pools))
    return world


def _amend(world: World, size: SpotSize, place: int) -> None:
    """Change what some of the step bids ask, as their owners do all the time."""
    random = Random(place)
    for number in sorted(random.sample(range(size.steps), k=min(size.changed, size.steps))):
        pools = random.sample(range(size.pools), k=2)
        _stand(world, "lab", f"s{number:06}", _steps(random, pools), revision=place + 1)


def _stand(
    world: World, who: str, order_id: str, terms: c.OrderTerms, *, revision: int = 1
) -> None:
    """Put a standing order in the state as acceptance does, without its guards and holds."""
    market = market_of(world)
    known = order_id in market.order_ids
    command = c.SubmitOrder(
        header=world.header(who),
        order_id=order_id,
        auction_id=SPOT,
        participant_id=who,
        revision=revision,
        terms=terms,
    )
    leaf = hashlib.sha256(order_id.encode()).digest()
    meta = Meta(time_us=world.now * 1_000_000, index=world.index, leaf_hash=leaf, documents={})
    order: Any = standing_order(market, command, meta)
    world.state.orders[order_id] = Order(
        submitted=command,
        order=order,
        state=OrderState.OPEN,
        entry_index=world.index,
        leaf_hash=leaf,
        hold=None,
    )
    world.index += 1
    market.order_ids[order_id] = None
    market.open_counts[who] += not known
    if who == "acme":
        market.offered.setdefault(order.pool_id, {})[order_id] = most_offered(order)


def _offer(pool_id: str, chips: int) -> c.OfferTerms:
    half = chips // 2
    return c.OfferTerms(
        pool_id=pool_id,
        segments=(
            c.TimedSegment(
                start=UnixSeconds(FIRST),
                end=UnixSeconds(FIRST + 86_400),
                steps=(
                    Step(price=MicroUsdPerChipHour(USD), chips=Chips(half)),
                    Step(price=MicroUsdPerChipHour(2 * USD), chips=Chips(chips - half)),
                ),
            ),
        ),
    )


def _conditions(random: Random, pools: Sequence[int]) -> c.BidConditions:
    firm = random.random() < 0.3
    return c.BidConditions(
        where=Eligibility(pool_ids=tuple(f"p{number:03}" for number in sorted(pools))),
        service_class=ServiceClass.FIRM if firm else ServiceClass.INTERRUPTIBLE,
        cover=Cover.NODE if firm else Cover.NONE,
        notice_s=Seconds(0 if firm else 300),
    )


def _steps(random: Random, pools: Sequence[int]) -> c.StepBidTerms:
    price = random.randrange(1_500, 5_000) * 1_000
    return c.StepBidTerms(
        conditions=_conditions(random, pools),
        segments=(
            c.TimedSegment(
                start=UnixSeconds(FIRST),
                end=UnixSeconds(FIRST + 86_400),
                steps=(
                    Step(
                        price=MicroUsdPerChipHour(price), chips=Chips(NODE * random.randint(1, 4))
                    ),
                ),
            ),
        ),
    )


def _gang(random: Random, pools: Sequence[int]) -> c.BlockBidTerms:
    return c.BlockBidTerms(
        conditions=_conditions(random, pools),
        earliest_start=UnixSeconds(FIRST),
        latest_start=UnixSeconds(FIRST + 43_200),
        duration_s=Seconds(STEP * random.choice((6, 24, 96))),
        chips=Chips(NODE * random.choice((1, 2, 4, 8))),
        limit_price=MicroUsdPerChipHour(random.randrange(1_500, 5_000) * 1_000),
        min_fill_ppm=Ppm(1_000_000),
        restart_cost=MicroUsd(0),
    )


def _one_run(world: World, start: int, clock: _Clock, lines: _Lines) -> None:
    state, market = world.state, market_of(world)
    world.now = start - 2
    exchange = world.header("exchange")
    clock.lap("set up")
    world.must(c.CloseRun(header=exchange, market_id=SPOT, start=UnixSeconds(start)))
    clock.lap("gate: book and root")
    auction = state.runs[market.run_id(start)]
    assert auction.frozen is not None
    auction.written_book()
    clock.lap("commitment: book written")
    count, root = auction.frozen
    world.must(
        c.CloseAuction(
            header=exchange,
            auction_id=auction.spec.auction_id,
            order_count=count,
            book_root=root,
            book_commitment="00" * 32,
        )
    )
    clock.lap("gate: book and root")
    parcel = pickle.dumps(lines.sender.pack(job_of(world, auction)))
    job = lines.receiver.open(pickle.loads(parcel))  # noqa: S301 - made in the line before
    assert isinstance(job, Job)
    assert job.gate is not None
    clock.lap("hand over what changed")
    outcome = clear(job.book, job.seed, session=lines.receiver.session)
    clock.lap("clear and verify")
    assignment, stops = assigned_in_run(job.book, outcome, job.gate, _terms(state))
    clock.lap("bind and assign")
    postings = award_postings(assignment, {})
    clock.lap("award postings")
    bodies = [codec.encode(item) for item in (outcome, assignment, postings, stops)]
    clock.lap("documents written")
    prices = codec.encode(prices_document(job.book, outcome))
    notices = [
        codec.encode(award_notice(outcome, assignment, name)) for name in concerned(assignment)
    ]
    clock.lap("prices and notices")
    _publish(world, auction, bodies, prices, outcome)
    for notice in notices:
        hashlib.sha256(notice)
    clock.lap("read back and publish")
    _settle(world, assignment)
    clock.lap("settle interval")
    clock.spent.pop("set up")


def _publish(
    world: World, auction: Auction, bodies: list[bytes], prices: bytes, outcome: Outcome
) -> None:
    """What the exchange does with documents of the clearing process."""
    exchange, name = world.header("exchange"), auction.spec.auction_id
    late = LateOutcome(book_sha256=outcome.book_sha256, seed=outcome.seed, body=bodies[0])
    documents = [
        make_document("BOOK", auction.written_book()),
        with_value(make_document("OUTCOME", bodies[0]), late),
        *read_result(bodies[1], bodies[2]),
        read_back("STOPS", bodies[3], Stops),
    ]
    digests = [document.sha256.hex() for document in documents]
    result = world.apply(
        c.PublishResult(
            header=exchange,
            auction_id=name,
            book_sha256=digests[0],
            book_salt="00" * 32,
            outcome_sha256=digests[1],
            assignment_sha256=digests[2],
            postings_sha256=digests[3],
            stops_sha256=digests[4],
        ),
        {document.sha256: document.body for document in documents},
        {item.sha256: item.value for item in documents if isinstance(item, Written)},
    )
    assert isinstance(result, Accepted), result
    world.must(
        c.PublishPrices(
            header=exchange,
            auction_id=name,
            prices_sha256=hashlib.sha256(prices).hexdigest(),
            certified_gap_ppb=outcome.certificate.gap_ppb,
        )
    )


def _settle(world: World, assignment: Assignment) -> None:
    """What the settler computes and encodes for the first interval of a run."""
    table = world.state.chip_table()
    assert table is not None
    settled = settle_interval(
        assignment=assignment,
        interval=assignment.intervals[0],
        batches=(),
        table=table,
        pool_balance=0,
        earlier=(),
    )
    codec.encode(settled.delivered)
    codec.encode(settled.postings)


def _terms(state: State) -> Terms:
    return Terms(
        derates={name: record.derate_ppm for name, record in state.pools.items()},
        precisions={record.pool.chip_class: record.precision for record in state.pools.values()},
        nomination_suppliers={},
    )


BENCHMARK: Final = Benchmark(
    name="spot",
    title="a spot run from gate to awards",
    sizes=SIZES,
    tiny=(SpotSize(name="tiny", pools=2, capacity=128, steps=10, gangs=5, changed=1),),
    run=run,
)
