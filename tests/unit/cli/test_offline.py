"""``iso auction clear`` and ``iso auction verify``: files in, files out, every fault named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clearing import codec
from clearing.auction import clear
from clearing.outcome import Outcome
from clearing.types import Book, Cover, Eligibility, Offer, StepBid
from clearing.units import Chips, MicroUsdPerChipHour
from iso_exchange.bookfile.directory import check_result, write_result
from iso_exchange.bookfile.files import Form, read_book, read_parquet, write_book, write_parquet
from iso_exchange.bookfile.results import COLUMNS, sheets
from iso_exchange.cli.main import run
from tests.unit.clearing.full_book import BOOK, OUTCOME, SEED, SPEC, segment

MARKET = Book(
    spec=SPEC,
    sites=BOOK.sites,
    pools=BOOK.pools,
    offers=(
        Offer(
            order_id="o",
            participant_id="supplier",
            pool_id="a",
            segments=(segment(0, 4, (64, 1), (64, 2)),),
        ),
    ),
    step_bids=tuple(
        StepBid(
            order_id=f"b{limit}",
            participant_id=f"buyer-{limit}",
            where=Eligibility(pool_ids=("a",)),
            segments=(segment(0, 4, (48, limit)),),
            cover=Cover.NONE,
        )
        for limit in (9, 6, 2)
    ),
)


def output_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    """Exit code and JSON document of a command."""
    capsys.readouterr()
    code = run(["auction", *arguments, "--json"])
    printed = capsys.readouterr()
    assert printed.err == ""
    return code, json.loads(printed.out)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return clear(MARKET, SEED)


@pytest.fixture(params=Form)
def result(request: pytest.FixtureRequest, tmp_path: Path, outcome: Outcome) -> Path:
    """A result's directory, in either form."""
    write_result(tmp_path / "result", MARKET, outcome, request.param)
    return tmp_path / "result"


