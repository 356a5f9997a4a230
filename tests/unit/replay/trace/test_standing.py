from __future__ import annotations

import dataclasses

from iso_exchange.client.agents.lab import Wish
from iso_exchange.replay.trace.exchange_market import Standing

RUNS = Wish(
    key="gang/g",
    firm=False,
    pool_id="p",
    nodes=4,
    limit=5_000_000,
    gang=True,
    running=True,
    work_s=900,
)


def test_an_order_of_steps_is_enough_while_the_wish_stays_the_same() -> None:
    steps = Wish(key="idle/p", firm=False, pool_id="p", nodes=2, limit=5_000_000, running=True)
    standing = Standing(order_id="o", revision=1, wish=steps)
    assert standing.is_enough(steps, 300)
    assert not standing.is_enough(dataclasses.replace(steps, nodes=3), 300)


def test_a_gang_that_restarted_asks_for_more_time() -> None:
    standing = Standing(order_id="o", revision=1, wish=RUNS, began_s=600, length_s=1_200)
    assert standing.is_enough(RUNS, 900), "900 s from 900 s on are over at 1,800 s, as asked"
    late = dataclasses.replace(RUNS, work_s=1_020)
    assert not standing.is_enough(late, 900)
