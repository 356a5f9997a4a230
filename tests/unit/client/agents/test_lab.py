from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from iso_exchange.client.agents.jobs import Job
from iso_exchange.client.agents.lab import Lab, Policy, Wish

POLICY = Policy(firm_limit=9_000_000, interruptible_limit=3_000_000)


def job(name: str, chips: int, work_s: int, submit_s: int = 0, *, firm: bool = False) -> Job:
    return Job(job_id=name, chips=chips, work_s=work_s, submit_s=submit_s, firm=firm)


def lab(base: dict[str, int] | None = None) -> Lab:
    return Lab("lab", POLICY, base or {})


def wishes(of: Lab) -> dict[str, Wish]:
    return {wish.key: wish for wish in of.wishes()}


def test_small_jobs_are_packed_into_whole_nodes() -> None:
    some = lab()
    for place, chips in enumerate((4, 4, 2, 1, 1, 5)):
        some.submit(job(f"j{place}", chips, 100))
    # 4 + 4, 5 + 2 + 1, and a node for one chip, which is worth less.
    found = {key: wish.nodes for key, wish in wishes(some).items()}
    assert found == {"idle/new": 2, "idle/part": 1}
    assert wishes(some)["idle/part"].limit < wishes(some)["idle/new"].limit
    some.take({"idle/new": {"p": 2}, "idle/part": {"p": 1}})
    assert some.running_chips == 17
    assert some.waiting == 0


def test_a_node_takes_the_next_job_without_asking_the_market() -> None:
    some = lab()
    some.submit(job("first", 8, 100))
    some.submit(job("second", 8, 100))
    some.take({"idle/new": {"p": 1}})
    some.advance(150)
    assert some.running_chips == 8
    assert [run.job.job_id for run in some.done] == ["first"]
    assert some.chip_seconds == 8 * 150


def test_a_held_node_is_bid_for_in_its_pool_at_a_premium() -> None:
    some = lab()
    some.submit(job("j", 8, 1_000))
    some.take({"idle/new": {"p": 1}})
    found = wishes(some)
    assert set(found) == {"idle/p"}
    assert found["idle/p"].pool_id == "p"
    assert found["idle/p"].limit == POLICY.interruptible_limit + POLICY.renewal_premium


def test_an_idle_node_is_not_renewed() -> None:
    some = lab()
    some.submit(job("j", 8, 100))
    some.take({"idle/new": {"p": 1}})
    some.advance(200)
    assert wishes(some) == {}


def test_what_loses_its_node_goes_on_from_its_checkpoint() -> None:
    some = lab()
    some.submit(job("j", 8, 1_000))
    some.take({"idle/new": {"p": 1}})
    some.advance(400)
    some.take({})
    assert some.running_chips == 0
    some.advance(500)
    some.take({"idle/new": {"q": 1}})
    # 600 s were left, and the restart costs its time.
    some.advance(500 + 600 + POLICY.restart_s)
    assert [run.restarts for run in some.done] == [1]


def test_the_emptiest_node_is_given_back() -> None:
    some = lab()
    some.submit(job("big", 8, 1_000))
    some.submit(job("small", 1, 1_000))
    some.take({"idle/new": {"p": 2}})
    some.take({"idle/p": {"p": 1}})
    assert some.running_chips == 8


def test_nothing_new_starts_on_a_node_with_a_notice() -> None:
    some = lab()
    some.submit(job("short", 8, 100))
    some.take({"idle/new": {"p": 1}})
    some.notice("p", 1, 300)
    some.submit(job("next", 8, 100, 50))
    some.advance(200)
    assert some.running_chips == 0
    some.withdraw_notices()
    some.submit(job("more", 1, 100, 210))
    assert some.running_chips > 0


def test_a_gang_is_one_bid_for_one_pool() -> None:
    some = lab()
    some.submit(job("gang", 32, 1_000, firm=True))
    found = wishes(some)["gang/gang"]
    assert (found.nodes, found.gang, found.firm, found.pool_id) == (4, True, True, "")
    some.take({"gang/gang": {"p": 4}})
    assert some.running_chips == 32
    assert wishes(some)["gang/gang"].pool_id == "p"
    some.advance(1_000)
    assert some.held_nodes == 4
    some.take({})
    assert some.held_nodes == 0


