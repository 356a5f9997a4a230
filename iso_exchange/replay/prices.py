"""Readers of the price data: list prices of neoclouds and asks of a marketplace.

Sources: ``prices/neocloud_*``, gpu-price-tracker (MIT), offers of about 15 neoclouds,
19 October to 2 November 2025; ``prices/vast_*``, CCIR (data CC-BY-4.0), four snapshots of
one marketplace, February and March 2026. Prices are integer micro-USD per chip-hour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from clearing.units import PPM, divide_half_even
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.tables import Row, find_file, read_rows

PROVIDER_PATTERN: Final = "prices/neocloud_by_provider_*.csv.gz"
CONFIGURATION_PATTERN: Final = "prices/neocloud_by_config_*.csv.gz"
STATISTICS_PATTERN: Final = "prices/neocloud_price_stats_*.csv.gz"
MARKETPLACE_PATTERN: Final = "prices/vast_*.csv.gz"

CHIP_CLASSES_BY_LISTING: Final = {
    "A100_80GB_SXM4": "nvidia.a100-sxm4-80gb",
    "H100_80GB_SXM5": "nvidia.h100-sxm5-80gb",
    "H200_141GB": "nvidia.h200-sxm5-141gb",
    "B200_180GB": "nvidia.b200-hgx-180gb",
}
"""Chip class of each neocloud listing that the chip table knows."""

HOPPER_MARKETPLACE_NAMES: Final = ("H100 SXM", "H200")
"""Marketplace names of the chips whose interruptible floor the scenarios use."""

QUOTE_AGE_DAYS_MAX: Final = 7
"""A quote older than this says nothing about the day asked for."""

_PROVIDER_COLUMNS: Final = ("timestamp", "gpu", "provider", "count", "min", "avg")
_CONFIGURATION_COLUMNS: Final = (
    "timestamp",
    "gpu",
    "gpus",
    "count",
    "min_per_gpu",
    "avg_per_gpu",
    "min_total",
    "avg_total",
    "best_deal",
)
_STATISTICS_COLUMNS: Final = (
    "timestamp",
    "gpu",
    "price_min",
    "price_p10",
    "price_p25",
    "price_median",
    "price_p75",
    "price_p90",
    "price_max",
    "price_mean",
    "offers_total",
    "offers_available",
    "offers_low",
    "offers_medium",
    "offers_high",
)
_MARKETPLACE_COLUMNS: Final = (
    "snapshot_utc",
    "id",
    "machine_id",
    "host_id",
    "gpu_name",
    "num_gpus",
    "gpu_frac",
    "dph_base",
    "dph_total",
    "min_bid",
    "reliability2",
    "rentable",
    "rented",
    "verification",
    "geolocation",
    "gpu_ram",
    "dlperf",
    "duration",
    "start_date",
    "end_date",
    "inet_down",
    "hosting_type",
    "cluster_id",
    "static_ip",
    "bw_nvlink",
    "cpu_cores_effective",
    "ask_per_gpu",
    "min_bid_per_gpu",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderQuote:
    """List prices of one provider for one chip at one time, micro-USD per chip-hour.

    Attributes:
        taken_at: When the listing was read, UTC.
        listing: Chip as the listing names it, such as ``H100_80GB_SXM5``.
        provider: Name of the provider.
        offer_count: Offers that the two prices summarise, > 0.
        lowest: Cheapest of them.
        mean: Their mean, as published (to the cent).
    """

    taken_at: datetime
    listing: str
    provider: str
    offer_count: int
    lowest: int
    mean: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationQuote:
    """List prices for one chip by the number of chips in an offer, micro-USD per chip-hour."""

    taken_at: datetime
    listing: str
    chips_per_offer: int
    offer_count: int
    lowest: int
    mean: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceStatistics:
    """Distribution of list prices over all providers, micro-USD per chip-hour."""

    taken_at: datetime
    listing: str
    lowest: int
    p10: int
    median: int
    p90: int
    highest: int
    offer_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketplaceAsk:
    """One marketplace offer, micro-USD per chip-hour.

    Attributes:
        taken_at: When the snapshot was taken, UTC.
        gpu_name: Chip as the marketplace names it, such as ``H100 SXM``.
        chips: Chips in the offer.
        ask: Price without interruption.
        lowest_bid: Least bid at which the chips may be used interruptibly.
    """

    taken_at: datetime
    gpu_name: str
    chips: int
    ask: int
    lowest_bid: int


def read_provider_quotes(data_dir: Path) -> tuple[ProviderQuote, ...]:
    """Quotes by provider, in file order.

    Raises:
        DataError: the file is absent or malformed.
    """
    return tuple(
        ProviderQuote(
            taken_at=_instant(row, "timestamp"),
            listing=row.text("gpu"),
            provider=row.text("provider"),
            offer_count=row.integer("count", least=1),
            lowest=row.micro_usd("min"),
            mean=row.micro_usd("avg"),
        )
        for row in read_rows(find_file(data_dir, PROVIDER_PATTERN), _PROVIDER_COLUMNS)
    )


def read_configuration_quotes(data_dir: Path) -> tuple[ConfigurationQuote, ...]:
    """Quotes by chips per offer, in file order.

    Raises:
        DataError: the file is absent or malformed.
    """
    return tuple(
        ConfigurationQuote(
            taken_at=_instant(row, "timestamp"),
            listing=row.text("gpu"),
            chips_per_offer=row.integer("gpus", least=1),
            offer_count=row.integer("count", least=1),
            lowest=row.micro_usd("min_per_gpu"),
            mean=row.micro_usd("avg_per_gpu"),
        )
        for row in read_rows(find_file(data_dir, CONFIGURATION_PATTERN), _CONFIGURATION_COLUMNS)
    )


def read_price_statistics(data_dir: Path) -> tuple[PriceStatistics, ...]:
    """Statistics over providers, in file order.

    Raises:
        DataError: the file is absent or malformed.
    """
    return tuple(
        PriceStatistics(
            taken_at=_instant(row, "timestamp"),
            listing=row.text("gpu"),
            lowest=row.micro_usd("price_min"),
            p10=row.micro_usd("price_p10"),
            median=row.micro_usd("price_median"),
            p90=row.micro_usd("price_p90"),
            highest=row.micro_usd("price_max"),
            offer_count=row.integer("offers_total"),
        )
        for row in read_rows(find_file(data_dir, STATISTICS_PATTERN), _STATISTICS_COLUMNS)
    )


def read_marketplace_asks(data_dir: Path) -> tuple[MarketplaceAsk, ...]:
    """Marketplace offers, in file order.

    Raises:
        DataError: the file is absent or malformed.
    """
    return tuple(
        MarketplaceAsk(
            taken_at=_instant(row, "snapshot_utc"),
            gpu_name=row.text("gpu_name"),
            chips=row.integer("num_gpus", least=1),
            ask=row.micro_usd("ask_per_gpu"),
            lowest_bid=row.micro_usd("min_bid_per_gpu"),
        )
        for row in read_rows(find_file(data_dir, MARKETPLACE_PATTERN), _MARKETPLACE_COLUMNS)
    )


def quotes_at(
    quotes: Iterable[ProviderQuote], listing: str, at: datetime
) -> dict[str, ProviderQuote]:
    """Last quote of each provider for a chip at or before an instant, by provider name.

    Quotes older than ``QUOTE_AGE_DAYS_MAX`` days are left out.

    Args:
        quotes: In any order.
        listing: Chip as the listing names it.
        at: Aware instant.
    """
    oldest = at - timedelta(days=QUOTE_AGE_DAYS_MAX)
    latest: dict[str, ProviderQuote] = {}
    for quote in quotes:
        if quote.listing != listing or not oldest <= quote.taken_at <= at:
            continue
        known = latest.get(quote.provider)
        if known is None or known.taken_at <= quote.taken_at:
            latest[quote.provider] = quote
    return dict(sorted(latest.items()))


def quote_at(
    quotes: Iterable[ProviderQuote], listing: str, provider: str, at: datetime
) -> ProviderQuote:
    """Last quote of one provider for a chip at or before an instant.

    Raises:
        DataError: ``NO_QUOTE``.
    """
    known = quotes_at(quotes, listing, at)
    if provider not in known:
        raise DataError(
            "NO_QUOTE",
            PROVIDER_PATTERN,
            0,
            f"{provider} lists no {listing} in the {QUOTE_AGE_DAYS_MAX} days before {at}",
        )
    return known[provider]


def interruptible_floor_ppm(
    asks: Iterable[MarketplaceAsk], gpu_names: tuple[str, ...] = HOPPER_MARKETPLACE_NAMES
) -> int:
    """Median over offers of least interruptible bid / ask, parts per million.

    The lower of the two middle values when the count is even, so that the figure is one
    that was seen.

    Raises:
        DataError: ``NO_OFFERS``, none of these chips is offered at a positive ask.
    """
    ratios = sorted(
        divide_half_even(ask.lowest_bid * PPM, ask.ask)
        for ask in asks
        if ask.gpu_name in gpu_names and ask.ask > 0
    )
    if not ratios:
        raise DataError("NO_OFFERS", MARKETPLACE_PATTERN, 0, f"no offer of {', '.join(gpu_names)}")
    return ratios[(len(ratios) - 1) // 2]


def _instant(row: Row, column: str) -> datetime:
    """ISO 8601 cell as an aware UTC instant; without an offset it is taken as UTC."""
    try:
        instant = datetime.fromisoformat(row.text(column))
    except ValueError as error:
        raise DataError(
            "BAD_VALUE", row.path, row.line, f"{column} must be an ISO 8601 time"
        ) from error
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC)
