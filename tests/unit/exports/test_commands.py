"""``iso ledger export`` and ``iso community report``, as they are typed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from iso_exchange.cli import bundles
from iso_exchange.cli.main import run
from tests.integration.bundles import Made, make_bundles

BANKS = """\
party_id,name,account_number,clearing_system,clearing_member
exchange,Compute Exchange,1000,USABA,021000021
sup-a,Supplier A,1001,USABA,021000021
sup-b,Supplier B,1002,USABA,021000021
town-a,Town A,1003,USABA,021000021
"""
PERIOD = ("--from", "2027-01-15", "--to", "2027-01-16")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundles(tmp_path_factory.mktemp("day"))


@pytest.fixture
def banks(tmp_path: Path) -> str:
    path = tmp_path / "banks.csv"
    path.write_text(BANKS)
    return str(path)


class Shell:
    """Types commands and reads their JSON."""

    def __init__(self, capsys: pytest.CaptureFixture[str], bundle: Path, key: str) -> None:
        self.capsys = capsys
        self.options = ("--bundle", str(bundle), "--key", key, "--json")

    def does(self, *arguments: str) -> dict[str, Any]:
        code, document = self._run(*arguments)
        assert code == 0, document
        return document

    def fails(self, code: int, *arguments: str) -> dict[str, Any]:
        found, document = self._run(*arguments)
        assert found == code, document
        error: dict[str, Any] = document["error"]
        assert error["exit_code"] == code
        return error

    def _run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        self.capsys.readouterr()
        code = run([*arguments, *self.options])
        printed = self.capsys.readouterr()
        assert printed.err == ""
        document: dict[str, Any] = json.loads(printed.out)
        return code, document


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], made: Made) -> Shell:
    return Shell(capsys, made.auditor, made.vkey)


def check_files(document: dict[str, Any]) -> list[Path]:
    paths = []
    for file in document["files"]:
        path = Path(file["path"])
        content = path.read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (
            file["bytes"],
            file["sha256"],
        )
        paths.append(path)
    return paths


@pytest.mark.parametrize("name", ["hledger", "beancount"])
def test_journals(shell: Shell, tmp_path: Path, name: str, made: Made) -> None:
    out = tmp_path / "ledger.txt"
    document = shell.does("ledger", "export", "--format", name, "--out", str(out))
    assert check_files(document) == [out]
    assert document["files"][0]["rows"] > 100
    assert document["log"]["log_vkey"] == made.vkey
    assert document["log"]["trusts_own_key"] is False


def test_a_bill(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "focus.csv"
    bill = ("ledger", "export", "--format", "focus", "--participant", "lab-1", "--out", str(out))
    document = shell.does(*bill)
    lines = out.read_text().splitlines()
    assert lines[0].startswith("BilledCost,BillingAccountId,")
    assert len(lines) == document["files"][0]["rows"] + 1 > 2
    assert document["billed_micro_usd"] > 0
    none = shell.does(*bill, "--from", "2027-02-01", "--to", "2027-03-01")
    assert (none["files"][0]["rows"], none["billed_micro_usd"]) == (0, 0)


def test_tables(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "tables"
    document = shell.does("ledger", "export", "--format", "csv", "--out", str(out))
    names = [path.name for path in check_files(document)]
    assert names == ["transfers.csv", "balances.csv", "statements.csv", "prices.csv"]
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    document = shell.does("ledger", "export", "--format", "parquet", "--out", str(out))
    assert all(path.read_bytes()[:4] == b"PAR1" for path in check_files(document))


def test_payments(shell: Shell, tmp_path: Path, banks: str) -> None:
    out = tmp_path / "payouts.xml"
    pay = ("ledger", "export", "--format", "pain001", "--out", str(out), "--bank", banks)
    # The log ends within the day: a file made later would pay the same payouts again.
    assert shell.fails(1, *pay, *PERIOD)["code"] == "PERIOD_OPEN"
    assert not out.exists()
    document = shell.does(*pay, *PERIOD, "--allow-open")
    assert check_files(document) == [out]
    assert document["files"][0]["rows"] == 3
    assert document["kept_micro_usd"] > 0
    assert document["paid_micro_usd"] % 10_000 == 0
    again = shell.does(*pay, *PERIOD, "--allow-open")
    assert again["files"] == document["files"]
    empty = ("--from", "2027-01-14", "--to", "2027-01-15")
    assert shell.fails(4, *pay, *empty)["code"] == "NOTHING_TO_PAY"
    Path(banks).write_text("\n".join(BANKS.splitlines()[:2]))
    error = shell.fails(1, *pay, *PERIOD, "--allow-open")
    assert (error["code"], error["got"]) == ("BANK_DETAILS_MISSING", "sup-a, sup-b, town-a")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--format", "focus"], "--participant"),
        (["--format", "csv", "--participant", "lab-1"], "--participant"),
        (["--format", "hledger", *PERIOD], "--from"),
        (["--format", "pain001"], "--from"),
        (["--format", "pain001", *PERIOD], "--bank"),
        (["--format", "pain001", *PERIOD, "--bank", "no-such-file.csv"], "--bank"),
        (["--format", "csv", "--bank", "x"], "--bank"),
        (["--format", "csv", "--allow-open"], "--allow-open"),
        (["--format", "focus", "--participant", "a", "--from", "2027-01-15"], "--to"),
        (["--format", "focus", "--participant", "a", "--to", "2027-01-15"], "--from"),
        (["--format", "pain001", "--from", "2027-01-16", "--to", "2027-01-15"], "--to"),
        (["--format", "pain001", "--from", "noon", "--to", "2027-01-15"], "--from"),
        (["--format", "xlsx"], ""),
    ],
)
def test_options_that_do_not_fit_are_refused(
    shell: Shell, tmp_path: Path, arguments: list[str], field: str
) -> None:
    error = shell.fails(2, "ledger", "export", "--out", str(tmp_path / "x"), *arguments)
    assert error["field"] == field


@pytest.mark.parametrize("suffix", [".html", ".pdf"])
def test_community_report(shell: Shell, tmp_path: Path, suffix: str) -> None:
    if suffix == ".pdf":
        pytest.importorskip("fpdf", reason="fpdf2 is not installed")
    out = tmp_path / f"report{suffix}"
    report = ("community", "report", "--out", str(out), *PERIOD)
    document = shell.does(*report, "--site", "site-a")
    assert check_files(document) == [out]
    assert document["earned_micro_usd"] == (
        document["paid_micro_usd"] + document["pending_micro_usd"]
    )
    assert document["recomputes"] is True
    assert len(document["entry_indexes"]) == 2
    assert (document["start_time"], document["end_time"]) == (
        "2027-01-15T00:00:00Z",
        "2027-01-16T00:00:00Z",
    )
    assert shell.fails(4, *report, "--site", "site-x")["code"] == "SITE_UNKNOWN"


def test_community_report_refuses_other_files(shell: Shell, tmp_path: Path) -> None:
    report = ("community", "report", "--site", "site-a", *PERIOD)
    assert shell.fails(2, *report, "--out", str(tmp_path / "r.docx"))["field"] == "--out"
    html = ("--out", str(tmp_path / "r.html"), "--font", str(tmp_path / "f.ttf"))
    assert shell.fails(2, *report, *html)["field"] == "--font"


def test_bundles_that_cannot_be_read_are_refused(
    capsys: pytest.CaptureFixture[str], made: Made, tmp_path: Path
) -> None:
    csv = ("ledger", "export", "--format", "csv", "--out", str(tmp_path / "x"))
    nowhere = Shell(capsys, tmp_path / "nowhere", made.vkey)
    assert nowhere.fails(2, *csv)["field"] == "--bundle"
    assert Shell(capsys, made.auditor, "no key").fails(2, *csv)["field"] == "--key"
    assert Shell(capsys, made.public, made.vkey).fails(1, *csv)["code"] == "OPENINGS_NEEDED"
    assert not (tmp_path / "x").exists()


def test_a_missing_library_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(Exception, match="1") as caught,
        bundles.refusals(as_json=True),
    ):
        raise ModuleNotFoundError(name="pyarrow")
    assert type(caught.value).__name__ == "Exit"
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "DEPENDENCY_MISSING"
    assert "iso-exchange[exports]" in error["advice"]
    with pytest.raises(ModuleNotFoundError), bundles.refusals(as_json=True):
        raise ModuleNotFoundError(name="settlement.misspelt")


def test_for_people_it_is_said_whose_key_was_trusted(
    capsys: pytest.CaptureFixture[str], made: Made, tmp_path: Path
) -> None:
    out = tmp_path / "x.journal"
    command = ["ledger", "export", "--format", "hledger", "--bundle", str(made.auditor)]
    assert run([*command, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert str(out) in printed
    assert "trusting the bundle's own key" in printed
