"""Filters ``start_time`` and ``end_time`` of list requests."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def overlaps(request: Message, start: int, end: int) -> bool:
    """Whether ``[start, end)``, seconds since the epoch, meets the requested period.

    Args:
        request: With the fields ``start_time`` and ``end_time``; an unset one does not bound.
    """
    first, last = _bound(request, "start_time"), _bound(request, "end_time")
    return (first is None or first < end) and (last is None or start < last)


def starts_within(request: Message, start: int) -> bool:
    """Whether something that starts then is inside the requested period."""
    first, last = _bound(request, "start_time"), _bound(request, "end_time")
    return (first is None or first <= start) and (last is None or start < last)


def within(request: Message, starts: Sequence[int]) -> Sequence[int]:
    """Those of ascending starts that are inside the requested period."""
    first, last = _bound(request, "start_time"), _bound(request, "end_time")
    begin = 0 if first is None else bisect_left(starts, first)
    return starts[begin : None if last is None else bisect_left(starts, last)]


def _bound(request: Message, name: str) -> int | None:
    bound: Timestamp = getattr(request, name)
    return bound.seconds if request.HasField(name) else None
