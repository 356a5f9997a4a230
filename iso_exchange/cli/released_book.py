"""``iso auction book``: the released book of an auction, ready for ``iso auction verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iso_exchange.cli import output
from iso_exchange.cli.bundles import Key
from iso_exchange.cli.refusals import FAILURE, NO_MATCH, BadValue, Failure
from iso_exchange.cli.session import Json


def book(
    auction_id: Annotated[str, typer.Argument(metavar="AUCTION", help="Identifier.")],
    bundle: Annotated[Path, typer.Option("--bundle", metavar="DIR", help="Bundle of either kind.")],
    out: Annotated[Path, typer.Option("--out", help="New or empty directory for the result.")],
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Write the book of an auction under pseudonyms, with its outcome, once it is released.

    That is 60 days after the auction's last interval. `iso auction verify` then checks the
    result from these files alone.
    """
    from clearing.bookfile.errors import BookFileError
    from iso_exchange.audit.book import ReleasedBookError, released_book
    from iso_exchange.audit.log_keys import Trust
    from iso_exchange.bookfile.directory import refuse_used, write_result
    from iso_exchange.bookfile.files import Form

    if not bundle.is_dir():
        raise BadValue("--bundle", "expected the directory of an audit bundle", got=str(bundle))
    try:
        refuse_used(out)
        index, found, outcome = released_book(
            bundle, auction_id, Trust(vkeys=(key,) if key else ())
        )
        write_result(out, found, outcome, Form.JSONL)
    except ReleasedBookError as error:
        missing = error.code == "BOOK_NOT_RELEASED"
        failure = Failure(
            exit_code=NO_MATCH if missing else FAILURE, code=error.code, advice=str(error)
        )
        output.report(failure, as_json=as_json)
        raise typer.Exit(failure.exit_code) from error
    except BookFileError as error:
        failure = Failure(
            exit_code=FAILURE, code=error.code, field=error.place, advice=error.advice
        )
        output.report(failure, as_json=as_json)
        raise typer.Exit(FAILURE) from error
    output.answer(
        {"auction_id": auction_id, "entry_index": index, "directory": str(out)},
        f"{out}: book of {auction_id} under pseudonyms, entry {index}",
        as_json=as_json,
    )
    output.next_steps(f"iso auction verify {out}", as_json=as_json)
