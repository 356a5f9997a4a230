"""Programs that others wrote accept our exports, and find what was changed in them.

hledger (Debian package hledger), bean-check (PyPI beancount), the ISO 20022 schema of
pain.001.001.09 (shipped by PyPI sepaxml, read by PyPI xmlschema), pdfdetach (Debian package
poppler-utils) and chromium (Debian package chromium). Each is skipped where it is missing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clearing.types import Interval
from clearing.units import UnixSeconds
from iso_exchange.exports.community_page import community_page
from iso_exchange.exports.community_sheet import Sheet, sheet
from iso_exchange.exports.reading import ReadBundle, read_bundle
from settlement.exports.bank import bank_table
from settlement.exports.beancount import beancount_text
from settlement.exports.community import community_report
from settlement.exports.extract import Extract
from settlement.exports.hledger import hledger_text
from settlement.exports.journal import Journal, journal
from settlement.exports.pain001 import payment_file
from settlement.exports.payouts import posted_payouts
from settlement.exports.tables import balances_table
from settlement.exports.texts import micro_of
from settlement.ledger.books import Applied
from settlement.types import Phase
from tests.integration.bundles import Made, make_bundles
from tests.unit.exports.hand import extract_of, movements, transfer

SECONDS_MAX = 60
MILLIONTH = re.compile(r"(-?\d+\.\d{5})(\d)")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundles(tmp_path_factory.mktemp("day"))


@pytest.fixture(scope="module")
def read(made: Made) -> ReadBundle:
    return read_bundle(made.auditor, made.vkey)


def journal_of(extract: Extract) -> Journal:
    return journal(
        origin=extract.origin,
        size=extract.size,
        root=extract.root,
        movements=extract.movements,
    )


@pytest.fixture(scope="module")
def day(read: ReadBundle) -> Journal:
    return journal_of(read.extract)


@pytest.fixture(scope="module")
def odd() -> Journal:
    """Open holds, large amounts, several assets, identifiers and texts as odd as they come."""
    made = (
        transfer("deposit/a; b, c: d \\ \"e\" 'f' é", "bank", "p:Lab_1.x:collateral", 2**80),
        transfer("hold", "p:Lab_1.x:cash", "pot:x9:0", 7, phase=Phase.PENDING),
        transfer("credit", "treasury", "team:Team.A-", 30_000_000, asset="CREDIT:Acme_1"),
        transfer("compute", "p:xx:compute", "p:Lab_1.x:compute", 12, asset="TFLOP:BF16"),
        transfer("dispute", "p:xx:cash", "dispute:day/bid/pool/offer", 1),
    )
    applied = [Applied(item, item.amount) for item in made]
    return journal_of(extract_of(movements(applied)))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)


def change_one_side(text: str) -> str:
    """One posting is larger by a millionth."""
    places = [found for found in MILLIONTH.finditer(text) if found[2] != "9"]
    found = places[len(places) // 2]
    return text[: found.start(2)] + str(int(found[2]) + 1) + text[found.end(2) :]


def change_both_sides(text: str) -> str:
    """A whole transaction is larger: it balances, the balances at the end do not."""
    amount = re.search(r"  (100000\.000000) USD\n.*?  -(100000\.000000) USD", text)
    assert amount is not None
    changed = amount[0].replace("100000.000000", "100001.000000")
    return text[: amount.start()] + changed + text[amount.end() :]


def drop_a_transaction(text: str) -> str:
    """A payout is gone."""
    blocks = text.split("\n\n")
    gone = max(number for number, block in enumerate(blocks) if "PAYOUT" in block)
    return "\n\n".join(blocks[:gone] + blocks[gone + 1 :])


TAMPERINGS = [change_one_side, change_both_sides, drop_a_transaction]


# ----------------------------------------------------------------------------------- hledger


@pytest.fixture(scope="module")
def hledger() -> str:
    found = shutil.which("hledger")
    if found is None:
        pytest.skip("hledger is not installed")
    return found


def check_hledger(program: str, path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    return run(program, "-f", str(path), "check", "--strict")


@pytest.mark.parametrize("which", ["day", "odd"])
def test_hledger_accepts_the_journal(
    hledger: str, which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    text = hledger_text(request.getfixturevalue(which))
    checked = check_hledger(hledger, tmp_path / "a.journal", text)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("change", TAMPERINGS)
def test_hledger_rejects_a_changed_journal(
    hledger: str, day: Journal, change: Callable[[str], str], tmp_path: Path
) -> None:
    text = hledger_text(day)
    changed = change(text)
    assert changed != text
    checked = check_hledger(hledger, tmp_path / "a.journal", changed)
    assert checked.returncode != 0
    assert checked.stderr


def test_hledger_adds_up_to_the_ledgers_balances(
    hledger: str, day: Journal, read: ReadBundle, tmp_path: Path
) -> None:
    path = tmp_path / "a.journal"
    path.write_text(hledger_text(day))
    report = run(
        hledger, "-f", str(path), "balance", "--flat", "--layout=bare", "-O", "csv", "-N", "-E"
    )  # fmt: skip
    assert report.returncode == 0, report.stderr
    found = {}
    for line in report.stdout.splitlines()[1:]:
        name, commodity, number = (cell.strip('"') for cell in line.split('","'))
        found[name, commodity] = int(number.replace(".", "").replace(",", ""))
    for row in balances_table(read.extract).rows:
        account, asset = str(row[0]), str(row[1])
        posted, held, promised = (int(row[column] or 0) for column in (2, 4, 5))
        for name, due in (("", -posted), ("held:", held), ("promised:", -promised)):
            assert found.get((f"{name}{account}", asset), 0) == micro_of(asset, due)
    assert any(found.values())


# --------------------------------------------------------------------------------- beancount


@pytest.fixture(scope="module")
def bean_check() -> str:
    beside = Path(sys.executable).parent / "bean-check"
    found = str(beside) if beside.is_file() else shutil.which("bean-check")
    if found is None:
        pytest.skip("bean-check (PyPI beancount) is not installed")
    return found


def check_beancount(program: str, path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    return run(program, "--no-cache", str(path))


@pytest.mark.parametrize("which", ["day", "odd"])
def test_beancount_accepts_the_journal(
    bean_check: str, which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    text = beancount_text(request.getfixturevalue(which))
    checked = check_beancount(bean_check, tmp_path / "a.beancount", text)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("change", TAMPERINGS)
def test_beancount_rejects_a_changed_journal(
    bean_check: str, day: Journal, change: Callable[[str], str], tmp_path: Path
) -> None:
    text = beancount_text(day)
    changed = change(text)
    assert changed != text
    checked = check_beancount(bean_check, tmp_path / "a.beancount", changed)
    assert checked.returncode != 0
    assert "balance" in (checked.stdout + checked.stderr).lower()


# --------------------------------------------------------------------------------- ISO 20022


def test_the_payment_file_is_valid_against_the_schema(read: ReadBundle) -> None:
    xmlschema = pytest.importorskip("xmlschema", reason="xmlschema is not installed")
    sepaxml = pytest.importorskip("sepaxml", reason="sepaxml is not installed")
    folder = Path(sepaxml.__file__).parent / "schemas"
    schema = xmlschema.XMLSchema(folder / "pain.001.001.09.xsd")
    us = {"clearing_system": "USABA", "clearing_member": "021000021", "account_number": "1"}
    banks = bank_table(
        [
            us | {"party_id": "exchange", "name": "Exchange", "country": "US", "town": "Austin"},
            us | {"party_id": "sup-a", "name": "A & B <C> 'D' \"E\"", "street": "Main 1"},
            {"party_id": "sup-b", "name": "Köln", "iban": "DE89370400440532013000"},
            us | {"party_id": "town-a", "name": "x" * 140, "bic": "CHASUS33XXX"},
            us | {"party_id": "operator", "name": "Operator", "postcode": "1" * 16},
        ]
    )
    period = Interval(start=UnixSeconds(0), end=UnixSeconds(read.extract.end + 1))
    file = payment_file(
        origin=read.extract.origin,
        period=period,
        payouts=posted_payouts(read.extract.movements, read.extract.sites, period),
        debtor=banks["exchange"],
        banks=banks,
        created=read.extract.end,
        execution=read.extract.end,
        complete_until=period.end,
    )
    assert len(file.payments) >= 4
    text = file.content.decode()
    assert list(schema.iter_errors(text)) == []
    for tag, wrong in (("NbOfTxs", "four"), ("EndToEndId", "x" * 36), ("Dt", "tomorrow")):
        changed = re.sub(f"<{tag}>[^<]*</{tag}>", f"<{tag}>{wrong}</{tag}>", text, count=1)
        assert changed != text
        assert not schema.is_valid(changed)


# --------------------------------------------------------------------------- community report


@pytest.fixture(scope="module")
def page(read: ReadBundle) -> Sheet:
    period = Interval(start=UnixSeconds(0), end=read.extract.end)
    return sheet(community_report(read.extract, "site-a", period), read)


def test_another_program_takes_the_proofs_out_of_the_pdf(page: Sheet, tmp_path: Path) -> None:
    pytest.importorskip("fpdf", reason="fpdf2 is not installed")
    program = shutil.which("pdfdetach")
    if program is None:
        pytest.skip("pdfdetach is not installed")
    from iso_exchange.exports.community_pdf import community_pdf

    path = tmp_path / "report.pdf"
    path.write_bytes(community_pdf(page, created=UnixSeconds(0)))
    folder = tmp_path / "files"
    folder.mkdir()
    assert run(program, "-saveall", "-o", str(folder), str(path)).returncode == 0
    found = {item.name: item.read_bytes() for item in folder.iterdir()}
    assert found == {file.name: file.content for file in page.files}


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("chromium is not installed")
    return found


def verdicts(browser: str, path: Path, content: str) -> list[str]:
    """What the page says after its button was pressed."""
    press = "<script>document.getElementById('check').click()</script></body>"
    path.write_text(content.replace("</body>", press))
    shown = run(
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000",
        f"--user-data-dir={path.parent / 'profile'}", "--dump-dom", path.as_uri(),
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    found = re.findall(r'class="(?:result|verdict) (?:good|bad)"[^>]*>([^<]+)<', shown.stdout)
    return list(found)


def test_a_browser_checks_the_page(browser: str, page: Sheet, tmp_path: Path) -> None:
    total, *results = verdicts(browser, tmp_path / "report.html", community_page(page))
    count = len(page.evidence)
    assert count >= 2
    assert total.startswith(f"{count} of {count} entries are in the log")
    assert "signed the log." in total or "cannot check the signature" in total
    assert len(results) == count
    assert all(result.startswith("in the log: ") for result in results)
    assert any("4.766667 USD" in result for result in results)


def test_a_browser_finds_a_changed_file(browser: str, page: Sheet, tmp_path: Path) -> None:
    content = community_page(page)
    for name, number in (("leaf", 0), ("salt", 1), ("statement.json", 2)):
        pattern = rf'(download="entry-\d+\.{re.escape(name)}"[^>]*base64,)(.)'
        changed = re.sub(
            pattern, lambda at: at[1] + ("A" if at[2] != "A" else "B"), content, count=1
        )
        assert changed != content
        total, *_ = verdicts(browser, tmp_path / f"changed-{number}.html", changed)
        count = len(page.evidence)
        assert total.startswith(f"{count - 1} of {count} entries")
