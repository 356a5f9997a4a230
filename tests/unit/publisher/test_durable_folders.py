"""Folders are made so that their names outlive the power."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iso_exchange.durable import make_directory
from iso_exchange.publisher.files import replace


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of what was synced, in order."""
    found: list[Path] = []

    def record(descriptor: int) -> None:
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", record)
    return found


def test_every_folder_that_holds_a_new_name_is_synced(tmp_path: Path, synced: list[Path]) -> None:
    make_directory(tmp_path / "a" / "b")
    assert {tmp_path, tmp_path / "a"} <= set(synced)
    synced.clear()
    make_directory(tmp_path / "a" / "b")
    assert synced == []


def test_what_somebody_else_made_is_synced_once(tmp_path: Path, synced: list[Path]) -> None:
    """A process that was killed may have made it and not synced it."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    make_directory(tmp_path / "a" / "b")
    assert {tmp_path, tmp_path / "a"} <= set(synced)


def test_a_folder_that_is_gone_is_made_again(tmp_path: Path, synced: list[Path]) -> None:
    make_directory(tmp_path / "a")
    (tmp_path / "a").rmdir()
    synced.clear()
    make_directory(tmp_path / "a", 0o700)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert synced == [tmp_path]


def test_a_file_is_synced_before_its_name(tmp_path: Path, synced: list[Path]) -> None:
    replace(tmp_path / "x" / "file", b"content")
    assert synced[-2:] == [tmp_path / "x" / ".file.tmp", tmp_path / "x"]
    assert tmp_path in synced
