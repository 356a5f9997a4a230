"""Pages and operations files say what the code has.

Codes, numbers, metrics, options, variables, commands and links.
"""

from __future__ import annotations

import argparse
import configparser
import dataclasses
import json
import re
import shlex
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import prometheus_client
import pytest

from clearing import types
from clearing.types import AuctionSpec, Pool, Tariff
from clearing.units import MICRO_USD_PER_CENT
from iso_exchange import authority, config
from iso_exchange.auctioneer import auctioneer
from iso_exchange.cli.catalogue import catalogue
from iso_exchange.commands import RegisterPool
from iso_exchange.observability import metrics
from iso_exchange.publisher import publisher
from iso_exchange.sequencer import auctions, release, sequencer
from iso_exchange.sequencer.refusals import Code
from iso_exchange.services import mutations
from iso_exchange.services.errors import STATUS
from iso_exchange.settler import settler
from settlement.ledger import envelope
from settlement.metering import billable
from settlement.postings import correction, rebates

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
OPS = ROOT / "ops"
PAGES = sorted(
    path
    for pattern in ("README.md", "CHANGELOG.md", "docs/**/*.md", "ops/**/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^```.*?^```$|^ {4}[^\n]*$", re.MULTILINE | re.DOTALL)
RECORDS = sorted((ROOT / "docs" / "adr").glob("0*.md"))
STATUSES = {"assumption", "sourced", "rule"}


def table_rows(page: Path) -> list[tuple[str, ...]]:
    """Cells of every table row whose first cell is one piece of code, without the backticks."""
    rows = []
    for line in page.read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if line.startswith("| `") and len(cells) > 1:
            rows.append((cells[0].strip("`"), *cells[1:]))
    return rows


# Reference pages ----------------------------------------------------------------------------------


def test_errors_page_has_every_code_in_order_with_its_status() -> None:
    found = [(row[0], row[1].strip("`")) for row in table_rows(REFERENCE / "errors.md")]
    assert found == [(code.value, STATUS[code].name) for code in Code]


def test_errors_page_says_what_to_do() -> None:
    assert all(len(row) == 4 and row[2] and row[3] for row in table_rows(REFERENCE / "errors.md"))


def published_numbers() -> dict[str, object]:
    """What the tariff page must say, from the code."""
    spec = {
        field.name: field.default
        for field in dataclasses.fields(AuctionSpec)
        if field.name not in {"auction_id", "intervals", "seed_commitment", "tariff"}
    }
    tariff = {field.name: field.default for field in dataclasses.fields(Tariff)}
    pool = {field.name: field.default for field in dataclasses.fields(Pool)}
    record = {field.name: field.default for field in dataclasses.fields(RegisterPool)}
    return {
        **spec,
        **tariff,
        "node_spare_ppm": pool["node_spare_ppm"],
        "derate_ppm": record["derate_ppm"],
        "METERING_INTERVAL_S": billable.METERING_INTERVAL_S,
        "READINGS_CLOSE_SECONDS": settler.READINGS_CLOSE_SECONDS,
        "BOOK_LAG_SECONDS": release.BOOK_LAG_SECONDS,
        "CORRECTION_SECONDS_MAX": correction.CORRECTION_SECONDS_MAX,
        "POOL_CEILING_MICRO_USD": rebates.POOL_CEILING_MICRO_USD,
        "MICRO_USD_PER_CENT": MICRO_USD_PER_CENT,
        "INTERVAL_COUNT_MAX": auctions.INTERVAL_COUNT_MAX,
        "INTERVAL_SECONDS_MIN": auctions.INTERVAL_SECONDS_MIN,
        "TIE_CREDIT_MAX": auctions.TIE_CREDIT_MAX,
        "MAX_PRICE_MICRO_USD_PER_CHIP_HOUR": types.MAX_PRICE_MICRO_USD_PER_CHIP_HOUR,
        "MAX_CHIPS": types.MAX_CHIPS,
        "FAILURE_COUNT_MAX": auctioneer.FAILURE_COUNT_MAX,
        "ITEM_COUNT_MAX": mutations.ITEM_COUNT_MAX,
        "REQUEST_ID_LENGTH_MAX": authority.REQUEST_ID_LENGTH_MAX,
        "ENVELOPE_BYTES_MAX": envelope.ENVELOPE_BYTES_MAX,
        "BATCH_COUNT_MAX": sequencer.BATCH_COUNT_MAX,
        "QUEUE_COUNT_MAX": sequencer.QUEUE_COUNT_MAX,
        "PUBLISH_SECONDS": int(publisher.PUBLISH_SECONDS),
    }


def as_printed(value: object) -> str:
    if isinstance(value, Enum):
        return f"`{value.value}`"
    return f"{value:,}"


def test_tariff_page_has_every_number_of_the_code() -> None:
    found = {row[0]: row[1] for row in table_rows(REFERENCE / "tariff.md")}
    assert found == {name: as_printed(value) for name, value in published_numbers().items()}


def test_tariff_page_labels_every_number() -> None:
    rows = table_rows(REFERENCE / "tariff.md")
    assert rows
    assert not [row[0] for row in rows if row[2].split(":")[0] not in STATUSES]


def own_metrics() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name as Prometheus stores it to type and labels."""
    found = {}
    for collector in vars(metrics).values():
        if isinstance(collector, prometheus_client.metrics.MetricWrapperBase):
            (family,) = collector.describe()
            suffix = "_total" if family.type == "counter" else ""
            found[family.name + suffix] = (family.type, tuple(collector._labelnames))
    return found


def test_metrics_page_has_every_metric() -> None:
    found = {
        row[0]: (row[1], tuple(re.findall(r"`(\w+)`", row[2])))
        for row in table_rows(REFERENCE / "metrics.md")
    }
    assert found == own_metrics()


def test_decisions_are_listed() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    assert RECORDS
    assert not [path.name for path in RECORDS if f"]({path.name})" not in index]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_decision_has_its_parts(path: Path) -> None:
    headings = re.findall(r"^## (.*)$", path.read_text(), re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences"]


# Links --------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(CODE_BLOCK.sub("", page.read_text())):
        name, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", name):
            continue
        place = (page.parent / name).resolve() if name else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(target)
    assert not broken


# Commands -----------------------------------------------------------------------------------------


def shown_commands(page: Path) -> Iterator[str]:
    """Command lines of ``iso`` in fences, indented blocks and table cells or sentences."""
    text = page.read_text()
    for line in text.splitlines():
        stripped = re.sub(r"^\w+=\$\(|^docker compose exec exchange ", "", line.strip())
        if stripped.startswith("iso ") and (line[:1] in " \t" or stripped == line):
            yield stripped
    yield from re.findall(r"`(iso [^`]*)`", text)


GLOBAL_OPTIONS = {"--as", "--data"}


def findings(line: str, known: dict[str, dict[str, Any]]) -> list[str]:
    """What is wrong with a command line: an unknown command, or an option that it does not have."""
    words = shlex.split(line.partition("  #")[0])[1:]
    while words and words[0] in GLOBAL_OPTIONS:
        words = words[2:]
    name = max(
        (
            candidate
            for count in range(1, 3)
            if (candidate := " ".join(["iso", *words[:count]])) in known
        ),
        key=len,
        default="",
    )
    if not name:
        group = bool(words) and any(key.startswith(f"iso {words[0]} ") for key in known)
        return [] if not words or (group and len(words) == 1) else [f"no command: {line}"]
    options = {option for item in known[name]["options"] for option in item["names"]}
    given = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [f"{name} has no {word}: {line}" for word in given if word not in options]


@pytest.fixture(scope="module")
def known_commands() -> dict[str, dict[str, Any]]:
    return {command["command"]: command for command in catalogue()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_shown_exist(page: Path, known_commands: dict[str, dict[str, Any]]) -> None:
    wrong = [finding for line in shown_commands(page) for finding in findings(line, known_commands)]
    assert not wrong


def test_unknown_command_and_option_are_found(known_commands: dict[str, dict[str, Any]]) -> None:
    assert findings("iso --as x order explode", known_commands)
    assert findings("iso clock advance --by 1h --quickly", known_commands)
    assert not findings("iso --as x clock advance --by 1h", known_commands)


# Operations ---------------------------------------------------------------------------------------

# Of Prometheus itself, and of its Python client.
OTHER_METRICS = {
    "up",
    "process_start_time_seconds",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
}
FUNCTIONS = {"changes", "clamp_min", "histogram_quantile", "increase", "rate", "sum"}
PROMQL_WORDS = (
    FUNCTIONS
    | {"and", "by", "ignoring"}
    | {"code", "finding", "job", "le", "market", "measure", "method", "reason", "status"}
)


def known_series() -> set[str]:
    found = set(OTHER_METRICS)
    for name, (kind, _) in own_metrics().items():
        ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        found |= {name + end for end in ends}
    return found


def names_in(expression: str) -> set[str]:
    """Identifiers of a PromQL expression without texts, durations and words of the language."""
    bare = re.sub(r"\"[^\"]*\"|\[\w+\]|\b[\d.]+(?:e\d+)?\b", " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", bare)) - PROMQL_WORDS


def rule_expressions() -> list[str]:
    text = (OPS / "prometheus" / "rules.yaml").read_text()
    folded = re.sub(r">-\n\s+", "", text)
    return re.findall(r"^\s+expr: ((?:.*\n(?=\s{12}\S))*.*)$", folded, re.MULTILINE)


def dashboard_expressions() -> list[str]:
    board = json.loads((OPS / "grafana" / "dashboard.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("expression", [*rule_expressions(), *dashboard_expressions()])
def test_expression_uses_metrics_that_exist(expression: str) -> None:
    names = names_in(expression)
    assert names
    assert names <= known_series()


def test_alarms_name_runbooks_that_exist() -> None:
    text = (OPS / "prometheus" / "rules.yaml").read_text()
    runbooks = re.findall(r"runbook: (\S+)", text)
    assert len(runbooks) == text.count("- alert:")
    assert not [name for name in runbooks if not (OPS / name).is_file()]


def test_panels_have_numbers_of_their_own() -> None:
    board = json.loads((OPS / "grafana" / "dashboard.json").read_text())
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) > 5
    assert len(set(numbers)) == len(numbers)


def server_options() -> set[str]:
    parser: argparse.ArgumentParser = config._parser()
    return {option for action in parser._actions for option in action.option_strings}


def server_arguments(path: Path) -> list[str]:
    """Options that a file gives to ``iso_exchange.server``."""
    text = re.sub(r"(?m)^\s*#.*$", "", path.read_text())
    if path.suffix == ".yaml":
        return re.findall(r"(?m)^\s+- (--[a-z-]+)", text)
    start = text.index("iso_exchange.server")
    end = text.find("\n\n", start) if path.suffix == ".service" else len(text)
    return re.findall(r"(?<![\w-])(--[a-z-]+)", text[start:end])


@pytest.mark.parametrize(
    "name",
    [
        "container/Containerfile",
        "compose/compose.yaml",
        "kubernetes/exchange.yaml",
        "systemd/iso-exchange.service",
        "systemd/iso-publisher.service",
    ],
)
def test_server_is_started_with_options_that_exist(name: str) -> None:
    given = server_arguments(OPS / name)
    assert "--data" in given
    assert set(given) <= server_options()
    assert config.DATABASE_URL_VARIABLE in (OPS / name).read_text() or name.startswith("container")


@pytest.mark.parametrize(
    "path", sorted(OPS.glob("*/*")), ids=lambda path: path.relative_to(OPS).as_posix()
)
def test_environment_variables_exist(path: Path) -> None:
    known = {config.DATABASE_URL_VARIABLE, "ISO_DATA", "ISO_IDENTITY", "ISO_DATA_DIR"}
    if path.is_file():
        assert set(re.findall(r"\bISO_[A-Z_]+\b", path.read_text())) <= known


def test_probes_ask_a_path_that_is_served() -> None:
    served = (ROOT / "iso_exchange" / "gateway" / "http_server.py").read_text()
    for name in ("container/Containerfile", "kubernetes/exchange.yaml"):
        assert "/healthz" in (OPS / name).read_text()
    assert '"/healthz"' in served
    assert '"/metrics"' in served


def test_unit_parses() -> None:
    # Lines that continue are joined first, as systemd does; the same key may come twice.
    text = (OPS / "systemd" / "iso-exchange.service").read_text().replace("\\\n", " ")
    unit = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    assert unit["Service"]["RestartPreventExitStatus"] == "2"
    assert unit["Service"]["KillMode"] == "mixed"


@pytest.mark.parametrize(
    "path", sorted(OPS.glob("**/*.yaml")), ids=lambda path: path.relative_to(OPS).as_posix()
)
def test_yaml_parses(path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    documents = list(yaml.safe_load_all(path.read_text()))
    assert documents
    assert all(isinstance(document, dict) and document for document in documents)


@pytest.mark.parametrize(
    "path", sorted(OPS.glob("**/*.yaml")), ids=lambda path: path.relative_to(OPS).as_posix()
)
def test_yaml_is_indented_with_pairs_of_spaces(path: Path) -> None:
    odd = []
    folded = False
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        indent = len(line) - len(line.lstrip(" "))
        if "\t" in line or (indent % 2 and not folded):
            odd.append(number)
        folded = line.endswith((">-", "|"))
    assert not odd


def lock_blocks(path: Path) -> dict[str, frozenset[str]]:
    """Requirement line to its hashes."""
    blocks: dict[str, set[str]] = {}
    name = ""
    for line in path.read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            name = line.rstrip(" \\")
            blocks[name] = set()
        elif line.strip().startswith("--hash="):
            blocks[name].add(line.strip(" \\"))
    return {requirement: frozenset(hashes) for requirement, hashes in blocks.items()}


def test_container_lock_is_part_of_the_lock() -> None:
    whole = lock_blocks(ROOT / "requirements.lock")
    part = lock_blocks(OPS / "container" / "requirements.lock")
    assert len(part) > 10
    differing = [name for name, hashes in part.items() if not hashes or whole.get(name) != hashes]
    assert not differing, (
        "compile ops/container/requirements.lock again, with the command in its head"
    )


def test_durability_is_switched_on() -> None:
    text = (OPS / "postgresql" / "postgresql.conf").read_text()
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert re.search(rf"^{name} = on$", text, re.MULTILINE)
