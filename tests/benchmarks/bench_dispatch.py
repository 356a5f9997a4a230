"""``dispatch``: instructions after a run, worked out and taken, in processor seconds.

What runs bound is put into the state by hand; working instructions out, their documents and their
way through the state machine are the exchange's own. Each order has one node, and buyers have many.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from clearing import codec
from clearing.types import StepBid
from clearing.units import UnixSeconds
from iso_exchange import commands as c
from iso_exchange.sequencer.dispatch import Due, batches
from iso_exchange.sequencer.dispatch_wants import sold_in
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.sequencer.state import Order, OrderState
from tests.benchmarks.spec import Benchmark, Row, at_most
from tests.unit.sequencer.dispatch_world import at, dispatched
from tests.unit.sequencer.spot_world import SPOT, steps_terms
from tests.unit.sequencer.world import World

SUPPLIERS: Final = 20
TURNOVER: Final = 20
GOAL_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchSize:
    """A market: pools of so many nodes, and orders that run on one node each."""

    name: str
    pools: int
    nodes: int
    orders: int


SIZES: Final = (
    DispatchSize(name="six pools", pools=6, nodes=40, orders=150),
    DispatchSize(name="50,000 orders", pools=120, nodes=500, orders=50_000),
)


def _world(size: DispatchSize) -> tuple[World, SpotMarket]:
    """A dispatched market of many pools."""
    world = dispatched()
    for number in range(min(SUPPLIERS, size.pools)):
        world.must(world.participant(f"s{number}", c.Role.SUPPLIER))
    names = []
    for number in range(size.pools):
        names.append(f"p{number}")
        world.must(
            world.pool(
                pool_id=names[-1],
                supplier_ids=(f"s{number % SUPPLIERS}",),
                capacity=size.nodes * 8,
            )
        )
    market = world.state.markets[SPOT]
    market.pool_ids = tuple(names)
    return world, market


def _bind(world: World, market: SpotMarket, orders: int, place: int) -> None:
    """Bind every order in one interval; a twentieth of them are others than before."""
    bid = steps_terms(world, "x", chips=8, notice_s=None)
    pools = market.pool_ids
    number = market.number(at(place))
    market.bound.clear()
    order = StepBid(
        order_id="x",
        participant_id="lab",
        where=bid.terms.conditions.where,  # type: ignore[union-attr]
        segments=(),
        service_class=bid.terms.conditions.service_class,  # type: ignore[union-attr]
        cover=bid.terms.conditions.cover,  # type: ignore[union-attr]
    )
    rng = random.Random(place)
    for index in range(orders):
        name = f"o{index}" if rng.randrange(TURNOVER) else f"o{index}-{place}"
        own = replace(order, order_id=name, participant_id=f"b{index % 200}")
        world.state.orders[name] = Order(
            submitted=bid, order=own, state=OrderState.OPEN, entry_index=0, leaf_hash=b"", hold=None
        )
        market.bound[name] = {pools[index % len(pools)]: {number: 8}}
    market.last_start = at(place)
    world.state.dispatch.forget()


def run(sizes: Sequence[DispatchSize]) -> Iterator[Row]:
    """First everything starts, then a twentieth of the orders are others."""
    for size in sizes:
        world, market = _world(size)
        for place, name in enumerate(("first run", "next run")):
            _bind(world, market, size.orders, place)
            world.now = at(place)
            start = UnixSeconds(at(place))
            begun = time.process_time()
            sold_in(world.state, market, start, start)
            sold = time.process_time()
            found = batches(world.state, market, start, start)
            planned = time.process_time()
            count = _take(world, found)
            taken = time.process_time()
            note = f"{count:,} instructions"
            yield Row(size=size.name, phase=f"{name}: what was sold", value=sold - begun, unit="s")
            yield Row(size=size.name, phase=f"{name}: plan", value=planned - sold, unit="s")
            yield Row(size=size.name, phase=f"{name}: take", value=taken - planned, unit="s")
            yield at_most(size.name, f"{name}: in all", taken - begun, "s", goal=GOAL_S, note=note)


def _take(world: World, found: Sequence[Due]) -> int:
    """Have the state machine take every batch; how many instructions are in them."""
    count = 0
    for due in found:
        body = codec.encode(due.batch)
        digest = hashlib.sha256(body)
        count += sum(len(pool.instructions) for pool in due.batch.pools)
        command = c.InstructSuppliers(
            header=world.header("exchange"),
            market_id=SPOT,
            supplier_ids=due.batch.supplier_ids,
            start=due.batch.start,
            at=due.batch.at,
            batch_sha256=digest.hexdigest(),
        )
        answer = world.apply(command, {digest.digest(): body}, {digest.digest(): due.batch})
        assert isinstance(answer, Accepted), answer
    return count


BENCHMARK: Final = Benchmark(
    name="dispatch",
    title="instructions after a run, in processor seconds",
    sizes=SIZES,
    tiny=(DispatchSize(name="tiny", pools=2, nodes=8, orders=10),),
    run=run,
)
