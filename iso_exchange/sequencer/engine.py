"""What the engine would refuse at gate closure is refused at once, by the same code."""

from __future__ import annotations

from clearing.errors import BookError
from clearing.types import Book
from clearing.validate import validate
from iso_exchange.sequencer.refusals import Code, Rejected


def refuse_by_engine(book: Book) -> Rejected | None:
    """The engine's verdict on a book that holds only what is to be judged."""
    try:
        validate(book)
    except BookError as error:
        uncovered = error.code == Code.NO_COVER_POSSIBLE.value
        code = Code.NO_COVER_POSSIBLE if uncovered else Code.BOOK_REFUSED
        return Rejected(
            code=code, field=error.field, advice=f"{error.code}: {error.advice}", got=error.subject
        )
    return None
