"""Books as Parquet tables: every book both ways, and every fault by its table."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from clearing.book import canonical
from clearing.bookfile.errors import BookFileError
from clearing.bookfile.lines import RECORDS, read_lines
from clearing.errors import BookError
from clearing.types import AuctionSpec, Book, Commitment, Eligibility, Segment, Step
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour
from clearing.validate import validate
from iso_exchange.bookfile.files import (
    BOOK_JSON,
    Form,
    form_of,
    read_book,
    read_parquet,
    write_book,
    write_parquet,
)
from iso_exchange.bookfile.parquet import TABLES, Tables, read_tables, write_tables
from iso_exchange.bookfile.results import COLUMNS
from tests.unit.clearing import arbitrary
from tests.unit.clearing.full_book import BOOK, SPEC, segment, with_item


def tables() -> Tables:
    return write_tables(BOOK)


def refusal(given_tables: Tables) -> tuple[str, str]:
    with pytest.raises(BookFileError) as refused:
        read_tables(SPEC, given_tables)
    assert refused.value.advice
    return refused.value.code, refused.value.place


def test_a_book_of_every_kind_survives() -> None:
    found = tables()
    assert set(found) == TABLES
    assert read_tables(SPEC, found) == BOOK


def sayable(value: Any, number: int = 0) -> Any:
    """The nearest value that tables can say: 64 bits, names and spans once, a step each."""
    if type(value) is int:
        return max(-(2**63), min(2**63 - 1, value))
    if isinstance(value, tuple):
        return tuple(sayable(item, place) for place, item in enumerate(value))
    if not is_dataclass(value) or isinstance(value, AuctionSpec):
        return value
    made: dict[str, Any] = {
        field.name: sayable(getattr(value, field.name)) for field in fields(value)
    }
    for key in ("order_id", "link_id"):
        if key in made:
            made[key] = f"{made[key]} {type(value).__name__} {number}"
    if isinstance(value, Segment):
        made["first"] = number
        made["steps"] = made["steps"] or (Step(price=MicroUsdPerChipHour(1), chips=Chips(1)),)
    kind: Any = type(value)
    return kind(**made)


@settings(max_examples=60, deadline=None)
@given(arbitrary.values(Book).map(sayable))
def test_every_book_that_can_be_said_survives(book: Book) -> None:
    assert read_tables(book.spec, write_tables(book)) == book


@pytest.mark.parametrize(
    "book",
    [
        with_item("sites", power_limit=2**63),
        with_item("offers", segments=(segment(0, 2**63, (8, 1)),)),
        with_item("offers", segments=(segment(0, 1),)),
        with_item("offers", segments=(segment(0, 1, (8, 1)), segment(0, 1, (8, 2)))),
        with_item("offers", order_id="o2"),
        with_item("step_bids", order_id="g1"),
        with_item("links", capacities=((2**63, 0),)),
    ],
    ids=["wide", "wide-span", "no-steps", "same-span", "twice", "bids-twice", "wide-capacity"],
)
def test_what_tables_cannot_say_is_refused(book: Book) -> None:
    with pytest.raises(BookFileError) as refused:
        write_tables(book)
    assert refused.value.code == "NOT_SAYABLE"
    with pytest.raises(BookError):
        validate(book)


def test_floats_are_refused_before_arrow_rounds_them() -> None:
    with pytest.raises(BookError, match="BAD_TYPE"):
        write_tables(with_item("pools", capacity=960.0))


def test_rows_may_stand_in_any_order() -> None:
    found = tables()
    for name in found:
        rows = list(range(found[name].num_rows))
        random.Random(7).shuffle(rows)
        if name.endswith("_steps"):  # steps of one order keep their order
            rows.sort(key=lambda row: -row if row == 0 else row)
            owners = found[name].column("order_id").to_pylist()
            rows = sorted(range(len(owners)), key=lambda row: owners[row], reverse=True)
        if name != "conversions":
            found[name] = found[name].take(rows)
    assert canonical(read_tables(SPEC, found)) == BOOK


def test_what_is_left_out_has_its_default() -> None:
    plain = Book(
        spec=SPEC,
        sites=tuple(replace(site, data_residency=(), region="") for site in BOOK.sites),
        pools=BOOK.pools,
        offers=BOOK.offers[:1],
        block_bids=(replace(BOOK.block_bids[0], restart_cost=MicroUsd(0), initial_pool_id=""),),
    )
    found = {name: table for name, table in write_tables(plain).items() if table.num_rows}
    for name, columns in {
        "sites": ["region", "data_residency"],
        "offers": ["recallable", "start_up", "no_load", "min_run_intervals", "min_chips", "whole"],
        "block_bids": ["restart_cost", "initial_pool_id", "profile", "exclusive_group"],
        "conditions": ["fabrics", "regions"],
    }.items():
        found[name] = found[name].drop_columns(columns)
    assert read_tables(SPEC, found) == plain


def test_other_writers_choose_other_types() -> None:
    """Small integers, large text, dictionaries or none: what other libraries write."""
    found = tables()
    names = found["pools"].column("pool_id").cast(pa.large_string()).dictionary_encode()
    pools = found["pools"].set_column(0, "pool_id", names)
    at = pools.column_names.index("capacity")
    found["pools"] = pools.set_column(at, "capacity", pools.column(at).cast(pa.uint16()))
    found["offers"] = pa.concat_tables([found["offers"].slice(0, 2), found["offers"].slice(2)])
    backups = pa.array([["b"]], pa.large_list(pa.large_string()))
    at = found["nominations"].column_names.index("backup_pool_ids")
    found["nominations"] = found["nominations"].set_column(at, "backup_pool_ids", backups)
    assert read_tables(SPEC, found) == BOOK


def test_equal_conditions_are_written_once() -> None:
    assert tables()["conditions"].num_rows == 3
    bids = tuple(replace(BOOK.step_bids[0], order_id=f"b{n}") for n in range(9))
    book = replace(BOOK, step_bids=bids)
    assert write_tables(book)["conditions"].num_rows == 2
    assert len({id(bid.where) for bid in read_tables(SPEC, write_tables(book)).step_bids}) == 1


def column(name: str, title: str, values: Any) -> Callable[[Tables], None]:
    def change(found: Tables) -> None:
        at = found[name].column_names.index(title)
        found[name] = found[name].set_column(at, title, values)

    return change


def without(name: str, *titles: str) -> Callable[[Tables], None]:
    def change(found: Tables) -> None:
        found[name] = found[name].drop_columns(list(titles))

    return change


def twice(name: str) -> Callable[[Tables], None]:
    def change(found: Tables) -> None:
        found[name] = pa.concat_tables([found[name], found[name]])

    return change


def extra(name: str) -> Callable[[Tables], None]:
    def change(found: Tables) -> None:
        found[name] = found[name].append_column("colour", pa.array([1] * found[name].num_rows))

    return change


def gone(name: str) -> Callable[[Tables], None]:
    def change(found: Tables) -> None:
        del found[name]

    return change


FAULTS: tuple[tuple[Callable[[Tables], None], str, str], ...] = (
    (without("pools", "capacity"), "BAD_TABLE", "pools"),
    (without("offer_steps", "price"), "BAD_TABLE", "offer_steps"),
    (without("link_capacities", "link_id"), "BAD_TABLE", "link_capacities"),
    (extra("pools"), "BAD_TABLE", "pools"),
    (extra("offer_steps"), "BAD_TABLE", "offer_steps"),
    (lambda found: found.update(pond=found["pools"]), "BAD_TABLE", "pond"),
    (column("pools", "capacity", pa.array([1.0] * 4)), "BAD_TABLE", "pools"),
    (column("pools", "capacity", pa.array([1, None, 3, 4])), "BAD_TABLE", "pools"),
    (column("pools", "capacity", pa.array([2**63] * 4, pa.uint64())), "BAD_TABLE", "pools"),
    (column("pools", "pool_id", pa.array([1, 2, 3, 4])), "BAD_TABLE", "pools"),
    (column("offers", "recallable", pa.array([0, 1, 0, 1])), "BAD_TABLE", "offers"),
    (column("step_bids", "cover", pa.array(["NODE", "node"])), "BAD_TABLE", "step_bids"),
    (column("block_bids", "profile", pa.array([[1], [None], []])), "BAD_TABLE", "block_bids"),
    (column("block_bids", "profile", pa.array([[1.5], [], []])), "BAD_TABLE", "block_bids"),
    (column("step_bids", "condition", pa.array([0, 99])), "UNKNOWN_ORDER", "step_bids"),
    (column("offer_steps", "order_id", pa.array(["x"] * 7)), "UNKNOWN_ORDER", "offer_steps"),
    (column("offer_steps", "order_id", pa.array([None] * 7, pa.string())), "BAD_TABLE",
     "offer_steps"),
    (column("conversions", "order_id", pa.array(["b2", "x"])), "UNKNOWN_ORDER", "conversions"),
    (column("link_capacities", "interval", pa.array([0, 1, 2, 2])), "BAD_TABLE",
     "link_capacities"),
    (twice("conditions"), "BAD_TABLE", "conditions"),
    (gone("conditions"), "UNKNOWN_ORDER", "step_bids"),
    (gone("offers"), "UNKNOWN_ORDER", "offer_steps"),
    (gone("links"), "UNKNOWN_ORDER", "link_capacities"),
)  # fmt: skip


@pytest.mark.parametrize(("change", "code", "place"), FAULTS)
def test_faults_are_named_by_their_table(
    change: Callable[[Tables], None], code: str, place: str
) -> None:
    found = tables()
    change(found)
    assert refusal(found) == (code, place)


def test_half_a_commitment_has_defaults() -> None:
    offers = tables()["offers"]
    for title in ("min_run_intervals", "whole", "start_up"):
        at = offers.column_names.index(title)
        offers = offers.set_column(at, title, pa.nulls(4))
    book = read_tables(SPEC, {**tables(), "offers": offers})
    expected = Commitment(no_load=MicroUsd(1_000_000), min_chips=Chips(16))
    assert book.offers[1].commitment == expected
    assert book.offers[0].commitment is None


# Files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", Form)
def test_files_survive(form: Form, tmp_path: Path) -> None:
    path = tmp_path / "book"
    write_book(path, BOOK, form)
    assert form_of(path) is form
    assert read_book(path) == BOOK
    with pytest.raises(BookFileError, match="NOT_EMPTY"):
        write_book(path, BOOK, form)


@pytest.mark.parametrize("form", Form)
def test_empty_books_survive(form: Form, tmp_path: Path) -> None:
    empty = Book(spec=SPEC, sites=(), pools=())
    write_book(tmp_path / "book", empty, form)
    assert read_book(tmp_path / "book") == empty


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BookFileError, match="NOT_FOUND"):
        read_book(tmp_path / "book")
    with pytest.raises(BookFileError, match="NOT_A_BOOK"):
        read_book(tmp_path)


def written(tmp_path: Path) -> Path:
    path = tmp_path / "book"
    write_book(path, BOOK, Form.PARQUET)
    return path


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": 2}, "BAD_VERSION"),
        ({"version": True}, "BAD_VERSION"),
        ({"record": "boot"}, "NOT_A_BOOK"),
        ({"more": 1}, "NOT_A_BOOK"),
        ({"auction": []}, "BAD_VALUE"),
        ({"auction": {"auction_id": "x"}}, "BAD_VALUE"),
        ({"rows": {"offers": 5}}, "BAD_TABLE"),
        ({"rows": []}, "BAD_TABLE"),
        ({"auction": 1.5}, "NOT_JSON"),
    ],
)
def test_a_bad_header_is_named(change: dict[str, object], code: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    header = json.loads((path / BOOK_JSON).read_text())
    (path / BOOK_JSON).write_text(json.dumps({**header, **change}))
    with pytest.raises(BookFileError) as refused:
        read_book(path)
    assert (refused.value.code, refused.value.place) == (code, BOOK_JSON)


def test_a_lost_table_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path)
    (path / "work_bids.parquet").unlink()
    with pytest.raises(BookFileError, match=r"BAD_TABLE: book\.json"):
        read_book(path)
    header = json.loads((path / BOOK_JSON).read_text())
    del header["rows"]
    (path / BOOK_JSON).write_text(json.dumps(header))
    assert read_book(path) == replace(BOOK, work_bids=())


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path)
    (path / "notes.parquet").write_text("not ours")
    (path / "year=2026").mkdir()
    assert read_book(path) == BOOK


@settings(max_examples=120, deadline=None)
@example("offer_steps", 0.0, b"", 4)
@given(
    st.sampled_from(["offer_steps", "block_bids", "conditions", "sites"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(max_size=4),
    st.integers(0, 64),
)
def test_damaged_tables_read_to_a_book_or_are_named(
    tmp_path_factory: pytest.TempPathFactory, name: str, at: float, put: bytes, taken: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "book"
    write_book(path, BOOK, Form.PARQUET)
    table = path / f"{name}.parquet"
    data = table.read_bytes()
    place = int(at * len(data))
    table.write_bytes(data[:place] + put + data[place + taken :])
    try:
        book = read_book(path)
    except BookFileError as error:
        event(error.code)
        return
    assert book.spec == SPEC


def test_a_flipped_bit_in_the_data_is_noticed(tmp_path: Path) -> None:
    """Page checksums: a changed price must not be read as another price."""
    big = pa.table({"price": pa.array(range(10_000))})
    path = tmp_path / "t.parquet"
    write_parquet(path, big)
    assert read_parquet(path).equals(big)
    data = bytearray(path.read_bytes())
    for place in range(100, len(data) - 1_000, 997):
        flipped = bytearray(data)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(BookFileError, match="NOT_PARQUET"):
            read_parquet(path)


def test_conditions_without_any_are_kept(tmp_path: Path) -> None:
    book = with_item("step_bids", where=Eligibility())
    write_book(tmp_path / "book", book, Form.PARQUET)
    assert read_book(tmp_path / "book") == book


# The reference page ----------------------------------------------------------------------


PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "book-file.md").read_text()


def test_the_example_of_the_page_is_a_book() -> None:
    block = PAGE.split("```json\n")[1].split("```")[0]
    book = read_lines(block.encode().splitlines())
    validate(replace(book, spec=replace(book.spec, seed_commitment="0" * 64)))
    assert [order.order_id for order in book.step_bids] == ["b-1"]
    assert [order.order_id for order in book.block_bids] == ["g-1"]


def rows_of_the_page() -> dict[str, set[str]]:
    """Names in code style by the name that a table row of the page begins with."""
    return {
        cells[1].strip().strip("`"): set(re.findall("`([a-z_]+)`", "|".join(cells[3:])))
        for cells in (line.split("|") for line in PAGE.splitlines())
        if len(cells) > 4
    }


def test_the_page_has_every_table_and_column() -> None:
    page = rows_of_the_page()
    for name, table in tables().items():
        named = page["offer_steps" if name.endswith("_steps") else name]
        assert named - {"offer_steps"} == set(table.column_names), name
    for name, columns in COLUMNS.items():
        assert page[name] == {column.name for column in columns}, name
    assert page.keys() >= RECORDS.keys()


def test_the_page_has_every_code() -> None:
    listed = re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE)
    documented = re.findall(r"^ +([A-Z_]{6,}) ", str(BookFileError.__doc__), re.MULTILINE)
    assert listed == documented
    assert len(listed) > 10
