"""``iso`` against a running exchange: from registration to statements, as its users type it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from iso_exchange.cli.main import run
from settlement.ledger.keys import parse_vkey
from settlement.ledger.proofs import verify_proof

AUCTION = "day-ahead-2026-10-06"
START_SECONDS_MAX = 90
NODES = 8


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Types commands at an exchange and reads their JSON."""

    data: Path
    capsys: pytest.CaptureFixture[str]

    def fails(self, *arguments: str, code: int) -> dict[str, Any]:
        printed, exit_code = self._run(*arguments)
        assert exit_code == code, printed
        error: dict[str, Any] = json.loads(printed)["error"]
        return error

    def doubts(self, *arguments: str, code: int) -> str:
        """First reason why a quoted order would be refused."""
        printed, exit_code = self._run(*arguments)
        assert exit_code == code, printed
        reason: str = json.loads(printed)["refusals"][0]["reason"]
        return reason

    def __call__(self, *arguments: str) -> dict[str, Any]:
        printed, exit_code = self._run(*arguments)
        assert exit_code == 0, printed
        document: dict[str, Any] = json.loads(printed)
        return document

    def text(self, *arguments: str) -> str:
        assert run(["--data", str(self.data), *arguments]) == 0
        return self.capsys.readouterr().out

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        printed, exit_code = self._run(*arguments)
        assert exit_code == 0, printed
        return [json.loads(text) for text in printed.splitlines()]

    def _run(self, *arguments: str) -> tuple[str, int]:
        self.capsys.readouterr()
        exit_code = run(["--data", str(self.data), *arguments, "--json"])
        captured = self.capsys.readouterr()
        assert captured.err == ""
        return captured.out, exit_code


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory that the account of the embedded database may pass; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="iso-cli-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def exchange(directory: Path) -> Iterator[Path]:
    """Data directory of an exchange started with ``iso serve``."""
    data = directory / "var"
    log = data.with_name("log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "iso_exchange.cli", "serve", "--data", str(data)),
                *("--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"),
                *("--clock", "simulated:2026-10-05T00:00:00Z"),
            ],
            stdout=output,
            stderr=output,
            env={**os.environ, "ISO_IDENTITY": ""},
        )
        try:
            _wait_until_started(process, data, log)
            yield data
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=60)
    assert status == 0, log.read_text()[-4_000:]


