"""What standing orders ask of the next run, remembered from run to run.

Most of a large market stands still: an order that neither changed nor runs asks the same of the
next run, and work that runs asks the same as long as it is bound as far ahead as before. Such an
order keeps its part of a run, the very object: what the book, its text and the clearing process
know of it stays known. What is here follows from the state alone and is only there to be quick.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from clearing.session import Session
from clearing.types import BlockBid, Offer, StepBid
from iso_exchange.sequencer.spot_curves import clip, less

T = TypeVar("T")

Held = tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
"""Chips that runs bound of an order, by pool and interval of the next run, from -1 on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What binding has to know of one bid besides its awards.

    Attributes:
        reclaimable: Interruptible: it is told when it is not renewed.
        keeps: Intervals that work which begins in interval 0 binds after it.
        held: Chips that earlier runs bound, by pool and interval, from -1 on.
        wanted: Chips that the standing order asks for in each interval, bound or not.
    """

    participant_id: str
    keeps: int
    reclaimable: bool
    held: Mapping[str, Mapping[int, int]]
    wanted: Sequence[int]


@dataclass(slots=True, kw_only=True)
class StepPart:
    """What a step bid asks of a run.

    Attributes:
        order: Standing order, by interval numbers.
        held: What is bound of it.
        until: First run by its interval number for which it asks something else, as long as
            order and held are the same.
        bid: What it asks; None for nothing.
        standing: What binding has to know of it.
    """

    order: StepBid
    held: Held
    until: int
    bid: StepBid | None
    standing: Standing


@dataclass(slots=True, kw_only=True)
class BlockPart:
    """What a gang asks of a run: one bid for each start, the first start first."""

    bids: tuple[BlockBid, ...]
    standing: Standing


class Texts(Session):
    """Canonical texts of the orders of the last book; a copy of it knows none."""

    def __reduce__(self) -> tuple[type[Texts], tuple[()]]:
        """It knows orders by identity, which a copy does not have."""
        return Texts, ()


@dataclass(slots=True)
class Parts:
    """Parts of standing orders in the last run, by order.

    Attributes:
        names: Open orders, sorted.
        texts: Writes books.
        bound: Order that stands for what is bound, by (order, pool), with what it is made of.
    """

    steps: dict[str, StepPart] = field(default_factory=dict)
    blocks: dict[str, BlockPart] = field(default_factory=dict)
    bound: dict[tuple[str, str], tuple[StepBid, list[int], StepBid | None]] = field(
        default_factory=dict
    )
    names: list[str] = field(default_factory=list)
    texts: Texts = field(default_factory=Texts)

    def open_names(self, order_ids: Mapping[str, None]) -> list[str]:
        """Open orders, sorted; what is known of others is forgotten."""
        names = [name for name in self.names if name in order_ids]
        if len(names) < len(self.names):
            for name in set(self.names) - order_ids.keys():
                self.steps.pop(name, None)
                self.blocks.pop(name, None)
        if len(names) < len(order_ids):
            names.extend(order_ids.keys() - set(names))
            names.sort()
        self.names = names
        return names


def held_of(pools: Mapping[str, Mapping[int, int]] | None, first: int) -> Held:
    """Positions by interval of the run that begins at an interval number, from -1 on."""
    if not pools:
        return ()
    found = tuple(
        (
            pool_id,
            tuple([(at - first, chips) for at, chips in places.items() if at >= first - 1]),
        )
        for pool_id, places in pools.items()
    )
    return tuple(row for row in found if row[1])


def intervals_held(held: Held) -> int:
    """Intervals from the first of the run on in which something is bound."""
    places = {place for _, cells in held for place, chips in cells if chips}
    end = 0
    while end in places:
        end += 1
    return end


def step_part(order: StepBid, held: Held, first: int, length: int, keeps: int) -> StepPart:
    """What a step bid asks of a run: its curve less what is bound, dearest steps first.

    Args:
        order: By interval numbers.
        held: What is bound of it.
        first: Interval number in which the run begins.
        length: Its intervals.
        keeps: Intervals that work which begins in interval 0 binds after it.
    """
    shown = clip(order.segments, first, length)
    wanted = [0] * length
    for part in shown:
        wanted[part.first : part.stop] = [sum(step.chips for step in part.steps)] * (
            part.stop - part.first
        )
    segments = shown
    if held:
        used: dict[int, int] = {}
        for _, cells in held:
            for place, chips in cells:
                used[place] = used.get(place, 0) + chips
        segments = less(shown, lambda place: used.get(place, 0))
    return StepPart(
        order=order,
        held=held,
        until=_until(order, first, length),
        bid=dataclasses.replace(order, segments=segments) if segments else None,
        standing=Standing(
            participant_id=order.participant_id,
            keeps=keeps,
            reclaimable=order.service_class.value == "INTERRUPTIBLE",
            held={pool_id: dict(cells) for pool_id, cells in held},
            wanted=tuple(wanted),
        ),
    )


def same_or(known: T | None, made: T) -> T:
    """The object that is known where it says the same as the one just made."""
    return known if known is not None and known == made else made


def _until(order: StepBid | Offer, first: int, length: int) -> int:
    """First run that sees another part of an order's curves."""
    until = order.segments[-1].stop
    for segment in order.segments:
        if segment.stop <= first:
            continue
        if segment.first >= first + length:
            until = min(until, segment.first - length + 1)
        elif segment.first <= first and segment.stop >= first + length:
            until = min(until, segment.stop - length + 1)
        else:
            return first + 1
    return until
