"""Dispatch after a run: processor time to work instructions out and to take them.

``python -m tests.benchmarks.bench_dispatch`` prints one line per size: a market with so many
pools and bound orders; the first run starts everything, the next one replaces a twentieth.
"""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import replace

from clearing import codec
from clearing.types import StepBid
from iso_exchange import commands as c
from iso_exchange.sequencer.dispatch import batches
from iso_exchange.sequencer.dispatch_wants import sold_in
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.spot_market import SpotMarket
from iso_exchange.sequencer.state import Order, OrderState
from tests.unit.sequencer.dispatch_world import at, dispatched
from tests.unit.sequencer.spot_world import SPOT, STEP, steps_terms
from tests.unit.sequencer.world import World

SIZES = ((6, 40, 150), (120, 500, 50_000))
SUPPLIERS = 20
TURNOVER = 20


def world_of(pools: int, nodes: int) -> tuple[World, SpotMarket]:
    """A dispatched market of many pools."""
    world = dispatched()
    for number in range(min(SUPPLIERS, pools)):
        world.must(world.participant(f"s{number}", c.Role.SUPPLIER))
    names = []
    for number in range(pools):
        names.append(f"p{number}")
        world.must(
            world.pool(
                pool_id=names[-1],
                supplier_ids=(f"s{number % SUPPLIERS}",),
                capacity=nodes * 8,
            )
        )
    market = world.state.markets[SPOT]
    market.pool_ids = tuple(names)
    return world, market


def bind(world: World, market: SpotMarket, orders: int, place: int) -> None:
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


def main() -> None:
    """Print the table."""
    print("pools  nodes  orders  run    batches  instructions  sold s  plan s  take s")
    for pools, nodes, orders in SIZES:
        world, market = world_of(pools, nodes)
        for place, name in ((0, "first"), (1, "next")):
            bind(world, market, orders, place)
            world.now = at(place)
            begun = time.process_time()
            sold_in(world.state, market, at(place), at(place))
            sold = time.process_time()
            found = batches(world.state, market, at(place), at(place))  # type: ignore[arg-type]
            planned = time.process_time()
            count = 0
            for due in found:
                body = codec.encode(due.batch)
                count += sum(len(pool.instructions) for pool in due.batch.pools)
                answer = world.apply(
                    c.InstructSuppliers(
                        header=world.header("exchange"),
                        market_id=SPOT,
                        supplier_ids=due.batch.supplier_ids,
                        start=due.batch.start,
                        at=due.batch.at,
                        batch_sha256=hashlib.sha256(body).hexdigest(),
                    ),
                    {hashlib.sha256(body).digest(): body},
                )
                assert isinstance(answer, Accepted), answer
            taken = time.process_time()
            print(
                f"{pools:5}  {nodes:5}  {orders:6}  {name:5}  {len(found):7}  {count:12}"
                f"  {sold - begun:6.3f}  {planned - sold:6.3f}  {taken - planned:6.3f}"
            )
    assert STEP


if __name__ == "__main__":
    main()
