"""What people type: exact forms are read, everything else is refused with what was expected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearing.types import Step
from clearing.units import Chips, MicroUsdPerChipHour, usd_text
from iso_exchange.cli import values
from iso_exchange.cli.output import price_text
from iso_exchange.cli.refusals import BadValue

KNOWN = ("nvidia.h100-sxm5-80gb", "nvidia.h100-pcie-80gb", "nvidia.h200-sxm-141gb")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-10-06 09:00Z", 1_791_277_200),
        ("2026-10-06t09:00:00z", 1_791_277_200),
        ("2026-10-06T11:00:00+02:00", 1_791_277_200),
        ("2026-10-06 03:30-05:30", 1_791_277_200),
    ],
)
def test_times_with_a_zone_are_read(text: str, seconds: int) -> None:
    assert values.parse_time(text, "--start") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-10-06",
        "2026-10-06T09:00:00",
        "2026-02-30T09:00Z",
        "2026-10-06T24:00Z",
        "2026-10-06T09:00:60Z",
        "2026-10-06T09:00:00.5Z",
        "2026-10-06T09:00+2:00",
        "2026-10-06T09:00+02:60",
        "2026-10-06T09:00+24:00",
        " 2026-10-06T09:00Z",
        "2026-10-06T09:00Z\n",
        "\uff12026-10-06T09:00Z",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(BadValue) as caught:
        values.parse_time(text, "--start")
    assert (caught.value.field, caught.value.got) == ("--start", text)
    assert "2026-10-06T09:00:00Z" in caught.value.advice


def test_days_are_midnight_utc() -> None:
    assert values.parse_day("2026-10-06", "--day") == 1_791_244_800


@pytest.mark.parametrize("text", ["2026-13-01", "06.10.2026", "2026-10-6", "20261006"])
def test_other_days_are_refused(text: str) -> None:
    with pytest.raises(BadValue, match="2026-10-06"):
        values.parse_day(text, "--day")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("48h", 172_800), ("30m", 1_800), ("120s", 120), ("1h30m", 5_400), ("2d1s", 172_801)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert values.parse_duration(text, "--for") == seconds


@pytest.mark.parametrize("text", ["", "0h", "8", "8 h", "1.5h", "-1h", "30m1h", "8hours"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(BadValue, match="48h"):
        values.parse_duration(text, "--for")


def test_windows_have_two_ends() -> None:
    window = values.parse_window("2026-10-06 09:00Z..2026-10-06 10:00Z", "--window")
    assert window == (1_791_277_200, 1_791_280_800)


@pytest.mark.parametrize(
    "text",
    [
        "2026-10-06T09:00Z",
        "2026-10-06T09:00Z..",
        "2026-10-06T09:00Z..2026-10-06T09:00Z",
        "2026-10-06T10:00Z..2026-10-06T09:00Z",
    ],
)
def test_other_windows_are_refused(text: str) -> None:
    with pytest.raises(BadValue):
        values.parse_window(text, "--window")


@pytest.mark.parametrize(
    ("text", "micro_usd"),
    [
        ("3.10", 3_100_000),
        ("3.10/chip-h", 3_100_000),
        ("0", 0),
        ("0.000001", 1),
        ("-1.5", -1_500_000),
    ],
)
def test_prices_are_exact(text: str, micro_usd: int) -> None:
    assert values.parse_price(text, "--limit") == micro_usd


@pytest.mark.parametrize(
    "text",
    ["", "3,10", "$3", "1e3", "03", ".5", "3.", "0.0000001", "NaN", "3.10/h", "1\u0663"],
)
def test_other_prices_are_refused(text: str) -> None:
    with pytest.raises(BadValue, match=r"3\.10"):
        values.parse_price(text, "--limit")


@given(st.integers(min_value=0, max_value=10**15))
def test_prices_read_back_what_is_shown(micro_usd: int) -> None:
    assert values.parse_price(usd_text(micro_usd), "--limit") == micro_usd
    assert values.parse_price(price_text(micro_usd), "--limit") == micro_usd


@pytest.mark.parametrize(("text", "ppm"), [("1", 10**6), ("0.5", 500_000), ("12.5%", 125_000)])
def test_shares_are_parts_per_million(text: str, ppm: int) -> None:
    assert values.parse_share(text, "--min-fill") == ppm


@pytest.mark.parametrize("text", ["0", "1.1", "101%", "half", "0.0000001", "0.00001%"])
def test_other_shares_are_refused(text: str) -> None:
    with pytest.raises(BadValue, match="share"):
        values.parse_share(text, "--min-fill")


@pytest.mark.parametrize("text", ["", "0", "-8", "8.0", "1,024", "08", "100000001", "1\u0663"])
def test_other_quantities_are_refused(text: str) -> None:
    with pytest.raises(BadValue, match="whole number"):
        values.parse_chips(text, "--chips")


def test_steps_are_sorted_as_the_exchange_wants_them() -> None:
    low = Step(price=MicroUsdPerChipHour(1_900_000), chips=Chips(512))
    high = Step(price=MicroUsdPerChipHour(2_100_000), chips=Chips(256))
    texts = ["256@2.10", "512@1.90"]
    assert values.parse_steps(texts, "--step", descending=False) == (low, high)
    assert values.parse_steps(texts, "--step", descending=True) == (high, low)


@pytest.mark.parametrize("texts", [[], ["256"], ["@2"], ["8@"], ["8@2.1", "16@2.10"]])
def test_other_steps_are_refused(texts: list[str]) -> None:
    with pytest.raises(BadValue):
        values.parse_steps(texts, "--step", descending=False)


def test_profiles_are_chips_per_interval() -> None:
    assert values.parse_profile("8, 16,0,8", "--profile") == (8, 16, 0, 8)
    for text in ("", "8,", "8;16", "-8", "8,x"):
        with pytest.raises(BadValue):
            values.parse_profile(text, "--profile")


def test_factors_are_parts_per_million_of_a_class() -> None:
    known = ("nvidia.h100-sxm5-80gb", "nvidia.h200-sxm5-141gb")
    found = values.parse_factors(["h200=1.25", "h100=0.9"], "--factor", known)
    assert [(item.chip_class, item.factor_ppm) for item in found] == [
        ("nvidia.h200-sxm5-141gb", 1_250_000),
        ("nvidia.h100-sxm5-80gb", 900_000),
    ]
    for texts in (["h200"], ["h200=0"], ["h200=-1"], ["h200=1001"], ["h200=1", "h200-sxm=2"]):
        with pytest.raises(BadValue):
            values.parse_factors(texts, "--factor", known)


def test_chip_classes_go_by_any_part_that_fits_one() -> None:
    found = values.resolve_chip_classes(["h100-sxm|h200", KNOWN[0]], "--class", KNOWN)
    assert found == (KNOWN[0], KNOWN[2])


@pytest.mark.parametrize("text", ["h100", "b200", "sxm"])
def test_other_chip_classes_are_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(BadValue, match="nvidia"):
        values.resolve_chip_classes([text], "--class", KNOWN)


def test_names_of_a_vocabulary_ignore_case_and_dashes() -> None:
    known = ("INFINIBAND_NDR", "ROCE_V2")
    assert values.parse_names(["infiniband-ndr|roce_v2"], "--fabric", known) == known
    with pytest.raises(BadValue, match="ROCE_V2"):
        values.parse_names(["token-ring"], "--fabric", known)


def test_fresh_identifiers_differ_and_can_be_registered() -> None:
    first = values.new_identifier("bid")
    assert first != values.new_identifier("bid")
    assert first.startswith("bid-")
    assert set(first) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
