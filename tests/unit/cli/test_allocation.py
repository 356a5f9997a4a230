"""How `iso spot allocation` words shares and reasons."""

from __future__ import annotations

from iso_exchange.api.v1 import allocation_pb2
from iso_exchange.cli.spot import _held, _percent, _pool_shares


def share(reason: str, quantity: int) -> allocation_pb2.IdleShare:
    return allocation_pb2.IdleShare(reason=reason, idle_chip_seconds=quantity)


def test_shares_are_rounded_down_and_nothing_in_service_has_none() -> None:
    assert _percent(9_499, 10_000) == "94.99 %"
    assert _percent(94_999, 100_000) == "94.99 %"
    assert _percent(1, 1) == "100.00 %"
    assert _percent(0, 0) == ""


def test_what_is_down_or_kept_back_is_not_in_service() -> None:
    pool = allocation_pb2.PoolAllocation(
        pool_id="p",
        capacity_chip_seconds=1_000,
        awarded_chip_seconds=400,
        delivered_chip_seconds=300,
        idle=[share("OUTAGE", 100), share("NOT_OFFERED", 100), share("PRICE", 400)],
    )
    assert _pool_shares(pool) == ("50.00 %", "37.50 %")
    assert _held(pool.idle, 1_000) == "PRICE 40.00 %, OUTAGE 10.00 %, NOT_OFFERED 10.00 %"
