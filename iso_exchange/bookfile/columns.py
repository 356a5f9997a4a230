"""Typed values as Arrow columns and back, with the place of whatever does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from operator import attrgetter
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from clearing.bookfile.errors import BookFileError

TEXT: Final = pa.string()
NAMED: Final = pa.dictionary(pa.int32(), pa.string())
"""Text that many rows share."""
WHOLE: Final = pa.int64()
WIDE: Final = pa.decimal128(38, 0)
"""Integers that may leave 64 bits."""
TRUTH: Final = pa.bool_()
TEXTS: Final = pa.list_(pa.string())
WHOLES: Final = pa.list_(pa.int64())


class Column:
    """One column of a table.

    Attributes:
        name: Of the column, and of the field it is.
        kind: Arrow type that is written.
        enum: Members that its text stands for.
        optional: Nulls are None.
        missing: Value of every row where the column is left out; required when it is absent.
    """

    __slots__ = ("enum", "kind", "missing", "name", "optional")

    def __init__(
        self,
        name: str,
        kind: pa.DataType,
        *,
        enum: type[Enum] | None = None,
        optional: bool = False,
        missing: tuple[Any, ...] = (),
    ) -> None:
        """Describe a column; ``missing`` is empty or holds one value."""
        self.name = name
        self.kind = kind
        self.enum = enum
        self.optional = optional
        self.missing = missing


def write_column(column: Column, values: Sequence[Any]) -> pa.Array:
    """Arrow column of values.

    Raises:
        BookFileError: ``NOT_SAYABLE``: an integer does not fit.
    """
    if column.enum is not None:
        values = list(map(attrgetter("_value_"), values))
    if column.kind == WIDE:
        # Decimal text, because Arrow reads no integers above 64 bits.
        return pa.array(map(str, values), TEXT).cast(WIDE)
    try:
        return pa.array(values, column.kind)
    except (OverflowError, pa.ArrowException) as error:
        advice = f"{column.name}: {error}."
        raise BookFileError("NOT_SAYABLE", column.name, advice) from error


def write_table(columns: Sequence[Column], values: Sequence[Sequence[Any]]) -> pa.Table:
    """Table of columns of values."""
    arrays = [write_column(*pair) for pair in zip(columns, values, strict=True)]
    fields = [pa.field(column.name, column.kind, column.optional) for column in columns]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def read_columns(name: str, columns: Sequence[Column], table: pa.Table) -> list[list[Any]]:
    """Values of every column of a table.

    Raises:
        BookFileError: ``BAD_TABLE``: a column is missing, unknown, of another type, or has nulls.
    """
    unknown = set(table.column_names) - {column.name for column in columns}
    if unknown or len(set(table.column_names)) != len(table.column_names):
        known = ", ".join(column.name for column in columns)
        raise BookFileError("BAD_TABLE", name, f"Its columns are {known}, each once.")
    return [_read_column(name, column, table) for column in columns]


def _read_column(place: str, column: Column, table: pa.Table) -> list[Any]:
    if column.name not in table.column_names:
        if column.missing:
            return list(column.missing) * int(table.num_rows)
        raise BookFileError("BAD_TABLE", place, f"The column {column.name} is missing.")
    found = table.column(column.name)
    try:
        values: list[Any] = _READERS[column.kind](column, found)
        return values
    except (pa.ArrowException, ValueError, OverflowError) as error:
        advice = f"{column.name}: {error}."
        raise BookFileError("BAD_TABLE", place, advice) from error


def arrow_integers(place: str, name: str, table: pa.Table) -> Any:  # noqa: ANN401 - a NumPy array
    """An integer column as a NumPy array."""
    if name not in table.column_names:
        raise BookFileError("BAD_TABLE", place, f"The column {name} is missing.")
    try:
        return _integers(Column(name, WHOLE), table.column(name)).to_numpy()
    except (pa.ArrowException, ValueError) as error:
        raise BookFileError("BAD_TABLE", place, f"{name}: {error}.") from error


def _integers(column: Column, found: pa.ChunkedArray) -> pa.ChunkedArray:
    _refuse_nulls(column, found)
    if not pa.types.is_integer(found.type) and not pa.types.is_null(found.type):
        raise ValueError(f"expected integers, got {found.type}")
    return found.cast(WHOLE)


def _refuse_nulls(column: Column, found: pa.ChunkedArray) -> None:
    if found.null_count and not column.optional:
        raise ValueError("it has nulls")


def _wholes(column: Column, found: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = _integers(column, found).to_pylist()
    return values


def _truths(column: Column, found: pa.ChunkedArray) -> list[Any]:
    _refuse_nulls(column, found)
    if not pa.types.is_boolean(found.type) and not pa.types.is_null(found.type):
        raise ValueError(f"expected booleans, got {found.type}")
    values: list[Any] = found.to_pylist()
    return values


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def texts_of(column: Column, found: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of text without dictionary."""
    _refuse_nulls(column, found)
    if not _is_text(found.type):
        raise ValueError(f"expected text, got {found.type}")
    return found.cast(TEXT)


def _texts(column: Column, found: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = texts_of(column, found).to_pylist()
    return values


def _names(column: Column, found: pa.ChunkedArray) -> list[Any]:
    """Text that is shared, each text read once."""
    coded = texts_of(column, found).combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    known: list[Any] = coded.dictionary.to_pylist()
    if column.enum is not None:
        members = {member.value: member for member in column.enum}
        unknown = [text for text in known if text not in members]
        if unknown:
            raise ValueError(f"expected one of {', '.join(members)}, got {unknown[0]!r}")
        known = [members[text] for text in known]
    return [known[code] for code in coded.indices.to_pylist()]


def _lists(inner: Callable[[pa.DataType], bool], what: str) -> Callable[..., list[Any]]:
    def read(column: Column, found: pa.ChunkedArray) -> list[Any]:
        _refuse_nulls(column, found)
        is_list = pa.types.is_list(found.type) or pa.types.is_large_list(found.type)
        if not is_list or not (inner(found.type.value_type) or not _has_items(found)):
            raise ValueError(f"expected lists of {what}, got {found.type}")
        if not _has_items(found):
            return [()] * len(found)
        if pc.list_flatten(found).null_count:
            raise ValueError("it has nulls")
        return [tuple(items) for items in found.to_pylist()]

    return read


def _has_items(found: pa.ChunkedArray) -> bool:
    return bool(pc.sum(pc.list_value_length(found)).as_py())


_READERS: Final[dict[pa.DataType, Callable[[Column, pa.ChunkedArray], list[Any]]]] = {
    TEXT: _texts,
    NAMED: _names,
    WHOLE: _wholes,
    TRUTH: _truths,
    TEXTS: _lists(_is_text, "text"),
    WHOLES: _lists(pa.types.is_integer, "integers"),
}
