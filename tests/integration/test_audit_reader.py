"""A log read in a process of its own gives what it gives when it is read here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from iso_exchange.audit import reader
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.files import BundleFiles
from iso_exchange.audit.reading import Frame
from iso_exchange.audit.report import Step
from iso_exchange.audit.verify import verify
from settlement.ledger.checkpoint import Checkpoint, parse_checkpoint, parse_note
from tests.integration.bundles import Made, make_bundles

KINDS = tuple(BundleKind)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundles(tmp_path_factory.mktemp("day"))


def _checkpoint(directory: Path) -> Checkpoint:
    note = BundleFiles(directory).read_log("checkpoint")
    assert note is not None
    return parse_checkpoint(parse_note(note).text)


def _read(directory: Path, kind: BundleKind) -> list[Frame]:
    head = _checkpoint(directory)
    openings = kind is BundleKind.AUDITOR
    return list(reader.frames(directory, size=head.size, root=head.root, openings=openings))


def _instead(monkeypatch: pytest.MonkeyPatch, command: Sequence[str]) -> None:
    monkeypatch.setattr(reader, "BESIDE_COUNT_MIN", 1)
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **named: start(command, **named))


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_give_the_same(
    made: Made, kind: BundleKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = _read(made.of(kind), kind)
    monkeypatch.setattr(reader, "BESIDE_COUNT_MIN", 1)
    assert _read(made.of(kind), kind) == here
    if kind is BundleKind.AUDITOR:
        # Openings with documents go the long way, and plain leaves; the others are usual.
        assert sum(len(leaf) == 6 for _, found, _, _ in here for leaf in found) > 50


@pytest.mark.parametrize(
    "command",
    [["true"], ["/nowhere"], ["printf", "ab"], ["printf", "\\0\\0\\0\\7ab"]],
)
def test_what_the_other_process_does_not_send_is_read_here(
    made: Made, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = _read(made.auditor, BundleKind.AUDITOR)
    _instead(monkeypatch, command)
    assert _read(made.auditor, BundleKind.AUDITOR) == here


def test_a_process_that_ends_halfway_is_continued_here(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = _read(made.auditor, BundleKind.AUDITOR)
    head = _checkpoint(made.auditor)
    arguments = (str(made.auditor), str(head.size), head.root.hex(), "1")
    first = f"import sys; sys.argv[1:] = {arguments!r}\n"
    first += "import iso_exchange.audit.reader as reader\n"
    first += "frames = reader.read_frames\n"
    first += "reader.read_frames = lambda *a, **b: [next(frames(*a, **b))]\nreader.main()\n"
    _instead(monkeypatch, [sys.executable, "-c", first])
    assert _read(made.auditor, BundleKind.AUDITOR) == here


def test_a_log_that_cannot_be_read_to_its_end_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_bundles(tmp_path)
    tile = next((made.auditor / "log" / "tile" / "entries").rglob("*.p/*"))
    tile.write_bytes(tile.read_bytes()[:-1])
    found = []
    for least in (10**9, 1):
        monkeypatch.setattr(reader, "BESIDE_COUNT_MIN", least)
        report = verify(made.auditor, made.vkey)
        found.append([(step.name, step.place, step.detail) for step in report.steps])
        assert report.step(Step.TREE).failures == 1
    assert found[0] == found[1]
