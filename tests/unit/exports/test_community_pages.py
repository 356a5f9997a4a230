from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from clearing.types import Interval
from clearing.units import MicroUsd, UnixSeconds
from iso_exchange.exports.community_page import community_page
from iso_exchange.exports.community_sheet import (
    Sheet,
    dollars,
    exact_dollars,
    hours_text,
    period_text,
    sheet,
)
from iso_exchange.exports.reading import ReadBundle, read_bundle
from settlement.exports.community import CommunityReport, community_report
from settlement.ledger.keys import parse_vkey
from settlement.ledger.proofs import verify_proof
from tests.integration.bundles import Made, make_bundles
from tests.integration.market_day import MORNING

DAY = Interval(
    start=UnixSeconds(MORNING // 86_400 * 86_400),
    end=UnixSeconds(MORNING // 86_400 * 86_400 + 86_400),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundles(tmp_path_factory.mktemp("day"))


@pytest.fixture(scope="module")
def read(made: Made) -> ReadBundle:
    return read_bundle(made.auditor, made.vkey)


@pytest.fixture(scope="module")
def report(read: ReadBundle) -> CommunityReport:
    return community_report(read.extract, "site-a", DAY)


@pytest.fixture(scope="module")
def page(report: CommunityReport, read: ReadBundle) -> Sheet:
    return sheet(report, read)


class Reader(HTMLParser):
    """Links with their files, text, and every address that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        address = values.get("href", "")
        if "download" in values:
            self.files[values["download"]] = base64.b64decode(address.partition(",")[2])
        elif address.startswith("#"):
            self.targets.append(address[1:])
        elif address:
            self.fetched.append(address)
        self.fetched.extend(values[name] for name in ("src", "action") if name in values)
        if "id" in values:
            self.anchors.add(values["id"])

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: Sheet) -> Reader:
    reader = Reader()
    reader.feed(community_page(page))
    return reader


def test_texts_for_people() -> None:
    assert dollars(1_234_567_890) == "$1,234.57"
    assert dollars(-5_000) == "$0.00"
    assert dollars(-15_000_000) == "-$15.00"
    assert exact_dollars(1_234_567_890) == "1,234.567890"
    assert exact_dollars(-1) == "-0.000001"
    month = Interval(start=UnixSeconds(1_790_812_800), end=UnixSeconds(1_793_491_200))
    assert period_text(month) == "1 October 2026 to 31 October 2026 (UTC)"
    odd = Interval(start=UnixSeconds(1_790_812_800), end=UnixSeconds(1_790_816_400))
    assert period_text(odd) == "1 October 2026, 00:00 UTC to 1 October 2026, 01:00 UTC"


def test_the_figures_are_those_of_the_report(page: Sheet, report: CommunityReport) -> None:
    assert report.earned > 0
    assert [figure.value for figure in page.figures] == [
        hours_text(report.delivered),
        dollars(report.earned),
        dollars(report.paid),
        dollars(report.pending),
    ]
    assert page.figures[1].exact == f"exactly {exact_dollars(report.earned)}"
    assert page.notices == ()
    assert any("the same as above" in line for line in page.summary)


def test_the_page_fetches_nothing_and_links_to_its_entries(page: Sheet) -> None:
    reader = parsed(page)
    assert reader.fetched == []
    assert reader.targets
    assert set(reader.targets) <= reader.anchors
    content = community_page(page)
    assert "default-src 'none'" in content
    assert re.search(r"(?:src|href)=\"https?:", content) is None


def test_the_page_holds_the_proofs_of_its_entries(page: Sheet, made: Made) -> None:
    files = parsed(page).files
    key = parse_vkey(made.vkey)
    assert len(page.evidence) >= 2
    for line in page.evidence:
        leaf, proof = files[f"entry-{line.index}.leaf"], files[f"entry-{line.index}.tlog-proof"]
        assert verify_proof(leaf, proof, key).checkpoint.size == page.size
    assert files["checkpoint"] == (made.auditor / "log" / "checkpoint").read_bytes()
    assert set(files) == {file.name for file in page.files}


def test_the_hours_file_adds_up(page: Sheet, report: CommunityReport) -> None:
    text = parsed(page).files["hours-site-a.csv"].decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert sum(int(row["chip_seconds"]) for row in rows) == report.delivered
    assert sum(int(row["earned_usd"].replace(".", "")) for row in rows) == report.earned
    assert [row["earned_usd"] for row in rows] == [row["recomputed_usd"] for row in rows]


def test_names_are_escaped(report: CommunityReport, read: ReadBundle) -> None:
    name = '<script>alert("x")</script> & Söhne'
    content = community_page(sheet(replace(report, community_name=name), read))
    assert name not in content
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; Söhne" in content


def test_what_a_reader_must_know_stands_first(
    report: CommunityReport, read: ReadBundle, made: Made
) -> None:
    own = read_bundle(made.auditor)
    day = report.days[0]
    wrong = replace(day, hours=(replace(day.hours[0], earned=MicroUsd(day.hours[0].earned + 1)),))
    made_sheet = sheet(replace(report, sealed_from=7, days=(wrong,)), own)
    assert len(made_sheet.notices) == 3
    text = " ".join(parsed(made_sheet).text)
    assert "sealed" in text
    assert "not the surcharge times the chip-hours" in text
    assert "not the same as above" in text


def test_a_period_without_deliveries(read: ReadBundle) -> None:
    later = Interval(start=DAY.end, end=UnixSeconds(DAY.end + 86_400))
    empty = sheet(community_report(read.extract, "site-a", later), read)
    text = " ".join(parsed(empty).text)
    assert "Nothing was delivered" in text
    assert "Nothing was paid out" in text
    assert empty.evidence == ()


def test_a_site_without_surcharge_reports_its_chip_hours(read: ReadBundle) -> None:
    report = community_report(read.extract, "site-b", DAY)
    assert report.delivered > 0
    assert (report.earned, report.recomputes) == (0, True)
    assert sheet(report, read).figures[1].value == "$0.00"


def test_the_pdf_has_every_file_attached(page: Sheet, report: CommunityReport) -> None:
    pytest.importorskip("fpdf", reason="fpdf2 is not installed")
    from iso_exchange.exports.community_pdf import community_pdf

    content = community_pdf(page, created=report.as_of)
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /EmbeddedFile") == len(page.files) > 4
    assert content == community_pdf(page, created=report.as_of)


def test_the_pdf_says_when_it_needs_a_font(
    report: CommunityReport, read: ReadBundle, tmp_path: Path
) -> None:
    pytest.importorskip("fpdf", reason="fpdf2 is not installed")
    from iso_exchange.exports.community_pdf import FontError, community_pdf

    latin = sheet(replace(report, community_name="Gemeinde Köln"), read)
    assert community_pdf(latin, created=report.as_of)
    other = sheet(replace(report, community_name="京都市"), read)
    with pytest.raises(FontError):
        community_pdf(other, created=report.as_of)
