"""Tables as Parquet files; needs pyarrow (``pip install iso-exchange[exports]``)."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from settlement.exports.errors import ExportError, ExportErrorCode
from settlement.exports.tables import Column, Kind, Table, Value
from settlement.exports.texts import decimal_text

INT64_MAX: Final = 2**63 - 1
DIGITS: Final = 38
"""Of a ``decimal128``."""
MICRO_MAX: Final = 10**DIGITS - 1


def parquet_bytes(table: Table) -> bytes:
    """A table as a Parquet file.

    Integers are ``int64``, decimals ``decimal128(38, 6)``, times ``timestamp[s, UTC]``.

    Raises:
        ExportError: ``AMOUNT_TOO_LARGE``: an integer has more than 64 bits, a decimal more
            than 38 digits.
    """
    types = {
        Kind.TEXT: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.MICRO: pa.decimal128(DIGITS, 6),
        Kind.TIME: pa.timestamp("s", tz="UTC"),
        Kind.TRUTH: pa.bool_(),
    }
    arrays = [
        pa.array([_cell(column, row[place]) for row in table.rows], type=types[column.kind])
        for place, column in enumerate(table.columns)
    ]
    schema = pa.schema(
        pa.field(column.name, types[column.kind], metadata={"meaning": column.meaning})
        for column in table.columns
    )
    page = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), page, compression="zstd")
    return page.getvalue()


def _cell(column: Column, value: Value) -> Any:  # noqa: ANN401 - what pyarrow takes
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if abs(value) > (MICRO_MAX if column.kind is Kind.MICRO else INT64_MAX):
        raise ExportError(
            ExportErrorCode.AMOUNT_TOO_LARGE,
            column.name,
            f"{value} does not fit a Parquet column; export CSV",
        )
    return Decimal(decimal_text(value)) if column.kind is Kind.MICRO else value
