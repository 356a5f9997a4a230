from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clearing.units import MicroUsdPerChipHour
from iso_exchange.client.agents.supplier import Outage, Policy, curve, in_service

USD = 1_000_000


def policy(slope_ppm: int = 0, parts: int = 1) -> Policy:
    return Policy(floor=MicroUsdPerChipHour(2 * USD), slope_ppm=slope_ppm, parts=parts)


def test_the_curve_rises_from_the_floor_to_its_slope() -> None:
    steps = curve(policy(slope_ppm=500_000, parts=3), 6, 8)
    assert [(step.price, step.chips) for step in steps] == [
        (2 * USD, 16),
        (2 * USD + USD // 2, 16),
        (3 * USD, 16),
    ]


def test_steps_at_one_price_are_one_step() -> None:
    assert [(step.price, step.chips) for step in curve(policy(parts=4), 6, 8)] == [(2 * USD, 48)]


def test_nothing_in_service_offers_nothing() -> None:
    assert curve(policy(parts=3), 0, 8) == ()


def test_outages_that_meet_count_together() -> None:
    outages = [Outage(start_s=0, end_s=600, nodes=2), Outage(start_s=500, end_s=900, nodes=3)]
    assert in_service(10, outages, 0, 300) == 8
    assert in_service(10, outages, 300, 600) == 5
    assert in_service(10, outages, 600, 900) == 7
    assert in_service(4, outages, 300, 600) == 0


@given(st.integers(0, 40), st.integers(1, 6), st.integers(0, 2_000_000))
def test_every_node_is_offered_once_at_rising_ticks(nodes: int, parts: int, slope: int) -> None:
    steps = curve(policy(slope_ppm=slope, parts=parts), nodes, 8)
    assert sum(step.chips for step in steps) == 8 * nodes
    prices = [step.price for step in steps]
    assert prices == sorted(set(prices))
    assert all(price % 1_000 == 0 for price in prices)
