"""What people type, read strictly: times, durations, money, chips, shares, curves.

Nothing is guessed. Whatever is not exactly one of the stated forms is refused with what
was expected. Money goes from text through ``Decimal`` to integer micro-USD.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final

from clearing.types import MAX_CHIPS, Conversion, Step
from clearing.units import (
    PPM,
    Chips,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
)
from iso_exchange.cli.refusals import BadValue

SECONDS_PER_DAY: Final = 86_400
FACTOR_MAX: Final = 1_000

_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d))?(?:([Zz])|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DAY_EXPECTED: Final = "expected a day such as 2026-10-06"
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_MONEY: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,6})?", re.ASCII)
_COUNT: Final = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)
_SHARE: Final = re.compile(r"(?:0|[1-9]\d{0,2})(?:\.\d{1,6})?", re.ASCII)
_PRICE_UNIT: Final = "/chip-h"


def parse_time(text: str, field: str) -> UnixSeconds:
    """Seconds since the epoch of an RFC 3339 time, seconds optional, zone required.

    Raises:
        BadValue: anything else, such as a time without a zone or a day that does not exist.

    Example:
        >>> parse_time("2026-10-06 09:00Z", "--start")
        1791277200
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise _bad_time(text, field)
    year, month, day, hour, minute = (int(match[group]) for group in range(1, 6))
    zone = UTC
    if match[8]:
        offset = timedelta(hours=int(match[9]), minutes=int(match[10]))
        if int(match[10]) > 59 or offset >= timedelta(days=1):  # noqa: PLR2004 - minutes of an hour
            raise _bad_time(text, field)
        zone = timezone(offset if match[8] == "+" else -offset)
    try:
        moment = datetime(year, month, day, hour, minute, int(match[6] or 0), tzinfo=zone)
        return UnixSeconds(int(moment.timestamp()))
    except (ValueError, OverflowError) as error:
        raise _bad_time(text, field) from error


def parse_day(text: str, field: str) -> UnixSeconds:
    """Midnight UTC at the start of a day.

    Raises:
        BadValue: not ``YYYY-MM-DD``, or a day that does not exist.
    """
    if _DAY.fullmatch(text) is None:
        raise BadValue(field, _DAY_EXPECTED, got=text)
    try:
        midnight = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as error:
        raise BadValue(field, _DAY_EXPECTED, got=text) from error
    return UnixSeconds(int(midnight.timestamp()))


def parse_duration(text: str, field: str) -> Seconds:
    """Seconds of a duration such as ``48h``, ``30m``, ``120s``, ``1d12h``; above zero.

    Raises:
        BadValue: anything else.

    Example:
        >>> parse_duration("1h30m", "--for")
        5400
    """
    match = _DURATION.fullmatch(text)
    seconds = 0
    if match is not None:
        for amount, unit in zip(match.groups(), (SECONDS_PER_DAY, 3_600, 60, 1), strict=True):
            seconds += int(amount or 0) * unit
    if seconds <= 0:
        raise BadValue(field, "expected a duration such as 48h, 30m, 120s or 1h30m", got=text)
    return Seconds(seconds)


def parse_window(text: str, field: str) -> tuple[UnixSeconds, UnixSeconds]:
    """Start and end of a window ``A..B``.

    Raises:
        BadValue: not two times, or an end that is not after the start.
    """
    start_text, separator, end_text = text.partition("..")
    if not separator:
        raise BadValue(
            field,
            "expected a window such as 2026-10-06T09:00Z..2026-10-09T18:00Z",
            got=text,
        )
    start, end = parse_time(start_text.strip(), field), parse_time(end_text.strip(), field)
    if end <= start:
        raise BadValue(field, "a window ends after it starts", got=text)
    return start, end


def parse_price(text: str, field: str) -> MicroUsdPerChipHour:
    """Micro-USD per chip-hour of a decimal price in US dollars, ``/chip-h`` optional.

    Raises:
        BadValue: not a decimal number of US dollars, or more than six digits after the point.

    Example:
        >>> parse_price("3.10/chip-h", "--limit")
        3100000
    """
    return MicroUsdPerChipHour(
        _micro(text.removesuffix(_PRICE_UNIT), field, "a price per chip-hour such as 3.10", text)
    )


def parse_amount(text: str, field: str) -> MicroUsd:
    """Micro-USD of a decimal amount of US dollars; same form as a price."""
    return MicroUsd(_micro(text, field, "an amount in US dollars such as 250000.00", text))


def parse_count(text: str, field: str, *, least: int = 1, most: int = MAX_CHIPS) -> int:
    """A whole number without sign, separators or spaces.

    Raises:
        BadValue: anything else, or out of range.
    """
    if _COUNT.fullmatch(text) is None or not least <= int(text) <= most:
        raise BadValue(field, f"expected a whole number from {least} to {most}", got=text)
    return int(text)


def parse_chips(text: str, field: str, *, least: int = 1) -> Chips:
    """Number of chips, by default at least one."""
    return Chips(parse_count(text, field, least=least))


