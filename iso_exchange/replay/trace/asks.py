"""Real ask prices for the pools of a replay: list prices of neoclouds on the replayed day."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from pathlib import Path

from clearing.units import MicroUsdPerChipHour
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.prices import (
    CHIP_CLASSES_BY_LISTING,
    PROVIDER_PATTERN,
    quotes_at,
    read_provider_quotes,
)
from iso_exchange.replay.trace.layout import Layout

TICK = 1_000


def asks_of(data_dir: Path, layout: Layout, at: datetime) -> dict[str, MicroUsdPerChipHour]:
    """Ask of each pool, micro-USD per chip-hour, rounded down to the tick.

    The n pools of a chip class are given the asks that split its providers, by their lowest list
    price, into n + 1 equal parts: two pools get those at a third and at two thirds.

    Raises:
        DataError: ``NO_QUOTE``, nobody lists a class that the layout has.
    """
    quotes = read_provider_quotes(data_dir)
    listings = {chip_class: listing for listing, chip_class in CHIP_CLASSES_BY_LISTING.items()}
    by_class: dict[str, list[str]] = defaultdict(list)
    for pool in layout.pools:
        by_class[pool.chip_class].append(pool.pool_id)
    asks: dict[str, MicroUsdPerChipHour] = {}
    for chip_class, pool_ids in by_class.items():
        listing = listings.get(chip_class)
        found = quotes_at(quotes, listing, at).values() if listing else ()
        lowest = sorted(quote.lowest for quote in found)
        if not lowest:
            raise DataError("NO_QUOTE", PROVIDER_PATTERN, 0, f"nobody lists {chip_class} at {at}")
        for place, pool_id in enumerate(pool_ids, 1):
            ask = lowest[len(lowest) * place // (len(pool_ids) + 1)]
            asks[pool_id] = MicroUsdPerChipHour(ask // TICK * TICK)
    return asks
