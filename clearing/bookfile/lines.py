"""Book files as JSON Lines: one record a line (docs/reference/book-file.md).

The first line is the header. The order of the others does not matter, nor does white space or
the order of keys; what is not said has its default. Everything else is strict: no floats, no
key twice, no unknown field, no unknown record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

from clearing.bookfile.errors import BookFileError
from clearing.codec import DocumentError, collector_paused, texts
from clearing.shapes import Misfit, place_text, shape_of
from clearing.types import (
    AuctionSpec,
    BlockBid,
    Book,
    Link,
    Nomination,
    Offer,
    Pool,
    Site,
    StepBid,
    WorkBid,
)

T = TypeVar("T")

VERSION: Final = 1

HEADER: Final = f'{{"record":"book","version":{VERSION}}}'

RECORDS: Final[dict[str, tuple[str, type[Any]]]] = {
    "site": ("sites", Site),
    "pool": ("pools", Pool),
    "link": ("links", Link),
    "offer": ("offers", Offer),
    "step_bid": ("step_bids", StepBid),
    "block_bid": ("block_bids", BlockBid),
    "work_bid": ("work_bids", WorkBid),
    "nomination": ("nominations", Nomination),
}
"""Field of ``Book`` and type of each record that there may be many of."""

_CHUNK: Final = 8_192
"""Lines that are turned into values at once: bounds what is held beside the book."""

_SPEC: Final = "auction"


def write_lines(book: Book) -> Iterator[str]:
    """Lines of a book, without line ends.

    Raises:
        BookFileError: ``NOT_SAYABLE``: a value is of a type that JSON Lines do not have.
    """
    yield HEADER
    yield from _lines(_SPEC, (book.spec,))
    for record, (field, _) in RECORDS.items():
        yield from _lines(record, getattr(book, field))


def _lines(record: str, items: tuple[Any, ...]) -> Iterator[str]:
    for begin in range(0, len(items), _CHUNK):
        try:
            found = texts(items[begin : begin + _CHUNK])
        except DocumentError as error:
            raise BookFileError("NOT_SAYABLE", record, f"{error}.") from error
        for text in found:
            yield f'{{"record":"{record}",{text[1:]}'


def read_lines(lines: Iterable[bytes]) -> Book:
    """Book of the lines of a file.

    Args:
        lines: With or without line ends; blank ones are skipped.

    Returns:
        A book whose types are sound; ``clearing.validate`` says whether it can be cleared.

    Raises:
        BookFileError: with the number of the line.
    """
    placed = ((f"line {number}", line) for number, line in enumerate(lines, 1) if line.strip())
    _read_header(next(placed, None))
    reader = _Reader()
    with collector_paused():
        while chunk := list(islice(placed, _CHUNK)):
            reader.take(chunk)
    return reader.book()


def _read_header(first: tuple[str, bytes] | None) -> None:
    advice = f"The first line must be {HEADER}."
    if first is None:
        raise BookFileError("NOT_A_BOOK", "", advice)
    place, line = first
    try:
        header = parse_object(place, line)
    except BookFileError as error:
        raise BookFileError("NOT_A_BOOK", place, advice) from error
    if header.get("record") != "book" or header.keys() != {"record", "version"}:
        raise BookFileError("NOT_A_BOOK", place, advice)
    version = header["version"]
    if type(version) is not int or version != VERSION:
        raise BookFileError("BAD_VERSION", place, advice)


class _Reader:
    """Collects the records of a file."""

    def __init__(self) -> None:
        self._spec: AuctionSpec | None = None
        self._items: dict[str, list[Any]] = {field: [] for field, _ in RECORDS.values()}

    def take(self, chunk: list[tuple[str, bytes]]) -> None:
        """Add the records of some lines."""
        found: dict[str, list[tuple[str, Any]]] = {}
        for place, line in chunk:
            raw = parse_object(place, line)
            record = raw.pop("record", None)
            if record == _SPEC or (isinstance(record, str) and record in RECORDS):
                found.setdefault(record, []).append((place, raw))
                continue
            if record == "book":
                raise BookFileError("REPEATED_RECORD", place, "The header came before.")
            known = ", ".join((_SPEC, *RECORDS))
            raise BookFileError("UNKNOWN_RECORD", place, f"record is one of {known}.")
        for record, rows in found.items():
            if record == _SPEC:
                self._take_spec(rows)
            else:
                field, kind = RECORDS[record]
                self._items[field].extend(_values(rows, kind))

    def _take_spec(self, rows: list[tuple[str, Any]]) -> None:
        if self._spec is not None or len(rows) > 1:
            place = rows[0 if self._spec is not None else 1][0]
            raise BookFileError("REPEATED_RECORD", place, "A book is of one auction.")
        (self._spec,) = _values(rows, AuctionSpec)

    def book(self) -> Book:
        """The book of all records."""
        if self._spec is None:
            advice = f'One line must be the auction: {{"record":"{_SPEC}",...}}.'
            raise BookFileError("MISSING_RECORD", "", advice)
        return Book(
            spec=self._spec, **{field: tuple(items) for field, items in self._items.items()}
        )


def _values(rows: list[tuple[str, Any]], kind: type[T]) -> list[T]:
    try:
        return shape_of(kind).read([raw for _, raw in rows])
    except Misfit as misfit:
        place = rows[misfit.index][0]
        advice = f"{place_text(misfit.path) or kind.__name__}: {misfit.what}."
        raise BookFileError("BAD_VALUE", place, advice) from misfit


def parse_object(place: str, data: bytes) -> dict[str, Any]:
    """One JSON object, strictly: UTF-8, no floats, no key twice.

    Raises:
        BookFileError: ``NOT_JSON``, with the place.
    """
    try:
        raw = _DECODER.decode(data.decode())
    except (ValueError, RecursionError) as error:
        raise BookFileError("NOT_JSON", place, f"{error}.") from error
    if type(raw) is not dict:
        raise BookFileError("NOT_JSON", place, "A record is a JSON object.")
    return raw


def read_object(place: str, raw: dict[str, Any], kind: type[T]) -> T:
    """Value of one parsed object; consumes it.

    Raises:
        BookFileError: ``BAD_VALUE``, with the place.
    """
    (value,) = _values([(place, raw)], kind)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            message = f"the key {key!r} stands twice"
            raise ValueError(message)
        seen.add(key)
    return found


def _no_float(text: str) -> Any:  # noqa: ANN401 - never returns
    message = f"{text} is not an integer; book files hold no floats"
    raise ValueError(message)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float
)
