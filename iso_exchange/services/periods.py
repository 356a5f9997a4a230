"""Filters ``start_time`` and ``end_time`` of list requests."""

from __future__ import annotations

from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp


class PeriodRequest(Protocol):
    """A request with both bounds; an unset one does not bound."""

    @property
    def start_time(self) -> Timestamp:
        """Included."""
        ...

    @property
    def end_time(self) -> Timestamp:
        """Excluded."""
        ...

    def HasField(self, field_name: str, /) -> bool:  # noqa: N802 - protobuf's name
        """Whether a field is set."""
        ...


def overlaps(request: PeriodRequest, start: int, end: int) -> bool:
    """Whether ``[start, end)``, seconds since the epoch, meets the requested period."""
    if request.HasField("start_time") and end <= request.start_time.seconds:
        return False
    return not (request.HasField("end_time") and start >= request.end_time.seconds)


def starts_within(request: PeriodRequest, start: int) -> bool:
    """Whether something that starts then is inside the requested period."""
    if request.HasField("start_time") and start < request.start_time.seconds:
        return False
    return not (request.HasField("end_time") and start >= request.end_time.seconds)
