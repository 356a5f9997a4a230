"""Requested periods: half open, and unbounded where a side is not given."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from iso_exchange.api.v1.spot_service_pb2 import ListRunsRequest
from iso_exchange.services.periods import starts_within, within

MOMENTS = st.one_of(st.none(), st.integers(0, 30))


@given(st.sets(st.integers(0, 30)), MOMENTS, MOMENTS)
def test_ascending_starts_are_cut_as_each_would_be(
    starts: set[int], first: int | None, last: int | None
) -> None:
    request = ListRunsRequest(
        market_id="spot",
        start_time=None if first is None else Timestamp(seconds=first),
        end_time=None if last is None else Timestamp(seconds=last),
    )
    ordered = sorted(starts)
    assert list(within(request, ordered)) == [
        start for start in ordered if starts_within(request, start)
    ]
