"""JSON documents of API messages, and texts for people."""

from __future__ import annotations

import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from iso_exchange.api.v1 import auction_pb2, market_service_pb2, order_pb2, settlement_pb2
from iso_exchange.cli import output
from iso_exchange.cli.refusals import Failure


def test_nothing_is_left_out_and_enums_go_by_name() -> None:
    message = auction_pb2.Auction(
        spec=auction_pb2.AuctionSpec(
            auction_id="a",
            product=auction_pb2.AUCTION_PRODUCT_DAY_AHEAD,
            close_time=Timestamp(seconds=1_791_277_200),
            seed_commitment=b"\x01\xff",
        ),
        state=auction_pb2.AUCTION_STATE_OPEN,
    )
    document = output.plain(message)
    assert set(document) == set(auction_pb2.Auction.DESCRIPTOR.fields_by_name)
    assert (document["state"], document["result"]) == ("OPEN", None)
    assert document["spec"]["product"] == "DAY_AHEAD"
    assert document["spec"]["close_time"] == "2026-10-06T09:00:00Z"
    assert document["spec"]["seed_commitment"] == "01ff"


def test_integers_beyond_the_safe_range_are_texts() -> None:
    assert output.plain(settlement_pb2.Payout(amount_micro_usd=2**53))["amount_micro_usd"] == str(
        2**53
    )
    assert output.plain(settlement_pb2.Payout(amount_micro_usd=7))["amount_micro_usd"] == 7


def test_optional_numbers_are_null_when_unset_and_zero_when_zero() -> None:
    unset = market_service_pb2.EligiblePool()
    zero = market_service_pb2.EligiblePool(last_price_micro_usd_per_chip_hour=0)
    assert output.plain(unset)["last_price_micro_usd_per_chip_hour"] is None
    assert output.plain(zero)["last_price_micro_usd_per_chip_hour"] == 0


def test_enum_values_of_a_later_schema_are_numbers() -> None:
    assert output.enum_text(order_pb2.Fill.DESCRIPTOR, 99) == "99"


@pytest.mark.parametrize(
    ("micro_usd", "text"),
    [(0, "0.00"), (3_100_000, "3.10"), (1_234_567, "1.234567"), (-500_000, "-0.50")],
)
def test_prices_are_exact_with_two_digits_at_least(micro_usd: int, text: str) -> None:
    assert output.price_text(micro_usd) == text


@pytest.mark.parametrize(
    ("micro_usd", "text"),
    [(0, "$0.00"), (76_185_600_000, "$76,185.60"), (-1_290_240_000, "-$1,290.24")],
)
def test_amounts_have_cents_and_separators(micro_usd: int, text: str) -> None:
    assert output.money_text(micro_usd) == text


def test_microseconds_are_shown_where_there_are_any() -> None:
    assert output.stamp_text(Timestamp(seconds=1, nanos=5_000)) == "1970-01-01T00:00:01.000005Z"


def test_tables_keep_brackets_and_long_names(capsys: pytest.CaptureFixture[str]) -> None:
    name = "x" * 120
    output.answer({}, output.table(("A", "B"), [("[red]", name)]), as_json=False)
    assert capsys.readouterr().out == f"A      B\n[red]  {name}\n"


def test_a_failure_goes_to_one_place_only(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(exit_code=1, code="GATE_CLOSED", field="auction_id", advice="later", got="9")
    output.report(failure, as_json=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["code"] == "GATE_CLOSED"
    assert printed.err == ""
    output.report(failure, as_json=False)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "GATE_CLOSED (auction_id): later\n  got: 9\n"
