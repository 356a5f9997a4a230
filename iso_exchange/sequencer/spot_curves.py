"""Curves of standing orders inside a run: cut to its intervals, and less what is used up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from clearing.types import Segment, Step
from clearing.units import Chips


def clip(segments: Iterable[Segment], first: int, length: int) -> tuple[Segment, ...]:
    """Segments inside a run, by position in it."""
    return tuple(
        Segment(
            first=max(0, segment.first - first),
            stop=min(length, segment.stop - first),
            steps=segment.steps,
        )
        for segment in segments
        if segment.first < first + length and first < segment.stop
    )


def less(segments: tuple[Segment, ...], used: Callable[[int], int]) -> tuple[Segment, ...]:
    """Curves less the chips that are used up of them, from their first step on."""
    length = max((segment.stop for segment in segments), default=0)
    curves: list[tuple[Step, ...]] = [()] * length
    for segment in segments:
        for place in range(segment.first, segment.stop):
            curves[place] = without(segment.steps, used(place))
    return joined(curves)


def without(steps: tuple[Step, ...], chips: int) -> tuple[Step, ...]:
    """Steps less the first chips of them."""
    if not chips:
        return steps
    left: list[Step] = []
    for step in steps:
        taken = min(chips, step.chips)
        chips -= taken
        if step.chips > taken:
            left.append(Step(price=step.price, chips=Chips(step.chips - taken)))
    return tuple(left)


def joined(curves: Iterable[tuple[Step, ...]]) -> tuple[Segment, ...]:
    """One segment for each stretch of intervals with the same curve."""
    segments = []
    for steps, places in itertools.groupby(enumerate(curves), key=lambda item: item[1]):
        if steps:
            members = [place for place, _ in places]
            segments.append(Segment(first=members[0], stop=members[-1] + 1, steps=steps))
    return tuple(segments)
