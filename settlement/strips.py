"""Strips: an auction whose interval is a week or a month, delivered and settled hour by hour.

The engine clears a strip as one interval, so that it has one price per pool and every order holds
in all of its hours. What follows from it is the same hour, as often as the strip is long: prices
are per chip-hour and quantities whole chips, so that the hours add up to the strip to the
micro-USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from clearing.types import Interval
from clearing.units import UnixSeconds
from settlement.assignment import Assignment, MakeWholePlan
from settlement.types import Contract, SpareHour

HOUR_SECONDS: Final = 3_600
STRIP_SECONDS_MIN: Final = 86_400
"""Intervals that are longer than this are strips."""


def is_strip(interval: Interval) -> bool:
    """Whether what is sold in an interval is delivered by the hour."""
    return interval.duration_s > STRIP_SECONDS_MIN


def hours_of(interval: Interval) -> tuple[Interval, ...]:
    """Hours of a strip, which is whole hours long."""
    return tuple(
        Interval(start=UnixSeconds(start), end=UnixSeconds(start + HOUR_SECONDS))
        for start in range(interval.start, interval.end, HOUR_SECONDS)
    )


def by_hour(assignment: Assignment) -> Assignment:
    """An assignment of strips with every hour of them as a delivery interval.

    Args:
        assignment: As ``settlement.contracts.assign`` makes it; one whose intervals are no
            strips is given back as it is.
    """
    if not any(is_strip(interval) for interval in assignment.intervals):
        return assignment
    return replace(
        assignment,
        intervals=tuple(hour for item in assignment.intervals for hour in hours_of(item)),
        contracts=tuple(_contract(item) for item in assignment.contracts),
        spare_hours=_sorted(assignment.spare_hours),
        reserve_hours=_sorted(assignment.reserve_hours),
        idle_hours=_sorted(assignment.idle_hours),
        prices=tuple(
            replace(price, interval=hour)
            for price in assignment.prices
            for hour in hours_of(price.interval)
        ),
        make_whole=tuple(_plan(item) for item in assignment.make_whole),
    )


def _contract(contract: Contract) -> Contract:
    return replace(
        contract,
        hours=tuple(
            replace(part, interval=hour)
            for part in contract.hours
            for hour in hours_of(part.interval)
        ),
    )


def _sorted(items: Iterable[SpareHour]) -> tuple[SpareHour, ...]:
    return tuple(
        sorted(
            _spread(items),
            key=lambda item: (item.interval.start, item.pool_id, item.order_id, item.site),
        )
    )


def _spread(items: Iterable[SpareHour]) -> Iterator[SpareHour]:
    for item in items:
        for hour in hours_of(item.interval):
            yield replace(item, interval=hour)


def _plan(plan: MakeWholePlan) -> MakeWholePlan:
    """Earned at the end of the last hour; what funds a residual is there in the first."""
    hours = hours_of(plan.last)
    return replace(plan, last=hours[-1] if plan.family_id else hours[0])
