from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso_exchange.api.v1.registry_service_pb2 import ListPoolsRequest, ListSitesRequest
from iso_exchange.services.errors import Refused
from iso_exchange.services.pages import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, cut, page_of


@given(
    names=st.sets(st.text("abc", min_size=1, max_size=4), max_size=40),
    size=st.integers(1, 7),
    descending=st.booleans(),
)
def test_pages_together_are_the_list(names: set[str], size: int, descending: bool) -> None:
    request = ListSitesRequest(page_size=size)
    found: list[str] = []
    while True:
        items, token = cut(page_of(request), names, lambda name: (name,), descending=descending)
        assert len(items) <= size
        found.extend(items)
        if not token:
            break
        request.page_token = token
    assert found == sorted(names, reverse=descending)


@pytest.mark.parametrize(
    ("asked", "given_size"),
    [(0, PAGE_SIZE_DEFAULT), (1, 1), (PAGE_SIZE_MAX, PAGE_SIZE_MAX), (10**9, PAGE_SIZE_MAX)],
)
def test_sizes(asked: int, given_size: int) -> None:
    assert page_of(ListSitesRequest(page_size=asked)).size == given_size


def test_a_token_belongs_to_its_request() -> None:
    _, token = cut(page_of(ListSitesRequest(page_size=1)), "ab", lambda name: (name,))
    assert page_of(ListSitesRequest(page_token=token)).after == ("a",)
    for other in (
        ListSitesRequest(page_token=token, region="us-south"),
        ListPoolsRequest(page_token=token),
        ListSitesRequest(page_token=f"{token}A"),
    ):
        with pytest.raises(Refused) as refused:
            page_of(other)
        assert refused.value.status is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("token", ["x", "ä", "W10", "bnVsbA", "A" * 5_000])
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(Refused) as refused:
        page_of(ListSitesRequest(page_token=token))
    assert refused.value.rejected.field == "page_token"
