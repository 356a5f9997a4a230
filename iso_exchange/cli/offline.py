"""``iso auction clear`` and ``iso auction verify``: from files to files, without an exchange."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from clearing.codec import SAFE_INTEGER
from clearing.errors import BookError, RefusedResultError, SolverError
from clearing.units import SECONDS_PER_HOUR, divide_half_even
from iso_exchange.cli import output
from iso_exchange.cli.refusals import FAILURE, BadValue, Failure, exit_code_of
from iso_exchange.cli.session import Json

if TYPE_CHECKING:
    from clearing.outcome import Outcome
    from clearing.types import Book
    from iso_exchange.bookfile.files import Form

NO_SEED: Final = bytes(32)
"""Tie seed of a book that commits to none and is given none."""


def clear(
    book: Annotated[
        Path, typer.Option("--book", help="JSON Lines file, or directory of Parquet tables.")
    ],
    out: Annotated[Path, typer.Option("--out", help="New or empty directory for the result.")],
    seed: Annotated[
        str,
        typer.Option(
            "--seed",
            help="Tie seed, hex. Needed when the book commits to one; default: 32 zero bytes.",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Clear a book of a file, without server, database and network.

    Writes the book, the outcome and its tables, all that `iso auction verify` needs. The same
    book and seed give the same result anywhere.
    """
    from clearing.auction import clear as clear_book
    from clearing.bookfile.errors import BookFileError
    from iso_exchange.bookfile.directory import refuse_used, write_result
    from iso_exchange.bookfile.files import form_of, read_book

    tie_seed = seed_of(seed)
    try:
        refuse_used(out)
        form = form_of(book)
        committed = with_seed(read_book(book), tie_seed)
        outcome = clear_book(committed, NO_SEED if tie_seed is None else tie_seed)
        write_result(out, committed, outcome, form)
    except (BookError, BookFileError, SolverError, RefusedResultError) as error:
        failure = _failure(error)
        output.report(failure, as_json=as_json)
        raise typer.Exit(failure.exit_code) from error
    _answer(out, form, outcome, as_json=as_json)


def verify(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Result of `iso auction clear`.")
    ],
    as_json: Json = False,
) -> None:
    """Check a result from its files alone, without server, database and network.

    Trusts nothing that the engine says. Ends with 0 when nothing was found, with 1 otherwise.
    """
    from iso_exchange.bookfile.directory import check_result

    if not directory.is_dir():
        raise BadValue("DIR", "expected the directory of a result", got=str(directory))
    checks = check_result(directory)
    failed = [check for check in checks if not check.ok]
    document = {
        "directory": str(directory),
        "ok": not failed,
        "checks": [
            {
                "number": check.number,
                "name": check.name,
                "ok": check.ok,
                "count": check.count,
                "detail": check.detail,
            }
            for check in checks
        ],
    }
    rows = (
        (check.number, check.name, "ok" if check.ok else "FAILED", check.count, check.detail)
        for check in checks
    )
    names = ", ".join(f"{check.number} {check.name}" for check in failed)
    output.answer(
        document,
        output.table(("", "CHECK", "RESULT", "FINDINGS", "FIRST FINDINGS"), rows),
        f"FAILED: {names}" if failed else f"{len(checks)} checks, nothing was found",
        as_json=as_json,
    )
    if failed:
        raise typer.Exit(FAILURE)


def seed_of(text: str) -> bytes | None:
    """Tie seed of an option, None where it is left out."""
    if not text:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise BadValue("--seed", "expected hex digits, two per byte", got=text) from error


def with_seed(book: Book, seed: bytes | None) -> Book:
    """The book, committed to the seed where it commits to none."""
    if not book.spec.seed_commitment:
        commitment = hashlib.sha256(NO_SEED if seed is None else seed).hexdigest()
        return replace(book, spec=replace(book.spec, seed_commitment=commitment))
    if seed is None:
        raise BadValue("--seed", "the book commits to a tie seed: reveal it")
    return book


def _failure(error: Exception) -> Failure:
    from clearing.bookfile.errors import BookFileError

    if isinstance(error, BookError):
        return Failure(
            exit_code=exit_code_of(error.code),
            code=error.code,
            field=error.field,
            advice=error.advice,
            got=error.subject,
        )
    if isinstance(error, BookFileError):
        return Failure(
            exit_code=exit_code_of(error.code),
            code=error.code,
            field=error.place,
            advice=error.advice,
        )
    code = "RESULT_REFUSED" if isinstance(error, RefusedResultError) else "SOLVER_STOPPED"
    return Failure(exit_code=FAILURE, code=code, advice=str(error))


def _answer(out: Path, form: Form, outcome: Outcome, *, as_json: bool) -> None:
    certificate, cash = outcome.certificate, outcome.cash
    reasons = Counter(order.reason.value for order in outcome.orders)
    document: dict[str, Any] = {
        "directory": str(out),
        "form": form.value,
        "auction_id": outcome.auction_id,
        "book_sha256": outcome.book_sha256,
        "engine": outcome.engine,
        "status": outcome.status.value,
        "order_count": len(outcome.orders),
        "reasons": dict(sorted(reasons.items())),
        "welfare_micro_usd": _number(_micro_usd(certificate.welfare)),
        "bound_micro_usd": _number(_micro_usd(certificate.bound)),
        "certified_gap_ppb": certificate.gap_ppb,
        "cash_micro_usd": {
            name: _number(getattr(cash, name)) for name in type(cash).__dataclass_fields__
        },
    }
    facts = [
        ("Auction", outcome.auction_id),
        ("Status", outcome.status.value),
        ("Welfare", output.money_text(_micro_usd(certificate.welfare))),
        ("Certified gap", f"{certificate.gap_ppb} ppb"),
        ("Buyers pay", output.money_text(cash.buyers)),
        ("Suppliers earn", output.money_text(cash.suppliers)),
        ("Communities earn", output.money_text(cash.community)),
        ("Make-whole", output.money_text(cash.make_whole)),
        *((reason, f"{count:,} orders") for reason, count in sorted(reasons.items())),
        ("Result", str(out)),
    ]
    output.answer(document, output.pairs(facts), as_json=as_json)
    output.next_steps(f"iso auction verify {out}", as_json=as_json)


def _micro_usd(worth: int) -> int:
    """Price-seconds as micro-USD, rounded half-even, for people."""
    return divide_half_even(worth, SECONDS_PER_HOUR)


def _number(value: int) -> int | str:
    """Text beyond what readers of JSON keep exactly."""
    return value if abs(value) <= SAFE_INTEGER else str(value)
