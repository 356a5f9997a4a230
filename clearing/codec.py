"""Canonical JSON of the exchange's frozen values: books, outcomes, postings, statements.

One rule for all documents, so that a digest means one thing: UTF-8, keys sorted, no
white space, integers only (no floats), enums by value, tuples as arrays, bytes as
lower-case hex. Decoding is strict: an unknown, missing or wrongly typed field is an
error that names its place; so is a document that is not in canonical form.

Integers beyond 2**53 - 1 are written as decimal strings, because common readers of
JSON would silently round them (RFC 7493 section 2.2).
"""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from typing import Any, Final, TypeVar

from cattrs import Converter
from cattrs.errors import ClassValidationError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

T = TypeVar("T")

SAFE_INTEGER: Final = 2**53 - 1


class DocumentError(ValueError):
    """A document that does not decode; the message names the place and what is wrong."""


def encode(value: object) -> bytes:
    """Canonical JSON bytes of a frozen dataclass (or a tuple of them).

    Raises:
        DocumentError: the value holds something that has no canonical form, such as a float.
    """
    return json.dumps(
        _plain(value), ensure_ascii=False, sort_keys=True, separators=(",", ":")
    ).encode()


def decode(data: bytes, kind: type[T]) -> T:
    """Read canonical JSON bytes back into ``kind``.

    Raises:
        DocumentError: not JSON, not canonical, or not of the shape of ``kind``.
    """
    try:
        raw = json.loads(data, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        message = f"not a JSON document: {error}"
        raise DocumentError(message) from error
    try:
        value: T = _CONVERTER.structure(raw, kind)
        canonical = encode(value)
    except (
        ClassValidationError,
        IterableValidationError,
        ValueError,
        TypeError,
        KeyError,
    ) as error:
        message = f"not a {kind.__name__}: {_place(error)}"
        raise DocumentError(message) from error
    if canonical != data:
        message = f"{kind.__name__} is not in canonical form"
        raise DocumentError(message)
    return value


def digest(value: object) -> str:
    """Lower-case hex SHA-256 of the canonical bytes."""
    return hashlib.sha256(encode(value)).hexdigest()


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON has no better type
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, int):
        return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {name: _plain(getattr(value, name)) for name in fields}
    message = f"{type(value).__name__} has no canonical form"
    raise DocumentError(message)


def _no_float(text: str) -> Any:  # noqa: ANN401 - never returns
    message = f"{text} is not an integer; documents hold no floats"
    raise DocumentError(message)


def _integer(value: object, _: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lstrip("-").isascii() and value.lstrip("-").isdigit():
        return int(value)
    message = f"expected an integer, got {value!r}"
    raise ValueError(message)


def _text(value: object, _: object) -> str:
    if isinstance(value, str):
        return value
    message = f"expected text, got {value!r}"
    raise ValueError(message)


def _truth(value: object, _: object) -> bool:
    if isinstance(value, bool):
        return value
    message = f"expected true or false, got {value!r}"
    raise ValueError(message)


def _octets(value: object, _: object) -> bytes:
    if isinstance(value, str):
        return bytes.fromhex(value)
    message = f"expected hex text, got {value!r}"
    raise ValueError(message)


def _place(error: BaseException) -> str:
    """The innermost message, with the path cattrs keeps in its notes."""
    path: list[str] = []
    while isinstance(error, (ClassValidationError, IterableValidationError)):
        error = error.exceptions[0]
        path.extend(
            str(note).rsplit(" ", maxsplit=1)[-1] for note in getattr(error, "__notes__", ())
        )
    return f"{'.'.join(path) or 'document'}: {error}"


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _truth)
    converter.register_structure_hook(bytes, _octets)
    converter.register_structure_hook_factory(
        lambda kind: hasattr(kind, "__dataclass_fields__"),
        lambda kind: make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True),
    )
    return converter


_CONVERTER: Final = _make_converter()
