"""What commands print: one JSON document, or tables for people.

JSON is a contract: field names of the API, integers as numbers (as text beyond 2**53 - 1,
RFC 7493), bytes in lower-case hex, times in RFC 3339, enums by name without their prefix,
unset messages as null, nothing left out. Answers go to standard output, everything else to
standard error.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from clearing.codec import SAFE_INTEGER
from clearing.units import usd_text
from iso_exchange.cli.refusals import Failure

WIDE_COLUMNS: Final = 240
_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def answer(document: object, *blocks: RenderableType, as_json: bool) -> None:
    """Print a command's answer: the document for programs, the blocks for people."""
    if as_json:
        print(json_text(document))
        return
    if sys.stdout.isatty():
        console = Console(markup=False, highlight=False)
        for block in blocks:
            console.print(block, soft_wrap=isinstance(block, str))
        return
    # Off a terminal nothing is folded to 80 columns: the reader is a file or a program.
    page = io.StringIO()
    wide = Console(file=page, markup=False, highlight=False, width=WIDE_COLUMNS)
    for block in blocks:
        # Lines of text stay whole: a verifier key is one word of up to 1,800 characters.
        wide.print(block, soft_wrap=isinstance(block, str))
    for text in page.getvalue().splitlines():
        print(text.rstrip())


def line(document: object) -> None:
    """Print one line of a stream of JSON documents, at once."""
    print(json.dumps(document, ensure_ascii=False, separators=(",", ":")), flush=True)


def next_steps(*steps: str, as_json: bool) -> None:
    """Suggest what to do after an action, where a person is watching."""
    if as_json or not sys.stderr.isatty():
        return
    print("\nNext steps:", file=sys.stderr)
    for step in steps:
        print(f"  {step}", file=sys.stderr)


def report(failure: Failure, *, as_json: bool) -> None:
    """Say why a command failed."""
    if as_json:
        print(json_text(failure.document()))
        return
    place = f" ({failure.field})" if failure.field else ""
    print(f"{failure.code}{place}: {failure.advice}", file=sys.stderr)
    for name, value in (("got", failure.got), ("expected", failure.limit)):
        if value:
            print(f"  {name}: {value}", file=sys.stderr)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> Table:
    """A table; texts that look like numbers stand right."""
    built = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    texts = [[_cell(value) for value in row] for row in rows]
    for column, header in enumerate(headers):
        numeric = bool(texts) and all(_is_number(row[column]) for row in texts)
        built.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in texts:
        built.add_row(*(Text(value) for value in row))
    return built


def pairs(values: Iterable[tuple[str, object]]) -> Table:
    """Names with values, one on a line."""
    built = Table(box=None, pad_edge=False, show_header=False)
    built.add_column()
    built.add_column(overflow="fold")
    for name, value in values:
        built.add_row(Text(name), Text(_cell(value)))
    return built


def json_text(document: object) -> str:
    """Indented JSON text."""
    return json.dumps(document, ensure_ascii=False, indent=2)


def plain(message: Message) -> dict[str, Any]:
    """JSON document of an API message."""
    document: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            document[field.name] = [_plain_value(field, item) for item in value]
        elif field.has_presence and not message.HasField(field.name):
            document[field.name] = None
        else:
            document[field.name] = _plain_value(field, value)
    return document


def time_text(seconds: int) -> str:
    """RFC 3339 text of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_text(time: Timestamp) -> str:
    """RFC 3339 text of an API timestamp, with microseconds where it has any."""
    text = datetime.fromtimestamp(time.seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    micros = time.nanos // 1_000
    return f"{text}.{micros:06d}Z" if micros else f"{text}Z"


def enum_text(descriptor: EnumDescriptor, number: int) -> str:
    """Name of an enum value without its prefix; the number itself when it is not in the schema."""
    value = descriptor.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = _WORD_START.sub("_", descriptor.name).upper()
    return str(value.name).removeprefix(f"{prefix}_")


def named(message: Message, field: str) -> str:
    """Name of an enum field's value without its prefix."""
    descriptor = message.DESCRIPTOR.fields_by_name[field].enum_type
    return enum_text(descriptor, getattr(message, field))


def price_text(micro_usd: int) -> str:
    """Exact price in US dollars, at least two digits after the point."""
    text = usd_text(micro_usd).rstrip("0")
    whole, _, part = text.partition(".")
    return f"{whole}.{part:0<2}"


def money_text(micro_usd: int) -> str:
    """Amount in US dollars for people: cents, with separators."""
    whole, _, cents = usd_text(abs(micro_usd), places=2).partition(".")
    return f"{'-' if micro_usd < 0 else ''}${int(whole):,}.{cents}"


def interval_text(start: Timestamp, end: Timestamp) -> str:
    """Half-open period."""
    return f"{stamp_text(start)}..{stamp_text(end)}"


def _plain_value(field: FieldDescriptor, value: Any) -> Any:  # noqa: ANN401 - JSON
    if field.enum_type is not None:
        return enum_text(field.enum_type, value)
    if isinstance(value, Timestamp):
        return stamp_text(value)
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE_INTEGER:
        return str(value)
    return value


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").lstrip("$-").isdigit() or not text