def parse_share(text: str, field: str) -> Ppm:
    """Parts per million of a share such as ``0.5`` or ``50%``, above 0 and at most 1.

    Raises:
        BadValue: anything else, or finer than one part per million.
    """
    number = text.removesuffix("%")
    ppm = Decimal(0)
    if _SHARE.fullmatch(number):
        ppm = Decimal(number) * (PPM // 100 if text.endswith("%") else PPM)
    if not 0 < ppm <= PPM or ppm != ppm.to_integral_value():
        raise BadValue(
            field, "expected a share such as 0.5 or 50%, above 0 and at most 1", got=text
        )
    return Ppm(int(ppm))


def parse_steps(texts: Sequence[str], field: str, *, descending: bool) -> tuple[Step, ...]:
    """Steps ``CHIPS@PRICE``, sorted as the exchange wants them.

    Args:
        texts: At least one.
        field: Option they come from.
        descending: True for bids, False for offers.

    Raises:
        BadValue: no step, a malformed one, or two with the same price.
    """
    steps = []
    for text in texts:
        chips, separator, price = text.partition("@")
        if not separator:
            raise BadValue(field, "expected a step CHIPS@PRICE such as 256@2.10", got=text)
        steps.append(Step(price=parse_price(price, field), chips=parse_chips(chips, field)))
    prices = {step.price for step in steps}
    if not steps or len(prices) != len(steps):
        raise BadValue(
            field, "expected at least one step, each with its own price", got=" ".join(texts)
        )
    return tuple(sorted(steps, key=lambda step: step.price, reverse=descending))


def parse_profile(text: str, field: str) -> tuple[Chips, ...]:
    """Chips of each interval of a run, such as ``8,16,0,8``.

    Raises:
        BadValue: not whole numbers separated by commas.
    """
    return tuple(Chips(parse_count(part.strip(), field, least=0)) for part in text.split(","))


def parse_factors(texts: Iterable[str], field: str, known: Sequence[str]) -> tuple[Conversion, ...]:
    """Own factors ``CLASS=FACTOR``: what a chip of a class is worth beside the limit price.

    Raises:
        BadValue: an unknown class, one that is named twice, or a factor that is not above zero
            and at most 1,000 with at most six digits after the point.
    """
    found: dict[str, Conversion] = {}
    for text in texts:
        name, _, number = text.partition("=")
        classes = resolve_chip_classes([name], field, known)
        ppm = Decimal(number) * PPM if _MONEY.fullmatch(number) else Decimal(0)
        if len(classes) != 1 or classes[0] in found or not 0 < ppm <= FACTOR_MAX * PPM:
            raise BadValue(field, "expected one factor for each class, such as h200=1.25", got=text)
        found[classes[0]] = Conversion(chip_class=classes[0], factor_ppm=Ppm(int(ppm)))
    return tuple(found.values())


def parse_names(texts: Iterable[str], field: str, known: Sequence[str]) -> tuple[str, ...]:
    """Names of a closed vocabulary, ``a|b`` and repetition both allowed, case ignored.

    Raises:
        BadValue: a name that is not known.
    """
    by_lower = {name.lower(): name for name in known}
    found = []
    for text in texts:
        for part in text.split("|"):
            name = by_lower.get(part.strip().lower().replace("-", "_"))
            if name is None:
                raise BadValue(field, f"expected one of {', '.join(known)}", got=part)
            found.append(name)
    return tuple(dict.fromkeys(found))


def split_names(texts: Iterable[str]) -> tuple[str, ...]:
    """Identifiers given as ``a|b`` or by repetition."""
    parts = (part.strip() for text in texts for part in text.split("|"))
    return tuple(dict.fromkeys(part for part in parts if part))


def resolve_chip_classes(texts: Iterable[str], field: str, known: Sequence[str]) -> tuple[str, ...]:
    """Chip classes by their full key, or by any part of it that fits only one.

    Args:
        texts: Such as ``nvidia.h100-sxm5-80gb`` or ``h100-sxm|h200``.
        field: Option they come from.
        known: Keys of the chip table.

    Raises:
        BadValue: a part that fits none or several.
    """
    found = []
    for name in split_names(texts):
        matches = [name] if name in known else [key for key in known if name.lower() in key]
        if len(matches) != 1:
            listed = ", ".join(matches or known)
            raise BadValue(field, f"expected one chip class of: {listed}", got=name)
        found.append(matches[0])
    return tuple(dict.fromkeys(found))


def new_identifier(prefix: str) -> str:
    """Fresh identifier of an order, nomination or outage."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def _micro(text: str, field: str, what: str, typed: str) -> int:
    if _MONEY.fullmatch(text) is None:
        raise BadValue(
            field, f"expected {what}, with at most six digits after the point", got=typed
        )
    return int(Decimal(text).scaleb(6))


def _bad_time(text: str, field: str) -> BadValue:
    return BadValue(field, "expected a time with its zone, such as 2026-10-06T09:00:00Z", got=text)
