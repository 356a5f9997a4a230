"""Units and exact arithmetic of the exchange: the only module that rounds.

Money is integer micro-USD, capacity integer chips, time integer seconds, delivered
capacity integer chip-seconds, compute integer TFLOP (10**12 operations) with the
precision named beside it, and shares integer parts per million. No float holds money
or a settled quantity anywhere.

``NewType`` names a unit for the reader and the type checker but does not stop
``MicroUsd + ChipSeconds``; arithmetic that crosses units therefore lives here and
nowhere else (ADR 0001).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, NewType

MicroUsd = NewType("MicroUsd", int)
"""Money, 10**-6 US dollar. Signed: positive is owed to, or received by, the subject."""

MicroUsdPerChipHour = NewType("MicroUsdPerChipHour", int)
"""Price of one chip for one hour, 10**-6 US dollar."""

Chips = NewType("Chips", int)
"""Count of accelerator chips of one chip class."""

ChipSeconds = NewType("ChipSeconds", int)
"""One chip held for one second."""

Seconds = NewType("Seconds", int)
"""Duration in whole seconds."""

UnixSeconds = NewType("UnixSeconds", int)
"""Instant: whole seconds since 1970-01-01T00:00:00Z, leap seconds ignored (POSIX)."""

Ppm = NewType("Ppm", int)
"""Share in parts per million."""

Watts = NewType("Watts", int)
"""Electric power."""

PriceSeconds = NewType("PriceSeconds", int)
"""A price times chip-seconds, not yet divided: 1/3,600 micro-USD; keeps welfare exact."""

Tflop = NewType("Tflop", int)
"""10**12 floating-point (or integer) operations of one stated precision."""

SECONDS_PER_HOUR: Final = 3600
PPM: Final = 1_000_000
MICRO_USD_PER_USD: Final = 1_000_000
MICRO_USD_PER_CENT: Final = 10_000
TFLOP_PER_PFLOP_HOUR: Final = 3_600_000


def divide_half_even(numerator: int, denominator: int) -> int:
    """Divide integers and round half to even.

    Half-even, so that many small amounts do not drift towards either side.

    Args:
        numerator: Any integer.
        denominator: Greater than zero.

    Raises:
        ZeroDivisionError: ``denominator`` is zero.
        ValueError: ``denominator`` is negative.

    Example:
        >>> [divide_half_even(n, 2) for n in (-3, -1, 1, 3)]
        [-2, 0, 0, 2]
    """
    if denominator < 0:
        message = f"denominator must be positive, got {denominator}"
        raise ValueError(message)
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient % 2 == 1):
        return quotient + 1
    return quotient


def divide_up(numerator: int, denominator: int) -> int:
    """Divide integers and round towards plus infinity (``denominator`` > 0)."""
    return -(-numerator // denominator)


def energy_charge(price: MicroUsdPerChipHour, delivered: ChipSeconds) -> MicroUsd:
    """Charge for a quantity of compute at one price.

    The only place where a price meets a quantity of chip-seconds, so the only place
    where that product is rounded.

    Args:
        price: Micro-USD per chip-hour; may be negative where an auction's floor allows it.
        delivered: Chip-seconds, >= 0.

    Returns:
        Amount owed for the quantity; negative when the price is negative.

    Raises:
        ValueError: ``delivered`` is negative.

    Example:
        >>> energy_charge(MicroUsdPerChipHour(2_490_000), ChipSeconds(300))
        207500
    """
    if delivered < 0:
        message = f"delivered chip-seconds must not be negative, got {delivered}"
        raise ValueError(message)
    return MicroUsd(divide_half_even(price * delivered, SECONDS_PER_HOUR))


def chip_seconds(chips: Chips, duration: Seconds) -> ChipSeconds:
    """Chips held for a duration."""
    return ChipSeconds(chips * duration)


def share_ppm(amount: int, share: Ppm) -> int:
    """``amount`` times a share, rounded half-even once."""
    return divide_half_even(amount * share, PPM)


def share_ppm_up(amount: int, share: Ppm) -> int:
    """``amount`` times a share, rounded up: for requirements, which may not be undershot."""
    return divide_up(amount * share, PPM)


def split_largest_remainder(
    total: int, weights: Sequence[int], tie_keys: Sequence[bytes | str]
) -> tuple[int, ...]:
    """Split an integer in proportion to weights so that the parts add up exactly.

    Largest remainder (Hamilton): floors first, then one unit each to the largest
    remainders; equal remainders are ordered by ``tie_keys``, so the result does not
    depend on anything but its arguments.

    Args:
        total: Any integer; a negative total is split as its absolute value, negated.
        weights: Non-negative integers, not all zero unless ``total`` is zero.
        tie_keys: One sortable key per weight, all different.

    Returns:
        One part per weight; the parts sum to ``total``; a zero weight gets zero.

    Raises:
        ValueError: lengths differ, a weight is negative, or nothing can take the total.

    Example:
        >>> split_largest_remainder(5, (3, 3, 1), ("a", "b", "c"))
        (2, 2, 1)
    """
    if len(weights) != len(tie_keys):
        message = f"{len(weights)} weights but {len(tie_keys)} tie keys"
        raise ValueError(message)
    if any(weight < 0 for weight in weights):
        message = f"weights must not be negative: {list(weights)}"
        raise ValueError(message)
    if total < 0:
        return tuple(-part for part in split_largest_remainder(-total, weights, tie_keys))
    weight_sum = sum(weights)
    if weight_sum == 0:
        if total == 0:
            return (0,) * len(weights)
        message = f"nothing can take a total of {total}: every weight is zero"
        raise ValueError(message)
    parts = [total * weight // weight_sum for weight in weights]
    left = total - sum(parts)
    order = sorted(
        (index for index, weight in enumerate(weights) if weight > 0),
        key=lambda index: (-(total * weights[index] % weight_sum), tie_keys[index]),
    )
    for index in order[:left]:
        parts[index] += 1
    return tuple(parts)


def floor_to_cent(amount: MicroUsd) -> MicroUsd:
    """Largest whole number of cents not above a non-negative amount (payouts, tariff R12)."""
    if amount < 0:
        message = f"a payout must not be negative, got {amount}"
        raise ValueError(message)
    return MicroUsd(amount - amount % MICRO_USD_PER_CENT)


def usd_text(amount: int, places: int = 6) -> str:
    """Exact decimal text of an amount in US dollars.

    Args:
        amount: Micro-USD, or micro-USD per chip-hour.
        places: Digits after the point, 0 to 6; fewer than six are rounded half-even,
            for people only.

    Example:
        >>> usd_text(4_500_000, places=2)
        '4.50'
    """
    value = Decimal(amount).scaleb(-6)
    return f"{value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN):f}"


def chip_hours_text(quantity: int, places: int = 2) -> str:
    """Decimal text of chip-seconds shown as chip-hours, rounded half-even, for people only."""
    scale = 10**places
    return f"{Decimal(divide_half_even(quantity * scale, SECONDS_PER_HOUR)).scaleb(-places):f}"
