"""Canonical JSON of the exchange's frozen values: books, outcomes, postings, statements.

One rule for all documents, so that a digest means one thing: UTF-8, keys sorted, no
white space, integers only (no floats), enums by value, tuples as arrays, bytes as
lower-case hex. Decoding is strict: an unknown, missing or wrongly typed field is an
error that names its place; so is a document that is not in canonical form.

Integers beyond 2**53 - 1 are written as decimal strings, because common readers of
JSON would silently round them (RFC 7493 section 2.2).

Every field is written, also one that has its default, but for those marked ``LATER``:
they joined a kind whose digests were recorded before, and are left out while they have
their default. So the digest of a value that does not use them is what it always was.

Values are written column by column (all prices of a book, then all its steps, then its
segments), because a book of a million steps is digested several times for one auction.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from enum import Enum
from itertools import chain, islice
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any, Final, TypeVar

from clearing.shapes import LATER, RETIRED, Misfit, place_text, shape_of

__all__ = [
    "LATER",
    "RETIRED",
    "SAFE_INTEGER",
    "DocumentError",
    "collector_paused",
    "decode",
    "digest",
    "encode",
    "parse",
    "read",
    "texts",
]

T = TypeVar("T")

SAFE_INTEGER: Final = 2**53 - 1

_CHUNK: Final = 8_192
"""Items of a long tuple that are written at once: bounds what is held beside the text."""

Writer = Callable[[Sequence[Any]], list[str]]
"""Canonical texts of values."""

_QUOTE: Final[Callable[[str], str]] = encode_basestring


class DocumentError(ValueError):
    """A document that does not decode; the message names the place and what is wrong."""


def encode(value: object, write: Writer | None = None) -> bytes:
    """Canonical JSON bytes of a frozen dataclass (or a tuple of them).

    Args:
        value: What to write.
        write: As of ``digest``.

    Raises:
        DocumentError: the value holds something that has no canonical form, such as a float.
    """
    return b"".join(map(_octets, _pieces(value, write)))


def digest(value: object, write: Writer | None = None) -> str:
    """Lower-case hex SHA-256 of the canonical bytes.

    Args:
        value: A frozen dataclass, or a tuple of them.
        write: Texts of the items of its tuples, ``texts`` itself or what remembers them.

    Raises:
        DocumentError: as ``encode``.
    """
    found = hashlib.sha256()
    for piece in _pieces(value, write):
        found.update(_octets(piece))
    return found.hexdigest()


def decode(data: bytes, kind: type[T]) -> T:
    """Read canonical JSON bytes back into ``kind``.

    Raises:
        DocumentError: not JSON, not canonical, or not of the shape of ``kind``.
    """
    with collector_paused():
        (value,) = read([parse(data)], kind)
    if encode(value) != data:
        message = f"{kind.__name__} is not in canonical form"
        raise DocumentError(message)
    return value


def texts(values: Sequence[object]) -> list[str]:
    """Canonical JSON text of each of many values.

    Raises:
        DocumentError: one of them holds something that has no canonical form.
    """
    kinds = set(map(type, values))
    if len(kinds) == 1:
        return _writer_of(kinds.pop())(values)
    found = [""] * len(values)
    for kind in kinds:
        places = [place for place, value in enumerate(values) if type(value) is kind]
        written = _writer_of(kind)([values[place] for place in places])
        for place, text in zip(places, written, strict=True):
            found[place] = text
    return found


def parse(data: bytes | str) -> Any:  # noqa: ANN401 - JSON has no better type
    """Parse JSON that holds no floats.

    A repeated key is not noticed here: its canonical form differs, which ``decode`` refuses.

    Raises:
        DocumentError: not JSON in UTF-8, a float, NaN, or nested too deeply.
    """
    try:
        text = data.decode() if isinstance(data, bytes) else data
        return json.loads(text, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        message = f"not a JSON document: {error}"
        raise DocumentError(message) from error


def read(raws: list[Any], kind: type[T]) -> list[T]:
    """Values of many parsed JSON documents of one kind; consumes ``raws``.

    Fields that have a default may be missing; ``decode`` does not allow it.

    Raises:
        DocumentError: one of them has not the shape of ``kind``.
    """
    try:
        return shape_of(kind).read(raws)
    except Misfit as misfit:
        message = f"not a {kind.__name__}: {place_text(misfit.path) or 'document'}: {misfit.what}"
        raise DocumentError(message) from misfit


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the cyclic garbage collector away while many values are made.

    Nothing made here can be part of a cycle, and the collector would walk all of it again and
    again: reading takes five times as long beside it.
    """
    wanted = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if wanted:
            gc.enable()


def _pieces(value: object, write: Writer | None = None) -> Iterator[str]:
    """Canonical text in parts: a long tuple in a field of the outermost value piece by piece."""
    if not hasattr(type(value), "__dataclass_fields__"):
        yield from texts([value])
        return
    separator = "{"
    for name, item in _items(value):
        yield f'{separator}"{name}":'
        separator = ","
        short = _CHUNK if write is None else 0
        if not isinstance(item, tuple) or len(item) <= short:
            yield from texts([item])
            continue
        for begin in range(0, len(item), _CHUNK):
            yield "," if begin else "["
            yield ",".join((write or texts)(item[begin : begin + _CHUNK]))
        yield "]"
    yield "{}" if separator == "{" else "}"


