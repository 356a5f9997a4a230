"""Which incidents happen when, and which outages are reported for failures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearing.units import UnixSeconds
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.trace.drive import INTERVAL_S
from iso_exchange.replay.trace.faults import REPAIR_S, Failure, Faults
from iso_exchange.replay.trace.incidents import Kind, draw, parse, peak_hour, plan, reports
from iso_exchange.replay.trace.layout import Layout, PoolPlan
from iso_exchange.replay.trace.setup import Calendar

POOLS = (
    PoolPlan(pool_id="tx", site_id="tx-1", chip_class="x", nodes=4),
    PoolPlan(pool_id="oh", site_id="oh-1", chip_class="x", nodes=4),
)
LAYOUT = Layout(pools=POOLS, silo_nodes={"a": 4, "b": 4})
NONE = Faults(failures=(), site_id="", outage_start_s=0, outage_end_s=0)
CALENDAR = Calendar(origin="o", start=UnixSeconds(0))
HOURLY = {"a": [1, 5, 9, 2, 0, 0, 0, 0], "b": [1, 5, 1, 2, 0, 0, 0, 0]}
DAY = (0, 8 * 3_600)


def test_names_of_faults_are_checked() -> None:
    assert parse("site, node,") == {Kind.SITE, Kind.NODE}
    assert parse("") == frozenset()
    with pytest.raises(DataError):
        parse("site,earthquake")


def test_a_site_is_lost_in_the_hour_of_most_demand() -> None:
    assert peak_hour(HOURLY, DAY) == 1, "the first of equals"
    faults, (incident,) = draw(frozenset({Kind.SITE}), NONE, LAYOUT, HOURLY, DAY)
    assert (incident.subject, incident.start_s, incident.end_s) == ("oh-1", 3_600, 3 * 3_600)
    assert faults.site_down(3_600)
    assert not faults.site_down(3 * 3_600)


def test_failures_happen_only_where_they_are_asked_for() -> None:
    drawn = replace(NONE, failures=(Failure(at_s=5, pool_id="tx", rank=0),), site_id="tx-1")
    assert draw(frozenset({Kind.FLOOD}), drawn, LAYOUT, HOURLY, DAY)[0] == NONE
    assert draw(frozenset({Kind.NODE}), drawn, LAYOUT, HOURLY, DAY)[0].failures == drawn.failures


def test_every_kind_happens_once_inside_the_window() -> None:
    found = plan(frozenset(Kind), LAYOUT, HOURLY, DAY)
    assert {incident.kind for incident in found} == set(Kind) - {Kind.NODE}
    for incident in found:
        assert DAY[0] <= incident.start_s < incident.end_s <= DAY[1]
        assert incident.start_s % INTERVAL_S == 0
        assert incident.holds(incident.start_s)
        assert not incident.holds(incident.end_s)


def test_outages_are_reported_for_exactly_the_intervals_in_which_nodes_are_down() -> None:
    failures = (
        Failure(at_s=10, pool_id="tx", rank=1),
        Failure(at_s=INTERVAL_S, pool_id="tx", rank=3),
        Failure(at_s=REPAIR_S + 900, pool_id="tx", rank=2),
    )
    faults = replace(
        NONE, failures=failures, site_id="oh-1", outage_start_s=700, outage_end_s=1_500
    )
    down: dict[int, set[str]] = {}
    lost: set[int] = set()
    for start_s in range(0, 3 * REPAIR_S, INTERVAL_S):
        for signer_id, outage in reports(CALENDAR, LAYOUT, faults, start_s):
            assert outage.interval.start == start_s
            assert signer_id == ("operator" if outage.pool_id == "oh" else "sup-lonestar")
            for at_s in range(outage.interval.start, outage.interval.end, INTERVAL_S):
                down.setdefault(at_s, set()).update(outage.nodes)
                if not outage.nodes:
                    lost.add(at_s)
    for start_s in range(0, 2 * REPAIR_S, INTERVAL_S):
        assert len(down.get(start_s, ())) == faults.down(POOLS[0], start_s), start_s
        assert (start_s in lost) == faults.site_down(start_s), start_s