def test_base_load_runs_firm_work_first_and_needs_no_bid() -> None:
    some = lab({"p": 1})
    some.submit(job("idle", 8, 100, firm=False))
    assert some.running_chips == 8
    some.submit(job("firm", 8, 100, firm=True))
    assert wishes(some)["idle/new"].nodes == 1
    assert some.held_nodes == 1
    some.advance(100)
    assert [run.job.job_id for run in some.done] == ["firm"]


def test_a_gang_that_waits_for_base_load_has_its_turn_after_an_hour() -> None:
    some = lab({"p": 2})
    for name in ("a", "b", "c"):
        some.submit(job(name, 8, 10_000))
    some.submit(job("gang", 16, 1_000))
    assert some.running_chips == 16
    some.submit(job("later", 1, 100, POLICY.gang_turn_s + 1))
    assert {run.job.job_id for run in some.all_runs() if run.restarts} == {"a", "b"}
    some.advance(POLICY.gang_turn_s + 1_001)
    assert [run.job.job_id for run in some.done] == ["gang"]


def test_a_lost_pool_takes_everything_and_its_base_load() -> None:
    some = lab({"p": 1, "q": 1})
    for name in ("a", "b", "c"):
        some.submit(job(name, 8, 1_000))
    some.submit(job("gang", 16, 1_000))
    some.take({"idle/new": {"p": 1}, "gang/gang": {"p": 2}})
    assert some.running_chips == 40
    some.lose_pool("p")
    assert (some.running_chips, some.nodes_in("p"), some.base) == (8, 0, {"q": 1})
    assert some.waiting == 3


def test_a_waiting_gang_bids_more_in_time() -> None:
    some = lab()
    some.submit(job("gang", 16, 100))
    first = wishes(some)["gang/gang"].limit
    some.advance(POLICY.gang_patience_s // 2)
    assert wishes(some)["gang/gang"].limit == first * 9 // 8
    some.advance(2 * POLICY.gang_patience_s)
    patient = wishes(some)["gang/gang"].limit
    some.take({"gang/gang": {"p": 2}})
    assert wishes(some)["gang/gang"].limit > patient, "no gang of the lab displaces it"


steps = st.lists(
    st.tuples(st.integers(1, 20), st.integers(1, 900), st.booleans(), st.integers(0, 4)),
    min_size=1,
    max_size=25,
)


def with_notice(given: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Positions of the last round, and of interruptible nodes the most of all rounds."""
    held: dict[str, int] = {}
    for positions in given:
        total: dict[str, int] = {}
        for key, pools in positions.items():
            if key.startswith("idle/"):
                for pool_id, nodes in pools.items():
                    total[pool_id] = total.get(pool_id, 0) + nodes
        held = {name: max(held.get(name, 0), total.get(name, 0)) for name in {*held, *total}}
    firm = {key: dict(pools) for key, pools in given[-1].items() if not key.startswith("idle/")}
    return {**firm, "idle/p": held}


@settings(max_examples=60, deadline=None)
@given(steps, st.randoms(use_true_random=False))
def test_work_is_neither_lost_nor_done_twice(
    rows: list[tuple[int, int, bool, int]], draw: Random
) -> None:
    """Whatever the market gives and takes, chips run are those of the jobs on held nodes."""
    some = lab()
    now = 0
    for place, (chips, work_s, firm, _) in enumerate(rows):
        some.submit(job(f"j{place}", chips, work_s, now, firm=firm))
        now += 60
        some.advance(now)
        positions: dict[str, dict[str, int]] = {}
        for wish in some.wishes():
            nodes = wish.nodes if wish.gang else draw.randint(0, wish.nodes)
            if draw.random() < 0.7 and nodes:
                positions[wish.key] = {wish.pool_id or "p": nodes}
        some.take(positions)
        assert 0 <= some.running_chips <= 8 * some.held_nodes
    # Given all it asks for, and interruptible nodes for as long as a notice, everything ends,
    # and was run for its work and its restarts exactly.
    given: deque[dict[str, dict[str, int]]] = deque(maxlen=1 + POLICY.notice_s // 60)
    for _ in range(1_000):
        given.append({wish.key: {wish.pool_id or "p": wish.nodes} for wish in some.wishes()})
        some.take(with_notice(given))
        now += 60
        some.advance(now)
        if len(some.done) == len(rows):
            break
    assert len(some.done) == len(rows)
    work = sum(run.job.chips * (run.job.work_s + run.restart_s) for run in some.done)
    assert some.chip_seconds == work
