"""The directory of a result: the book, the outcome and its tables; and its check from files alone.

=====================  ==================================================================
file                   content
=====================  ==================================================================
``book.jsonl``         the canonical book, or the directory ``book`` with its tables
``outcome.json``       the outcome in canonical JSON (``clearing.codec``)
``prices.jsonl``, ...  its tables (``iso_exchange.bookfile.results``), or ``.parquet``
=====================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from clearing import codec
from clearing.book import canonical
from clearing.bookfile.errors import BookFileError
from clearing.errors import BookError
from clearing.outcome import Outcome
from clearing.types import Book
from clearing.validate import validate
from clearing.verify import verify
from iso_exchange.bookfile.files import (
    PARQUET_SUFFIX,
    Form,
    read_book,
    read_parquet,
    write_book,
    write_parquet,
    write_text_lines,
)
from iso_exchange.bookfile.results import sheets

OUTCOME_JSON: Final = "outcome.json"
BOOK_LINES: Final = "book.jsonl"
BOOK_TABLES: Final = "book"
LINES_SUFFIX: Final = ".jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One named check of a result's directory.

    Attributes:
        number: Position, from 1.
        name: Stable, ``SCREAMING_SNAKE_CASE``: those of this module, then the verifier's.
        ok: Nothing was found.
        count: Number of findings.
        detail: The first findings, for people.
    """

    number: int
    name: str
    ok: bool
    count: int
    detail: str


def refuse_used(directory: Path) -> None:
    """Refuse to write over anything.

    Raises:
        BookFileError: ``NOT_EMPTY``: it is there and is no empty directory.
    """
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise BookFileError("NOT_EMPTY", str(directory), "Choose a new or an empty directory.")


def write_result(directory: Path, book: Book, outcome: Outcome, form: Form) -> None:
    """Write a result into a new or an empty directory; ``outcome.json`` last.

    Raises:
        BookFileError: the directory is not empty, or the form cannot say the book.
        OSError: it cannot be written; a directory without ``outcome.json`` holds no result.
    """
    refuse_used(directory)
    directory.mkdir(parents=True, exist_ok=True)
    name = BOOK_TABLES if form is Form.PARQUET else BOOK_LINES
    write_book(directory / name, canonical(book), form)
    for title, sheet in sheets(outcome).items():
        if form is Form.PARQUET:
            write_parquet(directory / f"{title}{PARQUET_SUFFIX}", sheet.arrow())
        else:
            write_text_lines(directory / f"{title}{LINES_SUFFIX}", sheet.lines())
    (directory / OUTCOME_JSON).write_bytes(codec.encode(outcome))


def check_result(directory: Path) -> tuple[Checked, ...]:
    """Check a result from its files alone.

    Returns:
        BOOK_FILE, BOOK_VALID, OUTCOME_FILE and TABLES, then the checks of
        ``clearing.verify``. What cannot be read ends the list.
    """
    return tuple(
        Checked(number=number, name=name, ok=not count, count=count, detail=detail)
        for number, (name, count, detail) in enumerate(_checks(directory), start=1)
    )


def _checks(directory: Path) -> Iterator[tuple[str, int, str]]:
    try:
        book = _read_book(directory)
    except (BookFileError, OSError) as error:
        yield "BOOK_FILE", 1, str(error)
        return
    yield "BOOK_FILE", 0, ""
    try:
        validate(book)
    except BookError as error:
        yield "BOOK_VALID", 1, str(error)
        return
    yield "BOOK_VALID", 0, ""
    try:
        outcome = codec.decode((directory / OUTCOME_JSON).read_bytes(), Outcome)
    except (codec.DocumentError, OSError) as error:
        yield "OUTCOME_FILE", 1, str(error)
        return
    yield "OUTCOME_FILE", 0, ""
    unlike = list(_unlike(directory, outcome))
    yield "TABLES", len(unlike), "; ".join(unlike[:3])
    for check in verify(book, outcome).checks:
        yield check.name, check.count, check.detail


def _read_book(directory: Path) -> Book:
    paths = [directory / name for name in (BOOK_LINES, BOOK_TABLES)]
    there = [path for path in paths if path.exists()]
    if len(there) != 1:
        advice = f"It must hold either {BOOK_LINES} or the directory {BOOK_TABLES}."
        raise BookFileError("NOT_FOUND", str(directory), advice)
    return read_book(there[0])


def _unlike(directory: Path, outcome: Outcome) -> Iterator[str]:
    """Tables that do not say what the outcome says; a table that is not there says nothing."""
    for title, sheet in sheets(outcome).items():
        lines, table = (directory / f"{title}{suffix}" for suffix in (LINES_SUFFIX, PARQUET_SUFFIX))
        try:
            if lines.exists() and not _same_lines(lines, sheet.lines()):
                yield f"{lines.name} differs from {OUTCOME_JSON}"
            if table.exists() and not _same_table(read_parquet(table), sheet.arrow()):
                yield f"{table.name} differs from {OUTCOME_JSON}"
        except (BookFileError, OSError) as error:
            yield str(error)


def _same_lines(path: Path, lines: Iterator[str]) -> bool:
    with path.open("rb") as file:
        found = iter(file)
        same = all(next(found, None) == f"{line}\n".encode() for line in lines)
        return same and next(found, None) is None


def _same_table(found: pa.Table, wanted: pa.Table) -> bool:
    try:
        return bool(found.cast(wanted.schema).equals(wanted))
    except (pa.ArrowException, ValueError):
        return False
