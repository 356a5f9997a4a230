"""Readers of price data: real files where they are, malformed ones everywhere."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iso_exchange.replay import prices
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.traces import percentile

HEADER = "timestamp,gpu,provider,count,min,avg\n"
ROW = "2025-10-19 21:01:58+00:00,H100_80GB_SXM5,nebius,4,2.12,2.13\n"


def folder_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "prices").mkdir()
    file = tmp_path / "prices" / "neocloud_by_provider_x.csv.gz"
    file.write_bytes(gzip.compress(text.encode()))
    return tmp_path


def refusal(data_dir: Path) -> tuple[str, int]:
    with pytest.raises(DataError) as caught:
        prices.read_provider_quotes(data_dir)
    return caught.value.code, caught.value.line


def test_price_is_exact(tmp_path: Path) -> None:
    (quote,) = prices.read_provider_quotes(folder_with(tmp_path, HEADER + ROW))
    assert (quote.lowest, quote.mean, quote.offer_count) == (2_120_000, 2_130_000, 4)
    assert quote.taken_at == datetime(2025, 10, 19, 21, 1, 58, tzinfo=UTC)


def test_long_decimals_round_half_even_once(tmp_path: Path) -> None:
    text = HEADER + ROW.replace("2.12", "0.09333333333333334").replace("2.13", "1.0000005")
    (quote,) = prices.read_provider_quotes(folder_with(tmp_path, text))
    assert (quote.lowest, quote.mean) == (93_333, 1_000_000)


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("", "EMPTY_FILE", 0),
        ("a,b\n", "WRONG_HEADER", 1),
        (HEADER + "1,2\n", "WRONG_COLUMNS", 2),
        (HEADER + ROW + ROW.replace("2.12", "cheap"), "BAD_VALUE", 3),
        (HEADER + ROW.replace("2.12", "NaN"), "BAD_VALUE", 2),
        (HEADER + ROW.replace("2.12", "-1"), "BAD_VALUE", 2),
        (HEADER + ROW.replace("2.12", "1e30"), "BAD_VALUE", 2),
        (HEADER + ROW.replace(",4,", ",0,"), "BAD_VALUE", 2),
        (HEADER + ROW.replace(",4,", ",4.5,"), "BAD_VALUE", 2),
        (HEADER + ROW.replace("nebius", ""), "BAD_VALUE", 2),
        (HEADER + ROW.replace("2025-10-19", "yesterday"), "BAD_VALUE", 2),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, code: str, line: int) -> None:
    assert refusal(folder_with(tmp_path, text)) == (code, line)


def test_absent_and_damaged_files(tmp_path: Path) -> None:
    assert refusal(tmp_path) == ("FILE_MISSING", 0)
    folder = folder_with(tmp_path, HEADER + ROW * 1_000)
    file = next((folder / "prices").iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert refusal(folder) == ("NOT_GZIP", 0)
    file.write_bytes(b"timestamp,gpu")
    assert refusal(folder) == ("NOT_GZIP", 0)
    file.write_bytes(gzip.compress(HEADER.encode() + b"\xff\n"))
    assert refusal(folder) == ("NOT_UTF8", 0)


def test_last_quote_at_or_before_an_instant(tmp_path: Path) -> None:
    later = ROW.replace("10-19 21:01", "10-20 08:00").replace("2.12", "2.20")
    quotes = prices.read_provider_quotes(folder_with(tmp_path, HEADER + later + ROW))
    chip = "H100_80GB_SXM5"

    def at(day: int) -> datetime:
        return datetime(2025, 10, day, 23, 0, tzinfo=UTC)

    assert prices.quote_at(quotes, chip, "nebius", at(19)).lowest == 2_120_000
    assert prices.quote_at(quotes, chip, "nebius", at(20)).lowest == 2_200_000
    for provider, day in (("nebius", 18), ("nebius", 29), ("nobody", 20)):
        with pytest.raises(DataError, match="NO_QUOTE"):
            prices.quote_at(quotes, chip, provider, at(day))


def test_floor_ratio_is_a_median_that_was_seen() -> None:
    asks = [
        prices.MarketplaceAsk(
            taken_at=datetime(2026, 3, 1, tzinfo=UTC),
            gpu_name="H200",
            chips=8,
            ask=2_000_000,
            lowest_bid=bid,
        )
        for bid in (1_000_000, 1_600_000, 1_800_000, 2_000_000)
    ]
    assert prices.interruptible_floor_ppm(asks) == 800_000
    with pytest.raises(DataError, match="NO_OFFERS"):
        prices.interruptible_floor_ppm(asks, ("B200",))


def test_real_quotes(data_dir: Path) -> None:
    quotes = prices.read_provider_quotes(data_dir)
    at = datetime(2025, 11, 2, 23, 59, 59, tzinfo=UTC)
    known = prices.quotes_at(quotes, "H100_80GB_SXM5", at)
    assert len(quotes) == 10_325
    assert {name: quote.lowest for name, quote in known.items()} == {
        "dc_roan": 1_990_000,
        "hyperstack": 2_400_000,
        "lambdalabs": 3_290_000,
        "nebius": 2_120_000,
        "primecompute": 1_000_000,
        "runpod": 2_690_000,
        "vultr": 2_990_000,
    }


def test_real_list_medians(data_dir: Path) -> None:
    # The figures published with the data: H100 2.49 in this part, H200 3.59, B200 5.69, A100 1.75.
    statistics = prices.read_price_statistics(data_dir)
    medians = {
        listing: percentile([row.median for row in statistics if row.listing == listing], 50)
        for listing in prices.CHIP_CLASSES_BY_LISTING
    }
    assert medians == {
        "A100_80GB_SXM4": 1_750_000,
        "H100_80GB_SXM5": 2_490_000,
        "H200_141GB": 3_590_000,
        "B200_180GB": 5_690_000,
    }


def test_real_configurations_and_marketplace(data_dir: Path) -> None:
    configurations = prices.read_configuration_quotes(data_dir)
    asks = prices.read_marketplace_asks(data_dir)
    assert len(configurations) == 20_296
    assert all(row.lowest <= row.mean + 10_000 for row in configurations)
    assert len(asks) == 954
    assert prices.interruptible_floor_ppm(asks) == 920_000
    assert prices.interruptible_floor_ppm(asks, ("H100 SXM",)) == 571_429
