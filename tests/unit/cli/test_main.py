"""The command line itself: options of every command, usage errors, the reference page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iso_exchange.cli.catalogue import catalogue, page
from iso_exchange.cli.main import run

ROOT = Path(__file__).resolve().parents[3]
WITHOUT_JSON = {"iso serve", "iso witness serve"}


def test_every_command_has_json() -> None:
    without = {
        command["command"]
        for command in catalogue()
        if not any("--json" in option["names"] for option in command["options"])
    }
    assert without == WITHOUT_JSON


def test_every_command_and_option_says_what_it_is() -> None:
    for command in catalogue():
        assert command["summary"], command["command"]
        for item in (*command["arguments"], *command["options"]):
            assert item["names"], command["command"]


def test_the_catalogue_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["commands", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    names = [command["command"] for command in document["commands"]]
    assert names == sorted(names)
    assert {"iso bid gang", "iso order why", "iso auction create", "iso watch"} <= set(names)
    gang = next(item for item in document["commands"] if item["command"] == "iso bid gang")
    limit = next(item for item in gang["options"] if item["names"] == ["--limit"])
    assert limit["required"]


def test_the_reference_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference" / "cli.md").read_text()
    assert written == page(catalogue()), "run: iso commands --markdown > docs/reference/cli.md"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["balance", "--nonsense"],
        ["auction", "create", "--product", "nonsense"],
        ["bid", "gang"],
        ["offer", "step"],
        ["offer", "block", "--auction", "a", "--pool", "p", "--step", "8@1", "--window", "soon"],
        ["balance"],
        ["auction", "create"],
        ["auction", "create", "--day", "tomorrow"],
        ["auction", "create", "--start", "2026-10-06T09:00Z"],
        ["clock", "advance"],
        ["deposit", "lab-1", "12,50", "--reference", "r"],
        ["readings", "submit", "no-such-file.json"],
        ["participant", "register", "Lab 1", "--role", "buyer"],
        ["serve", "--listen", "nowhere"],
        ["serve", "--clock", "sundial"],
        ["serve", "--log-level", "loud"],
    ],
)
def test_usage_errors_end_with_2_and_say_why(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISO_IDENTITY", raising=False)
    monkeypatch.delenv("ISO_DATA", raising=False)
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err
    if "serve" not in arguments:
        assert run([*arguments, "--json"]) == 2
        printed = capsys.readouterr()
        assert json.loads(printed.out)["error"]["exit_code"] == 2
        assert printed.err == ""


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--firm"], "--class"),
        (["--class", "h100-sxm"], "--firm"),
        (["--class", "h100-sxm", "--firm", "--notice", "5m"], "--notice"),
        (["--class", "h100-sxm", "--interruptible", "--cover", "node"], "--cover"),
        (["--class", "h1000", "--firm"], "--class"),
        (["--fabric", "token-ring", "--firm"], "--fabric"),
    ],
)
def test_conditions_that_do_not_go_together_are_refused(
    options: list[str], field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bid = ["bid", "step", "--auction", "a", "--step", "8@1", "--json", *options]
    assert run(bid) == 2
    assert json.loads(capsys.readouterr().out)["error"]["field"] == field


WINDOW = "2026-10-06T00:00Z..2026-10-06T04:00Z"
GANG = ["bid", "gang", "--auction", "a", "--limit", "1", "--window", WINDOW, "--pool", "p"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ([*GANG, "--firm"], "--chips"),
        ([*GANG, "--firm", "--chips", "8", "--profile", "8,16"], "--chips"),
        ([*GANG, "--firm", "--profile", "8,,16"], "--profile"),
        ([*GANG, "--firm", "--profile", "0,0"], "--profile"),
        ([*GANG, "--firm", "--chips", "8", "--restart-cost", "3"], "--initial-pool"),
        ([*GANG, "--firm", "--chips", "8", "--factor", "h100-sxm"], "--factor"),
        ([*GANG, "--firm", "--chips", "8", "--factor", "h100-sxm|h200-sxm=2"], "--factor"),
        ([*GANG, "--firm", "--chips", "8", "--factor", "h100-sxm=0"], "--factor"),
        (["offer", "step", "--auction", "a", "--pool", "p", "--step", "8@1", "--min-run", "0"],
         "--min-run"),
        (["offer", "block", "--auction", "a", "--pool", "p", "--step", "8@1", "--window", WINDOW,
          "--window", WINDOW], "--window"),
    ],
)  # fmt: skip
def test_terms_that_do_not_go_together_are_refused(
    arguments: list[str], field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["field"] == field


def test_a_block_must_fit_its_window(capsys: pytest.CaptureFixture[str]) -> None:
    window = "2026-10-06T00:00Z..2026-10-06T04:00Z"
    bid = ["bid", "gang", "--auction", "a", "--chips", "8", "--limit", "1", "--window", window]
    assert run([*bid, "--for", "8h", "--pool", "p", "--firm", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["field"] == "--for"


def test_the_chip_table_names_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chips", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    labels = {source["label"] for source in document["sources"]}
    assert {figure["source"] for figure in document["figures"]} <= labels
    assert len(document["sha256"]) == 64
