"""Texts that several formats share: exact decimals, times, short identifiers."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from clearing.units import SECONDS_PER_HOUR, ChipSeconds, UnixSeconds, divide_half_even

MICRO_PLACES = 6
MICRO = 10**MICRO_PLACES
WHOLE_UNITS = "TFLOP:"
"""Beginning of the names of assets that are not kept in millionths."""
PLACES_OF_HOURS = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decimal_text(amount: int, places: int = MICRO_PLACES) -> str:
    """An integer as a decimal with so many digits after the point, always all of them.

    Made of digits, not of ``Decimal``, whose context would round beyond 28 of them.

    Example:
        >>> decimal_text(-1_500_000), decimal_text(7)
        ('-1.500000', '0.000007')
    """
    digits = f"{abs(amount):0{places + 1}d}"
    sign = "-" if amount < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


def micro_of(asset: str, amount: int) -> int:
    """An amount of an asset in millionths of the asset's unit.

    USD and credits are kept in millionths, ``TFLOP`` in whole units.

    Example:
        >>> micro_of("USD", 1_500_000), micro_of("TFLOP:BF16", 12)
        (1500000, 12000000)
    """
    return amount * MICRO if asset.startswith(WHOLE_UNITS) else amount


def cents_text(amount: int) -> str:
    """Micro-USD that are whole cents, as US dollars with two digits after the point.

    Example:
        >>> cents_text(3_640_000)
        '3.64'
    """
    text = decimal_text(amount)
    if not text.endswith("0000"):
        message = f"{amount} micro-USD are no whole cents"
        raise ValueError(message)
    return text[:-4]


def chip_hours(quantity: ChipSeconds) -> str:
    """Chip-seconds as chip-hours with nine digits after the point, rounded half-even.

    Example:
        >>> chip_hours(ChipSeconds(2_400))
        '0.666666667'
    """
    nano = divide_half_even(quantity * 10**PLACES_OF_HOURS, SECONDS_PER_HOUR)
    return decimal_text(nano, PLACES_OF_HOURS)


def date_text(time: UnixSeconds) -> str:
    """UTC date, ``2026-10-06``."""
    return _moment(time).strftime("%Y-%m-%d")


def next_date_text(time: UnixSeconds) -> str:
    """UTC date of the day after."""
    return (_moment(time) + timedelta(days=1)).strftime("%Y-%m-%d")


def time_text(time: UnixSeconds) -> str:
    """RFC 3339 UTC time, ``2026-10-06T09:00:00Z``."""
    return _moment(time).strftime("%Y-%m-%dT%H:%M:%SZ")


def short_id(prefix: str, text: str) -> str:
    """Identifier of at most 35 characters that stands for a longer one.

    128 bits of SHA-256 over it, in hexadecimal, after a prefix of at most three characters:
    what payment formats allow (``Max35Text``).
    """
    return prefix + hashlib.sha256(text.encode()).hexdigest()[:32]


def _moment(time: UnixSeconds) -> datetime:
    return _EPOCH + timedelta(seconds=time)
