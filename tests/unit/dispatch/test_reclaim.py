from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from clearing.units import MicroUsd, Seconds
from iso_exchange.dispatch.reclaim import Victim, choose

SEED = bytes(32)


def victim(name: str, nodes: int, loss: int, *, gang: bool = False, notice: int = 300) -> Victim:
    return Victim(
        load_id=name,
        nodes=nodes,
        gang=gang,
        loss_per_node=MicroUsd(loss),
        notice_s=Seconds(notice),
    )


def taken(victims: list[Victim], needed: int, within: int = 300) -> dict[str, int]:
    found = choose(victims, needed, within_s=Seconds(within), seed=SEED)
    return {item.load_id: item.nodes for item in found}


def test_cheapest_nodes_go_first() -> None:
    assert taken([victim("dear", 4, 9), victim("cheap", 2, 1)], 3) == {"cheap": 2, "dear": 1}


def test_a_gang_stops_whole_or_not_at_all() -> None:
    # Three nodes of the gang at 2 lose 6; two single ones at 4 lose 8.
    assert taken([victim("gang", 3, 2, gang=True), victim("single", 2, 4)], 2) == {"gang": 3}
    assert taken([victim("gang", 3, 2, gang=True), victim("single", 2, 2)], 2) == {"single": 2}


def test_work_with_a_longer_notice_frees_nothing_in_time() -> None:
    assert taken([victim("slow", 4, 1, notice=1800), victim("quick", 1, 9)], 2) == {"quick": 1}


def test_nothing_is_reclaimed_without_need() -> None:
    assert taken([victim("some", 4, 1)], 0) == {}


victims = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 9), st.booleans()), min_size=1, max_size=5
)


@given(victims, st.integers(1, 8))
def test_no_choice_loses_less(rows: list[tuple[int, int, bool]], needed: int) -> None:
    offered = [
        victim(f"v{place}", nodes, loss, gang=gang)
        for place, (nodes, loss, gang) in enumerate(rows)
    ]
    found = choose(offered, needed, within_s=Seconds(300), seed=SEED)
    freed = sum(item.nodes for item in found)
    menus = [(0, item.nodes) if item.gang else range(item.nodes + 1) for item in offered]
    reachable = min(needed, sum(item.nodes for item in offered))
    assert freed >= reachable
    least = min(
        (sum(c * v.loss_per_node for c, v in zip(counts, offered, strict=True)), sum(counts))
        for counts in itertools.product(*menus)
        if sum(counts) >= reachable
    )
    assert (sum(item.loss for item in found), freed) == least
    for item in found:
        source = next(v for v in offered if v.load_id == item.load_id)
        assert item.nodes == source.nodes or not source.gang