def _items(value: object) -> list[tuple[str, object]]:
    later = _later_of(type(value))
    items = [
        (field.name, getattr(value, field.name))
        for field in fields(value)  # type: ignore[arg-type]
        if field.name not in later or _differs(getattr(value, field.name), later[field.name])
    ]
    items.extend(getattr(type(value), RETIRED, {}).items())
    return sorted(items)


def _later_of(kind: type[Any]) -> Mapping[str, object]:
    """Defaults of the fields that are left out while they have them."""
    return {field.name: field.default for field in fields(kind) if field.metadata.get("later")}


def _differs(value: object, default: object) -> bool:
    """Whether a value is another one than the default; ``False`` and 0.0 are other than 0."""
    return type(value) is not type(default) or value != default


_WRITERS: Final[dict[type, Writer]] = {}


def _writer_of(kind: type) -> Writer:
    """What writes values of one type."""
    writer = _WRITERS.get(kind)
    if writer is None:
        writer = _WRITERS[kind] = _make_writer(kind)
    return writer


def _make_writer(kind: type) -> Writer:
    """The first kind of value that a type is one of decides."""
    if kind is type(None):
        return _nulls
    if issubclass(kind, bool):
        return _truths
    if issubclass(kind, str):
        return _strings
    if issubclass(kind, Enum):
        return _enums(kind)
    if issubclass(kind, int):
        return _integers
    if issubclass(kind, bytes):
        return _hex
    if issubclass(kind, (tuple, list)):
        return _arrays
    if hasattr(kind, "__dataclass_fields__"):
        return _objects(kind)
    message = f"{kind.__name__} has no canonical form"
    raise DocumentError(message)


def _nulls(values: Sequence[Any]) -> list[str]:
    return ["null"] * len(values)


def _truths(values: Sequence[Any]) -> list[str]:
    return ["true" if value else "false" for value in values]


def _strings(values: Sequence[Any]) -> list[str]:
    return list(map(_QUOTE, values))


def _integers(values: Sequence[Any]) -> list[str]:
    if min(values) >= -SAFE_INTEGER and max(values) <= SAFE_INTEGER:
        return list(map(int.__repr__, values))
    return [
        int.__repr__(value) if -SAFE_INTEGER <= value <= SAFE_INTEGER else f'"{value:d}"'
        for value in values
    ]


def _hex(values: Sequence[Any]) -> list[str]:
    return [f'"{value.hex()}"' for value in values]


def _enums(kind: type[Enum]) -> Writer:
    by_value = {
        member.value: json.dumps(member.value, ensure_ascii=False, allow_nan=False)
        for member in kind
    }

    def write(values: Sequence[Any]) -> list[str]:
        return list(map(by_value.__getitem__, map(attrgetter("_value_"), values)))

    return write


def _arrays(values: Sequence[Any]) -> list[str]:
    if not any(values):
        return ["[]"] * len(values)
    lengths = set(map(len, values))
    written = iter(texts(list(chain.from_iterable(values))))
    if lengths == {1}:
        return list(map("[%s]".__mod__, written))
    return [f"[{','.join(islice(written, count))}]" for count in map(len, values)]


def _objects(kind: type[Any]) -> Writer:
    """Writer of a dataclass; a field marked ``LATER`` carries its own comma where it is written."""
    later = _later_of(kind)
    retired: Mapping[str, int] = getattr(kind, RETIRED, {})
    names = sorted({field.name for field in fields(kind)} | retired.keys())
    always = [name for name in names if name not in later]

    def write(values: Sequence[Any]) -> list[str]:
        columns: list[Sequence[Any]] = []
        template = "{"
        begun = False
        for name in names:
            if name in retired:
                template += f'{"," if begun else ""}"{name}":{retired[name]}'
                begun = True
                continue
            column = list(map(attrgetter(name), values))
            if name not in later:
                plain = _are_plain(column)
                template += f'{"," if begun else ""}"{name}":{"%d" if plain else "%s"}'
                begun = True
                columns.append(column if plain else texts(column))
            elif any(_differs(value, later[name]) for value in column):
                # Something is always written, so a comma stands on the side where that is.
                mark = f',"{name}":%s' if begun else f'"{name}":%s,'
                template += "%s"
                columns.append(
                    [
                        mark % text if _differs(value, later[name]) else ""
                        for value, text in zip(column, texts(column), strict=True)
                    ]
                )
        template += "}"
        if not columns:
            return [template] * len(values)
        return list(map(template.__mod__, zip(*columns, strict=True)))

    if not always and later:
        message = f"{kind.__name__} needs one field that is always written"
        raise DocumentError(message)
    return write


def _are_plain(column: Sequence[Any]) -> bool:
    """Whether a column is integers alone (no truth values) that readers of JSON keep exact."""
    return set(map(type, column)) == {int} and (
        min(column) >= -SAFE_INTEGER and max(column) <= SAFE_INTEGER
    )


def _octets(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        message = f"text that UTF-8 cannot hold: {error}"
        raise DocumentError(message) from error


def _no_float(text: str) -> Any:  # noqa: ANN401 - never returns
    message = f"{text} is not an integer; documents hold no floats"
    raise DocumentError(message)
