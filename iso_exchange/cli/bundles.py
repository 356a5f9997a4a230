"""What commands that work on an audit bundle share: its options, reading it, refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from clearing.codec import SAFE_INTEGER
from clearing.types import Interval
from clearing.units import UnixSeconds
from iso_exchange.cli import output, values
from iso_exchange.cli.refusals import FAILURE, NO_MATCH, BadValue, Failure
from settlement.ledger.errors import KeyFormatError
from settlement.ledger.keys import parse_vkey

if TYPE_CHECKING:
    from iso_exchange.exports.reading import ReadBundle

BundleDirectory = Annotated[
    Path, typer.Option("--bundle", metavar="DIR", help="Auditor bundle (iso audit export).")
]
Key = Annotated[str, typer.Option("--key", help="Verifier key of the log, from a place you trust.")]
From = Annotated[
    str, typer.Option("--from", metavar="TIME", help="Start: a day (2026-10-01) or a time, UTC.")
]
To = Annotated[
    str, typer.Option("--to", metavar="TIME", help="End, exclusive: a day (2026-11-01) or a time.")
]

EXTRA: Final = "iso-exchange[exports]"
_OPTIONAL: Final = frozenset({"fpdf", "pyarrow"})
DAY_LENGTH: Final = len("2026-10-01")
_NOTHING_FOUND: Final = frozenset({"SITE_UNKNOWN", "PARTY_UNKNOWN", "NOTHING_TO_PAY"})


def open_bundle(directory: Path, key: str) -> ReadBundle:
    """Read a bundle offline.

    Raises:
        BadValue: there is no such directory, or the key is none.
        BundleError: the bundle is refused.
    """
    from iso_exchange.exports.reading import read_bundle

    if not directory.is_dir():
        raise BadValue("--bundle", "expected the directory of an audit bundle", got=str(directory))
    if key:
        try:
            parse_vkey(key)
        except KeyFormatError as error:
            raise BadValue("--key", str(error), got=key) from error
    return read_bundle(directory, key or None)


@contextmanager
def refusals(*, as_json: bool) -> Iterator[None]:
    """Report what an export refuses, and end with its exit code."""
    from iso_exchange.exports.reading import BundleError
    from settlement.exports.errors import ExportError

    try:
        yield
    except BundleError as error:
        failure = Failure(exit_code=FAILURE, code=error.code, advice=error.detail)
    except ExportError as error:
        code = error.code.value
        exit_code = NO_MATCH if code in _NOTHING_FOUND else FAILURE
        failure = Failure(exit_code=exit_code, code=code, advice=error.detail, got=error.subject)
    except ModuleNotFoundError as error:
        if error.name not in _OPTIONAL:
            raise
        advice = f"install '{EXTRA}': this format needs {error.name}"
        failure = Failure(exit_code=FAILURE, code="DEPENDENCY_MISSING", advice=advice)
    else:
        return
    output.report(failure, as_json=as_json)
    raise typer.Exit(failure.exit_code)


def parse_period(start: str, end: str) -> Interval | None:
    """Period between two days or times; None where neither is given.

    Raises:
        BadValue: only one is given, one is no day or time, or the end is not after the start.
    """
    if not start and not end:
        return None
    if not start or not end:
        raise BadValue("--to" if start else "--from", "give both --from and --to")
    period = Interval(start=parse_moment(start, "--from"), end=parse_moment(end, "--to"))
    if period.end <= period.start:
        raise BadValue("--to", "a period ends after it starts", got=end)
    return period


def parse_moment(text: str, field: str) -> UnixSeconds:
    """Midnight UTC of a day, or a time with its zone.

    Raises:
        BadValue: neither.
    """
    if len(text) == DAY_LENGTH:
        return values.parse_day(text, field)
    return values.parse_time(text, field)


def written(path: Path, content: bytes, **facts: object) -> dict[str, object]:
    """Write a file; what ``--json`` says of it, ``facts`` last."""
    path.write_bytes(content)
    return {
        "path": str(path),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **facts,
    }


def log_document(read: ReadBundle) -> dict[str, object]:
    """What ``--json`` says of the log that an export was made from."""
    extract = read.extract
    return {
        "origin": extract.origin,
        "tree_size": extract.size,
        "root_hash": extract.root,
        "as_of": output.time_text(extract.end),
        "sealed_from": extract.sealed_from,
        "log_vkey": read.vkey,
        "trusts_own_key": read.trusts_own_key,
    }


def remarks(read: ReadBundle) -> tuple[str, ...]:
    """What people have to know of the log that an export was made from."""
    found = []
    if read.trusts_own_key:
        found.append(f"trusting the bundle's own key {read.vkey}")
    if read.extract.sealed_from >= 0:
        found.append(
            f"entries from {read.extract.sealed_from:,} on are sealed until publication: left out"
        )
    return tuple(found)


def number(value: int) -> int | str:
    """An integer of a JSON document: text beyond 2**53 - 1 (RFC 7493)."""
    return value if abs(value) <= SAFE_INTEGER else str(value)
