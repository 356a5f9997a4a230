"""From times on the wire to interval positions of an auction, or the reason why not."""

from __future__ import annotations

import itertools

from clearing.types import AuctionSpec, Segment
from clearing.units import UnixSeconds
from iso_exchange.commands import TimedSegment
from iso_exchange.sequencer.refusals import Code, Rejected


def window(
    spec: AuctionSpec, start: int, end: int, now: UnixSeconds, field: str
) -> tuple[int, int] | Rejected:
    """Positions ``[first, stop)`` of a time window in an auction's intervals.

    Args:
        spec: Auction; its intervals are contiguous and of equal length.
        start: Seconds since the epoch, included.
        end: Seconds since the epoch, excluded.
        now: Sequencer time; a window that starts before it is in the past.
        field: Name of the field, for the refusal.
    """
    opening, closing = spec.intervals[0].start, spec.intervals[-1].end
    length = spec.intervals[0].duration_s
    if end <= start:
        return Rejected(
            code=Code.INVALID_VALUE,
            field=field,
            advice="a window ends after it starts",
            got=f"[{start}, {end})",
        )
    if start < now:
        return Rejected(
            code=Code.WINDOW_IN_PAST,
            field=field,
            advice="choose a window that starts in the future",
            got=str(start),
            limit=str(now),
        )
    if start < opening or end > closing:
        return Rejected(
            code=Code.WINDOW_OUTSIDE_AUCTION,
            field=field,
            advice="choose a window inside the delivery period of the auction",
            got=f"[{start}, {end})",
            limit=f"[{opening}, {closing})",
        )
    if (start - opening) % length or (end - opening) % length:
        return Rejected(
            code=Code.NOT_ON_INTERVAL_BOUNDARY,
            field=field,
            advice=f"start and end on the auction's interval boundaries, every {length} s",
            got=f"[{start}, {end})",
        )
    return (start - opening) // length, (end - opening) // length


def segments(
    spec: AuctionSpec, timed: tuple[TimedSegment, ...], now: UnixSeconds
) -> tuple[Segment, ...] | Rejected:
    """Curves by interval position, ascending; overlapping windows are refused."""
    if not timed:
        return Rejected(
            code=Code.INVALID_VALUE, field="segments", advice="give at least one segment"
        )
    found: list[Segment] = []
    for position, segment in enumerate(timed):
        span = window(spec, segment.start, segment.end, now, f"segments[{position}]")
        if isinstance(span, Rejected):
            return span
        found.append(Segment(first=span[0], stop=span[1], steps=segment.steps))
    found.sort(key=lambda segment: segment.first)
    for earlier, later in itertools.pairwise(found):
        if later.first < earlier.stop:
            return Rejected(
                code=Code.INVALID_VALUE,
                field="segments",
                advice="windows of one order must not overlap",
                got=f"{earlier.first}-{earlier.stop} and {later.first}-{later.stop}",
            )
    return tuple(found)
