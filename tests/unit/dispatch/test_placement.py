from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearing.errors import InvariantError
from iso_exchange.dispatch.placement import Load, Placement, place


def load(name: str, nodes: int, *, gang: bool = False, give_back: tuple[int, ...] = ()) -> Load:
    return Load(load_id=name, buyer_id=name[0], nodes=nodes, gang=gang, give_back=give_back)


def row_of(placement: Placement) -> str:
    """One character per node: the load's last, a dot where idle, S for spare."""
    return "".join(
        "." if name is None else name[-1:] or "S" for _, name in sorted(placement.nodes.items())
    )


def running(text: str, loads: dict[str, Load]) -> dict[int, Load]:
    return {place: loads[name] for place, name in enumerate(text) if name != "."}


A1, B2, G3 = load("a1", 1), load("b2", 1), load("g3", 3, gang=True)
ROW = {"1": A1, "2": B2, "3": G3}


def test_a_gang_takes_the_smallest_run_that_holds_it() -> None:
    placed = place(10, running("..1...2...", ROW), [A1, B2, G3])
    assert row_of(placed) == "..13332..."
    assert placed.short == {}


def test_a_gang_without_a_run_takes_as_few_as_possible() -> None:
    placed = place(7, running("..1.2..", ROW), [A1, B2, G3])
    assert row_of(placed) == "..13233"


def test_single_nodes_fill_the_smallest_holes() -> None:
    placed = place(8, running("1.2.....", ROW), [load("a1", 1), load("b2", 1), load("c4", 1)])
    assert row_of(placed) == "142....."


def test_running_work_keeps_its_nodes() -> None:
    placed = place(6, running(".3332.", ROW), [load("b2", 2), G3])
    assert row_of(placed)[1:5] == "3332"


def test_the_buyer_says_what_it_gives_back() -> None:
    two = load("b2", 2, give_back=(1,))
    placed = place(4, dict.fromkeys((0, 1, 2), load("b2", 3)), [two])
    assert row_of(placed) == "2.2."


def test_a_node_passes_between_orders_of_one_buyer_without_a_restart() -> None:
    firm, idle = load("b1", 1), load("b2", 1)
    placed = place(3, {1: firm}, [idle])
    assert row_of(placed) == ".2."
    assert [change.carried for change in placed.changes] == [True]


def test_a_gang_that_lost_a_node_starts_anew_elsewhere() -> None:
    placed = place(8, running("333.....", ROW), [G3], failed=frozenset({1}))
    assert sorted(n for n, name in placed.nodes.items() if name == "g3") == [2, 3, 4]
    assert 1 not in placed.nodes


def test_what_finds_no_place_is_named() -> None:
    placed = place(3, {}, [load("a1", 2), load("b2", 3)])
    assert placed.short == {"b2": 2}


def test_spare_nodes_stand_at_the_end() -> None:
    assert row_of(place(5, {}, [A1], spare=2)) == "1..SS"


def test_a_node_outside_its_row_is_a_bug() -> None:
    with pytest.raises(InvariantError):
        place(2, {5: A1}, [A1])


@given(st.data())
def test_every_node_serves_one_load_and_nothing_moves(data: st.DataObject) -> None:
    row = data.draw(st.integers(1, 12))
    names = ["a1", "a2", "b3", "c4", "c5"]
    loads = [
        load(name, data.draw(st.integers(0, 5)), gang=data.draw(st.booleans())) for name in names
    ]
    first = place(row, {}, loads)
    by_name = {item.load_id: item for item in loads}
    before = {
        node: by_name[name] for node, name in first.nodes.items() if name is not None and name
    }
    failed = frozenset(data.draw(st.sets(st.integers(0, row - 1), max_size=2)))
    second = place(row, before, loads, failed=failed)
    for placed in (first, second):
        for item in loads:
            count = sum(name == item.load_id for name in placed.nodes.values())
            assert count + placed.short.get(item.load_id, 0) == item.nodes
    for item in loads:
        old = {n for n, owner in before.items() if owner.load_id == item.load_id}
        new = {n for n, name in second.nodes.items() if name == item.load_id}
        if old and not (old & failed) and len(old) == item.nodes:
            assert old == new
    assert not failed & set(second.nodes)