def _wait_until_started(process: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while not (data / "identities" / "operator" / "cert.pem").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the exchange did not start: {log.read_text()[-4_000:]}")
        time.sleep(0.1)


@pytest.fixture
def iso(
    exchange: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.delenv("ISO_IDENTITY", raising=False)
    return Shell(data=exchange, capsys=capsys)


def test_1_the_operator_sets_a_market_up(iso: Shell) -> None:
    assert iso("clock", "show")["simulated"]
    for name, role in (("north", "supplier"), ("lab-1", "buyer"), ("oslo", "community")):
        registered = iso("participant", "register", name, "--role", role)
        assert Path(registered["identity"]).name == name
        assert (Path(registered["identity"]) / "signing.pem").stat().st_mode & 0o077 == 0
    again = iso.fails("participant", "register", "north", "--role", "supplier", code=5)
    assert again["code"] == "ALREADY_EXISTS"
    site = ("site", "register", "no-1", "--community", "oslo", "--region", "eu-north")
    iso(*site, "--surcharge", "0.50", "--country", "NO", "--residency", "NO|EEA")
    pool = ("pool", "register", "no-1-h100", "--site", "no-1", "--class", "h100-sxm")
    iso(*pool, "--capacity", "1024", "--supplier", "north", "--fabric", "infiniband-ndr")
    iso("meter", "register", "meter-1", "--pool", "no-1-h100")
    for name in ("north", "lab-1"):
        iso("deposit", name, "500000.00", "--reference", f"WIRE-{name}")
    assert iso("--as", "lab-1", "balance")["available_micro_usd"] == 500_000_000_000
    iso("auction", "create", "--day", "2026-10-06", "--fee", "0.02")
    shown = iso("auction", "show", AUCTION)
    assert (shown["state"], shown["spec"]["interval_count"]) == ("OPEN", 24)
    assert [item["site_id"] for item in iso("site", "list")["sites"]] == ["no-1"]
    assert iso("pool", "list")["pools"][0]["capacity_chip_count"] == 1024
    assert "no-1-h100" in iso.text("pool", "list")
    assert iso("chips", "list", "--published")["sha256"] == iso("chips", "list")["sha256"]


def test_2_orders_are_quoted_submitted_amended_and_cancelled(iso: Shell) -> None:
    offer = ("--as", "north", "offer", "step", "--auction", AUCTION, "--pool", "no-1-h100")
    iso(*offer, "--step", "512@2.10", "--step", "512@1.90", "--id", "offer-1", "-y")
    gang: tuple[str, ...] = (
        "--as",
        "lab-1",
        "bid",
        "gang",
        "--auction",
        AUCTION,
        "--class",
        "h100-sxm",
    )
    gang = (*gang, "--firm", "--cover", "none", "--chips", "64", "--limit", "3.10/chip-h")
    gang = (*gang, "--window", "2026-10-06 00:00Z..2026-10-06 02:00Z", "--id", "gang-1")
    quote = iso(*gang, "--dry-run")
    assert quote["worst_case_micro_usd"] == 64 * 2 * 3_100_000
    assert quote["surcharge_micro_usd"] == 64 * 2 * 500_000
    assert [item["pool_id"] for item in quote["eligible_pools"]] == ["no-1-h100"]
    assert iso.fails(*gang, code=2)["field"] == "--yes"
    iso(*gang, "-y")
    assert iso("--as", "lab-1", "order", "show", "gang-1")["state"] == "OPEN"
    iso("--as", "lab-1", "order", "amend", "gang-1", "--limit", "3.20", "-y")
    amended = iso("--as", "lab-1", "order", "show", "gang-1")["order"]
    assert amended["revision"] == 2
    assert amended["block_bid"]["limit_price_micro_usd_per_chip_hour"] == 3_200_000
    step = ("--as", "lab-1", "bid", "step", "--auction", AUCTION, "--pool", "no-1-h100")
    iso(*step, "--interruptible", "--notice", "5m", "--step", "8@1.10", "--id", "cheap-1", "-y")
    iso(*step, "--firm", "--cover", "none", "--step", "8@3", "--id", "late-1", "-y")
    iso("--as", "lab-1", "order", "cancel", "late-1")
    listed = iso("--as", "lab-1", "order", "list", "--auction", AUCTION)["orders"]
    states = {view["order"]["order_id"]: view["state"] for view in listed}
    assert states == {"gang-1": "OPEN", "cheap-1": "OPEN", "late-1": "CANCELLED"}
    assert iso("--as", "north", "order", "list")["orders"][0]["order"]["order_id"] == "offer-1"


def test_2b_every_kind_of_order_can_be_quoted(iso: Shell) -> None:
    window = ("--window", "2026-10-06 00:00Z..2026-10-06 04:00Z")
    bid: tuple[str, ...] = ("--as", "lab-1", "bid")
    where: tuple[str, ...] = ("--auction", AUCTION, "--class", "h100-sxm", "--dry-run")
    firm = ("--firm", "--cover", "none", "--limit", "3")
    gang = (*bid, "gang", *where, *window, *firm)
    quote = iso(*gang, "--chips", "64", "--for", "1h")
    assert (quote["quantity_chip_seconds"], quote["refusals"]) == (64 * 3_600, [])
    shaped = iso(*gang, "--profile", "8,0,16,8", "--factor", "h100-sxm=1.1")
    assert shaped["quantity_chip_seconds"] == 32 * 3_600
    assert shaped["worst_case_micro_usd"] == 32 * 3_300_000
    work = (*bid, "work", *where, *window, "--interruptible", "--limit", "2")
    assert iso(*work, "--chip-hours", "64", "--max-chips", "32")["refusals"] == []
    assert iso(*gang, "--chips", "8", "--group", "either")["refusals"] == []
    assert iso(*gang, "--chips", "8", "--parent", "gang-1")["refusals"] == []
    stay = ("--initial-pool", "no-1-h100", "--restart-cost", "2.50")
    assert iso.doubts(*gang, "--chips", "8", *stay, code=1) == "NO_RUNNING_CONTRACT"
    alone = (*bid, "gang", *where, *window, "--firm", "--limit", "3", "--chips", "8")
    assert iso.doubts(*alone, "--cover", "site", code=4) == "NO_COVER_POSSIBLE"
    child = (*gang, "--chips", "8", "--parent", "nobody")
    assert iso.doubts(*child, code=4) == "UNKNOWN_PARENT"


def test_3_refusals_have_their_exit_codes(iso: Shell) -> None:
    step = ("--as", "lab-1", "bid", "step", "--auction", AUCTION, "--firm", "--step", "8@3", "-y")
    elsewhere = iso.fails(*step, "--country", "FR", "--class", "h100-sxm", code=4)
    assert elsewhere["code"] == "NO_ELIGIBLE_POOL"
    assert "COUNTRY" in elsewhere["advice"]
    assert iso.fails("--as", "lab-1", "order", "show", "nothing", code=4)["code"] == "NOT_FOUND"
    assert iso.fails("--as", "north", "order", "show", "gang-1", code=4)["code"] == "NOT_FOUND"
    halt = ("auction", "halt", AUCTION, "--reason", "no right")
    assert iso.fails("--as", "lab-1", *halt, code=3)["code"] == "WRONG_ROLE"
    dear = iso.fails(*step[:-2], "1000@90", "-y", "--pool", "no-1-h100", code=1)
    assert dear["code"] == "EXPOSURE_ABOVE_COLLATERAL"
    same = ("deposit", "lab-1", "1", "--reference", "WIRE-lab-1")
    assert iso.fails(*same, code=5)["field"] == "bank_reference"


def test_4_the_operator_can_step_in(iso: Shell) -> None:
    iso("auction", "halt", AUCTION, "--reason", "test")
    step: tuple[str, ...] = ("--as", "lab-1", "bid", "step", "--auction", AUCTION, "--firm")
    step = (*step, "--step", "8@3")
    step = (*step, "--cover", "none", "--pool", "no-1-h100", "-y")
    assert iso.fails(*step, code=1)["code"] == "AUCTION_HALTED"
    iso("auction", "resume", AUCTION, "--reason", "test")
    iso("participant", "suspend", "lab-1", "--reason", "late payment")
    assert iso.fails(*step, code=1)["code"] == "SUSPENDED"
    iso("participant", "reinstate", "lab-1", "--reason", "paid")
    iso(*step, "--id", "extra-1")
    iso("participant", "register", "lab-2", "--role", "buyer")
    cancelled = iso("participant", "cancel-orders", "lab-2", "--reason", "left")
    assert cancelled["cancelled_order_count"] == 0
    iso("participant", "revoke-key", "lab-2", "--reason", "lost")
    assert iso.fails("--as", "lab-2", "balance", code=3)["code"] == "KEY_REVOKED"


def test_5_the_auction_clears_and_says_why(iso: Shell) -> None:
    iso("clock", "advance", "--to", "2026-10-05T12:00:01Z")
    seen = iso.lines("auction", "watch", AUCTION, "--count", "6")
    assert [item["state"] for item in seen if item["state"] != "HALTED"][-1] in {
        "CLEARED",
        "PUBLISHED",
    }
    awards = iso.lines("--as", "lab-1", "watch", "--kind", "award", "--count", "1")
    assert awards[0]["auction_id"] == AUCTION
    assert awards[0]["cursor"] > awards[0]["entry_index"]
    prices = iso("auction", "prices", AUCTION, "--pool", "no-1-h100")["prices"]
    assert len(prices) == 24
    assert prices[0]["firm_chip_count"] == 72
    assert iso("auction", "curves", AUCTION)["curves"][0]["supply_steps"]
    assert iso("--as", "lab-1", "order", "show", "gang-1")["outcome"]["fill"] == "FULL"
    why = iso("--as", "lab-1", "order", "why", "cheap-1")
    assert why["order"]["outcome"]["reason"] == "OUT_OF_THE_MONEY"
    assert why["pools"][0]["shortfall_micro_usd_per_chip_hour"] > 0
    assert iso.text("--as", "lab-1", "order", "why", "cheap-1")


def test_6_delivery_is_metered_settled_and_stated(iso: Shell, tmp_path: Path) -> None:
    contracts = iso("--as", "lab-1", "contract", "list")["contracts"]
    gang = next(item for item in contracts if item["order_id"] == "gang-1")["contract_id"]
    batches = [
        {
            "meter_id": "meter-1",
            "pool_id": "no-1-h100",
            "start_time": f"2026-10-06T00:{minute:02}:00Z",
            "end_time": f"2026-10-06T{(minute + 5) // 60:02}:{(minute + 5) % 60:02}:00Z",
            "sequence_number": minute // 5 + 1,
            "readings": [
                {"contract_id": gang, "node_id": f"node-{node}", "healthy_chip_seconds": 2_400}
                for node in range(NODES)
            ],
        }
        for minute in range(0, 60, 5)
    ]
    file = tmp_path / "batches.json"
    file.write_text(json.dumps(batches))
    iso("clock", "advance", "--to", "2026-10-06T01:00:01Z")
    submitted = iso("--as", "meter-1", "readings", "submit", str(file))["batches"]
    assert [item["reading_count"] for item in submitted] == [NODES] * 12
    outage = ("outage", "report", "--pool", "no-1-h100", "--reason", "switch")
    iso("--as", "north", *outage, "--from", "2026-10-06T03:00Z", "--to", "2026-10-06T04:00Z")
    iso("clock", "advance", "--to", "2026-10-12T00:00:00Z")
    _wait_for_statements(iso)
    hours = iso("--as", "lab-1", "contract", "show", gang)["delivered_hours"]
    assert hours[0]["delivered_chip_seconds"] == 64 * 3_600
    totals = iso("community", "show", "--site", "no-1")
    assert totals["surcharge_sum_micro_usd"] == str(64 * 500_000)
    for statement in iso("--as", "lab-1", "statement", "list")["statements"]:
        whole = iso("--as", "lab-1", "statement", "show", statement["statement_id"])
        opening, closing = (int(statement[f"{end}_amount"]) for end in ("opening", "closing"))
        assert opening + sum(int(line["amount"]) for line in whole["lines"]) == closing


def _wait_for_statements(iso: Shell) -> None:
    deadline = time.monotonic() + 60
    while iso("auction", "show", AUCTION)["state"] != "SETTLED":
        assert time.monotonic() < deadline, "the auction was not settled"
        time.sleep(0.2)


def test_7_base_load_is_registered_and_nominated(iso: Shell) -> None:
    register: tuple[str, ...] = ("--as", "lab-1", "entitlement", "register", "base-1")
    register = (*register, "--pool", "no-1-h100")
    register = (*register, "--supplier-identity", "north", "--chips", "64", "--price", "1.50")
    iso(*register, "--from", "2026-10-13T00:00Z", "--to", "2026-10-20T00:00Z")
    listed = iso("--as", "north", "entitlement", "list")["entitlements"]
    assert [item["holder_id"] for item in listed] == ["lab-1"]
    iso("auction", "create", "--day", "2026-10-13", "--id", "next-day")
    nominated = iso("--as", "lab-1", "nominate", "base-1", "--auction", "next-day", "--chips", "32")
    assert nominated["nomination_id"].startswith("nom-")
    iso("spot", "open", "spot-1", "--start", "2026-10-13T00:00Z", "--runs", "100")
    hours: tuple[str, ...] = ("--from", "2026-10-13T04:00Z", "--to", "2026-10-13T08:00Z")
    release = ("--as", "lab-1", "release", "base-1", "--market", "spot-1")
    given = iso(*release, "--step", "8@1.20", "--step", "16@2", *hours, "--id", "rel-1")
    assert given["release_id"] == "rel-1"
    back = ("--as", "lab-1", "recall", "rel-1", *hours)
    assert iso(*back, "--chips", "16")["recall_id"].startswith("recall-")
    assert iso.fails(*back, "--chips", "16", code=1)["code"] == "QUANTITY_ABOVE_CAPACITY"
    assert iso.fails("--as", "north", *back[2:], "--chips", "8", code=3)["field"] != "chips"
    covered = (*register[:4], "base-2", *register[5:], "--cover", "site")
    period = ("--from", "2026-10-13T00:00Z", "--to", "2026-10-20T00:00Z")
    assert iso.fails(*covered, *period, code=4)["code"] == "NO_COVER_POSSIBLE"
    beside = iso.fails(*covered, *period, "--backup", "no-1-h100", code=1)
    assert (beside["code"], beside["field"]) == ("INVALID_VALUE", "backup_pool_ids")
    supply: tuple[str, ...] = ("--auction", "next-day", "--pool", "no-1-h100", "--step", "8@1")
    offer = ("--as", "north", "offer")
    terms = ("--start-up", "5", "--no-load", "0.50", "--min-run", "2", "--min-chips", "8")
    assert iso(*offer, "step", *supply, *terms, "--dry-run")["refusals"] == []
    windows: tuple[str, ...] = ("--window", "2026-10-13 00:00Z..2026-10-13 02:00Z")
    windows = (*windows, "--window", "2026-10-13 06:00Z..2026-10-13 08:00Z")
    block = iso(*offer, "block", *supply, *windows, "--id", "block-1", "-y")
    shown = iso("--as", "north", "order", "show", block["order_id"])["order"]["offer"]
    assert shown["commitment"]["whole"]
    assert len(shown["segments"]) == 2


def test_8_the_log_proves_what_was_accepted(iso: Shell, tmp_path: Path) -> None:
    receipt = iso("deposit", "north", "1.00", "--reference", "WIRE-LAST")["receipt"]
    index = str(receipt["entry_index"])
    entry = iso("--as", "north", "ledger", "entry", index)
    assert (entry["kind"], entry["leaf_hash"]) == ("DEPOSIT", receipt["leaf_hash"])
    assert entry["opening_envelope"]
    assert not iso("--as", "oslo", "ledger", "entry", index)["opening_envelope"]
    deadline = time.monotonic() + 30
    while iso("ledger", "checkpoint")["tree_size"] <= receipt["entry_index"]:
        assert time.monotonic() < deadline, "the entry was not published"
        time.sleep(0.2)
    file = tmp_path / "entry.tlog-proof"
    assert iso("ledger", "proof", index, "--output", str(file))["verified"]
    directory = iso.data / "identities" / "operator"
    vkey = json.loads((directory / "exchange.json").read_text())["log_vkey"]
    opened = verify_proof(entry["leaf"].encode(), file.read_bytes(), parse_vkey(vkey))
    assert opened.checkpoint.size > receipt["entry_index"]


def test_9_the_whole_exchange_is_audited_from_files(iso: Shell, directory: Path) -> None:
    bundle = str(directory / "bundle")
    exported = iso("audit", "export", "--out", bundle)
    report = iso("audit", "verify", bundle, "--key", exported["log_vkey"])
    assert report["ok"], report["summary"]
    # The day of the first auction is checked in full; the orders of the next are still sealed.
    details = {step["detail"] for step in report["steps"] if step["result"] != "OK"}
    assert len(details) == 1, report["steps"]
    assert details.pop().endswith("sealed until publication (next-day)")
    assert 0 < report["sealed_from"] < report["entries"]
