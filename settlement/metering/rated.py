"""Rated compute: the quantity of compute that a delivered chip-second is billed as.

The exchange bills rated capacity, because observed FLOPs depend on the buyer's code;
observed FLOPs are evidence, never the invoice. One PFLOP-hour is 3.6e18 operations,
3.6e6 TFLOP.
"""

from __future__ import annotations

from decimal import Decimal

from clearing.units import PPM, TFLOP_PER_PFLOP_HOUR, Tflop, divide_half_even
from settlement.metering.chip_table import Chip, Precision

MAX_DISPLAY_PLACES = 18


def rated_tflop(chip_seconds: int, chip: Chip, precision: Precision, derate_ppm: int) -> Tflop:
    """Compute that chip-seconds of a class stand for.

    ``chip_seconds`` x dense peak (TFLOP/s) x ``derate_ppm`` / 1,000,000, exact in
    integers and rounded half-even once, at the end.

    Args:
        chip_seconds: Healthy, reachable chip-seconds of one contract and hour, >= 0.
        chip: Entry of the chip table that the contract names.
        precision: Number format that the contract is rated at.
        derate_ppm: Acceptance derate, parts per million, 0 to 1,000,000: measured rate of
            the acceptance kernel over its reference, never above one.

    Returns:
        TFLOP (10**12 operations) of that precision.

    Raises:
        ValueError: a quantity is out of range.
        ChipTableError: ``UNKNOWN_PRECISION``, the class has no rate at it.

    Example:
        Eight H100 for an hour at BF16 are 989 x 8 x 3,600 = 28,483,200 TFLOP, 7.912
        PFLOP-hours.
    """
    return rated_tflop_at_peak(chip_seconds, chip.dense_tflops(precision), derate_ppm)


def rated_tflop_at_peak(chip_seconds: int, dense_tflops: int, derate_ppm: int) -> Tflop:
    """``rated_tflop`` for a dense peak already looked up (TFLOP/s, > 0).

    Raises:
        ValueError: a quantity is out of range.
    """
    if chip_seconds < 0:
        message = f"chip_seconds must not be negative, got {chip_seconds}"
        raise ValueError(message)
    if dense_tflops <= 0:
        message = f"dense_tflops must be positive, got {dense_tflops}"
        raise ValueError(message)
    if not 0 <= derate_ppm <= PPM:
        message = f"derate_ppm must be 0 to {PPM}, got {derate_ppm}"
        raise ValueError(message)
    return Tflop(divide_half_even(chip_seconds * dense_tflops * derate_ppm, PPM))


def pflop_hours_text(quantity: int, places: int = 6) -> str:
    """Decimal text of a TFLOP quantity as PFLOP-hours, for people only.

    Computed in integers and rounded half-even once, so that the text is exact whenever
    the quotient fits into ``places`` digits. Settled quantities stay in TFLOP.

    Args:
        quantity: TFLOP, any sign.
        places: Digits after the point, 0 to 18.

    Raises:
        ValueError: ``places`` is out of range.

    Example:
        >>> pflop_hours_text(28_483_200, places=3)
        '7.912'
    """
    if not 0 <= places <= MAX_DISPLAY_PLACES:
        message = f"places must be 0 to {MAX_DISPLAY_PLACES}, got {places}"
        raise ValueError(message)
    scaled = divide_half_even(quantity * 10**places, TFLOP_PER_PFLOP_HOUR)
    sign, magnitude = ("-", -scaled) if scaled < 0 else ("", scaled)
    digits = Decimal((0, tuple(int(digit) for digit in str(magnitude)), -places))
    return f"{sign}{digits:f}"
