"""Random returns, spikes and outages beside a day ahead: no chip is sold twice, none is lost."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from iso_exchange.sequencer.spot_moves import cells_due
from tests.unit.sequencer.spot_world import POOL, STEP, market_of, offer, run_at, steps_terms
from tests.unit.sequencer.test_spot_returns import CONTRACT, HELD, at, cell, cleared_day, posted
from tests.unit.sequencer.test_spot_returns import given as giving

NODES = st.integers(0, HELD // 8)
RUNS = 3


@settings(max_examples=12, deadline=None)
@given(
    returned=st.lists(NODES, min_size=RUNS, max_size=RUNS),
    wanted=st.lists(st.tuples(st.integers(1, 8), st.sampled_from([None, 0, 300, 600])), max_size=2),
    supplied=st.integers(0, 6),
)
def test_chips_are_sold_once(
    returned: list[int], wanted: list[tuple[int, int | None]], supplied: int
) -> None:
    world = cleared_day()
    if supplied:
        offer(world, chips=8 * supplied)
    for index, (nodes, notice) in enumerate(wanted):
        command = steps_terms(world, f"bid-{index}x", notice_s=notice, chips=8 * nodes)
        header = world.header("other")
        world.must(dataclasses.replace(command, participant_id="other", header=header))
    capacity = world.state.pools[POOL].pool.capacity
    for place, nodes in enumerate(returned):
        world.must(giving(world, chips=8 * nodes, stop=12))
        run_at(world, at(place))
        number = at(place) // STEP
        market = market_of(world)
        bound = sum(
            chips.get(number, 0) for pools in market.bound.values() for chips in pools.values()
        )
        auction = world.state.auctions["da-1"]
        world.now = at(place)
        due = list(cells_due(world.state, auction, world.now))
        found = {item.interval: item for item in due}.get(cell(place))
        given_up = 0
        if found is not None:
            given_up = sum(item.quantity for item in found.returns) // STEP
            sold = sum(item.quantity for item in found.returns if item.sold_to) // STEP
            by_run = market.supplied.get(POOL, {}).get("return:ret-1", {}).get(number, 0)
            assert sold == by_run
            assert {item.contract_id for item in found.returns} <= {CONTRACT}
        for item in due:
            posted(world, item)
        assert 8 * nodes <= given_up <= HELD, "what is given back now is, and what was bound"
        # What the day ahead still delivers and what runs deliver fits the pool.
        assert HELD - given_up + bound <= capacity
