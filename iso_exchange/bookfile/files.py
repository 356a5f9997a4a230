"""Books on disk: one file of JSON Lines, or a directory of Parquet tables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from clearing.bookfile.errors import BookFileError
from clearing.bookfile.lines import VERSION, parse_object, read_lines, read_object, write_lines
from clearing.codec import collector_paused, encode
from clearing.types import AuctionSpec, Book
from iso_exchange.bookfile.parquet import TABLES, read_tables, write_tables

BOOK_JSON: Final = "book.json"
PARQUET_SUFFIX: Final = ".parquet"
_COMPRESSION: Final = "zstd"
_HEADER_BYTES_MAX: Final = 64 << 20
_KEYS: Final = {"record", "version", "auction", "rows"}


class Form(Enum):
    """Form of a book on disk, and of the tables of an outcome."""

    JSONL = "jsonl"
    PARQUET = "parquet"


def form_of(path: Path) -> Form:
    """Form of the book at a path: a directory holds tables, a file lines.

    Raises:
        BookFileError: ``NOT_FOUND``.
    """
    if path.is_dir():
        return Form.PARQUET
    if path.is_file():
        return Form.JSONL
    raise BookFileError("NOT_FOUND", str(path), "There is no such file or directory.")


def read_book(path: Path) -> Book:
    """Read a book in either form.

    Returns:
        A book whose types are sound; ``clearing.validate`` says whether it can be cleared.

    Raises:
        BookFileError: it is not what docs/reference/book-file.md says.
        OSError: it cannot be read.
    """
    if form_of(path) is Form.PARQUET:
        return _read_directory(path)
    with path.open("rb") as file:
        return read_lines(file)


def write_book(path: Path, book: Book, form: Form) -> None:
    """Write a book; ``path`` must not exist.

    Raises:
        BookError: ``BAD_TYPE``.
        BookFileError: the form cannot say the book, or there is something at ``path``.
        OSError: it cannot be written.
    """
    if path.exists():
        raise BookFileError("NOT_EMPTY", str(path), "Choose a path where there is nothing yet.")
    if form is Form.PARQUET:
        _write_directory(path, book)
    else:
        write_text_lines(path, write_lines(book))


def write_text_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text, UTF-8, each ended by a line feed."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _write_directory(path: Path, book: Book) -> None:
    tables = write_tables(book)
    path.mkdir(parents=True)
    for name, table in tables.items():
        write_parquet(path / f"{name}{PARQUET_SUFFIX}", table)
    header = {
        "record": "book",
        "version": VERSION,
        "auction": json.loads(encode(book.spec)),
        "rows": {name: table.num_rows for name, table in sorted(tables.items())},
    }
    # Last, so that a directory that was not finished is none.
    text = json.dumps(header, ensure_ascii=False, indent=2)
    write_text_lines(path / BOOK_JSON, [text])


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write one table, with checksums, so that a damaged file is noticed."""
    pq.write_table(table, path, compression=_COMPRESSION, write_page_checksum=True)


def read_parquet(path: Path) -> pa.Table:
    """Read one table.

    Raises:
        BookFileError: ``NOT_PARQUET``: it is none, or it is damaged.
    """
    try:
        # From one file: directories beside it must not become columns.
        return pq.ParquetFile(path, page_checksum_verification=True).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BookFileError("NOT_PARQUET", path.name, f"{error}.") from error


def _read_directory(path: Path) -> Book:
    header = _read_header(path / BOOK_JSON)
    tables = {
        name: read_parquet(path / f"{name}{PARQUET_SUFFIX}")
        for name in sorted(TABLES)
        if (path / f"{name}{PARQUET_SUFFIX}").exists()
    }
    rows = header.get("rows")
    if rows is not None:
        found = {name: tables[name].num_rows if name in tables else 0 for name in TABLES}
        if not isinstance(rows, dict) or {**dict.fromkeys(TABLES, 0), **rows} != found:
            advice = "rows must give the number of rows of every table."
            raise BookFileError("BAD_TABLE", BOOK_JSON, advice)
    auction: Any = header["auction"]
    if not isinstance(auction, dict):
        raise BookFileError("BAD_VALUE", BOOK_JSON, "auction is an object.")
    spec = read_object(BOOK_JSON, auction, AuctionSpec)
    with collector_paused():
        return read_tables(spec, tables)


def _read_header(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > _HEADER_BYTES_MAX:
        raise BookFileError("NOT_A_BOOK", str(path.parent), f"It has no readable {BOOK_JSON}.")
    header = parse_object(BOOK_JSON, path.read_bytes())
    if header.get("record") != "book" or not {"version", "auction"} <= header.keys() <= _KEYS:
        advice = f'{BOOK_JSON} has "record": "book", version, auction and, if wanted, rows.'
        raise BookFileError("NOT_A_BOOK", BOOK_JSON, advice)
    if type(header["version"]) is not int or header["version"] != VERSION:
        raise BookFileError("BAD_VERSION", BOOK_JSON, f"The version must be {VERSION}.")
    return header
