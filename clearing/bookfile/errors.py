"""Why a book file cannot be read or written."""

from __future__ import annotations


class BookFileError(ValueError):
    """A file that is not what docs/reference/book-file.md says.

    =================  ==================================================================
    code               meaning
    =================  ==================================================================
    NOT_FOUND          no such file or directory
    NOT_A_BOOK         neither form: no header line, or a directory without ``book.json``
    BAD_VERSION        written in a version of the form that this reader does not know
    NOT_JSON           not one JSON object in UTF-8, or it holds a float or a key twice
    UNKNOWN_RECORD     a kind of record that there is not
    REPEATED_RECORD    a second header or a second auction
    MISSING_RECORD     no auction
    BAD_VALUE          a field is unknown, missing or of the wrong type
    NOT_PARQUET        not a Parquet file
    BAD_TABLE          a table lacks a column or rows, or has others than it should
    UNKNOWN_ORDER      a row belongs to an order, link or condition that there is not
    NOT_SAYABLE        the form cannot say this book; the engine would refuse it as well
    NOT_EMPTY          the directory to write to holds something
    =================  ==================================================================

    Attributes:
        code: Stable, ``SCREAMING_SNAKE_CASE``; part of the public interface.
        place: Where: ``line 12``, ``offers.parquet``; empty for the file as a whole.
        advice: What is wrong there, one sentence.
    """

    def __init__(self, code: str, place: str, advice: str) -> None:
        """Keep the parts; all of them are ``args``, so that the error survives pickling."""
        super().__init__(code, place, advice)
        self.code = code
        self.place = place
        self.advice = advice

    def __str__(self) -> str:
        """Code, place and advice in one line."""
        return ": ".join(part for part in (self.code, self.place, self.advice) if part)
