"""A book as flat tables and back (docs/reference/book-file.md).

Curves are one row per step, conditions are written once however many bids state them. Rows are
turned into values by columns, so that a million steps take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from enum import Enum
from itertools import chain, islice
from operator import attrgetter
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clearing.book import check_types
from clearing.bookfile.errors import BookFileError
from clearing.bookfile.lines import RECORDS
from clearing.types import (
    AuctionSpec,
    Book,
    Commitment,
    Conversion,
    Eligibility,
    Link,
    Segment,
    Step,
)
from iso_exchange.bookfile.columns import (
    NAMED,
    TEXT,
    TEXTS,
    TRUTH,
    WHOLE,
    WHOLES,
    Column,
    arrow_integers,
    read_columns,
    texts_of,
    write_table,
)

Tables = dict[str, pa.Table]

CURVED: Final = {
    "offers": "offer_steps",
    "step_bids": "step_bid_steps",
    "nominations": "nomination_steps",
}
"""Table of the steps of each kind of order that has a curve."""

BIDS: Final = ("step_bids", "block_bids", "work_bids")

_SHARED: Final = frozenset({"participant_id", "pool_id", "site_id", "chip_class"})
_SPECIAL: Final = frozenset({"segments", "where", "conversions", "capacities", "commitment"})
"""Fields that have tables or columns of their own."""


def _column(field: Any, annotation: Any, *, optional: bool = False) -> Column:  # noqa: ANN401 - a field and its type
    missing = () if field.default is MISSING else (field.default,)
    if NoneType in get_args(annotation):
        (annotation,) = (part for part in get_args(annotation) if part is not NoneType)
        optional = True
    while hasattr(annotation, "__supertype__"):
        annotation = annotation.__supertype__
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return Column(field.name, NAMED, enum=annotation, missing=missing)
    kinds = {int: WHOLE, str: TEXT, bool: TRUTH, tuple[str, ...]: TEXTS}
    kind = kinds.get(annotation, WHOLES)
    if field.name in _SHARED:
        kind = NAMED
    return Column(field.name, kind, optional=optional, missing=missing)


def _columns(kind: type[Any]) -> tuple[Column, ...]:
    hints = get_type_hints(kind)
    return tuple(
        _column(field, hints[field.name]) for field in fields(kind) if field.name not in _SPECIAL
    )


_CONDITION: Final = Column("condition", WHOLE)
_CONDITIONS: Final = (_CONDITION, *_columns(Eligibility))
_CONVERSIONS: Final = (Column("order_id", TEXT), *_columns(Conversion))
_COMMITMENT: Final = tuple(
    Column(column.name, column.kind, optional=True, missing=(None,))
    for column in _columns(Commitment)
)
_CAPACITIES: Final = tuple(Column(name, WHOLE) for name in ("interval", "least", "most"))
_STEPS: Final = tuple(Column(name, WHOLE) for name in ("first", "stop", "price", "chips"))


_KINDS: Final = dict(RECORDS.values())


def _row_columns(field: str) -> tuple[Column, ...]:
    """Columns of the table of one kind of item."""
    extra = (_CONDITION,) if field in BIDS else ()
    return (*_columns(_KINDS[field]), *extra, *(_COMMITMENT if field == "offers" else ()))


ROWS: Final = {field: _row_columns(field) for field in _KINDS}


def write_tables(book: Book) -> Tables:
    """Tables of a book.

    Raises:
        BookError: ``BAD_TYPE``: a value is not of its declared type.
        BookFileError: ``NOT_SAYABLE``: an integer beyond 64 bits, an identifier that stands twice,
            a segment without steps, or two segments of one order over the same intervals.
    """
    check_types(book)
    for named in (("links",), ("offers",), ("nominations",), BIDS):
        key = "link_id" if named == ("links",) else "order_id"
        names = [getattr(item, key) for field in named for item in getattr(book, field)]
        if len(set(names)) != len(names):
            raise BookFileError("NOT_SAYABLE", named[0], "Each identifier stands once.")
    numbers, wheres = _numbered([bid.where for name in BIDS for bid in getattr(book, name)])
    tables: Tables = {}
    begin = 0
    for field, columns in ROWS.items():
        items = getattr(book, field)
        values: list[Sequence[Any]] = [
            list(map(attrgetter(column.name), items))
            for column in columns
            if column is not _CONDITION and column not in _COMMITMENT
        ]
        if field in BIDS:
            values.append(numbers[begin : begin + len(items)])
            begin += len(items)
        if field == "offers":
            given = [offer.commitment for offer in items]
            values += [
                [None if terms is None else getattr(terms, column.name) for terms in given]
                for column in _COMMITMENT
            ]
        tables[field] = write_table(columns, values)
        if field in CURVED:
            tables[CURVED[field]] = _write_steps(items)
    tables["conditions"] = write_table(
        _CONDITIONS,
        [
            range(len(wheres)),
            *([getattr(where, column.name) for where in wheres] for column in _CONDITIONS[1:]),
        ],
    )
    tables["conversions"] = _write_conversions(book)
    tables["link_capacities"] = _write_capacities(book.links)
    return tables


def _numbered(wheres: list[Eligibility]) -> tuple[list[int], list[Eligibility]]:
    known: dict[Any, int] = {}
    key = attrgetter(*(column.name for column in _CONDITIONS[1:]))
    numbers = [known.setdefault(value, len(known)) for value in map(key, wheres)]
    names = [column.name for column in _CONDITIONS[1:]]
    return numbers, [Eligibility(**dict(zip(names, value, strict=True))) for value in known]


def _write_steps(orders: Sequence[Any]) -> pa.Table:
    owners: list[str] = []
    segments: list[Segment] = []
    for order in orders:
        taken = {(segment.first, segment.stop) for segment in order.segments}
        if len(taken) != len(order.segments) or not all(
            segment.steps for segment in order.segments
        ):
            advice = "Each segment has its own intervals and at least one step."
            raise BookFileError("NOT_SAYABLE", order.order_id, advice)
        owners.extend(order.order_id for _ in order.segments)
        segments.extend(order.segments)
    counts = [len(segment.steps) for segment in segments]
    steps = list(chain.from_iterable(segment.steps for segment in segments))
    names = pa.array(owners, TEXT).dictionary_encode().cast(NAMED)
    spans = [
        np.repeat(_int64([getattr(segment, name) for segment in segments]), counts).tolist()
        for name in ("first", "stop")
    ]
    table = write_table(
        _STEPS, [*spans, [step.price for step in steps], [step.chips for step in steps]]
    )
    owner = names.take(pa.array(np.repeat(np.arange(len(counts)), counts)))
    return table.add_column(0, pa.field("order_id", NAMED, nullable=False), owner)


def _int64(values: list[int]) -> Any:  # noqa: ANN401 - a NumPy array
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        raise BookFileError("NOT_SAYABLE", "segments", f"{error}.") from error


def _write_conversions(book: Book) -> pa.Table:
    rows = [
        (bid.order_id, conversion.chip_class, conversion.factor_ppm)
        for name in BIDS
        for bid in getattr(book, name)
        for conversion in bid.conversions
    ]
    return write_table(_CONVERSIONS, list(zip(*rows, strict=True)) or [(), (), ()])


def _write_capacities(links: Sequence[Link]) -> pa.Table:
    rows = [
        (interval, least, most)
        for link in links
        for interval, (least, most) in enumerate(link.capacities)
    ]
    names = [link.link_id for link in links for _ in link.capacities]
    table = write_table(_CAPACITIES, list(zip(*rows, strict=True)) or [(), (), ()])
    return table.add_column(0, pa.field("link_id", TEXT, nullable=False), pa.array(names, TEXT))


def read_tables(spec: AuctionSpec, tables: Tables) -> Book:
    """Book of tables; those that are not there are empty.

    Raises:
        BookFileError: naming the table.
    """
    unknown = sorted(set(tables) - TABLES)
    if unknown:
        raise BookFileError("BAD_TABLE", unknown[0], "There is no such table.")
    wheres = _read_conditions(tables.get("conditions"))
    conversions = _read_conversions(tables.get("conversions"))
    book = Book(
        spec=spec,
        **{field: _read_rows(field, tables, wheres, conversions) for field in ROWS},
    )
    if conversions:
        raise _unknown_order("conversions", next(iter(conversions)))
    return book


def _read_rows(
    field: str,
    tables: Tables,
    wheres: dict[int, Eligibility],
    conversions: dict[str, tuple[Conversion, ...]],
) -> tuple[Any, ...]:
    columns = ROWS[field]
    table = tables.get(field)
    if table is None:
        table = write_table(columns, [()] * len(columns))
    values = _by_name(field, columns, table)
    names = values.get("order_id", [])
    if field in BIDS:
        values["where"] = _looked_up(field, values.pop("condition"), wheres)
        if not conversions.keys().isdisjoint(names):
            values["conversions"] = [conversions.pop(name, ()) for name in names]
    if field == "offers":
        values["commitment"] = _commitments(values)
    if field in CURVED:
        values["segments"] = _read_steps(CURVED[field], names, tables.get(CURVED[field]))
    if field == "links":
        capacities = tables.get("link_capacities")
        values["capacities"] = _read_capacities(values["link_id"], capacities)
    return _items(_KINDS[field], values)


TABLES: Final = frozenset({*ROWS, *CURVED.values(), "conditions", "conversions", "link_capacities"})


def _by_name(field: str, columns: Sequence[Column], table: pa.Table) -> dict[str, list[Any]]:
    found = read_columns(field, columns, table)
    return dict(zip((column.name for column in columns), found, strict=True))


def _items(kind: type[Any], values: dict[str, list[Any]]) -> tuple[Any, ...]:
    names = tuple(values)
    rows = zip(*values.values(), strict=True)
    return tuple(kind(**dict(zip(names, row, strict=True))) for row in rows)


def _read_conditions(table: pa.Table | None) -> dict[int, Eligibility]:
    if table is None:
        return {}
    values = _by_name("conditions", _CONDITIONS, table)
    numbers = values.pop("condition")
    if len(set(numbers)) != len(numbers):
        raise BookFileError("BAD_TABLE", "conditions", "Each condition has its own number.")
    return dict(zip(numbers, _items(Eligibility, values), strict=True))


def _looked_up(place: str, numbers: list[int], wheres: dict[int, Eligibility]) -> list[Any]:
    try:
        return list(map(wheres.__getitem__, numbers))
    except KeyError as error:
        advice = f"conditions has no number {error}."
        raise BookFileError("UNKNOWN_ORDER", place, advice) from error


def _read_conversions(table: pa.Table | None) -> dict[str, tuple[Conversion, ...]]:
    if table is None:
        return {}
    values = _by_name("conversions", _CONVERSIONS, table)
    found: dict[str, tuple[Conversion, ...]] = {}
    names = values.pop("order_id")
    for name, conversion in zip(names, _items(Conversion, values), strict=True):
        found[name] = (*found.get(name, ()), conversion)
    return found


def _commitments(values: dict[str, list[Any]]) -> list[Commitment | None]:
    names = [column.name for column in _COMMITMENT]
    columns = [values.pop(name) for name in names]
    found: list[Commitment | None] = []
    for row in zip(*columns, strict=True):
        given = {name: value for name, value in zip(names, row, strict=True) if value is not None}
        found.append(Commitment(**given) if given else None)
    return found


def _read_steps(place: str, names: list[str], table: pa.Table | None) -> list[tuple[Segment, ...]]:
    """Curves of orders: rows of one order in their order, whatever stands between them."""
    if table is None or table.num_rows == 0:
        return [()] * len(names)
    if set(table.column_names) != {"order_id", *(column.name for column in _STEPS)}:
        advice = "Its columns are order_id, first, stop, price, chips."
        raise BookFileError("BAD_TABLE", place, advice)
    owner = _owners(place, "order_id", names, table)
    columns = [owner, *(arrow_integers(place, column.name, table) for column in _STEPS)]
    if (np.diff(owner) < 0).any():
        by_order = np.argsort(owner, kind="stable")
        columns = [values[by_order] for values in columns]
    owner, first, stop, price, chips = columns
    changes = (np.diff(owner) != 0) | (np.diff(first) != 0) | (np.diff(stop) != 0)
    begins = np.append(0, 1 + np.flatnonzero(changes))
    ends = np.append(begins[1:], owner.size)
    steps = [Step(price=p, chips=c) for p, c in zip(price.tolist(), chips.tolist(), strict=True)]
    spans = (values.tolist() for values in (first[begins], stop[begins], begins, ends))
    segments = iter(
        [
            Segment(first=since, stop=until, steps=tuple(steps[begin:end]))
            for since, until, begin, end in zip(*spans, strict=True)
        ]
    )
    counts = np.bincount(owner[begins], minlength=len(names)).tolist()
    return [tuple(islice(segments, count)) for count in counts]


def _read_capacities(names: list[str], table: pa.Table | None) -> list[Any]:
    found: list[list[tuple[int, int]]] = [[] for _ in names]
    place = "link_capacities"
    if table is None:
        return [()] * len(names)
    owner = _owners(place, "link_id", names, table)
    values = _by_name(place, _CAPACITIES, table.drop_columns(["link_id"]))
    rows = sorted(
        zip(owner.tolist(), values["interval"], values["least"], values["most"], strict=True)
    )
    for link, interval, least, most in rows:
        if interval != len(found[link]):
            raise BookFileError("BAD_TABLE", place, "Give each link one row per interval.")
        found[link].append((least, most))
    return [tuple(capacities) for capacities in found]


def _owners(place: str, key: str, names: list[str], table: pa.Table) -> Any:  # noqa: ANN401 - a NumPy array
    """Position of the owner of each row."""
    if key not in table.column_names:
        raise BookFileError("BAD_TABLE", place, f"The column {key} is missing.")
    try:
        found = texts_of(Column(key, TEXT), table.column(key))
        position = pc.index_in(found, value_set=pa.array(names, TEXT))
    except (pa.ArrowException, ValueError) as error:
        raise BookFileError("BAD_TABLE", place, f"{key}: {error}.") from error
    if position.null_count:
        lost = found.filter(pc.is_null(position))[0].as_py()
        raise _unknown_order(place, lost)
    return position.cast(pa.int64()).to_numpy()


def _unknown_order(place: str, name: str) -> BookFileError:
    return BookFileError("UNKNOWN_ORDER", place, f"There is no {name!r} that a row could be of.")