@pytest.mark.parametrize("form", Form)
def test_a_book_is_cleared_and_checked_from_files(
    form: Form, tmp_path: Path, outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    write_book(tmp_path / "book", MARKET, form)
    out = tmp_path / "result"
    arguments = ["clear", "--book", str(tmp_path / "book"), "--out", str(out)]
    code, document = output_of([*arguments, "--seed", SEED.hex()], capsys)
    assert code == 0, document
    assert document["directory"] == str(out)
    assert document["form"] == form.value
    assert document["order_count"] == 4
    assert sum(document["reasons"].values()) == 4
    assert document["certified_gap_ppb"] == outcome.certificate.gap_ppb
    assert document["cash_micro_usd"]["buyers"] == outcome.cash.buyers
    found = codec.decode((out / "outcome.json").read_bytes(), Outcome)
    assert found == outcome
    code, document = output_of(["verify", str(out)], capsys)
    assert code == 0, document
    assert document["ok"]
    names = [check["name"] for check in document["checks"]]
    assert names[:4] == ["BOOK_FILE", "BOOK_VALID", "OUTCOME_FILE", "TABLES"]
    assert len(names) > 10
    assert [check["number"] for check in document["checks"]] == list(range(1, len(names) + 1))


def test_people_read_tables(
    tmp_path: Path, outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    write_book(tmp_path / "book.jsonl", MARKET, Form.JSONL)
    out = str(tmp_path / "result")
    book = str(tmp_path / "book.jsonl")
    assert run(["auction", "clear", "--book", book, "--out", out, "--seed", SEED.hex()]) == 0
    printed = capsys.readouterr().out
    assert "Certified gap" in printed
    assert "IN_THE_MONEY" in printed
    assert run(["auction", "verify", out]) == 0
    printed = capsys.readouterr().out
    assert "nothing was found" in printed
    lines = printed.splitlines()
    assert lines[1].split()[:3] == ["1", "BOOK_FILE", "ok"]


def test_a_book_without_commitment_gets_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = replace(MARKET, spec=replace(SPEC, seed_commitment=""))
    write_book(tmp_path / "book.jsonl", book, Form.JSONL)
    arguments = ["clear", "--book", str(tmp_path / "book.jsonl"), "--out"]
    for name, seed in (("zero", []), ("given", ["--seed", "c0ffee"])):
        code, document = output_of([*arguments, str(tmp_path / name), *seed], capsys)
        assert code == 0, document
        assert output_of(["verify", str(tmp_path / name)], capsys)[0] == 0
        found = codec.decode((tmp_path / name / "outcome.json").read_bytes(), Outcome)
        assert found.seed == ("c0ffee" if seed else "00" * 32)


def refused_book(tmp_path: Path) -> Path:
    path = tmp_path / "refused.jsonl"
    bid = replace(MARKET.step_bids[0], segments=(segment(0, 4, (12, 9)),))
    write_book(path, replace(MARKET, step_bids=(bid,)), Form.JSONL)
    return path


def test_refusals_have_codes_and_exit_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "good.jsonl"
    write_book(good, MARKET, Form.JSONL)
    (tmp_path / "text").write_text("hello")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    seed = ["--seed", SEED.hex()]
    cases: list[tuple[list[str], int, str, str]] = [
        (["--book", str(tmp_path / "none"), *seed], 4, "NOT_FOUND", str(tmp_path / "none")),
        (["--book", str(tmp_path / "text"), *seed], 1, "NOT_A_BOOK", "line 1"),
        (["--book", str(tmp_path / "used"), *seed], 1, "NOT_A_BOOK", str(tmp_path / "used")),
        (["--book", str(refused_book(tmp_path)), *seed], 1, "BAD_QUANTITY", "segments"),
        (["--book", str(good), "--seed", "ab"], 1, "SEED_MISMATCH", "seed_commitment"),
        (["--book", str(good)], 2, "USAGE", "--seed"),
        (["--book", str(good), "--seed", "xyz"], 2, "USAGE", "--seed"),
    ]
    for arguments, exit_code, code, field in cases:
        found, document = output_of(["clear", *arguments, "--out", str(tmp_path / "new")], capsys)
        assert (found, document["error"]["code"], document["error"]["field"]) == (
            exit_code,
            code,
            field,
        )
        assert document["error"]["advice"]
        assert not (tmp_path / "new").exists()
    arguments = ["clear", "--book", str(good), "--out", str(tmp_path / "used"), *seed]
    assert output_of(arguments, capsys)[1]["error"]["code"] == "NOT_EMPTY"


def test_what_is_no_directory_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = output_of(["verify", str(tmp_path / "none")], capsys)
    assert (code, document["error"]["field"]) == (2, "DIR")


def edit(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def drop_outcome(result: Path) -> None:
    (result / "outcome.json").unlink()


def drop_book(result: Path) -> None:
    for path in (result / "book.jsonl", result / "book"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()


def both_books(result: Path) -> None:
    (result / "book.jsonl").touch()
    (result / "book").mkdir(exist_ok=True)


def other_price(result: Path) -> None:
    found = codec.decode((result / "outcome.json").read_bytes(), Outcome)
    first = replace(found.prices[0], low=MicroUsdPerChipHour(1))
    changed = replace(found, prices=(first, *found.prices[1:]))
    (result / "outcome.json").write_bytes(codec.encode(changed))


def other_form(result: Path) -> None:
    edit(result / "outcome.json", b"{", b"{ ")


def other_book(result: Path) -> None:
    book = read_book(result / "book") if (result / "book").exists() else None
    if book is not None:
        shutil.rmtree(result / "book")
    else:
        book = read_book(result / "book.jsonl")
        (result / "book.jsonl").unlink()
    form = Form.JSONL
    write_book(result / "book.jsonl", replace(book, spec=replace(SPEC, node_limit=7)), form)


def invalid_book(result: Path) -> None:
    drop_book(result)
    book = replace(MARKET, spec=replace(SPEC, node_limit=0))
    write_book(result / "book", book, Form.PARQUET)


def other_table(result: Path) -> None:
    if (result / "prices.jsonl").exists():
        edit(result / "prices.jsonl", b'"fee":20000', b'"fee":20001')
        return
    table = read_parquet(result / "prices.parquet")
    fees = pa.array([20_001] * table.num_rows)
    place = table.column_names.index("fee")
    write_parquet(result / "prices.parquet", table.set_column(place, "fee", fees))


def longer_table(result: Path) -> None:
    if (result / "runs.jsonl").exists():
        (result / "runs.jsonl").write_text("{}\n")
    else:
        (result / "runs.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (drop_book, "BOOK_FILE"),
        (both_books, "BOOK_FILE"),
        (invalid_book, "BOOK_VALID"),
        (drop_outcome, "OUTCOME_FILE"),
        (other_form, "OUTCOME_FILE"),
        (other_table, "TABLES"),
        (longer_table, "TABLES"),
        (other_price, "TABLES"),
        (other_book, "BOOK_DIGEST"),
    ],
)
def test_every_change_fails_a_named_check(
    change: Callable[[Path], None], name: str, result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(result)
    code, document = output_of(["verify", str(result)], capsys)
    assert (code, document["ok"]) == (1, False)
    failed = [check for check in document["checks"] if not check["ok"]]
    assert failed[0]["name"] == name
    assert failed[0]["detail"]
    assert run(["auction", "verify", str(result)]) == 1
    assert f"FAILED: {failed[0]['number']} {name}" in capsys.readouterr().out


def test_a_changed_award_fails_the_verifier(
    result: Path, outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    first = outcome.awards[0]
    changed = replace(first, chips=(Chips(first.chips[0] + 8), *first.chips[1:]))
    other = replace(outcome, awards=(changed, *outcome.awards[1:]))
    (result / "outcome.json").write_bytes(codec.encode(other))
    code, document = output_of(["verify", str(result)], capsys)
    failed = {check["name"] for check in document["checks"] if not check["ok"]}
    assert code == 1
    assert failed > {"TABLES"}


def test_tables_of_a_result_may_be_missing(result: Path) -> None:
    for path in (*result.glob("*.parquet"), *(result.glob("prices.jsonl"))):
        path.unlink()
    assert all(check.ok for check in check_result(result))


def test_tables_say_all_that_awards_say(tmp_path: Path) -> None:
    found = sheets(OUTCOME)
    assert set(found) == set(COLUMNS)
    awards = [json.loads(line) for line in found["awards"].lines()]
    assert awards[1] == {
        "order_id": "b1",
        "participant_id": "lab",
        "side": "DEMAND",
        "pool_id": "a",
        "service_class": "FIRM",
        "cover": "SITE",
        "interval": 2,
        "chips": 16,
        "reserve": 0,
        "site_reserve": 0,
    }
    assert [row["site_reserve"] for row in awards] == [0, 0, 8, 0]
    backups = found["backups"].arrow().to_pylist()
    assert [(row["interval"], row["chips"]) for row in backups] == [(1, 8), (2, 16)]
    surplus = found["orders"].arrow().column("surplus").to_pylist()
    assert surplus == [-(2**60)]
    write_parquet(tmp_path / "orders.parquet", found["orders"].arrow())
    assert read_parquet(tmp_path / "orders.parquet").equals(found["orders"].arrow())
    empty = sheets(replace(OUTCOME, make_whole=()))
    assert empty["make_whole"].arrow().num_rows == 0
    assert list(empty["make_whole"].lines()) == []
