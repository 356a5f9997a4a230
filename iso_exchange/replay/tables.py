"""Strict reading of the gzip-compressed CSV files that real data comes in."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from iso_exchange.replay.errors import DataError

MAX_INTEGER: Final = 10**12
MAX_USD: Final = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Row:
    """One data row: its file and line, for error messages, and its cells by column name."""

    path: str
    line: int
    cells: dict[str, str]

    def text(self, column: str) -> str:
        """Non-empty cell.

        Raises:
            DataError: ``BAD_VALUE``.
        """
        value = self.cells[column]
        if not value:
            raise DataError("BAD_VALUE", self.path, self.line, f"{column} is empty")
        return value

    def integer(self, column: str, *, least: int = 0) -> int:
        """Cell as an integer from ``least`` to 10**12.

        Raises:
            DataError: ``BAD_VALUE``.
        """
        value = self.cells[column]
        if not (value.isascii() and value.isdigit()) or len(value) > len(str(MAX_INTEGER)):
            raise DataError(
                "BAD_VALUE", self.path, self.line, f"{column} must be an integer, got {value!r}"
            )
        number = int(value)
        if not least <= number <= MAX_INTEGER:
            raise DataError("BAD_VALUE", self.path, self.line, f"{column} must be at least {least}")
        return number

    def micro_usd(self, column: str) -> int:
        """Cell in US dollars as micro-USD, rounded half-even once; never through a float.

        Raises:
            DataError: ``BAD_VALUE``.
        """
        value = self.cells[column]
        try:
            amount = Decimal(value)
        except InvalidOperation as error:
            raise DataError(
                "BAD_VALUE", self.path, self.line, f"{column} must be a decimal, got {value!r}"
            ) from error
        if not amount.is_finite() or not 0 <= amount <= MAX_USD:
            raise DataError(
                "BAD_VALUE", self.path, self.line, f"{column} must be 0 to {MAX_USD} US dollars"
            )
        return int((amount * 1_000_000).to_integral_value(rounding=ROUND_HALF_EVEN))


def find_file(folder: Path, pattern: str) -> Path:
    """The file that matches a pattern; the last by name when there are several.

    Raises:
        DataError: ``FILE_MISSING``.
    """
    matches = sorted(folder.glob(pattern))
    if not matches:
        raise DataError("FILE_MISSING", str(folder / pattern), 0, "point at the data folder")
    return matches[-1]


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """Rows of a ``.csv.gz`` file whose header is exactly ``columns``.

    Raises:
        DataError: ``FILE_MISSING``, ``NOT_GZIP``, ``NOT_UTF8``, ``EMPTY_FILE``,
            ``WRONG_HEADER`` or ``WRONG_COLUMNS``.
    """
    name = str(path)
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines)
            header = next(reader, None)
            if header is None:
                raise DataError("EMPTY_FILE", name, 0, "the header is missing")
            if tuple(header) != columns:
                raise DataError("WRONG_HEADER", name, 1, f"expected {','.join(columns)}")
            for cells in reader:
                if len(cells) != len(columns):
                    raise DataError(
                        "WRONG_COLUMNS",
                        name,
                        reader.line_num,
                        f"expected {len(columns)} cells, got {len(cells)}",
                    )
                yield Row(name, reader.line_num, dict(zip(columns, cells, strict=True)))
    except FileNotFoundError as error:
        raise DataError("FILE_MISSING", name, 0, "point at the data folder") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError("NOT_GZIP", name, 0, "the file is not gzip or is cut short") from error
    except UnicodeDecodeError as error:
        raise DataError("NOT_UTF8", name, 0, "the file is not UTF-8 text") from error
