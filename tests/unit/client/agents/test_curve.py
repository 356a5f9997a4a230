from __future__ import annotations

from iso_exchange.client.agents.curve import CurveLab
from iso_exchange.client.agents.lab import Policy

POLICY = Policy(firm_limit=9_000_000, interruptible_limit=3_000_000)


def lab(curve: list[int]) -> CurveLab:
    return CurveLab("vc", POLICY, curve, firm_ppm=500_000)


def test_a_curve_is_bought_in_whole_nodes_firm_and_interruptible() -> None:
    some = lab([30, 30])
    found = {wish.key: wish.nodes for wish in some.wishes()}
    # 30 chips: two nodes firm, one in full use, and one for six chips, which is worth less.
    assert found == {"firm/new": 2, "idle/new": 1, "part/new": 1}
    limits = {wish.key: wish.limit for wish in some.wishes()}
    assert limits["part/new"] < limits["idle/new"] < limits["firm/new"]


def test_what_is_held_is_bid_for_where_it_is() -> None:
    some = lab([30] * 10)
    some.take({"firm/new": {"p": 1}, "idle/new": {"q": 1}, "part/new": {"q": 1}})
    found = {wish.key: (wish.nodes, wish.pool_id) for wish in some.wishes()}
    assert found == {
        "firm/p": (1, "p"),
        "firm/new": (1, ""),
        "idle/q": (1, "q"),
        "part/new": (1, ""),
    }


def test_what_is_not_served_in_its_minute_is_gone() -> None:
    some = lab([16, 40, 8])
    some.take({"firm/new": {"p": 3}})
    some.advance(180)
    assert some.chip_seconds == (16 + 24 + 8) * 60


def test_base_load_comes_before_bids() -> None:
    some = lab([30] * 5)
    some.set_base({"p": 3})
    assert {wish.key: wish.nodes for wish in some.wishes()} == {"part/new": 1}
    some.set_base({"p": 9})
    assert list(some.wishes()) == []


def test_a_lost_pool_serves_nothing() -> None:
    some = lab([40] * 10)
    some.set_base({"p": 1, "q": 1})
    some.take({"firm/new": {"p": 1}, "idle/new": {"q": 1}})
    some.lose_pool("p")
    assert (some.held_nodes, some.base) == (2, {"q": 1})


def test_a_failed_node_serves_nothing_until_the_next_positions() -> None:
    some = lab([16] * 10)
    some.take({"firm/new": {"p": 2}})
    some.lose("p", 1)
    some.advance(60)
    assert some.chip_seconds == 8 * 60
    some.take({"firm/p": {"p": 2}})
    some.advance(120)
    assert some.chip_seconds == (8 + 16) * 60
